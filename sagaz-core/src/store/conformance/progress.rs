//! What a write of the owner stores.

use super::{Harness, fixture::*};
use crate::{
    definition::StepKind,
    store::{InstanceState, Progress, SagaStore, StepState, StepWrite, Wake},
};
use std::time::Duration;

/// A later row without an output does not take it away.
pub async fn p2_a_stored_output_stays(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let (id, token) = owned(&store, engine).await;
    let mut write = progress(id, token, InstanceState::Executing);
    write.steps.push(completed("reserve", r#"{"shelf":7}"#));
    store_progress(&store, &write).await;

    for state in [StepState::Compensating, StepState::Compensated] {
        let mut undo = progress(id, token, InstanceState::Compensating);
        undo.steps.push(step("reserve", state));
        store_progress(&store, &undo).await;
        let snapshot = load(&store, id).await;
        let row = stored_step(&snapshot, "reserve");
        assert_eq!(
            (row.state, &row.output),
            (state, &Some(json(r#"{"shelf":7}"#)))
        );
    }
}

/// Everything but the output is as the last write says.
pub async fn a_step_row_replaces_the_old_one(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let (id, token) = owned(&store, engine).await;
    let waiting = StepWrite {
        attempts: 3,
        undo_attempts: 2,
        recoveries: 1,
        error: Some("connection reset".to_owned()),
        wake: Some(HOUR),
        ..step("reserve", StepState::Unknown)
    };
    let write = |step: &StepWrite| Progress {
        steps: vec![step.clone()],
        ..progress(id, token, InstanceState::Executing)
    };
    store_progress(&store, &write(&waiting)).await;
    let snapshot = load(&store, id).await;
    let row = stored_step(&snapshot, "reserve");
    assert_eq!(
        (row.state, row.attempts, row.undo_attempts, row.recoveries),
        (StepState::Unknown, 3, 2, 1)
    );
    assert_eq!(
        (row.error.as_deref(), &row.output),
        (Some("connection reset"), &None)
    );
    assert!(row.wake.is_some());

    let done = StepWrite {
        attempts: 4,
        ..completed("reserve", "1")
    };
    store_progress(&store, &write(&done)).await;
    let snapshot = load(&store, id).await;
    let row = stored_step(&snapshot, "reserve");
    assert_eq!(snapshot.steps.len(), 1);
    assert_eq!(
        (row.state, row.attempts, row.undo_attempts, row.recoveries),
        (StepState::Completed, 4, 0, 0)
    );
    assert_eq!(
        (&row.error, &row.output, row.wake),
        (&None, &Some(json("1")), None)
    );
}

/// Of this instance and of all others.
pub async fn other_steps_stay_as_they_were(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let (id, token) = owned(&store, engine).await;
    let (other, other_token) = owned(&store, engine).await;
    let mut write = progress(id, token, InstanceState::Executing);
    write.steps = vec![completed("reserve", "1"), completed("charge", "2")];
    store_progress(&store, &write).await;
    store_progress(
        &store,
        &Progress {
            id: other,
            token: other_token,
            ..write.clone()
        },
    )
    .await;

    let before = picture(&store, other).await;
    write.steps = vec![
        step("charge", StepState::Compensated),
        step("ship", StepState::Failed),
    ];
    store_progress(&store, &write).await;
    let snapshot = load(&store, id).await;
    assert_eq!(snapshot.steps.len(), 3);
    assert_eq!(
        stored_step(&snapshot, "reserve").state,
        StepState::Completed
    );
    assert_eq!(
        stored_step(&snapshot, "charge").state,
        StepState::Compensated
    );
    assert_eq!(stored_step(&snapshot, "ship").state, StepState::Failed);
    assert_eq!(picture(&store, other).await, before);
}

/// None of the words is unknown to the store.
pub async fn every_step_state_and_kind_can_be_stored(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let (id, token) = owned(&store, engine).await;
    for kind in StepKind::ALL {
        let mut write = progress(id, token, InstanceState::Executing);
        write.steps = StepState::ALL
            .map(|state| StepWrite {
                kind,
                ..step(state.as_str(), state)
            })
            .to_vec();
        store_progress(&store, &write).await;
        let snapshot = load(&store, id).await;
        for state in StepState::ALL {
            assert_eq!(stored_step(&snapshot, state.as_str()).state, state);
        }
    }
}

/// `None` leaves it; another one replaces it.
pub async fn a_failure_once_stored_stays(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let (id, token) = owned(&store, engine).await;
    for (written, stored) in [
        (None, None),
        (Some("one"), Some("one")),
        (None, Some("one")),
        (Some("two"), Some("two")),
    ] {
        let failed = Progress {
            failure: written.map(failure),
            ..progress(id, token, InstanceState::Compensating)
        };
        store_progress(&store, &failed).await;
        assert_eq!(load(&store, id).await.summary.failure, stored.map(failure));
    }
}

/// `None` clears it.
pub async fn why_it_is_stuck_is_stored_as_it_is(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let (id, token) = owned(&store, engine).await;
    for why in [
        Some(stuck("one undo gave up")),
        None,
        Some(stuck("two undos gave up")),
    ] {
        let write = Progress {
            stuck: why.clone(),
            ..progress(id, token, InstanceState::Compensating)
        };
        store_progress(&store, &write).await;
        assert_eq!(load(&store, id).await.summary.stuck, why);
    }
}

/// An operator and a request to cancel go by it.
pub async fn that_the_pivot_is_passed_is_stored(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let (id, token) = owned(&store, engine).await;
    for pivot_passed in [false, true] {
        let write = Progress {
            pivot_passed,
            ..progress(id, token, InstanceState::Executing)
        };
        store_progress(&store, &write).await;
        let summary = load(&store, id).await.summary;
        assert_eq!(
            (summary.pivot_passed, summary.state),
            (pivot_passed, InstanceState::Executing)
        );
    }
}

/// The row of the instance and those of the steps, by the store's clock.
pub async fn a_write_is_dated(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let (id, token) = owned(&store, engine).await;
    let first = load(&store, id).await.summary;
    let mut write = progress(id, token, InstanceState::Executing);
    write.steps.push(completed("reserve", "1"));
    let (snapshot, step) = until("the store's clock has moved on", async || {
        store_progress(&store, &write).await;
        let snapshot = load(&store, id).await;
        let step = stored_step(&snapshot, "reserve").updated_at;
        (step > first.updated_at).then_some((snapshot, step))
    })
    .await;
    assert_eq!(snapshot.summary.created_at, first.created_at);
    // In one transaction; a store may look at its clock for each of its statements.
    let apart = snapshot.summary.updated_at.duration_since(step);
    let apart = apart.unwrap_or_else(|error| error.duration());
    assert!(apart < Duration::from_mins(1), "{apart:?} apart");
    assert!(snapshot.summary.updated_at > first.updated_at);
}

/// Any engine takes it.
pub async fn p1_a_released_instance_is_due_at_once(harness: &impl Harness) {
    let store = harness.open().await;
    let first = engine(&store).await;
    let (id, _) = released(&store, first, Wake::Now).await;
    let summary = load(&store, id).await.summary;
    assert_eq!(
        (summary.owner, summary.epoch, summary.state),
        (None, 1, InstanceState::Executing)
    );
    let (second, snapshot) = claim_one(&store, id).await;
    assert_eq!(
        (snapshot.summary.owner, snapshot.summary.epoch),
        (Some(second), 2)
    );
}

/// Not before, and without anybody's help then.
pub async fn p1_a_released_instance_becomes_due_after_its_delay(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let (late, _) = released(&store, engine, Wake::After(HOUR)).await;
    let (soon, _) = released(&store, engine, Wake::After(Duration::from_millis(50))).await;
    claim_until_taken(&store, &claim_by(engine), soon).await;
    assert_eq!(load(&store, late).await.summary.owner, None);
    assert!(
        store
            .claim(&claim_by(engine))
            .await
            .unwrap()
            .instances
            .is_empty()
    );
}

/// Completed, rolled back or stuck: whatever the write says about a release.
pub async fn p8_an_ended_instance_belongs_to_nobody_and_is_not_claimed(harness: &impl Harness) {
    let store = harness.open().await;
    let first = engine(&store).await;
    let mut ended = Vec::new();
    for state in InstanceState::ALL
        .into_iter()
        .filter(|state| !state.is_live())
    {
        for release in [None, Some(Wake::Now), Some(Wake::After(Duration::ZERO))] {
            let (id, token) = owned(&store, first).await;
            store_progress(
                &store,
                &Progress {
                    release,
                    ..progress(id, token, state)
                },
            )
            .await;
            let summary = load(&store, id).await.summary;
            assert_eq!(
                (summary.state, summary.owner, summary.epoch),
                (state, None, 1)
            );
            ended.push((id, picture(&store, id).await));
        }
    }
    store.retire(first).await.unwrap();
    let second = engine(&store).await;
    let claimed = store.claim(&claim_by(second)).await.unwrap();
    assert!(
        claimed.instances.is_empty() && claimed.poisoned.is_empty() && claimed.next_due.is_none(),
        "{claimed:?}"
    );
    for (id, before) in ended {
        assert_eq!(picture(&store, id).await, before);
    }
}
