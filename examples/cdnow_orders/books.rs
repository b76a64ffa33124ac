//! The books of the services: what they really did, in a database file that the saga cannot see.
//!
//! The books are only ever added to. An order holds something of a service if there is an entry for it and it was not
//! voided. Invariant: every call below is one statement, and so one transaction that is committed before it returns.

use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{path::Path, time::Duration};

const SCHEMA: &str = "
    -- What these books belong to: another seed or other orders would make nonsense of them.
    CREATE TABLE IF NOT EXISTS world (id INTEGER PRIMARY KEY CHECK (id = 1), seed INTEGER NOT NULL, orders INTEGER NOT NULL);

    -- Every request, as it arrives. `undo`: it takes something back. `nth`: which request with this key it is.
    CREATE TABLE IF NOT EXISTS call (
        seq INTEGER PRIMARY KEY,
        service TEXT NOT NULL,
        order_no INTEGER NOT NULL,
        key TEXT NOT NULL,
        undo INTEGER NOT NULL,
        nth INTEGER NOT NULL
    );
    CREATE INDEX IF NOT EXISTS call_order ON call (order_no);

    -- What was done. A repeated key does nothing.
    CREATE TABLE IF NOT EXISTS entry (
        serial INTEGER PRIMARY KEY,
        service TEXT NOT NULL,
        order_no INTEGER NOT NULL,
        key TEXT NOT NULL UNIQUE,
        amount INTEGER NOT NULL
    );
    CREATE INDEX IF NOT EXISTS entry_order ON entry (order_no, service);

    -- What was taken back. It can come before what it takes back, and then keeps that from being done.
    CREATE TABLE IF NOT EXISTS void (
        service TEXT NOT NULL,
        order_no INTEGER NOT NULL,
        PRIMARY KEY (service, order_no)
    ) WITHOUT ROWID;
";

#[derive(Clone, Debug)]
pub(crate) struct Books {
    pool: SqlitePool,
}

/// Of one service: its name, requests, repeated ones among them, things done, requests to undo, repeated ones among them,
/// things taken back.
pub(crate) type Total = (String, i64, i64, i64, i64, i64, i64);

impl Books {
    pub(crate) async fn open(path: &Path) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A killed process loses no commit with it; only a power failure could.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(10));
        // SQLite has one writer at a time. One connection makes the others queue here instead of polling there.
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        Ok(Self { pool })
    }

    /// Whether they belong to some orders already.
    pub(crate) async fn were_begun(&self) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM world)")
            .fetch_one(&self.pool)
            .await
    }

    /// Whether any request has arrived.
    pub(crate) async fn were_written(&self) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM call)")
            .fetch_one(&self.pool)
            .await
    }

    /// The seed and the fingerprint of the orders that these books were begun with; new books are begun with these.
    pub(crate) async fn begin(&self, seed: u64, orders: u64) -> Result<(u64, u64), sqlx::Error> {
        sqlx::query("INSERT OR IGNORE INTO world (id, seed, orders) VALUES (1, ?, ?)")
            .bind(seed.cast_signed())
            .bind(orders.cast_signed())
            .execute(&self.pool)
            .await?;
        let (seed, orders): (i64, i64) = sqlx::query_as("SELECT seed, orders FROM world")
            .fetch_one(&self.pool)
            .await?;
        Ok((seed.cast_unsigned(), orders.cast_unsigned()))
    }

    /// Writes down that a request arrived, and says which one with its key it is; the first is 1.
    pub(crate) async fn arrive(
        &self,
        service: &str,
        order_no: u32,
        key: &str,
        undo: bool,
    ) -> Result<u32, sqlx::Error> {
        sqlx::query_scalar(
            "INSERT INTO call (service, order_no, key, undo, nth)
             SELECT ?1, ?2, ?3, ?4, 1 + count(*) FROM call WHERE order_no = ?2 AND key = ?3
             RETURNING nth",
        )
        .bind(service)
        .bind(order_no)
        .bind(key)
        .bind(undo)
        .fetch_one(&self.pool)
        .await
    }

    /// Does it, unless it was done under this key already; then the first result counts. `None` if it was taken back
    /// before it came.
    pub(crate) async fn enter(
        &self,
        service: &str,
        order_no: u32,
        key: &str,
        amount: u32,
    ) -> Result<Option<i64>, sqlx::Error> {
        sqlx::query_scalar(
            "INSERT INTO entry (service, order_no, key, amount)
             SELECT ?1, ?2, ?3, ?4 WHERE NOT EXISTS (SELECT 1 FROM void WHERE service = ?1 AND order_no = ?2)
             ON CONFLICT (key) DO UPDATE SET key = key
             RETURNING serial",
        )
        .bind(service)
        .bind(order_no)
        .bind(key)
        .bind(amount)
        .fetch_optional(&self.pool)
        .await
    }

    /// Takes back whatever was done for this order, and keeps it from being done later.
    pub(crate) async fn void(&self, service: &str, order_no: u32) -> Result<(), sqlx::Error> {
        sqlx::query("INSERT OR IGNORE INTO void (service, order_no) VALUES (?, ?)")
            .bind(service)
            .bind(order_no)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// A row for each service, in the order in which a saga asks them.
    pub(crate) async fn totals(&self) -> Result<Vec<Total>, sqlx::Error> {
        sqlx::query_as(
            "WITH asked AS (
                 SELECT service, min(seq) AS first,
                     sum(NOT undo) AS requests, sum(NOT undo AND nth > 1) AS repeated,
                     sum(undo) AS undo_requests, sum(undo AND nth > 1) AS undo_repeated
                 FROM call GROUP BY service
             ), made AS (
                 SELECT service, count(*) AS done, count(void.order_no) AS taken_back
                 FROM entry LEFT JOIN void USING (service, order_no) GROUP BY service
             )
             SELECT service, requests, repeated, ifnull(done, 0), undo_requests, undo_repeated, ifnull(taken_back, 0)
             FROM asked LEFT JOIN made USING (service) ORDER BY first",
        )
        .fetch_all(&self.pool)
        .await
    }
}
