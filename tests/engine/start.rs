//! Accepting instances, start keys, and handles.

use crate::{
    Line, Pivotal, completed, engine, failure, permanent, started, state, support::*, within,
};
use sagaz::{
    Engine, Lifecycle, Observer, Outcome, SagaId, StepContext, StepError, saga, step,
    store::{
        CancelReply, Filter, InstanceState, SagaStore,
        fault::{Call, Fault},
        memory::Memory,
    },
};
use std::{
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Waker},
};

async fn count(store: &Memory) -> usize {
    store.list(&Filter::all()).await.unwrap().instances.len()
}

#[tokio::test(start_paused = true)]
async fn p1_start_returns_once_the_instance_is_stored() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    store
        .faults()
        .plan(Call::Write, 1, Fault::Delay(SECOND * 7));
    let handle = engine.start::<Line>(1).await.unwrap();
    assert_eq!(world.now().as_secs(), 7);
    assert!(store.load(handle.id()).await.unwrap().is_some());
    let outputs = completed(&handle).await;
    assert_eq!((outputs.one, outputs.two, outputs.three), (2, 3, 4));
    assert_eq!(world.effects(), ["one", "two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn p1_an_accept_whose_reply_is_lost_makes_one_instance() {
    for fault in [Fault::FailAfter, Fault::FailBefore] {
        let (store, world) = (Memory::new(), World::new());
        let engine = started(&store, &world).await;
        store.faults().plan(Call::Write, 1, fault);
        let handle = engine.start::<Line>(1).await.unwrap();
        completed(&handle).await;
        assert_eq!(count(&store).await, 1);
        assert_eq!(world.effects(), ["one", "two", "three"]);
    }
}

#[tokio::test(start_paused = true)]
async fn p1_a_start_that_nobody_waits_for_any_more_is_driven() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    {
        let mut start = pin!(engine.start::<Line>(1).into_future());
        assert!(
            start
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
    }
    world.wait_began("three", 1).await;
    assert_eq!(world.effects().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn p10_the_same_key_and_input_give_the_same_instance() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    let first = engine.start::<Line>(1).key("k").await.unwrap();
    let again = engine.start::<Line>(1).key("k").await.unwrap();
    assert_eq!(first.id(), again.id());
    assert_eq!(completed(&again).await.three, 4);
    let late = engine.start::<Line>(1).key("k").await.unwrap();
    assert_eq!((late.id(), completed(&late).await.three), (first.id(), 4));
    assert_eq!((count(&store).await, world.effects().len()), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn p10_the_same_key_with_another_input_is_an_error_and_nothing_is_stored() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    let first = engine.start::<Line>(1).key("k").await.unwrap();
    let error = engine.start::<Line>(2).key("k").await.unwrap_err();
    assert!(
        error.is_conflict() && error.to_string().contains(&first.id().to_string()),
        "{error}"
    );
    assert_eq!(count(&store).await, 1);
    engine
        .start::<Pivotal>(())
        .key("k")
        .await
        .expect("a key is one of its saga");
}

#[tokio::test(start_paused = true)]
async fn p10_concurrent_starts_with_one_key_make_one_instance() {
    let (store, world) = (Memory::new(), World::new());
    let engines = [started(&store, &world).await, started(&store, &world).await];
    let starts = (0..20).map(|at| {
        let engine = engines[at % 2].clone();
        tokio::spawn(async move { engine.start::<Line>(1).key("k").await.unwrap().id() })
    });
    let mut ids = Vec::new();
    for start in starts.collect::<Vec<_>>() {
        ids.push(start.await.unwrap());
    }
    ids.dedup();
    assert_eq!((ids.len(), count(&store).await), (1, 1));
    completed(&engines[0].handle::<Line>(ids[0]).await.unwrap()).await;
    assert_eq!(world.effects(), ["one", "two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn a_start_key_has_a_sensible_length() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    for key in [String::new(), "k".repeat(513), "a\0b".to_owned()] {
        assert!(
            engine
                .start::<Line>(1)
                .key(key)
                .await
                .unwrap_err()
                .is_invalid()
        );
    }
    assert_eq!(count(&store).await, 0);
}

#[tokio::test(start_paused = true)]
async fn p12_an_input_over_the_limit_is_an_error_and_nothing_is_stored() {
    let (store, world) = (Memory::new(), World::new());
    let engine = engine(&store, &world).payload_max(3).start().await.unwrap();
    let error = engine.start::<Line>(12_345).await.unwrap_err();
    assert!(
        error.is_invalid() && error.to_string().contains("5 bytes"),
        "{error}"
    );
    assert_eq!(
        (count(&store).await, store.faults().count(Call::Write)),
        (0, 0)
    );
    engine.start::<Line>(123).await.unwrap();
}

struct Unwritable;

impl serde::Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no words for it"))
    }
}

impl<'de> serde::Deserialize<'de> for Unwritable {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Self)
    }
}

struct TakesUnwritable;

#[saga(input = Unwritable)]
impl TakesUnwritable {
    #[step(atomic)]
    async fn only(&self) -> Result<(), StepError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn an_input_that_cannot_be_serialized_is_a_clear_error() {
    let store = Memory::new();
    let engine = Engine::builder(store.clone())
        .register(TakesUnwritable)
        .start()
        .await
        .unwrap();
    for key in [None, Some("k")] {
        let start = engine.start::<TakesUnwritable>(Unwritable);
        let error = if let Some(key) = key {
            start.key(key).await
        } else {
            start.await
        }
        .unwrap_err();
        let text = format!("{error:?}");
        assert!(
            text.contains("TakesUnwritable") || text.contains("takes-unwritable"),
            "{text}"
        );
        assert!(
            text.contains("Unwritable") && text.contains("no words for it"),
            "{text}"
        );
    }
    assert_eq!(count(&store).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_is_not_registered_cannot_be_started() {
    let engine = Engine::builder(Memory::new()).start().await.unwrap();
    let error = engine.start::<Line>(1).await.unwrap_err();
    assert!(
        error.is_invalid() && error.to_string().contains("`line`"),
        "{error}"
    );
}

struct Namesake;

#[saga(name = "line")]
impl Namesake {
    #[step(atomic)]
    async fn only(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        let _ = ctx;
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn two_sagas_of_one_name_are_refused() {
    let world = World::new();
    let error = engine(&Memory::new(), &world)
        .register(Namesake)
        .start()
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        error.is_conflict() && text.contains("Namesake") && text.contains("Line"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_happy_instance_of_three_steps_takes_four_writes() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    completed(&engine.start::<Line>(1).await.unwrap()).await;
    let faults = store.faults();
    assert_eq!((faults.write_rows(), faults.count(Call::Write)), (4, 4));
    assert_eq!((faults.count(Call::Load), engine.in_flight()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_outcome_is_told_by_every_handle_and_by_every_engine() {
    let (store, world) = (Memory::new(), World::new());
    let (one, other) = (started(&store, &world).await, started(&store, &world).await);
    world.plan("two", [Act::Sleep(SECOND * 30)]);
    world.fail("three", [permanent()]);
    let handle = one.start::<Line>(1).key("k").await.unwrap();
    let found = one.find::<Line>("k").await.unwrap().expect("it is there");
    let elsewhere = other.find::<Line>("k").await.unwrap().expect("it is there");
    let by_id = other.handle::<Line>(handle.id()).await.unwrap();
    let (a, b, c, d) = within(async {
        tokio::join!(
            failure(&handle),
            failure(&found),
            failure(&elsewhere),
            failure(&by_id)
        )
    })
    .await;
    assert!(a == b && b == c && c == d);
    assert_eq!(failure(&handle).await, a, "and again");
    assert!(matches!(
        handle.completed().await.unwrap(),
        Err(sagaz::NotCompleted::RolledBack(_))
    ));
    assert!(one.find::<Line>("other").await.unwrap().is_none());
    assert!(
        one.handle::<Line>(SagaId::new())
            .await
            .unwrap_err()
            .is_not_found()
    );
    assert!(
        one.handle::<Pivotal>(handle.id())
            .await
            .unwrap_err()
            .is_invalid()
    );
}

#[tokio::test(start_paused = true)]
async fn the_outputs_of_a_completed_instance_are_read_from_the_store() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    let id = engine.start::<Line>(5).await.unwrap().id();
    until_completed(&store, id).await;
    let handle = started(&store, &world)
        .await
        .handle::<Line>(id)
        .await
        .unwrap();
    let Outcome::Completed(outputs) = handle.outcome().await.unwrap() else {
        panic!("not completed")
    };
    assert_eq!((outputs.one, outputs.three), (6, 8));
    assert_eq!(
        engine.cancel(id).await.unwrap(),
        CancelReply::NotLive(InstanceState::Completed)
    );
}

async fn until_completed(store: &Memory, id: SagaId) {
    crate::until("completed", async || {
        state(store, id).await == InstanceState::Completed
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_start_that_the_store_does_not_answer_is_a_transient_error_and_may_be_repeated() {
    let (store, world) = (Memory::new(), World::new());
    let engine = engine(&store, &world)
        .start_timeout(SECOND * 5)
        .start()
        .await
        .unwrap();
    store.faults().set_down(true);
    let error = engine.start::<Line>(1).key("k").await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    store.faults().set_down(false);
    let handle = engine.start::<Line>(1).key("k").await.unwrap();
    completed(&handle).await;
    assert_eq!((count(&store).await, world.effects().len()), (1, 3));
}

#[derive(Default)]
struct Engines(Mutex<Vec<sagaz::EngineId>>);

impl Observer for Engines {
    fn observe(&self, event: &Lifecycle<'_>) {
        if let Lifecycle::LeaseRenewed { engine, .. } = event {
            self.0.lock().unwrap().push(*engine);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_has_its_own_id_and_renews_under_it() {
    let (store, engines) = (Memory::new(), Arc::new(Engines::default()));
    let engine = Engine::builder(store)
        .observer(Arc::clone(&engines) as _)
        .start()
        .await
        .unwrap();
    tokio::time::sleep(SECOND * 60).await;
    let seen = engines.0.lock().unwrap().clone();
    assert!(seen.len() > 3 && seen.iter().all(|id| *id == engine.id()));
}
