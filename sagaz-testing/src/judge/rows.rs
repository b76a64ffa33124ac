//! What is stored: by the owner alone, and of an attempt that the story shows.

use super::{Cancel, Judge, Judged};
use crate::{
    promise::Promise,
    story::{EventNumber, ProcessNumber, Row, StoredRows},
};
use sagaz_core::{
    OnFailure,
    store::{InstanceState, StepState},
};

impl Judge<'_> {
    pub(super) fn stored(&mut self, process: ProcessNumber, stored: &StoredRows) -> Judged {
        let is_repeat = self.owner.is_none() && self.epoch == stored.epoch;
        if !is_repeat && self.owner != Some((process, stored.epoch)) {
            let words = format!(
                "a write with epoch {} was applied, and the instance has epoch {}",
                stored.epoch, self.epoch
            );
            return self.broken(Promise::P7, words);
        }
        if self.state.is_final() && stored.state != self.state {
            let words = format!(
                "an instance that was {} became {}",
                self.state, stored.state
            );
            return self.broken(Promise::P8, words);
        }
        if self.pivot_passed && !stored.pivot_passed {
            return self.broken(Promise::P6, "the pivot is no longer passed");
        }
        for row in &stored.rows {
            self.row(process, row)?;
        }
        self.state = stored.state;
        self.pivot_passed |= stored.pivot_passed;
        self.failed |= matches!(
            stored.state,
            InstanceState::Compensating | InstanceState::RolledBack
        );
        self.finishes_first |= matches!(self.definition.on_failure, OnFailure::WaitAll)
            && stored.failed_step.is_some();
        self.stuck_step.clone_from(&stored.stuck_step);
        if !std::mem::take(&mut self.reply_is_silent) && !is_repeat {
            self.hear_cancel();
        }
        if self.pivot_decides() {
            // It is refused, or honoured when that is known.
            self.cancel = Cancel::NotAsked;
        }
        if !stored.state.is_live() || stored.released {
            self.owner = None;
        }
        Ok(())
    }

    fn pivot_decides(&self) -> bool {
        let pivot = self.definition.pivot.map(usize::from);
        pivot.is_some_and(|pivot| self.steps[pivot].begun > 0)
    }

    fn row(&mut self, process: ProcessNumber, row: &Row) -> Judged {
        let Some(step) = self.steps.get(row.step) else {
            let words = format!("a row of `{}` was stored, which is no step", row.name);
            return self.broken(Promise::P8, words);
        };
        let of_process = |ended: &[(ProcessNumber, Vec<EventNumber>)]| {
            ended.iter().any(|(of, _)| *of == process)
        };
        let is_new = step.state != Some(row.state);
        match row.state {
            StepState::Completed
                if is_new
                    && !step.has_output
                    && !of_process(&step.completed)
                    && !step.recovered.contains(&process) =>
            {
                let words = format!(
                    "`{}` is stored as completed, and no attempt has completed",
                    row.name
                );
                return self.broken(Promise::P2, words);
            }
            StepState::Compensated if is_new && !of_process(&step.undone) => {
                let words = format!(
                    "`{}` is stored as undone, and no attempt has undone it",
                    row.name
                );
                return self.broken(Promise::P4, words);
            }
            StepState::Failed if is_new && step.doubt => {
                let words = format!(
                    "`{}` is stored as failed, without effect, and an attempt may have had its effect",
                    row.name
                );
                return self.broken(Promise::P5, words);
            }
            _ => {}
        }
        self.events(process, row, is_new)?;
        let step = &mut self.steps[row.step];
        step.has_output |= row.has_output;
        if row.has_output {
            step.doubt = true;
        }
        step.state = Some(row.state);
        Ok(())
    }

    /// An event is stored with the attempt that published it, and only with one that completed.
    fn events(&mut self, process: ProcessNumber, row: &Row, is_new: bool) -> Judged {
        let step = &self.steps[row.step];
        let ended = match row.state {
            StepState::Completed => &step.completed,
            StepState::Compensated => &step.undone,
            _ => &Vec::new(),
        };
        let ids: Vec<_> = row.events.iter().map(|(id, _)| *id).collect();
        let own = ended.iter().rev().find(|(of, _)| *of == process);
        let expected = own.map_or(&[][..], |(_, events)| events);
        let is_recovered = step.recovered.contains(&process) && expected.is_empty();
        if is_new && ids != expected && !is_recovered {
            let words = format!(
                "`{}` is stored with {} events, and the attempt that completed has published {}",
                row.name,
                ids.len(),
                expected.len()
            );
            return self.broken(Promise::P11, words);
        }
        for event in &row.events {
            if !self.stored_events.contains(event) {
                self.stored_events.push(event.clone());
            }
        }
        Ok(())
    }
}
