//! Claims: first a look without the write lock, then the decision under it.
//!
//! Invariant: ownership changes only in one transaction that sees the claimer's live lease and judges every candidate
//! anew. The look before it decides nothing; it keeps an idle engine from taking the write lock at every poll, and finds
//! what the claim can run behind what it cannot.
//!
//! Invariant: what is taken was read before the transaction ends, and what cannot be read is stuck when it ends. So no
//! instance is owned by an engine that does not know of it, and none keeps the others from being taken.

mod statements;

use super::{
    connection::Database,
    error::{decoding, unreadable},
    records::json,
    row,
    sql::millis,
};
use sagaz_core::{
    EngineId, SagaId, StepKind, StuckReason,
    store::{
        Candidate, Claim, Claimed, DefinitionKey, InstanceState, StepState, StoreError, StoredStep,
        Verdict,
    },
};
use serde::Serialize;
use serde_json::json as json_value;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use statements::{CARRY_OUT, DECIDE, LOOK, SET_ASIDE};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How often a look goes on behind candidates that the claim cannot take.
const LOOKS_MAX: usize = 32;

/// How many more candidates than the limit a look reads of each version.
const LOOK_EXTRA: u32 = 64;

/// A version of a saga that the claim can run.
#[derive(Debug, Serialize)]
struct Registered<'a> {
    saga: &'a str,
    version: u32,
    is_older: bool,
    suspect_after: u32,
}

/// A candidate as it was found, and as its identity goes back to the database.
#[derive(Debug, Serialize)]
struct Found {
    id: SagaId,
    version: u32,
    is_older: bool,
    #[serde(skip)]
    standing: Result<Standing, Unreadable>,
}

/// How a candidate stands.
#[derive(Debug)]
struct Standing {
    saga: String,
    fingerprint: String,
    takeovers: u32,
    is_orphaned: bool,
    steps: Vec<StoredStep>,
}

/// Why an instance cannot be read: a [`Stuck`](sagaz_core::Stuck) as the text that is stored.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Unreadable(String);

/// An instance that becomes stuck because it cannot be read.
#[derive(Debug, Serialize)]
struct Aside {
    id: SagaId,
    stuck: Unreadable,
}

/// What becomes of an instance.
#[derive(Debug, Serialize)]
struct Decision {
    id: SagaId,
    owner: Option<EngineId>,
    takeovers: u32,
    version: u32,
    fingerprint: String,
    state: Option<&'static str>,
    /// As the text that is stored.
    stuck: Option<String>,
    wake_ms: Option<i64>,
    #[serde(skip)]
    is_orphaned: bool,
    #[serde(skip)]
    /// Started with an older version than the one that it is taken under.
    is_adopted: bool,
    is_suspect: bool,
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

fn versions(claim: &Claim) -> Vec<Registered<'_>> {
    let mut versions = Vec::new();
    for runnable in &claim.runnable {
        let (saga, own) = (runnable.key.saga.as_str(), runnable.key.version);
        let older = runnable
            .accepts
            .iter()
            .copied()
            .filter(|version| *version != own);
        let all = [(own, false)]
            .into_iter()
            .chain(older.map(|version| (version, true)));
        for (version, is_older) in all {
            if !versions
                .iter()
                .any(|known: &Registered<'_>| known.saga == saga && known.version == version)
            {
                versions.push(Registered {
                    saga,
                    version,
                    is_older,
                    suspect_after: claim.suspect_after,
                });
            }
        }
    }
    versions
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
            seen.push(candidate.id);
            match &candidate.standing {
                Ok(standing) if room.judge(claim, candidate.version, standing).is_none() => {
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
            Ok(standing) => {
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
        let query = sqlx::query(SET_ASIDE).bind(text(&asides)?);
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
    let records: Arc<str> = text(decisions)?.into();
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
    asides: &mut Vec<Aside>,
) -> Result<(), sqlx::Error> {
    claimed.next_due = Outlook::read(rows)?.next_due;
    claimed.poisoned = decisions
        .iter()
        .filter(|decision| decision.state.is_some())
        .map(|decision| decision.id)
        .collect();

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
            Err(stuck) => asides.push(Aside { id, stuck }),
        }
    }
    Ok(())
}

fn text<T: Serialize + ?Sized>(records: &T) -> Result<String, sqlx::Error> {
    serde_json::to_string(records).map_err(|error| sqlx::Error::Encode(error.into()))
}

impl Unreadable {
    fn new(step: Option<&str>, error: &sqlx::Error) -> Self {
        let message = decoding(error);
        let stuck =
            json_value!({ "step": step, "reason": StuckReason::Undecodable, "message": message });
        Self(stuck.to_string())
    }
}

/// How much the claim can still take.
struct Room {
    limit: u32,
    suspect: bool,
}

impl Room {
    fn new(claim: &Claim) -> Self {
        Self {
            limit: claim.limit,
            suspect: claim.suspect,
        }
    }

    /// What becomes of the candidate; `None` if it is left untouched.
    fn judge(&mut self, claim: &Claim, version: u32, standing: &Standing) -> Option<Verdict> {
        let verdict = claim.judge(
            &Candidate {
                saga: &standing.saga,
                version,
                fingerprint: &standing.fingerprint,
                takeovers: standing.takeovers,
                orphaned: standing.is_orphaned,
            },
            &standing.steps,
        );
        match verdict {
            Verdict::Skip => return None,
            Verdict::Take(_) => self.limit = self.limit.checked_sub(1)?,
            Verdict::TakeSuspect(_) if !self.suspect => return None,
            Verdict::TakeSuspect(_) => self.suspect = false,
            Verdict::Postpone(_) | Verdict::Poison => {}
        }
        Some(verdict)
    }
}

impl Decision {
    fn new(claim: &Claim, id: SagaId, version: u32, standing: Standing, verdict: Verdict) -> Self {
        let takeovers = standing
            .takeovers
            .saturating_add(u32::from(standing.is_orphaned));
        let mut decision = Self {
            id,
            owner: None,
            takeovers,
            version,
            fingerprint: standing.fingerprint,
            state: None,
            stuck: None,
            wake_ms: None,
            is_orphaned: standing.is_orphaned,
            is_adopted: false,
            is_suspect: matches!(verdict, Verdict::TakeSuspect(_)),
        };
        match verdict {
            Verdict::Take(DefinitionKey {
                version,
                fingerprint,
                ..
            })
            | Verdict::TakeSuspect(DefinitionKey {
                version,
                fingerprint,
                ..
            }) => {
                decision.owner = Some(claim.engine);
                decision.is_adopted = decision.version != version;
                decision.version = version;
                decision.fingerprint = fingerprint;
            }
            Verdict::Postpone(delay) => decision.wake_ms = Some(millis(delay)),
            Verdict::Poison => {
                let message = format!(
                    "taken over {takeovers} times without a step being stored: it may be killing its processes"
                );
                let stuck = json_value!({ "step": null, "reason": StuckReason::Poison, "message": message });
                decision.stuck = Some(stuck.to_string());
                decision.state = Some(InstanceState::Stuck.as_str());
            }
            Verdict::Skip => {}
        }
        decision
    }
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
    of(rows, "found")?
        .map(|row| {
            Ok(Found {
                id: row::id(row, "id")?,
                version: row.try_get("version")?,
                is_older: row.try_get("is_older")?,
                standing: standing(row).map_err(|error| Unreadable::new(None, &error)),
            })
        })
        .collect()
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

fn stored_steps(text: Option<String>) -> Result<Vec<StoredStep>, sqlx::Error> {
    let Some(text) = text else {
        return Ok(Vec::new());
    };
    let steps: Vec<(String, String, String)> =
        serde_json::from_str(&text).map_err(|_| unreadable("list of steps", text))?;
    steps
        .into_iter()
        .map(|(name, state, kind)| {
            let state =
                StepState::from_word(&state).ok_or_else(|| unreadable("state of a step", state))?;
            let kind =
                StepKind::from_word(&kind).ok_or_else(|| unreadable("kind of a step", kind))?;
            Ok(StoredStep { name, state, kind })
        })
        .collect()
}
