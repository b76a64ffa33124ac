//! Leases of engines, by the server's clock, in a slot of their own.
//!
//! Invariant: a lease that has ended is as good as none. Whoever takes a dead engine's instances has removed its lease before
//! (`claim`), so that a renewal which comes after that tells that the lease had lapsed.

use super::{
    Store,
    request::{Request, elements, number, text},
    script::{RENEW, RETIRE},
    server::Line,
};
use crate::value::lease_millis;
use sagaz_core::{
    EngineId,
    store::{Renewal, StoreError},
};
use std::time::Duration;

pub(super) async fn renew(
    store: &Store,
    engine: EngineId,
    ttl: Duration,
) -> Result<Renewal, StoreError> {
    let renew = Request::script(&RENEW, &store.space.center)
        .shown(engine)
        .shown(lease_millis(ttl));
    // Who asked to cancel is kept where the instances are.
    let cancelled = store
        .space
        .tags
        .iter()
        .map(|tag| Request::command("SMEMBERS", format!("{tag}:cancel:{engine}")));
    let requests: Vec<_> = [renew].into_iter().chain(cancelled).collect();
    let mut replies = store.server.ask(Line::Keeper, &requests).await?.into_iter();
    let mut renewed = elements(replies.next().unwrap_or(redis::Value::Nil)).into_iter();
    let (Some(lapsed), Some(others)) = (
        renewed.next().and_then(number),
        renewed.next().and_then(number),
    ) else {
        return Err(StoreError::fatal(
            "the server's reply to a renewal is not of this store",
        ));
    };
    let mut cancel_requested: Vec<_> = replies
        .flat_map(elements)
        .filter_map(|id| text(id)?.parse().ok())
        .collect();
    cancel_requested.sort_unstable();
    Ok(Renewal {
        cancel_requested,
        // Itself is one of them.
        other_engines: u32::try_from(others.saturating_sub(1)).unwrap_or_default(),
        lapsed: lapsed == 1,
    })
}

pub(super) async fn retire(store: &Store, engine: EngineId) -> Result<(), StoreError> {
    let retire = Request::script(&RETIRE, &store.space.center).shown(engine);
    store.server.ask_one(Line::Keeper, retire).await.map(|_| ())
}
