//! Which locks the events of writes need, and turns at the keys among the writers of this store.
//!
//! A statement does not wait for a key that another transaction has, and its write comes again after a while. The other is most
//! often another writer of this store, with the same hot key: for that one it is worth to wait here.

use super::super::event::KeyLock;
use sagaz_core::store::{Progress, Write};
use std::{
    collections::HashSet,
    pin::pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::Notify;
use uuid::Uuid;

/// How many keys a statement locks at most. Their locks are in a table of the server's whose size is fixed when it starts.
const KEYS_MAX: usize = 256;

/// The locks that the events of a write need.
#[derive(Default)]
pub(super) struct Locks {
    /// The instance itself, and those whose ids are keys.
    pub(super) instances: Vec<Uuid>,
    /// The names of keys.
    pub(super) keys: Vec<String>,
}

impl Locks {
    /// `None`: it has no events.
    pub(super) fn of(progress: &Progress) -> Option<Self> {
        let mut events = progress.steps.iter().flat_map(|step| &step.events);
        let first = events.next()?;
        let mut locks = Self::default();
        locks.instances.push(progress.id.as_uuid());
        for event in std::iter::once(first).chain(events) {
            let Some(key) = event.ordering_key() else {
                continue;
            };
            let lock = KeyLock::of(key, Some(progress.id));
            locks.instances.extend(lock.instance);
            locks.keys.extend(lock.name);
        }
        Some(locks)
    }
}

/// Keys that statements of this store lock.
#[derive(Debug)]
pub(in super::super) struct Keys {
    /// How many in one: fewer where the server has had no room for their locks.
    max: AtomicUsize,
    taken: Mutex<HashSet<String>>,
    freed: Notify,
}

/// Keys that are one statement's. Dropped, they are free.
pub(super) struct Turn<'k> {
    of: &'k Keys,
    keys: HashSet<String>,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            max: AtomicUsize::new(KEYS_MAX),
            taken: Mutex::default(),
            freed: Notify::new(),
        }
    }
}

impl Keys {
    pub(super) fn halve(&self) {
        let half = |keys: usize| Some((keys / 2).max(1));
        // It always has a new value.
        let _ = self
            .max
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, half);
    }

    /// How many of these writes go into one statement, one at least, and their keys.
    pub(super) fn fitting(&self, writes: &[&Write]) -> (usize, HashSet<String>) {
        let max = self.max.load(Ordering::Relaxed);
        let mut keys = HashSet::new();
        for (at, write) in writes.iter().enumerate() {
            let Write::Progress(progress) = write else {
                continue;
            };
            let more = Locks::of(progress).unwrap_or_default().keys;
            let new = more.iter().filter(|key| !keys.contains(*key));
            if at > 0 && keys.len() + new.count() > max {
                return (at, keys);
            }
            keys.extend(more);
        }
        (writes.len(), keys)
    }

    /// When no other statement of this store has one of them.
    pub(super) async fn turn(&self, keys: HashSet<String>) -> Turn<'_> {
        loop {
            let mut freed = pin!(self.freed.notified());
            // What is freed from now on is heard.
            freed.as_mut().enable();
            {
                let mut taken = self.taken();
                if taken.is_disjoint(&keys) {
                    taken.extend(keys.iter().cloned());
                    return Turn { of: self, keys };
                }
            }
            freed.await;
        }
    }

    fn taken(&self) -> MutexGuard<'_, HashSet<String>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.keys.is_empty() {
            return;
        }
        self.of.taken().retain(|key| !self.keys.contains(key));
        self.of.freed.notify_waiters();
    }
}
