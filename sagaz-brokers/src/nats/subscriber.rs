//! A member of a group.
//!
//! It asks the server for as many messages as it may hold, and asks again when it was given them or the request has ended. A request
//! that was under way when the connection was lost is made again, and kept: the server may answer it when the client is back.

use super::{connect, dead, header, subject};
use crate::{Options, Start, Subscription};
use async_nats::{
    Client,
    jetstream::{
        Context, Message,
        consumer::{
            AckPolicy, DeliverPolicy, FromConsumer, PullConsumer,
            pull::{Batch, Config},
        },
        message::AckKind,
    },
};
use futures_util::{FutureExt, Stream};
use sagaz_core::{
    System,
    broker::{BrokerError, Delivery, Nack, Receipt, Subscriber},
};
use std::{
    collections::BTreeMap,
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context as Task, Poll},
    time::Duration,
};

/// How long the server keeps a request that it cannot answer.
const EXPIRES: Duration = Duration::from_secs(30);

/// How many requests of lost connections are kept for each topic.
const OLD_REQUESTS_MAX: usize = 4;

/// How often it is looked whether the connection is another one.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Receives messages from NATS JetStream.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use sagaz_brokers::{Options, Subscription, nats::NatsSubscriber};
/// use sagaz_core::broker::Subscriber;
///
/// let subscription = Subscription::new("billing", ["shop.orders"]);
/// let mut billing = NatsSubscriber::connect("nats://host:4222", &Options::new(), subscription).await?;
/// let delivery = billing.receive().await?;
/// billing.ack(delivery.receipt).await?;
/// # Ok(())
/// # }
/// ```
///
/// [`Subscription::redeliver_after`] is the consumer's `ack_wait`. A subscriber that is dropped inside a runtime gives back what it
/// holds at once.
pub struct NatsSubscriber {
    context: Context,
    subscription: Subscription,
    timeout: Duration,
    feeds: Vec<Feed>,
    /// The feed that is looked at first.
    turn: usize,
    held: BTreeMap<Receipt, Held>,
    receipts: u64,
    /// One that was delivered too often, on its way to the dead letters.
    dying: Option<Message>,
    /// The connection that requests were made on.
    connection: (String, u64),
}

/// A topic of the subscription.
struct Feed {
    consumer: PullConsumer,
    request: Option<Batch>,
    /// Those that were made on a connection that was lost. The server may know of them all the same, and answer.
    old_requests: Vec<Batch>,
    held: usize,
}

struct Held {
    message: Message,
    feed: usize,
}

impl NatsSubscriber {
    /// Connects, as [`NatsBroker::connect`](super::NatsBroker::connect) does, and subscribes.
    pub async fn connect(
        url: &str,
        options: &Options,
        subscription: Subscription,
    ) -> Result<Self, BrokerError> {
        subscription.check()?;
        let client = connect::client(url, options).await?;
        Self::new(client, options, subscription).await
    }

    /// Subscribes over a connection of your own. Members should not share it: one that is slow would hold up the others.
    pub async fn new(
        client: Client,
        options: &Options,
        subscription: Subscription,
    ) -> Result<Self, BrokerError> {
        subscription.check()?;
        let context = connect::context(client, options);
        let mut feeds = Vec::with_capacity(subscription.topics.len());
        dead::check(&context, &subscription, options.declare).await?;
        for topic in &subscription.topics {
            feeds.push(Feed {
                consumer: consumer(&context, &subscription, topic, options.declare).await?,
                request: None,
                old_requests: Vec::new(),
                held: 0,
            });
        }
        let connection = connection(&context);
        Ok(Self {
            context,
            subscription,
            timeout: options.confirm_timeout,
            feeds,
            turn: 0,
            held: BTreeMap::new(),
            receipts: 0,
            dying: None,
            connection,
        })
    }

    /// How many messages of each topic are asked for.
    fn share(&self) -> usize {
        (usize::from(self.subscription.unacked_max) / self.feeds.len().max(1)).max(1)
    }

    /// Asks the server for more, wherever it has answered. If this is dropped half-way, nothing is lost: what was asked for by then
    /// is kept.
    async fn request(&mut self) -> Result<(), BrokerError> {
        let share = self.share();
        for feed in &mut self.feeds {
            let wanted = share.saturating_sub(feed.held);
            if feed.request.is_some() || wanted == 0 {
                continue;
            }
            let batch = feed.consumer.batch().max_messages(wanted).expires(EXPIRES);
            let batch = batch.messages().await.map_err(|error| {
                BrokerError::unavailable("the NATS server gives no messages").caused_by(error)
            })?;
            feed.request = Some(batch);
        }
        Ok(())
    }

    /// The next message that is there, and its feed. `None` if a request has to be made again.
    fn poll_message(
        &mut self,
        task: &mut Task<'_>,
    ) -> Poll<Result<Option<(Message, usize)>, BrokerError>> {
        let count = self.feeds.len();
        for index in (self.turn..count).chain(0..self.turn) {
            let feed = &mut self.feeds[index];
            let mut ended = None;
            let requests = feed.request.iter_mut().chain(&mut feed.old_requests);
            for (at, request) in requests.enumerate() {
                match Pin::new(request).poll_next(task) {
                    Poll::Pending => {}
                    Poll::Ready(Some(Ok(message))) => {
                        self.turn = (index + 1) % count;
                        return Poll::Ready(Ok(Some((message, index))));
                    }
                    Poll::Ready(end) => {
                        ended = Some((at, end.and_then(Result::err)));
                        break;
                    }
                }
            }
            let Some((at, error)) = ended else {
                continue;
            };
            feed.forget(at);
            return Poll::Ready(error.map_or(Ok(None), |error| {
                let words = "the NATS server has ended the request for messages";
                Err(BrokerError::unavailable(words).caused_by(error))
            }));
        }
        Poll::Pending
    }

    /// It is not certain that a request of a connection that was lost is answered.
    fn look_at_connection(&mut self) -> Result<(), BrokerError> {
        let connection = connection(&self.context);
        if connection != self.connection {
            self.connection = connection;
            for feed in &mut self.feeds {
                feed.old_requests.extend(feed.request.take());
                // A connection may be lost again and again.
                let too_many = feed.old_requests.len().saturating_sub(OLD_REQUESTS_MAX);
                feed.old_requests.drain(..too_many);
            }
        }
        connect::check_connected(&self.context)
    }

    async fn bury_dying(&mut self) -> Result<(), BrokerError> {
        let Some(message) = &self.dying else {
            return Ok(());
        };
        let buried = dead::bury(&self.context, &self.subscription, message, self.timeout).await;
        // If that failed, it comes again; what is behind it does not wait.
        self.dying = None;
        buried
    }

    /// `None`: it is on its way to the dead letters.
    fn deliver(&mut self, message: Message, feed: usize) -> Option<Delivery> {
        let delivered = message.info().map_or(1, |info| info.delivered);
        let before = u32::try_from(delivered - 1).unwrap_or_default();
        if self.subscription.is_worn_out(before) {
            self.dying = Some(message);
            return None;
        }
        self.receipts += 1;
        let receipt = Receipt(self.receipts);
        let event = header::read(&message);
        let mut delivery = Delivery::new(event, message.subject.as_str(), receipt);
        delivery.redelivered = Some(before);
        self.feeds[feed].held += 1;
        self.held.insert(receipt, Held { message, feed });
        Some(delivery)
    }

    fn release(&mut self, receipt: Receipt) -> Option<Held> {
        let held = self.held.remove(&receipt)?;
        self.feeds[held.feed].held -= 1;
        Some(held)
    }
}

impl Feed {
    /// Which has ended, in the order in which they are polled.
    fn forget(&mut self, at: usize) {
        match at.checked_sub(usize::from(self.request.is_some())) {
            None => self.request = None,
            Some(at) => drop(self.old_requests.swap_remove(at)),
        }
    }
}

/// What differs from one connection to the next: which server process, and what it numbers it.
fn connection(context: &Context) -> (String, u64) {
    let info = context.client().server_info();
    (info.server_id, info.client_id)
}

/// The durable consumer of the group for this topic. One that is there keeps its place, and waits as this subscription says.
async fn consumer(
    context: &Context,
    subscription: &Subscription,
    topic: &str,
    declares: bool,
) -> Result<PullConsumer, BrokerError> {
    let stream = connect::stream_of(context, topic, declares).await?;
    let name = format!(
        "{}@{}",
        subject::name(&subscription.group),
        subject::name(topic)
    );
    let config = Config {
        durable_name: Some(name.clone()),
        filter_subject: topic.to_owned(),
        ack_policy: AckPolicy::Explicit,
        ack_wait: subscription.redeliver_after,
        deliver_policy: match subscription.start {
            Start::Oldest => DeliverPolicy::All,
            Start::Next => DeliverPolicy::New,
        },
        // What is delivered too often is buried here, where the server would only leave it out.
        max_deliver: -1,
        ..Config::default()
    };
    let failed = |error: async_nats::Error| {
        BrokerError::unavailable(format!(
            "the consumer `{name}` of the stream `{stream}` cannot be made"
        ))
        .caused_by(error)
    };
    let stream_handle = context
        .get_stream_no_info(&stream)
        .await
        .map_err(|error| failed(error.into()))?;
    let consumer: PullConsumer = stream_handle
        .get_or_create_consumer(&name, config)
        .await
        .map_err(|error| failed(error.into()))?;
    let known = consumer.cached_info().config.clone();
    let mut known = Config::try_from_consumer_config(known).map_err(failed)?;
    if known.ack_wait == subscription.redeliver_after {
        return Ok(consumer);
    }
    known.ack_wait = subscription.redeliver_after;
    stream_handle
        .update_consumer(known)
        .await
        .map_err(|error| failed(error.into()))
}

impl System for NatsSubscriber {
    fn system(&self) -> &'static str {
        "nats"
    }
}

impl Subscriber for NatsSubscriber {
    async fn receive(&mut self) -> Result<Delivery, BrokerError> {
        loop {
            self.bury_dying().await?;
            if self.held.len() >= usize::from(self.subscription.unacked_max) {
                return std::future::pending().await;
            }
            if let Err(lost) = self.look_at_connection() {
                // Whoever asks again at once is not to ask all the time.
                tokio::time::sleep(LOOK_INTERVAL).await;
                return Err(lost);
            }
            self.request().await?;
            let polled = poll_fn(|task| self.poll_message(task));
            let Ok(polled) = tokio::time::timeout(LOOK_INTERVAL, polled).await else {
                continue;
            };
            // No waiting from here on, so that what has come is given or kept.
            if let Some((message, feed)) = polled?
                && let Some(delivery) = self.deliver(message, feed)
            {
                return Ok(delivery);
            }
        }
    }

    /// Does not wait for the server: an acknowledgement that is lost brings the message again.
    async fn ack(&mut self, receipt: Receipt) -> Result<(), BrokerError> {
        let Some(held) = self.release(receipt) else {
            return Ok(());
        };
        held.message.ack().await.map_err(untold)
    }

    async fn nack(&mut self, receipt: Receipt, what: Nack) -> Result<(), BrokerError> {
        let Some(held) = self.held.get(&receipt) else {
            return Ok(());
        };
        let message = &held.message;
        let told = if what == Nack::DeadLetter {
            dead::bury(&self.context, &self.subscription, message, self.timeout).await
        } else {
            let told = message.ack_with(AckKind::Nak(None)).await;
            told.map_err(untold)
        };
        // If that failed, it comes again, and is another message then.
        self.release(receipt);
        told
    }
}

fn untold(error: async_nats::Error) -> BrokerError {
    BrokerError::unavailable("the NATS server was not told what became of the message")
        .caused_by(error)
}

impl Drop for NatsSubscriber {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let held = std::mem::take(&mut self.held);
        let mut messages: Vec<_> = held.into_values().map(|held| held.message).collect();
        // What has come and was not given.
        while let Some(Ok(Some((message, _)))) =
            poll_fn(|task| self.poll_message(task)).now_or_never()
        {
            messages.push(message);
        }
        let client = self.context.client();
        runtime.spawn(async move {
            for message in messages {
                // What cannot be given back comes again by itself, later.
                let _ = message.ack_with(AckKind::Nak(None)).await;
            }
            let _ = client.flush().await;
        });
    }
}

impl fmt::Debug for NatsSubscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsSubscriber")
            .field("subscription", &self.subscription)
            .field("unacked", &self.held.len())
            .finish_non_exhaustive()
    }
}
