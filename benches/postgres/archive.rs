//! A million archived events and a transaction that has been open all the time, beside neither: what it costs then to read events
//! and to say that they were sent.
//!
//! `cargo bench --features postgres --bench postgres -- archive`. Takes two minutes. The quiet outbox is in a database of its own,
//! because an open transaction keeps what is deleted anywhere in its database. Rounds on both are interleaved.

use crate::{execute, median, setting};
use sagaz::{
    EngineId, Event, Payload, SagaId, StepKind, Token,
    postgres::Postgres,
    store::{
        Accept, DefinitionKey, Fate, Fetch, InstanceState, Lane, Mark, OutboxStore, Progress,
        SagaStore, SentEvents, StepState, StepWrite, WorkerId, Write, Written,
    },
};
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use std::time::{Duration, Instant};

const SCHEMA: &str = "sagaz_bench_archive";
const QUIET: &str = "sagaz_bench_quiet";
const ARCHIVED: u32 = 1_000_000;
const SECONDS: u64 = 60;
const INSTANCES: usize = 20;
const EVENTS: u32 = 5;
const HOUR: Duration = Duration::from_hours(1);

fn fill(archived: u32) -> String {
    format!(
        "INSERT INTO {SCHEMA}.outbox_archive (lane, seq, id, key, type, source, time, attributes, content_type, data_text, stored_at,
            sent_at)
        SELECT n % 64, -n, gen_random_uuid(), 'key-' || n % 500, 'order.placed', '/sagas/order', '2026-01-01T00:00:00Z', '{{}}',
            'application/json', '{{\"order\":4711,\"customer\":17,\"items\":\"two compact discs\"}}', now(),
            now() - n * interval '1 second'
        FROM generate_series(1, {archived}) AS n"
    )
}

/// An outbox, and the worker and the instances that use it.
struct Outbox {
    store: Postgres,
    worker: WorkerId,
    lanes: Vec<(Lane, u64)>,
    unsettled: Vec<u64>,
    instances: Vec<(SagaId, Token)>,
    reads: Vec<f64>,
    marks: Vec<f64>,
}

impl Outbox {
    async fn of(store: Postgres) -> Self {
        let (worker, owner) = (WorkerId::random(), EngineId::random());
        store.renew(owner, HOUR).await.expect("a lease");
        let lanes = store.attend(worker, HOUR, 64).await.expect("lanes").lanes;
        let mut instances = Vec::new();
        let mut accepts = Vec::new();
        for _ in 0..INSTANCES {
            let accept = accept(owner);
            instances.push((accept.id, Token { owner, epoch: 1 }));
            accepts.push(Write::Accept(accept));
        }
        store.write(&accepts).await.expect("they are accepted");
        Self {
            store,
            worker,
            lanes: lanes.into_iter().map(|lane| (lane, 0)).collect(),
            unsettled: Vec::new(),
            instances,
            reads: Vec::new(),
            marks: Vec::new(),
        }
    }

    /// Publishes, reads and marks a hundred events.
    async fn round(&mut self, round: u32) {
        let writes = self.instances.iter().map(|it| publishing(*it, round));
        let writes: Vec<_> = writes.collect();
        let written = self.store.write(&writes).await.expect("they are written");
        assert!(
            written
                .iter()
                .all(|it| matches!(it, Written::Stored { .. }))
        );
        let fetch = Fetch {
            worker: self.worker,
            lanes: self.lanes.clone(),
            unsettled: self.unsettled.clone(),
            keys: Vec::new(),
            limit: 6_400,
        };
        let began = Instant::now();
        let fetched = self.store.fetch(&fetch).await.expect("they are read");
        self.reads.push(began.elapsed().as_secs_f64() * 1e3);
        assert_eq!(fetched.events.len(), INSTANCES * EVENTS as usize);
        for ((_, after), next) in self.lanes.iter_mut().zip(fetched.after) {
            *after = next.expect("the lanes are its own");
        }
        self.unsettled = fetched.unsettled;
        let marks = fetched.events.iter().map(|event| Mark {
            lane: self.lanes[usize::from(event.place.lane)].0,
            seq: event.place.seq,
            fate: Fate::Sent,
        });
        let marks: Vec<_> = marks.collect();
        let began = Instant::now();
        let marked = self.store.mark(self.worker, &marks, SentEvents::Archive);
        assert!(marked.await.expect("they are marked").is_empty());
        self.marks.push(began.elapsed().as_secs_f64() * 1e3);
    }
}

fn json(text: &str) -> Payload {
    Payload {
        content_type: "application/json".to_owned(),
        bytes: text.as_bytes().to_vec(),
    }
}

fn accept(owner: EngineId) -> Accept {
    Accept {
        id: SagaId::new(),
        definition: DefinitionKey {
            saga: "order".to_owned(),
            version: 1,
            fingerprint: "f".to_owned(),
        },
        input: json("{}"),
        input_digest: String::new(),
        start_key: None,
        owner: Some(owner),
        deadline: None,
        trace: None,
    }
}

fn publishing((id, token): (SagaId, Token), round: u32) -> Write {
    let events = (0..EVENTS).map(|n| {
        let key = format!("key-{}", (round * EVENTS + n) % 500);
        let data = json("{\"order\":4711,\"customer\":17,\"items\":\"two compact discs\"}");
        let event = Event::raw("order.placed", data).source("/sagas/order");
        event.key(format!("{id}/{key}"))
    });
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
            name: format!("step-{round}"),
            kind: StepKind::Compensatable,
            state: StepState::Completed,
            attempts: 1,
            undo_attempts: 0,
            recoveries: 0,
            output: None,
            error: None,
            wake: None,
            events: events.collect(),
        }],
    })
}

pub(crate) async fn compare(url: &str) {
    let connect: PgConnectOptions = url.parse().expect("the URL is one of PostgreSQL");
    execute(url, format!("DROP DATABASE IF EXISTS {QUIET}")).await;
    execute(url, format!("CREATE DATABASE {QUIET}")).await;
    execute(url, format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")).await;
    let quiet = Postgres::options_for(connect.clone().database(QUIET));
    let quiet = quiet.connect().await.expect("the quiet store connects");
    let full = Postgres::options_for(connect).schema(SCHEMA);
    let full = full.connect().await.expect("the full store connects");
    let archived = setting("ARCHIVED", ARCHIVED);
    let began = Instant::now();
    execute(url, fill(archived)).await;
    execute(url, format!("VACUUM ANALYZE {SCHEMA}.outbox_archive")).await;
    println!("{archived} archived events in {:.0?}", began.elapsed());
    let mut open = PgConnection::connect(url).await.expect("a session");
    let mut open = open.begin().await.expect("a transaction");
    let snapshot = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT pg_current_xact_id()";
    sqlx::raw_sql(snapshot)
        .execute(&mut *open)
        .await
        .expect("a snapshot");
    let (mut quiet, mut full) = (Outbox::of(quiet).await, Outbox::of(full).await);
    let lasts = Duration::from_secs(setting("SECONDS", SECONDS));
    let began = Instant::now();
    let mut rounds = 0;
    while began.elapsed() < lasts {
        quiet.round(rounds).await;
        full.round(rounds).await;
        rounds += 1;
    }
    open.rollback().await.expect("it is rolled back");
    println!("{rounds} rounds of a hundred events, with a transaction open for {lasts:.0?}");
    println!(
        "{:>34} {:>9} {:>9} {:>6}",
        "milliseconds, last quarter", "quiet", "full", "ratio"
    );
    for (what, quiet, full) in [
        ("a read of 100", &quiet.reads, &full.reads),
        ("a mark of 100", &quiet.marks, &full.marks),
    ] {
        let last = |values: &[f64]| values[values.len() * 3 / 4..].to_vec();
        let (quiet, full) = (last(quiet), last(full));
        let ratios = full.iter().zip(&quiet).map(|(full, quiet)| full / quiet);
        let ratio = median(ratios.collect());
        println!(
            "{what:>34} {:>9.2} {:>9.2} {ratio:>6.2}",
            median(quiet),
            median(full)
        );
    }
    println!("wanted: no ratio above 2");
    for outbox in [quiet, full] {
        outbox.store.close().await;
    }
    execute(url, format!("DROP SCHEMA {SCHEMA} CASCADE")).await;
    execute(url, format!("DROP DATABASE {QUIET}")).await;
}
