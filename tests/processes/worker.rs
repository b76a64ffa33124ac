//! The process that is killed and stopped: an engine with one saga.

#[cfg(feature = "redis")]
use crate::places::Prefix;
use crate::{
    book::{Book, ONE_OF, booked},
    events::tell,
    ledger::Ledger,
    places::{File, Place, Schema},
};
use futures_util::{StreamExt, stream};
use sagaz::{
    Engine, EngineBuilder, Filter, InstanceState, IntoStepError, Lifecycle, Observer, RunsOn, Saga,
    StepContext, StepError, compensate, saga, step, store::Store,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashSet,
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

pub(crate) type CallResult<T = Receipt> = Result<T, Trouble>;

/// Stops its own process when a step is in flight and the lease has just been renewed: between commits.
#[derive(Default)]
pub(crate) struct StopSelf {
    armed: AtomicBool,
}

impl Observer for StopSelf {
    fn observe(&self, event: &Lifecycle<'_>) {
        match event {
            Lifecycle::LeaseRenewed { .. } if self.armed.swap(false, Ordering::SeqCst) => {
                say("stopping");
                let own = rustix::process::getpid();
                rustix::process::kill_process(own, rustix::process::Signal::STOP).unwrap();
            }
            Lifecycle::LeaseLost { .. } => say("lease lost"),
            Lifecycle::StepCompleted { step, .. } => say(&format!("stored {step}")),
            _ => {}
        }
    }
}

/// A line for the test that started the process.
fn say(line: &str) {
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
    pub(crate) fn dice(number: u32, place: u64, of: u64) -> u64 {
        let mut rng = fastrand::Rng::with_seed(u64::from(number) << 8 | place);
        rng.u64(0..of)
    }

    async fn call(&self, ctx: &StepContext<'_>, purchase: &Purchase, cents: i64) -> Receipt {
        tell(ctx, purchase).expect("such an event can be published");
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
        tell(ctx, purchase).expect("such an event can be published");
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

    // Every kill costs those in flight an attempt, and a busy disk is no answer that never comes.
    #[step(depends_on = [reserve], timeout = "3s", retry(attempts = 8, initial = "5ms"))]
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

pub(crate) async fn ledger(folder: &Path) -> Ledger {
    Ledger::open(&folder.join("ledger.db")).await
}

/// How long a dead process's instances wait for another, in these tests.
pub(crate) const LEASE: Duration = Duration::from_secs(2);

/// Random choices, which `SAGAZ_SEED` repeats.
pub(crate) fn seeded() -> fastrand::Rng {
    let seed = std::env::var("SAGAZ_SEED").ok();
    let seed = seed
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    eprintln!("SAGAZ_SEED={seed} makes the same choices again");
    fastrand::Rng::with_seed(seed)
}

/// Starts a worker.
pub(crate) fn spawn(place: &impl Place, folder: &Path, purchases: u32, stop_self: bool) -> Child {
    let (word, told) = place.told();
    Command::new(std::env::current_exe().unwrap())
        .args([
            "worker::worker",
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("SAGAZ_WORKER", word)
        .env("SAGAZ_WORKER_PLACE", told)
        .env("SAGAZ_WORKER_FOLDER", folder)
        .env("SAGAZ_WORKER_PURCHASES", purchases.to_string())
        .env("SAGAZ_WORKER_STOP_SELF", if stop_self { "1" } else { "" })
        .stdin(Stdio::null())
        // Only of one that stops itself somebody reads what it says. A full pipe would stop the others as well.
        .stdout(if stop_self {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Not a test of its own: the body of a worker process. It starts every purchase, and ends when all have ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker() {
    let Ok(word) = std::env::var("SAGAZ_WORKER") else {
        return;
    };
    let told = std::env::var("SAGAZ_WORKER_PLACE").unwrap();
    let folder = PathBuf::from(std::env::var_os("SAGAZ_WORKER_FOLDER").unwrap());
    let stop_self = std::env::var("SAGAZ_WORKER_STOP_SELF").is_ok_and(|word| !word.is_empty());
    let stop = stop_self.then(Arc::<StopSelf>::default);
    let saga = Buy {
        ledger: ledger(&folder).await,
        stop: stop.clone(),
    };
    let observer = stop.unwrap_or_default();
    match word.as_str() {
        "sqlite" => work(File::parse(&told).open().await, saga, observer).await,
        "postgres" => {
            let place = Schema::parse(&told);
            let engine = engine(place.open().await, saga, observer);
            let engine = engine.register(Book::on(&place).await).start().await;
            let engine = engine.unwrap();
            // Side by side and at the same pace, so that kills meet either.
            tokio::join!(
                start_all::<_, Buy>(&engine, purchases(count()), STARTS),
                start_all::<_, Book>(&engine, booked(count()), STARTS / ONE_OF),
            );
            finish(engine).await;
        }
        #[cfg(feature = "redis")]
        "redis" => work(Prefix::parse(&told).open().await, saga, observer).await,
        _ => panic!("there are no processes on `{word}`"),
    }
}

/// How many purchases there are.
fn count() -> u32 {
    let count = std::env::var("SAGAZ_WORKER_PURCHASES").unwrap();
    count.parse().unwrap()
}

async fn work<S: Store>(store: S, saga: Buy, observer: Arc<StopSelf>) {
    let engine = engine(store, saga, observer).start().await.unwrap();
    start_all::<S, Buy>(&engine, purchases(count()), STARTS).await;
    finish(engine).await;
}

fn engine<S: Store>(store: S, saga: Buy, observer: Arc<StopSelf>) -> EngineBuilder<S> {
    Engine::builder(store)
        .register(saga)
        .lease(LEASE)
        .poll_interval(Duration::from_millis(100))
        .in_flight_max(64)
        .observer(observer)
}

/// Until every instance has ended.
async fn finish<S: Store>(engine: Engine<S>) {
    say("started all");
    let counts = loop {
        let counts = answered(|| engine.count()).await;
        if counts.iter().all(|(_, state, _)| !state.is_live()) {
            break counts;
        }
        sleep(Duration::from_millis(50)).await;
    };
    engine.shutdown().await;
    let is_stuck = |(_, state, _): &(_, _, _)| *state == InstanceState::Stuck;
    assert!(!counts.iter().any(is_stuck), "an instance is stuck");
    say("all ended");
}

/// How many starts are under way at once.
const STARTS: u32 = 30;

/// Starts every purchase that has not been started, as far as this process can see.
async fn start_all<S: Store, G>(
    engine: &Engine<S>,
    purchases: impl Iterator<Item = Purchase>,
    at_once: u32,
) where
    G: Saga<Input = Purchase> + RunsOn<S>,
{
    let mut known = HashSet::new();
    let mut filter = Filter::all().saga(G::DEFINITION.name).limit(1_000);
    loop {
        let page = answered(|| engine.list(filter.clone())).await;
        known.extend(page.instances.into_iter().filter_map(|it| it.start_key));
        match page.next {
            Some(next) => filter = filter.after(next),
            None => break,
        }
    }
    let key = |purchase: &Purchase| format!("purchase-{}", purchase.number);
    let unknown = purchases.filter(|purchase| !known.contains(&key(purchase)));
    stream::iter(unknown)
        .for_each_concurrent(at_once as usize, async |purchase| {
            answered(async || {
                let start = engine.start::<G>(purchase.clone());
                start.key(key(&purchase)).await
            })
            .await;
        })
        .await;
}

/// Asks until there is an answer: the server may be away for a moment.
async fn answered<T>(mut ask: impl AsyncFnMut() -> Result<T, sagaz::Error>) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) if error.is_transient() => sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{error:?}"),
        }
    }
}
