//! Removes what was sent long ago.

use super::Inner;
use sagaz_core::{broker::Broker, store::OutboxStore};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// How many events are removed in one call: few enough to hold no lock for long.
const BATCH: u32 = 1_000;

/// Runs for ever.
pub(super) async fn run<S: OutboxStore, B: Broker>(relay: Arc<Inner<S, B>>, age: Duration) {
    // Looks a hundred times in the span that is kept: what is there a hundredth longer harms nobody.
    let interval = (age / 100).clamp(Duration::from_secs(1), Duration::from_mins(1));
    loop {
        // Jitter, so that relays that started together do not look together.
        sleep(interval.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
        loop {
            match relay.store.prune_sent(age, BATCH).await {
                Ok(removed) if removed >= u64::from(BATCH) => tokio::task::yield_now().await,
                Ok(_) => break,
                Err(error) => {
                    relay.store_failed("prune_sent", &error);
                    break;
                }
            }
        }
    }
}
