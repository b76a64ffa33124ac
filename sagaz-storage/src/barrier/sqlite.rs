//! The barrier's table in a SQLite file. Its first statement writes, so a transaction that begins with it is in nobody's way
//! later on.

use super::{Participant, ParticipantConnection};
use crate::value::millis;
use sqlx::{Row, SqliteConnection, SqliteTransaction};
use std::time::Duration;

const CREATE: &str = include_str!("../../migrations/barrier/sqlite.sql");

const INSERT: &str = "INSERT INTO saga_barrier (key, state) VALUES (?, ?) ON CONFLICT DO NOTHING";

const LOOK: &str = "SELECT state, output FROM saga_barrier WHERE key = ?";

const CHANGE: &str = "UPDATE saga_barrier SET state = ?, output = coalesce(?, output),
    changed_at = CAST(round(unixepoch('subsec') * 1000) AS INTEGER) WHERE key = ?";

const PRUNE: &str = "DELETE FROM saga_barrier WHERE key IN (
    SELECT key FROM saga_barrier WHERE changed_at <= CAST(round(unixepoch('subsec') * 1000) AS INTEGER) - ?
    ORDER BY changed_at LIMIT ?)";

impl Participant for SqliteTransaction<'_> {
    type Connection = SqliteConnection;

    fn connection(&mut self) -> &mut SqliteConnection {
        self
    }
}

impl ParticipantConnection for SqliteConnection {
    async fn create_barrier(&mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(CREATE).execute(self).await.map(|_| ())
    }

    async fn prune_barrier(&mut self, age: Duration, limit: u32) -> Result<u64, sqlx::Error> {
        let prune = sqlx::query(PRUNE).bind(millis(age)).bind(limit);
        Ok(prune.execute(self).await?.rows_affected())
    }

    async fn insert(&mut self, key: &str, state: &'static str) -> Result<bool, sqlx::Error> {
        let insert = sqlx::query(INSERT).bind(key).bind(state);
        Ok(insert.execute(self).await?.rows_affected() > 0)
    }

    async fn look(&mut self, key: &str) -> Result<Option<(String, Option<String>)>, sqlx::Error> {
        let row = sqlx::query(LOOK).bind(key).fetch_optional(self);
        let row = row.await?;
        row.map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .transpose()
    }

    async fn change(
        &mut self,
        key: &str,
        state: &'static str,
        output: Option<String>,
    ) -> Result<(), sqlx::Error> {
        let change = sqlx::query(CHANGE).bind(state).bind(output).bind(key);
        change.execute(self).await.map(|_| ())
    }
}
