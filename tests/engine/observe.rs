//! What an observer is told, and what it cannot break.

use crate::{Line, completed, engine, failure, outcome, permanent, support::*, unclear};
use sagaz::{
    Engine, Lifecycle, Observer, StepContext, StepError, compensate,
    observe::{End, Probe, Scope, TraceContext, Work},
    saga, step,
    store::memory::Memory,
};
use std::sync::{Arc, Mutex};

#[tokio::test(start_paused = true)]
async fn a_happy_instance_is_told_in_order() {
    let (world, recorder) = (World::new(), Arc::new(Recorder::default()));
    let engine = engine(&Memory::new(), &world)
        .observer(Arc::clone(&recorder) as _)
        .start()
        .await
        .unwrap();
    world.fail("two", [unclear()]);
    completed(&engine.start::<Line>(1).await.unwrap()).await;
    let expected = [
        "accepted",
        "one #1 started",
        "one #1 ended",
        "one #1 stored",
        "two #1 started",
        "two #1 failed",
        "two waits after #1",
        "two #2 started",
        "two #2 ended",
        "two #2 stored",
        "three #1 started",
        "three #1 ended",
        "three #1 stored",
        "completed",
    ];
    assert_eq!(recorder.events(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_failing_instance_is_told_in_order() {
    let (world, recorder) = (World::new(), Arc::new(Recorder::default()));
    let engine = engine(&Memory::new(), &world)
        .observer(Arc::clone(&recorder) as _)
        .start()
        .await
        .unwrap();
    world.fail("two", [permanent()]);
    world.fail("undo one", [unclear()]);
    failure(&engine.start::<Line>(1).await.unwrap()).await;
    let expected = [
        "accepted",
        "one #1 started",
        "one #1 ended",
        "one #1 stored",
        "two #1 started",
        "two #1 failed",
        "two failed",
        "compensating",
        "undo one #1 started",
        "undo one #1 failed",
        "undo one waits after #1",
        "undo one #2 started",
        "undo one #2 ended",
        "undo one #2 stored",
        "rolled_back",
    ];
    assert_eq!(recorder.events(), expected);
}

/// Panics at whatever it is asked, as often as it says.
#[derive(Clone)]
struct Panicking(Arc<Mutex<u32>>);

impl Panicking {
    fn panic(&self, at: &dyn std::fmt::Debug) {
        let mut left = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if *left > 0 {
            *left -= 1;
            panic!("the observer panics at {at:?}");
        }
    }
}

impl Observer for Panicking {
    fn observe(&self, event: &Lifecycle<'_>) {
        self.panic(event);
    }

    fn begin(&self, work: &Work<'_>) -> Option<Box<dyn Scope>> {
        self.panic(work);
        Some(Box::new(self.clone()))
    }

    fn trace(&self) -> Option<TraceContext> {
        self.panic(&"trace");
        None
    }

    fn watch(&self, probe: Probe) {
        self.panic(&probe);
    }
}

impl Scope for Panicking {
    fn enter(&self) {
        self.panic(&"enter");
    }

    fn exit(&self) {
        self.panic(&"exit");
    }

    fn trace(&self) -> Option<TraceContext> {
        self.panic(&"trace of a scope");
        None
    }

    fn end(self: Box<Self>, end: &End<'_>) {
        self.panic(end);
    }
}

#[tokio::test(start_paused = true)]
async fn p1_a_panicking_observer_strands_no_instance() {
    for times in [1, 2, 3, 5, 8, 13, 21, 34, u32::MAX] {
        let (store, world) = (Memory::new(), World::new());
        let observer = Arc::new(Panicking(Arc::default()));
        let engine = engine(&store, &world)
            .observer(Arc::clone(&observer) as _)
            .start()
            .await
            .unwrap();
        *observer.0.lock().unwrap() = times;
        world.fail("three", [unclear()]);
        let handle = engine.start::<Line>(1).await.unwrap();
        assert!(outcome(&handle).await.is_rolled_back(), "{times} panics");
        tokio::time::sleep(SECOND * 60).await;
        // The lease is still kept and the store still scanned.
        completed(&engine.start::<Line>(1).await.unwrap()).await;
    }
}

/// An output with a bug in how it is written and read.
#[derive(Clone, Copy)]
enum Fragile {
    Sound,
    PanicsWhenWritten,
    PanicsWhenRead,
}

impl serde::Serialize for Fragile {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Sound => serializer.serialize_u8(0),
            Self::PanicsWhenWritten => panic!("cannot be written"),
            Self::PanicsWhenRead => serializer.serialize_u8(2),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Fragile {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            0 => Ok(Self::Sound),
            2 => panic!("cannot be read"),
            _ => Ok(Self::PanicsWhenWritten),
        }
    }
}

struct Breaks(World, Fragile);

#[saga(name = "breaks")]
impl Breaks {
    #[step]
    async fn sound(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 1)
    }

    #[compensate("sound")]
    async fn undo_sound(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        self.0.attempt(ctx, None).await
    }

    #[step(depends_on = ["sound"])]
    async fn fragile(&self, ctx: &StepContext<'_>) -> Result<Fragile, StepError> {
        self.0.attempt(ctx, None).await.map(|()| self.1)
    }

    #[compensate("fragile")]
    async fn undo_fragile(
        &self,
        ctx: &StepContext<'_>,
        fragile: Option<&Fragile>,
    ) -> Result<(), StepError> {
        self.0.attempt(ctx, fragile.map(|_| 1)).await
    }

    #[step(depends_on = ["fragile"])]
    async fn end(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 1)
    }

    #[compensate("end")]
    async fn undo_end(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        self.0.attempt(ctx, None).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_output_that_panics_when_it_is_written_is_refused() {
    let (store, world) = (Memory::new(), World::new());
    let engine = Engine::builder(store)
        .register(Breaks(world.clone(), Fragile::PanicsWhenWritten))
        .start()
        .await
        .unwrap();
    let failure = failure(&engine.start::<Breaks>(()).await.unwrap()).await;
    assert_eq!(
        (failure.step.as_deref(), failure.reason),
        (Some("fragile"), sagaz::FailureReason::OutputRefused)
    );
    assert_eq!(
        world.began(),
        ["sound", "fragile", "undo fragile", "undo sound"]
    );
}

#[tokio::test(start_paused = true)]
async fn p8_an_output_that_panics_when_it_is_read_makes_its_instance_stuck_and_harms_no_other() {
    let (store, world) = (Memory::new(), World::new());
    let build = |fragile| {
        Engine::builder(store.clone())
            .register(Breaks(world.clone(), fragile))
            .register(Line(world.clone()))
    };
    let engine = build(Fragile::PanicsWhenRead).start().await.unwrap();
    world.plan("end", [Act::Hang]);
    let id = engine.start::<Breaks>(()).await.unwrap().id();
    world.wait_began("end", 1).await;
    engine.abort();
    let heir = build(Fragile::Sound).start().await.unwrap();
    let stuck = crate::stuck(&heir.handle::<Breaks>(id).await.unwrap()).await;
    assert_eq!(
        (stuck.step.as_deref(), stuck.reason),
        (Some("fragile"), sagaz::StuckReason::Undecodable)
    );
    completed(&heir.start::<Line>(1).await.unwrap()).await;
}
