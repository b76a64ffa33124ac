//! Attempts that write in a transaction: begun with it, in flight until it has ended.

use super::{Crew, Host, discard, event_of};
use crate::{
    private::{OutputRequest, Prepared},
    saga::Saga,
    state::{Ended, Event, Machine, StepCell},
    step_error::StepError,
};
use std::{any::Any, sync::Arc, time::Duration};

/// An attempt whose transaction is still open.
pub(crate) struct PreparedAttempt {
    pub(crate) step: usize,
    pub(crate) undo: bool,
    pub(crate) prepared: Prepared,
    pub(crate) took: Duration,
}

impl PreparedAttempt {
    /// Rolls it back.
    pub(crate) fn rolled_back(self) -> EndedAttempt {
        discard(self.prepared);
        EndedAttempt {
            step: self.step,
            undo: self.undo,
            output: None,
            took: self.took,
        }
    }
}

/// An attempt whose transaction has ended.
pub(crate) struct EndedAttempt {
    pub(crate) step: usize,
    pub(crate) undo: bool,
    pub(crate) output: Option<Box<dyn Any + Send + Sync>>,
    pub(crate) took: Duration,
}

impl<G: Saga, H: Host<G>> Crew<'_, '_, G, H> {
    /// The transaction of an attempt that begins now.
    #[inline(never)]
    pub(super) fn give_transaction(&mut self, step: usize) {
        let transaction = self.host.transaction(step);
        let index = u16::try_from(step).unwrap_or(u16::MAX);
        // What an attempt has left that was dropped before it took it.
        drop(self.shared.take_transaction(index));
        if let Some(transaction) = transaction {
            self.shared.give_transaction(index, transaction);
        }
    }

    /// An attempt's transaction is committed.
    pub(super) fn committed(
        &mut self,
        machine: &mut Machine<G::PerStep<StepCell>>,
        attempt: EndedAttempt,
    ) {
        let EndedAttempt {
            step,
            undo,
            output,
            took,
        } = attempt;
        self.leave_commit(step);
        if let Some(output) = output {
            // To keep an output cannot fail.
            let _ = self
                .saga
                .output(self.stage.slots, step, OutputRequest::Keep(output));
        }
        self.tell_completed(step, undo, took);
        self.apply(machine, event_of(step, undo, Ended::Completed));
    }

    /// An attempt's transaction is rolled back.
    pub(super) fn rolled_back(
        &mut self,
        machine: &mut Machine<G::PerStep<StepCell>>,
        attempt: EndedAttempt,
        error: StepError,
    ) {
        let (step, undo) = (attempt.step, attempt.undo);
        let ended = self.end_without_output(attempt, error);
        self.apply(machine, event_of(step, undo, ended));
    }

    /// An attempt of a step is rolled back, because what it gave can never be stored.
    pub(super) fn output_refused(
        &mut self,
        machine: &mut Machine<G::PerStep<StepCell>>,
        attempt: EndedAttempt,
        reason: String,
    ) {
        let step = attempt.step;
        self.end_without_output(attempt, StepError::permanent(reason));
        self.apply(machine, Event::StepEnded(step, Ended::OutputRefused));
    }

    fn end_without_output(&mut self, attempt: EndedAttempt, error: StepError) -> Ended {
        let EndedAttempt {
            step,
            undo,
            output,
            took,
        } = attempt;
        discard(output);
        self.leave_commit(step);
        self.failed(step, undo, &Arc::new(error), took)
    }

    fn leave_commit(&mut self, step: usize) {
        self.host.attempt_over(step);
        if let Some(place) = self.place_of(step) {
            self.free(place);
        }
    }
}
