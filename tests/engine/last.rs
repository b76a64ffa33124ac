//! The sole last step, which needs no compensation because each of its attempts tells what became of it.

use crate::{clean, completed, failure, outcome, permanent, seconds, support::*};
use sagaz::{
    Engine, FailureReason, Resolution, SagaId, StepContext, StepError, StuckReason, compensate,
    saga, step,
    store::{
        CancelReply,
        fault::{Call, Fault},
        memory::Memory,
    },
};

/// `a`, then `b`, which nothing takes back: it answers in one piece, and with it everything has happened.
struct Last(World);

#[saga(name = "last", deadline = "10m")]
impl Last {
    #[step]
    async fn a(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 1)
    }

    #[compensate("a")]
    async fn undo_a(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        self.0.attempt(ctx, None).await
    }

    #[step(depends_on = ["a"], atomic, retry(attempts = 3, initial = "1s"))]
    async fn b(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 2)
    }
}

async fn started_last(store: &Memory, world: &World) -> Engine<Memory> {
    let engine = Engine::builder(store.clone()).lease(crate::LEASE);
    engine.register(Last(world.clone())).start().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn p4_a_cancel_waits_for_a_last_step_that_nothing_takes_back() {
    for fails in [false, true] {
        let (store, world) = (Memory::new(), World::new());
        let engine = started_last(&store, &world).await;
        world.plan("b", [seconds(30)]);
        world.fail("b", fails.then(clean));
        let handle = engine.start::<Last>(()).await.unwrap();
        world.wait_began("b", 1).await;
        assert_eq!(handle.cancel().await.unwrap(), CancelReply::Requested);
        if fails {
            // It surely did not happen, and is not tried again.
            let failure = failure(&handle).await;
            assert_eq!(failure.reason, FailureReason::Cancelled);
            assert_eq!(world.effects(), ["a", "undo a"]);
        } else {
            completed(&handle).await;
            assert_eq!(world.effects(), ["a", "b"]);
        }
        assert_eq!(world.entries("b").len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn p4_after_a_takeover_a_last_step_that_may_have_happened_runs_before_a_cancel_is_honoured() {
    let (store, world) = (Memory::new(), World::new());
    world.plan("b", [Act::Hang]);
    let engine = started_last(&store, &world).await;
    let id = engine.start::<Last>(()).await.unwrap().id();
    world.wait_began("b", 1).await;
    engine.abort();
    let heir = started_last(&store, &world).await;
    assert_eq!(heir.cancel(id).await.unwrap(), CancelReply::Requested);
    completed(&heir.handle::<Last>(id).await.unwrap()).await;
    assert_eq!(world.effects(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn p5_a_last_step_that_may_have_happened_is_not_given_up_but_stuck() {
    for resolution in [
        Resolution::NoEffect,
        Resolution::completed(&2).expect("a number is JSON"),
    ] {
        let (store, world) = (Memory::new(), World::new());
        world.plan("b", [Act::Hang]);
        let engine = started_last(&store, &world).await;
        let id = engine.start::<Last>(()).await.unwrap().id();
        world.wait_began("b", 1).await;
        engine.abort();
        world.fail("b", [clean(), clean(), clean()]);
        let heir = started_last(&store, &world).await;
        let handle = heir.handle::<Last>(id).await.unwrap();
        let stuck = crate::stuck(&handle).await;
        assert_eq!(
            (stuck.step.as_deref(), stuck.reason),
            (Some("b"), StuckReason::OutcomeUnknown)
        );
        assert_eq!(world.effects(), ["a"]);

        let happened = matches!(resolution, Resolution::Completed(_));
        let operator = heir.operator("ann", "I have asked");
        operator.resolve(id, "b", resolution).await.unwrap();
        let ended = outcome(&heir.handle::<Last>(id).await.unwrap()).await;
        assert_eq!(ended.is_completed(), happened);
        assert_eq!(ended.is_rolled_back(), !happened);
        let expected: &[_] = if happened { &["a"] } else { &["a", "undo a"] };
        assert_eq!(world.effects(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn p5_a_last_step_whose_output_the_store_refuses_has_happened_and_is_not_given_up() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started_last(&store, &world).await;
    // After the acceptance and the output of `a`.
    store.faults().plan(Call::Write, 3, Fault::Refuse);
    let handle = engine.start::<Last>(()).await.unwrap();
    let stuck = crate::stuck(&handle).await;
    assert_eq!(stuck.reason, StuckReason::OutcomeUnknown);
    assert_eq!(world.effects(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn p8_what_an_operator_says_of_the_last_step_outlives_the_deadline() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started_last(&store, &world).await;
    store.faults().plan(Call::Write, 3, Fault::Refuse);
    let handle = engine.start::<Last>(()).await.unwrap();
    crate::stuck(&handle).await;
    tokio::time::sleep(SECOND * 700).await;
    let operator = engine.operator("ann", "I have asked");
    let output = Resolution::completed(&2).unwrap();
    operator.resolve(handle.id(), "b", output).await.unwrap();
    completed(&engine.handle::<Last>(handle.id()).await.unwrap()).await;
    assert_eq!(world.effects(), ["a", "b"]);
}

/// The same saga, before and after a step was put in front of its last one.
mod grown {
    use crate::support::World;
    use sagaz::{StepContext, StepError, compensate, saga, step};

    pub(super) struct Before(pub(super) World);

    #[saga(name = "grown")]
    impl Before {
        #[step]
        async fn a(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
            self.0.attempt(ctx, None).await.map(|()| 1)
        }

        #[compensate("a")]
        async fn undo_a(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
            self.0.attempt(ctx, None).await
        }

        #[step(depends_on = ["a"], atomic)]
        async fn b(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
            self.0.attempt(ctx, None).await.map(|()| 2)
        }
    }

    pub(super) struct After(pub(super) World);

    #[saga(name = "grown", version = 2, accepts = [1])]
    impl After {
        #[step]
        async fn a(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
            self.0.attempt(ctx, None).await.map(|()| 1)
        }

        #[compensate("a")]
        async fn undo_a(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
            self.0.attempt(ctx, None).await
        }

        #[step(depends_on = ["a"])]
        async fn added(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
            self.0.attempt(ctx, None).await.map(|()| 3)
        }

        #[compensate("added")]
        async fn undo_added(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
            self.0.attempt(ctx, None).await
        }

        #[step(depends_on = ["added"], atomic)]
        async fn b(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
            self.0.attempt(ctx, None).await.map(|()| 2)
        }
    }
}

/// An instance of the older version whose last step may have happened, with an engine of the newer one.
async fn grown(store: &Memory, world: &World) -> (Engine<Memory>, SagaId) {
    let builder = || Engine::builder(store.clone()).lease(crate::LEASE);
    world.plan("b", [Act::Hang]);
    let before = grown::Before(world.clone());
    let before = builder().register(before).start().await.unwrap();
    let id = before.start::<grown::Before>(()).await.unwrap().id();
    world.wait_began("b", 1).await;
    before.abort();
    let after = grown::After(world.clone());
    (builder().register(after).start().await.unwrap(), id)
}

#[tokio::test(start_paused = true)]
async fn p5_under_a_newer_version_nothing_is_undone_while_the_last_step_may_have_happened() {
    let (store, world) = (Memory::new(), World::new());
    world.fail("added", [permanent()]);
    let (engine, id) = grown(&store, &world).await;
    let handle = async || engine.handle::<grown::After>(id).await.unwrap();
    let stuck = crate::stuck(&handle().await).await;
    assert_eq!(stuck.step.as_deref(), Some("added"));
    assert_eq!(world.effects(), ["a"]);

    let operator = engine.operator("ann", "I have asked");
    let error = operator.resolve(id, "added", Resolution::NoEffect).await;
    let words = error.unwrap_err().to_string();
    assert!(words.contains("`b` may have happened"), "{words}");
    let resolved = operator.resolve(id, "b", Resolution::NoEffect).await;
    resolved.unwrap();
    failure(&handle().await).await;
    assert_eq!(world.effects(), ["a", "undo a"]);
}

#[tokio::test(start_paused = true)]
async fn p5_under_a_newer_version_a_cancel_waits_while_the_last_step_may_have_happened() {
    let (store, world) = (Memory::new(), World::new());
    world.plan("added", [seconds(30)]);
    let (engine, id) = grown(&store, &world).await;
    world.wait_began("added", 1).await;
    assert_eq!(engine.cancel(id).await.unwrap(), CancelReply::Requested);
    completed(&engine.handle::<grown::After>(id).await.unwrap()).await;
    assert_eq!(world.effects(), ["a", "added", "b"]);
}
