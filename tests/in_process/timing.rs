//! Timeouts and deadlines.

use crate::{
    clean, failure,
    pivot::Pivotal,
    sleeping,
    support::{Act, Recorder, World},
    unclear,
};
use sagaz::{FailureReason, Saga, StepContext, StepError, compensate, saga, step};
use std::sync::Arc;

/// Timeouts, and an atomic step without one.
struct Timed(World);

#[saga]
impl Timed {
    #[step(atomic)]
    async fn sure(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 1)
    }

    #[compensate("sure")]
    async fn undo_sure(&self, ctx: &StepContext<'_>, sure: &u64) -> Result<(), StepError> {
        self.0.attempt(ctx, Some(*sure)).await
    }

    #[step(atomic, depends_on = ["sure"], timeout = "5s", retry(attempts = 2, initial = "1s", jitter = 0))]
    async fn slow(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 2)
    }

    #[compensate(
        "slow",
        timeout = "3s",
        retry(attempts = 2, initial = "1s", jitter = 0)
    )]
    async fn undo_slow(&self, ctx: &StepContext<'_>, slow: Option<&u64>) -> Result<(), StepError> {
        self.0.attempt(ctx, slow.copied()).await
    }
}

#[tokio::test(start_paused = true)]
async fn p5_an_error_of_an_atomic_step_had_no_effect() {
    let world = World::new();
    world.fail("sure", [unclear()]);
    assert_eq!(
        failure(Timed(world.clone()).run(()).await).reason,
        FailureReason::Failed
    );
    assert_eq!(world.began(), ["sure"]);
}

#[tokio::test(start_paused = true)]
async fn p5_a_timeout_leaves_the_outcome_unknown_even_of_an_atomic_step() {
    let (world, recorder) = (World::new(), Arc::new(Recorder::default()));
    world.plan("slow", [Act::Hang, Act::Hang]);
    let outcome = Timed(world.clone())
        .run_observed((), Arc::clone(&recorder) as _)
        .await;
    assert_eq!(failure(outcome).reason, FailureReason::Unknown);
    assert_eq!(world.entries("slow")[1].at.as_secs(), 6);
    assert_eq!(world.entries("undo slow")[0].known, None);
    assert_eq!(world.entries("undo sure")[0].known, Some(1));
    assert!(recorder.has("slow #2 timed out"));
}

#[tokio::test(start_paused = true)]
async fn a_compensation_that_times_out_is_tried_again() {
    let world = World::new();
    world.plan("slow", [Act::Hang, Act::Fail(clean())]);
    world.plan("undo slow", [Act::Hang]);
    assert!(Timed(world.clone()).run(()).await.is_rolled_back());
    let at: Vec<_> = world
        .entries("undo slow")
        .iter()
        .map(|entry| entry.at.as_secs())
        .collect();
    assert_eq!(at, [6, 10]);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_unwinds_before_the_pivot() {
    let world = World::new();
    world.plan("a", [sleeping(90)]);
    let failure = failure(Pivotal(world.clone()).run(()).await);
    assert_eq!(
        (failure.step, failure.reason),
        (None, FailureReason::DeadlineExceeded)
    );
    assert_eq!(world.began(), ["a", "undo a"]);
    assert_eq!(
        world.entries("undo a")[0].known,
        Some(1),
        "the running attempt ends first"
    );
}

#[tokio::test(start_paused = true)]
async fn a_deadline_does_not_drop_a_running_pivot() {
    let (world, recorder) = (World::new(), Arc::new(Recorder::default()));
    world.plan("p", [sleeping(90)]);
    assert!(
        Pivotal(world.clone())
            .run_observed((), Arc::clone(&recorder) as _)
            .await
            .is_completed()
    );
    assert!(recorder.has("deadline refused"));

    let world = World::new();
    world.plan("p", [sleeping(90), Act::Fail(clean())]);
    let failure = failure(Pivotal(world.clone()).run(()).await);
    assert_eq!(failure.reason, FailureReason::DeadlineExceeded);
    assert_eq!(
        world.began(),
        ["a", "p", "undo a"],
        "it had no effect, so the deadline is honoured in place of a retry"
    );
}

#[tokio::test(start_paused = true)]
async fn a_deadline_after_the_pivot_is_only_reported() {
    let (world, recorder) = (World::new(), Arc::new(Recorder::default()));
    world.plan("z", [sleeping(90)]);
    assert!(
        Pivotal(world.clone())
            .run_observed((), Arc::clone(&recorder) as _)
            .await
            .is_completed()
    );
    assert!(recorder.has("deadline refused"));
}
