//! How an instance ended, and why.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How an instance ended.
///
/// `Outputs` is the struct of typed outputs that `#[saga]` makes, with a field for each step.
/// There is no fourth way, so a `match` needs no other arm.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome<Outputs> {
    /// Every step completed.
    Completed(Outputs),
    /// It failed, and everything that may have had an effect was undone.
    RolledBack(Failure),
    /// It needs an operator. Nothing is lost: see [`Stuck::reason`].
    Stuck(Stuck),
}

impl<Outputs> Outcome<Outputs> {
    /// Whether every step completed.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        matches!(self, Self::Completed(_))
    }

    /// Whether it was undone.
    #[must_use]
    pub fn is_rolled_back(&self) -> bool {
        matches!(self, Self::RolledBack(_))
    }

    /// Whether it needs an operator.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        matches!(self, Self::Stuck(_))
    }

    /// The outputs, or why there are none.
    pub fn into_result(self) -> Result<Outputs, NotCompleted> {
        match self {
            Self::Completed(outputs) => Ok(outputs),
            Self::RolledBack(failure) => Err(NotCompleted::RolledBack(failure)),
            Self::Stuck(stuck) => Err(NotCompleted::Stuck(stuck)),
        }
    }
}

/// Why an instance has no outputs: [`Outcome`] as an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotCompleted {
    /// It was undone.
    #[error("the saga was rolled back: {0}")]
    RolledBack(Failure),
    /// It needs an operator.
    #[error("the saga is stuck: {0}")]
    Stuck(Stuck),
}

/// Why an instance is undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// The step that failed; `None` for a cancel or a deadline.
    pub step: Option<String>,
    /// What happened.
    pub reason: FailureReason,
    /// The error's own words.
    pub message: String,
}

/// What made an instance fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureReason {
    /// A step failed, and surely had no effect.
    Failed,
    /// A step gave up without saying that it had no effect; it is compensated as well.
    Unknown,
    /// The output of a step could not be stored.
    OutputRefused,
    /// Somebody cancelled the instance.
    Cancelled,
    /// The saga's deadline passed before its pivot.
    DeadlineExceeded,
}

impl FailureReason {
    /// The word in the store, in logs and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::OutputRefused => "output_refused",
            Self::Cancelled => "cancelled",
            Self::DeadlineExceeded => "deadline_exceeded",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.step, self.reason) {
            (Some(step), FailureReason::Failed) => {
                write!(f, "step `{step}` failed: {}", self.message)
            }
            (Some(step), FailureReason::Unknown) => write!(
                f,
                "step `{step}` ended with an unknown outcome: {}",
                self.message
            ),
            (Some(step), FailureReason::OutputRefused) => {
                write!(
                    f,
                    "the output of step `{step}` cannot be stored: {}",
                    self.message
                )
            }
            _ => f.write_str(&self.message),
        }
    }
}

/// Why an instance needs an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stuck {
    /// The step to look at first; `None` if no single one is to blame.
    pub step: Option<String>,
    /// What happened.
    pub reason: StuckReason,
    /// The details, with the words of the last error if there is one.
    pub message: String,
}

/// What keeps an instance from going on by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StuckReason {
    /// The pivot may have had its effect: `resolve(pivot, Completed(output) | NoEffect)`, or `retry`.
    PivotInDoubt,
    /// A step after the pivot used up its retries: `retry`, or `resolve(step, Completed(output))`.
    StepGaveUp,
    /// A compensation used up its retries: `retry`, or `resolve(step, Compensated)`.
    CompensationGaveUp,
    /// A step may have had its effect, and its compensation insists on its output, or it has none because it is the last step:
    /// `resolve(step, Completed(output) | NoEffect)`, or `retry`.
    OutcomeUnknown,
    /// The instance was taken over again and again without a step being stored: it may be killing its processes.
    Poison,
    /// A stored value can no longer be read. Deploy code that can read it, then `retry`.
    Undecodable,
}

impl StuckReason {
    /// All reasons.
    pub const ALL: [Self; 6] = [
        Self::PivotInDoubt,
        Self::StepGaveUp,
        Self::CompensationGaveUp,
        Self::OutcomeUnknown,
        Self::Poison,
        Self::Undecodable,
    ];

    /// The word in the store, in logs and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PivotInDoubt => "pivot_in_doubt",
            Self::StepGaveUp => "step_gave_up",
            Self::CompensationGaveUp => "compensation_gave_up",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Poison => "poison",
            Self::Undecodable => "undecodable",
        }
    }
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = self.step.as_deref().unwrap_or("?");
        match self.reason {
            StuckReason::PivotInDoubt => write!(
                f,
                "the pivot `{step}` may have had its effect: {}",
                self.message
            ),
            StuckReason::StepGaveUp => {
                write!(f, "step `{step}` gave up: {}", self.message)
            }
            StuckReason::CompensationGaveUp => {
                write!(f, "the compensation of `{step}` gave up: {}", self.message)
            }
            StuckReason::OutcomeUnknown => {
                write!(
                    f,
                    "nobody knows what became of `{step}`, and without knowing it can neither be undone nor left: {}",
                    self.message
                )
            }
            StuckReason::Poison | StuckReason::Undecodable => f.write_str(&self.message),
        }
    }
}
