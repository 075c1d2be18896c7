//! What a schedule has an eye on.
//!
//! Drawn by the same dice, most schedules would be alike. So each has a focus, in turn, in which something otherwise rare is the rule;
//! and every fourth has none and meets no fault at all, because only there the bounds on what a run costs are exact.

/// What a schedule has an eye on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Focus {
    /// No faults: what a run costs when all goes well.
    Calm,
    /// A bit of everything.
    Mixed,
    /// Answers of the API server.
    Answers,
    /// Watches that lag, break and repeat.
    Watches,
    /// Crashes of the controller.
    Crashes,
    /// A second replica takes over.
    TakeOver,
    /// Users delete, cancel and edit.
    Users,
    /// Tekton cancels, deletes and re-creates.
    Pipelines,
    /// Nodes come and go.
    Nodes,
    /// Claims are missing, unbound or made.
    Claims,
    /// Chains of tasks.
    Chain,
    /// The image index.
    Index,
    /// `maxParallel`.
    Parallel,
    /// Optional platforms.
    Optional,
    /// Retries, evicted pods.
    Retries,
    /// Timeouts.
    Time,
    /// Children that are removed after the end.
    Cleanup,
    /// Children that are taken over from earlier runs.
    Reuse,
    /// Builds that are objects of their own.
    ByRef,
    /// Builds that cannot be run.
    Broken,
    /// Children that cannot be created.
    Refusals,
}

const TURNS: [Focus; 28] = [
    Focus::Calm,
    Focus::Mixed,
    Focus::Answers,
    Focus::Watches,
    Focus::Crashes,
    Focus::TakeOver,
    Focus::Users,
    Focus::Calm,
    Focus::Pipelines,
    Focus::Nodes,
    Focus::Claims,
    Focus::Chain,
    Focus::Index,
    Focus::Parallel,
    Focus::Calm,
    Focus::Optional,
    Focus::Retries,
    Focus::Time,
    Focus::Cleanup,
    Focus::Reuse,
    Focus::ByRef,
    Focus::Broken,
    Focus::Refusals,
    Focus::Mixed,
    Focus::TakeOver,
    Focus::Answers,
    Focus::Mixed,
    Focus::Calm,
];

impl Focus {
    /// The focus of the schedule with this number.
    pub fn of(number: u64) -> Self {
        TURNS[usize::try_from(number % TURNS.len() as u64).unwrap_or(0)]
    }

    /// A rate in permille: the usual one, or the one for a schedule that has an eye on `what`.
    pub fn rate(self, what: Focus, usual: u32, focused: u32) -> u32 {
        if self == what { focused } else { usual }
    }
}
