//! What becomes of a child, or of a claim, that the API server did not make.

use std::time::Duration;

use super::observed::{Refusal, RefusalReason};
use super::problem::Reason;
use crate::api::names::label;
use crate::api::status::Ending;
use crate::api::tekton::{CustomRun, TaskRun};

/// How long to wait for a quota to have room again, or for an object of an earlier run to go.
pub const RETRY: Duration = Duration::from_secs(5);

/// What a refused child comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is asked for again in a while ([`RETRY`]).
    Wait {
        /// One word for programs.
        reason: Reason,
        /// A line for people.
        message: String,
        /// The uid of the TaskRun that has its name and shall be removed, if there is one.
        remove: Option<String>,
    },
    /// Its task fails.
    Fail {
        /// One word for programs.
        reason: Reason,
        /// A line for people, with what to do.
        message: String,
    },
}

/// Judges that the child `name` of `run` was not made. Whether it is the index's decides what its user can do about it.
pub fn of_child(name: &str, why: RefusalReason, run: &CustomRun, is_index: bool) -> Outcome {
    let wait = |reason, message| Outcome::Wait { reason, message, remove: None };
    match why {
        RefusalReason::Taken(there) if is_leftover(&there, run) => Outcome::Wait {
            reason: Reason::NameTaken,
            message: format!("the TaskRun {name} of an earlier run of the same name is being removed"),
            remove: (there.metadata.deletion_timestamp.is_none())
                .then(|| there.metadata.uid.clone().unwrap_or_default()),
        },
        RefusalReason::Taken(there) => {
            let owner = there.metadata.owner_references.iter().flatten().next();
            let whose = owner.map_or_else(
                || "belongs to nobody".to_owned(),
                |owner| format!("belongs to the {} {}", owner.kind, owner.name),
            );
            let advice =
                if is_index { "rename or remove it" } else { "rename this pipeline task, or remove it" };
            Outcome::Fail {
                reason: Reason::NameTaken,
                message: format!("there is another TaskRun {name}, which {whose}; {advice}"),
            }
        }
        RefusalReason::Quota(words) => wait(Reason::Quota, words),
        RefusalReason::NotNow(words) => wait(Reason::Admission, words),
        RefusalReason::Rejected(words) => Outcome::Fail {
            reason: Reason::ChildRejected,
            message: format!("its TaskRun was refused: {words}"),
        },
    }
}

/// The end of a run whose claim cannot be made.
pub fn of_claim(refusal: &Refusal) -> Ending {
    let (reason, why) = match &refusal.why {
        RefusalReason::Taken(_) => (Reason::NameTaken, "there is another of that name"),
        RefusalReason::Quota(words) | RefusalReason::Rejected(words) | RefusalReason::NotNow(words) => {
            (Reason::ChildRejected, words.as_str())
        }
    };
    Ending {
        reason: reason.as_str().to_owned(),
        message: format!("the claim {} cannot be made: {why}", refusal.name),
    }
}

/// Whether a TaskRun is what an earlier CustomRun of the same name has left, which somebody deleted while it ran: archfan's own, for a
/// run of this name, and not ours.
fn is_leftover(there: &TaskRun, run: &CustomRun) -> bool {
    let labels = there.metadata.labels.as_ref();
    let has = |key: &str| labels.and_then(|labels| labels.get(key));
    has(label::ROLE).is_some() && has(label::CUSTOM_RUN) == run.metadata.name.as_ref()
}
