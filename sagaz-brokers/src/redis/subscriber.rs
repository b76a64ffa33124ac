//! A member of a group.

use super::{
    connect::{self, Line},
    entry::{self, Entry},
    error::{call_error, is_lost, is_of_code},
    member::Member,
    reading::{Found, Reader},
};
use crate::{Options, Subscription};
use ::redis::{Client, RedisResult, aio::MultiplexedConnection};
use futures_util::future::BoxFuture;
use sagaz_core::{
    System,
    broker::{BrokerError, Delivery, Nack, Receipt, Subscriber},
};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// How long the server is asked to wait for new entries.
const BLOCK: Duration = Duration::from_secs(1);

/// How often it is looked for what dead members left, whatever else is said.
const TAKEOVER_INTERVALS: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(30));

/// Receives messages from streams of Redis.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use sagaz_brokers::{Options, Subscription, redis::RedisSubscriber};
/// use sagaz_core::broker::Subscriber;
///
/// let subscription = Subscription::new("billing", ["orders"]);
/// let options = Options::new().declare(true);
/// let mut billing = RedisSubscriber::connect("redis://host:6379", &options, subscription).await?;
/// let delivery = billing.receive().await?;
/// billing.ack(delivery.receipt).await?;
/// # Ok(())
/// # }
/// ```
///
/// A member that has a name is first given what a former one of its name left. A subscriber that is dropped inside a runtime gives
/// back what it holds, so that others can take it over at once.
pub struct RedisSubscriber {
    client: Client,
    member: Arc<Member>,
    options: Options,
    /// A connection of its own: replies to those that wait hold up whatever is behind them.
    connection: Option<MultiplexedConnection>,
    job: Option<BoxFuture<'static, (Job, RedisResult<Found>)>>,
    /// What is asked for next of what was delivered before, and from where on.
    next: Job,
    after: BTreeMap<String, String>,
    takeover_at: Instant,
    ready: VecDeque<Entry>,
    held: BTreeMap<Receipt, Entry>,
    receipts: u64,
    /// One that was delivered too often, on its way to the dead letters.
    dying: Option<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    Own,
    Abandoned,
    Fresh,
}

impl RedisSubscriber {
    /// Connects, as [`RedisBroker::connect`](super::RedisBroker::connect) does, and subscribes. A group that is not there is made.
    pub async fn connect(
        url: &str,
        options: &Options,
        subscription: Subscription,
    ) -> Result<Self, BrokerError> {
        subscription.check()?;
        let client = connect::client(url, options)?;
        connect::check(&client, options).await?;
        let is_named = subscription.consumer.is_some();
        let member = Member {
            line: Line::new(client.clone(), options)?,
            consumer: subscription.consumer_name(),
            subscription,
            declare: options.declare,
        };
        member.make_groups().await?;
        member.sweep().await?;
        Ok(Self {
            client,
            member: Arc::new(member),
            options: options.clone(),
            connection: None,
            job: None,
            next: if is_named { Job::Own } else { Job::Fresh },
            after: BTreeMap::new(),
            takeover_at: Instant::now(),
            ready: VecDeque::new(),
            held: BTreeMap::new(),
            receipts: 0,
            dying: None,
        })
    }

    /// Begins what is to be asked next. Nothing is lost if this is dropped half-way.
    async fn begin_job(&mut self) -> Result<(), BrokerError> {
        if self.connection.is_none() {
            let made = connect::connection(&self.client, self.options.connect_timeout, None);
            self.connection = Some(made.await?);
        }
        let Some(connection) = self.connection.clone() else {
            return Ok(());
        };
        let reader = Reader {
            connection,
            group: self.member.subscription.group.clone(),
            consumer: self.member.consumer.clone(),
            topics: self.member.subscription.topics.clone(),
            timeout: self.options.confirm_timeout,
        };
        let room = usize::from(self.member.subscription.unacked_max) - self.held.len();
        let count = (room / reader.topics.len().max(1)).max(1);
        let now = Instant::now();
        if self.next == Job::Fresh && self.takeover_at <= now {
            self.next = Job::Abandoned;
        }
        let (job, after) = (self.next, self.after.clone());
        let idle = self.member.subscription.redeliver_after;
        let block = BLOCK.min(self.takeover_at.saturating_duration_since(now));
        self.job = Some(Box::pin(async move {
            let found = match job {
                Job::Own => reader.own(count, after).await,
                Job::Abandoned => reader.abandoned(count, after, idle).await,
                Job::Fresh => reader.fresh(count, block).await,
            };
            (job, found)
        }));
        Ok(())
    }

    /// Keeps what was found.
    async fn end_job(&mut self, job: Job, found: RedisResult<Found>) -> Result<(), BrokerError> {
        match found {
            Ok(found) => {
                if job != Job::Fresh && found.after.is_empty() {
                    self.next = Job::Fresh;
                    let (least, most) = TAKEOVER_INTERVALS;
                    let interval =
                        (self.member.subscription.redeliver_after / 2).clamp(least, most);
                    if job == Job::Abandoned {
                        self.takeover_at = Instant::now() + interval;
                    }
                }
                self.after = found.after;
                for entry in found.entries {
                    // What takes long is taken over from itself.
                    if !self.has(&entry) {
                        self.ready.push_back(entry);
                    }
                }
                Ok(())
            }
            // Somebody removed it, or the server lost it when it crashed.
            Err(error) if is_of_code(&error, "NOGROUP") => self.member.make_groups().await,
            Err(error) => {
                if is_lost(&error) {
                    self.connection = None;
                    // The server may have sent some that have not come, and they go before what is new.
                    self.next = Job::Own;
                    self.after.clear();
                }
                Err(call_error(error))
            }
        }
    }

    /// Whether this member was given it and has neither acknowledged it nor put it back.
    fn has(&self, entry: &Entry) -> bool {
        let mut all = self.held.values().chain(&self.ready).chain(&self.dying);
        all.any(|known| known.topic == entry.topic && known.id == entry.id)
    }

    /// `None`: it is none of those that are to be given.
    async fn deliver(&mut self, entry: Entry) -> Result<Option<Delivery>, BrokerError> {
        if entry.fields.is_empty() {
            // Somebody removed it from the stream.
            self.member.settle(&entry).await?;
            return Ok(None);
        }
        if self.member.subscription.is_worn_out(entry.delivered_before) {
            self.dying = Some(entry);
            return Ok(None);
        }
        self.receipts += 1;
        let receipt = Receipt(self.receipts);
        let mut delivery = Delivery::new(entry::read(&entry), entry.topic.clone(), receipt);
        delivery.redelivered = Some(entry.delivered_before);
        self.held.insert(receipt, entry);
        Ok(Some(delivery))
    }

    async fn bury_dying(&mut self) -> Result<(), BrokerError> {
        let Some(entry) = &self.dying else {
            return Ok(());
        };
        let buried = self.member.bury(entry).await;
        // If that failed, it comes again; what is behind it does not wait.
        self.dying = None;
        buried
    }
}

impl System for RedisSubscriber {
    fn system(&self) -> &'static str {
        "redis"
    }
}

impl Subscriber for RedisSubscriber {
    async fn receive(&mut self) -> Result<Delivery, BrokerError> {
        loop {
            self.bury_dying().await?;
            if self.held.len() >= usize::from(self.member.subscription.unacked_max) {
                return std::future::pending().await;
            }
            if let Some(entry) = self.ready.front().cloned() {
                let delivery = self.deliver(entry).await?;
                self.ready.pop_front();
                match delivery {
                    Some(delivery) => return Ok(delivery),
                    None => continue,
                }
            }
            match &mut self.job {
                None => self.begin_job().await?,
                Some(job) => {
                    let (job, found) = job.await;
                    self.job = None;
                    self.end_job(job, found).await?;
                }
            }
        }
    }

    async fn ack(&mut self, receipt: Receipt) -> Result<(), BrokerError> {
        match self.held.remove(&receipt) {
            Some(entry) => self.member.settle(&entry).await,
            None => Ok(()),
        }
    }

    async fn nack(&mut self, receipt: Receipt, what: Nack) -> Result<(), BrokerError> {
        let Some(mut entry) = self.held.get(&receipt).cloned() else {
            return Ok(());
        };
        let told = if what == Nack::DeadLetter {
            self.member.bury(&entry).await
        } else {
            self.member.put_back(&mut entry).await
        };
        // If that failed, it is taken over later, from this member as from any other.
        self.held.remove(&receipt);
        if what != Nack::DeadLetter && told.is_ok() {
            self.ready.push_front(entry);
        }
        told
    }
}

impl Drop for RedisSubscriber {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let held = std::mem::take(&mut self.held).into_values();
        let ready = std::mem::take(&mut self.ready);
        let entries: Vec<_> = held.chain(ready).chain(self.dying.take()).collect();
        if !entries.is_empty() {
            let member = Arc::clone(&self.member);
            // What cannot be given back is taken over later.
            runtime.spawn(async move { member.give_back(&entries).await });
        }
    }
}

impl fmt::Debug for RedisSubscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSubscriber")
            .field("subscription", &self.member.subscription)
            .field("consumer", &self.member.consumer)
            .field("unacked", &self.held.len())
            .finish_non_exhaustive()
    }
}
