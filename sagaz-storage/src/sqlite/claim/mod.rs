//! Claims: first a look without the write lock, then the decision under it.
//!
//! Invariant: ownership changes only in one transaction that sees the claimer's live lease and judges every candidate
//! anew. The look before it decides nothing; it keeps an idle engine from taking the write lock at every poll, and finds
//! what the claim can run behind what it cannot.
//!
//! Invariant: what is taken was read before the transaction ends, and what cannot be read is stuck when it ends. So no
//! instance is owned by an engine that does not know of it, and none keeps the others from being taken.

mod statements;

use super::{connection::Database, records::json, row};
use crate::{
    judging::{
        Aside, Decision, LOOK_EXTRA, LOOKS_MAX, Room, Standing, Unreadable, stored_steps, versions,
    },
    value::{to_json, unreadable},
};
use sagaz_core::{
    SagaId,
    store::{Claim, Claimed, StoreError},
};
use serde::Serialize;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use statements::{CARRY_OUT, DECIDE, LOOK, SET_ASIDE};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// A candidate as it was found, and as its identity goes back to the database.
#[derive(Debug, Serialize)]
struct Found {
    /// As it is stored: what is no id can be set aside all the same.
    id: String,
    version: u32,
    is_older: bool,
    #[serde(skip)]
    standing: Result<(SagaId, Standing), Unreadable>,
}

pub(super) async fn claim(database: &Database, claim: &Claim) -> Result<Claimed, StoreError> {
    let versions = json(&versions(claim))?;
    let mut claimed = Claimed::default();
    let chosen = look(database, claim, &versions, &mut claimed).await?;
    if chosen.is_empty() {
        return Ok(claimed);
    }
    let chosen = json(&chosen)?;
    let mut turn = database.turn().await?;
    let result = take(&mut turn.connection, claim, chosen, versions, claimed).await;
    turn.end(result).await
}

/// What can probably be taken, and in `claimed` when to look again.
async fn look(
    database: &Database,
    claim: &Claim,
    versions: &Arc<str>,
    claimed: &mut Claimed,
) -> Result<Vec<Found>, StoreError> {
    let mut room = Room::new(claim);
    let (mut chosen, mut seen) = (Vec::new(), Vec::new());
    for _ in 0..LOOKS_MAX {
        let rows = look_behind(database, claim, versions, json(&seen)?).await;
        let rows = rows.map_err(|error| database.error(error))?;
        let outlook = Outlook::read(&rows).map_err(|error| database.error(error))?;
        if !outlook.is_leased {
            return Ok(Vec::new());
        }
        claimed.next_due = outlook.next_due;
        let mut is_passed_over = false;
        for candidate in found(&rows).map_err(|error| database.error(error))? {
            seen.push(candidate.id.clone());
            match &candidate.standing {
                Ok((_, standing)) if room.judge(claim, candidate.version, standing).is_none() => {
                    // A suspect that rests has no other candidate behind it.
                    is_passed_over |=
                        standing.is_orphaned || standing.takeovers < claim.suspect_after;
                }
                Ok(_) | Err(_) => chosen.push(candidate),
            }
        }
        if room.limit == 0 || !is_passed_over {
            break;
        }
    }
    Ok(chosen)
}

async fn look_behind(
    database: &Database,
    claim: &Claim,
    versions: &Arc<str>,
    seen: Arc<str>,
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    let engine = claim.engine.to_string();
    let length = claim.limit.saturating_add(LOOK_EXTRA);
    let mut query = sqlx::query(LOOK)
        .bind(&engine)
        .bind(Arc::clone(versions))
        .bind(&engine);
    for _ in 0..3 {
        query = query
            .bind(Arc::clone(versions))
            .bind(Arc::clone(&seen))
            .bind(length);
    }
    query.fetch_all(&database.readers).await
}

async fn take(
    connection: &mut SqliteConnection,
    claim: &Claim,
    chosen: Arc<str>,
    versions: Arc<str>,
    mut claimed: Claimed,
) -> Result<Claimed, sqlx::Error> {
    let rows = sqlx::query(DECIDE)
        .bind(chosen)
        .bind(claim.engine.to_string())
        .fetch_all(&mut *connection)
        .await?;
    let mut room = Room::new(claim);
    let (mut decisions, mut asides) = (Vec::new(), Vec::new());
    for Found {
        id,
        version,
        standing,
        ..
    } in found(&rows)?
    {
        match standing {
            Ok((id, standing)) => {
                let verdict = room.judge(claim, version, &standing);
                decisions.extend(
                    verdict.map(|verdict| Decision::new(claim, id, version, standing, verdict)),
                );
            }
            Err(stuck) => asides.push(Aside { id, stuck }),
        }
    }
    if decisions.is_empty() && asides.is_empty() {
        sqlx::query("ROLLBACK").execute(connection).await?;
        return Ok(claimed);
    }
    if !decisions.is_empty() {
        let rows = carry_out(connection, claim, &decisions, versions).await?;
        fill(&mut claimed, &decisions, &rows, &mut asides)?;
    }
    if asides.is_empty() {
        sqlx::query("COMMIT").execute(connection).await?;
    } else {
        let query = sqlx::query(SET_ASIDE).bind(to_json(&asides)?);
        query.execute(connection).await?;
    }
    Ok(claimed)
}

/// Leaves the transaction open.
async fn carry_out(
    connection: &mut SqliteConnection,
    claim: &Claim,
    decisions: &[Decision],
    versions: Arc<str>,
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    let records: Arc<str> = to_json(decisions)?.into();
    sqlx::query(CARRY_OUT)
        .bind(Arc::clone(&records))
        .bind(Arc::clone(&records))
        .bind(records)
        .bind(claim.engine.to_string())
        .bind(versions)
        .fetch_all(connection)
        .await
}

/// With what was carried out; what cannot be read goes to `asides`.
fn fill(
    claimed: &mut Claimed,
    decisions: &[Decision],
    rows: &[SqliteRow],
    asides: &mut Vec<Aside<String>>,
) -> Result<(), sqlx::Error> {
    claimed.next_due = Outlook::read(rows)?.next_due;
    claimed.poisoned = decisions.iter().filter_map(Decision::poisoned).collect();

    let mut steps = BTreeMap::<_, Result<Vec<_>, Unreadable>>::new();
    for row in of(rows, "step")? {
        let steps = steps
            .entry(row::id(row, "instance_id")?)
            .or_insert(Ok(Vec::new()));
        if let Ok(read) = steps {
            match row::step(row) {
                Ok(step) => read.push(step),
                Err(error) => *steps = Err(Unreadable::new(row.try_get("name").ok(), &error)),
            }
        }
    }
    let decisions: BTreeMap<_, _> = decisions
        .iter()
        .map(|decision| (decision.id, decision))
        .collect();
    for row in of(rows, "instance")? {
        let id = row::id(row, "id")?;
        let decision = decisions
            .get(&id)
            .ok_or_else(|| unreadable("instance id", id))?;
        let steps = steps.remove(&id).unwrap_or(Ok(Vec::new()));
        let snapshot = row::snapshot(row).map_err(|error| Unreadable::new(None, &error));
        match snapshot.and_then(|snapshot| Ok((snapshot, steps?))) {
            Ok((mut snapshot, steps)) => {
                snapshot.taken_over = decision.is_orphaned;
                snapshot.adopted = decision.is_adopted;
                snapshot.suspect = decision.is_suspect;
                snapshot.steps = steps;
                claimed.instances.push(snapshot);
            }
            Err(stuck) => asides.push(Aside {
                id: id.to_string(),
                stuck,
            }),
        }
    }
    Ok(())
}

/// What a claim needs to know beside its candidates.
struct Outlook {
    is_leased: bool,
    next_due: Option<Duration>,
}

impl Outlook {
    fn read(rows: &[SqliteRow]) -> Result<Self, sqlx::Error> {
        let row = of(rows, "outlook")?
            .next()
            .ok_or(sqlx::Error::RowNotFound)?;
        Ok(Self {
            is_leased: row.try_get("is_leased")?,
            next_due: row::time_left(row, "next_due_ms")?,
        })
    }
}

/// The rows of one statement among those of a query.
fn of<'r>(
    rows: &'r [SqliteRow],
    what: &str,
) -> Result<std::vec::IntoIter<&'r SqliteRow>, sqlx::Error> {
    let mut of = Vec::new();
    for row in rows {
        if row.try_get::<&str, _>("what")? == what {
            of.push(row);
        }
    }
    Ok(of.into_iter())
}

fn found(rows: &[SqliteRow]) -> Result<Vec<Found>, sqlx::Error> {
    let mut found = Vec::new();
    for row in of(rows, "found")? {
        // What is no text cannot go back to the database. Nobody has such an id, and nobody misses its instance.
        let Ok(id) = row.try_get("id") else { continue };
        let standing = row::id(row, "id").and_then(|id| Ok((id, standing(row)?)));
        found.push(Found {
            id,
            version: row.try_get("version")?,
            is_older: row.try_get("is_older")?,
            standing: standing.map_err(|error| Unreadable::new(None, &error)),
        });
    }
    Ok(found)
}

fn standing(row: &SqliteRow) -> Result<Standing, sqlx::Error> {
    Ok(Standing {
        saga: row.try_get("saga")?,
        fingerprint: row.try_get("fingerprint")?,
        takeovers: row.try_get("takeovers")?,
        is_orphaned: row.try_get("is_orphaned")?,
        steps: stored_steps(row.try_get("steps")?)?,
    })
}
