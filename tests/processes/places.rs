//! Stores that several processes open, and how a process is told of one.

use crate::{
    book::{Book, audit_book},
    events::Told,
    worker::Buy,
};
#[cfg(feature = "redis")]
use sagaz::redis::Redis;
use sagaz::{
    postgres::Postgres,
    sqlite::Sqlite,
    store::{OutboxStore, Store},
};
use std::{
    error::Error,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// A place that holds a store.
pub(crate) trait Place: Send + Sync {
    type Store: Store + OutboxStore;

    /// Opens it. A server that is away for the moment is waited for, as whoever keeps processes running would do.
    async fn open(&self) -> Self::Store;

    /// What a worker is told, in its environment: a word, and what [`parse`](Self::parse) takes.
    fn told(&self) -> (&'static str, String);

    /// What another process was told.
    fn parse(told: &str) -> Self;

    /// What is to be audited on this kind of place alone, after so many purchases.
    async fn audit_more(&self, _purchases: u32) {
        let store = self.open().await;
        let mut told = Told::read(&store).await;
        told.audit::<Buy>(&store).await;
        told.finish();
    }
}

/// A SQLite file.
pub(crate) struct File(pub(crate) PathBuf);

impl File {
    pub(crate) fn within(folder: &Path) -> Self {
        Self(folder.join("sagas.db"))
    }
}

impl Place for File {
    type Store = Sqlite;

    async fn open(&self) -> Sqlite {
        Sqlite::open(&self.0).await.unwrap()
    }

    fn told(&self) -> (&'static str, String) {
        ("sqlite", self.0.to_str().unwrap().to_owned())
    }

    fn parse(told: &str) -> Self {
        Self(told.into())
    }
}

/// A schema of a PostgreSQL server.
pub(crate) struct Schema {
    pub(crate) url: String,
    pub(crate) name: String,
}

impl Schema {
    /// A new one on the server that `cargo xtask test` starts.
    pub(crate) fn for_tests() -> Self {
        let url = std::env::var("SAGAZ_TEST_POSTGRES_URL");
        Self {
            url: url.expect("`cargo xtask test` starts a server and sets SAGAZ_TEST_POSTGRES_URL"),
            name: format!("sagaz_processes_{}", fastrand::u64(..)),
        }
    }
}

impl Place for Schema {
    type Store = Postgres;

    async fn open(&self) -> Postgres {
        patiently(async || {
            let options = Postgres::options(&self.url)?.schema(&self.name);
            options.connect().await
        })
        .await
    }

    fn told(&self) -> (&'static str, String) {
        ("postgres", format!("{} {}", self.name, self.url))
    }

    fn parse(told: &str) -> Self {
        let (name, url) = told.split_once(' ').unwrap();
        Self {
            url: url.to_owned(),
            name: name.to_owned(),
        }
    }

    async fn audit_more(&self, purchases: u32) {
        audit_book(self, purchases).await;
        let store = self.open().await;
        let mut told = Told::read(&store).await;
        told.audit::<Buy>(&store).await;
        told.audit::<Book>(&store).await;
        told.finish();
    }
}

/// The keys of a Redis server that begin with a word.
#[cfg(feature = "redis")]
pub(crate) struct Prefix {
    pub(crate) url: String,
    pub(crate) name: String,
}

#[cfg(feature = "redis")]
impl Place for Prefix {
    type Store = Redis;

    async fn open(&self) -> Redis {
        patiently(async || {
            let options = Redis::options(&self.url)?.prefix(&self.name);
            options.require_durable(true).connect().await
        })
        .await
    }

    fn told(&self) -> (&'static str, String) {
        ("redis", format!("{} {}", self.name, self.url))
    }

    fn parse(told: &str) -> Self {
        let (name, url) = told.split_once(' ').unwrap();
        Self {
            url: url.to_owned(),
            name: name.to_owned(),
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

async fn patiently<S, E: Error>(connect: impl AsyncFn() -> Result<S, E>) -> S {
    let began = Instant::now();
    loop {
        match connect().await {
            Ok(store) => return store,
            Err(error) if began.elapsed() > PATIENCE => {
                panic!("cannot connect: {error}: {:?}", error.source())
            }
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}
