//! Cancels and deadlines.

use crate::{
    Line, Pivotal, completed, engine, failure, seconds, snapshot, started, state, support::*, until,
};
use sagaz::{
    Engine, FailureReason, SagaId, StepContext, StepError, compensate, saga, step,
    store::{CancelReply, InstanceState, memory::Memory},
};
use std::sync::Arc;

#[tokio::test(start_paused = true)]
async fn a_cancel_before_the_pivot_unwinds_once_the_running_attempt_has_ended() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    world.plan("two", [seconds(30)]);
    let handle = engine.start::<Line>(1).await.unwrap();
    world.wait_began("two", 1).await;
    assert_eq!(handle.cancel().await.unwrap(), CancelReply::Requested);
    let failure = failure(&handle).await;
    assert_eq!(
        (failure.step, failure.reason),
        (None, FailureReason::Cancelled)
    );
    assert_eq!(world.effects(), ["one", "two", "undo two", "undo one"]);
    assert_eq!(world.entries("undo two")[0].known, Some(3));
}

#[tokio::test(start_paused = true)]
async fn p6_a_cancel_after_the_pivot_is_refused() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    world.plan("z", [seconds(30)]);
    let handle = engine.start::<Pivotal>(()).await.unwrap();
    world.wait_began("z", 1).await;
    assert_eq!(handle.cancel().await.unwrap(), CancelReply::PivotPassed);
    completed(&handle).await;
    assert_eq!(
        handle.cancel().await.unwrap(),
        CancelReply::NotLive(InstanceState::Completed)
    );
}

#[tokio::test(start_paused = true)]
async fn p6_a_cancel_does_not_drop_a_running_pivot() {
    for (error, state) in [(None, "completed"), (Some(crate::clean()), "rolled_back")] {
        let (store, world, recorder) = (Memory::new(), World::new(), Arc::new(Recorder::default()));
        let engine = engine(&store, &world)
            .observer(Arc::clone(&recorder) as _)
            .start()
            .await
            .unwrap();
        world.plan("p", [seconds(30)]);
        world.fail("p", error);
        let handle = engine.start::<Pivotal>(()).await.unwrap();
        world.wait_began("p", 1).await;
        assert_eq!(handle.cancel().await.unwrap(), CancelReply::Requested);
        let _ = crate::outcome(&handle).await;
        assert!(recorder.has(state), "{:?}", recorder.events());
        assert_eq!(recorder.has("cancel refused"), state == "completed");
        assert_eq!(world.entries("p").len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_owner_sees_a_cancel_that_another_engine_asked_for() {
    let (store, world) = (Memory::new(), World::new());
    let (owner, other) = (started(&store, &world).await, started(&store, &world).await);
    // Waits in memory: no write of its own tells it.
    world.fail("two", [crate::unclear().retry_after(SECOND * 9)]);
    let handle = owner.start::<Line>(1).await.unwrap();
    world.wait_began("two", 1).await;
    assert_eq!(
        other.cancel(handle.id()).await.unwrap(),
        CancelReply::Requested
    );
    failure(&handle).await;
    assert_eq!(world.entries("two").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_a_write_tells_of_is_heard_before_the_write_lets_the_next_step_begin() {
    let (store, world) = (Memory::new(), World::new());
    let (owner, other) = (started(&store, &world).await, started(&store, &world).await);
    // Over before a renewal of the lease could tell.
    world.plan("one", [Act::Sleep(SECOND / 100)]);
    let handle = owner.start::<Line>(1).await.unwrap();
    world.wait_began("one", 1).await;
    assert_eq!(
        other.cancel(handle.id()).await.unwrap(),
        CancelReply::Requested
    );
    failure(&handle).await;
    assert_eq!(world.began(), ["one", "undo one"]);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_nobody_owns_yet_can_be_cancelled() {
    let (store, world) = (Memory::new(), World::new());
    let engine = engine(&store, &world)
        .in_flight_max(1)
        .start()
        .await
        .unwrap();
    world.plan("one", [seconds(60)]);
    let first = engine.start::<Line>(1).await.unwrap();
    let second = engine.start::<Line>(2).await.unwrap();
    assert_eq!(snapshot(&store, second.id()).await.summary.owner, None);
    assert_eq!(second.cancel().await.unwrap(), CancelReply::Requested);
    assert_eq!(failure(&second).await.reason, FailureReason::Cancelled);
    completed(&first).await;
    assert!(
        !world.began().iter().any(|what| what.starts_with("undo")),
        "nothing was done: {:?}",
        world.began()
    );
    assert_eq!(world.entries("one").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_cannot_be_cancelled() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    assert_eq!(
        engine.cancel(SagaId::new()).await.unwrap(),
        CancelReply::NotFound
    );
}

#[tokio::test(start_paused = true)]
async fn a_cancel_survives_a_crash() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    world.plan("one", [Act::Hang]);
    let id = engine.start::<Line>(1).await.unwrap().id();
    world.wait_began("one", 1).await;
    assert_eq!(engine.cancel(id).await.unwrap(), CancelReply::Requested);
    engine.abort();
    let heir = started(&store, &world).await;
    let failure = failure(&heir.handle::<Line>(id).await.unwrap()).await;
    assert_eq!(failure.reason, FailureReason::Cancelled);
    assert_eq!(
        world.began(),
        ["one", "undo one"],
        "its process died, so it may have had its effect"
    );
}

#[tokio::test(start_paused = true)]
async fn a_deadline_unwinds_before_the_pivot_and_is_only_reported_after_it() {
    let (store, world, recorder) = (Memory::new(), World::new(), Arc::new(Recorder::default()));
    let engine = engine(&store, &world)
        .observer(Arc::clone(&recorder) as _)
        .start()
        .await
        .unwrap();
    world.plan("a", [seconds(4_000)]);
    let failure = failure(&engine.start::<Pivotal>(()).await.unwrap()).await;
    assert_eq!(failure.reason, FailureReason::DeadlineExceeded);
    assert_eq!(world.effects(), ["a", "undo a"]);
    world.plan("z", [seconds(4_000)]);
    completed(&engine.start::<Pivotal>(()).await.unwrap()).await;
    assert!(recorder.has("deadline refused"));
}

/// Its pivot comes first.
struct Decisive(World);

#[saga(name = "decisive", deadline = "10m")]
impl Decisive {
    #[step(pivot, retry(attempts = 3))]
    async fn p(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 1)
    }
}

/// Its deadline is its only limit.
struct Hurried(World);

#[saga(name = "hurried", deadline = "10m")]
impl Hurried {
    #[step]
    async fn only(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 1)
    }

    #[compensate("only")]
    async fn undo_only(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        self.0.attempt(ctx, None).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_was_not_begun_before_its_deadline_is_not_begun() {
    let (store, world) = (Memory::new(), World::new());
    let build = || {
        Engine::builder(store.clone())
            .in_flight_max(1)
            .register(Hurried(world.clone()))
            .register(Decisive(world.clone()))
    };
    let engine = build().start().await.unwrap();
    world.plan("only", [seconds(500)]);
    engine.start::<Hurried>(()).await.unwrap();
    let late = [engine.start::<Hurried>(()).await.unwrap().id()];
    let pivotal = engine.start::<Decisive>(()).await.unwrap().id();
    engine.abort();
    tokio::time::sleep(SECOND * 700).await;
    let heir = build().start().await.unwrap();
    for id in late {
        until("it has ended", async || state(&store, id).await.is_final()).await;
        assert_eq!(
            failure(&heir.handle::<Hurried>(id).await.unwrap())
                .await
                .reason,
            FailureReason::DeadlineExceeded
        );
    }
    let failure = failure(&heir.handle::<Decisive>(pivotal).await.unwrap()).await;
    assert_eq!(failure.reason, FailureReason::DeadlineExceeded);
    assert_eq!(
        world.began(),
        ["only", "undo only"],
        "only what the first engine had begun"
    );
}
