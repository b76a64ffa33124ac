//! What this process knows of events that it has just stored: a courtesy, without which everything is found more slowly.

use super::keys::Space;
use sagaz_core::{
    EventId,
    store::{Progress, Write},
};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// Of how many events the partitions are known. A sender asks right after the write.
const NOTED_MAX: usize = 8_192;

#[derive(Debug, Default)]
pub(super) struct Fresh {
    told: Notify,
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    partitions: HashMap<EventId, usize>,
    /// Oldest first, also those that are not in the map any more.
    order: VecDeque<EventId>,
}

impl Fresh {
    /// There are events for the relay.
    pub(super) fn tell(&self) {
        self.told.notify_waiters();
        // If nobody waits, the next who does is told.
        self.told.notify_one();
    }

    pub(super) async fn told(&self) {
        self.told.notified().await;
    }

    /// Remembers where the events are that senders will ask for.
    pub(super) fn note(&self, space: &Space, writes: &[Write]) {
        for write in writes {
            if let Write::Progress(
                write @ Progress {
                    sender: Some(_), ..
                },
            ) = write
            {
                let mut noted = self.noted();
                for event in write.steps.iter().flat_map(|step| &step.events) {
                    noted.note(event.event_id(), space.of(write.id));
                }
            }
        }
    }

    /// Where this event is, as far as it is remembered; it is forgotten then.
    pub(super) fn partition(&self, event: &EventId) -> Option<usize> {
        self.noted().partitions.remove(event)
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Noted {
    fn note(&mut self, event: &EventId, partition: usize) {
        if self.partitions.insert(event.clone(), partition).is_none() {
            self.order.push_back(event.clone());
        }
        while self.order.len() > NOTED_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.partitions.remove(&oldest);
            }
        }
    }
}
