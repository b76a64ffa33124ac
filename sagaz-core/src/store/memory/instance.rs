//! An instance in memory, and what claims and writes do to it.

use super::Now;
use crate::{
    codec::Payload,
    definition::StepKind,
    id::EngineId,
    outcome::{Stuck, StuckReason},
    store::{
        Accept, Candidate, Claim, DefinitionKey, InstanceState, Intervention, OperatorWrite,
        Progress, Snapshot, StepRow, StepState, StepWrite, StoredStep, Summary, Wake,
    },
};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Instance {
    pub(super) summary: Summary,
    pub(super) input: Payload,
    pub(super) input_digest: String,
    pub(super) trace: Option<String>,
    pub(super) deadline: Option<Instant>,
    pub(super) cancel_requested: bool,
    /// When it is due. Set exactly while it is live and nobody owns it.
    pub(super) wake: Option<Instant>,
    pub(super) steps: BTreeMap<String, Step>,
    pub(super) interventions: Vec<Intervention>,
}

#[derive(Debug)]
pub(super) struct Step {
    pub(super) kind: StepKind,
    pub(super) wake: Option<Instant>,
    /// Without its wake-up, which is told as the time that is left.
    pub(super) row: StepRow,
}

impl Instance {
    pub(super) fn new(accept: &Accept, now: Now) -> Self {
        let mut summary = Summary::new(accept.id, accept.definition.clone(), now.wall);
        summary.owner = accept.owner;
        summary.epoch = u64::from(accept.owner.is_some());
        summary.start_key.clone_from(&accept.start_key);
        Self {
            summary,
            input: accept.input.clone(),
            input_digest: accept.input_digest.clone(),
            trace: accept.trace.clone(),
            deadline: accept.deadline.map(|deadline| now.after(deadline)),
            cancel_requested: false,
            wake: accept.owner.is_none().then_some(now.instant),
            steps: BTreeMap::new(),
            interventions: Vec::new(),
        }
    }

    pub(super) fn snapshot(&self, now: Now) -> Snapshot {
        let mut snapshot = Snapshot::new(self.summary.clone(), self.input.clone());
        snapshot.trace.clone_from(&self.trace);
        snapshot.deadline = self.deadline.map(|deadline| now.until(deadline));
        snapshot.cancel_requested = self.cancel_requested;
        snapshot.interventions.clone_from(&self.interventions);
        snapshot.steps = self
            .steps
            .values()
            .map(|step| StepRow {
                wake: step.wake.map(|wake| now.until(wake)),
                ..step.row.clone()
            })
            .collect();
        snapshot
    }

    pub(super) fn apply(&mut self, progress: &Progress, now: Now) {
        let summary = &mut self.summary;
        summary.state = progress.state;
        summary.pivot_passed = progress.pivot_passed;
        summary.stuck.clone_from(&progress.stuck);
        if progress.failure.is_some() {
            summary.failure.clone_from(&progress.failure);
        }
        // A step that is only begun, or to be begun anew, is no sign that the instance lets its process live.
        if progress
            .steps
            .iter()
            .any(|step| !matches!(step.state, StepState::Pending | StepState::Running))
        {
            summary.takeovers = 0;
        }
        if !progress.state.is_live() {
            self.give_up(None);
        } else if let Some(wake) = progress.release {
            self.give_up(Some(match wake {
                Wake::Now => now.instant,
                Wake::After(delay) => now.after(delay),
            }));
        }
        self.store_steps(&progress.steps, now);
    }

    pub(super) fn operate(&mut self, write: &OperatorWrite, now: Now) {
        let summary = &mut self.summary;
        summary.epoch += 1;
        summary.state = write.state;
        summary.pivot_passed = write.pivot_passed;
        summary.takeovers = 0;
        summary.stuck = None;
        if write.failure.is_some() {
            summary.failure.clone_from(&write.failure);
        }
        self.cancel_requested = false;
        self.give_up(write.state.is_live().then_some(now.instant));
        self.store_steps(&write.steps, now);
        self.interventions.push(Intervention {
            at_ms: now.unix_ms(),
            ..write.intervention.clone()
        });
    }

    pub(super) fn store_steps(&mut self, steps: &[StepWrite], now: Now) {
        for step in steps {
            let stored = self
                .steps
                .remove(&step.name)
                .and_then(|stored| stored.row.output);
            let row = StepRow {
                name: step.name.clone(),
                state: step.state,
                attempts: step.attempts,
                undo_attempts: step.undo_attempts,
                recoveries: step.recoveries,
                output: step.output.clone().or(stored),
                error: step.error.clone(),
                wake: None,
                updated_at: now.wall,
            };
            let wake = step.wake.map(|delay| now.after(delay));
            self.steps.insert(
                step.name.clone(),
                Step {
                    kind: step.kind,
                    wake,
                    row,
                },
            );
        }
    }

    pub(super) fn give_up(&mut self, wake: Option<Instant>) {
        self.summary.owner = None;
        self.wake = wake;
    }

    pub(super) fn takeovers_after(&self, orphaned: bool) -> u32 {
        self.summary.takeovers + u32::from(orphaned)
    }

    pub(super) fn candidate(&self, orphaned: bool) -> Candidate<'_> {
        let DefinitionKey {
            saga,
            version,
            fingerprint,
        } = &self.summary.definition;
        Candidate {
            saga,
            version: *version,
            fingerprint,
            takeovers: self.summary.takeovers,
            orphaned,
        }
    }

    /// The stored steps, if the claim may look at them: copying those of every candidate would make claims slow.
    pub(super) fn steps_for(&self, claim: &Claim) -> Vec<StoredStep> {
        let DefinitionKey { saga, version, .. } = &self.summary.definition;
        if !claim
            .runnable
            .iter()
            .any(|it| it.key.saga == *saga && it.accepts.contains(version))
        {
            return Vec::new();
        }
        let steps = self.steps.values();
        steps
            .map(|step| StoredStep {
                name: step.row.name.clone(),
                state: step.row.state,
                kind: step.kind,
            })
            .collect()
    }

    pub(super) fn take(
        &mut self,
        engine: EngineId,
        key: DefinitionKey,
        orphaned: bool,
        suspect: bool,
        now: Now,
    ) -> Snapshot {
        self.summary.takeovers = self.takeovers_after(orphaned);
        self.summary.epoch += 1;
        self.summary.owner = Some(engine);
        let adopted = self.summary.definition.version != key.version;
        self.summary.definition = key;
        self.summary.updated_at = now.wall;
        self.wake = None;
        let mut snapshot = self.snapshot(now);
        snapshot.adopted = adopted;
        snapshot.taken_over = orphaned;
        snapshot.suspect = suspect;
        snapshot
    }

    pub(super) fn postpone(&mut self, delay: Duration, orphaned: bool, now: Now) {
        self.summary.takeovers = self.takeovers_after(orphaned);
        self.summary.epoch += 1;
        self.give_up(Some(now.after(delay)));
    }

    pub(super) fn poison(&mut self, orphaned: bool) {
        self.summary.takeovers = self.takeovers_after(orphaned);
        self.summary.epoch += 1;
        self.summary.state = InstanceState::Stuck;
        let takeovers = self.summary.takeovers;
        let message = format!(
            "taken over {takeovers} times without a step being stored: it may be killing its processes"
        );
        self.summary.stuck = Some(Stuck {
            step: None,
            reason: StuckReason::Poison,
            message,
        });
        self.give_up(None);
    }
}
