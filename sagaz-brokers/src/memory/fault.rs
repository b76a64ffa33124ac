//! Faults that a test plans on the memory broker.
//!
//! Invariant: a fault changes whether and when an event is taken and what its publisher hears of it, never the event. So whatever
//! breaks under a fault would break with a broker that is slow, unreachable or killed. Not here: random faults; a test draws them
//! from its own seed in [`Faults::on_event`], so that a failure can be repeated.

use sagaz_core::{Event, broker::BrokerError};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// What happens to one event that is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It is not taken: the broker cannot be reached.
    Unavailable,
    /// It is refused for good.
    Refuse,
    /// It is not taken, and its publisher is not told that.
    TimeOutBefore,
    /// It is taken, and its publisher is not told that.
    TimeOutAfter,
    /// It is taken after this long. Dropped in between, it is not taken.
    Delay(Duration),
}

/// Plans faults on a memory broker and counts events. Clones, and those of all clones of the broker, are the same.
///
/// ```
/// # use sagaz_brokers::memory::{Fault, MemoryBroker};
/// let broker = MemoryBroker::new();
/// // The confirmation of the third event from now is lost.
/// broker.faults().plan(3, Fault::TimeOutAfter);
/// // No event of this key is ever taken.
/// broker.faults().on_event(|event| (event.ordering_key() == Some("poison")).then_some(Fault::Refuse));
/// ```
#[derive(Clone, Debug)]
pub struct Faults(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    // The hook has a lock of its own, so that it may count and plan.
    hook: Mutex<Option<Hook>>,
    plan: Mutex<Plan>,
    fired: watch::Sender<u64>,
}

type Decide = Box<dyn FnMut(&Event) -> Option<Fault> + Send>;

struct Hook(Decide);

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

#[derive(Debug, Default)]
struct Plan {
    is_down: bool,
    planned: BTreeMap<u64, Fault>,
    count: u64,
}

impl Faults {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner {
            hook: Mutex::default(),
            plan: Mutex::default(),
            fired: watch::Sender::new(0),
        }))
    }

    /// Plans a fault for the `nth` event that is published from now on; the next one is 1.
    pub fn plan(&self, nth: u64, fault: Fault) {
        let mut plan = self.planning();
        let nth = plan.count + nth;
        plan.planned.insert(nth, fault);
    }

    /// Asks `hook` about every event that is published; what [`plan`](Self::plan) says goes first. Replaces the former hook. It
    /// must not call this method itself.
    pub fn on_event(&self, hook: impl FnMut(&Event) -> Option<Fault> + Send + 'static) {
        *self.hook() = Some(Hook(Box::new(hook)));
    }

    /// While the broker is down, nothing is taken, given or acknowledged. Subscribers that wait are told with their next call.
    pub fn set_down(&self, is_down: bool) {
        self.planning().is_down = is_down;
    }

    /// Forgets everything that was planned, and the hook; the counts stay.
    pub fn clear(&self) {
        *self.hook() = None;
        let mut plan = self.planning();
        plan.is_down = false;
        plan.planned.clear();
    }

    /// How many events were published, those that met a fault included. One without a route is not counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.planning().count
    }

    /// How many events met a fault so far.
    #[must_use]
    pub fn fired(&self) -> u64 {
        *self.0.fired.borrow()
    }

    /// Returns once at least `times` events have met a fault since the broker was made.
    pub async fn wait_fired(&self, times: u64) {
        let mut fired = self.0.fired.subscribe();
        // The sender lives in `self`, so that the wait cannot fail.
        let _ = fired.wait_for(|fired| *fired >= times).await;
    }

    /// Counts an event and says which fault it meets.
    pub(super) fn meet(&self, event: &Event) -> Option<Fault> {
        let hooked = self.hook().as_mut().and_then(|hook| hook.0(event));
        let fault = {
            let mut plan = self.planning();
            plan.count += 1;
            let count = plan.count;
            let planned = plan.planned.remove(&count);
            if plan.is_down {
                Some(Fault::Unavailable)
            } else {
                planned.or(hooked)
            }
        };
        if fault.is_some() {
            self.0.fired.send_modify(|fired| *fired += 1);
        }
        fault
    }

    pub(super) fn check_up(&self) -> Result<(), BrokerError> {
        if self.planning().is_down {
            Err(Fault::Unavailable.error())
        } else {
            Ok(())
        }
    }

    fn hook(&self) -> MutexGuard<'_, Option<Hook>> {
        self.0.hook.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn planning(&self) -> MutexGuard<'_, Plan> {
        self.0.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fault {
    /// Whether the broker has the event in the end.
    pub(super) fn takes_event(self) -> bool {
        matches!(self, Self::TimeOutAfter | Self::Delay(_))
    }

    pub(super) fn error(self) -> BrokerError {
        match self {
            Self::Refuse => BrokerError::refused("the event is refused (injected fault)"),
            Self::TimeOutBefore | Self::TimeOutAfter => BrokerError::timed_out(Duration::ZERO),
            Self::Unavailable | Self::Delay(_) => {
                BrokerError::unavailable("the broker cannot be reached (injected fault)")
            }
        }
    }
}
