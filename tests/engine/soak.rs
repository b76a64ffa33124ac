//! Everything at once, at random and repeatable: faults of the store, deaths of engines, cancels, errors and panics.

use crate::{Insisting, Line, Pivotal, clean, engine, snapshot, state, support::*, unclear};
use sagaz::{
    Engine, SagaId,
    store::{InstanceState, fault::Fault, memory::Memory},
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// A small generator, so that a seed gives the same run in every release of every crate.
#[derive(Clone)]
struct Chance(Arc<Mutex<u64>>);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(
            seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
        )))
    }

    /// From 0 to `below`.
    fn draw(&self, below: u64) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 11) % below
    }

    fn is_one_in(&self, times: u64) -> bool {
        self.draw(times) == 0
    }

    fn fault(&self) -> Option<Fault> {
        match self.draw(24) {
            0 => Some(Fault::FailBefore),
            1 => Some(Fault::FailAfter),
            2 => Some(Fault::Delay(Duration::from_millis(1 + self.draw(3_000)))),
            _ => None,
        }
    }

    fn act(&self, pivot: bool) -> Act {
        match self.draw(if pivot { 14 } else { 10 }) {
            0 => Act::Fail(unclear()),
            1 => Act::Fail(clean()),
            2 => Act::Panic,
            3 => Act::Fail(unclear().retry_after(SECOND * 20)),
            4 | 5 => Act::Sleep(Duration::from_millis(self.draw(2_000))),
            _ => Act::Done,
        }
    }
}

async fn restarted(store: &Memory, world: &World) -> Engine<Memory> {
    loop {
        if let Ok(engine) = engine(store, world)
            .in_flight_max(6)
            .poison_after(100)
            .start()
            .await
        {
            return engine;
        }
    }
}

fn check(world: &World, id: SagaId, state: InstanceState, seed: u64) {
    let effects = world.effects_of(id);
    let what = format!("seed {seed}, {id} is {state}: {effects:?}");
    let last = |step: &str| effects.iter().rposition(|effect| effect == step);
    let steps = ["one", "two", "three", "a", "p", "z", "sure", "other"];
    let undos: Vec<_> = effects
        .iter()
        .filter(|effect| effect.starts_with("undo"))
        .collect();
    match state {
        InstanceState::Completed => assert!(undos.is_empty(), "{what}"),
        InstanceState::RolledBack => {
            for step in steps {
                let undone = last(&format!("undo {step}"));
                assert!(
                    last(step).is_none_or(|effect| undone.is_some_and(|undone| undone > effect)),
                    "{step}: {what}"
                );
            }
            let order = ["undo three", "undo two", "undo one"];
            let firsts: Vec<_> = order
                .iter()
                .filter_map(|undo| effects.iter().position(|it| it == undo))
                .collect();
            assert!(firsts.is_sorted(), "{what}");
        }
        InstanceState::Stuck => assert!(last("p").is_none() || undos.is_empty(), "{what}"),
        _ => panic!("{what}"),
    }
}

async fn soak(seed: u64) {
    let (chance, store, world) = (Chance::new(seed), Memory::new(), World::new());
    for (step, times) in [
        ("one", 20),
        ("two", 20),
        ("three", 20),
        ("a", 20),
        ("p", 20),
        ("z", 20),
        ("sure", 10),
        ("other", 10),
    ] {
        world.plan(step, (0..times).map(|_| chance.act(step == "p")));
    }
    for undo in ["undo one", "undo two", "undo a", "undo sure"] {
        world.plan(undo, (0..3).map(|_| Act::Fail(unclear())));
    }
    let mut engines = vec![
        restarted(&store, &world).await,
        restarted(&store, &world).await,
    ];
    store.faults().on_write({
        let chance = chance.clone();
        move |_| chance.fault()
    });
    store.faults().on_claim({
        let chance = chance.clone();
        move |_| chance.fault()
    });
    let mut ids = Vec::new();
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_millis(chance.draw(2_000))).await;
        let place = usize::try_from(chance.draw(2)).unwrap();
        if chance.is_one_in(8) {
            engines[place].abort();
            engines[place] = restarted(&store, &world).await;
        } else if chance.is_one_in(12) {
            engines[place].shutdown().await;
            engines[place] = restarted(&store, &world).await;
        }
        if chance.is_one_in(2) {
            let engine = &engines[place];
            let id = match chance.draw(3) {
                0 => engine.start::<Line>(seed).await.map(|handle| handle.id()),
                1 => engine.start::<Pivotal>(()).await.map(|handle| handle.id()),
                _ => engine
                    .start::<Insisting>(())
                    .await
                    .map(|handle| handle.id()),
            };
            ids.extend(id.ok());
        }
        if chance.is_one_in(6) && !ids.is_empty() {
            let id = ids[usize::try_from(chance.draw(ids.len() as u64)).unwrap()];
            let _ = engines[place].cancel(id).await;
        }
    }
    store.faults().clear();
    assert!(ids.len() > 10);
    for id in ids {
        let mut waited = 0;
        while state(&store, id).await.is_live() {
            tokio::time::sleep(SECOND).await;
            waited += 1;
            assert!(
                waited < 3_600,
                "seed {seed}: stranded {:?} {:?}",
                snapshot(&store, id).await,
                world.effects_of(id)
            );
        }
        check(&world, id, state(&store, id).await, seed);
    }
    for engine in engines {
        // What is left of the outcome's way to whoever waits for it.
        tokio::time::sleep(SECOND).await;
        assert_eq!(engine.in_flight(), 0, "seed {seed}");
        engine.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn p1_to_p7_hold_under_faults_deaths_and_cancels_at_random() {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|number| number.parse().ok())
    };
    let first = number("SAGAZ_SOAK_FIRST").unwrap_or(0);
    for seed in first..first + number("SAGAZ_SOAK_SEEDS").unwrap_or(40) {
        soak(seed).await;
    }
}
