//! News: `NOTIFY` when something was left to be claimed or published, and `LISTEN` for what others left.
//!
//! Invariant: off the path of every commit. A `NOTIFY` takes a lock on the whole server when its transaction commits, so it is
//! in none of ours: a task of its own sends one on a connection of its own, for all that came since the one before. News are
//! a courtesy; what is missed, polling finds. So nothing here is an error, and a listener that lost its connection tells
//! news once when it is back.
//!
//! News of events go to this store's own relay at once, and to the others by `NOTIFY`; those of its own it does not hear again.

use super::database::{Database, server};
use sqlx::{
    Connection, Executor,
    postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions},
};
use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{sleep, timeout},
};

/// The least time between two `NOTIFY`.
const GAP: Duration = Duration::from_millis(10);

/// After this much silence the listener asks whether its connection is still there.
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// The payload of news of events; that of news of instances is empty.
const EVENTS: &str = "events";

/// When events are looked for that were appended in a transaction which somebody else ends, most often soon. Each is counted
/// from the one before.
const LOOKS_MS: [u64; 4] = [3, 12, 60, 225];

/// Where to send and hear.
#[derive(Clone)]
pub(super) enum Notifications {
    /// Like everything else; off behind a pooler in transaction mode, where nobody can listen.
    Default,
    At(Box<PgConnectOptions>),
    Off,
}

#[derive(Debug)]
pub(super) struct News {
    shared: Arc<Shared>,
    /// Begun when they are first needed; they end with the store.
    tasks: Mutex<Tasks>,
}

struct Shared {
    /// `None`: off.
    connect: Option<PgConnectOptions>,
    /// Named like the schema; another database of the server has its own of that name.
    channel: String,
    instances: Topic,
    events: Topic,
    /// Whether events are looked for that somebody else commits.
    expecting: AtomicBool,
    /// The session that sends, by the server's number.
    sender: AtomicU32,
}

impl fmt::Debug for Notifications {
    /// Shows no password, which sqlx's own options do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("Default"),
            Self::At(connect) => write!(f, "At({})", server(connect)),
            Self::Off => f.write_str("Off"),
        }
    }
}

impl fmt::Debug for Shared {
    /// Shows no password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("server", &self.connect.as_ref().map(server))
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Topic {
    /// Something was left.
    left: Notify,
    /// Others left something.
    heard: Notify,
}

#[derive(Debug, Default)]
struct Tasks {
    all: JoinSet<()>,
    sends: bool,
    listens: bool,
}

impl News {
    pub(super) fn new(connect: Option<PgConnectOptions>, schema: &str) -> Self {
        Self {
            shared: Arc::new(Shared {
                connect,
                channel: schema.to_owned(),
                instances: Topic::default(),
                events: Topic::default(),
                expecting: AtomicBool::new(false),
                sender: AtomicU32::new(0),
            }),
            tasks: Mutex::default(),
        }
    }

    /// Something was left to be claimed.
    pub(super) fn tell(&self) {
        if self.sends() {
            self.shared.instances.left.notify_one();
        }
    }

    /// There are events to publish.
    pub(super) fn tell_events(&self) {
        self.shared.events.publish();
        if self.sends() {
            self.shared.events.left.notify_one();
        }
    }

    /// There will be events to publish, when somebody else has committed them. They are looked for a few times.
    pub(super) fn expect_events(&self) {
        // Those that are appended from now on are looked for anew, as soon as the first look is done.
        if self.shared.expecting.swap(true, Ordering::AcqRel) {
            return;
        }
        let sends = self.sends();
        let shared = Arc::clone(&self.shared);
        let mut tasks = self.tasks();
        // Those that have ended.
        while tasks.all.try_join_next().is_some() {}
        tasks.all.spawn(async move {
            for (nth, wait) in LOOKS_MS.into_iter().enumerate() {
                if nth == 1 {
                    shared.expecting.store(false, Ordering::Release);
                }
                sleep(Duration::from_millis(wait)).await;
                shared.events.publish();
                if sends {
                    shared.events.left.notify_one();
                }
            }
        });
    }

    /// Until there is news of instances.
    pub(super) async fn heard(&self) {
        if !self.listens() {
            return std::future::pending().await;
        }
        self.shared.instances.heard.notified().await;
    }

    /// Until there is news of events: of others where it listens, and of its own in any case.
    pub(super) async fn heard_events(&self) {
        self.listens();
        self.shared.events.heard.notified().await;
    }

    /// Whether it sends: from now on, if it may.
    fn sends(&self) -> bool {
        let Some(connect) = &self.shared.connect else {
            return false;
        };
        let mut tasks = self.tasks();
        if !tasks.sends {
            tasks.sends = true;
            let shared = Arc::clone(&self.shared);
            tasks.all.spawn(send(shared, connect.clone()));
        }
        true
    }

    /// Whether it listens: from now on, if it may.
    fn listens(&self) -> bool {
        let Some(connect) = &self.shared.connect else {
            return false;
        };
        let mut tasks = self.tasks();
        if !tasks.listens {
            tasks.listens = true;
            let shared = Arc::clone(&self.shared);
            tasks.all.spawn(listen(shared, connect.clone()));
        }
        true
    }

    pub(super) async fn close(&self) {
        let mut all = std::mem::take(&mut self.tasks().all);
        all.shutdown().await;
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Topic {
    /// To all who wait now, and to the next one, who may be between two waits.
    fn publish(&self) {
        self.heard.notify_waiters();
        self.heard.notify_one();
    }
}

/// Waits longer after each failure.
struct Backoff(Duration);

impl Backoff {
    const NONE: Self = Self(Duration::from_millis(100));

    async fn rest(&mut self) {
        sleep(self.0.mul_f64(0.5 + fraction())).await;
        self.0 = (self.0 * 2).min(Duration::from_secs(30));
    }
}

/// So that engines that lost one server do not come back to it together.
fn fraction() -> f64 {
    f64::from(std::process::id() % 97) / 97.0
}

/// Sends until the store is dropped.
async fn send(shared: Arc<Shared>, connect: PgConnectOptions) {
    let mut backoff = Backoff::NONE;
    let mut connection = None;
    loop {
        let news = tokio::select! {
            () = shared.instances.left.notified() => "",
            () = shared.events.left.notified() => EVENTS,
        };
        while notify(&mut connection, &connect, &shared, news)
            .await
            .is_err()
        {
            connection = None;
            backoff.rest().await;
        }
        backoff = Backoff::NONE;
        sleep(GAP).await;
    }
}

async fn notify(
    connection: &mut Option<PgConnection>,
    connect: &PgConnectOptions,
    shared: &Shared,
    news: &str,
) -> Result<(), sqlx::Error> {
    if connection.is_none() {
        let mut new = PgConnection::connect_with(connect).await?;
        let session: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
            .persistent(false)
            .fetch_one(&mut new)
            .await?;
        shared
            .sender
            .store(session.unsigned_abs(), Ordering::Relaxed);
        *connection = Some(new);
    }
    if let Some(connection) = connection {
        sqlx::query("SELECT pg_notify($1, $2)")
            .persistent(false)
            .bind(&shared.channel)
            .bind(news)
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Listens until the store is dropped.
async fn listen(shared: Arc<Shared>, connect: PgConnectOptions) {
    let mut backoff = Backoff::NONE;
    loop {
        // Each ends with the loss of its connection.
        if hear(&shared, &connect, &mut backoff).await.is_err() {
            backoff.rest().await;
        }
    }
}

async fn hear(
    shared: &Shared,
    connect: &PgConnectOptions,
    backoff: &mut Backoff,
) -> Result<(), sqlx::Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(connect.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    listener.listen(&shared.channel).await?;
    // What came before it listened.
    shared.instances.publish();
    shared.events.publish();
    *backoff = Backoff::NONE;
    loop {
        match timeout(SILENCE_MAX, listener.try_recv()).await {
            Ok(Ok(Some(news))) if news.payload() != EVENTS => shared.instances.publish(),
            // Its own relay was told at once.
            Ok(Ok(Some(news))) if news.process_id() == shared.sender.load(Ordering::Relaxed) => {}
            Ok(Ok(Some(_))) => shared.events.publish(),
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let is_there = timeout(SILENCE_MAX / 4, listener.execute("SELECT 1")).await;
                is_there.map_err(|_| sqlx::Error::PoolTimedOut)??;
            }
        }
    }
}

/// Where the notifications of a store go.
pub(super) fn address(
    notifications: Notifications,
    connect: &PgConnectOptions,
    is_prepared: bool,
) -> Option<PgConnectOptions> {
    match notifications {
        Notifications::Default => is_prepared.then(|| connect.clone()),
        Notifications::At(connect) => Some(*connect),
        Notifications::Off => None,
    }
}

impl Database {
    /// Tells others that something was left to be claimed, when that is so.
    pub(super) fn tell_if(&self, is_left: bool) {
        if is_left {
            self.news.tell();
        }
    }
}
