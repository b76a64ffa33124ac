//! New instances and start keys.

use super::{Harness, fixture::*};
use crate::{
    id::{EngineId, SagaId, Token},
    store::{Accept, Accepted, Filter, InstanceState, SagaStore, StepState, Write, Written},
};
use std::{collections::BTreeSet, sync::Arc, time::SystemTime};

/// Another handle on the data finds the instance as it was accepted.
pub async fn p1_what_was_accepted_is_stored(harness: &impl Harness) {
    let store = harness.open().await;
    let accept = Accept {
        deadline: Some(HOUR),
        trace: Some(TRACE.to_owned()),
        ..accept_with_key(&store, "order-1")
    };
    store_accept(&store, &accept).await;

    let snapshot = load(&harness.second(&store).await, accept.id).await;
    let summary = &snapshot.summary;
    assert_eq!(summary.id, accept.id);
    assert_eq!(summary.definition, accept.definition);
    assert_eq!(summary.state, InstanceState::Pending);
    assert_eq!(
        (summary.owner, summary.epoch, summary.takeovers),
        (None, 0, 0)
    );
    assert_eq!(summary.start_key, accept.start_key);
    assert_eq!(
        (&summary.failure, &summary.stuck, summary.pivot_passed),
        (&None, &None, false)
    );
    assert!(
        summary.created_at > SystemTime::UNIX_EPOCH && summary.updated_at >= summary.created_at
    );
    assert_eq!(snapshot.input, accept.input);
    assert_eq!(snapshot.trace, accept.trace);
    assert!(!snapshot.cancel_requested && !snapshot.taken_over && !snapshot.suspect);
    assert!(snapshot.steps.is_empty() && snapshot.interventions.is_empty());
    assert!(snapshot.token().is_none());
}

/// Whoever goes on with an instance knows the trace that it belongs to; a write leaves it alone, and one without a trace has none.
pub async fn the_trace_of_an_instance_goes_with_it(harness: &impl Harness) {
    let store = harness.open().await;
    let traced = Accept {
        trace: Some(TRACE.to_owned()),
        ..accept()
    };
    let plain = accept();
    store_accept(&store, &traced).await;
    store_accept(&store, &plain).await;
    let engine = engine(&store).await;
    let claimed = store.claim(&claim_by(engine)).await.unwrap();
    let trace_of = |id| {
        let mut instances = claimed.instances.iter();
        let instance = instances.find(|it| it.summary.id == id).unwrap();
        instance.trace.as_deref()
    };
    assert_eq!(trace_of(traced.id), Some(TRACE));
    assert_eq!(trace_of(plain.id), None);

    let token = Token {
        owner: engine,
        epoch: 1,
    };
    let done = progress(traced.id, token, InstanceState::Completed);
    store_progress(&store, &done).await;
    assert_eq!(load(&store, traced.id).await.trace.as_deref(), Some(TRACE));
}

/// It belongs to its engine at once.
pub async fn an_accept_with_an_owner_begins_at_epoch_1(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let (id, token) = owned(&store, engine).await;
    let snapshot = load(&store, id).await;
    assert_eq!(snapshot.token(), Some(token));
    assert_eq!(
        (snapshot.summary.epoch, snapshot.summary.state),
        (1, InstanceState::Pending)
    );
}

/// The reply of an accept can be lost.
pub async fn an_accept_may_be_repeated(harness: &impl Harness) {
    let store = harness.open().await;
    let plain = accept();
    let with_key = accept_with_key(&store, "order-1");
    for _ in 0..2 {
        assert_eq!(write_accept(&store, &plain).await, Accepted::New);
        assert_eq!(write_accept(&store, &with_key).await, Accepted::New);
    }
    assert_eq!(
        store.find(SAGA, "order-1").await.unwrap(),
        Some(with_key.id)
    );
    assert_eq!(
        store.count().await.unwrap(),
        [(SAGA.to_owned(), InstanceState::Pending, 2)]
    );
}

/// Even if the instance has gone on in between.
pub async fn a_repeated_accept_takes_nothing_back(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let accept = Accept {
        owner: Some(engine),
        ..accept_with_key(&store, "order-1")
    };
    let id = store_accept(&store, &accept).await;
    let mut write = progress(
        id,
        Token {
            owner: engine,
            epoch: 1,
        },
        InstanceState::Completed,
    );
    write.steps.push(completed("reserve", "1"));
    store_progress(&store, &write).await;

    let before = picture(&store, id).await;
    assert_eq!(write_accept(&store, &accept).await, Accepted::New);
    assert_eq!(picture(&store, id).await, before);
}

/// A second start gets the first one's id and digest, and nothing of it is stored. Keys of other sagas are others.
pub async fn p10_a_start_key_names_one_instance_of_a_saga(harness: &impl Harness) {
    let store = harness.open().await;
    let first = accept_with_key(&store, "order-1");
    store_accept(&store, &first).await;

    let second = Accept {
        input_digest: "digest-2".to_owned(),
        ..accept_with_key(&store, "order-1")
    };
    let existing = Accepted::Existing {
        id: first.id,
        input_digest: "digest-1".to_owned(),
    };
    assert_eq!(write_accept(&store, &second).await, existing);
    assert!(store.load(second.id).await.unwrap().is_none());
    assert_eq!(load(&store, first.id).await.input, first.input);

    let elsewhere = keyed(&store, "order-1", accept_of(definition("returns")));
    store_accept(&store, &elsewhere).await;
    assert_eq!(store.find(SAGA, "order-1").await.unwrap(), Some(first.id));
    assert_eq!(
        store.find("returns", "order-1").await.unwrap(),
        Some(elsewhere.id)
    );

    // A key is the saga's, not a version's.
    let mut newer = accept_with_key(&store, "order-1");
    newer.definition.version = 2;
    assert_eq!(write_accept(&store, &newer).await, existing);
}

/// Group commit puts concurrent starts into one batch.
pub async fn p10_a_start_key_of_the_same_batch_counts(harness: &impl Harness) {
    let store = harness.open().await;
    let first = accept_with_key(&store, "order-1");
    let second = Accept {
        input_digest: "digest-2".to_owned(),
        ..accept_with_key(&store, "order-1")
    };
    let written = write(
        &store,
        &[Write::Accept(first.clone()), Write::Accept(second.clone())],
    )
    .await;
    let existing = Accepted::Existing {
        id: first.id,
        input_digest: "digest-1".to_owned(),
    };
    assert_eq!(
        written,
        [
            Written::Accepted(Accepted::New),
            Written::Accepted(existing)
        ]
    );
    assert!(store.load(second.id).await.unwrap().is_none());
}

/// An ended instance still holds its key.
pub async fn p10_a_start_key_lives_as_long_as_its_instance(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    for state in [
        InstanceState::Completed,
        InstanceState::RolledBack,
        InstanceState::Stuck,
    ] {
        let key = state.as_str();
        let first = Accept {
            owner: Some(engine),
            ..accept_with_key(&store, key)
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
                state,
            ),
        )
        .await;

        let again = write_accept(&store, &accept_with_key(&store, key)).await;
        assert_eq!(
            again,
            Accepted::Existing {
                id: first.id,
                input_digest: first.input_digest
            }
        );
        assert_eq!(store.find(SAGA, key).await.unwrap(), Some(first.id));
    }
}

/// Of many starts at once, through two handles, one stores its instance, and all others are told of that one.
pub async fn p10_concurrent_starts_with_one_key_give_one_instance(harness: &impl Harness) {
    let first = Arc::new(harness.open().await);
    let second = Arc::new(harness.second(&first).await);
    let starts: Vec<_> = (0..32)
        .map(|n| {
            let store = Arc::clone(if n % 2 == 0 { &first } else { &second });
            let accept = accept_with_key(&*store, "order-1");
            tokio::spawn(async move {
                match write_accept(&*store, &accept).await {
                    Accepted::New => (accept.id, true),
                    Accepted::Existing { id, .. } => (id, false),
                }
            })
        })
        .collect();
    let (mut named, mut stored) = (BTreeSet::new(), 0);
    for start in starts {
        let (id, is_new) = start.await.unwrap();
        named.insert(id);
        stored += u32::from(is_new);
    }
    assert_eq!((named.len(), stored), (1, 1), "{named:?}");
    assert_eq!(
        first.count().await.unwrap(),
        [(SAGA.to_owned(), InstanceState::Pending, 1)]
    );
}

/// Neither by an id nor by a key.
pub async fn an_instance_that_was_never_accepted_is_not_found(harness: &impl Harness) {
    let store = harness.open().await;
    store_accept(&store, &accept_with_key(&store, "order-1")).await;
    assert!(store.load(SagaId::new()).await.unwrap().is_none());
    assert_eq!(store.find(SAGA, "order-2").await.unwrap(), None);
    assert_eq!(store.find("returns", "order-1").await.unwrap(), None);
}

/// Whatever order the store itself works in.
pub async fn replies_are_in_the_order_of_the_batch(harness: &impl Harness) {
    let store = harness.open().await;
    let engine = engine(&store).await;
    let (mine, token) = owned(&store, engine).await;
    let (lost, _) = owned(&store, engine).await;
    let first = accept_with_key(&store, "order-1");
    store_accept(&store, &first).await;

    let stranger = Token {
        owner: EngineId::random(),
        epoch: 1,
    };
    let mut stored = progress(mine, token, InstanceState::Executing);
    stored.steps.push(step("reserve", StepState::Running));
    let batch = [
        Write::Accept(accept_with_key(&store, "order-1")),
        Write::Progress(progress(lost, stranger, InstanceState::Completed)),
        Write::Accept(accept_with_key(&store, "order-2")),
        Write::Progress(stored),
        Write::Accept(accept()),
    ];
    let written = write(&store, &batch).await;
    let existing = Accepted::Existing {
        id: first.id,
        input_digest: first.input_digest,
    };
    assert_eq!(
        written,
        [
            Written::Accepted(existing),
            Written::Lost,
            Written::Accepted(Accepted::New),
            Written::Stored {
                cancel_requested: false
            },
            Written::Accepted(Accepted::New),
        ]
    );
}

/// And is no error.
pub async fn an_empty_batch_changes_nothing(harness: &impl Harness) {
    let store = harness.open().await;
    assert!(write(&store, &[]).await.is_empty());
    assert!(store.count().await.unwrap().is_empty());
}

/// An id tells when its client believed to have made it, which is no concern of the store's.
pub async fn a_client_whose_clock_is_wrong_disturbs_nothing(harness: &impl Harness) {
    let store = harness.open().await;
    let right = store_accept(&store, &accept()).await;
    let created_at = load(&store, right).await.summary.created_at;
    for seconds in [1, 253_402_300_799] {
        let made = uuid::Timestamp::from_unix(uuid::NoContext, seconds, 0);
        let id = SagaId::from(uuid::Uuid::new_v7(made));
        store_accept(&store, &Accept { id, ..accept() }).await;
        let stored = load(&store, id).await.summary.created_at;
        let apart = stored.duration_since(created_at).unwrap_or_default();
        assert!(apart < HOUR && stored >= created_at, "by the store's clock");
        let page = store.list(&Filter::all().older_than(HOUR)).await.unwrap();
        assert!(page.instances.is_empty(), "it is new");
    }
    let claimed = store.claim(&claim_by(engine(&store).await)).await.unwrap();
    assert_eq!(claimed.instances.len(), 3, "all of them are due");
}
