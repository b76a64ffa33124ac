//! Runs in this process: what a saga promises without a store.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use sagaz::{
    FailureReason, IntoStepError, Outcome, Recover, Saga, StepContext, StepError, StuckReason,
    compensate, recover, saga, step,
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use support::{Act, BOUND, Diamond, Recorder, SECOND, World};
use tokio::{
    task::AbortHandle,
    time::{Instant, timeout},
};

fn clean() -> StepError {
    StepError::retryable("refused").clean()
}

fn unclear() -> StepError {
    StepError::retryable("broken")
}

fn permanent() -> StepError {
    StepError::permanent("declined")
}

fn sleeping(seconds: u64) -> Act {
    Act::Sleep(SECOND * u32::try_from(seconds).unwrap())
}

#[track_caller]
fn position(list: &[String], what: &str) -> usize {
    list.iter()
        .position(|it| it == what)
        .unwrap_or_else(|| panic!("no `{what}` in {list:?}"))
}

fn failure<T>(outcome: Outcome<T>) -> sagaz::Failure {
    match outcome {
        Outcome::RolledBack(failure) => failure,
        Outcome::Stuck(stuck) => panic!("not rolled back: {stuck:?}"),
        Outcome::Completed(_) => panic!("not rolled back: completed"),
    }
}

fn stuck<T>(outcome: Outcome<T>) -> sagaz::Stuck {
    match outcome {
        Outcome::Stuck(stuck) => stuck,
        Outcome::RolledBack(failure) => panic!("not stuck: {failure:?}"),
        Outcome::Completed(_) => panic!("not stuck: completed"),
    }
}

#[tokio::test(start_paused = true)]
async fn outputs_are_typed_by_field() {
    let Outcome::Completed(outputs) = Diamond(World::new()).run(4).await else {
        panic!("not completed")
    };
    assert_eq!(
        (outputs.a, outputs.b, outputs.c.as_str(), outputs.d),
        (5, 50, "c of 5", 56)
    );
}

#[tokio::test(start_paused = true)]
async fn independent_steps_run_side_by_side() {
    let world = World::new();
    world.plan("b", [sleeping(10)]);
    world.plan("c", [sleeping(10)]);
    let began = Instant::now();
    assert!(Diamond(world.clone()).run(1).await.is_completed());
    assert_eq!(began.elapsed().as_secs(), 10);
    assert_eq!(position(&world.effects(), "d"), 3);
}

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
async fn a_completed_step_is_compensated_with_its_output() {
    let world = World::new();
    world.fail("b", [permanent()]);
    assert!(Diamond(world.clone()).run(1).await.is_rolled_back());
    assert_eq!(world.entries("undo a")[0].known, Some(2));
    assert!(world.entries("undo b").is_empty());
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

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_compensation_is_retried() {
    let world = World::new();
    world.fail("b", [permanent()]);
    world.plan("undo a", [Act::Panic]);
    assert!(Diamond(world.clone()).run(1).await.is_rolled_back());
    assert_eq!(world.entries("undo a").len(), 2);
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
async fn a_compensation_is_told_why() {
    let world = World::new();
    world.fail("b", [permanent()]);
    let failure = failure(Diamond(world.clone()).run(1).await);
    assert!(world.entries("a")[0].failure.is_none());
    assert_eq!(world.entries("undo a")[0].failure.as_ref(), Some(&failure));
}

#[tokio::test(start_paused = true)]
async fn a_detached_run_ends_without_its_handle() {
    let world = World::new();
    world.plan("a", [sleeping(5)]);
    drop(Diamond(world.clone()).run_detached(1));
    world.wait_began("d", 1).await;
    assert!(Diamond(world).run_detached(1).await.unwrap().is_completed());
}

#[tokio::test(start_paused = true)]
async fn a_detached_run_outlives_the_task_that_began_it() {
    let world = World::new();
    let caller = Arc::new(Mutex::new(None::<AbortHandle>));
    world.plan(
        "a",
        [Act::Call(Box::new({
            let caller = Arc::clone(&caller);
            move || caller.lock().unwrap().take().unwrap().abort()
        }))],
    );
    let task = tokio::spawn({
        let world = world.clone();
        async move { Diamond(world).run_detached(1).await.is_ok() }
    });
    *caller.lock().unwrap() = Some(task.abort_handle());
    assert!(task.await.unwrap_err().is_cancelled());
    world.wait_began("d", 1).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_undoes_nothing() {
    let world = World::new();
    world.plan("b", [Act::Hang]);
    assert!(
        timeout(SECOND * 60, Diamond(world.clone()).run(1))
            .await
            .is_err()
    );
    tokio::time::sleep(SECOND * 60).await;
    assert_eq!(world.effects(), ["a", "c"]);
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_told_in_order() {
    let (world, recorder) = (World::new(), Arc::new(Recorder::default()));
    world.fail("a", [unclear()]);
    world.fail("c", [permanent()]);
    world.plan("b", [Act::Done]);
    let outcome = Diamond(world)
        .run_observed(1, Arc::clone(&recorder) as _)
        .await;
    assert!(outcome.is_rolled_back());
    assert!(recorder.has("compensating"));
    let events = recorder.events();
    let before = [
        "a #1 started",
        "a #1 failed",
        "a waits after #1",
        "a #2 started",
        "a #2 ended",
        "a #2 stored",
    ];
    assert_eq!(events[..6], before);
    let after = [
        "undo a #1 started",
        "undo a #1 ended",
        "undo a #1 stored",
        "rolled_back",
    ];
    assert_eq!(events[events.len() - 4..], after);
}

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

/// `a`, then the pivot `p`, then `z`; a minute up to the pivot.
struct Pivotal(World);

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

#[derive(Debug)]
enum OwnError {
    Refused,
    Lost,
}

impl IntoStepError for OwnError {
    fn into_step_error(self) -> StepError {
        match self {
            Self::Refused => StepError::permanent("refused"),
            Self::Lost => StepError::unknown("lost"),
        }
    }
}

/// An error that is both: its author's word goes first.
#[derive(Debug, thiserror::Error)]
#[error("both")]
struct Both;

impl IntoStepError for Both {
    fn into_step_error(self) -> StepError {
        StepError::permanent(self)
    }
}

macro_rules! fails_with {
    ($name:ident, $error:ty) => {
        struct $name(World, fn() -> $error);

        #[saga]
        impl $name {
            #[step(retry(attempts = 2, initial = "1s"))]
            async fn only(&self, ctx: &StepContext<'_>) -> Result<(), $error> {
                match self.0.attempt(ctx, None).await {
                    Ok(()) => Err((self.1)()),
                    Err(_) => Ok(()),
                }
            }

            #[compensate("only")]
            async fn undo(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
                self.0.attempt(ctx, None).await
            }
        }
    };
}

fails_with!(FailsWithIo, std::io::Error);
fails_with!(FailsWithText, &'static str);
fails_with!(FailsWithBox, Box<dyn std::error::Error + Send + Sync>);
fails_with!(FailsWithOwn, OwnError);
fails_with!(FailsWithBoth, Both);
fails_with!(FailsWithItself, StepError);

#[tokio::test(start_paused = true)]
async fn p5_an_error_that_says_nothing_is_retried_and_leaves_the_outcome_unknown() {
    let worlds = [World::new(), World::new(), World::new()];
    let _ = FailsWithIo(worlds[0].clone(), || std::io::Error::other("io"))
        .run(())
        .await;
    let _ = FailsWithText(worlds[1].clone(), || "text").run(()).await;
    let _ = FailsWithBox(worlds[2].clone(), || "box".into())
        .run(())
        .await;
    for world in worlds {
        assert_eq!(world.began(), ["only", "only", "undo only"]);
    }
}

#[tokio::test(start_paused = true)]
async fn p5_an_error_whose_author_says_so_is_what_he_says() {
    let world = World::new();
    let outcome = FailsWithOwn(world.clone(), || OwnError::Refused)
        .run(())
        .await;
    assert_eq!(
        (failure(outcome).reason, world.began()),
        (FailureReason::Failed, vec!["only".to_owned()])
    );

    let world = World::new();
    let outcome = FailsWithOwn(world.clone(), || OwnError::Lost).run(()).await;
    assert_eq!(failure(outcome).reason, FailureReason::Unknown);
    assert_eq!(world.began(), ["only", "undo only"]);

    let world = World::new();
    let outcome = FailsWithBoth(world.clone(), || Both).run(()).await;
    assert_eq!(
        (&*failure(outcome).message, world.began()),
        ("both", vec!["only".to_owned()])
    );

    let world = World::new();
    let outcome = FailsWithItself(world.clone(), || StepError::unknown("itself"))
        .run(())
        .await;
    assert_eq!(&*failure(outcome).message, "itself");
    assert_eq!(world.began(), ["only", "undo only"]);
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
