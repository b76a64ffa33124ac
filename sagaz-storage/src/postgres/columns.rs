//! A batch of writes as columns: the arrays that the statements of `write` unnest.

use super::row;
use crate::value::{as_i64, millis, record, without_nul};
use sagaz_core::{
    EngineId, Payload, SagaId,
    store::{Accept, Progress, StepState, StepWrite, StoreError, Wake},
};
use sqlx::{Postgres as Server, postgres::PgArguments, query::Query};
use std::{
    collections::HashSet,
    sync::atomic::{AtomicI64, Ordering},
};
use uuid::Uuid;

pub(super) type Statement = Query<'static, Server, PgArguments>;

/// New instances, a column each.
#[derive(Default)]
pub(super) struct Accepts {
    ids: Vec<Uuid>,
    sagas: Vec<String>,
    versions: Vec<i64>,
    fingerprints: Vec<String>,
    owners: Vec<Option<Uuid>>,
    start_keys: Vec<Option<String>>,
    digests: Vec<String>,
    deadlines_ms: Vec<Option<i64>>,
    traces: Vec<Option<String>>,
    payloads: Payloads,
}

impl Accepts {
    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(super) fn push(&mut self, accept: &Accept) {
        self.ids.push(accept.id.as_uuid());
        self.sagas.push(accept.definition.saga.clone());
        self.versions.push(accept.definition.version.into());
        self.fingerprints
            .push(accept.definition.fingerprint.clone());
        self.owners.push(accept.owner.map(|owner| owner.as_uuid()));
        self.start_keys.push(accept.start_key.clone());
        self.digests.push(accept.input_digest.clone());
        self.deadlines_ms.push(accept.deadline.map(millis));
        let trace = accept.trace.as_deref();
        self.traces
            .push(trace.map(|trace| without_nul(trace).into_owned()));
        self.payloads.push(Some(&accept.input));
    }

    pub(super) fn bind(self, query: Statement) -> Statement {
        let query = query
            .bind(self.ids)
            .bind(self.sagas)
            .bind(self.versions)
            .bind(self.fingerprints)
            .bind(self.owners)
            .bind(self.start_keys)
            .bind(self.digests)
            .bind(self.deadlines_ms)
            .bind(self.traces);
        self.payloads.bind(query)
    }
}

/// Progress of instances, a column each.
#[derive(Default)]
pub(super) struct Changes {
    ids: Vec<Uuid>,
    owners: Vec<Uuid>,
    epochs: Vec<i64>,
    states: Vec<&'static str>,
    pivots_passed: Vec<bool>,
    failures: Vec<Option<String>>,
    stucks: Vec<Option<String>>,
    releases: Vec<bool>,
    wakes_ms: Vec<Option<i64>>,
    advanced: Vec<bool>,
    tried_by: Vec<i64>,
    tries: Vec<i64>,
}

/// Numbers the tries of the writes of one handle of a store, which it names.
#[derive(Debug)]
pub(super) struct Tries {
    by: i64,
    next: AtomicI64,
}

/// One try of a write.
#[derive(Clone, Copy)]
pub(super) struct Try {
    by: i64,
    number: i64,
}

impl Tries {
    pub(super) fn new() -> Self {
        let (high, _) = EngineId::random().as_uuid().as_u64_pair();
        Self {
            by: high.cast_signed(),
            next: AtomicI64::new(0),
        }
    }

    pub(super) fn next(&self) -> Try {
        Try {
            by: self.by,
            number: self.next.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(super) fn push(&mut self, progress: &Progress, this: Try) -> Result<(), StoreError> {
        self.tried_by.push(this.by);
        self.tries.push(this.number);
        let is_live = progress.state.is_live();
        self.ids.push(progress.id.as_uuid());
        self.owners.push(progress.token.owner.as_uuid());
        self.epochs.push(as_i64(progress.token.epoch));
        self.states.push(progress.state.as_str());
        self.pivots_passed.push(progress.pivot_passed);
        let failure = progress.failure.as_ref().map(record);
        self.failures.push(failure.transpose()?);
        let stuck = progress.stuck.as_ref().map(record);
        self.stucks.push(stuck.transpose()?);
        self.releases.push(!is_live || progress.release.is_some());
        let wake = progress.release.filter(|_| is_live);
        self.wakes_ms.push(wake.map(|wake| match wake {
            Wake::Now => 0,
            Wake::After(delay) => millis(delay),
        }));
        // A step that is only begun, or to be begun anew, is no sign that the instance lets its process live.
        let has_advanced =
            |step: &StepWrite| !matches!(step.state, StepState::Pending | StepState::Running);
        self.advanced.push(progress.steps.iter().any(has_advanced));
        Ok(())
    }

    pub(super) fn bind(self, query: Statement) -> Statement {
        query
            .bind(self.ids)
            .bind(self.owners)
            .bind(self.epochs)
            .bind(self.states)
            .bind(self.pivots_passed)
            .bind(self.failures)
            .bind(self.stucks)
            .bind(self.releases)
            .bind(self.wakes_ms)
            .bind(self.advanced)
            .bind(self.tried_by)
            .bind(self.tries)
    }
}

/// Rows of steps, a column each.
#[derive(Default)]
pub(super) struct Steps {
    known: HashSet<(SagaId, String)>,
    ids: Vec<Uuid>,
    names: Vec<String>,
    kinds: Vec<&'static str>,
    states: Vec<&'static str>,
    attempts: Vec<i64>,
    undo_attempts: Vec<i64>,
    recoveries: Vec<i64>,
    errors: Vec<Option<String>>,
    wakes_ms: Vec<Option<i64>>,
    payloads: Payloads,
}

impl Steps {
    pub(super) fn push(&mut self, id: SagaId, step: &StepWrite) {
        // The engine says each step once; a statement cannot write one row twice.
        if !self.known.insert((id, step.name.clone())) {
            return;
        }
        self.ids.push(id.as_uuid());
        self.names.push(step.name.clone());
        self.kinds.push(step.kind.as_str());
        self.states.push(step.state.as_str());
        self.attempts.push(step.attempts.into());
        self.undo_attempts.push(step.undo_attempts.into());
        self.recoveries.push(step.recoveries.into());
        let error = step.error.as_deref();
        self.errors
            .push(error.map(|error| without_nul(error).into_owned()));
        self.wakes_ms.push(step.wake.map(millis));
        self.payloads.push(step.output.as_ref());
    }

    pub(super) fn bind(self, query: Statement) -> Statement {
        let query = query
            .bind(self.ids)
            .bind(self.names)
            .bind(self.kinds)
            .bind(self.states)
            .bind(self.attempts)
            .bind(self.undo_attempts)
            .bind(self.recoveries)
            .bind(self.errors)
            .bind(self.wakes_ms);
        self.payloads.bind(query)
    }
}

/// Payloads as three columns.
#[derive(Default)]
struct Payloads {
    content_types: Vec<Option<String>>,
    texts: Vec<Option<String>>,
    bytes: Vec<Option<Vec<u8>>>,
}

impl Payloads {
    fn push(&mut self, payload: Option<&Payload>) {
        let (text, bytes) = payload.map_or((None, None), row::columns);
        self.content_types
            .push(payload.map(|payload| payload.content_type.clone()));
        self.texts.push(text.map(str::to_owned));
        self.bytes.push(bytes.map(<[u8]>::to_vec));
    }

    fn bind(self, query: Statement) -> Statement {
        query
            .bind(self.content_types)
            .bind(self.texts)
            .bind(self.bytes)
    }
}
