//! What can go wrong, in words for people and as an exit code for scripts.

use std::fmt;

/// What kind of failure it is. Scripts see it as the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Anything without a kind of its own.
    Failed,
    /// The command line asks for what cannot be.
    Usage,
    /// A registry wants a login, or refuses the one it got.
    Denied,
    /// A source is not what was asked for: another platform, damaged, incomplete or missing.
    Source,
    /// A registry cannot be reached, or kept failing. Running the same again may help.
    Unavailable,
}

impl Kind {
    /// The exit code, as `docs/index.md` lists them.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Denied => 3,
            Self::Source => 4,
            Self::Unavailable => 5,
        }
    }
}

/// A failure: what was tried on what, what came of it, and what to do.
#[derive(Clone, Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    /// The registry's own code, such as `MANIFEST_INVALID`, and the status, where one answered.
    answer: Option<Answer>,
}

/// What a registry answered with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The `code` fields of its errors (distribution-spec, "Error Codes").
    pub(crate) codes: Vec<String>,
}

impl Error {
    /// A failure of some kind.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), answer: None }
    }

    /// A failure without a kind of its own.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// The command line asks for what cannot be.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// A source is not what was asked for.
    pub(crate) fn source(message: impl Into<String>) -> Self {
        Self::new(Kind::Source, message)
    }

    /// Notes what a registry answered.
    #[must_use]
    pub(crate) fn answered(mut self, answer: Answer) -> Self {
        self.answer = Some(answer);
        self
    }

    /// Puts a sentence before the message: what all this was for.
    #[must_use]
    pub(crate) fn before(mut self, prefix: impl fmt::Display) -> Self {
        self.message = format!("{prefix}: {}", self.message);
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub(crate) fn advice(mut self, advice: impl fmt::Display) -> Self {
        self.message = format!("{}; {advice}", self.message);
        self
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The HTTP status, where a registry answered.
    pub(crate) fn status(&self) -> Option<u16> {
        self.answer.as_ref().map(|answer| answer.status)
    }

    /// Whether the registry gave this error code.
    pub(crate) fn has_code(&self, code: &str) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.codes.iter().any(|c| c == code))
    }

    /// Makes one failure of several, each on a line of its own. The first decides the exit code.
    pub(crate) fn all(errors: Vec<Self>) -> Option<Self> {
        let mut errors = errors.into_iter();
        let mut first = errors.next()?;
        for error in errors {
            first.message.push('\n');
            first.message.push_str(&error.message);
        }
        Some(first)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// What most functions here give.
pub(crate) type Result<T> = std::result::Result<T, Error>;
