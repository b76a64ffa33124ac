//! The barrier's rules, on every participant's database.
#![cfg(any(feature = "sqlite", feature = "postgres"))]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[cfg(feature = "postgres")]
#[path = "support/server.rs"]
mod server;

use sagaz_core::IntoStepError;
use sagaz_storage::barrier::{Barrier, BarrierError, Participant};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// A participant: an account, and the barrier's table beside it.
trait Bank: Sync {
    type Tx: Participant + 'static;

    fn begin(&self) -> impl Future<Output = Self::Tx> + Send;
    fn commit(&self, tx: Self::Tx) -> impl Future<Output = ()> + Send;
    fn add(tx: &mut Connection<Self>, cents: i64) -> impl Future<Output = ()> + Send;
    fn total(&self) -> impl Future<Output = i64> + Send;
    /// Adds what a credit does.
    fn add_to(_: &Self, tx: &mut Connection<Self>) -> impl Future<Output = ()> + Send {
        Self::add(tx, 100)
    }
    /// Removes every row of the barrier's.
    fn prune(&self) -> impl Future<Output = u64> + Send;
}

type Connection<B> = <<B as Bank>::Tx as Participant>::Connection;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Credited {
    cents: i64,
    note: String,
}

fn credited() -> Credited {
    Credited {
        cents: 100,
        note: "for \u{1f9e6}".to_owned(),
    }
}

async fn credit<B: Bank>(bank: &B, barrier: &Barrier) -> Result<Credited, BarrierError> {
    let mut tx = bank.begin().await;
    let credited = barrier
        .act(&mut tx, async |tx| {
            B::add(tx, 100).await;
            Ok::<_, BarrierError>(credited())
        })
        .await?;
    bank.commit(tx).await;
    Ok(credited)
}

/// Whether the work was done.
async fn take_back<B: Bank>(bank: &B, barrier: &Barrier) -> Result<bool, BarrierError> {
    let mut tx = bank.begin().await;
    let mut seen = None;
    barrier
        .undo(&mut tx, async |tx, credited: Option<Credited>| {
            let cents = credited.as_ref().map_or(0, |credited| credited.cents);
            seen = Some(credited);
            B::add(tx, -cents).await;
            Ok::<_, BarrierError>(())
        })
        .await?;
    bank.commit(tx).await;
    assert!(seen.as_ref().is_none_or(|seen| *seen == Some(credited())));
    Ok(seen.is_some())
}

fn barrier() -> Barrier {
    Barrier::new("0197-…/credit")
}

fn is_refused<T>(result: Result<T, BarrierError>) -> bool {
    match result {
        Err(error @ BarrierError::Refused { .. }) => {
            let error = error.into_step_error();
            // Permanent: surely without an effect.
            error.is_clean() && !error.is_retryable()
        }
        _ => false,
    }
}

async fn a_repeated_action_happens_once_and_gives_its_output_again(bank: &impl Bank) {
    for _ in 0..3 {
        assert_eq!(credit(bank, &barrier()).await.unwrap(), credited());
    }
    assert_eq!(bank.total().await, 100);
    // Another step is another key.
    credit(bank, &Barrier::new("another")).await.unwrap();
    assert_eq!(bank.total().await, 200);
}

async fn a_compensation_undoes_what_was_done_and_only_once(bank: &impl Bank) {
    credit(bank, &barrier()).await.unwrap();
    assert!(take_back(bank, &barrier()).await.unwrap());
    assert!(!take_back(bank, &barrier()).await.unwrap());
    assert_eq!(bank.total().await, 0);
    assert!(
        is_refused(credit(bank, &barrier()).await),
        "after it was undone"
    );
    assert_eq!(bank.total().await, 0);
}

async fn a_null_compensation_does_nothing_and_the_hanging_action_is_refused(bank: &impl Bank) {
    assert!(!take_back(bank, &barrier()).await.unwrap());
    assert!(!take_back(bank, &barrier()).await.unwrap());
    assert!(is_refused(credit(bank, &barrier()).await));
    assert_eq!(bank.total().await, 0);
}

async fn what_is_rolled_back_never_was(bank: &impl Bank) {
    let barrier = barrier();
    let mut tx = bank.begin().await;
    let failed = barrier.act(&mut tx, async |tx| {
        Bank::add_to(bank, tx).await;
        Err::<Credited, BarrierError>(BarrierError::Database(sqlx::Error::RowNotFound))
    });
    assert!(failed.await.is_err());
    drop(tx);
    assert_eq!(bank.total().await, 0);
    assert_eq!(credit(bank, &barrier).await.unwrap(), credited());
    assert_eq!(bank.total().await, 100);
}

async fn what_was_committed_although_it_failed_is_told_and_can_be_undone(bank: &impl Bank) {
    let barrier = barrier();
    let mut tx = bank.begin().await;
    let failed = barrier.act(&mut tx, async |_| {
        Err::<Credited, BarrierError>(BarrierError::Database(sqlx::Error::RowNotFound))
    });
    assert!(failed.await.is_err());
    bank.commit(tx).await;
    let again = credit(bank, &barrier).await;
    assert!(matches!(again, Err(BarrierError::Unfinished { .. })));
    let mut tx = bank.begin().await;
    let mut told = None;
    let undone = barrier.undo(&mut tx, async |_, credited: Option<Credited>| {
        told = Some(credited);
        Ok::<_, BarrierError>(())
    });
    undone.await.unwrap();
    assert_eq!(told, Some(None), "the output is not known");
}

/// The compensation comes while the action's transaction is open: it waits for it, and undoes it.
async fn of_two_that_come_together_one_waits(bank: &impl Bank) {
    let barrier = barrier();
    let mut tx = bank.begin().await;
    let done = barrier.act(&mut tx, async |tx| {
        Bank::add_to(bank, tx).await;
        Ok::<_, BarrierError>(credited())
    });
    done.await.unwrap();
    let (begun, has_begun) = oneshot::channel();
    let compensation = async {
        begun.send(()).unwrap();
        take_back(bank, &barrier).await.unwrap()
    };
    let commit = async {
        has_begun.await.unwrap();
        tokio::task::yield_now().await;
        bank.commit(tx).await;
    };
    let (was_done, ()) = tokio::join!(compensation, commit);
    assert!(was_done);
    assert_eq!(bank.total().await, 0);
}

async fn p12_old_rows_are_removed(bank: &impl Bank) {
    credit(bank, &barrier()).await.unwrap();
    take_back(bank, &Barrier::new("another")).await.unwrap();
    assert_eq!(bank.prune().await, 2);
    assert_eq!(bank.prune().await, 0);
}

/// An output of another type, as after a change of the code.
async fn an_output_that_cannot_be_read_is_an_error(bank: &impl Bank) {
    let barrier = barrier();
    credit(bank, &barrier).await.unwrap();
    let mut tx = bank.begin().await;
    let again = barrier.act(&mut tx, async |_| Ok::<u64, BarrierError>(1));
    assert!(matches!(again.await, Err(BarrierError::Output { .. })));
}

macro_rules! rules {
    ($bank:expr) => {
        super::rules! { @each $bank;
            a_repeated_action_happens_once_and_gives_its_output_again,
            a_compensation_undoes_what_was_done_and_only_once,
            a_null_compensation_does_nothing_and_the_hanging_action_is_refused,
            what_is_rolled_back_never_was,
            what_was_committed_although_it_failed_is_told_and_can_be_undone,
            of_two_that_come_together_one_waits,
            p12_old_rows_are_removed,
            an_output_that_cannot_be_read_is_an_error,
        }
    };
    (@each $bank:expr; $($rule:ident,)+) => {
        $(#[tokio::test] async fn $rule() { super::$rule(&$bank.await).await; })+
    };
}
use rules;

#[cfg(feature = "sqlite")]
mod sqlite {
    use super::Bank;
    use sagaz_storage::barrier::ParticipantConnection;
    use sqlx::{SqliteConnection, SqlitePool, SqliteTransaction, sqlite::SqliteConnectOptions};
    use std::time::Duration;
    use tempfile::TempDir;

    struct InFile {
        pool: SqlitePool,
        _directory: TempDir,
    }

    async fn bank() -> InFile {
        let directory = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new()
            .filename(directory.path().join("bank.db"))
            .create_if_missing(true)
            .busy_timeout(Duration::from_secs(30));
        let pool = SqlitePool::connect_with(options).await.unwrap();
        let mut connection = pool.acquire().await.unwrap();
        connection.create_barrier().await.unwrap();
        connection.create_barrier().await.unwrap();
        sqlx::raw_sql(
            "CREATE TABLE account (cents INTEGER NOT NULL); INSERT INTO account VALUES (0)",
        )
        .execute(&mut *connection)
        .await
        .unwrap();
        InFile {
            pool,
            _directory: directory,
        }
    }

    impl Bank for InFile {
        type Tx = SqliteTransaction<'static>;

        async fn begin(&self) -> SqliteTransaction<'static> {
            self.pool.begin().await.unwrap()
        }

        async fn commit(&self, tx: SqliteTransaction<'static>) {
            tx.commit().await.unwrap();
        }

        async fn add(tx: &mut SqliteConnection, cents: i64) {
            let add = sqlx::query("UPDATE account SET cents = cents + ?").bind(cents);
            add.execute(tx).await.unwrap();
        }

        async fn total(&self) -> i64 {
            let total = sqlx::query_scalar("SELECT cents FROM account");
            total.fetch_one(&self.pool).await.unwrap()
        }

        async fn prune(&self) -> u64 {
            let mut connection = self.pool.acquire().await.unwrap();
            connection.prune_barrier(Duration::ZERO, 10).await.unwrap()
        }
    }

    super::rules!(bank());
}

#[cfg(feature = "postgres")]
mod postgres {
    use super::{Bank, server};
    use sagaz_storage::barrier::ParticipantConnection;
    use sqlx::{
        AssertSqlSafe, PgConnection, PgPool, PgTransaction,
        postgres::{PgConnectOptions, PgPoolOptions},
    };
    use std::time::Duration;

    struct OnServer {
        pool: PgPool,
    }

    async fn bank() -> OnServer {
        let schema = server::schema();
        let options: PgConnectOptions = server::url().parse().unwrap();
        let admin = PgPool::connect_with(options.clone()).await.unwrap();
        let create = AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
        sqlx::raw_sql(create).execute(&admin).await.unwrap();
        let pool = PgPoolOptions::new()
            .max_connections(4)
            .connect_with(options.options([("search_path", schema)]))
            .await
            .unwrap();
        let (mut one, mut other) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
        let (one, other) = tokio::join!(one.create_barrier(), other.create_barrier());
        one.unwrap();
        other.unwrap();
        sqlx::raw_sql(
            "CREATE TABLE account (cents bigint NOT NULL); INSERT INTO account VALUES (0)",
        )
        .execute(&pool)
        .await
        .unwrap();
        OnServer { pool }
    }

    impl Bank for OnServer {
        type Tx = PgTransaction<'static>;

        async fn begin(&self) -> PgTransaction<'static> {
            self.pool.begin().await.unwrap()
        }

        async fn commit(&self, tx: PgTransaction<'static>) {
            tx.commit().await.unwrap();
        }

        async fn add(tx: &mut PgConnection, cents: i64) {
            let add = sqlx::query("UPDATE account SET cents = cents + $1").bind(cents);
            add.execute(tx).await.unwrap();
        }

        async fn total(&self) -> i64 {
            let total = sqlx::query_scalar("SELECT cents FROM account");
            total.fetch_one(&self.pool).await.unwrap()
        }

        async fn prune(&self) -> u64 {
            let mut connection = self.pool.acquire().await.unwrap();
            connection.prune_barrier(Duration::ZERO, 10).await.unwrap()
        }
    }

    super::rules!(bank());
}
