//! What a consumer subscribes to.

use sagaz_core::broker::BrokerError;
use std::time::Duration;

/// What a consumer subscribes to, and in which group.
///
/// Every group is given every event of its topics; the members of a group share them.
///
/// ```
/// use sagaz_brokers::Subscription;
///
/// let subscription = Subscription::new("billing", ["orders", "payments"]).unacked_max(64);
/// assert_eq!(subscription.dead_topic("orders").as_deref(), Some("orders.dead"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Subscription {
    /// The group.
    pub group: String,
    /// What it subscribes to; `exchange/key` on RabbitMQ, or `/queue` for a queue that groups share.
    pub topics: Vec<String>,
    /// The name of this member, for people who look at the broker. By default one that nobody else has.
    pub consumer: Option<String>,
    /// The most messages that are delivered and not yet acknowledged; [`receive`](sagaz_core::broker::Subscriber::receive) waits
    /// when there are so many. Default: 256.
    pub unacked_max: u16,
    /// Where the broker cannot tell that a consumer has died: after how long without an acknowledgement a message is given to
    /// another one. Longer than a message takes to be handled, or it is handled by two. Default: 1 min.
    pub redeliver_after: Duration,
    /// After how many deliveries, if the broker counts them, a message is a dead letter instead of being delivered once more: it may
    /// be what kills its consumers. Brokers count those that a consumer had fetched when it died, whether it came to them or not,
    /// up to [`unacked_max`](Self::unacked_max): with it they become dead letters too. Default: 100.
    pub deliveries_max: Option<u32>,
    /// Where a group begins that is new.
    pub start: Start,
    /// The topic of the dead letters, with `{topic}` for that of the message. `None`: they are dropped. Default: `{topic}.dead`.
    pub dead_letters: Option<String>,
}

/// Where a group begins that the broker has not seen before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// With the oldest event that the broker has.
    #[default]
    Oldest,
    /// With the next event.
    Next,
}

impl Subscription {
    /// A subscription of a group to topics.
    pub fn new<T: Into<String>>(
        group: impl Into<String>,
        topics: impl IntoIterator<Item = T>,
    ) -> Self {
        Self {
            group: group.into(),
            topics: topics.into_iter().map(Into::into).collect(),
            consumer: None,
            unacked_max: 256,
            redeliver_after: Duration::from_mins(1),
            deliveries_max: Some(100),
            start: Start::default(),
            dead_letters: Some("{topic}.dead".to_owned()),
        }
    }

    /// The name of this member.
    pub fn consumer(mut self, name: impl Into<String>) -> Self {
        self.consumer = Some(name.into());
        self
    }

    /// The most messages that are delivered and not yet acknowledged; at least one.
    pub fn unacked_max(mut self, unacked_max: u16) -> Self {
        self.unacked_max = unacked_max.max(1);
        self
    }

    /// After how long without an acknowledgement a message is given to another consumer.
    pub fn redeliver_after(mut self, after: Duration) -> Self {
        self.redeliver_after = after;
        self
    }

    /// After how many deliveries a message is a dead letter. `None`: it is delivered for ever.
    pub fn deliveries_max(mut self, deliveries_max: impl Into<Option<u32>>) -> Self {
        self.deliveries_max = deliveries_max.into();
        self
    }

    /// Where a group begins that is new.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// The topic of the dead letters, with `{topic}` for that of the message.
    pub fn dead_letters(mut self, topic: impl Into<String>) -> Self {
        self.dead_letters = Some(topic.into());
        self
    }

    /// Dead letters are dropped.
    pub fn without_dead_letters(mut self) -> Self {
        self.dead_letters = None;
        self
    }

    /// Where dead letters of a topic go.
    #[must_use]
    pub fn dead_topic(&self, topic: &str) -> Option<String> {
        let dead = self.dead_letters.as_ref()?;
        Some(dead.replace("{topic}", topic))
    }

    /// Whether it can be subscribed to at all. For brokers.
    pub fn check(&self) -> Result<(), BrokerError> {
        if self.group.is_empty() {
            return Err(BrokerError::misused(
                "the group of a subscription has no name; give it one, which its members share",
            ));
        }
        if self.topics.is_empty() || self.topics.iter().any(String::is_empty) {
            return Err(BrokerError::misused(format!(
                "the group `{}` subscribes to no topic; name at least one",
                self.group
            )));
        }
        Ok(())
    }

    /// The name of this member, or one that nobody else has.
    #[cfg_attr(
        not(any(feature = "redis", feature = "kafka", feature = "rabbitmq")),
        expect(dead_code, reason = "the brokers that are compiled in name no members")
    )]
    pub(crate) fn consumer_name(&self) -> String {
        self.consumer
            .clone()
            .unwrap_or_else(|| format!("{}-{:016x}", self.group, fastrand::u64(..)))
    }

    /// Whether a message that was delivered so often before is to be a dead letter.
    pub(crate) fn is_worn_out(&self, delivered_before: u32) -> bool {
        self.deliveries_max
            .is_some_and(|deliveries_max| delivered_before >= deliveries_max)
    }
}
