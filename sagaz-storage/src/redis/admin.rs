//! Those who own nothing: definitions, requests to cancel, and retention.
//!
//! Deliberately not here: a table of definitions. The instances name theirs, and each partition counts the unfinished ones of
//! each; so nothing is left to be forgotten.

use super::{
    Store,
    request::{Request, elements, number, text},
    script::{CANCEL, OLD, OLD_HANDLED, OLD_SENT, PRUNE, PRUNE_HANDLED, PRUNE_SENT, Script},
    server::Line,
};
use crate::value::{as_u64, millis};
use sagaz_core::{
    SagaId,
    store::{CancelReply, Defined, DefinitionKey, InstanceState, Retention, StoreError},
};
use std::{collections::BTreeMap, time::Duration};

/// The most that one script removes: nobody else is served meanwhile.
const PRUNE_AT_ONCE: u64 = 128;

pub(super) async fn define(store: &Store, key: &DefinitionKey) -> Result<Defined, StoreError> {
    let requests: Vec<_> = store
        .space
        .tags
        .iter()
        .map(|tag| Request::command("HGETALL", format!("{tag}:unfinished")))
        .collect();
    let mut others = BTreeMap::<String, u64>::new();
    for reply in store.server.ask(Line::Reader, &requests).await? {
        let mut fields = elements(reply).into_iter();
        while let (Some(field), Some(count)) = (fields.next(), fields.next()) {
            let (Some(field), Some(count)) = (text(field), number(count)) else {
                continue;
            };
            if let Some(fingerprint) = other_fingerprint(&field, key) {
                *others.entry(fingerprint.to_owned()).or_default() += as_u64(count);
            }
        }
    }
    Ok(
        match others.into_iter().find(|(_, unfinished)| *unfinished > 0) {
            None => Defined::Stored,
            Some((fingerprint, unfinished)) => Defined::Conflict {
                fingerprint,
                unfinished,
            },
        },
    )
}

/// Of a counter of this saga and version (`count_unfinished` in `instance.lua` names it), the fingerprint, if it is another.
fn other_fingerprint<'a>(field: &'a str, key: &DefinitionKey) -> Option<&'a str> {
    let (version, rest) = field.split_once(':')?;
    let (length, rest) = rest.split_once(':')?;
    let (fingerprint, saga) = rest.split_at_checked(length.parse().ok()?)?;
    let is_same = version.parse() == Ok(key.version) && saga.strip_prefix(':') == Some(&key.saga);
    (is_same && fingerprint != key.fingerprint).then_some(fingerprint)
}

pub(super) async fn request_cancel(store: &Store, id: SagaId) -> Result<CancelReply, StoreError> {
    let cancel = Request::script(&CANCEL, store.space.tag(id)).shown(id);
    let reply = text(store.server.ask_one(Line::Reader, cancel).await?).unwrap_or_default();
    match reply.as_str() {
        "requested" => Ok(CancelReply::Requested),
        "pivot" => Ok(CancelReply::PivotPassed),
        "" => Ok(CancelReply::NotFound),
        state => InstanceState::from_word(state)
            .map(CancelReply::NotLive)
            .ok_or_else(|| {
                StoreError::fatal(format!("the stored state {state:?} is not of this store"))
            }),
    }
}

pub(super) async fn prune(
    store: &Store,
    age: Duration,
    limit: u32,
    retention: Retention,
) -> Result<u64, StoreError> {
    let to_archive = retention == Retention::Archive;
    remove_old(store, [&OLD, &PRUNE], age, limit, Some(to_archive)).await
}

pub(super) async fn prune_sent(
    store: &Store,
    age: Duration,
    limit: u32,
) -> Result<u64, StoreError> {
    remove_old(store, [&OLD_SENT, &PRUNE_SENT], age, limit, None).await
}

pub(super) async fn prune_handled(
    store: &Store,
    age: Duration,
    limit: u32,
) -> Result<u64, StoreError> {
    remove_old(store, [&OLD_HANDLED, &PRUNE_HANDLED], age, limit, None).await
}

/// A share of each partition that has something to remove, in parts of bounded size. The first script counts, the second removes.
async fn remove_old(
    store: &Store,
    [count, remove]: [&'static Script; 2],
    age: Duration,
    limit: u32,
    flag: Option<bool>,
) -> Result<u64, StoreError> {
    let tags = &store.space.tags;
    let looks: Vec<_> = tags
        .iter()
        .map(|tag| Request::script(count, tag).shown(millis(age)))
        .collect();
    let mut old: Vec<u64> = store
        .server
        .ask(Line::Reader, &looks)
        .await?
        .into_iter()
        .map(|count| number(count).map_or(0, as_u64))
        .collect();
    let (mut room, mut removed) = (u64::from(limit), 0);
    while room > 0 && old.iter().any(|left| *left > 0) {
        let mut requests = Vec::new();
        for (tag, left) in tags.iter().zip(&mut old) {
            let part = (*left).min(PRUNE_AT_ONCE).min(room);
            if part > 0 {
                *left -= part;
                room -= part;
                let request = Request::script(remove, tag).shown(millis(age)).shown(part);
                requests.push(match flag {
                    Some(flag) => request.flag(flag),
                    None => request,
                });
            }
        }
        let replies = store.server.ask(Line::Reader, &requests).await?;
        removed += replies
            .into_iter()
            .filter_map(number)
            .map(as_u64)
            .sum::<u64>();
    }
    Ok(removed)
}
