//! What happens to instances and engines.

use super::{AttemptKind, Trace};
use crate::{
    id::{EngineId, SagaId},
    outcome::{Failure, Stuck},
    step_error::StepError,
    store::{InstanceState, StoreError},
};
use std::{fmt, time::Duration};

/// Which instance an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Instance<'a> {
    /// The name of the saga.
    pub saga: &'static str,
    /// The instance.
    pub id: SagaId,
    /// The trace that it belongs to, if it is known.
    pub trace: Option<&'a Trace>,
}

impl<'a> Instance<'a> {
    pub(crate) const fn new(saga: &'static str, id: SagaId, trace: Option<&'a Trace>) -> Self {
        Self { saga, id, trace }
    }
}

/// Something that happened to an instance or to an engine.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Lifecycle<'a> {
    /// An instance was stored.
    Accepted {
        /// Which.
        instance: Instance<'a>,
    },
    /// An engine took an instance: a new one, one that was due, or one whose owner died.
    Claimed {
        /// Which.
        instance: Instance<'a>,
        /// Whether its owner died.
        taken_over: bool,
        /// Whether it runs as a suspect.
        suspect: bool,
    },
    /// An attempt of a step began.
    StepStarted {
        /// Which.
        instance: Instance<'a>,
        /// The step.
        step: &'static str,
        /// The number of the attempt; the first is 1.
        attempt: u32,
    },
    /// An attempt of a step or of a compensation ended with success; what it says is not stored yet.
    AttemptCompleted {
        /// Which.
        instance: Instance<'a>,
        /// The step.
        step: &'static str,
        /// The number of the attempt.
        attempt: u32,
        /// What it was an attempt to do.
        kind: AttemptKind,
        /// How long it ran.
        took: Duration,
    },
    /// A step completed, and its output is stored.
    StepCompleted {
        /// Which.
        instance: Instance<'a>,
        /// The step.
        step: &'static str,
        /// The attempt that completed it.
        attempt: u32,
    },
    /// An attempt of a step, of a compensation or of a recovery ended without success.
    AttemptFailed {
        /// Which.
        instance: Instance<'a>,
        /// The step.
        step: &'static str,
        /// The number of the attempt.
        attempt: u32,
        /// What it was an attempt to do.
        kind: AttemptKind,
        /// What happened.
        error: AttemptError<'a>,
        /// How long it ran; zero of one that was dropped, and of a recovery, of which nobody asks.
        took: Duration,
    },
    /// A step will be attempted again.
    StepRetried {
        /// Which.
        instance: Instance<'a>,
        /// The step.
        step: &'static str,
        /// The attempt that failed.
        attempt: u32,
        /// The wait before the next.
        delay: Duration,
    },
    /// A step is over, without an output.
    StepFailed {
        /// Which.
        instance: Instance<'a>,
        /// The step.
        step: &'static str,
        /// Whether it may have had its effect.
        unknown: bool,
    },
    /// The instance failed and is being undone.
    Compensating {
        /// Which.
        instance: Instance<'a>,
        /// Why.
        failure: &'a Failure,
    },
    /// An attempt to undo a step began.
    CompensationStarted {
        /// Which.
        instance: Instance<'a>,
        /// The step that is undone.
        step: &'static str,
        /// The number of the attempt; the first is 1.
        attempt: u32,
    },
    /// A step was undone, and that is stored.
    Compensated {
        /// Which.
        instance: Instance<'a>,
        /// The step.
        step: &'static str,
        /// The attempt that undid it.
        attempt: u32,
    },
    /// A compensation will be attempted again.
    CompensationRetried {
        /// Which.
        instance: Instance<'a>,
        /// The step.
        step: &'static str,
        /// The attempt that failed.
        attempt: u32,
        /// The wait before the next.
        delay: Duration,
    },
    /// A compensation gave up.
    CompensationFailed {
        /// Which.
        instance: Instance<'a>,
        /// The step.
        step: &'static str,
    },
    /// The retries of a step after the pivot are used up, and its recovery is asked.
    RecoveryStarted {
        /// Which.
        instance: Instance<'a>,
        /// The step.
        step: &'static str,
    },
    /// The instance completed or was rolled back.
    Finished {
        /// Which.
        instance: Instance<'a>,
        /// `Completed` or `RolledBack`.
        state: InstanceState,
        /// How long ago it was accepted: of one that another process accepted, by the clocks of store and process.
        age: Duration,
    },
    /// The instance needs an operator.
    Stuck {
        /// Which.
        instance: Instance<'a>,
        /// Why.
        stuck: &'a Stuck,
    },
    /// A request to cancel, or a deadline, came too late: the pivot is passed, or every step is done.
    CancelRefused {
        /// Which.
        instance: Instance<'a>,
        /// Whether it was the deadline.
        deadline: bool,
    },
    /// The instance was given up in good order: it waits for a wake-up, or its engine shuts down.
    Released {
        /// Which.
        instance: Instance<'a>,
    },
    /// What drives the instance panicked, which is a bug of this library or of a codec; it goes on from what is stored, as after a
    /// takeover.
    DriverPanicked {
        /// Which.
        instance: Instance<'a>,
    },
    /// Another engine owns the instance: the work on it here was dropped.
    LeaseLost {
        /// Which.
        instance: Instance<'a>,
    },
    /// An output could not be stored.
    OutputRefused {
        /// Which.
        instance: Instance<'a>,
        /// The step.
        step: &'static str,
        /// Why.
        reason: &'a str,
    },
    /// A batch of writes is stored.
    BatchStored {
        /// The engine.
        engine: EngineId,
        /// What its store is.
        store: &'static str,
        /// How many writes it had.
        writes: usize,
        /// How long it took, failed tries included.
        took: Duration,
    },
    /// A write was not applied. It was another owner's instance, or somebody else holds its row, and it is tried again.
    WriteConflict {
        /// The engine.
        engine: EngineId,
        /// What its store is.
        store: &'static str,
        /// Whether the instance is another owner's.
        lost: bool,
    },
    /// The store did not answer, or was busy. The engine tries again; no step fails for it.
    StoreUnavailable {
        /// The engine.
        engine: EngineId,
        /// What its store is.
        store: &'static str,
        /// Why.
        error: &'a StoreError,
    },
    /// The engine renewed its lease.
    LeaseRenewed {
        /// The engine.
        engine: EngineId,
        /// Whether it had lapsed: others may have taken its instances over.
        lapsed: bool,
    },
    /// The engine could not renew its lease; it tries again. What the store said is told as [`StoreUnavailable`](Self::StoreUnavailable).
    LeaseNotRenewed {
        /// The engine.
        engine: EngineId,
    },
}

/// How an attempt ended without success.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum AttemptError<'a> {
    /// With an error.
    Error(&'a StepError),
    /// Its timeout passed, and it was dropped.
    TimedOut,
    /// It panicked.
    Panicked,
    /// It was dropped: by `fail_fast`, or at the end of a grace period.
    Dropped,
}

impl AttemptError<'_> {
    /// In one word, for metrics, logs and traces.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Error(error) if error.is_pending() => "pending",
            Self::Error(_) => "failed",
            Self::TimedOut => "timed_out",
            Self::Panicked => "panicked",
            Self::Dropped => "dropped",
        }
    }
}

impl fmt::Display for AttemptError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => error.fmt(f),
            Self::TimedOut => f.write_str("its timeout passed"),
            Self::Panicked => f.write_str("it panicked"),
            Self::Dropped => f.write_str("it was dropped"),
        }
    }
}
