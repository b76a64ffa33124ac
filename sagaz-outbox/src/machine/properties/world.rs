//! A store and a broker, as simple as can be, that judge whatever the workers do.

use super::super::Outcome;
use fastrand::Rng;
use sagaz_core::{
    Event,
    store::{
        Fate, Fetch, Fetched, KEY_EVENTS_MAX, Lane, Mark, OutboxEvent, Place, WorkerId, lane_of,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const LANES_U16: u16 = 3;

pub(super) const LANES: usize = LANES_U16 as usize;

pub(super) const LEASE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its transaction is open.
    Open,
    Pending,
    Gone,
    Dead,
    Blocking,
}

#[derive(Debug)]
pub(super) struct Row {
    event: Event,
    attempts: u32,
    wait_until: Duration,
    standing: Standing,
    is_delivered: bool,
    /// It was a dead letter once: somebody chose that later ones go first.
    has_died: bool,
}

pub(super) struct World {
    pub(super) now: Duration,
    pub(super) has_troubles: bool,
    /// A read may give once more what was read before.
    pub(super) has_repeats: bool,
    /// Nothing happens that sends an event twice.
    pub(super) is_calm: bool,
    rows: BTreeMap<(u16, u64), Row>,
    next: [u64; LANES],
    owners: [(Option<WorkerId>, u64); LANES],
    leases: BTreeMap<WorkerId, Duration>,
    keys: u64,
    hot: bool,
}

impl World {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            now: Duration::from_secs(1),
            has_troubles: true,
            has_repeats: true,
            is_calm: false,
            rows: BTreeMap::new(),
            next: [1; LANES],
            owners: [(None, 0); LANES],
            leases: BTreeMap::new(),
            keys: rng.u64(1..12),
            hot: rng.u8(0..4) == 0,
        }
    }

    fn key_of(row: &Row) -> &str {
        row.event.ordering_key().unwrap()
    }

    pub(super) fn append(&mut self, rng: &mut Rng) {
        let key = format!("key-{}", rng.u64(0..self.keys));
        let is_locked = self
            .rows
            .values()
            .any(|row| row.standing == Standing::Open && Self::key_of(row) == key);
        if is_locked {
            return;
        }
        let lane = lane_of(&key, LANES_U16);
        // A transaction may append many, and hot keys have more than are read at a time.
        let many = if self.hot && rng.u8(0..10) == 0 {
            80
        } else {
            rng.usize(1..4)
        };
        for _ in 0..many {
            let seq = self.next[usize::from(lane)];
            self.next[usize::from(lane)] += 1;
            let is_leased = rng.u8(0..5) == 0;
            let wait_until = if is_leased {
                self.now + Duration::from_millis(rng.u64(0..3_000))
            } else {
                Duration::ZERO
            };
            let row = Row {
                event: Event::new("t", &"x".repeat(rng.usize(0..50)))
                    .key(&key)
                    .subject(seq.to_string()),
                attempts: 0,
                wait_until,
                standing: Standing::Open,
                is_delivered: false,
                has_died: false,
            };
            self.rows.insert((lane, seq), row);
        }
    }

    fn end(&mut self, key: &str, commits: bool) {
        for row in self.rows.values_mut() {
            if row.standing == Standing::Open && Self::key_of(row) == key {
                row.standing = if commits {
                    Standing::Pending
                } else {
                    Standing::Gone
                };
                row.is_delivered |= !commits;
            }
        }
    }

    fn open_keys(&self) -> BTreeSet<String> {
        let open = self.rows.values();
        open.filter(|row| row.standing == Standing::Open)
            .map(|row| Self::key_of(row).to_owned())
            .collect()
    }

    pub(super) fn end_transaction(&mut self, rng: &mut Rng) {
        let open: Vec<_> = self.open_keys().into_iter().collect();
        if let Some(key) = rng.choice(&open) {
            self.end(key, rng.u8(0..6) > 0);
        }
    }

    pub(super) fn end_all_transactions(&mut self) {
        for key in self.open_keys() {
            self.end(&key, true);
        }
    }

    fn owns(&self, worker: WorkerId, lane: Lane) -> bool {
        self.owners[usize::from(lane.index)] == (Some(worker), lane.epoch)
    }

    pub(super) fn assert_owned(&self, worker: WorkerId, lane: Lane) {
        assert!(
            self.owns(worker, lane),
            "published from a lane that is lost"
        );
    }

    pub(super) fn attend(&mut self, worker: WorkerId, wanted: usize) -> Vec<Lane> {
        self.leases.insert(worker, self.now + LEASE);
        let mut mine = self
            .owners
            .iter()
            .filter(|(it, _)| *it == Some(worker))
            .count();
        for (owner, epoch) in &mut self.owners {
            let is_free = owner.is_none_or(|it| self.leases[&it] <= self.now);
            if is_free && mine < wanted {
                *owner = Some(worker);
                *epoch += 1;
                mine += 1;
            }
        }
        let lanes = (0..).zip(&self.owners);
        lanes
            .filter(|(_, (owner, _))| *owner == Some(worker))
            .map(|(index, &(_, epoch))| Lane { index, epoch })
            .collect()
    }

    pub(super) fn release(&mut self, worker: WorkerId, lanes: &[u16]) {
        for &lane in lanes {
            let (owner, _) = &mut self.owners[usize::from(lane)];
            if *owner == Some(worker) {
                *owner = None;
            }
        }
    }

    fn read(&self, (&(lane, seq), row): (&(u16, u64), &Row)) -> OutboxEvent {
        let wait = row.wait_until.checked_sub(self.now);
        OutboxEvent {
            place: Place { lane, seq },
            event: row.event.clone(),
            attempts: row.attempts,
            wait: wait.filter(|wait| !wait.is_zero()),
            is_blocking: row.standing == Standing::Blocking,
        }
    }

    /// With `repeats` it gives once more what was read before.
    pub(super) fn fetch(&self, fetch: &Fetch, repeats: bool) -> Fetched {
        let is_there = |row: &Row| matches!(row.standing, Standing::Pending | Standing::Blocking);
        let mut fetched = Fetched::default();
        let token = |lane: u16, seq: u64| u64::from(lane) << 32 | seq;
        let mut left = fetch.limit as usize;
        for &(lane, after) in &fetch.lanes {
            if !self.owns(fetch.worker, lane) {
                fetched.after.push(None);
                continue;
            }
            let mut read_to = after;
            let of_lane = self.rows.range((lane.index, 0)..(lane.index + 1, 0));
            for (place, row) in of_lane {
                let late = repeats && self.has_repeats
                    || fetch.unsettled.contains(&token(place.0, place.1));
                if place.1 > after && left == 0 {
                    fetched.more = true;
                    break;
                }
                read_to = read_to.max(place.1);
                if row.standing == Standing::Open {
                    fetched.unsettled.push(token(place.0, place.1));
                } else if is_there(row) && (place.1 > after || late) {
                    fetched.events.push(self.read((place, row)));
                    left = left.saturating_sub(1);
                }
            }
            fetched.after.push(Some(read_to));
        }
        for key in &fetch.keys {
            if !self.owns(fetch.worker, key.lane) {
                continue;
            }
            let rows = self
                .rows
                .range((key.lane.index, key.from)..(key.lane.index + 1, 0));
            let rows = rows.filter(|(_, row)| is_there(row) && Self::key_of(row) == key.key);
            fetched
                .events
                .extend(rows.take(KEY_EVENTS_MAX as usize).map(|row| self.read(row)));
        }
        fetched
    }

    pub(super) fn mark(&mut self, worker: WorkerId, marks: &[Mark]) -> Vec<u16> {
        let mut lost = BTreeSet::new();
        for mark in marks {
            if !self.owns(worker, mark.lane) {
                lost.insert(mark.lane.index);
                continue;
            }
            let now = self.now;
            let row = self.rows.get_mut(&(mark.lane.index, mark.seq)).unwrap();
            if row.standing != Standing::Pending {
                continue;
            }
            match &mark.fate {
                Fate::Sent => {
                    assert!(row.is_delivered, "told as sent, and nobody has it");
                    row.standing = Standing::Gone;
                }
                Fate::Retry {
                    attempts, after, ..
                } => {
                    row.attempts = *attempts;
                    row.wait_until = now + *after;
                }
                Fate::Dead { blocks, .. } => {
                    row.has_died = true;
                    row.standing = if *blocks {
                        Standing::Blocking
                    } else {
                        Standing::Dead
                    };
                }
            }
        }
        lost.into_iter().collect()
    }

    /// What the broker says of an event. One key has events that it often refuses.
    pub(super) fn outcome(&self, event: &Event, rng: &mut Rng) -> Outcome {
        let is_poisoned = event.ordering_key() == Some("key-0");
        match rng.u8(0..20) {
            0..10 if is_poisoned => Outcome::Refused("no".to_owned()),
            0 if self.has_troubles => Outcome::Refused("no".to_owned()),
            1..3 if self.has_troubles => Outcome::InDoubt("late".to_owned()),
            3..5 if self.has_troubles => Outcome::Unavailable("away".to_owned()),
            _ => Outcome::Sent,
        }
    }

    fn place_of(event: &Event) -> (u16, u64) {
        let lane = lane_of(event.ordering_key().unwrap(), LANES_U16);
        (lane, event.subject_name().unwrap().parse().unwrap())
    }

    /// Whether the store knows of an attempt that failed.
    pub(super) fn has_failed(&self, event: &Event) -> bool {
        self.rows[&Self::place_of(event)].attempts > 0
    }

    pub(super) fn deliver(&mut self, event: &Event) {
        let key = event.ordering_key().unwrap();
        let (lane, seq) = Self::place_of(event);
        let row = &self.rows[&(lane, seq)];
        if row.is_delivered {
            assert!(!self.is_calm, "{seq} of key {key} was sent twice");
            return;
        }
        // A first delivery: nothing before it in its key is still to come.
        let before = self.rows.range((lane, 0)..(lane, seq));
        for (place, earlier) in before {
            let is_over = earlier.is_delivered
                || earlier.standing == Standing::Dead
                || earlier.standing == Standing::Gone;
            assert!(
                Self::key_of(earlier) != key || is_over || row.has_died,
                "{seq} of key {key} overtook {place:?}, which is {:?}",
                earlier.standing
            );
        }
        self.rows.get_mut(&(lane, seq)).unwrap().is_delivered = true;
    }

    /// An operator decides on a dead letter that blocks its key.
    pub(super) fn decide(&mut self, rng: &mut Rng) {
        let blocking = |row: &&mut Row| row.standing == Standing::Blocking;
        if let Some(row) = self.rows.values_mut().find(blocking) {
            row.attempts = 0;
            row.wait_until = Duration::ZERO;
            row.standing = if rng.bool() {
                Standing::Pending
            } else {
                Standing::Dead
            };
        }
    }

    pub(super) fn unsettled(&self) -> Vec<(&(u16, u64), &Row)> {
        let rows = self.rows.iter();
        rows.filter(|(_, row)| !matches!(row.standing, Standing::Gone | Standing::Dead))
            .collect()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.unsettled().is_empty()
    }
}
