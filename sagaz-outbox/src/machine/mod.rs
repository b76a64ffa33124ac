//! **The state machine of a worker**: which events it publishes now, what it tells the store of them, and which keys it leaves
//! behind to read them once more. No I/O, no clock and no chance: times and random numbers are given to it, and nothing that
//! it is told can make it fail.
//!
//! An event is pending, then claimed (it is in the memory of the worker that owns its lane), then sent, or failed and claimed
//! again, or dead.
//!
//! Invariants, each of which [`properties`] looks for with random interleavings of two workers:
//!
//! - within a key at most one event is unconfirmed, and the first deliveries are in the order of places;
//! - nothing goes to the broker while the lease is not surely good, or from a lane that is lost;
//! - what was read is published, told to the store, or left behind with the place to read on from: nothing is forgotten;
//! - memory is bounded: events and their bytes, keys left behind, what was published and is not yet stored as sent. What does not
//!   fit is left behind, or not read.

mod key;
mod lane;
mod mark;
mod publish;
mod read;

#[cfg(test)]
mod properties;

pub(crate) use publish::{Batch, Flight, Outcome, Verdict};

use key::Key;
use lane::{LaneState, Standing};
use mark::Pending;
use read::Asked;
use sagaz_core::{
    Retry,
    store::{Lane, WorkerId},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

/// How much a worker keeps at once.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "each is a limit of something")]
pub(crate) struct Limits {
    /// Events in memory.
    pub(crate) events_max: usize,
    /// Their bytes. One event may always be there, however large, and a single read may exceed it for a moment.
    pub(crate) bytes_max: usize,
    /// Events of one key in memory; the others are read when their turn comes.
    pub(crate) key_events_max: usize,
    /// Events that a broker has and has not confirmed.
    pub(crate) in_flight_max: usize,
    /// Events that go to the broker in one call.
    pub(crate) batch_max: usize,
    /// Events that were published and are not yet stored as sent.
    pub(crate) unmarked_max: usize,
    /// What is told to the store in one call.
    pub(crate) marks_max: usize,
    /// Keys that are left behind; with more, lanes are not read on.
    pub(crate) behind_max: usize,
    /// Events that one read of the lanes gives.
    pub(crate) read_max: usize,
}

/// What becomes of a key whose event is dead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnDead {
    /// Its later events are published without it.
    #[default]
    GoOn,
    /// Its later events wait until somebody has decided on the dead letter.
    BlockKey,
}

/// What happens when something fails.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// How often an event is attempted, and when.
    pub(crate) retry: Retry,
    /// What comes after the last attempt.
    pub(crate) on_dead: OnDead,
    /// How long nothing is published while the broker cannot be reached.
    pub(crate) pause: Retry,
    /// When an event that a sender has leased is looked for again, and a key that is blocked.
    pub(crate) glance: Retry,
}

/// Names a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyName {
    lane: u16,
    key: Arc<str>,
}

/// A worker's state. Times are spans since an origin of the caller's.
#[derive(Debug)]
pub(crate) struct Machine {
    worker: WorkerId,
    limits: Limits,
    rules: Rules,
    lanes: BTreeMap<u16, LaneState>,
    /// Keys whose first event may be published. One that no longer may is passed over.
    ready: VecDeque<KeyName>,
    /// When to read which key once more.
    due: BTreeSet<(Duration, KeyName)>,
    events: usize,
    bytes: usize,
    /// Keys that are left behind.
    behind: usize,
    /// Events that the broker has not confirmed.
    flights: usize,
    /// To be told to the store.
    marks: VecDeque<Pending>,
    /// Being told to the store, or to be told once more.
    marking: Vec<Pending>,
    mark_in_flight: bool,
    asked: Option<Asked>,
    unsettled: Vec<u64>,
    /// About how large an event is.
    event_size: usize,
    lease_until: Duration,
    pause: Pause,
    /// When the broker last confirmed something.
    confirmed_at: Option<Duration>,
}

/// Nothing is published while the broker cannot be reached.
#[derive(Clone, Copy, Debug, Default)]
struct Pause {
    since: Duration,
    until: Duration,
    /// How many there were since the broker last confirmed something.
    rounds: u32,
}

impl Machine {
    pub(crate) fn new(worker: WorkerId, limits: Limits, rules: Rules) -> Self {
        Self {
            worker,
            limits,
            rules,
            lanes: BTreeMap::new(),
            ready: VecDeque::new(),
            due: BTreeSet::new(),
            events: 0,
            bytes: 0,
            behind: 0,
            flights: 0,
            marks: VecDeque::new(),
            marking: Vec::new(),
            mark_in_flight: false,
            asked: None,
            unsettled: Vec::new(),
            event_size: 4_096,
            lease_until: Duration::ZERO,
            pause: Pause::default(),
            confirmed_at: None,
        }
    }

    /// The lease is good until then, and these lanes are the worker's.
    pub(crate) fn attended(&mut self, lanes: &[Lane], lease_until: Duration) {
        self.lease_until = lease_until;
        let lost: Vec<Lane> = self.owned().filter(|lane| !lanes.contains(lane)).collect();
        for lane in lost {
            self.lose(lane);
        }
        for &lane in lanes {
            let state = self
                .lanes
                .entry(lane.index)
                .or_insert_with(|| LaneState::new(lane));
            if state.lane.epoch != lane.epoch || state.standing == Standing::Lost {
                state.gain(lane);
            }
        }
    }

    /// Lanes that are the worker's, those among them that it is about to give up.
    fn owned(&self) -> impl Iterator<Item = Lane> {
        let lanes = self.lanes.values();
        lanes
            .filter(|state| state.standing != Standing::Lost)
            .map(|state| state.lane)
    }

    /// How many lanes are the worker's to keep.
    pub(crate) fn kept_lanes(&self) -> usize {
        let lanes = self.lanes.values();
        lanes
            .filter(|state| state.standing == Standing::Kept)
            .count()
    }

    /// Nothing more is published from all but this many lanes; those are then given up.
    pub(crate) fn keep(&mut self, lanes: usize) {
        let surplus: Vec<u16> = self
            .lanes
            .values()
            .filter(|state| state.standing == Standing::Kept)
            .skip(lanes)
            .map(|state| state.lane.index)
            .collect();
        for index in surplus {
            if let Some(state) = self.lanes.get_mut(&index) {
                state.standing = Standing::Drained;
            }
            self.forget_keys(index);
        }
    }

    /// Lanes that are to be given up and have nothing left to be confirmed or told. They count as lost from here on.
    pub(crate) fn take_drained(&mut self) -> Vec<u16> {
        let drained: Vec<Lane> = self
            .lanes
            .values()
            .filter(|state| {
                state.standing == Standing::Drained && state.flights == 0 && state.unmarked == 0
            })
            .map(|state| state.lane)
            .collect();
        for &lane in &drained {
            self.lose(lane);
        }
        drained.into_iter().map(|lane| lane.index).collect()
    }

    /// Whether nothing is left to be confirmed by the broker or told to the store.
    pub(crate) fn is_quiet(&self) -> bool {
        self.flights == 0 && self.marks.is_empty() && self.marking.is_empty()
    }

    /// The lane is another worker's, or nobody's.
    fn lose(&mut self, lane: Lane) {
        let Some(state) = self.lanes.get_mut(&lane.index) else {
            return;
        };
        if state.lane.epoch != lane.epoch || state.standing == Standing::Lost {
            return;
        }
        state.standing = Standing::Lost;
        state.done.clear();
        state.passing.clear();
        state.unmarked = 0;
        for key in state.keys.values_mut() {
            key.is_held = false;
        }
        self.forget_keys(lane.index);
        if let Some(asked) = &mut self.asked {
            // Should it be the worker's again before the read comes back, it is read from its beginning.
            asked.epochs.remove(&lane.index);
        }
        self.marks.retain(|mark| mark.mark.lane != lane);
        // Those of a call under way stay in their order until it has come back.
        if !self.mark_in_flight {
            self.marking.retain(|mark| mark.mark.lane != lane);
        }
        self.drop_if_empty(lane.index);
    }

    /// Drops what is in memory of a lane, but for what is in flight or held.
    fn forget_keys(&mut self, index: u16) {
        let Some(state) = self.lanes.get_mut(&index) else {
            return;
        };
        for (name, key) in &mut state.keys {
            self.events -= key.queue.len();
            self.bytes -= key.queue.iter().map(|it| it.event.size()).sum::<usize>();
            key.queue.clear();
            key.asked = None;
            if let Some(behind) = key.behind.take() {
                self.behind -= 1;
                if let Some(at) = behind.listed_at {
                    let (lane, key) = (index, Arc::clone(name));
                    self.due.remove(&(at, KeyName { lane, key }));
                }
            }
        }
        state.keys.retain(|_, key| !key.is_empty());
    }

    /// A lane that is lost is remembered only while events of it are in flight.
    fn drop_if_empty(&mut self, index: u16) {
        let is_over = self
            .lanes
            .get(&index)
            .is_some_and(|state| state.standing == Standing::Lost && state.flights == 0);
        if is_over {
            self.lanes.remove(&index);
        }
    }

    /// When something may be done that cannot be done now, if nothing else happens before.
    pub(crate) fn next_wake(&self, now: Duration) -> Option<Duration> {
        if now >= self.lease_until {
            return None;
        }
        let paused = (now < self.pause.until && !self.ready.is_empty()).then_some(self.pause.until);
        let due = self.due.first().map(|(at, _)| *at);
        let due = due.filter(|_| self.asked.is_none() && self.has_room());
        [paused, due].into_iter().flatten().min()
    }

    /// Events in memory, and events that were published and are not yet stored as sent.
    pub(crate) fn load(&self) -> (usize, usize) {
        (self.events, self.marks.len() + self.marking.len())
    }

    fn key_mut(&mut self, name: &KeyName) -> Option<&mut Key> {
        self.lanes.get_mut(&name.lane)?.keys.get_mut(&name.key)
    }

    /// Lists a key for what is next of it, or drops it when nothing is.
    fn settle_key(&mut self, name: &KeyName) {
        let Some(state) = self.lanes.get_mut(&name.lane) else {
            return;
        };
        let Some(key) = state.keys.get_mut(&name.key) else {
            return;
        };
        if key.is_empty() {
            state.keys.remove(&name.key);
            return;
        }
        if state.standing != Standing::Kept || key.is_held {
            return;
        }
        if key.flight.is_none() && !key.queue.is_empty() && !key.is_ready {
            key.is_ready = true;
            self.ready.push_back(name.clone());
        }
        let is_low = key.queue.len() <= self.limits.key_events_max / 4;
        if let Some(behind) = &mut key.behind
            && is_low
            && key.asked.is_none()
            && behind.listed_at.is_none()
        {
            behind.listed_at = Some(behind.not_before);
            self.due.insert((behind.not_before, name.clone()));
        }
    }

    /// What follows in a key from this place on is read again later, and not kept in memory.
    fn leave_behind(&mut self, name: &KeyName, from: u64, not_before: Duration, looks: u32) {
        let Some(state) = self.lanes.get_mut(&name.lane) else {
            return;
        };
        let Some(key) = state.keys.get_mut(&name.key) else {
            return;
        };
        while let Some(last) = key.queue.pop_back_if(|last| last.place.seq >= from) {
            self.events -= 1;
            self.bytes -= last.event.size();
        }
        key.asked = None;
        let behind = key::Behind {
            from,
            not_before,
            looks,
            listed_at: None,
        };
        match key.behind.replace(behind) {
            None => self.behind += 1,
            Some(before) => {
                if let Some(at) = before.listed_at {
                    self.due.remove(&(at, name.clone()));
                }
            }
        }
    }
}
