//! News: `NOTIFY` when something was left to be claimed, and `LISTEN` for what others left.
//!
//! Invariant: off the path of every commit. A `NOTIFY` takes a lock on the whole server when its transaction commits, so it is
//! in none of ours: a task of its own sends one on a connection of its own, for all that came since the one before. News are
//! a courtesy; what is missed, polling finds. So nothing here is an error, and a listener that lost its connection tells
//! news once when it is back.

use super::database::Database;
use sqlx::{
    Connection, Executor,
    postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions},
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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

/// Where to send and hear.
#[derive(Clone, Debug)]
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

#[derive(Debug)]
struct Shared {
    /// `None`: off.
    connect: Option<PgConnectOptions>,
    /// Named like the schema; another database of the server has its own of that name.
    channel: String,
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
                left: Notify::new(),
                heard: Notify::new(),
            }),
            tasks: Mutex::default(),
        }
    }

    /// Something was left to be claimed.
    pub(super) fn tell(&self) {
        if let Some(connect) = &self.shared.connect {
            let mut tasks = self.tasks();
            if !tasks.sends {
                tasks.sends = true;
                tasks
                    .all
                    .spawn(send(Arc::clone(&self.shared), connect.clone()));
            }
            self.shared.left.notify_one();
        }
    }

    /// Until there is news.
    pub(super) async fn heard(&self) {
        let Some(connect) = &self.shared.connect else {
            return std::future::pending().await;
        };
        {
            let mut tasks = self.tasks();
            if !tasks.listens {
                tasks.listens = true;
                tasks
                    .all
                    .spawn(listen(Arc::clone(&self.shared), connect.clone()));
            }
        }
        self.shared.heard.notified().await;
    }

    pub(super) async fn close(&self) {
        let mut all = std::mem::take(&mut self.tasks().all);
        all.shutdown().await;
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
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
        shared.left.notified().await;
        while notify(&mut connection, &connect, &shared.channel)
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
    channel: &str,
) -> Result<(), sqlx::Error> {
    if connection.is_none() {
        *connection = Some(PgConnection::connect_with(connect).await?);
    }
    if let Some(connection) = connection {
        sqlx::query("SELECT pg_notify($1, '')")
            .persistent(false)
            .bind(channel)
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
    shared.publish();
    *backoff = Backoff::NONE;
    loop {
        match timeout(SILENCE_MAX, listener.try_recv()).await {
            Ok(Ok(Some(_))) => shared.publish(),
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
