//! Retention.

use super::{Harness, fixture::*};
use crate::{
    id::{SagaId, Token},
    store::{
        Accept, Accepted, Defined, DefinitionKey, Filter, InstanceState, Retention, SagaStore,
        Snapshot, StepState,
    },
};
use std::time::{Duration, Instant};

/// Prunes whatever has ended until so many are gone; returns how many each call removed.
async fn prune_all(store: &impl SagaStore, limit: u32, expected: u64) -> Vec<u64> {
    let mut removed = Vec::new();
    until("all of them are removed", async || {
        let count = store
            .prune(Duration::ZERO, limit, Retention::Delete)
            .await
            .unwrap();
        if count > 0 {
            removed.push(count);
        }
        (removed.iter().sum::<u64>() >= expected).then_some(())
    })
    .await;
    removed
}

/// Counted from its end, by the store's clock, and not before.
pub async fn p12_an_ended_instance_is_removed_after_its_age(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let (completed, _) = in_state(&store, engine, InstanceState::Completed).await;
    let (rolled_back, _) = in_state(&store, engine, InstanceState::RolledBack).await;
    assert_eq!(store.prune(HOUR, 100, Retention::Delete).await.unwrap(), 0);
    load(&store, completed).await;

    prune_all(&store, 100, 2).await;
    for id in [completed, rolled_back] {
        assert!(store.load(id).await.unwrap().is_none());
    }
    assert!(
        store
            .list(&Filter::all())
            .await
            .unwrap()
            .instances
            .is_empty()
    );
    assert!(
        store
            .count()
            .await
            .unwrap()
            .iter()
            .all(|(_, _, count)| *count == 0)
    );
}

/// Not from its acceptance: an instance can run for longer than it is kept.
pub async fn the_age_counts_from_the_end(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let age = Duration::from_millis(200);
    until("an instance was looked at within its age", async || {
        let (id, token) = owned(&store, engine).await;
        until("it runs for longer than that", async || {
            let old = store.list(&Filter::all().older_than(age)).await.unwrap();
            old.instances
                .iter()
                .any(|summary| summary.id == id)
                .then_some(())
        })
        .await;
        let before_its_end = Instant::now();
        store_progress(&store, &progress(id, token, InstanceState::Completed)).await;
        store.prune(age, 100, Retention::Delete).await.unwrap();
        let is_kept = store.load(id).await.unwrap().is_some();
        let looked_in_time = before_its_end.elapsed() < age;
        assert!(is_kept || !looked_in_time, "removed too early");
        looked_in_time.then_some(())
    })
    .await;
}

/// Stuck ones wait for an operator, however old.
pub async fn p8_only_ended_instances_are_removed(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let mut kept = vec![store_accept(&store, &accept()).await];
    for state in InstanceState::ALL
        .into_iter()
        .filter(|state| !state.is_final())
    {
        kept.push(in_state(&store, engine, state).await.0);
    }
    let (_, _) = in_state(&store, engine, InstanceState::Completed).await;
    assert_eq!(prune_all(&store, 100, 1).await, [1]);
    assert_eq!(
        store
            .prune(Duration::ZERO, 100, Retention::Delete)
            .await
            .unwrap(),
        0
    );
    for id in kept {
        load(&store, id).await;
    }
}

/// So that it never locks much at once.
pub async fn no_more_than_the_limit_is_removed(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    for _ in 0..5 {
        in_state(&store, engine, InstanceState::Completed).await;
    }
    assert_eq!(
        store
            .prune(Duration::ZERO, 0, Retention::Delete)
            .await
            .unwrap(),
        0
    );
    let removed = prune_all(&store, 2, 5).await;
    assert!(removed.iter().all(|count| *count <= 2), "{removed:?}");
    assert_eq!(removed.iter().sum::<u64>(), 5);
}

/// It can name another one then; and another graph can have the version.
pub async fn p10_a_start_key_goes_with_its_instance(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    store.define(&definition(SAGA)).await.unwrap();
    let first = Accept {
        owner: Some(engine),
        ..accept_with_key(&store, "order-1")
    };
    store_accept(&store, &first).await;
    store_progress(
        &store,
        &progress(
            first.id,
            Token {
                owner: engine,
                epoch: 1,
            },
            InstanceState::Completed,
        ),
    )
    .await;
    let other = accept_with_key(&store, "order-2");
    store_accept(&store, &other).await;
    prune_all(&store, 100, 1).await;

    assert_eq!(store.find(SAGA, "order-1").await.unwrap(), None);
    assert_eq!(store.find(SAGA, "order-2").await.unwrap(), Some(other.id));
    let again = accept_with_key(&store, "order-1");
    assert_eq!(write_accept(&store, &again).await, Accepted::New);
    assert_eq!(store.find(SAGA, "order-1").await.unwrap(), Some(again.id));

    let changed = DefinitionKey {
        fingerprint: "graph-b".to_owned(),
        ..definition(SAGA)
    };
    assert!(matches!(
        store.define(&changed).await.unwrap(),
        Defined::Conflict { unfinished: 2, .. }
    ));
}

/// Nothing of it is left to be found by an instance of the same id.
pub async fn the_steps_go_with_their_instance(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let (id, token) = owned(&store, engine).await;
    let mut write = progress(id, token, InstanceState::Stuck);
    write.steps.push(completed("reserve", "1"));
    store_progress(&store, &write).await;
    assert!(
        store
            .operate(&operator_write(id, token.epoch, InstanceState::RolledBack))
            .await
            .unwrap()
    );
    prune_all(&store, 100, 1).await;

    let same_id: SagaId = store_accept(&store, &Accept { id, ..accept() }).await;
    let snapshot = load(&store, same_id).await;
    assert!(snapshot.steps.is_empty() && snapshot.interventions.is_empty());
    assert_eq!(snapshot.summary.epoch, 0);
}

/// With everything that is stored of it; and to engines and to those who start it is as gone as one that was deleted.
pub async fn an_archived_instance_is_kept_as_it_was(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let accept = Accept {
        owner: Some(engine),
        trace: Some(TRACE.to_owned()),
        ..accept_with_key(&store, "order-1")
    };
    store_accept(&store, &accept).await;
    let token = Token {
        owner: engine,
        epoch: 1,
    };
    let mut write = progress(accept.id, token, InstanceState::Completed);
    write.steps = vec![
        completed("charge", "\"paid\""),
        step("ship", StepState::Completed),
    ];
    store_progress(&store, &write).await;
    let (deleted, _) = in_state(&store, engine, InstanceState::Stuck).await;
    let before = load(&store, accept.id).await;
    assert!(store.archived(accept.id).await.unwrap().is_none());

    assert_eq!(
        store.prune(HOUR, 100, Retention::Archive).await.unwrap(),
        0,
        "too young"
    );
    until("it is archived", async || {
        let moved = store.prune(Duration::ZERO, 100, Retention::Archive);
        (moved.await.unwrap() == 1).then_some(())
    })
    .await;
    assert!(store.load(accept.id).await.unwrap().is_none());
    assert_eq!(store.find(SAGA, "order-1").await.unwrap(), None);
    assert!(store.archived(deleted).await.unwrap().is_none());
    let after = store.archived(accept.id).await.unwrap().unwrap();
    let by_name = |snapshot: &Snapshot| {
        let mut steps = snapshot.steps.clone();
        steps.sort_by(|a, b| a.name.cmp(&b.name));
        steps
    };
    assert_eq!(after.summary, before.summary);
    assert_eq!(after.input.bytes, before.input.bytes);
    assert_eq!(after.trace, accept.trace);
    assert_eq!(by_name(&after), by_name(&before));

    let again = accept_with_key(&store, "order-1");
    assert_eq!(write_accept(&store, &again).await, Accepted::New);
    assert_eq!(
        store
            .prune(Duration::ZERO, 100, Retention::Archive)
            .await
            .unwrap(),
        0
    );
}
