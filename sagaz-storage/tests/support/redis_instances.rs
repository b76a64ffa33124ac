//! Instances of one saga.

use sagaz_core::{
    EngineId, Payload, SagaId, StepKind, Token,
    store::{
        Accept, Claim, DefinitionKey, InstanceState, Progress, Runnable, SagaStore, Snapshot,
        StepState, StepWrite, Write,
    },
};
use sagaz_storage::redis::Redis;
use std::time::Duration;

fn definition() -> DefinitionKey {
    DefinitionKey {
        saga: "shop".to_owned(),
        version: 1,
        fingerprint: "graph".to_owned(),
    }
}

pub(crate) fn accept(owner: Option<EngineId>) -> Accept {
    Accept {
        id: SagaId::new(),
        definition: definition(),
        input: Payload {
            content_type: "application/json".to_owned(),
            bytes: b"{}".to_vec(),
        },
        input_digest: "digest".to_owned(),
        start_key: None,
        owner,
        deadline: None,
        trace: None,
    }
}

pub(crate) async fn engine(store: &Redis) -> EngineId {
    let engine = EngineId::random();
    store.renew(engine, Duration::from_hours(1)).await.unwrap();
    engine
}

pub(crate) async fn owned(store: &Redis, owner: EngineId) -> (SagaId, Token) {
    let accept = accept(Some(owner));
    let id = accept.id;
    store.write(&[Write::Accept(accept)]).await.unwrap();
    (id, Token { owner, epoch: 1 })
}

pub(crate) fn progress(id: SagaId, token: Token) -> Write {
    Write::Progress(Progress {
        id,
        token,
        state: InstanceState::Executing,
        pivot_passed: false,
        failure: None,
        stuck: None,
        release: None,
        sender: None,
        steps: vec![StepWrite {
            name: "charge".to_owned(),
            kind: StepKind::Compensatable,
            state: StepState::Completed,
            attempts: 1,
            undo_attempts: 0,
            recoveries: 0,
            output: None,
            error: None,
            wake: None,
            events: Vec::new(),
        }],
    })
}

pub(crate) fn claim(engine: EngineId) -> Claim {
    Claim {
        engine,
        runnable: vec![Runnable {
            key: definition(),
            accepts: Vec::new(),
            steps: Vec::new(),
        }],
        limit: 100,
        suspect: true,
        suspect_after: 2,
        poison_after: 2,
        suspect_delay: Duration::from_secs(1),
        suspect_delay_max: Duration::from_secs(1),
    }
}

pub(crate) async fn stored(store: &Redis, id: SagaId) -> Snapshot {
    store.load(id).await.unwrap().expect("it is stored")
}
