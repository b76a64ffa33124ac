//! The lease on lanes, and the task that keeps it.
//!
//! Invariant: attending and giving up are calls of this one task, so that what one of them tells is never older than what was told
//! before.

use super::{Inner, worker::shielded};
use sagaz_core::{
    broker::Broker,
    store::{Attendance, Lane, OutboxStore, StoreError},
};
use std::{sync::Arc, time::Duration};
use tokio::{
    select,
    sync::mpsc::{UnboundedReceiver, UnboundedSender},
    time::{sleep, timeout},
};

/// What this task tells the worker.
#[derive(Debug)]
pub(super) enum Told {
    /// These lanes are its own until then, a span since the relay's origin.
    Attended {
        lanes: Vec<Lane>,
        workers: u32,
        until: Duration,
    },
    /// These lanes are given up.
    Released(Vec<u16>),
}

/// How often a relay asks soon again for lanes that others are about to give up.
const HURRIES: u32 = 10;

/// How many lanes are a relay's when this many share them.
pub(super) fn share(lanes: u16, workers: u32) -> u16 {
    u16::try_from(u32::from(lanes).div_ceil(workers.max(1))).unwrap_or(lanes)
}

/// One renewal: what it gave, and until when the lease is surely good.
pub(super) async fn attend<S: OutboxStore, B: Broker>(
    relay: &Inner<S, B>,
    wanted: u16,
) -> Result<(Attendance, Duration), StoreError> {
    let sent = relay.now();
    let ttl = relay.config.lease;
    // The lease minus a margin, counted from before the renewal was sent.
    let good_for = ttl.saturating_sub(ttl / 5);
    let unanswered =
        |_| StoreError::transient("the store did not answer a renewal while it was of use");
    let attendance = timeout(
        good_for,
        shielded(|| relay.store.attend(relay.id, ttl, wanted)),
    );
    Ok((attendance.await.map_err(unanswered)??, sent + good_for))
}

/// Keeps the lease for ever, and gives lanes up that the worker is done with.
pub(super) async fn keep<S: OutboxStore, B: Broker>(
    relay: Arc<Inner<S, B>>,
    told: UnboundedSender<Told>,
    mut to_release: UnboundedReceiver<Vec<u16>>,
) {
    let lanes = relay.store.lanes();
    let interval = relay.config.lease / 3;
    // Without knowing how many share them, none are taken.
    let (mut wanted, mut workers, mut hurries) = (0, 0, HURRIES);
    loop {
        let wait = match attend(&relay, wanted).await {
            Ok((attendance, until)) => {
                if attendance.workers != workers {
                    workers = attendance.workers;
                    hurries = HURRIES;
                }
                let asked = wanted;
                wanted = share(lanes, workers);
                let has = attendance.lanes.len();
                let message = Told::Attended {
                    lanes: attendance.lanes,
                    workers,
                    until,
                };
                if told.send(message).is_err() {
                    return;
                }
                if asked < wanted {
                    continue;
                }
                if has < usize::from(wanted) && hurries > 0 {
                    hurries -= 1;
                    interval.min(Duration::from_millis(500))
                } else {
                    interval
                }
            }
            Err(error) => {
                relay.store_failed("attend", &error);
                interval / 10
            }
        };
        select! {
            // The lease first: no lanes that are given up keep it from being renewed.
            biased;
            () = sleep(wait) => {}
            Some(lanes) = to_release.recv() => {
                while let Err(error) = shielded(|| relay.store.release(relay.id, Some(&lanes))).await {
                    relay.store_failed("release", &error);
                    // The lease goes on meanwhile.
                    if let Ok((Attendance { lanes, workers, .. }, until)) = attend(&relay, 0).await {
                        let _ = told.send(Told::Attended { lanes, workers, until });
                    }
                    sleep(interval / 10).await;
                }
                if told.send(Told::Released(lanes)).is_err() {
                    return;
                }
            }
        }
    }
}
