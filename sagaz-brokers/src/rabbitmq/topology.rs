//! Exchanges, queues and bindings: what a topic stands for, and how it is made.

use super::{
    error::{NOT_FOUND, Trouble, reply_code, words},
    message::short,
};
use crate::Subscription;
use lapin::{
    Channel, Connection, Error, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use sagaz_core::broker::BrokerError;

/// `exchange/key`, or a queue: `/queue`, and for those who publish also `queue`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Topic {
    /// Empty for the default exchange, where a key is the name of a queue.
    pub(super) exchange: ShortString,
    pub(super) key: ShortString,
}

impl Topic {
    pub(super) fn new(exchange: Option<&str>, key: &str) -> Result<Self, BrokerError> {
        Ok(Self {
            exchange: short("exchange", exchange.unwrap_or_default())?,
            key: short("routing key", key)?,
        })
    }

    fn parse(text: &str) -> Result<Self, Trouble> {
        let (exchange, key) = match text.split_once('/') {
            Some((exchange, key)) => (Some(exchange), key),
            None => (None, text),
        };
        Self::new(exchange, key).map_err(|_| {
            Trouble::Misused(
                format!("the topic `{text}` is longer than the 255 bytes that AMQP has room for"),
                None,
            )
        })
    }

    fn is_queue(&self) -> bool {
        self.exchange.as_str().is_empty()
    }
}

/// What a queue is that is made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueueType {
    Quorum,
    Classic,
}

/// Makes what an event that goes there needs to be taken at all, as far as it is missing. An exchange without queues takes
/// nothing, and the queues are the consumers' to make.
pub(super) async fn make_for_publishing(
    connection: &Connection,
    topic: &Topic,
    queue_type: QueueType,
) -> Result<(), Trouble> {
    if !topic.is_queue() {
        return make_exchange(connection, &topic.exchange).await;
    }
    let name = topic.key.as_str();
    let consumers = Subscription::new("", [name]);
    make_queue(connection, &topic.key, name, &consumers, queue_type).await
}

/// The queue that a group is given a topic from.
pub(super) async fn queue_of(
    connection: &Connection,
    subscription: &Subscription,
    topic: &str,
    declare: Option<QueueType>,
) -> Result<ShortString, Trouble> {
    let parsed = Topic::parse(topic)?;
    if parsed.is_queue() && !topic.starts_with('/') {
        // Silently shared, each group would miss what another is given.
        return Err(Trouble::Misused(
            format!(
                "on RabbitMQ the topic `{topic}` is a queue, which all groups would share; name an exchange before it, as in \
                 `events/{topic}`, so that the group `{}` has a queue of its own, or write `/{topic}` if the queue is to be shared",
                subscription.group
            ),
            None,
        ));
    }
    let topic = topic.trim_start_matches('/');
    let own = named(format!("{}.{topic}", subscription.group))?;
    let shared = shared_queue(topic)?;
    // In this order: whoever has a queue of its own keeps it, whatever is made meanwhile.
    for queue in [&own, &shared] {
        if has_queue(connection, queue).await? {
            return Ok(queue.clone());
        }
    }
    let queue = if parsed.is_queue() { shared } else { own };
    if let Some(queue_type) = declare {
        make_queue(connection, &queue, topic, subscription, queue_type).await?;
        if !parsed.is_queue() {
            make_exchange(connection, &parsed.exchange).await?;
            bind(connection, &queue, &parsed).await?;
        }
        return Ok(queue);
    }
    Err(Trouble::Misused(
        format!(
            "there is no queue `{queue}` for the topic `{topic}`; make it, or connect with `declare`"
        ),
        None,
    ))
}

/// The queue that is the same for all groups: of a topic without an exchange, or of dead letters that wait for somebody. Names that
/// begin with `amq.`, as those of topics of the exchanges that are always there do, are the broker's own.
fn shared_queue(topic: &str) -> Result<ShortString, Trouble> {
    if topic.starts_with("amq.") {
        named(format!("sagaz.{topic}"))
    } else {
        named(topic)
    }
}

fn named(queue: impl Into<String>) -> Result<ShortString, Trouble> {
    let queue = queue.into();
    ShortString::try_new(queue.as_str()).map_err(|_| {
        Trouble::Misused(
            format!("the queue `{queue}` has a name of more than 255 bytes; shorten the topic or the group"),
            None,
        )
    })
}

/// A durable queue, and where its dead letters go.
async fn make_queue(
    connection: &Connection,
    queue: &ShortString,
    topic: &str,
    subscription: &Subscription,
    queue_type: QueueType,
) -> Result<(), Trouble> {
    if has_queue(connection, queue).await? {
        return Ok(());
    }
    let mut arguments = queue_type.arguments();
    if queue_type == QueueType::Quorum {
        let limit = match subscription.deliveries_max {
            // The first delivery is none again.
            Some(deliveries_max) => i64::from(deliveries_max).saturating_sub(1).max(0),
            // Since RabbitMQ 4 no limit means 20.
            None => i32::MAX.into(),
        };
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(limit));
    }
    if let Some(dead) = subscription.dead_topic(topic) {
        let letters = Topic::parse(&dead)?;
        let held = shared_queue(&dead)?;
        if !has_queue(connection, &held).await? {
            declare(connection, &held, queue_type.arguments()).await?;
        }
        if !letters.is_queue() {
            make_exchange(connection, &letters.exchange).await?;
            bind(connection, &held, &letters).await?;
        }
        let mut set = |name: &str, value: &str| {
            arguments.insert(name.into(), AMQPValue::LongString(value.into()));
        };
        set("x-dead-letter-exchange", letters.exchange.as_str());
        set("x-dead-letter-routing-key", letters.key.as_str());
        if queue_type == QueueType::Quorum {
            // Otherwise a dead letter is lost if the broker fails while it is on its way.
            set("x-dead-letter-strategy", "at-least-once");
            set("x-overflow", "reject-publish");
        }
    }
    declare(connection, queue, arguments).await
}

impl QueueType {
    fn arguments(self) -> FieldTable {
        let name = match self {
            Self::Quorum => "quorum",
            Self::Classic => "classic",
        };
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString(name.into()));
        arguments
    }
}

async fn declare(
    connection: &Connection,
    queue: &ShortString,
    arguments: FieldTable,
) -> Result<(), Trouble> {
    let made = on_a_channel(connection, async |channel| {
        let options = QueueDeclareOptions::durable();
        channel
            .queue_declare(queue.clone(), options, arguments)
            .await
    });
    made.await
        .map(|_| ())
        .map_err(|error| refused_or_lost(error, "queue", queue))
}

async fn bind(connection: &Connection, queue: &ShortString, topic: &Topic) -> Result<(), Trouble> {
    let bound = on_a_channel(connection, async |channel| {
        channel
            .queue_bind(
                queue.clone(),
                topic.exchange.clone(),
                topic.key.clone(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
    });
    bound
        .await
        .map_err(|error| refused_or_lost(error, "binding of the queue", queue))
}

async fn make_exchange(connection: &Connection, exchange: &ShortString) -> Result<(), Trouble> {
    let declared = async |options: ExchangeDeclareOptions| {
        on_a_channel(connection, async |channel| {
            channel
                .exchange_declare(
                    exchange.clone(),
                    ExchangeKind::Topic,
                    options,
                    FieldTable::default(),
                )
                .await
        })
        .await
    };
    let look = ExchangeDeclareOptions {
        passive: true,
        ..ExchangeDeclareOptions::default()
    };
    let lasting = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    let made = match declared(look).await {
        Err(error) if reply_code(&error) == Some(NOT_FOUND) => declared(lasting).await,
        looked => looked,
    };
    made.map_err(|error| refused_or_lost(error, "exchange", exchange))
}

async fn has_queue(connection: &Connection, queue: &ShortString) -> Result<bool, Trouble> {
    let looked = on_a_channel(connection, async |channel| {
        let look = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        channel
            .queue_declare(queue.clone(), look, FieldTable::default())
            .await
    });
    match looked.await {
        Ok(_) => Ok(true),
        Err(error) if reply_code(&error) == Some(NOT_FOUND) => Ok(false),
        Err(error) => Err(refused_or_lost(error, "queue", queue)),
    }
}

/// On a channel of its own, as the broker closes the channel of whoever asks for something that is not there.
async fn on_a_channel<T>(
    connection: &Connection,
    ask: impl AsyncFnOnce(&Channel) -> Result<T, Error>,
) -> Result<T, Error> {
    let channel = connection.create_channel().await?;
    let answer = ask(&channel).await?;
    channel.close(200, "done".into()).await?;
    Ok(answer)
}

fn refused_or_lost(error: Error, what: &str, name: &ShortString) -> Trouble {
    if error.is_amqp_soft_error() {
        let said = words(&error);
        Trouble::Misused(
            format!("the {what} `{name}` cannot be had: {said}"),
            Some(error),
        )
    } else {
        Trouble::lost(error)
    }
}
