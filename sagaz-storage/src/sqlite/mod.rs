//! Instances in one SQLite file: the embedded default for durable use, in one process or a few on one host.
//!
//! Invariant: whatever writes is one `BEGIN IMMEDIATE` transaction on the process's only writer connection, in WAL mode
//! with `synchronous = FULL`; so a token is judged and its write applied in one atomic step, and what was answered
//! survives a power cut. The clock that judges leases is the database's, read in SQL; this code reads none.
//!
//! Deliberately not here: fairness between processes. SQLite's lock is not fair, so the engine rests for
//! [`SagaStore::gap`] after a batch while another engine is live.
//!
//! Ended instances that are archived and not deleted are in `saga_archive` and `saga_archive_step`, as they were, for people:
//!
//! ```sql
//! SELECT * FROM saga_archive AS i JOIN saga_archive_step AS s ON s.instance_id = i.id WHERE i.id = '..';
//! ```
//!
//! Events are in `saga_outbox` until they are published, and then, unless they are deleted, in `saga_outbox_archive` until they
//! are pruned.
mod admin;
mod claim;
mod connection;
mod error;
mod events;
mod inbox;
mod lease;
mod news;
mod outbox;
mod read;
mod records;
mod row;
mod schema;
mod sql;
mod transaction;
mod write;

pub use error::OpenError;
pub use transaction::Turn;

use connection::Database;
use news::Seen;
use sagaz_core::{
    EngineId, SagaId, System,
    store::{
        Backlog, CancelReply, Claim, Claimed, Defined, DefinitionKey, Filter, InstanceState,
        OperatorWrite, Page, Renewal, Retention, SagaStore, Snapshot, StoreError, Write, Written,
    },
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// A store in a SQLite file. A clone is the same store.
///
/// ```
/// # async fn example(directory: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
/// use sagaz_storage::sqlite::Sqlite;
///
/// let store = Sqlite::open(directory.join("sagas.db")).await?;
/// # Ok(())
/// # }
/// ```
///
/// The file may be the application's own database: the store adds its tables, all named `saga_*`, and touches nothing
/// else. It switches the file to WAL mode, which is stored in the file and needs a local file system.
#[derive(Clone, Debug)]
pub struct Sqlite {
    database: Arc<Database>,
    /// What this handle was told.
    seen: Seen,
}

/// How to open a [`Sqlite`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Options {
    path: PathBuf,
    create: bool,
    busy_timeout: Duration,
    gap: Duration,
    readers: u32,
}

impl Sqlite {
    /// Opens the file, creates it if it is missing, and brings its tables up to date.
    ///
    /// A file that this code should not touch is refused, and is then as it was before: see [`OpenError`].
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::options(path).open().await
    }

    /// Options for a file.
    pub fn options(path: impl AsRef<Path>) -> Options {
        Options {
            path: path.as_ref().to_owned(),
            create: true,
            busy_timeout: Duration::from_millis(500),
            gap: Duration::from_millis(3),
            readers: 3,
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.database.path
    }

    /// Closes the connections, after the write that is under way. Every later call opens the writer anew, or fails.
    pub async fn close(&self) {
        self.database.close().await;
    }
}

impl Options {
    /// Whether a missing file is created. Default: yes.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// How long a statement waits for another process's lock before it fails, and the engine tries again. Default: 500 ms.
    /// A lease must last at least four times as long.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        // What SQLite takes is an int of milliseconds.
        self.busy_timeout = timeout.min(Duration::from_hours(1));
        self
    }

    /// How long the writer rests after a batch while another engine is live. Default: 3 ms.
    pub fn gap(mut self, gap: Duration) -> Self {
        self.gap = gap;
        self
    }

    /// How many connections read beside the writer; at least one. Default: 3.
    pub fn readers(mut self, readers: u32) -> Self {
        self.readers = readers.max(1);
        self
    }

    /// Opens the file.
    pub async fn open(self) -> Result<Sqlite, OpenError> {
        let database = Database::open(self).await?;
        Ok(Sqlite {
            seen: Seen::all(&database.news),
            database: Arc::new(database),
        })
    }
}

impl System for Sqlite {
    fn system(&self) -> &'static str {
        "sqlite"
    }
}

impl SagaStore for Sqlite {
    async fn write(&self, batch: &[Write]) -> Result<Vec<Written>, StoreError> {
        write::write(&self.database, batch).await
    }

    async fn renew(&self, engine: EngineId, ttl: Duration) -> Result<Renewal, StoreError> {
        lease::renew(&self.database, engine, ttl).await
    }

    async fn retire(&self, engine: EngineId) -> Result<(), StoreError> {
        lease::retire(&self.database, engine).await
    }

    async fn define(&self, key: &DefinitionKey) -> Result<Defined, StoreError> {
        admin::define(&self.database, key).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        claim::claim(&self.database, claim).await
    }

    async fn load(&self, id: SagaId) -> Result<Option<Snapshot>, StoreError> {
        read::load(&self.database, id).await
    }

    async fn find(&self, saga: &str, start_key: &str) -> Result<Option<SagaId>, StoreError> {
        read::find(&self.database, saga, start_key).await
    }

    async fn request_cancel(&self, id: SagaId) -> Result<CancelReply, StoreError> {
        admin::request_cancel(&self.database, id).await
    }

    async fn operate(&self, write: &OperatorWrite) -> Result<bool, StoreError> {
        admin::operate(&self.database, write).await
    }

    async fn list(&self, filter: &Filter) -> Result<Page, StoreError> {
        read::list(&self.database, filter).await
    }

    async fn count(&self) -> Result<Vec<(String, InstanceState, u64)>, StoreError> {
        read::count(&self.database).await
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        read::backlog(&self.database).await
    }

    async fn archived(&self, id: SagaId) -> Result<Option<Snapshot>, StoreError> {
        read::archived(&self.database, id).await
    }

    async fn prune(
        &self,
        age: Duration,
        limit: u32,
        retention: Retention,
    ) -> Result<u64, StoreError> {
        admin::prune(&self.database, age, limit, retention).await
    }

    fn gap(&self) -> Duration {
        self.database.gap
    }

    fn lease_min(&self) -> Duration {
        // A renewal that meets a busy file twice and is sent again must still come in time.
        self.database.busy_timeout * 4
    }
}
