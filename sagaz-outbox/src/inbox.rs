//! The inbox: what a consumer's handler writes is there once, however often an event is delivered.
//!
//! Invariants: what a handler writes is committed together with the record of its event; an event that cannot be handled is
//! kept as a dead letter before anybody is told that it need not be delivered again.

use crate::error::{Error, words};
use futures_util::FutureExt;
use sagaz_core::{
    Event, Retry,
    store::{Begun, CommitError, Finished, InboxStore, StoreError},
};
use std::{
    any::Any,
    error::Error as StdError,
    fmt,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::sleep;

/// What a handler fails with. Any error becomes one with `?`; [`Permanent`] says that trying again is no use.
pub type HandlerError = Box<dyn StdError + Send + Sync>;

/// An error of a handler that is the same however often the event is handled: it becomes a dead letter at once.
///
/// ```
/// use sagaz_outbox::{HandlerError, Permanent};
///
/// fn check(quantity: i64) -> Result<(), HandlerError> {
///     if quantity < 0 {
///         return Err(Permanent::new("an order of less than nothing").into());
///     }
///     Ok(())
/// }
/// # assert!(check(-1).is_err());
/// ```
#[derive(Debug)]
pub struct Permanent(HandlerError);

impl Permanent {
    /// From an error or from words.
    pub fn new(error: impl Into<HandlerError>) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for Permanent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Permanent {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Handled {
    /// The handler's writes are stored.
    Done,
    /// It was handled before, or given up: nothing is done.
    Duplicate,
    /// The handler failed for good: the event is a dead letter.
    Dead,
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
        let mut course = self.course(event);
        while let Some(mut tx) = course.begin().await? {
            let called = AssertUnwindSafe(handler.clone()(&mut tx))
                .catch_unwind()
                .await;
            if let Some(handled) = course.end(tx, called).await? {
                return Ok(handled);
            }
        }
        Ok(Handled::Duplicate)
    }

    /// The handling of an event, in parts.
    pub(crate) fn course<'c>(&'c self, event: &'c Event) -> Course<'c, S> {
        Course {
            inbox: self,
            event,
            attempts: 0,
            troubles: Troubles::default(),
        }
    }

    async fn ask(&self, event: &Event) -> Result<bool, StoreError> {
        let inner = &self.inner;
        let id = event.event_id();
        inner.store.is_handled(&inner.consumer, id).await
    }

    async fn is_handled(&self, event: &Event) -> Result<bool, Error> {
        let mut troubles = Troubles::default();
        loop {
            match self.ask(event).await {
                Ok(is_handled) => return Ok(is_handled),
                Err(error) => troubles.wait(error).await?,
            }
        }
    }

    async fn bury(&self, event: &Event, attempts: u32, error: &str) -> Result<(), Error> {
        let inner = &self.inner;
        let mut troubles = Troubles::default();
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

/// The handling of one event: attempts, and what went wrong so far.
pub(crate) struct Course<'c, S> {
    inbox: &'c Inbox<S>,
    event: &'c Event,
    attempts: u32,
    troubles: Troubles,
}

/// What a handler came back with, if it did not panic.
type Called = Result<Result<(), HandlerError>, Box<dyn Any + Send>>;

impl<S: InboxStore> Course<'_, S> {
    /// The transaction of an attempt; `None` if the event was handled before.
    pub(crate) async fn begin(&mut self) -> Result<Option<S::Tx>, Error> {
        let inner = &self.inbox.inner;
        loop {
            match inner
                .store
                .begin_handling(&inner.consumer, self.event)
                .await
            {
                Ok(Begun::New(tx)) => return Ok(Some(tx)),
                Ok(_) => {
                    inner.counters.duplicates.fetch_add(1, Ordering::Relaxed);
                    return Ok(None);
                }
                Err(error) => self.troubles.wait(error).await?,
            }
        }
    }

    /// The handler was called; `None` if it is to be called once more.
    pub(crate) async fn end(
        &mut self,
        tx: S::Tx,
        called: Called,
    ) -> Result<Option<Handled>, Error> {
        let (store, counters) = (&self.inbox.inner.store, &self.inbox.inner.counters);
        let handled = called.unwrap_or_else(|panic| Err(panicked(&*panic).into()));
        let error = match handled {
            Ok(()) => match store.finish_handling(tx).await {
                Ok(Finished::Handled) => {
                    counters.handled.fetch_add(1, Ordering::Relaxed);
                    return Ok(Some(Handled::Done));
                }
                Ok(_) => {
                    counters.duplicates.fetch_add(1, Ordering::Relaxed);
                    return Ok(Some(Handled::Duplicate));
                }
                Err(CommitError::InDoubt(error)) => {
                    self.troubles.wait(error).await?;
                    if !self.inbox.is_handled(self.event).await? {
                        return Ok(None);
                    }
                    counters.handled.fetch_add(1, Ordering::Relaxed);
                    return Ok(Some(Handled::Done));
                }
                Err(CommitError::RolledBack(error)) if error.is_transient() => {
                    self.troubles.wait(error).await?;
                    return Ok(None);
                }
                // Something that the handler wrote is unacceptable.
                Err(CommitError::RolledBack(error)) => error.into(),
            },
            Err(error) => {
                drop(tx);
                error
            }
        };
        self.failed(error).await
    }

    async fn failed(&mut self, error: HandlerError) -> Result<Option<Handled>, Error> {
        if is_transient(&*error) {
            let error = StoreError::transient(words(&*error));
            self.troubles.wait(error).await?;
            return Ok(None);
        }
        let Inner {
            counters, retry, ..
        } = &*self.inbox.inner;
        // A handler fails as well when its store does, which is no fault of the event.
        if let Err(error) = self.inbox.ask(self.event).await {
            self.troubles.wait(error).await?;
            return Ok(None);
        }
        counters.failed.fetch_add(1, Ordering::Relaxed);
        self.attempts += 1;
        if !error.is::<Permanent>() && retry.again_after(self.attempts) {
            sleep(retry.delay(self.attempts, fastrand::f64())).await;
            return Ok(None);
        }
        let words = words(&*error);
        self.inbox.bury(self.event, self.attempts, &words).await?;
        counters.dead.fetch_add(1, Ordering::Relaxed);
        Ok(Some(Handled::Dead))
    }
}

/// Waits while a store fails, longer each time.
#[derive(Default)]
struct Troubles(u32);

impl Troubles {
    async fn wait(&mut self, error: StoreError) -> Result<(), Error> {
        const BACKOFF: Retry = Retry {
            attempts: None,
            initial: Duration::from_millis(20),
            max: Duration::from_secs(5),
            ..Retry::BACKOFF
        };
        if !error.is_transient() {
            return Err(error.into());
        }
        self.0 = self.0.saturating_add(1);
        sleep(BACKOFF.delay(self.0, fastrand::f64())).await;
        Ok(())
    }
}

/// Whether the store is the cause, and only for now.
fn is_transient(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let own = error
            .downcast_ref::<Error>()
            .is_some_and(Error::is_transient);
        let of_store = error.downcast_ref::<StoreError>();
        if own || of_store.is_some_and(StoreError::is_transient) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let words = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", words.unwrap_or("without words"))
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
