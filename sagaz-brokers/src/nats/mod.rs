//! NATS JetStream.
//!
//! An event is published to a subject, which a stream has to take; one that no stream takes is refused. The event's source and id are the
//! message's `Nats-Msg-Id`, by which the stream drops what it was given before, within its window (two minutes, if nothing else is
//! configured). An event counts as published when the stream has confirmed it: JetStream writes it to disk a while later, so it
//! is as durable as the stream's replicas and `sync_interval` make it.
//!
//! A group is a durable pull consumer for each topic of the subscription. Order: a stream gives messages in the order in which it
//! took them, but the members of a group are given them side by side, and what was not acknowledged comes again after what
//! followed it. So with one member, and nothing put back, the events of a key are in order.
//!
//! Servers of 2.9 deliver some messages again that were acknowledged, and do not always count: prefer 2.10 or newer.
//!
//! Attributes are headers that begin with `ce-`, percent-encoded as the HTTP binding of CloudEvents has it, and the content type is
//! `content-type`; NATS's own binding knows no headers.

mod connect;
mod dead;
mod error;
mod header;
mod subject;
mod subscriber;

pub use subscriber::NatsSubscriber;

use crate::{Options, Routes, attributes};
use async_nats::{
    Client,
    jetstream::{Context, context::PublishErrorKind, message::PublishMessage},
};
use error::publish_error;
use futures_util::{StreamExt, stream};
use sagaz_core::{
    Event, System,
    broker::{Broker, BrokerError},
};
use std::{fmt, time::Duration};
use tokio::time::Instant;

/// How many events of a batch are on their way at once.
const IN_FLIGHT: usize = 1_000;

/// Publishes events to NATS JetStream. A clone shares the connection.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use sagaz_brokers::{Options, nats::NatsBroker};
///
/// let options = Options::new().routes("order.*=shop.orders".parse()?);
/// let broker = NatsBroker::connect("nats://app:secret@one:4222,two:4222", &options).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct NatsBroker {
    context: Context,
    routes: Routes,
    declare: bool,
    confirm_timeout: Duration,
}

impl NatsBroker {
    /// Connects to a server, or to one of several with commas between them: `nats://user:password@host:4222`, or `tls://` for
    /// an encrypted connection. A user without a password is a token.
    pub async fn connect(url: &str, options: &Options) -> Result<Self, BrokerError> {
        let client = connect::client(url, options).await?;
        Ok(Self::new(client, options))
    }

    /// Publishes over a connection of your own, which may have been made with any credentials that NATS knows.
    #[must_use]
    pub fn new(client: Client, options: &Options) -> Self {
        Self {
            context: connect::context(client, options),
            routes: options.routes.clone(),
            declare: options.declare,
            confirm_timeout: options.confirm_timeout,
        }
    }

    async fn publish_one(&self, event: &Event, deadline: Instant) -> Result<(), BrokerError> {
        attributes::check(event)?;
        // While there is none, the client would keep what it is given and send it when nobody counts on it any more.
        connect::check_connected(&self.context)?;
        let route = self.routes.find(event.event_type())?;
        subject::check(&route.topic)?;
        let message = PublishMessage::build()
            .payload(event.data().bytes.clone().into())
            .headers(header::of_event(event)?);
        let published = async {
            match self.send(&route.topic, message.clone()).await {
                Err(error) if self.declare && error.kind() == PublishErrorKind::StreamNotFound => {
                    connect::declare(&self.context, &route.topic).await?;
                    self.send(&route.topic, message).await
                }
                sent => sent,
            }
            .map_err(|error| publish_error(error, &route.topic, self.confirm_timeout))
        };
        tokio::time::timeout_at(deadline, published)
            .await
            .unwrap_or_else(|_| Err(BrokerError::timed_out(self.confirm_timeout)))
    }

    /// Returns when the stream has it; that it had it before is as good.
    async fn send(
        &self,
        subject: &str,
        message: PublishMessage,
    ) -> Result<(), async_nats::jetstream::context::PublishError> {
        let sent = self.context.send_publish(subject.to_owned(), message);
        sent.await?.await.map(|_| ())
    }
}

impl System for NatsBroker {
    fn system(&self) -> &'static str {
        "nats"
    }
}

impl Broker for NatsBroker {
    async fn publish(&self, batch: &[Event]) -> Vec<Result<(), BrokerError>> {
        let deadline = Instant::now() + self.confirm_timeout;
        let sending: Vec<_> = batch
            .iter()
            .map(|event| self.publish_one(event, deadline))
            .collect();
        stream::iter(sending).buffered(IN_FLIGHT).collect().await
    }

    async fn health(&self) -> Result<(), BrokerError> {
        connect::check_connected(&self.context)?;
        // Not the client's own question about the account: it cannot read what older servers answer.
        let asked = self.context.request("INFO", &());
        let silent = || BrokerError::unavailable("the NATS server's JetStream does not answer");
        let answer: serde_json::Value =
            match tokio::time::timeout(self.confirm_timeout, asked).await {
                Ok(answer) => answer.map_err(|error| silent().caused_by(error))?,
                Err(_) => return Err(silent()),
            };
        answer.get("error").map_or(Ok(()), |error| {
            Err(BrokerError::unavailable(
                "JetStream cannot be used; enable it on the NATS server, and for the account",
            )
            .caused_by(error.to_string()))
        })
    }
}

impl fmt::Debug for NatsBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsBroker")
            .field("routes", &format_args!("{}", self.routes))
            .field("declare", &self.declare)
            .field("confirm_timeout", &self.confirm_timeout)
            .finish_non_exhaustive()
    }
}
