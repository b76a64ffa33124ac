//! A store's transactions without their type: the driver and the journal pass them on, the generated code names it.
//!
//! Invariant: the box in [`Begun`] holds the type that the saga's steps take, because both come from the same `RunsOn`.

use crate::store::{CommitError, Progress, Settled, StoreError, Transacts, Write, Written};
use futures_util::future::BoxFuture;
use std::{any::Any, fmt, marker::PhantomData, time::Duration};

/// A transaction whose type only the saga knows.
pub(crate) type AnyTransaction = Box<dyn Any + Send>;

/// An open transaction.
pub struct Begun {
    pub(crate) transaction: AnyTransaction,
    /// Dropped after the transaction.
    pub(crate) guard: Box<dyn Any + Send>,
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").finish_non_exhaustive()
    }
}

/// What became of a transaction.
#[derive(Debug)]
pub enum Ended {
    /// Committed, or [`Written::Lost`]: then rolled back, because another engine owns the instance.
    Written(Written),
    /// Rolled back.
    RolledBack(StoreError),
    /// Rolled back, because the store refuses for good what was to be recorded.
    Refused(StoreError),
    /// Nobody knows.
    InDoubt(StoreError),
}

/// [`Transacts`] for one type of transactions that is not named.
pub trait Transactor<S>: Send + Sync {
    /// [`Transacts::begin`].
    fn begin<'a>(&'a self, store: &'a S) -> BoxFuture<'a, Result<Begun, StoreError>>;

    /// Writes the progress and commits.
    fn end<'a>(
        &'a self,
        store: &'a S,
        begun: Begun,
        progress: &'a Progress,
    ) -> BoxFuture<'a, Ended>;

    /// [`Transacts::settle`].
    fn settle<'a>(
        &'a self,
        store: &'a S,
        progress: &'a Progress,
    ) -> BoxFuture<'a, Result<Settled, StoreError>>;

    /// [`Transacts::excludes_writes`].
    fn excludes_writes(&self, store: &S) -> bool;

    /// [`Transacts::transaction_timeout`].
    fn timeout(&self, store: &S) -> Option<Duration>;
}

/// Through transactions of this type.
pub struct Via<Tx>(pub PhantomData<fn() -> Tx>);

impl<Tx> fmt::Debug for Via<Tx> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Via")
    }
}

impl<S: Transacts<Tx>, Tx: Send + 'static> Transactor<S> for Via<Tx> {
    fn begin<'a>(&'a self, store: &'a S) -> BoxFuture<'a, Result<Begun, StoreError>> {
        Box::pin(async move {
            let (transaction, guard) = store.begin().await?;
            Ok(Begun {
                transaction: Box::new(transaction),
                guard: Box::new(guard),
            })
        })
    }

    fn end<'a>(
        &'a self,
        store: &'a S,
        begun: Begun,
        progress: &'a Progress,
    ) -> BoxFuture<'a, Ended> {
        Box::pin(async move {
            // The guard outlives the transaction.
            let Begun {
                transaction,
                guard: _guard,
            } = begun;
            let mut transaction = *transaction
                .downcast::<Tx>()
                .expect("a transaction is of the type that the saga's steps take");
            let write = Write::Progress(progress.clone());
            match store.write_in(&mut transaction, &write).await {
                Ok(written @ Written::Stored { .. }) => match store.commit(transaction).await {
                    Ok(()) => Ended::Written(written),
                    Err(CommitError::RolledBack(error)) => Ended::RolledBack(error),
                    Err(CommitError::InDoubt(error)) => Ended::InDoubt(error),
                },
                Ok(written) => Ended::Written(written),
                Err(error) if error.is_refusal() => Ended::Refused(error),
                Err(error) => Ended::RolledBack(error),
            }
        })
    }

    fn settle<'a>(
        &'a self,
        store: &'a S,
        progress: &'a Progress,
    ) -> BoxFuture<'a, Result<Settled, StoreError>> {
        Box::pin(store.settle(progress))
    }

    fn excludes_writes(&self, store: &S) -> bool {
        store.excludes_writes()
    }

    fn timeout(&self, store: &S) -> Option<Duration> {
        store.transaction_timeout()
    }
}
