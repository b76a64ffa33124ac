//! The state machine of an instance: `(state, event) -> (state, effects)`.
//!
//! Pure and total: no I/O, no clock, no chance, no failure. The driver feeds it events, carries out its effects, and says
//! when what it asked to be stored is stored. Invariants, each defended by a property test:
//!
//! - P2: a step begins only when the outputs of all its dependencies are stored, and never again once its own is.
//! - P4: a step is compensated only after everything that depends on it has been, and only if it may have had an effect.
//! - P6: nothing is compensated after the pivot, and a pivot in doubt is neither undone nor passed.
//! - No compensation starts before the failure is stored, nor while an action is in flight or an outcome is unsaved.
//!
//! Deliberately not here: delays (the driver computes them), what an output is, who owns the instance.

use crate::{
    definition::{Definition, OnFailure, StepDefinition, StepKind},
    outcome::{FailureReason, StuckReason},
    step_error::Again,
    store::{InstanceState, StepState},
};
use std::time::Duration;

/// Times that a recovery may ask for one more attempt.
pub(crate) const RECOVERIES_MAX: u32 = 10;

/// The end of a list of steps.
const NIL: u16 = u16::MAX;

/// Where a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waits for its dependencies.
    Pending,
    /// An attempt is in flight.
    Running,
    /// Waits for its next attempt.
    Waiting,
    /// Its recovery is asked.
    Recovering,
    /// From the pivot on: it goes no further without an operator.
    GivenUp,
    Completed,
    Failed,
    Unknown,
    /// An attempt to undo it is in flight.
    Undoing,
    /// Waits for its next attempt to undo it.
    UndoWaiting,
    Compensated,
    CompensationFailed,
    Resolved,
}

/// What the machine knows of one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepCell {
    phase: Phase,
    /// An attempt may have had its effect.
    effect: bool,
    /// Its output is known.
    output: bool,
    /// The output cannot be stored: attempting it again would only be refused again.
    refused: bool,
    /// Its undo has ended or is not needed.
    undone: bool,
    /// Records of it that are not stored yet.
    unsaved: u8,
    /// Going forward: dependencies that are not stored. Unwinding: undos to wait for.
    blockers: u16,
    /// The next step in the list of steps whose turn to be undone has come.
    next: u16,
    attempts: u32,
    undo_attempts: u32,
    recoveries: u32,
}

impl StepCell {
    pub(crate) fn new(step: &StepDefinition) -> Self {
        Self {
            phase: Phase::Pending,
            effect: false,
            output: false,
            refused: false,
            undone: false,
            unsaved: 0,
            blockers: index(step.depends_on.len()),
            next: NIL,
            attempts: 0,
            undo_attempts: 0,
            recoveries: 0,
        }
    }
}

/// The state of an instance. `Cells` holds one [`StepCell`] a step.
#[derive(Clone, Debug)]
pub(crate) struct Machine<Cells> {
    definition: &'static Definition,
    /// Whether records are stored later, and [`Event::Stored`] says when; if not, they count as stored at once.
    durable: bool,
    state: InstanceState,
    pivot_passed: bool,
    /// Why it is undone. It is `Some` exactly from the failure on, through `Compensating` and a `Stuck` that followed.
    failure: Option<Cause>,
    /// A cancel that has to wait for the outcome of the pivot.
    cancel: Option<FailureReason>,
    unwinding: bool,
    /// Going on after a crash or a wake-up while compensating: no action starts again.
    resumed: bool,
    /// Attempts in flight, of any kind.
    running: u16,
    /// Steps that wait for an attempt.
    waiting: u16,
    /// Records that are not stored yet.
    unstored: u16,
    /// Steps that are not completed.
    incomplete: u16,
    /// Steps whose undo has not ended.
    to_undo: u16,
    /// Heads the list of steps whose turn to be undone has come.
    turn: u16,
    /// The end was announced.
    ended: bool,
    cells: Cells,
}

/// Why an instance is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) step: Option<u16>,
    pub(crate) reason: FailureReason,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A new instance begins, or a restored one goes on; a cancel may have been requested before.
    Begin { cancel: Option<FailureReason> },
    /// An attempt of a step ended.
    StepEnded(usize, Ended),
    /// An attempt to undo a step ended.
    UndoEnded(usize, Ended),
    /// A recovery ended.
    RecoverEnded(usize, Recovered),
    /// The wait before an attempt is over.
    Due(usize),
    /// A record is stored.
    Stored(Record),
    /// An output was refused for good: the step completed, and will never be stored.
    Refused(usize),
    /// Somebody wants the instance cancelled, or its deadline passed.
    Cancel(FailureReason),
    /// The bound of the grace period passed.
    GraceOver,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Completed,
    Failed {
        again: Again,
        clean: bool,
    },
    /// It timed out or panicked.
    Interrupted,
    /// It was dropped on the machine's demand.
    Dropped,
    /// It was dropped on the machine's demand before it had begun.
    NotBegun,
}

/// How a recovery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recovered {
    RetryAfter(Duration),
    Used,
    Stuck,
}

/// Something to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Step(u16),
    Instance,
}

/// What the driver has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Begin an attempt.
    Attempt { step: usize, attempt: u32 },
    /// Begin an attempt to undo a step; whether its output is known.
    Undo {
        step: usize,
        attempt: u32,
        known: bool,
    },
    /// Ask the recovery of a step.
    Recover { step: usize },
    /// Wait before the next attempt; `after` is the wait that was asked for, else the policy says.
    Wait {
        step: usize,
        attempt: u32,
        undo: bool,
        after: Option<Duration>,
    },
    /// Forget a wait.
    Unwait { step: usize },
    /// Drop an attempt in flight, or only one that is held back and has not begun; answer with [`Ended::Dropped`] or
    /// [`Ended::NotBegun`].
    Drop { step: usize, only_held: bool },
    /// Store it, and answer with [`Event::Stored`].
    Record(Record),
    /// The instance fails.
    Failing(Cause),
    /// Answer with [`Event::GraceOver`] after this time.
    Grace(Duration),
    /// A step is over without an output.
    StepFailed { step: usize, unknown: bool },
    /// A step's output is stored.
    StepStored { step: usize, attempt: u32 },
    /// A step's undo is stored.
    UndoStored { step: usize, attempt: u32 },
    /// A compensation gave up.
    UndoFailed { step: usize },
    /// The pivot was passed before a cancel could be honoured.
    CancelRefused(FailureReason),
    /// The instance completed, rolled back or is stuck, and that is stored.
    Ended(InstanceState),
}

/// Where the effects of an event go.
pub(crate) trait Sink {
    fn effect(&mut self, effect: Effect);
}

/// What of a step is stored, for [`Machine::restore`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub(crate) step: usize,
    pub(crate) state: StepState,
    pub(crate) attempts: u32,
    pub(crate) undo_attempts: u32,
    pub(crate) recoveries: u32,
    pub(crate) output: bool,
    /// It waits for a wake-up.
    pub(crate) waits: bool,
}

fn index(at: usize) -> u16 {
    // A definition has at most `STEPS_MAX` steps.
    u16::try_from(at).unwrap_or(NIL)
}

impl<Cells: AsRef<[StepCell]> + AsMut<[StepCell]>> Machine<Cells> {
    /// A new instance. `cells` holds [`StepCell::new`] of each step.
    pub(crate) fn new(definition: &'static Definition, durable: bool, cells: Cells) -> Self {
        let steps = index(definition.steps.len());
        Self {
            definition,
            durable,
            state: InstanceState::Pending,
            pivot_passed: false,
            failure: None,
            cancel: None,
            unwinding: false,
            resumed: false,
            running: 0,
            waiting: 0,
            unstored: 0,
            incomplete: steps,
            to_undo: steps,
            turn: NIL,
            ended: false,
            cells,
        }
    }

    /// Puts a new machine into the state that is stored. `interrupted`: the former owner died, so every step that was
    /// ready may have run.
    pub(crate) fn restore(
        &mut self,
        state: InstanceState,
        failure: Option<Cause>,
        pivot_passed: bool,
        steps: impl Iterator<Item = Stored>,
        interrupted: bool,
    ) {
        self.state = state;
        self.failure = failure;
        self.pivot_passed = pivot_passed;
        let backward = failure.is_some();
        self.resumed = backward;
        for stored in steps {
            let cell = &mut self.cells.as_mut()[stored.step];
            cell.attempts = stored.attempts;
            cell.undo_attempts = stored.undo_attempts;
            cell.recoveries = stored.recoveries;
            cell.output = stored.output;
            let settled = if stored.output {
                Phase::Completed
            } else {
                Phase::Unknown
            };
            (cell.phase, cell.effect) = match stored.state {
                // Stored while it was undone: it was not begun, and never is.
                StepState::Pending if backward => (Phase::Failed, false),
                StepState::Pending => (Phase::Pending, false),
                StepState::Completed => (Phase::Completed, true),
                StepState::Failed | StepState::Unknown if !backward => {
                    let phase = if stored.waits {
                        Phase::Waiting
                    } else {
                        Phase::Pending
                    };
                    (phase, stored.state == StepState::Unknown)
                }
                StepState::Failed => (Phase::Failed, false),
                // In flight when the instance failed: whether it had its effect was never stored.
                StepState::Running | StepState::Unknown => (Phase::Unknown, true),
                StepState::Compensating if stored.waits => (Phase::UndoWaiting, true),
                StepState::Compensating => (settled, true),
                StepState::Compensated => (Phase::Compensated, true),
                StepState::CompensationFailed => (Phase::CompensationFailed, true),
                StepState::Resolved => (Phase::Resolved, true),
            };
            if backward && matches!(cell.phase, Phase::Waiting) {
                cell.phase = Phase::Unknown;
            }
            if self.definition.steps[stored.step].transactional && cell.phase == Phase::Unknown {
                (cell.phase, cell.effect) = (Phase::Failed, false);
            }
            if stored.state == StepState::Completed {
                self.incomplete -= 1;
                for &dependent in self.definition.steps[stored.step].dependents {
                    self.cells.as_mut()[usize::from(dependent)].blockers -= 1;
                }
            }
        }
        // No start of a step is stored, so whatever could have begun under the former owner may have run.
        let finished_first = failure.is_some_and(|cause| self.finishes_first(cause));
        if interrupted && (!backward || finished_first) {
            for step in 0..self.len() {
                let transactional = self.definition.steps[step].transactional;
                let cell = &mut self.cells.as_mut()[step];
                if !matches!(cell.phase, Phase::Pending | Phase::Waiting)
                    || cell.blockers > 0
                    || transactional
                {
                    continue;
                }
                cell.effect = true;
                if backward {
                    cell.phase = Phase::Unknown;
                }
            }
        }
    }

    /// Whether what does not depend on the failed step is still begun after the failure.
    fn finishes_first(&self, cause: Cause) -> bool {
        self.definition.on_failure == OnFailure::WaitAll && cause.step.is_some()
    }

    pub(crate) fn state(&self) -> InstanceState {
        self.state
    }

    pub(crate) fn pivot_passed(&self) -> bool {
        self.pivot_passed
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether nothing is left but waits for later attempts.
    pub(crate) fn only_waits(&self) -> bool {
        self.running == 0 && self.unstored == 0 && self.waiting > 0 && !self.ended
    }

    fn len(&self) -> usize {
        self.definition.steps.len()
    }

    fn cell(&mut self, step: usize) -> &mut StepCell {
        &mut self.cells.as_mut()[step]
    }

    fn step(&self, step: usize) -> &'static StepDefinition {
        &self.definition.steps[step]
    }

    /// What to store of a step.
    pub(crate) fn row(&self, step: usize) -> (StepState, StepCounts) {
        let cell = &self.cells.as_ref()[step];
        let doubt = if cell.effect {
            StepState::Unknown
        } else {
            StepState::Failed
        };
        let state = match cell.phase {
            Phase::Pending if cell.effect => StepState::Unknown,
            Phase::Pending => StepState::Pending,
            Phase::Running => StepState::Running,
            Phase::Waiting | Phase::Recovering | Phase::GivenUp => doubt,
            // An attempt that was repeated to settle an outcome: what depends on it does not begin any more.
            Phase::Completed if self.unwinding => StepState::Compensating,
            Phase::Completed => StepState::Completed,
            Phase::Failed => StepState::Failed,
            Phase::Unknown => StepState::Unknown,
            Phase::Undoing | Phase::UndoWaiting => StepState::Compensating,
            Phase::Compensated => StepState::Compensated,
            Phase::CompensationFailed => StepState::CompensationFailed,
            Phase::Resolved => StepState::Resolved,
        };
        let counts = StepCounts {
            attempts: cell.attempts,
            undo_attempts: cell.undo_attempts,
            recoveries: cell.recoveries,
        };
        (state, counts)
    }

    /// Whether the row of a step has to have its output.
    pub(crate) fn has_output(&self, step: usize) -> bool {
        self.cells.as_ref()[step].phase == Phase::Completed
    }

    /// What to store of a step when the instance is given up, and what is in flight is dropped; `held`: what is in flight
    /// has not begun.
    pub(crate) fn released_row(&self, step: usize, held: bool) -> (StepState, StepCounts) {
        let cell = &self.cells.as_ref()[step];
        let (state, mut counts) = self.row(step);
        match cell.phase {
            Phase::Running if held => {
                counts.attempts -= 1;
                let fresh = if counts.attempts == 0 {
                    StepState::Pending
                } else {
                    StepState::Failed
                };
                (
                    if cell.effect {
                        StepState::Unknown
                    } else {
                        fresh
                    },
                    counts,
                )
            }
            Phase::Running if self.definition.steps[step].transactional => {
                (StepState::Failed, counts)
            }
            Phase::Running => (StepState::Unknown, counts),
            Phase::Undoing if held => {
                counts.undo_attempts -= 1;
                (state, counts)
            }
            _ => (state, counts),
        }
    }

    /// Whether a step waits for its next attempt.
    pub(crate) fn waits(&self, step: usize) -> bool {
        matches!(
            self.cells.as_ref()[step].phase,
            Phase::Waiting | Phase::UndoWaiting
        )
    }

    /// Steps of which something should be stored when the instance is given up: what waits, and what was begun.
    pub(crate) fn unsettled(&self) -> impl Iterator<Item = usize> {
        self.cells
            .as_ref()
            .iter()
            .enumerate()
            .filter_map(|(step, cell)| {
                let unsettled = match cell.phase {
                    Phase::Pending => cell.effect,
                    Phase::Running
                    | Phase::Waiting
                    | Phase::Recovering
                    | Phase::GivenUp
                    | Phase::Undoing
                    | Phase::UndoWaiting => true,
                    _ => false,
                };
                unsettled.then_some(step)
            })
    }

    /// Why the instance is stuck, and the step to look at first.
    pub(crate) fn stuck(&self) -> (Option<usize>, StuckReason) {
        for (step, cell) in self.cells.as_ref().iter().enumerate() {
            let reason = match cell.phase {
                Phase::GivenUp if self.step(step).kind == StepKind::Pivot => {
                    StuckReason::PivotInDoubt
                }
                Phase::GivenUp => StuckReason::StepGaveUp,
                Phase::CompensationFailed => StuckReason::CompensationGaveUp,
                Phase::Unknown if self.unwinding && !cell.undone && self.insists(step) => {
                    StuckReason::OutcomeUnknown
                }
                _ => continue,
            };
            return (Some(step), reason);
        }
        (None, StuckReason::StepGaveUp)
    }

    fn insists(&self, step: usize) -> bool {
        self.step(step)
            .compensation
            .is_some_and(|undo| undo.insists)
    }

    /// The transition.
    #[inline]
    pub(crate) fn apply(&mut self, event: Event, sink: &mut impl Sink) {
        match event {
            Event::Begin { cancel } => self.begin(cancel, sink),
            Event::StepEnded(step, ended) => self.step_ended(step, ended, sink),
            Event::UndoEnded(step, ended) => self.undo_ended(step, ended, sink),
            Event::RecoverEnded(step, recovered) => self.recover_ended(step, recovered, sink),
            Event::Due(step) => self.due(step, sink),
            Event::Stored(record) => self.stored(record, sink),
            Event::Refused(step) => self.refused(step, sink),
            Event::Cancel(reason) => self.cancel(reason, sink),
            Event::GraceOver => self.drop_running(false, sink),
        }
        self.settle(sink);
    }

    fn begin(&mut self, cancel: Option<FailureReason>, sink: &mut impl Sink) {
        if self.failure.is_some() {
            return;
        }
        if self.state == InstanceState::Pending {
            self.state = InstanceState::Executing;
        }
        // Before a cancel, which ends the waits that a former owner began.
        self.waiting = index(
            self.cells
                .as_ref()
                .iter()
                .filter(|cell| cell.phase == Phase::Waiting)
                .count(),
        );
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

    #[inline]
    fn attempt(&mut self, step: usize, sink: &mut impl Sink) {
        self.running += 1;
        let cell = self.cell(step);
        cell.phase = Phase::Running;
        cell.attempts = cell.attempts.saturating_add(1);
        let attempt = cell.attempts;
        sink.effect(Effect::Attempt { step, attempt });
    }

    fn undo(&mut self, step: usize, sink: &mut impl Sink) {
        self.running += 1;
        let cell = self.cell(step);
        cell.phase = Phase::Undoing;
        cell.undo_attempts = cell.undo_attempts.saturating_add(1);
        let (attempt, known) = (cell.undo_attempts, cell.output);
        sink.effect(Effect::Undo {
            step,
            attempt,
            known,
        });
    }

    #[inline]
    fn step_ended(&mut self, step: usize, ended: Ended, sink: &mut impl Sink) {
        self.running -= 1;
        let definition = self.step(step);
        let cell = &mut self.cells.as_mut()[step];
        let again = match ended {
            Ended::Completed => return self.completed(step, sink),
            Ended::NotBegun => {
                cell.attempts -= 1;
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
                cell.effect = true;
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
        let honour_cancel = definition.kind == StepKind::Pivot && self.cancel.is_some() && !effect;
        // While it is undone, only an attempt that settles an outcome is made again.
        let goes_on = self.state == InstanceState::Executing || self.unwinding;
        match after {
            Some(after) if goes_on && !honour_cancel => {
                self.wait(step, attempts, false, after, sink);
            }
            _ => self.gave_up(step, sink),
        }
    }

    fn wait(
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
    fn completed(&mut self, step: usize, sink: &mut impl Sink) {
        self.incomplete -= 1;
        if self.definition.pivot == Some(index(step)) {
            self.pivot_passed = true;
            if let Some(reason) = self.cancel.take() {
                sink.effect(Effect::CancelRefused(reason));
            }
        }
        let cell = self.cell(step);
        cell.phase = Phase::Completed;
        cell.effect = true;
        cell.output = true;
        if self.incomplete == 0 && self.state == InstanceState::Executing {
            self.state = InstanceState::Completed;
        }
        self.record(Record::Step(index(step)), sink);
    }

    /// The step is not attempted again.
    fn gave_up(&mut self, step: usize, sink: &mut impl Sink) {
        let definition = self.step(step);
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

    /// From here on the instance is undone. Everything that was begun is stored with the failure.
    fn fail(&mut self, cause: Cause, sink: &mut impl Sink) {
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
    fn drop_running(&mut self, only_held: bool, sink: &mut impl Sink) {
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

    fn cancel(&mut self, reason: FailureReason, sink: &mut impl Sink) {
        if self.failure.is_some() || self.cancel.is_some() {
            return;
        }
        if self.pivot_passed || self.state != InstanceState::Executing {
            return sink.effect(Effect::CancelRefused(reason));
        }
        let pivot_decides = self.definition.pivot.is_some_and(|pivot| {
            let cell = &self.cells.as_ref()[usize::from(pivot)];
            match cell.phase {
                Phase::Running => true,
                Phase::Pending | Phase::Waiting | Phase::GivenUp => cell.effect,
                _ => false,
            }
        });
        if pivot_decides {
            self.cancel = Some(reason);
        } else {
            self.fail(Cause { step: None, reason }, sink);
        }
    }

    fn due(&mut self, step: usize, sink: &mut impl Sink) {
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

    fn recover_ended(&mut self, step: usize, recovered: Recovered, sink: &mut impl Sink) {
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

    fn undo_ended(&mut self, step: usize, ended: Ended, sink: &mut impl Sink) {
        self.running -= 1;
        let policy = self.step(step).compensation.map(|undo| undo.retry);
        let cell = &mut self.cells.as_mut()[step];
        let after = match ended {
            Ended::Completed => {
                cell.phase = Phase::Compensated;
                return self.record(Record::Step(index(step)), sink);
            }
            Ended::Failed {
                again: Again::Pending(delay),
                ..
            } => {
                cell.undo_attempts -= 1;
                Some(Some(delay))
            }
            Ended::NotBegun => {
                cell.undo_attempts -= 1;
                Some(None)
            }
            Ended::Failed {
                again: Again::No, ..
            } => None,
            Ended::Failed {
                again: Again::Yes(after),
                ..
            } => Some(after),
            Ended::Interrupted | Ended::Dropped => Some(None),
        };
        let undo_attempts = cell.undo_attempts;
        let goes_on = policy.is_some_and(|policy| policy.again_after(undo_attempts));
        let uncounted = matches!(
            ended,
            Ended::Failed {
                again: Again::Pending(_),
                ..
            }
        );
        match after {
            Some(after) if goes_on || uncounted => {
                self.wait(step, undo_attempts, true, after, sink);
            }
            _ => {
                self.cell(step).phase = Phase::CompensationFailed;
                sink.effect(Effect::UndoFailed { step });
                self.record(Record::Step(index(step)), sink);
            }
        }
    }

    fn refused(&mut self, step: usize, sink: &mut impl Sink) {
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
    fn record(&mut self, record: Record, sink: &mut impl Sink) {
        if !self.durable {
            if let Record::Step(step) = record {
                self.step_stored(usize::from(step), sink);
            }
            return;
        }
        self.unstored += 1;
        if let Record::Step(step) = record {
            self.cell(usize::from(step)).unsaved += 1;
        }
        sink.effect(Effect::Record(record));
    }

    fn stored(&mut self, record: Record, sink: &mut impl Sink) {
        self.unstored -= 1;
        let Record::Step(step) = record else { return };
        let step = usize::from(step);
        let cell = &mut self.cells.as_mut()[step];
        cell.unsaved -= 1;
        // If not, a newer record of it is on its way.
        if cell.unsaved == 0 {
            self.step_stored(step, sink);
        }
    }

    /// What is stored of a step is how it is.
    #[inline]
    fn step_stored(&mut self, step: usize, sink: &mut impl Sink) {
        let cell = &mut self.cells.as_mut()[step];
        match cell.phase {
            Phase::Completed => {
                let attempt = cell.attempts;
                sink.effect(Effect::StepStored { step, attempt });
                if self.unwinding {
                    // The attempt was repeated to settle an outcome.
                    self.enqueue(step);
                } else {
                    self.release_dependents(step, sink);
                }
            }
            Phase::Compensated => {
                let attempt = cell.undo_attempts;
                sink.effect(Effect::UndoStored { step, attempt });
                self.undone(step);
            }
            Phase::Failed if self.unwinding => self.enqueue(step),
            _ => {}
        }
    }

    #[inline]
    fn release_dependents(&mut self, step: usize, sink: &mut impl Sink) {
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

    /// After each event: what follows when nothing else is under way.
    #[inline]
    fn settle(&mut self, sink: &mut impl Sink) {
        if self.unwinding {
            self.take_turns(sink);
        }
        if self.ended || self.unstored > 0 || self.running > 0 {
            return;
        }
        match self.state {
            InstanceState::Executing if self.waiting == 0 => self.stick(sink),
            InstanceState::Compensating if !self.unwinding => {
                self.start_unwinding(sink);
                return self.settle(sink);
            }
            InstanceState::Compensating if self.to_undo == 0 => {
                self.state = InstanceState::RolledBack;
                self.record(Record::Instance, sink);
            }
            InstanceState::Compensating if self.waiting == 0 => self.stick(sink),
            _ => {}
        }
        if !self.state.is_live() && self.unstored == 0 {
            self.ended = true;
            sink.effect(Effect::Ended(self.state));
        }
    }

    fn stick(&mut self, sink: &mut impl Sink) {
        self.state = InstanceState::Stuck;
        for step in 0..self.len() {
            if matches!(self.cells.as_ref()[step].phase, Phase::GivenUp) {
                self.record(Record::Step(index(step)), sink);
            }
        }
        self.record(Record::Instance, sink);
    }

    fn start_unwinding(&mut self, sink: &mut impl Sink) {
        self.unwinding = true;
        for step in 0..self.len() {
            let definition = self.step(step);
            let after = definition.compensation.map_or(0, |undo| undo.after.len());
            let cell = self.cell(step);
            cell.blockers = index(definition.dependents.len() + after);
            if cell.phase == Phase::UndoWaiting {
                let attempt = cell.undo_attempts;
                self.waiting += 1;
                sink.effect(Effect::Wait {
                    step,
                    attempt,
                    undo: true,
                    after: None,
                });
            }
        }
        for step in 0..self.len() {
            if self.cells.as_ref()[step].blockers == 0 {
                self.enqueue(step);
            }
        }
    }

    /// Its turn to be undone has come.
    fn enqueue(&mut self, step: usize) {
        self.cells.as_mut()[step].next = self.turn;
        self.turn = index(step);
    }

    fn take_turns(&mut self, sink: &mut impl Sink) {
        while self.turn != NIL {
            let step = usize::from(self.turn);
            self.turn = self.cells.as_ref()[step].next;
            self.take_turn(step, sink);
        }
    }

    fn take_turn(&mut self, step: usize, sink: &mut impl Sink) {
        let undo = self.step(step).compensation;
        let cell = &self.cells.as_ref()[step];
        match (cell.phase, undo) {
            (Phase::Completed | Phase::Unknown, None) => self.undone(step),
            (Phase::Unknown, Some(undo)) if undo.insists => {
                if !cell.refused {
                    self.attempt(step, sink);
                }
            }
            (Phase::Completed | Phase::Unknown, Some(_)) => self.undo(step, sink),
            (Phase::UndoWaiting | Phase::CompensationFailed, _) => {}
            _ => self.undone(step),
        }
    }

    /// The undo of a step has ended or is not needed: those that waited for it may have their turn.
    fn undone(&mut self, step: usize) {
        let definition = self.step(step);
        if std::mem::replace(&mut self.cell(step).undone, true) {
            return;
        }
        self.to_undo -= 1;
        let before = definition.compensation.map_or(&[][..], |undo| undo.before);
        for &other in definition.depends_on.iter().chain(before) {
            let cell = self.cell(usize::from(other));
            cell.blockers -= 1;
            if cell.blockers == 0 {
                self.enqueue(usize::from(other));
            }
        }
    }
}

/// How often things were tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StepCounts {
    pub(crate) attempts: u32,
    pub(crate) undo_attempts: u32,
    pub(crate) recoveries: u32,
}
