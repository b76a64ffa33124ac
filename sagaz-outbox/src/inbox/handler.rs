//! What a handler fails with.

use std::{error::Error as StdError, fmt};

/// What a handler fails with. Any error becomes one with `?`; [`Permanent`] says that trying again is no use.
pub type HandlerError = Box<dyn StdError + Send + Sync>;

/// An error of a handler that is the same however often the event is handled: it becomes a dead letter at once.
///
/// ```
/// use sagaz_outbox::{HandlerError, Permanent};
///
/// fn check(quantity: i64) -> Result<(), HandlerError> {
///     if quantity < 0 {
///         return Err(Permanent::new("an order of less than nothing").into());
///     }
///     Ok(())
/// }
/// # assert!(check(-1).is_err());
/// ```
#[derive(Debug)]
pub struct Permanent(HandlerError);

impl Permanent {
    /// From an error or from words.
    pub fn new(error: impl Into<HandlerError>) -> Self {
        Self(error.into())
    }

    /// What it says of which error.
    pub(crate) fn cause(error: &HandlerError) -> &(dyn StdError + 'static) {
        match error.downcast_ref::<Self>() {
            Some(Self(cause)) => &**cause,
            None => &**error,
        }
    }
}

impl fmt::Display for Permanent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Permanent {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}
