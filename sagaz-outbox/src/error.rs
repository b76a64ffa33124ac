//! The error of outbox and inbox.

use sagaz_core::{PublishError, broker::BrokerError, store::StoreError};
use std::{error::Error as StdError, fmt};

/// What an outbox, a relay or an inbox could not do.
///
/// Opaque: the text is for people, the predicates are for code.
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Transient,
    Invalid,
    /// The store cannot keep this event.
    Refusal,
    Other,
}

impl Error {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Invalid,
            message: message.into(),
            source: None,
        }
    }

    fn caused_by(
        kind: Kind,
        message: &str,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            message: message.to_owned(),
            source: Some(source.into()),
        }
    }

    /// It and its causes.
    pub(crate) fn in_words(&self) -> String {
        words(self)
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.kind == Kind::Transient
    }

    /// Whether the call makes no sense as it is: an event that cannot be published, settings that contradict each other, a
    /// decision on a dead letter that is not there.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        self.kind == Kind::Invalid
    }

    /// Whether the store cannot keep what it was given: it is too large, or has values that the database has no place for.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.kind == Kind::Refusal
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let kind = if error.is_transient() {
            Kind::Transient
        } else if error.is_refusal() {
            Kind::Refusal
        } else {
            Kind::Other
        };
        Self::caused_by(kind, "the store did not do what it was asked", error)
    }
}

impl From<BrokerError> for Error {
    fn from(error: BrokerError) -> Self {
        let kind = if error.is_unavailable() {
            Kind::Transient
        } else {
            Kind::Other
        };
        Self::caused_by(kind, "the broker did not do what it was asked", error)
    }
}

impl From<sagaz_core::Error> for Error {
    fn from(error: sagaz_core::Error) -> Self {
        let kind = if error.is_transient() {
            Kind::Transient
        } else {
            Kind::Other
        };
        Self::caused_by(kind, "the engine did not do what it was asked", error)
    }
}

impl From<PublishError> for Error {
    fn from(error: PublishError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&words(self))
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// The longest words of an error that are stored, in bytes.
const WORDS_MAX: usize = 1_000;

/// An error and its causes in words that every store can keep.
pub(crate) fn words(error: &dyn StdError) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    let mut words = words.replace('\0', " ");
    words.truncate(words.floor_char_boundary(WORDS_MAX));
    words
}
