//! How long it takes until everything is finished after a process was killed, against the lease that has to pass before anybody may
//! take its work.
//!
//! `cargo bench --features sqlite,postgres,redis --bench recovery`, with `SAGAZ_TEST_POSTGRES_URL` and `SAGAZ_TEST_REDIS_URL` for
//! these stores. A child process has instances in flight, each inside its second step of three, which never ends there. It gets
//! `SIGKILL`. An engine of this process stands by; it finishes them all. The floor is what was left of the dead engine's lease,
//! read from the store when it died.

#[path = "support/measure.rs"]
mod measure;
#[path = "../sagaz-storage/tests/support/redis_connection.rs"]
mod own;
#[path = "support/redis_keys.rs"]
mod redis_keys;
#[path = "support/server.rs"]
mod server;

use measure::{Unit, scaled, tell};
use redis::aio::MultiplexedConnection;
use sagaz::{
    Engine, EngineBuilder, Lifecycle, Observer, SagaId, compensate, postgres::Postgres,
    redis::Redis, saga, sqlite::Sqlite, step, store::Store,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use std::{
    env, future,
    process::Stdio,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::Command,
    sync::{Notify, watch},
    task::JoinSet,
};

const LEASE: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_mins(2);

type PlainResult<T = ()> = Result<T, std::convert::Infallible>;

/// Stays inside its second step in the process that is killed.
struct Held {
    arrived: Option<watch::Sender<u32>>,
}

#[saga(name = "held", input = u64)]
impl Held {
    #[step(atomic)]
    async fn reserve(&self, input: &u64) -> PlainResult<u64> {
        Ok(*input)
    }
    #[compensate(reserve)]
    async fn release(&self) -> PlainResult {
        Ok(())
    }
    #[step(depends_on = [reserve])]
    async fn charge(&self, reserve: &u64) -> PlainResult<u64> {
        if let Some(arrived) = &self.arrived {
            arrived.send_modify(|count| *count += 1);
            future::pending::<()>().await;
        }
        Ok(*reserve)
    }
    #[compensate(charge)]
    async fn refund(&self) -> PlainResult {
        Ok(())
    }
    #[step(atomic, no_compensation, depends_on = [charge])]
    async fn confirm(&self, charge: &u64) -> PlainResult<u64> {
        Ok(*charge)
    }
}

/// Where the instances are.
#[derive(Clone)]
enum Place {
    File(String),
    Schema(String),
    Prefix(String),
}

fn postgres_url() -> Option<String> {
    server::url("SAGAZ_TEST_POSTGRES_URL")
}

fn redis_url() -> Option<String> {
    server::url("SAGAZ_TEST_REDIS_URL")
}

async fn postgres_session() -> PgConnection {
    let url = postgres_url().expect("there is a server");
    PgConnection::connect(&url).await.expect("a session")
}

async fn redis_session() -> MultiplexedConnection {
    own::connection(&redis_url().expect("there is a server")).await
}

impl Place {
    fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "sqlite",
            Self::Schema(_) => "postgres",
            Self::Prefix(_) => "redis",
        }
    }

    fn location(&self) -> &str {
        match self {
            Self::File(location) | Self::Schema(location) | Self::Prefix(location) => location,
        }
    }

    fn named(name: &str, location: &str) -> Self {
        let location = location.to_owned();
        match name {
            "sqlite" => Self::File(location),
            "postgres" => Self::Schema(location),
            "redis" => Self::Prefix(location),
            _ => panic!("`{name}` is no store"),
        }
    }

    async fn sqlite(&self) -> Sqlite {
        Sqlite::open(self.location()).await.expect("it opens")
    }

    async fn postgres(&self) -> Postgres {
        let url = postgres_url().expect("there is a server");
        let options = Postgres::options(&url).expect("a URL of PostgreSQL");
        let store = options.schema(self.location()).connect().await;
        store.expect("the store connects")
    }

    async fn redis(&self) -> Redis {
        let url = redis_url().expect("there is a server");
        let options = Redis::options(&url).expect("a URL of Redis");
        let store = options.prefix(self.location()).connect().await;
        store.expect("the store connects")
    }

    /// What is left of an engine's lease, by the store's clock.
    async fn lease_left(&self, engine: &str) -> Duration {
        let location = self.location();
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of some seconds")]
        let millis = match self {
            Self::File(_) => {
                let url = format!("sqlite://{location}");
                let mut session = SqliteConnection::connect(&url).await.expect("it opens");
                let left: i64 = sqlx::query_scalar(
                    "SELECT lease_until - CAST(unixepoch('subsec') * 1000 AS INTEGER) FROM saga_engine WHERE id = ?",
                )
                .bind(engine)
                .fetch_one(&mut session)
                .await
                .expect("a lease");
                left as f64
            }
            Self::Schema(_) => sqlx::query_scalar(AssertSqlSafe(format!(
                "SELECT (extract(epoch FROM lease_until - clock_timestamp()) * 1000)::float8
                FROM {location}.saga_engine WHERE id = $1::uuid"
            )))
            .bind(engine)
            .fetch_one(&mut postgres_session().await)
            .await
            .expect("a lease"),
            Self::Prefix(_) => {
                let mut session = redis_session().await;
                let until: f64 = redis::cmd("ZSCORE")
                    .arg(format!("{{{location}:engines}}:leases"))
                    .arg(engine)
                    .query_async(&mut session)
                    .await
                    .expect("a lease");
                let (seconds, micros): (f64, f64) = redis::cmd("TIME")
                    .query_async(&mut session)
                    .await
                    .expect("the time");
                until - seconds * 1e3 - micros / 1e3
            }
        };
        Duration::from_secs_f64((millis / 1e3).max(0.0))
    }

    /// Takes everything away.
    async fn clear(&self) {
        let location = self.location();
        match self {
            Self::File(_) => {}
            Self::Schema(_) => {
                let drop = AssertSqlSafe(format!("DROP SCHEMA {location} CASCADE"));
                let mut session = postgres_session().await;
                let dropped = sqlx::raw_sql(drop).execute(&mut session);
                dropped.await.expect("it is dropped");
            }
            Self::Prefix(_) => {
                redis_keys::unlink(&mut redis_session().await, location).await;
            }
        }
    }
}

fn engine<S: Store>(store: S, saga: Held, count: u32) -> EngineBuilder<S> {
    Engine::builder(store)
        .lease(LEASE)
        .in_flight_max(count as usize)
        .register(saga)
}

/// The process that is killed: says `ready` and the id of its engine when every instance is where it is to be. It ends with its
/// standard input at the latest.
async fn victim<S: Store>(store: S, count: u32) {
    let (sender, mut arrived) = watch::channel(0);
    let saga = Held {
        arrived: Some(sender),
    };
    let engine = engine(store, saga, count).start().await;
    let engine = engine.expect("the engine starts");
    let mut starts = JoinSet::new();
    for number in 0..u64::from(count) {
        let engine = engine.clone();
        starts.spawn(async move { engine.start::<Held>(number).await.map(drop) });
    }
    while let Some(started) = starts.join_next().await {
        started.expect("no panic").expect("it starts");
    }
    let all = arrived.wait_for(|arrived| *arrived >= count).await;
    all.expect("the engine is alive");
    #[expect(clippy::print_stdout, reason = "its parent reads it")]
    {
        println!("ready {}", engine.id());
    }
    let mut byte = [0];
    let _ = tokio::io::stdin().read(&mut byte).await;
}

/// When the first instance was taken over, and when the last was finished.
struct Watch {
    finished: AtomicU32,
    count: u32,
    first: OnceLock<Instant>,
    last: OnceLock<Instant>,
    done: Notify,
}

impl Watch {
    fn finished(&self) {
        if self.finished.fetch_add(1, Ordering::SeqCst) + 1 == self.count {
            self.last.get_or_init(Instant::now);
            self.done.notify_one();
        }
    }
}

impl Observer for Watch {
    fn observe(&self, event: &Lifecycle<'_>) {
        match event {
            Lifecycle::Claimed {
                taken_over: true, ..
            } => {
                self.first.get_or_init(Instant::now);
            }
            Lifecycle::Finished { .. } => self.finished(),
            _ => {}
        }
    }
}

/// Seconds from the kill: to the lease's end, to the first takeover, to the end of all.
struct Recovery {
    lease: f64,
    first: f64,
    last: f64,
}

async fn recover<S: Store>(place: &Place, store: S, count: u32) -> Recovery {
    let watch = Arc::new(Watch {
        finished: AtomicU32::new(0),
        count,
        first: OnceLock::new(),
        last: OnceLock::new(),
        done: Notify::new(),
    });
    let standby = engine(store, Held { arrived: None }, count).observer(watch.clone());
    let standby = standby.start().await.expect("the engine starts");
    let mut child = Command::new(env::current_exe().expect("this program"))
        .args(["--as", place.name(), place.location(), &count.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let ready = tokio::time::timeout(PATIENCE, lines.next_line()).await;
    let ready = ready.expect("in time").expect("a line");
    let ready = ready.expect("the child is ready before it ends");
    let victim = ready.strip_prefix("ready ").expect("it says its id");
    assert_eq!(watch.finished.load(Ordering::SeqCst), 0, "nothing is done");
    child.start_kill().expect("it is killed");
    let killed = Instant::now();
    let left = place.lease_left(victim).await;
    let lease = killed.elapsed() + left;
    child.wait().await.expect("it is dead");
    let done = tokio::time::timeout(PATIENCE, watch.done.notified()).await;
    done.expect("the successor finishes everything");
    standby.shutdown().await;
    let since = |moment: &OnceLock<Instant>| {
        let moment = moment.get().expect("it has come");
        moment.duration_since(killed).as_secs_f64()
    };
    Recovery {
        lease: lease.as_secs_f64(),
        first: since(&watch.first),
        last: since(&watch.last),
    }
}

async fn measure(place: Place, count: u32) {
    let (mut leases, mut firsts, mut lasts) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scaled(3, 1) {
        let recovery = match &place {
            Place::File(_) => recover(&place, place.sqlite().await, count).await,
            Place::Schema(_) => recover(&place, place.postgres().await, count).await,
            Place::Prefix(_) => recover(&place, place.redis().await, count).await,
        };
        leases.push(recovery.lease);
        firsts.push(recovery.first);
        lasts.push(recovery.last);
    }
    place.clear().await;
    for (what, values) in [("first taken over", firsts), ("all finished", lasts)] {
        tell(
            "recovery",
            (&format!("{}, {what}", place.name()), Some(count)),
            Unit {
                name: "s after the kill",
                more_is_better: false,
            },
            &values,
            &[("the lease that has to pass", &leases, None)],
        );
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut role = env::args().skip_while(|word| word != "--as").skip(1);
    if let (Some(name), Some(location), Some(count)) = (role.next(), role.next(), role.next()) {
        let (place, count) = (
            Place::named(&name, &location),
            count.parse().expect("a number"),
        );
        match &place {
            Place::File(_) => victim(place.sqlite().await, count).await,
            Place::Schema(_) => victim(place.postgres().await, count).await,
            Place::Prefix(_) => victim(place.redis().await, count).await,
        }
        return;
    }
    let count = 1_000;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let file = folder.path().join("recovery.db");
    let file = file.to_str().expect("it is text").to_owned();
    measure(Place::File(file), count).await;
    let name = format!("sagaz_bench_recovery_{}", SagaId::new().as_uuid().simple());
    if postgres_url().is_some() {
        measure(Place::Schema(name.clone()), count).await;
    }
    if redis_url().is_some() {
        measure(Place::Prefix(name), count).await;
    }
}
