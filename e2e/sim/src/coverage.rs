//! What the schedules have met: faults, what users and Tekton did, transitions of phases, and the words by which the policies name
//! their branches. What was never met was never tested, so it fails a run of the simulator.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use archfan::core::problem::Reason;

macro_rules! points {
    ($($group:literal { $($name:ident = $text:literal,)+ })+) => {
        /// Something that a schedule can meet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Point {
            $($(#[doc = $text] $name,)+)+
        }

        impl Point {
            /// All points, with their group and what they are.
            pub const ALL: &'static [(Point, &'static str, &'static str)] = &[$($((Point::$name, $group, $text),)+)+];
        }
    };
}

points! {
    "answers of the API server" {
        Served = "a call was served",
        ServerError = "500 before anything took effect",
        LostAnswer = "a write took effect and its answer was lost",
        LateEffect = "a write timed out and took effect later",
        Throttled = "429 with Retry-After",
        Conflict = "409, the object had changed",
        AlreadyExists = "409, the object was there already",
        NotFound = "404",
        CancelTooLate = "a cancel that Tekton's webhook refused, because the TaskRun had ended",
        NothingChanged = "a write that changed nothing",
        RefusedByQuota = "403, quota exceeded",
        RefusedByWebhook = "403, a webhook denied it",
        RefusedAsInvalid = "422",
        RefusedAsForbidden = "403, the namespace is going",
        StatusTooLarge = "413, the status is larger than the server takes",
        Orphaned = "a call of a replica that is gone took effect",
        LostCall = "a call of a replica that is gone never arrived",
    }
    "watches" {
        Lagging = "a reconcile began while its watches had news to bring",
        Broken = "a watch broke off and listed anew",
        ListedAcrossWrites = "a list was taken before a write of our own and arrived after it",
        Repeated = "an event came twice",
        Stale = "an older version came after a newer one",
        DeletionUnseen = "a deletion happened while the watch was broken",
    }
    "the controller" {
        Crashed = "a crash",
        CrashedInCall = "a crash while calls were under way",
        CrashedUnwritten = "a crash after an action and before the status was written",
        TookOver = "another replica took over",
        TookOverWarm = "another replica took over with caches that lag",
        BothActive = "two replicas had reconciles under way",
        SideBySide = "one replica had two reconciles under way",
        Retried = "a reconcile failed and was tried again",
    }
    "users" {
        UserCancelsRun = "a user cancels a run",
        UserCancelsDone = "a user cancels a run that has finished",
        UserDeletesRun = "a user deletes a run in the background",
        UserDeletesRunForeground = "a user deletes a run in the foreground",
        UserOrphansChildren = "a user deletes a run and leaves its children",
        UserDeletesChild = "a user deletes a child that is at work",
        UserDeletesDoneChild = "a user deletes a child that has ended",
        UserCancelsChild = "a user cancels a child",
        UserDeletesPod = "a user deletes a pod",
        UserEditsDefinition = "a user edits the MultiArchBuild of a run under way",
        UserEditsSpec = "a user edits the spec of a run under way",
        UserLabelsRun = "a user labels a run",
        ForeignChild = "a foreign TaskRun has the name of a child",
        UserSwapsCancelled = "a user puts a TaskRun of their own in the place of a child while it is being cancelled",
        UserSwapsDeleted = "a user puts a TaskRun of their own in the place of a child while it is being removed",
        ForeignRun = "a CustomRun of another controller is there",
    }
    "Tekton" {
        PipelineCancels = "a PipelineRun cancels its run and waits for it",
        PipelineCancelsAgain = "a PipelineRun cancels its run once more",
        PipelineCancelsDone = "a PipelineRun cancels a run that has finished",
        PipelineTimesOut = "a PipelineRun has timed out and cancels its run",
        PipelineDeleted = "a PipelineRun is deleted",
        PipelineRecreates = "a PipelineRun makes its run again under the same name",
        ChildSucceeds = "a child succeeds",
        ChildSilent = "a child succeeds and says nothing of its image",
        ChildFails = "a child fails",
        ChildRetried = "an attempt fails and another begins",
        ChildEvicted = "a pod is evicted, and the child has failed",
        ChildSeemsEvicted = "a child is False for a moment, and then goes on",
        ChildCancelled = "a child ends because it was cancelled",
        ChildOutrunsCancel = "a child that was cancelled ends otherwise",
        ChildTimesOut = "a child runs into its timeout",
        ChildImagePull = "a child's image cannot be pulled",
        ChildRaced = "a child fails because another made a folder in the same moment",
        ChildInvalid = "Tekton refuses to run a child",
        ChildHeldBack = "a deleted child stays until its finalizer is served",
        OwnerStripped = "a child lost one of its two owners",
        Collected = "the garbage collector removed something",
    }
    "the cluster" {
        NodeGone = "a node goes",
        NodeCame = "a node comes",
        NodeTainted = "a node gets a taint",
        NodeCordoned = "a node is cordoned",
        WrongNode = "a pod is placed on a node of another architecture",
        PodUnschedulable = "a pod finds no node",
        ClaimBound = "a claim gets its volume with its first pod",
        ClaimAppears = "a missing claim is made",
        ClaimGone = "a claim is deleted",
        Noted = "the cluster said something about a pod",
    }
    "runs" {
        Accepted = "a run was accepted",
        SucceededRun = "a run succeeded",
        FailedRun = "a run failed",
        CancelledRun = "a run was cancelled",
        TooLargeUnderWay = "the status of a run under way was too large, and its children were stopped first",
        TooLargeAtTheEnd = "the status of a run that had ended was too large: its platforms stayed, without their tasks",
        OnlyTheVerdict = "that was too large as well, and the verdict alone stayed",
        TimedOutRun = "a run ran into its timeout",
        RefusedRun = "a run was refused",
        IndexMade = "an index was asked for",
        LeftOut = "an optional platform was left out",
        ChildAdopted = "a child was found that an earlier look had made",
        LeftoverRemoved = "a child of an earlier run of the same name was removed",
        ChildReplaced = "a child that failed before it began was replaced",
        ChildRecreated = "a child that was deleted was made again",
        StoppedAfterEnd = "a child that turned up after the end was stopped",
        TookOverChild = "a child of an earlier run was taken over",
        Expired = "children were removed when their time had come",
        Waited = "a child had to wait for a place",
        Skipped = "a task was skipped",
    }
}

/// Reasons that no schedule meets, and where they are met.
pub const NOT_HERE: &[(&str, &str)] = &[
    ("InvalidParam", "tests of src/core/params.rs"),
    ("TooManyClaims", "tests of src/core/workspaces.rs, and on the cluster"),
    ("VolumeNotReachable", "tests of src/core/workspaces.rs, and on the cluster"),
    ("ClaimNotFound", "tests of src/core/workspaces.rs, and on the cluster"),
    ("MixedOwners", "tests of src/core/workspaces.rs"),
];

/// Phases, as they are counted.
pub const PHASES: [&str; 7] =
    ["Waiting", "Pending", "Running", "Skipped", "Succeeded", "Failed", "Cancelled"];

/// Transitions of a task's phase that must be met, and that may be.
pub const TRANSITIONS: &[(&str, &str)] = &[
    ("Waiting", "Pending"),
    ("Waiting", "Running"),
    ("Waiting", "Skipped"),
    ("Waiting", "Succeeded"),
    ("Waiting", "Failed"),
    ("Waiting", "Cancelled"),
    ("Pending", "Waiting"),
    ("Pending", "Running"),
    ("Pending", "Succeeded"),
    ("Pending", "Failed"),
    ("Pending", "Cancelled"),
    ("Running", "Waiting"),
    ("Running", "Pending"),
    ("Running", "Succeeded"),
    ("Running", "Failed"),
    ("Running", "Cancelled"),
];

/// Counters of everything.
#[derive(Clone, Debug)]
pub struct Coverage {
    points: Vec<u64>,
    transitions: [[u64; 7]; 7],
    reasons: Vec<u64>,
    /// How often a call was made, by verb.
    pub calls: BTreeMap<&'static str, u64>,
    /// Schedules played.
    pub schedules: u64,
    /// Steps made.
    pub steps: u64,
    /// Reconciles made.
    pub reconciles: u64,
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            points: vec![0; Point::ALL.len()],
            transitions: [[0; 7]; 7],
            reasons: vec![0; Reason::ALL.len()],
            calls: BTreeMap::new(),
            schedules: 0,
            steps: 0,
            reconciles: 0,
        }
    }
}

fn phase(word: &str) -> Option<usize> {
    PHASES.iter().position(|phase| *phase == word)
}

impl Coverage {
    /// Notes that a point was met.
    pub fn meet(&mut self, point: Point) {
        self.points[point as usize] += 1;
    }

    /// Notes that a task's phase changed.
    pub fn transition(&mut self, from: &str, to: &str) {
        if let (Some(from), Some(to)) = (phase(from), phase(to)) {
            self.transitions[from][to] += 1;
        }
    }

    /// Notes that a word of the policies was said.
    pub fn say(&mut self, word: &str) {
        if let Some(index) = Reason::ALL.iter().position(|(reason, _)| reason.as_str() == word) {
            self.reasons[index] += 1;
        }
    }

    /// How often a point was met.
    pub fn count(&self, point: Point) -> u64 {
        self.points[point as usize]
    }

    /// Adds what another has met.
    pub fn add(&mut self, other: &Self) {
        let sum = |into: &mut [u64], from: &[u64]| {
            for (into, from) in into.iter_mut().zip(from) {
                *into += from;
            }
        };
        sum(&mut self.points, &other.points);
        sum(&mut self.reasons, &other.reasons);
        for (into, from) in self.transitions.iter_mut().zip(&other.transitions) {
            sum(into, from);
        }
        for (verb, count) in &other.calls {
            *self.calls.entry(verb).or_default() += count;
        }
        self.schedules += other.schedules;
        self.steps += other.steps;
        self.reconciles += other.reconciles;
    }

    /// What was never met.
    pub fn missing(&self) -> Vec<String> {
        let points = Point::ALL
            .iter()
            .filter(|(point, _, _)| self.points[*point as usize] == 0)
            .map(|(point, group, text)| format!("{group}: {point:?} ({text})"));
        let transitions = TRANSITIONS
            .iter()
            .filter(|(from, to)| {
                let (Some(from), Some(to)) = (phase(from), phase(to)) else { return true };
                self.transitions[from][to] == 0
            })
            .map(|(from, to)| format!("phases: {from} to {to}"));
        let reasons = Reason::ALL
            .iter()
            .zip(&self.reasons)
            .filter(|((reason, _), count)| {
                **count == 0 && !NOT_HERE.iter().any(|(word, _)| *word == reason.as_str())
            })
            .map(|((reason, text), _)| format!("reasons: {reason} ({})", text.trim()));
        points.chain(transitions).chain(reasons).collect()
    }

    /// All counters as a table in Markdown.
    pub fn table(&self) -> String {
        let mut out = String::new();
        let mut last = "";
        for (point, group, text) in Point::ALL {
            if *group != last {
                let _ = writeln!(out, "\n| {group} | met |\n|---|---:|");
                last = group;
            }
            let _ = writeln!(out, "| {text} | {} |", self.points[*point as usize]);
        }
        let _ = writeln!(out, "\n| phase of a task: from \\ to | {} |", PHASES.join(" | "));
        let _ = writeln!(out, "|---{}|", "|---:".repeat(PHASES.len()));
        for (from, counts) in PHASES.iter().zip(&self.transitions).take(3) {
            let counts: Vec<String> = counts.iter().map(ToString::to_string).collect();
            let _ = writeln!(out, "| {from} | {} |", counts.join(" | "));
        }
        let _ = writeln!(out, "\n| word of a policy | said |\n|---|---:|");
        for ((reason, text), count) in Reason::ALL.iter().zip(&self.reasons) {
            let elsewhere = NOT_HERE.iter().find(|(word, _)| *word == reason.as_str());
            let note = elsewhere.map(|(_, note)| format!(" ({note})")).unwrap_or_default();
            let _ = writeln!(out, "| `{reason}`: {}{note} | {count} |", text.trim());
        }
        let _ = writeln!(out, "\n| call | made |\n|---|---:|");
        for (verb, count) in &self.calls {
            let _ = writeln!(out, "| {verb} | {count} |");
        }
        out
    }
}
