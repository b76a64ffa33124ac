//! What an error of a step says: may it be tried again, and did it have an effect?

use std::{error::Error as StdError, fmt, time::Duration};

/// An error of a step, with the answers to the two questions that a saga asks: *try again?* and *did it have an effect?*
///
/// | made by | again | effect |
/// |---|---|---|
/// | any other error through `?`, [`retryable`](Self::retryable) | yes | unknown |
/// | [`retryable`](Self::retryable)`(e).`[`clean`](Self::clean)`()` | yes | none |
/// | [`permanent`](Self::permanent) | no | none, by any attempt under this idempotency key |
/// | [`unknown`](Self::unknown) | no | unknown |
/// | [`pending`](Self::pending) | later, uses no attempt | still open |
///
/// An error whose effect is unknown is never taken for "nothing happened": the step is compensated, with `None` for its
/// output.
///
/// ```
/// use sagaz_core::StepError;
/// use std::time::Duration;
///
/// fn classify(status: u16) -> StepError {
///     match status {
///         402 => StepError::permanent("the card was declined"),
///         429 => StepError::retryable("too many requests").clean().retry_after(Duration::from_secs(2)),
///         202 => StepError::pending(Duration::from_secs(30)),
///         _ => StepError::retryable(format!("status {status}")),
///     }
/// }
/// assert!(classify(402).is_clean());
/// assert!(!classify(500).is_clean());
/// ```
pub struct StepError {
    pub(crate) again: Again,
    pub(crate) clean: bool,
    source: Box<dyn StdError + Send + Sync>,
}

/// Whether a failed attempt is followed by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// As the retry policy says, or after the delay that the service asked for.
    Yes(Option<Duration>),
    No,
    /// The work is under way; ask again after the delay. Uses no attempt.
    Pending(Duration),
}

impl StepError {
    /// May be tried again, and may have had its effect: a connection that broke, a status 500.
    pub fn retryable(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self {
            again: Again::Yes(None),
            clean: false,
            source: error.into(),
        }
    }

    /// Not to be tried again, and no attempt under this idempotency key had an effect: declined, refused by validation.
    pub fn permanent(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self {
            again: Again::No,
            clean: true,
            source: error.into(),
        }
    }

    /// Not to be tried again, and it may have had its effect.
    pub fn unknown(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self {
            again: Again::No,
            clean: false,
            source: error.into(),
        }
    }

    /// The work is still under way; the step is called again after `delay`. Uses no attempt.
    #[must_use]
    pub fn pending(delay: Duration) -> Self {
        Self {
            again: Again::Pending(delay),
            clean: false,
            source: "still working".into(),
        }
    }

    /// This attempt had no effect: refused before it was sent, a status 429. Says nothing of a
    /// [`pending`](Self::pending) one.
    #[must_use]
    pub fn clean(mut self) -> Self {
        self.clean = !matches!(self.again, Again::Pending(_));
        self
    }

    /// When a retryable error is tried again, in place of the policy's delay. Changes no other kind.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        if let Again::Yes(after) = &mut self.again {
            *after = Some(delay);
        }
        self
    }

    /// Whether it may be tried again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.again, Again::Yes(_))
    }

    /// Whether the work is still under way.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        matches!(self.again, Again::Pending(_))
    }

    /// Whether this attempt surely had no effect.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.clean
    }

    /// The error that it was made from.
    #[must_use]
    pub fn inner(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.source
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl fmt::Debug for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepError")
            .field("again", &self.again)
            .field("clean", &self.clean)
            .field("source", &self.source)
            .finish()
    }
}

/// Implemented by a user's error type to say which of its values may be tried again and which had no effect.
///
/// An error type that does not implement it, but [`std::error::Error`], is taken as
/// [`StepError::retryable`]: it may have had its effect.
///
/// ```
/// use sagaz_core::{IntoStepError, StepError};
///
/// #[derive(Debug)]
/// enum PaymentError { Declined, Unreachable }
///
/// impl IntoStepError for PaymentError {
///     fn into_step_error(self) -> StepError {
///         match self {
///             Self::Declined => StepError::permanent("the card was declined"),
///             Self::Unreachable => StepError::retryable("the payment service cannot be reached"),
///         }
///     }
/// }
/// ```
pub trait IntoStepError {
    /// What this value says.
    fn into_step_error(self) -> StepError;
}

impl<E: IntoStepError> From<E> for StepError {
    fn from(error: E) -> Self {
        error.into_step_error()
    }
}

/// What a `#[recover]` method decides when the retries of a step after the pivot are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recover<Output> {
    /// One more attempt after this delay; at most ten times.
    RetryAfter(Duration),
    /// Take this value as the step's output and go on.
    Use(Output),
    /// Leave the instance to an operator.
    Stuck,
}
