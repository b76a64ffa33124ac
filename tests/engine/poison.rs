//! Instances that kill their processes.

use crate::{Line, clean, completed, engine, snapshot, state, stuck, support::*};
use sagaz::{
    Engine, FailureReason, SagaId, StuckReason,
    store::{InstanceState, memory::Memory},
};
use std::sync::{Arc, Mutex};

/// Engines of one host: when one dies, the next is started.
struct Host {
    store: Memory,
    world: World,
    recorder: Arc<Recorder>,
    poison_after: u32,
    current: Arc<Mutex<Option<Engine<Memory>>>>,
}

impl Host {
    async fn new(poison_after: u32) -> Self {
        let host = Self {
            store: Memory::new(),
            world: World::new(),
            recorder: Arc::default(),
            poison_after,
            current: Arc::default(),
        };
        host.restart().await;
        host
    }

    async fn restart(&self) {
        let build = engine(&self.store, &self.world).poison_after(self.poison_after);
        let engine = build
            .observer(Arc::clone(&self.recorder) as _)
            .start()
            .await
            .unwrap();
        *self.current.lock().unwrap() = Some(engine);
    }

    fn engine(&self) -> Engine<Memory> {
        self.current.lock().unwrap().clone().unwrap()
    }

    /// The next attempt of `what` kills the process.
    fn plan_death(&self, what: &str) {
        let current = Arc::clone(&self.current);
        let die = Box::new(move || current.lock().unwrap().take().unwrap().abort());
        self.world.plan(what, [Act::Call(die), Act::Hang]);
    }

    /// Restarts the engine whenever it died, until the instance has ended or is stuck.
    async fn run(&self, id: SagaId) -> InstanceState {
        for _ in 0..10_000 {
            if self.current.lock().unwrap().is_none() {
                self.restart().await;
            }
            tokio::time::sleep(SECOND).await;
            let state = state(&self.store, id).await;
            if !state.is_live() {
                return state;
            }
        }
        panic!("it never ended: {:?}", self.recorder.events());
    }
}

#[tokio::test(start_paused = true)]
async fn p8_an_instance_that_kills_its_process_again_and_again_is_stuck_and_counted() {
    let host = Host::new(4).await;
    for _ in 0..100 {
        host.plan_death("two");
    }
    let id = host.engine().start::<Line>(1).await.unwrap().id();
    assert_eq!(host.run(id).await, InstanceState::Stuck);
    let stuck = stuck(&host.engine().handle::<Line>(id).await.unwrap()).await;
    assert_eq!((stuck.step, stuck.reason), (None, StuckReason::Poison));
    // Twice until it is a suspect, and four times as one.
    assert_eq!(snapshot(&host.store, id).await.summary.takeovers, 6);
    assert_eq!(host.world.entries("two").len(), 6);
    assert!(host.recorder.has("claimed over as a suspect"));
}

#[tokio::test(start_paused = true)]
async fn p8_a_poison_instance_goes_on_after_an_operator_said_so_and_its_steps_may_have_run() {
    let host = Host::new(1).await;
    for _ in 0..3 {
        host.plan_death("two");
    }
    let id = host.engine().start::<Line>(1).await.unwrap().id();
    assert_eq!(host.run(id).await, InstanceState::Stuck);
    host.world.fail("two", [clean(), clean(), clean()]);
    host.engine()
        .operator("ann", "fixed the driver")
        .retry(id, "two")
        .await
        .unwrap();
    assert_eq!(host.run(id).await, InstanceState::RolledBack);
    assert_eq!(host.world.entries("undo two")[0].known, None);
}

#[tokio::test(start_paused = true)]
async fn innocent_bystanders_are_not_poisoned() {
    let host = Host::new(3).await;
    for _ in 0..100 {
        host.plan_death("one");
    }
    let guilty = host.engine().start::<Line>(1).await.unwrap().id();
    host.world.plan("a", (0..1_000).map(|_| Act::Sleep(SECOND)));
    let mut innocent = Vec::new();
    for _ in 0..5 {
        // The first deaths may take it along.
        let engine = host.current.lock().unwrap().clone();
        if let Some(engine) = engine
            && let Ok(handle) = engine.start::<crate::Pivotal>(()).await
        {
            innocent.push(handle.id());
        }
    }
    assert_eq!(host.run(guilty).await, InstanceState::Stuck);
    for id in innocent {
        assert_eq!(host.run(id).await, InstanceState::Completed);
    }
}

#[tokio::test(start_paused = true)]
async fn p5_a_suspect_that_was_postponed_may_have_had_its_effect() {
    for deaths in 1..=5 {
        let host = Host::new(10).await;
        for _ in 0..deaths {
            host.plan_death("one");
        }
        host.world.fail("one", [clean()]);
        let id = host.engine().start::<Line>(1).await.unwrap().id();
        assert_eq!(host.run(id).await, InstanceState::RolledBack);
        let summary = snapshot(&host.store, id).await.summary;
        assert_eq!(
            summary.failure.unwrap().reason,
            FailureReason::Unknown,
            "after {deaths} deaths"
        );
        assert_eq!(
            host.world.entries("undo one").len(),
            1,
            "after {deaths} deaths"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn p6_a_pivot_of_a_postponed_suspect_runs_again_before_a_cancel_is_honoured() {
    for deaths in 1..=4 {
        let host = Host::new(10).await;
        for _ in 0..deaths {
            host.plan_death("p");
        }
        let id = host
            .engine()
            .start::<crate::Pivotal>(())
            .await
            .unwrap()
            .id();
        host.world.wait_began("p", 1).await;
        for death in 2..=deaths {
            while host.world.entries("p").len() < death {
                if host.current.lock().unwrap().is_none() {
                    host.restart().await;
                }
                tokio::time::sleep(SECOND).await;
            }
        }
        host.restart().await;
        host.engine().cancel(id).await.unwrap();
        assert_eq!(
            host.run(id).await,
            InstanceState::Completed,
            "after {deaths} deaths"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn p8_an_engine_runs_one_suspect_at_a_time() {
    let host = Host::new(10).await;
    let mut ids = Vec::new();
    host.world.plan("one", [Act::Hang]);
    ids.push(host.engine().start::<Line>(1).await.unwrap().id());
    host.world.wait_began("one", 1).await;
    host.plan_death("one");
    // Two deaths, which take both along.
    let last = host.engine().start::<Line>(2).await.unwrap().id();
    ids.push(last);
    host.world.wait_began("one", 2).await;
    host.plan_death("one");
    host.restart().await;
    host.world.wait_began("one", 3).await;
    for id in &ids {
        assert_eq!(snapshot(&host.store, *id).await.summary.takeovers, 1);
    }
    host.world.plan(
        "one",
        [Act::Sleep(SECOND * 60), Act::Done, Act::Sleep(SECOND * 60)],
    );
    for id in ids {
        assert_eq!(host.run(id).await, InstanceState::Completed);
    }
    let began: Vec<_> = host
        .world
        .entries("one")
        .iter()
        .map(|entry| entry.at.as_secs())
        .collect();
    assert!(began.len() == 5 && began[4] >= began[3] + 60, "{began:?}");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_is_stored_in_between_clears_the_suspicion() {
    let host = Host::new(1).await;
    host.plan_death("one");
    host.plan_death("one");
    host.plan_death("two");
    host.plan_death("two");
    let id = host.engine().start::<Line>(1).await.unwrap().id();
    assert_eq!(host.run(id).await, InstanceState::Completed);
    completed(&host.engine().handle::<Line>(id).await.unwrap()).await;
}
