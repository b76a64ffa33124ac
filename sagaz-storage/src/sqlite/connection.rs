//! The connections to the file: one that writes, a few that read.
//!
//! Invariant: the writer's connection is in its slot only between transactions. A turn takes it out, and puts it back
//! when its transaction has surely ended; so a call that is dropped in the middle drops the connection with it, SQLite
//! rolls back, and the next turn begins on a new one.

use super::{
    OpenError, Options,
    error::{is_busy, store_error},
    news::News,
    schema,
};
use sagaz_core::store::StoreError;
use sqlx::{
    ConnectOptions, Connection, Row, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Mutex, MutexGuard, OwnedMutexGuard};

/// The open file.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) path: PathBuf,
    pub(super) busy_timeout: Duration,
    pub(super) gap: Duration,
    connect: SqliteConnectOptions,
    /// Tokio's mutex is fair: writers go in the order in which they came.
    writer: Arc<Mutex<Option<SqliteConnection>>>,
    pub(super) readers: SqlitePool,
    /// For transactions that steps and handlers of events write in: there is one at a time.
    pub(super) transactions: SqlitePool,
    pub(super) news: News,
}

impl Database {
    pub(super) async fn open(options: Options) -> Result<Self, OpenError> {
        let Options {
            path,
            create,
            busy_timeout,
            gap,
            readers,
        } = options;
        check_file(&path, create)?;
        let connect = SqliteConnectOptions::new()
            .filename(&path)
            .foreign_keys(false)
            .busy_timeout(busy_timeout)
            .row_buffer_size(1_024)
            .disable_statement_logging();
        let mut writer = connect
            .clone()
            .create_if_missing(create)
            .connect()
            .await
            .map_err(|error| OpenError::new(&path, error))?;
        if let Err(error) = prepare(&mut writer, &path).await {
            // Waited for, so that a refused file is left without SQLite's companions beside it.
            let _ = writer.close().await;
            return Err(error);
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(readers)
            .test_before_acquire(false)
            .acquire_timeout(Duration::from_secs(10))
            .connect_lazy_with(connect.clone().pragma("query_only", "ON"));
        let transactions = SqlitePoolOptions::new()
            .max_connections(1)
            .test_before_acquire(false)
            .acquire_timeout(Duration::from_secs(10))
            .connect_lazy_with(
                connect
                    .clone()
                    .synchronous(SqliteSynchronous::Full)
                    .foreign_keys(true),
            );
        Ok(Self {
            news: News::of(&path),
            path,
            busy_timeout,
            gap,
            connect,
            writer: Arc::new(Mutex::new(Some(writer))),
            readers,
            transactions,
        })
    }

    /// Waits for the turn to write.
    pub(super) async fn turn(&self) -> Result<Turn<'_>, StoreError> {
        let mut slot = self.writer.lock().await;
        let connection = if let Some(connection) = slot.take() {
            connection
        } else {
            let opened = self.connect.connect().await;
            let mut connection = opened.map_err(|error| OpenError::new(&self.path, error))?;
            make_durable(&mut connection, &self.path).await?;
            connection
        };
        Ok(Turn {
            slot,
            connection,
            path: &self.path,
            news: &self.news,
        })
    }

    /// The turn to write, for a transaction on a connection of its own.
    pub(super) async fn hold_turn(&self) -> OwnedMutexGuard<Option<SqliteConnection>> {
        Arc::clone(&self.writer).lock_owned().await
    }

    /// The error of a reading call.
    pub(super) fn error(&self, error: sqlx::Error) -> StoreError {
        store_error(&self.path, error)
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.transactions.close().await;
        if let Some(connection) = self.writer.lock().await.take() {
            // What is committed is on the disk; that the file could not be tidied up changes nothing.
            let _ = connection.close().await;
        }
    }
}

/// The turn to write.
pub(super) struct Turn<'a> {
    slot: MutexGuard<'a, Option<SqliteConnection>>,
    pub(super) connection: SqliteConnection,
    path: &'a Path,
    news: &'a News,
}

impl Turn<'_> {
    /// Ends it: after an error the transaction, if there still is one, is rolled back.
    pub(super) async fn end<T>(mut self, result: Result<T, sqlx::Error>) -> Result<T, StoreError> {
        if result.is_ok() {
            self.news.let_go();
        }
        let is_clean = result.is_ok() || roll_back(&mut self.connection).await;
        if is_clean {
            *self.slot = Some(self.connection);
        }
        result.map_err(|error| store_error(self.path, error))
    }
}

/// Whether the connection is surely outside of a transaction now.
async fn roll_back(connection: &mut SqliteConnection) -> bool {
    match sqlx::query("ROLLBACK").execute(connection).await {
        Ok(_) => true,
        // Some errors end the transaction by themselves, and one at `BEGIN` began none.
        Err(error) => error
            .as_database_error()
            .is_some_and(|error| error.message().contains("no transaction is active")),
    }
}

/// Makes the file a store, unless it is to be refused.
async fn prepare(connection: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    schema::check(connection, path).await?;
    make_durable(connection, path).await?;
    schema::migrate(connection, path).await
}

/// What can be said of the file better than SQLite says it.
fn check_file(path: &Path, create: bool) -> Result<(), OpenError> {
    let owned = || path.to_owned();
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(OpenError::IsDirectory { path: owned() }),
        Ok(metadata) if metadata.len() > 0 => check_header(path),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let directory = path
                .parent()
                .filter(|directory| !directory.as_os_str().is_empty());
            if directory.is_some_and(|directory| !directory.is_dir()) {
                return Err(OpenError::NoDirectory { path: owned() });
            }
            if create {
                Ok(())
            } else {
                Err(OpenError::Missing { path: owned() })
            }
        }
        Err(source) => Err(OpenError::Refused {
            path: owned(),
            source,
        }),
    }
}

/// Before SQLite opens it, because SQLite takes a short file of anything for an empty database.
fn check_header(path: &Path) -> Result<(), OpenError> {
    use std::io::Read;
    let refused = |source| OpenError::Refused {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(refused)?;
    let mut header = Vec::new();
    file.take(16).read_to_end(&mut header).map_err(refused)?;
    if header == b"SQLite format 3\0" {
        Ok(())
    } else {
        Err(OpenError::NotADatabase {
            path: path.to_owned(),
        })
    }
}

/// WAL and `synchronous = FULL`, both read back: SQLite takes a wrong word without an error.
async fn make_durable(connection: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let mode = journal_mode(connection)
        .await
        .map_err(|error| OpenError::new(path, error))?;
    if mode != "wal" {
        return Err(OpenError::NotWal {
            path: path.to_owned(),
            mode,
        });
    }
    let synchronous = synchronous(connection)
        .await
        .map_err(|error| OpenError::new(path, error))?;
    if synchronous != 2 {
        return Err(OpenError::NotDurable {
            path: path.to_owned(),
            synchronous,
        });
    }
    Ok(())
}

async fn journal_mode(connection: &mut SqliteConnection) -> Result<String, sqlx::Error> {
    /// The switch needs the file for itself and does not wait for it as other statements do.
    const TRIES: u32 = 40;
    let mut tries = 0;
    loop {
        match sqlx::query_scalar("PRAGMA journal_mode = WAL")
            .fetch_one(&mut *connection)
            .await
        {
            Err(error) if tries < TRIES && is_busy(&error) => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            answer => return answer,
        }
    }
}

async fn synchronous(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query("PRAGMA synchronous = FULL")
        .execute(&mut *connection)
        .await?;
    sqlx::query("PRAGMA synchronous")
        .fetch_one(connection)
        .await?
        .try_get(0)
}
