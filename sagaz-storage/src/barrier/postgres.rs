//! The barrier's table on PostgreSQL, in the schema that is first in the search path.

use super::{Participant, ParticipantConnection};
use crate::value::millis;
use sqlx::{Connection, PgConnection, PgTransaction, Row};
use std::time::Duration;

const CREATE: &str = include_str!("../../migrations/barrier/postgres.sql");

/// One at a time: `IF NOT EXISTS` alone fails for whoever comes second.
const CREATING: &str = "SELECT pg_advisory_xact_lock(hashtextextended('saga_barrier', 0))";

const INSERT: &str = "INSERT INTO saga_barrier (key, state) VALUES ($1, $2) ON CONFLICT DO NOTHING";

const LOOK: &str = "SELECT state, output FROM saga_barrier WHERE key = $1 FOR UPDATE";

const CHANGE: &str = "UPDATE saga_barrier
    SET state = $2, output = coalesce($3, output), changed_at = clock_timestamp() WHERE key = $1";

const PRUNE: &str = "DELETE FROM saga_barrier WHERE key = ANY(ARRAY(
        SELECT key FROM saga_barrier WHERE changed_at <= statement_timestamp() - $1 * interval '1 millisecond'
        ORDER BY changed_at LIMIT $2 FOR UPDATE SKIP LOCKED))";

impl Participant for PgTransaction<'_> {
    type Connection = PgConnection;

    fn connection(&mut self) -> &mut PgConnection {
        self
    }
}

impl ParticipantConnection for PgConnection {
    async fn create_barrier(&mut self) -> Result<(), sqlx::Error> {
        let mut transaction = self.begin().await?;
        sqlx::raw_sql(CREATING).execute(&mut *transaction).await?;
        sqlx::raw_sql(CREATE).execute(&mut *transaction).await?;
        transaction.commit().await
    }

    async fn prune_barrier(&mut self, age: Duration, limit: u32) -> Result<u64, sqlx::Error> {
        let prune = sqlx::query(PRUNE).bind(millis(age)).bind(i64::from(limit));
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
        let change = sqlx::query(CHANGE).bind(key).bind(state).bind(output);
        change.execute(self).await.map(|_| ())
    }
}
