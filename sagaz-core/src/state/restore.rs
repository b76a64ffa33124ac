//! Going on from what is stored.

use super::{Cause, Machine, Phase, StepCell, Stored, index};
use crate::{
    definition::OnFailure,
    store::{InstanceState, StepState},
};

impl<Cells: AsRef<[StepCell]> + AsMut<[StepCell]>> Machine<Cells> {
    /// Puts a new machine into the state that is stored. `interrupted`: the former owner died, so every step that was
    /// ready may have run. `adopted`: by an older version, on whose graph nobody knows any more what was ready.
    pub(crate) fn restore(
        &mut self,
        state: InstanceState,
        failure: Option<Cause>,
        pivot_passed: bool,
        steps: impl Iterator<Item = Stored>,
        interrupted: bool,
        adopted: bool,
    ) {
        self.state = state;
        self.failure = failure;
        self.pivot_passed = pivot_passed;
        let backward = failure.is_some();
        self.resumed = backward;
        for stored in steps {
            // Without the output that its compensation insists on, it has to be attempted again first.
            let can_be_undone = stored.output || !self.insists(stored.step);
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
                StepState::Compensating if stored.waits && can_be_undone => {
                    (Phase::UndoWaiting, true)
                }
                StepState::Compensating => (settled, true),
                StepState::Compensated => (Phase::Compensated, true),
                StepState::CompensationFailed => (Phase::CompensationFailed, true),
                StepState::Resolved => (Phase::Resolved, true),
            };
            if backward && matches!(cell.phase, Phase::Waiting) {
                cell.phase = Phase::Unknown;
            }
            if stored.state == StepState::Completed {
                self.incomplete -= 1;
                for &dependent in self.definition.steps[stored.step].dependents {
                    self.cells.as_mut()[usize::from(dependent)].blockers -= 1;
                }
            }
        }
        let waiting = |cell: &&StepCell| cell.phase == Phase::Waiting;
        self.waiting = index(self.cells.as_ref().iter().filter(waiting).count());
        // No start of a step is stored, so whatever could have begun under the former owner may have run.
        let finished_first = failure.is_some_and(|cause| self.finishes_first(cause));
        if interrupted && (!backward || finished_first) {
            for step in 0..self.len() {
                // Under the older version it may not have been.
                let transactional = self.definition.steps[step].transactional && !adopted;
                let cell = &mut self.cells.as_mut()[step];
                let was_ready = cell.blockers == 0 || adopted;
                if !matches!(cell.phase, Phase::Pending | Phase::Waiting)
                    || !was_ready
                    || transactional
                {
                    continue;
                }
                cell.effect = true;
                if adopted && !backward {
                    // This version's graph will not tell it again.
                    self.enqueue(step);
                } else if backward {
                    cell.phase = Phase::Unknown;
                    // No turn has come yet: the list holds what has to be stored first.
                    self.enqueue(step);
                }
            }
        }
    }

    /// Whether what does not depend on the failed step is still begun after the failure.
    pub(super) fn finishes_first(&self, cause: Cause) -> bool {
        self.definition.on_failure == OnFailure::WaitAll && cause.step.is_some()
    }
}
