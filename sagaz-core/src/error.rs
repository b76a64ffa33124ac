//! The error of the engine's interface.

use crate::{id::SagaId, store::StoreError};
use std::{error::Error as StdError, fmt};

/// What an [`Engine`](crate::Engine) could not do.
///
/// Opaque: the text is for people, the predicates are for code.
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The same call may succeed later.
    Transient,
    /// Something else is there under this name or key.
    Conflict,
    NotFound,
    /// The call makes no sense as it is.
    Invalid,
    ShuttingDown,
    Undecodable,
    Store,
}

impl Error {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    pub(crate) fn not_found(id: SagaId) -> Self {
        Self::new(Kind::NotFound, format!("there is no instance {id}"))
    }

    pub(crate) fn shutting_down() -> Self {
        Self::new(
            Kind::ShuttingDown,
            "the engine is shutting down and accepts nothing new",
        )
    }

    pub(crate) fn unanswered(message: impl Into<String>) -> Self {
        Self::new(Kind::Transient, message)
    }

    pub(crate) fn undecodable(message: impl Into<String>, source: crate::CodecError) -> Self {
        Self::new(Kind::Undecodable, message).caused_by(source)
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.kind == Kind::Transient
    }

    /// Whether something else is there under this name, version or start key.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.kind == Kind::Conflict
    }

    /// Whether there is no such instance.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind == Kind::NotFound
    }

    /// Whether the call makes no sense as it is: an input over the limit, a step that does not exist, an operator's call
    /// on an instance that is not stuck.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        self.kind == Kind::Invalid
    }

    /// Whether the engine is shutting down.
    #[must_use]
    pub fn is_shutting_down(&self) -> bool {
        self.kind == Kind::ShuttingDown
    }

    /// Whether a stored value can no longer be read.
    #[must_use]
    pub fn is_undecodable(&self) -> bool {
        self.kind == Kind::Undecodable
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let kind = if error.is_transient() {
            Kind::Transient
        } else {
            Kind::Store
        };
        Self::new(kind, "the store did not do what it was asked").caused_by(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    /// With its causes: this is what `fn main() -> Result<(), Error>` prints.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
