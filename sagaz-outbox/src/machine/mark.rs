//! What is told to the store: one call at a time, so that what collects meanwhile goes with the next.

use super::{KeyName, Machine};
use sagaz_core::store::{Fate, Mark};
use std::{sync::Arc, time::Duration};

/// What the store is to be told of an event.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) mark: Mark,
    /// Its key, if that waits for it.
    pub(super) key: Option<Arc<str>>,
}

impl Machine {
    /// What to tell the store now: nothing while a call is under way.
    pub(crate) fn marks(&mut self) -> Vec<Mark> {
        if self.mark_in_flight {
            return Vec::new();
        }
        let room = self.limits.marks_max.saturating_sub(self.marking.len());
        let next = self.marks.len().min(room);
        self.marking.extend(self.marks.drain(..next));
        self.mark_in_flight = !self.marking.is_empty();
        self.marking.iter().map(|it| it.mark.clone()).collect()
    }

    /// The store was not told: the same is told again.
    pub(crate) fn marks_failed(&mut self) {
        self.mark_in_flight = false;
        let lanes = &self.lanes;
        self.marking.retain(|it| {
            lanes
                .get(&it.mark.lane.index)
                .is_some_and(|state| state.owns(it.mark.lane))
        });
    }

    /// The store was told, but for these lanes, which are not the worker's.
    pub(crate) fn marked(&mut self, lost: &[u16], now: Duration) {
        self.mark_in_flight = false;
        let reading = self.asked.is_some();
        for Pending { mark, key } in std::mem::take(&mut self.marking) {
            if lost.contains(&mark.lane.index) {
                self.lose(mark.lane);
                continue;
            }
            let Some(state) = self.lanes.get_mut(&mark.lane.index) else {
                continue;
            };
            if !state.owns(mark.lane) {
                continue;
            }
            state.unmarked -= 1;
            if let Fate::Sent | Fate::Dead { blocks: false, .. } = mark.fate {
                state.told(mark.seq, reading);
            }
            let Some(key) = key else { continue };
            let name = KeyName {
                lane: mark.lane.index,
                key,
            };
            let not_before = match mark.fate {
                Fate::Retry { after, .. } => now + after,
                _ => now + self.rules.glance.delay(1, 0.0),
            };
            if let Some(key) = self.key_mut(&name) {
                key.is_held = false;
                if let Some(behind) = key.behind.as_mut().filter(|it| it.from == mark.seq) {
                    behind.not_before = not_before;
                }
            }
            self.settle_key(&name);
        }
    }
}
