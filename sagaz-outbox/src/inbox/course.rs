//! The handling of one event, from its first attempt to its end.
//!
//! Invariant: only what a handler does wrong counts as an attempt; what the store does wrong is waited for.

use super::{HandlerError, Inbox, Inner, Permanent};
use crate::error::{Error, words};
use sagaz_core::{
    Event, Retry,
    observe::ConsumerEvent,
    store::{Begun, CommitError, Finished, Handled, InboxStore, StoreError},
};
use std::{any::Any, error::Error as StdError, fmt, sync::atomic::Ordering, time::Duration};
use tokio::time::sleep;

/// The handling of one event: attempts, and what went wrong so far.
pub(crate) struct Course<'c, S> {
    inbox: &'c Inbox<S>,
    event: &'c Event,
    tell: Tell<'c>,
    attempts: u32,
    troubles: Troubles<'c>,
}

/// What a handler came back with, if it did not panic.
type Called = Result<Result<(), HandlerError>, Box<dyn Any + Send>>;

impl<'c, S: InboxStore> Course<'c, S> {
    pub(super) fn new(inbox: &'c Inbox<S>, event: &'c Event, tell: Tell<'c>) -> Self {
        Self {
            inbox,
            event,
            tell,
            attempts: 0,
            troubles: Troubles::new(tell),
        }
    }

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
                    if !self.inbox.is_handled(self.event, self.tell).await? {
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
        (self.tell)(&ConsumerEvent::Failed {
            event_type: self.event.event_type(),
            attempts: self.attempts,
            error: Permanent::cause(&error),
        });
        if !error.is::<Permanent>() && retry.again_after(self.attempts) {
            sleep(retry.delay(self.attempts, fastrand::f64())).await;
            return Ok(None);
        }
        let words = match error.downcast_ref::<Panicked>() {
            Some(Panicked(panic)) => format!("{error}: {panic}"),
            None => words(&*error),
        };
        self.inbox
            .bury(self.event, self.attempts, &words, self.tell)
            .await?;
        counters.dead.fetch_add(1, Ordering::Relaxed);
        Ok(Some(Handled::Dead))
    }
}

/// Is told of what fails.
pub(crate) type Tell<'c> = &'c (dyn Fn(&ConsumerEvent<'_>) + Send + Sync);

/// Waits while a store fails, longer each time, and says so.
pub(super) struct Troubles<'c> {
    tell: Tell<'c>,
    count: u32,
}

impl<'c> Troubles<'c> {
    pub(super) fn new(tell: Tell<'c>) -> Self {
        Self { tell, count: 0 }
    }

    pub(super) async fn wait(&mut self, error: StoreError) -> Result<(), Error> {
        const BACKOFF: Retry = Retry {
            attempts: None,
            initial: Duration::from_millis(20),
            max: Duration::from_secs(5),
            ..Retry::BACKOFF
        };
        if !error.is_transient() {
            return Err(error.into());
        }
        (self.tell)(&ConsumerEvent::StoreFailed { error: &error });
        self.count = self.count.saturating_add(1);
        sleep(BACKOFF.delay(self.count, fastrand::f64())).await;
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

/// What a handler panicked with. Its words may have anything in them, so they are stored with the dead letter and told to nobody.
#[derive(Debug)]
struct Panicked(String);

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the handler panicked")
    }
}

impl StdError for Panicked {}

fn panicked(panic: &(dyn Any + Send)) -> Panicked {
    let words = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Panicked(words.unwrap_or("without words").to_owned())
}
