//! Claims: a cheap look at every partition, then the decision, then the takeover of each instance in its own partition.
//!
//! Invariant: an instance changes its owner only if it still is as it was judged, in the script that compares and takes. Before
//! the instances of a dead engine are taken, its lease is removed where leases are, so that a renewal of it either came first,
//! and it is not dead, or is told. Of these instances only those are taken that were owned by then: what an engine accepts
//! after it was told is its own.
//!
//! Invariant: a claim that was given up takes nothing once the next one of its engine has begun. A takeover carries the time until
//! which it is of use, and after one without a reply the next claim waits until then.

use super::{
    Store,
    keys::due_sets,
    request::{Request, bytes, elements, number, text},
    row::{Fields, Unreadable as Unread},
    script::{ALIVE, ASIDE, BURY, CANDIDATES, LOOK, STEPS, TAKE},
    server::Line,
};
use crate::{
    judging::{Decision, LOOKS_MAX, Registered, Room, Standing, Unreadable, versions},
    value::as_u64,
};
use redis::Value;
use sagaz_core::{
    EngineId, SagaId,
    store::{Claim, Claimed, StoreError},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

pub(super) async fn claim(store: &Store, claim: &Claim) -> Result<Claimed, StoreError> {
    let versions = versions(claim);
    if let Some(until) = store.takeovers.of_use_until(claim.engine) {
        sleep_until(until).await;
        store.takeovers.answered(claim.engine);
    }
    let Some(look) = look(store, claim.engine, &versions).await? else {
        return Ok(Claimed::default());
    };
    let mut claimed = Claimed {
        next_due: look.next_due,
        ..Claimed::default()
    };
    if look.due.is_empty() && look.dead.is_empty() {
        return Ok(claimed);
    }
    let (lists, dead_until) = lists(store, claim, &versions, look).await?;
    let (decided, asides) = decide(store, claim, &versions, lists, &dead_until).await?;
    let has_decided = !decided.is_empty();
    if has_decided {
        carry_out(store, claim, decided, &mut claimed).await?;
    }
    set_aside(store, &asides).await?;
    if has_decided {
        // What was postponed, or released while this was under way.
        let again = self::look(store, claim.engine, &versions).await?;
        claimed.next_due = again.and_then(|look| look.next_due);
    }
    Ok(claimed)
}

/// Until when takeovers of engines are of use that have not been answered.
#[derive(Debug, Default)]
pub(super) struct Takeovers(Mutex<HashMap<EngineId, Instant>>);

impl Takeovers {
    fn of_use_until(&self, engine: EngineId) -> Option<Instant> {
        self.all().get(&engine).copied()
    }

    fn sent(&self, engine: EngineId, until: Instant) {
        self.all().insert(engine, until);
    }

    fn answered(&self, engine: EngineId) {
        self.all().remove(&engine);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<EngineId, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the partitions hold.
struct Look {
    next_due: Option<Duration>,
    /// The partitions where something is due.
    due: Vec<usize>,
    /// Owners that seem to be dead, each with the partitions where it owns something.
    dead: BTreeMap<String, Vec<usize>>,
}

/// `None`: the engine has no lease.
async fn look(
    store: &Store,
    engine: EngineId,
    versions: &[Registered<'_>],
) -> Result<Option<Look>, StoreError> {
    let alive = Request::script(&ALIVE, &store.space.center);
    let alive: Vec<String> = elements(store.server.ask_one(Line::Reader, alive).await?)
        .into_iter()
        .filter_map(text)
        .collect();
    if !alive.contains(&engine.to_string()) {
        return Ok(None);
    }
    let sets: Vec<String> = versions
        .iter()
        .flat_map(|known| due_sets(known.version, known.saga))
        .collect();
    let requests: Vec<_> = store
        .space
        .tags
        .iter()
        .map(|tag| {
            let request = Request::script(&LOOK, tag).shown(sets.len());
            sets.iter()
                .chain(&alive)
                .fold(request, |request, argument| request.text(argument))
        })
        .collect();
    let mut look = Look {
        next_due: None,
        due: Vec::new(),
        dead: BTreeMap::new(),
    };
    let replies = store.server.ask(Line::Reader, &requests).await?;
    for (partition, reply) in replies.into_iter().enumerate() {
        let mut reply = elements(reply).into_iter();
        if reply.next().and_then(number) == Some(1) {
            look.due.push(partition);
        }
        if let Some(left @ 0..) = reply.next().and_then(number) {
            let left = Duration::from_millis(as_u64(left));
            look.next_due = Some(look.next_due.map_or(left, |next| next.min(left)));
        }
        for owner in reply.filter_map(text) {
            look.dead.entry(owner).or_default().push(partition);
        }
    }
    Ok(Some(look))
}

/// An ordered set of candidates, as far as it was read.
struct List {
    partition: usize,
    name: String,
    is_orphans: bool,
    seen: usize,
    is_read: bool,
}

/// The sets to read, and until when orphans were taken by their owners, by the server's clock.
async fn lists(
    store: &Store,
    claim: &Claim,
    versions: &[Registered<'_>],
    look: Look,
) -> Result<(Vec<List>, String), StoreError> {
    let list = |partition, name, is_orphans| List {
        partition,
        name,
        is_orphans,
        seen: 0,
        is_read: false,
    };
    let mut lists = Vec::new();
    let mut dead_until = String::new();
    if !look.dead.is_empty() {
        let bury = look.dead.keys().fold(
            Request::script(&BURY, &store.space.center),
            |bury, owner| bury.text(owner),
        );
        let mut buried = elements(store.server.ask_one(Line::Reader, bury).await?)
            .into_iter()
            .filter_map(text);
        dead_until = buried.next().unwrap_or_default();
        for owner in buried {
            for partition in look.dead.get(&owner).into_iter().flatten() {
                lists.push(list(*partition, format!(":own:{owner}"), true));
            }
        }
    }
    for partition in look.due {
        for known in versions {
            let [fresh, tired] = due_sets(known.version, known.saga);
            // None of these is a suspect.
            if claim.limit > 0 || claim.suspect_after == 0 {
                lists.push(list(partition, fresh, false));
            }
            lists.push(list(partition, tired, false));
        }
    }
    Ok((lists, dead_until))
}

/// A candidate as it was found; texts are compared with what is stored when it is taken.
struct Found {
    id: SagaId,
    partition: usize,
    is_orphaned: bool,
    /// Since when it waits, by the clock of its partition's server.
    since: i64,
    now_ms: i64,
    saga: String,
    version: String,
    fingerprint: String,
    takeovers: String,
    owner: String,
    epoch: String,
    fields: i64,
}

/// Orphans first, for they have waited longest; then what is due longest.
type Rank = (bool, i64, SagaId);

impl Found {
    fn rank(&self) -> Rank {
        (!self.is_orphaned, self.since, self.id)
    }

    fn read(row: Value, list: &List, now_ms: i64) -> Option<Self> {
        let mut row = elements(row).into_iter();
        let mut next = || row.next().and_then(text);
        Some(Self {
            id: next()?.parse().ok()?,
            partition: list.partition,
            is_orphaned: list.is_orphans,
            since: next()?.parse().ok()?,
            now_ms,
            saga: next()?,
            version: next()?,
            fingerprint: next()?,
            takeovers: next()?,
            owner: next()?,
            epoch: next()?,
            fields: row.next().and_then(number)?,
        })
    }
}

/// What becomes of a candidate.
struct Decided {
    found: Found,
    decision: Decision,
}

/// An instance that becomes stuck because it cannot be read.
struct Aside {
    id: SagaId,
    owner: String,
    epoch: String,
    stuck: Unreadable,
}

/// Reads the lists page by page, in the order of all of them together, until there is no more room.
async fn decide(
    store: &Store,
    claim: &Claim,
    versions: &[Registered<'_>],
    mut lists: Vec<List>,
    dead_until: &str,
) -> Result<(Vec<Decided>, Vec<Aside>), StoreError> {
    let per_list = claim.limit as usize * 2 / store.space.tags.len();
    let length = per_list.clamp(16, 128);
    let mut room = Room::new(claim);
    let mut known = HashSet::new();
    let mut pending: Vec<Found> = Vec::new();
    let (mut decided, mut asides) = (Vec::new(), Vec::new());
    for _ in 0..LOOKS_MAX {
        // What is behind the last one of a list that goes on may come before what others hold.
        let mut until: Option<Rank> = None;
        for page in read(store, &mut lists, length, dead_until).await? {
            if let Some(last) = page.last().filter(|_| page.len() == length) {
                until = Some(until.map_or(last.rank(), |until| until.min(last.rank())));
            }
            pending.extend(page.into_iter().filter(|found| known.insert(found.id)));
        }
        pending.sort_unstable_by_key(Found::rank);
        let ripe = until.map_or(pending.len(), |until| {
            pending.partition_point(|found| found.rank() <= until)
        });
        for found in with_steps(store, versions, pending.drain(..ripe).collect()).await? {
            match found {
                (found, Ok((version, standing))) => {
                    if let Some(verdict) = room.judge(claim, version, &standing) {
                        let decision = Decision::new(claim, found.id, version, standing, verdict);
                        decided.push(Decided { found, decision });
                    }
                }
                (found, Err(stuck)) => asides.push(Aside {
                    id: found.id,
                    owner: found.owner,
                    epoch: found.epoch,
                    stuck,
                }),
            }
        }
        if room.limit == 0 || lists.iter().all(|list| list.is_read) {
            break;
        }
    }
    Ok((decided, asides))
}

/// The next page of each list that goes on.
async fn read(
    store: &Store,
    lists: &mut [List],
    length: usize,
    dead_until: &str,
) -> Result<Vec<Vec<Found>>, StoreError> {
    let mut open: Vec<&mut List> = lists.iter_mut().filter(|list| !list.is_read).collect();
    open.sort_by_key(|list| list.partition);
    let mut requests = Vec::new();
    let mut asked = Vec::new();
    for of_partition in open.chunk_by(|one, other| one.partition == other.partition) {
        let tag = &store.space.tags[of_partition[0].partition];
        let request = Request::script(&CANDIDATES, tag)
            .shown(length)
            .owned(dead_until.to_owned());
        requests.push(of_partition.iter().fold(request, |request, list| {
            request
                .text(if list.is_orphans { "own" } else { "due" })
                .owned(list.name.clone())
                .shown(list.seen)
        }));
        asked.push(of_partition.len());
    }
    let replies = store.server.ask(Line::Reader, &requests).await?;
    let mut pages = Vec::with_capacity(open.len());
    let mut lists = open.into_iter();
    for (count, reply) in asked.into_iter().zip(replies) {
        let mut reply = elements(reply).into_iter();
        let now_ms = reply.next().and_then(number).unwrap_or_default();
        for (list, rows) in lists.by_ref().take(count).zip(reply) {
            let rows = elements(rows);
            list.seen += rows.len();
            list.is_read = rows.len() < length;
            pages.push(
                rows.into_iter()
                    .filter_map(|row| Found::read(row, list, now_ms))
                    .collect(),
            );
        }
    }
    Ok(pages)
}

type Judgeable = (Found, Result<(u32, Standing), Unreadable>);

/// The candidates that the claim can run, with their stored steps where they matter: those of an older version.
async fn with_steps(
    store: &Store,
    versions: &[Registered<'_>],
    found: Vec<Found>,
) -> Result<Vec<Judgeable>, StoreError> {
    let registered = |found: &Found| {
        versions
            .iter()
            .find(|known| known.saga == found.saga && found.version.parse() == Ok(known.version))
    };
    let runnable: Vec<(Found, u32, bool)> = found
        .into_iter()
        .filter_map(|found| {
            let known = registered(&found)?;
            Some((found, known.version, known.is_older))
        })
        .collect();
    let requests: Vec<_> = runnable
        .iter()
        .filter(|(_, _, is_older)| *is_older)
        .map(|(found, ..)| {
            Request::script(&STEPS, &store.space.tags[found.partition]).shown(found.id)
        })
        .collect();
    let replies = if requests.is_empty() {
        Vec::new()
    } else {
        store.server.ask(Line::Reader, &requests).await?
    };
    let mut replies = replies.into_iter();
    let mut judgeable = Vec::with_capacity(runnable.len());
    for (mut found, version, is_older) in runnable {
        let unreadable =
            |error: Unread| Unreadable::because(error.step.as_deref(), &error.to_string());
        let mut steps = Ok(Vec::new());
        if is_older && let Some(reply) = replies.next() {
            let mut reply = elements(reply);
            let rows = reply.split_off(reply.len().min(1));
            // It is taken only if it has not changed since.
            found.fields = reply.pop().and_then(number).unwrap_or_default();
            steps = fields(Value::Array(rows)).stored_steps();
        }
        let standing = steps.map_err(unreadable).and_then(|steps| {
            let takeovers = found.takeovers.parse().map_err(|_| {
                let message = format!(
                    "the stored takeovers {:?} is not of this store",
                    found.takeovers
                );
                Unreadable::because(None, &message)
            })?;
            Ok(Standing {
                saga: found.saga.clone(),
                fingerprint: found.fingerprint.clone(),
                takeovers,
                is_orphaned: found.is_orphaned,
                steps,
            })
        });
        judgeable.push((found, standing.map(|standing| (version, standing))));
    }
    Ok(judgeable)
}

/// Takes, postpones and gives up. What cannot be read afterwards is stuck when this ends.
async fn carry_out(
    store: &Store,
    claim: &Claim,
    decided: Vec<Decided>,
    claimed: &mut Claimed,
) -> Result<(), StoreError> {
    let of_use_ms = i64::try_from(store.server.call_timeout.as_millis()).unwrap_or(i64::MAX / 2);
    let requests: Vec<_> = decided
        .iter()
        .map(|Decided { found, decision }| {
            Request::script(&TAKE, &store.space.tags[found.partition])
                .shown(found.id)
                .text(&found.owner)
                .text(&found.epoch)
                .text(&found.takeovers)
                .text(&found.version)
                .shown(found.fields)
                .shown(found.now_ms.saturating_add(of_use_ms))
                .owned(
                    decision
                        .owner
                        .map_or_else(String::new, |owner| owner.to_string()),
                )
                .shown(decision.version)
                .text(&decision.fingerprint)
                .shown(decision.takeovers)
                .shown(decision.wake_ms.unwrap_or_default())
                .text(decision.stuck.as_deref().unwrap_or_default())
        })
        .collect();
    // By the server's clock they end earlier: they count from when their instances were looked at.
    let until = Instant::now() + store.server.call_timeout;
    store.takeovers.sent(claim.engine, until);
    let replies = store.server.ask(Line::Reader, &requests).await?;
    store.takeovers.answered(claim.engine);
    let mut asides = Vec::new();
    for (Decided { found, decision }, reply) in decided.iter().zip(replies) {
        let mut reply = elements(reply).into_iter();
        let Some(now_ms) = reply.next().and_then(number) else {
            continue;
        };
        claimed.poisoned.extend(decision.poisoned());
        let Some(taken) = reply.next() else { continue };
        match fields(taken).snapshot(found.id, now_ms) {
            Ok(mut snapshot) => {
                snapshot.taken_over = decision.is_orphaned;
                snapshot.adopted = decision.is_adopted;
                snapshot.suspect = decision.is_suspect;
                claimed.instances.push(snapshot);
            }
            Err(error) => {
                let epoch = found.epoch.parse::<u64>().unwrap_or_default() + 1;
                asides.push(Aside {
                    id: found.id,
                    owner: claim.engine.to_string(),
                    epoch: epoch.to_string(),
                    stuck: Unreadable::because(error.step.as_deref(), &error.to_string()),
                });
            }
        }
    }
    set_aside(store, &asides).await
}

async fn set_aside(store: &Store, asides: &[Aside]) -> Result<(), StoreError> {
    if asides.is_empty() {
        return Ok(());
    }
    let requests: Vec<_> = asides
        .iter()
        .map(|aside| {
            Request::script(&ASIDE, store.space.tag(aside.id))
                .shown(aside.id)
                .text(&aside.owner)
                .text(&aside.epoch)
                .text(&aside.stuck.0)
        })
        .collect();
    store.server.ask(Line::Reader, &requests).await.map(|_| ())
}

/// From names and values in turn, as the reply to HGETALL is.
fn fields(reply: Value) -> Fields {
    Fields::new(
        elements(reply)
            .into_iter()
            .map(|value| bytes(value).unwrap_or_default())
            .collect(),
    )
}
