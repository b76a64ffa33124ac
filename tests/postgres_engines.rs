//! Engines on PostgreSQL: what one leaves, another takes at once, though it polls once a minute; and somebody else's open
//! transaction holds up the instance alone whose row it holds.
#![cfg(feature = "postgres")]

/// By this name they are left out where there is no server.
mod postgres {
    use sagaz::{
        Engine, InstanceState, Outcome, SagaId, compensate, postgres::Options, postgres::Postgres,
        saga, step,
    };
    use sqlx::{AssertSqlSafe, Connection, PgConnection};
    use std::{
        convert::Infallible,
        env,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };
    use tokio::{
        sync::{Notify, Semaphore},
        time::{sleep, timeout},
    };

    /// Three quarters of it are the earliest next poll.
    const POLL: Duration = Duration::from_mins(1);
    const AT_ONCE: Duration = Duration::from_secs(30);

    #[derive(Clone)]
    struct Parcel {
        begun: Arc<Notify>,
        /// Its step never ends.
        holds: bool,
        /// Each step takes one.
        gate: Arc<Semaphore>,
    }

    #[saga(name = "parcel", input = u32)]
    impl Parcel {
        #[step(atomic)]
        async fn pack(&self, input: &u32) -> Result<u32, Infallible> {
            self.begun.notify_one();
            if self.holds {
                std::future::pending::<()>().await;
            }
            if let Ok(permit) = self.gate.acquire().await {
                permit.forget();
            }
            Ok(*input)
        }
        #[compensate(pack)]
        async fn unpack(&self) -> Result<(), Infallible> {
            Ok(())
        }
        #[step(atomic, no_compensation, depends_on = [pack])]
        async fn send(&self, pack: &u32) -> Result<u32, Infallible> {
            Ok(*pack)
        }
    }

    fn url() -> String {
        env::var("SAGAZ_TEST_POSTGRES_URL")
            .expect("SAGAZ_TEST_POSTGRES_URL names no server; `cargo xtask test` starts one")
    }

    fn schema() -> String {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let now = std::time::UNIX_EPOCH
            .elapsed()
            .unwrap_or_default()
            .as_nanos();
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        format!("sagaz_news_{}_{now}_{next}", std::process::id())
    }

    fn options(schema: &str) -> Options {
        Postgres::options(&url())
            .expect("the URL is one of PostgreSQL")
            .schema(schema)
    }

    async fn engine(options: Options, parcel: &Parcel, in_flight_max: usize) -> Engine<Postgres> {
        Engine::builder(options.connect().await.expect("a store"))
            .register(parcel.clone())
            .poll_interval(POLL)
            .in_flight_max(in_flight_max)
            .shutdown_grace(Duration::from_millis(50))
            .start()
            .await
            .expect("the engine starts")
    }

    fn parcel(holds: bool) -> Parcel {
        Parcel {
            begun: Arc::default(),
            holds,
            gate: Arc::new(Semaphore::new(1_000)),
        }
    }

    async fn session() -> PgConnection {
        PgConnection::connect(&url()).await.expect("a session")
    }

    /// Waits until so many sessions listen on the schema's channel.
    async fn until_listening(schema: &str, sessions: i64) {
        let mut session = session().await;
        let listening = async {
            loop {
                let count: i64 = sqlx::query_scalar(
                    "SELECT count(*) FROM pg_stat_activity WHERE query ILIKE 'LISTEN%' || $1 || '%'",
                )
                .bind(schema)
                .fetch_one(&mut session)
                .await
                .expect("a count");
                if count == sessions {
                    return;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(AT_ONCE, listening).await.expect("it listens");
    }

    async fn is_completed(engine: &Engine<Postgres>, id: SagaId) {
        let handle = engine.handle::<Parcel>(id).await.expect("it is stored");
        let outcome = timeout(AT_ONCE, handle.outcome()).await.expect("at once");
        let outcome = outcome.expect("an outcome");
        assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
    }

    #[tokio::test]
    async fn what_one_engine_releases_another_takes_at_once() {
        let schema = schema();
        let holding = parcel(true);
        let first = engine(options(&schema), &holding, 10).await;
        let started = first.start::<Parcel>(7).await.expect("it starts");
        holding.begun.notified().await;
        // The first listens as well, so that only its end leaves the second alone.
        let second = engine(options(&schema), &parcel(false), 10).await;
        until_listening(&schema, 2).await;
        first.shutdown().await;
        is_completed(&second, started.id()).await;
        second.shutdown().await;
    }

    #[tokio::test]
    async fn what_one_engine_has_no_room_for_another_takes_at_once() {
        let schema = schema();
        let holding = parcel(true);
        let full = engine(options(&schema), &holding, 1).await;
        full.start::<Parcel>(1).await.expect("it starts");
        holding.begun.notified().await;
        let other = engine(options(&schema), &parcel(false), 10).await;
        // One that has no room does not listen.
        until_listening(&schema, 1).await;
        let waits = full.start::<Parcel>(2).await.expect("it is stored");
        is_completed(&other, waits.id()).await;
        full.shutdown().await;
        other.shutdown().await;
    }

    /// What comes while it does not listen is not missed: it looks once when it listens again.
    #[tokio::test]
    async fn a_listener_that_lost_its_connection_comes_back_and_looks() {
        let schema = schema();
        let holding = parcel(true);
        let full = engine(options(&schema).without_notifications(), &holding, 1).await;
        full.start::<Parcel>(1).await.expect("it starts");
        holding.begun.notified().await;
        let other = engine(options(&schema), &parcel(false), 10).await;
        until_listening(&schema, 1).await;
        // Nobody tells of this one.
        let waits = full.start::<Parcel>(2).await.expect("it is stored");
        sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ILIKE 'LISTEN%' || $1 || '%'",
        )
        .bind(&schema)
        .execute(&mut session().await)
        .await
        .expect("it is killed");
        is_completed(&other, waits.id()).await;
        full.abort();
        other.shutdown().await;
    }

    /// Of a store with one writer, through which all of them go.
    #[tokio::test]
    async fn p1_a_row_that_somebody_holds_stalls_no_other_instance() {
        let schema = schema();
        let gated = Parcel {
            gate: Arc::new(Semaphore::new(0)),
            ..parcel(false)
        };
        let engine = engine(options(&schema).writers(1), &gated, 10).await;
        let held = engine.start::<Parcel>(1).await.expect("it starts");
        gated.begun.notified().await;
        let mut user = session().await;
        let lock = format!(
            "BEGIN; SELECT 1 FROM {schema}.saga_instance WHERE id = '{}' FOR UPDATE",
            held.id()
        );
        sqlx::raw_sql(AssertSqlSafe(lock))
            .execute(&mut user)
            .await
            .expect("it is held");
        // Now the one whose row is held has something to write, and so have others.
        gated.gate.add_permits(Semaphore::MAX_PERMITS / 2);
        for number in 2..5 {
            let other = engine.start::<Parcel>(number).await.expect("it starts");
            is_completed(&engine, other.id()).await;
        }
        let state = engine.inspect(held.id()).await.expect("it is read");
        let state = state.expect("it is there").summary.state;
        assert_eq!(state, InstanceState::Pending);
        sqlx::raw_sql("COMMIT")
            .execute(&mut user)
            .await
            .expect("it is let go");
        is_completed(&engine, held.id()).await;
        engine.shutdown().await;
    }

    /// A caller that starts something in a transaction, and then takes its time: only who asks for the same key waits for it.
    #[tokio::test]
    async fn a_start_key_in_an_open_transaction_stalls_no_other_start() {
        let engine = engine(options(&schema()), &parcel(false), 100).await;
        let mut session = session().await;
        let mut tx = session.begin().await.expect("a transaction");
        let in_tx = engine.start_in::<Parcel>(&mut tx, 7).key("same").await;
        let in_tx = in_tx.expect("it is accepted").id();
        let same = engine.clone();
        let same = tokio::spawn(async move { same.start::<Parcel>(7).key("same").await });
        for number in 0..30 {
            let other = engine
                .start::<Parcel>(number)
                .key(format!("other {number}"));
            let other = other.await.expect("it starts");
            is_completed(&engine, other.id()).await;
        }
        assert!(!same.is_finished());
        tx.commit().await.expect("it is committed");
        let same = same.await.expect("no panic").expect("it starts");
        assert_eq!(same.id(), in_tx);
        is_completed(&engine, in_tx).await;
        engine.shutdown().await;
    }
}
