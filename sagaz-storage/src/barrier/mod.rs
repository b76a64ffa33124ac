//! The barrier: what a step does in a database of its own happens once, in whatever order requests arrive.
//!
//! A transactional step commits with the saga's store. A *participant* has another database, and then three things go wrong:
//! the action is repeated, because its reply was lost; its compensation arrives although the action never did (a *null
//! compensation*); or the action arrives after its compensation, from an attempt that hung (a *hanging action*). One row in the
//! participant's own transaction tells them apart: the *sub-transaction barrier* of
//! [DTM](https://en.dtm.pub/practice/barrier.html).
//!
//! | arrives | finds | then |
//! |---|---|---|
//! | the action | nothing | does its work, and keeps the output |
//! | | its own output | gives that, and does nothing |
//! | | that it was undone | is refused, for good |
//! | the compensation | nothing | leaves a tombstone, and does nothing |
//! | | the action's output | does its work with that output, also where the engine had `None` |
//! | | that it was undone | does nothing |
//!
//! Invariant: the row and the work are in one transaction, and the row is written first; so of two that arrive together one
//! waits for the other.
//!
//! Deliberately not here: the participant's begin and commit. It may do more in its transaction than this step's work.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use sagaz_core::{IntoStepError, StepContext, StepError};
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;

/// A barrier for one step of one instance in one database. A step that passes a second one there gives it a key of its own, or
/// the second work would be taken for a repeat of the first: `Barrier::new(format!("{}/second", ctx.action_key()))`.
///
/// In a step, [`BarrierContext`] makes it. A participant in another process makes it from the idempotency key that came with
/// the request: that of the action, [`StepContext::action_key`], for both.
///
/// ```no_run
/// # use sagaz_storage::barrier::{Barrier, BarrierError};
/// # async fn credit(pool: sqlx::PgPool, key: String, cents: i64) -> Result<i64, BarrierError> {
/// let mut tx = pool.begin().await?;
/// let balance: i64 = Barrier::new(key)
///     .act(&mut tx, async |tx| {
///         let sql = "UPDATE account SET cents = cents + $1 RETURNING cents";
///         Ok::<_, BarrierError>(sqlx::query_scalar(sql).bind(cents).fetch_one(tx).await?)
///     })
///     .await?;
/// tx.commit().await?;
/// # Ok(balance)
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Barrier {
    key: String,
}

impl Barrier {
    /// For the action of this idempotency key.
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into() }
    }

    /// Does the action's work, once, in a transaction that the caller commits after it, and rolls back after an error. The
    /// work gets the transaction's connection.
    ///
    /// A repeated action gets the output of the first. One that comes after its compensation is
    /// [`BarrierError::Refused`].
    pub async fn act<Tx: Participant, T, E>(
        &self,
        tx: &mut Tx,
        work: impl AsyncFnOnce(&mut Tx::Connection) -> Result<T, E>,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<BarrierError>,
    {
        let (key, tx) = (&*self.key, tx.connection());
        if tx.insert(key, "begun").await.map_err(BarrierError::from)? {
            let output = work(tx).await?;
            let text = serde_json::to_string(&output).map_err(|source| self.output(source))?;
            let done = tx.change(key, "done", Some(text)).await;
            done.map_err(BarrierError::from)?;
            return Ok(output);
        }
        let (state, output) = self.look(tx).await?;
        let key = self.key.clone();
        match (&*state, output) {
            ("done", Some(output)) => {
                Ok(serde_json::from_str(&output).map_err(|source| self.output(source))?)
            }
            ("undone" | "refused", _) => Err(BarrierError::Refused { key }.into()),
            _ => Err(BarrierError::Unfinished { key }.into()),
        }
    }

    /// Does the compensation's work, once, if the action's was done; with the action's output, or `None` if the action was
    /// committed although its work had failed. Commit and roll back as for [`act`](Self::act).
    pub async fn undo<Tx: Participant, T, E>(
        &self,
        tx: &mut Tx,
        work: impl AsyncFnOnce(&mut Tx::Connection, Option<T>) -> Result<(), E>,
    ) -> Result<(), E>
    where
        T: DeserializeOwned,
        E: From<BarrierError>,
    {
        let (key, tx) = (&*self.key, tx.connection());
        if tx
            .insert(key, "refused")
            .await
            .map_err(BarrierError::from)?
        {
            return Ok(());
        }
        let (state, output) = self.look(tx).await?;
        if !matches!(&*state, "begun" | "done") {
            return Ok(());
        }
        let output = output.map(|output| serde_json::from_str(&output));
        let output = output.transpose().map_err(|source| self.output(source))?;
        work(tx, output).await?;
        let undone = tx.change(key, "undone", None).await;
        Ok(undone.map_err(BarrierError::from)?)
    }

    async fn look(
        &self,
        tx: &mut impl ParticipantConnection,
    ) -> Result<(String, Option<String>), BarrierError> {
        // One that was there a moment ago, and is removed by now, is looked for again with the next attempt.
        let row = tx.look(&self.key).await?;
        row.ok_or(BarrierError::Database(sqlx::Error::RowNotFound))
    }

    fn output(&self, source: serde_json::Error) -> BarrierError {
        BarrierError::Output {
            key: self.key.clone(),
            source,
        }
    }
}

/// The barrier of the step that a [`StepContext`] is about.
///
/// ```
/// # use sagaz_core::{StepContext, StepError};
/// use sagaz_storage::barrier::{BarrierContext, BarrierError};
///
/// # struct Bank { pool: sqlx::SqlitePool }
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Credited { cents: i64 }
/// impl Bank {
///     // #[step(retry(attempts = 5))]
///     async fn credit(&self, ctx: &StepContext<'_>) -> Result<Credited, BarrierError> {
///         let mut tx = self.pool.begin().await?;
///         let credited = ctx.barrier(&mut tx, async |tx| {
///             sqlx::query("UPDATE account SET cents = cents + 100").execute(tx).await?;
///             Ok::<_, BarrierError>(Credited { cents: 100 })
///         });
///         let credited = credited.await?;
///         tx.commit().await?;
///         Ok(credited)
///     }
///
///     // #[compensate("credit")]
///     async fn take_back(&self, ctx: &StepContext<'_>) -> Result<(), BarrierError> {
///         let mut tx = self.pool.begin().await?;
///         let undone = ctx.undo_barrier(&mut tx, async |tx, credited: Option<Credited>| {
///             let cents = credited.map_or(0, |credited| credited.cents);
///             let sql = "UPDATE account SET cents = cents - ?";
///             sqlx::query(sql).bind(cents).execute(tx).await?;
///             Ok::<_, BarrierError>(())
///         });
///         undone.await?;
///         tx.commit().await?;
///         Ok(())
///     }
/// }
/// ```
pub trait BarrierContext {
    /// [`Barrier::act`], in a step.
    fn barrier<Tx: Participant, T, E>(
        &self,
        tx: &mut Tx,
        work: impl AsyncFnOnce(&mut Tx::Connection) -> Result<T, E>,
    ) -> impl Future<Output = Result<T, E>>
    where
        T: Serialize + DeserializeOwned,
        E: From<BarrierError>;

    /// [`Barrier::undo`], in the step's compensation.
    fn undo_barrier<Tx: Participant, T, E>(
        &self,
        tx: &mut Tx,
        work: impl AsyncFnOnce(&mut Tx::Connection, Option<T>) -> Result<(), E>,
    ) -> impl Future<Output = Result<(), E>>
    where
        T: DeserializeOwned,
        E: From<BarrierError>;
}

impl BarrierContext for StepContext<'_> {
    async fn barrier<Tx: Participant, T, E>(
        &self,
        tx: &mut Tx,
        work: impl AsyncFnOnce(&mut Tx::Connection) -> Result<T, E>,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<BarrierError>,
    {
        check_place(self, false)?;
        Barrier::new(self.action_key()).act(tx, work).await
    }

    async fn undo_barrier<Tx: Participant, T, E>(
        &self,
        tx: &mut Tx,
        work: impl AsyncFnOnce(&mut Tx::Connection, Option<T>) -> Result<(), E>,
    ) -> Result<(), E>
    where
        T: DeserializeOwned,
        E: From<BarrierError>,
    {
        check_place(self, true)?;
        Barrier::new(self.action_key()).undo(tx, work).await
    }
}

fn check_place(ctx: &StepContext<'_>, undo: bool) -> Result<(), BarrierError> {
    if ctx.is_compensation() == undo {
        Ok(())
    } else {
        Err(BarrierError::Misplaced {
            step: ctx.step(),
            undo,
        })
    }
}

/// Why a barrier lets nothing pass.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BarrierError {
    /// The action came after its compensation.
    #[error("{key} was undone before it arrived, and must not happen any more")]
    Refused {
        /// The idempotency key.
        key: String,
    },
    /// The action's work failed, and its transaction was committed all the same.
    #[error(
        "{key} was committed although its work failed, so it cannot be repeated; roll the transaction back after an error"
    )]
    Unfinished {
        /// The idempotency key.
        key: String,
    },
    /// `barrier` in a compensation, or `undo_barrier` in a step.
    #[error("step `{step}`: {}", if *undo { "`undo_barrier` is for its compensation; use `barrier`" } else { "`barrier` is for the step; use `undo_barrier` in its compensation" })]
    Misplaced {
        /// The step.
        step: &'static str,
        /// Which of the two was called.
        undo: bool,
    },
    /// The output cannot be written as JSON, or what is stored is of another type.
    #[error("the output of {key} cannot be kept or read")]
    Output {
        /// The idempotency key.
        key: String,
        /// Why not.
        source: serde_json::Error,
    },
    /// The participant's database.
    #[error("the participant's database failed")]
    Database(#[from] sqlx::Error),
}

/// A refused action surely has no effect, and will have none. The database may be asked again.
impl IntoStepError for BarrierError {
    fn into_step_error(self) -> StepError {
        match self {
            Self::Refused { .. } => StepError::permanent(self),
            Self::Database(_) => StepError::retryable(self),
            Self::Unfinished { .. } | Self::Misplaced { .. } | Self::Output { .. } => {
                StepError::unknown(self)
            }
        }
    }
}

/// A transaction on a participant's database: of PostgreSQL or SQLite.
pub trait Participant: Send {
    /// What the work writes on.
    type Connection: ParticipantConnection;

    /// The connection that the transaction is open on.
    fn connection(&mut self) -> &mut Self::Connection;
}

/// A connection to a participant's database, where the barrier's table is.
pub trait ParticipantConnection: Send {
    /// Makes the table `saga_barrier`, if there is none. Its SQL is in `migrations/barrier`, for those who migrate by
    /// themselves.
    fn create_barrier(&mut self) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Removes up to `limit` rows that have not changed for `age`, and returns how many. An action or a compensation that arrives
    /// later than that is taken for a new one: keep them longer than any instance, stuck ones included, can last.
    fn prune_barrier(
        &mut self,
        age: Duration,
        limit: u32,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Writes the first row of a key. Waits for another transaction that does; `false` if there is one already.
    #[doc(hidden)]
    fn insert(
        &mut self,
        key: &str,
        state: &'static str,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

    /// State and output of a key, held to the end of the transaction.
    #[doc(hidden)]
    fn look(
        &mut self,
        key: &str,
    ) -> impl Future<Output = Result<Option<(String, Option<String>)>, sqlx::Error>> + Send;

    /// Changes the row of a key; `None` leaves the output as it is.
    #[doc(hidden)]
    fn change(
        &mut self,
        key: &str,
        state: &'static str,
        output: Option<String>,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}
