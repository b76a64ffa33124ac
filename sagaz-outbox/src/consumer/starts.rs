//! Consumers that start a saga for each event of a type.
//!
//! Invariant: the event's id is in the start key, so that one that is delivered again starts nothing.

use super::{
    Consumer,
    run::{self, Handles, Verdict},
    watched::Watched,
};
use crate::error::Error;
use sagaz_core::{
    Engine, Event, Retry, RunsOn,
    broker::Subscriber,
    observe::{ConsumerEvent, Observers, TraceContext},
    store::{Handled, Store},
};
use serde::de::DeserializeOwned;
use std::{
    fmt,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};
use tokio::time::sleep;

/// A consumer of events of one type: [`Consumer::on_event`].
#[must_use = "it does nothing until it runs"]
pub struct OnEvent<U, T> {
    consumer: Consumer<U>,
    data: PhantomData<fn() -> T>,
}

impl<U, T> OnEvent<U, T> {
    pub(super) fn new(consumer: Consumer<U>) -> Self {
        Self {
            consumer,
            data: PhantomData,
        }
    }
}

impl<U: Subscriber, T: DeserializeOwned> OnEvent<U, T> {
    /// Starts an instance of the saga `G` for every event, until the consumer is stopped. An event that is delivered again starts
    /// nothing, as long as the instance is kept: an engine with a retention keeps instances longer than events may be delivered
    /// again. As with an [inbox](crate::Inbox), events of all sources are told apart by their ids alone.
    ///
    /// An event whose data is no `T`, or makes no input but a panic, or that the engine refuses, goes to the dead letters of the broker.
    ///
    /// # Errors
    ///
    /// The saga is not registered with the engine, the engine is shutting down, or the broker or the store cannot be used at all. What was not acknowledged is delivered
    /// again.
    pub async fn starts<G: RunsOn<S>, S: Store>(self, engine: &Engine<S>) -> Result<(), Error>
    where
        G::Input: From<T>,
    {
        // No event is to blame for an engine that does not know the saga.
        if let Err(error) = engine.find::<G>("event:").await
            && error.is_invalid()
        {
            return Err(error.into());
        }
        let starts: Starts<'_, G, S, T> = Starts {
            engine,
            of: PhantomData,
        };
        let watched = Watched::new(&self.consumer, G::DEFINITION.name.to_owned(), None);
        run::run(self.consumer, &watched, &starts).await
    }
}

struct Starts<'e, G, S: Store, T> {
    engine: &'e Engine<S>,
    of: PhantomData<fn() -> (G, T)>,
}

impl<G: RunsOn<S>, S: Store, T: DeserializeOwned> Handles for Starts<'_, G, S, T>
where
    G::Input: From<T>,
{
    async fn handle(&self, event: &Event, watched: &Watched) -> Result<Verdict, Error> {
        const BACKOFF: Retry = Retry {
            attempts: None,
            max: Duration::from_secs(5),
            ..Retry::BACKOFF
        };
        let mut troubles = 0;
        loop {
            let read = AssertUnwindSafe(|| event.decode::<T>().map(G::Input::from));
            let input = match catch_unwind(read) {
                Ok(Ok(input)) => input,
                // Its words may have what is in the event.
                Ok(Err(error)) => return Ok(Verdict::Refused(error.without_values())),
                Err(_) => {
                    let words = "reading the data as the saga's input panicked".to_owned();
                    return Ok(Verdict::Refused(words));
                }
            };
            let key = format!("event:{}", event.event_id());
            let mut start = self.engine.start::<G>(input).key(key);
            // Where no trace is kept of the handling, the event's goes on.
            if Observers::current_trace().is_none()
                && let Some(trace) = TraceContext::of(event)
            {
                start = start.trace(trace);
            }
            match start.await {
                Ok(_) => return Ok(Verdict::Over(Handled::Done)),
                Err(error) if error.is_transient() => {
                    watched.tell(&ConsumerEvent::StoreFailed { error: &error });
                    troubles += 1;
                    sleep(BACKOFF.delay(troubles, fastrand::f64())).await;
                }
                Err(error)
                    if error.is_invalid() || error.is_conflict() || error.is_undecodable() =>
                {
                    let words = if error.is_undecodable() {
                        "the saga's input cannot be serialized".to_owned()
                    } else {
                        error.to_string()
                    };
                    return Ok(Verdict::Refused(words));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl<U, T> fmt::Debug for OnEvent<U, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnEvent")
            .field("consumer", &self.consumer)
            .finish_non_exhaustive()
    }
}
