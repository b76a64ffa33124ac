//! A store in memory: for tests, for simulations, and for instances that may be lost with their process.
//!
//! Invariant: every call is one critical section, so that it is atomic as a transaction is, and whatever it does depends
//! on the calls before it and on the clock alone: collections are ordered and nothing is random. The clock is tokio's,
//! so that a test's virtual time is the store's time. Faults are in [`fault`](super::fault).

mod instance;
mod outbox;
mod transaction;

pub use transaction::MemoryTransaction;

use instance::Instance;
use outbox::{News, Outbox};

use super::{
    Accept, Accepted, Backlog, CancelReply, Claim, Claimed, Cursor, Defined, DefinitionKey, Filter,
    InstanceState, OperatorWrite, Page, Poisoned, Progress, Renewal, Retention, SagaStore,
    Snapshot, StepWrite, StoreError, Summary, Verdict, Write, Written,
    fault::{Call, Cause, Change, Fault, Faults, StepChange},
};
use crate::{
    id::{EngineId, SagaId},
    system::System,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::Instant;

/// A store in memory. A clone is the same store, as another connection to one database would be.
#[derive(Clone, Debug)]
pub struct Memory {
    data: Arc<Mutex<Data>>,
    faults: Faults,
    clock: Clock,
    news: News,
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self {
            data: Arc::default(),
            faults: Faults::new(),
            clock: Clock::start(),
            news: News::new(),
        }
    }

    /// An empty store that keeps a [history](Self::history), which grows with every change.
    #[must_use]
    pub fn recording() -> Self {
        let store = Self::new();
        store.lock().history = Some(Vec::new());
        store
    }

    /// Plans faults and counts calls.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// Every change that was applied, in order; empty unless the store is [`recording`](Self::recording).
    #[must_use]
    pub fn history(&self) -> Vec<Change> {
        self.lock().history.clone().unwrap_or_default()
    }

    /// That there may be events, of these writes.
    fn tell_of_events(&self, writes: &[Write]) {
        let has_events = |write: &Write| match write {
            Write::Progress(progress) => progress.steps.iter().any(|step| !step.events.is_empty()),
            Write::Accept(_) => false,
        };
        if writes.iter().any(has_events) {
            self.news.tell();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply<T>(&self, work: impl FnOnce(&mut Data, Now) -> T) -> T {
        let mut data = self.lock();
        work(&mut data, self.clock.now())
    }

    async fn carry_out<T>(
        &self,
        fault: Option<Fault>,
        work: impl FnOnce(&mut Data, Now) -> T,
    ) -> Result<T, StoreError> {
        let Some(fault) = fault else {
            return Ok(self.apply(work));
        };
        match fault {
            Fault::FailBefore | Fault::Refuse => Err(fault.error()),
            Fault::FailAfter => {
                self.apply(work);
                Err(fault.error())
            }
            Fault::Delay(delay) => {
                tokio::time::sleep(delay).await;
                Ok(self.apply(work))
            }
            Fault::DropBefore => future::pending().await,
            Fault::DropAfter => {
                self.apply(work);
                future::pending().await
            }
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl System for Memory {
    fn system(&self) -> &'static str {
        "memory"
    }
}

impl SagaStore for Memory {
    async fn write(&self, batch: &[Write]) -> Result<Vec<Written>, StoreError> {
        let fault = self.faults.meet_write(batch);
        let written = self.carry_out(fault, |data, now| {
            batch.iter().map(|write| data.write(write, now)).collect()
        });
        let written = written.await;
        self.tell_of_events(batch);
        written
    }

    async fn renew(&self, engine: EngineId, ttl: Duration) -> Result<Renewal, StoreError> {
        let fault = self.faults.meet_renew(engine);
        self.carry_out(fault, |data, now| data.renew(engine, ttl, now))
            .await
    }

    async fn retire(&self, engine: EngineId) -> Result<(), StoreError> {
        let fault = self.faults.meet(Call::Retire, None);
        self.carry_out(fault, |data, _| data.retire(engine)).await
    }

    async fn define(&self, key: &DefinitionKey) -> Result<Defined, StoreError> {
        let fault = self.faults.meet(Call::Define, None);
        self.carry_out(fault, |data, _| data.define(key)).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        let fault = self.faults.meet_claim(claim);
        self.carry_out(fault, |data, now| data.claim(claim, now))
            .await
    }

    async fn load(&self, id: SagaId) -> Result<Option<Snapshot>, StoreError> {
        let fault = self.faults.meet(Call::Load, None);
        self.carry_out(fault, |data, now| {
            data.instances
                .get(&id)
                .map(|instance| instance.snapshot(now))
        })
        .await
    }

    async fn find(&self, saga: &str, start_key: &str) -> Result<Option<SagaId>, StoreError> {
        let fault = self.faults.meet(Call::Find, None);
        let key = (saga.to_owned(), start_key.to_owned());
        self.carry_out(fault, |data, _| data.start_keys.get(&key).copied())
            .await
    }

    async fn request_cancel(&self, id: SagaId) -> Result<CancelReply, StoreError> {
        let fault = self.faults.meet(Call::RequestCancel, None);
        self.carry_out(fault, |data, now| data.request_cancel(id, now))
            .await
    }

    async fn operate(&self, write: &OperatorWrite) -> Result<bool, StoreError> {
        let fault = self.faults.meet(Call::Operate, None);
        self.carry_out(fault, |data, now| data.operate(write, now))
            .await
    }

    async fn list(&self, filter: &Filter) -> Result<Page, StoreError> {
        let fault = self.faults.meet(Call::List, None);
        self.carry_out(fault, |data, now| data.list(filter, now))
            .await
    }

    async fn count(&self) -> Result<Vec<(String, InstanceState, u64)>, StoreError> {
        let fault = self.faults.meet(Call::Count, None);
        self.carry_out(fault, |data, _| data.count()).await
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        let fault = self.faults.meet(Call::Backlog, None);
        self.carry_out(fault, |data, now| data.backlog(now)).await
    }

    async fn prune(
        &self,
        age: Duration,
        limit: u32,
        retention: Retention,
    ) -> Result<u64, StoreError> {
        let fault = self.faults.meet(Call::Prune, None);
        self.carry_out(fault, |data, now| data.prune(age, limit, retention, now))
            .await
    }

    async fn archived(&self, id: SagaId) -> Result<Option<Snapshot>, StoreError> {
        let fault = self.faults.meet(Call::Archived, None);
        self.carry_out(fault, |data, now| {
            let instance = data.archive.get(&id);
            instance.map(|instance| instance.snapshot(now))
        })
        .await
    }
}

/// Tokio's clock, mapped onto the calendar once, so that both run at one pace.
#[derive(Clone, Copy, Debug)]
struct Clock {
    started: Instant,
    started_at: SystemTime,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the store's clock")]
    fn start() -> Self {
        Self {
            started: Instant::now(),
            started_at: SystemTime::now(),
        }
    }

    fn now(&self) -> Now {
        let instant = Instant::now();
        Now {
            instant,
            wall: self.started_at + instant.saturating_duration_since(self.started),
        }
    }
}

/// The time of one call.
#[derive(Clone, Copy)]
struct Now {
    instant: Instant,
    wall: SystemTime,
}

impl Now {
    /// The moment so much later, or one that no process will live to see.
    fn after(self, delay: Duration) -> Instant {
        const FAR: Duration = Duration::from_hours(30 * 365 * 24);
        self.instant
            .checked_add(delay)
            .unwrap_or(self.instant + FAR)
    }

    fn until(self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.instant)
    }

    fn unix_ms(self) -> u64 {
        let since = self.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn age(self, of: SystemTime) -> Duration {
        self.wall.duration_since(of).unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct Data {
    instances: BTreeMap<SagaId, Instance>,
    /// Ended instances that were moved out of the way.
    archive: BTreeMap<SagaId, Instance>,
    /// The instances in a live state: a claim looks at no other.
    live: BTreeSet<SagaId>,
    start_keys: BTreeMap<(String, String), SagaId>,
    /// Until when each engine's lease lasts; one that has ended may be absent.
    leases: BTreeMap<EngineId, Instant>,
    /// What transactional steps wrote.
    values: BTreeMap<String, Vec<u8>>,
    /// Instances that an open transaction writes.
    held: BTreeSet<SagaId>,
    outbox: Outbox,
    history: Option<Vec<Change>>,
}

impl Data {
    fn write(&mut self, write: &Write, now: Now) -> Written {
        match write {
            Write::Accept(accept) => Written::Accepted(self.accept(accept, now)),
            Write::Progress(progress) => self.progress(progress, now),
        }
    }

    fn accept(&mut self, accept: &Accept, now: Now) -> Accepted {
        if let Some(existing) = self.existing(accept) {
            return existing;
        }
        if let Some(start_key) = &accept.start_key {
            let key = (accept.definition.saga.clone(), start_key.clone());
            self.start_keys.insert(key, accept.id);
        }
        self.instances.insert(accept.id, Instance::new(accept, now));
        self.changed(accept.id, Cause::Accept, &[], now);
        Accepted::New
    }

    /// What is there in place of a new instance: itself, by an earlier try of the same write, or that of its start key.
    fn existing(&self, accept: &Accept) -> Option<Accepted> {
        if self.instances.contains_key(&accept.id) {
            return Some(Accepted::New);
        }
        let key = (accept.definition.saga.clone(), accept.start_key.clone()?);
        let id = *self.start_keys.get(&key)?;
        let input_digest = self.instances.get(&id)?.input_digest.clone();
        Some(Accepted::Existing { id, input_digest })
    }

    fn progress(&mut self, progress: &Progress, now: Now) -> Written {
        let written = self.judge(progress);
        let is_owned = |instance: &Instance| instance.summary.owner == Some(progress.token.owner);
        let Some(instance) = self
            .instances
            .get_mut(&progress.id)
            .filter(|it| is_owned(it))
        else {
            // Another's, or given up already by this very write.
            return written;
        };
        if written == Written::Lost {
            return written;
        }
        for step in &progress.steps {
            // The same write was applied before.
            let was_there = instance
                .steps
                .get(&step.name)
                .is_some_and(|it| it.row.state == step.state);
            for event in step.events.iter().filter(|_| !was_there) {
                self.outbox.append(event, progress.sender, now);
            }
        }
        instance.apply(progress, now);
        let cause = Cause::Progress(progress.token);
        self.changed(progress.id, cause, &progress.steps, now);
        written
    }

    /// What becomes of a write with this token.
    fn judge(&self, progress: &Progress) -> Written {
        let Some(instance) = self.instances.get(&progress.id) else {
            return Written::Lost;
        };
        let token = progress.token;
        let summary = &instance.summary;
        if summary.owner.is_none() && summary.epoch == token.epoch && token.epoch > 0 {
            // Only a write with this token can have given it up at this epoch: the repeat of a write whose reply was lost.
            return Written::Stored {
                cancel_requested: instance.cancel_requested,
            };
        }
        if summary.owner != Some(token.owner) || summary.epoch != token.epoch {
            return Written::Lost;
        }
        Written::Stored {
            cancel_requested: instance.cancel_requested,
        }
    }

    fn renew(&mut self, engine: EngineId, ttl: Duration, now: Now) -> Renewal {
        let lapsed = !self.is_leased(engine, now);
        self.leases.retain(|_, until| *until > now.instant);
        self.leases.insert(engine, now.after(ttl));
        let mine = self
            .live
            .iter()
            .filter_map(|id| self.instances.get(id))
            .filter(|it| it.summary.owner == Some(engine));
        let cancel_requested = mine
            .filter(|it| it.cancel_requested)
            .map(|it| it.summary.id)
            .collect();
        let others = self.leases.keys().filter(|other| **other != engine).count();
        Renewal {
            cancel_requested,
            other_engines: u32::try_from(others).unwrap_or(u32::MAX),
            lapsed,
        }
    }

    fn retire(&mut self, engine: EngineId) {
        self.leases.remove(&engine);
    }

    fn is_leased(&self, engine: EngineId, now: Now) -> bool {
        self.leases
            .get(&engine)
            .is_some_and(|until| *until > now.instant)
    }

    fn define(&self, key: &DefinitionKey) -> Defined {
        let unfinished_others = self.instances.values().map(|it| &it.summary).filter(|it| {
            !it.state.is_final()
                && it.definition.saga == key.saga
                && it.definition.version == key.version
                && it.definition.fingerprint != key.fingerprint
        });
        let mut fingerprints = unfinished_others.map(|it| &it.definition.fingerprint);
        if let Some(fingerprint) = fingerprints.next() {
            let unfinished = 1 + fingerprints.filter(|other| *other == fingerprint).count() as u64;
            return Defined::Conflict {
                fingerprint: fingerprint.clone(),
                unfinished,
            };
        }
        // The instances name their definitions, so that nothing else need be kept.
        Defined::Stored
    }

    fn claim(&mut self, claim: &Claim, now: Now) -> Claimed {
        let mut claimed = Claimed::default();
        if !self.is_leased(claim.engine, now) {
            return claimed;
        }
        let (mut room, mut suspect_room) = (claim.limit, claim.suspect);
        for (_, id, orphaned) in self.candidates(now) {
            let Some(instance) = self.instances.get_mut(&id) else {
                continue;
            };
            if room == 0 && instance.takeovers_after(orphaned) < claim.suspect_after {
                continue;
            }
            let verdict = claim.judge(&instance.candidate(orphaned), &instance.steps_for(claim));
            let suspect = matches!(verdict, Verdict::TakeSuspect(_));
            let cause = match verdict {
                Verdict::Take(key) if room > 0 => {
                    room -= 1;
                    claimed.instances.push(instance.take(
                        claim.engine,
                        key,
                        orphaned,
                        suspect,
                        now,
                    ));
                    Cause::Claim { orphaned, suspect }
                }
                Verdict::TakeSuspect(key) if suspect_room => {
                    suspect_room = false;
                    claimed.instances.push(instance.take(
                        claim.engine,
                        key,
                        orphaned,
                        suspect,
                        now,
                    ));
                    Cause::Claim { orphaned, suspect }
                }
                Verdict::Postpone(delay) => {
                    instance.postpone(delay, orphaned, now);
                    Cause::Postpone
                }
                Verdict::Poison => {
                    instance.poison(orphaned);
                    let saga = instance.summary.definition.saga.clone();
                    claimed.poisoned.push(Poisoned { id, saga });
                    Cause::Poison
                }
                Verdict::Skip | Verdict::Take(_) | Verdict::TakeSuspect(_) => continue,
            };
            self.changed(id, cause, &[], now);
        }
        claimed.next_due = self.next_due(claim, now);
        claimed
    }

    /// What can be claimed, with whether its owner died: orphans first, for they have waited longest, then by wake-up.
    fn candidates(&self, now: Now) -> Vec<(Option<Instant>, SagaId, bool)> {
        let mut candidates: Vec<_> = self
            .live
            .iter()
            .filter(|id| !self.held.contains(id))
            .filter_map(|id| {
                let instance = self.instances.get(id)?;
                match instance.summary.owner {
                    Some(owner) => (!self.is_leased(owner, now)).then_some((None, *id, true)),
                    None => instance
                        .wake
                        .filter(|wake| *wake <= now.instant)
                        .map(|wake| (Some(wake), *id, false)),
                }
            })
            .collect();
        candidates.sort_unstable();
        candidates
    }

    fn next_due(&self, claim: &Claim, now: Now) -> Option<Duration> {
        let live = self.live.iter().filter_map(|id| self.instances.get(id));
        live.filter(|it| {
            claim
                .runnable
                .iter()
                .any(|runnable| runnable.key.saga == it.summary.definition.saga)
        })
        .filter_map(|it| it.wake)
        .filter(|wake| *wake > now.instant)
        .min()
        .map(|wake| now.until(wake))
    }

    fn request_cancel(&mut self, id: SagaId, now: Now) -> CancelReply {
        let Some(instance) = self.instances.get_mut(&id) else {
            return CancelReply::NotFound;
        };
        if !instance.summary.state.is_live() {
            return CancelReply::NotLive(instance.summary.state);
        }
        if instance.summary.pivot_passed {
            return CancelReply::PivotPassed;
        }
        instance.cancel_requested = true;
        if instance.summary.owner.is_none() {
            instance.wake = instance.wake.map(|wake| wake.min(now.instant));
        }
        self.changed(id, Cause::RequestCancel, &[], now);
        CancelReply::Requested
    }

    fn operate(&mut self, write: &OperatorWrite, now: Now) -> bool {
        let Some(instance) = self.instances.get_mut(&write.id) else {
            return false;
        };
        if instance.summary.state != InstanceState::Stuck || instance.summary.epoch != write.epoch {
            return false;
        }
        instance.operate(write, now);
        self.changed(write.id, Cause::Operate, &write.steps, now);
        true
    }

    fn list(&self, filter: &Filter, now: Now) -> Page {
        let matches = |summary: &&Summary| {
            filter
                .saga
                .as_ref()
                .is_none_or(|saga| *saga == summary.definition.saga)
                && (filter.states.is_empty() || filter.states.contains(&summary.state))
                && filter
                    .older_than
                    .is_none_or(|age| now.age(summary.created_at) >= age)
                && filter.after.is_none_or(|Cursor(after)| summary.id < after)
        };
        let newest_first = self
            .instances
            .values()
            .rev()
            .map(|instance| &instance.summary);
        let instances = newest_first.filter(matches).cloned();
        Page::of(
            filter,
            instances.take(filter.page_len() as usize + 1).collect(),
        )
    }

    fn count(&self) -> Vec<(String, InstanceState, u64)> {
        let mut counts = BTreeMap::<_, u64>::new();
        for summary in self.instances.values().map(|instance| &instance.summary) {
            *counts
                .entry((summary.definition.saga.as_str(), summary.state))
                .or_default() += 1;
        }
        counts
            .into_iter()
            .map(|((saga, state), count)| (saga.to_owned(), state, count))
            .collect()
    }

    fn backlog(&self, now: Now) -> Vec<Backlog> {
        let mut backlog = BTreeMap::<_, (u64, Duration)>::new();
        let unfinished = self.instances.values().map(|instance| &instance.summary);
        for summary in unfinished.filter(|it| !it.state.is_final()) {
            let of = (summary.definition.saga.as_str(), summary.state);
            let (instances, oldest) = backlog.entry(of).or_default();
            *instances += 1;
            *oldest = now.age(summary.created_at).max(*oldest);
        }
        let backlog = backlog.into_iter();
        backlog
            .map(|((saga, state), (instances, oldest))| Backlog {
                saga: saga.to_owned(),
                state,
                instances,
                oldest,
            })
            .collect()
    }

    fn prune(&mut self, age: Duration, limit: u32, retention: Retention, now: Now) -> u64 {
        let ended = self
            .instances
            .values()
            .map(|instance| &instance.summary)
            .filter(|it| it.state.is_final());
        let old: Vec<SagaId> = ended
            .filter(|it| now.age(it.updated_at) >= age)
            .map(|it| it.id)
            .take(limit as usize)
            .collect();
        for id in &old {
            let ended = self.instances.get(id).map(|it| it.summary.updated_at);
            self.changed(*id, Cause::Prune, &[], now);
            let removed = self.remove(*id);
            if let (Some(mut removed), Retention::Archive) = (removed, retention) {
                // It is kept as it was.
                removed.summary.updated_at = ended.unwrap_or(now.wall);
                self.archive.entry(*id).or_insert(removed);
            }
        }
        old.len() as u64
    }

    fn remove(&mut self, id: SagaId) -> Option<Instance> {
        let instance = self.instances.remove(&id)?;
        if let Some(start_key) = &instance.summary.start_key {
            let saga = instance.summary.definition.saga.clone();
            self.start_keys.remove(&(saga, start_key.clone()));
        }
        Some(instance)
    }

    /// Keeps what is derived from an instance's row in step with it, after every change.
    fn changed(&mut self, id: SagaId, cause: Cause, steps: &[StepWrite], now: Now) {
        let Some(instance) = self.instances.get_mut(&id) else {
            return;
        };
        let summary = &mut instance.summary;
        summary.updated_at = now.wall;
        if summary.state.is_live() {
            self.live.insert(id);
        } else {
            self.live.remove(&id);
        }
        if let Some(history) = &mut self.history {
            let steps = steps.iter().map(|step| StepChange {
                name: step.name.clone(),
                state: step.state,
                has_output: instance
                    .steps
                    .get(&step.name)
                    .is_some_and(|stored| stored.row.output.is_some()),
            });
            history.push(Change {
                at: now.wall,
                id,
                cause,
                owner: summary.owner,
                epoch: summary.epoch,
                state: summary.state,
                pivot_passed: summary.pivot_passed,
                steps: steps.collect(),
            });
        }
    }
}
