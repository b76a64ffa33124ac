//! One lane, as long as it is the worker's or events of it are in flight.

use super::key::Key;
use sagaz_core::store::Lane;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// How a lane stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is the worker's.
    Kept,
    /// It is the worker's, and is given up when nothing of it is left to be confirmed or told.
    Drained,
    /// It is not the worker's. What is in flight comes back for nothing, but no event of its keys goes out before.
    Lost,
}

/// A lane.
#[derive(Debug)]
pub(super) struct LaneState {
    pub(super) lane: Lane,
    pub(super) standing: Standing,
    /// The place after which it is read.
    pub(super) after: u64,
    pub(super) keys: HashMap<Arc<str>, Key>,
    /// Places whose events are settled here, and may still be read: the store does not know it yet, or did not when the read under
    /// way began.
    pub(super) done: HashSet<u64>,
    /// Those of `done` that only the read under way may still give.
    pub(super) passing: Vec<u64>,
    /// Events that the broker has not confirmed.
    pub(super) flights: usize,
    /// What is to be told to the store.
    pub(super) unmarked: usize,
}

impl LaneState {
    pub(super) fn new(lane: Lane) -> Self {
        Self {
            lane,
            standing: Standing::Kept,
            after: 0,
            keys: HashMap::new(),
            done: HashSet::new(),
            passing: Vec::new(),
            flights: 0,
            unmarked: 0,
        }
    }

    /// It is the worker's again, as a new owner. Of what it was before, only events in flight are known.
    pub(super) fn gain(&mut self, lane: Lane) {
        self.lane = lane;
        self.standing = Standing::Kept;
        self.after = 0;
    }

    /// Whether it is the worker's at this epoch.
    pub(super) fn owns(&self, lane: Lane) -> bool {
        self.standing != Standing::Lost && self.lane == lane
    }

    /// What is told to the store has been stored: the place may only come from a read that is under way.
    pub(super) fn told(&mut self, seq: u64, reading: bool) {
        if reading {
            self.passing.push(seq);
        } else {
            self.done.remove(&seq);
        }
    }
}
