//! How instances come to their owners.

use super::{Harness, fixture::*};
use crate::{
    id::{EngineId, SagaId},
    store::{Accept, Claim, InstanceState, Progress, SagaStore, StepState, StepWrite, Wake, Write},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// An instance that was accepted without an owner is due at once.
pub async fn a_claim_takes_what_nobody_owns(harness: &impl Harness) {
    let store = harness.open().await;
    let id = store_accept(&store, &accept()).await;
    let second = harness.second(&store).await;
    let (engine, snapshot) = claim_one(&second, id).await;
    let summary = &snapshot.summary;
    assert_eq!(
        (summary.owner, summary.epoch, summary.takeovers),
        (Some(engine), 1, 0)
    );
    assert_eq!(summary.state, InstanceState::Pending);
    assert!(!snapshot.taken_over && !snapshot.suspect);
    assert_eq!(load(&store, id).await.token(), snapshot.token());
    store_progress(
        &store,
        &progress(id, snapshot.token().unwrap(), InstanceState::Executing),
    )
    .await;
    assert!(
        second
            .claim(&claim_by(engine))
            .await
            .unwrap()
            .instances
            .is_empty(),
        "it is taken once"
    );
}

/// It never had one, or was retired.
pub async fn a_claimer_without_a_lease_gets_nothing(harness: &impl Harness) {
    let store = harness.open().await;
    let id = store_accept(&store, &accept()).await;
    let (never, retired) = (EngineId::random(), engine(&store).await);
    store.retire(retired).await.unwrap();
    for claimer in [never, retired] {
        let claimed = store.claim(&claim_by(claimer)).await.unwrap();
        assert!(claimed.instances.is_empty() && claimed.poisoned.is_empty());
        assert_eq!(load(&store, id).await.summary.epoch, 0);
    }
}

/// Neither by others nor by itself.
pub async fn p7_the_instances_of_a_live_engine_are_not_claimed(harness: &impl Harness) {
    let store = harness.open().await;
    let (first, second) = (engine(&store).await, engine(&store).await);
    let (id, token) = owned(&store, first).await;
    for claimer in [first, second] {
        assert!(
            store
                .claim(&claim_by(claimer))
                .await
                .unwrap()
                .instances
                .is_empty()
        );
    }
    assert_eq!(load(&store, id).await.token(), Some(token));
}

/// Its successor is told that attempts may have had their effect.
pub async fn p1_the_instances_of_a_dead_engine_are_claimed(harness: &impl Harness) {
    let store = harness.open().await;
    let first = engine(&store).await;
    let (pending, _) = owned(&store, first).await;
    let (executing, _) = in_state(&store, first, InstanceState::Executing).await;
    let (compensating, _) = in_state(&store, first, InstanceState::Compensating).await;
    store.retire(first).await.unwrap();

    let second = engine(&store).await;
    let claimed = store.claim(&claim_by(second)).await.unwrap();
    assert_eq!(ids(&claimed), [pending, executing, compensating]);
    for snapshot in &claimed.instances {
        assert!(snapshot.taken_over && !snapshot.suspect);
        assert_eq!(
            (snapshot.summary.owner, snapshot.summary.epoch),
            (Some(second), 2)
        );
        assert_eq!(snapshot.summary.takeovers, 1);
    }
}

/// The others wait for the next one.
pub async fn a_claim_takes_no_more_than_its_limit(harness: &impl Harness) {
    let store = harness.open().await;
    let mut accepted = BTreeSet::new();
    for _ in 0..7 {
        accepted.insert(store_accept(&store, &accept()).await);
    }
    let engine = engine(&store).await;
    let mut taken = Vec::new();
    for (limit, expected) in [(0, 0), (3, 3), (3, 3), (3, 1), (3, 0)] {
        let claimed = store
            .claim(&Claim {
                limit,
                ..claim_by(engine)
            })
            .await
            .unwrap();
        assert_eq!(claimed.instances.len(), expected);
        taken.extend(ids(&claimed));
    }
    assert_eq!(taken.len(), 7);
    assert_eq!(taken.into_iter().collect::<BTreeSet<_>>(), accepted);
}

/// So that nothing starves while there is more work than room.
pub async fn what_is_due_longest_is_claimed_first(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let (mut expected, mut writes) = (Vec::new(), Vec::new());
    for delay_ms in [90, 10, 50] {
        let (id, token) = owned(&store, engine).await;
        expected.push((delay_ms, id));
        writes.push(Write::Progress(Progress {
            release: Some(Wake::After(Duration::from_millis(delay_ms))),
            ..progress(id, token, InstanceState::Executing)
        }));
    }
    // In one batch, so that the delays count from one moment, however slow the store is.
    store.write(&writes).await.unwrap();
    expected.sort_unstable();
    let look = Claim {
        limit: 0,
        suspect: false,
        ..claim_by(engine)
    };
    until("all of them are due", async || {
        store
            .claim(&look)
            .await
            .unwrap()
            .next_due
            .is_none()
            .then_some(())
    })
    .await;
    for (_, id) in expected {
        let claimed = store
            .claim(&Claim {
                limit: 1,
                ..claim_by(engine)
            })
            .await
            .unwrap();
        assert_eq!(ids(&claimed), [id]);
    }
}

/// An engine that has the definition will come.
pub async fn p8_what_an_engine_cannot_run_is_left_untouched(harness: &impl Harness) {
    let store = harness.open().await;
    let first = engine(&store).await;
    let unowned = store_accept(&store, &accept_of(definition("returns"))).await;
    let orphan = Accept {
        owner: Some(first),
        ..accept_of(definition("returns"))
    };
    let orphan = store_accept(&store, &orphan).await;
    store.retire(first).await.unwrap();
    let second = engine(&store).await;
    for id in [unowned, orphan] {
        let before = picture(&store, id).await;
        assert!(
            store
                .claim(&claim_by(second))
                .await
                .unwrap()
                .instances
                .is_empty()
        );
        let nothing = Claim {
            runnable: Vec::new(),
            ..claim_by(second)
        };
        assert!(store.claim(&nothing).await.unwrap().instances.is_empty());
        assert_eq!(picture(&store, id).await, before);
    }
    let both = Claim {
        runnable: vec![runnable(definition("returns"))],
        ..claim_by(second)
    };
    assert_eq!(ids(&store.claim(&both).await.unwrap()).len(), 2);
}

/// Together they take everything.
pub async fn p7_two_engines_that_race_share_no_instance(harness: &impl Harness) {
    let first = Arc::new(harness.open().await);
    let second = Arc::new(harness.second(&first).await);
    let accepts: Vec<_> = (0..200).map(|_| accept()).collect();
    let batch: Vec<_> = accepts.iter().cloned().map(Write::Accept).collect();
    write(&*first, &batch).await;

    let racers = [first, second].map(|store| {
        tokio::spawn(async move {
            let claim = Claim {
                limit: 7,
                ..claim_by(engine(&*store).await)
            };
            let mut taken = Vec::new();
            loop {
                match store.claim(&claim).await {
                    Ok(claimed) if claimed.instances.is_empty() => break,
                    Ok(claimed) => taken.extend(ids(&claimed)),
                    Err(error) => assert!(error.is_transient(), "{error:?}"),
                }
                tokio::task::yield_now().await;
            }
            taken
        })
    });
    let mut taken = Vec::new();
    for racer in racers {
        taken.extend(racer.await.unwrap());
    }
    assert_eq!(taken.len(), 200, "each is taken once");
    let accepted: BTreeSet<SagaId> = accepts.iter().map(|accept| accept.id).collect();
    assert_eq!(taken.into_iter().collect::<BTreeSet<_>>(), accepted);
}

/// So that an idle engine knows how long it may sleep.
pub async fn a_claim_tells_the_next_wake_up(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    owned(&store, engine).await;
    assert_eq!(
        store.claim(&claim_by(engine)).await.unwrap().next_due,
        None,
        "owned instances wake by themselves"
    );
    released(&store, engine, Wake::After(HOUR * 3)).await;
    released(&store, engine, Wake::After(HOUR)).await;
    let next_due = store.claim(&claim_by(engine)).await.unwrap().next_due;
    assert_left(next_due, HOUR);
}

/// Another one's wake-up is another one's business.
pub async fn the_next_wake_up_is_of_what_the_engine_can_run(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let accept = Accept {
        owner: Some(engine),
        ..accept_of(definition("returns"))
    };
    let id = store_accept(&store, &accept).await;
    let token = load(&store, id).await.token().unwrap();
    let release = Progress {
        release: Some(Wake::After(HOUR)),
        ..progress(id, token, InstanceState::Executing)
    };
    store_progress(&store, &release).await;
    assert_eq!(store.claim(&claim_by(engine)).await.unwrap().next_due, None);
    let returns = Claim {
        runnable: vec![runnable(definition("returns"))],
        ..claim_by(engine)
    };
    assert!(store.claim(&returns).await.unwrap().next_due.is_some());
}

/// The engine reads nothing else to go on.
pub async fn a_claimed_instance_comes_with_all_that_is_stored(harness: &impl Harness) {
    let store = harness.open().await;
    let first = engine(&store).await;
    let accept = Accept {
        owner: Some(first),
        deadline: Some(HOUR),
        ..accept_with_key(&store, "order-1")
    };
    let id = store_accept(&store, &accept).await;
    let token = load(&store, id).await.token().unwrap();
    let waiting = StepWrite {
        attempts: 3,
        error: Some("timed out".to_owned()),
        wake: Some(HOUR),
        ..step("charge", StepState::Unknown)
    };
    let write = Progress {
        failure: Some(failure("declined")),
        steps: vec![completed("reserve", "1"), waiting],
        ..progress(id, token, InstanceState::Compensating)
    };
    store_progress(&store, &write).await;
    store.request_cancel(id).await.unwrap();
    store.retire(first).await.unwrap();

    let (second, snapshot) = claim_one(&store, id).await;
    assert_eq!(snapshot.summary.owner, Some(second));
    assert_eq!(snapshot.summary.state, InstanceState::Compensating);
    assert_eq!(snapshot.summary.failure, Some(failure("declined")));
    assert_eq!(snapshot.summary.start_key, accept.start_key);
    assert_eq!(snapshot.input, accept.input);
    assert!(snapshot.cancel_requested);
    assert_left(snapshot.deadline, HOUR);
    assert_eq!(snapshot.steps.len(), 2);
    assert_eq!(stored_step(&snapshot, "reserve").output, Some(json("1")));
    let charge = stored_step(&snapshot, "charge");
    assert_eq!(
        (charge.state, charge.attempts, charge.error.as_deref()),
        (StepState::Unknown, 3, Some("timed out"))
    );
    assert_left(charge.wake, HOUR);
}

/// Its attempts ended before it was released.
pub async fn a_released_instance_does_not_count_as_taken_over(harness: &impl Harness) {
    let store = harness.open().await;
    let first = engine(&store).await;
    let (id, _) = released(&store, first, Wake::Now).await;
    store.retire(first).await.unwrap();
    let (_, snapshot) = claim_one(&store, id).await;
    assert!(!snapshot.taken_over);
    assert_eq!((snapshot.summary.takeovers, snapshot.summary.epoch), (0, 2));
}

/// News are a courtesy: a store may have none, and what they tell is found without them. Waiting for them harms nothing, and
/// nor does ceasing to wait.
pub async fn news_may_be_dropped_and_missed(harness: &impl Harness) {
    let store = harness.open().await;
    let second = harness.second(&store).await;
    let engine = engine(&second).await;
    for _ in 0..3 {
        // Dropped in the middle, as an engine does that has something else to do.
        let moment = Duration::from_millis(5);
        let _ = tokio::time::timeout(moment, second.news()).await;
        let id = store_accept(&store, &accept()).await;
        let _ = tokio::time::timeout(moment, second.news()).await;
        let claimed = second.claim(&claim_by(engine)).await.unwrap();
        assert_eq!(ids(&claimed), [id]);
    }
}
