//! Attempts: how often, when, under which key, and what is known of a step after them.

use crate::{
    clean, failure, permanent,
    support::{Act, Diamond, SECOND, World},
    unclear,
};
use sagaz::{FailureReason, Saga, StepContext, StepError, compensate, saga, step};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn a_step_is_retried_with_backoff_as_often_as_it_says() {
    let world = World::new();
    world.fail("a", [unclear(), clean(), clean()]);
    assert!(Diamond(world.clone()).run(1).await.is_rolled_back());
    let at: Vec<_> = world
        .entries("a")
        .iter()
        .map(|entry| (entry.attempt, entry.at.as_secs()))
        .collect();
    assert_eq!(at, [(1, 0), (2, 1), (3, 3)]);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_succeeds_completes_the_step() {
    let world = World::new();
    world.fail("a", [unclear(), unclear()]);
    assert!(Diamond(world.clone()).run(1).await.is_completed());
    assert_eq!(world.entries("a").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn retry_after_replaces_the_delay_of_the_policy() {
    let world = World::new();
    world.fail("a", [unclear().retry_after(Duration::from_secs(77))]);
    assert!(Diamond(world.clone()).run(1).await.is_completed());
    assert_eq!(world.entries("a")[1].at.as_secs(), 77);
}

#[tokio::test(start_paused = true)]
async fn pending_uses_no_attempt() {
    let world = World::new();
    world.fail("a", (0..20).map(|_| StepError::pending(SECOND * 5)));
    world.fail("a", [unclear(), unclear()]);
    assert!(Diamond(world.clone()).run(1).await.is_completed());
    let entries = world.entries("a");
    assert_eq!(entries.len(), 23);
    assert_eq!(entries[20].at.as_secs(), 100);
    let attempts: Vec<_> = entries.iter().map(|entry| entry.attempt).collect();
    assert_eq!((attempts[0], attempts[20], attempts[22]), (1, 1, 3));
}

#[tokio::test(start_paused = true)]
async fn a_pending_step_that_is_then_refused_had_no_effect() {
    let world = World::new();
    world.fail("a", [StepError::pending(SECOND), permanent()]);
    assert_eq!(
        failure(Diamond(world.clone()).run(1).await).reason,
        FailureReason::Failed
    );
    assert_eq!(world.began(), ["a", "a"]);
}

#[tokio::test(start_paused = true)]
async fn p3_the_idempotency_key_is_the_same_for_every_attempt_and_another_for_the_compensation() {
    let world = World::new();
    world.fail("a", [unclear(), unclear()]);
    world.fail("b", [permanent()]);
    world.fail("undo a", [unclear()]);
    assert!(Diamond(world.clone()).run(1).await.is_rolled_back());
    let keys = |what| {
        world
            .entries(what)
            .into_iter()
            .map(|entry| entry.key)
            .collect::<Vec<_>>()
    };
    let (steps, undos, other) = (keys("a"), keys("undo a"), keys("b"));
    assert_eq!((steps.len(), undos.len()), (3, 2));
    assert!(steps.iter().all(|key| *key == steps[0]) && undos.iter().all(|key| *key == undos[0]));
    assert!(steps[0] != undos[0] && steps[0] != other[0]);
    assert!(Diamond(world.clone()).run(1).await.is_completed());
    assert_ne!(keys("a")[3], steps[0], "another instance has other keys");
    let ids: Vec<_> = world
        .entries("a")
        .into_iter()
        .map(|entry| entry.id)
        .collect();
    assert!(ids[0] == ids[2] && ids[2] != ids[3]);
    assert_eq!(world.effects_of(ids[0]), ["a", "undo a"]);
}

#[tokio::test(start_paused = true)]
async fn p5_a_permanent_error_after_an_unknown_attempt_counts_as_no_effect() {
    let world = World::new();
    world.fail("a", [unclear(), permanent()]);
    assert_eq!(
        failure(Diamond(world.clone()).run(1).await).reason,
        FailureReason::Failed
    );
    assert_eq!(world.began(), ["a", "a"]);
}

#[tokio::test(start_paused = true)]
async fn p5_a_step_whose_attempts_were_all_clean_is_not_compensated() {
    let world = World::new();
    world.fail("a", [clean(), clean(), clean()]);
    assert_eq!(
        failure(Diamond(world.clone()).run(1).await).reason,
        FailureReason::Failed
    );
    assert_eq!(world.began(), ["a", "a", "a"]);
}

#[tokio::test(start_paused = true)]
async fn p5_one_unclear_attempt_makes_the_outcome_unknown_and_the_compensation_gets_none() {
    for errors in [
        [unclear(), clean(), clean()],
        [clean(), unclear(), clean()],
        [clean(), clean(), unclear()],
    ] {
        let world = World::new();
        world.fail("a", errors);
        assert_eq!(
            failure(Diamond(world.clone()).run(1).await).reason,
            FailureReason::Unknown
        );
        assert_eq!(world.entries("undo a")[0].known, None);
        assert_eq!(world.entries("undo a").len(), 1);
    }
    let world = World::new();
    world.fail("a", [StepError::unknown("lost")]);
    assert_eq!(
        failure(Diamond(world.clone()).run(1).await).reason,
        FailureReason::Unknown
    );
    assert_eq!(world.began(), ["a", "undo a"]);
}

#[tokio::test(start_paused = true)]
async fn p5_a_panic_in_a_step_leaves_it_unknown_and_is_retried() {
    let world = World::new();
    world.plan("a", [Act::Panic]);
    world.plan("b", [Act::Panic]);
    let failure = failure(Diamond(world.clone()).run(1).await);
    assert_eq!(
        (failure.step.as_deref(), failure.reason),
        (Some("b"), FailureReason::Unknown)
    );
    assert!(failure.message.contains("b panics"), "{failure}");
    assert_eq!(world.entries("a").len(), 2);
    assert_eq!(world.entries("undo b")[0].known, None);
}

/// An input whose clone panics, as a bug in a step's own types may.
struct Brittle;

impl Clone for Brittle {
    fn clone(&self) -> Self {
        panic!("brittle")
    }
}

impl serde::Serialize for Brittle {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> serde::Deserialize<'de> for Brittle {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer).map(|()| Self)
    }
}

struct TakesBrittle(World);

#[saga(input = Brittle)]
impl TakesBrittle {
    #[step]
    async fn sound(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        self.0.attempt(ctx, None).await
    }

    #[compensate("sound")]
    async fn undo_sound(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        self.0.attempt(ctx, None).await
    }

    #[step(depends_on = ["sound"])]
    async fn broken(&self, brittle: Brittle) -> Result<(), StepError> {
        let _ = brittle;
        Ok(())
    }

    #[compensate("broken")]
    async fn undo_broken(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        self.0.attempt(ctx, None).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_an_attempt_takes_its_inputs_is_one_of_the_attempt() {
    let world = World::new();
    let failure = failure(TakesBrittle(world.clone()).run(Brittle).await);
    assert_eq!(
        (failure.step.as_deref(), failure.reason),
        (Some("broken"), FailureReason::Unknown)
    );
    assert!(world.effects().contains(&"undo sound".to_owned()));
}
