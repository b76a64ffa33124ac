//! Faults that a test plans on the [memory store](super::memory::Memory), and the record of what the store did.
//!
//! Invariant: a fault changes when a call is applied and what its caller hears of it, never what is applied. So whatever
//! breaks under a fault would break under a database that is slow, unreachable or killed. Not here: random faults; a
//! test draws them from its own seed in [`Faults::on_write`], so that a failure can be repeated.

use super::{Claim, InstanceState, StepState, StoreError, Write};
use crate::id::{EngineId, SagaId, Token};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::sync::watch;

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing is applied, and the caller gets a transient error.
    FailBefore,
    /// The call is applied, and the caller gets a transient error: a lost reply.
    FailAfter,
    /// The call is applied after this long. Dropped in between, it is not applied.
    Delay(Duration),
    /// Nothing is applied, and the reply never arrives.
    DropBefore,
    /// The call is applied, and the reply never arrives.
    DropAfter,
    /// Nothing is applied, and the caller is told that one of the rows is unacceptable for good.
    Refuse,
}

/// A method of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Call {
    /// `write`.
    Write,
    /// `renew`.
    Renew,
    /// `retire`.
    Retire,
    /// `define`.
    Define,
    /// `claim`.
    Claim,
    /// `load`.
    Load,
    /// `find`.
    Find,
    /// `request_cancel`.
    RequestCancel,
    /// `operate`.
    Operate,
    /// `list`.
    List,
    /// `count`.
    Count,
    /// `prune`.
    Prune,
}

/// Plans faults on a memory store and counts its calls. Clones, and the handles of all clones of the store, are the same.
///
/// ```
/// # use sagaz_core::store::{fault::{Call, Fault}, memory::Memory};
/// let store = Memory::new();
/// // The reply to the third write from now is lost.
/// store.faults().plan(Call::Write, 3, Fault::FailAfter);
/// // Every batch with more than ten rows is refused.
/// store.faults().on_write(|batch| (batch.len() > 10).then_some(Fault::Refuse));
/// ```
#[derive(Clone, Debug)]
pub struct Faults(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    // Hooks have a lock of their own, so that one may count and plan.
    hooks: Mutex<Hooks>,
    plan: Mutex<Plan>,
    fired: watch::Sender<u64>,
}

type Hook<Argument> = Box<dyn FnMut(&Argument) -> Option<Fault> + Send>;

#[derive(Default)]
struct Hooks {
    write: Option<Hook<[Write]>>,
    claim: Option<Hook<Claim>>,
    renew: Option<Hook<EngineId>>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("write", &self.write.is_some())
            .field("claim", &self.claim.is_some())
            .field("renew", &self.renew.is_some())
            .finish()
    }
}

#[derive(Debug, Default)]
struct Plan {
    is_down: bool,
    refused: BTreeSet<SagaId>,
    planned: BTreeMap<(Call, u64), Fault>,
    counts: BTreeMap<Call, u64>,
    write_rows: u64,
}

impl Faults {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner { hooks: Mutex::default(), plan: Mutex::default(), fired: watch::Sender::new(0) }))
    }

    /// Plans a fault for the `nth` call of this kind from now on; the next one is 1.
    pub fn plan(&self, call: Call, nth: u64, fault: Fault) {
        let mut plan = self.planning();
        let made = plan.count(call);
        plan.planned.insert((call, made + nth), fault);
    }

    /// Asks `hook` about every batch of writes; what [`plan`](Self::plan) says goes first. Replaces the former hook. It
    /// must not call a method named `on_..` itself.
    pub fn on_write(&self, hook: impl FnMut(&[Write]) -> Option<Fault> + Send + 'static) {
        self.hooks().write = Some(Box::new(hook));
    }

    /// As [`on_write`](Self::on_write), for claims.
    pub fn on_claim(&self, hook: impl FnMut(&Claim) -> Option<Fault> + Send + 'static) {
        self.hooks().claim = Some(Box::new(hook));
    }

    /// As [`on_write`](Self::on_write), for renewals of leases.
    pub fn on_renew(&self, hook: impl FnMut(&EngineId) -> Option<Fault> + Send + 'static) {
        self.hooks().renew = Some(Box::new(hook));
    }

    /// Refuses every batch that has a row of this instance, until [`accept`](Self::accept) or [`clear`](Self::clear).
    pub fn refuse(&self, id: SagaId) {
        self.planning().refused.insert(id);
    }

    /// Ends [`refuse`](Self::refuse).
    pub fn accept(&self, id: SagaId) {
        self.planning().refused.remove(&id);
    }

    /// While the store is down, every call of any kind fails, and nothing is applied.
    pub fn set_down(&self, is_down: bool) {
        self.planning().is_down = is_down;
    }

    /// Forgets everything that was planned, and the hooks; the counts stay.
    pub fn clear(&self) {
        *self.hooks() = Hooks::default();
        let mut plan = self.planning();
        plan.is_down = false;
        plan.refused.clear();
        plan.planned.clear();
    }

    /// How many calls of this kind were made, failed ones included.
    #[must_use]
    pub fn count(&self, call: Call) -> u64 {
        self.planning().count(call)
    }

    /// How many rows all calls of `write` had together, failed ones included.
    #[must_use]
    pub fn write_rows(&self) -> u64 {
        self.planning().write_rows
    }

    /// How many calls met a fault so far.
    #[must_use]
    pub fn fired(&self) -> u64 {
        *self.0.fired.borrow()
    }

    /// Returns once at least `times` calls have met a fault since the store was made. With [`Fault::DropAfter`] and
    /// [`Fault::DropBefore`] it tells a test when to drop the process that it simulates.
    pub async fn wait_fired(&self, times: u64) {
        let mut fired = self.0.fired.subscribe();
        // The sender lives in `self`, so that the wait cannot fail.
        let _ = fired.wait_for(|fired| *fired >= times).await;
    }

    pub(super) fn meet_write(&self, batch: &[Write]) -> Option<Fault> {
        let hooked = self.hooks().write.as_mut().and_then(|hook| hook(batch));
        let refused = {
            let mut plan = self.planning();
            plan.write_rows += batch.len() as u64;
            batch.iter().any(|write| plan.refused.contains(&write.id())).then_some(Fault::Refuse)
        };
        self.meet(Call::Write, refused.or(hooked))
    }

    pub(super) fn meet_claim(&self, claim: &Claim) -> Option<Fault> {
        let hooked = self.hooks().claim.as_mut().and_then(|hook| hook(claim));
        self.meet(Call::Claim, hooked)
    }

    pub(super) fn meet_renew(&self, engine: EngineId) -> Option<Fault> {
        let hooked = self.hooks().renew.as_mut().and_then(|hook| hook(&engine));
        self.meet(Call::Renew, hooked)
    }

    /// Counts a call and says which fault it meets.
    pub(super) fn meet(&self, call: Call, otherwise: Option<Fault>) -> Option<Fault> {
        let fault = self.planning().next(call).or(otherwise);
        if fault.is_some() {
            self.0.fired.send_modify(|fired| *fired += 1);
        }
        fault
    }

    fn hooks(&self) -> MutexGuard<'_, Hooks> {
        self.0.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn planning(&self) -> MutexGuard<'_, Plan> {
        self.0.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plan {
    fn count(&self, call: Call) -> u64 {
        self.counts.get(&call).copied().unwrap_or(0)
    }

    fn next(&mut self, call: Call) -> Option<Fault> {
        let count = self.counts.entry(call).or_default();
        *count += 1;
        let planned = self.planned.remove(&(call, *count));
        if self.is_down { Some(Fault::FailBefore) } else { planned }
    }
}

impl Fault {
    pub(super) fn error(self) -> StoreError {
        match self {
            Self::Refuse => StoreError::refusal("a row of the batch is refused (injected fault)"),
            Self::FailAfter => StoreError::transient("the reply of the store was lost (injected fault)"),
            _ => StoreError::transient("the store cannot be reached (injected fault)"),
        }
    }
}

/// One applied change of an instance, as [`Memory::history`](super::memory::Memory::history) lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// When, by the store's clock.
    pub at: SystemTime,
    /// The instance.
    pub id: SagaId,
    /// What changed it.
    pub cause: Cause,
    /// Its owner after the change.
    pub owner: Option<EngineId>,
    /// Its epoch after the change.
    pub epoch: u64,
    /// Its state after the change.
    pub state: InstanceState,
    /// Whether its pivot is passed after the change.
    pub pivot_passed: bool,
    /// The step rows that were written with the change, in the writer's order.
    pub steps: Vec<StepChange>,
}

/// A step row that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepChange {
    /// The step's name.
    pub name: String,
    /// Its new state.
    pub state: StepState,
    /// Whether an output of it is stored after the change.
    pub has_output: bool,
}

/// What changed an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// It was accepted.
    Accept,
    /// A write with this token.
    Progress(Token),
    /// A claim took it.
    Claim {
        /// Whether its former owner had died.
        orphaned: bool,
        /// Whether it runs as a suspect.
        suspect: bool,
    },
    /// A claim postponed it.
    Postpone,
    /// A claim found it to be poison.
    Poison,
    /// Somebody asked to cancel it.
    RequestCancel,
    /// An operator.
    Operate,
    /// It was pruned.
    Prune,
}
