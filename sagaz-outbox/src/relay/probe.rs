//! How a relay stands, for whoever watches it.

use super::Inner;
use futures_util::future::BoxFuture;
use sagaz_core::{
    broker::{Broker, BrokerError},
    observe::{OutboxProbe, RelayStanding},
    store::{OutboxStats, OutboxStore, StoreError},
};
use std::{
    fmt,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

/// What the worker last knew.
#[derive(Debug, Default)]
pub(super) struct Standing {
    lanes: AtomicUsize,
    workers: AtomicU32,
    /// In microseconds since the relay's origin.
    lease_until: AtomicU64,
    events: AtomicUsize,
    unmarked: AtomicUsize,
    is_dead: AtomicBool,
}

impl Standing {
    pub(super) fn attended(&self, lanes: usize, workers: u32, until: Duration) {
        self.lanes.store(lanes, Ordering::Relaxed);
        self.workers.store(workers, Ordering::Relaxed);
        let until = u64::try_from(until.as_micros()).unwrap_or(u64::MAX);
        self.lease_until.store(until, Ordering::Relaxed);
    }

    pub(super) fn died(&self) {
        self.is_dead.store(true, Ordering::Relaxed);
    }

    pub(super) fn loaded(&self, events: usize, unmarked: usize) {
        self.events.store(events, Ordering::Relaxed);
        self.unmarked.store(unmarked, Ordering::Relaxed);
    }
}

impl<S: OutboxStore, B: Broker> OutboxProbe for Inner<S, B> {
    fn store(&self) -> &'static str {
        self.store.system()
    }

    fn broker(&self) -> &'static str {
        self.broker.system()
    }

    fn relay(&self) -> Option<RelayStanding> {
        let standing = &self.standing;
        let until = Duration::from_micros(standing.lease_until.load(Ordering::Relaxed));
        let lease_remaining = until.saturating_sub(self.now());
        Some(RelayStanding {
            // Without a lease it has none.
            lanes: if lease_remaining.is_zero() {
                0
            } else {
                standing.lanes.load(Ordering::Relaxed)
            },
            workers: standing.workers.load(Ordering::Relaxed),
            lease_remaining,
            is_dead: standing.is_dead.load(Ordering::Relaxed),
            events: standing.events.load(Ordering::Relaxed),
            unmarked: standing.unmarked.load(Ordering::Relaxed),
        })
    }

    fn outbox(&self) -> BoxFuture<'_, Result<OutboxStats, StoreError>> {
        Box::pin(self.store.outbox_stats())
    }

    fn broker_health(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(self.broker.health())
    }
}

impl<S, B> fmt::Debug for Inner<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("id", &self.id)
            .field("standing", &self.standing)
            .finish_non_exhaustive()
    }
}
