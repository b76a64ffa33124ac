//! Property tests of the state machine: two workers with random troubles on a simple store and a simple broker that know what
//! really happened.
//!
//! A failure prints its seed; `SAGAZ_SEED=<seed>` runs that one alone.

mod world;

use super::{Limits, Machine, OnDead, Outcome, Rules};
use fastrand::Rng;
use sagaz_core::{
    Retry,
    store::{Fetch, Fetched, Mark, WorkerId},
};
use std::time::Duration;
use world::{LEASE, World};

const STEPS: usize = 1_000;

const SEEDS: u64 = 200;

fn limits(rng: &mut Rng) -> Limits {
    Limits {
        events_max: if rng.bool() { rng.usize(1..60) } else { 300 },
        bytes_max: if rng.bool() {
            rng.usize(1..6_000)
        } else {
            100_000
        },
        key_events_max: if rng.u8(0..8) == 0 {
            100
        } else {
            rng.usize(1..8)
        },
        in_flight_max: rng.usize(1..12),
        batch_max: rng.usize(1..6),
        unmarked_max: rng.usize(1..20),
        marks_max: rng.usize(1..10),
        behind_max: rng.usize(1..30),
        read_max: rng.usize(1..40),
    }
}

fn rules(rng: &mut Rng) -> Rules {
    let retry = Retry {
        attempts: Some(rng.u32(1..5)),
        initial: Duration::from_millis(100),
        ..Retry::BACKOFF
    };
    Rules {
        retry,
        on_dead: if rng.bool() {
            OnDead::GoOn
        } else {
            OnDead::BlockKey
        },
        pause: Retry {
            attempts: None,
            ..retry
        },
        glance: Retry {
            attempts: None,
            jitter: 0.0,
            ..retry
        },
    }
}

/// A worker, with its calls that are under way.
struct Worker {
    machine: Machine,
    limits: Limits,
    id: WorkerId,
    read: Option<(Fetch, Option<Fetched>)>,
    marks: Option<Vec<Mark>>,
    flights: Vec<(super::Flight, sagaz_core::Event)>,
    /// Places told to the store as given up.
    releasing: Vec<u16>,
}

impl Worker {
    fn new(limits: Limits, rules: Rules) -> Self {
        let id = WorkerId::random();
        Self {
            machine: Machine::new(id, limits, rules),
            limits,
            id,
            read: None,
            marks: None,
            flights: Vec::new(),
            releasing: Vec::new(),
        }
    }

    fn publish(&mut self, world: &mut World) {
        let now = world.now;
        let batch = self.machine.publish(now);
        assert!(batch.flights.len() <= self.limits.batch_max);
        let is_alone = batch.events.len() == 1;
        assert!(is_alone || !batch.events.iter().any(|it| world.has_failed(it)));
        for (flight, event) in batch.flights.into_iter().zip(batch.events) {
            world.assert_owned(self.id, flight.lane);
            let key = event.ordering_key();
            assert!(
                self.flights.iter().all(|(_, it)| it.ordering_key() != key),
                "two events of key {key:?} are unconfirmed"
            );
            self.flights.push((flight, event));
        }
        assert!(self.flights.len() <= self.limits.in_flight_max);
    }

    fn resolve(&mut self, world: &mut World, rng: &mut Rng) {
        if self.flights.is_empty() {
            return;
        }
        let (flight, event) = self.flights.swap_remove(rng.usize(0..self.flights.len()));
        let outcome = world.outcome(&event, rng);
        if outcome == Outcome::Sent || !matches!(outcome, Outcome::Refused(_)) && rng.bool() {
            world.deliver(&event);
        }
        self.machine
            .published(&flight, event, outcome, rng.f64(), world.now);
    }

    fn begin_read(&mut self, world: &World, rng: &mut Rng, look: bool) {
        if self.read.is_some() {
            return;
        }
        if let Some(fetch) = self.machine.read(world.now, look) {
            // It sees the store as it is now, or as it is when it comes back.
            let early = rng.bool().then(|| world.fetch(&fetch, rng.bool()));
            self.read = Some((fetch, early));
        }
    }

    fn end_read(&mut self, world: &World, rng: &mut Rng, fails: bool) {
        let Some((fetch, early)) = self.read.take() else {
            return;
        };
        if fails {
            return self.machine.read_failed();
        }
        let fetched = early.unwrap_or_else(|| world.fetch(&fetch, rng.bool()));
        self.machine.was_read(fetched, world.now);
    }

    fn begin_marks(&mut self) {
        if self.marks.is_none() {
            let marks = self.machine.marks();
            self.marks = (!marks.is_empty()).then_some(marks);
        }
    }

    fn end_marks(&mut self, world: &mut World, rng: &mut Rng, trouble: bool) {
        let Some(marks) = self.marks.take() else {
            return;
        };
        assert!(marks.len() <= self.limits.marks_max);
        // Lost on the way there, or on the way back.
        let fails = trouble && rng.u8(0..4) == 0;
        if fails && rng.bool() {
            return self.machine.marks_failed();
        }
        let lost = world.mark(self.id, &marks);
        if fails {
            return self.machine.marks_failed();
        }
        self.machine.marked(&lost, world.now);
    }

    fn attend(&mut self, world: &mut World, wanted: usize) {
        let lanes = world.attend(self.id, wanted);
        self.machine.attended(&lanes, world.now + LEASE / 5 * 4);
    }

    fn release(&mut self, world: &mut World) {
        self.releasing.extend(self.machine.take_drained());
        world.release(self.id, &std::mem::take(&mut self.releasing));
    }

    fn check(&self) {
        let (events, unmarked) = self.machine.load();
        assert!(events <= self.limits.events_max, "{events} events");
        let unmarked_max = self.limits.unmarked_max;
        assert!(unmarked <= unmarked_max, "{unmarked} of {unmarked_max}");
        let known = self.limits.behind_max + self.limits.read_max + self.limits.events_max + 64;
        assert!(self.machine.behind <= known);
    }
}

fn run(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let rules = rules(&mut rng);
    let mut world = World::new(&mut rng);
    // With leases that last, and a broker that confirms whatever it has, each event goes out once.
    let is_calm = rng.u8(0..4) == 0;
    world.is_calm = is_calm;
    world.has_troubles = !is_calm;
    let mut workers: Vec<Worker> = (0..2)
        .map(|_| Worker::new(limits(&mut rng), rules))
        .collect();
    for _ in 0..STEPS {
        let at = rng.usize(0..2);
        let worker = &mut workers[at];
        match rng.u8(0..if is_calm { 90 } else { 100 }) {
            0..15 => world.append(&mut rng),
            15..28 => world.end_transaction(&mut rng),
            28..43 => worker.publish(&mut world),
            43..58 => worker.resolve(&mut world, &mut rng),
            58..66 => {
                let look = rng.bool();
                worker.begin_read(&world, &mut rng, look);
            }
            66..74 => {
                let fails = rng.u8(0..5) == 0;
                worker.end_read(&world, &mut rng, fails);
            }
            74..79 => worker.begin_marks(),
            79..86 => worker.end_marks(&mut world, &mut rng, true),
            86..88 => {
                let wanted = rng.usize(1..=world::LANES);
                worker.attend(&mut world, wanted);
            }
            88..90 => world.now += Duration::from_millis(rng.u64(0..100)),
            90 => world.now += LEASE,
            91 => worker.machine.keep(rng.usize(0..=world::LANES)),
            92..94 => worker.release(&mut world),
            94 => world.decide(&mut rng),
            95 if rng.u8(0..5) == 0 => *worker = Worker::new(limits(&mut rng), rules),
            _ => world.now += Duration::from_millis(rng.u64(0..200)),
        }
        workers[at].check();
        if is_calm {
            for worker in &mut workers {
                worker.attend(&mut world, 0);
            }
        }
    }
    if !is_calm && rng.bool() {
        // Lanes go to another worker and come back while events are in flight.
        for at in [0, 1, 0] {
            world.now += LEASE;
            workers[at].attend(&mut world, world::LANES);
            workers[1 - at].attend(&mut world, 0);
        }
    }
    settle(&mut world, &mut workers, &mut rng);
}

/// Without troubles everything ends.
fn settle(world: &mut World, workers: &mut [Worker], rng: &mut Rng) {
    world.end_all_transactions();
    world.has_troubles = false;
    // They would bring back what is forgotten.
    world.has_repeats = false;
    for _ in 0..5_000 {
        if world.is_settled() && workers.iter().all(|it| it.machine.is_quiet()) {
            return;
        }
        for worker in &mut *workers {
            worker.attend(world, world::LANES);
            worker.begin_read(world, rng, true);
            worker.end_read(world, rng, false);
            worker.publish(world);
            while !worker.flights.is_empty() {
                worker.resolve(world, rng);
            }
            worker.begin_marks();
            worker.end_marks(world, rng, false);
            worker.release(world);
            worker.check();
        }
        world.now += Duration::from_millis(500);
        world.decide(rng);
    }
    panic!("these are forgotten: {:?}", world.unsettled());
}

#[test]
fn p11_two_workers_lose_nothing_and_invert_nothing_whatever_happens() {
    if let Ok(seed) = std::env::var("SAGAZ_SEED") {
        return run(seed.parse().unwrap());
    }
    for seed in 0..SEEDS {
        let result = std::panic::catch_unwind(|| run(seed));
        if let Err(panic) = result {
            eprintln!("SAGAZ_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
