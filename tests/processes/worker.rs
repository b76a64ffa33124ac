//! The process that is killed and stopped: an engine with one saga.

use crate::ledger::Ledger;
use sagaz::{
    Engine, InstanceState, IntoStepError, Lifecycle, Observer, StepContext, StepError, compensate,
    postgres::Postgres, saga, sqlite::Sqlite, step, store::Store,
};
use serde::{Deserialize, Serialize};
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    time::sleep,
};

/// What a purchase is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Purchase {
    pub(crate) number: u32,
    pub(crate) cents: i64,
}

/// What a step returns: the number of the call in the ledger that made it, and the process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) serial: i64,
    pub(crate) process: u32,
}

#[derive(Debug)]
pub(crate) enum Trouble {
    Refused,
    Unreachable,
}

impl IntoStepError for Trouble {
    fn into_step_error(self) -> StepError {
        match self {
            Self::Refused => StepError::permanent("refused"),
            Self::Unreachable => StepError::retryable("unreachable"),
        }
    }
}

type CallResult<T = Receipt> = Result<T, Trouble>;

/// Stops its own process when a step is in flight and the lease has just been renewed: between commits.
#[derive(Default)]
pub(crate) struct StopSelf {
    armed: AtomicBool,
}

impl Observer for StopSelf {
    fn observe(&self, event: &Lifecycle<'_>) {
        match event {
            Lifecycle::LeaseRenewed { .. } if self.armed.swap(false, Ordering::SeqCst) => {
                tell("stopping");
                let own = rustix::process::getpid();
                rustix::process::kill_process(own, rustix::process::Signal::STOP).unwrap();
            }
            Lifecycle::LeaseLost { .. } => tell("lease lost"),
            Lifecycle::StepCompleted { step, .. } => tell(&format!("stored {step}")),
            _ => {}
        }
    }
}

/// A line for the test that started the process.
fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "worker: {line}");
    let _ = out.flush();
}

pub(crate) struct Buy {
    pub(crate) ledger: Ledger,
    /// Holds the process up in its first step until it was stopped and continued.
    pub(crate) stop: Option<Arc<StopSelf>>,
}

impl Buy {
    /// Which of `of` sides a purchase falls on, at one place of the saga.
    fn dice(number: u32, place: u64, of: u64) -> u64 {
        let mut rng = fastrand::Rng::with_seed(u64::from(number) << 8 | place);
        rng.u64(0..of)
    }

    async fn call(&self, ctx: &StepContext<'_>, purchase: &Purchase, cents: i64) -> Receipt {
        let (key, step) = (ctx.idempotency_key(), ctx.step());
        let serial = self.ledger.call(&key, step, purchase.number).await;
        sleep(Duration::from_millis(Self::dice(purchase.number, 1, 40))).await;
        self.ledger
            .take_effect(&key, step, purchase.number, cents)
            .await;
        Receipt {
            serial,
            process: std::process::id(),
        }
    }

    async fn undo(&self, ctx: &StepContext<'_>, purchase: &Purchase) {
        self.ledger
            .undo(&ctx.action_key(), ctx.step(), purchase.number)
            .await;
    }
}

#[saga(name = "buy", input = Purchase)]
impl Buy {
    #[step]
    async fn reserve(&self, ctx: &StepContext<'_>, purchase: &Purchase) -> CallResult {
        if let Some(stop) = &self.stop {
            let serial = self
                .ledger
                .call(&ctx.idempotency_key(), ctx.step(), purchase.number)
                .await;
            stop.armed.store(true, Ordering::SeqCst);
            // The observer takes it back when it stops the process.
            while stop.armed.load(Ordering::SeqCst) {
                sleep(Duration::from_millis(5)).await;
            }
            return Ok(Receipt {
                serial,
                process: std::process::id(),
            });
        }
        Ok(self.call(ctx, purchase, 0).await)
    }

    #[compensate(reserve)]
    async fn release(&self, ctx: &StepContext<'_>, purchase: &Purchase) -> CallResult<()> {
        self.undo(ctx, purchase).await;
        Ok(())
    }

    #[step(depends_on = [reserve], timeout = "300ms", retry(attempts = 4, initial = "5ms"))]
    async fn charge(&self, ctx: &StepContext<'_>, purchase: &Purchase) -> CallResult {
        if Self::dice(purchase.number, 2, 12) == 0 {
            return Err(Trouble::Refused);
        }
        let receipt = self.call(ctx, purchase, purchase.cents).await;
        if ctx.attempt() == 1 && Self::dice(purchase.number, 3, 10) == 0 {
            // The effect has happened, and the answer never comes.
            std::future::pending::<()>().await;
        }
        Ok(receipt)
    }

    #[compensate(charge)]
    async fn refund(&self, ctx: &StepContext<'_>, purchase: &Purchase) -> CallResult<()> {
        if ctx.attempt() == 1 && Self::dice(purchase.number, 4, 4) == 0 {
            return Err(Trouble::Unreachable);
        }
        self.undo(ctx, purchase).await;
        Ok(())
    }

    #[step(depends_on = [reserve], retry(attempts = 3, initial = "5ms"))]
    async fn label(&self, ctx: &StepContext<'_>, purchase: &Purchase) -> CallResult {
        if Self::dice(purchase.number, 5, 20) == 0 {
            return Err(Trouble::Unreachable);
        }
        Ok(self.call(ctx, purchase, 0).await)
    }

    #[compensate(label)]
    async fn void(&self, ctx: &StepContext<'_>, purchase: &Purchase) -> CallResult<()> {
        self.undo(ctx, purchase).await;
        Ok(())
    }

    #[step(depends_on = [charge, label], pivot, retry(forever, initial = "5ms"))]
    async fn dispatch(&self, ctx: &StepContext<'_>, purchase: &Purchase) -> CallResult {
        Ok(self.call(ctx, purchase, 0).await)
    }

    #[step(depends_on = [dispatch], retry(forever, initial = "5ms"))]
    async fn confirm(&self, ctx: &StepContext<'_>, purchase: &Purchase) -> CallResult {
        Ok(self.call(ctx, purchase, 0).await)
    }
}

pub(crate) const STEPS: [&str; 5] = ["reserve", "charge", "label", "dispatch", "confirm"];

pub(crate) fn purchases(count: u32) -> impl Iterator<Item = Purchase> {
    (1..=count).map(|number| Purchase {
        number,
        cents: 100 + i64::from(number) * 7,
    })
}

pub(crate) async fn store(folder: &Path) -> Sqlite {
    Sqlite::open(folder.join("sagas.db")).await.unwrap()
}

/// The store in a schema of the server that `cargo xtask test` starts.
pub(crate) async fn store_on_server(schema: &str) -> Postgres {
    let url = std::env::var("SAGAZ_TEST_POSTGRES_URL");
    let url = url.expect("`cargo xtask test` starts a server and sets SAGAZ_TEST_POSTGRES_URL");
    let options = Postgres::options(&url).unwrap().schema(schema);
    options.connect().await.unwrap()
}

pub(crate) async fn ledger(folder: &Path) -> Ledger {
    Ledger::open(&folder.join("ledger.db")).await
}

/// How long a dead process's instances wait for another, in these tests.
pub(crate) const LEASE: Duration = Duration::from_secs(2);

/// Starts a worker on a file.
pub(crate) fn spawn(folder: &Path, purchases: u32, stop_self: bool) -> Child {
    spawn_on("", folder, purchases, stop_self)
}

/// Starts a worker on a schema of the server, or on a file if there is no name.
pub(crate) fn spawn_on(schema: &str, folder: &Path, purchases: u32, stop_self: bool) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "worker::worker",
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("SAGAZ_WORKER", folder)
        .env("SAGAZ_WORKER_SCHEMA", schema)
        .env("SAGAZ_WORKER_PURCHASES", purchases.to_string())
        .env("SAGAZ_WORKER_STOP_SELF", if stop_self { "1" } else { "" })
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Not a test of its own: the body of a worker process. It starts every purchase, and ends when all have ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker() {
    let Some(folder) = std::env::var_os("SAGAZ_WORKER").map(PathBuf::from) else {
        return;
    };
    match std::env::var("SAGAZ_WORKER_SCHEMA") {
        Ok(schema) if !schema.is_empty() => work(store_on_server(&schema).await, &folder).await,
        _ => work(store(&folder).await, &folder).await,
    }
}

async fn work<S: Store>(store: S, folder: &Path) {
    let count = std::env::var("SAGAZ_WORKER_PURCHASES")
        .unwrap()
        .parse()
        .unwrap();
    let stop_self = std::env::var("SAGAZ_WORKER_STOP_SELF").is_ok_and(|word| !word.is_empty());
    let stop = stop_self.then(Arc::<StopSelf>::default);
    let saga = Buy {
        ledger: ledger(folder).await,
        stop: stop.clone(),
    };
    let engine = Engine::builder(store)
        .register(saga)
        .lease(LEASE)
        .poll_interval(Duration::from_millis(100))
        .in_flight_max(64)
        .observer(stop.unwrap_or_default())
        .start()
        .await
        .unwrap();
    for purchase in purchases(count) {
        let key = format!("purchase-{}", purchase.number);
        engine.start::<Buy>(purchase).key(key).await.unwrap();
    }
    tell("started all");
    loop {
        let counts = engine.count().await.unwrap();
        if counts.iter().all(|(_, state, _)| !state.is_live()) {
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    let stuck = engine
        .count()
        .await
        .unwrap()
        .into_iter()
        .any(|(_, state, _)| state == InstanceState::Stuck);
    engine.shutdown().await;
    assert!(!stuck, "an instance is stuck");
    tell("all ended");
}
