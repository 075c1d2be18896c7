use serde_json::json;

use super::*;
use crate::api::tekton::Condition;
use crate::shell::cache::Change;
use crate::shell::fake::{Fault, Server, child, ended, run};

mod too_large;

const AMD: &str = "r-linux-amd64";
const ARM: &str = "r-linux-arm64";

fn now() -> Timestamp {
    "2026-01-01T10:00:00Z".parse().unwrap()
}

fn key() -> Key {
    Key::new("ns", "r")
}

fn away() -> ApiError {
    ApiError::Unavailable("the answer was lost".to_owned())
}

/// A controller that has seen this run, and its server, which has it.
fn seen(run: &CustomRun) -> Context<Server> {
    let context =
        Context { api: Server::default(), cache: Cache::default(), settings: Arc::new(Settings::default()) };
    context.api.put_run(run);
    context.cache.runs_changed(Change::Applied(Arc::new(run.clone())));
    context
}

fn fresh() -> Context<Server> {
    seen(&run("r", "u", &json!({})))
}

async fn look(context: &Context<Server>) -> Outcome {
    reconcile(&key(), context, now()).await
}

/// The run's verdict at the server: status and reason.
fn verdict(context: &Context<Server>) -> (String, String) {
    let status = context.api.run("r").status.unwrap_or_default();
    let condition = Condition::succeeded(&status.conditions).cloned().unwrap_or_default();
    (condition.status, condition.reason)
}

/// What a run is observed as: with these children.
fn observed(context: &Context<Server>, children: &[TaskRun]) -> Observed {
    let named = |child: &TaskRun| (child.metadata.name.clone().unwrap(), Arc::new(child.clone()));
    let run = CustomRun::clone(&context.cache.run(&key()).unwrap());
    Observed {
        children: children.iter().map(named).collect(),
        ..Observed::alone(run, context.settings.clone(), now())
    }
}

/// A child ends as this says, and the watch says so.
fn end(context: &Context<Server>, child: TaskRun, version: u64, status: &str, reason: &str) {
    let child = ended(child, version, status, reason);
    context.api.put_child(&child);
    context.cache.children_changed(Change::Applied(Arc::new(child)));
}

fn end_all(context: &Context<Server>, status: &str, reason: &str) {
    for (number, child) in context.api.children().into_iter().enumerate() {
        end(context, child, 2000 + number as u64, status, reason);
    }
}

fn end_one(context: &Context<Server>, name: &str, status: &str, reason: &str) {
    let children = context.api.children();
    let child = children.into_iter().find(|child| child.metadata.name.as_deref() == Some(name)).unwrap();
    end(context, child, 3000, status, reason);
}

#[tokio::test]
async fn a_look_makes_the_children_writes_once_and_the_next_does_nothing() {
    let context = fresh();
    assert!(matches!(look(&context).await, Outcome::Done(Some(_))));
    let asked = context.api.asked();
    assert_eq!(asked, ["get configuration", "create r-linux-amd64", "create r-linux-arm64", "status r"]);
    assert_eq!(context.api.told(), ["Started"]);
    assert!(matches!(look(&context).await, Outcome::Done(Some(_))));
    assert!(context.api.asked().is_empty() && context.api.told().is_empty());
    end_all(&context, "True", "Succeeded");
    assert_eq!(look(&context).await, Outcome::Done(None));
    assert_eq!(verdict(&context), ("True".into(), "Succeeded".into()));
    assert_eq!(context.api.asked(), ["status r"]);
}

#[tokio::test]
async fn a_run_that_is_not_cached_is_gone() {
    let context = fresh();
    assert_eq!(reconcile(&Key::new("ns", "other"), &context, now()).await, Outcome::Gone);
    assert!(context.api.asked().is_empty());
}

#[tokio::test]
async fn a_child_whose_creation_was_not_answered_is_found_again() {
    let context = fresh();
    context.api.fail("create r-linux-arm64", Fault::After(away()));
    assert_eq!(look(&context).await, Outcome::Retry { after: None, why: away() });
    assert_eq!(context.api.children().len(), 2);
    context.api.asked();
    assert!(matches!(look(&context).await, Outcome::Done(_)));
    let asked = context.api.asked();
    assert!(asked.starts_with(&["create r-linux-arm64".into(), "get r-linux-arm64".into()]), "{asked:?}");
    assert_eq!(context.api.children().len(), 2);
    assert_eq!(context.cache.children_of("u").len(), 2);
}

#[tokio::test]
async fn a_child_that_goes_between_two_calls_is_looked_for_again() {
    let context = fresh();
    context.api.fail("create r-linux-arm64", Fault::Before(ApiError::AlreadyExists("x".into())));
    assert_eq!(look(&context).await, Outcome::Retry { after: None, why: ApiError::Unavailable("x".into()) });
}

#[tokio::test]
async fn a_name_is_taken_only_if_the_run_is_still_there() {
    let mut stranger = child(ARM, "x", "another");
    stranger.metadata.labels = None;
    for there in [Some("u"), Some("later"), None] {
        let context = fresh();
        context.api.put_child(&stranger);
        match there {
            Some("later") => {
                let mut later = run("r", "later", &json!({}));
                later.metadata.resource_version = Some("20".into());
                context.api.put_run(&later);
            }
            Some(_) => {}
            None => context.api.remove_run("r"),
        }
        let outcome = look(&context).await;
        assert!(context.api.asked().contains(&"get run r".to_owned()));
        match there {
            Some("u") => {
                end_all(&context, "True", "Succeeded");
                look(&context).await;
                assert_eq!(verdict(&context).1, "NameTaken");
            }
            Some(_) => {
                assert!(matches!(outcome, Outcome::Retry { why: ApiError::Conflict(_), .. }), "{outcome:?}");
                assert_eq!(context.api.run("r").status, None);
            }
            None => assert_eq!(outcome, Outcome::Gone),
        }
        // Whatever it is, nothing happens to the stranger.
        let left =
            context.api.children().into_iter().find(|child| child.metadata.uid.as_deref() == Some("x"));
        assert_eq!(left.unwrap().spec.status, None);
    }
}

/// An earlier run of this name has left its children, and the garbage collector has not come yet.
#[tokio::test]
async fn what_an_earlier_run_has_left_makes_room_in_one_look() {
    for left in [&[AMD, ARM][..], &[ARM]] {
        let context = fresh();
        for name in left {
            context.api.put_child(&child(name, &format!("old-{name}"), "earlier"));
        }
        assert!(matches!(look(&context).await, Outcome::Done(Some(_))));
        let asked = context.api.asked();
        let deleted: Vec<&String> = asked.iter().filter(|call| call.starts_with("delete ")).collect();
        assert_eq!(deleted.len(), left.len(), "{asked:?}");
        let there = context.api.children();
        let ours = |child: &TaskRun| child.metadata.owner_references.as_ref().unwrap()[0].uid == "u";
        assert_eq!((there.len(), there.iter().all(ours)), (2, true), "{asked:?}");
        assert_eq!(verdict(&context).0, "Unknown");
    }
}

#[tokio::test]
async fn an_end_that_was_written_without_an_answer_is_not_gone_back_on() {
    let context = fresh();
    look(&context).await;
    end_all(&context, "True", "Succeeded");
    context.api.fail("status r", Fault::After(away()));
    assert_eq!(look(&context).await, Outcome::Retry { after: None, why: away() });
    assert!(context.cache.is_doubted(&key()));
    // The cache still has the older status, and a child is gone: made again, it would run for a run that is over.
    context.api.remove_child(ARM);
    context.cache.child_gone(&Key::new("ns", ARM), None);
    context.api.asked();
    assert_eq!(look(&context).await, Outcome::Done(None));
    assert_eq!(context.api.asked(), ["get run r"]);
    assert!(!context.cache.is_doubted(&key()), "once read, it is believed");
}

#[tokio::test]
async fn only_what_may_be_older_than_the_last_write_is_read_again() {
    for (error, doubted) in [
        (away(), true),
        (ApiError::Conflict("newer".into()), true),
        (ApiError::Forbidden("no".into()), false),
        (ApiError::Throttled { message: "busy".into(), after: Some(Duration::from_secs(3)) }, false),
    ] {
        let context = fresh();
        context.api.fail("status r", Fault::Before(error.clone()));
        let outcome = look(&context).await;
        let after = matches!(error, ApiError::Throttled { .. }).then_some(Duration::from_secs(3));
        assert_eq!(outcome, Outcome::Retry { after, why: error });
        assert_eq!(context.cache.is_doubted(&key()), doubted);
        assert!(context.api.told().is_empty(), "nothing is told that is not written");
    }
}

#[tokio::test]
async fn a_doubted_run_that_is_gone_or_another_is_not_looked_at() {
    let context = fresh();
    context.cache.doubt_run(&key());
    context.api.put_run(&run("r", "later", &json!({})));
    assert!(matches!(look(&context).await, Outcome::Retry { why: ApiError::Conflict(_), .. }));
    assert!(context.cache.is_doubted(&key()), "nothing was learnt of it");
    context.api.remove_run("r");
    assert_eq!(look(&context).await, Outcome::Gone);
    context.api.fail("get run", Fault::Before(away()));
    assert_eq!(look(&context).await, Outcome::Retry { after: None, why: away() });
    assert_eq!(context.api.asked(), ["get run r", "get run r", "get run r"]);
}

/// The watch brings a later run of that name while the earlier is being read.
#[tokio::test]
async fn a_run_that_is_replaced_while_it_is_read_is_not_mixed_up() {
    let context = fresh();
    context.cache.doubt_run(&key());
    let replaced = async {
        context.cache.runs_changed(Change::Applied(Arc::new(run("r", "later", &json!({})))));
    };
    let (outcome, ()) = tokio::join!(look(&context), replaced);
    assert!(matches!(outcome, Outcome::Retry { why: ApiError::Conflict(_), .. }), "{outcome:?}");
    assert_eq!(context.api.asked(), ["get run r"]);
    assert_eq!(context.cache.run(&key()).unwrap().metadata.uid.as_deref(), Some("later"));
}

#[tokio::test]
async fn no_end_is_reported_while_the_outcome_of_an_action_is_open() {
    let context = fresh();
    let ours = observed(&context, &[child(AMD, "a", "u")]);
    assert_eq!(not_yet(&context, &ours, Some(&away())), Some(away()));
    assert_eq!(not_yet(&context, &ours, None), None);
    // One that another look, or a late answer, has put there.
    context.cache.child_written(Arc::new(child(ARM, "b", "u")));
    let why = not_yet(&context, &ours, None).unwrap();
    assert!(why.to_string().contains(ARM), "{why}");
    context.cache.child_written(Arc::new(ended(child(ARM, "b", "u"), 12, "True", "Succeeded")));
    assert_eq!(not_yet(&context, &ours, None), None, "what has ended holds nobody up");
    context.cache.child_written(Arc::new(child(AMD, "a", "u")));
    assert_eq!(not_yet(&context, &ours, None), None, "what was looked at is accounted for");
    context.cache.child_written(Arc::new(child(AMD, "again", "u")));
    assert!(not_yet(&context, &ours, None).is_some(), "another of that name was not looked at");
}

/// The same from outside: the run is cancelled while a child's creation was never answered.
#[tokio::test]
async fn a_cancelled_run_ends_only_with_the_child_that_turned_up() {
    let context = fresh();
    let mut cancelled = run("r", "u", &json!({}));
    cancelled.spec.status = Some("RunCancelled".into());
    context.api.put_run(&cancelled);
    context.cache.runs_changed(Change::Applied(Arc::new(cancelled)));
    let late = child(ARM, "late", "u");
    context.api.put_child(&late);
    context.api.fail("status r", Fault::Before(ApiError::Forbidden("no".into())));
    let turned_up = async {
        context.cache.children_changed(Change::Applied(Arc::new(late.clone())));
    };
    let (outcome, ()) = tokio::join!(look(&context), turned_up);
    assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
    look(&context).await;
    let there = context.api.children();
    assert_eq!(there[0].spec.status.as_deref(), Some("TaskRunCancelled"));
    assert_ne!(verdict(&context).0, "False", "it has not ended yet");
    end_all(&context, "False", "TaskRunCancelled");
    assert_eq!(look(&context).await, Outcome::Done(None));
    assert_eq!(verdict(&context), ("False".into(), "CustomRunCancelled".into()));
}

#[tokio::test]
async fn a_cancel_that_is_refused_says_what_has_become_of_the_child() {
    let action = Action::CancelTaskRun { name: ARM.into(), message: "archfan: over".into() };
    let mine = child(ARM, "a", "u");
    let invalid = || Fault::Before(ApiError::Invalid("no updates are allowed".into()));
    for (there, learned) in [
        (Some(ended(mine.clone(), 12, "True", "Succeeded")), "child"),
        (Some(child(ARM, "another", "u")), "gone"),
        (None, "gone"),
        (Some(mine.clone()), "error"),
    ] {
        let context = fresh();
        if let Some(there) = &there {
            context.api.put_child(there);
        }
        context.api.fail("cancel", invalid());
        let found = match carry_out(&context, &observed(&context, std::slice::from_ref(&mine)), &action).await
        {
            Ok(Learned::Child(child)) => {
                assert!(crate::core::progress::has_ended(&child));
                "child"
            }
            Ok(Learned::Gone(name)) => {
                assert_eq!(name, ARM);
                "gone"
            }
            Ok(_) => "other",
            Err(ApiError::Unavailable(_)) => "error",
            Err(other) => panic!("{other}"),
        };
        assert_eq!(found, learned, "{there:?}");
    }
}

#[tokio::test]
async fn a_cancel_and_a_deletion_name_the_child_that_was_seen() {
    let context = fresh();
    let mine = child(ARM, "a", "u");
    context.api.put_child(&child(ARM, "another", "nobody"));
    let seen = observed(&context, std::slice::from_ref(&mine));
    for action in [
        Action::CancelTaskRun { name: ARM.into(), message: "archfan: over".into() },
        Action::DeleteTaskRun { name: ARM.into(), uid: "a".into() },
    ] {
        let learned = carry_out(&context, &seen, &action).await.unwrap();
        assert!(matches!(learned, Learned::Gone(name) if name == ARM));
    }
    let there = context.api.children();
    assert_eq!((there.len(), there[0].spec.status.clone()), (1, None), "another is there as it was");
}

#[tokio::test]
async fn what_is_gone_takes_what_was_believed_of_it_along() {
    let context = fresh();
    let mine = child(ARM, "a", "u");
    context.cache.child_written(Arc::new(mine.clone()));
    let mut seen = observed(&context, &[mine]);
    seen.refusals = vec![
        Refusal { name: ARM.into(), why: RefusalReason::NotNow("x".into()) },
        Refusal { name: AMD.into(), why: RefusalReason::NotNow("x".into()) },
    ];
    learn(&mut seen, &context.cache, &key(), Learned::Gone(ARM.into()));
    assert!(seen.children.is_empty() && context.cache.children_of("u").is_empty());
    assert_eq!(seen.refusals.len(), 1, "only its own refusal goes");
    context.cache.child_written(Arc::new(child(ARM, "a", "u")));
    assert!(context.cache.children_of("u").is_empty(), "a late answer does not bring it back");
}

#[tokio::test]
async fn refusals_are_told_from_troubles() {
    let name = |error: ApiError| match refusal("x", error) {
        Ok(Learned::Refused(Refusal { why, .. })) => match why {
            RefusalReason::Rejected(_) => "rejected",
            RefusalReason::Quota(_) => "quota",
            RefusalReason::NotNow(_) => "not now",
            RefusalReason::Taken(_) => "taken",
        },
        Ok(_) => "other",
        Err(_) => "error",
    };
    for (error, wanted) in [
        (ApiError::Invalid("x".into()), "rejected"),
        (ApiError::TooLarge("x".into()), "rejected"),
        (ApiError::Forbidden("x is forbidden: exceeded quota: q".into()), "quota"),
        (ApiError::Forbidden("admission webhook \"p\" denied the request: x".into()), "rejected"),
        (ApiError::Forbidden("namespace is being terminated".into()), "not now"),
        (away(), "error"),
        (ApiError::Conflict("x".into()), "error"),
    ] {
        assert_eq!(name(error.clone()), wanted, "{error:?}");
    }
}

#[tokio::test]
async fn a_run_that_goes_while_its_status_is_written_is_gone() {
    let context = fresh();
    context.api.fail("status r", Fault::Before(ApiError::NotFound("r".into())));
    assert_eq!(look(&context).await, Outcome::Gone);
    assert!(context.api.told().is_empty());
}

#[test]
fn of_two_errors_the_one_to_wait_longer_for_counts() {
    let busy = ApiError::Throttled { message: "busy".into(), after: Some(Duration::from_secs(9)) };
    assert_eq!(worse(None, away()), away());
    assert_eq!(worse(Some(busy.clone()), away()), busy);
    assert_eq!(worse(Some(away()), busy.clone()), busy);
    assert_eq!(retry(busy.clone()), Outcome::Retry { after: Some(Duration::from_secs(9)), why: busy });
}

#[test]
fn outcomes_go_back_to_the_queue() {
    let mut queue = Queue::default();
    let mut turn = |outcome: Outcome| {
        queue.add(key(), now());
        assert_eq!(queue.take(now()), Some(key()));
        outcome.hand_back(&mut queue, key(), now());
        (queue.next_due().map(|due| due.duration_since(now()).as_secs()), queue.failing())
    };
    let retry = Outcome::Retry { after: Some(Duration::from_secs(30)), why: away() };
    assert_eq!(turn(retry.clone()), (Some(30), 1));
    assert_eq!(turn(Outcome::Done(Some(Duration::from_secs(5)))), (Some(5), 0));
    assert_eq!(turn(retry), (Some(30), 1));
    assert_eq!(turn(Outcome::Gone), (None, 0));
    assert_eq!(turn(Outcome::Done(None)), (None, 0));
}

/// As Tekton's own TaskRuns: labels go down once, when a child is made. What is put on the run later reaches what is made later.
#[tokio::test]
async fn a_child_bears_the_labels_that_its_run_has_when_it_is_made() {
    let context = fresh();
    look(&context).await;
    let mut labelled = context.api.run("r");
    labelled.metadata.labels = Some([("team".to_owned(), "x".to_owned())].into());
    context.api.put_run(&labelled);
    context.cache.runs_changed(Change::Applied(Arc::new(labelled)));
    context.api.remove_child(ARM);
    context.cache.child_gone(&Key::new("ns", ARM), None);
    context.api.asked();
    look(&context).await;
    assert_eq!(context.api.asked(), ["status r"], "somebody has deleted it");
    reconcile(&key(), &context, now() + Duration::from_secs(5)).await;
    let asked = context.api.asked();
    assert_eq!(asked, ["create r-linux-arm64", "status r"], "the other child is left as it is");
    let teams: Vec<Option<String>> = context
        .api
        .children()
        .iter()
        .map(|child| child.metadata.labels.as_ref().unwrap().get("team").cloned())
        .collect();
    assert_eq!(teams, [None, Some("x".to_owned())]);
}

#[tokio::test]
async fn a_claim_that_was_made_is_judged_in_the_same_look() {
    let mut run = run("r", "u", &json!({}));
    let build = &mut run.spec.custom_spec.as_mut().unwrap().spec;
    build["workspaces"] = json!([{"name": "source"}]);
    let template = json!({"spec": {"accessModes": ["ReadWriteMany"]}});
    run.spec.workspaces =
        serde_json::from_value(json!([{"name": "source", "volumeClaimTemplate": template}])).unwrap();
    let context = seen(&run);
    context.api.lack_claim("r-source");
    assert!(matches!(look(&context).await, Outcome::Done(_)));
    let asked = context.api.asked();
    let wanted =
        ["claim r-source", "get claim r-source", "create r-linux-amd64", "create r-linux-arm64", "status r"];
    assert!(asked.ends_with(&wanted.map(str::to_owned)), "{asked:?}");
}
