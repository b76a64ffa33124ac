//! The rows that the rules write, and the ways in which they look at a store.
//!
//! Invariant: whatever here waits, waits for a condition, and panics when it has not come about in [`PATIENCE`].

use crate::{
    codec::Payload,
    definition::StepKind,
    id::{EngineId, SagaId, Token},
    outcome::{Failure, FailureReason, Stuck, StuckReason},
    store::{
        Accept, Accepted, Claim, Claimed, DefinitionKey, InstanceState, Intervention,
        OperatorWrite, Progress, Runnable, RunnableStep, SagaStore, Snapshot, StepRow, StepState,
        StepWrite, Wake, Write, Written,
    },
};
use std::time::{Duration, Instant};

/// Longer than any machine needs, however busy.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const HOUR: Duration = Duration::from_hours(1);
pub(super) const SAGA: &str = "order-processing";

pub(super) fn definition(saga: &str) -> DefinitionKey {
    DefinitionKey {
        saga: saga.to_owned(),
        version: 1,
        fingerprint: "graph-a".to_owned(),
    }
}

pub(super) fn json(text: &str) -> Payload {
    Payload {
        content_type: "application/json".to_owned(),
        bytes: text.as_bytes().to_vec(),
    }
}

/// As an engine writes it: what is in it is no business of a store.
pub(super) const TRACE: &str = r#"{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","tracestate":"vendor='1'"}"#;

/// A new instance of [`SAGA`] that nobody owns.
pub(super) fn accept() -> Accept {
    Accept {
        id: SagaId::new(),
        definition: definition(SAGA),
        input: json(r#"{"order":1}"#),
        input_digest: "digest-1".to_owned(),
        start_key: None,
        owner: None,
        deadline: None,
        trace: None,
    }
}

pub(super) fn accept_of(definition: DefinitionKey) -> Accept {
    Accept {
        definition,
        ..accept()
    }
}

/// A new instance of [`SAGA`] with a start key. The store chooses the id, which may have to fit the key.
pub(super) fn accept_with_key(store: &impl SagaStore, start_key: &str) -> Accept {
    keyed(store, start_key, accept())
}

/// The same with a start key.
pub(super) fn keyed(store: &impl SagaStore, start_key: &str, accept: Accept) -> Accept {
    Accept {
        id: store.new_id(&accept.definition.saga, Some(start_key)),
        start_key: Some(start_key.to_owned()),
        ..accept
    }
}

pub(super) fn step(name: &str, state: StepState) -> StepWrite {
    StepWrite {
        name: name.to_owned(),
        kind: StepKind::Compensatable,
        state,
        attempts: 1,
        undo_attempts: 0,
        recoveries: 0,
        output: None,
        error: None,
        wake: None,
        events: Vec::new(),
    }
}

pub(super) fn completed(name: &str, output: &str) -> StepWrite {
    StepWrite {
        output: Some(json(output)),
        ..step(name, StepState::Completed)
    }
}

pub(super) fn progress(id: SagaId, token: Token, state: InstanceState) -> Progress {
    Progress {
        id,
        token,
        state,
        pivot_passed: false,
        failure: None,
        stuck: (state == InstanceState::Stuck).then(|| stuck("the courier does not answer")),
        release: None,
        sender: None,
        steps: Vec::new(),
    }
}

pub(super) fn stuck(message: &str) -> Stuck {
    Stuck {
        step: Some("confirm".to_owned()),
        reason: StuckReason::StepGaveUp,
        message: message.to_owned(),
    }
}

pub(super) fn failure(message: &str) -> Failure {
    Failure {
        step: Some("charge".to_owned()),
        reason: FailureReason::Failed,
        message: message.to_owned(),
    }
}

pub(super) fn operator_write(id: SagaId, epoch: u64, state: InstanceState) -> OperatorWrite {
    OperatorWrite {
        id,
        epoch,
        state,
        pivot_passed: false,
        failure: None,
        steps: Vec::new(),
        intervention: intervention(),
    }
}

pub(super) fn intervention() -> Intervention {
    Intervention {
        action: "retry(confirm)".to_owned(),
        who: "ada".to_owned(),
        why: "mail is back".to_owned(),
        at_ms: 0,
    }
}

pub(super) fn runnable(key: DefinitionKey) -> Runnable {
    Runnable {
        key,
        accepts: Vec::new(),
        steps: Vec::new(),
    }
}

pub(super) fn runnable_step(name: &str, depends_on: &[&str], kind: StepKind) -> RunnableStep {
    let depends_on = depends_on.iter().map(|name| (*name).to_owned()).collect();
    RunnableStep {
        name: name.to_owned(),
        depends_on,
        kind,
    }
}

/// A claim of instances of [`SAGA`]. After two takeovers they are suspects, after two more they are poison.
pub(super) fn claim_by(engine: EngineId) -> Claim {
    Claim {
        engine,
        runnable: vec![runnable(definition(SAGA))],
        limit: 1_000,
        suspect: true,
        suspect_after: 2,
        poison_after: 2,
        suspect_delay: Duration::from_millis(20),
        suspect_delay_max: Duration::from_millis(100),
    }
}

/// An engine whose lease outlasts the test.
pub(super) async fn engine(store: &impl SagaStore) -> EngineId {
    let engine = EngineId::random();
    store.renew(engine, HOUR).await.unwrap();
    engine
}

/// Writes a batch, as an engine does: again while the store is busy.
pub(super) async fn write(store: &impl SagaStore, batch: &[Write]) -> Vec<Written> {
    let started = Instant::now();
    loop {
        match store.write(batch).await {
            Ok(written) => {
                assert_eq!(written.len(), batch.len(), "a reply for each write");
                return written;
            }
            Err(error) if error.is_transient() && started.elapsed() < PATIENCE => pause().await,
            Err(error) => panic!("a write failed: {error:?}"),
        }
    }
}

pub(super) async fn write_progress(store: &impl SagaStore, progress: &Progress) -> Written {
    write(store, &[Write::Progress(progress.clone())])
        .await
        .remove(0)
}

/// Writes progress that must be stored.
pub(super) async fn store_progress(store: &impl SagaStore, progress: &Progress) {
    assert_stored(&write_progress(store, progress).await);
}

#[track_caller]
pub(super) fn assert_stored(written: &Written) {
    assert!(matches!(written, Written::Stored { .. }), "{written:?}");
}

pub(super) async fn write_accept(store: &impl SagaStore, accept: &Accept) -> Accepted {
    match write(store, &[Write::Accept(accept.clone())])
        .await
        .remove(0)
    {
        Written::Accepted(accepted) => accepted,
        other => panic!("the reply to an accept is {other:?}"),
    }
}

/// Stores a new instance.
pub(super) async fn store_accept(store: &impl SagaStore, accept: &Accept) -> SagaId {
    assert_eq!(write_accept(store, accept).await, Accepted::New);
    accept.id
}

/// A new instance of [`SAGA`] that `owner` owns, and its token.
pub(super) async fn owned(store: &impl SagaStore, owner: EngineId) -> (SagaId, Token) {
    let id = store_accept(
        store,
        &Accept {
            owner: Some(owner),
            ..accept()
        },
    )
    .await;
    (id, Token { owner, epoch: 1 })
}

/// A new instance in this state, by an owner; final and stuck ones belong to nobody after that.
pub(super) async fn in_state(
    store: &impl SagaStore,
    owner: EngineId,
    state: InstanceState,
) -> (SagaId, Token) {
    let (id, token) = owned(store, owner).await;
    if state != InstanceState::Pending {
        store_progress(store, &progress(id, token, state)).await;
    }
    (id, token)
}

/// A new instance that was released by its first owner, to wake then.
pub(super) async fn released(
    store: &impl SagaStore,
    owner: EngineId,
    wake: Wake,
) -> (SagaId, Token) {
    let (id, token) = owned(store, owner).await;
    let release = Progress {
        release: Some(wake),
        ..progress(id, token, InstanceState::Executing)
    };
    store_progress(store, &release).await;
    (id, token)
}

pub(super) async fn load(store: &impl SagaStore, id: SagaId) -> Snapshot {
    store
        .load(id)
        .await
        .unwrap()
        .expect("the instance is stored")
}

#[track_caller]
pub(super) fn stored_step<'a>(snapshot: &'a Snapshot, name: &str) -> &'a StepRow {
    snapshot
        .steps
        .iter()
        .find(|step| step.name == name)
        .unwrap_or_else(|| panic!("step {name:?} is not stored"))
}

pub(super) fn ids(claimed: &Claimed) -> Vec<SagaId> {
    let mut ids: Vec<_> = claimed
        .instances
        .iter()
        .map(|snapshot| snapshot.summary.id)
        .collect();
    ids.sort_unstable();
    ids
}

/// Claims until this instance is among the claimed ones.
pub(super) async fn claim_until_taken(
    store: &impl SagaStore,
    claim: &Claim,
    id: SagaId,
) -> Snapshot {
    until("the instance is claimed", async || {
        let claimed = store.claim(claim).await.unwrap();
        claimed
            .instances
            .into_iter()
            .find(|snapshot| snapshot.summary.id == id)
    })
    .await
}

/// Takes one instance by a new engine, which is returned with it.
pub(super) async fn claim_one(store: &impl SagaStore, id: SagaId) -> (EngineId, Snapshot) {
    let engine = engine(store).await;
    let claimed = store.claim(&claim_by(engine)).await.unwrap();
    assert_eq!(ids(&claimed), [id]);
    (engine, claimed.instances.into_iter().next().unwrap())
}

/// So much is left, or what remains of it after a slow test.
#[track_caller]
pub(super) fn assert_left(left: Option<Duration>, whole: Duration) {
    assert!(
        left.is_some_and(|left| left <= whole && left + PATIENCE > whole),
        "{left:?} of {whole:?}"
    );
}

pub(super) async fn until<T>(condition: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "in vain: until {condition}");
        pause().await;
    }
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

/// Everything of an instance that a write could have changed, for comparing before and after.
pub(super) async fn picture(store: &impl SagaStore, id: SagaId) -> Picture {
    let mut snapshot = load(store, id).await;
    snapshot
        .steps
        .sort_by(|one, other| one.name.cmp(&other.name));
    for step in &mut snapshot.steps {
        // The time that is left is another one at each look.
        step.wake = step.wake.map(|_| Duration::ZERO);
    }
    Picture(format!(
        "{snapshot:?}",
        snapshot = Snapshot {
            deadline: None,
            ..snapshot
        }
    ))
}

/// What [`picture`] saw.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Picture(String);
