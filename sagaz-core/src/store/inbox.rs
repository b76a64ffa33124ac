//! What a consumer needs of a store: events that it has handled, recorded with what it wrote.
//!
//! Invariant: what a handler writes in its transaction is there if and only if the record of its event is, and one event has one
//! record per consumer; so however often it is delivered, its writes are there once.

use super::{CommitError, StoreError};
use crate::event::{Event, EventId};
use std::time::Duration;

/// Records which events a consumer has handled.
pub trait InboxStore: crate::System + Send + Sync + 'static {
    /// The transaction that a handler writes in.
    type Tx: Send;

    /// Begins to handle an event. On a store with transactions it waits until no other handling of the same event by this
    /// consumer is under way. Dropped, what is begun is rolled back.
    fn begin_handling(
        &self,
        consumer: &str,
        event: &Event,
    ) -> impl Future<Output = Result<Begun<Self::Tx>, StoreError>> + Send;

    /// Commits what the handler wrote, with the record of the event. [`CommitError::InDoubt`]: the event is to be delivered
    /// again, and then the record tells.
    fn finish_handling(
        &self,
        tx: Self::Tx,
    ) -> impl Future<Output = Result<Finished, CommitError>> + Send;

    /// Gives an event up that the consumer cannot handle: stores it as a dead letter, and records it as handled. One that is
    /// recorded already, by another delivery of it, is left as it is.
    fn bury(
        &self,
        consumer: &str,
        event: &Event,
        attempts: u32,
        error: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Events that an operator gave back to the consumer. They are no longer recorded as handled, and come until they are:
    /// whoever takes one handles it as any other.
    fn retries(
        &self,
        consumer: &str,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Event>, StoreError>> + Send;

    /// Whether the consumer has handled an event, or given it up.
    fn is_handled(
        &self,
        consumer: &str,
        event: &EventId,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Removes up to `limit` records that are older than `age`; gives how many.
    fn prune_handled(
        &self,
        age: Duration,
        limit: u32,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;
}

/// The handling of an event.
#[derive(Debug)]
#[non_exhaustive]
pub enum Begun<Tx> {
    /// It may be handled, in this transaction.
    New(Tx),
    /// It was handled before.
    Duplicate,
}

/// What became of a handling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finished {
    /// Its writes and its record are stored.
    Handled,
    /// Another one was faster: nothing of this one is stored.
    Duplicate,
}

/// What became of an event that a consumer was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Handled {
    /// The handler's writes are stored.
    Done,
    /// It was handled before, or given up: nothing is done.
    Duplicate,
    /// The handler failed for good: the event is a dead letter.
    Dead,
}

impl Handled {
    /// The word in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "handled",
            Self::Duplicate => "duplicate",
            Self::Dead => "dead",
        }
    }
}
