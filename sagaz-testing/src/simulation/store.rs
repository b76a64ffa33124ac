//! The store as one simulated process sees it: the memory store behind a connection that can be cut.
//!
//! Invariant: a call is applied whole or not at all, and what was applied is in the story, whatever its caller hears of it.

use super::{Order, Simulation};
use crate::{
    fault::{Fault, Site},
    story::{ProcessNumber, Row, StoredRows, What},
};
use sagaz_core::{
    EngineId, Event, EventId, SagaId, System,
    store::{
        Accepted, Attendance, Backlog, CancelReply, Claim, Claimed, CommitError, DeadDecision,
        DeadLetterFilter, DeadLetterPage, Defined, DefinitionKey, Fate, Fetch, Fetched, Filter,
        InstanceState, Mark, OperatorWrite, OutboxStats, OutboxStore, Page, Place, Progress,
        Renewal, Retention, SagaStore, SentEvents, Settled, Snapshot, StoreError, Transacts,
        WorkerId, Write, Written,
        memory::{Memory, MemoryTransaction},
    },
};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use uuid::Uuid;

/// The store that sagas run on in a [`CrashMatrix`](crate::CrashMatrix): what `G: RunsOn<SimulatedStore>` means is that the saga
/// has no transactional steps, or ones that take a [`MemoryTransaction`].
#[derive(Clone)]
pub struct SimulatedStore {
    memory: Memory,
    simulation: Simulation,
    process: ProcessNumber,
    /// What is written in the transaction that is about to be committed.
    in_transaction: Arc<Mutex<Option<Progress>>>,
    /// Events that workers of this process have read, by their places.
    read: Arc<Mutex<BTreeMap<(u16, u64), EventId>>>,
}

impl fmt::Debug for SimulatedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedStore")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

fn unreachable_store() -> StoreError {
    StoreError::transient("the store cannot be reached (injected)")
}

fn reply_lost() -> StoreError {
    StoreError::transient("the reply of the store was lost (injected)")
}

fn refused() -> StoreError {
    StoreError::refusal("the row is too large (injected)")
}

impl SimulatedStore {
    pub(super) fn new(memory: &Memory, simulation: &Simulation, process: ProcessNumber) -> Self {
        Self {
            memory: memory.clone(),
            simulation: simulation.clone(),
            process,
            in_transaction: Arc::default(),
            read: Arc::default(),
        }
    }

    /// Fails while the store is away, and never returns in a process that is dead.
    async fn reach(&self) -> Result<(), StoreError> {
        self.simulation.alive(self.process).await;
        if self.simulation.reaches_store(self.process) {
            Ok(())
        } else {
            Err(unreachable_store())
        }
    }

    fn rows_of(&self, progress: &Progress) -> StoredRows {
        let definition = self.simulation.definition();
        let rows = progress.steps.iter().map(|row| Row {
            step: definition.index_of(&row.name).unwrap_or(usize::MAX),
            name: row.name.clone(),
            state: row.state,
            has_output: row.output.is_some(),
            events: row
                .events
                .iter()
                .map(|event| (self.simulation.number(event.event_id()), key_of(event)))
                .collect(),
        });
        StoredRows {
            epoch: progress.token.epoch,
            state: progress.state,
            pivot_passed: progress.pivot_passed,
            released: progress.release.is_some(),
            failed_step: progress.failure.as_ref().and_then(|it| it.step.clone()),
            stuck: progress.stuck.as_ref().map(ToString::to_string),
            stuck_step: progress.stuck.as_ref().and_then(|it| it.step.clone()),
            rows: rows.collect(),
        }
    }

    fn words_of(&self, write: &Write) -> String {
        match write {
            Write::Progress(progress) => self.rows_of(progress).words(),
            _ => "the new instance".to_owned(),
        }
    }

    /// An output that is new in the write.
    fn output_of(&self, write: &Write) -> Option<usize> {
        let Write::Progress(progress) = write else {
            return None;
        };
        let rows = progress.steps.iter().filter(|row| row.output.is_some());
        rows.filter_map(|row| self.simulation.definition().index_of(&row.name))
            .find(|step| !self.simulation.has_output(*step))
    }

    /// Whether there is an output in it that the store refuses.
    fn has_refused(&self, write: &Write) -> bool {
        let Write::Progress(progress) = write else {
            return false;
        };
        let rows = progress.steps.iter().filter(|row| row.output.is_some());
        rows.filter_map(|row| self.simulation.definition().index_of(&row.name))
            .any(|step| self.simulation.is_refused(step))
    }

    fn faults_of(&self, batch: &[Write]) -> Vec<Fault> {
        let mut faults = Fault::of_call(&[Fault::Down]);
        if batch.iter().any(|write| self.output_of(write).is_some()) {
            faults.push(Fault::OutputRefused);
        }
        if batch
            .iter()
            .any(|write| matches!(write, Write::Progress(_)))
        {
            faults.push(Fault::Cancelled);
        }
        faults
    }

    async fn apply(&self, batch: &[Write]) -> Result<Vec<Written>, StoreError> {
        let written = self.memory.write(batch).await?;
        for (write, written) in batch.iter().zip(&written) {
            self.tell(write, written);
        }
        Ok(written)
    }

    fn tell(&self, write: &Write, written: &Written) {
        match (write, written) {
            (Write::Accept(accept), Written::Accepted(Accepted::New)) => {
                let (owned, epoch) = (accept.owner.is_some(), u64::from(accept.owner.is_some()));
                self.simulation
                    .tell(self.process, What::Accepted { owned, epoch });
                self.simulation.owned(epoch);
            }
            (Write::Progress(progress), Written::Stored { .. }) => self.tell_stored(progress),
            (_, Written::Lost) => self.simulation.tell(self.process, What::WriteLost),
            _ => {}
        }
    }

    fn tell_stored(&self, progress: &Progress) {
        self.simulation.stored(self.process, self.rows_of(progress));
    }

    /// Somebody asks the store to cancel the instance.
    async fn cancel(&self, id: SagaId) -> Result<(), StoreError> {
        let granted = self.memory.request_cancel(id).await? == CancelReply::Requested;
        let what = What::CancelRequested { granted };
        self.simulation.tell(self.process, what);
        Ok(())
    }

    /// What goes wrong when the outbox is told what became of events.
    async fn before_mark(&self) -> Result<Option<Fault>, StoreError> {
        let faults = || Fault::of_call(&[Fault::Cancelled]);
        let fault = self.simulation.visit(self.process, || Site::Mark, faults);
        match fault {
            Some(Fault::DiesBefore) => return self.simulation.die(self.process).await,
            Some(Fault::Fails) => return Err(unreachable_store()),
            Some(Fault::Cancelled) => self.simulation.order(Order::Cancel),
            _ => {}
        }
        Ok(fault)
    }

    async fn after_mark(&self, fault: Option<Fault>) -> Result<(), StoreError> {
        match fault {
            Some(Fault::DiesAfter) => self.simulation.die(self.process).await,
            Some(Fault::ReplyLost) => Err(reply_lost()),
            _ => Ok(()),
        }
    }

    fn tell_sent(&self, places: impl Iterator<Item = (u16, u64)>) {
        for place in places {
            let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            let event = read.get(&place).cloned();
            drop(read);
            if let Some(event) = event {
                self.simulation.sent(self.process, &event);
            }
        }
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, Option<Progress>> {
        self.in_transaction
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn key_of(event: &Event) -> String {
    event.ordering_key().unwrap_or_default().to_owned()
}

impl System for SimulatedStore {
    fn system(&self) -> &'static str {
        "memory"
    }
}

impl SagaStore for SimulatedStore {
    async fn write(&self, batch: &[Write]) -> Result<Vec<Written>, StoreError> {
        self.reach().await?;
        if batch.iter().any(|write| self.has_refused(write)) {
            return Err(refused());
        }
        let words = || {
            let writes: Vec<_> = batch.iter().map(|write| self.words_of(write)).collect();
            Site::Write(writes.join("; "))
        };
        let fault = self
            .simulation
            .visit(self.process, words, || self.faults_of(batch));
        match fault {
            Some(Fault::DiesBefore) => self.simulation.die(self.process).await,
            Some(Fault::DiesAfter) => {
                self.apply(batch).await?;
                self.simulation.die(self.process).await
            }
            Some(Fault::Fails) => Err(unreachable_store()),
            Some(Fault::ReplyLost) => {
                self.apply(batch).await?;
                Err(reply_lost())
            }
            Some(Fault::Down) => {
                self.simulation.take_down();
                Err(unreachable_store())
            }
            Some(Fault::Cancelled) => {
                // The write hears of it in its reply.
                for write in batch {
                    self.cancel(write.id()).await?;
                }
                self.apply(batch).await
            }
            Some(Fault::OutputRefused) => {
                if let Some(step) = batch.iter().find_map(|write| self.output_of(write)) {
                    self.simulation.refuse(step);
                }
                Err(refused())
            }
            _ => self.apply(batch).await,
        }
    }

    async fn renew(&self, engine: EngineId, ttl: Duration) -> Result<Renewal, StoreError> {
        self.reach().await?;
        self.memory.renew(engine, ttl).await
    }

    async fn retire(&self, engine: EngineId) -> Result<(), StoreError> {
        self.reach().await?;
        self.memory.retire(engine).await
    }

    async fn define(&self, key: &DefinitionKey) -> Result<Defined, StoreError> {
        self.reach().await?;
        self.memory.define(key).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        self.reach().await?;
        let claimed = self.memory.claim(claim).await?;
        if !claimed.poisoned.is_empty() {
            self.simulation.poisoned(self.process);
        }
        let Some(taken) = claimed.instances.first() else {
            return Ok(claimed);
        };
        let (epoch, taken_over) = (taken.summary.epoch, taken.taken_over);
        self.simulation
            .tell(self.process, What::Claimed { epoch, taken_over });
        self.simulation.owned(epoch);
        let faults = || vec![Fault::DiesAfter, Fault::ReplyLost, Fault::Cancelled];
        match self.simulation.visit(self.process, || Site::Claim, faults) {
            Some(Fault::DiesAfter) => self.simulation.die(self.process).await,
            Some(Fault::Cancelled) => {
                self.cancel(taken.summary.id).await?;
                Ok(claimed)
            }
            Some(_) => Err(reply_lost()),
            None => Ok(claimed),
        }
    }

    async fn load(&self, id: SagaId) -> Result<Option<Snapshot>, StoreError> {
        self.reach().await?;
        self.memory.load(id).await
    }

    async fn find(&self, saga: &str, start_key: &str) -> Result<Option<SagaId>, StoreError> {
        self.reach().await?;
        self.memory.find(saga, start_key).await
    }

    async fn request_cancel(&self, id: SagaId) -> Result<CancelReply, StoreError> {
        self.reach().await?;
        self.memory.request_cancel(id).await
    }

    async fn operate(&self, write: &OperatorWrite) -> Result<bool, StoreError> {
        self.reach().await?;
        self.memory.operate(write).await
    }

    async fn list(&self, filter: &Filter) -> Result<Page, StoreError> {
        self.reach().await?;
        self.memory.list(filter).await
    }

    async fn count(&self) -> Result<Vec<(String, InstanceState, u64)>, StoreError> {
        self.reach().await?;
        self.memory.count().await
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        self.reach().await?;
        self.memory.backlog().await
    }

    async fn prune(
        &self,
        age: Duration,
        limit: u32,
        retention: Retention,
    ) -> Result<u64, StoreError> {
        self.reach().await?;
        self.memory.prune(age, limit, retention).await
    }

    async fn archived(&self, id: SagaId) -> Result<Option<Snapshot>, StoreError> {
        self.reach().await?;
        self.memory.archived(id).await
    }

    /// The same in every run of one plan.
    fn new_id(&self, _saga: &str, _start_key: Option<&str>) -> SagaId {
        SagaId::from(Uuid::from_u64_pair(
            self.simulation.0.seed,
            self.simulation.next_id(),
        ))
    }
}

impl Transacts<MemoryTransaction> for SimulatedStore {
    type Guard = ();

    async fn begin(&self) -> Result<(MemoryTransaction, ()), StoreError> {
        self.reach().await?;
        self.memory.begin().await
    }

    async fn write_in(
        &self,
        tx: &mut MemoryTransaction,
        write: &Write,
    ) -> Result<Written, StoreError> {
        self.reach().await?;
        if self.has_refused(write) {
            return Err(refused());
        }
        let written = self.memory.write_in(tx, write).await?;
        match (write, &written) {
            (Write::Progress(progress), Written::Stored { .. }) => {
                *self.pending() = Some(progress.clone());
            }
            (_, Written::Lost) => self.simulation.tell(self.process, What::WriteLost),
            _ => {}
        }
        Ok(written)
    }

    async fn commit(&self, tx: MemoryTransaction) -> Result<(), CommitError> {
        let Some(progress) = self.pending().take() else {
            return self.memory.commit(tx).await;
        };
        if let Err(error) = self.reach().await {
            return Err(CommitError::InDoubt(error));
        }
        let site = || Site::Commit(self.rows_of(&progress).words());
        let faults = || Fault::of_call(&[Fault::RolledBack, Fault::Cancelled]);
        let fault = self.simulation.visit(self.process, site, faults);
        match fault {
            Some(Fault::DiesBefore) => {
                drop(tx);
                return self.simulation.die(self.process).await;
            }
            Some(Fault::Fails) => {
                drop(tx);
                return Err(CommitError::InDoubt(unreachable_store()));
            }
            Some(Fault::RolledBack) => {
                drop(tx);
                return Err(CommitError::RolledBack(StoreError::transient(
                    "the store rolled the transaction back (injected)",
                )));
            }
            Some(Fault::Cancelled) => {
                let asked = self.cancel(progress.id).await;
                asked.map_err(CommitError::InDoubt)?;
            }
            _ => {}
        }
        self.memory.commit(tx).await?;
        self.tell_stored(&progress);
        match fault {
            Some(Fault::DiesAfter) => self.simulation.die(self.process).await,
            Some(Fault::ReplyLost) => Err(CommitError::InDoubt(reply_lost())),
            _ => Ok(()),
        }
    }

    async fn settle(&self, progress: &Progress) -> Result<Settled, StoreError> {
        self.reach().await?;
        self.memory.settle(progress).await
    }
}

impl OutboxStore for SimulatedStore {
    async fn attend(
        &self,
        worker: WorkerId,
        ttl: Duration,
        wanted: u16,
    ) -> Result<Attendance, StoreError> {
        self.reach().await?;
        self.memory.attend(worker, ttl, wanted).await
    }

    async fn release(&self, worker: WorkerId, lanes: Option<&[u16]>) -> Result<(), StoreError> {
        self.reach().await?;
        self.memory.release(worker, lanes).await
    }

    async fn fetch(&self, fetch: &Fetch) -> Result<Fetched, StoreError> {
        self.reach().await?;
        let fetched = self.memory.fetch(fetch).await?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        for event in &fetched.events {
            let place = (event.place.lane, event.place.seq);
            read.insert(place, event.event.event_id().clone());
        }
        drop(read);
        Ok(fetched)
    }

    async fn mark(
        &self,
        worker: WorkerId,
        marks: &[Mark],
        sent: SentEvents,
    ) -> Result<Vec<u16>, StoreError> {
        self.reach().await?;
        let fault = self.before_mark().await?;
        let lost = self.memory.mark(worker, marks, sent).await?;
        let is_mine = |mark: &&Mark| mark.fate == Fate::Sent && !lost.contains(&mark.lane.index);
        let were_sent = marks.iter().filter(is_mine);
        self.tell_sent(were_sent.map(|mark| (mark.lane.index, mark.seq)));
        self.after_mark(fault).await.map(|()| lost)
    }

    async fn heads(
        &self,
        sender: WorkerId,
        events: &[EventId],
    ) -> Result<Vec<(EventId, Place)>, StoreError> {
        self.reach().await?;
        let heads = self.memory.heads(sender, events).await?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.extend(heads.iter().map(|(id, at)| ((at.lane, at.seq), id.clone())));
        drop(read);
        Ok(heads)
    }

    async fn settle_heads(
        &self,
        sender: WorkerId,
        heads: &[(Place, bool)],
        sent: SentEvents,
    ) -> Result<(), StoreError> {
        self.reach().await?;
        let fault = self.before_mark().await?;
        // Those that are still the sender's: of the others the store is told nothing.
        let were_sent = heads.iter().filter(|(_, was_sent)| *was_sent);
        let sent_by_it: Vec<_> = {
            let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            let id = |(place, _): &(Place, bool)| read.get(&(place.lane, place.seq)).cloned();
            were_sent.filter_map(id).collect()
        };
        let still_its = self.memory.heads(sender, &sent_by_it).await?;
        self.memory.settle_heads(sender, heads, sent).await?;
        self.tell_sent(still_its.iter().map(|(_, place)| (place.lane, place.seq)));
        self.after_mark(fault).await
    }

    async fn outbox_stats(&self) -> Result<OutboxStats, StoreError> {
        self.reach().await?;
        self.memory.outbox_stats().await
    }

    async fn dead_letters(&self, filter: &DeadLetterFilter) -> Result<DeadLetterPage, StoreError> {
        self.reach().await?;
        self.memory.dead_letters(filter).await
    }

    async fn decide(&self, decision: &DeadDecision) -> Result<u64, StoreError> {
        self.reach().await?;
        self.memory.decide(decision).await
    }

    async fn prune_sent(&self, age: Duration, limit: u32) -> Result<u64, StoreError> {
        self.reach().await?;
        self.memory.prune_sent(age, limit).await
    }

    async fn outbox_news(&self) {
        self.memory.outbox_news().await;
    }
}
