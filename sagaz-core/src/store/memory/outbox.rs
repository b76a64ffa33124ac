//! Outbox and inbox in memory.
//!
//! Invariant: an event gets its place in the critical section that applies what it came with, so that the order of places is the
//! order of commits, for all keys.

use super::{Data, Memory, MemoryTransaction, Now};
use crate::{
    event::{Event, EventId},
    store::{
        AppendsIn, Attendance, Begun, CommitError, DeadDecision, DeadLetter, DeadLetterFilter,
        DeadLetterId, DeadLetterPage, DeadState, Fate, Fetch, Fetched, Finished, InboxStore,
        Intervention, KEY_EVENTS_MAX, LANES, Lane, Mark, OutboxEvent, OutboxStats, OutboxStore,
        Place, Sender, SentEvents, StoreError, WorkerId, fault::Call, lane_of,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// Tells the handles of one store that there are events, each of them once.
#[derive(Debug)]
pub(super) struct News {
    count: Arc<watch::Sender<u64>>,
    seen: AtomicU64,
}

impl News {
    pub(super) fn new() -> Self {
        Self {
            count: Arc::new(watch::Sender::new(0)),
            seen: AtomicU64::new(0),
        }
    }

    pub(super) fn tell(&self) {
        self.count.send_modify(|count| *count += 1);
    }

    async fn next(&self) {
        let mut count = self.count.subscribe();
        let seen = self.seen.load(Ordering::Relaxed);
        // The sender lives as long as this handle does.
        if let Ok(count) = count.wait_for(|count| *count != seen).await {
            self.seen.store(*count, Ordering::Relaxed);
        }
    }
}

impl Clone for News {
    fn clone(&self) -> Self {
        Self {
            count: Arc::clone(&self.count),
            seen: AtomicU64::new(self.seen.load(Ordering::Relaxed)),
        }
    }
}

#[derive(Debug)]
pub(super) struct Outbox {
    lanes: Vec<LaneData>,
    /// The events that are in the lanes.
    ids: BTreeSet<EventId>,
    archive: BTreeMap<EventId, Instant>,
    workers: BTreeMap<WorkerId, Instant>,
    dead: BTreeMap<DeadLetterId, Dead>,
    /// What consumers have handled, and when.
    handled: BTreeMap<(String, EventId), Instant>,
}

#[derive(Clone, Debug, Default)]
struct LaneData {
    owner: Option<WorkerId>,
    epoch: u64,
    last: u64,
    rows: BTreeMap<u64, Row>,
}

#[derive(Clone, Debug)]
struct Row {
    event: Event,
    stored: Instant,
    attempts: u32,
    wake: Option<Instant>,
    sender: Option<(WorkerId, Instant)>,
    is_blocking: bool,
}

#[derive(Clone, Debug)]
struct Dead {
    letter: DeadLetter,
    /// Where it still is, if it blocks its key.
    place: Option<Place>,
    decided: Option<Instant>,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            lanes: vec![LaneData::default(); usize::from(LANES)],
            ids: BTreeSet::new(),
            archive: BTreeMap::new(),
            workers: BTreeMap::new(),
            dead: BTreeMap::new(),
            handled: BTreeMap::new(),
        }
    }
}

fn key_of(event: &Event) -> &str {
    event.ordering_key().unwrap_or_default()
}

fn letter_id(letter: &DeadLetter) -> DeadLetterId {
    DeadLetterId {
        event: letter.event.event_id().clone(),
        consumer: letter.consumer.clone(),
    }
}

impl Outbox {
    /// Appends an event, unless it is there or was sent.
    pub(super) fn append(&mut self, event: &Event, sender: Option<Sender>, now: Now) {
        let id = event.event_id();
        if self.archive.contains_key(id) || !self.ids.insert(id.clone()) {
            return;
        }
        let lane = &mut self.lanes[usize::from(lane_of(key_of(event), LANES))];
        let is_first = lane
            .rows
            .values()
            .all(|row| key_of(&row.event) != key_of(event));
        let sender = sender.filter(|_| is_first);
        lane.last += 1;
        let row = Row {
            event: event.clone(),
            stored: now.instant,
            attempts: 0,
            wake: None,
            sender: sender.map(|sender| (sender.id, now.after(sender.lease))),
            is_blocking: false,
        };
        lane.rows.insert(lane.last, row);
    }

    fn lane(&mut self, index: u16) -> Option<&mut LaneData> {
        self.lanes.get_mut(usize::from(index))
    }

    fn is_owner(&self, worker: WorkerId, lane: Lane) -> bool {
        let data = self.lanes.get(usize::from(lane.index));
        data.is_some_and(|data| data.owner == Some(worker) && data.epoch == lane.epoch)
    }

    fn attend(&mut self, worker: WorkerId, ttl: Duration, wanted: u16, now: Now) -> Attendance {
        self.workers.retain(|_, until| *until > now.instant);
        self.workers.insert(worker, now.after(ttl));
        let workers = &self.workers;
        let is_mine = |lane: &LaneData| lane.owner == Some(worker);
        let mut owned = self.lanes.iter().filter(|lane| is_mine(lane)).count();
        for lane in &mut self.lanes {
            let is_free = lane.owner.is_none_or(|owner| !workers.contains_key(&owner));
            if is_free && owned < usize::from(wanted) {
                lane.owner = Some(worker);
                lane.epoch += 1;
                owned += 1;
            }
        }
        let mine = (0_u16..).zip(&self.lanes).filter(|(_, lane)| is_mine(lane));
        Attendance {
            lanes: mine
                .map(|(index, lane)| Lane {
                    index,
                    epoch: lane.epoch,
                })
                .collect(),
            workers: u32::try_from(workers.len()).unwrap_or(u32::MAX),
        }
    }

    fn release(&mut self, worker: WorkerId, lanes: Option<&[u16]>) {
        for (index, lane) in (0_u16..).zip(&mut self.lanes) {
            if lane.owner == Some(worker) && lanes.is_none_or(|lanes| lanes.contains(&index)) {
                lane.owner = None;
            }
        }
        if lanes.is_none() {
            self.workers.remove(&worker);
        }
    }

    fn fetch(&self, fetch: &Fetch, now: Now) -> Fetched {
        let mut fetched = Fetched::default();
        let lanes = u32::try_from(fetch.lanes.len()).unwrap_or(u32::MAX).max(1);
        let share = usize::try_from(fetch.limit.div_ceil(lanes).max(1)).unwrap_or(usize::MAX);
        for (lane, after) in &fetch.lanes {
            if !self.is_owner(fetch.worker, *lane) {
                fetched.after.push(None);
                continue;
            }
            let rows = &self.lanes[usize::from(lane.index)].rows;
            let mut rows = rows.range(after + 1..);
            let mut last = *after;
            for (seq, row) in rows.by_ref().take(share) {
                fetched.events.push(row.read(lane.index, *seq, now));
                last = *seq;
            }
            fetched.more |= rows.next().is_some();
            fetched.after.push(Some(last));
        }
        for key in &fetch.keys {
            if !self.is_owner(fetch.worker, key.lane) {
                continue;
            }
            let rows = &self.lanes[usize::from(key.lane.index)].rows;
            let rows = rows
                .range(key.from..)
                .filter(|(_, row)| key_of(&row.event) == key.key);
            let most = usize::try_from(KEY_EVENTS_MAX).unwrap_or(usize::MAX);
            let events = rows
                .take(most)
                .map(|(seq, row)| row.read(key.lane.index, *seq, now));
            fetched.events.extend(events);
        }
        fetched
    }

    fn mark(&mut self, worker: WorkerId, marks: &[Mark], sent: SentEvents, now: Now) -> Vec<u16> {
        let mut lost = BTreeSet::new();
        for mark in marks {
            if !self.is_owner(worker, mark.lane) {
                lost.insert(mark.lane.index);
                continue;
            }
            let place = Place {
                lane: mark.lane.index,
                seq: mark.seq,
            };
            match &mark.fate {
                Fate::Sent => self.sent(place, sent, now),
                Fate::Retry {
                    attempts, after, ..
                } => {
                    if let Some(row) = self.row(place) {
                        row.attempts = *attempts;
                        row.wake = Some(now.after(*after));
                        row.sender = None;
                    }
                }
                Fate::Dead {
                    attempts,
                    error,
                    blocks,
                } => self.die(place, *attempts, error, *blocks, now),
            }
        }
        lost.into_iter().collect()
    }

    fn row(&mut self, place: Place) -> Option<&mut Row> {
        self.lane(place.lane)?.rows.get_mut(&place.seq)
    }

    fn remove(&mut self, place: Place) -> Option<Row> {
        let row = self.lane(place.lane)?.rows.remove(&place.seq)?;
        self.ids.remove(row.event.event_id());
        Some(row)
    }

    fn sent(&mut self, place: Place, sent: SentEvents, now: Now) {
        if let Some(row) = self.remove(place)
            && sent == SentEvents::Archive
        {
            self.archive
                .insert(row.event.event_id().clone(), now.instant);
        }
    }

    fn die(&mut self, place: Place, attempts: u32, error: &str, blocks: bool, now: Now) {
        let Some(row) = self.row(place) else { return };
        // Repeated, it is dead already.
        if row.is_blocking {
            return;
        }
        row.attempts = attempts;
        row.is_blocking = blocks;
        row.wake = None;
        let event = row.event.clone();
        if !blocks {
            self.remove(place);
        }
        let mut letter = DeadLetter::new(event, None, attempts, error.to_owned(), now.wall);
        letter.blocks = blocks;
        self.keep_dead(letter, blocks.then_some(place));
    }

    /// What operators did to it before stays with it.
    fn keep_dead(&mut self, mut letter: DeadLetter, place: Option<Place>) {
        let id = letter_id(&letter);
        if let Some(former) = self.dead.remove(&id) {
            letter.interventions = former.letter.interventions;
        }
        let dead = Dead {
            letter,
            place,
            decided: None,
        };
        self.dead.insert(id, dead);
    }

    fn heads(&self, sender: WorkerId, events: &[EventId], now: Now) -> Vec<(EventId, Place)> {
        let mut heads = Vec::new();
        for (index, lane) in (0_u16..).zip(&self.lanes) {
            for (seq, row) in &lane.rows {
                let id = row.event.event_id();
                if events.contains(id) && row.is_leased_to(sender, now) {
                    let place = Place {
                        lane: index,
                        seq: *seq,
                    };
                    heads.push((id.clone(), place));
                }
            }
        }
        heads
    }

    fn settle_heads(
        &mut self,
        sender: WorkerId,
        heads: &[(Place, bool)],
        sent: SentEvents,
        now: Now,
    ) {
        for (place, was_sent) in heads {
            let Some(row) = self.row(*place) else {
                continue;
            };
            if !row.is_leased_to(sender, now) {
                continue;
            }
            row.sender = None;
            if *was_sent {
                self.sent(*place, sent, now);
            }
        }
    }

    fn stats(&self, now: Now) -> OutboxStats {
        let rows = self.lanes.iter().flat_map(|lane| lane.rows.values());
        let pending = rows.filter(|row| !row.is_blocking);
        let is_open = |dead: &&Dead| dead.letter.state == DeadState::Open;
        OutboxStats {
            pending: pending.clone().count() as u64,
            oldest: pending
                .map(|row| now.instant.saturating_duration_since(row.stored))
                .max(),
            dead: self.dead.values().filter(is_open).count() as u64,
        }
    }

    fn dead_letters(&self, filter: &DeadLetterFilter) -> DeadLetterPage {
        let is_wanted = |letter: &DeadLetter| {
            filter.state.is_none_or(|state| state == letter.state)
                && filter
                    .event_type
                    .as_deref()
                    .is_none_or(|wanted| wanted == letter.event.event_type())
                && filter
                    .key
                    .as_deref()
                    .is_none_or(|wanted| wanted == key_of(&letter.event))
                && filter
                    .consumer
                    .as_ref()
                    .is_none_or(|wanted| *wanted == letter.consumer)
        };
        let letters = self.dead.iter().filter(|(id, dead)| {
            filter.after.as_ref().is_none_or(|after| *id > after) && is_wanted(&dead.letter)
        });
        let length = usize::try_from(filter.page_len()).unwrap_or(usize::MAX);
        let mut letters: Vec<_> = letters
            .take(length + 1)
            .map(|(_, dead)| dead.letter.clone())
            .collect();
        let has_more = letters.len() > length;
        letters.truncate(length);
        let last = letters.last().filter(|_| has_more);
        DeadLetterPage {
            next: last.map(letter_id),
            letters,
        }
    }

    fn decide(&mut self, decision: &DeadDecision, now: Now) -> u64 {
        let mut decided = 0;
        for id in &decision.letters {
            let Some(dead) = self.dead.get_mut(id) else {
                continue;
            };
            if dead.letter.state != DeadState::Open {
                continue;
            }
            decided += 1;
            dead.letter.state = decision.state;
            dead.decided = Some(now.instant);
            dead.letter.interventions.push(Intervention {
                at_ms: now.unix_ms(),
                ..decision.intervention.clone()
            });
            let (event, place) = (dead.letter.event.clone(), dead.place.take());
            dead.letter.blocks = false;
            match (&id.consumer, decision.state) {
                (Some(consumer), DeadState::Retried) => {
                    self.handled.remove(&(consumer.clone(), id.event.clone()));
                }
                (None, DeadState::Retried) => match place.and_then(|place| self.row(place)) {
                    Some(row) => {
                        row.is_blocking = false;
                        row.attempts = 0;
                    }
                    None => self.append(&event, None, now),
                },
                (None, _) => {
                    place.and_then(|place| self.remove(place));
                }
                (Some(_), _) => {}
            }
        }
        decided
    }

    fn prune_sent(&mut self, age: Duration, limit: u32, now: Now) -> u64 {
        let is_old = |at: Instant| now.instant.saturating_duration_since(at) > age;
        let sent = self.archive.iter().filter(|(_, at)| is_old(**at));
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let sent: Vec<_> = sent.take(limit).map(|(id, _)| id.clone()).collect();
        let decided = self
            .dead
            .iter()
            .filter(|(_, dead)| dead.decided.is_some_and(is_old));
        let decided = decided.filter(|(id, _)| !self.is_to_be_retried(id));
        let decided: Vec<_> = decided
            .take(limit - sent.len())
            .map(|(id, _)| id.clone())
            .collect();
        for id in &sent {
            self.archive.remove(id);
        }
        for id in &decided {
            self.dead.remove(id);
        }
        (sent.len() + decided.len()) as u64
    }

    /// Whether a consumer is still to handle it again.
    fn is_to_be_retried(&self, id: &DeadLetterId) -> bool {
        let Some(consumer) = &id.consumer else {
            return false;
        };
        let is_retried = |dead: &Dead| dead.letter.state == DeadState::Retried;
        self.dead.get(id).is_some_and(is_retried)
            && !self
                .handled
                .contains_key(&(consumer.clone(), id.event.clone()))
    }

    fn retries(&self, consumer: &str, limit: u32) -> Vec<Event> {
        let own = self.dead.iter().filter(|(id, _)| {
            id.consumer.as_deref() == Some(consumer) && self.is_to_be_retried(id)
        });
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        own.take(limit)
            .map(|(_, dead)| dead.letter.event.clone())
            .collect()
    }

    fn prune_handled(&mut self, age: Duration, limit: u32, now: Now) -> u64 {
        let is_old = |at: Instant| now.instant.saturating_duration_since(at) > age;
        let old = self.handled.iter().filter(|(_, at)| is_old(**at));
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let old: Vec<_> = old.take(limit).map(|(of, _)| of.clone()).collect();
        for of in &old {
            self.handled.remove(of);
        }
        old.len() as u64
    }

    /// Records that a consumer has handled an event; `false` if it had before.
    pub(super) fn record(&mut self, consumer: &str, event: &EventId, now: Now) -> bool {
        let of = (consumer.to_owned(), event.clone());
        self.handled.insert(of, now.instant).is_none()
    }

    pub(super) fn is_handled(&self, consumer: &str, event: &EventId) -> bool {
        self.handled
            .contains_key(&(consumer.to_owned(), event.clone()))
    }
}

impl Row {
    fn is_leased_to(&self, sender: WorkerId, now: Now) -> bool {
        self.sender
            .is_some_and(|(of, until)| of == sender && until > now.instant)
    }

    fn read(&self, lane: u16, seq: u64, now: Now) -> OutboxEvent {
        let waits = [self.wake, self.sender.map(|(_, until)| until)];
        let wait = waits
            .into_iter()
            .flatten()
            .map(|until| now.until(until))
            .max();
        OutboxEvent {
            place: Place { lane, seq },
            event: self.event.clone(),
            attempts: self.attempts,
            wait: wait.filter(|wait| !wait.is_zero()),
            is_blocking: self.is_blocking,
        }
    }
}

impl OutboxStore for Memory {
    async fn attend(
        &self,
        worker: WorkerId,
        ttl: Duration,
        wanted: u16,
    ) -> Result<Attendance, StoreError> {
        let fault = self.faults.meet(Call::Attend, None);
        self.carry_out(fault, |data, now| {
            data.outbox.attend(worker, ttl, wanted, now)
        })
        .await
    }

    async fn release(&self, worker: WorkerId, lanes: Option<&[u16]>) -> Result<(), StoreError> {
        let fault = self.faults.meet(Call::Release, None);
        self.carry_out(fault, |data, _| data.outbox.release(worker, lanes))
            .await
    }

    async fn fetch(&self, fetch: &Fetch) -> Result<Fetched, StoreError> {
        let fault = self.faults.meet(Call::Fetch, None);
        self.carry_out(fault, |data, now| data.outbox.fetch(fetch, now))
            .await
    }

    async fn mark(
        &self,
        worker: WorkerId,
        marks: &[Mark],
        sent: SentEvents,
    ) -> Result<Vec<u16>, StoreError> {
        let fault = self.faults.meet(Call::Mark, None);
        self.carry_out(fault, |data, now| {
            data.outbox.mark(worker, marks, sent, now)
        })
        .await
    }

    async fn heads(
        &self,
        sender: WorkerId,
        events: &[EventId],
    ) -> Result<Vec<(EventId, Place)>, StoreError> {
        let fault = self.faults.meet(Call::Heads, None);
        self.carry_out(fault, |data, now| data.outbox.heads(sender, events, now))
            .await
    }

    async fn settle_heads(
        &self,
        sender: WorkerId,
        heads: &[(Place, bool)],
        sent: SentEvents,
    ) -> Result<(), StoreError> {
        let fault = self.faults.meet(Call::SettleHeads, None);
        self.carry_out(fault, |data, now| {
            data.outbox.settle_heads(sender, heads, sent, now);
        })
        .await
    }

    async fn outbox_stats(&self) -> Result<OutboxStats, StoreError> {
        Ok(self.apply(|data, now| data.outbox.stats(now)))
    }

    async fn dead_letters(&self, filter: &DeadLetterFilter) -> Result<DeadLetterPage, StoreError> {
        Ok(self.apply(|data, _| data.outbox.dead_letters(filter)))
    }

    async fn decide(&self, decision: &DeadDecision) -> Result<u64, StoreError> {
        let decided = self.apply(|data, now| data.outbox.decide(decision, now));
        self.news.tell();
        Ok(decided)
    }

    async fn prune_sent(&self, age: Duration, limit: u32) -> Result<u64, StoreError> {
        Ok(self.apply(|data, now| data.outbox.prune_sent(age, limit, now)))
    }

    async fn outbox_news(&self) {
        self.news.next().await;
    }
}

impl AppendsIn<MemoryTransaction> for Memory {
    async fn append_in(&self, tx: &mut MemoryTransaction, event: &Event) -> Result<(), StoreError> {
        let fault = self.faults.meet(Call::AppendIn, None);
        self.carry_out(fault, |_, _| tx.append(event)).await
    }
}

impl InboxStore for Memory {
    type Tx = MemoryTransaction;

    async fn begin_handling(
        &self,
        consumer: &str,
        event: &Event,
    ) -> Result<Begun<MemoryTransaction>, StoreError> {
        let fault = self.faults.meet(Call::BeginHandling, None);
        let id = event.event_id();
        let is_handled = self.carry_out(fault, |data, _| data.outbox.is_handled(consumer, id));
        if is_handled.await? {
            return Ok(Begun::Duplicate);
        }
        let mut tx = self.transaction();
        tx.handles(consumer, id);
        Ok(Begun::New(tx))
    }

    async fn finish_handling(&self, tx: MemoryTransaction) -> Result<Finished, CommitError> {
        self.end(tx, Call::FinishHandling).await
    }

    async fn bury(
        &self,
        consumer: &str,
        event: &Event,
        attempts: u32,
        error: &str,
    ) -> Result<(), StoreError> {
        let fault = self.faults.meet(Call::Bury, None);
        self.carry_out(fault, |data: &mut Data, now| {
            // Somebody else was faster.
            if data.outbox.is_handled(consumer, event.event_id()) {
                return;
            }
            data.outbox.record(consumer, event.event_id(), now);
            let (consumer, error) = (Some(consumer.to_owned()), error.to_owned());
            let letter = DeadLetter::new(event.clone(), consumer, attempts, error, now.wall);
            data.outbox.keep_dead(letter, None);
        })
        .await
    }

    async fn retries(&self, consumer: &str, limit: u32) -> Result<Vec<Event>, StoreError> {
        let fault = self.faults.meet(Call::Retries, None);
        self.carry_out(fault, |data, _| data.outbox.retries(consumer, limit))
            .await
    }

    async fn is_handled(&self, consumer: &str, event: &EventId) -> Result<bool, StoreError> {
        let fault = self.faults.meet(Call::IsHandled, None);
        self.carry_out(fault, |data, _| data.outbox.is_handled(consumer, event))
            .await
    }

    async fn prune_handled(&self, age: Duration, limit: u32) -> Result<u64, StoreError> {
        Ok(self.apply(|data, now| data.outbox.prune_handled(age, limit, now)))
    }
}
