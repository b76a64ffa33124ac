//! What only reads.

use super::{
    Store,
    request::{Request, bytes, elements, number, text},
    row::{Fields, SUMMARY, Unreadable},
    script::{BACKLOG, COUNT, IDS, LOAD, NOW, Script},
    server::Line,
};
use crate::value::{as_u64, millis, states};
use redis::Value;
use sagaz_core::{
    SagaId,
    store::{Backlog, Cursor, Filter, InstanceState, Page, Snapshot, StoreError, Summary},
};
use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

pub(super) async fn load(store: &Store, id: SagaId) -> Result<Option<Snapshot>, StoreError> {
    snapshot(store, id, ":i:").await
}

pub(super) async fn archived(store: &Store, id: SagaId) -> Result<Option<Snapshot>, StoreError> {
    snapshot(store, id, ":a:").await
}

async fn snapshot(
    store: &Store,
    id: SagaId,
    place: &'static str,
) -> Result<Option<Snapshot>, StoreError> {
    let load = Request::script(&LOAD, store.space.tag(id)).shown(id);
    let load = load.text(place);
    let mut reply = elements(store.server.ask_one(Line::Reader, load).await?).into_iter();
    let now_ms = reply.next().and_then(number).unwrap_or_default();
    let fields = elements(reply.next().unwrap_or(Value::Nil));
    let fields = Fields::new(
        fields
            .into_iter()
            .map(|value| bytes(value).unwrap_or_default())
            .collect(),
    );
    if fields.is_empty() {
        return Ok(None);
    }
    fields.snapshot(id, now_ms).map(Some).map_err(unreadable)
}

fn unreadable(error: Unreadable) -> StoreError {
    StoreError::fatal(format!(
        "the store holds a value that cannot be read: {error}"
    ))
    .caused_by(error)
}

pub(super) async fn find(
    store: &Store,
    saga: &str,
    start_key: &str,
) -> Result<Option<SagaId>, StoreError> {
    let tag = &store.space.tags[store.space.of_key(saga, start_key)];
    let key = format!("{tag}:key:{}:{saga}:{start_key}", saga.len());
    let id = store
        .server
        .ask_one(Line::Reader, Request::command("GET", key))
        .await?;
    Ok(text(id).and_then(|id| id.parse().ok()))
}

/// A partition's ids, as far as they were read, newest first.
#[derive(Default)]
struct Part {
    ids: VecDeque<SagaId>,
    last: Option<SagaId>,
    is_read: bool,
}

/// Newest first: the partitions' ids are merged, and then the rows of the page are read.
pub(super) async fn list(store: &Store, filter: &Filter) -> Result<Page, StoreError> {
    // One more says that there is another page.
    let wanted = filter.page_len() as usize + 1;
    let created_until = match filter.older_than {
        None => None,
        Some(age) => Some(
            now(store)
                .await?
                .checked_sub(Duration::from_millis(as_u64(millis(age))))
                .unwrap_or(UNIX_EPOCH),
        ),
    };
    let after = filter.after.map(|Cursor(id)| id);
    let mut parts: Vec<Part> = store
        .space
        .tags
        .iter()
        .map(|_| Part {
            last: after,
            ..Part::default()
        })
        .collect();
    let length = (wanted * 2 / parts.len()).clamp(8, 256);
    let mut found = Vec::with_capacity(wanted);
    while found.len() < wanted {
        refill(store, filter, &mut parts, length).await?;
        let next = merge(&mut parts, wanted - found.len());
        if next.is_empty() {
            break;
        }
        for summary in summaries(store, &next).await? {
            let fits = (filter.states.is_empty() || filter.states.contains(&summary.state))
                && created_until.is_none_or(|until| summary.created_at <= until);
            if fits {
                found.push(summary);
            }
        }
    }
    Ok(Page::of(filter, found))
}

/// Reads on in every partition whose ids are used up.
async fn refill(
    store: &Store,
    filter: &Filter,
    parts: &mut [Part],
    length: usize,
) -> Result<(), StoreError> {
    let states = states(filter);
    let mut used_up: Vec<(&String, &mut Part)> = store
        .space
        .tags
        .iter()
        .zip(parts)
        .filter(|(_, part)| part.ids.is_empty() && !part.is_read)
        .collect();
    let requests: Vec<_> = used_up
        .iter()
        .map(|(tag, part)| {
            let request = Request::script(&IDS, tag)
                .flag(filter.saga.is_some())
                .text(filter.saga.as_deref().unwrap_or_default())
                .owned(part.last.map_or_else(String::new, |id| id.to_string()))
                .shown(length);
            states
                .iter()
                .fold(request, |request, state| request.text(state))
        })
        .collect();
    if requests.is_empty() {
        return Ok(());
    }
    let replies = store.server.ask(Line::Reader, &requests).await?;
    for ((_, part), reply) in used_up.iter_mut().zip(replies) {
        let ids = elements(reply);
        part.is_read = ids.len() < length;
        part.ids = ids
            .into_iter()
            .filter_map(|id| text(id)?.parse().ok())
            .collect();
        part.last = part.ids.back().copied().or(part.last);
    }
    Ok(())
}

/// The newest ids, as long as it is known which they are.
fn merge(parts: &mut [Part], limit: usize) -> Vec<SagaId> {
    let mut merged = Vec::new();
    while merged.len() < limit
        && parts
            .iter()
            .all(|part| part.is_read || !part.ids.is_empty())
    {
        let newest = parts
            .iter_mut()
            .max_by_key(|part| part.ids.front().copied());
        match newest.and_then(|part| part.ids.pop_front()) {
            Some(id) => merged.push(id),
            None => break,
        }
    }
    merged
}

/// Those that are still there.
async fn summaries(store: &Store, ids: &[SagaId]) -> Result<Vec<Summary>, StoreError> {
    let requests: Vec<_> = ids
        .iter()
        .map(|id| {
            let request = Request::command("HMGET", store.instance(*id));
            SUMMARY
                .iter()
                .fold(request, |request, field| request.text(field))
        })
        .collect();
    let replies = store.server.ask(Line::Reader, &requests).await?;
    let mut summaries = Vec::with_capacity(ids.len());
    for (id, reply) in ids.iter().zip(replies) {
        let fields = Fields::of_summary(elements(reply).into_iter().map(bytes));
        if !fields.is_empty() {
            summaries.push(fields.summary(*id).map_err(unreadable)?);
        }
    }
    Ok(summaries)
}

async fn now(store: &Store) -> Result<SystemTime, StoreError> {
    let now = Request::script(&NOW, &store.space.center);
    let now = store.server.ask_one(Line::Reader, now).await?;
    Ok(crate::value::time(number(now).unwrap_or_default()))
}

pub(super) async fn count(store: &Store) -> Result<Vec<(String, InstanceState, u64)>, StoreError> {
    let states = InstanceState::ALL;
    let mut counts = BTreeMap::<_, u64>::new();
    for (saga, row) in by_saga(store, &COUNT, &states).await? {
        for (state, count) in states.iter().zip(row) {
            if count > 0 {
                *counts.entry((saga.clone(), *state)).or_default() += count;
            }
        }
    }
    Ok(counts
        .into_iter()
        .map(|((saga, state), count)| (saga, state, count))
        .collect())
}

/// The oldest is the one of the lowest id of its partition: ids begin with the time at which they were made, by their makers' clocks.
pub(super) async fn backlog(store: &Store) -> Result<Vec<Backlog>, StoreError> {
    let states = InstanceState::ALL.map(|state| (!state.is_final()).then_some(state));
    let states: Vec<_> = states.into_iter().flatten().collect();
    let mut backlog = BTreeMap::<_, (u64, u64)>::new();
    for (saga, row) in by_saga(store, &BACKLOG, &states).await? {
        for (state, part) in states.iter().zip(row.chunks_exact(2)) {
            if part[0] > 0 {
                let (instances, oldest_ms) = backlog.entry((saga.clone(), *state)).or_default();
                *instances += part[0];
                *oldest_ms = part[1].max(*oldest_ms);
            }
        }
    }
    Ok(backlog
        .into_iter()
        .map(|((saga, state), (instances, oldest_ms))| Backlog {
            saga,
            state,
            instances,
            oldest: Duration::from_millis(oldest_ms),
        })
        .collect())
}

/// What each partition has of each saga: its name, and numbers.
async fn by_saga(
    store: &Store,
    script: &'static Script,
    states: &[InstanceState],
) -> Result<Vec<(String, Vec<u64>)>, StoreError> {
    let requests: Vec<_> = store
        .space
        .tags
        .iter()
        .map(|tag| {
            let request = Request::script(script, tag);
            states
                .iter()
                .fold(request, |request, state| request.text(state.as_str()))
        })
        .collect();
    let replies = store.server.ask(Line::Reader, &requests).await?;
    let rows = replies.into_iter().flat_map(elements);
    Ok(rows
        .filter_map(|row| {
            let mut row = elements(row).into_iter();
            let saga = row.next().and_then(text)?;
            Some((saga, row.filter_map(number).map(as_u64).collect()))
        })
        .collect())
}
