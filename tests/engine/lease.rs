//! One owner at a time.

use crate::{Line, completed, engine, seconds, snapshot, started, state, support::*, until};
use sagaz::{
    Engine, EngineId, StepError,
    store::{
        InstanceState, SagaStore, Write,
        fault::{Call, Fault},
        memory::Memory,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

#[tokio::test(start_paused = true)]
async fn p7_a_former_owners_late_write_changes_nothing_and_tells_it_so() {
    let (store, world, recorder) = (Memory::new(), World::new(), Arc::new(Recorder::default()));
    let paused = engine(&store, &world)
        .observer(Arc::clone(&recorder) as _)
        .start()
        .await
        .unwrap();
    let paused_id = paused.id();
    store
        .faults()
        .on_renew(move |id: &EngineId| (*id == paused_id).then_some(Fault::FailBefore));
    world.plan("one", [seconds(90)]);
    let handle = paused.start::<Line>(1).await.unwrap();
    let id = handle.id();
    world.wait_began("one", 1).await;
    let heir = started(&store, &world).await;
    completed(&heir.handle::<Line>(id).await.unwrap()).await;
    assert!(world.now() < SECOND * 60);
    let before = snapshot(&store, id).await;
    until("the former owner knows", async || recorder.has("lost")).await;
    let after = snapshot(&store, id).await;
    assert_eq!((before.summary, before.steps), (after.summary, after.steps));
    assert_eq!(paused.in_flight(), 0);
    assert_eq!(world.entries("two").len(), 1);
    completed(&handle).await;
}

#[tokio::test(start_paused = true)]
async fn p7_engines_that_race_run_each_step_once_when_nobody_dies() {
    let (store, world) = (Memory::new(), World::new());
    let mut engines = Vec::new();
    for _ in 0..2 {
        engines.push(
            engine(&store, &world)
                .in_flight_max(7)
                .start()
                .await
                .unwrap(),
        );
    }
    let mut handles = Vec::new();
    for input in 0..100 {
        handles.push(
            engines[input % 2]
                .start::<Line>(input as u64)
                .await
                .unwrap(),
        );
    }
    for handle in &handles {
        completed(handle).await;
    }
    let mut runs = BTreeMap::new();
    for step in ["one", "two", "three"] {
        for entry in world.entries(step) {
            *runs.entry((step, entry.id)).or_insert(0) += 1;
        }
    }
    assert_eq!(runs.len(), 300);
    assert!(runs.values().all(|times| *times == 1));
    for handle in &handles {
        assert_eq!(snapshot(&store, handle.id()).await.summary.takeovers, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn p7_an_engine_that_takes_back_what_it_had_lost_drives_it_once() {
    let (store, world) = (Memory::new(), World::new());
    let first = started(&store, &world).await;
    let (first_id, blocked) = (first.id(), Arc::new(Mutex::new(true)));
    store.faults().on_renew({
        let blocked = Arc::clone(&blocked);
        move |id: &EngineId| {
            (*id == first_id && *blocked.lock().unwrap()).then_some(Fault::FailBefore)
        }
    });
    // Runs on in the first engine, while the second takes over and dies, and the first takes it back.
    world.plan("one", [seconds(300), Act::Hang, seconds(400)]);
    let id = first.start::<Line>(1).await.unwrap().id();
    world.wait_began("one", 1).await;
    let second = started(&store, &world).await;
    world.wait_began("one", 2).await;
    second.abort();
    *blocked.lock().unwrap() = false;
    world.wait_began("one", 3).await;
    assert_eq!(first.in_flight(), 1);
    // Long enough for the first attempt to end and to learn that it is nobody's, but not for the third.
    tokio::time::sleep((SECOND * 310).saturating_sub(world.now())).await;
    assert_eq!(
        (first.in_flight(), world.entries("two").len()),
        (1, 0),
        "the flight of the third attempt goes on"
    );
    until("completed", async || {
        state(&store, id).await == InstanceState::Completed
    })
    .await;
    assert_eq!(first.in_flight(), 0);
    assert_eq!(
        (world.entries("two").len(), world.entries("three").len()),
        (1, 1)
    );
}

/// The writes that an engine made before it lost its instances still wait for the store when it has them again.
#[tokio::test(start_paused = true)]
async fn p7_writes_of_a_former_and_of_the_present_owner_are_never_in_one_batch() {
    let (store, world) = (Memory::new(), World::new());
    let first = started(&store, &world).await;
    let (first_id, stalled) = (first.id(), Arc::new(Mutex::new(true)));
    let blocked = Arc::new(Mutex::new(true));
    store.faults().on_renew({
        let blocked = Arc::clone(&blocked);
        move |id: &EngineId| {
            (*id == first_id && *blocked.lock().unwrap()).then_some(Fault::FailBefore)
        }
    });
    let doubled = Arc::new(Mutex::new(false));
    store.faults().on_write({
        let (stalled, doubled) = (Arc::clone(&stalled), Arc::clone(&doubled));
        move |batch: &[Write]| {
            let mut known = BTreeSet::new();
            *doubled.lock().unwrap() |= !batch.iter().all(|write| known.insert(write.id()));
            let is_firsts =
                |write: &Write| matches!(write, Write::Progress(it) if it.token.owner == first_id);
            (*stalled.lock().unwrap() && batch.iter().any(is_firsts)).then_some(Fault::FailBefore)
        }
    });
    // The first write keeps the writer busy, and the second one waits behind it.
    world.plan(
        "one",
        [
            seconds(1),
            seconds(2),
            Act::Done,
            Act::Done,
            Act::Hang,
            Act::Hang,
        ],
    );
    let mut ids = Vec::new();
    for input in 0..2 {
        ids.push(first.start::<Line>(input).await.unwrap().id());
        world.wait_began("one", ids.len()).await;
    }
    let second = started(&store, &world).await;
    world.wait_began("one", 4).await;
    second.shutdown().await;
    *blocked.lock().unwrap() = false;
    world.wait_began("one", 6).await;
    tokio::time::sleep(SECOND).await;
    *stalled.lock().unwrap() = false;
    for id in ids {
        completed(&first.handle::<Line>(id).await.unwrap()).await;
    }
    assert!(!*doubled.lock().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p1_p2_hold_when_instances_are_given_up_and_taken_again_at_once_on_many_threads() {
    let (store, world) = (Memory::new(), World::new());
    let build = || {
        engine(&store, &world)
            .in_flight_max(50)
            .wake_up_after(Duration::ZERO)
            .poll_interval(Duration::from_millis(2))
            .start()
    };
    let engines = [build().await.unwrap(), build().await.unwrap()];
    // Every wait is stored, however short, so that the scanners of both engines race with those who give up.
    world.fail(
        "two",
        (0..400).map(|_| StepError::pending(Duration::from_micros(500))),
    );
    let mut ids = Vec::new();
    for input in 0..200_u64 {
        ids.push(
            engines[usize::from(input % 2 == 0)]
                .start::<Line>(input)
                .await
                .unwrap()
                .id(),
        );
    }
    for id in ids {
        completed(&engines[0].handle::<Line>(id).await.unwrap()).await;
        assert_eq!(world.effects_of(id), ["one", "two", "three"]);
    }
    until("everything has left", async || {
        engines.iter().all(|engine| engine.in_flight() == 0)
    })
    .await;
}

/// The store's clock went on while this machine slept, and the reply that tells of it is lost: the next one knows of no lapse.
#[tokio::test(start_paused = true)]
async fn p2_a_lapse_of_which_the_engine_was_not_told_in_time_is_known_all_the_same() {
    let (store, world) = (Memory::new(), World::new());
    let lapsed = engine(&store, &world)
        .wake_up_after(Duration::from_hours(1))
        .start()
        .await
        .unwrap();
    let lapsed_id = lapsed.id();
    world.fail("two", [StepError::pending(SECOND * 60)]);
    let id = lapsed.start::<Line>(1).await.unwrap().id();
    world.wait_began("two", 1).await;
    store.retire(lapsed_id).await.unwrap();
    let heir = started(&store, &world).await;
    completed(&heir.handle::<Line>(id).await.unwrap()).await;
    assert!(world.now() < SECOND * 4, "before the next renewal");
    let mut lost = false;
    store.faults().on_renew(move |id: &EngineId| {
        (*id == lapsed_id && !std::mem::replace(&mut lost, true)).then_some(Fault::FailAfter)
    });
    tokio::time::sleep(SECOND * 90).await;
    assert_eq!(store.faults().fired(), 1);
    assert_eq!(
        world.entries("two").len(),
        2,
        "once by the former owner and once by the heir"
    );
    assert_eq!(lapsed.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn after_a_lapse_the_store_is_asked_once_whose_an_instance_is() {
    let (store, world) = (Memory::new(), World::new());
    let engine = Engine::builder(store.clone())
        .lease(crate::LEASE)
        .wake_up_after(Duration::from_hours(1))
        .register(Diamond(world.clone()))
        .start()
        .await
        .unwrap();
    let blocked = Arc::new(Mutex::new(true));
    store.faults().on_renew({
        let blocked = Arc::clone(&blocked);
        move |_: &EngineId| blocked.lock().unwrap().then_some(Fault::FailBefore)
    });
    // Both wait in memory, past the end of the lease; the second is due while the question of the first is under way.
    for (step, wait) in [("b", 120), ("c", 130)] {
        let pending = StepError::pending(SECOND * wait);
        world.plan(step, [Act::Fail(pending), seconds(20)]);
    }
    let handle = engine.start::<Diamond>(1).await.unwrap();
    world.wait_began("c", 1).await;
    tokio::time::sleep(SECOND * 60).await;
    *blocked.lock().unwrap() = false;
    store
        .faults()
        .plan(Call::Write, 1, Fault::Delay(SECOND * 30));
    completed(&handle).await;
    assert_eq!(world.entries("b")[1].at, world.entries("c")[1].at);
    // The instance, `a`, the question, `b` and `c` together, `d`.
    assert_eq!(store.faults().count(Call::Write), 5);
}

#[tokio::test(start_paused = true)]
async fn p2_an_engine_whose_lease_lapsed_begins_nothing_before_the_store_says_that_the_instance_is_still_its_own()
 {
    let (store, world, recorder) = (Memory::new(), World::new(), Arc::new(Recorder::default()));
    let lapsed = engine(&store, &world)
        .wake_up_after(Duration::from_hours(1))
        .observer(Arc::clone(&recorder) as _)
        .start()
        .await
        .unwrap();
    let (lapsed_id, blocked) = (lapsed.id(), Arc::new(Mutex::new(true)));
    store.faults().on_renew({
        let blocked = Arc::clone(&blocked);
        move |id: &EngineId| {
            (*id == lapsed_id && *blocked.lock().unwrap()).then_some(Fault::FailBefore)
        }
    });
    // Waits in memory for its next attempt, past the end of the lease.
    world.fail("two", [StepError::pending(SECOND * 120)]);
    let id = lapsed.start::<Line>(1).await.unwrap().id();
    world.wait_began("two", 1).await;
    let heir = started(&store, &world).await;
    completed(&heir.handle::<Line>(id).await.unwrap()).await;
    assert!(
        world.now() < SECOND * 100,
        "the heir was done before the wait was over"
    );
    // The lease is good again, long before the wait is over.
    *blocked.lock().unwrap() = false;
    until("the former owner knows", async || recorder.has("lost")).await;
    assert!(
        world.now() >= SECOND * 120,
        "it was told when it asked, at the end of the wait"
    );
    assert_eq!(
        world.entries("two").len(),
        2,
        "once by the former owner and once by the heir"
    );
    assert_eq!(lapsed.in_flight(), 0);
}
