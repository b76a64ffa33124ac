//! Transactions on the memory store: what a database's are to a step, for tests and simulations.
//!
//! Invariant: nothing of a transaction is seen before its commit, which is one critical section; an instance that is
//! written in one is held from then on, so that no claim takes it before the transaction has ended.

use super::{Data, Memory, Now};
use crate::{
    event::{Event, EventId},
    id::SagaId,
    store::{
        Accept, Accepted, CommitError, Finished, Progress, Settled, StoreError, Transacts, Write,
        Written,
        fault::{Call, Fault},
    },
};
use std::{
    collections::BTreeMap,
    fmt, future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A transaction on a [`Memory`]: values under keys stand for the tables of an application. Dropped, it is rolled back.
pub struct MemoryTransaction {
    data: Arc<Mutex<Data>>,
    values: BTreeMap<String, Option<Vec<u8>>>,
    writes: Vec<Write>,
    held: Vec<SagaId>,
    events: Vec<Event>,
    /// The consumer, and the event that it handles.
    handling: Option<(String, EventId)>,
}

impl MemoryTransaction {
    /// The value under a key, with what this transaction has done to it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        match self.values.get(key) {
            Some(value) => value.clone(),
            None => self.lock().values.get(key).cloned(),
        }
    }

    /// Puts a value under a key.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) {
        self.values.insert(key.into(), Some(value.into()));
    }

    /// Removes the value under a key.
    pub fn remove(&mut self, key: impl Into<String>) {
        self.values.insert(key.into(), None);
    }

    /// What this transaction itself has accepted in place of a new instance.
    fn accepted(&self, accept: &Accept) -> Option<Accepted> {
        self.writes.iter().find_map(|write| match write {
            Write::Accept(own) if own.id == accept.id => Some(Accepted::New),
            Write::Accept(own)
                if accept.start_key.is_some()
                    && own.start_key == accept.start_key
                    && own.definition.saga == accept.definition.saga =>
            {
                Some(Accepted::Existing {
                    id: own.id,
                    input_digest: own.input_digest.clone(),
                })
            }
            _ => None,
        })
    }

    pub(super) fn append(&mut self, event: &Event) {
        self.events.push(event.clone());
    }

    pub(super) fn handles(&mut self, consumer: &str, event: &EventId) {
        self.handling = Some((consumer.to_owned(), event.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what was accepted by [`write_in`](Transacts::write_in) is accepted still, and if so, applies everything.
    fn apply(mut self, now: Now) -> Result<Finished, CommitError> {
        let writes = std::mem::take(&mut self.writes);
        let values = std::mem::take(&mut self.values);
        let events = std::mem::take(&mut self.events);
        let mut data = self.lock();
        if let Some((consumer, event)) = &self.handling
            && data.outbox.is_handled(consumer, event)
        {
            return Ok(Finished::Duplicate);
        }
        for write in &writes {
            if let Write::Accept(accept) = write
                && data.existing(accept).is_some()
            {
                let error = StoreError::transient("another transaction has used the start key");
                return Err(CommitError::RolledBack(error));
            }
        }
        for write in &writes {
            data.write(write, now);
        }
        if let Some((consumer, event)) = &self.handling {
            data.outbox.record(consumer, event, now);
        }
        for event in &events {
            data.outbox.append(event, None, now);
        }
        for (key, value) in values {
            match value {
                Some(value) => data.values.insert(key, value),
                None => data.values.remove(&key),
            };
        }
        Ok(Finished::Handled)
    }
}

impl Drop for MemoryTransaction {
    fn drop(&mut self) {
        let held = std::mem::take(&mut self.held);
        let mut data = self.lock();
        for id in held {
            data.held.remove(&id);
        }
    }
}

impl fmt::Debug for MemoryTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTransaction")
            .field("values", &self.values)
            .field("writes", &self.writes)
            .finish_non_exhaustive()
    }
}

impl Memory {
    /// The committed value under a key: what transactional steps have done.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<Vec<u8>> {
        self.lock().values.get(key).cloned()
    }

    pub(super) fn transaction(&self) -> MemoryTransaction {
        MemoryTransaction {
            data: Arc::clone(&self.data),
            values: BTreeMap::new(),
            writes: Vec::new(),
            held: Vec::new(),
            events: Vec::new(),
            handling: None,
        }
    }

    /// Commits a transaction.
    pub(super) async fn end(
        &self,
        tx: MemoryTransaction,
        call: Call,
    ) -> Result<Finished, CommitError> {
        let fault = self.faults.meet(call, None);
        let has_events = !tx.events.is_empty();
        let writes = tx.writes.clone();
        let ended = self.end_with(tx, fault).await;
        self.tell_of_events(&writes);
        if has_events {
            self.news.tell();
        }
        ended
    }

    async fn end_with(
        &self,
        tx: MemoryTransaction,
        fault: Option<Fault>,
    ) -> Result<Finished, CommitError> {
        let now = self.clock.now();
        match fault {
            None => tx.apply(now),
            Some(fault @ (Fault::FailBefore | Fault::Refuse)) => {
                drop(tx);
                Err(match fault {
                    Fault::Refuse => CommitError::RolledBack(fault.error()),
                    _ => CommitError::InDoubt(fault.error()),
                })
            }
            Some(Fault::FailAfter) => {
                tx.apply(now)?;
                Err(CommitError::InDoubt(Fault::FailAfter.error()))
            }
            Some(Fault::Delay(delay)) => {
                tokio::time::sleep(delay).await;
                tx.apply(self.clock.now())
            }
            Some(Fault::DropBefore) => future::pending().await,
            Some(Fault::DropAfter) => {
                tx.apply(now)?;
                future::pending().await
            }
        }
    }
}

impl Transacts<MemoryTransaction> for Memory {
    type Guard = ();

    async fn begin(&self) -> Result<(MemoryTransaction, ()), StoreError> {
        let fault = self.faults.meet(Call::Begin, None);
        self.carry_out(fault, |_, _| ()).await?;
        Ok((self.transaction(), ()))
    }

    async fn write_in(
        &self,
        tx: &mut MemoryTransaction,
        write: &Write,
    ) -> Result<Written, StoreError> {
        let fault = self.faults.meet(Call::WriteIn, None);
        self.carry_out(fault, |data, _| match write {
            Write::Accept(accept) => {
                let existing = data.existing(accept).or_else(|| tx.accepted(accept));
                if existing.is_none() {
                    tx.writes.push(write.clone());
                }
                Written::Accepted(existing.unwrap_or(Accepted::New))
            }
            Write::Progress(progress) => {
                let written = data.judge(progress);
                if matches!(written, Written::Stored { .. }) && data.held.insert(progress.id) {
                    tx.held.push(progress.id);
                    tx.writes.push(write.clone());
                }
                written
            }
        })
        .await
    }

    async fn commit(&self, tx: MemoryTransaction) -> Result<(), CommitError> {
        self.end(tx, Call::Commit).await.map(|_| ())
    }

    async fn settle(&self, progress: &Progress) -> Result<Settled, StoreError> {
        let fault = self.faults.meet(Call::Settle, None);
        self.carry_out(fault, |data, now| {
            let stored = data.instances.get(&progress.id);
            Settled::judge(progress, stored.map(|it| it.snapshot(now)).as_ref())
        })
        .await
    }
}
