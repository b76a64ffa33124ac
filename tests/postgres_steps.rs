//! Transactional steps on a server: what only its transactions do.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

/// By this name they are left out where there is no server.
mod postgres {
    use sagaz::{
        Engine, Failure, Handle, Lifecycle, Observer, Outcome, Saga, StepError, postgres::Postgres,
        saga, step,
    };
    use sqlx::PgTransaction;
    use std::{
        env,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        time::Duration,
    };
    use tokio::time::{sleep, timeout};

    /// Longer than anything here takes, unless it hangs.
    const BOUND: Duration = Duration::from_secs(25);

    fn options() -> sagaz::postgres::Options {
        let url = env::var("SAGAZ_TEST_POSTGRES_URL")
            .expect("`cargo xtask test` starts a server, or SAGAZ_TEST_POSTGRES_URL names one");
        let schema = format!("steps_{:016x}", fastrand::u64(..));
        Postgres::options(&url).unwrap().schema(schema)
    }

    async fn outcome<G: Saga>(handle: &Handle<G, Postgres>) -> Outcome<G::Outputs> {
        let outcome = timeout(BOUND, handle.outcome()).await;
        outcome.expect("it comes to an end").unwrap()
    }

    async fn failure<G: Saga>(handle: &Handle<G, Postgres>) -> Failure {
        match outcome(handle).await {
            Outcome::RolledBack(failure) => failure,
            _ => panic!("not rolled back"),
        }
    }

    /// Its statement fails, and it does not say so.
    struct Silent;

    #[saga(name = "silent")]
    impl Silent {
        #[step]
        async fn swallow(&self, tx: &mut PgTransaction<'_>) -> Result<(), StepError> {
            let _ = sqlx::query("SELECT 1 / 0").execute(&mut **tx).await;
            Ok(())
        }
    }

    #[tokio::test]
    async fn an_error_that_a_step_kept_to_itself_is_told() {
        let store = options().connect().await.unwrap();
        let engine = Engine::builder(store).register(Silent).start().await;
        let handle = engine.unwrap().start::<Silent>(()).await.unwrap();
        let message = failure(&handle).await.message;
        assert!(message.contains("its error was not returned"), "{message}");
    }

    /// Ends the transaction by itself.
    struct Impatient;

    #[saga(name = "impatient")]
    impl Impatient {
        #[step]
        async fn end(&self, tx: &mut PgTransaction<'_>) -> Result<(), StepError> {
            let end = sqlx::query("ROLLBACK").execute(&mut **tx).await;
            end.map(|_| ()).map_err(StepError::retryable)
        }
    }

    #[tokio::test]
    async fn p2_a_step_that_ended_its_transaction_by_hand_is_not_recorded() {
        let store = options().connect().await.unwrap();
        let engine = Engine::builder(store).register(Impatient).start().await;
        let handle = engine.unwrap().start::<Impatient>(()).await.unwrap();
        let message = failure(&handle).await.message;
        assert!(message.contains("ended before the step did"), "{message}");
    }

    /// Longer without a word than the server lets it be.
    struct Dreamer(Arc<AtomicU32>);

    #[saga(name = "dreamer")]
    impl Dreamer {
        #[step]
        async fn dream(&self, tx: &mut PgTransaction<'_>) -> Result<(), StepError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let hurry = sqlx::query("SET LOCAL idle_in_transaction_session_timeout = 100");
            hurry
                .execute(&mut **tx)
                .await
                .map_err(StepError::retryable)?;
            sleep(Duration::from_millis(600)).await;
            Ok(())
        }
    }

    #[tokio::test]
    async fn p12_a_step_that_is_silent_for_too_long_has_failed() {
        let store = options().connect().await.unwrap();
        let attempts = Arc::<AtomicU32>::default();
        let builder = Engine::builder(store).register(Dreamer(Arc::clone(&attempts)));
        let engine = builder.start().await.unwrap();
        let handle = engine.start::<Dreamer>(()).await.unwrap();
        let message = failure(&handle).await.message;
        assert!(message.contains("silent"), "{message}");
        assert_eq!(attempts.load(Ordering::Relaxed), 1);
    }

    /// Takes its time.
    struct Slow;

    #[saga(name = "slow")]
    impl Slow {
        #[step(no_compensation)]
        async fn hold(&self, tx: &mut PgTransaction<'_>) -> Result<(), StepError> {
            let wait = sqlx::query("SELECT pg_sleep(1.5)");
            wait.execute(&mut **tx)
                .await
                .map_err(StepError::retryable)?;
            Ok(())
        }
    }

    #[derive(Default)]
    struct Troubles(AtomicU32);

    impl Observer for Troubles {
        fn observe(&self, event: &Lifecycle<'_>) {
            if let Lifecycle::StoreUnavailable { .. } = event {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    #[tokio::test]
    async fn p12_who_waits_for_a_transaction_is_not_told_that_the_store_failed() {
        // Shorter than the last of them waits.
        let call_timeout = Duration::from_secs(4);
        let options = options().transactions_max(1).call_timeout(call_timeout);
        let troubles = Arc::<Troubles>::default();
        let builder = Engine::builder(options.connect().await.unwrap());
        let builder = builder.register(Slow).observer(troubles.clone());
        let engine = builder.start().await.unwrap();
        let mut handles = Vec::new();
        for _ in 0..5 {
            handles.push(engine.start::<Slow>(()).await.unwrap());
        }
        for handle in &handles {
            assert!(outcome(handle).await.is_completed());
        }
        assert_eq!(troubles.0.load(Ordering::Relaxed), 0);
    }
}
