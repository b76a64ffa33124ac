//! How long an event takes from its commit to its consumer while nothing else happens, against the same way by hand: a commit, a
//! publish, and the delivery.
//!
//! Both are measured alike: from the moment at which the task that wrote knows of its commit, to the one at which the consumer has the
//! event. Neither waits for the broker's confirmation, nor for the consumer's acknowledgement.

use crate::{
    measure::{Unit, figure::median, scaled, tell},
    options, rounds, servers, setting,
    table::Table,
};
use sagaz::{
    Engine, Event, Lifecycle, Observer, StepContext, StepError,
    broker::{Broker, Subscriber},
    brokers::{AnyBroker, AnySubscriber, Subscription},
    outbox::{Optimistic, Relay},
    postgres::Postgres,
    saga, step,
};
use sqlx::Connection;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, time::sleep};

/// Publishes one event.
struct Tell;

#[saga(name = "tell", input = u32)]
impl Tell {
    #[step(no_compensation, atomic)]
    async fn tell(&self, ctx: &StepContext<'_>, input: u32) -> Result<(), StepError> {
        ctx.publish(Event::new("told", &input))?;
        Ok(())
    }
}

pub(crate) async fn compare(table: &Table) {
    let mut brokers = vec![("memory", format!("memory://bench-{}", fastrand::u64(..)))];
    brokers.extend(servers());
    for (name, url) in brokers {
        let topic = format!("latency-{}", fastrand::u64(..));
        // On RabbitMQ an exchange, as consumers have it.
        let topic = if name == "rabbitmq" {
            format!("{topic}/all")
        } else {
            topic
        };
        let broker = Arc::new(
            options(&topic)
                .connect(&url)
                .await
                .expect("the broker connects"),
        );
        let subscription = Subscription::new("latency", [topic.as_str()]);
        let subscriber = options(&topic).subscribe(&url, subscription).await;
        let mut subscriber = subscriber.expect("the broker subscribes");
        let store = table.store().await;
        let mut all: [[Vec<f64>; 2]; 3] = Default::default();
        for _ in 0..rounds() {
            let times = [
                by_hand(table, &broker, &mut subscriber).await,
                through(&store, &broker, &mut subscriber, false).await,
                through(&store, &broker, &mut subscriber, true).await,
            ];
            for ([medians, nineties], times) in all.iter_mut().zip(times) {
                medians.push(median(times.clone()));
                nineties.push(p90(times));
            }
        }
        store.close().await;
        let [by_hand, relayed, optimistic] = &all;
        for (way, times) in [("relay", relayed), ("optimistic", optimistic)] {
            for (which, times, floor) in [
                ("p50", &times[0], &by_hand[0]),
                ("p90", &times[1], &by_hand[1]),
            ] {
                tell(
                    "latency",
                    (&format!("{name}, {way}, {which}"), None),
                    Unit {
                        name: "ms from commit to consumer",
                        more_is_better: false,
                    },
                    times,
                    &[("publish and deliver by hand", floor, None)],
                );
            }
        }
    }
}

fn p90(mut millis: Vec<f64>) -> f64 {
    millis.sort_by(f64::total_cmp);
    millis[millis.len() * 9 / 10]
}

/// How often a round does it.
fn count() -> u32 {
    setting("TIMES", scaled(50, 5))
}

/// So that each event finds everything at rest.
async fn rest() {
    sleep(Duration::from_millis(fastrand::u64(5..25))).await;
}

/// When the consumer has the event of this number. It is acknowledged then, as is what comes again of those before it.
async fn delivered(subscriber: &mut AnySubscriber, number: u32) -> Instant {
    loop {
        let delivery = subscriber.receive().await.expect("a message");
        let delivered = Instant::now();
        let acknowledged = subscriber.ack(delivery.receipt).await;
        acknowledged.expect("it is acknowledged");
        let event = delivery.event.expect("an event");
        if event.decode::<u32>().expect("a number") == number {
            return delivered;
        }
    }
}

/// From one to the other. Who is told of a commit may be late: what was delivered before took no time.
fn millis(committed: Instant, delivered: Instant) -> f64 {
    let took = delivered.saturating_duration_since(committed);
    took.as_secs_f64() * 1e3
}

async fn by_hand(table: &Table, broker: &AnyBroker, subscriber: &mut AnySubscriber) -> Vec<f64> {
    let mut session = table.session().await;
    let mut times = Vec::new();
    for number in 0..count() {
        rest().await;
        let mut tx = session.begin().await.expect("it begins");
        sqlx::query("SELECT pg_current_xact_id()")
            .execute(&mut *tx)
            .await
            .expect("it has something to commit");
        tx.commit().await.expect("it commits");
        let committed = Instant::now();
        let event = Event::new("told", &number).source("/bench").key(number);
        let publish = broker.publish(std::slice::from_ref(&event));
        let (published, delivered) = tokio::join!(publish, delivered(subscriber, number));
        for result in published {
            result.expect("the broker takes it");
        }
        times.push(millis(committed, delivered));
    }
    times
}

/// Tells when the engine knows that an instance is finished: its only step's commit has returned.
struct Commits(mpsc::UnboundedSender<Instant>);

impl Observer for Commits {
    fn observe(&self, event: &Lifecycle<'_>) {
        if matches!(event, Lifecycle::Finished { .. }) {
            let _ = self.0.send(Instant::now());
        }
    }
}

/// Through an engine, and a relay or an optimistic sender.
async fn through(
    store: &Postgres,
    broker: &Arc<AnyBroker>,
    subscriber: &mut AnySubscriber,
    is_optimistic: bool,
) -> Vec<f64> {
    let relay = Relay::builder(store.clone(), Arc::clone(broker));
    let relay = relay.start().await.expect("the relay starts");
    let optimistic = Arc::new(Optimistic::builder(store.clone(), Arc::clone(broker)).start());
    let (sender, mut commits) = mpsc::unbounded_channel();
    let mut engine = Engine::builder(store.clone())
        .register(Tell)
        .observer(Arc::new(Commits(sender)));
    if is_optimistic {
        engine = engine.after_commit(optimistic.clone());
    }
    let engine = engine.start().await.expect("the engine starts");
    let mut times = Vec::new();
    for number in 0..count() {
        rest().await;
        let handle = engine.start::<Tell>(number).await.expect("it starts");
        let delivered = delivered(subscriber, number).await;
        assert!(handle.outcome().await.expect("it ends").is_completed());
        let committed = commits.recv().await.expect("the engine tells of it");
        times.push(millis(committed, delivered));
    }
    engine.shutdown().await;
    optimistic.shutdown().await;
    relay.shutdown().await;
    times
}
