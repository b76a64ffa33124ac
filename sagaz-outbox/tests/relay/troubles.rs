//! Brokers and stores that fail.

use crate::fixture::Fixture;
use sagaz_brokers::memory::{Fault, MemoryBroker};
use sagaz_core::{
    Event, Retry, System,
    broker::{Broker, BrokerError},
    observe::{Observer, PublisherEvent, PublisherIdentity},
    store::fault::{Call, Fault as StoreFault},
};
use sagaz_outbox::Relay;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn a_broker_that_cannot_be_reached_counts_for_no_event() {
    let fixture = Fixture::new();
    fixture
        .broker
        .faults()
        .on_event(|_| Some(Fault::Unavailable));
    let once = Retry {
        attempts: Some(1),
        ..Retry::BACKOFF
    };
    let relay = fixture.relay().retry(once).start().await.unwrap();
    for number in 0..10 {
        fixture.append("a", number).await;
    }
    sleep(Duration::from_mins(10)).await;
    let tries = fixture.broker.faults().count();
    assert!(
        (100..500).contains(&tries),
        "with waits of up to 5 s: {tries}"
    );
    fixture.broker.faults().clear();
    let began = Instant::now();
    fixture.until_empty().await;
    assert!(began.elapsed() < Duration::from_secs(6));
    assert_eq!(fixture.published_of("a"), (0..10).collect::<Vec<_>>());
    assert_eq!(fixture.outbox.stats().await.unwrap().dead, 0);
    relay.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_confirms_nothing_kills_no_event() {
    let fixture = Fixture::new();
    fixture
        .broker
        .faults()
        .on_event(|_| Some(Fault::TimeOutBefore));
    let once = Retry {
        attempts: Some(1),
        ..Retry::BACKOFF
    };
    let relay = fixture.relay().retry(once).start().await.unwrap();
    fixture.append("a", 1).await;
    sleep(Duration::from_mins(10)).await;
    assert_eq!(fixture.outbox.stats().await.unwrap().dead, 0);
    fixture.broker.faults().clear();
    fixture.until_empty().await;
    assert_eq!(fixture.published_of("a"), [1]);
    relay.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_events_fail_holds_up_no_other() {
    let fixture = Fixture::new();
    fixture
        .broker
        .faults()
        .on_event(|event| (event.ordering_key() == Some("poison")).then_some(Fault::TimeOutBefore));
    let relay = fixture.relay().start().await.unwrap();
    fixture.append("poison", 0).await;
    for number in 0..100 {
        let began = Instant::now();
        fixture.append("good", number).await;
        let is_there = async || fixture.published_of("good").len() > number as usize;
        fixture.until("it is published", is_there).await;
        assert!(
            began.elapsed() < Duration::from_millis(100),
            "{:?}",
            began.elapsed()
        );
    }
    relay.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_asked_again_and_nothing_is_lost() {
    let fixture = Fixture::new();
    let relay = fixture.relay().start().await.unwrap();
    for call in [Call::Fetch, Call::Mark, Call::Attend] {
        for nth in (1..200).step_by(3) {
            fixture
                .store
                .faults()
                .plan(call, nth, StoreFault::FailBefore);
            fixture
                .store
                .faults()
                .plan(call, nth + 1, StoreFault::FailAfter);
        }
    }
    for number in 0..100 {
        fixture.append("a", number).await;
        fixture.append("b", number).await;
    }
    fixture.until_empty().await;
    assert_eq!(fixture.published_of("a"), (0..100).collect::<Vec<_>>());
    assert_eq!(fixture.published_of("b"), (0..100).collect::<Vec<_>>());
    relay.shutdown().await;
}

#[derive(Default)]
struct Peak {
    events: AtomicUsize,
    published: AtomicU32,
}

impl Observer for Peak {
    fn publisher(&self, _: &PublisherIdentity, event: &PublisherEvent<'_>) {
        match event {
            PublisherEvent::Load { events, .. } => {
                self.events.fetch_max(*events, Ordering::Relaxed);
            }
            PublisherEvent::Published { .. } => {
                let before = self.published.fetch_add(1, Ordering::Relaxed);
                assert!(before > 0, "an observer that panics harms nobody");
            }
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p12_a_backlog_stays_in_the_store() {
    let fixture = Fixture::new();
    for number in 0..3_000 {
        fixture.append(&format!("key-{}", number % 7), number).await;
        fixture.append("hot", number).await;
    }
    let peak = Arc::new(Peak::default());
    let relay = fixture.relay().events_max(100).observer(peak.clone());
    let relay = relay.start().await.unwrap();
    fixture.until_empty().await;
    assert_eq!(fixture.published_of("hot"), (0..3_000).collect::<Vec<_>>());
    assert_eq!(fixture.published().len(), 6_000, "each goes out once");
    assert_eq!(peak.published.load(Ordering::Relaxed), 6_000);
    let most = peak.events.load(Ordering::Relaxed);
    assert!((10..=100).contains(&most), "{most}");
    relay.shutdown().await;
}

/// Panics in its first call, where there is no future yet.
struct Panics {
    broker: MemoryBroker,
    calls: AtomicU32,
}

impl System for Panics {
    fn system(&self) -> &'static str {
        "memory"
    }
}

impl Broker for Panics {
    fn publish(
        &self,
        batch: &[Event],
    ) -> impl Future<Output = Vec<Result<(), BrokerError>>> + Send {
        assert!(self.calls.fetch_add(1, Ordering::Relaxed) > 0, "oh");
        self.broker.publish(batch)
    }

    fn health(&self) -> impl Future<Output = Result<(), BrokerError>> + Send {
        self.broker.health()
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_panics_has_confirmed_nothing_and_is_asked_again() {
    let fixture = Fixture::new();
    let broker = Panics {
        broker: fixture.broker.clone(),
        calls: AtomicU32::new(0),
    };
    let relay = Relay::builder(fixture.store.clone(), broker);
    let relay = relay.start().await.unwrap();
    fixture.append("a", 1).await;
    fixture.until_empty().await;
    assert_eq!(fixture.published_of("a"), [1]);
    relay.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_takes_nothing_holds_up_no_other() {
    let fixture = Fixture::new();
    // A queue that is full, say.
    fixture.broker.faults().on_event(|event| {
        let key = event.ordering_key().unwrap_or_default();
        key.starts_with("full").then_some(Fault::Unavailable)
    });
    for number in 0..300 {
        fixture.append(&format!("full-{number}"), number).await;
    }
    let relay = fixture.relay().events_max(100).batch_max(32);
    let relay = relay.start().await.unwrap();
    for number in 0..100 {
        fixture.append("a", number).await;
    }
    let began = Instant::now();
    let are_out = async || fixture.published_of("a").len() == 100;
    fixture.until("the others are published", are_out).await;
    assert!(began.elapsed() < Duration::from_mins(2));
    fixture.broker.faults().clear();
    fixture.until_empty().await;
    assert_eq!(fixture.published().len(), 400);
    assert_eq!(fixture.outbox.stats().await.unwrap().dead, 0);
    relay.shutdown().await;
}
