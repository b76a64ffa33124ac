//! The events of a batch as columns.

use super::super::{
    columns::Statement,
    event::{KeyLock, Stored},
};
use crate::value::lease_millis;
use sagaz_core::{
    SagaId,
    store::{Progress, Sender, StepWrite, StoreError},
};
use std::collections::HashSet;
use uuid::Uuid;

/// Events, a column each.
#[derive(Default)]
pub(super) struct Events {
    known: HashSet<(SagaId, String)>,
    /// Keys of which there is an event already.
    keys: HashSet<String>,
    instances: Vec<Uuid>,
    steps: Vec<String>,
    states: Vec<&'static str>,
    /// The keys whose locks are to be taken, and the instances of which they are the ids.
    locks: Vec<Option<String>>,
    guests: Vec<Option<Uuid>>,
    lanes: Vec<i32>,
    ids: Vec<String>,
    event_keys: Vec<String>,
    types: Vec<String>,
    sources: Vec<String>,
    subjects: Vec<Option<String>>,
    times: Vec<Option<String>>,
    attributes: Vec<String>,
    content_types: Vec<String>,
    texts: Vec<Option<String>>,
    bytes: Vec<Option<Vec<u8>>>,
    senders: Vec<Option<Uuid>>,
    leases_ms: Vec<Option<i64>>,
}

impl Events {
    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(super) fn push(&mut self, progress: &Progress, step: &StepWrite) -> Result<(), StoreError> {
        // As the row of a step, which is written once.
        if step.events.is_empty() || !self.known.insert((progress.id, step.name.clone())) {
            return Ok(());
        }
        for event in &step.events {
            let mut stored = Stored::of(event)?;
            let key = stored.key.take();
            let key = key.unwrap_or_else(|| progress.id.to_string());
            stored.key = Some(key.clone());
            let lock = KeyLock::of(&key, Some(progress.id));
            self.lanes.push(stored.lane());
            // Of those of a key, only the first can be published by itself.
            let sender = progress
                .sender
                .filter(|_| self.keys.insert(key.clone()))
                .map(|Sender { id, lease }| (id.as_uuid(), lease_millis(lease)));
            self.instances.push(progress.id.as_uuid());
            self.steps.push(step.name.clone());
            self.states.push(step.state.as_str());
            self.locks.push(lock.name);
            self.guests.push(lock.instance);
            self.ids.push(stored.id);
            self.event_keys.push(key);
            self.types.push(stored.event_type);
            self.sources.push(stored.source);
            self.subjects.push(stored.subject);
            self.times.push(stored.time);
            self.attributes.push(stored.attributes);
            self.content_types.push(stored.content_type);
            self.texts.push(stored.text);
            self.bytes.push(stored.bytes);
            self.senders.push(sender.map(|(id, _)| id));
            self.leases_ms.push(sender.map(|(_, lease)| lease));
        }
        Ok(())
    }

    pub(super) fn bind(self, query: Statement) -> Statement {
        query
            .bind(self.instances)
            .bind(self.steps)
            .bind(self.states)
            .bind(self.locks)
            .bind(self.guests)
            .bind(self.lanes)
            .bind(self.ids)
            .bind(self.event_keys)
            .bind(self.types)
            .bind(self.sources)
            .bind(self.subjects)
            .bind(self.times)
            .bind(self.attributes)
            .bind(self.content_types)
            .bind(self.texts)
            .bind(self.bytes)
            .bind(self.senders)
            .bind(self.leases_ms)
    }
}
