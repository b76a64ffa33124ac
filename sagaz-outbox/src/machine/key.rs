//! One key of a lane, as long as something is known of it.

use sagaz_core::store::OutboxEvent;
use std::{collections::VecDeque, time::Duration};

/// A key.
#[derive(Debug, Default)]
pub(super) struct Key {
    /// Events to publish, in order of places.
    pub(super) queue: VecDeque<OutboxEvent>,
    /// The place of the event that the broker has not confirmed, and the epoch of its lane when it was sent.
    pub(super) flight: Option<(u64, u64)>,
    /// Nothing is published before the store knows what became of the last event: an attempt that failed, or a dead letter.
    /// Otherwise a worker that takes over would publish that event after this worker has published later ones.
    pub(super) is_held: bool,
    /// What is not in memory.
    pub(super) behind: Option<Behind>,
    /// It is being read again, from this place on.
    pub(super) asked: Option<u64>,
    /// It is in the list of keys to publish from.
    pub(super) is_ready: bool,
    /// How often in a row it is unknown whether the broker has the first event.
    pub(super) doubts: u32,
}

/// Events of a key that are in the store and not in memory.
#[derive(Debug)]
pub(super) struct Behind {
    /// The first place.
    pub(super) from: u64,
    /// When to read them.
    pub(super) not_before: Duration,
    /// How often they were looked at in vain.
    pub(super) looks: u32,
    /// Where it is in the list of what is due, if it is.
    pub(super) listed_at: Option<Duration>,
}

impl Key {
    /// Whether nothing is known of it that matters.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.flight.is_none() && !self.is_held && self.behind.is_none()
    }

    /// Whether the event of this place is in memory or in flight. What was sent at another epoch comes back for nothing.
    pub(super) fn has(&self, seq: u64, epoch: u64) -> bool {
        self.flight == Some((seq, epoch)) || self.position(seq).is_ok()
    }

    /// Where the event of this place is in the queue, or belongs.
    pub(super) fn position(&self, seq: u64) -> Result<usize, usize> {
        match self.queue.back() {
            Some(last) if last.place.seq >= seq => {
                self.queue.binary_search_by_key(&seq, |it| it.place.seq)
            }
            _ => Err(self.queue.len()),
        }
    }
}
