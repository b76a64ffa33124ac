//! Claims: first a look without locks, then the decision under them.
//!
//! Invariant: ownership changes only in one transaction that holds the rows of its candidates and judges them as they are
//! then. Rows that somebody else holds are left to him. Before the instances of a dead engine are taken, its lease is set
//! back under its own lock: a renewal of it that comes at the same time either comes first, and it is not dead, or is told.
//!
//! Invariant: what is taken was read before the transaction ends, and what cannot be read is stuck when it ends. So no
//! instance is owned by an engine that does not know of it, and none keeps the others from being taken.
//!
//! Invariant: a claim whose end is unknown has ended before the next one of its engine: its commit may be slow, or on its way
//! still. Each holds a lock of its engine's until then.

use super::{
    database::Database,
    row::{self, ms, ms_left, snapshot_columns, step_columns, summary_columns},
};
use crate::{
    judging::{
        Aside, Decision, LOOK_EXTRA, LOOKS_MAX, Room, Standing, Unreadable, stored_steps, versions,
    },
    value::to_json,
};
use sagaz_core::{
    EngineId, SagaId,
    store::{Claim, Claimed, StoreError},
};
use sqlx::{Connection, Row, postgres::PgConnection, postgres::PgRow};
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};
use uuid::Uuid;

/// Parameters: the engine, sagas, versions. The owners are read by skipping through the index.
const LOOK: &str = concat!(
    "WITH RECURSIVE owners(owner) AS (
        (SELECT owner FROM sagaz.saga_instance WHERE owner IS NOT NULL ORDER BY owner LIMIT 1)
        UNION ALL
        SELECT (SELECT i.owner FROM sagaz.saga_instance AS i WHERE i.owner IS NOT NULL AND i.owner > o.owner
            ORDER BY i.owner LIMIT 1)
        FROM owners AS o WHERE o.owner IS NOT NULL
    ), v AS (
        SELECT * FROM unnest($2::text[], $3::bigint[]) AS v(saga, version)
    )
    SELECT EXISTS (SELECT 1 FROM sagaz.saga_engine WHERE id = $1 AND lease_until > clock_timestamp()) AS is_leased,
        EXISTS (SELECT 1 FROM v CROSS JOIN LATERAL (
            SELECT 1 FROM sagaz.saga_instance AS i WHERE i.saga = v.saga AND i.version = v.version
                AND i.wake_at <= statement_timestamp() LIMIT 1) AS due
        ) AS is_due,
        ARRAY(SELECT o.owner FROM owners AS o WHERE o.owner IS NOT NULL AND o.owner <> $1 AND NOT EXISTS (
            SELECT 1 FROM sagaz.saga_engine AS e WHERE e.id = o.owner AND e.lease_until > clock_timestamp())) AS dead,
        (SELECT ",
    ms_left!("min(next.wake_at)"),
    " FROM v CROSS JOIN LATERAL (
            SELECT i.wake_at FROM sagaz.saga_instance AS i WHERE i.saga = v.saga AND i.version = v.version
                AND i.wake_at > statement_timestamp() ORDER BY i.wake_at LIMIT 1) AS next) AS next_due_ms"
);

/// Parameter: engines that seem to be dead. Gives those that are, and have been set back.
const BURY: &str = "WITH dead AS (
        SELECT id FROM sagaz.saga_engine WHERE id = ANY($1) AND lease_until <= clock_timestamp()
            AND lease_until > '-infinity' ORDER BY id FOR UPDATE SKIP LOCKED
    ), buried AS (
        UPDATE sagaz.saga_engine AS e SET lease_until = '-infinity' FROM dead WHERE e.id = dead.id RETURNING e.id
    )
    SELECT id FROM buried
    UNION ALL SELECT d.id FROM unnest($1::uuid[]) AS d(id) WHERE NOT EXISTS (
        SELECT 1 FROM sagaz.saga_engine AS e WHERE e.id = d.id AND e.lease_until > '-infinity')";

/// What a [`Found`] is made of, of the instance `i`.
macro_rules! found_columns {
    () => {
        "i.id, i.saga, i.version, i.fingerprint, i.takeovers, i.owner, i.wake_at"
    };
}

/// Candidates, held: orphans first, for they have waited longest. Each version of each saga is read from the index by itself,
/// so that none crowds out another; so are suspects, of which only one can be taken. Parameters: dead engines, sagas,
/// versions, whether they are older, those seen, the length, when an instance is a suspect, the engine.
const HOLD: &str = concat!(
    "WITH v AS (SELECT * FROM unnest($2::text[], $3::bigint[], $4::boolean[]) AS v(saga, version, is_older)), c AS (
        SELECT c.*, v.is_older FROM unnest($1::uuid[]) AS dead(owner) CROSS JOIN v CROSS JOIN LATERAL (
            SELECT ",
    found_columns!(),
    " FROM sagaz.saga_instance AS i WHERE i.owner = dead.owner AND i.saga = v.saga AND i.version = v.version
                AND i.id <> ALL($5)
            LIMIT $6 FOR UPDATE SKIP LOCKED) AS c
        UNION ALL SELECT c.*, v.is_older FROM v CROSS JOIN LATERAL (
            SELECT ",
    found_columns!(),
    " FROM sagaz.saga_instance AS i WHERE i.saga = v.saga AND i.version = v.version AND i.wake_at <= statement_timestamp()
                AND i.takeovers >= $7 AND i.id <> ALL($5)
            ORDER BY i.wake_at LIMIT $6 FOR UPDATE SKIP LOCKED) AS c
        UNION ALL SELECT c.*, v.is_older FROM v CROSS JOIN LATERAL (
            SELECT ",
    found_columns!(),
    " FROM sagaz.saga_instance AS i WHERE i.saga = v.saga AND i.version = v.version AND i.wake_at <= statement_timestamp()
                AND i.takeovers < $7 AND i.id <> ALL($5)
            ORDER BY i.wake_at LIMIT $6 FOR UPDATE SKIP LOCKED) AS c
    )
    SELECT c.id, c.saga, c.version, c.fingerprint, c.takeovers, c.owner IS NOT NULL AS is_orphaned, c.is_older FROM c
    WHERE EXISTS (SELECT 1 FROM sagaz.saga_engine WHERE id = $8 AND lease_until > clock_timestamp())
    ORDER BY is_orphaned DESC, c.wake_at, c.id"
);

/// In a statement of its own: it sees what was committed by whoever held the instance before.
const STORED_STEPS: &str =
    "SELECT instance_id, json_agg(json_build_array(name, state, kind))::text AS steps
    FROM sagaz.saga_step WHERE instance_id = ANY($1) GROUP BY instance_id";

/// Parameters: the decisions, and their ids, or a table that was small when this was planned would be read as a whole.
const CARRY_OUT: &str = "UPDATE sagaz.saga_instance AS i SET
        owner = d.owner, epoch = i.epoch + 1, takeovers = d.takeovers, version = d.version, fingerprint = d.fingerprint,
        state = coalesce(d.state, i.state), stuck = coalesce(d.stuck, i.stuck),
        wake_at = clock_timestamp() + d.wake_ms * interval '1 millisecond', updated_at = clock_timestamp()
    FROM json_to_recordset($1::json) AS d(id uuid, owner uuid, takeovers bigint, version bigint, fingerprint text, state text,
        stuck text, wake_ms bigint)
    WHERE i.id = d.id AND i.id = ANY($2)";

const INSTANCES: &str = concat!(
    "SELECT ",
    snapshot_columns!(),
    " FROM sagaz.saga_instance AS i WHERE i.id = ANY($1)"
);

const STEPS: &str = concat!(
    "SELECT ",
    step_columns!(),
    " FROM sagaz.saga_step AS s WHERE s.instance_id = ANY($1)"
);

/// Parameter: of the engine. Random numbers of this size do not meet by chance.
const ALONE: &str = "SELECT pg_advisory_xact_lock($1)";

/// No engine ever has the token of the new epoch. Parameter: what cannot be read.
const SET_ASIDE: &str = "UPDATE sagaz.saga_instance AS i SET
        owner = NULL, epoch = i.epoch + 1, state = 'stuck', stuck = d.stuck, wake_at = NULL, updated_at = clock_timestamp()
    FROM json_to_recordset($1::json) AS d(id uuid, stuck text) WHERE i.id = d.id";

/// A candidate as it was found.
struct Found {
    id: SagaId,
    version: u32,
    is_older: bool,
    standing: Result<Standing, Unreadable>,
}

/// The versions that a claim can run, a column each.
struct Versions {
    sagas: Vec<String>,
    numbers: Vec<i64>,
    are_older: Vec<bool>,
}

impl Versions {
    fn of(claim: &Claim) -> Self {
        let mut columns = Self {
            sagas: Vec::new(),
            numbers: Vec::new(),
            are_older: Vec::new(),
        };
        for registered in versions(claim) {
            columns.sagas.push(registered.saga.to_owned());
            columns.numbers.push(registered.version.into());
            columns.are_older.push(registered.is_older);
        }
        columns
    }
}

pub(super) async fn claim(database: &Database, claim: &Claim) -> Result<Claimed, StoreError> {
    let versions = Versions::of(claim);
    let is_in_doubt = database.claiming.begin(claim.engine);
    let claimed = database
        .call(&database.claimer, async |connection| {
            if is_in_doubt {
                alone(database, connection, claim).await?;
            }
            let (mut claimed, dead, is_worth_it) =
                look(database, connection, claim, &versions).await?;
            if is_worth_it {
                let mut transaction = connection.begin().await?;
                alone(database, &mut transaction, claim).await?;
                take(
                    database,
                    &mut transaction,
                    claim,
                    &versions,
                    dead,
                    &mut claimed,
                )
                .await?;
                transaction.commit().await?;
                // What was released while this was under way, or is due again.
                claimed.next_due = look(database, connection, claim, &versions)
                    .await?
                    .0
                    .next_due;
            }
            Ok(claimed)
        })
        .await?;
    database.claiming.end(claim.engine);
    Ok(claimed)
}

/// The engines whose last claim has not ended, as far as is known.
#[derive(Debug, Default)]
pub(super) struct Claiming(Mutex<HashSet<EngineId>>);

impl Claiming {
    /// Whether the one before has not ended.
    fn begin(&self, engine: EngineId) -> bool {
        !self.engines().insert(engine)
    }

    fn end(&self, engine: EngineId) {
        self.engines().remove(&engine);
    }

    fn engines(&self) -> MutexGuard<'_, HashSet<EngineId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Until no other claim of this engine is under way; to the end of the transaction.
async fn alone(
    database: &Database,
    connection: &mut PgConnection,
    claim: &Claim,
) -> Result<(), sqlx::Error> {
    let (high, _) = claim.engine.as_uuid().as_u64_pair();
    let alone = database.query(ALONE).bind(high.cast_signed());
    alone.execute(connection).await.map(|_| ())
}

/// When to look again, engines that seem to be dead, and whether there may be something to take.
async fn look(
    database: &Database,
    connection: &mut PgConnection,
    claim: &Claim,
    versions: &Versions,
) -> Result<(Claimed, Vec<Uuid>, bool), sqlx::Error> {
    let row = database
        .query(LOOK)
        .bind(claim.engine.as_uuid())
        .bind(versions.sagas.clone())
        .bind(versions.numbers.clone())
        .fetch_one(connection)
        .await?;
    if !row.try_get::<bool, _>("is_leased")? {
        return Ok((Claimed::default(), Vec::new(), false));
    }
    let claimed = Claimed {
        next_due: row::time_left(&row, "next_due_ms")?,
        ..Claimed::default()
    };
    let dead: Vec<Uuid> = row.try_get("dead")?;
    let is_worth_it = !dead.is_empty() || row.try_get("is_due")?;
    Ok((claimed, dead, is_worth_it))
}

async fn take(
    database: &Database,
    connection: &mut PgConnection,
    claim: &Claim,
    versions: &Versions,
    dead: Vec<Uuid>,
    claimed: &mut Claimed,
) -> Result<(), sqlx::Error> {
    let buried = if dead.is_empty() {
        Vec::new()
    } else {
        let bury = database.query(BURY).bind(dead);
        let rows = bury.fetch_all(&mut *connection).await?;
        rows.iter()
            .map(|row| row.try_get("id"))
            .collect::<Result<Vec<Uuid>, _>>()?
    };
    let mut room = Room::new(claim);
    let (mut decisions, mut asides, mut seen) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..LOOKS_MAX {
        let candidates = hold(database, connection, claim, versions, &buried, &seen).await?;
        let mut is_passed_over = false;
        for Found {
            id,
            version,
            standing,
            ..
        } in candidates
        {
            seen.push(id.as_uuid());
            match standing {
                Ok(standing) => match room.judge(claim, version, &standing) {
                    Some(verdict) => {
                        decisions.push(Decision::new(claim, id, version, standing, verdict));
                    }
                    // A suspect that rests has no other candidate behind it.
                    None => {
                        is_passed_over |=
                            standing.is_orphaned || standing.takeovers < claim.suspect_after;
                    }
                },
                Err(stuck) => asides.push(Aside { id, stuck }),
            }
        }
        if room.limit == 0 || !is_passed_over {
            break;
        }
    }
    if !decisions.is_empty() {
        let ids: Vec<Uuid> = decisions.iter().map(|it| it.id.as_uuid()).collect();
        let carry_out = database.query(CARRY_OUT).bind(to_json(&decisions)?);
        let carry_out = carry_out.bind(ids);
        carry_out.execute(&mut *connection).await?;
        fill(database, connection, claimed, &decisions, &mut asides).await?;
    }
    if !asides.is_empty() {
        let set_aside = database.query(SET_ASIDE).bind(to_json(&asides)?);
        set_aside.execute(connection).await?;
    }
    Ok(())
}

async fn hold(
    database: &Database,
    connection: &mut PgConnection,
    claim: &Claim,
    versions: &Versions,
    dead: &[Uuid],
    seen: &[Uuid],
) -> Result<Vec<Found>, sqlx::Error> {
    let rows = database
        .query(HOLD)
        .bind(dead.to_vec())
        .bind(versions.sagas.clone())
        .bind(versions.numbers.clone())
        .bind(versions.are_older.clone())
        .bind(seen.to_vec())
        .bind(i64::from(claim.limit.saturating_add(LOOK_EXTRA)))
        .bind(i64::from(claim.suspect_after))
        .bind(claim.engine.as_uuid())
        .fetch_all(&mut *connection)
        .await?;
    let mut found = rows.iter().map(found).collect::<Result<Vec<_>, _>>()?;
    let older: Vec<Uuid> = found
        .iter()
        .filter(|found| found.is_older)
        .map(|found| found.id.as_uuid())
        .collect();
    if older.is_empty() {
        return Ok(found);
    }
    let rows = database
        .query(STORED_STEPS)
        .bind(older)
        .fetch_all(connection)
        .await?;
    let mut steps = HashMap::new();
    for row in rows {
        let stored = stored_steps(row.try_get("steps")?);
        steps.insert(row::id(&row, "instance_id")?, stored);
    }
    for found in &mut found {
        let Some(stored) = steps.remove(&found.id) else {
            continue;
        };
        match (stored, &mut found.standing) {
            (Ok(stored), Ok(standing)) => standing.steps = stored,
            (Err(error), standing) => *standing = Err(Unreadable::new(None, &error)),
            (Ok(_), Err(_)) => {}
        }
    }
    Ok(found)
}

fn found(row: &PgRow) -> Result<Found, sqlx::Error> {
    Ok(Found {
        id: row::id(row, "id")?,
        version: row::number(row, "version")?,
        is_older: row.try_get("is_older")?,
        standing: standing(row).map_err(|error| Unreadable::new(None, &error)),
    })
}

/// Without its steps.
fn standing(row: &PgRow) -> Result<Standing, sqlx::Error> {
    Ok(Standing {
        saga: row.try_get("saga")?,
        fingerprint: row.try_get("fingerprint")?,
        takeovers: row::number(row, "takeovers")?,
        is_orphaned: row.try_get("is_orphaned")?,
        steps: Vec::new(),
    })
}

/// With what was carried out; what cannot be read goes to `asides`.
async fn fill(
    database: &Database,
    connection: &mut PgConnection,
    claimed: &mut Claimed,
    decisions: &[Decision],
    asides: &mut Vec<Aside>,
) -> Result<(), sqlx::Error> {
    claimed.poisoned = decisions.iter().filter_map(Decision::poisoned).collect();
    let taken: Vec<&Decision> = decisions
        .iter()
        .filter(|decision| decision.owner.is_some())
        .collect();
    if taken.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = taken.iter().map(|decision| decision.id.as_uuid()).collect();
    let mut steps = HashMap::<_, Result<Vec<_>, Unreadable>>::new();
    let rows = database
        .query(STEPS)
        .bind(ids.clone())
        .fetch_all(&mut *connection)
        .await?;
    for row in &rows {
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
    let rows = database
        .query(INSTANCES)
        .bind(ids)
        .fetch_all(connection)
        .await?;
    let mut instances = HashMap::new();
    for row in rows {
        instances.insert(row::id(&row, "id")?, row);
    }
    // In the order of the decisions: what is due longest comes first.
    for decision in taken {
        let Some(row) = instances.get(&decision.id) else {
            continue;
        };
        let steps = steps.remove(&decision.id).unwrap_or(Ok(Vec::new()));
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
                id: decision.id,
                stuck,
            }),
        }
    }
    Ok(())
}
