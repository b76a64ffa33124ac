//! The events that wait to be published: read, marked, and sent by whoever wrote them.
//!
//! Invariant: an event is appended, and its place is taken, in the script of the write that it came with; so the order of places is the
//! order of commits, and nothing is ever unsettled. What a worker says is judged by the lane's owner and epoch in the script
//! that applies it, and an earlier *try* of it that arrives late is turned away by the event, which knows the last one.

use super::{
    Redis, Store, event, lanes, letters,
    request::{Request, elements, number, text},
    script::{BEHIND, FETCH, HEADS, MARK, SETTLE, STATS, Script},
    server::Line,
};
use crate::value::{as_u64, millis};
use redis::Value;
use sagaz_core::{
    EventId,
    store::{
        Attendance, DeadDecision, DeadLetterFilter, DeadLetterPage, Fate, Fetch, Fetched,
        KEY_EVENTS_MAX, KeyFetch, Lane, Mark, OutboxEvent, OutboxStats, OutboxStore, Place,
        SentEvents, StoreError, WorkerId,
    },
};
use std::{collections::BTreeMap, time::Duration};

/// The most events of a lane that one script reads: nobody else is served meanwhile.
const READ_AT_ONCE: u64 = 512;

impl OutboxStore for Redis {
    fn lanes(&self) -> u16 {
        u16::try_from(self.store.space.tags.len()).unwrap_or(u16::MAX)
    }

    async fn attend(
        &self,
        worker: WorkerId,
        ttl: Duration,
        wanted: u16,
    ) -> Result<Attendance, StoreError> {
        lanes::attend(&self.store, worker, ttl, wanted).await
    }

    async fn release(&self, worker: WorkerId, lanes: Option<&[u16]>) -> Result<(), StoreError> {
        lanes::release(&self.store, worker, lanes).await
    }

    async fn fetch(&self, fetch: &Fetch) -> Result<Fetched, StoreError> {
        self::fetch(&self.store, fetch).await
    }

    async fn mark(
        &self,
        worker: WorkerId,
        marks: &[Mark],
        sent: SentEvents,
    ) -> Result<Vec<u16>, StoreError> {
        mark(&self.store, worker, marks, sent).await
    }

    async fn heads(
        &self,
        sender: WorkerId,
        events: &[EventId],
    ) -> Result<Vec<(EventId, Place)>, StoreError> {
        heads(&self.store, sender, events).await
    }

    async fn settle_heads(
        &self,
        sender: WorkerId,
        heads: &[(Place, bool)],
        sent: SentEvents,
    ) -> Result<(), StoreError> {
        settle_heads(&self.store, sender, heads, sent).await
    }

    async fn outbox_stats(&self) -> Result<OutboxStats, StoreError> {
        stats(&self.store).await
    }

    async fn dead_letters(&self, filter: &DeadLetterFilter) -> Result<DeadLetterPage, StoreError> {
        letters::list(&self.store, filter).await
    }

    async fn decide(&self, decision: &DeadDecision) -> Result<u64, StoreError> {
        letters::decide(&self.store, decision).await
    }

    async fn prune_sent(&self, age: Duration, limit: u32) -> Result<u64, StoreError> {
        super::admin::prune_sent(&self.store, age, limit).await
    }

    async fn outbox_news(&self) {
        self.store.fresh.told().await;
    }
}

/// First how much there is in each lane, which is all that an idle worker asks, then what there is room for.
async fn fetch(store: &Store, fetch: &Fetch) -> Result<Fetched, StoreError> {
    let looks: Vec<_> = fetch
        .lanes
        .iter()
        .map(|(lane, after)| of_lane(&BEHIND, store, fetch.worker, *lane).shown(after))
        .collect();
    let behind: Vec<Option<u64>> = store
        .server
        .ask(Line::Reader, &looks)
        .await?
        .into_iter()
        .map(|count| number(count).and_then(|count| u64::try_from(count).ok()))
        .collect();
    let shares = shares(&behind, u64::from(fetch.limit));
    let mut parts: BTreeMap<Lane, Part<'_>> = BTreeMap::new();
    for (at, (lane, after)) in fetch.lanes.iter().enumerate() {
        if shares[at] > 0 {
            let part = parts.entry(*lane).or_default();
            (part.at, part.after, part.share) = (Some(at), *after, shares[at]);
        }
    }
    for key in &fetch.keys {
        parts.entry(key.lane).or_default().keys.push(key);
    }
    let mut fetched = Fetched {
        after: fetch
            .lanes
            .iter()
            .zip(&behind)
            .map(|((_, after), behind)| behind.map(|_| *after))
            .collect(),
        more: behind
            .iter()
            .zip(&shares)
            .any(|(behind, share)| behind.unwrap_or_default() > *share),
        ..Fetched::default()
    };
    let requests: Vec<_> = parts
        .iter()
        .map(|(lane, part)| {
            let request = of_lane(&FETCH, store, fetch.worker, *lane)
                .shown(part.after)
                .shown(part.share)
                .shown(KEY_EVENTS_MAX);
            part.keys.iter().fold(request, |request, key| {
                request.text(&key.key).shown(key.from)
            })
        })
        .collect();
    let replies = store.server.ask(Line::Reader, &requests).await?;
    for ((lane, part), reply) in parts.iter().zip(replies) {
        let mut reply = elements(reply).into_iter();
        let (Some(now_ms), Some(of_lane)) =
            (reply.next().and_then(number), reply.next().and_then(number))
        else {
            // Taken over since the look.
            if let Some(at) = part.at {
                fetched.after[at] = None;
            }
            continue;
        };
        let mut events = reply
            .map(|row| self::row(row, lane.index, now_ms))
            .collect::<Result<Vec<_>, _>>()?;
        let of_lane = usize::try_from(of_lane).unwrap_or_default();
        if let (Some(at), Some(last)) = (part.at, events[..of_lane].last()) {
            fetched.after[at] = Some(last.place.seq);
        }
        // The rows of a key may be among those of the lane.
        events.sort_by_key(|event| event.place);
        events.dedup_by_key(|event| event.place);
        fetched.events.extend(events);
    }
    Ok(fetched)
}

/// What is read of a lane.
#[derive(Default)]
struct Part<'a> {
    /// Its number in the request.
    at: Option<usize>,
    after: u64,
    share: u64,
    keys: Vec<&'a KeyFetch>,
}

/// How much of each lane is read: no lane keeps another one waiting.
fn shares(behind: &[Option<u64>], limit: u64) -> Vec<u64> {
    let wanted = |at: usize| behind[at].unwrap_or_default().min(READ_AT_ONCE);
    let mut shares = vec![0; behind.len()];
    let mut open: Vec<usize> = (0..behind.len()).filter(|at| wanted(*at) > 0).collect();
    // Those that want least come first, and leave the rest to the others.
    open.sort_by_key(|at| wanted(*at));
    let (mut room, mut left) = (limit, open.len() as u64);
    for at in open {
        let share = wanted(at).min(room.div_ceil(left));
        shares[at] = share;
        room -= share;
        left -= 1;
    }
    shares
}

fn of_lane<'a>(
    script: &'static Script,
    store: &'a Store,
    worker: WorkerId,
    lane: Lane,
) -> Request<'a> {
    Request::script(script, store.tag(lane.index))
        .shown(worker)
        .shown(lane.epoch)
}

/// Whether it blocks its key, and its fields.
fn row(row: Value, lane: u16, now_ms: i64) -> Result<OutboxEvent, StoreError> {
    let mut row = elements(row).into_iter();
    let is_blocking = row.next().and_then(number) == Some(1);
    let mut fields = elements(row.next().unwrap_or(Value::Nil)).into_iter();
    let mut next = || fields.next().unwrap_or(Value::Nil);
    let seq = number(next()).map_or(0, as_u64);
    let event = event::read([next(), next(), next(), next()])?;
    let attempts = number(next()).unwrap_or_default();
    let wait_ms = number(next()).map_or(0, |until| until.saturating_sub(now_ms));
    Ok(OutboxEvent {
        place: Place { lane, seq },
        event,
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        wait: (wait_ms > 0).then(|| Duration::from_millis(as_u64(wait_ms))),
        is_blocking,
    })
}

async fn mark(
    store: &Store,
    worker: WorkerId,
    marks: &[Mark],
    sent: SentEvents,
) -> Result<Vec<u16>, StoreError> {
    let mut lanes: BTreeMap<Lane, Vec<&Mark>> = BTreeMap::new();
    for mark in marks {
        lanes.entry(mark.lane).or_default().push(mark);
    }
    let requests: Vec<_> = lanes
        .iter()
        .map(|(lane, marks)| {
            let request = of_lane(&MARK, store, worker, *lane)
                .owned(store.next_try())
                .flag(sent == SentEvents::Archive);
            marks.iter().fold(request, |request, mark| {
                let request = request.shown(mark.seq);
                match &mark.fate {
                    Fate::Sent => request.text("sent").text("").text("").text(""),
                    Fate::Retry {
                        attempts,
                        error,
                        after,
                    } => request
                        .text("retry")
                        .shown(attempts)
                        .text(error)
                        .shown(millis(*after)),
                    Fate::Dead {
                        attempts,
                        error,
                        blocks,
                    } => request
                        .text("dead")
                        .shown(attempts)
                        .text(error)
                        .flag(*blocks),
                }
            })
        })
        .collect();
    let replies = store.server.ask(Line::Writer, &requests).await?;
    let mut lost: Vec<u16> = lanes
        .keys()
        .zip(replies)
        .filter(|(_, reply)| !matches!(reply, Value::Int(1)))
        .map(|(lane, _)| lane.index)
        .collect();
    lost.dedup();
    Ok(lost)
}

async fn heads(
    store: &Store,
    sender: WorkerId,
    events: &[EventId],
) -> Result<Vec<(EventId, Place)>, StoreError> {
    let mut lanes: BTreeMap<u16, Vec<&EventId>> = BTreeMap::new();
    for event in events {
        match store.fresh.partition(event) {
            Some(partition) => {
                let lane = u16::try_from(partition).unwrap_or_default();
                lanes.entry(lane).or_default().push(event);
            }
            // It was not stored by this handle, or long ago.
            None => {
                for lane in store.lanes() {
                    lanes.entry(lane).or_default().push(event);
                }
            }
        }
    }
    let requests: Vec<_> = lanes
        .iter()
        .map(|(lane, events)| {
            let request = Request::script(&HEADS, store.tag(*lane)).shown(sender);
            events
                .iter()
                .fold(request, |request, event| request.text(event.as_str()))
        })
        .collect();
    let replies = store.server.ask(Line::Writer, &requests).await?;
    let mut heads = Vec::with_capacity(events.len());
    for (lane, reply) in lanes.keys().zip(replies) {
        let mut reply = elements(reply).into_iter();
        while let (Some(id), Some(seq)) =
            (reply.next().and_then(text), reply.next().and_then(number))
        {
            let seq = as_u64(seq);
            heads.push((EventId::from(id), Place { lane: *lane, seq }));
        }
    }
    if heads.len() < events.len() {
        store.fresh.tell();
    }
    Ok(heads)
}

async fn settle_heads(
    store: &Store,
    sender: WorkerId,
    heads: &[(Place, bool)],
    sent: SentEvents,
) -> Result<(), StoreError> {
    let mut lanes: BTreeMap<u16, Vec<(u64, bool)>> = BTreeMap::new();
    for (place, was_sent) in heads {
        let of_lane = lanes.entry(place.lane).or_default();
        of_lane.push((place.seq, *was_sent));
    }
    let requests: Vec<_> = lanes
        .iter()
        .map(|(lane, heads)| {
            let request = Request::script(&SETTLE, store.tag(*lane))
                .shown(sender)
                .flag(sent == SentEvents::Archive);
            heads.iter().fold(request, |request, (seq, was_sent)| {
                request.shown(seq).flag(*was_sent)
            })
        })
        .collect();
    store.server.ask(Line::Writer, &requests).await?;
    if heads.iter().any(|(_, was_sent)| !was_sent) {
        store.fresh.tell();
    }
    Ok(())
}

async fn stats(store: &Store) -> Result<OutboxStats, StoreError> {
    let requests: Vec<_> = store
        .space
        .tags
        .iter()
        .map(|tag| Request::script(&STATS, tag))
        .collect();
    let mut stats = OutboxStats::default();
    for reply in store.server.ask(Line::Reader, &requests).await? {
        let mut reply = elements(reply).into_iter().map(number);
        let mut next = || reply.next().flatten().unwrap_or_default();
        stats.pending += as_u64(next());
        if let age_ms @ 0.. = next() {
            let age = Duration::from_millis(as_u64(age_ms));
            stats.oldest = Some(stats.oldest.map_or(age, |oldest| oldest.max(age)));
        }
        stats.dead += as_u64(next());
    }
    Ok(stats)
}

#[cfg(test)]
mod tests {
    use super::shares;

    #[test]
    fn no_lane_keeps_another_one_waiting() {
        let behind = [Some(10_000), Some(3), None, Some(0), Some(10_000)];
        assert_eq!(shares(&behind, 100), [49, 3, 0, 0, 48]);
        assert_eq!(shares(&behind, 2).iter().sum::<u64>(), 2);
        assert_eq!(shares(&[Some(5), Some(7)], 100), [5, 7]);
        assert_eq!(shares(&[], 100), Vec::<u64>::new());
    }
}
