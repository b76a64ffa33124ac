//! An operator's way on for every reason to be stuck.

use crate::{
    Insisting, Line, Pivotal, clean, completed, failure, permanent, snapshot, started, state,
    stuck, support::*, unclear,
};
use sagaz::{
    Engine, Handle, Outcome, Resolution, Saga, StepError, StuckReason,
    store::{InstanceState, memory::Memory},
};

async fn on_stuck<G: Saga>(engine: &Engine<Memory>, handle: &Handle<G, Memory>) -> StuckReason {
    let reason = stuck(handle).await.reason;
    assert_eq!(engine.in_flight(), 0);
    reason
}

/// The instance as an engine tells it now.
async fn now<G: sagaz::RunsOn<Memory>>(
    engine: &Engine<Memory>,
    old: &Handle<G, Memory>,
) -> Handle<G, Memory> {
    engine.handle::<G>(old.id()).await.unwrap()
}

async fn pivot_in_doubt() -> (Memory, World, Engine<Memory>, Handle<Pivotal, Memory>) {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    world.fail("p", [StepError::unknown("lost")]);
    let handle = engine.start::<Pivotal>(()).await.unwrap();
    assert_eq!(on_stuck(&engine, &handle).await, StuckReason::PivotInDoubt);
    (store, world, engine, handle)
}

#[tokio::test(start_paused = true)]
async fn p8_a_pivot_in_doubt_is_resolved_as_completed() {
    let (store, world, engine, handle) = pivot_in_doubt().await;
    let output = Resolution::completed(&42).unwrap();
    engine
        .operator("ann", "the bank says so")
        .resolve(handle.id(), "p", output)
        .await
        .unwrap();
    let outputs = completed(&now(&engine, &handle).await).await;
    assert_eq!((outputs.p, outputs.z), (42, 43));
    assert_eq!(world.entries("p").len(), 1);
    let interventions = snapshot(&store, handle.id()).await.interventions;
    assert_eq!(interventions.len(), 1);
    let intervention = &interventions[0];
    assert_eq!(
        (
            &*intervention.who,
            &*intervention.why,
            &*intervention.action
        ),
        ("ann", "the bank says so", "resolve(p, Completed)")
    );
    assert!(intervention.at_ms > 0);
}

#[tokio::test(start_paused = true)]
async fn p8_a_pivot_in_doubt_is_resolved_as_without_effect() {
    let (_, world, engine, handle) = pivot_in_doubt().await;
    engine
        .operator("ann", "why")
        .resolve(handle.id(), "p", Resolution::NoEffect)
        .await
        .unwrap();
    assert_eq!(
        failure(&now(&engine, &handle).await).await.step.as_deref(),
        Some("p")
    );
    assert_eq!(world.effects(), ["a", "undo a"]);
}

#[tokio::test(start_paused = true)]
async fn p8_a_pivot_in_doubt_is_retried_with_all_its_retries() {
    let (_, world, engine, handle) = pivot_in_doubt().await;
    world.fail("p", [clean(), clean()]);
    engine
        .operator("ann", "why")
        .retry(handle.id(), "p")
        .await
        .unwrap();
    completed(&now(&engine, &handle).await).await;
    assert_eq!(world.entries("p").len(), 4);
}

#[tokio::test(start_paused = true)]
async fn p6_a_pivot_in_doubt_stays_in_doubt_when_it_is_retried() {
    let (_, world, engine, handle) = pivot_in_doubt().await;
    world.fail("p", [clean(), clean(), clean()]);
    engine
        .operator("ann", "why")
        .retry(handle.id(), "p")
        .await
        .unwrap();
    assert_eq!(
        stuck(&now(&engine, &handle).await).await.reason,
        StuckReason::PivotInDoubt
    );
    assert!(world.entries("undo a").is_empty());
}

async fn step_gave_up() -> (Memory, World, Engine<Memory>, Handle<Pivotal, Memory>) {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    world.fail("z", [unclear(), unclear()]);
    world.fail("recover", [permanent()]);
    let handle = engine.start::<Pivotal>(()).await.unwrap();
    assert_eq!(on_stuck(&engine, &handle).await, StuckReason::StepGaveUp);
    (store, world, engine, handle)
}

#[tokio::test(start_paused = true)]
async fn p8_a_step_after_the_pivot_that_gave_up_is_retried_or_resolved() {
    let (_, world, engine, handle) = step_gave_up().await;
    engine
        .operator("ann", "why")
        .retry(handle.id(), "z")
        .await
        .unwrap();
    assert_eq!(completed(&now(&engine, &handle).await).await.z, 3);
    assert_eq!(world.entries("z").len(), 3);

    let (_, world, engine, handle) = step_gave_up().await;
    let output = Resolution::completed(&9).unwrap();
    engine
        .operator("ann", "why")
        .resolve(handle.id(), "z", output)
        .await
        .unwrap();
    assert_eq!(completed(&now(&engine, &handle).await).await.z, 9);
    assert_eq!(world.entries("z").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn p6_an_operator_cannot_undo_what_is_past_its_pivot() {
    let (store, _, engine, handle) = step_gave_up().await;
    let operator = engine.operator("ann", "why");
    for resolution in [Resolution::NoEffect, Resolution::Compensated] {
        assert!(
            operator
                .resolve(handle.id(), "z", resolution)
                .await
                .unwrap_err()
                .is_invalid()
        );
    }
    for step in ["a", "p"] {
        assert!(
            operator
                .retry(handle.id(), step)
                .await
                .unwrap_err()
                .is_invalid()
        );
        assert!(
            operator
                .resolve(handle.id(), step, Resolution::NoEffect)
                .await
                .unwrap_err()
                .is_invalid()
        );
    }
    assert_eq!(state(&store, handle.id()).await, InstanceState::Stuck);
    assert!(snapshot(&store, handle.id()).await.interventions.is_empty());
}

async fn compensation_gave_up() -> (Memory, World, Engine<Memory>, Handle<Line, Memory>) {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    world.fail("three", [permanent()]);
    world.fail("undo two", [permanent()]);
    let handle = engine.start::<Line>(1).await.unwrap();
    assert_eq!(
        on_stuck(&engine, &handle).await,
        StuckReason::CompensationGaveUp
    );
    assert!(world.entries("undo one").is_empty());
    (store, world, engine, handle)
}

#[tokio::test(start_paused = true)]
async fn p8_a_compensation_that_gave_up_is_retried_with_the_output_and_all_its_retries() {
    let (_, world, engine, handle) = compensation_gave_up().await;
    world.fail("undo two", [unclear(), unclear()]);
    engine
        .operator("ann", "why")
        .retry(handle.id(), "two")
        .await
        .unwrap();
    let failure = failure(&now(&engine, &handle).await).await;
    assert_eq!(
        failure.step.as_deref(),
        Some("three"),
        "the reason is still the first one"
    );
    let undos = world.entries("undo two");
    assert_eq!((undos.len(), undos[3].known), (4, Some(3)));
    assert_eq!(world.effects(), ["one", "two", "undo two", "undo one"]);
}

#[tokio::test(start_paused = true)]
async fn p8_a_compensation_that_gave_up_is_resolved() {
    for resolution in [Resolution::Compensated, Resolution::NoEffect] {
        let (_, world, engine, handle) = compensation_gave_up().await;
        engine
            .operator("ann", "why")
            .resolve(handle.id(), "two", resolution)
            .await
            .unwrap();
        failure(&now(&engine, &handle).await).await;
        assert_eq!(world.entries("undo two").len(), 1);
        assert_eq!(world.effects(), ["one", "two", "undo one"]);
    }
    let (_, world, engine, handle) = compensation_gave_up().await;
    let output = Resolution::completed(&77).unwrap();
    engine
        .operator("ann", "why")
        .resolve(handle.id(), "two", output)
        .await
        .unwrap();
    failure(&now(&engine, &handle).await).await;
    assert_eq!(world.entries("undo two")[1].known, Some(77));
}

async fn outcome_unknown() -> (World, Engine<Memory>, Handle<Insisting, Memory>) {
    let (store, world) = (Memory::new(), World::new());
    // In flight when the process dies, and after that its outcome cannot be settled.
    world.plan("sure", [Act::Hang, Act::Fail(unclear())]);
    world.plan("other", [Act::Sleep(SECOND), Act::Fail(permanent())]);
    let engine = started(&store, &world).await;
    let id = engine.start::<Insisting>(()).await.unwrap().id();
    crate::until("compensating", async || {
        state(&store, id).await == InstanceState::Compensating
    })
    .await;
    engine.abort();
    let heir = started(&store, &world).await;
    let handle = heir.handle::<Insisting>(id).await.unwrap();
    assert_eq!(on_stuck(&heir, &handle).await, StuckReason::OutcomeUnknown);
    assert!(world.entries("undo sure").is_empty());
    (world, heir, handle)
}

#[tokio::test(start_paused = true)]
async fn p8_an_outcome_that_nobody_knows_is_retried_or_resolved() {
    let (world, engine, handle) = outcome_unknown().await;
    engine
        .operator("ann", "why")
        .retry(handle.id(), "sure")
        .await
        .unwrap();
    failure(&now(&engine, &handle).await).await;
    assert_eq!(
        (
            world.entries("sure").len(),
            world.entries("undo sure")[0].known
        ),
        (3, Some(7))
    );

    let (world, engine, handle) = outcome_unknown().await;
    let output = Resolution::completed(&70).unwrap();
    engine
        .operator("ann", "why")
        .resolve(handle.id(), "sure", output)
        .await
        .unwrap();
    failure(&now(&engine, &handle).await).await;
    assert_eq!(
        (
            world.entries("sure").len(),
            world.entries("undo sure")[0].known
        ),
        (2, Some(70))
    );

    for resolution in [Resolution::NoEffect, Resolution::Compensated] {
        let (world, engine, handle) = outcome_unknown().await;
        engine
            .operator("ann", "why")
            .resolve(handle.id(), "sure", resolution)
            .await
            .unwrap();
        failure(&now(&engine, &handle).await).await;
        assert!(world.entries("undo sure").is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn operators_act_only_on_stuck_instances_and_on_steps_that_exist() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    let operator = engine.operator("ann", "why");
    assert!(
        operator
            .retry(sagaz::SagaId::new(), "two")
            .await
            .unwrap_err()
            .is_not_found()
    );
    world.plan("two", [Act::Sleep(SECOND * 30)]);
    let handle = engine.start::<Line>(1).await.unwrap();
    world.wait_began("two", 1).await;
    let error = operator.retry(handle.id(), "two").await.unwrap_err();
    assert!(
        error.is_invalid() && error.to_string().contains("executing"),
        "{error}"
    );
    assert!(
        operator
            .resolve(handle.id(), "two", Resolution::NoEffect)
            .await
            .unwrap_err()
            .is_invalid()
    );
    completed(&handle).await;
    assert!(
        operator
            .retry(handle.id(), "two")
            .await
            .unwrap_err()
            .is_invalid()
    );

    let (store, _, engine, handle) = compensation_gave_up().await;
    let operator = engine.operator("ann", "why");
    let error = operator.retry(handle.id(), "tow").await.unwrap_err();
    assert!(
        error.is_invalid() && error.to_string().contains("one, two, three"),
        "{error}"
    );
    let wrong = Resolution::completed(&"text").unwrap();
    assert!(
        operator
            .resolve(handle.id(), "two", wrong)
            .await
            .unwrap_err()
            .is_undecodable()
    );
    assert!(snapshot(&store, handle.id()).await.interventions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn p7_an_operator_raises_the_epoch_and_only_one_of_two_wins() {
    let (store, _, engine, handle) = compensation_gave_up().await;
    let before = snapshot(&store, handle.id()).await.summary.epoch;
    let (ann, bob) = (engine.operator("ann", "why"), engine.operator("bob", "why"));
    let (one, other) = tokio::join!(ann.retry(handle.id(), "two"), bob.retry(handle.id(), "two"));
    assert!(one.is_ok() != other.is_ok());
    let Outcome::RolledBack(_) = crate::outcome(&now(&engine, &handle).await).await else {
        panic!("not rolled back")
    };
    let after = snapshot(&store, handle.id()).await;
    assert!(after.summary.epoch > before && after.interventions.len() == 1);
}
