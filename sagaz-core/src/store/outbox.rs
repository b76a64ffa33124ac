//! What the relay needs of a store: the events that wait to be published, in lanes.
//!
//! A *lane* is a fixed part of all keys, and a worker owns lanes: so each key has one worker, many workers share the keys, and
//! nothing is written when a key comes or goes. An event's *place* in its lane is decided under the lock of its key, which is held
//! to the commit, so that within a key the order of places is the order of commits; between keys places say nothing, and one
//! that is lower may become visible later.
//!
//! Invariants that every implementation keeps, and that the [conformance suite](crate::store::conformance) checks:
//!
//! - an event is there if and only if the write or transaction that it came with was applied, and once, however often that is
//!   repeated;
//! - [`fetch`](OutboxStore::fetch), called again and again with what it gave back, gives every event of a lane sometime, and
//!   those of one key in order;
//! - what a worker says of an event changes nothing unless the lane is that worker's, at that epoch;
//! - leases are judged by the store's clock alone.

use super::StoreError;
use crate::event::{Event, EventId};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    time::{Duration, SystemTime},
};
use uuid::Uuid;

/// How many lanes a store has that has no partitions of its own.
pub const LANES: u16 = 64;

/// The lane of a key, on a store with this many. FNV-1a, 64 bits, as of the authors' note
/// (<http://www.isthe.com/chongo/tech/comp/fnv/>): it is stored, so it never changes.
#[must_use]
pub fn lane_of(key: &str, lanes: u16) -> u16 {
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // The low bits of this hash alone are uneven.
    let mixed = hash ^ (hash >> 32);
    u16::try_from(mixed % u64::from(lanes.max(1))).unwrap_or_default()
}

/// Names one running worker that publishes events: random, and never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(Uuid);

impl WorkerId {
    /// A new random id.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// The id as a UUID.
    #[must_use]
    pub fn as_uuid(&self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for WorkerId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where an event stands: its lane, and its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The lane.
    pub lane: u16,
    /// The place, above 0.
    pub seq: u64,
}

/// A lane that a worker owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// Its number, from 0.
    pub index: u16,
    /// The number that grows with each new owner.
    pub epoch: u64,
}

/// The reply to [`attend`](OutboxStore::attend).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attendance {
    /// The lanes that are the worker's.
    pub lanes: Vec<Lane>,
    /// Workers with a live lease, this one included.
    pub workers: u32,
}

/// What a worker wants to read.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// The worker. Lanes that are not its own, at their epoch, give nothing.
    pub worker: WorkerId,
    /// Lanes, and the place in each after which it reads: 0 at first, and then what the last fetch gave back.
    pub lanes: Vec<(Lane, u64)>,
    /// What the last fetch gave back; empty at first.
    pub unsettled: Vec<u64>,
    /// Keys that it left behind and reads once more, each from a place on: up to [`KEY_EVENTS_MAX`] events of each.
    pub keys: Vec<KeyFetch>,
    /// About how many events of the lanes to give at most.
    pub limit: u32,
}

/// How many events of a key are read at a time.
pub const KEY_EVENTS_MAX: u32 = 64;

/// A key to be read once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFetch {
    /// Its lane.
    pub lane: Lane,
    /// The key.
    pub key: String,
    /// The first place to read.
    pub from: u64,
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Fetched {
    /// Those of a key are in order. One that was read before may come again.
    pub events: Vec<OutboxEvent>,
    /// For each lane of the [`Fetch`], in its order: the place after which to read next. `None`: the lane is not the worker's.
    pub after: Vec<Option<u64>>,
    /// To be given to the next fetch. It stands for transactions that were open and may hold places below those.
    pub unsettled: Vec<u64>,
    /// Whether there is more to read at once.
    pub more: bool,
}

/// An event in the outbox.
#[derive(Clone, Debug)]
pub struct OutboxEvent {
    /// Where it stands.
    pub place: Place,
    /// The event. It has a key.
    pub event: Event,
    /// Attempts to publish it so far.
    pub attempts: u32,
    /// How long its key has to wait: until its next attempt, or until the lease of a sender ends.
    pub wait: Option<Duration>,
    /// It is a dead letter that blocks its key.
    pub is_blocking: bool,
}

/// What a worker says of an event.
#[derive(Clone, Debug)]
pub struct Mark {
    /// The event's lane.
    pub lane: Lane,
    /// Its place in it.
    pub seq: u64,
    /// What became of it.
    pub fate: Fate,
}

/// What became of an event that a worker tried to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The broker has it.
    Sent,
    /// It is tried again.
    Retry {
        /// Attempts so far.
        attempts: u32,
        /// The words of the last error.
        error: String,
        /// When, from now on.
        after: Duration,
    },
    /// It is given up, and waits for an operator as a dead letter.
    Dead {
        /// Attempts so far.
        attempts: u32,
        /// The words of the last error.
        error: String,
        /// Whether later events of its key wait for the operator too.
        blocks: bool,
    },
}

/// What becomes of events that were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SentEvents {
    /// They are moved to the archive, to be looked at or published again, until they are pruned.
    #[default]
    Archive,
    /// They are deleted.
    Delete,
}

/// How the outbox stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxStats {
    /// Events that wait to be published.
    pub pending: u64,
    /// How long the oldest of them has waited.
    pub oldest: Option<Duration>,
    /// Dead letters that nobody has decided on.
    pub dead: u64,
}

/// An event that could not be delivered, or not be handled.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The event.
    pub event: Event,
    /// The consumer that could not handle it; `None`: no broker took it.
    pub consumer: Option<String>,
    /// Attempts so far.
    pub attempts: u32,
    /// The words of the last error.
    pub error: String,
    /// Whether later events of its key wait for it.
    pub blocks: bool,
    /// Whether it waits for a decision, or which it got.
    pub state: DeadState,
    /// When it was given up, by the store's clock.
    pub died_at: SystemTime,
    /// What operators did to it, oldest first.
    pub interventions: Vec<super::Intervention>,
}

impl DeadLetter {
    /// For stores: one that was given up now.
    #[must_use]
    pub fn new(
        event: Event,
        consumer: Option<String>,
        attempts: u32,
        error: String,
        died_at: SystemTime,
    ) -> Self {
        Self {
            event,
            consumer,
            attempts,
            error,
            blocks: false,
            state: DeadState::Open,
            died_at,
            interventions: Vec::new(),
        }
    }
}

/// How a dead letter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeadState {
    /// Nobody has decided on it.
    Open,
    /// It was put back, to be published or handled again.
    Retried,
    /// It is left as it is.
    Discarded,
}

impl DeadState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Open, Self::Retried, Self::Discarded];

    /// The word in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Retried => "retried",
            Self::Discarded => "discarded",
        }
    }

    /// The state of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// Names a dead letter: an event, of the outbox or of one consumer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeadLetterId {
    /// The event.
    pub event: EventId,
    /// The consumer that could not handle it; `None`: no broker took it.
    pub consumer: Option<String>,
}

/// Which dead letters to list.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct DeadLetterFilter {
    /// Only in this state.
    pub state: Option<DeadState>,
    /// Only of this type of event.
    pub event_type: Option<String>,
    /// Only of this key.
    pub key: Option<String>,
    /// Only of this consumer; `Some(None)`: only of the outbox.
    pub consumer: Option<Option<String>>,
    /// At most this many; 0 is the default of 100, and no page is longer than 1,000.
    pub limit: u32,
    /// Only what comes after this one.
    pub after: Option<DeadLetterId>,
}

impl DeadLetterFilter {
    /// The length of a page.
    #[must_use]
    pub fn page_len(&self) -> u32 {
        if self.limit == 0 {
            100
        } else {
            self.limit.min(1_000)
        }
    }
}

/// Some dead letters, by the ids of their events and then by consumer, those of the outbox first.
#[derive(Clone, Debug, Default)]
pub struct DeadLetterPage {
    /// The dead letters.
    pub letters: Vec<DeadLetter>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<DeadLetterId>,
}

/// An operator's decision on dead letters.
#[derive(Clone, Debug)]
pub struct DeadDecision {
    /// On which.
    pub letters: Vec<DeadLetterId>,
    /// [`Retried`](DeadState::Retried) puts an event back with no attempts: one that blocks its key at its old place, any other
    /// behind what waits. That of a consumer waits for [`retries`](super::InboxStore::retries).
    /// [`Discarded`](DeadState::Discarded) leaves it as it is, and its key goes on.
    pub state: DeadState,
    /// Who decided what, and why.
    pub intervention: super::Intervention,
}

/// Keeps events until they are published.
///
/// They come with [`StepWrite::events`](super::StepWrite::events), or by [`AppendsIn`].
pub trait OutboxStore: crate::System + Send + Sync + 'static {
    /// How many lanes there are.
    fn lanes(&self) -> u16 {
        LANES
    }

    /// Makes the worker's lease last `ttl` from now, and takes free lanes for it until it has `wanted`: those of nobody, or of
    /// a worker whose lease has ended. It takes none from the living, and gives none up.
    fn attend(
        &self,
        worker: WorkerId,
        ttl: Duration,
        wanted: u16,
    ) -> impl Future<Output = Result<Attendance, StoreError>> + Send;

    /// Gives these lanes up, so that others may take them at once. Of all lanes: the worker leaves, and its lease ends.
    fn release(
        &self,
        worker: WorkerId,
        lanes: Option<&[u16]>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Reads events of the worker's lanes.
    fn fetch(&self, fetch: &Fetch) -> impl Future<Output = Result<Fetched, StoreError>> + Send;

    /// Stores what became of events, in one atomic step. Gives the lanes, of those named, that are not the worker's at that
    /// epoch: what was said of their events is not stored. May be repeated.
    fn mark(
        &self,
        worker: WorkerId,
        marks: &[Mark],
        sent: SentEvents,
    ) -> impl Future<Output = Result<Vec<u16>, StoreError>> + Send;

    /// Of events that were stored with a [`Sender`] of this id: those that are the first of their keys, so that the sender may
    /// publish them now; the others are the relay's from now on.
    fn heads(
        &self,
        sender: WorkerId,
        events: &[EventId],
    ) -> impl Future<Output = Result<Vec<(EventId, Place)>, StoreError>> + Send;

    /// Events that a sender has published ([`Fate::Sent`]), or leaves to the relay at once (`sent` is false). Of one whose lease
    /// has ended, or is another's, nothing is stored.
    fn settle_heads(
        &self,
        sender: WorkerId,
        heads: &[(Place, bool)],
        sent: SentEvents,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// How the outbox stands.
    fn outbox_stats(&self) -> impl Future<Output = Result<OutboxStats, StoreError>> + Send;

    /// Dead letters of outbox and inbox.
    fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
    ) -> impl Future<Output = Result<DeadLetterPage, StoreError>> + Send;

    /// Decides on open dead letters; gives how many of them were open.
    fn decide(
        &self,
        decision: &DeadDecision,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Removes up to `limit` events from the archive that were sent longer ago than `age`, and dead letters that were decided on
    /// longer ago; gives how many.
    fn prune_sent(
        &self,
        age: Duration,
        limit: u32,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Resolves when there may be events to publish. As [`news`](super::SagaStore::news): it may come too often, too late or never.
    fn outbox_news(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

/// An outbox that takes events in a transaction of the type `Tx`, which somebody else ends.
#[diagnostic::on_unimplemented(
    message = "the store `{Self}` takes no events in a transaction of the type `{Tx}`",
    label = "another store's transaction"
)]
pub trait AppendsIn<Tx>: OutboxStore {
    /// Appends an event, which has been [checked](Event::check) and has a key. Waits until no other open transaction has appended
    /// one of the same key, and makes others wait until this one has ended.
    fn append_in(
        &self,
        tx: &mut Tx,
        event: &Event,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Who publishes events right after their commit. They are stored leased to it, so that no relay publishes them meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The sender.
    pub id: WorkerId,
    /// How long the lease lasts, by the store's clock.
    pub lease: Duration,
}
