//! What becomes of a run whose status the API server refuses as too large.

use super::*;

/// The server refuses the next status.
fn refuse(context: &Context<Server>) {
    context.api.fail("status r", Fault::Before(ApiError::TooLarge("request is too large".into())));
}

/// A run whose children have been made, and all have built.
async fn built() -> Context<Server> {
    let context = started().await;
    end_all(&context, "True", "Succeeded");
    context
}

/// A run whose children have been made.
async fn started() -> Context<Server> {
    let context = fresh();
    look(&context).await;
    context
}

/// How many platforms the run's status at the server tells of.
fn platforms(context: &Context<Server>) -> usize {
    let status = context.api.run("r").status.unwrap_or_default();
    status.extra_fields["platforms"].as_array().map_or(0, Vec::len)
}

fn reported() -> (String, String) {
    ("False".to_owned(), "ResultsTooLarge".to_owned())
}

#[tokio::test]
async fn a_last_status_that_is_refused_keeps_the_platforms() {
    let context = built().await;
    refuse(&context);
    assert_eq!(look(&context).await, Outcome::Done(None));
    assert_eq!(verdict(&context), reported());
    assert_eq!(platforms(&context), 2, "what became of them is still told");
    assert_eq!(context.api.told(), ["Started", "Built", "Built", "ResultsTooLarge"]);
    let cached = context.cache.run(&key()).unwrap();
    assert_eq!(cached.metadata.resource_version, context.api.run("r").metadata.resource_version);
}

#[tokio::test]
async fn a_last_status_that_is_refused_twice_is_the_verdict_alone() {
    let context = built().await;
    refuse(&context);
    refuse(&context);
    assert_eq!(look(&context).await, Outcome::Done(None));
    assert_eq!(verdict(&context), reported());
    assert_eq!(platforms(&context), 0);
    assert_eq!(context.api.told(), ["Started", "Built", "Built", "ResultsTooLarge"]);
}

#[tokio::test]
async fn a_run_whose_children_are_at_work_does_not_end_before_they_have() {
    let context = started().await;
    refuse(&context);
    end_one(&context, ARM, "True", "Succeeded");
    assert_eq!(look(&context).await, Outcome::Done(Some(Duration::ZERO)));
    assert_eq!(verdict(&context), ("Unknown".into(), "Running".into()));
    context.api.asked();
    look(&context).await;
    let asked = context.api.asked();
    assert!(asked.starts_with(&["cancel r-linux-amd64".to_owned()]), "{asked:?}");
    end_one(&context, AMD, "False", "TaskRunCancelled");
    look(&context).await;
    assert_eq!(verdict(&context), reported());
}

#[tokio::test]
async fn what_the_server_has_already_is_not_written_again() {
    let context = started().await;
    refuse(&context);
    end_one(&context, ARM, "True", "Succeeded");
    look(&context).await;
    let before = context.api.run("r").metadata.resource_version;
    refuse(&context);
    assert!(matches!(look(&context).await, Outcome::Done(Some(again)) if !again.is_zero()));
    assert_eq!(context.api.run("r").metadata.resource_version, before);
}

#[tokio::test]
async fn a_smaller_status_whose_answer_is_lost_leaves_the_run_doubted() {
    let context = built().await;
    refuse(&context);
    context.api.fail("status r", Fault::After(away()));
    assert_eq!(look(&context).await, Outcome::Retry { after: None, why: away() });
    assert!(context.cache.is_doubted(&key()), "it may have been written");
}
