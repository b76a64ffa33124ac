//! Transactional steps on a store that lets one write at a time: an open transaction keeps everybody else from writing, also
//! its own instance, so nothing that it waits for may be a write.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use sagaz::{
    Engine, EngineBuilder, Event, Handle, Outcome, Saga, SagaId, StepError, compensate, saga,
    sqlite::Sqlite,
    step,
    store::{AppendsIn, Begun, Fetch, InboxStore, OutboxStore, StepRow, StepState, WorkerId},
};
use sqlx::SqliteTransaction;
use std::{sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

/// Longer than anything here takes, unless it hangs.
const BOUND: Duration = Duration::from_secs(25);

async fn store() -> (TempDir, Sqlite) {
    let directory = tempfile::tempdir().unwrap();
    let store = Sqlite::open(directory.path().join("sagas.db"))
        .await
        .unwrap();
    (directory, store)
}

async fn outcome<G: Saga>(handle: &Handle<G, Sqlite>) -> Outcome<G::Outputs> {
    let outcome = timeout(BOUND, handle.outcome()).await;
    outcome.expect("it comes to an end").unwrap()
}

async fn row(engine: &Engine<Sqlite>, id: SagaId, step: &str) -> StepRow {
    let rows = engine.inspect(id).await.unwrap().unwrap().steps;
    rows.into_iter().find(|row| row.name == step).unwrap()
}

/// Writes, so that what it is in holds the file.
async fn write(tx: &mut SqliteTransaction<'_>) -> Result<(), StepError> {
    let create = sqlx::query("CREATE TABLE IF NOT EXISTS written (n INTEGER)");
    create
        .execute(&mut **tx)
        .await
        .map_err(StepError::retryable)?;
    let insert = sqlx::query("INSERT INTO written VALUES (1)");
    insert
        .execute(&mut **tx)
        .await
        .map_err(StepError::retryable)?;
    Ok(())
}

async fn written(store: &Sqlite) -> i64 {
    let file = format!("sqlite://{}", store.path().display());
    let pool = sqlx::SqlitePool::connect(&file).await.unwrap();
    let count = sqlx::query_scalar("SELECT count(*) FROM written");
    count.fetch_one(&pool).await.unwrap()
}

/// `right` ends, or fails, while the transaction of `left` is open; `left` ends when `right` has.
struct Siblings {
    fails: bool,
    ended: Arc<Notify>,
}

#[saga(name = "siblings")]
impl Siblings {
    #[step]
    async fn left(&self, tx: &mut SqliteTransaction<'_>) -> Result<u64, StepError> {
        write(tx).await?;
        self.ended.notified().await;
        // The engine has its chance to store what `right` came to.
        sleep(Duration::from_millis(300)).await;
        Ok(1)
    }

    #[compensate("left")]
    async fn undo_left(&self, tx: &mut SqliteTransaction<'_>) -> Result<(), StepError> {
        let delete = sqlx::query("DELETE FROM written");
        delete
            .execute(&mut **tx)
            .await
            .map_err(StepError::retryable)?;
        Ok(())
    }

    #[step(atomic)]
    async fn right(&self) -> Result<u64, StepError> {
        sleep(Duration::from_millis(300)).await;
        self.ended.notify_one();
        if self.fails {
            return Err(StepError::permanent("declined"));
        }
        Ok(2)
    }

    #[compensate("right")]
    async fn undo_right(&self) -> Result<(), StepError> {
        Ok(())
    }
}

#[tokio::test]
async fn p1_what_a_sibling_came_to_is_stored_with_an_open_transaction_or_after_it() {
    for fails in [false, true] {
        let (_directory, store) = store().await;
        let ended = Arc::default();
        let builder = Engine::builder(store.clone()).register(Siblings { fails, ended });
        let engine = builder.start().await.unwrap();
        let handle = engine.start::<Siblings>(()).await.unwrap();
        let outcome = outcome(&handle).await;
        assert_eq!(outcome.is_completed(), !fails);
        assert_eq!(written(&store).await, i64::from(!fails));
        let wanted = if fails {
            [StepState::Compensated, StepState::Failed]
        } else {
            [StepState::Completed; 2]
        };
        let [left, right] = [
            row(&engine, handle.id(), "left").await.state,
            row(&engine, handle.id(), "right").await.state,
        ];
        assert_eq!([left, right], wanted);
    }
}

/// Holds the file for longer than the lease.
struct Slow;

#[saga(name = "slow")]
impl Slow {
    #[step(no_compensation)]
    async fn hold(&self, tx: &mut SqliteTransaction<'_>) -> Result<(), StepError> {
        write(tx).await?;
        sleep(Duration::from_secs(3)).await;
        Ok(())
    }
}

fn slow(store: &Sqlite) -> EngineBuilder<Sqlite> {
    let lease = Duration::from_secs(2);
    Engine::builder(store.clone()).lease(lease).register(Slow)
}

/// The lease cannot be renewed while the first holds the file, and the second's turn comes when it has lapsed.
#[tokio::test]
async fn p1_who_may_not_begin_lets_others_write() {
    let (_directory, store) = store().await;
    let engine = slow(&store).start().await.unwrap();
    let mut handles = Vec::new();
    for _ in 0..3 {
        handles.push(engine.start::<Slow>(()).await.unwrap());
    }
    for handle in &handles {
        assert!(outcome(handle).await.is_completed());
    }
    assert_eq!(written(&store).await, 3);
}

/// Who waits for the turn when the engine stops gives it back.
#[tokio::test]
async fn shutdown_does_not_wait_for_a_turn_that_nobody_uses() {
    let (_directory, store) = store().await;
    let engine = slow(&store).start().await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(engine.start::<Slow>(()).await.unwrap().id());
    }
    sleep(Duration::from_secs(1)).await;
    timeout(Duration::from_secs(8), engine.shutdown())
        .await
        .expect("it does not wait for its grace period to pass");
    let mut unowned = 0;
    for id in ids {
        let snapshot = engine.inspect(id).await.unwrap().unwrap();
        unowned += u32::from(snapshot.summary.owner.is_none());
    }
    assert_eq!(unowned, 3, "each is given up");
}

/// A statement rolls the transaction back, and the step says that all is well.
struct Unaware;

#[saga(name = "unaware")]
impl Unaware {
    #[step]
    async fn lose(&self, tx: &mut SqliteTransaction<'_>) -> Result<(), StepError> {
        write(tx).await?;
        let unique = sqlx::query("CREATE UNIQUE INDEX one ON written (n)");
        unique
            .execute(&mut **tx)
            .await
            .map_err(StepError::retryable)?;
        let again = sqlx::query("INSERT OR ROLLBACK INTO written VALUES (1)");
        assert!(again.execute(&mut **tx).await.is_err());
        Ok(())
    }
}

#[tokio::test]
async fn p2_a_step_whose_transaction_was_rolled_back_is_not_recorded() {
    let (_directory, store) = store().await;
    let builder = Engine::builder(store.clone()).register(Unaware);
    let engine = builder.start().await.unwrap();
    let handle = engine.start::<Unaware>(()).await.unwrap();
    match outcome(&handle).await {
        Outcome::RolledBack(failure) => {
            assert!(failure.message.contains("ended before"), "{failure:?}");
        }
        _ => panic!("its effect is gone, and it is recorded"),
    }
    // Nothing of it is left in anybody's way.
    assert!(engine.start::<Unaware>(()).await.is_ok());
}

/// A sale, which a message begins.
struct Sale;

#[saga(name = "sale", input = u64)]
impl Sale {
    #[step(emits = "sale.booked", key = input)]
    async fn book(&self, tx: &mut SqliteTransaction<'_>, input: &u64) -> Result<u64, StepError> {
        write(tx).await?;
        Ok(*input)
    }

    #[compensate("book", emits = "sale.cancelled", key = input)]
    async fn cancel(&self, tx: &mut SqliteTransaction<'_>) -> Result<(), StepError> {
        let delete = sqlx::query("DELETE FROM written");
        let deleted = delete.execute(&mut **tx).await;
        deleted.map_err(StepError::retryable)?;
        Ok(())
    }

    #[step(no_compensation, depends_on = [book], emits = "sale.told")]
    async fn tell(&self, input: &u64) -> Result<(), StepError> {
        if *input > 1 {
            return Err(StepError::permanent("nobody listens"));
        }
        Ok(())
    }
}

/// The types and keys of what is in the outbox, in order.
async fn published(store: &Sqlite) -> Vec<String> {
    let worker = WorkerId::random();
    let attendance = store.attend(worker, BOUND, store.lanes()).await.unwrap();
    let fetch = Fetch {
        worker,
        lanes: attendance.lanes.into_iter().map(|lane| (lane, 0)).collect(),
        unsettled: Vec::new(),
        keys: Vec::new(),
        limit: 1_000,
    };
    let fetched = store.fetch(&fetch).await.unwrap();
    store.release(worker, None).await.unwrap();
    let events = fetched.events.iter().map(|it| &it.event);
    let words = events.map(|event| {
        let key = event.ordering_key().unwrap();
        let key = if key.len() < 3 { key } else { "its own" };
        format!("{} of {key}", event.event_type())
    });
    words.collect()
}

/// All that a handler does is in its transaction, so it waits for nobody while nobody else can write: its rows, its events, and
/// the instance that it starts.
#[tokio::test]
async fn p11_a_handler_publishes_and_starts_an_instance_in_its_transaction() {
    let (_directory, store) = store().await;
    let builder = Engine::builder(store.clone()).register(Sale);
    let engine = builder.start().await.unwrap();
    let event = |number: u64| Event::new("order.placed", &number).source("/test").key("k");
    for number in [1, 2] {
        let message = event(number);
        // The first handling comes to nothing.
        for is_last in [false, true] {
            let handling = timeout(BOUND, store.begin_handling("sales", &message)).await;
            let Begun::New(mut tx) = handling.expect("its turn comes").unwrap() else {
                panic!("it was handled before");
            };
            store.append_in(&mut tx, &event(number)).await.unwrap();
            let handle = engine.start_in::<Sale>(&mut tx, number).await.unwrap();
            if !is_last {
                continue;
            }
            store.finish_handling(tx).await.unwrap();
            assert_eq!(outcome(&handle).await.is_completed(), number == 1);
        }
    }
    assert_eq!(
        published(&store).await,
        [
            "order.placed of k",
            "sale.booked of 1",
            "sale.told of its own",
            "order.placed of k",
            "sale.booked of 2",
            "sale.cancelled of 2",
        ]
    );
    assert_eq!(written(&store).await, 0);
}
