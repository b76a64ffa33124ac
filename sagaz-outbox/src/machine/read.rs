//! What is read from the store, and what of it is kept.

use super::{KeyName, Machine, lane::Standing};
use sagaz_core::store::{Fetch, Fetched, KEY_EVENTS_MAX, KeyFetch, Lane, OutboxEvent};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// A read that is under way.
#[derive(Debug)]
pub(super) struct Asked {
    /// The lanes that are read on.
    lanes: Vec<Lane>,
    /// The lanes that anything is read of, at their epochs.
    pub(super) epochs: BTreeMap<u16, u64>,
    keys: Vec<(KeyName, u64)>,
}

/// The most keys that are read once more in one call.
const KEYS_MAX: usize = 256;

impl Machine {
    /// What to read now: keys that are due, and if `look` is given the lanes. `None` while a read is under way, or when there is
    /// no room for what it gives.
    pub(crate) fn read(&mut self, now: Duration, look: bool) -> Option<Fetch> {
        if self.asked.is_some() || now >= self.lease_until || !self.has_room() {
            return None;
        }
        let room = self.room();
        let lanes: Vec<(Lane, u64)> = if look && self.behind < self.limits.behind_max {
            let lanes = self.lanes.values();
            lanes
                .filter(|state| state.standing == Standing::Kept)
                .map(|state| (state.lane, state.after))
                .collect()
        } else {
            Vec::new()
        };
        let keys = self.take_due(now, room);
        if lanes.is_empty() && keys.is_empty() {
            return None;
        }
        let unsettled = if lanes.is_empty() {
            // What it stands for is of the lanes.
            Vec::new()
        } else {
            self.unsettled.clone()
        };
        let key_lanes = keys.iter().map(|(_, key)| key.lane);
        self.asked = Some(Asked {
            lanes: lanes.iter().map(|(lane, _)| *lane).collect(),
            epochs: lanes
                .iter()
                .map(|(lane, _)| *lane)
                .chain(key_lanes)
                .map(|lane| (lane.index, lane.epoch))
                .collect(),
            keys: keys
                .iter()
                .map(|(name, key)| (name.clone(), key.from))
                .collect(),
        });
        Some(Fetch {
            worker: self.worker,
            lanes,
            unsettled,
            keys: keys.into_iter().map(|(_, key)| key).collect(),
            limit: u32::try_from(room.min(self.limits.read_max)).unwrap_or(u32::MAX),
        })
    }

    /// How many more events fit.
    pub(super) fn room(&self) -> usize {
        let bytes = self.limits.bytes_max.saturating_sub(self.bytes);
        let by_size = bytes.div_ceil(self.event_size.max(1));
        self.limits
            .events_max
            .saturating_sub(self.events)
            .min(by_size)
    }

    /// Whether a read is worth its cost.
    pub(super) fn has_room(&self) -> bool {
        let few = (self.limits.events_max / 8).clamp(1, KEY_EVENTS_MAX as usize);
        self.events == 0 || self.room() >= few
    }

    fn take_due(&mut self, now: Duration, room: usize) -> Vec<(KeyName, KeyFetch)> {
        let keys_max = (room / KEY_EVENTS_MAX as usize).clamp(1, KEYS_MAX);
        let mut keys = Vec::new();
        while keys.len() < keys_max
            && self.due.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, name)) = self.due.pop_first()
        {
            let Some(state) = self.lanes.get_mut(&name.lane) else {
                continue;
            };
            let lane = state.lane;
            let Some(key) = state.keys.get_mut(&name.key) else {
                continue;
            };
            let Some(behind) = &mut key.behind else {
                continue;
            };
            behind.listed_at = None;
            let from = behind.from;
            key.asked = Some(from);
            let fetch = KeyFetch {
                lane,
                key: name.key.to_string(),
                from,
            };
            keys.push((name, fetch));
        }
        keys
    }

    /// The read failed: what was to be read is read later.
    pub(crate) fn read_failed(&mut self) {
        let Some(asked) = self.asked.take() else {
            return;
        };
        self.end_of_read();
        for (name, from) in asked.keys {
            if let Some(key) = self.key_mut(&name)
                && key.asked == Some(from)
            {
                key.asked = None;
                self.settle_key(&name);
            }
        }
    }

    /// What was read. Tells whether there is more to read in the lanes at once.
    pub(crate) fn was_read(&mut self, fetched: Fetched, now: Duration) -> bool {
        let Some(asked) = self.asked.take() else {
            return false;
        };
        for (lane, after) in asked.lanes.iter().zip(&fetched.after) {
            match after {
                None => self.lose(*lane),
                Some(after) => {
                    if let Some(state) = self.lanes.get_mut(&lane.index)
                        && state.owns(*lane)
                        && asked.epochs.contains_key(&lane.index)
                    {
                        state.after = *after;
                    }
                }
            }
        }
        if !asked.lanes.is_empty() {
            self.unsettled = fetched.unsettled;
        }
        self.learn_size(&fetched.events);
        let mut answers: BTreeMap<KeyName, Vec<OutboxEvent>> = BTreeMap::new();
        for event in fetched.events {
            let place = event.place;
            let Some(state) = self.lanes.get_mut(&place.lane) else {
                continue;
            };
            if state.standing != Standing::Kept
                || asked.epochs.get(&place.lane) != Some(&state.lane.epoch)
            {
                continue;
            }
            // Every event in an outbox has a key.
            let text = event.event.ordering_key().unwrap_or_default();
            let known = state.keys.get_key_value(text);
            let is_asked = known.is_some_and(|(_, key)| key.asked.is_some());
            let name = KeyName {
                lane: place.lane,
                key: known.map_or_else(|| Arc::from(text), |(name, _)| Arc::clone(name)),
            };
            if is_asked {
                answers.entry(name).or_default().push(event);
                continue;
            }
            self.take(&name, event, now, 0);
            self.settle_key(&name);
        }
        for (name, from) in asked.keys {
            let events = answers.remove(&name).unwrap_or_default();
            self.answer(&name, from, events, now);
            self.settle_key(&name);
        }
        self.end_of_read();
        fetched.more && !asked.lanes.is_empty()
    }

    /// What was read of a key once more.
    fn answer(&mut self, name: &KeyName, from: u64, mut events: Vec<OutboxEvent>, now: Duration) {
        let Some(key) = self.key_mut(name) else {
            return;
        };
        if key.asked != Some(from) {
            // It was left behind at another place meanwhile.
            return;
        }
        key.asked = None;
        let Some(behind) = key.behind.take() else {
            return;
        };
        self.behind -= 1;
        events.sort_by_key(|event| event.place.seq);
        events.dedup_by_key(|event| event.place.seq);
        let before = events.partition_point(|event| event.place.seq < from);
        // With more than these there may be some between them that were not read.
        let whole = KEY_EVENTS_MAX as usize;
        let is_cut = events.len() - before >= whole;
        events.truncate(before + whole);
        let last = events.last().map(|event| event.place.seq);
        for event in events {
            self.take(name, event, now, behind.looks);
        }
        let is_behind = self.key_mut(name).is_some_and(|key| key.behind.is_some());
        if let Some(last) = last
            && is_cut
            && !is_behind
        {
            self.leave_behind(name, last + 1, now, 0);
        }
    }

    /// Keeps an event, unless it is known, or its key is left behind from it on.
    fn take(&mut self, name: &KeyName, event: OutboxEvent, now: Duration, looks: u32) {
        let Some(state) = self.lanes.get_mut(&name.lane) else {
            return;
        };
        let seq = event.place.seq;
        if state.done.contains(&seq) {
            return;
        }
        let key = state.keys.entry(Arc::clone(&name.key)).or_default();
        if key.has(seq, state.lane.epoch)
            || key.behind.as_ref().is_some_and(|behind| seq >= behind.from)
        {
            return;
        }
        let looked = looks.saturating_add(1);
        let glance = self.rules.glance.delay(looked, 0.0);
        if event.is_blocking {
            return self.leave_behind(name, seq, now + glance, looked);
        }
        if let Some(wait) = event.wait.filter(|wait| !wait.is_zero()) {
            // One that was never attempted is leased to its sender, which has most often sent it a moment later.
            let wait = if event.attempts == 0 {
                wait.min(glance)
            } else {
                wait
            };
            return self.leave_behind(name, seq, now + wait, looked);
        }
        let size = event.event.size();
        let fits = self.events == 0
            || self.events < self.limits.events_max && self.bytes + size <= self.limits.bytes_max;
        if !fits || key.queue.len() >= self.limits.key_events_max {
            return self.leave_behind(name, seq, now, 0);
        }
        if let Err(at) = key.position(seq) {
            key.queue.insert(at, event);
            self.events += 1;
            self.bytes += size;
        }
    }

    fn end_of_read(&mut self) {
        for state in self.lanes.values_mut() {
            for seq in state.passing.drain(..) {
                state.done.remove(&seq);
            }
        }
    }

    fn learn_size(&mut self, events: &[OutboxEvent]) {
        let bytes: usize = events.iter().map(|it| it.event.size()).sum();
        if let Some(mean) = bytes.checked_div(events.len()) {
            self.event_size = usize::midpoint(self.event_size, mean).max(1);
        }
    }
}
