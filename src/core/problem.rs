//! What can be wrong, and how it is said.

use std::fmt;

use super::path::Path;

/// One thing that is wrong with what a user wrote: where it stands, what is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// One word for programs: the reason that the `Succeeded` condition bears.
    pub reason: Reason,
    /// Where: `customSpec.spec.platforms[1]`.
    pub field: String,
    /// What is wrong, with the value, and the remedy.
    pub message: String,
}

impl Problem {
    /// Notes a problem at a place.
    pub fn new(reason: Reason, path: &Path<'_>, message: impl Into<String>) -> Self {
        Self { reason, field: path.to_string(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// How many problems a condition tells at once. `archfan validate` tells all.
const TOLD: usize = 5;

/// Tells several problems in one line.
pub fn tell(problems: &[Problem]) -> String {
    let text = problems.iter().take(TOLD).map(ToString::to_string).collect::<Vec<_>>().join("; ");
    match problems.len().checked_sub(TOLD) {
        None | Some(0) => text,
        Some(more) => format!("{text}; and {more} more"),
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// Why a run is where it is: the words in `Succeeded.reason`, in events, and in `status.extraFields`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// Every reason with what it means, for the documentation.
            pub const ALL: &'static [(Reason, &'static str)] = &[$((Reason::$name, concat!($($doc),+)),)+];

            /// The word itself.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

reasons! {
    // A run's life. The first five words are Tekton's (`pkg/apis/run/v1beta1/customrunstatus_types.go`).
    /// The run has been accepted.
    Started = "Started",
    /// Its children are at work.
    Running = "Running",
    /// Every required platform was built, and the index pushed if one was asked for.
    Succeeded = "Succeeded",
    /// The run was cancelled.
    Cancelled = "CustomRunCancelled",
    /// The run took longer than its timeout.
    TimedOut = "CustomRunTimedOut",
    /// A required platform failed.
    BuildFailed = "BuildFailed",
    /// Every platform was optional, and every one failed.
    NothingBuilt = "NothingBuilt",
    /// The platforms were built, but the image index could not be assembled.
    IndexFailed = "IndexFailed",
    /// A platform succeeded without the results from which the index is made.
    ResultMissing = "ResultMissing",
    /// The results together are larger than an object in Kubernetes may be.
    ResultsTooLarge = "ResultsTooLarge",
    /// The CustomRun's own spec was changed while it ran.
    SpecChanged = "SpecChanged",
    /// Another object has the name that a child must bear.
    NameTaken = "NameTaken",
    /// The API server, or a webhook behind it, refused to create a child.
    ChildRejected = "ChildRejected",

    /// A platform was built.
    Built = "Built",

    // What a user wrote cannot be run.
    /// `spec.customSpec.spec` is empty.
    EmptySpec = "EmptySpec",
    /// The `MultiArchBuild` does not exist.
    DefinitionNotFound = "MultiArchBuildNotFound",
    /// A field is not known.
    UnknownField = "UnknownField",
    /// A field has a value that it cannot have.
    InvalidField = "InvalidField",
    /// No platform is listed.
    NoPlatforms = "NoPlatforms",
    /// A platform is none.
    InvalidPlatform = "InvalidPlatform",
    /// A platform is listed twice.
    DuplicatePlatform = "DuplicatePlatform",
    /// Neither `taskRef` nor `taskSpec` nor `tasks` says what to build.
    NoTask = "NoTask",
    /// More than one of `taskRef`, `taskSpec` and `tasks` says what to build.
    AmbiguousTask = "AmbiguousTask",
    /// A param without a default has no value.
    MissingParam = "MissingParam",
    /// A param has a value of another type than declared, or one that is not allowed.
    InvalidParam = "InvalidParam",
    /// A variable is not known, or cannot stand where it does.
    UnknownVariable = "UnknownVariable",
    /// A node selector asks for another architecture than the platform.
    SelectorContradictsPlatform = "SelectorContradictsPlatform",
    /// A workspace that is not optional is not bound.
    MissingWorkspace = "MissingWorkspace",
    /// A workspace is bound or used that is not declared.
    UnknownWorkspace = "UnknownWorkspace",
    /// `timeout` or `retries` of the CustomRun cannot be read.
    InvalidRun = "InvalidRun",

    // Workspaces that cannot be shared.
    /// A volume can be mounted by one node only, but the platforms need several.
    WorkspaceNotShareable = "WorkspaceNotShareable",
    /// A TaskRun would bind two claims, which Tekton refuses while `coschedule` is `workspaces`.
    TooManyClaims = "TooManyClaims",
    /// A volume cannot be reached from the nodes of a platform.
    VolumeNotReachable = "VolumeNotReachable",
    /// A claim does not exist.
    ClaimNotFound = "ClaimNotFound",

    // Why a platform waits or has failed.
    /// It waits for a place among `maxParallel`.
    Limit = "MaxParallel",
    /// It waits for a claim to be bound.
    ClaimPending = "ClaimPending",
    /// No node has the platform's operating system and architecture.
    NoNode = "NoNode",
    /// Nodes of the platform are there, but none has room.
    NodesFull = "NodesFull",
    /// Nodes of the platform are there, but have a taint that the pod does not tolerate.
    Taint = "UntoleratedTaint",
    /// The pod fits no node for another reason.
    Unschedulable = "Unschedulable",
    /// A cluster autoscaler is making a node.
    Autoscaling = "Autoscaling",
    /// A volume cannot be mounted or its claim is not bound.
    Volume = "Volume",
    /// A quota is used up.
    Quota = "Quota",
    /// An image cannot be pulled.
    ImagePull = "ImagePull",
    /// A container cannot be set up.
    ContainerConfig = "ContainerConfig",
    /// An admission webhook or policy refuses the pod.
    Admission = "Admission",
    /// The pod waits at a scheduling gate.
    SchedulingGated = "SchedulingGated",
    /// The Task is being fetched by a resolver.
    Resolving = "Resolving",
    /// The pod is being made.
    Starting = "Starting",
    /// Its TaskRun was deleted by hand and is created again.
    Deleted = "Deleted",
    /// It waited longer than `pendingTimeout`.
    PendingTimeout = "PendingTimeout",
    /// It was cancelled because the run came to its end.
    RunEnded = "RunEnded",
    /// It ran on a node of another architecture.
    WrongNode = "WrongNode",
    /// A `when` expression skipped it.
    When = "When",

    // Warnings.
    /// A workspace is an `emptyDir`, of which each child gets its own.
    EmptyDirNotShared = "EmptyDirNotShared",
    /// Children of one claim run with different users or groups.
    MixedOwners = "MixedOwners",
    /// An optional platform failed and is left out.
    PlatformLeftOut = "PlatformLeftOut",
    /// A child was taken over from an earlier run.
    Reused = "Reused",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_one_word_and_unique() {
        let mut words: Vec<&str> = Reason::ALL.iter().map(|(reason, _)| reason.as_str()).collect();
        for word in &words {
            assert!(word.chars().all(|c| c.is_ascii_alphanumeric()), "{word}");
            assert!(word.starts_with(|c: char| c.is_ascii_uppercase()), "{word}");
        }
        words.sort_unstable();
        let count = words.len();
        words.dedup();
        assert_eq!(words.len(), count, "a reason stands twice");
    }

    #[test]
    fn many_problems_are_told_in_one_line() {
        let path = Path::root("spec");
        let problems: Vec<Problem> =
            (0..7).map(|index| Problem::new(Reason::InvalidField, &path.index(index), "is wrong")).collect();
        assert_eq!(
            tell(&problems),
            "spec[0]: is wrong; spec[1]: is wrong; spec[2]: is wrong; spec[3]: is wrong; spec[4]: is wrong; and 2 more"
        );
    }
}
