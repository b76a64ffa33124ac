//! Definitions, and which of them an engine's claim takes.

use super::{Harness, fixture::*};
use crate::{
    definition::StepKind,
    id::{SagaId, Token},
    store::{
        Accept, Claim, Defined, DefinitionKey, InstanceState, Progress, Runnable, RunnableStep,
        SagaStore, StepWrite, Wake,
    },
};

fn graph(version: u32, fingerprint: &str) -> DefinitionKey {
    DefinitionKey {
        saga: SAGA.to_owned(),
        version,
        fingerprint: fingerprint.to_owned(),
    }
}

/// By each engine that starts.
pub async fn p9_a_definition_may_be_recorded_again(harness: &impl Harness) {
    let store = harness.open().await;
    let second = harness.second(&store).await;
    for _ in 0..2 {
        assert_eq!(store.define(&graph(1, "a")).await.unwrap(), Defined::Stored);
        assert_eq!(
            second.define(&graph(1, "a")).await.unwrap(),
            Defined::Stored
        );
    }
    store_accept(&store, &accept_of(graph(1, "a"))).await;
    assert_eq!(
        second.define(&graph(1, "a")).await.unwrap(),
        Defined::Stored
    );
}

/// Stuck instances are unfinished as well; the old definition stays.
pub async fn p9_another_graph_under_a_version_in_use_is_a_conflict(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    assert_eq!(store.define(&graph(1, "a")).await.unwrap(), Defined::Stored);
    for state in [
        InstanceState::Pending,
        InstanceState::Compensating,
        InstanceState::Stuck,
        InstanceState::Completed,
    ] {
        let accept = Accept {
            owner: Some(engine),
            ..accept_of(graph(1, "a"))
        };
        let id = store_accept(&store, &accept).await;
        store_progress(
            &store,
            &progress(
                id,
                Token {
                    owner: engine,
                    epoch: 1,
                },
                state,
            ),
        )
        .await;
    }
    let conflict = Defined::Conflict {
        fingerprint: "a".to_owned(),
        unfinished: 3,
    };
    for _ in 0..2 {
        assert_eq!(store.define(&graph(1, "b")).await.unwrap(), conflict);
    }
    assert_eq!(store.define(&graph(1, "a")).await.unwrap(), Defined::Stored);
}

/// A developer changes the graph between two runs.
pub async fn p9_another_graph_replaces_one_without_unfinished_instances(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    assert_eq!(store.define(&graph(1, "a")).await.unwrap(), Defined::Stored);
    assert_eq!(store.define(&graph(1, "b")).await.unwrap(), Defined::Stored);
    for state in [InstanceState::Completed, InstanceState::RolledBack] {
        let id = store_accept(
            &store,
            &Accept {
                owner: Some(engine),
                ..accept_of(graph(1, "b"))
            },
        )
        .await;
        store_progress(
            &store,
            &progress(
                id,
                Token {
                    owner: engine,
                    epoch: 1,
                },
                state,
            ),
        )
        .await;
    }
    assert_eq!(store.define(&graph(1, "c")).await.unwrap(), Defined::Stored);
    store_accept(&store, &accept_of(graph(1, "c"))).await;
    let conflict = Defined::Conflict {
        fingerprint: "c".to_owned(),
        unfinished: 1,
    };
    assert_eq!(store.define(&graph(1, "b")).await.unwrap(), conflict);
}

/// Two versions run side by side during a deployment.
pub async fn p9_another_version_or_saga_is_no_conflict(harness: &impl Harness) {
    let store = harness.open().await;
    assert_eq!(store.define(&graph(1, "a")).await.unwrap(), Defined::Stored);
    store_accept(&store, &accept_of(graph(1, "a"))).await;
    assert_eq!(store.define(&graph(2, "b")).await.unwrap(), Defined::Stored);
    let elsewhere = DefinitionKey {
        saga: "returns".to_owned(),
        ..graph(1, "b")
    };
    assert_eq!(store.define(&elsewhere).await.unwrap(), Defined::Stored);
}

/// The version's number alone is no proof.
pub async fn p9_only_the_same_fingerprint_is_claimed(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let id = store_accept(&store, &accept_of(graph(1, "a"))).await;
    let before = picture(&store, id).await;
    let other = Claim {
        runnable: vec![runnable(graph(1, "b"))],
        ..claim_by(engine)
    };
    assert!(store.claim(&other).await.unwrap().instances.is_empty());
    assert_eq!(picture(&store, id).await, before);
    // Both graphs can be registered in a process, by two versions of a saga's type.
    let both = Claim {
        runnable: vec![runnable(graph(2, "b")), runnable(graph(1, "a"))],
        ..claim_by(engine)
    };
    let claimed = store.claim(&both).await.unwrap();
    assert_eq!(ids(&claimed), [id]);
    assert_eq!(claimed.instances[0].summary.definition, graph(1, "a"));
}

/// Version 2 of the saga: `reserve` and `price`, then `charge`, then the pivot `ship`.
fn second_version() -> Runnable {
    let steps: Vec<RunnableStep> = vec![
        runnable_step("reserve", &[], StepKind::Compensatable),
        runnable_step("price", &[], StepKind::Compensatable),
        runnable_step("charge", &["reserve", "price"], StepKind::Compensatable),
        runnable_step("ship", &["charge"], StepKind::Pivot),
    ];
    Runnable {
        key: graph(2, "b"),
        accepts: vec![1],
        steps,
    }
}

/// A released instance of version 1 with these steps.
async fn first_version(store: &impl SagaStore, steps: &[(&str, StepKind)]) -> SagaId {
    let engine = engine(store).await;
    let accept = Accept {
        owner: Some(engine),
        ..keyed(store, "order-1", accept_of(graph(1, "a")))
    };
    let id = store_accept(store, &accept).await;
    let steps = steps
        .iter()
        .map(|(name, kind)| StepWrite {
            kind: *kind,
            ..completed(name, "1")
        })
        .collect();
    let token = Token {
        owner: engine,
        epoch: 1,
    };
    let release = Some(Wake::Now);
    store_progress(
        store,
        &Progress {
            release,
            steps,
            ..progress(id, token, InstanceState::Executing)
        },
    )
    .await;
    id
}

async fn assert_not_taken(store: &impl SagaStore, id: SagaId, runnable: Runnable) {
    let engine = engine(store).await;
    let before = picture(store, id).await;
    let claim = Claim {
        runnable: vec![runnable],
        ..claim_by(engine)
    };
    assert!(store.claim(&claim).await.unwrap().instances.is_empty());
    assert_eq!(picture(store, id).await, before);
}

/// And an engine of the older version still takes it.
pub async fn p9_an_older_version_is_taken_only_where_it_is_accepted(harness: &impl Harness) {
    let store = harness.open().await;
    let id = first_version(&store, &[("reserve", StepKind::Compensatable)]).await;
    assert_not_taken(
        &store,
        id,
        Runnable {
            accepts: Vec::new(),
            ..second_version()
        },
    )
    .await;
    assert_not_taken(
        &store,
        id,
        Runnable {
            accepts: vec![7],
            ..second_version()
        },
    )
    .await;
    let older = engine(&store).await;
    let claim = Claim {
        runnable: vec![runnable(graph(1, "a"))],
        ..claim_by(older)
    };
    let claimed = store.claim(&claim).await.unwrap();
    assert_eq!(ids(&claimed), [id]);
    assert!(!claimed.instances[0].adopted);
}

/// With its steps and its start key; engines of the old version no longer take it.
pub async fn p9_an_older_version_that_fits_is_taken_under_the_new_one(harness: &impl Harness) {
    let fitting: [&[(&str, StepKind)]; 3] = [
        &[],
        &[("reserve", StepKind::Compensatable)],
        &[
            ("reserve", StepKind::Compensatable),
            ("price", StepKind::Compensatable),
            ("charge", StepKind::Compensatable),
        ],
    ];
    for steps in fitting {
        let store = harness.open().await;
        let id = first_version(&store, steps).await;
        let newer = engine(&store).await;
        let claim = Claim {
            runnable: vec![second_version()],
            ..claim_by(newer)
        };
        let claimed = store.claim(&claim).await.unwrap();
        assert_eq!(ids(&claimed), [id], "{steps:?}");
        let snapshot = &claimed.instances[0];
        assert!(
            snapshot.adopted,
            "the claimer has to know that the graph changed"
        );
        assert_eq!(snapshot.summary.definition, graph(2, "b"));
        assert_eq!(
            (snapshot.summary.epoch, snapshot.steps.len()),
            (2, steps.len())
        );
        assert_eq!(load(&store, id).await.summary.definition, graph(2, "b"));
        assert_eq!(store.find(SAGA, "order-1").await.unwrap(), Some(id));

        store.retire(newer).await.unwrap();
        assert_not_taken(&store, id, runnable(graph(1, "a"))).await;
    }
}

/// Its effect would be forgotten.
pub async fn p9_an_older_version_with_an_unknown_step_is_left_untouched(harness: &impl Harness) {
    let store = harness.open().await;
    let steps = [
        ("reserve", StepKind::Compensatable),
        ("gift-wrap", StepKind::Compensatable),
    ];
    let id = first_version(&store, &steps).await;
    assert_not_taken(&store, id, second_version()).await;
}

/// It would be undone, or not, by another rule than it ran under.
pub async fn p9_an_older_version_with_a_step_of_another_kind_is_left_untouched(
    harness: &impl Harness,
) {
    for kind in [StepKind::Pivot, StepKind::Retriable] {
        let store = harness.open().await;
        let id = first_version(&store, &[("reserve", kind)]).await;
        assert_not_taken(&store, id, second_version()).await;
    }
}

/// A step has run that now depends on one that has not.
pub async fn p9_an_older_version_without_a_new_dependency_is_left_untouched(
    harness: &impl Harness,
) {
    let store = harness.open().await;
    let steps = [
        ("reserve", StepKind::Compensatable),
        ("charge", StepKind::Compensatable),
    ];
    let id = first_version(&store, &steps).await;
    assert_not_taken(&store, id, second_version()).await;
}
