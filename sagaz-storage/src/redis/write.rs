//! The hot path: a batch of writes as one pipeline, each write a script and so one atomic step.
//!
//! Invariant: the script that writes judges state and token. It also turns away an earlier *try* of a write that was held up
//! on its way and arrives after a later one: tries are numbered, and the instance knows the last one that was applied.

use super::{
    Store, event,
    request::{Request, elements, number, text},
    row::StepRecord,
    script::{ACCEPT, OPERATE, PROGRESS, PUBLISH},
    server::Line,
};
use crate::value::{lease_millis, millis, record};
use redis::Value;
use sagaz_core::{
    Payload, SagaId,
    store::{
        Accept, Accepted, OperatorWrite, Progress, StepState, StepWrite, StoreError, Wake, Write,
        Written,
    },
};
use std::fmt;

pub(super) async fn write(store: &Store, writes: &[Write]) -> Result<Vec<Written>, StoreError> {
    if writes.is_empty() {
        return Ok(Vec::new());
    }
    let requests = writes
        .iter()
        .map(|write| match write {
            Write::Accept(write) => accept(store, write),
            Write::Progress(write) => progress(store, write),
            _ => {
                let id = write.id();
                let words = format!("a write of instance {id} is of no known kind");
                Err(StoreError::refusal(words))
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    store.fresh.note(&store.space, writes);
    let replies = store.server.ask(Line::Writer, &requests).await?;
    let written = writes
        .iter()
        .zip(replies)
        .map(|(write, reply)| written(write, reply))
        .collect::<Result<Vec<_>, _>>()?;
    let is_for_relay = |write: &Write| match write {
        Write::Progress(write) => {
            write.sender.is_none() && write.steps.iter().any(|step| !step.events.is_empty())
        }
        _ => false,
    };
    if writes.iter().any(is_for_relay) {
        store.fresh.tell();
    }
    Ok(written)
}

fn accept<'a>(store: &'a Store, write: &'a Accept) -> Result<Request<'a>, StoreError> {
    let Accept { id, definition, .. } = write;
    let saga = definition.saga.as_str();
    if let Some(start_key) = &write.start_key
        && store.space.of_key(saga, start_key) != store.space.of(*id)
    {
        return Err(StoreError::refusal(format!(
            "the id {id} is in another partition than its start key; take it from `SagaStore::new_id`"
        )));
    }
    store.check_size(format_args!("the input of instance {id}"), &write.input)?;
    let request = Request::script(&ACCEPT, store.space.tag(*id))
        .shown(id)
        .text(saga)
        .shown(definition.version)
        .text(&definition.fingerprint)
        .owned(
            write
                .owner
                .map_or_else(String::new, |owner| owner.to_string()),
        )
        .flag(write.start_key.is_some())
        .text(write.start_key.as_deref().unwrap_or_default())
        .text(&write.input_digest)
        .owned(
            write
                .deadline
                .map_or_else(String::new, |after| millis(after).to_string()),
        )
        .text(&write.input.content_type)
        .bytes(&write.input.bytes);
    Ok(match &write.trace {
        None => request,
        Some(trace) => request.text(trace),
    })
}

fn progress<'a>(store: &'a Store, write: &'a Progress) -> Result<Request<'a>, StoreError> {
    let given_up = match write.state {
        state if state.is_final() => "final",
        state if !state.is_live() => "stuck",
        _ if write.release.is_some() => "live",
        _ => "no",
    };
    let wake_ms = match write.release {
        Some(Wake::After(delay)) => millis(delay),
        Some(Wake::Now) | None => 0,
    };
    // A step that is only begun, or to be begun anew, is no sign that the instance lets its process live.
    let has_advanced =
        |step: &StepWrite| !matches!(step.state, StepState::Pending | StepState::Running);
    let publishes = write.steps.iter().any(|step| !step.events.is_empty());
    let script = if publishes { &PUBLISH } else { &PROGRESS };
    let request = Request::script(script, store.space.tag(write.id))
        .shown(write.id)
        .shown(write.token.owner)
        .shown(write.token.epoch)
        .owned(store.next_try())
        .text(write.state.as_str())
        .flag(write.pivot_passed)
        .owned(optional(write.failure.as_ref())?)
        .owned(optional(write.stuck.as_ref())?)
        .text(given_up)
        .shown(wake_ms)
        .flag(write.steps.iter().any(has_advanced))
        .shown(write.steps.len());
    let request = steps(store, write.id, request, &write.steps)?;
    if publishes {
        events(store, write, request)
    } else {
        Ok(request)
    }
}

/// What the steps publish, each step's apart: what it has published tells a repeated write.
fn events<'a>(
    store: &Store,
    write: &'a Progress,
    request: Request<'a>,
) -> Result<Request<'a>, StoreError> {
    let mut request = match write.sender {
        None => request.text("").text("0"),
        Some(sender) => request.shown(sender.id).shown(lease_millis(sender.lease)),
    };
    for step in &write.steps {
        let Some(last) = step.events.last() else {
            continue;
        };
        request = request
            .text(&step.name)
            .shown(step.events.len())
            .text(last.event_id().as_str());
        for event in &step.events {
            request = event::append(store, request, event)?;
        }
    }
    Ok(request)
}

fn steps<'a>(
    store: &Store,
    id: SagaId,
    mut request: Request<'a>,
    steps: &'a [StepWrite],
) -> Result<Request<'a>, StoreError> {
    for step in steps {
        let row = record(&StepRecord {
            kind: step.kind.as_str(),
            state: step.state.as_str(),
            attempts: step.attempts,
            undo_attempts: step.undo_attempts,
            recoveries: step.recoveries,
            error: step.error.clone(),
        })?;
        request = request
            .text(&step.name)
            .owned(row)
            .owned(
                step.wake
                    .map_or_else(String::new, |after| millis(after).to_string()),
            )
            .flag(step.output.is_some());
        request = match &step.output {
            None => request.text("").text(""),
            Some(output) => {
                store.check_size(format_args!("an output of instance {id}"), output)?;
                request.text(&output.content_type).bytes(&output.bytes)
            }
        };
    }
    Ok(request)
}

fn written(write: &Write, reply: Value) -> Result<Written, StoreError> {
    let unreadable = || StoreError::fatal("the server's reply to a write is not of this store");
    match (write, reply) {
        (Write::Accept(_), Value::Array(existing)) => {
            let mut existing = elements(Value::Array(existing)).into_iter();
            let id = existing
                .next()
                .and_then(text)
                .and_then(|id| id.parse().ok());
            let (Some(id), Some(input_digest)) = (id, existing.next().and_then(text)) else {
                return Err(unreadable());
            };
            Ok(Written::Accepted(Accepted::Existing { id, input_digest }))
        }
        (Write::Accept(_), Value::Int(1)) => Ok(Written::Accepted(Accepted::New)),
        (Write::Progress(_), Value::Int(0)) => Ok(Written::Lost),
        (Write::Progress(_), Value::Int(stored @ (1 | 2))) => Ok(Written::Stored {
            cancel_requested: stored == 2,
        }),
        _ => Err(unreadable()),
    }
}

pub(super) async fn operate(store: &Store, write: &OperatorWrite) -> Result<bool, StoreError> {
    // The time is the last field, and the server's.
    let mut intervention = write.intervention.clone();
    intervention.at_ms = 0;
    let intervention = record(&intervention)?;
    let intervention = intervention.trim_end_matches("0}").to_owned();
    let request = Request::script(&OPERATE, store.space.tag(write.id))
        .shown(write.id)
        .shown(write.epoch)
        .text(write.state.as_str())
        .flag(write.pivot_passed)
        .owned(optional(write.failure.as_ref())?)
        .owned(intervention);
    let request = steps(store, write.id, request, &write.steps)?;
    let applied = store.server.ask_one(Line::Reader, request).await?;
    Ok(number(applied) == Some(1))
}

/// As JSON; nothing is an empty text.
fn optional(value: Option<&impl serde::Serialize>) -> Result<String, StoreError> {
    value.map_or_else(|| Ok(String::new()), record)
}

impl Store {
    /// A value that the server does not take in would cut the connection, for ever again.
    pub(super) fn check_size(
        &self,
        what: impl fmt::Display,
        payload: &Payload,
    ) -> Result<(), StoreError> {
        let (bytes, max) = (payload.bytes.len() as u64, self.value_max);
        if bytes > max {
            return Err(StoreError::refusal(format!(
                "{what} has {bytes} bytes, and the server takes {max}; raise its `proto-max-bulk-len`, or store \
                 it elsewhere"
            )));
        }
        Ok(())
    }
}
