//! A batch as the statements take it: JSON arrays, with every payload's bytes in one blob beside them, so that no
//! payload is escaped or parsed. The hot statements read them by `jsonb_each`: with `json_each`, which gives each record as
//! text to be parsed anew for every field, a batch takes almost twice as long.
//!
//! Invariant: every text arrives in the database as it was. SQLite's JSON ends a text at a NUL character; so a key with
//! one is refused, and in an error's words and in a trace it is replaced.

use super::events::Stored;
use crate::value::{as_i64, lease_millis, millis, record, without_nul};
use sagaz_core::{
    EngineId, Event, Failure, Payload, SagaId, Stuck,
    store::{Accept, Progress, Sender, StepState, StepWrite, StoreError, Wake, WorkerId, Write},
};
use serde::Serialize;
use std::{borrow::Cow, collections::BTreeSet};

/// The writes of a batch.
#[derive(Debug, Default)]
pub(super) struct Batch<'a> {
    pub(super) accepts: Vec<Acceptance<'a>>,
    pub(super) accept_payloads: Payloads,
    pub(super) progress: Vec<Change<'a>>,
    pub(super) steps: Vec<Step<'a>>,
    pub(super) step_payloads: Payloads,
    pub(super) events: Events<'a>,
}

/// What the steps of a batch have published.
#[derive(Debug, Default)]
pub(super) struct Events<'a> {
    pub(super) published: Vec<Published<'a>>,
    pub(super) payloads: Payloads,
    /// The keys so far.
    keys: BTreeSet<String>,
}

/// An event of a step.
#[derive(Debug, Serialize)]
pub(super) struct Published<'a> {
    instance: SagaId,
    owner: Option<EngineId>,
    epoch: i64,
    step: &'a str,
    state: &'static str,
    sender: Option<WorkerId>,
    lease_ms: Option<i64>,
    /// Whether it is the first of its key in the batch.
    is_first: bool,
    #[serde(flatten)]
    event: Stored<'a>,
}

/// A new instance.
#[derive(Debug, Serialize)]
pub(super) struct Acceptance<'a> {
    /// Its place in the batch.
    n: usize,
    id: SagaId,
    saga: &'a str,
    version: u32,
    fingerprint: &'a str,
    owner: Option<EngineId>,
    start_key: Option<&'a str>,
    input_digest: &'a str,
    deadline_ms: Option<i64>,
    trace: Option<Cow<'a, str>>,
    content_type: &'a str,
    at: usize,
    len: usize,
}

/// The progress of an instance, without its steps. A field that is left out is NULL in SQL; a `None` that was not left
/// out would be the JSON text `null` for the fields that are stored as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Change<'a> {
    /// Its place in the batch.
    n: usize,
    id: SagaId,
    owner: EngineId,
    epoch: i64,
    state: &'static str,
    pivot_passed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'a Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stuck: Option<&'a Stuck>,
    /// Whether it is given up.
    release: bool,
    wake_ms: Option<i64>,
    /// Whether a step got somewhere, so that its takeovers no longer count.
    advanced: bool,
}

/// The row of a step.
#[derive(Debug, Serialize)]
pub(super) struct Step<'a> {
    id: SagaId,
    owner: Option<EngineId>,
    epoch: i64,
    name: &'a str,
    kind: &'static str,
    state: &'static str,
    attempts: u32,
    undo_attempts: u32,
    recoveries: u32,
    error: Option<Cow<'a, str>>,
    wake_ms: Option<i64>,
    content_type: Option<&'a str>,
    at: Option<usize>,
    len: Option<usize>,
}

/// The bytes of payloads, one after the other, behind a byte of no meaning: of a blob without any, SQL's `substr` makes
/// NULL, and not an empty payload.
#[derive(Debug)]
pub(super) struct Payloads(pub(super) Vec<u8>);

impl Default for Payloads {
    fn default() -> Self {
        Self(vec![0])
    }
}

impl Payloads {
    /// Where the payload begins, counted from 1 as SQL does, and its length.
    pub(super) fn add(&mut self, payload: &Payload) -> (usize, usize) {
        let at = self.0.len() + 1;
        self.0.extend_from_slice(&payload.bytes);
        (at, payload.bytes.len())
    }
}

impl<'a> Batch<'a> {
    pub(super) fn new(writes: &'a [Write]) -> Result<Self, StoreError> {
        let mut batch = Self::default();
        for (n, write) in writes.iter().enumerate() {
            match write {
                Write::Accept(accept) => batch.accept(n, accept)?,
                Write::Progress(progress) => batch.progress(n, progress)?,
                _ => {
                    return Err(StoreError::refusal(format!(
                        "a write of instance {} is of no known kind",
                        write.id()
                    )));
                }
            }
        }
        Ok(batch)
    }

    fn accept(&mut self, n: usize, accept: &'a Accept) -> Result<(), StoreError> {
        if accept
            .start_key
            .as_ref()
            .is_some_and(|key| key.contains('\0'))
        {
            return Err(StoreError::refusal(format!(
                "the start key of instance {} has a NUL character",
                accept.id
            )));
        }
        let (at, len) = self.accept_payloads.add(&accept.input);
        self.accepts.push(Acceptance {
            n,
            id: accept.id,
            saga: &accept.definition.saga,
            version: accept.definition.version,
            fingerprint: &accept.definition.fingerprint,
            owner: accept.owner,
            start_key: accept.start_key.as_deref(),
            input_digest: &accept.input_digest,
            deadline_ms: accept.deadline.map(millis),
            trace: accept.trace.as_deref().map(without_nul),
            content_type: &accept.input.content_type,
            at,
            len,
        });
        Ok(())
    }

    fn progress(&mut self, n: usize, progress: &'a Progress) -> Result<(), StoreError> {
        let epoch = as_i64(progress.token.epoch);
        let is_live = progress.state.is_live();
        self.progress.push(Change {
            n,
            id: progress.id,
            owner: progress.token.owner,
            epoch,
            state: progress.state.as_str(),
            pivot_passed: progress.pivot_passed,
            failure: progress.failure.as_ref(),
            stuck: progress.stuck.as_ref(),
            release: !is_live || progress.release.is_some(),
            wake_ms: progress.release.filter(|_| is_live).map(|wake| match wake {
                Wake::Now => 0,
                Wake::After(delay) => millis(delay),
            }),
            // A step that is only begun, or to be begun anew, is no sign that the instance lets its process live.
            advanced: progress
                .steps
                .iter()
                .any(|step| !matches!(step.state, StepState::Pending | StepState::Running)),
        });
        let owner = Some(progress.token.owner);
        for step in &progress.steps {
            let row = Step::new(progress.id, owner, epoch, step, &mut self.step_payloads);
            for event in &step.events {
                self.events.add(&row, event, progress.sender)?;
            }
            self.steps.push(row);
        }
        Ok(())
    }
}

impl<'a> Events<'a> {
    pub(super) fn add(
        &mut self,
        step: &Step<'a>,
        event: &'a Event,
        sender: Option<Sender>,
    ) -> Result<(), StoreError> {
        let event = Stored::new(event, || step.id.to_string(), &mut self.payloads)?;
        self.published.push(Published {
            instance: step.id,
            owner: step.owner,
            epoch: step.epoch,
            step: step.name,
            state: step.state,
            sender: sender.map(|sender| sender.id),
            lease_ms: sender.map(|sender| lease_millis(sender.lease)),
            is_first: self.keys.insert(event.key.clone().into_owned()),
            event,
        });
        Ok(())
    }

    /// Whether a relay is to publish one of them, as far as is known without looking.
    pub(super) fn are_for_relay(&self) -> bool {
        self.published.iter().any(|event| event.sender.is_none())
    }
}

impl<'a> Step<'a> {
    pub(super) fn new(
        id: SagaId,
        owner: Option<EngineId>,
        epoch: i64,
        step: &'a StepWrite,
        payloads: &mut Payloads,
    ) -> Self {
        let place = step.output.as_ref().map(|output| payloads.add(output));
        Self {
            id,
            owner,
            epoch,
            name: &step.name,
            kind: step.kind.as_str(),
            state: step.state.as_str(),
            attempts: step.attempts,
            undo_attempts: step.undo_attempts,
            recoveries: step.recoveries,
            error: step.error.as_deref().map(without_nul),
            wake_ms: step.wake.map(millis),
            content_type: step
                .output
                .as_ref()
                .map(|output| output.content_type.as_str()),
            at: place.map(|(at, _)| at),
            len: place.map(|(_, len)| len),
        }
    }
}

/// The array as a parameter.
pub(super) fn json<T: Serialize>(records: &T) -> Result<std::sync::Arc<str>, StoreError> {
    record(records).map(Into::into)
}
