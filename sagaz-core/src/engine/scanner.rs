//! Takes instances from the store: new ones that nobody owns, those that are due, and those of dead engines.
//!
//! Invariants: no more instances are in flight than the limit, and at most one suspect; what a claim took is driven, also
//! when its reply was lost. An idle scanner costs one cheap look at each poll; and news of the store cost no more looks than one
//! in each [`NEWS_GAP`], however many come.

use super::{Inner, lease::NOT_SURE};
use crate::{
    observe::{Instance, Lifecycle},
    outcome::{Stuck, StuckReason},
    store::{Claim, Filter, InstanceState, Poisoned, Snapshot, Store, StoreError},
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

/// The least time between a look and the next one that news bring about.
const NEWS_GAP: Duration = Duration::from_millis(20);

/// Runs until the engine stops.
pub(crate) async fn run<S: Store>(engine: Arc<Inner<S>>) {
    let mut backoff = Duration::from_millis(10);
    // The reply to a claim was lost: it may have taken instances that nobody drives.
    let mut in_doubt = false;
    while !engine.is_stopping() {
        engine.reap();
        let room = engine.room.available_permits().min(CLAIM_MAX);
        if room == 0 {
            engine.backlog.store(true, Ordering::Relaxed);
            wait(&engine, None).await;
            continue;
        }
        if !engine.lease.is_fresh() {
            sleep(engine.config.poll / 10).await;
            continue;
        }
        engine.claiming.store(true, Ordering::Release);
        if engine.is_stopping() {
            // A shutdown may have looked before it could see that a claim is under way.
            engine.claiming.store(false, Ordering::Release);
            engine.landed.notify_waiters();
            break;
        }
        let began = Instant::now();
        let look = look(&engine, room, &mut in_doubt).await;
        engine.claiming.store(false, Ordering::Release);
        engine.landed.notify_waiters();
        match look {
            Ok(Look { full, next_due }) => {
                backoff = Duration::from_millis(10);
                engine.store_answered();
                if !full {
                    // News that come during the look are told now.
                    select! {
                        // The same in every run of a simulation: chance decides nothing.
                        biased;
                        () = wait(&engine, next_due) => {}
                        () = news(&engine, began) => {}
                    }
                } else if engine.room.available_permits() < engine.config.in_flight_max.div_ceil(4)
                {
                    // Not one claim for each place that becomes free: those of some time together.
                    wait(&engine, None).await;
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

/// What a look at the store told.
struct Look {
    /// There may be more than there was room for.
    full: bool,
    next_due: Option<Duration>,
}

async fn look<S: Store>(
    engine: &Arc<Inner<S>>,
    room: usize,
    in_doubt: &mut bool,
) -> Result<Look, StoreError> {
    // Also if this future is dropped in the middle.
    let was_in_doubt = std::mem::replace(in_doubt, true);
    // Before the claim: after a lapse in between, the store is asked again.
    let sure_at = engine.lease.lapses();
    let claimed = engine.store.claim(&claim(engine, room)).await?;
    let look = Look {
        full: claimed.instances.len() >= room,
        next_due: claimed.next_due,
    };
    engine.backlog.store(look.full, Ordering::Relaxed);
    for poisoned in &claimed.poisoned {
        tell_poisoned(engine, poisoned);
    }
    for snapshot in claimed.instances {
        launch(engine, snapshot, sure_at);
    }
    if was_in_doubt {
        // Not before this claim: by now the ones before it have surely ended.
        adopt(engine).await?;
    }
    *in_doubt = false;
    Ok(look)
}

/// Takes up instances that are this engine's by the store, and not in flight: those of claims whose replies were lost.
async fn adopt<S: Store>(engine: &Arc<Inner<S>>) -> Result<(), StoreError> {
    let live = InstanceState::ALL
        .into_iter()
        .filter(|state| state.is_live());
    let mut filter = live.fold(Filter::all().limit(u32::MAX), Filter::state);
    loop {
        let page = engine.store.list(&filter).await?;
        let strays = page
            .instances
            .iter()
            .filter(|it| it.owner == Some(engine.id) && !engine.is_in_flight(it.id));
        for stray in strays {
            // Looked at again: it may have left between the two.
            let snapshot = engine.store.load(stray.id).await?;
            let Some(mut snapshot) =
                snapshot.filter(|it| it.token().is_some_and(|token| token.owner == engine.id))
            else {
                continue;
            };
            // Whether its former owner had died went with the reply.
            snapshot.taken_over = true;
            snapshot.suspect = snapshot.summary.takeovers >= engine.config.suspect_after;
            launch(engine, snapshot, NOT_SURE);
        }
        let Some(next) = page.next else { return Ok(()) };
        filter = filter.after(next);
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
        suspect_delay_max: Duration::from_mins(1),
    }
}

fn launch<S: Store>(engine: &Arc<Inner<S>>, snapshot: Snapshot, sure_at: u64) {
    let Some(registered) = engine.registry.by_name(&snapshot.summary.definition.saga) else {
        return;
    };
    let permit = Arc::clone(&engine.room).try_acquire_owned().ok();
    if snapshot.suspect {
        engine.suspect.store(true, Ordering::Release);
    }
    let trace = snapshot.read_trace();
    engine.tell(&Lifecycle::Claimed {
        instance: Instance::new(registered.name(), snapshot.summary.id, trace.as_ref()),
        taken_over: snapshot.taken_over,
        suspect: snapshot.suspect,
    });
    registered.launch(Arc::clone(engine), snapshot, sure_at, permit);
}

fn tell_poisoned<S: Store>(engine: &Inner<S>, poisoned: &Poisoned) {
    let id = poisoned.id;
    // A claim takes only what is registered here.
    let saga = engine.registry.by_name(&poisoned.saga);
    let saga = saga.map_or("", |registered| registered.name());
    let stuck = Stuck {
        step: None,
        reason: StuckReason::Poison,
        message: "taken over too often".into(),
    };
    engine.tell(&Lifecycle::Stuck {
        instance: Instance::new(saga, id, None),
        stuck: &stuck,
    });
    engine.announce(id);
}

/// Until the store has news, and the last look is a while ago.
async fn news<S: Store>(engine: &Inner<S>, last_look: Instant) {
    engine.store.news().await;
    sleep_until(last_look + NEWS_GAP).await;
}

/// Until the next poll, a wake-up that is stored, or a nudge.
async fn wait<S: Store>(engine: &Inner<S>, next_due: Option<Duration>) {
    // Jitter, so that engines that started together do not look together.
    let poll = engine.config.poll.mul_f64(0.75 + fastrand::f64() / 2.0);
    let until = Instant::now() + next_due.map_or(poll, |due| due.min(poll));
    select! {
        // The same in every run of a simulation: chance decides nothing.
        biased;
        () = engine.scan.notified() => {}
        () = sleep_until(until) => {}
    }
}
