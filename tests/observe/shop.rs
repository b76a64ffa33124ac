//! A process in which a test can make anything go wrong: an engine, a relay, an optimistic sender and a consumer, on servers that
//! the test can stop.

use crate::process::{self, say};
use sagaz::{
    Engine, Event, Filter, InstanceState, Resolution, Retry, StepContext, StepError,
    brokers::{AnyBroker, Options, Routes, Subscription},
    compensate,
    observe::Observability,
    outbox::{Consumer, Inbox, Optimistic, Outbox, Relay},
    postgres::Postgres,
    saga, step,
    store::DeadLetterFilter,
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use std::{future, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::watch,
};

/// What a process is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) postgres: String,
    pub(crate) redis: String,
    /// Where it serves its metrics; `None` of one that nobody scrapes.
    pub(crate) serve: Option<String>,
    /// It dies of a trial of that kind.
    pub(crate) is_killed: bool,
}

/// The stream of its events.
pub(crate) const TOPIC: &str = "trials";

/// The lease of its engine.
pub(crate) const LEASE: Duration = Duration::from_secs(2);

/// How many instances its engine works on at once.
pub(crate) const IN_FLIGHT_MAX: usize = 12;

/// What becomes of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Fine,
    Fails,
    TimesOut,
    CannotBeUndone,
    /// Until the gate is open.
    Waits,
    /// Its process dies.
    Kills,
}

struct Trial {
    gate: watch::Receiver<bool>,
    is_killed: bool,
}

#[saga(name = "trial", input = Kind)]
impl Trial {
    #[step]
    async fn begin(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        ctx.publish(Event::new("trial.begun", &()))
            .map_err(StepError::permanent)
    }

    #[compensate("begin", retry(attempts = 1))]
    async fn take_back(&self, kind: &Kind) -> Result<(), StepError> {
        if *kind == Kind::CannotBeUndone {
            return Err(StepError::permanent("it cannot be taken back"));
        }
        Ok(())
    }

    #[step(depends_on = ["begin"], no_compensation, timeout = "100ms")]
    async fn decide(&self, kind: &Kind) -> Result<(), StepError> {
        match kind {
            Kind::Fails | Kind::CannotBeUndone => Err(StepError::permanent("declined")),
            Kind::TimesOut => future::pending().await,
            Kind::Kills if self.is_killed => std::process::abort(),
            _ => Ok(()),
        }
    }

    #[step(depends_on = ["decide"], no_compensation)]
    async fn wait(&self, kind: &Kind) -> Result<(), StepError> {
        if *kind == Kind::Waits {
            let mut gate = self.gate.clone();
            gate.wait_for(|is_open| *is_open)
                .await
                .map_err(StepError::permanent)?;
        }
        Ok(())
    }
}

/// Everything that can be stopped and started.
struct Shop {
    part: Part,
    store: Postgres,
    pool: PgPool,
    broker: Arc<AnyBroker>,
    gate: watch::Sender<bool>,
    optimistic: Arc<Optimistic>,
    engine: Option<Engine<Postgres>>,
    relay: Option<Relay>,
}

fn options() -> Options {
    Options::new()
        .declare(true)
        .routes(Routes::all_to(TOPIC).unwrap())
}

impl Shop {
    async fn open(part: Part) -> Self {
        let store = Postgres::connect(&part.postgres).await.unwrap();
        let broker = Arc::new(options().connect(&part.redis).await.unwrap());
        let optimistic = Optimistic::builder(store.clone(), Arc::clone(&broker)).start();
        let mut shop = Self {
            pool: PgPool::connect_lazy(&part.postgres).unwrap(),
            part,
            store,
            broker,
            gate: watch::Sender::new(false),
            optimistic: Arc::new(optimistic),
            engine: None,
            relay: None,
        };
        shop.start_engine().await;
        shop.start_relay().await;
        shop
    }

    async fn start_engine(&mut self) {
        let trial = Trial {
            gate: self.gate.subscribe(),
            is_killed: self.part.is_killed,
        };
        let engine = Engine::builder(self.store.clone())
            .register(trial)
            .in_flight_max(IN_FLIGHT_MAX)
            .lease(LEASE)
            .poll_interval(Duration::from_millis(200))
            .shutdown_grace(Duration::from_millis(200))
            .after_commit(Arc::clone(&self.optimistic) as _);
        self.engine = Some(engine.start().await.unwrap());
    }

    async fn start_relay(&mut self) {
        let relay = Relay::builder(self.store.clone(), Arc::clone(&self.broker)).lease(LEASE);
        self.relay = Some(relay.start().await.unwrap());
    }

    /// A consumer that can handle nothing of the type `trial.poison`.
    async fn consume(&self) {
        let subscription = Subscription::new("trials", [TOPIC]);
        let subscriber = options()
            .subscribe(&self.part.redis, subscription)
            .await
            .unwrap();
        let retry = Retry {
            attempts: Some(3),
            initial: Duration::from_millis(10),
            ..Retry::BACKOFF
        };
        let inbox = Inbox::builder(self.store.clone(), "trials")
            .retry(retry)
            .build()
            .unwrap();
        tokio::spawn(Consumer::new(subscriber).run(inbox, |event, _| {
            Box::pin(async move {
                match event.event_type() {
                    "trial.poison" => Err("nobody can handle this".into()),
                    _ => Ok(()),
                }
            })
        }));
    }

    fn engine(&self) -> &Engine<Postgres> {
        self.engine.as_ref().unwrap()
    }

    async fn start(&self, kind: Kind, count: usize) {
        for _ in 0..count {
            self.engine().start::<Trial>(kind).await.unwrap();
        }
    }

    /// In a transaction of one's own: nobody sends these optimistically.
    async fn append(&self, event_type: &str, count: usize) {
        let outbox = Outbox::new(self.store.clone());
        let mut tx = self.pool.begin().await.unwrap();
        for _ in 0..count {
            outbox
                .append(&mut tx, Event::new(event_type, &()))
                .await
                .unwrap();
        }
        tx.commit().await.unwrap();
    }

    /// Holds a lock that every write waits for.
    async fn hold_up(&self, millis: u64) {
        let mut tx = self.pool.begin().await.unwrap();
        let lock = "LOCK TABLE sagaz.saga_instance IN ACCESS EXCLUSIVE MODE";
        sqlx::query(lock).execute(&mut *tx).await.unwrap();
        tokio::time::sleep(Duration::from_millis(millis)).await;
        tx.rollback().await.unwrap();
    }

    async fn resolve(&self) {
        let engine = self.engine();
        let stuck = engine
            .list(Filter::all().state(InstanceState::Stuck))
            .await
            .unwrap();
        let operator = engine.operator("test", "taken back by hand");
        for instance in stuck.instances {
            operator
                .resolve(instance.id, "begin", Resolution::Compensated)
                .await
                .unwrap();
        }
    }

    async fn discard(&self) {
        let outbox = Outbox::new(self.store.clone());
        let operator = outbox.dead_letters().operator("test", "nobody misses it");
        operator
            .discard_all(&DeadLetterFilter::default())
            .await
            .unwrap();
    }

    async fn obey(&mut self, words: &[&str]) {
        let count = |words: &str| words.parse().unwrap();
        match words {
            ["start", kind, many] => {
                let kind = serde_json::from_value((*kind).into()).unwrap();
                self.start(kind, count(many)).await;
            }
            ["append", event_type, many] => self.append(event_type, count(many)).await,
            ["gate", is_open] => drop(self.gate.send_replace(*is_open == "open")),
            ["hold", "up", millis] => self.hold_up(millis.parse().unwrap()).await,
            ["engine", "stop"] => self.engine.take().unwrap().shutdown().await,
            ["engine", "start"] => self.start_engine().await,
            ["relay", "stop"] => self.relay.take().unwrap().shutdown().await,
            ["relay", "start"] => self.start_relay().await,
            ["resolve"] => self.resolve().await,
            ["discard"] => self.discard().await,
            other => panic!("nobody has said what {other:?} means"),
        }
    }
}

/// Not a test of its own: the body of a process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn body() {
    let Some(part) = process::part::<Part>() else {
        return;
    };
    let _observability = part.serve.as_ref().map(|address| {
        let builder = Observability::builder().prometheus().serve(address);
        builder
            .sample_interval(Duration::from_millis(250))
            .install()
            .unwrap()
    });
    let mut shop = Shop::open(part).await;
    shop.consume().await;
    say("open");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        let words: Vec<&str> = line.split(' ').collect();
        shop.obey(&words).await;
        say(&format!("done {line}"));
    }
}
