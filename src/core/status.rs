//! What a run says of itself: the `Succeeded` condition and its one line.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use serde_json::Value;

use super::duration::human;
use super::failure;
use super::problem::Reason;
use crate::api::status::{ExtraFields, Phase, PlatformStatus, TaskStatus};
use crate::api::tekton::{Condition, CustomRunStatus, ParamValue};

/// The longest that one platform's message may be in the line of the run; `extraFields` has it whole.
const LONGEST: usize = 300;

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

/// The end of a run whose status the server does not take because of its size: the verdict without what made it large.
pub fn too_large(status: &CustomRunStatus, words: &str, now: Timestamp) -> CustomRunStatus {
    let mut small = status.clone();
    small.results.clear();
    small.extra_fields = Value::Null;
    let message = format!(
        "the run's status is larger than the API server takes ({words}); have the tasks write less, or build for fewer platforms in one run"
    );
    set(&mut small, Verdict::False, Reason::ResultsTooLarge.as_str(), message, now);
    small
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
    match message.char_indices().nth(LONGEST) {
        None => line.push_str(message),
        Some((end, _)) => {
            line.push_str(&message[..end]);
            line.push('…');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tekton::{RunResult, TaskRunResult};

    #[test]
    fn a_status_that_is_too_large_ends_the_run_without_what_made_it_large() {
        let now = Timestamp::UNIX_EPOCH;
        let mut large = CustomRunStatus {
            results: vec![RunResult { name: "x".into(), value: "y".repeat(100) }],
            extra_fields: serde_json::json!({"platforms": []}),
            ..CustomRunStatus::default()
        };
        set(&mut large, Verdict::Unknown, "Running", String::new(), now);
        let small = too_large(&large, "request is too large", now);
        let condition = &small.conditions[0];
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("False", "ResultsTooLarge"));
        assert!(condition.message.contains("(request is too large)"), "{}", condition.message);
        assert_eq!((small.results.len(), &small.extra_fields), (0, &Value::Null));
        assert_eq!((&small.start_time, small.completion_time.is_some()), (&large.start_time, true));
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
