//! Events from a step to the broker and into another saga, on the memory store and the memory broker, in virtual time.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use sagaz::{
    Engine, Event, Memory, StepContext, StepError,
    broker::Broker,
    brokers::{
        Subscription,
        memory::{Fault, MemoryBroker, MemorySubscriber},
    },
    outbox::{Consumer, OnEvent, Optimistic, OptimisticBuilder, Relay},
    prelude::*,
    store::OutboxStore,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};

const TOPIC: &str = "order.changed";

/// Publishes one event a step.
struct Publishing;

#[saga(name = "publishing", input = u32)]
impl Publishing {
    #[step(no_compensation)]
    async fn one(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        Ok(ctx.publish(Event::new(TOPIC, &1))?)
    }

    #[step(depends_on = ["one"], no_compensation)]
    async fn two(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        ctx.publish(Event::new(TOPIC, &2))?;
        Ok(ctx.publish(Event::new(TOPIC, &3))?)
    }

    #[step(depends_on = ["two"], no_compensation)]
    async fn three(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        Ok(ctx.publish(Event::new(TOPIC, &4))?)
    }
}

struct Fixture {
    store: Memory,
    broker: MemoryBroker,
}

impl Fixture {
    fn new() -> Self {
        Self {
            store: Memory::new(),
            broker: MemoryBroker::new(),
        }
    }

    fn optimistic(&self) -> OptimisticBuilder<Memory, MemoryBroker> {
        Optimistic::builder(self.store.clone(), self.broker.clone())
    }

    async fn engine(&self, optimistic: &Arc<Optimistic>) -> Engine<Memory> {
        let engine = Engine::builder(self.store.clone()).after_commit(optimistic.clone());
        engine.register(Publishing).start().await.unwrap()
    }

    async fn relay(&self) -> Relay {
        let relay = Relay::builder(self.store.clone(), self.broker.clone());
        relay.start().await.unwrap()
    }

    async fn run(&self, engine: &Engine<Memory>, instances: u32) {
        let mut handles = Vec::new();
        for input in 0..instances {
            handles.push(engine.start::<Publishing>(input).await.unwrap());
        }
        for handle in handles {
            let outcome = handle.outcome().await.unwrap();
            assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
        }
    }

    async fn until_empty(&self) {
        let is_empty = async || self.store.outbox_stats().await.unwrap().pending == 0;
        until("the outbox is empty", is_empty).await;
    }

    /// What was published of each key, in its order.
    fn published(&self) -> BTreeMap<String, Vec<u32>> {
        let mut published: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for event in self.broker.events(TOPIC) {
            let key = event.ordering_key().unwrap().to_owned();
            published
                .entry(key)
                .or_default()
                .push(event.decode().unwrap());
        }
        published
    }

    fn assert_in_order(&self, instances: usize) {
        let published = self.published();
        assert_eq!(published.len(), instances);
        for (key, numbers) in published {
            let mut first = Vec::new();
            for number in numbers {
                if !first.contains(&number) {
                    first.push(number);
                }
            }
            assert_eq!(first, [1, 2, 3, 4], "{key}");
        }
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let looked = timeout(Duration::from_hours(1), async {
        while !holds().await {
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(looked.await.is_ok(), "never: {what}");
}

#[tokio::test(start_paused = true)]
async fn an_optimistic_sender_publishes_right_after_the_commit() {
    let fixture = Fixture::new();
    let optimistic = Arc::new(fixture.optimistic().start());
    let engine = fixture.engine(&optimistic).await;
    let began = Instant::now();
    fixture.run(&engine, 1).await;
    let is_there = async || !fixture.published().is_empty();
    until("the first is there", is_there).await;
    assert!(
        began.elapsed() < Duration::from_millis(50),
        "{:?}",
        began.elapsed()
    );
    let published = fixture.published().into_values().next().unwrap();
    // No relay runs: each that was the first of its key is there, and none overtook another.
    assert!(
        published.starts_with(&[1]) && published.is_sorted(),
        "{published:?}"
    );
    assert!(
        !published.contains(&3),
        "it was not the first of its key: {published:?}"
    );
    engine.shutdown().await;
    optimistic.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn p11_order_is_kept_between_the_optimistic_sender_and_the_relay() {
    let fixture = Fixture::new();
    let mut rng = fastrand::Rng::with_seed(3);
    fixture
        .broker
        .faults()
        .on_event(move |_| match rng.u8(0..20) {
            0 => Some(Fault::TimeOutBefore),
            1 => Some(Fault::TimeOutAfter),
            2 => Some(Fault::Refuse),
            3..10 => Some(Fault::Delay(Duration::from_millis(rng.u64(0..50)))),
            _ => None,
        });
    let optimistic = Arc::new(fixture.optimistic().start());
    let engine = fixture.engine(&optimistic).await;
    let relay = fixture.relay().await;
    fixture.run(&engine, 300).await;
    fixture.until_empty().await;
    fixture.assert_in_order(300);
    engine.shutdown().await;
    optimistic.shutdown().await;
    relay.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_sender_has_no_room_for_is_the_relays_at_once() {
    let fixture = Fixture::new();
    let optimistic = fixture.optimistic().queue_max(0);
    let optimistic = Arc::new(optimistic.lease(Duration::from_hours(1)).start());
    let engine = fixture.engine(&optimistic).await;
    let relay = fixture.relay().await;
    let began = Instant::now();
    fixture.run(&engine, 20).await;
    fixture.until_empty().await;
    assert!(
        began.elapsed() < Duration::from_mins(1),
        "{:?}",
        began.elapsed()
    );
    fixture.assert_in_order(20);
    engine.shutdown().await;
    relay.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_broker_does_not_confirm_to_a_sender_is_the_relays_at_once() {
    let fixture = Fixture::new();
    let optimistic = fixture.optimistic().lease(Duration::from_hours(1));
    let optimistic = Arc::new(optimistic.start());
    let engine = fixture.engine(&optimistic).await;
    fixture
        .broker
        .faults()
        .on_event(|_| Some(Fault::Unavailable));
    fixture.run(&engine, 20).await;
    let broker = fixture.broker.clone();
    until("it was tried", async || broker.faults().count() >= 20).await;
    fixture.broker.faults().clear();
    let relay = fixture.relay().await;
    let began = Instant::now();
    fixture.until_empty().await;
    assert!(
        began.elapsed() < Duration::from_mins(1),
        "{:?}",
        began.elapsed()
    );
    fixture.assert_in_order(20);
    engine.shutdown().await;
    relay.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn events_of_a_sender_that_died_are_the_relays_when_their_lease_ends() {
    let fixture = Fixture::new();
    let optimistic = Arc::new(fixture.optimistic().start());
    let engine = fixture.engine(&optimistic).await;
    optimistic.shutdown().await;
    fixture.run(&engine, 20).await;
    assert!(fixture.published().is_empty());
    let relay = fixture.relay().await;
    let began = Instant::now();
    fixture.until_empty().await;
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    fixture.assert_in_order(20);
    relay.shutdown().await;
}

#[derive(Serialize, Deserialize)]
struct OrderPlaced {
    order: u64,
}

#[derive(Serialize, Deserialize)]
struct Order(u64);

impl From<OrderPlaced> for Order {
    fn from(placed: OrderPlaced) -> Self {
        Self(placed.order)
    }
}

struct OrderProcessing(Arc<AtomicU32>);

#[saga(name = "order-processing", input = Order)]
impl OrderProcessing {
    #[step(no_compensation)]
    async fn book(&self, order: &Order) -> Result<u64, StepError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(order.0)
    }
}

#[tokio::test(start_paused = true)]
async fn p10_an_event_starts_a_saga_once_however_often_it_is_delivered() {
    let broker = MemoryBroker::new();
    let runs = Arc::new(AtomicU32::new(0));
    let engine = Engine::builder(Memory::new()).register(OrderProcessing(Arc::clone(&runs)));
    let engine = engine.start().await.unwrap();
    let subscription = Subscription::new("orders", ["order.placed", "order.changed"]);
    let consumer = Consumer::new(broker.subscribe(subscription).unwrap());
    let stop = consumer.stop_handle();
    let consumer = consumer.on_event::<OrderPlaced>("order.placed");
    let of = engine.clone();
    let running = tokio::spawn(async move { consumer.starts::<OrderProcessing, _>(&of).await });

    let event = |order| {
        Event::new("order.placed", &OrderPlaced { order })
            .source("/shop")
            .key(order)
    };
    let (one, other) = (event(7), event(8));
    let no_order = Event::new("order.placed", &"what").source("/shop").key("x");
    let of_another_type = Event::new("order.changed", &1).source("/shop").key(7);
    for event in [&one, &no_order, &one, &of_another_type, &other, &one] {
        let results = broker.publish(std::slice::from_ref(event)).await;
        assert!(results[0].is_ok());
    }
    let key = format!("event:{}", other.event_id());
    let is_there = async || {
        engine
            .find::<OrderProcessing>(key.as_str())
            .await
            .unwrap()
            .is_some()
    };
    until("the last is there", is_there).await;
    let is_empty = async || broker.events("order.placed").is_empty();
    until("all are acknowledged", is_empty).await;
    let key = format!("event:{}", one.event_id());
    let find = engine.find::<OrderProcessing>(&key);
    let outcome = find.await.unwrap().unwrap().outcome().await.unwrap();
    assert!(matches!(outcome, Outcome::Completed(_)));
    until("both have run", async || runs.load(Ordering::Relaxed) == 2).await;
    assert_eq!(
        broker.events("order.placed.dead").len(),
        1,
        "the one that is no order"
    );
    stop.stop();
    running.await.unwrap().unwrap();
    engine.shutdown().await;
}

/// An order that cannot be read from every event, nor stored.
#[derive(Serialize)]
struct Fragile(BTreeMap<Vec<u64>, u64>);

impl<'de> Deserialize<'de> for Fragile {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(deserializer).map(Self)
    }
}

impl From<OrderPlaced> for Fragile {
    fn from(placed: OrderPlaced) -> Self {
        match placed.order {
            0 => Self(BTreeMap::new()),
            1 => Self(BTreeMap::from([(vec![1], 1)])),
            order => panic!("there is no order {order}"),
        }
    }
}

struct FragileProcessing;

#[saga(name = "fragile-processing", input = Fragile)]
impl FragileProcessing {
    #[step(no_compensation)]
    async fn book(&self) -> Result<(), StepError> {
        Ok(())
    }
}

fn placed(broker: &MemoryBroker) -> OnEvent<MemorySubscriber, OrderPlaced> {
    let subscription = Subscription::new("orders", ["order.placed"]);
    Consumer::new(broker.subscribe(subscription).unwrap()).on_event("order.placed")
}

#[tokio::test(start_paused = true)]
async fn an_event_that_makes_no_input_stops_no_other() {
    let broker = MemoryBroker::new();
    let engine = Engine::builder(Memory::new()).register(FragileProcessing);
    let engine = engine.start().await.unwrap();
    let (consumer, of) = (placed(&broker), engine.clone());
    let running = tokio::spawn(async move { consumer.starts::<FragileProcessing, _>(&of).await });
    for order in [1, 2, 0] {
        let event = Event::new("order.placed", &OrderPlaced { order });
        let results = broker.publish(&[event.source("/shop").key("all")]).await;
        assert!(results[0].is_ok());
    }
    until("all are acknowledged", async || {
        assert!(!running.is_finished());
        broker.events("order.placed").is_empty()
    })
    .await;
    assert_eq!(broker.events("order.placed.dead").len(), 2);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn events_of_a_saga_that_is_not_registered_stay_where_they_are() {
    let broker = MemoryBroker::new();
    let engine = Engine::builder(Memory::new()).start().await.unwrap();
    let consumer = placed(&broker);
    let event = Event::new("order.placed", &OrderPlaced { order: 7 });
    let results = broker.publish(&[event.source("/shop").key(7)]).await;
    assert!(results[0].is_ok());
    let ran = timeout(
        Duration::from_secs(1),
        consumer.starts::<OrderProcessing, _>(&engine),
    );
    let error = ran.await.unwrap().unwrap_err();
    assert!(format!("{error:?}").contains("register"), "{error:?}");
    assert_eq!(broker.events("order.placed").len(), 1);
    engine.shutdown().await;
}
