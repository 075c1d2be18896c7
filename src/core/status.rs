//! What a run says of itself: the `Succeeded` condition and its one line.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use serde::Deserialize as _;
use serde_json::Value;

use super::duration::human;
use super::problem::Reason;
use super::{cleanup, failure};
use crate::api::status::{Ending, ExtraFields, Phase, PlatformStatus, TaskStatus};
use crate::api::tekton::{Condition, CustomRunStatus, ParamValue};

/// The longest that one platform's message may be in the line of the run; `extraFields` has it whole.
const LONGEST: usize = 300;
/// What a run says whose status the server does not take.
const TOO_LARGE: &str = "the run's status is larger than the API server takes";

/// What the `Succeeded` condition says of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Unknown,
    /// It has done what it should.
    True,
    /// It has not.
    False,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown",
            Self::True => "True",
            Self::False => "False",
        }
    }
}

/// A run's status as it becomes. That of a look that changes other objects is seldom written, because another look follows at once; so who
/// writes it makes it JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct NewStatus {
    /// Everything but `extraFields`.
    pub(super) visible: CustomRunStatus,
    /// What `extraFields` will hold.
    pub(super) extra: ExtraFields,
}

impl NewStatus {
    /// The status as it is written.
    pub fn written(self) -> CustomRunStatus {
        // Keys are texts throughout, so it can be made JSON.
        let extra_fields = serde_json::to_value(&self.extra).unwrap_or_default();
        CustomRunStatus { extra_fields, ..self.visible }
    }
}

/// Sets the `Succeeded` condition, which is the only one and so the first (Tekton reads `conditions[0]`), and the times that go with
/// it.
pub fn set(status: &mut CustomRunStatus, verdict: Verdict, reason: &str, message: String, now: Timestamp) {
    let before = Condition::succeeded(&status.conditions);
    let since = before
        .filter(|before| before.status == verdict.as_str())
        .and_then(|before| before.last_transition_time.clone())
        .unwrap_or_else(|| whole_seconds(now));
    status.conditions = vec![Condition {
        type_: "Succeeded".to_owned(),
        status: verdict.as_str().to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time: Some(since),
    }];
    status.start_time.get_or_insert_with(|| whole_seconds(now));
    if verdict != Verdict::Unknown {
        status.completion_time.get_or_insert_with(|| whole_seconds(now));
    }
}

/// Kubernetes keeps times in whole seconds (`metav1.Time`); what is written is what will be read.
pub fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// One readable line: `linux/amd64 succeeded in 2m10s, linux/arm64 pending: no node has kubernetes.io/arch=arm64`.
///
/// `cause` is what the line stands behind, if it does: what it has said of a platform already is not said again.
pub fn line(platforms: &[PlatformStatus], index: Option<&TaskStatus>, cause: &str) -> String {
    let mut line = String::new();
    for platform in platforms {
        if !line.is_empty() {
            line.push_str(", ");
        }
        line.push_str(&platform.platform);
        line.push(' ');
        say_phase(&mut line, platform.phase, platform.start_time.as_ref(), platform.completion_time.as_ref());
        if cause.is_empty() || !cause.contains(&failure::tell(platform)) {
            say_why(&mut line, platform.phase, &platform.message);
        }
        if !platform.required && matches!(platform.phase, Phase::Failed | Phase::Cancelled) {
            line.push_str(" (optional, left out)");
        }
    }
    if let Some(index) = index {
        line.push_str(", index ");
        match index.phase {
            Phase::Succeeded => {
                line.push_str("pushed");
                let digest = index.results.iter().find(|result| result.name == "IMAGE_DIGEST");
                if let Some(ParamValue::String(digest)) = digest.map(|result| &result.value) {
                    let _ = write!(line, " as {}", digest.trim());
                }
            }
            phase => {
                say_phase(&mut line, phase, index.start_time.as_ref(), index.completion_time.as_ref());
                if !cause.contains(&index.message) {
                    say_why(&mut line, phase, &index.message);
                }
            }
        }
    }
    line
}

/// What is left of a status that the server does not take because of its size; nothing, if nothing is left to leave out.
///
/// First the platforms go without their tasks, and of a run under way it says that it comes to its end: its children are still to be stopped
/// and waited for. If that is too much as well, it is the verdict.
pub fn smaller(status: &CustomRunStatus, words: &str, now: Timestamp) -> Option<CustomRunStatus> {
    let why =
        format!("{TOO_LARGE} ({words}); have the tasks write less, or build for fewer platforms in one run");
    let extra = ExtraFields::deserialize(&status.extra_fields).unwrap_or_default();
    let mut small = CustomRunStatus { results: Vec::new(), extra_fields: Value::Null, ..status.clone() };
    if extra.platforms.iter().any(|platform| !platform.tasks.is_empty()) {
        let mut extra = without_tasks(extra);
        if cleanup::is_finished(status) {
            end_without(&mut small, &why, now);
        } else {
            let reason = Reason::ResultsTooLarge.as_str().to_owned();
            let ending = extra.ending.get_or_insert(Ending { reason, message: why });
            let line = line(&extra.platforms, extra.index.as_ref(), &ending.message);
            let message = coming_to_its_end(ending, &line);
            set(&mut small, Verdict::Unknown, Reason::Running.as_str(), message, now);
        }
        return Some(NewStatus { visible: small, extra }.written());
    }
    if status.results.is_empty() && status.extra_fields.is_null() {
        return None;
    }
    end_without(&mut small, &why, now);
    Some(small)
}

/// What a run was accepted as and where its platforms are, without their tasks.
fn without_tasks(extra: ExtraFields) -> ExtraFields {
    let alone = |platform: PlatformStatus| PlatformStatus {
        tasks: Vec::new(),
        message: cut(&platform.message).into_owned(),
        ..platform
    };
    ExtraFields {
        platforms: extra.platforms.into_iter().map(alone).collect(),
        index: extra.index.map(|index| TaskStatus { results: Vec::new(), ..index }),
        ..extra
    }
}

/// The verdict of a run that does not tell all.
fn end_without(status: &mut CustomRunStatus, why: &str, now: Timestamp) {
    let too_large = |message| (Reason::ResultsTooLarge.as_str().to_owned(), message);
    let (reason, message) = match Condition::succeeded(&status.conditions) {
        // Why it failed stays the reason: Tekton counts a run as cancelled by it.
        Some(Condition { status, reason, message, .. }) if status == "False" => {
            let told = message.contains(TOO_LARGE);
            (reason.clone(), if told { message.clone() } else { format!("{message}; {why}") })
        }
        Some(Condition { status, message, .. }) if status == "True" => {
            too_large(format!("{why} ({message})"))
        }
        _ => too_large(why.to_owned()),
    };
    set(status, Verdict::False, &reason, message, now);
}

/// The line of a run whose end has a cause and that still waits for its children.
pub fn coming_to_its_end(ending: &Ending, line: &str) -> String {
    format!("coming to its end: {} ({line})", ending.message)
}

/// Whether two statuses tell the same, though one has been through the server, which drops what is null.
pub fn same(one: &CustomRunStatus, other: &CustomRunStatus) -> bool {
    let extra = |status: &CustomRunStatus| ExtraFields::deserialize(&status.extra_fields).unwrap_or_default();
    let without = |status: &CustomRunStatus| CustomRunStatus { extra_fields: Value::Null, ..status.clone() };
    without(one) == without(other) && extra(one) == extra(other)
}

fn say_phase(line: &mut String, phase: Phase, start: Option<&Time>, end: Option<&Time>) {
    let took = match (start, end) {
        (Some(Time(start)), Some(Time(end))) => Duration::try_from(end.duration_since(*start)).ok(),
        _ => None,
    };
    match (phase, took) {
        (Phase::Succeeded, Some(took)) => line.extend(["succeeded in ", &human(took)]),
        (Phase::Failed, Some(took)) => line.extend(["failed after ", &human(took)]),
        (phase, _) => line.extend(phase.as_str().chars().map(|letter| letter.to_ascii_lowercase())),
    }
}

fn say_why(line: &mut String, phase: Phase, message: &str) {
    if message.is_empty() || phase == Phase::Succeeded {
        return;
    }
    line.push_str(": ");
    line.push_str(&cut(message));
}

/// The beginning of a message that is too long.
fn cut(message: &str) -> Cow<'_, str> {
    match message.char_indices().nth(LONGEST) {
        None => message.into(),
        Some((end, _)) => format!("{}…", &message[..end]).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::api::tekton::{RunResult, TaskRunResult};

    fn large(verdict: Verdict, reason: &str) -> CustomRunStatus {
        let extra = ExtraFields {
            plan: Some(Arc::default()),
            platforms: vec![PlatformStatus {
                tasks: vec![TaskStatus::default()],
                phase: Phase::Running,
                message: "m".repeat(2 * LONGEST),
                ..PlatformStatus::default()
            }],
            index: Some(TaskStatus {
                name: "index".into(),
                results: vec![TaskRunResult::default()],
                ..TaskStatus::default()
            }),
            ..ExtraFields::default()
        };
        let results = vec![RunResult { name: "x".into(), value: "y".repeat(100) }];
        let mut visible = CustomRunStatus { results, ..CustomRunStatus::default() };
        set(&mut visible, verdict, reason, "why".into(), Timestamp::UNIX_EPOCH);
        NewStatus { visible, extra }.written()
    }

    fn told(status: &CustomRunStatus) -> (&str, &str, &str) {
        let condition = &status.conditions[0];
        (&condition.status, &condition.reason, &condition.message)
    }

    #[test]
    fn of_a_status_that_is_too_large_a_run_under_way_keeps_that_it_comes_to_its_end() {
        let large = large(Verdict::Unknown, "Running");
        let smaller = |status: &CustomRunStatus| smaller(status, "too large", Timestamp::UNIX_EPOCH);
        let small = smaller(&large).unwrap();
        let (status, reason, message) = told(&small);
        assert_eq!((status, reason), ("Unknown", "Running"));
        assert!(message.starts_with("coming to its end: ") && message.contains("(too large)"), "{message}");
        assert_eq!((small.results.len(), &small.completion_time), (0, &None));
        let extra = ExtraFields::deserialize(&small.extra_fields).unwrap();
        assert_eq!((extra.platforms[0].phase, extra.platforms[0].tasks.len()), (Phase::Running, 0));
        assert_eq!(extra.platforms[0].message, format!("{}…", "m".repeat(LONGEST)));
        assert_eq!(extra.index, Some(TaskStatus { name: "index".into(), ..TaskStatus::default() }));
        assert!(extra.plan.is_some());
        assert_eq!(extra.ending.unwrap().reason, "ResultsTooLarge");

        // What it is coming to its end for already stays so.
        let mut failed = large.clone();
        failed.extra_fields["ending"] = serde_json::json!({"reason": "BuildFailed", "message": "arm failed"});
        let extra = ExtraFields::deserialize(&smaller(&failed).unwrap().extra_fields).unwrap();
        assert_eq!(extra.ending.unwrap().reason, "BuildFailed");

        // Where even that is too much, nothing can be waited for.
        let least = smaller(&small).unwrap();
        assert_eq!((told(&least).0, told(&least).1), ("False", "ResultsTooLarge"));
        let message = told(&least).2;
        assert!(message.starts_with("the run's status") && message.ends_with("in one run"), "{message}");
        assert_eq!((&least.extra_fields, least.completion_time.is_some()), (&Value::Null, true));
        assert_eq!(smaller(&least), None);
    }

    #[test]
    fn of_a_status_that_is_too_large_a_run_that_has_ended_keeps_its_platforms_and_then_the_verdict() {
        let told_once =
            |message: &str| message.matches("larger than the API server takes (too large)").count() == 1;
        for (verdict, reason, wanted, end) in [
            (Verdict::True, "Succeeded", "ResultsTooLarge", "(why)"),
            (Verdict::False, "CustomRunCancelled", "CustomRunCancelled", "in one run"),
        ] {
            let smaller = |status: &CustomRunStatus| smaller(status, "too large", Timestamp::UNIX_EPOCH);
            let small = smaller(&large(verdict, reason)).unwrap();
            let (status, reason, message) = told(&small);
            assert_eq!((status, reason), ("False", wanted));
            assert!(told_once(message) && message.ends_with(end), "{message}");
            assert_eq!(message.starts_with("why; "), wanted == "CustomRunCancelled");
            assert!(small.results.is_empty());
            let extra = ExtraFields::deserialize(&small.extra_fields).unwrap();
            assert_eq!((extra.platforms[0].phase, extra.platforms[0].tasks.len()), (Phase::Running, 0));
            assert_eq!((extra.plan.is_some(), extra.ending), (true, None));

            let least = smaller(&small).unwrap();
            assert_eq!(told(&least), told(&small), "what is told already is not told again");
            assert_eq!((&least.extra_fields, smaller(&least)), (&Value::Null, None));
        }
    }

    #[test]
    fn what_the_server_drops_is_no_difference() {
        let one = large(Verdict::Unknown, "Running");
        let mut other = one.clone();
        other.extra_fields.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        assert_ne!(one, other);
        assert!(same(&one, &other));
        other.extra_fields["ending"] = serde_json::json!({"reason": "x"});
        assert!(!same(&one, &other));
        assert!(!same(&one, &large(Verdict::Unknown, "Waiting")));
    }

    /// The time says since when it is so, not when it was last looked at (Kubernetes `metav1.Condition`).
    #[test]
    fn a_transition_is_when_the_verdict_changes() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let mut status = CustomRunStatus::default();
        let mut since = |verdict, reason: &str, second| {
            set(&mut status, verdict, reason, String::new(), at(second));
            status.conditions[0].last_transition_time.clone().map(|time| time.0)
        };
        assert_eq!(since(Verdict::Unknown, "Running", 10), Some(at(10)));
        assert_eq!(since(Verdict::Unknown, "Waiting", 20), Some(at(10)));
        assert_eq!(since(Verdict::True, "Succeeded", 30), Some(at(30)));
    }

    #[test]
    fn long_messages_are_cut_in_the_line_and_at_a_character() {
        let platform = PlatformStatus {
            platform: "linux/arm64".into(),
            required: true,
            phase: Phase::Failed,
            message: "é".repeat(LONGEST + 1),
            ..PlatformStatus::default()
        };
        assert_eq!(line(&[platform], None, ""), format!("linux/arm64 failed: {}…", "é".repeat(LONGEST)));
    }

    #[test]
    fn the_index_is_part_of_the_line() {
        let mut index = TaskStatus { phase: Phase::Succeeded, ..TaskStatus::default() };
        assert_eq!(line(&[], Some(&index), ""), ", index pushed");
        index.results = vec![TaskRunResult {
            name: "IMAGE_DIGEST".into(),
            value: ParamValue::String("sha256:0a\n".into()),
        }];
        assert_eq!(line(&[], Some(&index), ""), ", index pushed as sha256:0a");
        index.phase = Phase::Failed;
        index.message = "no login".into();
        assert_eq!(line(&[], Some(&index), ""), ", index failed: no login");
        let cause = "the image index could not be assembled: no login";
        assert_eq!(line(&[], Some(&index), cause), ", index failed");
    }
}
