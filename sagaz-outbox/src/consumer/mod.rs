//! The consumer: takes messages from a broker, those of a key one after the other, and has them handled.
//!
//! Invariants: a message is acknowledged only after what came of it is stored; of a key at most one event is being handled, in
//! the order of delivery; no more messages are held than configured.

mod queue;
mod run;
mod starts;
mod watched;

pub use starts::OnEvent;

use crate::{
    error::Error,
    inbox::{HandlerError, Inbox},
};
use futures_util::FutureExt;
use run::{Handles, Verdict};
use sagaz_core::{
    Event,
    broker::Subscriber,
    observe::{ConsumerEvent, Observer},
    store::{Handled, InboxStore},
};
use std::{
    collections::BTreeSet, fmt, panic::AssertUnwindSafe, pin::Pin, sync::Arc, time::Duration,
};
use tokio::sync::watch;
use watched::Watched;

/// Handles the messages of a subscription.
///
/// ```no_run
/// # async fn example<U: sagaz_core::broker::Subscriber>(subscriber: U) -> Result<(), Box<dyn std::error::Error>> {
/// # use sagaz_core::store::memory::Memory;
/// use sagaz_outbox::{Consumer, Inbox};
///
/// # let store = Memory::new();
/// let inbox = Inbox::builder(store, "read-model").build()?;
/// let consumer = Consumer::new(subscriber);
/// let stop = consumer.stop_handle();
/// let running = tokio::spawn(consumer.run(inbox, |event, tx| {
///     Box::pin(async move {
///         let order: u64 = event.decode()?;
///         tx.set(format!("order-{order}"), event.event_type());
///         Ok(())
///     })
/// }));
/// // ..
/// stop.stop();
/// running.await??;
/// # Ok(())
/// # }
/// ```
#[must_use = "it does nothing until it runs"]
pub struct Consumer<U> {
    subscriber: U,
    config: Config,
    observers: Vec<Arc<dyn Observer>>,
    stop: watch::Sender<bool>,
}

#[derive(Clone, Debug)]
struct Config {
    keys_max: usize,
    held_max: usize,
    only: Option<BTreeSet<String>>,
    retries_interval: Duration,
    shutdown_grace: Duration,
}

/// Stops a consumer: [`Consumer::stop_handle`].
#[derive(Clone, Debug)]
pub struct StopHandle(watch::Sender<bool>);

impl StopHandle {
    /// Nothing new is begun, and what is being handled may end: then [`run`](Consumer::run) returns.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl<U: Subscriber> Consumer<U> {
    /// A consumer of these messages.
    pub fn new(subscriber: U) -> Self {
        Self {
            subscriber,
            config: Config {
                keys_max: 64,
                held_max: 256,
                only: None,
                retries_interval: Duration::from_secs(5),
                shutdown_grace: Duration::from_secs(10),
            },
            observers: Vec::new(),
            stop: watch::Sender::new(false),
        }
    }

    /// How many keys are handled side by side at most. Default 64.
    pub fn keys_max(mut self, keys: usize) -> Self {
        self.config.keys_max = keys.max(1);
        self
    }

    /// How many messages are held at most, those that wait for others of their keys included. Default 256.
    pub fn held_max(mut self, messages: usize) -> Self {
        self.config.held_max = messages.max(1);
        self
    }

    /// Only events of these types; others are acknowledged and skipped. Default: all.
    pub fn only<T: Into<String>>(mut self, types: impl IntoIterator<Item = T>) -> Self {
        self.config.only = Some(types.into_iter().map(Into::into).collect());
        self
    }

    /// How often the store is asked for dead letters that an operator gave back. Default 5 s.
    pub fn retries_interval(mut self, interval: Duration) -> Self {
        self.config.retries_interval = interval.max(Duration::from_millis(1));
        self
    }

    /// How long what is being handled may take once the consumer is stopped. Default 10 s.
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.config.shutdown_grace = grace;
        self
    }

    /// Is told what the consumer does, beside other observers and that of the process.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// To stop it from elsewhere.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(self.stop.clone())
    }

    /// Handles every event through an inbox, until the consumer is stopped. Dropped, what is being handled is rolled back and
    /// delivered again.
    ///
    /// # Errors
    ///
    /// The broker or the store cannot be used at all. What was not acknowledged is delivered again.
    #[expect(
        clippy::manual_async_fn,
        reason = "so that it is said here that it may be moved between threads"
    )]
    pub fn run<S, F>(
        self,
        inbox: Inbox<S>,
        handler: F,
    ) -> impl Future<Output = Result<(), Error>> + Send
    where
        S: InboxStore,
        F: for<'a> Fn(&'a Event, &'a mut S::Tx) -> Handling<'a> + Send + Sync,
    {
        async move {
            let name = inbox.consumer().to_owned();
            let watched = Watched::new(&self, name, Some(inbox.system()));
            let through = ThroughInbox { inbox, handler };
            run::run(self, &watched, &through).await
        }
    }

    /// Takes events of one type alone, whose data is a `T`, as JSON: see [`OnEvent::starts`].
    pub fn on_event<T>(self, event_type: impl Into<String>) -> OnEvent<U, T> {
        OnEvent::new(self.only([event_type]))
    }
}

/// What a handler of a [`Consumer`] gives: `Box::pin(async move { .. })`. It is boxed because only so can be said that it may be
/// moved between threads.
pub type Handling<'a> = Pin<Box<dyn Future<Output = Result<(), HandlerError>> + Send + 'a>>;

struct ThroughInbox<S, F> {
    inbox: Inbox<S>,
    handler: F,
}

impl<S, F> ThroughInbox<S, F>
where
    S: InboxStore,
    F: for<'a> Fn(&'a Event, &'a mut S::Tx) -> Handling<'a> + Send + Sync,
{
    async fn through(&self, event: &Event, watched: &Watched) -> Result<Handled, Error> {
        let tell = |event: &ConsumerEvent<'_>| watched.tell(event);
        let mut course = self.inbox.course(event, &tell);
        while let Some(mut tx) = course.begin().await? {
            // It may panic before there is a future.
            let call = async { (self.handler)(event, &mut tx).await };
            let called = AssertUnwindSafe(call).catch_unwind().await;
            if let Some(handled) = course.end(tx, called).await? {
                return Ok(handled);
            }
        }
        Ok(Handled::Duplicate)
    }
}

impl<S, F> Handles for ThroughInbox<S, F>
where
    S: InboxStore,
    F: for<'a> Fn(&'a Event, &'a mut S::Tx) -> Handling<'a> + Send + Sync,
{
    async fn handle(&self, event: &Event, watched: &Watched) -> Result<Verdict, Error> {
        match self.through(event, watched).await {
            Ok(handled) => Ok(Verdict::Over(handled)),
            Err(error) if error.is_refusal() => Ok(Verdict::Refused(error.in_words())),
            Err(error) => Err(error),
        }
    }

    async fn retries(&self) -> Result<Vec<Event>, Error> {
        self.inbox.retries(100).await
    }

    async fn prune(&self) -> Result<(), Error> {
        self.inbox.prune().await.map(|_| ())
    }

    fn prune_interval(&self) -> Option<Duration> {
        Some(self.inbox.prune_interval())
    }
}

impl<U> fmt::Debug for Consumer<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
