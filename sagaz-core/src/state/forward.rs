//! Going forward: attempts, and what follows from how they end, up to the failure that turns the instance back.

use super::{
    Cause, Effect, Ended, Machine, NIL, Phase, RECOVERIES_MAX, Record, Recovered, Sink, StepCell,
    index,
};
use crate::{
    definition::{OnFailure, StepKind},
    outcome::FailureReason,
    step_error::Again,
    store::InstanceState,
};
use std::time::Duration;

impl<Cells: AsRef<[StepCell]> + AsMut<[StepCell]>> Machine<Cells> {
    pub(super) fn begin(&mut self, cancel: Option<FailureReason>, sink: &mut impl Sink) {
        if self.failure.is_some() {
            return self.record_doubts(sink);
        }
        if self.state == InstanceState::Pending {
            self.state = InstanceState::Executing;
        }
        self.record_doubts(sink);
        if let Some(reason) = cancel {
            self.cancel(reason, sink);
            if self.failure.is_some() {
                return;
            }
        }
        for step in 0..self.len() {
            let cell = &self.cells.as_ref()[step];
            match cell.phase {
                Phase::Pending if cell.blockers == 0 => self.attempt(step, sink),
                Phase::Waiting => {
                    let attempt = cell.attempts;
                    sink.effect(Effect::Wait {
                        step,
                        attempt,
                        undo: false,
                        after: None,
                    });
                }
                _ => {}
            }
        }
        if self.incomplete == 0 {
            self.state = InstanceState::Completed;
            self.record(Record::Instance, sink);
        }
    }

    /// Stores which steps are in doubt since the former owner died, before anything is undone: the next owner could not
    /// tell any more.
    fn record_doubts(&mut self, sink: &mut impl Sink) {
        while self.turn != NIL {
            let step = usize::from(self.turn);
            self.turn = self.cells.as_ref()[step].next;
            self.record(Record::Step(index(step)), sink);
        }
    }

    #[inline]
    pub(super) fn attempt(&mut self, step: usize, sink: &mut impl Sink) {
        self.running += 1;
        let cell = self.cell(step);
        cell.phase = Phase::Running;
        cell.attempts = cell.attempts.saturating_add(1);
        let attempt = cell.attempts;
        sink.effect(Effect::Attempt { step, attempt });
    }

    pub(super) fn step_ended(&mut self, step: usize, ended: Ended, sink: &mut impl Sink) {
        self.running -= 1;
        let definition = self.step(step);
        let cell = &mut self.cells.as_mut()[step];
        let again = match ended {
            Ended::Completed => return self.completed(step, sink),
            Ended::NotBegun => {
                cell.attempts -= 1;
                Again::No
            }
            Ended::OutputRefused => {
                cell.refused = true;
                Again::No
            }
            Ended::Dropped | Ended::Interrupted => {
                cell.effect |= !definition.transactional;
                if ended == Ended::Dropped {
                    Again::No
                } else {
                    Again::Yes(None)
                }
            }
            Ended::Failed {
                again: again @ Again::Pending(_),
                ..
            } => {
                cell.effect |= !definition.transactional;
                cell.attempts -= 1;
                again
            }
            Ended::Failed { again, clean } => {
                if clean && again == Again::No {
                    // Permanent: no attempt under this key had an effect.
                    cell.effect = false;
                } else if !clean && !definition.atomic && !definition.transactional {
                    cell.effect = true;
                }
                again
            }
        };
        let (effect, attempts) = (cell.effect, cell.attempts);
        let after = match again {
            Again::Pending(delay) => Some(Some(delay)),
            Again::Yes(after) if definition.retry.again_after(attempts) => Some(after),
            Again::Yes(_) | Again::No => None,
        };
        // It waits for the outcome of this very step.
        let honour_cancel =
            self.cancel.is_some() && !effect && self.definition.decisive() == Some(step);
        // While it is undone, only an attempt that settles an outcome is made again.
        let goes_on = self.state == InstanceState::Executing || self.unwinding;
        match after {
            Some(after) if goes_on && !honour_cancel => {
                self.wait(step, attempts, false, after, sink);
            }
            _ => self.gave_up(step, sink),
        }
    }

    pub(super) fn wait(
        &mut self,
        step: usize,
        attempt: u32,
        undo: bool,
        after: Option<Duration>,
        sink: &mut impl Sink,
    ) {
        self.waiting += 1;
        self.cell(step).phase = if undo {
            Phase::UndoWaiting
        } else {
            Phase::Waiting
        };
        sink.effect(Effect::Wait {
            step,
            attempt,
            undo,
            after,
        });
    }

    #[inline]
    pub(super) fn completed(&mut self, step: usize, sink: &mut impl Sink) {
        self.incomplete -= 1;
        if self.definition.pivot == Some(index(step)) {
            self.pivot_passed = true;
            self.refuse_cancel(sink);
        }
        let cell = self.cell(step);
        cell.phase = Phase::Completed;
        cell.effect = true;
        cell.output = true;
        if self.incomplete == 0 && self.state == InstanceState::Executing {
            self.state = InstanceState::Completed;
            self.refuse_cancel(sink);
        }
        self.record(Record::Step(index(step)), sink);
    }

    /// What a cancel waited for has completed.
    fn refuse_cancel(&mut self, sink: &mut impl Sink) {
        if let Some(reason) = self.cancel.take() {
            sink.effect(Effect::CancelRefused(reason));
        }
    }

    /// The step is not attempted again.
    pub(super) fn gave_up(&mut self, step: usize, sink: &mut impl Sink) {
        let definition = self.step(step);
        let in_doubt = self.failure.is_none() && self.is_in_doubt();
        let cell = &mut self.cells.as_mut()[step];
        let effect = cell.effect;
        match definition.kind {
            StepKind::Pivot if effect => cell.phase = Phase::GivenUp,
            StepKind::Retriable
                if definition.recovery && cell.recoveries <= RECOVERIES_MAX && !cell.refused =>
            {
                cell.phase = Phase::Recovering;
                self.running += 1;
                return sink.effect(Effect::Recover { step });
            }
            StepKind::Retriable => cell.phase = Phase::GivenUp,
            // What decides may have happened, this step or, in an instance of an older version, one after it: only an operator can tell.
            StepKind::Compensatable if in_doubt => cell.phase = Phase::GivenUp,
            StepKind::Compensatable | StepKind::Pivot => {
                // A step that was never begun is not over; it just does not run.
                let untouched = !effect && cell.attempts == 0;
                cell.phase = match effect {
                    true => Phase::Unknown,
                    false if untouched => Phase::Pending,
                    false => Phase::Failed,
                };
                if !untouched {
                    sink.effect(Effect::StepFailed {
                        step,
                        unknown: effect,
                    });
                }
                if self.failure.is_some() {
                    return self.record(Record::Step(index(step)), sink);
                }
                let reason = match self.cancel.take() {
                    Some(reason) => Cause { step: None, reason },
                    None if self.cells.as_ref()[step].refused => Cause {
                        step: Some(index(step)),
                        reason: FailureReason::OutputRefused,
                    },
                    None if effect => Cause {
                        step: Some(index(step)),
                        reason: FailureReason::Unknown,
                    },
                    None => Cause {
                        step: Some(index(step)),
                        reason: FailureReason::Failed,
                    },
                };
                return self.fail(reason, sink);
            }
        }
        sink.effect(Effect::StepFailed {
            step,
            unknown: effect,
        });
    }

    /// Whether what decides may have happened.
    fn is_in_doubt(&self) -> bool {
        let decisive = self.definition.decisive();
        decisive.is_some_and(|step| self.cells.as_ref()[step].effect)
    }

    /// From here on the instance is undone. Everything that was begun is stored with the failure.
    pub(super) fn fail(&mut self, cause: Cause, sink: &mut impl Sink) {
        self.state = InstanceState::Compensating;
        self.failure = Some(cause);
        sink.effect(Effect::Failing(cause));
        for step in 0..self.len() {
            let cell = &mut self.cells.as_mut()[step];
            match cell.phase {
                Phase::Waiting => {
                    cell.phase = if cell.effect {
                        Phase::Unknown
                    } else {
                        Phase::Failed
                    };
                    self.waiting -= 1;
                    sink.effect(Effect::Unwait { step });
                }
                // Ready when its former owner died, and not begun anew.
                Phase::Pending if cell.effect => cell.phase = Phase::Unknown,
                Phase::Running | Phase::Failed | Phase::Unknown => {}
                _ => continue,
            }
            self.record(Record::Step(index(step)), sink);
        }
        self.record(Record::Instance, sink);
        if self.running == 0 {
            return;
        }
        match self.definition.on_failure {
            OnFailure::FailFast => self.drop_running(false, sink),
            OnFailure::WaitAll if self.finishes_first(cause) => {}
            OnFailure::WaitAll | OnFailure::Grace(None) => self.drop_running(true, sink),
            OnFailure::Grace(Some(bound)) => {
                self.drop_running(true, sink);
                sink.effect(Effect::Grace(bound));
            }
        }
    }

    /// Drops the attempts in flight, except a pivot's. The driver answers for each.
    pub(super) fn drop_running(&mut self, only_held: bool, sink: &mut impl Sink) {
        if self.unwinding || self.failure.is_none() {
            return;
        }
        for step in 0..self.len() {
            if self.cells.as_ref()[step].phase == Phase::Running
                && self.step(step).kind != StepKind::Pivot
            {
                sink.effect(Effect::Drop { step, only_held });
            }
        }
    }

    pub(super) fn cancel(&mut self, reason: FailureReason, sink: &mut impl Sink) {
        if self.failure.is_some() || self.cancel.is_some() {
            return;
        }
        let is_decided = self.pivot_passed || self.incomplete == 0;
        if is_decided || self.state != InstanceState::Executing {
            return sink.effect(Effect::CancelRefused(reason));
        }
        let Some(step) = self.decider() else {
            return self.fail(Cause { step: None, reason }, sink);
        };
        self.cancel = Some(reason);
        let cell = &self.cells.as_ref()[step];
        // One that is held back has not begun, and need not.
        if cell.phase == Phase::Running && !cell.effect {
            sink.effect(Effect::Drop {
                step,
                only_held: true,
            });
        }
    }

    /// The step whose outcome a cancel has to wait for: it runs, or may have had its effect.
    fn decider(&self) -> Option<usize> {
        let step = self.definition.decisive()?;
        let cell = &self.cells.as_ref()[step];
        let decides = match cell.phase {
            Phase::Running => true,
            Phase::Pending | Phase::Waiting | Phase::GivenUp => cell.effect,
            _ => false,
        };
        decides.then_some(step)
    }

    pub(super) fn due(&mut self, step: usize, sink: &mut impl Sink) {
        match self.cells.as_ref()[step].phase {
            Phase::Waiting => {
                self.waiting -= 1;
                self.attempt(step, sink);
            }
            Phase::UndoWaiting => {
                self.waiting -= 1;
                self.undo(step, sink);
            }
            _ => {}
        }
    }

    pub(super) fn recover_ended(
        &mut self,
        step: usize,
        recovered: Recovered,
        sink: &mut impl Sink,
    ) {
        self.running -= 1;
        match recovered {
            Recovered::Used => self.completed(step, sink),
            Recovered::RetryAfter(delay)
                if self.cells.as_ref()[step].recoveries < RECOVERIES_MAX =>
            {
                let cell = self.cell(step);
                cell.recoveries += 1;
                let attempts = cell.attempts;
                self.wait(step, attempts, false, Some(delay), sink);
            }
            Recovered::RetryAfter(_) | Recovered::Stuck => {
                let cell = self.cell(step);
                cell.phase = Phase::GivenUp;
                let unknown = cell.effect;
                sink.effect(Effect::StepFailed { step, unknown });
            }
        }
    }

    pub(super) fn refused(&mut self, step: usize, sink: &mut impl Sink) {
        self.incomplete += 1;
        self.unstored -= 1;
        if self.state == InstanceState::Completed {
            self.state = InstanceState::Executing;
        }
        let is_pivot = self.step(step).kind == StepKind::Pivot;
        if is_pivot {
            self.pivot_passed = false;
        }
        let cell = self.cell(step);
        cell.unsaved -= 1;
        cell.output = false;
        cell.effect = true;
        cell.refused = true;
        self.gave_up(step, sink);
    }

    #[inline]
    pub(super) fn release_dependents(&mut self, step: usize, sink: &mut impl Sink) {
        let goes_on = match self.state {
            InstanceState::Executing => true,
            InstanceState::Compensating => {
                !self.resumed && self.failure.is_some_and(|cause| self.finishes_first(cause))
            }
            _ => false,
        };
        for &dependent in self.step(step).dependents {
            let dependent = usize::from(dependent);
            let cell = self.cell(dependent);
            cell.blockers -= 1;
            if goes_on && cell.blockers == 0 && cell.phase == Phase::Pending {
                self.attempt(dependent, sink);
            }
        }
    }
}
