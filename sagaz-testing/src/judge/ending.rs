//! How it ends: the steps, the events, and whether a fault explains it.

use super::{Conclusion, Judge, Judged};
use crate::{
    promise::Promise,
    simulation::LEASE,
    story::{Again, EventNumber},
};
use sagaz_core::{
    FailureReason,
    store::{InstanceState, StepState},
};
use std::collections::BTreeSet;

impl Judge<'_> {
    pub(super) fn end(&mut self, conclusion: &Conclusion) -> Judged {
        self.at = self.story.len();
        let Some(state) = conclusion.state.filter(|_| conclusion.is_over) else {
            let words = match conclusion.state {
                None => "the instance was never stored".to_owned(),
                Some(state) => format!(
                    "the instance is {state} and comes to no end, although a process runs (leases last {LEASE:?}, and it had {:?}: `time_limit`)",
                    conclusion.limit
                ),
            };
            return self.broken(Promise::P1, words);
        };
        if conclusion.instances != 1 {
            let words = format!(
                "there are {} instances of one start key",
                conclusion.instances
            );
            return self.broken(Promise::P10, words);
        }
        if let Err(why) = &conclusion.started_again {
            return self.broken(
                Promise::P10,
                format!("a second start with the same key and input: {why}"),
            );
        }
        if state != self.state {
            let words = format!(
                "the instance is {state}, and what was written last is {}",
                self.state
            );
            return self.broken(Promise::P8, words);
        }
        self.events_are_out()?;
        match state {
            InstanceState::Completed => self.is_completed(),
            InstanceState::RolledBack => self.is_undone(),
            _ => self.is_stuck_for_a_reason(conclusion),
        }?;
        match conclusion.undisturbed.ending {
            // A deadline that passes while nobody could work is one.
            Some(undisturbed)
                if conclusion.is_weather
                    && undisturbed != state
                    && conclusion.failure != Some(FailureReason::DeadlineExceeded) =>
            {
                let words = format!(
                    "nothing was wrong with the business, and the instance is {state}; undisturbed it is {undisturbed}"
                );
                self.broken(Promise::Weather, words)
            }
            _ => Ok(()),
        }
    }

    fn is_completed(&self) -> Judged {
        for (at, step) in self.steps.iter().enumerate() {
            if !step.has_output {
                let words = format!(
                    "the instance completed, and `{}` has no output",
                    self.name(at)
                );
                return self.broken(Promise::P2, words);
            }
            if step.undo_begun > 0 {
                let words = format!("the instance completed, and `{}` was undone", self.name(at));
                return self.broken(Promise::P4, words);
            }
        }
        Ok(())
    }

    fn is_undone(&self) -> Judged {
        for (at, step) in self.steps.iter().enumerate() {
            if self.definition.is_exempt(at) && (step.doubt || step.has_output) {
                let words = format!(
                    "the instance is rolled back, and `{}`, which nothing takes back, may have had its effect",
                    self.name(at)
                );
                return self.broken(Promise::P5, words);
            }
            if self.is_left(at) {
                let words = format!(
                    "the instance is rolled back, and `{}`, which may have had its effect, was not undone",
                    self.name(at)
                );
                return self.broken(Promise::P4, words);
            }
        }
        Ok(())
    }

    /// An instance may be stuck where something was made to fail for good, and nowhere else.
    fn is_stuck_for_a_reason(&self, conclusion: &Conclusion) -> Judged {
        if self.is_poisoned {
            return Ok(());
        }
        self.is_undone_as_far_as_can_be()?;
        let Some(step) = self
            .stuck_step
            .as_ref()
            .and_then(|name| self.definition.index_of(name))
        else {
            return self.broken(Promise::P8, "the instance is stuck, and no step is named");
        };
        let state = &self.steps[step];
        let (hurt, itself, what) = if state.undo_begun > 0 {
            (state.undo_hurt, state.undo_failed_itself, "undo of ")
        } else {
            // What fails now and then in any case, fails because faults have used up the other attempts.
            let itself = match state.failed_itself {
                None | Some(Again::StillWorking) => false,
                Some(Again::Yes) => !conclusion.undisturbed.moody.contains(&step),
                Some(Again::No) => true,
            };
            (state.hurt, itself, "")
        };
        let why = match (hurt, itself) {
            (false, _) => "nothing was injected there that explains it",
            (true, true) => "its last failure was not injected",
            (true, false) => return Ok(()),
        };
        let words = format!(
            "the instance is stuck, because the {what}`{}` failed by itself: {why}",
            self.name(step)
        );
        self.broken(Promise::P1, words)
    }

    /// What does not wait for an undo that gave up is undone all the same.
    fn is_undone_as_far_as_can_be(&self) -> Judged {
        // Also one of which nobody has told the owner that it had no effect.
        let is_left = |at: usize| {
            let is_stored_so = matches!(
                self.steps[at].state,
                Some(
                    StepState::Running
                        | StepState::Unknown
                        | StepState::Compensating
                        | StepState::CompensationFailed
                )
            );
            self.is_left(at) || self.definition.steps[at].compensation.is_some() && is_stored_so
        };
        for at in (0..self.steps.len()).filter(|_| self.failed) {
            let Some(undo) = self.definition.steps[at].compensation else {
                continue;
            };
            let step = &self.steps[at];
            let gave_up = step.state == Some(StepState::CompensationFailed);
            let is_unknown = undo.insists && !step.has_output;
            let after = undo.after.iter().map(|&it| usize::from(it));
            let waits = self.below[at].iter().copied().chain(after).any(is_left);
            if is_left(at) && !gave_up && !is_unknown && !waits {
                let words = format!(
                    "the instance is stuck, and `{}`, whose turn it was, is not undone",
                    self.name(at)
                );
                return self.broken(Promise::P4, words);
            }
        }
        Ok(())
    }

    /// Every event that is stored is out, and each key's first deliveries are in the order in which they were stored.
    fn events_are_out(&self) -> Judged {
        let mut first = Vec::new();
        for event in &self.published {
            if !first.contains(event) {
                first.push(event.clone());
            }
        }
        if let Some((_, key)) = first.iter().find(|it| !self.stored_events.contains(it)) {
            let words = format!(
                "an event of the key `{key}` was published, and no attempt that is stored has published it"
            );
            return self.broken(Promise::P11, words);
        }
        if let Some((_, key)) = self.stored_events.iter().find(|it| !first.contains(it)) {
            let words = format!("an event of the key `{key}` is stored, and was never published");
            return self.broken(Promise::P11, words);
        }
        let keys: BTreeSet<_> = first.iter().map(|(_, key)| key).collect();
        for key in keys {
            let of = |events: &[(EventNumber, String)]| {
                let own = events.iter().filter(|(_, of)| of == key);
                own.map(|(id, _)| *id).collect::<Vec<_>>()
            };
            if of(&first) != of(&self.stored_events) {
                let words = format!(
                    "the events of the key `{key}` were not published in the order of their commits"
                );
                return self.broken(Promise::P11, words);
            }
        }
        Ok(())
    }
}
