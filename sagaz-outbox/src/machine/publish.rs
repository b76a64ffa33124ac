//! What goes to the broker, and what comes back.

use super::{KeyName, Machine, OnDead, Pause, lane::Standing, mark::Pending};
use sagaz_core::{
    Event,
    store::{Fate, Lane, Mark, OutboxEvent, Place},
};
use std::{mem, sync::Arc, time::Duration};

/// An event on its way to the broker.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(super) lane: Lane,
    seq: u64,
    key: Arc<str>,
    attempts: u32,
    size: usize,
    sent_at: Duration,
}

/// Events of different keys, to be published in one call, and for each what to give back with its result.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) flights: Vec<Flight>,
    pub(crate) events: Vec<Event>,
}

/// What became of an attempt to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The broker has it.
    Sent,
    /// The broker does not take this event.
    Refused(String),
    /// Nobody knows whether the broker has it.
    InDoubt(String),
    /// The broker does not take it now: no fault of the event.
    Unavailable(String),
}

/// What came of a result, for those who watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Sent,
    /// It is tried again.
    Retried {
        attempts: u32,
        after: Duration,
    },
    /// It is given up.
    Dead {
        attempts: u32,
    },
    /// The broker takes nothing until then.
    Paused,
    /// The lane is another worker's, which knows nothing of this attempt.
    Void,
}

impl Machine {
    /// The next events to publish: none if there are none, or if nothing may be published now.
    pub(crate) fn publish(&mut self, now: Duration) -> Batch {
        let mut batch = Batch::default();
        if now >= self.lease_until || now < self.pause.until {
            return batch;
        }
        let limits = &self.limits;
        // One batch tells whether the broker can be reached again.
        let in_flight_max = if self.pause.rounds > 0 {
            limits.batch_max.min(limits.in_flight_max)
        } else {
            limits.in_flight_max
        };
        let unmarked = self.marks.len() + self.marking.len() + self.flights;
        let allowed = limits
            .batch_max
            .min(in_flight_max.saturating_sub(self.flights))
            .min(limits.unmarked_max.saturating_sub(unmarked));
        while batch.flights.len() < allowed
            && let Some(name) = self.ready.pop_front()
        {
            let Some(state) = self.lanes.get_mut(&name.lane) else {
                continue;
            };
            let Some(key) = state.keys.get_mut(&name.key) else {
                continue;
            };
            if !mem::take(&mut key.is_ready)
                || state.standing != Standing::Kept
                || key.is_held
                || key.flight.is_some()
            {
                continue;
            }
            let Some(next) = key.queue.pop_front() else {
                continue;
            };
            // What has failed goes alone: should the broker be silent about it again, it holds up no other.
            let is_alone = next.attempts > 0 || key.doubts > 0;
            if is_alone && !batch.flights.is_empty() {
                key.queue.push_front(next);
                key.is_ready = true;
                self.ready.push_front(name);
                break;
            }
            key.flight = Some((next.place.seq, state.lane.epoch));
            state.flights += 1;
            self.flights += 1;
            batch.flights.push(Flight {
                lane: state.lane,
                seq: next.place.seq,
                key: name.key,
                attempts: next.attempts,
                size: next.event.size(),
                sent_at: now,
            });
            batch.events.push(next.event);
            if is_alone {
                break;
            }
        }
        batch
    }

    /// What became of an event that [`publish`](Self::publish) gave; `chance` is a random number from 0 to 1.
    pub(crate) fn published(
        &mut self,
        flight: &Flight,
        event: Event,
        outcome: Outcome,
        chance: f64,
        now: Duration,
    ) -> Verdict {
        // As long as it is in memory.
        let has_room = self.has_room();
        self.flights -= 1;
        self.events -= 1;
        self.bytes -= flight.size;
        if outcome == Outcome::Sent {
            self.confirmed_at = Some(now);
            self.pause.rounds = 0;
        }
        let confirmed_since = self.confirmed_at.is_some_and(|at| at >= flight.sent_at);
        if matches!(outcome, Outcome::Unavailable(_)) && !confirmed_since {
            self.pause_for(flight, chance, now);
        }
        let name = KeyName {
            lane: flight.lane.index,
            key: Arc::clone(&flight.key),
        };
        let Some(state) = self.lanes.get_mut(&name.lane) else {
            return Verdict::Void;
        };
        state.flights -= 1;
        let Some(key) = state.keys.get_mut(&name.key) else {
            return Verdict::Void;
        };
        key.flight = None;
        if state.standing == Standing::Lost || state.lane != flight.lane {
            self.settle_key(&name);
            self.drop_if_empty(name.lane);
            return Verdict::Void;
        }
        let verdict = match outcome {
            Outcome::Sent => {
                key.doubts = 0;
                state.done.insert(flight.seq);
                self.tell(flight, Fate::Sent);
                Verdict::Sent
            }
            // It may be this event's topic alone that takes nothing, and those of others are not even read.
            Outcome::Unavailable(_) if !confirmed_since && !has_room => {
                if state.standing == Standing::Kept {
                    self.leave_behind(&name, flight.seq, self.pause.until, 0);
                }
                Verdict::Paused
            }
            Outcome::Unavailable(_) if !confirmed_since => {
                if state.standing == Standing::Kept {
                    key.queue.push_front(OutboxEvent {
                        place: Place {
                            lane: flight.lane.index,
                            seq: flight.seq,
                        },
                        event,
                        attempts: flight.attempts,
                        wait: None,
                        is_blocking: false,
                    });
                    self.events += 1;
                    self.bytes += flight.size;
                }
                Verdict::Paused
            }
            Outcome::Refused(error) => {
                key.doubts = 0;
                self.failed(
                    &name,
                    flight,
                    flight.attempts.saturating_add(1),
                    error,
                    chance,
                )
            }
            // A broker that confirms others and not this one counts as one that refuses it; one that confirms nothing says
            // nothing of any event.
            Outcome::InDoubt(error) if confirmed_since => {
                key.doubts = 0;
                self.failed(
                    &name,
                    flight,
                    flight.attempts.saturating_add(1),
                    error,
                    chance,
                )
            }
            // One that takes others, and not this one, has a full queue, say: no fault of the event, and none of theirs.
            Outcome::InDoubt(error) | Outcome::Unavailable(error) => {
                key.doubts = key.doubts.saturating_add(1);
                let tries = flight.attempts.saturating_add(key.doubts);
                let after = self.rules.retry.delay(tries, chance);
                self.retry(&name, flight, flight.attempts, error, after)
            }
        };
        self.settle_key(&name);
        verdict
    }

    fn pause_for(&mut self, flight: &Flight, chance: f64, now: Duration) {
        // What was sent before the last pause tells nothing new.
        if self.pause.rounds > 0 && flight.sent_at <= self.pause.since {
            return;
        }
        let rounds = self.pause.rounds.saturating_add(1);
        self.pause = Pause {
            since: now,
            until: now + self.rules.pause.delay(rounds, chance),
            rounds,
        };
    }

    fn failed(
        &mut self,
        name: &KeyName,
        flight: &Flight,
        attempts: u32,
        error: String,
        chance: f64,
    ) -> Verdict {
        if self.rules.retry.again_after(attempts) {
            let after = self.rules.retry.delay(attempts, chance);
            return self.retry(name, flight, attempts, error, after);
        }
        let blocks = self.rules.on_dead == OnDead::BlockKey;
        if blocks {
            self.leave_behind(name, flight.seq, Duration::MAX, 0);
        } else if let Some(state) = self.lanes.get_mut(&name.lane) {
            state.done.insert(flight.seq);
        }
        let fate = Fate::Dead {
            attempts,
            error,
            blocks,
        };
        self.hold(name, flight, fate);
        Verdict::Dead { attempts }
    }

    fn retry(
        &mut self,
        name: &KeyName,
        flight: &Flight,
        attempts: u32,
        error: String,
        after: Duration,
    ) -> Verdict {
        self.leave_behind(name, flight.seq, Duration::MAX, 0);
        let fate = Fate::Retry {
            attempts,
            error,
            after,
        };
        self.hold(name, flight, fate);
        Verdict::Retried { attempts, after }
    }

    fn hold(&mut self, name: &KeyName, flight: &Flight, fate: Fate) {
        if let Some(key) = self.key_mut(name) {
            key.is_held = true;
        }
        self.tell(flight, fate);
    }

    fn tell(&mut self, flight: &Flight, fate: Fate) {
        if let Some(state) = self.lanes.get_mut(&flight.lane.index) {
            state.unmarked += 1;
        }
        self.marks.push_back(Pending {
            key: (fate != Fate::Sent).then(|| Arc::clone(&flight.key)),
            mark: Mark {
                lane: flight.lane,
                seq: flight.seq,
                fate,
            },
        });
    }
}
