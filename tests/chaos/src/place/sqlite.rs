//! A SQLite file, which several processes open.

use super::{AnyError, Consumed, Place};
use crate::sagas::Told;
use sagaz::{Event, outbox::HandlerError, sqlite::Sqlite, store::InboxStore};
use sqlx::{Executor, Row, SqlitePool, sqlite::SqliteConnectOptions};
use std::{path::PathBuf, time::Duration};

#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
}

impl File {
    async fn connect(&self) -> Result<SqlitePool, AnyError> {
        let options = SqliteConnectOptions::new()
            .filename(&self.path)
            .busy_timeout(Duration::from_secs(30));
        Ok(SqlitePool::connect_with(options).await?)
    }
}

impl Place for File {
    type Store = Sqlite;

    async fn open(&self) -> Result<Sqlite, AnyError> {
        Ok(Sqlite::open(&self.path).await?)
    }

    async fn prepare(&self) -> Result<(), AnyError> {
        drop(self.open().await?);
        let pool = self.connect().await?;
        pool.execute("CREATE TABLE consumed (event TEXT NOT NULL, serial INTEGER NOT NULL)")
            .await?;
        pool.close().await;
        Ok(())
    }

    async fn consume(
        &self,
        event: &Event,
        tx: &mut <Sqlite as InboxStore>::Tx,
    ) -> Result<(), HandlerError> {
        let told: Told = event.decode()?;
        sqlx::query("INSERT INTO consumed (event, serial) VALUES (?, ?)")
            .bind(event.event_id().to_string())
            .bind(i64::try_from(told.serial)?)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    async fn consumed(&self) -> Result<Vec<Consumed>, AnyError> {
        let pool = self.connect().await?;
        let rows = pool.fetch_all("SELECT event, serial FROM consumed").await?;
        let consumed = rows.into_iter().map(|row| {
            let serial: i64 = row.get(1);
            Consumed {
                event: row.get(0),
                serial: serial.cast_unsigned(),
            }
        });
        let consumed = consumed.collect();
        pool.close().await;
        Ok(consumed)
    }
}
