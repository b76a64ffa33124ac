//! What relays, optimistic senders and consumers do, as they do it.

use crate::{
    broker::{BrokerError, Malformed},
    store::{Handled, StoreError},
};
use std::{
    error::Error,
    time::{Duration, SystemTime},
};

/// Who publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublisherIdentity {
    /// What it is.
    pub kind: PublisherKind,
    /// What its store is.
    pub store: &'static str,
    /// What its broker is.
    pub broker: &'static str,
}

impl PublisherIdentity {
    /// Who publishes.
    #[must_use]
    pub const fn new(kind: PublisherKind, store: &'static str, broker: &'static str) -> Self {
        Self {
            kind,
            store,
            broker,
        }
    }
}

/// What publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PublisherKind {
    /// The relay, from the store.
    Relay,
    /// The optimistic sender, from memory.
    Optimistic,
}

impl PublisherKind {
    /// The word in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Optimistic => "optimistic",
        }
    }
}

/// Something that happened to a relay or an optimistic sender. It carries names, numbers and the words of errors, and never
/// data of an event.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum PublisherEvent<'a> {
    /// The broker has confirmed an event.
    Published {
        /// Its type.
        event_type: &'a str,
        /// When it was made, by the clock of whoever made it.
        made_at: SystemTime,
        /// How long the broker took.
        took: Duration,
    },
    /// An event was not published, and is tried again.
    Retried {
        /// Its type.
        event_type: &'a str,
        /// Attempts so far.
        attempts: u32,
        /// What was wrong.
        error: &'a BrokerError,
        /// When, from now on.
        after: Duration,
    },
    /// An event was given up.
    Dead {
        /// Its type.
        event_type: &'a str,
        /// Attempts so far.
        attempts: u32,
        /// What was wrong.
        error: &'a BrokerError,
    },
    /// Events that a sender was given and has not published: the relay does.
    Left {
        /// How many.
        events: usize,
    },
    /// The broker takes nothing now; it is tried again, and no event counts it as an attempt.
    BrokerFailed {
        /// Why.
        error: &'a BrokerError,
    },
    /// The store did not do what it was asked; it is asked again.
    StoreFailed {
        /// What it was asked.
        call: &'static str,
        /// Why.
        error: &'a StoreError,
    },
    /// The lease is good again.
    Attended {
        /// The lanes that are this relay's.
        lanes: usize,
        /// The relays that share the lanes, this one included.
        workers: u32,
    },
    /// What is in memory, after something was read.
    Load {
        /// Events that wait to be published or confirmed.
        events: usize,
        /// Events that were published and are not yet stored as sent.
        unmarked: usize,
    },
}

/// Who consumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerIdentity<'a> {
    /// The consumer: the name of its inbox, or the saga that it starts.
    pub consumer: &'a str,
    /// What its broker is; `None` if whoever got an event hands it to an inbox.
    pub broker: Option<&'static str>,
    /// What the store of its inbox is; `None` if it has none.
    pub store: Option<&'static str>,
}

impl<'a> ConsumerIdentity<'a> {
    /// Who consumes.
    #[must_use]
    pub const fn new(
        consumer: &'a str,
        broker: Option<&'static str>,
        store: Option<&'static str>,
    ) -> Self {
        Self {
            consumer,
            broker,
            store,
        }
    }
}

/// Something that happened in a consumer. It carries names, numbers and the words of errors, and never data of an event.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum ConsumerEvent<'a> {
    /// An event met its end here.
    Handled {
        /// The event's type.
        event_type: &'a str,
        /// What became of it.
        handled: Handled,
        /// How long that took.
        took: Duration,
    },
    /// An attempt to handle an event failed.
    Failed {
        /// The event's type.
        event_type: &'a str,
        /// Attempts so far.
        attempts: u32,
        /// Why.
        error: &'a (dyn Error + 'static),
    },
    /// An event is none of this consumer's types, and was acknowledged.
    Skipped {
        /// The event's type.
        event_type: &'a str,
    },
    /// A message is no event, and went to the broker's dead letters.
    Malformed {
        /// Where it came from.
        from: &'a str,
        /// What is wrong with it.
        malformed: &'a Malformed,
    },
    /// An event cannot be kept here, not even as a dead letter, and went to those of the broker.
    Refused {
        /// The event's type.
        event_type: &'a str,
        /// Why.
        error: &'a str,
    },
    /// The broker did not do what it was asked: it is asked again, or delivers again.
    BrokerFailed {
        /// Why.
        error: &'a BrokerError,
    },
    /// The store did not do what it was asked; it is asked again.
    StoreFailed {
        /// Why.
        error: &'a (dyn Error + 'static),
    },
    /// The consumer has ended, because it cannot go on: what it had not acknowledged is delivered again, to somebody else.
    Ended {
        /// Why.
        error: &'a (dyn Error + 'static),
    },
}
