//! The process that is killed: a relay to a broker that misbehaves.

use crate::place::Place;
use sagaz::{
    Event, Retry, System,
    broker::{Broker, BrokerError},
    outbox::Relay,
};
use std::{process::Stdio, time::Duration};
use tokio::{
    process::{Child, Command},
    time::sleep,
};

/// The key whose events no broker takes.
pub(crate) const POISONED: u32 = 13;

/// One publish of so many fails.
const FAILS_ONE_OF: u32 = 20;

/// How long a dead worker's lanes wait for another.
const LEASE: Duration = Duration::from_secs(2);

/// Takes its time, refuses the events of one key, and fails some of the others: before they were sent, or so that they are sent
/// and nobody hears of it.
struct Misbehaving<B>(B);

impl<B: Broker> System for Misbehaving<B> {
    fn system(&self) -> &'static str {
        self.0.system()
    }
}

impl<B: Broker> Broker for Misbehaving<B> {
    async fn publish(&self, batch: &[Event]) -> Vec<Result<(), BrokerError>> {
        sleep(Duration::from_micros(fastrand::u64(0..5_000))).await;
        let mut results: Vec<Option<Result<(), BrokerError>>> = Vec::new();
        let mut sent = Vec::new();
        for event in batch {
            let is_poisoned = event.ordering_key() == Some(POISONED.to_string().as_str());
            let fails = fastrand::u32(..FAILS_ONE_OF * 2);
            if is_poisoned {
                results.push(Some(Err(BrokerError::refused("nobody takes this key"))));
            } else if fails == 0 {
                results.push(Some(Err(BrokerError::refused("not now"))));
            } else {
                // The other half of the failures: its answer is lost.
                let lost = fails == 1;
                results.push(lost.then(|| Err(BrokerError::timed_out(Duration::from_millis(1)))));
                sent.push(event.clone());
            }
        }
        let mut answers = self.0.publish(&sent).await.into_iter();
        let each = batch.iter().zip(results).map(|(event, result)| {
            let was_sent = sent.iter().any(|sent| sent.event_id() == event.event_id());
            let answer = was_sent.then(|| answers.next().unwrap());
            result.or(answer).unwrap()
        });
        each.collect()
    }

    async fn health(&self) -> Result<(), BrokerError> {
        self.0.health().await
    }
}

pub(crate) fn spawn(place: &Place) -> Child {
    spawn_as("SAGAZ_RELAY", "worker::worker", place)
}

/// Starts this binary anew, with one of the tests that are bodies of processes.
pub(crate) fn spawn_as(variable: &str, body: &str, place: &Place) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([body, "--exact", "--nocapture", "--test-threads=1"])
        .env(variable, serde_json::to_string(place).unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Not a test of its own: the body of a worker process. It ends when its standard input does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker() {
    let Ok(place) = std::env::var("SAGAZ_RELAY") else {
        return;
    };
    let place: Place = serde_json::from_str(&place).unwrap();
    let retry = Retry {
        attempts: Some(6),
        initial: Duration::from_millis(5),
        max: Duration::from_millis(50),
        ..Retry::BACKOFF
    };
    let relay = Relay::builder(place.store().await, Misbehaving(place.broker().await))
        .lease(LEASE)
        .retry(retry)
        .batch_max(64)
        .start()
        .await
        .unwrap();
    let mut byte = [0];
    let mut input = tokio::io::stdin();
    // Nothing is ever written: it ends with the test.
    let _ = tokio::io::AsyncReadExt::read(&mut input, &mut byte).await;
    relay.shutdown().await;
}
