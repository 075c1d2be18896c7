use serde_json::json;

use super::*;
use crate::core::request::tests::run_with;

fn by_reference(reference: Value) -> CustomRun {
    let mut run = run_with(&json!({}), json!({}));
    run.spec.custom_spec = None;
    run.spec.custom_ref = Some(serde_json::from_value(reference).unwrap());
    run
}

#[test]
fn what_is_read_depends_on_how_far_a_run_is() {
    let mut run =
        by_reference(json!({"apiVersion": "archfan.dev/v1alpha1", "kind": "MultiArchBuild", "name": "app"}));
    run.spec.workspaces = serde_json::from_value(
        json!([{"name": "a", "persistentVolumeClaim": {"claimName": "c"}}, {"name": "b", "emptyDir": {}}]),
    )
    .unwrap();
    let fresh = needs(&run, &ExtraFields::default());
    assert_eq!(
        fresh,
        Needs {
            definition: Some("app".into()),
            pipeline_run: Some("app".into()),
            claims: ["c".to_owned()].into(),
            tekton: true
        }
    );
    let mut plan =
        AcceptedPlan { claims: [("b".to_owned(), "made".to_owned())].into(), ..AcceptedPlan::default() };
    let accepted =
        |plan: &AcceptedPlan| ExtraFields { plan: Some(Arc::new(plan.clone())), ..ExtraFields::default() };
    let waiting = needs(&run, &accepted(&plan));
    assert_eq!(
        waiting,
        Needs { claims: ["c".to_owned(), "made".to_owned()].into(), tekton: true, ..Needs::default() }
    );
    plan.claims_settled = true;
    assert_eq!(needs(&run, &accepted(&plan)), Needs::default(), "nothing in steady state");
}

#[test]
fn a_definition_that_cannot_be_had_is_named() {
    let run = |name: &str, resolver: &str| by_reference(json!({"name": name, "resolver": resolver}));
    let facts = |definition| Facts { definition, ..Facts::default() };
    for (run, facts, says) in [
        (
            run("x", "git"),
            facts(Definition::None),
            "spec.customRef.resolver: a MultiArchBuild cannot be fetched by the resolver \"git\"",
        ),
        (run("", ""), facts(Definition::None), "spec.customRef.name: no name is given"),
        (
            run("x", ""),
            facts(Definition::NotFound),
            "there is no MultiArchBuild \"x\" in the namespace \"ci\"",
        ),
        (run("x", ""), facts(Definition::NoKind), "the cluster has no such kind; install archfan's CRDs"),
    ] {
        let problems = written(&run, &facts, &ExtraFields::default()).expect_err(says);
        assert!(problems[0].to_string().contains(says), "{}", problems[0]);
        assert_eq!(problems[0].reason, Reason::DefinitionNotFound);
    }
    let found = facts(Definition::Found { uid: "u".into(), generation: 3, spec: json!({"platforms": []}) });
    let run = run("x", "");
    let extra = ExtraFields::default();
    let (root, spec, definition) = written(&run, &found, &extra).unwrap();
    assert_eq!((root.as_str(), spec), ("MultiArchBuild \"x\" spec", &json!({"platforms": []})));
    assert_eq!(definition, Some(DefinitionRef { name: "x".into(), uid: "u".into(), generation: 3 }));
}

#[test]
fn digests_are_hexadecimal() {
    assert_eq!(hex(&[0x0a, 0xf1], 8), "0af1");
    assert_eq!(hex(&[0x0a, 0xf1], 3), "0af");
}
