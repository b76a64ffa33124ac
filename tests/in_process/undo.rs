//! Compensations: in which order, how often, and with what.

use crate::{
    failure, permanent, position, sleeping, stuck,
    support::{Act, BOUND, Diamond, World},
    unclear,
};
use sagaz::{FailureReason, Saga, StepContext, StepError, StuckReason, compensate, saga, step};
use tokio::time::{Instant, timeout};

#[tokio::test(start_paused = true)]
async fn p4_unwinding_follows_the_graph_and_parallel_branches_are_undone_side_by_side() {
    let world = World::new();
    world.fail("d", [permanent()]);
    world.plan("undo b", [sleeping(10)]);
    world.plan("undo c", [sleeping(10)]);
    let began = Instant::now();
    let failure = failure(Diamond(world.clone()).run(1).await);
    assert_eq!(
        (failure.step.as_deref(), failure.reason, &*failure.message),
        (Some("d"), FailureReason::Failed, "declined")
    );
    assert_eq!(began.elapsed().as_secs(), 10);
    let effects = world.effects();
    assert_eq!(effects.len(), 6, "{effects:?}");
    assert_eq!(position(&effects, "undo a"), 5, "{effects:?}");
}

#[tokio::test(start_paused = true)]
async fn a_completed_step_is_compensated_with_its_output() {
    let world = World::new();
    world.fail("b", [permanent()]);
    assert!(Diamond(world.clone()).run(1).await.is_rolled_back());
    assert_eq!(world.entries("undo a")[0].known, Some(2));
    assert!(world.entries("undo b").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_compensation_is_told_why() {
    let world = World::new();
    world.fail("b", [permanent()]);
    let failure = failure(Diamond(world.clone()).run(1).await);
    assert!(world.entries("a")[0].failure.is_none());
    assert_eq!(world.entries("undo a")[0].failure.as_ref(), Some(&failure));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_compensation_is_retried() {
    let world = World::new();
    world.fail("b", [permanent()]);
    world.plan("undo a", [Act::Panic]);
    assert!(Diamond(world.clone()).run(1).await.is_rolled_back());
    assert_eq!(world.entries("undo a").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_compensation_is_retried_as_often_as_it_says() {
    let world = World::new();
    world.fail("b", [permanent()]);
    world.fail("undo a", [unclear(), unclear(), unclear(), unclear()]);
    assert_eq!(
        stuck(Diamond(world.clone()).run(1).await).reason,
        StuckReason::CompensationGaveUp
    );
    let attempts: Vec<_> = world
        .entries("undo a")
        .iter()
        .map(|entry| entry.attempt)
        .collect();
    assert_eq!(attempts, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_compensation_that_gives_up_makes_it_stuck_and_independent_ones_still_run() {
    let world = World::new();
    world.fail("d", [permanent()]);
    world.plan("undo b", [sleeping(60)]);
    world.fail("undo c", [permanent()]);
    let stuck = stuck(Diamond(world.clone()).run(1).await);
    assert_eq!(
        (stuck.step.as_deref(), stuck.reason),
        (Some("c"), StuckReason::CompensationGaveUp)
    );
    let effects = world.effects();
    assert!(effects.contains(&"undo b".to_owned()), "{effects:?}");
    assert!(
        world.entries("undo a").is_empty(),
        "what `c` depends on may not be undone before it"
    );
}

/// `m` in the middle has nothing to undo.
struct Middle(World);

#[saga]
impl Middle {
    #[step]
    async fn first(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 1)
    }

    #[compensate("first")]
    async fn undo_first(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        self.0.attempt(ctx, None).await
    }

    #[step(depends_on = ["first"], no_compensation)]
    async fn m(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        self.0.attempt(ctx, None).await
    }

    #[step(depends_on = ["m"])]
    async fn last(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 1)
    }

    #[compensate("last")]
    async fn undo_last(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        self.0.attempt(ctx, None).await
    }
}

#[tokio::test(start_paused = true)]
async fn p4_the_order_holds_across_a_step_without_a_compensation() {
    let world = World::new();
    world.fail("last", [unclear()]);
    world.plan("undo last", [sleeping(10)]);
    assert!(Middle(world.clone()).run(()).await.is_rolled_back());
    assert_eq!(world.effects(), ["first", "m", "undo last", "undo first"]);
    assert_eq!(world.entries("undo first")[0].at.as_secs(), 10);
}

/// Two independent steps; the undo of `x` waits for that of `y`.
struct Ordered(World);

#[saga]
impl Ordered {
    #[step]
    async fn x(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 1)
    }

    #[compensate("x", after = ["y"])]
    async fn undo_x(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        self.0.attempt(ctx, None).await
    }

    #[step]
    async fn y(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 1)
    }

    #[compensate("y", retry(attempts = 1))]
    async fn undo_y(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        self.0.attempt(ctx, None).await
    }

    #[step(depends_on = ["x", "y"], atomic)]
    async fn end(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 1)
    }
}

#[tokio::test(start_paused = true)]
async fn p4_an_undo_waits_for_those_that_it_comes_after() {
    let world = World::new();
    world.fail("end", [unclear()]);
    world.plan("undo y", [sleeping(10)]);
    assert!(Ordered(world.clone()).run(()).await.is_rolled_back());
    assert_eq!(world.began()[3..], ["undo y", "undo x"]);
    assert_eq!(world.entries("undo x")[0].at.as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn an_undo_does_not_wait_for_one_that_is_not_needed() {
    let world = World::new();
    world.plan("x", [Act::Done]);
    world.fail("y", [permanent()]);
    assert!(
        timeout(BOUND, Ordered(world.clone()).run(()))
            .await
            .unwrap()
            .is_rolled_back()
    );
    assert_eq!(world.began(), ["x", "y", "undo x"]);
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_gave_up_holds_back_those_that_come_after_it() {
    let world = World::new();
    world.fail("end", [unclear()]);
    world.fail("undo y", [unclear()]);
    let stuck = stuck(Ordered(world.clone()).run(()).await);
    assert_eq!(
        (stuck.step.as_deref(), stuck.reason),
        (Some("y"), StuckReason::CompensationGaveUp)
    );
    assert!(world.entries("undo x").is_empty());
}
