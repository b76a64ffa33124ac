//! A store that is slow, busy or unreachable, and one that refuses a row.

use crate::{
    Line, completed, engine, failure, outcome, row, seconds, started, state, support::*, unclear,
    until,
};
use sagaz::{
    Engine, FailureReason, StepContext, StepError, StuckReason, compensate, saga, step,
    store::{
        Filter, InstanceState, SagaStore, StepState, Write,
        fault::{Call, Fault},
        memory::Memory,
    },
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

#[tokio::test(start_paused = true)]
async fn p2_a_write_that_fails_or_whose_reply_is_lost_changes_nothing_but_time() {
    for fault in [
        Fault::FailBefore,
        Fault::FailAfter,
        Fault::Delay(SECOND * 20),
    ] {
        for undone in [false, true] {
            for nth in 1..=10 {
                let (store, world) = (Memory::new(), World::new());
                if undone {
                    world.fail("three", [unclear()]);
                }
                let engine = started(&store, &world).await;
                store.faults().plan(Call::Write, nth, fault);
                let handle = engine.start::<Line>(1).await.unwrap();
                let ended = outcome(&handle).await;
                assert_eq!(ended.is_rolled_back(), undone, "{fault:?} at {nth}");
                let effects = world.effects();
                let expected: &[&str] = if undone {
                    &["one", "two", "undo three", "undo two", "undo one"]
                } else {
                    &["one", "two", "three"]
                };
                assert_eq!(effects, expected, "{fault:?} at {nth}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p1_a_claim_that_fails_or_whose_reply_is_lost_strands_no_instance() {
    for fault in [Fault::FailBefore, Fault::FailAfter] {
        for nth in 1..=3 {
            let (store, world) = (Memory::new(), World::new());
            world.plan("one", [Act::Hang]);
            let dying = started(&store, &world).await;
            let id = dying.start::<Line>(1).await.unwrap().id();
            world.wait_began("one", 1).await;
            dying.abort();
            // The first claims after the end of the lease, of which one takes the instance.
            store.faults().on_claim({
                let world = world.clone();
                let mut left = nth;
                move |_| {
                    let now = world.now() >= crate::LEASE && left > 0;
                    left -= u64::from(now);
                    now.then_some(fault)
                }
            });
            let heir = started(&store, &world).await;
            completed(&heir.handle::<Line>(id).await.unwrap()).await;
            assert_eq!(
                world.effects(),
                ["one", "two", "three"],
                "{fault:?}, {nth} claims"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p5_what_was_claimed_with_a_lost_reply_counts_as_interrupted() {
    let (store, world) = (Memory::new(), World::new());
    world.plan(
        "one",
        [
            Act::Hang,
            Act::Fail(StepError::retryable("refused").clean()),
        ],
    );
    let dying = started(&store, &world).await;
    let id = dying.start::<Line>(1).await.unwrap().id();
    world.wait_began("one", 1).await;
    dying.abort();
    store.faults().on_claim({
        let world = world.clone();
        let mut done = false;
        move |_| {
            (world.now() >= crate::LEASE && !std::mem::replace(&mut done, true))
                .then_some(Fault::FailAfter)
        }
    });
    let heir = started(&store, &world).await;
    assert_eq!(
        failure(&heir.handle::<Line>(id).await.unwrap())
            .await
            .reason,
        FailureReason::Unknown
    );
    assert_eq!(world.effects(), ["undo one"]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_for_minutes_fails_no_step() {
    let (store, world, recorder) = (Memory::new(), World::new(), Arc::new(Recorder::default()));
    let engine = engine(&store, &world)
        .observer(Arc::clone(&recorder) as _)
        .start()
        .await
        .unwrap();
    world.plan("two", [seconds(5)]);
    let handle = engine.start::<Line>(1).await.unwrap();
    world.wait_began("two", 1).await;
    store.faults().set_down(true);
    tokio::time::sleep(SECOND * 600).await;
    assert_eq!(world.began(), ["one", "two"]);
    store.faults().set_down(false);
    completed(&handle).await;
    assert_eq!(world.effects(), ["one", "two", "three"]);
    assert!(
        !recorder.has("compensating") && !recorder.has("lost"),
        "{:?}",
        recorder.events()
    );
}

#[tokio::test(start_paused = true)]
async fn p7_no_attempt_begins_once_the_lease_may_have_passed() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    store.faults().on_renew(|_| Some(Fault::FailBefore));
    // Ends after the lease; its output is still stored, for the lease's end alone drops nothing.
    world.plan("one", [seconds(20)]);
    let handle = engine.start::<Line>(1).await.unwrap();
    tokio::time::sleep(SECOND * 120).await;
    assert_eq!(
        row(&store, handle.id(), "one").await.state,
        StepState::Completed
    );
    assert_eq!(world.began(), ["one"]);
    store.faults().clear();
    completed(&handle).await;
    assert_eq!(world.effects(), ["one", "two", "three"]);
    assert!(world.entries("two")[0].at >= SECOND * 120);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_held_back_begins_as_soon_as_a_slow_renewal_succeeds() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    tokio::time::sleep(SECOND).await;
    // Sent after 5 s, when the lease is good until 12 s; it arrives after 14 s.
    store
        .faults()
        .plan(Call::Renew, 1, Fault::Delay(SECOND * 9));
    world.plan("one", [Act::Sleep(SECOND * 12)]);
    let handle = engine.start::<Line>(1).await.unwrap();
    completed(&handle).await;
    assert_eq!(world.entries("two")[0].at.as_secs(), 14);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_never_answered_is_not_waited_for_for_ever() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    store.faults().plan(Call::Renew, 1, Fault::DropBefore);
    tokio::time::sleep(SECOND * 60).await;
    let handle = engine.start::<Line>(1).await.unwrap();
    completed(&handle).await;
}

fn has_output(batch: &[Write], step: &str) -> bool {
    batch.iter().any(|write| match write {
        Write::Progress(progress) => progress
            .steps
            .iter()
            .any(|row| row.name == step && row.output.is_some()),
        _ => false,
    })
}

#[tokio::test(start_paused = true)]
async fn an_output_that_the_store_refuses_is_undone_with_none_and_its_step_is_not_run_again() {
    let (store, world, recorder) = (Memory::new(), World::new(), Arc::new(Recorder::default()));
    let engine = engine(&store, &world)
        .observer(Arc::clone(&recorder) as _)
        .start()
        .await
        .unwrap();
    store
        .faults()
        .on_write(|batch| has_output(batch, "two").then_some(Fault::Refuse));
    let (refused, other) = (
        engine.start::<Line>(1).await.unwrap(),
        engine.start::<crate::Pivotal>(()).await.unwrap(),
    );
    let failure = failure(&refused).await;
    assert_eq!(
        (failure.step.as_deref(), failure.reason),
        (Some("two"), FailureReason::OutputRefused)
    );
    completed(&other).await;
    assert_eq!(world.entries("two").len(), 1);
    assert_eq!(
        (
            world.entries("undo two")[0].known,
            world.entries("undo one")[0].known
        ),
        (None, Some(2))
    );
    assert!(recorder.has("output of two refused"));
    assert!(
        !failure.message.is_empty(),
        "the failure says why: {failure:?}"
    );
}

/// Two steps that do not know each other.
struct Pair(World);

#[saga(name = "pair")]
impl Pair {
    #[step]
    async fn works(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 2)
    }

    #[compensate("works")]
    async fn undo_works(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        self.0.attempt(ctx, None).await
    }

    #[step(no_compensation)]
    async fn fails(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 1)
    }
}

#[tokio::test(start_paused = true)]
async fn p4_a_failure_is_stored_with_each_step_whose_output_the_store_would_not_take_with_it() {
    let (store, world) = (Memory::new(), World::new());
    let build = async || {
        let builder = Engine::builder(store.clone()).lease(crate::LEASE);
        builder.register(Pair(world.clone())).start().await.unwrap()
    };
    // Both end together, and so they are written together, once.
    world.plan("works", [seconds(1)]);
    let no = Act::Fail(StepError::permanent("no"));
    world.plan("fails", [seconds(1), no]);
    let mut answers = [Fault::Refuse].into_iter();
    store.faults().on_write(move |batch| {
        let answer = || answers.next().unwrap_or(Fault::DropBefore);
        has_output(batch, "works").then(answer)
    });
    let first = build().await;
    let id = first.start::<Pair>(()).await.unwrap().id();
    until("the failure is stored", async || {
        state(&store, id).await == InstanceState::Compensating
    })
    .await;
    first.abort();
    store.faults().on_write(|_| None);
    let heir = build().await;
    failure(&heir.handle::<Pair>(id).await.unwrap()).await;
    assert_eq!(world.effects(), ["works", "undo works"]);
}

/// Four steps that do not know each other.
struct Four(World);

#[saga(name = "four")]
impl Four {
    #[step(no_compensation)]
    async fn one(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 1)
    }

    #[step(no_compensation)]
    async fn two(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 2)
    }

    #[step(no_compensation)]
    async fn waits(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 3)
    }

    #[step(no_compensation)]
    async fn fails(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 4)
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_has_one_row_of_a_step_also_if_it_waited_when_the_write_was_due() {
    let (store, world) = (Memory::new(), World::new());
    world.plan("one", [seconds(1)]);
    world.plan("two", [seconds(1)]);
    world.fail("waits", [StepError::pending(SECOND * 5)]);
    let no = Act::Fail(StepError::permanent("no"));
    world.plan("fails", [seconds(10), no]);
    // The outputs of `one` and `two` have to wait until the others have ended, and are then refused.
    let refused = Arc::new(AtomicBool::new(false));
    store.faults().on_write({
        let (world, refused) = (world.clone(), Arc::clone(&refused));
        move |batch| {
            for write in batch {
                let Write::Progress(progress) = write else {
                    continue;
                };
                let mut names: Vec<_> = progress.steps.iter().map(|row| &row.name).collect();
                names.sort_unstable();
                names.dedup();
                assert_eq!(names.len(), progress.steps.len(), "{progress:?}");
            }
            if !(has_output(batch, "one") && has_output(batch, "two")) {
                return None;
            }
            if world.now() < SECOND * 20 {
                return Some(Fault::FailBefore);
            }
            refused.store(true, Ordering::Relaxed);
            Some(Fault::Refuse)
        }
    });
    let builder = Engine::builder(store.clone()).wake_up_after(SECOND);
    let engine = builder.register(Four(world.clone())).start().await.unwrap();
    let handle = engine.start::<Four>(()).await.unwrap();
    assert_eq!(failure(&handle).await.step.as_deref(), Some("fails"));
    assert!(
        refused.load(Ordering::Relaxed),
        "it was as it is meant to be"
    );
}

#[tokio::test(start_paused = true)]
async fn p6_an_output_that_the_store_refuses_from_the_pivot_on_makes_it_stuck() {
    for (step, reason) in [
        ("p", StuckReason::PivotInDoubt),
        ("z", StuckReason::StepGaveUp),
    ] {
        let (store, world) = (Memory::new(), World::new());
        let engine = started(&store, &world).await;
        store
            .faults()
            .on_write(move |batch| has_output(batch, step).then_some(Fault::Refuse));
        let stuck = crate::stuck(&engine.start::<crate::Pivotal>(()).await.unwrap()).await;
        assert_eq!((stuck.step.as_deref(), stuck.reason), (Some(step), reason));
        assert_eq!(world.entries(step).len(), 1);
        assert!(world.entries("undo a").is_empty());
        assert!(!stuck.message.is_empty(), "it says why: {stuck:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_instance_spoils_no_other_of_its_batch() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    store.faults().on_write(|batch| {
        batch
            .iter()
            .any(|write| matches!(write, Write::Accept(accept) if accept.input.bytes == b"13"))
            .then_some(Fault::Refuse)
    });
    let starts: Vec<_> = (10..20)
        .map(|input| {
            let engine = engine.clone();
            tokio::spawn(async move { engine.start::<Line>(input).await.map(|handle| handle.id()) })
        })
        .collect();
    let mut refused = 0;
    for start in starts {
        match start.await.unwrap() {
            Ok(id) => {
                until("completed", async || {
                    state(&store, id).await == InstanceState::Completed
                })
                .await;
            }
            Err(error) => {
                assert!(error.is_invalid(), "{error}");
                refused += 1;
            }
        }
    }
    assert_eq!(
        (
            refused,
            store.list(&Filter::all()).await.unwrap().instances.len()
        ),
        (1, 9)
    );
}
