//! Instances in PostgreSQL: the production default, shared by many engines.
//!
//! Invariant: an owner's write locks the row of its instance and judges the token in the same statement. At READ COMMITTED a
//! plain join on the epoch would not fence: it sees the row as it was when the statement began, and writes beside a claim
//! that commits in between. Every clock is the server's.
//!
//! Invariant: nothing is kept in a session, so the store works through a pooler in transaction mode: names are written with
//! their schema, locks are those of transactions, and statements need not be prepared ([`Options::prepared`]).
//!
//! # Connections
//!
//! Two write, one renews the lease, one claims, four read; two more when news are told and heard; three where events are published, and
//! up to eight each for transactions of steps and of handlers. Each is made when it is first needed, and none waits for those of another
//! kind. Behind a pooler in transaction mode:
//!
//! ```no_run
//! # async fn example() -> Result<(), sagaz_storage::postgres::ConnectError> {
//! use sagaz_storage::postgres::Postgres;
//!
//! let store = Postgres::options("postgres://app@pooler.example.com:6432/shop")?
//!     .prepared(false)
//!     .notifications("postgres://app@db.example.com/shop")?
//!     .connect()
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! Then each call is one transaction, planned by itself: more round trips, so slower when little is in flight; and a row that
//! somebody else holds in an open transaction holds up what is written with it.
//!
//! # For people
//!
//! ```sql
//! -- What needs an operator, and why.
//! SELECT id, saga, stuck FROM sagaz.saga_instance WHERE ended_at IS NULL AND state = 'stuck';
//!
//! -- What an instance has done.
//! SELECT name, state, attempts, error, output_text FROM sagaz.saga_step WHERE instance_id = '..' ORDER BY updated_at;
//!
//! -- The same of the archive, to which ended instances are moved if the engine is told so; and what was rolled back last month.
//! SELECT * FROM sagaz.saga_archive AS i JOIN sagaz.saga_archive_step AS s ON s.instance_id = i.id WHERE i.id = '..';
//! SELECT id, start_key, failure FROM sagaz.saga_archive WHERE state = 'rolled_back' AND ended_at > now() - interval '1 month';
//!
//! -- Nothing but you removes anything from it. Steps go with their instances.
//! DELETE FROM sagaz.saga_archive WHERE ended_at < now() - interval '7 years';
//!
//! -- Events that wait, and why; what was sent; what needs an operator.
//! SELECT key, seq, type, attempts, error, wake_at, is_dead FROM sagaz.outbox ORDER BY key, seq;
//! SELECT sent_at, key, type, data_text FROM sagaz.outbox_archive WHERE id = '..';
//! SELECT id, consumer, key, type, attempts, error FROM sagaz.dead_letter WHERE state = 'open';
//! ```
//!
//! # Events
//!
//! A transaction that has published under a key holds the key to its end, and others that publish under it wait: those of steps come
//! again after a moment, those of [`append`](sagaz_core::store::AppendsIn::append_in) at the call. So publish late in a transaction, and
//! under keys that are not everybody's. Each key that a transaction holds takes a place in the server's table of locks
//! (`max_locks_per_transaction`). The default key is the instance's id, whose lock is the instance's row and takes none.
//!
//! What waits to be claimed or published is told to others by `NOTIFY` ([`Options::notifications`]), and found by polling in any case.

mod admin;
mod claim;
mod columns;
mod connections;
mod database;
mod error;
mod event;
mod inbox;
mod lease;
mod news;
mod outbox;
mod read;
mod row;
mod schema;
mod transaction;
mod write;

pub use error::ConnectError;

use database::Database;
use news::Notifications;
use sagaz_core::{
    EngineId, SagaId, System,
    store::{
        Backlog, CancelReply, Claim, Claimed, Defined, DefinitionKey, Filter, InstanceState,
        OperatorWrite, Page, Renewal, Retention, SagaStore, Snapshot, StoreError, Write, Written,
    },
};
use sqlx::postgres::{PgConnectOptions, PgPool};
use std::{fmt, sync::Arc, time::Duration};

/// A store in a PostgreSQL database. A clone is the same store.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use sagaz_storage::postgres::Postgres;
///
/// let store = Postgres::connect("postgres://app@db.example.com/shop?sslmode=verify-full").await?;
/// # Ok(())
/// # }
/// ```
///
/// Its tables are in a schema of their own, `sagaz` if nothing else is said. They are made, and brought up to date, when it
/// connects.
#[derive(Clone, Debug)]
pub struct Postgres {
    database: Arc<Database>,
}

/// How to connect a [`Postgres`].
#[derive(Clone)]
#[must_use]
pub struct Options {
    connect: PgConnectOptions,
    schema: String,
    writers: u32,
    readers: u32,
    transactions: u32,
    call_timeout: Duration,
    prepared: bool,
    notifications: Notifications,
}

impl Postgres {
    /// Connects to the database of a URL, and makes the tables or brings them up to date.
    ///
    /// TLS is as the URL says with `sslmode`: by default it is used if the server offers it.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::options(url)?.connect().await
    }

    /// Options for the database of a URL.
    pub fn options(url: &str) -> Result<Options, ConnectError> {
        Ok(Self::options_for(parse(url)?))
    }

    /// Connects to the database of a pool, as the pool does: the application's, say, so that its transactions are of the same
    /// database. The connections are the store's own, so that neither waits for the other's.
    pub async fn of_pool(pool: &PgPool) -> Result<Self, ConnectError> {
        Self::options_for(pool.connect_options().as_ref().clone())
            .connect()
            .await
    }

    /// Options for a database that sqlx's own options name: TLS certificates, sockets, and so on.
    pub fn options_for(connect: PgConnectOptions) -> Options {
        Options {
            connect,
            schema: "sagaz".to_owned(),
            writers: 2,
            readers: 4,
            transactions: 8,
            call_timeout: Duration::from_secs(15),
            prepared: true,
            notifications: Notifications::Default,
        }
    }

    /// The schema that its tables are in.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.database.schema
    }

    /// Closes its connections, after what is under way. Every later call fails.
    pub async fn close(&self) {
        self.database.close().await;
    }
}

impl Options {
    /// The schema of the tables; it is made if there is none of this name. Default: `sagaz`.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// How many connections write, each the instances of its share; at least one. Default: 2.
    pub fn writers(mut self, writers: u32) -> Self {
        self.writers = writers.max(1);
        self
    }

    /// How many connections read and serve operators; at least one. Default: 4. One more claims, and one renews the lease.
    pub fn readers(mut self, readers: u32) -> Self {
        self.readers = readers.max(1);
        self
    }

    /// How many transactions of steps are open at once, each on a connection of its own; at least one. Default: 8. Other
    /// attempts of transactional steps wait for their turn, and their timeout has not begun. The same holds for the transactions of
    /// consumers' handlers, which are not counted among these.
    pub fn transactions_max(mut self, transactions: u32) -> Self {
        self.transactions = transactions.max(1);
        self
    }

    /// How long a call waits for the server before it gives up, and the engine tries again. Default: 15 s.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// Whether sessions are our own, so that statements are prepared and planned once for each, with settings of the session
    /// that make these plans hold however the tables grow. Default: yes. Not behind a pooler in transaction mode.
    pub fn prepared(mut self, prepared: bool) -> Self {
        self.prepared = prepared;
        self
    }

    /// The URL by which engines tell each other that something waits to be claimed (`LISTEN`, `NOTIFY`), if not that of the rest:
    /// of the server itself, where the rest goes through a pooler in transaction mode. Default: the store's own URL, or none where
    /// statements are not [`prepared`](Self::prepared). Two connections, when they are needed.
    pub fn notifications(mut self, url: &str) -> Result<Self, ConnectError> {
        self.notifications = Notifications::At(Box::new(parse(url)?));
        Ok(self)
    }

    /// Without notifications: what waits to be claimed is found by polling.
    pub fn without_notifications(mut self) -> Self {
        self.notifications = Notifications::Off;
        self
    }

    /// Connects.
    pub async fn connect(self) -> Result<Postgres, ConnectError> {
        Ok(Postgres {
            database: Arc::new(Database::connect(self).await?),
        })
    }
}

impl fmt::Debug for Options {
    /// Shows no password, which sqlx's own options do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("server", &database::server(&self.connect))
            .field("schema", &self.schema)
            .field("writers", &self.writers)
            .field("readers", &self.readers)
            .field("transactions", &self.transactions)
            .field("call_timeout", &self.call_timeout)
            .field("prepared", &self.prepared)
            .field("notifications", &self.notifications)
            .finish()
    }
}

fn parse(url: &str) -> Result<PgConnectOptions, ConnectError> {
    // sqlx takes any scheme.
    if !["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| url.starts_with(scheme))
    {
        return Err(ConnectError::Url {
            source: sqlx::Error::Configuration("the scheme is not `postgres`".into()),
        });
    }
    url.parse().map_err(|source| ConnectError::Url { source })
}

impl System for Postgres {
    fn system(&self) -> &'static str {
        "postgresql"
    }
}

impl SagaStore for Postgres {
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
        write::operate(&self.database, write).await
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

    async fn news(&self) {
        self.database.news.heard().await;
    }

    fn writers(&self) -> usize {
        self.database.writer_count as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_printed_without_passwords() {
        let options = Postgres::options("postgres://app:secret@db.example.com/shop").unwrap();
        let elsewhere = "postgres://app:secret@elsewhere.example.com/shop";
        let printed = format!("{:?}", options.notifications(elsewhere).unwrap());
        assert!(!printed.contains("secret"), "{printed}");
        for said in ["db.example.com:5432/shop", "elsewhere.example.com:5432"] {
            assert!(printed.contains(said), "{printed}");
        }
    }
}
