//! A store that is slow, busy or unreachable, and one that refuses a row.

use crate::{
    Line, completed, engine, failure, outcome, row, seconds, started, state, support::*, unclear,
    until,
};
use sagaz::{
    FailureReason, StepError, StuckReason,
    store::{
        Filter, InstanceState, SagaStore, StepState, Write,
        fault::{Call, Fault},
        memory::Memory,
    },
};
use std::sync::Arc;

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
