//! What to store of a step, and why an instance is stuck.

use super::{Machine, Phase, StepCell, StepCounts, index};
use crate::{
    definition::StepKind,
    outcome::StuckReason,
    store::{InstanceState, StepState},
};

/// How things stand once an attempt is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) state: InstanceState,
    pub(crate) step_state: StepState,
    pub(crate) counts: StepCounts,
    pub(crate) pivot_passed: bool,
}

impl<Cells: AsRef<[StepCell]> + AsMut<[StepCell]>> Machine<Cells> {
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
            // In flight when the instance fails. One in a transaction has its effect together with its output, or none; so what is
            // stored as running or unknown was no transaction's, and may have had its effect, whatever the step is now.
            Phase::Running if !self.definition.steps[step].transactional => StepState::Running,
            Phase::Running | Phase::Waiting | Phase::Recovering | Phase::GivenUp => doubt,
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

    /// What to store of a step that has completed when its output cannot be stored yet: what was stored while it ran.
    pub(crate) fn in_flight_row(&self, step: usize) -> (StepState, StepCounts) {
        (StepState::Running, self.row(step).1)
    }

    /// What to store of an attempt that is about to be committed, with its record, in one transaction: how the step and the
    /// instance will stand then, and whether the pivot will be passed, if everything else is stored with it.
    pub(crate) fn once_committed(&self, step: usize, undo: bool) -> Commit {
        let (_, counts) = self.row(step);
        let state = match self.state {
            InstanceState::Executing if !undo && self.incomplete == 1 => InstanceState::Completed,
            state => state,
        };
        let step_state = match undo {
            true => StepState::Compensated,
            false if self.unwinding => StepState::Compensating,
            false => StepState::Completed,
        };
        Commit {
            state,
            step_state,
            counts,
            pivot_passed: self.pivot_passed || !undo && self.definition.pivot == Some(index(step)),
        }
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
            Phase::Running if self.definition.steps[step].transactional => (state, counts),
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
                Phase::GivenUp if self.definition.is_exempt(step) => StuckReason::OutcomeUnknown,
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

    pub(super) fn insists(&self, step: usize) -> bool {
        self.step(step)
            .compensation
            .is_some_and(|undo| undo.insists)
    }
}
