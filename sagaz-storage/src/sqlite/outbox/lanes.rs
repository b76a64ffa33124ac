//! Who publishes the events of which lanes.

use crate::{
    sqlite::{connection::Database, events::number, records::json, sql::now},
    value::lease_millis,
};
use sagaz_core::store::{Attendance, LANES, Lane, StoreError, WorkerId};
use sqlx::{Row, SqliteConnection};
use std::time::Duration;

// The migration makes the rows.
const _: () = assert!(LANES == 64);

/// Parameters: the worker, its lease, the worker, how many lanes it wants, the worker, the worker.
const ATTEND: &str = concat!(
    "BEGIN IMMEDIATE;
    INSERT INTO saga_outbox_worker (id, lease_until) VALUES (?, ",
    now!(),
    " + ?) ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until;
    UPDATE saga_outbox_lane SET owner = ?, epoch = epoch + 1 WHERE lane IN (
        SELECT l.lane FROM saga_outbox_lane AS l WHERE NOT EXISTS (
            SELECT 1 FROM saga_outbox_worker AS w WHERE w.id = l.owner AND w.lease_until > ",
    now!(),
    ") ORDER BY l.lane LIMIT max(0, ? - (SELECT count(*) FROM saga_outbox_lane WHERE owner = ?)));
    DELETE FROM saga_outbox_worker WHERE lease_until <= ",
    now!(),
    " AND NOT EXISTS (SELECT 1 FROM saga_outbox_lane AS l WHERE l.owner = saga_outbox_worker.id);
    SELECT count(*) AS workers, NULL AS lane, NULL AS epoch FROM saga_outbox_worker WHERE lease_until > ",
    now!(),
    ";
    SELECT NULL AS workers, lane, epoch FROM saga_outbox_lane WHERE owner = ? ORDER BY lane;
    COMMIT"
);

/// Parameters: the worker, the lanes.
const GIVE_UP: &str = "UPDATE saga_outbox_lane SET owner = NULL
    WHERE owner = ? AND lane IN (SELECT value FROM json_each(?))";

/// Parameters: the worker, the worker.
const LEAVE: &str = "BEGIN IMMEDIATE;
    UPDATE saga_outbox_lane SET owner = NULL WHERE owner = ?;
    DELETE FROM saga_outbox_worker WHERE id = ?;
    COMMIT";

pub(super) async fn attend(
    database: &Database,
    worker: WorkerId,
    ttl: Duration,
    wanted: u16,
) -> Result<Attendance, StoreError> {
    let mut turn = database.turn().await?;
    let result = attendance(&mut turn.connection, worker, ttl, wanted).await;
    turn.end(result).await
}

async fn attendance(
    connection: &mut SqliteConnection,
    worker: WorkerId,
    ttl: Duration,
    wanted: u16,
) -> Result<Attendance, sqlx::Error> {
    let worker = worker.to_string();
    let query = sqlx::query(ATTEND)
        .bind(&worker)
        .bind(lease_millis(ttl))
        .bind(&worker)
        .bind(wanted)
        .bind(&worker)
        .bind(&worker);
    let mut attendance = Attendance::default();
    for row in query.fetch_all(connection).await? {
        if let Some(workers) = row.try_get("workers")? {
            attendance.workers = workers;
        } else {
            attendance.lanes.push(Lane {
                index: number(&row, "lane")?,
                epoch: number(&row, "epoch")?,
            });
        }
    }
    Ok(attendance)
}

pub(super) async fn release(
    database: &Database,
    worker: WorkerId,
    lanes: Option<&[u16]>,
) -> Result<(), StoreError> {
    let lanes = lanes.map(|lanes| json(&lanes)).transpose()?;
    let worker = worker.to_string();
    let query = match lanes {
        Some(lanes) => sqlx::query(GIVE_UP).bind(worker).bind(lanes),
        None => sqlx::query(LEAVE).bind(worker.clone()).bind(worker),
    };
    let mut turn = database.turn().await?;
    let result = query.execute(&mut turn.connection).await;
    turn.end(result.map(|_| ())).await
}
