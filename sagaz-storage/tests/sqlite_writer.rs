//! The writer: what becomes of calls that are dropped, of a busy file, and of two handles on one file.
#![cfg(feature = "sqlite")]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use sagaz_core::{
    EngineId, Payload, SagaId, StepKind, Token,
    store::{
        Accept, Accepted, DefinitionKey, InstanceState, Progress, SagaStore, StepState, StepWrite,
        Write, Written,
    },
};
use sagaz_storage::sqlite::Sqlite;
use sqlx::{ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};
use std::{future::poll_fn, path::Path, pin::pin, task::Poll, time::Duration};
use tempfile::TempDir;

async fn store() -> (TempDir, Sqlite) {
    let directory = tempfile::tempdir().unwrap();
    let store =
        Sqlite::options(directory.path().join("sagas.db")).busy_timeout(Duration::from_millis(50));
    let store = store.open().await.unwrap();
    (directory, store)
}

async fn connection(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(path)
        .connect()
        .await
        .unwrap()
}

fn json(text: &str) -> Payload {
    Payload {
        content_type: "application/json".to_owned(),
        bytes: text.as_bytes().to_vec(),
    }
}

fn accept(owner: Option<EngineId>) -> Accept {
    Accept {
        id: SagaId::new(),
        definition: DefinitionKey {
            saga: "order".to_owned(),
            version: 1,
            fingerprint: "graph".to_owned(),
        },
        input: json(r#"{"order":1}"#),
        input_digest: "digest".to_owned(),
        start_key: None,
        owner,
        deadline: None,
        trace: None,
    }
}

fn progress(id: SagaId, owner: EngineId, output: Payload) -> Progress {
    Progress {
        id,
        token: Token { owner, epoch: 1 },
        state: InstanceState::Executing,
        pivot_passed: false,
        failure: None,
        stuck: None,
        release: None,
        sender: None,
        steps: vec![StepWrite {
            name: "reserve".to_owned(),
            kind: StepKind::Compensatable,
            state: StepState::Completed,
            attempts: 1,
            undo_attempts: 0,
            recoveries: 0,
            output: Some(output),
            error: None,
            wake: None,
            events: Vec::new(),
        }],
    }
}

fn batch(of: impl IntoIterator<Item = Accept>) -> Vec<Write> {
    of.into_iter().map(Write::Accept).collect()
}

/// Dropped after each number of polls, so that every await inside is met; the next write finds a clean connection, and
/// a write that was dropped is there as a whole or not at all.
#[tokio::test]
async fn a_dropped_write_leaves_the_store_usable() {
    let (_directory, store) = store().await;
    let engine = EngineId::random();
    for polls in 0..12 {
        let writes = batch([accept(Some(engine)), accept(Some(engine))]);
        {
            let mut write = pin!(store.write(&writes));
            for _ in 0..polls {
                let polled = poll_fn(|context| Poll::Ready(write.as_mut().poll(context))).await;
                if polled.is_ready() {
                    break;
                }
                tokio::time::sleep(Duration::from_micros(50)).await;
            }
        }
        // The dropped connection may still hold the lock for a moment.
        let replies = loop {
            match store.write(&writes).await {
                Err(error) if error.is_transient() => {}
                other => break other.unwrap(),
            }
        };
        assert_eq!(replies, vec![Written::Accepted(Accepted::New); 2]);
    }
    let total: u64 = store
        .count()
        .await
        .unwrap()
        .iter()
        .map(|(_, _, count)| count)
        .sum();
    assert_eq!(total, 24);
}

#[tokio::test]
async fn a_busy_file_is_a_transient_error_that_names_it() {
    let (_directory, store) = store().await;
    let writes = batch([accept(None)]);
    let mut other = connection(store.path()).await;
    sqlx::raw_sql("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();
    let error = store.write(&writes).await.unwrap_err();
    assert!(error.is_transient());
    let message = error.to_string();
    assert!(
        message.contains("is busy") && message.contains(store.path().to_str().unwrap()),
        "{message}"
    );

    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    assert_eq!(
        store.write(&writes).await.unwrap(),
        [Written::Accepted(Accepted::New)]
    );
}

/// The first row of a batch is in when the second fails.
#[tokio::test]
async fn p12_a_batch_that_the_database_refuses_is_refused_as_a_whole() {
    let (_directory, store) = store().await;
    let mut other = connection(store.path()).await;
    let guard = "CREATE TRIGGER guard BEFORE INSERT ON saga_instance WHEN NEW.input_digest = 'bad'
        BEGIN SELECT raise(ABORT, 'bad'); END";
    sqlx::raw_sql(guard).execute(&mut other).await.unwrap();
    let good = accept(None);
    let writes = batch([
        good.clone(),
        Accept {
            input_digest: "bad".to_owned(),
            ..accept(None)
        },
    ]);
    assert!(store.write(&writes).await.unwrap_err().is_refusal());
    assert!(store.load(good.id).await.unwrap().is_none());
    assert_eq!(
        store.write(&batch([good])).await.unwrap(),
        [Written::Accepted(Accepted::New)]
    );
}

#[tokio::test]
async fn a_start_key_that_sqlite_cannot_hold_is_refused() {
    let (_directory, store) = store().await;
    let accept = Accept {
        start_key: Some("a\0b".to_owned()),
        ..accept(None)
    };
    assert!(
        store
            .write(&batch([accept]))
            .await
            .unwrap_err()
            .is_refusal()
    );
}

#[tokio::test]
async fn json_is_text_and_other_payloads_are_blobs() {
    let (_directory, store) = store().await;
    let engine = EngineId::random();
    let accept = accept(Some(engine));
    let output = Payload {
        content_type: "application/cbor".to_owned(),
        bytes: vec![0, 255, 10],
    };
    store.write(&batch([accept.clone()])).await.unwrap();
    store
        .write(&[Write::Progress(progress(accept.id, engine, output))])
        .await
        .unwrap();
    let mut connection = connection(store.path()).await;
    let sql = "SELECT typeof(input) || ' ' || typeof(output) || ' ' || (input->>'$.order')
        FROM saga_instance JOIN saga_step ON instance_id = id";
    let types: String = sqlx::query_scalar(sql)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(types, "text blob 1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_handles_on_one_file_both_get_their_turn() {
    let (_directory, one) = store().await;
    let two = Sqlite::open(one.path()).await.unwrap();
    let write_all = async |store: Sqlite| {
        for _ in 0..50 {
            let writes = batch([accept(None)]);
            while let Err(error) = store.write(&writes).await {
                assert!(error.is_transient(), "{error}");
            }
            tokio::time::sleep(store.gap()).await;
        }
    };
    tokio::join!(write_all(one.clone()), write_all(two));
    assert_eq!(
        one.count().await.unwrap(),
        [("order".to_owned(), InstanceState::Pending, 100)]
    );
}

#[tokio::test]
async fn a_closed_writer_is_opened_anew() {
    let (_directory, store) = store().await;
    store.close().await;
    assert_eq!(
        store.write(&batch([accept(None)])).await.unwrap(),
        [Written::Accepted(Accepted::New)]
    );
}

#[tokio::test]
async fn a_lease_outlasts_four_busy_timeouts() {
    let (_directory, store) = store().await;
    assert!(store.lease_min() >= Duration::from_millis(200));
}
