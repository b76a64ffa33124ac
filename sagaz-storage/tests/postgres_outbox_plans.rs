//! What the outbox costs while an old snapshot keeps all that was deleted, whatever the server knew of its tables when the
//! statements were planned.
#![cfg(feature = "postgres")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

/// By this name they are left out where there is no server.
mod postgres {
    use crate::support::{
        postgres::{connect, schema, url},
        postgres_events::{HOUR, Reader, engine, event, owned, publishing, run, session},
    };
    use sagaz_core::store::{
        AppendsIn, Fate, OutboxStore, SagaStore, Sender, SentEvents, WorkerId, Written,
    };
    use sqlx::{Connection, PgConnection, PgTransaction, Row};
    use std::time::{Duration, Instant};

    const PATIENCE: Duration = Duration::from_mins(1);
    const ROUNDS: u32 = 150;
    const EVENTS: i64 = ROUNDS as i64 * 12;

    /// What the server has counted in the tables of events.
    struct Counts {
        /// How often a table was read as a whole.
        scans: i64,
        deletes: i64,
        /// How many entries of indexes were read.
        entries: i64,
    }

    async fn counts(session: &mut PgConnection, schema: &str) -> Counts {
        let row = sqlx::query(
            "SELECT sum(seq_scan)::bigint, sum(n_tup_del)::bigint,
                (SELECT sum(idx_tup_read)::bigint FROM pg_stat_user_indexes WHERE schemaname = $1
                    AND relname IN ('outbox', 'outbox_archive'))
            FROM pg_stat_user_tables WHERE schemaname = $1 AND relname IN ('outbox', 'outbox_archive')",
        )
        .bind(schema)
        .fetch_one(session)
        .await
        .unwrap();
        Counts {
            scans: row.get(0),
            deletes: row.get(1),
            entries: row.get(2),
        }
    }

    async fn transaction(session: &mut PgConnection) -> PgTransaction<'_> {
        session.begin().await.unwrap()
    }

    /// Tables that the server knows to have so many rows, or nothing of.
    async fn prepare(admin: &mut PgConnection, schema: &str, known: Option<u32>) {
        let store = connect(schema).await;
        for table in ["outbox", "outbox_archive"] {
            let quiet = format!("ALTER TABLE {schema}.{table} SET (autovacuum_enabled = off)");
            run(admin, quiet).await;
        }
        if let Some(known) = known {
            for n in 0..known {
                let mut tx = transaction(admin).await;
                store.append_in(&mut tx, &event(n, n)).await.unwrap();
                tx.commit().await.unwrap();
            }
            for table in ["outbox", "outbox_archive"] {
                run(admin, format!("VACUUM ANALYZE {schema}.{table}")).await;
            }
        }
        store.close().await;
    }

    async fn what_was_sent_costs_nothing(known: Option<u32>) {
        let schema = schema();
        let mut admin = session().await;
        prepare(&mut admin, &schema, known).await;
        let mut old = PgConnection::connect(&url()).await.unwrap();
        let mut old = transaction(&mut old).await;
        let look = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT pg_current_xact_id()";
        sqlx::raw_sql(look).execute(&mut *old).await.unwrap();
        let store = connect(&schema).await;
        let owner = engine(&store).await;
        let mut reader = Reader::of(&store).await;
        let others = reader.events(&store).await.len();
        assert_eq!(others, known.unwrap_or_default() as usize);
        let before = counts(&mut admin, &schema).await;
        let sender = Sender {
            id: WorkerId::random(),
            lease: HOUR,
        };
        for n in 0..ROUNDS {
            let mut batch = Vec::new();
            for m in 0..5 {
                let events = [event(format!("k{n}/{m}"), n), event(format!("m{m}"), n)];
                let instance = owned(&store, owner).await;
                batch.push(publishing(instance, "charge", &events, None));
            }
            let sent = event(format!("sent-{n}"), n);
            let instance = owned(&store, owner).await;
            let events = std::slice::from_ref(&sent);
            batch.push(publishing(instance, "charge", events, Some(sender)));
            let mut tx = transaction(&mut admin).await;
            let appended = event("appended", n);
            store.append_in(&mut tx, &appended).await.unwrap();
            tx.commit().await.unwrap();
            let written = store.write(&batch).await.unwrap();
            assert!(
                written
                    .iter()
                    .all(|it| matches!(it, Written::Stored { .. }))
            );
            let heads = store.heads(sender.id, &[sent.event_id().clone()]).await;
            let heads = heads.unwrap();
            assert_eq!(heads.len(), 1);
            let heads = [(heads[0].1, true)];
            let settled = store.settle_heads(sender.id, &heads, SentEvents::Archive);
            settled.await.unwrap();
            let read = reader.events(&store).await;
            assert_eq!(read.len(), 11);
            let mut marks: Vec<_> = read.iter().map(|event| reader.sent(event)).collect();
            marks[0].fate = Fate::Retry {
                attempts: 1,
                error: "no".to_owned(),
                after: Duration::ZERO,
            };
            let sent = [SentEvents::Archive, SentEvents::Delete][n as usize % 2];
            for marks in [&marks[..5], &marks[5..]] {
                let marked = store.mark(reader.id, marks, sent).await.unwrap();
                assert!(marked.is_empty());
            }
            marks[0].fate = Fate::Sent;
            let marked = store.mark(reader.id, &marks[..1], sent).await.unwrap();
            assert!(marked.is_empty());
        }
        store.close().await;
        let began = Instant::now();
        let after = loop {
            let counts = counts(&mut admin, &schema).await;
            if counts.deletes - before.deletes >= EVENTS {
                break counts;
            }
            assert!(began.elapsed() < PATIENCE, "the server does not count");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        old.rollback().await.unwrap();
        assert_eq!(after.scans, before.scans, "{known:?} known");
        let entries = after.entries - before.entries;
        assert!(
            entries < 5 * EVENTS,
            "{entries} entries for {EVENTS} events, {known:?} known"
        );
    }

    /// As after an installation.
    #[tokio::test]
    async fn what_was_sent_costs_nothing_where_the_server_knows_nothing_of_the_outbox() {
        what_was_sent_costs_nothing(None).await;
    }

    /// As after a quiet night.
    #[tokio::test]
    async fn what_was_sent_costs_nothing_where_the_server_knows_the_outbox_to_be_small() {
        for known in [0, 1, 3] {
            what_was_sent_costs_nothing(Some(known)).await;
        }
    }
}
