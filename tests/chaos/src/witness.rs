//! A subscriber that is not disturbed: it has all events in the order in which the broker gives them.

use crate::{audit::Delivery, broker, order::Step, sagas::Told};
use sagaz::{
    Event,
    broker::{Broker, Subscriber},
    brokers::AnySubscriber,
};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::sleep;

/// The name of its group.
const GROUP: &str = "witness";

#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) malformed: Vec<String>,
    ids: HashSet<String>,
    marks: HashSet<String>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Witness(Arc<Mutex<Seen>>);

impl Witness {
    /// Begins to listen: what is published from now on is kept for it.
    pub(crate) async fn start(url: &str) -> Result<Self, crate::place::AnyError> {
        let subscriber = broker::subscribe(url, GROUP).await?;
        let witness = Self::default();
        tokio::spawn(witness.clone().listen(url.to_owned(), subscriber));
        Ok(witness)
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many different events came.
    pub(crate) fn events(&self) -> usize {
        self.seen().ids.len()
    }

    /// Whether a mark came, and so all that was published before it.
    pub(crate) fn has_seen(&self, mark: &str) -> bool {
        self.seen().marks.contains(mark)
    }

    async fn listen(self, url: String, mut subscriber: AnySubscriber) {
        loop {
            match subscriber.receive().await {
                Ok(delivery) => {
                    self.take(delivery.event);
                    // It comes again otherwise, and is known by its id.
                    let _ = subscriber.ack(delivery.receipt).await;
                }
                Err(error) if error.is_misuse() => {
                    sleep(Duration::from_millis(500)).await;
                    if let Ok(again) = broker::subscribe(&url, GROUP).await {
                        subscriber = again;
                    }
                }
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    fn take(&self, event: Result<Event, sagaz::broker::Malformed>) {
        let mut seen = self.seen();
        if let Ok(event) = &event
            && event.event_type() == broker::MARK
        {
            seen.marks.insert(event.event_id().to_string());
            return;
        }
        match event
            .map_err(|malformed| malformed.reason)
            .and_then(|event| read(&event))
        {
            Ok(delivery) => {
                seen.ids.insert(delivery.event.clone());
                seen.deliveries.push(delivery);
            }
            Err(why) => seen.malformed.push(why),
        }
    }
}

/// An event of this run.
fn read(event: &Event) -> Result<Delivery, String> {
    let (step, what) = event
        .event_type()
        .split_once('.')
        .ok_or_else(|| format!("its type is `{}`", event.event_type()))?;
    let told: Told = event.decode().map_err(|error| error.to_string())?;
    Ok(Delivery {
        event: event.event_id().to_string(),
        key: event.ordering_key().unwrap_or_default().to_owned(),
        id: event.saga_id().ok_or("it is of no instance")?,
        step: Step::parse(step).ok_or_else(|| format!("there is no step `{step}`"))?,
        undo: what == "undone",
        serial: told.serial,
    })
}

/// Whether the broker can be reached; for those who wait for it.
pub(crate) async fn is_healthy(url: &str) -> bool {
    match broker::connect(url).await {
        Ok(broker) => broker.health().await.is_ok(),
        Err(_) => false,
    }
}
