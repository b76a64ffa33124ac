//! Unwinding: each step's turn to be undone comes when everything that waited for it has been.
//!
//! A list of the steps whose turn has come runs through the cells, so a turn costs what the step's neighbours cost, however
//! large the graph is.

use super::{Effect, Ended, Machine, NIL, Phase, Record, Sink, StepCell, index};
use crate::step_error::Again;

impl<Cells: AsRef<[StepCell]> + AsMut<[StepCell]>> Machine<Cells> {
    pub(super) fn undo(&mut self, step: usize, sink: &mut impl Sink) {
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

    pub(super) fn undo_ended(&mut self, step: usize, ended: Ended, sink: &mut impl Sink) {
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
            Ended::Interrupted | Ended::Dropped | Ended::OutputRefused => Some(None),
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

    pub(super) fn start_unwinding(&mut self, sink: &mut impl Sink) {
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
    pub(super) fn enqueue(&mut self, step: usize) {
        self.cells.as_mut()[step].next = self.turn;
        self.turn = index(step);
    }

    pub(super) fn take_turns(&mut self, sink: &mut impl Sink) {
        while self.turn != NIL {
            let step = usize::from(self.turn);
            self.turn = self.cells.as_ref()[step].next;
            self.take_turn(step, sink);
        }
    }

    pub(super) fn take_turn(&mut self, step: usize, sink: &mut impl Sink) {
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
    pub(super) fn undone(&mut self, step: usize) {
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
