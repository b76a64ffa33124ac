//! Requests to cancel.

use super::{Harness, fixture::*};
use crate::{
    id::SagaId,
    store::{CancelReply, InstanceState, Progress, SagaStore, Wake, Written},
};

/// Made through another process, and kept until then.
pub async fn the_owner_hears_of_a_request_with_its_next_write(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let (id, token) = owned(&store, engine).await;
    let write = progress(id, token, InstanceState::Executing);
    assert_eq!(
        write_progress(&store, &write).await,
        Written::Stored {
            cancel_requested: false
        }
    );

    let second = harness.second(&store).await;
    assert_eq!(
        second.request_cancel(id).await.unwrap(),
        CancelReply::Requested
    );
    assert_eq!(
        write_progress(&store, &write).await,
        Written::Stored {
            cancel_requested: true
        }
    );
    let snapshot = load(&store, id).await;
    assert!(snapshot.cancel_requested);
    assert_eq!(snapshot.token(), Some(token), "the owner stays");
}

/// Of its own instances, and only of those that are live.
pub async fn the_owner_hears_of_a_request_with_its_next_renewal(harness: &impl Harness) {
    let store = harness.open().await;
    let (mine, others) = (engine(&store).await, engine(&store).await);
    let (asked, token) = owned(&store, mine).await;
    let (asked_of_other, _) = owned(&store, others).await;
    owned(&store, mine).await;
    assert!(
        store
            .renew(mine, HOUR)
            .await
            .unwrap()
            .cancel_requested
            .is_empty()
    );
    store.request_cancel(asked).await.unwrap();
    store.request_cancel(asked_of_other).await.unwrap();
    assert_eq!(
        store.renew(mine, HOUR).await.unwrap().cancel_requested,
        [asked]
    );
    assert_eq!(
        store.renew(others, HOUR).await.unwrap().cancel_requested,
        [asked_of_other]
    );

    store_progress(&store, &progress(asked, token, InstanceState::RolledBack)).await;
    assert!(
        store
            .renew(mine, HOUR)
            .await
            .unwrap()
            .cancel_requested
            .is_empty()
    );
}

/// It need not sleep to the end of a backoff.
pub async fn a_request_makes_an_instance_that_nobody_owns_due(harness: &impl Harness) {
    let store = harness.open().await;
    let first = engine(&store).await;
    let (id, _) = released(&store, first, Wake::After(HOUR)).await;
    assert_eq!(
        store.request_cancel(id).await.unwrap(),
        CancelReply::Requested
    );
    let second = engine(&store).await;
    let snapshot = claim_until_taken(&store, &claim_by(second), id).await;
    assert!(snapshot.cancel_requested && !snapshot.taken_over);
}

/// With the same reply.
pub async fn a_request_may_be_repeated(harness: &impl Harness) {
    let store = harness.open().await;
    let id = store_accept(&store, &accept()).await;
    for _ in 0..2 {
        assert_eq!(
            store.request_cancel(id).await.unwrap(),
            CancelReply::Requested
        );
        assert!(load(&store, id).await.cancel_requested);
    }
}

/// It is live and before its pivot; what it makes of it is the engine's business.
pub async fn an_instance_that_is_being_undone_can_be_asked(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let (id, _) = in_state(&store, engine, InstanceState::Compensating).await;
    assert_eq!(
        store.request_cancel(id).await.unwrap(),
        CancelReply::Requested
    );
}

/// And leaves no trace.
pub async fn p6_a_request_after_the_pivot_is_refused(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    for release in [None, Some(Wake::After(HOUR))] {
        let (id, token) = owned(&store, engine).await;
        let passed = Progress {
            pivot_passed: true,
            release,
            ..progress(id, token, InstanceState::Executing)
        };
        store_progress(&store, &passed).await;
        let before = picture(&store, id).await;
        assert_eq!(
            store.request_cancel(id).await.unwrap(),
            CancelReply::PivotPassed
        );
        assert_eq!(picture(&store, id).await, before);
    }
    assert!(
        store
            .claim(&claim_by(engine))
            .await
            .unwrap()
            .instances
            .is_empty()
    );
}

/// The reply says which; whether its pivot was passed makes no difference.
pub async fn a_request_to_what_has_ended_or_is_stuck_is_refused(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    for state in [
        InstanceState::Completed,
        InstanceState::RolledBack,
        InstanceState::Stuck,
    ] {
        for pivot_passed in [false, true] {
            let (id, token) = owned(&store, engine).await;
            store_progress(
                &store,
                &Progress {
                    pivot_passed,
                    ..progress(id, token, state)
                },
            )
            .await;
            let before = picture(&store, id).await;
            assert_eq!(
                store.request_cancel(id).await.unwrap(),
                CancelReply::NotLive(state)
            );
            assert_eq!(picture(&store, id).await, before);
        }
    }
}

/// And stores nothing.
pub async fn a_request_to_an_unknown_instance_finds_nothing(harness: &impl Harness) {
    let store = harness.open().await;
    assert_eq!(
        store.request_cancel(SagaId::new()).await.unwrap(),
        CancelReply::NotFound
    );
}
