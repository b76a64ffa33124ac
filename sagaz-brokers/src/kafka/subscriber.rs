//! Receives from Kafka.

use super::{
    background::Background,
    config::{Config, unusable},
    error::{Watch, of_asking},
    ledger::{Ledger, Place, Settled},
    message,
    producer::{Producer, Record},
    topics,
};
use crate::{Options, Subscription};
use rdkafka::{
    ClientContext, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance, StreamConsumer},
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::OwnedMessage,
};
use sagaz_core::{
    System,
    broker::{BrokerError, Delivery, Nack, Receipt, Subscriber},
};
use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long after an acknowledgement its offset is committed, at most.
pub const COMMIT_EVERY: Duration = Duration::from_millis(200);

/// Receives from Kafka. The [module](super) says how.
pub struct KafkaSubscriber {
    consumer: Background<StreamConsumer<Group>>,
    group: Group,
    subscription: Subscription,
    config: Config,
    /// Made when the first message is dead.
    undertaker: Option<Producer>,
    /// Nothing more is fetched of the partitions that there were then.
    is_paused: bool,
    /// A message came nevertheless: there are new partitions.
    is_leaky: bool,
}

/// What the client tells of its group, and what it may ask.
#[derive(Clone, Default)]
struct Group {
    ledger: Arc<Mutex<Ledger<OwnedMessage>>>,
    watch: Arc<Watch>,
}

impl Group {
    fn ledger(&self) -> MutexGuard<'_, Ledger<OwnedMessage>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Group {
    fn error(&self, error: KafkaError, reason: &str) {
        self.watch.said(&error, reason);
    }
}

impl ConsumerContext for Group {
    /// Partitions that go are lost, and partitions that come begin anew, at what is committed of them.
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let (Rebalance::Assign(partitions) | Rebalance::Revoke(partitions)) = rebalance else {
            return;
        };
        let mut ledger = self.ledger();
        for partition in partitions.elements() {
            ledger.lose(&(partition.topic().to_owned(), partition.partition()));
        }
    }
}

impl KafkaSubscriber {
    /// Subscribes at the Kafka of a URL: `kafka://host:port,host:port`.
    pub async fn connect(
        url: &str,
        options: &Options,
        subscription: Subscription,
    ) -> Result<Self, BrokerError> {
        subscription.check()?;
        let config = Config::parse(url, options)?;
        let topics: Vec<&str> = subscription.topics.iter().map(String::as_str).collect();
        if options.declare {
            let dead = topics
                .iter()
                .filter_map(|topic| subscription.dead_topic(topic));
            let dead: Vec<String> = dead.collect();
            let dead = dead.iter().map(String::as_str);
            topics::find(&config, &[]).await?;
            let all: BTreeSet<_> = topics.iter().copied().chain(dead).collect();
            let wrong = topics::make(&config, &all).await?;
            if let Some((topic, why)) = wrong.first_key_value() {
                return Err(BrokerError::misused(format!(
                    "the topic `{topic}` cannot be made: {why}"
                )));
            }
            let all: Vec<_> = all.into_iter().collect();
            topics::until_known(&config, &all).await?;
        } else {
            topics::find(&config, &topics).await?;
        }
        let (consumer, group) = join(&config, &subscription)?;
        Ok(Self {
            consumer,
            group,
            subscription,
            config,
            undertaker: None,
            is_paused: false,
            is_leaky: false,
        })
    }

    fn next(&self) -> Option<Delivery> {
        let mut ledger = self.group.ledger();
        if ledger.in_hand() >= usize::from(self.subscription.unacked_max) {
            return None;
        }
        let given = ledger.give()?;
        let (topic, _) = given.place;
        let event = message::event(given.message);
        let mut delivery = Delivery::new(event, topic.as_str(), given.receipt);
        // Kafka does not count; this consumer does, what it has put back itself.
        delivery.redelivered = (given.before > 0).then_some(given.before);
        Some(delivery)
    }

    /// With no more in hand than may be, nothing is fetched. The client has to be asked for messages nevertheless, or the group
    /// takes this member for dead.
    fn pause_if_full(&mut self) -> Result<(), BrokerError> {
        let in_hand = self.group.ledger().in_hand();
        let is_full = in_hand >= usize::from(self.subscription.unacked_max);
        if is_full == self.is_paused && !self.is_leaky {
            return Ok(());
        }
        let told = self.consumer.assignment().and_then(|partitions| {
            if is_full {
                self.consumer.pause(&partitions)
            } else {
                self.consumer.resume(&partitions)
            }
        });
        told.map_err(|error| self.trouble(error))?;
        (self.is_paused, self.is_leaky) = (is_full, false);
        Ok(())
    }

    fn arrived(&mut self, message: &OwnedMessage) {
        let place = (message.topic().to_owned(), message.partition());
        let offset = message.offset();
        self.group.ledger().arrived(place, offset, message.clone());
        self.is_leaky = self.is_paused;
    }

    /// An error of the client, or `None` if it goes on by itself.
    fn error(&mut self, error: KafkaError) -> Option<BrokerError> {
        match error {
            KafkaError::MessageConsumptionFatal(_) => {
                let joined = join(&self.config, &self.subscription);
                match joined {
                    Ok((consumer, group)) => (self.consumer, self.group) = (consumer, group),
                    Err(error) => return Some(error),
                }
                (self.is_paused, self.is_leaky) = (false, false);
                Some(self.trouble(error))
            }
            KafkaError::MessageConsumption(code) => match code {
                Code::AllBrokersDown
                | Code::Resolve
                | Code::Authentication
                | Code::SaslAuthenticationFailed => Some(self.trouble(error)),
                Code::UnknownTopicOrPartition => Some(
                    BrokerError::unavailable("a topic of the subscription is not there any more")
                        .caused_by(error),
                ),
                Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed => Some(
                    BrokerError::misused(format!(
                        "this user may not read a topic of the subscription, or not in the group `{}`",
                        self.subscription.group
                    ))
                    .caused_by(error),
                ),
                _ => None,
            },
            _ => Some(self.trouble(error)),
        }
    }

    fn trouble(&self, error: KafkaError) -> BrokerError {
        of_asking(error, "a consumer", &self.group.watch)
    }

    fn settle(&self, receipt: Receipt) -> Result<(), BrokerError> {
        let settled = self.group.ledger().settle(receipt);
        match settled {
            Settled::To(place, offset) => self.store(&place, offset),
            Settled::Waits => Ok(()),
            Settled::Unknown => Err(came_again()),
        }
    }

    /// To be committed soon.
    fn store(&self, (topic, partition): &Place, offset: i64) -> Result<(), BrokerError> {
        let mut offsets = TopicPartitionList::new();
        offsets
            .add_partition_offset(topic, *partition, Offset::Offset(offset))
            .and_then(|()| self.consumer.store_offsets(&offsets))
            .map_err(|error| came_again().caused_by(error))
    }

    /// Publishes it to the topic for dead letters, if there is one.
    async fn bury(&mut self, message: &OwnedMessage) -> Result<(), BrokerError> {
        let Some(topic) = self.subscription.dead_topic(message.topic()) else {
            return Ok(());
        };
        let undertaker = match &mut self.undertaker {
            Some(undertaker) => undertaker,
            none => none.insert(Producer::new(&self.config)?),
        };
        let record = Record {
            topic: &topic,
            key: message.key(),
            payload: message.payload().unwrap_or_default(),
            headers: message::headers_of_dead(message),
        };
        undertaker.send(vec![record]).await.remove(0)
    }
}

impl System for KafkaSubscriber {
    fn system(&self) -> &'static str {
        "kafka"
    }
}

impl Subscriber for KafkaSubscriber {
    async fn receive(&mut self) -> Result<Delivery, BrokerError> {
        loop {
            if let Some(delivery) = self.next() {
                return Ok(delivery);
            }
            self.pause_if_full()?;
            let received = self.consumer.recv().await;
            match received.map(|message| message.detach()) {
                Ok(message) => self.arrived(&message),
                Err(error) => {
                    if let Some(error) = self.error(error) {
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn ack(&mut self, receipt: Receipt) -> Result<(), BrokerError> {
        self.settle(receipt)
    }

    async fn nack(&mut self, receipt: Receipt, what: Nack) -> Result<(), BrokerError> {
        let given = self
            .group
            .ledger()
            .given(receipt)
            .map(|(message, before)| (message.clone(), before));
        let (message, given_before) = given.ok_or_else(came_again)?;
        if what == Nack::Requeue && !self.subscription.is_worn_out(given_before + 1) {
            self.group.ledger().put_back(receipt);
            return Ok(());
        }
        if let Err(error) = self.bury(&message).await {
            self.group.ledger().put_back(receipt);
            return Err(error);
        }
        self.settle(receipt)
    }
}

/// A member of the group.
fn join(
    config: &Config,
    subscription: &Subscription,
) -> Result<(Background<StreamConsumer<Group>>, Group), BrokerError> {
    let group = Group::default();
    let consumer: StreamConsumer<Group> = config
        .of_consumer(subscription, COMMIT_EVERY)
        .create_with_context(group.clone())
        .map_err(unusable)?;
    let consumer = Background::new(consumer);
    let topics: Vec<&str> = subscription.topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics).map_err(unusable)?;
    Ok((consumer, group))
}

fn came_again() -> BrokerError {
    BrokerError::unavailable(
        "the message cannot be settled: it was settled before, or its partition went to another consumer, and it comes again",
    )
}

impl fmt::Debug for KafkaSubscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSubscriber")
            .field("subscription", &self.subscription)
            .field("in_hand", &self.group.ledger().in_hand())
            .finish_non_exhaustive()
    }
}
