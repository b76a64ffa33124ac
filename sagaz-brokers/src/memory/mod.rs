//! A broker in this process, for tests and for programs that are one process.
//!
//! A topic is some partitions, and a key is always in the same one. Each group has a place in each partition; a partition belongs
//! to one member of a group at a time, and passes to another only when the first has acknowledged, or lost by being dropped, what
//! it was given of it. So a group sees the events of a key in their order. An event is kept until every group has acknowledged it,
//! and while there is no group.
//!
//! Nothing outlives the process.

mod fault;
mod topic;

pub use fault::{Fault, Faults};

use crate::{Options, Routes, Start, Subscription};
use sagaz_core::{
    Event, System,
    broker::{Broker, BrokerError, Delivery, Malformed, Nack, Receipt, Subscriber},
};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;
use topic::{Found, Held, Topics};

/// A broker in this process. A clone is the same broker.
///
/// ```
/// use sagaz_brokers::{Subscription, memory::MemoryBroker};
/// use sagaz_core::{Event, broker::{Broker, Subscriber}};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let broker = MemoryBroker::new();
/// broker.publish(&[Event::new("order.placed", &7).source("/shop").key(7)]).await;
///
/// let mut billing = broker.subscribe(Subscription::new("billing", ["order.placed"]))?;
/// let delivery = billing.receive().await?;
/// assert_eq!(delivery.event.expect("it is well formed").ordering_key(), Some("7"));
/// billing.ack(delivery.receipt).await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MemoryBroker {
    shared: Arc<Shared>,
    routes: Routes,
}

struct Shared {
    topics: Mutex<Topics>,
    /// Grows whenever a message, a place for one, or a partition may have become free.
    changed: watch::Sender<u64>,
    faults: Faults,
    full_wait: Duration,
}

/// How to make a [`MemoryBroker`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    routes: Routes,
    partitions: u16,
    capacity: usize,
    full_wait: Duration,
    makes_topics: bool,
}

/// Gives the messages of a [`MemoryBroker`] to a member of a group.
pub struct MemorySubscriber {
    shared: Arc<Shared>,
    changed: watch::Receiver<u64>,
    subscription: Subscription,
    member: u64,
    held: BTreeMap<Receipt, Held>,
    receipts: u64,
}

impl Default for MemoryBroker {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryBroker {
    /// A new one, with the defaults of its [`builder`](Self::builder).
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Settings of a new one.
    pub fn builder() -> Builder {
        Builder {
            routes: Routes::new(),
            partitions: 8,
            capacity: 100_000,
            full_wait: Duration::from_secs(5),
            makes_topics: true,
        }
    }

    /// The broker of a `memory://name`: everybody in this process who asks for this name has the same one, and it stays until the
    /// process ends.
    pub fn connect(url: &str, options: &Options) -> Result<Self, BrokerError> {
        static NAMED: LazyLock<Mutex<BTreeMap<String, MemoryBroker>>> =
            LazyLock::new(Mutex::default);
        let name = url.strip_prefix("memory://").ok_or_else(|| {
            BrokerError::misused(
                "the URL of a broker in memory is `memory://` and a name, such as `memory://orders`",
            )
        })?;
        let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
        let broker = named.entry(name.to_owned()).or_default();
        Ok(broker.with_routes(options.routes.clone()))
    }

    /// The same broker with other routes.
    #[must_use]
    pub fn with_routes(&self, routes: Routes) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            routes,
        }
    }

    /// Subscribes.
    pub fn subscribe(&self, subscription: Subscription) -> Result<MemorySubscriber, BrokerError> {
        subscription.check()?;
        let mut topics = self.shared.topics();
        let from_oldest = subscription.start == Start::Oldest;
        let member = topics.join(&subscription.group, &subscription.topics, from_oldest)?;
        drop(topics);
        self.shared.change();
        Ok(MemorySubscriber {
            changed: self.shared.changed.subscribe(),
            shared: Arc::clone(&self.shared),
            subscription,
            member,
            held: BTreeMap::new(),
            receipts: 0,
        })
    }

    /// Makes a topic, if it is not there.
    pub fn create_topic(&self, name: &str) {
        self.shared.topics().create(name);
    }

    /// What the broker keeps of a topic, in the order in which it came: what not every group has acknowledged, or all that was
    /// published while there was no group.
    #[must_use]
    pub fn events(&self, topic: &str) -> Vec<Event> {
        self.shared.topics().events(topic)
    }

    /// Puts a message into a topic that is no event.
    pub fn publish_malformed(&self, topic: &str, body: impl Into<Vec<u8>>) {
        let malformed = Malformed {
            reason: "it has no CloudEvents attribute `specversion`".to_owned(),
            body: body.into(),
        };
        self.shared.topics().put_anyway(topic, Err(malformed));
        self.shared.change();
    }

    /// What goes wrong, by plan, and counts of what was tried.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.shared.faults.clone()
    }

    async fn publish_one(&self, event: &Event) -> Result<(), BrokerError> {
        let destination = self.routes.find(event.event_type())?;
        let fault = self.shared.faults.meet(event);
        match fault {
            Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
            Some(fault) if !fault.takes_event() => return Err(fault.error()),
            _ => {}
        }
        self.put(&destination.topic, event).await?;
        fault.map_or(Ok(()), |fault| match fault {
            Fault::Delay(_) => Ok(()),
            fault => Err(fault.error()),
        })
    }

    /// Waits for room, if there is none, but not for ever.
    async fn put(&self, topic: &str, event: &Event) -> Result<(), BrokerError> {
        if self.shared.put(topic, event)? {
            return Ok(());
        }
        let mut changed = self.shared.changed.subscribe();
        let room = async {
            while !self.shared.put(topic, event)? {
                // The sender lives in `self`, so that the wait cannot fail.
                let _ = changed.changed().await;
            }
            Ok(())
        };
        tokio::time::timeout(self.shared.full_wait, room)
            .await
            .unwrap_or_else(|_| {
                Err(BrokerError::unavailable(format!(
                    "the topic `{topic}` is full; its consumers are too slow, or there are none"
                )))
            })
    }
}

impl Builder {
    /// Where events go.
    pub fn routes(mut self, routes: Routes) -> Self {
        self.routes = routes;
        self
    }

    /// How many partitions a topic has; at least one. Default: 8. Members of a group beyond that number are given nothing.
    pub fn partitions(mut self, partitions: u16) -> Self {
        self.partitions = partitions.max(1);
        self
    }

    /// How many events a topic keeps at most; at least one. Default: 100,000.
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity.max(1);
        self
    }

    /// How long publishing waits for room in a topic that is full, before it fails. Default: 5 s.
    pub fn full_wait(mut self, wait: Duration) -> Self {
        self.full_wait = wait;
        self
    }

    /// Whether publishing and subscribing make topics that are missing. Default: yes; else the event is refused.
    pub fn makes_topics(mut self, makes_topics: bool) -> Self {
        self.makes_topics = makes_topics;
        self
    }

    /// Makes it.
    #[must_use]
    pub fn build(self) -> MemoryBroker {
        MemoryBroker {
            shared: Arc::new(Shared {
                topics: Mutex::new(Topics::new(
                    self.partitions,
                    self.capacity,
                    self.makes_topics,
                )),
                changed: watch::Sender::new(0),
                faults: Faults::new(),
                full_wait: self.full_wait,
            }),
            routes: self.routes,
        }
    }
}

impl Shared {
    fn topics(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) {
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// Whether there was room.
    fn put(&self, topic: &str, event: &Event) -> Result<bool, BrokerError> {
        let has_room = self.topics().put(topic, event)?;
        if has_room {
            self.change();
        }
        Ok(has_room)
    }
}

impl System for MemoryBroker {
    fn system(&self) -> &'static str {
        "memory"
    }
}

impl Broker for MemoryBroker {
    async fn publish(&self, batch: &[Event]) -> Vec<Result<(), BrokerError>> {
        futures_util::future::join_all(batch.iter().map(|event| self.publish_one(event))).await
    }

    async fn health(&self) -> Result<(), BrokerError> {
        self.shared.faults.check_up()
    }
}

impl MemorySubscriber {
    /// The next message that is this member's to handle.
    fn take(&mut self) -> Option<Delivery> {
        if self.held.len() >= usize::from(self.subscription.unacked_max) {
            return None;
        }
        let mut topics = self.shared.topics();
        loop {
            let found = topics.take(
                &self.subscription.group,
                self.member,
                &self.subscription.topics,
            )?;
            if self.subscription.is_worn_out(found.delivered_before) {
                let dead = self.subscription.dead_topic(&found.held.topic);
                topics.bury(&self.subscription.group, &found.held, dead.as_deref());
                continue;
            }
            let Found {
                message,
                held,
                delivered_before,
            } = found;
            self.receipts += 1;
            let receipt = Receipt(self.receipts);
            let mut delivery = Delivery::new(message, held.topic.clone(), receipt);
            delivery.redelivered = Some(delivered_before);
            self.held.insert(receipt, held);
            return Some(delivery);
        }
    }

    /// A message that the broker is not told of comes again.
    fn check_up(&mut self, receipt: Receipt) -> Result<(), BrokerError> {
        let is_up = self.shared.faults.check_up();
        if is_up.is_err()
            && let Some(held) = self.held.remove(&receipt)
        {
            self.shared
                .topics()
                .give_back(&self.subscription.group, &held);
            self.shared.change();
        }
        is_up
    }
}

impl System for MemorySubscriber {
    fn system(&self) -> &'static str {
        "memory"
    }
}

impl Subscriber for MemorySubscriber {
    async fn receive(&mut self) -> Result<Delivery, BrokerError> {
        loop {
            self.shared.faults.check_up()?;
            self.changed.mark_unchanged();
            if let Some(delivery) = self.take() {
                return Ok(delivery);
            }
            // The sender lives in `self`, so that the wait cannot fail.
            let _ = self.changed.changed().await;
        }
    }

    async fn ack(&mut self, receipt: Receipt) -> Result<(), BrokerError> {
        self.check_up(receipt)?;
        if let Some(held) = self.held.remove(&receipt) {
            self.shared.topics().settle(&self.subscription.group, &held);
            self.shared.change();
        }
        Ok(())
    }

    async fn nack(&mut self, receipt: Receipt, what: Nack) -> Result<(), BrokerError> {
        self.check_up(receipt)?;
        let Some(held) = self.held.remove(&receipt) else {
            return Ok(());
        };
        let group = &self.subscription.group;
        let mut topics = self.shared.topics();
        if what == Nack::DeadLetter {
            let dead = self.subscription.dead_topic(&held.topic);
            topics.bury(group, &held, dead.as_deref());
        } else {
            topics.give_back(group, &held);
        }
        drop(topics);
        self.shared.change();
        Ok(())
    }
}

impl Drop for MemorySubscriber {
    fn drop(&mut self) {
        let mut topics = self.shared.topics();
        for held in self.held.values() {
            topics.give_back(&self.subscription.group, held);
        }
        topics.leave(&self.subscription.group, self.member);
        drop(topics);
        self.shared.change();
    }
}

impl fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBroker")
            .field("routes", &format_args!("{}", self.routes))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for MemorySubscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySubscriber")
            .field("subscription", &self.subscription)
            .field("unacked", &self.held.len())
            .finish_non_exhaustive()
    }
}
