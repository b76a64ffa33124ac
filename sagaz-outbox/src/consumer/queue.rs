//! Which event is handled next: of a key one at a time, in the order of delivery.

use sagaz_core::{Event, EventId, broker::Receipt};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// An event to handle.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) event: Event,
    /// `None`: an operator gave it back.
    pub(super) receipt: Option<Receipt>,
}

impl Work {
    /// An event without a key is in order with none.
    fn key(&self) -> String {
        let event = &self.event;
        match event.ordering_key() {
            Some(key) => format!("k{key}"),
            None => format!("i{}", event.event_id()),
        }
    }
}

/// Events that are held.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// What waits, by key. A key is here while an event of it is being handled, or waits.
    keys: BTreeMap<String, VecDeque<Work>>,
    /// Keys that have something to do and nothing in hand, in the order in which they came.
    ready: VecDeque<String>,
    held: usize,
    /// What operators gave back and is not handled yet: it comes again until it is.
    given_back: BTreeSet<EventId>,
    in_hand: usize,
}

impl Queue {
    /// How many messages are held.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// How many events are being handled.
    pub(super) fn in_hand(&self) -> usize {
        self.in_hand
    }

    pub(super) fn push(&mut self, work: Work) {
        if work.receipt.is_none() && !self.given_back.insert(work.event.event_id().clone()) {
            return;
        }
        self.held += 1;
        let key = work.key();
        if let Some(waiting) = self.keys.get_mut(&key) {
            waiting.push_back(work);
        } else {
            self.keys.insert(key.clone(), VecDeque::from([work]));
            self.ready.push_back(key);
        }
    }

    /// The next event to handle.
    pub(super) fn next(&mut self) -> Option<Work> {
        let key = self.ready.pop_front()?;
        let work = self.keys.get_mut(&key)?.pop_front()?;
        self.in_hand += 1;
        Some(work)
    }

    /// An event that [`next`](Self::next) gave is no longer held.
    pub(super) fn done(&mut self, work: &Work) {
        self.in_hand -= 1;
        self.held -= 1;
        if work.receipt.is_none() {
            self.given_back.remove(work.event.event_id());
        }
        let key = work.key();
        match self.keys.get(&key) {
            Some(waiting) if !waiting.is_empty() => self.ready.push_back(key),
            _ => {
                self.keys.remove(&key);
            }
        }
    }
}
