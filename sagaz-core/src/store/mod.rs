//! What the engine needs of a store.
//!
//! A store decides who owns an instance, by its own clock, and keeps rows; it knows no graph. Invariants that every
//! implementation keeps, and that the [conformance suite](crate::store::conformance) checks:
//!
//! - a write carries a [`Token`](crate::Token) and changes nothing unless the token is the instance's, judged and applied in one
//!   atomic step;
//! - every call may be repeated: a write that is already there with its token is accepted again;
//! - leases are judged by the store's clock alone.

mod inbox;
mod outbox;
mod rows;
mod transaction;

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod fault;
pub mod memory;

pub use inbox::{Begun, Finished, Handled, InboxStore};
pub use outbox::{
    AppendsIn, Attendance, DeadDecision, DeadLetter, DeadLetterFilter, DeadLetterId,
    DeadLetterPage, DeadState, Fate, Fetch, Fetched, KEY_EVENTS_MAX, KeyFetch, LANES, Lane, Mark,
    OutboxEvent, OutboxStats, OutboxStore, Place, Sender, SentEvents, WorkerId, lane_of,
};
pub use rows::{
    Accept, Accepted, Backlog, CancelReply, Candidate, Claim, Claimed, Cursor, Defined,
    DefinitionKey, Filter, InstanceState, Intervention, OperatorWrite, Page, Poisoned, Progress,
    Renewal, Retention, Runnable, RunnableStep, Snapshot, StepRow, StepState, StepWrite,
    StoredStep, Summary, Verdict, Wake, Write, Written,
};

pub use transaction::{CommitError, Settled, TransactionOf, Transacts};

use crate::{
    id::{EngineId, SagaId},
    system::System,
};
use std::{fmt, time::Duration};

/// Stores instances. Implement it for a database of your own and run the conformance suite on it.
#[diagnostic::on_unimplemented(message = "`{Self}` is not a store", label = "not a store")]
pub trait SagaStore: System + Send + Sync + 'static {
    /// Applies each write of the batch, in order. Each write is atomic by itself, with the check of its token; a store with
    /// transactions puts all of them into one, so that they share its cost, and nobody may rely on that. A write whose token is
    /// no longer the instance's changes nothing and does not disturb its neighbours. The replies are in the order of the batch.
    /// At most one write of an instance is in a batch.
    ///
    /// An error says that it is unknown which writes were applied, or that one of them is unacceptable
    /// ([`StoreError::is_refusal`]) and none was applied; the caller repeats the batch, or splits it.
    fn write(
        &self,
        batch: &[Write],
    ) -> impl Future<Output = Result<Vec<Written>, StoreError>> + Send;

    /// Makes the engine's lease last `ttl` from now, by the store's clock, and creates it if there is none.
    fn renew(
        &self,
        engine: EngineId,
        ttl: Duration,
    ) -> impl Future<Output = Result<Renewal, StoreError>> + Send;

    /// Ends the engine's lease; what it still owns is free to be claimed, as after a death.
    fn retire(&self, engine: EngineId) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Records a definition before its first instance. A different fingerprint under a (saga, version) that has
    /// unfinished instances is [`Defined::Conflict`], and nothing is recorded; without unfinished instances it replaces
    /// the old one.
    fn define(
        &self,
        key: &DefinitionKey,
    ) -> impl Future<Output = Result<Defined, StoreError>> + Send;

    /// Takes ownership of instances that are due, or whose owner's lease has ended, and that `claim` can run. The
    /// claimer must hold a lease; each claimed instance's epoch grows by one. What has been due longest comes first.
    ///
    /// When it returns without an error, every earlier claim of the same engine has surely ended, also one whose reply was lost: what
    /// that took is there to be listed, and it takes nothing any more.
    fn claim(&self, claim: &Claim) -> impl Future<Output = Result<Claimed, StoreError>> + Send;

    /// One instance with its steps.
    fn load(&self, id: SagaId)
    -> impl Future<Output = Result<Option<Snapshot>, StoreError>> + Send;

    /// The instance that was started with this key.
    fn find(
        &self,
        saga: &str,
        start_key: &str,
    ) -> impl Future<Output = Result<Option<SagaId>, StoreError>> + Send;

    /// Asks the owner to cancel. An instance that nobody owns becomes due.
    fn request_cancel(
        &self,
        id: SagaId,
    ) -> impl Future<Output = Result<CancelReply, StoreError>> + Send;

    /// Applies an operator's decision to a stuck instance, if it is still stuck at that epoch: `false` if not. Raises
    /// the epoch, leaves the instance unowned and due, clears why it was stuck, its takeovers and a request to cancel, and
    /// records the intervention.
    fn operate(
        &self,
        write: &OperatorWrite,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Instances, newest first.
    fn list(&self, filter: &Filter) -> impl Future<Output = Result<Page, StoreError>> + Send;

    /// How many instances of each saga are in each state.
    fn count(
        &self,
    ) -> impl Future<Output = Result<Vec<(String, InstanceState, u64)>, StoreError>> + Send;

    /// Of each saga and each state but the last ones: how many instances are in it, and since when. Asked every few seconds by
    /// every engine that is watched, so its cost may grow with those instances alone, and not with those that have ended.
    fn backlog(&self) -> impl Future<Output = Result<Vec<Backlog>, StoreError>> + Send;

    /// Removes up to `limit` instances that completed or rolled back longer ago than `age`, with their steps, start keys
    /// and definitions that no instance names; returns how many. Stuck instances stay. What is removed is gone, or in the
    /// archive, as it was: both in the transaction that removes it.
    fn prune(
        &self,
        age: Duration,
        limit: u32,
        retention: Retention,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// One instance of the archive, with its steps.
    fn archived(
        &self,
        id: SagaId,
    ) -> impl Future<Output = Result<Option<Snapshot>, StoreError>> + Send;

    /// Resolves when there may be instances to claim, so that an engine need not wait for its next poll. It may come too
    /// often, too late or never, as it does by default: polling finds everything. Cancel safe: what comes while nobody waits
    /// is told to the next who does.
    fn news(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// An id for a new instance of this saga. A store that keeps instances in partitions puts the partition into it, which is
    /// that of the start key if there is one; so an accept with a start key takes its id from here.
    fn new_id(&self, saga: &str, start_key: Option<&str>) -> SagaId {
        let _ = (saga, start_key);
        SagaId::new()
    }

    /// How many writers may work side by side; the writes of one instance always go through the same one.
    fn writers(&self) -> usize {
        1
    }

    /// How long a writer rests after a batch while another engine is live, so that it gets its turn at a lock that is
    /// not fair.
    fn gap(&self) -> Duration {
        Duration::ZERO
    }

    /// The shortest lease that is safe on this store.
    fn lease_min(&self) -> Duration {
        Duration::from_millis(100)
    }
}

/// What an [`Engine`](crate::Engine) runs on.
pub trait Store: SagaStore {}

impl<S: SagaStore> Store for S {}

/// Why a store did not do what it was asked.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StoreErrorKind {
    Transient,
    Refusal,
    Fatal,
}

impl StoreError {
    /// The store was busy, unreachable or out of space: the same call may succeed later.
    pub fn transient(message: impl Into<String>) -> Self {
        Self {
            kind: StoreErrorKind::Transient,
            message: message.into(),
            source: None,
        }
    }

    /// One of the rows is unacceptable for good (too large, a value that the database cannot hold).
    pub fn refusal(message: impl Into<String>) -> Self {
        Self {
            kind: StoreErrorKind::Refusal,
            message: message.into(),
            source: None,
        }
    }

    /// The store cannot be used: a newer schema, a damaged file, missing privileges.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self {
            kind: StoreErrorKind::Fatal,
            message: message.into(),
            source: None,
        }
    }

    /// With the database's own error as its cause.
    #[must_use]
    pub fn caused_by(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.kind == StoreErrorKind::Transient
    }

    /// Whether a row is unacceptable for good.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.kind == StoreErrorKind::Refusal
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
