//! Transactions that a store shares with the code of steps and of callers.
//!
//! Invariant: what is written in a transaction counts if and only if everything else in it does, and carries the token as
//! every write does: from [`write_in`](Transacts::write_in) to the end of the transaction nobody else owns the instance.

use super::{Progress, SagaStore, Snapshot, StoreError, Write, Written};
use std::time::Duration;

/// A store that writes in transactions of the type `Tx`, beside the SQL of whoever holds one.
///
/// A step or compensation that takes `tx: &mut Tx` commits together with its output; such a saga runs on these stores alone.
/// [`Engine::start_in`](crate::Engine::start_in) starts an instance in a transaction of the caller's.
#[diagnostic::on_unimplemented(
    message = "the store `{Self}` has no transactions of the type `{Tx}`",
    label = "another store's transaction"
)]
pub trait Transacts<Tx>: SagaStore {
    /// What is held as long as a transaction is open; dropped after it.
    type Guard: Send + 'static;

    /// Begins a transaction, after waiting for its turn if need be.
    fn begin(&self) -> impl Future<Output = Result<(Tx, Self::Guard), StoreError>> + Send;

    /// Writes in a transaction, which somebody else ends. The token of a progress is judged, and its instance is held from
    /// then on to the end of the transaction.
    ///
    /// After an error the transaction can only be rolled back.
    fn write_in(
        &self,
        tx: &mut Tx,
        write: &Write,
    ) -> impl Future<Output = Result<Written, StoreError>> + Send;

    /// Commits. [`CommitError::InDoubt`] if it is unknown whether it did: [`settle`](Self::settle) tells.
    fn commit(&self, tx: Tx) -> impl Future<Output = Result<(), CommitError>> + Send;

    /// What became of a transaction with this progress, whose commit is in doubt. Waits until it has surely ended. At least
    /// one step of the progress has a state that it did not have before.
    fn settle(
        &self,
        progress: &Progress,
    ) -> impl Future<Output = Result<Settled, StoreError>> + Send;

    /// Whether nobody else can write while a transaction is open. Then an instance writes nothing while an attempt of its
    /// has one: it would wait for the transaction, and the transaction for it.
    fn excludes_writes(&self) -> bool {
        false
    }

    /// How long an attempt may hold a transaction if it says nothing of a timeout.
    fn transaction_timeout(&self) -> Option<Duration> {
        None
    }
}

/// A transaction of the store `S`, whichever type of them: what [`Engine::start_in`](crate::Engine::start_in) takes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a transaction of the store `{S}`",
    label = "another store's transaction"
)]
pub trait TransactionOf<S>: Send {
    /// [`Transacts::write_in`].
    fn write_to(
        &mut self,
        store: &S,
        write: &Write,
    ) -> impl Future<Output = Result<Written, StoreError>> + Send;
}

#[diagnostic::do_not_recommend]
impl<Tx: Send, S: Transacts<Tx>> TransactionOf<S> for Tx {
    async fn write_to(&mut self, store: &S, write: &Write) -> Result<Written, StoreError> {
        store.write_in(self, write).await
    }
}

/// Why a transaction was not committed, as far as anybody knows.
#[derive(Debug)]
pub enum CommitError {
    /// It was rolled back.
    RolledBack(StoreError),
    /// The reply was lost.
    InDoubt(StoreError),
}

/// What became of a transaction whose commit was in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settled {
    /// It was committed.
    Committed {
        /// Whether somebody asked to cancel the instance.
        cancel_requested: bool,
    },
    /// It was rolled back, and the instance still has its owner.
    RolledBack,
    /// The instance is another owner's.
    Lost,
}

impl Settled {
    /// From what is stored of the instance once the transaction has surely ended.
    #[must_use]
    pub fn judge(progress: &Progress, stored: Option<&Snapshot>) -> Self {
        let Some(stored) = stored else {
            return Self::Lost;
        };
        let (summary, token) = (&stored.summary, progress.token);
        let is_mine = summary.owner.is_none_or(|owner| owner == token.owner);
        if summary.epoch != token.epoch || !is_mine {
            return Self::Lost;
        }
        let is_there = progress.steps.iter().all(|step| {
            let mut rows = stored.steps.iter();
            rows.any(|row| row.name == step.name && row.state == step.state)
        });
        if is_there {
            Self::Committed {
                cancel_requested: stored.cancel_requested,
            }
        } else {
            Self::RolledBack
        }
    }
}
