//! A server that has room for few locks, and whose table of them is almost full.
#![cfg(feature = "postgres")]

mod support;

/// On a server of the test's own. By this name it is left out where PostgreSQL's programs are not installed.
mod native_postgres {
    use crate::support::{
        postgres_events::{Reader, engine, event, owned, publishing},
        private::Server,
    };
    use sagaz_core::store::{SagaStore, Written};
    use sagaz_storage::postgres::Postgres;
    use sqlx::{Connection, PgConnection};

    const WRITES: u32 = 20;
    const KEYS: u32 = 9;

    async fn run(session: &mut PgConnection, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(sql).execute(session).await.map(|_| ())
    }

    /// In smaller parts each time, until they fit.
    #[tokio::test]
    async fn p12_a_batch_that_needs_more_locks_than_there_is_room_for_is_written_in_the_end() {
        let mut server = Server::new("trust");
        let mut admin = PgConnection::connect(&server.url()).await.unwrap();
        for setting in [
            "ALTER SYSTEM SET max_locks_per_transaction = 10",
            "ALTER SYSTEM SET max_connections = 20",
        ] {
            run(&mut admin, setting).await.unwrap();
        }
        drop(admin);
        server.stop();
        server.start();
        let store = Postgres::connect(&server.url()).await.unwrap();
        let owner = engine(&store).await;
        let mut batch = Vec::new();
        for n in 0..WRITES {
            let events: Vec<_> = (0..KEYS)
                .map(|m| event(format!("{n}/{m}"), n * KEYS + m))
                .collect();
            batch.push(publishing(
                owned(&store, owner).await,
                "charge",
                &events,
                None,
            ));
        }
        let mut greedy = PgConnection::connect(&server.url()).await.unwrap();
        let fill = "SELECT pg_advisory_lock(n) FROM generate_series(1, 1000000) AS n";
        let error = run(&mut greedy, fill).await.unwrap_err();
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code);
        assert_eq!(code.as_deref(), Some("53200"), "{error}");
        // What was locked before it failed stays locked.
        let room = "SELECT pg_advisory_unlock(n) FROM generate_series(1, 120) AS n";
        run(&mut greedy, room).await.unwrap();
        let mut failures = 0;
        let written = loop {
            match store.write(&batch).await {
                Ok(written) => break written,
                Err(error) => {
                    assert!(error.is_transient(), "{error:?}");
                    failures += 1;
                    assert!(failures < 10, "it never fits: {error:?}");
                }
            }
        };
        assert!(failures > 0, "there was room enough, so this shows nothing");
        assert!(
            written
                .iter()
                .all(|it| matches!(it, Written::Stored { .. }))
        );
        let mut read = Reader::of(&store).await.read(&store).await;
        read.sort_unstable();
        assert_eq!(read, (0..WRITES * KEYS).collect::<Vec<_>>());
    }
}
