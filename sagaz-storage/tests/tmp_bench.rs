use sagaz_core::{EngineId, Payload, SagaId, StepKind, Token, store::*};
use sagaz_storage::sqlite::Sqlite;
use std::time::Instant;
fn json(n: usize) -> Payload { Payload { content_type: "application/json".into(), bytes: format!("\"{}\"", "x".repeat(n)).into_bytes() } }
fn accept(owner: Option<EngineId>) -> Accept { Accept { id: SagaId::new(), definition: DefinitionKey { saga: "order".into(), version: 1, fingerprint: "0123456789abcdef0123456789abcdef".into() }, input: json(300), input_digest: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".into(), start_key: None, owner, deadline: None } }
fn progress(id: SagaId, owner: EngineId, name: &str, state: InstanceState) -> Write { Write::Progress(Progress { id, token: Token { owner, epoch: 1 }, state, pivot_passed: false, failure: None, stuck: None, release: None, steps: vec![StepWrite { name: name.into(), kind: StepKind::Compensatable, state: StepState::Completed, attempts: 1, undo_attempts: 0, recoveries: 0, output: Some(json(100)), error: None, wake: None }] }) }
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bench() {
    let dir = tempfile::tempdir_in("/work").unwrap();
    let store = Sqlite::open(dir.path().join("b.db")).await.unwrap();
    let engine = EngineId::random();
    store.renew(engine, std::time::Duration::from_secs(600)).await.unwrap();
    for size in [1usize, 64, 256] {
        let rounds = if size == 1 { 1500 } else { 6400 / size };
        let mut ids = vec![];
        let t = Instant::now();
        for _ in 0..rounds {
            let b: Vec<_> = (0..size).map(|_| accept(Some(engine))).collect();
            ids.push(b.iter().map(|a| a.id).collect::<Vec<_>>());
            store.write(&b.into_iter().map(Write::Accept).collect::<Vec<_>>()).await.unwrap();
        }
        println!("accept  batch {size}: {:?}", t.elapsed() / rounds as u32);
        for (step, state) in [("reserve", InstanceState::Executing), ("charge", InstanceState::Executing), ("confirm", InstanceState::Completed)] {
            let t = Instant::now();
            for ids in &ids {
                let b: Vec<_> = ids.iter().map(|id| progress(*id, engine, step, state)).collect();
                store.write(&b).await.unwrap();
            }
            println!("progress batch {size} {step}: {:?}", t.elapsed() / rounds as u32);
        }
    }
    // floor: the same rows, one statement each over VALUES, group commit of 64
    use sqlx::{ConnectOptions, QueryBuilder, sqlite::*};
    for size in [1usize, 64, 256] {
        let rounds = if size == 1 { 1500 } else { 6400 / size };
        let mut c = SqliteConnectOptions::new().filename(dir.path().join(format!("f{size}.db"))).create_if_missing(true).journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full).connect().await.unwrap();
        sqlx::raw_sql(include_str!("../migrations/sqlite/0001_instances.sql")).execute(&mut c).await.unwrap();
        let mut all = vec![];
        let t = Instant::now();
        for _ in 0..rounds {
            let ids: Vec<_> = (0..size).map(|_| SagaId::new().to_string()).collect();
            sqlx::query("BEGIN IMMEDIATE").execute(&mut c).await.unwrap();
            let mut q = QueryBuilder::<Sqlite_>::new("INSERT INTO saga_instance (id,saga,version,fingerprint,state,owner,epoch,input_digest,created_at,updated_at,content_type,input) ");
            q.push_values(&ids, |mut b, id| { b.push_bind(id).push_bind("order").push_bind(1).push_bind("0123456789abcdef0123456789abcdef").push_bind("pending").push_bind("b9f6a1c4-0000-4000-8000-000000000000").push_bind(1).push_bind("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef").push_bind(1i64).push_bind(1i64).push_bind("application/json").push_bind("x".repeat(302)); });
            q.build().execute(&mut c).await.unwrap();
            sqlx::query("COMMIT").execute(&mut c).await.unwrap();
            all.push(ids);
        }
        println!("floor accept batch {size}: {:?}", t.elapsed() / rounds as u32);
        let t = Instant::now();
        for ids in &all {
            sqlx::query("BEGIN IMMEDIATE").execute(&mut c).await.unwrap();
            let mut q = QueryBuilder::<Sqlite_>::new("INSERT INTO saga_step (instance_id,name,kind,state,attempts,undo_attempts,recoveries,updated_at,content_type,output) ");
            q.push_values(ids, |mut b, id| { b.push_bind(id).push_bind("reserve").push_bind("compensatable").push_bind("completed").push_bind(1).push_bind(0).push_bind(0).push_bind(1i64).push_bind("application/json").push_bind("x".repeat(102)); });
            q.build().execute(&mut c).await.unwrap();
            let mut q = QueryBuilder::<Sqlite_>::new("UPDATE saga_instance SET state='executing', updated_at=2 WHERE owner='b9f6a1c4-0000-4000-8000-000000000000' AND epoch=1 AND id IN (");
            let mut s = q.separated(","); for id in ids { s.push_bind(id); } q.push(")");
            q.build().execute(&mut c).await.unwrap();
            sqlx::query("COMMIT").execute(&mut c).await.unwrap();
        }
        println!("floor progress batch {size}: {:?}", t.elapsed() / rounds as u32);
    }
}
type Sqlite_ = sqlx::Sqlite;
