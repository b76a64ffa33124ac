//! Panics where nobody looks for them: when an attempt is dropped, and when an error is asked for its words. Each is of the
//! attempt alone; the instance goes on.

use super::{BOUND, LEASE};
use sagaz::{
    AttemptError, Engine, Failure, FailureReason, Lifecycle, Observer, Outcome, Saga, StepError,
    compensate, saga, step, store::memory::Memory,
};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::time::timeout;

/// Panics when it is dropped, but not while another panic is under way.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "the guard panics");
    }
}

#[derive(Clone, Default)]
struct Counts {
    attempts: Arc<AtomicU32>,
    undone: Arc<AtomicU32>,
    without_output: Arc<AtomicU32>,
}

impl Counts {
    fn undo(&self, is_known: bool) {
        self.undone.fetch_add(1, Ordering::Relaxed);
        if !is_known {
            self.without_output.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn all(&self) -> (u32, u32, u32) {
        let load = |count: &AtomicU32| count.load(Ordering::Relaxed);
        (
            load(&self.attempts),
            load(&self.undone),
            load(&self.without_output),
        )
    }
}

/// The outcome in process and durable, each with its counts.
async fn failures<G: Saga<Input = ()> + sagaz::RunsOn<sagaz::InProcess> + sagaz::RunsOn<Memory>>(
    saga: fn(Counts) -> G,
) -> [(Failure, (u32, u32, u32)); 2] {
    let failure = |outcome: Outcome<_>| match outcome {
        Outcome::RolledBack(failure) => failure,
        Outcome::Completed(_) => panic!("not rolled back: completed"),
        Outcome::Stuck(stuck) => panic!("not rolled back: {stuck:?}"),
    };
    let in_process = Counts::default();
    let run = timeout(BOUND, saga(in_process.clone()).run(())).await;
    let ran = failure(run.expect("it ends"));

    let durable = Counts::default();
    let engine = Engine::builder(Memory::new()).register(saga(durable.clone()));
    let engine = engine.start().await.unwrap();
    let handle = engine.start::<G>(()).await.unwrap();
    let outcome = timeout(BOUND, handle.outcome()).await;
    let stored = failure(outcome.expect("it ends").unwrap());
    [(ran, in_process.all()), (stored, durable.all())]
}

struct Slow(Counts);

#[saga(name = "slow")]
impl Slow {
    #[step(timeout = "1s", retry(attempts = 2, initial = "1s", jitter = 0))]
    async fn call(&self) -> Result<u8, StepError> {
        self.0.attempts.fetch_add(1, Ordering::Relaxed);
        let _bomb = Bomb;
        std::future::pending().await
    }

    #[compensate("call")]
    async fn undo(&self, call: Option<u8>) -> Result<(), StepError> {
        self.0.undo(call.is_some());
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn p5_a_panic_while_a_timed_out_attempt_is_dropped_is_one_of_the_attempt() {
    for (failure, counts) in failures(Slow).await {
        assert_eq!(failure.reason, FailureReason::Unknown);
        assert!(failure.message.contains("the guard panics"), "{failure}");
        assert_eq!(counts, (2, 1, 1));
    }
}

/// `hang` is dropped when `fail` fails.
struct Fast(Counts);

#[saga(name = "fast", on_failure = fail_fast)]
impl Fast {
    #[step]
    async fn hang(&self) -> Result<u8, StepError> {
        self.0.attempts.fetch_add(1, Ordering::Relaxed);
        let _bomb = Bomb;
        std::future::pending().await
    }

    #[compensate("hang")]
    async fn undo_hang(&self, hang: Option<u8>) -> Result<(), StepError> {
        self.0.undo(hang.is_some());
        Ok(())
    }

    #[step(no_compensation)]
    async fn fail(&self) -> Result<(), StepError> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Err(StepError::permanent("declined"))
    }
}

#[tokio::test(start_paused = true)]
async fn p1_a_panic_while_an_attempt_is_dropped_on_demand_does_not_stop_the_unwinding() {
    for (failure, counts) in failures(Fast).await {
        assert_eq!(&*failure.message, "declined");
        assert_eq!(counts, (1, 1, 1));
    }
}

/// An error that nobody can print.
#[derive(Debug)]
struct Speechless;

impl fmt::Display for Speechless {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("no words")
    }
}

impl std::error::Error for Speechless {}

struct Mute(Counts);

#[saga(name = "mute")]
impl Mute {
    #[step(no_compensation)]
    async fn first(&self) -> Result<(), StepError> {
        self.0.attempts.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    #[step(depends_on = ["first"], no_compensation)]
    async fn call(&self) -> Result<u8, Speechless> {
        Err(Speechless)
    }
}

#[tokio::test(start_paused = true)]
async fn p8_an_error_whose_words_panic_fails_the_step_all_the_same() {
    for (failure, counts) in failures(Mute).await {
        assert_eq!(failure.step.as_deref(), Some("call"));
        assert!(failure.message.contains("no words"), "{failure}");
        assert_eq!(counts.0, 1);
    }
}

/// Sets a flag when the attempt's locals are gone.
struct Guard(Arc<AtomicBool>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Guarded(Arc<AtomicBool>);

#[saga]
impl Guarded {
    #[step(timeout = "1s", no_compensation)]
    async fn call(&self) -> Result<(), StepError> {
        let _guard = Guard(Arc::clone(&self.0));
        std::future::pending().await
    }
}

struct Witness {
    is_dropped: Arc<AtomicBool>,
    saw: AtomicBool,
}

impl Observer for Witness {
    fn observe(&self, event: &Lifecycle<'_>) {
        if let Lifecycle::AttemptFailed {
            error: AttemptError::TimedOut,
            ..
        } = event
        {
            let is_dropped = self.is_dropped.load(Ordering::Relaxed);
            self.saw.store(is_dropped, Ordering::Relaxed);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_timed_out_attempt_is_gone_before_anybody_is_told_and_its_place_is_free() {
    let is_dropped = Arc::new(AtomicBool::new(false));
    let witness = Arc::new(Witness {
        is_dropped: Arc::clone(&is_dropped),
        saw: AtomicBool::new(false),
    });
    let run = Guarded(is_dropped).run_observed((), Arc::clone(&witness) as Arc<dyn Observer>);
    assert!(timeout(LEASE, run).await.unwrap().is_rolled_back());
    assert!(witness.saw.load(Ordering::Relaxed));
}
