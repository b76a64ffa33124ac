//! Publishes to RabbitMQ.
//!
//! Invariant: a channel belongs to one batch at a time. The client hands a returned message out with the next confirmation of its
//! channel, whichever event that is of; so returned messages are told apart by what is in them, and no other batch is among them.

use super::{
    address::Address,
    error::{NOT_FOUND, Trouble, reply_code, words},
    message,
    topology::{self, QueueType, Topic},
};
use crate::{Options, attributes};
use futures_util::future::join_all;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use sagaz_core::{
    Event, System,
    broker::{Broker, BrokerError},
};
use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::time::{Instant, timeout_at};

/// Channels that are kept open for the next batch.
const IDLE_MAX: usize = 16;

/// Topics that are known to have been made. Their names may come from types of events, of which there is no end.
const DECLARED_MAX: usize = 4096;

/// Publishes to RabbitMQ. The [module](super) says how.
#[derive(Debug)]
pub struct RabbitMqBroker {
    address: Address,
    options: Options,
    link: tokio::sync::Mutex<Option<Arc<Link>>>,
}

/// A connection, with what it has.
#[derive(Debug)]
struct Link {
    connection: Connection,
    idle: Mutex<Vec<Channel>>,
    declared: Mutex<HashSet<Topic>>,
}

/// An event on its way.
#[derive(Debug)]
struct Letter<'e> {
    at: usize,
    event: &'e Event,
    topic: Topic,
    properties: BasicProperties,
}

/// What became of a letter.
#[derive(Debug)]
enum Outcome {
    Confirmed,
    /// The channel was closed before it was confirmed, because of it or of another one.
    ChannelClosed(lapin::Error),
    Failed(Trouble),
}

impl RabbitMqBroker {
    /// Connects to the RabbitMQ of a URL: `amqp://user:password@host:port/vhost`, or `amqps://`.
    pub async fn connect(url: &str, options: &Options) -> Result<Self, BrokerError> {
        let broker = Self {
            address: Address::parse(url, options)?,
            options: options.clone(),
            link: tokio::sync::Mutex::default(),
        };
        broker.link().await?;
        Ok(broker)
    }

    /// The connection, or a new one if it was lost.
    async fn link(&self) -> Result<Arc<Link>, Trouble> {
        let mut link = self.link.lock().await;
        if let Some(link) = link.as_ref().filter(|link| link.is_connected()) {
            return Ok(Arc::clone(link));
        }
        *link = None;
        let connection = self.address.connect("sagaz publisher").await?;
        let made = link.insert(Arc::new(Link {
            connection,
            idle: Mutex::default(),
            declared: Mutex::default(),
        }));
        Ok(Arc::clone(made))
    }

    /// Sends letters until each has an outcome. After the broker has closed a channel, nobody knows which of its letters it did not
    /// like; so those without a confirmation are sent again, each exchange by itself, and then each letter by itself.
    async fn send_all(
        &self,
        letters: Vec<Letter<'_>>,
        deadline: Instant,
        done: &mut [Option<Result<(), BrokerError>>],
    ) {
        let letters = if self.options.declare {
            self.declare(letters, deadline, done).await
        } else {
            letters
        };
        let mut groups = VecDeque::from([letters]);
        while let Some(group) = groups.pop_front() {
            if group.is_empty() {
                continue;
            }
            let outcomes = match timeout_at(deadline, self.channel()).await {
                Ok(Ok((link, channel))) => send(&link, channel, &group, deadline).await,
                Ok(Err(trouble)) => failed(&group, &trouble),
                Err(_) => failed(&group, &Trouble::TimedOut(self.options.confirm_timeout)),
            };
            let is_one = group.len() == 1;
            let exchange = group[0].topic.exchange.clone();
            let is_one_exchange = group.iter().all(|letter| letter.topic.exchange == exchange);
            let mut again = Vec::new();
            for (letter, outcome) in group.into_iter().zip(outcomes) {
                done[letter.at] = Some(match outcome {
                    Outcome::Confirmed => Ok(()),
                    Outcome::Failed(Trouble::TimedOut(_)) => {
                        Err(BrokerError::timed_out(self.options.confirm_timeout))
                    }
                    Outcome::Failed(trouble) => Err(trouble.into()),
                    Outcome::ChannelClosed(error)
                        if is_one || (is_one_exchange && reply_code(&error) == Some(NOT_FOUND)) =>
                    {
                        Err(refusal(&letter, error).into())
                    }
                    Outcome::ChannelClosed(_) => {
                        again.push(letter);
                        continue;
                    }
                });
            }
            regroup(again, is_one_exchange, &mut groups);
        }
    }

    /// Makes what is missing for letters to be taken; the letters for which there is all.
    async fn declare<'e>(
        &self,
        letters: Vec<Letter<'e>>,
        deadline: Instant,
        done: &mut [Option<Result<(), BrokerError>>],
    ) -> Vec<Letter<'e>> {
        let mut ready = Vec::with_capacity(letters.len());
        for letter in letters {
            let declaring = async {
                let link = self.link().await?;
                link.declare(&letter.topic, self.address.queue_type).await
            };
            let trouble = match timeout_at(deadline, declaring).await {
                Ok(Ok(())) => {
                    ready.push(letter);
                    continue;
                }
                // Of this topic, and not of the connection.
                Ok(Err(Trouble::Misused(why, Some(cause)))) if cause.is_amqp_soft_error() => {
                    Trouble::Refused(why, Some(cause))
                }
                Ok(Err(trouble)) => trouble,
                Err(_) => Trouble::Unavailable(
                    format!(
                        "RabbitMQ has not answered within {:?}",
                        self.options.confirm_timeout
                    ),
                    None,
                ),
            };
            done[letter.at] = Some(Err(trouble.into()));
        }
        ready
    }

    async fn channel(&self) -> Result<(Arc<Link>, Channel), Trouble> {
        let mut link = self.link().await?;
        let channel = match link.channel().await {
            // It was lost a moment ago.
            Err(_) if !link.is_connected() => {
                link = self.link().await?;
                link.channel().await
            }
            opened => opened,
        };
        let channel = channel.map_err(Trouble::lost)?;
        if link.connection.status().blocked() {
            return Err(Trouble::Unavailable(
                "RabbitMQ takes no messages now, for want of memory or disk".to_owned(),
                None,
            ));
        }
        Ok((link, channel))
    }
}

impl System for RabbitMqBroker {
    fn system(&self) -> &'static str {
        "rabbitmq"
    }
}

impl Broker for RabbitMqBroker {
    async fn publish(&self, batch: &[Event]) -> Vec<Result<(), BrokerError>> {
        let deadline = Instant::now() + self.options.confirm_timeout;
        let mut done: Vec<Option<Result<(), BrokerError>>> = Vec::new();
        let mut letters = Vec::new();
        for (at, event) in batch.iter().enumerate() {
            match self.letter(at, event) {
                Ok(letter) => {
                    letters.push(letter);
                    done.push(None);
                }
                Err(refused) => done.push(Some(Err(refused))),
            }
        }
        self.send_all(letters, deadline, &mut done).await;
        let no_outcome = || Err(BrokerError::timed_out(self.options.confirm_timeout));
        done.into_iter()
            .map(|result| result.unwrap_or_else(no_outcome))
            .collect()
    }

    async fn health(&self) -> Result<(), BrokerError> {
        let deadline = Instant::now() + self.options.confirm_timeout;
        let opened = timeout_at(deadline, self.channel()).await;
        let (link, channel) = opened.map_err(|_| {
            let timeout = self.options.confirm_timeout;
            BrokerError::unavailable(format!("RabbitMQ has not answered within {timeout:?}"))
        })??;
        link.keep(channel);
        Ok(())
    }
}

impl RabbitMqBroker {
    fn letter<'e>(&self, at: usize, event: &'e Event) -> Result<Letter<'e>, BrokerError> {
        attributes::check(event)?;
        let route = self.options.routes.find(event.event_type())?;
        Ok(Letter {
            at,
            event,
            topic: Topic::new(route.exchange, &route.topic)?,
            properties: message::properties(event)?,
        })
    }
}

impl Link {
    fn is_connected(&self) -> bool {
        self.connection.status().connected()
    }

    /// A channel of which nobody else has one, with confirmations.
    async fn channel(&self) -> lapin::Result<Channel> {
        while let Some(channel) = lock(&self.idle).pop() {
            if channel.status().connected() {
                return Ok(channel);
            }
        }
        let channel = self.connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        Ok(channel)
    }

    fn keep(&self, channel: Channel) {
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE_MAX {
            idle.push(channel);
        }
    }

    async fn declare(&self, topic: &Topic, queue_type: QueueType) -> Result<(), Trouble> {
        if lock(&self.declared).contains(topic) {
            return Ok(());
        }
        topology::make_for_publishing(&self.connection, topic, queue_type).await?;
        let mut declared = lock(&self.declared);
        if declared.len() >= DECLARED_MAX {
            declared.clear();
        }
        declared.insert(topic.clone());
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends letters one behind the other, and then waits for all confirmations. A channel on which something went wrong is not used
/// again: a late confirmation would be taken for one of the next batch.
async fn send(
    link: &Link,
    channel: Channel,
    letters: &[Letter<'_>],
    deadline: Instant,
) -> Vec<Outcome> {
    let sent = letters.iter().map(|letter| {
        let publish = async {
            let options = BasicPublishOptions {
                mandatory: true,
                ..BasicPublishOptions::default()
            };
            let confirm = channel.basic_publish(
                letter.topic.exchange.clone(),
                letter.topic.key.clone(),
                options,
                &letter.event.data().bytes,
                letter.properties.clone(),
            );
            confirm.await?.await
        };
        timeout_at(deadline, publish)
    });
    let mut returned = HashSet::new();
    let mut outcomes = Vec::new();
    for answer in join_all(sent).await {
        outcomes.push(match answer {
            Ok(Ok(confirmation)) => {
                let is_taken = !confirmation.is_nack();
                if let Some(message) = returned_message(confirmation) {
                    returned.insert(message);
                }
                if is_taken {
                    Outcome::Confirmed
                } else {
                    Outcome::Failed(Trouble::Unavailable(
                        "RabbitMQ did not take the message; its queue may be full".to_owned(),
                        None,
                    ))
                }
            }
            Ok(Err(error)) if error.is_amqp_soft_error() => Outcome::ChannelClosed(error),
            Ok(Err(error)) => Outcome::Failed(Trouble::lost(error)),
            Err(_) => Outcome::Failed(Trouble::TimedOut(deadline.elapsed())),
        });
    }
    for (letter, outcome) in letters.iter().zip(&mut outcomes) {
        let is_confirmed = matches!(outcome, Outcome::Confirmed);
        if is_confirmed && returned.contains(&letter.name()) {
            *outcome = Outcome::Failed(letter.unroutable());
        }
    }
    let is_sound = outcomes.iter().all(|outcome| {
        matches!(
            outcome,
            Outcome::Confirmed
                | Outcome::Failed(Trouble::Refused(..) | Trouble::Unavailable(_, None))
        )
    });
    if is_sound {
        link.keep(channel);
    }
    outcomes
}

/// Exchange, key and id.
type Name = (String, String, String);

fn returned_message(confirmation: Confirmation) -> Option<Name> {
    let message = confirmation.take_message()?;
    let id = message::id(&message.properties)?;
    let (exchange, key) = (&message.exchange, &message.routing_key);
    Some((exchange.to_string(), key.to_string(), id))
}

impl Letter<'_> {
    fn name(&self) -> Name {
        let Topic { exchange, key } = &self.topic;
        let id = self.event.event_id().to_string();
        (exchange.to_string(), key.to_string(), id)
    }

    fn unroutable(&self) -> Trouble {
        let Topic { exchange, key } = &self.topic;
        let message = if exchange.as_str().is_empty() {
            format!("there is no queue `{key}`; make it, or send the event to another topic")
        } else {
            format!(
                "no queue is bound to the exchange `{exchange}` for the routing key `{key}`; bind one, or send the event to another topic"
            )
        };
        Trouble::Refused(message, None)
    }
}

fn failed(letters: &[Letter<'_>], trouble: &Trouble) -> Vec<Outcome> {
    let outcomes = letters.iter().map(|_| Outcome::Failed(trouble.clone()));
    outcomes.collect()
}

fn refusal(letter: &Letter<'_>, error: lapin::Error) -> Trouble {
    let said = words(&error);
    let message = format!(
        "RabbitMQ refuses the event `{}`: {said}",
        letter.event.event_type()
    );
    Trouble::Refused(message, Some(error))
}

/// Smaller groups of what one group has left.
fn regroup<'e>(
    letters: Vec<Letter<'e>>,
    is_one_exchange: bool,
    groups: &mut VecDeque<Vec<Letter<'e>>>,
) {
    let mut parts: Vec<Vec<Letter<'e>>> = Vec::new();
    for letter in letters {
        let same = |part: &&mut Vec<Letter<'_>>| part[0].topic.exchange == letter.topic.exchange;
        match parts.iter_mut().find(same) {
            Some(part) if !is_one_exchange => part.push(letter),
            _ => parts.push(vec![letter]),
        }
    }
    groups.extend(parts);
}
