//! The transactions of one instance's attempts: begun before an attempt, ended with the record of what it did.
//!
//! Invariant: the commit of an attempt takes along whatever else of its instance is to be stored, and nothing else of it is in
//! flight; so how the instance will stand then is known before, and is part of the same transaction. The attempt is in flight
//! until the store has said what became of it. A store that is busy, or a lost reply, is never its failure: what is in doubt is
//! settled first.
//!
//! Invariant: where an open transaction keeps everybody from writing, an instance with one waits for no write, and one that may
//! not begin an attempt holds none.

use super::{Inner, writer::Reply};
use crate::{
    driver::{EndedAttempt, PreparedAttempt},
    state::Record,
    store::{Progress, Settled, Store, StoreError, Written},
    transactor::{AnyTransaction, Begun, Ended, Transactor},
};
use futures_util::future::BoxFuture;
use std::{
    any::Any,
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    sync::oneshot,
    time::{Sleep, sleep},
};

/// How long to wait after the store failed, the first time and at most.
const BACKOFF: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// The transactions of one instance.
pub(super) struct Transactions<S: Store> {
    transactor: &'static dyn Transactor<S>,
    /// Nobody else can write while an attempt has its transaction.
    excludes_writes: bool,
    opening: Vec<(u16, Opening)>,
    /// Of attempts that have their transaction.
    guards: Vec<(u16, Box<dyn Any + Send>)>,
    /// Attempts that are to be committed.
    prepared: VecDeque<PreparedAttempt>,
    /// The attempt that is being committed.
    committing: Option<EndedAttempt>,
    /// The step of the attempt that was just committed.
    committed: Option<u16>,
    /// What is stored already when it is asked for.
    acknowledged: Vec<Record>,
    /// Times in a row that the store could not commit.
    rollbacks: u32,
}

/// The transaction of an attempt that has not begun.
enum Opening {
    /// With how long to wait if the store cannot.
    Wanted(BoxFuture<'static, Result<Begun, StoreError>>, Duration),
    /// The store could not; it is asked again.
    Paused(Pin<Box<Sleep>>, Duration),
    Open(Begun),
}

impl<S: Store> Transactions<S> {
    pub(super) fn new(transactor: &'static dyn Transactor<S>, store: &S) -> Self {
        Self {
            transactor,
            excludes_writes: transactor.excludes_writes(store),
            opening: Vec::new(),
            guards: Vec::new(),
            prepared: VecDeque::new(),
            committing: None,
            committed: None,
            acknowledged: Vec::new(),
            rollbacks: 0,
        }
    }

    /// Until an attempt has its transaction.
    pub(super) fn poll_open(
        &mut self,
        step: u16,
        engine: &Arc<Inner<S>>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let transactor = self.transactor;
        let begin = |backoff| {
            let engine = Arc::clone(engine);
            let begin = async move { transactor.begin(&engine.store).await };
            Opening::Wanted(Box::pin(begin), backoff)
        };
        let place = self.opening.iter().position(|(at, _)| *at == step);
        let place = place.unwrap_or_else(|| {
            self.opening.push((step, begin(BACKOFF)));
            self.opening.len() - 1
        });
        loop {
            let opening = &mut self.opening[place].1;
            *opening = match opening {
                Opening::Open(_) => return Poll::Ready(()),
                Opening::Wanted(wanted, backoff) => match ready!(wanted.as_mut().poll(cx)) {
                    Ok(open) => Opening::Open(open),
                    Err(error) => {
                        engine.store_failed(&error);
                        let pause = backoff.mul_f64(0.5 + fastrand::f64() / 2.0);
                        Opening::Paused(Box::pin(sleep(pause)), *backoff)
                    }
                },
                Opening::Paused(pause, waited) => {
                    ready!(pause.as_mut().poll(cx));
                    begin((*waited * 2).min(BACKOFF_MAX))
                }
            };
        }
    }

    /// The transaction of an attempt that begins.
    pub(super) fn take(&mut self, step: u16) -> Option<AnyTransaction> {
        let place = self.opening.iter().position(|(at, _)| *at == step)?;
        match self.opening.swap_remove(place).1 {
            Opening::Open(Begun { transaction, guard }) => {
                self.guards.push((step, guard));
                Some(transaction)
            }
            Opening::Wanted(..) | Opening::Paused(..) => None,
        }
    }

    /// An attempt may not begin for now, and asks again. Who is not asked for a transaction must not have one: the store may
    /// have given it the turn that everybody else waits for.
    pub(super) fn close(&mut self, step: u16) {
        self.opening.retain(|(at, _)| *at != step);
    }

    /// Whether nothing can be written, because an attempt of this very instance has its transaction.
    pub(super) fn keep_from_writing(&self) -> bool {
        self.excludes_writes && !self.guards.is_empty()
    }

    pub(super) fn excludes_writes(&self) -> bool {
        self.excludes_writes
    }

    /// An attempt is over; its transaction has ended, or does now.
    pub(super) fn forget(&mut self, step: u16) {
        self.opening.retain(|(at, _)| *at != step);
        self.guards.retain(|(at, _)| *at != step);
    }

    pub(super) fn prepare(&mut self, attempt: PreparedAttempt) {
        self.prepared.push_back(attempt);
    }

    /// The next attempt that is to be committed.
    pub(super) fn peek(&self) -> Option<&PreparedAttempt> {
        self.prepared.front()
    }

    pub(super) fn next(&mut self) -> Option<PreparedAttempt> {
        self.prepared.pop_front()
    }

    /// Whether an attempt is being committed: until it is known what became of it, nobody decides anything else.
    pub(super) fn is_committing(&self) -> bool {
        self.committing.is_some()
    }

    /// Commits an attempt together with its record. The reply comes also if the instance is dropped meanwhile.
    pub(super) fn commit(
        &mut self,
        engine: &Arc<Inner<S>>,
        attempt: PreparedAttempt,
        progress: Progress,
    ) -> Option<oneshot::Receiver<Reply>> {
        let PreparedAttempt {
            step,
            undo,
            prepared,
            took,
        } = attempt;
        let index = u16::try_from(step).unwrap_or(u16::MAX);
        let place = self.guards.iter().position(|(at, _)| *at == index)?;
        let begun = Begun {
            transaction: prepared.transaction,
            guard: self.guards.swap_remove(place).1,
        };
        self.committing = Some(EndedAttempt {
            step,
            undo,
            output: prepared.output,
            took,
        });
        let (reply, receiver) = oneshot::channel();
        let transactor = self.transactor;
        let inner = Arc::clone(engine);
        engine.spawn(async move {
            let ended = end(&inner, transactor, begun, &progress).await;
            // Nobody waits for the reply of an instance that was dropped.
            let _ = reply.send(ended);
        });
        Some(receiver)
    }

    /// The attempt whose commit was answered.
    pub(super) fn answered(&mut self) -> Option<EndedAttempt> {
        self.committing.take()
    }

    /// It is committed, and with it the record that the state machine asks for next, and these.
    pub(super) fn mark_committed(&mut self, step: usize, taken_along: Vec<Record>) {
        self.rollbacks = 0;
        self.committed = u16::try_from(step).ok();
        self.acknowledged.extend(taken_along);
    }

    /// The store could not commit: how long to wait before the next attempt.
    pub(super) fn count_rollback(&mut self) -> Duration {
        self.rollbacks = self.rollbacks.saturating_add(1);
        (BACKOFF * 2_u32.saturating_pow(self.rollbacks.min(8) - 1)).min(BACKOFF_MAX)
    }

    /// Whether this record is stored already.
    pub(super) fn acknowledge(&mut self, record: Record) -> bool {
        match record {
            Record::Step(step) if self.committed == Some(step) => {
                self.committed = None;
                self.acknowledged.push(record);
                true
            }
            _ => false,
        }
    }

    pub(super) fn acknowledged(&mut self) -> Option<Vec<Record>> {
        (!self.acknowledged.is_empty()).then(|| std::mem::take(&mut self.acknowledged))
    }
}

/// Ends a transaction; what is in doubt is asked for until it is known.
async fn end<S: Store>(
    engine: &Inner<S>,
    transactor: &dyn Transactor<S>,
    begun: Begun,
    progress: &Progress,
) -> Reply {
    let doubt = match transactor.end(&engine.store, begun, progress).await {
        Ended::Written(written) => return Reply::Written(written),
        Ended::RolledBack(error) => return Reply::RolledBack(error),
        Ended::Refused(error) => return Reply::Refused(error.to_string()),
        Ended::InDoubt(error) => error,
    };
    engine.store_failed(&doubt);
    let mut backoff = BACKOFF;
    loop {
        match transactor.settle(&engine.store, progress).await {
            Ok(Settled::Committed { cancel_requested }) => {
                return Reply::Written(Written::Stored { cancel_requested });
            }
            Ok(Settled::RolledBack) => {
                let error = StoreError::transient("the transaction was lost at its commit");
                return Reply::RolledBack(error.caused_by(doubt));
            }
            Ok(Settled::Lost) => return Reply::Written(Written::Lost),
            Err(error) => engine.store_failed(&error),
        }
        sleep(backoff.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}
