#![doc = include_str!("redis.md")]

mod admin;
mod claim;
mod connect;
mod durability;
mod error;
mod event;
mod fresh;
mod inbox;
mod keys;
mod lanes;
mod lease;
mod letters;
mod outbox;
mod read;
mod request;
mod row;
mod schema;
mod script;
mod server;
mod transaction;
mod write;

pub use durability::{Durability, Gap};
pub use error::ConnectError;
pub use transaction::Transaction;

use connect::Nodes;
use fresh::Fresh;
use keys::Space;
use sagaz_core::{
    EngineId, SagaId, System,
    store::{
        Backlog, CancelReply, Claim, Claimed, Defined, DefinitionKey, Filter, InstanceState,
        OperatorWrite, Page, Renewal, Retention, SagaStore, Snapshot, StoreError, Write, Written,
    },
};
use server::Server;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A store on a Redis server or cluster. A clone is the same store.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use sagaz_storage::redis::Redis;
///
/// let store = Redis::connect("rediss://app:secret@redis.example.com:6379").await?;
/// println!("{}", store.durability());
/// # Ok(())
/// # }
/// ```
///
/// Its keys begin with `{sagaz:` if nothing else is said.
#[derive(Clone, Debug)]
pub struct Redis {
    store: Arc<Store>,
}

#[derive(Debug)]
struct Store {
    server: Server,
    space: Space,
    durability: Durability,
    /// The most bytes that the server takes as one value.
    value_max: u64,
    /// Names this handle among all that write; its tries are numbered.
    nonce: u64,
    tries: AtomicU64,
    fresh: Fresh,
    takeovers: claim::Takeovers,
}

/// How to connect a [`Redis`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Options {
    nodes: Nodes,
    prefix: String,
    partitions: u16,
    connections: usize,
    connect_timeout: Duration,
    call_timeout: Duration,
    require_durable: bool,
}

impl Redis {
    /// Connects to the server or cluster of a URL, and makes a store there if there is none.
    ///
    /// `redis://user:password@host:6379/0` is one server, `rediss://` the same with TLS, `redis+cluster://host:6379,host:6380` and
    /// `rediss+cluster://` are a cluster, of which some nodes are named.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::options(url)?.connect().await
    }

    /// Options for the server or cluster of a URL.
    pub fn options(url: &str) -> Result<Options, ConnectError> {
        let nodes = Nodes::parse(url).map_err(|source| ConnectError::Url { source })?;
        Ok(Options {
            nodes,
            prefix: "sagaz".to_owned(),
            partitions: 64,
            connections: 4,
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(10),
            require_durable: false,
        })
    }

    /// Which promises the server's settings do not back, as they were when it connected.
    #[must_use]
    pub fn durability(&self) -> &Durability {
        &self.store.durability
    }

    /// What its keys begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.store.space.prefix
    }
}

impl Options {
    /// What the keys begin with, so that several stores can be on one server. Default: `sagaz`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// In how many partitions the instances are, 1 to 1,024; each is in one slot of a cluster. Default: 64. It is fixed when the
    /// store is made: another number is refused later.
    pub fn partitions(mut self, partitions: u16) -> Self {
        self.partitions = partitions;
        self
    }

    /// How many connections write side by side; at least one. Default: 4. One more renews the lease, and one claims, reads and
    /// serves operators. All of them carry many calls at once.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.clamp(1, 64);
        self
    }

    /// How long a connection may take to be made. Default: 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a call waits for the server before it gives up, and the engine tries again. Default: 10 s.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// Whether a server whose settings do not back every promise is refused. Default: no; [`Redis::durability`] tells.
    pub fn require_durable(mut self, required: bool) -> Self {
        self.require_durable = required;
        self
    }

    /// Connects.
    pub async fn connect(self) -> Result<Redis, ConnectError> {
        Ok(Redis {
            store: Arc::new(connect::connect(self).await?),
        })
    }
}

impl Store {
    /// The number of a try; the handle's tries come in this order.
    fn next_try(&self) -> String {
        let number = self.tries.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}{number:020}", self.nonce)
    }

    /// The key of an instance's hash.
    fn instance(&self, id: SagaId) -> String {
        format!("{}:i:{id}", self.space.tag(id))
    }
}

impl System for Redis {
    fn system(&self) -> &'static str {
        "redis"
    }
}

impl SagaStore for Redis {
    async fn write(&self, batch: &[Write]) -> Result<Vec<Written>, StoreError> {
        write::write(&self.store, batch).await
    }

    async fn renew(&self, engine: EngineId, ttl: Duration) -> Result<Renewal, StoreError> {
        lease::renew(&self.store, engine, ttl).await
    }

    async fn retire(&self, engine: EngineId) -> Result<(), StoreError> {
        lease::retire(&self.store, engine).await
    }

    async fn define(&self, key: &DefinitionKey) -> Result<Defined, StoreError> {
        admin::define(&self.store, key).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        claim::claim(&self.store, claim).await
    }

    async fn load(&self, id: SagaId) -> Result<Option<Snapshot>, StoreError> {
        read::load(&self.store, id).await
    }

    async fn find(&self, saga: &str, start_key: &str) -> Result<Option<SagaId>, StoreError> {
        read::find(&self.store, saga, start_key).await
    }

    async fn request_cancel(&self, id: SagaId) -> Result<CancelReply, StoreError> {
        admin::request_cancel(&self.store, id).await
    }

    async fn operate(&self, write: &OperatorWrite) -> Result<bool, StoreError> {
        write::operate(&self.store, write).await
    }

    async fn list(&self, filter: &Filter) -> Result<Page, StoreError> {
        read::list(&self.store, filter).await
    }

    async fn count(&self) -> Result<Vec<(String, InstanceState, u64)>, StoreError> {
        read::count(&self.store).await
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        read::backlog(&self.store).await
    }

    async fn prune(
        &self,
        age: Duration,
        limit: u32,
        retention: Retention,
    ) -> Result<u64, StoreError> {
        admin::prune(&self.store, age, limit, retention).await
    }

    async fn archived(&self, id: SagaId) -> Result<Option<Snapshot>, StoreError> {
        read::archived(&self.store, id).await
    }

    fn new_id(&self, saga: &str, start_key: Option<&str>) -> SagaId {
        self.store.space.new_id(saga, start_key)
    }

    fn writers(&self) -> usize {
        self.store.server.writers
    }
}
