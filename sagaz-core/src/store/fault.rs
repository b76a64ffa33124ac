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
    /// `backlog`.
    Backlog,
    /// `prune`.
    Prune,
    /// `archived`.
    Archived,
    /// `begin`, of a transaction.
    Begin,
    /// `write_in`, in a transaction.
    WriteIn,
    /// `commit`, of a transaction.
    Commit,
    /// `settle`, of a transaction.
    Settle,
    /// `attend`, of the outbox.
    Attend,
    /// `release`, of the outbox.
    Release,
    /// `fetch`, of the outbox.
    Fetch,
    /// `mark`, of the outbox.
    Mark,
    /// `heads`, of the outbox.
    Heads,
    /// `settle_heads`, of the outbox.
    SettleHeads,
    /// `append_in`, in a transaction.
    AppendIn,
    /// `begin_handling`, of the inbox.
    BeginHandling,
    /// `finish_handling`, of the inbox.
    FinishHandling,
    /// `bury`, of the inbox.
    Bury,
    /// `retries`, of the inbox.
    Retries,
    /// `is_handled`, of the inbox.
    IsHandled,
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
        Self(Arc::new(Inner {
            hooks: Mutex::default(),
            plan: Mutex::default(),
            fired: watch::Sender::new(0),
        }))
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
            batch
                .iter()
                .any(|write| plan.refused.contains(&write.id()))
                .then_some(Fault::Refuse)
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
        if self.is_down {
            Some(Fault::FailBefore)
        } else {
            planned
        }
    }
}

impl Fault {
    pub(super) fn error(self) -> StoreError {
        match self {
            Self::Refuse => StoreError::refusal("a row of the batch is refused (injected fault)"),
            Self::FailAfter => {
                StoreError::transient("the reply of the store was lost (injected fault)")
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        codec::Payload,
        store::{
            Accept, Accepted, DefinitionKey, Progress, Retention, SagaStore, StepWrite, Written,
            memory::Memory,
        },
    };

    const ENGINE_TTL: Duration = Duration::from_mins(1);

    fn accept(owner: Option<EngineId>) -> Accept {
        Accept {
            id: SagaId::new(),
            definition: DefinitionKey {
                saga: "saga".to_owned(),
                version: 1,
                fingerprint: "graph".to_owned(),
            },
            input: Payload {
                content_type: "text/plain".to_owned(),
                bytes: b"input".to_vec(),
            },
            input_digest: "digest".to_owned(),
            start_key: None,
            owner,
            deadline: None,
            trace: None,
        }
    }

    async fn is_stored(store: &Memory, accept: &Accept) -> bool {
        store.load(accept.id).await.unwrap().is_some()
    }

    #[tokio::test]
    async fn a_failed_call_applies_nothing_and_a_lost_reply_everything() {
        let store = Memory::new();
        for (fault, applied) in [(Fault::FailBefore, false), (Fault::FailAfter, true)] {
            let accept = accept(None);
            let batch = [Write::Accept(accept.clone())];
            store.faults().plan(Call::Write, 2, fault);
            store.write(&[]).await.unwrap();
            assert!(store.write(&batch).await.unwrap_err().is_transient());
            assert_eq!(is_stored(&store, &accept).await, applied);
            assert_eq!(
                store.write(&batch).await.unwrap(),
                [Written::Accepted(Accepted::New)],
                "a plan is for one call"
            );
        }
        assert_eq!(store.faults().fired(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_delayed_call_is_applied_late_and_not_at_all_if_dropped() {
        let store = Memory::new();
        store
            .faults()
            .on_write(|_| Some(Fault::Delay(Duration::from_secs(10))));
        let (dropped, late) = (accept(None), accept(None));
        let batch = [Write::Accept(dropped.clone())];
        assert!(
            tokio::time::timeout(Duration::from_secs(9), store.write(&batch))
                .await
                .is_err()
        );
        store.write(&[Write::Accept(late.clone())]).await.unwrap();
        assert!(!is_stored(&store, &dropped).await);
        assert!(is_stored(&store, &late).await);
    }

    #[tokio::test]
    async fn a_dropped_reply_never_arrives() {
        let store = Memory::new();
        let faults = store.faults();
        for (times, fault, applied) in [(1, Fault::DropBefore, false), (2, Fault::DropAfter, true)]
        {
            let accept = accept(None);
            faults.plan(Call::Write, 1, fault);
            let batch = [Write::Accept(accept.clone())];
            tokio::select! {
                biased;
                written = store.write(&batch) => panic!("{written:?}"),
                () = faults.wait_fired(times) => {}
            }
            assert_eq!(is_stored(&store, &accept).await, applied);
        }
    }

    #[tokio::test]
    async fn a_refused_instance_spoils_its_batch_alone() {
        let store = Memory::new();
        let (refused, other) = (accept(None), accept(None));
        store.faults().refuse(refused.id);
        let batch = [Write::Accept(other.clone()), Write::Accept(refused.clone())];
        assert!(store.write(&batch).await.unwrap_err().is_refusal());
        assert!(!is_stored(&store, &other).await);
        store.write(&batch[..1]).await.unwrap();
        store.faults().accept(refused.id);
        store.write(&batch[1..]).await.unwrap();
        assert!(is_stored(&store, &refused).await);
    }

    #[tokio::test]
    async fn while_it_is_down_every_call_fails() {
        let store = Memory::new();
        let engine = EngineId::random();
        store.faults().set_down(true);
        assert!(
            store
                .renew(engine, ENGINE_TTL)
                .await
                .unwrap_err()
                .is_transient()
        );
        assert!(store.load(SagaId::new()).await.unwrap_err().is_transient());
        assert!(store.count().await.unwrap_err().is_transient());
        store.faults().set_down(false);
        assert!(store.count().await.unwrap().is_empty());
        store
            .faults()
            .on_renew(move |who| (*who == engine).then_some(Fault::FailBefore));
        assert!(store.renew(engine, ENGINE_TTL).await.is_err());
        assert!(store.renew(EngineId::random(), ENGINE_TTL).await.is_ok());
        store.faults().clear();
        assert_eq!(
            store.renew(engine, ENGINE_TTL).await.unwrap().other_engines,
            1
        );
    }

    #[tokio::test]
    async fn calls_and_rows_are_counted() {
        let store = Memory::new();
        let faults = store.faults();
        faults.plan(Call::Write, 1, Fault::FailBefore);
        let batch = [Write::Accept(accept(None)), Write::Accept(accept(None))];
        assert!(store.write(&batch).await.is_err());
        store.write(&batch).await.unwrap();
        store.load(batch[0].id()).await.unwrap();
        assert_eq!((faults.count(Call::Write), faults.write_rows()), (2, 4));
        assert_eq!(
            (faults.count(Call::Load), faults.count(Call::Claim)),
            (1, 0)
        );
        assert!(store.history().is_empty(), "off unless asked for");
    }

    #[tokio::test]
    async fn a_history_lists_what_was_applied_and_nothing_else() {
        let store = Memory::recording();
        let owner = EngineId::random();
        let accept = accept(Some(owner));
        let token = Token { owner, epoch: 1 };
        let mut progress = Progress {
            id: accept.id,
            token,
            state: InstanceState::Completed,
            pivot_passed: true,
            failure: None,
            stuck: None,
            release: None,
            sender: None,
            steps: vec![StepWrite {
                name: "reserve".to_owned(),
                kind: crate::definition::StepKind::Pivot,
                state: StepState::Completed,
                attempts: 1,
                undo_attempts: 0,
                recoveries: 0,
                output: Some(accept.input.clone()),
                error: None,
                wake: None,
                events: Vec::new(),
            }],
        };
        store.write(&[Write::Accept(accept.clone())]).await.unwrap();
        store.faults().plan(Call::Write, 1, Fault::FailAfter);
        // The first is applied and the second is its repeat.
        assert!(
            store
                .write(&[Write::Progress(progress.clone())])
                .await
                .is_err()
        );
        store
            .write(&[Write::Progress(progress.clone())])
            .await
            .unwrap();
        progress.token.epoch = 7;
        assert_eq!(
            store.write(&[Write::Progress(progress)]).await.unwrap(),
            [Written::Lost]
        );
        store
            .prune(Duration::ZERO, 1, Retention::Delete)
            .await
            .unwrap();

        let history = store.history();
        let causes: Vec<_> = history.iter().map(|change| change.cause).collect();
        assert_eq!(
            causes,
            [Cause::Accept, Cause::Progress(token), Cause::Prune]
        );
        assert!(
            history
                .iter()
                .all(|change| change.id == accept.id && change.epoch == 1)
        );
        assert_eq!(
            (history[0].owner, history[0].state),
            (Some(owner), InstanceState::Pending)
        );
        let done = &history[1];
        assert_eq!(
            (done.owner, done.state, done.pivot_passed),
            (None, InstanceState::Completed, true)
        );
        let step = StepChange {
            name: "reserve".to_owned(),
            state: StepState::Completed,
            has_output: true,
        };
        assert_eq!(done.steps, [step]);
    }
}
