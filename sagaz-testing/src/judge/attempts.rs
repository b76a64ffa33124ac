//! What begins and ends: under which key, in which order, how often, and whether an effect may be left.

use super::{Cancel, Judge, Judged};
use crate::{
    fault::Kind,
    promise::Promise,
    simulation::INSTANCE,
    story::{Again, Attempt, Decision, End, ProcessNumber},
};
use sagaz_core::{StepKind, store::StepState};
use std::collections::BTreeSet;

/// An engine asks a recovery no more often, and each time it may have one attempt more.
const RECOVERIES_MAX: u32 = 11;

impl Judge<'_> {
    pub(super) fn begins(&mut self, process: ProcessNumber, attempt: &Attempt) -> Judged {
        let step = attempt.step;
        if self.owner.is_none_or(|(owner, _)| owner != process) {
            let words =
                format!("{attempt} begins in a process that does not own the instance any more");
            return self.broken(Promise::P7, words);
        }
        if !self.state.is_live() {
            let words = format!("{attempt} begins, and the instance is {}", self.state);
            return self.broken(Promise::P8, words);
        }
        self.key(attempt)?;
        let done = match attempt.kind {
            Kind::Action => self.action_begins(attempt),
            Kind::Undo => self.undo_begins(process, attempt),
            Kind::Recovery => Ok(()),
        };
        *self.running.entry((process, step)).or_default() += 1;
        done
    }

    fn key(&mut self, attempt: &Attempt) -> Judged {
        let step = &mut self.steps[attempt.step];
        let own = match attempt.kind {
            Kind::Undo => &mut step.undo_key,
            _ => &mut step.key,
        };
        let former = own.get_or_insert_with(|| attempt.key.clone()).clone();
        if former != attempt.key {
            let words = format!(
                "the key of {attempt} is `{}`, and was `{former}`",
                attempt.key
            );
            return self.broken(Promise::P3, words);
        }
        if !attempt.key.contains(INSTANCE) {
            let words = format!(
                "the key of {attempt} is `{}`, which says nothing of the instance",
                attempt.key
            );
            return self.broken(Promise::P3, words);
        }
        let mut others = BTreeSet::new();
        for step in &self.steps {
            for key in [&step.key, &step.undo_key].into_iter().flatten() {
                if !others.insert(key) {
                    return self.broken(Promise::P3, format!("the key `{key}` is of two methods"));
                }
            }
        }
        Ok(())
    }

    fn action_begins(&mut self, attempt: &Attempt) -> Judged {
        let at = attempt.step;
        let definition = &self.definition.steps[at];
        if self.steps[at].has_output {
            let words = format!("{attempt} begins, and its output is stored");
            return self.broken(Promise::P2, words);
        }
        if !self.is_ready(at) {
            let words =
                format!("{attempt} begins before the outputs of all its dependencies are stored");
            return self.broken(Promise::P2, words);
        }
        let insists = definition.compensation.is_some_and(|undo| undo.insists);
        let is_pivot = definition.kind == StepKind::Pivot;
        if self.failed && !insists && !is_pivot && !self.finishes_first {
            let words = format!("{attempt} begins although the instance has failed");
            return self.broken(Promise::P4, words);
        }
        if self.cancel == Cancel::Heard && !self.failed && !self.pivot_passed && !self.decides(at) {
            let words = format!(
                "{attempt} begins although somebody has asked to cancel the instance, and its owner knows"
            );
            return self.broken(Promise::P6, words);
        }
        self.steps[at].begun += 1;
        // One more for an attempt that settles what the compensation insists on.
        let recoveries = if definition.recovery {
            RECOVERIES_MAX
        } else {
            0
        };
        self.is_within(
            attempt,
            definition.retry.attempts,
            u32::from(insists) + recoveries,
        )
    }

    /// Whether a cancel waits for the outcome of this step: of the pivot, or of a last step that nothing takes back.
    fn decides(&self, step: usize) -> bool {
        let may_have_begun = self.steps[step].begun > 0 || self.steps[step].doubt;
        may_have_begun && self.definition.decisive() == Some(step)
    }

    /// Whether the policy allows this attempt: the first number after a takeover may be one that was not stored.
    fn is_within(&self, attempt: &Attempt, attempts: Option<u32>, more: u32) -> Judged {
        let allowed = attempts.map(|attempts| attempts + self.claims + more);
        match allowed {
            Some(allowed) if attempt.number > allowed => {
                let words = format!(
                    "{attempt} begins, and its policy allows {allowed} attempts, those after takeovers included"
                );
                self.broken(Promise::P12, words)
            }
            _ => Ok(()),
        }
    }

    fn undo_begins(&mut self, process: ProcessNumber, attempt: &Attempt) -> Judged {
        let at = attempt.step;
        if self.pivot_passed {
            return self.broken(Promise::P6, format!("{attempt} begins after the pivot"));
        }
        if let Some(pivot) = self.definition.pivot
            && self.steps[usize::from(pivot)].doubt
        {
            let pivot = self.name(usize::from(pivot));
            let words =
                format!("{attempt} begins, and the pivot `{pivot}` may have had its effect");
            return self.broken(Promise::P6, words);
        }
        if !self.failed {
            let words =
                format!("{attempt} begins before it is stored that the instance has failed");
            return self.broken(Promise::P4, words);
        }
        let is_action = |step: usize| self.steps[step].undo_begun == 0;
        let running = self.running.iter();
        if let Some(((_, step), _)) = running
            .filter(|((of, _), count)| *of == process && **count > 0)
            .find(|((_, step), _)| is_action(*step) && self.below[at].contains(step))
        {
            let words = format!(
                "{attempt} begins while an attempt of `{}` runs",
                self.name(*step)
            );
            return self.broken(Promise::P4, words);
        }
        let step = &self.steps[at];
        if step.state == Some(StepState::Compensated) {
            let words = format!("{attempt} begins, and it is stored that the step is undone");
            return self.broken(Promise::P2, words);
        }
        if !step.doubt && !step.has_output && !self.may_have_begun(at) {
            let words = format!("{attempt} begins, and the step surely had no effect");
            return self.broken(Promise::P4, words);
        }
        if attempt.known && step.completed.is_empty() && step.recovered.is_empty() {
            let words = format!("{attempt} is told an output, and no attempt has completed");
            return self.broken(Promise::P5, words);
        }
        if !attempt.known && step.has_output {
            let words = format!("{attempt} is not told the output, which is stored");
            return self.broken(Promise::P5, words);
        }
        self.order_of_undo(attempt)?;
        self.steps[at].undo_begun += 1;
        let undo = self.definition.steps[at].compensation;
        let attempts = undo.and_then(|undo| undo.retry.attempts);
        self.is_within(attempt, attempts, 0)
    }

    /// After a takeover in `Compensating`, a step that was in flight may have run, also if it is not in the story.
    fn may_have_begun(&self, step: usize) -> bool {
        self.steps[step].begun > 0
            && matches!(
                self.steps[step].state,
                Some(StepState::Running | StepState::Unknown | StepState::Compensating)
            )
    }

    fn order_of_undo(&self, attempt: &Attempt) -> Judged {
        let at = attempt.step;
        let after = self.definition.steps[at]
            .compensation
            .map_or(&[][..], |undo| undo.after);
        let earlier = self.below[at]
            .iter()
            .copied()
            .chain(after.iter().map(|&it| usize::from(it)));
        for first in earlier {
            if self.is_left(first) {
                let words = format!(
                    "{attempt} begins, and `{}`, which comes after it, may have had its effect and is not undone",
                    self.name(first)
                );
                return self.broken(Promise::P4, words);
            }
        }
        Ok(())
    }

    pub(super) fn ends(&mut self, process: ProcessNumber, attempt: &Attempt, end: &End) {
        if let Some(count) = self.running.get_mut(&(process, attempt.step)) {
            *count = count.saturating_sub(1);
        }
        let definition = &self.definition.steps[attempt.step];
        let transactional = match (attempt.kind, definition.compensation) {
            (Kind::Undo, Some(undo)) => undo.transactional,
            _ => definition.transactional,
        };
        // What a former owner hears decides nothing any more.
        let is_owner = self.owner.is_some_and(|(owner, _)| owner == process);
        let step = &mut self.steps[attempt.step];
        let (mut failed_itself, mut undo_failed_itself) =
            (step.failed_itself, step.undo_failed_itself);
        match (attempt.kind, end) {
            // It has dealt with what failed by itself.
            (Kind::Recovery, End::Recovered(Decision::UseThisOutput)) => {
                step.recovered.insert(process);
                failed_itself = None;
            }
            (Kind::Recovery, End::Recovered(Decision::RetryLater)) => failed_itself = None,
            (
                Kind::Recovery,
                End::Recovered(Decision::None) | End::Panicked { injected: false },
            ) => {
                failed_itself = Some(Again::Yes);
            }
            // It would have dealt with what failed by itself.
            (Kind::Recovery, End::Panicked { injected: true } | End::Dropped) => {
                step.hurt |= is_owner;
                failed_itself = None;
            }
            (Kind::Recovery, _) => {}
            (Kind::Action, End::Completed { events } | End::Prepared { events }) => {
                step.doubt |= matches!(end, End::Completed { .. });
                failed_itself = None;
                step.completed.push((process, events.clone()));
            }
            (Kind::Undo, End::Completed { events } | End::Prepared { events }) => {
                undo_failed_itself = false;
                step.undone.push((process, events.clone()));
            }
            (
                Kind::Action,
                End::Failed {
                    clean,
                    again,
                    injected,
                    ..
                },
            ) => {
                // Every error of an atomic step says that nothing happened; that it is still working is none.
                let is_clean = match again {
                    Again::StillWorking => false,
                    Again::Yes | Again::No => *clean || definition.atomic,
                };
                if *again == Again::No && *clean {
                    // By no attempt under this key.
                    step.doubt = false;
                    step.denied = true;
                } else {
                    step.doubt |= !is_clean && !transactional && !step.denied;
                }
                step.hurt |= injected;
                failed_itself = (!injected).then_some(*again);
            }
            (Kind::Action, End::TimedOut { injected } | End::Panicked { injected }) => {
                step.doubt |= !transactional && !step.denied;
                step.hurt |= injected;
                failed_itself = (!injected).then_some(Again::Yes);
            }
            (Kind::Action, End::Dropped | End::Recovered(_)) => {
                step.doubt |= !transactional && !step.denied;
                step.hurt = true;
            }
            (
                Kind::Undo,
                End::Failed {
                    again, injected, ..
                },
            ) => {
                step.undo_hurt |= injected;
                undo_failed_itself = !injected && *again != Again::StillWorking;
            }
            (Kind::Undo, End::TimedOut { injected } | End::Panicked { injected }) => {
                step.undo_hurt |= injected;
                undo_failed_itself = !injected;
            }
            (Kind::Undo, End::Dropped | End::Recovered(_)) => step.undo_hurt = true,
        }
        if is_owner {
            step.failed_itself = failed_itself;
            step.undo_failed_itself = undo_failed_itself;
        }
    }
}
