//! Stopping in good order.

use crate::{
    Line, completed, engine, late::Late, outcome, row, seconds, snapshot, started, support::*,
    within,
};
use sagaz::{
    Engine, SagaId,
    store::{
        Filter, SagaStore, StepState,
        fault::{Call, Fault},
        memory::Memory,
    },
};

#[tokio::test(start_paused = true)]
async fn a_shutdown_lets_running_attempts_end_and_another_engine_goes_on_at_once() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    world.plan("one", [seconds(5)]);
    let id = engine.start::<Line>(1).await.unwrap().id();
    world.wait_began("one", 1).await;
    let heir = started(&store, &world).await;
    within(engine.shutdown()).await;
    assert_eq!(world.now().as_secs(), 5);
    assert_eq!((world.effects().len(), engine.in_flight()), (1, 0));
    completed(&heir.handle::<Line>(id).await.unwrap()).await;
    assert!(
        world.now() < SECOND * 7,
        "it waits for no lease: {:?}",
        world.now()
    );
    assert_eq!(world.effects(), ["one", "two", "three"]);
    assert_eq!(snapshot(&store, id).await.summary.takeovers, 0);
}

#[tokio::test(start_paused = true)]
async fn p5_an_attempt_that_outlasts_the_grace_of_a_shutdown_is_dropped_and_unknown() {
    let (store, world) = (Memory::new(), World::new());
    let engine = engine(&store, &world)
        .shutdown_grace(SECOND * 10)
        .start()
        .await
        .unwrap();
    world.plan("one", [Act::Hang]);
    let id = engine.start::<Line>(1).await.unwrap().id();
    world.wait_began("one", 1).await;
    within(engine.shutdown()).await;
    assert_eq!(world.now().as_secs(), 10);
    let one = row(&store, id, "one").await;
    assert_eq!((one.state, one.attempts), (StepState::Unknown, 1));
    let summary = snapshot(&store, id).await.summary;
    assert_eq!((summary.owner, summary.takeovers), (None, 0));
    world.fail("one", [crate::clean()]);
    let heir = started(&store, &world).await;
    assert!(
        outcome(&heir.handle::<Line>(id).await.unwrap())
            .await
            .is_rolled_back()
    );
    assert_eq!(
        (
            snapshot(&store, id).await.summary.takeovers,
            world.entries("undo one").len()
        ),
        (0, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_stopped_engine_accepts_nothing_new() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    within(engine.shutdown()).await;
    assert!(
        engine
            .start::<Line>(1)
            .await
            .unwrap_err()
            .is_shutting_down()
    );
    assert!(
        store
            .list(&Filter::all())
            .await
            .unwrap()
            .instances
            .is_empty()
    );
    within(engine.shutdown()).await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_ever_for_a_store_that_is_down() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    world.plan("one", [seconds(5)]);
    let id = engine.start::<Line>(1).await.unwrap().id();
    world.wait_began("one", 1).await;
    store.faults().set_down(true);
    within(engine.shutdown()).await;
    assert!(world.now() < SECOND * 60);
    store.faults().set_down(false);
    let heir = started(&store, &world).await;
    completed(&heir.handle::<Line>(id).await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn p1_an_instance_that_is_being_accepted_during_a_shutdown_is_given_up_in_good_order() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    store
        .faults()
        .plan(Call::Write, 1, Fault::Delay(SECOND * 3));
    let start = tokio::spawn({
        let engine = engine.clone();
        async move { engine.start::<Line>(1).await.map(|handle| handle.id()) }
    });
    tokio::time::sleep(SECOND).await;
    within(engine.shutdown()).await;
    let id = start
        .await
        .unwrap()
        .expect("it was accepted before the engine stopped");
    let summary = snapshot(&store, id).await.summary;
    assert_eq!(
        (summary.owner, summary.takeovers),
        (None, 0),
        "nobody has to wait for a lease"
    );
    let heir = started(&store, &world).await;
    completed(&heir.handle::<Line>(id).await.unwrap()).await;
    assert_eq!(snapshot(&store, id).await.summary.takeovers, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_being_claimed_during_a_shutdown_is_given_up_in_good_order() {
    let (store, world) = (Memory::new(), World::new());
    let id = unowned(&store, &world).await;
    let began = world.began().len();
    let late = Late(store.clone(), SECOND * 3);
    let engine = Engine::builder(late)
        .register(Line(world.clone()))
        .start()
        .await
        .unwrap();
    tokio::time::sleep(SECOND).await;
    assert_eq!(
        snapshot(&store, id).await.summary.owner,
        Some(engine.id()),
        "the reply is under way"
    );
    within(engine.shutdown()).await;
    let summary = snapshot(&store, id).await.summary;
    assert_eq!((summary.owner, summary.takeovers), (None, 0));
    assert_eq!(world.began().len(), began);
    let heir = started(&store, &world).await;
    completed(&heir.handle::<Line>(id).await.unwrap()).await;
    assert_eq!(snapshot(&store, id).await.summary.takeovers, 0);
}

/// An instance that nobody owns: given up before its first attempt had begun.
async fn unowned(store: &Memory, world: &World) -> SagaId {
    let engine = engine(store, world).in_flight_max(1).start().await.unwrap();
    world.plan("one", [seconds(2)]);
    engine.start::<Line>(1).await.unwrap();
    let id = engine.start::<Line>(2).await.unwrap().id();
    within(engine.shutdown()).await;
    assert_eq!(snapshot(store, id).await.summary.owner, None);
    id
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_a_dead_engine_is_asked_for_comes_from_its_heir() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    world.plan("two", [Act::Hang]);
    let handle = engine.start::<Line>(1).await.unwrap();
    let waiting = engine.handle::<Line>(handle.id()).await.unwrap();
    let waiting = tokio::spawn(async move { waiting.outcome().await.unwrap().is_completed() });
    world.wait_began("two", 1).await;
    engine.abort();
    let _heir = started(&store, &world).await;
    completed(&handle).await;
    assert!(within(waiting).await.unwrap());
}
