//! Bugs that can be planted, to see that the simulator finds bugs.
//!
//! Each is put at a seam of the controller: at its end of the wire, at its watches, at its queue, or at what it is shown of a run. There
//! it does to the controller what a bug behind that seam would do: a precondition that is forgotten, an answer that is misread, an event
//! that is dropped. So nothing of them is in the controller itself, and none can be shipped.

use std::fmt;

macro_rules! faults {
    ($($(#[doc = $text:literal])+ $name:ident,)+) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault {
            $($(#[doc = $text])+ $name,)+
        }

        impl Fault {
            /// Every fault, and what the controller does wrong with it.
            pub const ALL: &'static [(Fault, &'static str)] = &[$((Fault::$name, concat!($($text),+)),)+];
        }
    };
}

faults! {
    /// A create whose answer was lost is made again under another name.
    TwinAfterLostAnswer,
    /// A TaskRun that has the name of a child is taken for the child, whosever it is.
    AdoptsStrangers,
    /// An error of the server on a create counts as a refusal.
    ErrorIsRefusal,
    /// A create is believed before it was answered, and its failure never heard of.
    CreateIsBelieved,
    /// The status is written first, and the creates that it tells of are made after it.
    StatusBeforeCreate,
    /// Children get no node selector.
    SelectorForgotten,
    /// The two owners of the index child are the other way round.
    OwnersSwapped,
    /// Children get no retries.
    RetriesForgotten,
    /// Children are not labelled, so that their watch does not show them.
    LabelsForgotten,
    /// The last platform is left out of the index.
    IndexMemberLost,
    /// What was seen before is believed where the server was to be read again.
    StaleReadTrusted,
    /// A cancel names no uid, and hits whoever has the name.
    CancelWithoutUid,
    /// A cancel that failed counts as done.
    CancelIsBelieved,
    /// A deletion names no uid, and hits whoever has the name.
    DeleteWithoutUid,
    /// A status is written over whatever there is, newer or not.
    StatusWithoutVersion,
    /// A conflict on a status write counts as success.
    ConflictIsSuccess,
    /// A field that a status no longer has stays in it.
    FieldsStay,
    /// Every status is written twice.
    StatusTwice,
    /// The last result is lost.
    ResultCutShort,
    /// Line breaks at the end of results are kept.
    ResultNotTrimmed,
    /// Results of two platforms are mixed up.
    ResultsMixedUp,
    /// A task that has succeeded is reported to run while others do.
    PhaseGoesBack,
    /// A run is reported to have failed as soon as one task has, while its siblings are at work.
    VerdictTooEarly,
    /// A run whose status is too large is reported to have ended at once, while its children are at work.
    TooLargeIsOver,
    /// What a platform waits for is not told.
    MessageForgotten,
    /// Every event is told twice.
    EventTwice,
    /// A look that failed is not made again.
    RequeueLost,
    /// A look that was to be made later is not made.
    TimerLost,
    /// The queue hands out a run that is being looked at.
    TwoLooksAtOnce,
    /// An older version of a child is taken over a newer one.
    VersionsIgnored,
    /// The deletion of a child is not noticed.
    DeletionMissed,
    /// A list adds children and takes none away.
    ListOnlyAdds,
    /// A child that is not in a list is gone for good, though the list was taken before it was made.
    ListBuries,
    /// Runs are looked at as soon as they are known, whether or not children are.
    LooksTooSoon,
    /// What happens to children wakes nobody.
    ChildWakesNobody,
    /// What this replica has written itself is forgotten at once.
    OwnWritesForgotten,
    /// A replica that takes over looks at nothing that it knew before.
    LeadsWithoutLooking,
    /// A cancel of the run is not read.
    CancelUnread,
    /// `maxParallel` is not read.
    LimitUnread,
    /// `ttlSecondsAfterFinished` is not read.
    LifetimeUnread,
    /// The timeout of the run is not read.
    TimeoutUnread,
    /// `failFast: false` is not read.
    FailFastUnread,
    /// `when` expressions are not read.
    WhenUnread,
    /// `required: false` is not read.
    OptionalUnread,
    /// The order of a chain's tasks is turned round.
    ChainTurnedRound,
    /// A quota that is used up counts as a refusal for ever.
    QuotaIsRefusal,
}

impl Fault {
    /// The fault of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().map(|(fault, _)| *fault).find(|fault| fault.to_string() == name)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
