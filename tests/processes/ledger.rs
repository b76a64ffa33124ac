//! The world outside: what the services of the test did, in a SQLite file of its own. Every line is committed before a call
//! returns, so it survives the process.

use sqlx::{
    Row, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{path::Path, time::Duration};

#[derive(Clone)]
pub(crate) struct Ledger(SqlitePool);

impl Ledger {
    pub(crate) async fn open(path: &Path) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A killed process loses no commit, only a power cut could.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(30));
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await
            .unwrap();
        let tables = "
            CREATE TABLE IF NOT EXISTS call (serial INTEGER PRIMARY KEY, key TEXT NOT NULL, step TEXT NOT NULL,
                                             number INTEGER NOT NULL, process INTEGER NOT NULL);
            CREATE TABLE IF NOT EXISTS effect (key TEXT PRIMARY KEY, step TEXT NOT NULL, number INTEGER NOT NULL,
                                               cents INTEGER NOT NULL, undone INTEGER NOT NULL DEFAULT 0)";
        sqlx::raw_sql(tables).execute(&pool).await.unwrap();
        Self(pool)
    }

    /// A call of a step begins; its number in the ledger.
    pub(crate) async fn call(&self, key: &str, step: &str, number: u32) -> i64 {
        sqlx::query("INSERT INTO call (key, step, number, process) VALUES (?, ?, ?, ?)")
            .bind(key)
            .bind(step)
            .bind(number)
            .bind(std::process::id())
            .execute(&self.0)
            .await
            .unwrap()
            .last_insert_rowid()
    }

    /// The effect of a call: once a key, and never after its undo.
    pub(crate) async fn take_effect(&self, key: &str, step: &str, number: u32, cents: i64) {
        sqlx::query("INSERT INTO effect (key, step, number, cents) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING")
            .bind(key)
            .bind(step)
            .bind(number)
            .bind(cents)
            .execute(&self.0)
            .await
            .unwrap();
    }

    /// Undoes the effect of a key; if there was none yet, none will come.
    pub(crate) async fn undo(&self, key: &str, step: &str, number: u32) {
        sqlx::query(
            "INSERT INTO effect (key, step, number, cents, undone) VALUES (?, ?, ?, 0, 1)
             ON CONFLICT DO UPDATE SET undone = 1",
        )
        .bind(key)
        .bind(step)
        .bind(number)
        .execute(&self.0)
        .await
        .unwrap();
    }

    /// Effects of a step that are in force: number and cents.
    pub(crate) async fn in_force(&self, step: &str) -> Vec<(u32, i64)> {
        let rows = sqlx::query(
            "SELECT number, cents FROM effect WHERE step = ? AND undone = 0 ORDER BY number",
        )
        .bind(step)
        .fetch_all(&self.0)
        .await
        .unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// For each key, the number of its last call.
    pub(crate) async fn last_calls(&self) -> std::collections::BTreeMap<String, i64> {
        let rows = sqlx::query("SELECT key, max(serial) FROM call GROUP BY key")
            .fetch_all(&self.0)
            .await
            .unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// Calls of a step after one of a later step: that had begun with its output stored. Purchase and step.
    pub(crate) async fn called_out_of_order(&self) -> Vec<(u32, String)> {
        let rows = sqlx::query(
            "WITH stage (step, stage) AS (
                 VALUES ('reserve', 1), ('charge', 2), ('label', 2), ('dispatch', 3), ('confirm', 4)
             )
             SELECT number, step FROM (
                 SELECT number, step, stage, max(stage) OVER (PARTITION BY number ORDER BY serial) AS reached
                 FROM call JOIN stage USING (step)
             ) WHERE stage < reached",
        )
        .fetch_all(&self.0)
        .await
        .unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    pub(crate) async fn calls(&self, step: &str) -> i64 {
        let count = sqlx::query("SELECT count(*) FROM call WHERE step = ?")
            .bind(step)
            .fetch_one(&self.0);
        count.await.unwrap().get(0)
    }
}
