//! Takes instances from the store: new ones that nobody owns, those that are due, and those of dead engines.
//!
//! Invariants: no more instances are in flight than the limit, and at most one suspect. An idle scanner costs one cheap
//! look at each poll.

use super::Inner;
use crate::{
    observe::{Instance, Lifecycle},
    outcome::{Stuck, StuckReason},
    store::{Claim, Claimed, Snapshot, Store},
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    select,
    time::{Instant, sleep, sleep_until},
};

/// The most instances that one claim takes.
const CLAIM_MAX: usize = 256;

/// Runs until the engine stops.
pub(crate) async fn run<S: Store>(engine: Arc<Inner<S>>) {
    let mut backoff = Duration::from_millis(10);
    while !engine.is_stopping() {
        let room = engine.room.available_permits().min(CLAIM_MAX);
        if room == 0 {
            engine.backlog.store(true, Ordering::Relaxed);
            engine.scan.notified().await;
            continue;
        }
        if !engine.lease.is_fresh() {
            sleep(engine.config.poll / 10).await;
            continue;
        }
        let claim = claim(&engine, room);
        match engine.store.claim(&claim).await {
            Ok(claimed) => {
                backoff = Duration::from_millis(10);
                engine.store_answered();
                let full = claimed.instances.len() >= room;
                engine.backlog.store(full, Ordering::Relaxed);
                let next_due = claimed.next_due;
                launch(&engine, claimed);
                if !full {
                    rest(&engine, next_due).await;
                } else if engine.room.available_permits() == 0 {
                    // Not one claim for each place that becomes free: a few places together.
                    engine.scan.notified().await;
                }
            }
            Err(error) => {
                engine.store_failed(&error);
                sleep(backoff).await;
                backoff = (backoff * 2).min(engine.config.poll);
            }
        }
    }
}

fn claim<S: Store>(engine: &Inner<S>, room: usize) -> Claim {
    Claim {
        engine: engine.id,
        runnable: engine.registry.runnable().to_vec(),
        limit: u32::try_from(room).unwrap_or(u32::MAX),
        suspect: !engine.suspect.load(Ordering::Acquire),
        suspect_after: engine.config.suspect_after,
        poison_after: engine.config.poison_after,
        suspect_delay: Duration::from_secs(1),
        suspect_delay_max: Duration::from_secs(60),
    }
}

fn launch<S: Store>(engine: &Arc<Inner<S>>, claimed: Claimed) {
    for snapshot in claimed.instances {
        let permit = Arc::clone(&engine.room).try_acquire_owned().ok();
        if snapshot.suspect {
            engine.suspect.store(true, Ordering::Release);
        }
        let Some(registered) = engine.registry.by_name(&snapshot.summary.definition.saga) else {
            continue;
        };
        engine.tell(&claimed_event(registered.name(), &snapshot));
        registered.launch(Arc::clone(engine), snapshot, permit);
    }
    for id in claimed.poisoned {
        let stuck = Stuck { step: None, reason: StuckReason::Poison, message: "taken over too often".into() };
        engine.tell(&Lifecycle::Stuck { instance: Instance { saga: "", id }, stuck: &stuck });
        engine.announce(id);
    }
}

fn claimed_event(saga: &'static str, snapshot: &Snapshot) -> Lifecycle<'static> {
    Lifecycle::Claimed {
        instance: Instance { saga, id: snapshot.summary.id },
        taken_over: snapshot.taken_over,
        suspect: snapshot.suspect,
    }
}

/// Until the next poll, a wake-up that is stored, or a nudge.
async fn rest<S: Store>(engine: &Inner<S>, next_due: Option<Duration>) {
    // Jitter, so that engines that started together do not look together.
    let poll = engine.config.poll.mul_f64(0.75 + fastrand::f64() / 2.0);
    let until = Instant::now() + next_due.map_or(poll, |due| due.min(poll));
    select! {
        () = engine.scan.notified() => {}
        () = sleep_until(until) => {}
    }
}
