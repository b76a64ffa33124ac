//! How an engine stands, for whoever watches it.

use super::{Inner, lock};
use crate::{
    id::EngineId,
    observe::EngineProbe,
    store::{Backlog, Store, StoreError},
};
use futures_util::future::BoxFuture;
use std::{fmt, sync::atomic::Ordering, time::Duration};

impl<S: Store> EngineProbe for Inner<S> {
    fn id(&self) -> EngineId {
        self.id
    }

    fn store(&self) -> &'static str {
        self.store.system()
    }

    fn in_flight(&self) -> Vec<(&'static str, usize)> {
        let counts = self.counts.iter();
        counts
            .map(|(saga, count)| (*saga, count.load(Ordering::Relaxed)))
            .collect()
    }

    fn in_flight_max(&self) -> usize {
        self.config.in_flight_max
    }

    fn lease_remaining(&self) -> Duration {
        self.lease.remaining()
    }

    fn silence(&self) -> Duration {
        self.lease.silence()
    }

    fn silence_max(&self) -> Duration {
        self.config.lease * 2
    }

    fn is_stopping(&self) -> bool {
        Inner::is_stopping(self)
    }

    fn store_trouble(&self) -> Option<String> {
        let trouble = lock(&self.trouble);
        let trouble = trouble.as_ref().filter(|trouble| trouble.is_away);
        trouble.map(|trouble| trouble.words.clone())
    }

    fn ended_task(&self) -> Option<&'static str> {
        let core = lock(&self.core);
        let mut ended = core.iter().filter(|(_, task)| task.is_finished());
        ended.next().map(|(name, _)| *name)
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    fn backlog(&self) -> BoxFuture<'_, Result<Vec<Backlog>, StoreError>> {
        Box::pin(self.store.backlog())
    }
}

impl<S: Store> fmt::Debug for Inner<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
