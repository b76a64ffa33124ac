//! Two million finished instances beside none: what a claim, a write and a whole instance cost then.
//!
//! `cargo bench --features postgres --bench postgres -- full`. Takes some minutes and some gigabytes. Rounds on the full and on
//! the empty tables are interleaved.

use crate::{execute, median, order, order::Order, setting, store};
use sagaz::{
    Engine, EngineId, Payload, SagaId, StepKind, Token,
    postgres::Postgres,
    store::{
        Accept, Claim, DefinitionKey, InstanceState, Progress, Runnable, SagaStore, StepState,
        StepWrite, Write, Written,
    },
};
use std::time::{Duration, Instant};

const FULL: &str = "sagaz_bench_full";
const EMPTY: &str = "sagaz_bench_empty";
const INSTANCES: u32 = 2_000_000;
const ROUNDS: usize = 15;
const BATCH: usize = 100;
const HOUR: Duration = Duration::from_hours(1);

/// Finished instances and their steps, some days old.
fn fill(instances: u32) -> String {
    let id = "(lpad(to_hex(1750000000000 + n), 12, '0') || '7000800000000000' || lpad(to_hex(n % 65536), 4, '0'))::uuid";
    format!(
        "INSERT INTO {FULL}.saga_instance (id, saga, version, fingerprint, state, epoch, ended_at, start_key, input_digest,
            created_at, updated_at, content_type, input_text)
        SELECT {id}, 'order', 1, 'f', CASE WHEN n % 50 = 0 THEN 'rolled_back' ELSE 'completed' END, 1, at, 'order-' || n, '',
            at, at, 'application/json', '\"order 4711 of customer 17: two compact discs\"'
        FROM (SELECT n, clock_timestamp() - n * interval '1 second' AS at FROM generate_series(1, {instances}) AS n) AS t;
        INSERT INTO {FULL}.saga_step (instance_id, name, kind, state, attempts, undo_attempts, recoveries, updated_at, content_type,
            output_text)
        SELECT {id}, step, 'compensatable', 'completed', 1, 0, 0, now(), 'application/json', '\"a reservation of something\"'
        FROM generate_series(1, {instances}) AS n, unnest(ARRAY['charge', 'confirm', 'reserve']) AS step;
        VACUUM ANALYZE {FULL}.saga_instance;
        VACUUM ANALYZE {FULL}.saga_step"
    )
}

fn definition() -> DefinitionKey {
    DefinitionKey {
        saga: "order".to_owned(),
        version: 1,
        fingerprint: "f".to_owned(),
    }
}

fn accept() -> Accept {
    Accept {
        id: SagaId::new(),
        definition: definition(),
        input: json(order::INPUT),
        input_digest: String::new(),
        start_key: None,
        owner: None,
        deadline: None,
        trace: None,
    }
}

fn json(text: &str) -> Payload {
    Payload {
        content_type: "application/json".to_owned(),
        bytes: format!("\"{text}\"").into_bytes(),
    }
}

fn completed(id: SagaId, owner: EngineId) -> Write {
    let mut progress = Progress {
        id,
        token: Token { owner, epoch: 1 },
        state: InstanceState::Completed,
        pivot_passed: false,
        failure: None,
        stuck: None,
        release: None,
        sender: None,
        steps: Vec::new(),
    };
    progress.steps.push(StepWrite {
        name: "reserve".to_owned(),
        kind: StepKind::Compensatable,
        state: StepState::Completed,
        attempts: 1,
        undo_attempts: 0,
        recoveries: 0,
        output: Some(json(order::INPUT)),
        error: None,
        wake: None,
        events: Vec::new(),
    });
    Write::Progress(progress)
}

/// How long a claim of a hundred takes, and a batch of writes to them, in milliseconds.
async fn claim_and_write(store: &Postgres, engine: EngineId) -> (f64, f64) {
    let accepts: Vec<_> = (0..BATCH).map(|_| Write::Accept(accept())).collect();
    store.write(&accepts).await.expect("they are accepted");
    let claim = Claim {
        engine,
        runnable: vec![Runnable {
            key: definition(),
            accepts: Vec::new(),
            steps: Vec::new(),
        }],
        limit: 1_000,
        suspect: true,
        suspect_after: 2,
        poison_after: 10,
        suspect_delay: Duration::from_secs(1),
        suspect_delay_max: Duration::from_secs(1),
    };
    let began = Instant::now();
    let claimed = store.claim(&claim).await.expect("they are claimed");
    let claiming = began.elapsed();
    assert_eq!(claimed.instances.len(), BATCH);
    let writes = claimed.instances.iter();
    let writes: Vec<_> = writes.map(|it| completed(it.summary.id, engine)).collect();
    let began = Instant::now();
    let written = store.write(&writes).await.expect("they are written");
    let writing = began.elapsed();
    assert!(
        written
            .iter()
            .all(|it| matches!(it, Written::Stored { .. }))
    );
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    (ms(claiming), ms(writing))
}

/// What is measured on one store.
#[derive(Default)]
struct Figures {
    claims: Vec<f64>,
    writes: Vec<f64>,
    instances: Vec<f64>,
    many: Vec<f64>,
    backlogs: Vec<f64>,
}

pub(crate) async fn compare(url: &str) {
    let (full, empty) = (store(url, FULL, 2).await, store(url, EMPTY, 2).await);
    let instances = setting("INSTANCES", INSTANCES);
    let began = Instant::now();
    for statement in fill(instances).split(';') {
        execute(url, statement.to_owned()).await;
    }
    println!("{instances} finished instances in {:.0?}", began.elapsed());
    let owner = EngineId::random();
    let mut engines = Vec::new();
    for store in [&empty, &full] {
        store.renew(owner, HOUR).await.expect("a lease");
        // It claims nothing: it knows the graph under another fingerprint.
        let engine = Engine::builder(store.clone()).register(Order);
        engines.push(engine.start().await.expect("the engine starts"));
    }
    let mut figures = [Figures::default(), Figures::default()];
    for _ in 0..setting("ROUNDS", ROUNDS) {
        for (at, store) in [&empty, &full].into_iter().enumerate() {
            let (claim, write) = claim_and_write(store, owner).await;
            let began = Instant::now();
            store.backlog().await.expect("a backlog");
            figures[at]
                .backlogs
                .push(began.elapsed().as_secs_f64() * 1e3);
            figures[at].claims.push(claim);
            figures[at].writes.push(write);
            let each =
                |(finished, took): (u32, Duration)| took.as_secs_f64() * 1e3 / f64::from(finished);
            let half_a_second = Duration::from_millis(500);
            figures[at]
                .instances
                .push(each(order::run(&engines[at], 1, half_a_second).await));
            figures[at]
                .many
                .push(each(order::run(&engines[at], 64, half_a_second).await));
        }
    }
    println!(
        "{:>34} {:>9} {:>9} {:>6}",
        "milliseconds", "empty", "full", "ratio"
    );
    let [empty_figures, full_figures] = figures;
    let rows = [
        ("a claim of 100", empty_figures.claims, full_figures.claims),
        (
            "a write of 100 steps",
            empty_figures.writes,
            full_figures.writes,
        ),
        (
            "an instance, alone",
            empty_figures.instances,
            full_figures.instances,
        ),
        (
            "an instance, of 64 in flight",
            empty_figures.many,
            full_figures.many,
        ),
        ("a backlog", empty_figures.backlogs, full_figures.backlogs),
    ];
    for (what, empty, full) in rows {
        let ratios = full.iter().zip(&empty).map(|(full, empty)| full / empty);
        let ratio = median(ratios.collect());
        println!(
            "{what:>34} {:>9.2} {:>9.2} {ratio:>6.2}",
            median(empty),
            median(full)
        );
    }
    println!("wanted: no ratio above 1.5");
    let began = Instant::now();
    full.count().await.expect("a count");
    println!("a count takes {:.0?}", began.elapsed());
    let began = Instant::now();
    let removed = full
        .prune(HOUR, 500, sagaz::store::Retention::Delete)
        .await
        .expect("a removal");
    println!("to delete {removed} takes {:.1?}", began.elapsed());
    let began = Instant::now();
    let removed = full
        .prune(HOUR, 500, sagaz::store::Retention::Archive)
        .await
        .expect("a removal");
    println!("to archive {removed} takes {:.1?}", began.elapsed());
    for engine in engines {
        engine.shutdown().await;
    }
    for store in [full, empty] {
        store.close().await;
    }
    execute(url, format!("DROP SCHEMA {EMPTY} CASCADE")).await;
    if setting("KEEP", 0) == 0 {
        execute(url, format!("DROP SCHEMA {FULL} CASCADE")).await;
    }
}
