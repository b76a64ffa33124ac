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

mod forward;
#[cfg(test)]
mod properties;
mod restore;
mod rows;
mod unwind;

use crate::{
    definition::{Definition, StepDefinition},
    outcome::FailureReason,
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
    /// It goes no further without an operator: from the pivot on, before a pivot that an older version may have passed, or because it may
    /// have happened and is exempt from having a compensation.
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
    /// What [`Machine::new`] starts from.
    pub(crate) const BLANK: Self = Self {
        phase: Phase::Pending,
        effect: false,
        output: false,
        refused: false,
        undone: false,
        unsaved: 0,
        blockers: 0,
        next: NIL,
        attempts: 0,
        undo_attempts: 0,
        recoveries: 0,
    };
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
    /// A cancel that has to wait for the outcome of the step that decides.
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
    /// Heads the list of steps whose turn to be undone has come; before that, of those whose doubt has to be stored.
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
    /// It completed in a transaction, and its output can never be stored; so it was rolled back.
    OutputRefused,
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
    /// It was decided that the instance is not undone before a cancel could be honoured: the pivot was passed, or every step is done.
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
    /// A new instance. `cells` holds a [`StepCell::BLANK`] for each step.
    pub(crate) fn new(definition: &'static Definition, durable: bool, mut cells: Cells) -> Self {
        for (cell, step) in cells.as_mut().iter_mut().zip(definition.steps) {
            cell.blockers = index(step.depends_on.len());
        }
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

    /// The transition.
    #[expect(
        clippy::inline_always,
        reason = "where the event is known, only its code is left"
    )]
    #[inline(always)]
    pub(crate) fn apply(&mut self, event: Event, sink: &mut impl Sink) {
        match event {
            Event::Begin { cancel } => self.begin(cancel, sink),
            // What happens at every step, apart from all other ends, so that it alone is left where it is the event.
            Event::StepEnded(step, Ended::Completed) => {
                self.running -= 1;
                self.completed(step, sink);
            }
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

    /// After each event: what follows when nothing else is under way.
    #[inline]
    fn settle(&mut self, sink: &mut impl Sink) {
        if self.unwinding {
            self.take_turns(sink);
        }
        if !self.ended && self.unstored == 0 && self.running == 0 {
            self.come_to_rest(sink);
        }
    }

    /// Nothing is in flight.
    fn come_to_rest(&mut self, sink: &mut impl Sink) {
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
}

/// How often things were tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StepCounts {
    pub(crate) attempts: u32,
    pub(crate) undo_attempts: u32,
    pub(crate) recoveries: u32,
}
