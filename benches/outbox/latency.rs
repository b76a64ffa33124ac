//! How long an event takes from its commit to its consumer while nothing else happens, against the same way by hand: a commit, a
//! publish that is confirmed, and the delivery.

use crate::{median, options, servers, setting, table::Table};
use sagaz::{
    Engine, Event, StepContext, StepError,
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
use tokio::time::sleep;

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
    println!(
        "{:<12} {:>22} {:>22} {:>22}   (ms: p50, p99; from the commit to the consumer)",
        "", "by hand", "relay, notified", "optimistic"
    );
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
        let by_hand = by_hand(table, &broker, &mut subscriber).await;
        let store = table.store().await;
        let relayed = through(&store, &broker, &mut subscriber, false).await;
        let optimistic = through(&store, &broker, &mut subscriber, true).await;
        println!(
            "{name:<12} {:>22} {:>22} {:>22}",
            told(by_hand),
            told(relayed),
            told(optimistic)
        );
    }
}

fn told(mut millis: Vec<f64>) -> String {
    millis.sort_by(f64::total_cmp);
    let p99 = millis[millis.len() * 99 / 100];
    format!("{:.2} {p99:>8.2}", median(millis))
}

fn times() -> u32 {
    setting("TIMES", 200)
}

/// So that each event finds everything at rest.
async fn rest() {
    sleep(Duration::from_millis(fastrand::u64(5..25))).await;
}

async fn next(subscriber: &mut AnySubscriber) {
    let delivery = subscriber.receive().await.expect("a message");
    subscriber
        .ack(delivery.receipt)
        .await
        .expect("it is acknowledged");
}

/// What is measured ends with the delivery, and begins with the commit's return.
async fn by_hand(table: &Table, broker: &AnyBroker, subscriber: &mut AnySubscriber) -> Vec<f64> {
    let mut session = table.session().await;
    let mut millis = Vec::new();
    for number in 0..times() {
        rest().await;
        let mut tx = session.begin().await.expect("it begins");
        sqlx::query("SELECT pg_current_xact_id()")
            .execute(&mut *tx)
            .await
            .expect("it has something to commit");
        tx.commit().await.expect("it commits");
        let committed = Instant::now();
        let event = Event::new("told", &number).source("/bench").key(number);
        let event = std::slice::from_ref(&event);
        let (published, ()) = tokio::join!(broker.publish(event), next(subscriber));
        for result in published {
            result.expect("the broker takes it");
        }
        millis.push(committed.elapsed().as_secs_f64() * 1e3);
    }
    millis
}

/// The commit is known when the instance's outcome is: this is a little late, so what is told is a little short. The instance's
/// only step also completes it.
async fn through(
    store: &Postgres,
    broker: &Arc<AnyBroker>,
    subscriber: &mut AnySubscriber,
    is_optimistic: bool,
) -> Vec<f64> {
    let relay = Relay::builder(store.clone(), Arc::clone(broker));
    let relay = relay.start().await.expect("the relay starts");
    let optimistic = Arc::new(Optimistic::builder(store.clone(), Arc::clone(broker)).start());
    let mut engine = Engine::builder(store.clone()).register(Tell);
    if is_optimistic {
        engine = engine.after_commit(optimistic.clone());
    }
    let engine = engine.start().await.expect("the engine starts");
    let mut millis = Vec::new();
    for number in 0..times() {
        rest().await;
        let handle = engine.start::<Tell>(number).await.expect("it starts");
        let committed = async {
            assert!(handle.outcome().await.expect("it ends").is_completed());
            Instant::now()
        };
        let delivered = async {
            next(subscriber).await;
            Instant::now()
        };
        let (committed, delivered) = tokio::join!(committed, delivered);
        millis.push(delivered.saturating_duration_since(committed).as_secs_f64() * 1e3);
    }
    engine.shutdown().await;
    optimistic.shutdown().await;
    relay.shutdown().await;
    millis
}
