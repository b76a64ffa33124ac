//! What becomes of a step's siblings when it fails.

use crate::{
    clean, permanent, sleeping,
    support::{Act, Recorder, SECOND, World},
    unclear,
};
use sagaz::{Saga, StepContext, StepError, compensate, saga, step};
use std::sync::Arc;

macro_rules! siblings {
    ($name:ident, $strategy:ident $($bound:tt)?) => {
        /// `f` and `s` side by side, and `t` after `s`.
        struct $name(World);

        #[saga(on_failure = $strategy $($bound)?)]
        impl $name {
            #[step]
            async fn f(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
                self.0.attempt(ctx, None).await.map(|()| 1)
            }

            #[compensate("f")]
            async fn undo_f(&self, ctx: &StepContext<'_>, f: Option<&u64>) -> Result<(), StepError> {
                self.0.attempt(ctx, f.copied()).await
            }

            #[step(retry(attempts = 5, initial = "1s"))]
            async fn s(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
                self.0.attempt(ctx, None).await.map(|()| 2)
            }

            #[compensate("s")]
            async fn undo_s(&self, ctx: &StepContext<'_>, s: Option<&u64>) -> Result<(), StepError> {
                self.0.attempt(ctx, s.copied()).await
            }

            #[step(depends_on = ["s"])]
            async fn t(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
                self.0.attempt(ctx, None).await.map(|()| 3)
            }

            #[compensate("t")]
            async fn undo_t(&self, ctx: &StepContext<'_>, t: Option<&u64>) -> Result<(), StepError> {
                self.0.attempt(ctx, t.copied()).await
            }
        }
    };
}

siblings!(FailFast, fail_fast);
siblings!(Patient, grace);
siblings!(Bounded, grace("10s"));
siblings!(WaitAll, wait_all);

/// `f` fails after one second, when `s` has 29 seconds to go.
fn one_fails() -> World {
    let world = World::new();
    world.plan("f", [sleeping(1), Act::Fail(permanent())]);
    world.plan("s", [sleeping(30)]);
    world
}

#[tokio::test(start_paused = true)]
async fn fail_fast_drops_running_attempts_at_once() {
    let (world, recorder) = (one_fails(), Arc::new(Recorder::default()));
    assert!(
        FailFast(world.clone())
            .run_observed((), Arc::clone(&recorder) as _)
            .await
            .is_rolled_back()
    );
    assert_eq!(world.now().as_secs(), 1);
    assert_eq!(world.began(), ["f", "s", "undo s"]);
    assert_eq!(world.entries("undo s")[0].known, None);
    assert!(recorder.has("s #1 dropped"));
}

#[tokio::test(start_paused = true)]
async fn grace_waits_for_running_attempts_and_starts_nothing_new() {
    let world = one_fails();
    assert!(Patient(world.clone()).run(()).await.is_rolled_back());
    assert_eq!(world.now().as_secs(), 30);
    assert_eq!(world.began(), ["f", "s", "undo s"]);
    assert_eq!(world.entries("undo s")[0].known, Some(2));
}

#[tokio::test(start_paused = true)]
async fn grace_with_a_bound_drops_what_runs_longer() {
    let world = one_fails();
    assert!(Bounded(world.clone()).run(()).await.is_rolled_back());
    assert_eq!(world.now().as_secs(), 11);
    assert_eq!(world.entries("undo s")[0].known, None);

    let world = World::new();
    world.plan("f", [sleeping(1), Act::Fail(permanent())]);
    world.plan("s", [sleeping(5)]);
    assert!(Bounded(world.clone()).run(()).await.is_rolled_back());
    assert_eq!(world.now().as_secs(), 5);
    assert_eq!(world.entries("undo s")[0].known, Some(2));
}

#[tokio::test(start_paused = true)]
async fn wait_all_finishes_what_does_not_depend_on_the_failed_step() {
    let world = one_fails();
    assert!(WaitAll(world.clone()).run(()).await.is_rolled_back());
    assert_eq!(world.began(), ["f", "s", "t", "undo t", "undo s"]);
}

#[tokio::test(start_paused = true)]
async fn a_siblings_failed_attempt_is_not_tried_again_once_the_instance_fails() {
    let world = World::new();
    world.plan("f", [sleeping(1), Act::Fail(permanent())]);
    world.plan("s", [sleeping(2), Act::Fail(clean())]);
    assert!(WaitAll(world.clone()).run(()).await.is_rolled_back());
    assert_eq!(world.began(), ["f", "s"]);

    let world = World::new();
    world.plan("f", [sleeping(2), Act::Fail(permanent())]);
    world.plan(
        "s",
        [sleeping(1), Act::Fail(unclear().retry_after(SECOND * 60))],
    );
    assert!(Patient(world.clone()).run(()).await.is_rolled_back());
    assert_eq!(
        world.began(),
        ["f", "s", "undo s"],
        "a wait ends with the failure"
    );
    assert_eq!(world.now().as_secs(), 2);
}
