use serde_json::json;

use super::*;
use crate::api::status::AcceptedPlan;
use crate::core::children::Family;
use crate::core::request::{self, tests::run_with};
use crate::core::settings::Settings;
use crate::core::templates::Templates;

/// Judges a build's workspaces in a cluster with one amd64 node in zone a and one arm64 node in zone b.
fn judge_with(build: Value, spec: Value, claims: &[(&str, Claim)], coschedule: Option<&str>) -> Verdict {
    let mut build = build;
    if build.get("taskRef").is_none() && build.get("tasks").is_none() {
        build["taskRef"] = json!({"name": "x"});
    }
    let run = run_with(&build, spec);
    let root = Path::root("spec");
    let embedded = &run.spec.custom_spec.as_ref().unwrap().spec;
    let request =
        Request::parse(request::Input { run: &run, spec: embedded, root: &root, default_timeout: None })
            .unwrap();
    let (plan, settings) = (AcceptedPlan::default(), Settings::default());
    let templates = Templates::default();
    let family = Family {
        run: &run,
        request: &request,
        plan: &plan,
        settings: &settings,
        root,
        keep_assistant: false,
        templates: &templates,
    };
    let mut children = Vec::new();
    for target in &request.targets {
        for index in 0..request.tasks.len() {
            let body = family.build(target, index, &request.expected_results(index)).unwrap();
            children.push(Child::new(&target.runs_on, &body));
        }
    }
    let node = |arch: &str, zone: &str| NodeFacts {
        labels: [(LABEL_OS, "linux"), (LABEL_ARCH, arch), ("zone", zone)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        taints: vec![],
        usable: true,
    };
    let nodes = Nodes::from([("n1".into(), node("amd64", "a")), ("n2".into(), node("arm64", "b"))]);
    let claims = claims.iter().map(|(name, claim)| ((*name).to_owned(), claim.clone())).collect();
    judge(Input { request: &request, claims: &claims, nodes: Some(&nodes), coschedule, children: &children })
}

fn bound(mode: &str) -> Claim {
    Claim::Found(ClaimFacts { access_modes: vec![mode.into()], bound: true, ..ClaimFacts::default() })
}

fn two() -> Value {
    json!({"platforms": ["amd64", "arm64"]})
}

fn on(claim: &str) -> Value {
    json!({"workspaces": [{"name": "source", "persistentVolumeClaim": {"claimName": claim}}]})
}

fn refusal(verdict: Verdict) -> (Reason, String) {
    match verdict {
        Verdict::Refuse(problems) if problems.len() == 1 => (problems[0].reason, problems[0].to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_claim_for_many_nodes_is_shared() {
    for mode in ["ReadWriteMany", "ReadOnlyMany"] {
        let verdict = judge_with(two(), on("c"), &[("c", bound(mode))], Some("workspaces"));
        assert_eq!(verdict, Verdict::Go(Sharing::default()), "{mode}");
    }
}

#[test]
fn a_claim_for_one_node_is_refused_to_two_architectures() {
    let (reason, message) = refusal(judge_with(two(), on("data"), &[("data", bound("ReadWriteOnce"))], None));
    assert_eq!(reason, Reason::WorkspaceNotShareable);
    for part in
        ["spec.workspaces[source]", r#""data" (ReadWriteOnce)"#, "linux/amd64, linux/arm64", "ReadWriteMany"]
    {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_claim_for_one_node_serves_one_architecture_beside_the_affinity_assistant() {
    let sharing = Sharing { keep_assistant: true, warnings: vec![] };
    for build in [
        json!({"platforms": ["amd64"]}),
        json!({"platforms": ["amd64", {"platform": "arm64", "runsOn": "amd64"}]}),
        json!({"platforms": ["arm/v6", "arm/v7"]}),
    ] {
        let verdict = judge_with(build.clone(), on("c"), &[("c", bound("ReadWriteOnce"))], None);
        assert_eq!(verdict, Verdict::Go(sharing.clone()), "{build}");
    }
}

#[test]
fn a_claim_for_one_pod_serves_one_platform() {
    let claims = [("c", bound("ReadWriteOncePod"))];
    let one = json!({"platforms": ["amd64"], "tasks": [{"name": "a", "taskSpec": {}}, {"name": "b", "taskSpec": {}}]});
    assert!(
        matches!(judge_with(one, on("c"), &claims, None), Verdict::Go(_)),
        "a chain is one pod at a time"
    );
    let same_nodes = json!({"platforms": ["arm/v6", "arm/v7"]});
    let (reason, message) = refusal(judge_with(same_nodes, on("c"), &claims, None));
    assert_eq!(reason, Reason::WorkspaceNotShareable);
    assert!(message.contains("one pod at a time"), "{message}");
}

#[test]
fn two_claims_on_one_child_are_refused_where_tekton_would() {
    let spec = json!({"workspaces": [
        {"name": "source", "persistentVolumeClaim": {"claimName": "a"}},
        {"name": "images", "persistentVolumeClaim": {"claimName": "b"}},
    ]});
    let claims = [("a", bound("ReadWriteMany")), ("b", bound("ReadWriteMany"))];
    let (reason, message) = refusal(judge_with(two(), spec.clone(), &claims, Some("workspaces")));
    assert_eq!(reason, Reason::TooManyClaims);
    for part in [r#""a" (workspace source)"#, r#""b" (workspace images)"#, "subPath"] {
        assert!(message.contains(part), "{message}");
    }
    for mode in [Some("disabled"), Some("pipelineruns"), None] {
        let verdict = judge_with(two(), spec.clone(), &claims, mode);
        assert!(matches!(verdict, Verdict::Go(_)), "{mode:?}: {verdict:?}");
    }
    let same = json!({"workspaces": [
        {"name": "source", "subPath": "a", "persistentVolumeClaim": {"claimName": "a"}},
        {"name": "images", "subPath": "b", "persistentVolumeClaim": {"claimName": "a"}},
    ]});
    assert!(matches!(judge_with(two(), same, &claims, Some("workspaces")), Verdict::Go(_)));
    // Two claims, but each on a task of its own.
    let chain = json!({"platforms": ["amd64"], "tasks": [
        {"name": "one", "taskSpec": {}, "workspaces": [{"name": "source"}]},
        {"name": "two", "taskSpec": {}, "workspaces": [{"name": "images"}]},
    ]});
    assert!(matches!(judge_with(chain, spec, &claims, Some("workspaces")), Verdict::Go(_)));
}

#[test]
fn a_claim_that_is_not_there_is_waited_for() {
    match judge_with(two(), on("later"), &[("later", Claim::NotFound)], None) {
        Verdict::Wait(message) => assert!(message.contains(r#""later" does not exist yet"#), "{message}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_child_decides_where_a_volume_is_made() {
    let claim = |waits_for_consumer| {
        Claim::Found(ClaimFacts {
            access_modes: vec!["ReadWriteMany".into()],
            waits_for_consumer,
            ..ClaimFacts::default()
        })
    };
    match judge_with(two(), on("c"), &[("c", claim(true))], None) {
        Verdict::FirstOnly { message, .. } => {
            assert!(message.contains("where its first pod runs"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    let one = json!({"platforms": ["amd64"]});
    assert!(matches!(judge_with(one, on("c"), &[("c", claim(true))], None), Verdict::Go(_)));
    assert!(matches!(judge_with(two(), on("c"), &[("c", claim(false))], None), Verdict::Go(_)));
}

#[test]
fn a_volume_out_of_reach_is_refused() {
    let zoned = |terms: Value| {
        Claim::Found(ClaimFacts {
            access_modes: vec!["ReadWriteMany".into()],
            bound: true,
            node_terms: terms.as_array().unwrap().clone(),
            ..ClaimFacts::default()
        })
    };
    let in_zone =
        |zones: &[&str]| json!([{"matchExpressions": [{"key": "zone", "operator": "In", "values": zones}]}]);
    let (reason, message) = refusal(judge_with(two(), on("c"), &[("c", zoned(in_zone(&["a"])))], None));
    assert_eq!(reason, Reason::VolumeNotReachable);
    assert!(message.contains("no node of linux/arm64") && message.contains("zone=a"), "{message}");
    for terms in [
        in_zone(&["a", "b"]),
        json!([{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]),
        json!([{"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["c"]}, {"key": "gpu", "operator": "DoesNotExist"}]}]),
        json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}, {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}]),
    ] {
        let verdict = judge_with(two(), on("c"), &[("c", zoned(terms.clone()))], None);
        assert!(matches!(verdict, Verdict::Go(_)), "{terms}: {verdict:?}");
    }
    // No node of this architecture yet: one may come in the right zone.
    let verdict =
        judge_with(json!({"platforms": ["amd64", "s390x"]}), on("c"), &[("c", zoned(in_zone(&["a"])))], None);
    assert!(matches!(verdict, Verdict::Go(_)), "{verdict:?}");
}

#[test]
fn a_claim_that_cannot_be_mounted_is_refused() {
    let lost = Claim::Found(ClaimFacts {
        access_modes: vec!["ReadWriteMany".into()],
        lost: true,
        ..ClaimFacts::default()
    });
    let block = Claim::Found(ClaimFacts {
        access_modes: vec!["ReadWriteMany".into()],
        block: true,
        ..ClaimFacts::default()
    });
    for (claim, part) in [(lost, "lost or being deleted"), (block, "raw block device")] {
        let (reason, message) = refusal(judge_with(two(), on("c"), &[("c", claim)], None));
        assert_eq!(reason, Reason::WorkspaceNotShareable);
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn an_empty_dir_that_one_task_would_leave_to_another_is_warned_of() {
    let spec = json!({"workspaces": [{"name": "source", "emptyDir": {}}]});
    let chain = |second: Value| {
        let mut second = second;
        second["name"] = "build".into();
        second["taskRef"] = json!({"name": "x"});
        json!({"platforms": ["amd64"], "tasks": [{"name": "fetch", "taskRef": {"name": "x"}}, second]})
    };
    let Verdict::Go(sharing) = judge_with(chain(json!({})), spec.clone(), &[], None) else { panic!() };
    assert_eq!(sharing.warnings[0].reason, "EmptyDirNotShared");
    let index = json!({"platforms": ["amd64"], "workspaces": [{"name": "source"}],
        "index": {"image": "r/a:v", "archives": {"workspace": "source"}}});
    let Verdict::Go(sharing) = judge_with(index, spec.clone(), &[], None) else { panic!() };
    assert!(sharing.warnings[0].message.contains("no archives"), "{sharing:?}");
    // Scratch folders: nobody looks for anything in them.
    for build in [two(), json!({"platforms": ["amd64"]}), chain(json!({"workspaces": []}))] {
        assert_eq!(judge_with(build, spec.clone(), &[], None), Verdict::Go(Sharing::default()));
    }
}

#[test]
fn different_users_on_one_claim_are_warned_of() {
    let build = json!({"platforms": ["amd64", "arm64"], "taskRunSpecs": [
        {"platform": "arm64", "podTemplate": {"securityContext": {"runAsUser": 1001, "fsGroup": 1001}}},
    ]});
    let Verdict::Go(sharing) = judge_with(build, on("c"), &[("c", bound("ReadWriteMany"))], None) else {
        panic!()
    };
    assert_eq!(sharing.warnings.len(), 1);
    let warning = &sharing.warnings[0];
    assert_eq!(warning.reason, "MixedOwners");
    for part in
        ["app-build-linux-amd64", "app-build-linux-arm64", "user 1001", "fsGroup 1001", r#"claim "c""#]
    {
        assert!(warning.message.contains(part), "{}", warning.message);
    }
}

#[test]
fn what_is_not_read_is_not_judged() {
    assert_eq!(judge_with(two(), on("c"), &[], None), Verdict::Go(Sharing::default()));
}

/// Kubernetes `NodeSelectorTerm`: all requirements of a term hold.
#[test]
fn a_node_fits_a_term_as_the_scheduler_reads_it() {
    let node = NodeFacts::linux("arm64");
    let expression = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
    for (term, fitting) in [
        (json!({}), true),
        (expression(LABEL_ARCH, "In", &["amd64", "arm64"]), true),
        (expression(LABEL_ARCH, "In", &["amd64"]), false),
        (expression("zone", "In", &["a"]), false),
        (expression(LABEL_ARCH, "NotIn", &["amd64"]), true),
        (expression(LABEL_ARCH, "NotIn", &["arm64"]), false),
        (expression("zone", "NotIn", &["a"]), true),
        (expression(LABEL_ARCH, "Exists", &[]), true),
        (expression("zone", "Exists", &[]), false),
        (expression(LABEL_ARCH, "DoesNotExist", &[]), false),
        (expression("zone", "DoesNotExist", &[]), true),
        (expression("zone", "Gt", &["1"]), true),
        (json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}), true),
        (json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}), false),
        (
            json!({
                "matchExpressions": [{"key": LABEL_ARCH, "operator": "In", "values": ["arm64"]}],
                "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}],
            }),
            false,
        ),
    ] {
        assert_eq!(fits(&term, "n1", &node), fitting, "{term}");
    }
}
