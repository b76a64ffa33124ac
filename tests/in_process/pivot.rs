//! The pivot, and what comes after it: retries, then a recovery.

use crate::{
    clean, failure, permanent, stuck,
    support::{Act, SECOND, World},
    unclear,
};
use sagaz::{
    Outcome, Recover, Saga, StepContext, StepError, StuckReason, compensate, recover, saga, step,
};

/// `a`, then the pivot `p`, then `z`; a minute up to the pivot.
pub(crate) struct Pivotal(pub(crate) World);

#[saga(deadline = "1m")]
impl Pivotal {
    #[step]
    async fn a(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 1)
    }

    #[compensate("a")]
    async fn undo_a(&self, ctx: &StepContext<'_>, a: Option<&u64>) -> Result<(), StepError> {
        self.0.attempt(ctx, a.copied()).await
    }

    #[step(depends_on = ["a"], pivot, retry(attempts = 3, initial = "1s"))]
    async fn p(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 2)
    }

    #[step(depends_on = ["p"], retry(attempts = 2, initial = "1s"))]
    async fn z(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 3)
    }

    /// Planned as attempts of `recover`: a success is `Use`, a wait `RetryAfter`, and any error `Stuck`.
    #[recover("z")]
    async fn save_z(&self, ctx: &StepContext<'_>, p: &u64, error: &StepError) -> Recover<u64> {
        assert!(!error.to_string().is_empty() && ctx.step() == "z");
        match self.0.decide("recover").await {
            Ok(()) => Recover::Use(p * 100),
            Err(error) if error.is_retryable() => Recover::RetryAfter(SECOND * 30),
            Err(_) => Recover::Stuck,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p6_a_failure_before_the_pivot_unwinds() {
    let world = World::new();
    world.fail("a", [unclear()]);
    assert!(Pivotal(world.clone()).run(()).await.is_rolled_back());
    assert_eq!(world.began(), ["a", "undo a"]);
}

#[tokio::test(start_paused = true)]
async fn p6_a_pivot_that_surely_had_no_effect_unwinds() {
    for errors in [
        vec![permanent()],
        vec![unclear(), permanent()],
        vec![clean(), clean(), clean()],
    ] {
        let world = World::new();
        world.fail("p", errors);
        assert_eq!(
            failure(Pivotal(world.clone()).run(()).await)
                .step
                .as_deref(),
            Some("p")
        );
        assert_eq!(world.effects(), ["a", "undo a"]);
    }
}

#[tokio::test(start_paused = true)]
async fn p6_a_pivot_in_doubt_is_stuck_and_nothing_is_compensated() {
    for errors in [
        vec![StepError::unknown("lost")],
        vec![unclear(), clean(), clean()],
    ] {
        let world = World::new();
        world.fail("p", errors);
        let stuck = stuck(Pivotal(world.clone()).run(()).await);
        assert_eq!(
            (stuck.step.as_deref(), stuck.reason),
            (Some("p"), StuckReason::PivotInDoubt)
        );
        assert_eq!(world.effects(), ["a"]);
    }
}

#[tokio::test(start_paused = true)]
async fn p6_a_step_after_the_pivot_is_retried_and_then_its_recovery_is_asked() {
    let world = World::new();
    world.fail("z", [unclear(), permanent()]);
    let Outcome::Completed(outputs) = Pivotal(world.clone()).run(()).await else {
        panic!("not completed")
    };
    assert_eq!(outputs.z, 200, "`Use`");
    assert_eq!(world.began(), ["a", "p", "z", "z"]);
}

#[tokio::test(start_paused = true)]
async fn p6_a_recovery_that_says_stuck_leaves_it_to_an_operator() {
    let world = World::new();
    world.fail("z", [unclear(), unclear()]);
    world.fail("recover", [permanent()]);
    let stuck = stuck(Pivotal(world.clone()).run(()).await);
    assert_eq!(
        (stuck.step.as_deref(), stuck.reason, &*stuck.message),
        (Some("z"), StuckReason::StepGaveUp, "broken")
    );
    assert_eq!(world.effects(), ["a", "p"]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_recovery_makes_it_stuck() {
    let world = World::new();
    world.fail("z", [unclear(), unclear()]);
    world.plan("recover", [Act::Panic]);
    let stuck = stuck(Pivotal(world.clone()).run(()).await);
    assert_eq!(stuck.reason, StuckReason::StepGaveUp);
    assert!(stuck.message.contains("recover panics"), "{stuck}");
}

#[tokio::test(start_paused = true)]
async fn a_recovery_may_ask_for_ten_more_attempts_and_each_waits_as_it_says() {
    let world = World::new();
    world.fail("z", (0..100).map(|_| unclear()));
    world.fail("recover", (0..100).map(|_| unclear()));
    assert_eq!(
        stuck(Pivotal(world.clone()).run(()).await).reason,
        StuckReason::StepGaveUp
    );
    let entries = world.entries("z");
    assert_eq!(entries.len(), 12);
    assert_eq!(entries[11].at.as_secs(), entries[10].at.as_secs() + 30);

    let world = World::new();
    world.fail("z", (0..11).map(|_| unclear()));
    world.fail("recover", (0..10).map(|_| unclear()));
    assert!(
        Pivotal(world.clone()).run(()).await.is_completed(),
        "the tenth helps"
    );
}
