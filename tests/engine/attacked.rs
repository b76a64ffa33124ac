//! Attacks on the promises that once succeeded.

use crate::{
    Line, Pivotal, engine, failure, permanent, seconds, snapshot, started, state, stuck,
    support::*, unclear, until,
};
use sagaz::{
    Engine, Payload, Resolution, StepContext, StepError, compensate, saga, step,
    store::{
        InstanceState, SagaStore, Wake, Write,
        fault::{Call, Fault},
        memory::Memory,
    },
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{sleep, timeout};

#[tokio::test(start_paused = true)]
async fn a_cancel_that_meets_a_release_on_its_way_does_not_sleep_with_the_instance() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    world.fail("two", [unclear().retry_after(SECOND * 7200)]);
    let fired = Arc::new(Mutex::new(false));
    store.faults().on_write({
        let fired = Arc::clone(&fired);
        move |batch| {
            let is_release = |write: &Write| matches!(write, Write::Progress(p) if matches!(p.release, Some(Wake::After(_))));
            let mut fired = fired.lock().unwrap();
            let first = batch.iter().any(is_release) && !std::mem::replace(&mut *fired, true);
            first.then_some(Fault::Delay(Duration::from_millis(200)))
        }
    });
    let handle = engine.start::<Line>(1).await.unwrap();
    until("the release is on its way", async || *fired.lock().unwrap()).await;
    handle.cancel().await.unwrap();
    failure(&handle).await;
    assert!(
        world.now() < SECOND * 60,
        "it was cancelled at {:?}",
        world.now()
    );
}

#[tokio::test(start_paused = true)]
async fn p12_a_delay_that_no_clock_can_express_is_a_long_sleep() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    world.fail("two", [StepError::pending(Duration::MAX)]);
    let handle = engine.start::<Line>(1).await.unwrap();
    until("it sleeps", async || engine.in_flight() == 0).await;
    assert_eq!(world.entries("two").len(), 1);
    assert_eq!(state(&store, handle.id()).await, InstanceState::Executing);
}

#[tokio::test(start_paused = true)]
async fn the_stored_wait_of_a_step_is_not_that_of_its_undo() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    world.fail("two", [unclear().retry_after(SECOND * 7200)]);
    world.fail("undo two", [unclear()]);
    let handle = engine.start::<Line>(1).await.unwrap();
    world.wait_began("two", 1).await;
    until("it sleeps", async || {
        snapshot(&store, handle.id()).await.summary.owner.is_none()
    })
    .await;
    handle.cancel().await.unwrap();
    failure(&handle).await;
    assert_eq!(world.entries("undo two").len(), 2);
    assert!(world.now() < SECOND * 60, "undone at {:?}", world.now());
}

#[tokio::test(start_paused = true)]
async fn p12_starts_that_nobody_waits_for_any_more_are_bounded() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    store.faults().set_down(true);
    for _ in 0..3_000 {
        let _ = timeout(Duration::from_millis(1), engine.start::<Line>(1)).await;
    }
    store.faults().set_down(false);
    until("the engine has caught up", async || {
        let counts = store.count().await.unwrap();
        !counts.is_empty() && counts.iter().all(|(_, state, _)| state.is_final())
    })
    .await;
    let stored: u64 = store
        .count()
        .await
        .unwrap()
        .iter()
        .map(|(_, _, count)| count)
        .sum();
    assert!(stored <= 1_000, "{stored} were queued");
}

struct Wide(World);

#[saga(name = "wide", on_failure = "wait_all")]
impl Wide {
    #[step(no_compensation)]
    async fn f(&self, ctx: &StepContext) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 1)
    }
    #[step]
    async fn b(&self, ctx: &StepContext) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 1)
    }
    #[compensate("b")]
    async fn undo_b(&self, ctx: &StepContext, b: Option<&u64>) -> Result<(), StepError> {
        self.0.attempt(ctx, b.copied()).await
    }
    #[step(depends_on = ["b"])]
    async fn c(&self, ctx: &StepContext) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 1)
    }
    #[compensate("c")]
    async fn undo_c(&self, ctx: &StepContext, c: Option<&u64>) -> Result<(), StepError> {
        self.0.attempt(ctx, c.copied()).await
    }
    #[step(depends_on = ["b"])]
    async fn d(&self, ctx: &StepContext) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 1)
    }
    #[compensate("d", after = ["c"])]
    async fn undo_d(&self, ctx: &StepContext, d: Option<&u64>) -> Result<(), StepError> {
        self.0.attempt(ctx, d.copied()).await
    }
}

#[tokio::test(start_paused = true)]
async fn p4_what_a_takeover_found_in_doubt_is_still_undone_after_an_operators_call() {
    let (store, world) = (Memory::new(), World::new());
    let build = async || {
        let builder = Engine::builder(store.clone()).lease(crate::LEASE);
        builder.register(Wide(world.clone())).start().await.unwrap()
    };
    let first = build().await;
    world.fail("f", [permanent()]);
    world.plan("b", [seconds(5), Act::Done]);
    world.plan("c", [Act::Hang]);
    world.plan("d", [Act::Hang]);
    world.fail("undo c", [permanent()]);
    let id = first.start::<Wide>(()).await.unwrap().id();
    world.wait_began("c", 1).await;
    world.wait_began("d", 1).await;
    first.abort();
    let second = build().await;
    stuck(&second.handle::<Wide>(id).await.unwrap()).await;
    let operator = second.operator("ann", "it is undone");
    operator
        .resolve(id, "c", Resolution::Compensated)
        .await
        .unwrap();
    failure(&second.handle::<Wide>(id).await.unwrap()).await;
    let began = world.began();
    let place = |what: &str| began.iter().position(|began| began == what);
    assert!(place("undo d") < place("undo b"), "{began:?}");
    assert!(place("undo d").is_some(), "{began:?}");
}

struct Forever(World);

#[saga(name = "forever")]
impl Forever {
    #[step(no_compensation, retry(forever, max = "5s"))]
    async fn w(&self, ctx: &StepContext) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 1)
    }
    #[step(no_compensation, depends_on = ["w"])]
    async fn x(&self, ctx: &StepContext) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 1)
    }
}

#[tokio::test(start_paused = true)]
async fn p1_a_suspect_that_waits_in_memory_keeps_no_other_from_running() {
    let (store, world) = (Memory::new(), World::new());
    world.fail("w", (0..20_000).map(|_| unclear()));
    world.plan("one", [Act::Hang, Act::Hang]);
    let build = async || {
        engine(&store, &world)
            .register(Forever(world.clone()))
            .start()
            .await
            .unwrap()
    };
    let mut running = build().await;
    running.start::<Forever>(()).await.unwrap();
    world.wait_began("w", 1).await;
    let line = running.start::<Line>(1).await.unwrap().id();
    for death in 1..=2 {
        world.wait_began("one", death).await;
        running.abort();
        running = build().await;
    }
    until("the other suspect ends", async || {
        state(&store, line).await.is_final()
    })
    .await;
}

struct Held(World);

#[saga(name = "held")]
impl Held {
    #[step(no_compensation)]
    async fn a(&self, ctx: &StepContext) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 1)
    }
    #[step(depends_on = ["a"], pivot, limit = 1, retry(attempts = 2))]
    async fn p(&self, ctx: &StepContext) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 1)
    }
}

#[tokio::test(start_paused = true)]
async fn p6_a_pivot_that_is_held_back_has_not_begun_and_does_not_outlive_a_cancel() {
    let (store, world) = (Memory::new(), World::new());
    let builder = Engine::builder(store.clone()).register(Held(world.clone()));
    let engine = builder.start().await.unwrap();
    world.plan("p", [seconds(600)]);
    let _first = engine.start::<Held>(()).await.unwrap();
    world.wait_began("p", 1).await;
    let second = engine.start::<Held>(()).await.unwrap();
    world.wait_began("a", 2).await;
    sleep(SECOND).await;
    second.cancel().await.unwrap();
    failure(&second).await;
    assert_eq!(world.entries("p").len(), 1);
    assert!(world.now() < SECOND * 60);
}

#[tokio::test(start_paused = true)]
async fn p8_an_operators_output_that_the_saga_cannot_read_is_refused() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    world.fail("p", [StepError::unknown("lost")]);
    let handle = engine.start::<Pivotal>(()).await.unwrap();
    stuck(&handle).await;
    let operator = engine.operator("ann", "the courier says so");
    let foreign = Payload {
        content_type: "text/plain".into(),
        bytes: b"42".to_vec(),
    };
    let refused = operator
        .resolve(handle.id(), "p", Resolution::Completed(foreign))
        .await
        .unwrap_err();
    assert!(refused.is_undecodable(), "{refused:?}");
    assert_eq!(state(&store, handle.id()).await, InstanceState::Stuck);
    let readable = Resolution::completed(&42).unwrap();
    operator.resolve(handle.id(), "p", readable).await.unwrap();
    until("it goes on", async || {
        state(&store, handle.id()).await == InstanceState::Completed
    })
    .await;
}

mod first_version {
    use super::*;
    pub(super) struct Shop(pub(super) World);
    #[saga(name = "shop")]
    impl Shop {
        #[step]
        async fn a(&self, ctx: &StepContext) -> Result<u64, StepError> {
            self.0.attempt(ctx, None).await.map(|()| 1)
        }
        #[compensate("a")]
        async fn undo_a(&self, ctx: &StepContext) -> Result<(), StepError> {
            self.0.attempt(ctx, None).await
        }
        #[step(depends_on = ["a"])]
        async fn c(&self, ctx: &StepContext) -> Result<u64, StepError> {
            self.0.attempt(ctx, None).await.map(|()| 1)
        }
        #[compensate("c")]
        async fn undo_c(&self, ctx: &StepContext) -> Result<(), StepError> {
            self.0.attempt(ctx, None).await
        }
    }
}

mod second_version {
    use super::*;
    pub(super) struct Shop(pub(super) World);
    #[saga(name = "shop", version = 2, accepts = [1])]
    impl Shop {
        #[step]
        async fn a(&self, ctx: &StepContext) -> Result<u64, StepError> {
            self.0.attempt(ctx, None).await.map(|()| 1)
        }
        #[compensate("a")]
        async fn undo_a(&self, ctx: &StepContext) -> Result<(), StepError> {
            self.0.attempt(ctx, None).await
        }
        #[step(depends_on = ["a"])]
        async fn b(&self, ctx: &StepContext) -> Result<u64, StepError> {
            self.0.attempt(ctx, None).await.map(|()| 1)
        }
        #[compensate("b")]
        async fn undo_b(&self, ctx: &StepContext) -> Result<(), StepError> {
            self.0.attempt(ctx, None).await
        }
        #[step(depends_on = ["b"])]
        async fn c(&self, ctx: &StepContext) -> Result<u64, StepError> {
            self.0.attempt(ctx, None).await.map(|()| 1)
        }
        #[compensate("c")]
        async fn undo_c(&self, ctx: &StepContext) -> Result<(), StepError> {
            self.0.attempt(ctx, None).await
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p4_what_an_older_version_may_have_begun_is_undone_by_the_next() {
    let (store, world) = (Memory::new(), World::new());
    let old = Engine::builder(store.clone()).register(first_version::Shop(world.clone()));
    let old = old.start().await.unwrap();
    world.plan("c", [Act::Hang]);
    let id = old.start::<first_version::Shop>(()).await.unwrap().id();
    world.wait_began("c", 1).await;
    old.abort();
    world.fail("b", [permanent()]);
    let new = Engine::builder(store.clone()).register(second_version::Shop(world.clone()));
    let new = new.start().await.unwrap();
    failure(&new.handle::<second_version::Shop>(id).await.unwrap()).await;
    assert_eq!(world.began(), ["a", "c", "b", "undo c", "undo a"]);
}

#[tokio::test(start_paused = true)]
async fn an_instance_whose_write_was_once_refused_is_still_given_up_at_a_shutdown() {
    let (store, world) = (Memory::new(), World::new());
    let builder = Engine::builder(store.clone()).register(Wide(world.clone()));
    let engine = builder.start().await.unwrap();
    world.plan("c", [Act::Hang]);
    world.plan("d", [Act::Hang]);
    // After the acceptance: the outputs of `f` and `b`, which end together.
    store.faults().plan(Call::Write, 2, Fault::Refuse);
    let id = engine.start::<Wide>(()).await.unwrap().id();
    world.wait_began("d", 1).await;
    assert_eq!(
        store.faults().count(Call::Write),
        4,
        "accepted, refused, and stored in two parts"
    );
    engine.shutdown().await;
    assert_eq!(snapshot(&store, id).await.summary.owner, None);
}
