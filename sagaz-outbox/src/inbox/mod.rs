//! The inbox: what a consumer's handler writes is there once, however often an event is delivered.
//!
//! Invariants: what a handler writes is committed together with the record of its event; an event that cannot be handled is
//! kept as a dead letter before anybody is told that it need not be delivered again.

mod course;
mod handler;

pub use handler::{HandlerError, Permanent};

use crate::error::Error;
use course::{Course, Tell, Troubles};
use futures_util::FutureExt;
use sagaz_core::{
    Event, Retry,
    observe::{ConsumerEvent, ConsumerIdentity, End, Observers, Scoping, Work},
    store::{Handled, InboxStore, StoreError},
};
use std::{
    fmt,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// How the handling of an event ended.
pub(crate) fn end_of(handled: Handled) -> End<'static> {
    match handled {
        Handled::Dead => End::ill("dead", &"it is a dead letter"),
        _ => End::well(handled.as_str()),
    }
}

/// How many events met which end, since the inbox was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InboxCounts {
    /// Handled.
    pub handled: u64,
    /// Delivered again after they had been handled.
    pub duplicates: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Given up.
    pub dead: u64,
}

#[derive(Debug, Default)]
struct Counters {
    handled: AtomicU64,
    duplicates: AtomicU64,
    failed: AtomicU64,
    dead: AtomicU64,
}

/// Records which events a consumer has handled, in the transactions that their handlers write in. A clone is the same inbox.
///
/// ```
/// use sagaz_core::{Event, store::memory::Memory};
/// use sagaz_outbox::{Handled, Inbox};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let inbox = Inbox::builder(Memory::new(), "read-model").build()?;
/// let event = Event::new("order.placed", &17).source("/shop").key("order-17");
/// for expected in [Handled::Done, Handled::Duplicate] {
///     let handled = inbox.handle(&event, async |tx| {
///         tx.set("order-17", "placed");
///         Ok(())
///     });
///     assert_eq!(handled.await?, expected);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Events are told apart by their ids alone. A consumer of several sources has to be sure that no two of them give the same id to
/// different events, as sources with counters do: the second one would count as a duplicate.
///
/// Events that a handler publishes go to the outbox with [`Outbox::append`](crate::Outbox::append) in the same transaction, and
/// are published if and only if it commits.
pub struct Inbox<S> {
    inner: Arc<Inner<S>>,
}

struct Inner<S> {
    store: S,
    consumer: String,
    retry: Retry,
    retention: Duration,
    counters: Counters,
    observers: Option<Observers>,
}

/// Configures an [`Inbox`]: [`Inbox::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct InboxBuilder<S> {
    store: S,
    consumer: String,
    retry: Retry,
    retention: Duration,
    redelivered_for: Duration,
}

impl<S: InboxStore> InboxBuilder<S> {
    /// How often a handler is called for an event before that is a dead letter, and when. Default: 10 times, with waits from
    /// 200 ms to 30 s. The key of the event waits meanwhile. A store that fails counts as no attempt.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// How long it is remembered which events were handled. Default 14 days.
    pub fn retention(mut self, age: Duration) -> Self {
        self.retention = age;
        self
    }

    /// How long after its first delivery an event may be delivered again: what the broker keeps, with its dead letters, and what
    /// the relay's archive keeps for events to be published once more. Default 7 days.
    pub fn redelivered_for(mut self, horizon: Duration) -> Self {
        self.redelivered_for = horizon;
        self
    }

    /// The inbox.
    ///
    /// # Errors
    ///
    /// An event that comes again when its record is gone is handled again. So a retention that is not longer than events may be
    /// delivered again is refused.
    pub fn build(self) -> Result<Inbox<S>, Error> {
        if self.consumer.is_empty() {
            return Err(Error::invalid("a consumer needs a name for its inbox"));
        }
        if self.retention <= self.redelivered_for {
            return Err(Error::invalid(format!(
                "the inbox of `{}` forgets events after {:?}, and they may be delivered again for {:?}: make `retention` longer",
                self.consumer, self.retention, self.redelivered_for
            )));
        }
        Ok(Inbox {
            inner: Arc::new(Inner {
                store: self.store,
                consumer: self.consumer,
                retry: self.retry,
                retention: self.retention,
                counters: Counters::default(),
                observers: Observers::with_default(Vec::new()),
            }),
        })
    }
}

impl<S: InboxStore> Inbox<S> {
    /// Configures the inbox of a consumer. Its name stays the same for ever: what was handled is recorded under it.
    pub fn builder(store: S, consumer: impl Into<String>) -> InboxBuilder<S> {
        const DAY: Duration = Duration::from_hours(24);
        InboxBuilder {
            store,
            consumer: consumer.into(),
            retry: Retry {
                attempts: Some(10),
                ..Retry::BACKOFF
            },
            retention: 14 * DAY,
            redelivered_for: 7 * DAY,
        }
    }

    /// The name of the consumer.
    #[must_use]
    pub fn consumer(&self) -> &str {
        &self.inner.consumer
    }

    /// How many events met which end.
    #[must_use]
    pub fn counts(&self) -> InboxCounts {
        let counters = &self.inner.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        InboxCounts {
            handled: read(&counters.handled),
            duplicates: read(&counters.duplicates),
            failed: read(&counters.failed),
            dead: read(&counters.dead),
        }
    }

    /// Handles an event, unless it was handled before. What `handler` writes in the transaction is committed with the record of
    /// the event; an `Err` or a panic rolls it back, and it is called again, with waits in between, until the event is a dead
    /// letter. While the store fails, this waits. Dropped, nothing is stored of the attempt under way.
    ///
    /// # Errors
    ///
    /// The store cannot be used at all, or cannot keep this event. Nothing is recorded then.
    pub async fn handle<F>(&self, event: &Event, handler: F) -> Result<Handled, Error>
    where
        F: AsyncFnOnce(&mut S::Tx) -> Result<(), HandlerError> + Clone,
    {
        let began = Instant::now();
        let scope = self.begin(event);
        let outcome = scope.around(self.handle_watched(event, handler)).await;
        match &outcome {
            Ok(what) => scope.end(&end_of(*what)),
            Err(error) => scope.end(&End::ill("failed", error)),
        }
        if let (Some(observers), Ok(what)) = (&self.inner.observers, &outcome) {
            let told = ConsumerEvent::Handled {
                event_type: event.event_type(),
                handled: *what,
                took: began.elapsed(),
            };
            observers.consumer(&self.identity(), &told);
        }
        outcome
    }

    /// What its store is.
    pub(crate) fn system(&self) -> &'static str {
        self.inner.store.system()
    }

    fn identity(&self) -> ConsumerIdentity<'_> {
        ConsumerIdentity::new(self.consumer(), None, Some(self.system()))
    }

    fn begin(&self, event: &Event) -> Scoping {
        let handling = Work::Handle {
            broker: None,
            consumer: self.consumer(),
            event,
        };
        Scoping::begin(self.inner.observers.as_ref(), &handling)
    }

    async fn handle_watched<F>(&self, event: &Event, handler: F) -> Result<Handled, Error>
    where
        F: AsyncFnOnce(&mut S::Tx) -> Result<(), HandlerError> + Clone,
    {
        let tell = |event: &ConsumerEvent<'_>| {
            if let Some(observers) = &self.inner.observers {
                observers.consumer(&self.identity(), event);
            }
        };
        let mut course = self.course(event, &tell);
        while let Some(mut tx) = course.begin().await? {
            // It may panic before there is a future.
            let call = async { handler.clone()(&mut tx).await };
            let called = AssertUnwindSafe(call).catch_unwind().await;
            if let Some(handled) = course.end(tx, called).await? {
                return Ok(handled);
            }
        }
        Ok(Handled::Duplicate)
    }

    /// The handling of an event, in parts. Of what fails somebody is told.
    pub(crate) fn course<'c>(&'c self, event: &'c Event, tell: Tell<'c>) -> Course<'c, S> {
        Course::new(self, event, tell)
    }

    async fn ask(&self, event: &Event) -> Result<bool, StoreError> {
        let inner = &self.inner;
        let id = event.event_id();
        inner.store.is_handled(&inner.consumer, id).await
    }

    async fn is_handled(&self, event: &Event, tell: Tell<'_>) -> Result<bool, Error> {
        let mut troubles = Troubles::new(tell);
        loop {
            match self.ask(event).await {
                Ok(is_handled) => return Ok(is_handled),
                Err(error) => troubles.wait(error).await?,
            }
        }
    }

    async fn bury(
        &self,
        event: &Event,
        attempts: u32,
        error: &str,
        tell: Tell<'_>,
    ) -> Result<(), Error> {
        let inner = &self.inner;
        let mut troubles = Troubles::new(tell);
        loop {
            let buried = inner.store.bury(&inner.consumer, event, attempts, error);
            match buried.await {
                Ok(()) => return Ok(()),
                Err(error) => troubles.wait(error).await?,
            }
        }
    }

    /// Events that an operator gave back to this consumer: handle them as any other. They come until that is done. A
    /// [`Consumer`](crate::Consumer) does it by itself.
    pub async fn retries(&self, limit: u32) -> Result<Vec<Event>, Error> {
        let inner = &self.inner;
        Ok(inner.store.retries(&inner.consumer, limit).await?)
    }

    /// Forgets events that were handled longer ago than the retention, some at a time; gives how many. A
    /// [`Consumer`](crate::Consumer) does it by itself.
    pub async fn prune(&self) -> Result<u64, Error> {
        const BATCH: u32 = 1_000;
        let inner = &self.inner;
        let mut pruned = 0;
        loop {
            let batch = inner.store.prune_handled(inner.retention, BATCH).await?;
            pruned += batch;
            if batch < u64::from(BATCH) {
                return Ok(pruned);
            }
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn prune_interval(&self) -> Duration {
        let interval = self.inner.retention / 100;
        interval.clamp(Duration::from_secs(1), Duration::from_mins(1))
    }
}

impl<S> Clone for Inbox<S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<S> fmt::Debug for Inbox<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("consumer", &self.inner.consumer)
            .field("counts", &self.inner.counters)
            .finish_non_exhaustive()
    }
}
