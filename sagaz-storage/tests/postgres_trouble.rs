//! A server that refuses, crashes, cuts connections or waits for somebody: errors that say what to do, and no transition lost
//! or doubled.
#![cfg(feature = "postgres")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use sagaz_core::{
    EngineId, Payload, SagaId, StepKind, Token,
    store::{
        Accept, Accepted, DefinitionKey, InstanceState, Progress, SagaStore, StepState, StepWrite,
        StoreError, Write, Written,
    },
};
use sagaz_storage::postgres::{ConnectError, Postgres};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::broadcast,
    task::JoinSet,
    time::{sleep, timeout},
};

const HOUR: Duration = Duration::from_hours(1);
const PATIENCE: Duration = Duration::from_mins(1);

fn json(text: &str) -> Payload {
    Payload {
        content_type: "application/json".to_owned(),
        bytes: format!("\"{text}\"").into_bytes(),
    }
}

fn accept(owner: EngineId) -> Accept {
    Accept {
        id: SagaId::new(),
        definition: DefinitionKey {
            saga: "shop".to_owned(),
            version: 1,
            fingerprint: "graph".to_owned(),
        },
        input: json("input"),
        input_digest: "digest".to_owned(),
        start_key: None,
        owner: Some(owner),
        deadline: None,
        trace: None,
    }
}

fn progress(id: SagaId, owner: EngineId, step: u32, is_last: bool) -> Write {
    let state = if is_last {
        InstanceState::Completed
    } else {
        InstanceState::Executing
    };
    Write::Progress(Progress {
        id,
        token: Token { owner, epoch: 1 },
        state,
        pivot_passed: false,
        failure: None,
        stuck: None,
        release: None,
        sender: None,
        steps: vec![StepWrite {
            name: format!("step {step}"),
            kind: StepKind::Compensatable,
            state: StepState::Completed,
            attempts: step,
            undo_attempts: 0,
            recoveries: 0,
            output: Some(json(&format!("output {step}"))),
            error: None,
            wake: None,
            events: Vec::new(),
        }],
    })
}

/// Offers a write as an engine does: until the store answers for it.
async fn offer(store: &Postgres, write: Write, failures: &AtomicU32) -> Written {
    let (batch, mut backoff) = ([write], Duration::from_millis(5));
    let began = Instant::now();
    loop {
        match store.write(&batch).await {
            Ok(written) => return written.into_iter().next().unwrap(),
            Err(error) => {
                assert!(error.is_transient(), "{error:?}: {:?}", source(&error));
                assert!(began.elapsed() < PATIENCE, "{error:?}");
                failures.fetch_add(1, Ordering::Relaxed);
            }
        }
        sleep(backoff).await;
        backoff = (backoff * 2).min(Duration::from_millis(200));
    }
}

fn source(error: &StoreError) -> String {
    std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default()
}

const STEPS: u32 = 3;

/// Writes many instances side by side while `trouble` goes on, and then looks at what is stored. Each write is accepted, by
/// the try that reached the server or by a later one; none is told that another owner has come; and what is stored is what
/// was written, once.
async fn survives(store: Postgres, check: Postgres, trouble: impl AsyncFnOnce()) {
    let owner = EngineId::random();
    store.renew(owner, HOUR).await.unwrap();
    let (ends, failures) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU32::new(0)),
    );
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (store, ends, failures) = (store.clone(), Arc::clone(&ends), Arc::clone(&failures));
        tasks.spawn(async move {
            let mut ids = Vec::new();
            while !ends.load(Ordering::Relaxed) {
                let accept = accept(owner);
                let id = accept.id;
                let written = offer(&store, Write::Accept(accept), &failures).await;
                assert_eq!(written, Written::Accepted(Accepted::New));
                for step in 1..=STEPS {
                    let write = progress(id, owner, step, step == STEPS);
                    let written = offer(&store, write, &failures).await;
                    assert!(matches!(written, Written::Stored { .. }), "{written:?}");
                }
                ids.push(id);
            }
            ids
        });
    }
    trouble().await;
    ends.store(true, Ordering::Relaxed);
    let ids = tasks.join_all().await.concat();
    assert!(failures.load(Ordering::Relaxed) > 0, "there was no trouble");
    assert!(!ids.is_empty(), "nothing was written");
    let mut counted = 0;
    for (_, state, count) in check.count().await.unwrap() {
        assert_eq!(state, InstanceState::Completed);
        counted += count;
    }
    assert_eq!(counted, ids.len() as u64);
    for id in ids {
        let snapshot = check.load(id).await.unwrap().unwrap();
        assert_eq!((snapshot.summary.epoch, snapshot.summary.owner), (1, None));
        let mut steps = snapshot.steps;
        steps.sort_by(|a, b| a.name.cmp(&b.name));
        let attempts: Vec<_> = steps.iter().map(|step| step.attempts).collect();
        assert_eq!(attempts, [1, 2, 3]);
        assert!(steps.iter().all(|step| step.output.is_some()));
    }
}

async fn connect(url: &str, schema: &str) -> Postgres {
    let options = Postgres::options(url).unwrap().schema(schema);
    options.connect().await.unwrap()
}

async fn run(url: &str, sql: &str) {
    let mut session = PgConnection::connect(url).await.unwrap();
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(&mut session).await.unwrap();
}

/// On servers of the tests' own. By this name they are left out where PostgreSQL's programs are not installed.
mod native_postgres {
    use super::*;
    use crate::support::private::Server;

    async fn refusal(url: &str) -> ConnectError {
        let options = match Postgres::options(url) {
            Ok(options) => options.call_timeout(Duration::from_secs(20)),
            Err(error) => return error,
        };
        options.connect().await.expect_err("it is refused")
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_server_is_told_in_words_that_help() {
        let mut server = Server::new("scram-sha-256");
        let at = |user: &str, database: &str| {
            format!("postgres://{user}@127.0.0.1:{}/{database}", server.port)
        };
        let admin = at("postgres:secret", "postgres");
        run(
            &admin,
            "CREATE ROLE clerk LOGIN PASSWORD 'secret'; CREATE ROLE guest LOGIN PASSWORD 'secret';
            CREATE ROLE cashier LOGIN PASSWORD 'secret'",
        )
        .await;
        run(&admin, "CREATE DATABASE frozen").await;
        run(
            &admin,
            "ALTER DATABASE frozen SET default_transaction_read_only = on",
        )
        .await;
        // The tables are there, and belong to somebody else.
        connect(&admin, "sagaz").await.close().await;
        run(
            &admin,
            "GRANT USAGE ON SCHEMA sagaz TO clerk, cashier; GRANT SELECT ON ALL TABLES IN SCHEMA sagaz TO clerk;
            GRANT ALL ON ALL TABLES IN SCHEMA sagaz TO cashier",
        )
        .await;
        let refused = [
            (
                at("postgres:wrong", "postgres"),
                "refuses the user or the password",
            ),
            (
                at("nobody:secret", "postgres"),
                "refuses the user or the password",
            ),
            (
                at("postgres:secret", "nowhere"),
                "create it, or correct the URL",
            ),
            (
                at("postgres:secret", "frozen"),
                "is read-only; connect to the primary",
            ),
            (
                at("guest:secret", "postgres"),
                "lacks a privilege: it needs CREATE",
            ),
            (
                at("clerk:secret", "postgres"),
                "lacks a privilege: grant it DELETE on sagaz.consumer_inbox",
            ),
            (
                at("cashier:secret", "postgres"),
                "lacks a privilege: grant it USAGE on sagaz.outbox_seq",
            ),
        ];
        for (url, words) in &refused {
            let error = refusal(url).await;
            assert!(error.to_string().contains(words), "{url}: {error}");
            assert!(!error.is_transient(), "{url}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        server.stop();
        let error = refusal(&admin).await;
        assert!(
            error.to_string().contains("cannot reach the database"),
            "{error}"
        );
        assert!(error.is_transient());
        server.start();
        connect(&admin, "sagaz").await;
    }

    #[tokio::test]
    async fn a_replica_is_refused() {
        let server = Server::new("trust");
        connect(&server.url(), "sagaz").await;
        let replica = server.replica();
        let error = refusal(&replica.url()).await;
        assert!(matches!(error, ConnectError::ReadOnly { .. }), "{error}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_a_server_that_crashes_in_the_middle_of_writes_loses_and_doubles_nothing() {
        let mut server = Server::new("trust");
        let url = server.url();
        let store = connect(&url, "sagaz").await;
        survives(store.clone(), store, async || {
            for _ in 0..3 {
                sleep(Duration::from_millis(300)).await;
                tokio::task::block_in_place(|| {
                    server.stop();
                    server.start();
                });
            }
            sleep(Duration::from_millis(300)).await;
        })
        .await;
    }
}

/// On the server that all tests share. By this name they are left out where there is no server.
mod postgres {
    use super::*;
    use crate::support::postgres::{schema, store, url};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_sessions_that_are_killed_lose_and_double_nothing() {
        let schema = schema();
        let store = connect(&url(), &schema).await;
        survives(store.clone(), store, async || {
            let mut admin = PgConnection::connect(&url()).await.unwrap();
            for _ in 0..30 {
                sleep(Duration::from_millis(30)).await;
                sqlx::query(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE query LIKE $1 AND query NOT LIKE '%count(*)%' AND pid <> pg_backend_pid()",
                )
                .bind(format!("%{schema}%"))
                .execute(&mut admin)
                .await
                .unwrap();
            }
        })
        .await;
    }

    /// In front of the server: when it is told to, it drops every connection, with whatever is under way.
    async fn proxy(cut: broadcast::Sender<()>) -> u16 {
        let address = url()
            .split('@')
            .nth(1)
            .unwrap()
            .split('/')
            .next()
            .unwrap()
            .to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (address, mut cut) = (address.clone(), cut.subscribe());
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(address).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = cut.recv() => {}
                    }
                });
            }
        });
        port
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_connections_that_are_cut_lose_and_double_nothing() {
        let (cut, _) = broadcast::channel(1);
        let port = proxy(cut.clone()).await;
        let (before, after) = url()
            .split_once('@')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        let database = after.split('/').nth(1).unwrap();
        let through = format!("{before}@127.0.0.1:{port}/{database}");
        let schema = schema();
        let check = connect(&url(), &schema).await;
        survives(connect(&through, &schema).await, check, async || {
            for _ in 0..30 {
                sleep(Duration::from_millis(30)).await;
                // All that there are.
                let _ = cut.send(());
            }
        })
        .await;
    }

    /// It waits for it once; as long as it is held, the others are written at once.
    #[tokio::test]
    async fn a_row_that_somebody_holds_does_not_stall_its_batch() {
        let store = store().await;
        let owner = EngineId::random();
        store.renew(owner, HOUR).await.unwrap();
        let accepts: Vec<_> = (0..2).map(|_| accept(owner)).collect();
        let (held, free) = (accepts[0].id, accepts[1].id);
        let accepts: Vec<_> = accepts.into_iter().map(Write::Accept).collect();
        store.write(&accepts).await.unwrap();
        let mut user = PgConnection::connect(&url()).await.unwrap();
        let schema = store.schema();
        let lock = format!(
            "BEGIN; UPDATE {schema}.saga_instance SET input_digest = '' WHERE id = '{held}'"
        );
        sqlx::raw_sql(AssertSqlSafe(lock))
            .execute(&mut user)
            .await
            .unwrap();
        let unknown = SagaId::new();
        let batch = |step| {
            let last = step == 3;
            [held, free, unknown].map(|id| progress(id, owner, step, last && id == free))
        };
        let stored = |written: &Written| matches!(written, Written::Stored { .. });
        let mut took = Vec::new();
        for step in 1..=3 {
            let began = Instant::now();
            let written = store.write(&batch(step)).await.unwrap();
            took.push(began.elapsed());
            assert_eq!((&written[0], &written[2]), (&Written::Busy, &Written::Lost));
            assert!(stored(&written[1]), "{written:?}");
        }
        assert!(took[1] < took[0] && took[2] < took[0], "{took:?}");
        assert_eq!(store.load(free).await.unwrap().unwrap().steps.len(), 3);
        assert!(store.load(held).await.unwrap().unwrap().steps.is_empty());
        sqlx::raw_sql("ROLLBACK").execute(&mut user).await.unwrap();
        let written = store
            .write(&[progress(held, owner, 1, false)])
            .await
            .unwrap();
        assert!(stored(&written[0]), "{written:?}");
    }

    /// Also of a step.
    #[tokio::test]
    async fn a_step_that_somebody_holds_does_not_stall_its_batch() {
        let store = store().await;
        let owner = EngineId::random();
        store.renew(owner, HOUR).await.unwrap();
        let accepts: Vec<_> = (0..2).map(|_| accept(owner)).collect();
        let (held, free) = (accepts[0].id, accepts[1].id);
        let accepts: Vec<_> = accepts.into_iter().map(Write::Accept).collect();
        store.write(&accepts).await.unwrap();
        let batch = [held, free].map(|id| progress(id, owner, 1, false));
        store.write(&batch).await.unwrap();
        let mut user = PgConnection::connect(&url()).await.unwrap();
        let schema = store.schema();
        let lock = format!(
            "BEGIN; UPDATE {schema}.saga_step SET error = 'seen' WHERE instance_id = '{held}'"
        );
        sqlx::raw_sql(AssertSqlSafe(lock))
            .execute(&mut user)
            .await
            .unwrap();
        let written = store.write(&batch).await.unwrap();
        assert_eq!(written[0], Written::Busy);
        assert!(matches!(written[1], Written::Stored { .. }), "{written:?}");
        sqlx::raw_sql("ROLLBACK").execute(&mut user).await.unwrap();
        let written = store.write(&batch).await.unwrap();
        assert!(matches!(written[0], Written::Stored { .. }), "{written:?}");
    }

    /// Readers that all wait for a lock, as behind somebody's long transaction, keep nobody from writing, from keeping the
    /// lease, or from claiming.
    #[tokio::test]
    async fn p1_a_long_transaction_of_somebody_else_stalls_no_engine() {
        let store = store().await;
        let schema = store.schema().to_owned();
        let owner = EngineId::random();
        store.renew(owner, HOUR).await.unwrap();
        let mut user = PgConnection::connect(&url()).await.unwrap();
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM {schema}.saga_instance;
            LOCK TABLE {schema}.saga_archive IN ACCESS EXCLUSIVE MODE"
        );
        sqlx::raw_sql(AssertSqlSafe(begin))
            .execute(&mut user)
            .await
            .unwrap();
        let mut waiting = JoinSet::new();
        for _ in 0..10 {
            let store = store.clone();
            waiting.spawn(async move { store.archived(SagaId::new()).await });
        }
        let mut admin = PgConnection::connect(&url()).await.unwrap();
        let blocked = async {
            loop {
                let blocked: i64 = sqlx::query_scalar(
                    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1",
                )
                .bind(format!("%{schema}%"))
                .fetch_one(&mut admin)
                .await
                .unwrap();
                // All connections that read.
                if blocked == 3 {
                    return;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, blocked).await.expect("all readers wait");
        // Less than any of them waits.
        let works = timeout(Duration::from_secs(10), async {
            let new = accept(owner);
            let id = new.id;
            store.write(&[Write::Accept(new)]).await.unwrap();
            store.write(&[progress(id, owner, 1, true)]).await.unwrap();
            assert!(!store.renew(owner, HOUR).await.unwrap().lapsed);
            let claim = sagaz_core::store::Claim {
                engine: owner,
                runnable: Vec::new(),
                limit: 1,
                suspect: true,
                suspect_after: 2,
                poison_after: 2,
                suspect_delay: HOUR,
                suspect_delay_max: HOUR,
            };
            store.claim(&claim).await.unwrap();
        });
        works.await.expect("nobody waits for readers");
        sqlx::raw_sql("COMMIT").execute(&mut user).await.unwrap();
        for read in waiting.join_all().await {
            assert!(read.unwrap().is_none());
        }
    }
}
