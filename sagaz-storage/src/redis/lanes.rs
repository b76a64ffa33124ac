//! Which lanes are whose. A lane is a partition.
//!
//! Invariant: owners and leases of workers are decided in one place, by one clock; each partition knows the owner and the epoch of its
//! lane, by which it judges what a worker says. A worker is given a lane only after its partition knows, so that the former owner
//! is fenced by then.

use super::{
    Store,
    request::{Request, elements, number},
    script::{ATTEND, INSTALL, RELEASE, VACATE},
    server::Line,
};
use crate::value::{as_u64, lease_millis};
use sagaz_core::store::{Attendance, Lane, StoreError, WorkerId};
use std::time::Duration;

pub(super) async fn attend(
    store: &Store,
    worker: WorkerId,
    ttl: Duration,
    wanted: u16,
) -> Result<Attendance, StoreError> {
    let first = assign(store, worker, ttl, wanted, &[]).await?;
    let (mut installed, behind) = install(store, worker, &first.lanes).await?;
    if !behind.is_empty() {
        // Its epoch was lost where lanes are assigned, as a failover can: it begins anew behind the one that its partition knows.
        let again = assign(store, worker, ttl, wanted, &behind).await?;
        (installed, _) = install(store, worker, &again.lanes).await?;
    }
    installed.sort_unstable();
    Ok(Attendance {
        lanes: installed,
        workers: first.workers,
    })
}

/// `used`: lanes of the worker whose epoch cannot be had any more, each with the one that holds.
async fn assign(
    store: &Store,
    worker: WorkerId,
    ttl: Duration,
    wanted: u16,
    used: &[Lane],
) -> Result<Attendance, StoreError> {
    let attend = Request::script(&ATTEND, &store.space.center)
        .shown(worker)
        .shown(lease_millis(ttl))
        .shown(wanted)
        .shown(store.space.tags.len());
    let attend = used.iter().fold(attend, |request, lane| {
        request.shown(lane.index).shown(lane.epoch)
    });
    let reply = store.server.ask_one(Line::Keeper, attend).await?;
    let mut numbers = elements(reply).into_iter().map(number);
    let Some(Some(workers)) = numbers.next() else {
        return Err(StoreError::fatal(
            "the server's reply to a worker is not of this store",
        ));
    };
    let mut lanes = Vec::new();
    while let (Some(Some(index)), Some(Some(epoch))) = (numbers.next(), numbers.next()) {
        lanes.push(Lane {
            index: u16::try_from(index).unwrap_or_default(),
            epoch: as_u64(epoch),
        });
    }
    Ok(Attendance {
        lanes,
        workers: u32::try_from(workers).unwrap_or_default(),
    })
}

/// The lanes whose partitions know of it, and those that know a later owner.
async fn install(
    store: &Store,
    worker: WorkerId,
    lanes: &[Lane],
) -> Result<(Vec<Lane>, Vec<Lane>), StoreError> {
    let requests: Vec<_> = lanes
        .iter()
        .map(|lane| {
            Request::script(&INSTALL, store.tag(lane.index))
                .shown(worker)
                .shown(lane.epoch)
        })
        .collect();
    let replies = store.server.ask(Line::Keeper, &requests).await?;
    let (mut installed, mut behind) = (Vec::with_capacity(lanes.len()), Vec::new());
    for (lane, reply) in lanes.iter().zip(replies) {
        let mut reply = elements(reply).into_iter().map(number);
        let epoch = reply.next().flatten().map_or(0, as_u64);
        if reply.next().flatten() == Some(1) {
            installed.push(*lane);
        } else {
            behind.push(Lane {
                index: lane.index,
                epoch,
            });
        }
    }
    Ok((installed, behind))
}

pub(super) async fn release(
    store: &Store,
    worker: WorkerId,
    lanes: Option<&[u16]>,
) -> Result<(), StoreError> {
    let leaves = lanes.is_none();
    let lanes: Vec<u16> = match lanes {
        Some(lanes) => lanes
            .iter()
            .copied()
            .filter(|lane| usize::from(*lane) < store.space.tags.len())
            .collect(),
        None => store.lanes().collect(),
    };
    // First where the worker's words are judged: then others may take them.
    let vacate: Vec<_> = lanes
        .iter()
        .map(|lane| Request::script(&VACATE, store.tag(*lane)).shown(worker))
        .collect();
    store.server.ask(Line::Keeper, &vacate).await?;
    let release = Request::script(&RELEASE, &store.space.center)
        .shown(worker)
        .flag(leaves);
    let release = lanes
        .iter()
        .fold(release, |request, lane| request.shown(*lane));
    store
        .server
        .ask_one(Line::Keeper, release)
        .await
        .map(|_| ())
}

impl Store {
    pub(super) fn lanes(&self) -> impl Iterator<Item = u16> {
        0..u16::try_from(self.space.tags.len()).unwrap_or(u16::MAX)
    }

    /// The hash tag of a lane's partition.
    pub(super) fn tag(&self, lane: u16) -> &str {
        &self.space.tags[usize::from(lane) % self.space.tags.len()]
    }
}
