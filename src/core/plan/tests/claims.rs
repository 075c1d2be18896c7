//! Claims, and when the children that wait for them are created.

use super::*;

#[test]
fn claims_decide_when_children_are_created() {
    let spec = json!({"workspaces": [{"name": "w", "persistentVolumeClaim": {"claimName": "c"}}]});
    let claim =
        |facts: ClaimFacts| Claim::Found(ClaimFacts { access_modes: vec!["ReadWriteMany".into()], ..facts });
    let mut world = World::new(&two(), spec);
    world.observed.facts.claims.insert("c".into(), Claim::NotFound);
    assert_eq!(world.settle(), Some(CLAIM_POLL));
    assert_eq!(world.created, Vec::<String>::new());
    assert_eq!(world.extra().platforms[0].reason, "ClaimPending");
    world
        .observed
        .facts
        .claims
        .insert("c".into(), claim(ClaimFacts { waits_for_consumer: true, ..ClaimFacts::default() }));
    world.settle();
    assert_eq!(world.created, [AMD64], "the first pod decides where the volume is");
    assert_eq!(world.extra().platforms[1].reason, "ClaimPending");
    world
        .observed
        .facts
        .claims
        .insert("c".into(), claim(ClaimFacts { bound: true, ..ClaimFacts::default() }));
    world.settle();
    assert_eq!(world.created, [AMD64, ARM64]);
    assert!(world.extra().plan.unwrap().claims_settled);
}

#[test]
fn the_next_child_goes_first_if_the_first_ended_without_a_volume() {
    let build =
        json!({"platforms": [{"platform": "amd64", "required": false}, "arm64"], "taskRef": {"name": "x"}});
    let spec = json!({"workspaces": [{"name": "w", "persistentVolumeClaim": {"claimName": "c"}}]});
    let mut world = World::new(&build, spec);
    let unbound = ClaimFacts {
        access_modes: vec!["ReadWriteMany".into()],
        waits_for_consumer: true,
        ..ClaimFacts::default()
    };
    world.observed.facts.claims.insert("c".into(), Claim::Found(unbound));
    world.settle();
    assert_eq!(world.created, [AMD64]);
    world.report(AMD64, "False", "TaskRunCancelled", "I do not need it", json!([]));
    world.settle();
    assert_eq!(world.created, [AMD64, ARM64]);
}

#[test]
fn a_run_that_comes_to_its_end_makes_no_claim() {
    let spec = json!({"workspaces": [{"name": "w", "volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteMany"]}}}]});
    let mut world = World::new(&two(), spec);
    world.settle();
    world.created.clear();
    // Somebody deletes the claim and cancels the run.
    world.observed.facts.claims.clear();
    Arc::make_mut(&mut world.observed.run).spec.status = Some("RunCancelled".into());
    world.settle();
    assert_eq!(world.created, Vec::<String>::new());
    assert_eq!(world.cancelled, [AMD64, ARM64]);
}

#[test]
fn a_claim_is_made_for_a_template_of_a_run_that_stands_alone() {
    let spec = json!({"workspaces": [{"name": "w", "volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteMany"]}}}]});
    let mut world = World::new(&two(), spec);
    world.settle();
    assert_eq!(world.created, ["app-build-w", AMD64, ARM64]);
    world.settle();
    assert_eq!(world.created.len(), 3);
}

#[test]
fn a_claim_that_cannot_be_made_ends_the_run() {
    let build = with(two(), json!({"workspaces": [{"name": "source"}]}));
    let template =
        json!({"spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}});
    let run = json!({"workspaces": [{"name": "source", "volumeClaimTemplate": template}]});
    for (why, reason, words) in [
        (RefusalReason::Rejected("denied".into()), "ChildRejected", "denied"),
        (RefusalReason::Taken(Arc::default()), "NameTaken", "there is another of that name"),
    ] {
        let mut world = World::new(&build, run.clone());
        world.observed.refusals.push(Refusal { name: "app-build-source".into(), why });
        world.settle();
        assert_eq!(world.verdict(), outcome("False", reason));
        let says = format!("the claim app-build-source cannot be made: {words}");
        assert!(world.condition().message.contains(&says), "{}", world.condition().message);
        assert_eq!(world.created, Vec::<String>::new());
    }
}
