//! What a crash leaves behind, and what the next engine makes of it.

use crate::{
    Insisting, Line, Pivotal, clean, completed, failure, outcome, permanent, row, seconds,
    snapshot, started, state, support::*, unclear, until,
};
use sagaz::{
    Engine, FailureReason, SagaId, StuckReason,
    store::{
        CancelReply, InstanceState, StepState,
        fault::{Call, Fault},
        memory::Memory,
    },
};

/// Starts `line`, and lets the engine die while the first attempt of `step` runs.
async fn died_in(store: &Memory, world: &World, step: &str) -> SagaId {
    world.plan(step, [Act::Hang]);
    let engine = started(store, world).await;
    let id = engine.start::<Line>(1).await.unwrap().id();
    world.wait_began(step, 1).await;
    engine.abort();
    id
}

#[tokio::test(start_paused = true)]
async fn p1_p2_another_engine_finishes_and_stored_outputs_are_not_made_again() {
    let (store, world) = (Memory::new(), World::new());
    let id = died_in(&store, &world, "two").await;
    let heir = started(&store, &world).await;
    let outputs = completed(&heir.handle::<Line>(id).await.unwrap()).await;
    assert_eq!((outputs.one, outputs.two, outputs.three), (2, 3, 4));
    assert_eq!(world.began(), ["one", "two", "two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn p3_after_a_takeover_a_ready_step_runs_again_with_the_same_key() {
    let (store, world) = (Memory::new(), World::new());
    let id = died_in(&store, &world, "one").await;
    let heir = started(&store, &world).await;
    completed(&heir.handle::<Line>(id).await.unwrap()).await;
    let entries = world.entries("one");
    assert_eq!((entries.len(), &entries[0].key), (2, &entries[1].key));
    assert_eq!(entries[0].id, id);
}

#[tokio::test(start_paused = true)]
async fn p5_after_a_takeover_a_clean_failure_leaves_the_step_unknown() {
    let (store, world) = (Memory::new(), World::new());
    let id = died_in(&store, &world, "one").await;
    world.fail("one", [clean()]);
    let heir = started(&store, &world).await;
    let failure = failure(&heir.handle::<Line>(id).await.unwrap()).await;
    assert_eq!(
        (failure.step.as_deref(), failure.reason),
        (Some("one"), FailureReason::Unknown)
    );
    assert_eq!(world.entries("undo one")[0].known, None);
}

#[tokio::test(start_paused = true)]
async fn p4_after_a_takeover_while_compensating_no_action_starts_and_what_was_in_flight_is_undone_with_none()
 {
    let (store, world) = (Memory::new(), World::new());
    // `b` is in flight and `c` fails: the failure is stored, and then the process dies.
    world.plan("b", [Act::Hang]);
    world.plan("c", [seconds(1), Act::Fail(permanent())]);
    let build = || Engine::builder(store.clone()).register(Diamond(world.clone()));
    let engine = build().start().await.unwrap();
    let id = engine.start::<Diamond>(1).await.unwrap().id();
    until("compensating", async || {
        state(&store, id).await == InstanceState::Compensating
    })
    .await;
    assert_eq!(row(&store, id, "b").await.state, StepState::Running);
    engine.abort();
    let began = world.began().len();
    let heir = build().start().await.unwrap();
    let failure = failure(&heir.handle::<Diamond>(id).await.unwrap()).await;
    assert_eq!(
        (failure.step.as_deref(), &*failure.message),
        (Some("c"), "declined")
    );
    assert_eq!(world.began()[began..], ["undo b", "undo a"]);
    assert_eq!(
        (
            world.entries("undo b")[0].known,
            world.entries("undo a")[0].known
        ),
        (None, Some(2))
    );
    assert_eq!(
        world.entries("undo a")[0].failure.as_ref(),
        Some(&failure),
        "a compensation is told why"
    );
}

#[tokio::test(start_paused = true)]
async fn an_insisting_compensation_has_the_attempt_repeated_after_a_crash() {
    let (store, world) = (Memory::new(), World::new());
    world.plan("sure", [Act::Hang]);
    world.plan("other", [seconds(1), Act::Fail(permanent())]);
    let engine = started(&store, &world).await;
    let id = engine.start::<Insisting>(()).await.unwrap().id();
    until("compensating", async || {
        state(&store, id).await == InstanceState::Compensating
    })
    .await;
    engine.abort();
    let heir = started(&store, &world).await;
    failure(&heir.handle::<Insisting>(id).await.unwrap()).await;
    assert_eq!(world.began(), ["sure", "other", "sure", "undo sure"]);
    assert_eq!(world.entries("undo sure")[0].known, Some(7));
    let keys = world.entries("sure");
    assert_eq!(keys[0].key, keys[1].key);
}

#[tokio::test(start_paused = true)]
async fn p6_a_pivot_in_doubt_after_a_takeover_runs_again_before_a_cancel_is_honoured() {
    for (fails, expected) in [
        (false, InstanceState::Completed),
        (true, InstanceState::RolledBack),
    ] {
        let (store, world) = (Memory::new(), World::new());
        world.plan("p", [Act::Hang]);
        let engine = started(&store, &world).await;
        let id = engine.start::<Pivotal>(()).await.unwrap().id();
        world.wait_began("p", 1).await;
        engine.abort();
        let heir = started(&store, &world).await;
        assert_eq!(heir.cancel(id).await.unwrap(), CancelReply::Requested);
        if fails {
            world.fail("p", [permanent()]);
        }
        let handle = heir.handle::<Pivotal>(id).await.unwrap();
        let _ = outcome(&handle).await;
        assert_eq!(state(&store, id).await, expected);
        assert_eq!(world.entries("p").len(), 2);
        assert_eq!(world.entries("undo a").len(), usize::from(fails));
    }
}

#[tokio::test(start_paused = true)]
async fn p6_a_pivot_that_stays_in_doubt_after_a_takeover_is_stuck() {
    let (store, world) = (Memory::new(), World::new());
    world.plan("p", [Act::Hang]);
    let engine = started(&store, &world).await;
    let id = engine.start::<Pivotal>(()).await.unwrap().id();
    world.wait_began("p", 1).await;
    engine.abort();
    world.fail("p", [clean(), clean(), clean()]);
    let heir = started(&store, &world).await;
    let stuck = crate::stuck(&heir.handle::<Pivotal>(id).await.unwrap()).await;
    assert_eq!(
        (stuck.step.as_deref(), stuck.reason),
        (Some("p"), StuckReason::PivotInDoubt)
    );
    assert!(world.entries("undo a").is_empty());
}

#[tokio::test(start_paused = true)]
async fn p8_an_instance_whose_saga_is_not_registered_is_left_untouched() {
    let (store, world) = (Memory::new(), World::new());
    let id = died_in(&store, &world, "two").await;
    let before = snapshot(&store, id).await.summary;
    let stranger = Engine::builder(store.clone())
        .register(Diamond(world.clone()))
        .start()
        .await
        .unwrap();
    tokio::time::sleep(SECOND * 120).await;
    assert_eq!(snapshot(&store, id).await.summary, before);
    drop(stranger);
    let heir = started(&store, &world).await;
    completed(&heir.handle::<Line>(id).await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn p5_a_panic_in_a_step_is_its_own_instances_alone() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    world.plan("one", [Act::Panic]);
    let failure = failure(&engine.start::<Line>(1).await.unwrap()).await;
    assert_eq!(
        (failure.step.as_deref(), failure.reason),
        (Some("one"), FailureReason::Unknown)
    );
    assert!(failure.message.contains("one panics"), "{failure}");
    assert_eq!(world.entries("undo one")[0].known, None);
    completed(&engine.start::<Line>(1).await.unwrap()).await;
}

type Script = fn(&World);

/// A happy instance, one that is undone, and one that goes through its pivot with trouble.
fn scripts() -> [(&'static str, Script); 3] {
    fn fails(world: &World) {
        world.plan("two", [Act::Done]);
        world.fail("three", [unclear()]);
        world.fail("undo two", [unclear()]);
    }
    [
        ("happy", |_| {}),
        ("undone", fails),
        ("retried", |world| world.fail("two", [unclear(), clean()])),
    ]
}

/// A process that dies at its `nth` write, before or after the write was applied.
async fn dies_at(nth: u64, fault: Fault, name: &str, script: Script) -> bool {
    let (store, world) = (Memory::new(), World::new());
    script(&world);
    let engine = started(&store, &world).await;
    store.faults().plan(Call::Write, nth, fault);
    let start = tokio::spawn({
        let engine = engine.clone();
        async move { engine.start::<Line>(1).key("k").await }
    });
    let died = tokio::time::timeout(SECOND * 30, store.faults().wait_fired(1))
        .await
        .is_ok();
    engine.abort();
    start.abort();
    store.faults().clear();
    let heir = started(&store, &world).await;
    let handle = heir.start::<Line>(1).key("k").await.unwrap();
    let ended = outcome(&handle).await;
    let what = format!("{name}, write {nth}, {fault:?}: {:?}", world.began());
    let effects = world.effects();
    let done = |step: &str| effects.iter().filter(|effect| *effect == step).count();
    let steps = ["one", "two", "three"];
    if ended.is_completed() {
        assert!(
            steps.iter().all(|step| (1..=2).contains(&done(step))),
            "{what}"
        );
        assert!(
            !effects.iter().any(|effect| effect.starts_with("undo")),
            "{what}"
        );
    } else {
        assert!(ended.is_rolled_back(), "{what}");
        for step in steps {
            let (effect, undone) = (done(step), done(&format!("undo {step}")));
            assert!(
                effect == 0 || undone >= 1,
                "`{step}` had its effect and was not undone: {what}"
            );
            assert!(undone <= 2, "{what}");
        }
        let undos: Vec<_> = effects
            .iter()
            .filter(|effect| effect.starts_with("undo"))
            .collect();
        assert!(
            undos.is_sorted_by_key(|undo| steps.iter().rev().position(|step| undo.ends_with(step))),
            "{what}"
        );
    }
    died
}

#[tokio::test(start_paused = true)]
async fn p1_to_p5_hold_when_the_process_dies_at_any_write() {
    for (name, script) in scripts() {
        for fault in [Fault::DropBefore, Fault::DropAfter] {
            let mut nth = 1;
            while dies_at(nth, fault, name, script).await {
                nth += 1;
            }
            assert!(nth > 4, "{name}: only {nth} writes");
        }
    }
}
