//! How long an engine counts as alive.

use super::{Harness, fixture::*};
use crate::{id::EngineId, store::SagaStore};

/// Nobody retires a killed process.
pub async fn p1_a_lease_ends_by_the_stores_clock(harness: &impl Harness) {
    let store = harness.open().await;
    let mortal = EngineId::random();
    store.renew(mortal, harness.lease_short()).await.unwrap();
    let (id, token) = owned(&store, mortal).await;

    let second = harness.second(&store).await;
    let heir = engine(&second).await;
    let snapshot = claim_until_taken(&second, &claim_by(heir), id).await;
    assert!(snapshot.taken_over);
    assert_eq!(
        (snapshot.summary.owner, snapshot.summary.epoch),
        (Some(heir), token.epoch + 1)
    );
    // It is dead for claims of its own as well, until it renews.
    store_accept(&store, &accept()).await;
    assert!(
        store
            .claim(&claim_by(mortal))
            .await
            .unwrap()
            .instances
            .is_empty()
    );
    store.renew(mortal, HOUR).await.unwrap();
    assert_eq!(
        store
            .claim(&claim_by(mortal))
            .await
            .unwrap()
            .instances
            .len(),
        1
    );
}

/// Past the moment at which it would have ended.
pub async fn a_renewed_lease_goes_on(harness: &impl Harness) {
    let store = harness.open().await;
    let (renewed, mortal) = (EngineId::random(), EngineId::random());
    store.renew(renewed, harness.lease_short()).await.unwrap();
    store.renew(mortal, harness.lease_short()).await.unwrap();
    store.renew(renewed, HOUR).await.unwrap();
    let (kept, token) = owned(&store, renewed).await;
    let (lost, _) = owned(&store, mortal).await;

    let heir = engine(&store).await;
    claim_until_taken(&store, &claim_by(heir), lost).await;
    // The lease of `mortal` began later and has ended.
    assert_eq!(load(&store, kept).await.token(), Some(token));
    assert!(
        store
            .claim(&claim_by(heir))
            .await
            .unwrap()
            .instances
            .is_empty()
    );
}

/// It lasts from the renewal on, not from the longest promise.
pub async fn a_renewal_can_shorten_a_lease(harness: &impl Harness) {
    let store = harness.open().await;
    let mortal = engine(&store).await;
    let (id, _) = owned(&store, mortal).await;
    store.renew(mortal, harness.lease_short()).await.unwrap();
    let heir = engine(&store).await;
    claim_until_taken(&store, &claim_by(heir), id).await;
}

/// Itself and dead ones are none of them.
pub async fn a_renewal_counts_the_other_live_engines(harness: &impl Harness) {
    let store = harness.open().await;
    let first = EngineId::random();
    assert_eq!(store.renew(first, HOUR).await.unwrap().other_engines, 0);
    assert_eq!(store.renew(first, HOUR).await.unwrap().other_engines, 0);
    let second = harness.second(&store).await;
    let retired = engine(&second).await;
    assert_eq!(store.renew(first, HOUR).await.unwrap().other_engines, 1);
    second.retire(retired).await.unwrap();
    assert_eq!(store.renew(first, HOUR).await.unwrap().other_engines, 0);

    second
        .renew(EngineId::random(), harness.lease_short())
        .await
        .unwrap();
    until("its lease has ended", async || {
        let renewal = store.renew(first, HOUR).await.unwrap();
        (renewal.other_engines == 0).then_some(())
    })
    .await;
}

/// An engine that slept through its lease must not go on as if nobody had taken over.
pub async fn p7_a_renewal_tells_that_the_lease_had_lapsed(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = EngineId::random();
    assert!(store.renew(engine, HOUR).await.unwrap().lapsed);
    assert!(!store.renew(engine, HOUR).await.unwrap().lapsed);
    // It is its own lease that counts.
    let second = harness.second(&store).await;
    let observer = EngineId::random();
    assert!(second.renew(observer, HOUR).await.unwrap().lapsed);
    assert!(!second.renew(engine, HOUR).await.unwrap().lapsed);

    // Once as one that a store may forget, and once as one that owns something.
    for owns in [false, true] {
        if owns {
            owned(&store, engine).await;
        }
        store.renew(engine, harness.lease_short()).await.unwrap();
        until("its lease has ended", async || {
            let renewal = second.renew(observer, HOUR).await.unwrap();
            (renewal.other_engines == 0).then_some(())
        })
        .await;
        assert!(store.renew(engine, HOUR).await.unwrap().lapsed);
        assert!(!store.renew(engine, HOUR).await.unwrap().lapsed);
    }

    store.retire(engine).await.unwrap();
    assert!(store.renew(engine, HOUR).await.unwrap().lapsed);
    assert!(!store.renew(engine, HOUR).await.unwrap().lapsed);
}

/// A shutdown that is interrupted is done again.
pub async fn retiring_twice_or_without_a_lease_is_harmless(harness: &impl Harness) {
    let store = harness.open().await;
    let first = engine(&store).await;
    let (id, _) = owned(&store, first).await;
    store.retire(first).await.unwrap();
    store.retire(first).await.unwrap();
    store.retire(EngineId::random()).await.unwrap();
    let (_, snapshot) = claim_one(&store, id).await;
    assert!(snapshot.taken_over);
    // A retired engine that comes back is an engine like any other.
    store.renew(first, HOUR).await.unwrap();
    let (_, token) = owned(&store, first).await;
    assert_eq!(token.owner, first);
    assert!(
        store
            .claim(&claim_by(first))
            .await
            .unwrap()
            .instances
            .is_empty()
    );
}

/// An engine that waits for its turn must not lose its lease by that.
pub async fn the_bounds_of_a_store_fit_each_other(harness: &impl Harness) {
    let store = harness.open().await;
    assert!(store.writers() > 0);
    assert!(store.lease_min() > store.gap());
}
