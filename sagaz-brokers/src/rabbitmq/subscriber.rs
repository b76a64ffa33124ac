//! Receives from RabbitMQ.
//!
//! Invariant: a receipt is of one connection. When that is lost the broker delivers its messages again, so what was given by it
//! can no longer be settled.

use super::{address::Address, error::Trouble, message, topology};
use crate::{Options, Subscription};
use futures_util::{
    FutureExt as _, StreamExt as _,
    stream::{self, BoxStream, SelectAll},
};
use lapin::{
    Acker, Channel, Connection,
    options::{BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions},
    types::{FieldTable, ShortString},
};
use sagaz_core::{
    System,
    broker::{BrokerError, Delivery, Nack, Receipt, Subscriber},
};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    pin::Pin,
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// Between tries to connect again; the pause doubles from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Receives from RabbitMQ. The [module](super) says how.
pub struct RabbitMqSubscriber {
    settings: Arc<Settings>,
    state: State,
    /// Messages that were given and not settled, by their receipts.
    given: HashMap<Receipt, Acker>,
    receipts: u64,
}

/// What it takes to subscribe, again and again.
struct Settings {
    address: Address,
    options: Options,
    subscription: Subscription,
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

/// What the queue of a topic gives. `None`: nothing more.
type Incoming = (Arc<str>, Option<lapin::Result<lapin::message::Delivery>>);

impl RabbitMqSubscriber {
    /// Subscribes at the RabbitMQ of a URL: `amqp://user:password@host:port/vhost`, or `amqps://`.
    pub async fn connect(
        url: &str,
        options: &Options,
        subscription: Subscription,
    ) -> Result<Self, BrokerError> {
        subscription.check()?;
        let settings = Arc::new(Settings {
            address: Address::parse(url, options)?,
            options: options.clone(),
            subscription,
        });
        let session = open(Arc::clone(&settings)).await?;
        Ok(Self {
            settings,
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

    fn give(&mut self, topic: &str, delivery: &lapin::message::Delivery) -> Delivery {
        self.receipts += 1;
        let receipt = Receipt(self.receipts);
        self.given.insert(receipt, delivery.acker.clone());
        let mut given = Delivery::new(message::event(delivery), topic, receipt);
        given.redelivered = Some(message::delivered_before(delivery));
        given
    }

    fn settle(&mut self, receipt: Receipt) -> Result<Acker, BrokerError> {
        self.given.remove(&receipt).ok_or_else(came_again)
    }
}

impl System for RabbitMqSubscriber {
    fn system(&self) -> &'static str {
        "rabbitmq"
    }
}

impl Subscriber for RabbitMqSubscriber {
    async fn receive(&mut self) -> Result<Delivery, BrokerError> {
        loop {
            match &mut self.state {
                State::Connected(session) => match session.messages.next().await {
                    Some((topic, Some(Ok(delivery)))) => {
                        let before = message::delivered_before(&delivery);
                        if !self.settings.subscription.is_worn_out(before) {
                            return Ok(self.give(&topic, &delivery));
                        }
                        // A queue that counts and has no limit of its own.
                        if settled(delivery.acker.nack(NO_MORE).now_or_never()).is_err() {
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
                    let opened = open(Arc::clone(&self.settings));
                    self.state = State::Connecting(Box::pin(opened), tries);
                }
            }
        }
    }

    async fn ack(&mut self, receipt: Receipt) -> Result<(), BrokerError> {
        let acker = self.settle(receipt)?;
        settled(acker.ack(BasicAckOptions::default()).now_or_never())
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
        settled(acker.nack(options).now_or_never())
    }
}

/// A dead letter, if the queue has a place for them.
const NO_MORE: BasicNackOptions = BasicNackOptions {
    multiple: false,
    requeue: false,
};

/// What was told the broker is on its way, and there is no answer to it: waiting until it has left would only make it possible to
/// give up half-way.
fn settled(told: Option<lapin::Result<bool>>) -> Result<(), BrokerError> {
    match told {
        None | Some(Ok(true)) => Ok(()),
        Some(Ok(false)) => Err(came_again()),
        Some(Err(error)) => Err(came_again().caused_by(error)),
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
async fn open(settings: Arc<Settings>) -> Result<Session, Trouble> {
    let Settings {
        address,
        options,
        subscription,
    } = &*settings;
    let timeout = options.confirm_timeout;
    let name = subscription.consumer_name();
    let connection = address.connect(&format!("sagaz {name}")).await?;
    let declare = options.declare.then_some(address.queue_type);
    let consuming = async {
        // Two topics may be of one queue.
        let mut queues = BTreeMap::new();
        for topic in &subscription.topics {
            let queue = topology::queue_of(&connection, subscription, topic, declare).await?;
            queues.insert(queue, Arc::from(topic.as_str()));
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
    queues: &BTreeMap<ShortString, Arc<str>>,
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
    for (queue, topic) in queues {
        let consumer = channel
            .basic_consume(
                queue.clone(),
                "".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await?;
        let end = stream::once(async { None });
        let topic = Arc::clone(topic);
        let incoming = consumer.map(Some).chain(end);
        messages.push(incoming.map(move |next| (Arc::clone(&topic), next)).boxed());
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
            .field("address", &self.settings.address)
            .field("subscription", &self.settings.subscription)
            .field("state", &state)
            .field("given", &self.given.len())
            .finish_non_exhaustive()
    }
}
