//! A writer that needs room: it shows that a disk is full to those who write, and not only to who has filled it.

use super::Kind;
use crate::place::AnyError;
use sqlx::{Connection, PgConnection};
use std::time::Duration;
use tokio::time::timeout;

/// A write is answered within this, or nothing is known.
const PATIENCE: Duration = Duration::from_secs(3);

/// What PostgreSQL says when there is no room.
const DISK_FULL: &str = "53100";

/// Whether a write was refused because there is no room; `false` if nothing is known.
pub(super) async fn is_refused(kind: Kind, url: &str) -> bool {
    let written = async {
        match kind {
            Kind::Postgres => write_to_postgres(url).await,
            // A server of Redis that flushes always ends when it cannot write.
            Kind::Redis | Kind::RabbitMq | Kind::Nats => Ok(()),
        }
    };
    match timeout(PATIENCE, written).await {
        Ok(Err(error)) => says_disk_full(&*error),
        _ => false,
    }
}

/// Makes a new table, and leaves nothing of it.
async fn write_to_postgres(url: &str) -> Result<(), AnyError> {
    let mut connection = PgConnection::connect(url).await?;
    let mut transaction = connection.begin().await?;
    let write = "CREATE TABLE public.room AS SELECT generate_series(1, 10000) AS nth";
    sqlx::raw_sql(write).execute(&mut *transaction).await?;
    transaction.rollback().await?;
    connection.close().await?;
    Ok(())
}

fn says_disk_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let error = error.downcast_ref::<sqlx::Error>();
    let error = error.and_then(sqlx::Error::as_database_error);
    error.is_some_and(|error| error.code().as_deref() == Some(DISK_FULL))
}
