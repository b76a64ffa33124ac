//! What a relay does, as it does it: for metrics and logs.

use sagaz_core::{broker::BrokerError, store::StoreError};
use std::time::{Duration, SystemTime};

/// Is told what a relay does. Called on the relay's own task: return quickly, and do not block. A panic in it is caught.
pub trait RelayObserver: Send + Sync + 'static {
    /// Something happened.
    fn observe(&self, event: &RelayEvent<'_>);
}

/// Something that happened in a relay. It carries names, numbers and the words of errors, and never data of an event.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum RelayEvent<'a> {
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
        error: &'a str,
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
        error: &'a str,
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
