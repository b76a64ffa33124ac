//! The engine's lease, and the task that keeps it.
//!
//! Invariant: no new attempt begins once the monotonic clock, counted from before the last good renewal was *sent*, has
//! passed the lease minus a margin; and after a lapse, none of an instance before the store has confirmed its owner. The lease's end alone drops nothing: what has run is still offered to the store, which
//! decides by the instance's token.

use super::Inner;
use crate::{
    observe::Lifecycle,
    store::{Store, StoreError},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};

/// No count of lapses: an instance that is not known to be ours, until the store says so.
pub(crate) const NOT_SURE: u64 = 0;

/// What this process believes of its own lease.
pub(crate) struct Lease {
    /// Counted from here, in microseconds.
    origin: Instant,
    valid_until: AtomicU64,
    /// How often it was found to have lapsed.
    lapses: AtomicU64,
    /// The last renewal was not answered: it may be the one that told of a lapse.
    in_doubt: AtomicBool,
    /// When its task last began or ended a call.
    heard_at: AtomicU64,
    ttl: Duration,
}

impl Lease {
    pub(crate) fn new(ttl: Duration) -> Self {
        Self {
            origin: Instant::now(),
            valid_until: AtomicU64::new(0),
            lapses: AtomicU64::new(0),
            in_doubt: AtomicBool::new(false),
            heard_at: AtomicU64::new(0),
            ttl,
        }
    }

    /// Whether a new attempt may begin.
    pub(crate) fn is_fresh(&self) -> bool {
        micros(self.origin.elapsed()) < self.valid_until.load(Ordering::Acquire)
    }

    /// How long new attempts may begin without another renewal.
    pub(crate) fn remaining(&self) -> Duration {
        let until = Duration::from_micros(self.valid_until.load(Ordering::Acquire));
        until.saturating_sub(self.origin.elapsed())
    }

    /// How long its task has neither begun nor ended a call.
    pub(crate) fn silence(&self) -> Duration {
        let heard = Duration::from_micros(self.heard_at.load(Ordering::Relaxed));
        self.origin.elapsed().saturating_sub(heard)
    }

    fn hear(&self) {
        self.heard_at
            .store(micros(self.origin.elapsed()), Ordering::Relaxed);
    }

    /// How often it has lapsed. Whoever owned an instance before the last lapse has to ask whether it still does: a renewal
    /// makes the lease good again, but others may have taken over meanwhile.
    pub(crate) fn lapses(&self) -> u64 {
        self.lapses.load(Ordering::Acquire)
    }

    /// A renewal that was sent at this time succeeded; by the store's clock the lease had lapsed before it. That clock goes
    /// on where this machine's stands still, while it sleeps.
    fn renewed(&self, sent: Instant, lapsed: bool) {
        if lapsed || !self.is_fresh() {
            // Before the new end is seen.
            self.lapses.fetch_add(1, Ordering::AcqRel);
        }
        let until = sent.saturating_duration_since(self.origin) + self.good_for();
        self.valid_until.store(micros(until), Ordering::Release);
    }

    /// How long attempts may begin after a renewal was sent: the lease minus a margin.
    fn good_for(&self) -> Duration {
        self.ttl.saturating_sub(self.ttl / 5)
    }

    fn interval(&self) -> Duration {
        self.ttl / 3
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// One renewal.
pub(crate) async fn renew<S: Store>(engine: &Inner<S>) -> Result<(), StoreError> {
    let sent = Instant::now();
    engine.lease.hear();
    let was_in_doubt = engine.lease.in_doubt.swap(true, Ordering::AcqRel);
    let unanswered =
        |_| StoreError::transient("the store did not answer a renewal while it was of use");
    let renewal = timeout(
        engine.lease.good_for(),
        engine.store.renew(engine.id, engine.lease.ttl),
    );
    let renewal = renewal.await;
    engine.lease.hear();
    let renewal = renewal.map_err(unanswered)??;
    engine.lease.in_doubt.store(false, Ordering::Release);
    // One in doubt may be the one that told of a lapse: so it is taken for one, but not told as one.
    let lapsed = renewal.lapsed || was_in_doubt;
    // Looked at now: it may have passed while the renewal was under way.
    let was_fresh = engine.lease.is_fresh();
    let is_first = engine.lease.lapses() == NOT_SURE;
    engine.lease.renewed(sent, lapsed);
    engine.set_rivals(renewal.other_engines);
    for id in renewal.cancel_requested {
        engine.signal_cancel(id);
    }
    if lapsed || !was_fresh {
        // Attempts that were held back may begin.
        engine.wake_all();
    }
    engine.tell(&Lifecycle::LeaseRenewed {
        engine: engine.id,
        // Before the first there was none.
        lapsed: (renewal.lapsed || !was_fresh) && !is_first,
    });
    Ok(())
}

/// Keeps the lease for ever.
pub(crate) async fn keep<S: Store>(engine: Arc<Inner<S>>) {
    loop {
        let wait = match renew(&engine).await {
            Ok(()) => {
                engine.store_answered();
                engine.lease.interval()
            }
            Err(error) => {
                engine.store_failed(&error);
                engine.tell(&Lifecycle::LeaseNotRenewed { engine: engine.id });
                engine.lease.interval() / 10
            }
        };
        sleep(wait).await;
    }
}
