//! The crash matrix on a participant with a database of its own, behind the barrier: what it does happens once, in whatever order requests
//! arrive.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use sagaz::{
    StepContext, StepError,
    barrier::{BarrierContext, BarrierError, ParticipantConnection},
    compensate, saga, step,
    testing::{CrashMatrix, Ledger, TakenBack, checkpoint, outside},
};
use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use std::sync::Arc;
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

/// A database in memory: it is there as long as its only connection.
#[derive(Clone, Default)]
struct Bank(Arc<Mutex<Option<SqliteConnection>>>);

impl Bank {
    async fn connection(&self) -> Result<MappedMutexGuard<'_, SqliteConnection>, sqlx::Error> {
        let mut connection = self.0.lock().await;
        if connection.is_none() {
            let options = SqliteConnectOptions::new().in_memory(true);
            let mut new = options.connect().await?;
            new.create_barrier().await?;
            let sql = "CREATE TABLE entry (cents INTEGER NOT NULL)";
            sqlx::query(sql).execute(&mut new).await?;
            *connection = Some(new);
        }
        Ok(MutexGuard::map(connection, |it| it.as_mut().unwrap()))
    }
}

/// A bank with its own database, and another service.
#[derive(Default)]
struct World {
    bank: Bank,
    ledger: Ledger,
}

struct Transfer {
    bank: Bank,
    ledger: Ledger,
}

const CENTS: i64 = 100;

#[saga(name = "transfer", input = u64)]
impl Transfer {
    #[step(timeout = "30s", retry(attempts = 2, initial = "1s"))]
    async fn credit(&self, ctx: &StepContext<'_>) -> Result<i64, BarrierError> {
        checkpoint("credit").await;
        let credited = outside(async {
            let mut bank = self.bank.connection().await?;
            let mut tx = bank.begin().await?;
            let credited = ctx.barrier(&mut tx, async |tx| {
                let sql = "INSERT INTO entry (cents) VALUES (?)";
                sqlx::query(sql).bind(CENTS).execute(tx).await?;
                Ok::<_, BarrierError>(CENTS)
            });
            let credited = credited.await?;
            tx.commit().await?;
            Ok(credited)
        });
        let credited = credited.await;
        checkpoint("credited").await;
        credited
    }

    #[compensate("credit")]
    async fn take_back(&self, ctx: &StepContext<'_>) -> Result<(), BarrierError> {
        checkpoint("take back").await;
        let taken_back = outside(async {
            let mut bank = self.bank.connection().await?;
            let mut tx = bank.begin().await?;
            let undone = ctx.undo_barrier(&mut tx, async |tx, credited: Option<i64>| {
                // The barrier knows what was done, also where the engine does not.
                let sql = "INSERT INTO entry (cents) VALUES (?)";
                let cents = -credited.unwrap_or(0);
                sqlx::query(sql).bind(cents).execute(tx).await?;
                Ok::<_, BarrierError>(())
            });
            undone.await?;
            tx.commit().await?;
            Ok(())
        });
        let taken_back = taken_back.await;
        checkpoint("taken back").await;
        taken_back
    }

    #[step(depends_on = ["credit"])]
    async fn tell(&self, ctx: &StepContext<'_>) -> Result<u64, TakenBack> {
        self.ledger
            .once("mail", "tell", &ctx.action_key(), 1)
            .await?;
        Ok(1)
    }

    #[compensate("tell")]
    async fn tell_otherwise(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        self.ledger.undo("mail", "tell", &ctx.action_key()).await;
        Ok(())
    }
}

/// How many entries there are, and their sum.
fn entries(bank: &Bank) -> (i64, i64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut bank = bank.connection().await.unwrap();
        let sql = "SELECT count(*), ifnull(sum(cents), 0) FROM entry";
        sqlx::query_as(sql).fetch_one(&mut *bank).await.unwrap()
    })
}

#[test]
fn what_a_participant_does_behind_the_barrier_happens_once() {
    let saga = |world: &World| Transfer {
        bank: world.bank.clone(),
        ledger: world.ledger.clone(),
    };
    let report = CrashMatrix::of(saga, [17])
        .check(|world: &World, run| {
            if run.is_completed() {
                assert_eq!(entries(&world.bank), (1, CENTS));
            }
            if run.is_rolled_back() {
                let (count, sum) = entries(&world.bank);
                assert_eq!((count % 2, sum), (0, 0), "{count} entries");
                assert!(count <= 2, "it is done once, and taken back once");
            }
        })
        .triples(100)
        .run();
    println!("{report}");
}
