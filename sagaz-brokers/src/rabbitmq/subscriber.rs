//! Receives from RabbitMQ.
//!
//! Invariant: a receipt is of one connection. When that is lost the broker delivers its messages again, so what was given by it
//! can no longer be settled.

use super::{address::Address, error::Trouble, message, topology};
use crate::{Options, Subscription};
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream, SelectAll},
};
use lapin::{
    Acker, Channel, Connection,
    options::{BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions},
    types::{FieldTable, ShortString},
};
use sagaz_core::broker::{BrokerError, Delivery, Nack, Receipt, Subscriber};
use std::{collections::HashMap, fmt, pin::Pin, time::Duration};
use tokio::time::{Instant, sleep_until};

/// Between tries to connect again; the pause doubles from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Receives from RabbitMQ. The [module](super) says how.
pub struct RabbitMqSubscriber {
    address: Address,
    subscription: Subscription,
    options: Options,
    state: State,
    /// Messages that were given and not settled, by their receipts.
    given: HashMap<Receipt, Acker>,
    receipts: u64,
}

enum State {
    Connected(Box<Session>),
    /// Kept between calls, so that a caller who waits for less time than it takes gets there nevertheless.
    Connecting(
        Pin<Box<dyn Future<Output = Result<Session, Trouble>> + Send>>,
        u32,
    ),
    Waiting(Instant, u32),
}

struct Session {
    messages: SelectAll<BoxStream<'static, Incoming>>,
    _channel: Channel,
    _connection: Connection,
}

/// What a queue gives. `None`: nothing more.
type Incoming = (ShortString, Option<lapin::Result<lapin::message::Delivery>>);

impl RabbitMqSubscriber {
    /// Subscribes at the RabbitMQ of a URL: `amqp://user:password@host:port/vhost`, or `amqps://`.
    pub async fn connect(
        url: &str,
        options: &Options,
        subscription: Subscription,
    ) -> Result<Self, BrokerError> {
        subscription.check()?;
        let address = Address::parse(url, options)?;
        let session = open(address.clone(), options.clone(), subscription.clone()).await?;
        Ok(Self {
            address,
            subscription,
            options: options.clone(),
            state: State::Connected(Box::new(session)),
            given: HashMap::new(),
            receipts: 0,
        })
    }

    /// The connection does not give messages any more, and those that it gave come again.
    fn lose(&mut self) {
        self.given.clear();
        self.state = State::Waiting(Instant::now(), 0);
    }

    fn give(&mut self, queue: &ShortString, delivery: &lapin::message::Delivery) -> Delivery {
        self.receipts += 1;
        let receipt = Receipt(self.receipts);
        self.given.insert(receipt, delivery.acker.clone());
        let mut given = Delivery::new(message::event(delivery), queue.as_str(), receipt);
        given.redelivered = Some(message::delivered_before(delivery));
        given
    }

    fn settle(&mut self, receipt: Receipt) -> Result<Acker, BrokerError> {
        self.given.remove(&receipt).ok_or_else(came_again)
    }
}

impl Subscriber for RabbitMqSubscriber {
    async fn receive(&mut self) -> Result<Delivery, BrokerError> {
        loop {
            match &mut self.state {
                State::Connected(session) => match session.messages.next().await {
                    Some((queue, Some(Ok(delivery)))) => {
                        let before = message::delivered_before(&delivery);
                        if !self.subscription.is_worn_out(before) {
                            return Ok(self.give(&queue, &delivery));
                        }
                        // A queue that counts and has no limit of its own.
                        let dropped = delivery.acker.nack(NO_MORE).await;
                        if dropped.is_err() {
                            self.lose();
                        }
                    }
                    _ => self.lose(),
                },
                State::Connecting(connecting, tries) => match connecting.await {
                    Ok(session) => self.state = State::Connected(Box::new(session)),
                    Err(trouble) => {
                        let tries = *tries + 1;
                        self.state = State::Waiting(Instant::now() + pause(tries), tries);
                        return Err(trouble.into());
                    }
                },
                State::Waiting(until, tries) => {
                    let tries = *tries;
                    sleep_until(*until).await;
                    let opened = open(
                        self.address.clone(),
                        self.options.clone(),
                        self.subscription.clone(),
                    );
                    self.state = State::Connecting(Box::pin(opened), tries);
                }
            }
        }
    }

    async fn ack(&mut self, receipt: Receipt) -> Result<(), BrokerError> {
        let acker = self.settle(receipt)?;
        settled(acker.ack(BasicAckOptions::default()).await)
    }

    async fn nack(&mut self, receipt: Receipt, what: Nack) -> Result<(), BrokerError> {
        let acker = self.settle(receipt)?;
        let options = match what {
            Nack::Requeue => BasicNackOptions {
                requeue: true,
                ..NO_MORE
            },
            _ => NO_MORE,
        };
        settled(acker.nack(options).await)
    }
}

/// A dead letter, if the queue has a place for them.
const NO_MORE: BasicNackOptions = BasicNackOptions {
    multiple: false,
    requeue: false,
};

fn settled(told: lapin::Result<bool>) -> Result<(), BrokerError> {
    match told {
        Ok(true) => Ok(()),
        Ok(false) => Err(came_again()),
        Err(error) => Err(came_again().caused_by(error)),
    }
}

fn came_again() -> BrokerError {
    BrokerError::unavailable(
        "the message cannot be settled: it was settled before, or the connection that it came by is lost, and it comes again",
    )
}

/// At random within the second half, so that not all consumers try at once.
fn pause(tries: u32) -> Duration {
    let (first, longest) = PAUSES;
    let pause = first.saturating_mul(1 << tries.min(16)).min(longest);
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// A connection that consumes from the queues of all topics.
async fn open(
    address: Address,
    options: Options,
    subscription: Subscription,
) -> Result<Session, Trouble> {
    let timeout = options.confirm_timeout;
    let name = subscription.consumer_name();
    let connection = address.connect(&format!("sagaz {name}")).await?;
    let consuming = async {
        let mut queues = Vec::new();
        for topic in &subscription.topics {
            let queue =
                topology::queue_of(&connection, &subscription, topic, options.declare).await?;
            if !queues.contains(&queue) {
                queues.push(queue);
            }
        }
        let (channel, messages) = consume(&connection, &queues, subscription.unacked_max)
            .await
            .map_err(Trouble::lost)?;
        Ok((channel, messages))
    };
    let (channel, messages) = match tokio::time::timeout(timeout, consuming).await {
        Ok(consuming) => consuming?,
        Err(_) => {
            return Err(Trouble::Unavailable(
                format!("RabbitMQ has not answered within {timeout:?}"),
                None,
            ));
        }
    };
    Ok(Session {
        messages,
        _channel: channel,
        _connection: connection,
    })
}

async fn consume(
    connection: &Connection,
    queues: &[ShortString],
    unacked_max: u16,
) -> lapin::Result<(Channel, SelectAll<BoxStream<'static, Incoming>>)> {
    let channel = connection.create_channel().await?;
    // The limit is of each consumer: quorum queues know no other.
    let shares = u16::try_from(queues.len()).unwrap_or(u16::MAX).max(1);
    let prefetch = (unacked_max / shares).max(1);
    channel
        .basic_qos(prefetch, BasicQosOptions::default())
        .await?;
    let mut messages = SelectAll::new();
    for queue in queues {
        let consumer = channel
            .basic_consume(
                queue.clone(),
                "".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await?;
        let end = stream::once(async { None });
        let queue = queue.clone();
        let incoming = consumer.map(Some).chain(end);
        messages.push(incoming.map(move |next| (queue.clone(), next)).boxed());
    }
    Ok((channel, messages))
}

impl fmt::Debug for RabbitMqSubscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Connected(_) => "connected",
            State::Connecting(..) => "connecting",
            State::Waiting(..) => "waiting",
        };
        f.debug_struct("RabbitMqSubscriber")
            .field("address", &self.address)
            .field("subscription", &self.subscription)
            .field("state", &state)
            .field("given", &self.given.len())
            .finish_non_exhaustive()
    }
}
