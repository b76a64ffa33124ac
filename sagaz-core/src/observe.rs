//! What happens to instances and engines, as it happens.
//!
//! An [`Observer`] sees every lifecycle event. Tracing, metrics and logs are built on it; the core itself writes none.
//! Invariant: events carry names, numbers and the words of errors, and never an input or an output.

use crate::{
    id::{EngineId, SagaId},
    outcome::{Failure, Stuck},
    step_error::StepError,
    store::{InstanceState, StoreError},
};
use std::time::Duration;

/// Is told of every lifecycle event.
///
/// Called on the engine's own tasks: return quickly, and do not block. An engine catches its panics; in a run in process, a
/// panic in it is one of the run.
///
/// ```
/// use sagaz_core::{Lifecycle, Observer};
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// #[derive(Default)]
/// struct Retries(AtomicU64);
///
/// impl Observer for Retries {
///     fn observe(&self, event: &Lifecycle<'_>) {
///         if let Lifecycle::StepRetried { .. } = event {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
/// ```
pub trait Observer: Send + Sync + 'static {
    /// Something happened.
    fn observe(&self, event: &Lifecycle<'_>);
}

/// Which instance an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The name of the saga.
    pub saga: &'static str,
    /// The instance.
    pub id: SagaId,
}

/// Something that happened to an instance or to an engine.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Lifecycle<'a> {
    /// An instance was stored.
    Accepted {
        /// Which.
        instance: Instance,
    },
    /// An engine took an instance: a new one, one that was due, or one whose owner died.
    Claimed {
        /// Which.
        instance: Instance,
        /// Whether its owner died.
        taken_over: bool,
        /// Whether it runs as a suspect.
        suspect: bool,
    },
    /// An attempt of a step began.
    StepStarted {
        /// Which.
        instance: Instance,
        /// The step.
        step: &'static str,
        /// The number of the attempt; the first is 1.
        attempt: u32,
    },
    /// An attempt of a step or of a compensation ended with success; what it says is not stored yet.
    AttemptCompleted {
        /// Which.
        instance: Instance,
        /// The step.
        step: &'static str,
        /// The number of the attempt.
        attempt: u32,
        /// Whether it was an attempt to undo the step.
        compensation: bool,
        /// How long it ran.
        took: Duration,
    },
    /// A step completed, and its output is stored.
    StepCompleted {
        /// Which.
        instance: Instance,
        /// The step.
        step: &'static str,
        /// The attempt that completed it.
        attempt: u32,
    },
    /// An attempt of a step, of a compensation or of a recovery ended without success.
    AttemptFailed {
        /// Which.
        instance: Instance,
        /// The step.
        step: &'static str,
        /// The number of the attempt.
        attempt: u32,
        /// Whether it was an attempt to undo the step.
        compensation: bool,
        /// What happened.
        error: AttemptError<'a>,
        /// How long it ran.
        took: Duration,
    },
    /// A step will be attempted again.
    StepRetried {
        /// Which.
        instance: Instance,
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
        instance: Instance,
        /// The step.
        step: &'static str,
        /// Whether it may have had its effect.
        unknown: bool,
    },
    /// The instance failed and is being undone.
    Compensating {
        /// Which.
        instance: Instance,
        /// Why.
        failure: &'a Failure,
    },
    /// An attempt to undo a step began.
    CompensationStarted {
        /// Which.
        instance: Instance,
        /// The step that is undone.
        step: &'static str,
        /// The number of the attempt; the first is 1.
        attempt: u32,
    },
    /// A step was undone, and that is stored.
    Compensated {
        /// Which.
        instance: Instance,
        /// The step.
        step: &'static str,
        /// The attempt that undid it.
        attempt: u32,
    },
    /// A compensation will be attempted again.
    CompensationRetried {
        /// Which.
        instance: Instance,
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
        instance: Instance,
        /// The step.
        step: &'static str,
    },
    /// The retries of a step after the pivot are used up, and its recovery is asked.
    RecoveryStarted {
        /// Which.
        instance: Instance,
        /// The step.
        step: &'static str,
    },
    /// The instance completed or was rolled back.
    Finished {
        /// Which.
        instance: Instance,
        /// `Completed` or `RolledBack`.
        state: InstanceState,
    },
    /// The instance needs an operator.
    Stuck {
        /// Which.
        instance: Instance,
        /// Why.
        stuck: &'a Stuck,
    },
    /// A request to cancel, or a deadline, came too late: the pivot is passed.
    CancelRefused {
        /// Which.
        instance: Instance,
        /// Whether it was the deadline.
        deadline: bool,
    },
    /// The instance was given up in good order: it waits for a wake-up, or its engine shuts down.
    Released {
        /// Which.
        instance: Instance,
    },
    /// Another engine owns the instance: the work on it here was dropped.
    LeaseLost {
        /// Which.
        instance: Instance,
    },
    /// An output could not be stored.
    OutputRefused {
        /// Which.
        instance: Instance,
        /// The step.
        step: &'static str,
        /// Why.
        reason: &'a str,
    },
    /// A batch of writes is stored.
    BatchStored {
        /// The engine.
        engine: EngineId,
        /// How many writes it had.
        writes: usize,
        /// How long it took, failed tries included.
        took: Duration,
    },
    /// The store did not answer, or was busy. The engine tries again; no step fails for it.
    StoreUnavailable {
        /// The engine.
        engine: EngineId,
        /// Why.
        error: &'a StoreError,
    },
    /// The engine renewed its lease.
    LeaseRenewed {
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
