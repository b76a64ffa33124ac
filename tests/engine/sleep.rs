//! Waits that cost no memory.

use crate::{
    clean, completed, failure, outcome, row, seconds, snapshot, state, support::*, unclear, until,
};
use sagaz::{
    Engine, EngineBuilder, StepContext, StepError, compensate, saga, step,
    store::{
        CancelReply, InstanceState,
        fault::{Call, Fault},
        memory::Memory,
    },
};
use std::sync::Arc;

/// `early` waits long between its attempts; then the pivot, and `late`, which waits even longer.
struct Sleepy(World);

#[saga(name = "sleepy", deadline = "30m")]
impl Sleepy {
    #[step(retry(attempts = 3, initial = "1m", jitter = 0))]
    async fn early(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 1)
    }

    #[compensate("early", retry(attempts = 3, initial = "1m", jitter = 0))]
    async fn undo_early(
        &self,
        ctx: &StepContext<'_>,
        early: Option<&u64>,
    ) -> Result<(), StepError> {
        self.0.attempt(ctx, early.copied()).await
    }

    #[step(depends_on = ["early"], pivot, retry(attempts = 3, initial = "5s", jitter = 0))]
    async fn pivot(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 1)
    }

    #[step(depends_on = ["pivot"], retry(forever, initial = "1h", max = "1h", jitter = 0))]
    async fn late(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 1)
    }
}

fn builder(store: &Memory, world: &World) -> EngineBuilder<Memory> {
    Engine::builder(store.clone()).register(Sleepy(world.clone()))
}

#[tokio::test(start_paused = true)]
async fn a_long_backoff_leaves_memory_and_comes_back_with_its_attempts() {
    let (store, world, recorder) = (Memory::new(), World::new(), Arc::new(Recorder::default()));
    let engine = builder(&store, &world)
        .observer(Arc::clone(&recorder) as _)
        .start()
        .await
        .unwrap();
    world.fail("early", [unclear(), unclear()]);
    let handle = engine.start::<Sleepy>(()).await.unwrap();
    until("it sleeps", async || {
        engine.in_flight() == 0 && world.began().len() == 1
    })
    .await;
    let sleeping = snapshot(&store, handle.id()).await.summary;
    assert_eq!(
        (sleeping.owner, sleeping.state),
        (None, InstanceState::Executing)
    );
    let early = row(&store, handle.id(), "early").await;
    assert_eq!(
        (early.attempts, early.error.as_deref()),
        (1, Some("broken"))
    );
    completed(&handle).await;
    let attempts: Vec<_> = world
        .entries("early")
        .iter()
        .map(|entry| (entry.attempt, entry.at.as_secs()))
        .collect();
    assert_eq!(attempts, [(1, 0), (2, 60), (3, 120)]);
    assert_eq!(snapshot(&store, handle.id()).await.summary.takeovers, 0);
    assert!(recorder.has("released") && recorder.has("claimed"));
}

#[tokio::test(start_paused = true)]
async fn p5_a_step_that_slept_keeps_in_mind_that_it_may_have_had_its_effect() {
    let (store, world) = (Memory::new(), World::new());
    let engine = builder(&store, &world).start().await.unwrap();
    world.fail("early", [unclear(), clean(), clean()]);
    failure(&engine.start::<Sleepy>(()).await.unwrap()).await;
    assert_eq!(world.entries("undo early")[0].known, None);
}

#[tokio::test(start_paused = true)]
async fn a_sleeping_instance_is_woken_by_any_engine_after_its_own_died() {
    let (store, world) = (Memory::new(), World::new());
    let engine = builder(&store, &world).start().await.unwrap();
    world.fail("early", [unclear(), unclear()]);
    let id = engine.start::<Sleepy>(()).await.unwrap().id();
    until("it sleeps", async || {
        engine.in_flight() == 0 && world.began().len() == 1
    })
    .await;
    engine.abort();
    let heir = builder(&store, &world).start().await.unwrap();
    completed(&heir.handle::<Sleepy>(id).await.unwrap()).await;
    assert_eq!(world.entries("early")[2].attempt, 3);
    assert_eq!(snapshot(&store, id).await.summary.takeovers, 0);
}

#[tokio::test(start_paused = true)]
async fn a_short_backoff_stays_in_memory() {
    let (store, world, recorder) = (Memory::new(), World::new(), Arc::new(Recorder::default()));
    let engine = builder(&store, &world)
        .observer(Arc::clone(&recorder) as _)
        .start()
        .await
        .unwrap();
    world.fail("pivot", [unclear()]);
    let handle = engine.start::<Sleepy>(()).await.unwrap();
    world.wait_began("pivot", 1).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(engine.in_flight(), 1);
    completed(&handle).await;
    assert!(!recorder.has("released"));
}

#[tokio::test(start_paused = true)]
async fn a_compensation_sleeps_as_well() {
    let (store, world) = (Memory::new(), World::new());
    let engine = builder(&store, &world).start().await.unwrap();
    world.fail("pivot", [crate::permanent()]);
    world.fail("undo early", [unclear(), unclear()]);
    let handle = engine.start::<Sleepy>(()).await.unwrap();
    world.wait_began("undo early", 1).await;
    until("it sleeps", async || engine.in_flight() == 0).await;
    assert_eq!(
        state(&store, handle.id()).await,
        InstanceState::Compensating
    );
    failure(&handle).await;
    let attempts: Vec<_> = world
        .entries("undo early")
        .iter()
        .map(|entry| (entry.attempt, entry.known))
        .collect();
    assert_eq!(attempts, [(1, Some(1)), (2, Some(1)), (3, Some(1))]);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_wakes_a_sleeping_instance() {
    let (store, world) = (Memory::new(), World::new());
    let engine = builder(&store, &world).start().await.unwrap();
    world.fail("early", [unclear(), unclear()]);
    let handle = engine.start::<Sleepy>(()).await.unwrap();
    until("it sleeps", async || {
        engine.in_flight() == 0 && world.began().len() == 1
    })
    .await;
    assert_eq!(handle.cancel().await.unwrap(), CancelReply::Requested);
    failure(&handle).await;
    assert!(
        world.now() < SECOND * 10,
        "at once, not when it is due: {:?}",
        world.now()
    );
    assert_eq!(world.began(), ["early", "undo early"]);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_meets_its_instance_falling_asleep_wakes_it() {
    let (store, world) = (Memory::new(), World::new());
    let (engine, other) = (
        builder(&store, &world).start().await.unwrap(),
        builder(&store, &world).start().await.unwrap(),
    );
    world.fail("early", [unclear().retry_after(SECOND * 1_200)]);
    // The write that gives it up is on its way when somebody else asks for the cancel.
    store
        .faults()
        .plan(Call::Write, 2, Fault::Delay(SECOND * 3));
    let handle = engine.start::<Sleepy>(()).await.unwrap();
    world.wait_began("early", 1).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(
        other.cancel(handle.id()).await.unwrap(),
        CancelReply::Requested
    );
    failure(&handle).await;
    assert!(world.now() < SECOND * 10, "{:?}", world.now());
}

#[tokio::test(start_paused = true)]
async fn p6_a_cancel_that_waits_for_a_sleeping_pivot_does_not_keep_it_awake() {
    for seen_awake in [true, false] {
        let (store, world, recorder) = (Memory::new(), World::new(), Arc::new(Recorder::default()));
        let engine = builder(&store, &world)
            .observer(Arc::clone(&recorder) as _)
            .start()
            .await
            .unwrap();
        world.plan(
            "pivot",
            [seconds(5), Act::Fail(unclear().retry_after(SECOND * 600))],
        );
        let handle = engine.start::<Sleepy>(()).await.unwrap();
        world.wait_began("pivot", 1).await;
        if !seen_awake {
            until("it sleeps", async || engine.in_flight() == 0).await;
        }
        assert_eq!(handle.cancel().await.unwrap(), CancelReply::Requested);
        completed(&handle).await;
        assert!(recorder.has("cancel refused"));
        assert!(snapshot(&store, handle.id()).await.summary.epoch < 5);
        assert_eq!(world.entries("pivot")[1].at.as_secs(), 605);
    }
}

#[tokio::test(start_paused = true)]
async fn p5_no_attempt_begins_while_the_instance_is_being_given_up() {
    let (store, world) = (Memory::new(), World::new());
    let engine = builder(&store, &world).start().await.unwrap();
    // Due long before the store has taken the write that gives the instance up.
    world.fail("early", [clean().retry_after(SECOND * 15)]);
    store
        .faults()
        .plan(Call::Write, 2, Fault::Delay(SECOND * 60));
    let handle = engine.start::<Sleepy>(()).await.unwrap();
    completed(&handle).await;
    assert_eq!(world.effects(), ["early", "pivot", "late"]);
    assert!(world.entries("early")[1].at >= SECOND * 60);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_wakes_a_sleeping_instance() {
    let (store, world) = (Memory::new(), World::new());
    let engine = builder(&store, &world).start().await.unwrap();
    world.fail("early", [unclear().retry_after(SECOND * 7_200)]);
    let handle = engine.start::<Sleepy>(()).await.unwrap();
    until("it sleeps", async || {
        engine.in_flight() == 0 && world.began().len() == 1
    })
    .await;
    let failure = failure(&handle).await;
    assert_eq!(failure.reason, sagaz::FailureReason::DeadlineExceeded);
    assert_eq!(world.began(), ["early", "undo early"]);
    assert_eq!(world.entries("undo early")[0].at.as_secs() / 60, 30);
}

#[tokio::test(start_paused = true)]
async fn after_its_pivot_and_its_deadline_an_instance_still_leaves_memory() {
    let (store, world, recorder) = (Memory::new(), World::new(), Arc::new(Recorder::default()));
    let engine = builder(&store, &world)
        .observer(Arc::clone(&recorder) as _)
        .start()
        .await
        .unwrap();
    world.plan("pivot", [seconds(1_000)]);
    world.fail("late", [unclear(), unclear()]);
    let handle = engine.start::<Sleepy>(()).await.unwrap();
    world.wait_began("late", 2).await;
    // Its first sleep went on past the deadline; this is the second.
    tokio::time::sleep(SECOND * 60).await;
    assert_eq!(engine.in_flight(), 0, "{:?}", recorder.events());
    completed(&handle).await;
    assert!(recorder.has("deadline refused"));
}

#[tokio::test(start_paused = true)]
async fn a_recovery_that_asks_for_a_later_attempt_sleeps_and_is_counted_across_engines() {
    let (store, world) = (Memory::new(), World::new());
    world.fail("z", (0..100).map(|_| unclear()));
    world.fail("recover", (0..100).map(|_| unclear()));
    let mut engine = crate::started(&store, &world).await;
    let id = engine.start::<crate::Pivotal>(()).await.unwrap().id();
    for round in 1..=10 {
        until("it sleeps", async || {
            engine.in_flight() == 0 && world.entries("z").len() == round + 1
        })
        .await;
        assert_eq!(row(&store, id, "z").await.recoveries as usize, round);
        engine.abort();
        engine = crate::started(&store, &world).await;
    }
    let stuck = crate::stuck(&engine.handle::<crate::Pivotal>(id).await.unwrap()).await;
    assert_eq!(
        (stuck.step.as_deref(), stuck.reason),
        (Some("z"), sagaz::StuckReason::StepGaveUp)
    );
    let entries = world.entries("z");
    assert_eq!(entries.len(), 12);
    assert_eq!(entries[11].at.as_secs(), entries[10].at.as_secs() + 600);
}

#[tokio::test(start_paused = true)]
async fn many_sleeping_instances_cost_no_places() {
    let (store, world) = (Memory::new(), World::new());
    let engine = builder(&store, &world)
        .in_flight_max(2)
        .start()
        .await
        .unwrap();
    world.fail("early", (0..20).map(|_| unclear()));
    let mut handles = Vec::new();
    for _ in 0..20 {
        handles.push(engine.start::<Sleepy>(()).await.unwrap());
    }
    for handle in &handles {
        assert!(outcome(handle).await.is_completed());
    }
    assert!(world.now() < SECOND * 180, "{:?}", world.now());
}
