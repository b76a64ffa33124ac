//! Instances that may be killing their processes. With the claims of these rules, an instance is a suspect after two
//! takeovers without a stored step, and poison after two more while it ran as one.

use super::{Harness, fixture::*};
use crate::{
    id::{EngineId, SagaId, Token},
    outcome::StuckReason,
    store::{
        Claim, InstanceState, Poisoned, Progress, SagaStore, Snapshot, StepState, StepWrite, Wake,
        Written,
    },
};
use std::time::Duration;

/// The owner dies, and another engine takes over what it can.
async fn die(store: &impl SagaStore, owner: EngineId, id: SagaId) -> (EngineId, Snapshot) {
    store.retire(owner).await.unwrap();
    claim_one(store, id).await
}

/// An instance whose first owner died, and the second one: its token. One more death makes it a suspect.
async fn nearly_suspect(store: &impl SagaStore) -> (SagaId, Token) {
    let first = engine(store).await;
    let (id, _) = owned(store, first).await;
    let (second, snapshot) = die(store, first, id).await;
    assert_eq!(
        (
            snapshot.summary.takeovers,
            snapshot.suspect,
            snapshot.taken_over
        ),
        (1, false, true)
    );
    (
        id,
        Token {
            owner: second,
            epoch: 2,
        },
    )
}

/// An instance that runs as a suspect, and its token.
async fn running_suspect(store: &impl SagaStore) -> (SagaId, Token) {
    let (id, token) = nearly_suspect(store).await;
    let (_, snapshot) = die(store, token.owner, id).await;
    assert!(snapshot.suspect && snapshot.taken_over);
    (id, snapshot.token().unwrap())
}

/// A claim after which a postponed instance stays away.
fn claim_with_long_delay(engine: EngineId) -> Claim {
    Claim {
        suspect_delay: HOUR,
        suspect_delay_max: HOUR * 10,
        ..claim_by(engine)
    }
}

/// The one who takes it is told.
pub async fn p8_after_two_takeovers_without_a_stored_step_it_is_a_suspect(harness: &impl Harness) {
    let store = harness.open().await;
    let (id, token) = running_suspect(&store).await;
    let summary = load(&store, id).await.summary;
    assert_eq!(
        (summary.takeovers, summary.epoch, summary.state),
        (2, 3, InstanceState::Pending)
    );
    store_progress(&store, &progress(id, token, InstanceState::Executing)).await;
}

/// They may not kill each other's process.
pub async fn a_claim_takes_one_suspect_at_most(harness: &impl Harness) {
    let store = harness.open().await;
    let (one, one_token) = nearly_suspect(&store).await;
    let (other, other_token) = nearly_suspect(&store).await;
    store.retire(one_token.owner).await.unwrap();
    store.retire(other_token.owner).await.unwrap();
    let heir = engine(&store).await;
    let mut taken = Vec::new();
    for _ in 0..2 {
        let claimed = store.claim(&claim_by(heir)).await.unwrap();
        assert_eq!(claimed.instances.len(), 1);
        assert!(claimed.instances[0].suspect);
        taken.extend(ids(&claimed));
    }
    taken.sort_unstable();
    let mut expected = [one, other];
    expected.sort_unstable();
    assert_eq!(taken, expected);
}

/// Room for others is no room for it, and the other way round.
pub async fn a_suspect_needs_room_for_it_and_no_other(harness: &impl Harness) {
    let store = harness.open().await;
    let (suspect, token) = nearly_suspect(&store).await;
    store.retire(token.owner).await.unwrap();
    let plain = store_accept(&store, &accept()).await;
    let heir = engine(&store).await;

    let before = picture(&store, suspect).await;
    let claimed = store
        .claim(&Claim {
            suspect: false,
            ..claim_by(heir)
        })
        .await
        .unwrap();
    assert_eq!(ids(&claimed), [plain]);
    assert_eq!(picture(&store, suspect).await, before, "left untouched");

    store_accept(&store, &accept()).await;
    let claimed = store
        .claim(&Claim {
            limit: 0,
            ..claim_by(heir)
        })
        .await
        .unwrap();
    assert_eq!(ids(&claimed), [suspect]);
}

/// Its takeover is counted, and nobody owns it until the delay is over.
pub async fn a_suspect_whose_owner_died_is_postponed(harness: &impl Harness) {
    let store = harness.open().await;
    let (id, token) = running_suspect(&store).await;
    store.retire(token.owner).await.unwrap();
    let heir = engine(&store).await;
    let claimed = store.claim(&claim_with_long_delay(heir)).await.unwrap();
    assert!(claimed.instances.is_empty() && claimed.poisoned.is_empty());
    assert_left(claimed.next_due, HOUR);

    let summary = load(&store, id).await.summary;
    assert_eq!(
        (summary.takeovers, summary.epoch, summary.owner),
        (3, token.epoch + 1, None)
    );
    assert_eq!(summary.state, InstanceState::Pending);
    assert!(
        store
            .claim(&claim_with_long_delay(heir))
            .await
            .unwrap()
            .instances
            .is_empty()
    );
    let late = progress(id, token, InstanceState::Executing);
    assert_eq!(
        write_progress(&store, &late).await,
        Written::Lost,
        "its owner counts as dead"
    );
}

/// However often it was.
pub async fn a_suspect_is_postponed_no_longer_than_the_bound(harness: &impl Harness) {
    let store = harness.open().await;
    let (_, token) = running_suspect(&store).await;
    store.retire(token.owner).await.unwrap();
    let heir = engine(&store).await;
    let bounded = Claim {
        suspect_delay: HOUR * 10,
        suspect_delay_max: HOUR,
        ..claim_by(heir)
    };
    let next_due = store.claim(&bounded).await.unwrap().next_due;
    assert_left(next_due, HOUR);
}

/// As a suspect, and not as one that was taken over: it was postponed in between.
pub async fn a_postponed_suspect_runs_again(harness: &impl Harness) {
    let store = harness.open().await;
    let (id, token) = running_suspect(&store).await;
    store.retire(token.owner).await.unwrap();
    let heir = engine(&store).await;
    let snapshot = claim_until_taken(&store, &claim_by(heir), id).await;
    assert!(snapshot.suspect);
    assert_eq!(
        (snapshot.summary.takeovers, snapshot.summary.epoch),
        (3, token.epoch + 2)
    );
}

/// Visible, and with an operator's way on.
pub async fn p8_poison_becomes_stuck(harness: &impl Harness) {
    let store = harness.open().await;
    let (id, token) = running_suspect(&store).await;
    store.retire(token.owner).await.unwrap();
    let victim = engine(&store).await;
    let last = claim_until_taken(&store, &claim_by(victim), id).await;
    store.retire(victim).await.unwrap();
    let survivor = engine(&store).await;
    let claimed = store.claim(&claim_by(survivor)).await.unwrap();
    assert!(claimed.instances.is_empty());
    let poisoned = Poisoned {
        id,
        saga: SAGA.to_owned(),
    };
    assert_eq!(claimed.poisoned, [poisoned]);

    let summary = load(&store, id).await.summary;
    assert_eq!(
        (summary.state, summary.owner, summary.takeovers),
        (InstanceState::Stuck, None, 4)
    );
    assert_eq!(summary.epoch, last.summary.epoch + 1);
    let stuck = summary.stuck.unwrap();
    assert_eq!(stuck.reason, StuckReason::Poison);
    assert!(!stuck.message.is_empty());
    assert!(
        store
            .claim(&claim_by(survivor))
            .await
            .unwrap()
            .poisoned
            .is_empty(),
        "it is reported once"
    );
    let late = progress(id, last.token().unwrap(), InstanceState::Completed);
    assert_eq!(write_progress(&store, &late).await, Written::Lost);

    assert!(
        store
            .operate(&operator_write(id, summary.epoch, InstanceState::Executing))
            .await
            .unwrap()
    );
    let (_, snapshot) = claim_one(&store, id).await;
    assert_eq!((snapshot.summary.takeovers, snapshot.suspect), (0, false));
}

/// It lets its processes live long enough.
pub async fn a_stored_step_clears_the_takeovers(harness: &impl Harness) {
    for state in [StepState::Completed, StepState::Compensated] {
        let store = harness.open().await;
        let (id, token) = nearly_suspect(&store).await;
        let steps = vec![StepWrite {
            output: Some(json("1")),
            ..step("reserve", state)
        }];
        store_progress(
            &store,
            &Progress {
                steps,
                ..progress(id, token, InstanceState::Executing)
            },
        )
        .await;
        assert_eq!(load(&store, id).await.summary.takeovers, 0, "{state}");
        let (_, snapshot) = die(&store, token.owner, id).await;
        assert_eq!(
            (snapshot.summary.takeovers, snapshot.suspect),
            (1, false),
            "{state}"
        );
    }
}

/// Nor does a write without steps.
pub async fn a_step_that_is_only_begun_does_not_clear_the_takeovers(harness: &impl Harness) {
    let store = harness.open().await;
    let (id, token) = nearly_suspect(&store).await;
    let begun = vec![
        step("reserve", StepState::Running),
        step("charge", StepState::Pending),
    ];
    for steps in [Vec::new(), begun] {
        store_progress(
            &store,
            &Progress {
                steps,
                ..progress(id, token, InstanceState::Executing)
            },
        )
        .await;
        assert_eq!(load(&store, id).await.summary.takeovers, 1);
    }
    let (_, snapshot) = die(&store, token.owner, id).await;
    assert!(snapshot.suspect);
}

/// A deployment that restarts everything makes nothing suspicious.
pub async fn graceful_releases_never_count(harness: &impl Harness) {
    let store = harness.open().await;
    let mut engine = engine(&store).await;
    let (id, mut token) = owned(&store, engine).await;
    for wake in [Wake::Now, Wake::After(Duration::ZERO), Wake::Now, Wake::Now] {
        let release = Progress {
            release: Some(wake),
            ..progress(id, token, InstanceState::Executing)
        };
        store_progress(&store, &release).await;
        store.retire(engine).await.unwrap();
        engine = super::fixture::engine(&store).await;
        let snapshot = claim_until_taken(&store, &claim_by(engine), id).await;
        assert_eq!(
            (
                snapshot.summary.takeovers,
                snapshot.suspect,
                snapshot.taken_over
            ),
            (0, false, false)
        );
        token = snapshot.token().unwrap();
    }
}
