//! The outbox's table, filled and emptied by hand.

use sagaz::{
    Event, brokers::memory::MemoryBroker, outbox::Relay, postgres::Postgres, store::lane_of,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::time::{Duration, Instant};

const SCHEMA: &str = "sagaz_bench_outbox";
const LANES: u16 = 64;

pub(crate) struct Table {
    url: String,
}

/// The place of an event in its key; the first is 1.
pub(crate) fn number(event: &Event) -> u32 {
    let number = event.attributes()["number"].parse();
    number.expect("the events of this benchmark are numbered")
}

fn data(number: u32) -> String {
    format!(
        r#"{{"order":{number},"customer":17,"items":[{{"article":"4711","quantity":2}}],"note":"{}"}}"#,
        "x".repeat(180)
    )
}

/// Events of so many keys in turn.
pub(crate) fn events(count: u32, keys: u32) -> Vec<Event> {
    let event = |n: u32| {
        let data: serde_json::Value = serde_json::from_str(&data(n)).expect("it is JSON");
        Event::new("order.changed", &data)
            .source("/bench")
            .key(n % keys)
            .attribute("number", (n / keys + 1).to_string())
    };
    (0..count).map(event).collect()
}

impl Table {
    pub(crate) async fn create(url: &str) -> Self {
        let table = Self {
            url: url.to_owned(),
        };
        table
            .execute(format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"))
            .await;
        table.store().await.close().await;
        table
    }

    pub(crate) async fn store(&self) -> Postgres {
        Postgres::options(&self.url)
            .expect("the URL is one of PostgreSQL")
            .schema(SCHEMA)
            .connect()
            .await
            .expect("the store connects")
    }

    pub(crate) async fn session(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.expect("a session")
    }

    async fn execute(&self, sql: String) {
        let mut session = self.session().await;
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut session)
            .await
            .expect("it runs");
    }

    /// Stores so many events of so many keys.
    pub(crate) async fn fill(&self, count: u32, keys: u32) {
        let lanes: Vec<i32> = (0..keys)
            .map(|key| i32::from(lane_of(&key.to_string(), LANES)))
            .collect();
        let insert = format!(
            "INSERT INTO {SCHEMA}.outbox (lane, seq, xid, id, key, type, source, time, attributes, content_type, data_text, stored_at)
             SELECT $1[n % $2 + 1], nextval('{SCHEMA}.outbox_seq'), pg_current_xact_id(), gen_random_uuid()::text, (n % $2)::text,
                'order.changed', '/bench', '2026-01-01T00:00:00Z', '{{\"number\":\"' || (n / $2 + 1) || '\"}}', 'application/json',
                $4, clock_timestamp()
             FROM generate_series(0, $3 - 1) AS n"
        );
        let mut session = self.session().await;
        sqlx::raw_sql(AssertSqlSafe(format!("TRUNCATE {SCHEMA}.outbox")))
            .execute(&mut session)
            .await
            .expect("it is emptied");
        sqlx::query(AssertSqlSafe(insert))
            .bind(lanes)
            .bind(keys.cast_signed())
            .bind(count.cast_signed())
            .bind(data(4_711))
            .execute(&mut session)
            .await
            .expect("it is filled");
        // Each by itself: a vacuum is no part of a transaction.
        for tidy in [
            format!("VACUUM ANALYZE {SCHEMA}.outbox"),
            "CHECKPOINT".to_owned(),
        ] {
            sqlx::raw_sql(AssertSqlSafe(tidy))
                .execute(&mut session)
                .await
                .expect("it is tidied");
        }
    }

    /// Rows a second that one connection claims, reads and deletes.
    pub(crate) async fn delete_all(&self, batch: i64) -> f64 {
        let delete = format!(
            "DELETE FROM {SCHEMA}.outbox AS o USING (
                SELECT lane, seq FROM {SCHEMA}.outbox ORDER BY lane, seq LIMIT $1 FOR UPDATE SKIP LOCKED
             ) AS c WHERE o.lane = c.lane AND o.seq = c.seq RETURNING o.*"
        );
        let mut session = self.session().await;
        let began = Instant::now();
        let mut deleted = 0;
        loop {
            let rows = sqlx::query(AssertSqlSafe(delete.clone()))
                .bind(batch)
                .fetch_all(&mut session)
                .await
                .expect("they are deleted");
            if rows.is_empty() {
                return f64::from(deleted) / began.elapsed().as_secs_f64();
            }
            deleted += u32::try_from(rows.len()).expect("it is a batch");
        }
    }

    pub(crate) async fn wait_empty(&self) {
        let mut session = self.session().await;
        let query = format!("SELECT EXISTS (SELECT 1 FROM {SCHEMA}.outbox)");
        loop {
            let is_full: bool = sqlx::query_scalar(AssertSqlSafe(query.clone()))
                .fetch_one(&mut session)
                .await
                .expect("an answer");
            if !is_full {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// How many transactions the server counts while a relay has nothing to do.
    pub(crate) async fn count_idle(&self, time: Duration) {
        // A database that nobody else uses.
        self.execute("DROP DATABASE IF EXISTS sagaz_bench_idle".to_owned())
            .await;
        self.execute("CREATE DATABASE sagaz_bench_idle".to_owned())
            .await;
        let (server, _) = self.url.rsplit_once('/').expect("the URL names a database");
        let url = format!("{server}/sagaz_bench_idle");
        let store = Postgres::connect(&url).await.expect("the store connects");
        let relay = Relay::builder(store, MemoryBroker::new())
            .start()
            .await
            .expect("the relay starts");
        // What it looks at when it starts, and the server's own delay in counting.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let before = self.transactions().await;
        tokio::time::sleep(time).await;
        let count = self.transactions().await - before;
        #[expect(clippy::cast_precision_loss, reason = "the numbers are small")]
        let rate = count as f64 / time.as_secs_f64();
        println!("an idle relay: {rate:.2} transactions a second (wanted: at most 1)");
        relay.shutdown().await;
    }

    async fn transactions(&self) -> i64 {
        let mut session = self.session().await;
        sqlx::query_scalar(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'sagaz_bench_idle'",
        )
        .fetch_one(&mut session)
        .await
        .expect("a count")
    }
}
