//! What the relay and consumers need of a broker.

use crate::{event::Event, system::System};
use std::{fmt, time::Duration};

/// Takes events.
///
/// Obligations, which the conformance suite of `sagaz-brokers` checks: an event whose result is `Ok` is kept by the broker, as
/// durably as that is configured to keep anything; the events of a batch have one key each at most once, so they may be sent side by
/// side; an error is of its event alone.
pub trait Broker: System + Send + Sync + 'static {
    /// Publishes events; the results are in their order. Returns in bounded time.
    fn publish(&self, batch: &[Event])
    -> impl Future<Output = Vec<Result<(), BrokerError>>> + Send;

    /// Whether the broker can be reached and takes events.
    fn health(&self) -> impl Future<Output = Result<(), BrokerError>> + Send;
}

impl<B: Broker> Broker for std::sync::Arc<B> {
    fn publish(
        &self,
        batch: &[Event],
    ) -> impl Future<Output = Vec<Result<(), BrokerError>>> + Send {
        B::publish(self, batch)
    }

    fn health(&self) -> impl Future<Output = Result<(), BrokerError>> + Send {
        B::health(self)
    }
}

/// Gives the messages that a consumer subscribed to.
///
/// A message that was not acknowledged when its subscriber is gone is delivered again, to whoever subscribes in the same group.
pub trait Subscriber: System + Send + 'static {
    /// The next message. Cancel safe: one that was not given is given next time.
    fn receive(&mut self) -> impl Future<Output = Result<Delivery, BrokerError>> + Send;

    /// The message is handled. An error, or a crash before it, brings it again.
    fn ack(&mut self, receipt: Receipt) -> impl Future<Output = Result<(), BrokerError>> + Send;

    /// The message is not handled. An error, or a crash before it, brings it again, under another receipt.
    fn nack(
        &mut self,
        receipt: Receipt,
        what: Nack,
    ) -> impl Future<Output = Result<(), BrokerError>> + Send;
}

/// A message.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Delivery {
    /// The event, or what is wrong with it.
    pub event: Result<Event, Malformed>,
    /// The topic, queue, stream or subject that it came from.
    pub from: String,
    /// How often it was delivered before, as far as the broker tells.
    pub redelivered: Option<u32>,
    /// What [`ack`](Subscriber::ack) and [`nack`](Subscriber::nack) name it by.
    pub receipt: Receipt,
}

impl Delivery {
    /// For brokers.
    #[must_use]
    pub fn new(event: Result<Event, Malformed>, from: impl Into<String>, receipt: Receipt) -> Self {
        Self {
            event,
            from: from.into(),
            redelivered: None,
            receipt,
        }
    }
}

/// Names a message to the subscriber that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receipt(pub u64);

/// A message that is no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong with it.
    pub reason: String,
    /// Its body.
    pub body: Vec<u8>,
}

/// What becomes of a message that is not handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Nack {
    /// It is delivered again.
    Requeue,
    /// It goes to where the broker puts what nobody can handle, if it has such a place, and is not delivered again.
    DeadLetter,
}

/// Why a broker did not do what it was asked.
#[derive(Debug)]
pub struct BrokerError {
    kind: BrokerErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BrokerErrorKind {
    Unavailable,
    Refused,
    InDoubt,
    Misused,
}

impl BrokerError {
    /// The broker cannot be reached, or takes nothing now: no fault of the event.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::of(BrokerErrorKind::Unavailable, message)
    }

    /// The broker does not take this event: there is no such topic, it is too large, no queue wants it.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::of(BrokerErrorKind::Refused, message)
    }

    /// The broker has not answered in time; it may have the event.
    pub fn timed_out(after: Duration) -> Self {
        Self::of(
            BrokerErrorKind::InDoubt,
            format!("the broker has not confirmed it within {after:?}"),
        )
    }

    /// The broker cannot be used like that: an unknown scheme, wrong credentials, a missing setting.
    pub fn misused(message: impl Into<String>) -> Self {
        Self::of(BrokerErrorKind::Misused, message)
    }

    fn of(kind: BrokerErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// With the client's own error as its cause.
    #[must_use]
    pub fn caused_by(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Whether it is no fault of the event: another one would fare no better.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        self.kind == BrokerErrorKind::Unavailable
    }

    /// Whether the broker does not take this event.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.kind == BrokerErrorKind::Refused
    }

    /// Whether only another configuration helps.
    #[must_use]
    pub fn is_misuse(&self) -> bool {
        self.kind == BrokerErrorKind::Misused
    }

    /// Whether the broker takes nothing now, whatever the event: it is unavailable, or misused.
    #[must_use]
    pub fn is_of_all(&self) -> bool {
        self.is_unavailable() || self.is_misuse()
    }
}

impl fmt::Display for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for BrokerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
