//! Events published and received while something happens to the server.

use sagaz_core::{
    Event,
    broker::{Broker, Subscriber},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};
use tokio::sync::watch;

/// Longer than any machine needs.
const PATIENCE: Duration = Duration::from_mins(3);

const KEYS: u32 = 20;

/// What was seen.
#[derive(Debug)]
pub(crate) struct Audit {
    /// Batches that were not confirmed as a whole at once.
    pub(crate) disturbed: u32,
    /// Deliveries of what had been delivered before.
    pub(crate) repeated: usize,
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "nothing lost; {} batches disturbed, {} deliveries repeated",
            self.disturbed, self.repeated
        )
    }
}

/// Publishes `rounds` events of each key, each after the one before it was confirmed, and receives until all have come. Nothing
/// confirmed may be missing, and the first deliveries of a key are in order, where a broker can keep it. `happens` is told how many rounds are confirmed.
pub(crate) async fn audited(
    broker: &impl Broker,
    subscriber: &mut impl Subscriber,
    rounds: u32,
    in_order: bool,
    happens: impl AsyncFnOnce(watch::Receiver<u32>),
) -> Audit {
    let (confirmed, watched) = watch::channel(0);
    let publish = async {
        let mut disturbed = 0;
        for round in 0..rounds {
            let mut batch: Vec<_> = (0..KEYS)
                .map(|key| Event::new("order.placed", &round).key(format!("key-{key}")))
                .collect();
            loop {
                let results = broker.publish(&batch).await;
                let mut results = results.into_iter();
                batch.retain(|_| match results.next().expect("a result each") {
                    Ok(()) => false,
                    Err(error) => {
                        assert!(!error.is_refusal() && !error.is_misuse(), "{error:?}");
                        true
                    }
                });
                if batch.is_empty() {
                    break;
                }
                disturbed += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            confirmed.send_replace(round + 1);
        }
        disturbed
    };
    let receive = async {
        let mut first: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        let (mut seen, mut repeated) = (BTreeSet::new(), 0);
        while seen.len() < (rounds * KEYS) as usize {
            let delivery = match subscriber.receive().await {
                Ok(delivery) => delivery,
                Err(error) => {
                    assert!(error.is_unavailable(), "{error:?}");
                    continue;
                }
            };
            let event = delivery.event.expect("an event");
            let key = event.ordering_key().expect("a key").to_owned();
            let number = event.decode().expect("a number");
            if seen.insert((key.clone(), number)) {
                first.entry(key).or_default().push(number);
            } else {
                repeated += 1;
            }
            // It comes again if it is not heard.
            let _ = subscriber.ack(delivery.receipt).await;
        }
        (repeated, first)
    };
    let all = async { tokio::join!(publish, receive, happens(watched)) };
    let (disturbed, (repeated, first), ()) = tokio::time::timeout(PATIENCE, all)
        .await
        .expect("in vain: until all that was confirmed was delivered");
    for (key, numbers) in first {
        assert!(!in_order || numbers.is_sorted(), "{key}: {numbers:?}");
    }
    Audit {
        disturbed,
        repeated,
    }
}

/// Until so many rounds are confirmed.
pub(crate) async fn rounds(confirmed: &mut watch::Receiver<u32>, enough: u32) {
    confirmed
        .wait_for(|rounds| *rounds >= enough)
        .await
        .expect("it publishes");
}
