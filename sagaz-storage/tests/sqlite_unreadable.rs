//! What becomes of a row that this code cannot read: it alone stands still, and says why.
#![cfg(feature = "sqlite")]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use sagaz_core::{
    EngineId, Payload, SagaId, StepKind, StuckReason, Token,
    store::{
        Accept, Claim, Claimed, DefinitionKey, Filter, InstanceState, Intervention, OperatorWrite,
        Progress, Runnable, RunnableStep, SagaStore, StepState, StepWrite, Write,
    },
};
use sagaz_storage::sqlite::Sqlite;
use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};
use std::time::Duration;
use tempfile::TempDir;

const HOUR: Duration = Duration::from_hours(1);

fn json(text: &str) -> Payload {
    Payload {
        content_type: "application/json".to_owned(),
        bytes: text.as_bytes().to_vec(),
    }
}

fn definition(version: u32) -> DefinitionKey {
    DefinitionKey {
        saga: "order".to_owned(),
        version,
        fingerprint: format!("graph {version}"),
    }
}

fn step() -> StepWrite {
    StepWrite {
        name: "reserve".to_owned(),
        kind: StepKind::Compensatable,
        state: StepState::Completed,
        attempts: 1,
        undo_attempts: 0,
        recoveries: 0,
        output: Some(json("1")),
        error: None,
        wake: None,
        events: Vec::new(),
    }
}

/// Three instances of a dead engine, each with a step.
async fn orphans(store: &Sqlite) -> [SagaId; 3] {
    let owner = EngineId::random();
    store.renew(owner, HOUR).await.unwrap();
    let ids = [SagaId::new(), SagaId::new(), SagaId::new()];
    for id in ids {
        let accept = Accept {
            id,
            definition: definition(1),
            input: json("1"),
            input_digest: "digest".to_owned(),
            start_key: None,
            owner: Some(owner),
            deadline: None,
            trace: None,
        };
        let progress = Progress {
            id,
            token: Token { owner, epoch: 1 },
            state: InstanceState::Executing,
            pivot_passed: false,
            failure: None,
            stuck: None,
            release: None,
            sender: None,
            steps: vec![step()],
        };
        store.write(&[Write::Accept(accept)]).await.unwrap();
        store.write(&[Write::Progress(progress)]).await.unwrap();
    }
    store.retire(owner).await.unwrap();
    ids
}

/// By an engine that runs this version and takes over older ones.
fn claim_by(engine: EngineId, version: u32) -> Claim {
    Claim {
        engine,
        runnable: vec![Runnable {
            key: definition(version),
            accepts: (1..version).collect(),
            steps: vec![RunnableStep {
                name: "reserve".to_owned(),
                depends_on: Vec::new(),
                kind: StepKind::Compensatable,
            }],
        }],
        limit: 10,
        suspect: true,
        suspect_after: 2,
        poison_after: 2,
        suspect_delay: Duration::from_millis(20),
        suspect_delay_max: Duration::from_millis(100),
    }
}

/// By a hand that is none of the store's.
async fn execute(store: &Sqlite, damage: &'static str, id: SagaId) {
    let connect = SqliteConnectOptions::new().filename(store.path());
    let mut connection = connect.connect().await.unwrap();
    let damaged = sqlx::query(damage)
        .bind(id.to_string())
        .execute(&mut connection)
        .await
        .unwrap();
    assert_eq!(damaged.rows_affected(), 1);
    connection.close().await.unwrap();
}

/// Three instances of a dead engine, of which the second is damaged.
async fn damaged(damage: &'static str) -> (TempDir, Sqlite, [SagaId; 3]) {
    let directory = tempfile::tempdir().unwrap();
    let store = Sqlite::open(directory.path().join("sagas.db"))
        .await
        .unwrap();
    let ids = orphans(&store).await;
    execute(&store, damage, ids[1]).await;
    (directory, store, ids)
}

/// What is claimed, in the order of their ids.
fn ids(claimed: &Claimed) -> Vec<SagaId> {
    let mut ids: Vec<_> = claimed.instances.iter().map(|it| it.summary.id).collect();
    ids.sort_unstable();
    ids
}

/// Damages the second of three instances, and claims them. Returns it with its epoch and the claimer.
async fn claimed_around(
    damage: &'static str,
    named: &str,
    version: u32,
) -> (TempDir, Sqlite, SagaId, u64, EngineId) {
    let (directory, store, [first, bad, last]) = damaged(damage).await;
    let page = store.list(&Filter::all()).await.unwrap();
    assert_eq!(page.instances.len(), 3, "{damage}");

    let engine = EngineId::random();
    store.renew(engine, HOUR).await.unwrap();
    let claimed = store.claim(&claim_by(engine, version)).await.unwrap();
    assert_eq!(ids(&claimed), [first, last], "{damage}");
    assert!(claimed.instances.iter().all(|it| it.steps.len() == 1));
    assert!(claimed.poisoned.is_empty());

    let page = store.list(&Filter::all()).await.unwrap().instances;
    assert_eq!(page.len(), 3, "{damage}");
    let summary = page.into_iter().find(|it| it.id == bad).unwrap();
    assert_eq!(
        (summary.state, summary.owner),
        (InstanceState::Stuck, None),
        "{damage}"
    );
    let stuck = summary.stuck.unwrap();
    assert_eq!(stuck.reason, StuckReason::Undecodable);
    assert!(stuck.message.contains(named), "{}", stuck.message);
    // It stays so.
    let claimed = store.claim(&claim_by(engine, version)).await.unwrap();
    assert!(claimed.instances.is_empty());
    (directory, store, bad, summary.epoch, engine)
}

#[tokio::test]
async fn p7_a_row_that_cannot_be_read_is_stuck_and_does_not_keep_the_others_from_being_claimed() {
    for (damage, named, version) in [
        (
            "UPDATE saga_step SET state = 'quantum' WHERE instance_id = ?",
            "quantum",
            1,
        ),
        (
            "UPDATE saga_step SET state = 'quantum' WHERE instance_id = ?",
            "quantum",
            2,
        ),
        (
            "UPDATE saga_instance SET failure = '{\"reason\":\"new_word\"}' WHERE id = ?",
            "new_word",
            1,
        ),
        (
            "UPDATE saga_instance SET interventions = 'scribble' WHERE id = ?",
            "scribble",
            1,
        ),
    ] {
        let (_directory, store, bad, ..) = claimed_around(damage, named, version).await;
        let error = store.load(bad).await.unwrap_err();
        assert!(!error.is_transient());
        assert!(error.to_string().contains(named), "{error}");
    }
}

/// The claim writes why it is stuck over what it could not read.
#[tokio::test]
async fn a_stuck_that_cannot_be_read_is_written_over() {
    let damage = "UPDATE saga_instance SET stuck = 'scribble' WHERE id = ?";
    let (_directory, store, bad, ..) = claimed_around(damage, "scribble", 1).await;
    let snapshot = store.load(bad).await.unwrap().unwrap();
    assert_eq!(snapshot.summary.state, InstanceState::Stuck);
}

#[tokio::test]
async fn a_decision_that_replaces_what_cannot_be_read_sets_the_instance_going() {
    let damage = "UPDATE saga_step SET state = 'quantum' WHERE instance_id = ?";
    let (_directory, store, bad, epoch, engine) = claimed_around(damage, "quantum", 1).await;
    let write = OperatorWrite {
        id: bad,
        epoch,
        state: InstanceState::Executing,
        pivot_passed: false,
        failure: None,
        steps: vec![step()],
        intervention: Intervention {
            action: "retry".to_owned(),
            who: "ops".to_owned(),
            why: "test".to_owned(),
            at_ms: 0,
        },
    };
    assert!(store.operate(&write).await.unwrap());
    let claimed = store.claim(&claim_by(engine, 1)).await.unwrap();
    assert_eq!(claimed.instances.len(), 1);
    assert_eq!(claimed.instances[0].summary.id, bad);
}

/// What cannot be read need not be the claim's: a stuck one is listed with those beside it.
#[tokio::test]
async fn a_list_shows_a_row_whose_words_cannot_be_read() {
    let damage = "UPDATE saga_step SET state = 'quantum' WHERE instance_id = ?";
    let (_directory, store, bad, ..) = claimed_around(damage, "quantum", 1).await;
    let damage = "UPDATE saga_instance SET stuck = '{\"reason\":\"new_word\"}', failure = x'00' WHERE id = ?";
    execute(&store, damage, bad).await;
    let page = store
        .list(&Filter::all().state(InstanceState::Stuck))
        .await
        .unwrap();
    assert_eq!(page.instances.len(), 1);
    assert_eq!(page.instances[0].id, bad);
    assert_eq!(
        (&page.instances[0].stuck, &page.instances[0].failure),
        (&None, &None)
    );
}

/// Nobody can ask for it, and it keeps nobody from what is beside it.
#[tokio::test]
async fn p1_a_row_whose_id_is_none_does_not_keep_the_others_from_being_claimed() {
    for damage in [
        "UPDATE saga_instance SET id = 'scribble' WHERE id = ?",
        "UPDATE saga_instance SET id = x'00ff' WHERE id = ?",
    ] {
        let (_directory, store, [first, _, last]) = damaged(damage).await;
        let engine = EngineId::random();
        store.renew(engine, HOUR).await.unwrap();
        let claimed = store.claim(&claim_by(engine, 1)).await.unwrap();
        assert_eq!(ids(&claimed), [first, last], "{damage}");
        let claimed = store.claim(&claim_by(engine, 1)).await.unwrap();
        assert!(claimed.instances.is_empty());
    }
}

#[tokio::test]
async fn a_list_shows_a_row_whose_numbers_cannot_be_read() {
    for damage in [
        "UPDATE saga_instance SET epoch = 1.5 WHERE id = ?",
        "UPDATE saga_instance SET takeovers = -1 WHERE id = ?",
        "UPDATE saga_instance SET pivot_passed = 'yes' WHERE id = ?",
        "UPDATE saga_instance SET created_at = 'yesterday' WHERE id = ?",
        "UPDATE saga_instance SET updated_at = x'00' WHERE id = ?",
        "UPDATE saga_instance SET owner = 'nobody' WHERE id = ?",
        "UPDATE saga_instance SET fingerprint = x'ff' WHERE id = ?",
    ] {
        let (_directory, store, mut ids) = damaged(damage).await;
        let page = store.list(&Filter::all()).await.unwrap();
        let mut listed: Vec<_> = page.instances.iter().map(|it| it.id).collect();
        ids.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, ids, "{damage}");
    }
}
