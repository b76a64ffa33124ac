//! What operators do to stuck instances.

use super::{Harness, fixture::*};
use crate::{
    id::{SagaId, Token},
    store::{
        Accept, Claim, InstanceState, Intervention, OperatorWrite, Progress, Retention, SagaStore,
        StepState, StepWrite, Written,
    },
};
use std::time::{Duration, UNIX_EPOCH};

/// A stuck instance with two steps, and the token that it was written with.
async fn stuck_instance(store: &impl SagaStore) -> (SagaId, Token) {
    let engine = engine(store).await;
    let (id, token) = owned(store, engine).await;
    let write = Progress {
        failure: Some(failure("declined")),
        steps: vec![
            completed("reserve", "1"),
            step("charge", StepState::CompensationFailed),
        ],
        ..progress(id, token, InstanceState::Stuck)
    };
    store_progress(store, &write).await;
    (id, token)
}

/// At the next epoch, due at once, as if it had never been stuck; who did it and why is on record.
pub async fn p8_a_decision_sets_a_stuck_instance_going(harness: &impl Harness) {
    let store = harness.open().await;
    let owner = engine(&store).await;
    let (id, token) = owned(&store, owner).await;
    store.request_cancel(id).await.unwrap();
    store_progress(&store, &progress(id, token, InstanceState::Stuck)).await;

    let write = OperatorWrite {
        pivot_passed: true,
        failure: Some(failure("by hand")),
        ..operator_write(id, 1, InstanceState::Executing)
    };
    assert!(harness.second(&store).await.operate(&write).await.unwrap());
    let snapshot = load(&store, id).await;
    let summary = &snapshot.summary;
    assert_eq!(
        (summary.state, summary.owner, summary.epoch),
        (InstanceState::Executing, None, 2)
    );
    assert_eq!(
        (&summary.stuck, &summary.failure),
        (&None, &Some(failure("by hand")))
    );
    assert!(summary.pivot_passed);
    assert!(
        !snapshot.cancel_requested,
        "an older request to cancel is settled by the decision"
    );
    let [recorded] = &snapshot.interventions[..] else {
        panic!("{:?}", snapshot.interventions)
    };
    assert_eq!(
        Intervention {
            at_ms: 0,
            ..recorded.clone()
        },
        intervention()
    );
    let created_ms = summary
        .created_at
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis();
    assert!(
        u128::from(recorded.at_ms) + 1 >= created_ms,
        "the store fills in the time"
    );

    let (_, claimed) = claim_one(&store, id).await;
    assert_eq!((claimed.summary.epoch, claimed.taken_over), (3, false));
    assert_eq!(claimed.interventions, snapshot.interventions);
}

/// The operator saw another state of affairs.
pub async fn a_decision_at_another_epoch_changes_nothing(harness: &impl Harness) {
    let store = harness.open().await;
    let (id, token) = stuck_instance(&store).await;
    let before = picture(&store, id).await;
    for epoch in [token.epoch - 1, token.epoch + 1] {
        let mut write = operator_write(id, epoch, InstanceState::Compensating);
        write.steps.push(step("charge", StepState::Resolved));
        assert!(!store.operate(&write).await.unwrap());
        assert_eq!(picture(&store, id).await, before);
    }
}

/// Owners decide on live ones, and nobody on ended ones.
pub async fn only_a_stuck_instance_can_be_operated(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    for state in InstanceState::ALL
        .into_iter()
        .filter(|state| *state != InstanceState::Stuck)
    {
        let (id, token) = in_state(&store, engine, state).await;
        let before = picture(&store, id).await;
        assert!(
            !store
                .operate(&operator_write(id, token.epoch, InstanceState::Completed))
                .await
                .unwrap(),
            "{state}"
        );
        assert_eq!(picture(&store, id).await, before, "{state}");
    }
    assert!(
        !store
            .operate(&operator_write(SagaId::new(), 1, InstanceState::Completed))
            .await
            .unwrap()
    );
}

/// A repeat changes nothing, even if the instance is stuck again.
pub async fn a_decision_is_applied_once(harness: &impl Harness) {
    let store = harness.open().await;
    let (id, token) = stuck_instance(&store).await;
    let decision = operator_write(id, token.epoch, InstanceState::Executing);
    assert!(store.operate(&decision).await.unwrap());
    let before = picture(&store, id).await;
    assert!(!store.operate(&decision).await.unwrap());
    assert_eq!(picture(&store, id).await, before);

    let (_, snapshot) = claim_one(&store, id).await;
    store_progress(
        &store,
        &progress(id, snapshot.token().unwrap(), InstanceState::Stuck),
    )
    .await;
    let before = picture(&store, id).await;
    assert!(!store.operate(&decision).await.unwrap());
    assert_eq!(picture(&store, id).await, before);
}

/// Compare-and-set, across processes.
pub async fn p7_of_two_decisions_at_once_one_is_applied(harness: &impl Harness) {
    let store = harness.open().await;
    let second = harness.second(&store).await;
    let (id, token) = stuck_instance(&store).await;
    let decide = |who: &str, state| {
        let mut write = operator_write(id, token.epoch, state);
        who.clone_into(&mut write.intervention.who);
        write
    };
    let (retry, undo) = (
        decide("ada", InstanceState::Executing),
        decide("bob", InstanceState::Compensating),
    );
    let (one, other) =
        futures_util::future::join(store.operate(&retry), second.operate(&undo)).await;
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(one != other, "one of them: {one} {other}");
    let snapshot = load(&store, id).await;
    let applied = if one { retry } else { undo };
    assert_eq!(
        (snapshot.summary.state, snapshot.summary.epoch),
        (applied.state, token.epoch + 1)
    );
    assert_eq!(snapshot.interventions.len(), 1);
    assert_eq!(snapshot.interventions[0].who, applied.intervention.who);
}

/// Its repeat as well: the instance has gone on.
pub async fn p7_a_write_from_before_a_decision_is_lost(harness: &impl Harness) {
    let store = harness.open().await;
    let (id, token) = stuck_instance(&store).await;
    assert!(
        store
            .operate(&operator_write(
                id,
                token.epoch,
                InstanceState::Compensating
            ))
            .await
            .unwrap()
    );
    let before = picture(&store, id).await;
    let late = progress(id, token, InstanceState::Stuck);
    assert_eq!(write_progress(&store, &late).await, Written::Lost);
    assert_eq!(picture(&store, id).await, before);
}

/// As an owner's write does; a failure that is not named stays.
pub async fn a_decision_replaces_steps_and_keeps_outputs(harness: &impl Harness) {
    let store = harness.open().await;
    let (id, token) = stuck_instance(&store).await;
    let resolved = StepWrite {
        undo_attempts: 9,
        ..step("charge", StepState::Resolved)
    };
    let write = OperatorWrite {
        steps: vec![
            resolved,
            step("reserve", StepState::Compensating),
            completed("ship", "3"),
        ],
        ..operator_write(id, token.epoch, InstanceState::Compensating)
    };
    assert!(store.operate(&write).await.unwrap());
    let snapshot = load(&store, id).await;
    assert_eq!(snapshot.summary.failure, Some(failure("declined")));
    assert_eq!(snapshot.steps.len(), 3);
    let charge = stored_step(&snapshot, "charge");
    assert_eq!(
        (charge.state, charge.undo_attempts),
        (StepState::Resolved, 9)
    );
    let reserve = stored_step(&snapshot, "reserve");
    assert_eq!(
        (reserve.state, &reserve.output),
        (StepState::Compensating, &Some(json("1")))
    );
    assert_eq!(stored_step(&snapshot, "ship").output, Some(json("3")));
}

/// If nothing is left to do.
pub async fn a_decision_can_end_an_instance(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    for state in [InstanceState::Completed, InstanceState::RolledBack] {
        let (id, token) = stuck_instance(&store).await;
        assert!(
            store
                .operate(&operator_write(id, token.epoch, state))
                .await
                .unwrap()
        );
        let summary = load(&store, id).await.summary;
        assert_eq!(
            (summary.state, summary.owner, summary.epoch),
            (state, None, token.epoch + 1)
        );
        assert_eq!(summary.stuck, None);
        let claimed = store
            .claim(&Claim {
                limit: 10,
                ..claim_by(engine)
            })
            .await
            .unwrap();
        assert!(claimed.instances.is_empty());
        let prunable = async || {
            (store
                .prune(Duration::ZERO, 10, Retention::Delete)
                .await
                .unwrap()
                == 1)
                .then_some(())
        };
        until("it is prunable", prunable).await;
    }
}

/// With all that happened in between.
pub async fn interventions_are_listed_oldest_first(harness: &impl Harness) {
    let store = harness.open().await;
    let owner = engine(&store).await;
    let id = store_accept(
        &store,
        &Accept {
            owner: Some(owner),
            ..accept()
        },
    )
    .await;
    let mut token = Token { owner, epoch: 1 };
    for n in 0..3 {
        store_progress(&store, &progress(id, token, InstanceState::Stuck)).await;
        let mut write = operator_write(id, token.epoch, InstanceState::Executing);
        write.intervention.action = format!("action {n}");
        assert!(store.operate(&write).await.unwrap());
        let (_, snapshot) = claim_one(&store, id).await;
        token = snapshot.token().unwrap();
    }
    let interventions = load(&store, id).await.interventions;
    let actions: Vec<_> = interventions.iter().map(|it| it.action.as_str()).collect();
    assert_eq!(actions, ["action 0", "action 1", "action 2"]);
    assert!(interventions.is_sorted_by_key(|it| it.at_ms));
}
