//! Events are there if and only if what they came with is, and are read in order, by one worker at a time.

use super::{Harness, fixture::*};
use crate::{
    event::{Event, EventId, EventParts},
    id::{EngineId, SagaId, Token},
    store::{
        Attendance, DeadLetterFilter, Fate, Fetch, InstanceState, KeyFetch, Lane, Mark,
        OutboxEvent, OutboxStore, Progress, SentEvents, StepState, WorkerId, Written,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, UNIX_EPOCH},
};

/// A harness of a store that has an outbox.
pub trait OutboxHarness: Harness<Store: OutboxStore> {}
impl<H: Harness<Store: OutboxStore>> OutboxHarness for H {}

/// Makes a `#[tokio::test]` of each rule about the outbox: see [`store_conformance!`](crate::store_conformance).
#[macro_export]
macro_rules! outbox_conformance {
    ($harness:expr) => {
        $crate::store_conformance! { @each $harness;
            outbox: p11_an_event_is_stored_with_its_step,
            outbox: p11_the_events_of_a_lost_write_are_dropped,
            outbox: p11_a_write_that_is_repeated_stores_its_events_once,
            outbox: p11_a_write_that_is_repeated_after_its_events_were_sent_stores_none,
            outbox: p11_the_events_of_a_compensation_are_stored_with_it,
            outbox: p11_a_batch_stores_the_events_of_every_write_that_it_applies,
            outbox: an_event_comes_back_as_it_was,
            outbox: p11_events_of_a_key_are_read_in_the_order_of_their_writes,
            outbox: every_event_is_read_however_small_the_pages_are,
            outbox: a_lane_that_is_not_the_workers_gives_nothing,
            outbox: a_key_can_be_read_once_more,
            lanes: p7_a_lane_has_one_owner,
            lanes: a_worker_takes_no_more_lanes_than_it_wants,
            lanes: released_lanes_are_taken_by_others,
            lanes: p7_the_lanes_of_a_dead_worker_are_taken_over,
            marks: p7_a_mark_of_a_former_owner_changes_nothing,
            marks: a_mark_with_an_epoch_to_come_changes_nothing,
            marks: a_sent_event_is_gone,
            marks: a_mark_may_be_repeated,
            marks: p12_sent_events_are_pruned_after_their_age,
            marks: an_event_to_be_tried_again_waits,
            dead_letters: p8_a_dead_letter_is_kept_and_its_key_goes_on,
            dead_letters: p8_a_dead_letter_can_block_its_key,
            dead_letters: p8_a_dead_letter_can_be_sent_again,
            dead_letters: p8_a_dead_letter_that_blocks_is_sent_again_at_its_place,
            dead_letters: p8_a_dead_letter_that_is_discarded_frees_its_key,
            dead_letters: a_decision_on_a_dead_letter_is_applied_once_and_recorded,
            dead_letters: p12_dead_letters_are_listed_in_pages_that_cover_everything_once,
            dead_letters: dead_letters_are_filtered,
            senders: p11_a_sender_gets_the_first_of_a_key_and_the_relay_waits_for_it,
            senders: what_a_sender_leaves_is_the_relays_at_once,
            senders: p7_a_sender_whose_lease_has_ended_settles_nothing,
            senders: another_sender_gets_nothing,
            outbox: the_outbox_tells_how_it_stands,
        }
    };
}

/// One step further, with these events.
pub(super) async fn publish(
    store: &impl OutboxSaga,
    id: SagaId,
    token: Token,
    step: &str,
    events: &[Event],
) -> Progress {
    let progress = publishing(id, token, step, events);
    store_progress(store, &progress).await;
    progress
}

/// Both halves of a store.
pub(super) trait OutboxSaga: crate::store::SagaStore + OutboxStore {}
impl<S: crate::store::SagaStore + OutboxStore> OutboxSaga for S {}

pub(super) fn publishing(id: SagaId, token: Token, step: &str, events: &[Event]) -> Progress {
    let mut step = completed(step, "1");
    step.events = events.to_vec();
    Progress {
        steps: vec![step],
        ..progress(id, token, InstanceState::Executing)
    }
}

/// An event whose data is a number, under a key.
pub(super) fn event(key: impl ToString, number: u32) -> Event {
    Event::new("thing.happened", &number)
        .source("/conformance")
        .key(key)
}

pub(super) fn number(event: &OutboxEvent) -> u32 {
    event.event.decode().unwrap()
}

pub(super) fn numbers(events: &[OutboxEvent]) -> Vec<u32> {
    events.iter().map(number).collect()
}

/// A worker that reads.
pub(super) struct Reader {
    pub(super) id: WorkerId,
    pub(super) lanes: Vec<(Lane, u64)>,
    unsettled: Vec<u64>,
    limit: u32,
}

impl Reader {
    /// One that owns all lanes, and whose lease outlasts the test.
    pub(super) async fn of_all(store: &impl OutboxStore) -> Self {
        let reader = Self::of(store, WorkerId::random(), store.lanes(), HOUR).await;
        assert_eq!(
            reader.lanes.len(),
            usize::from(store.lanes()),
            "all lanes are free"
        );
        reader
    }

    pub(super) async fn of(
        store: &impl OutboxStore,
        id: WorkerId,
        wanted: u16,
        ttl: Duration,
    ) -> Self {
        let attendance = attend(store, id, ttl, wanted).await;
        Self {
            id,
            lanes: attendance.lanes.into_iter().map(|lane| (lane, 0)).collect(),
            unsettled: Vec::new(),
            limit: 1_000,
        }
    }

    pub(super) fn lane(&self, index: u16) -> Lane {
        let mut lanes = self.lanes.iter().map(|(lane, _)| *lane);
        lanes
            .find(|lane| lane.index == index)
            .expect("the lane is the reader's")
    }

    pub(super) fn fetch(&self) -> Fetch {
        Fetch {
            worker: self.id,
            lanes: self.lanes.clone(),
            unsettled: self.unsettled.clone(),
            keys: Vec::new(),
            limit: self.limit,
        }
    }

    /// Everything that can be read now, and was not before.
    pub(super) async fn read(&mut self, store: &impl OutboxStore) -> Vec<OutboxEvent> {
        let mut events = Vec::new();
        loop {
            let fetched = until("events are fetched", async || {
                retried(store.fetch(&self.fetch()).await)
            })
            .await;
            events.extend(fetched.events);
            for ((_, after), next) in self.lanes.iter_mut().zip(fetched.after) {
                *after = next.expect("the lanes are the reader's");
            }
            self.unsettled = fetched.unsettled;
            if !fetched.more {
                return events;
            }
        }
    }

    /// Reads from the beginning.
    pub(super) async fn read_all(&mut self, store: &impl OutboxStore) -> Vec<OutboxEvent> {
        self.unsettled.clear();
        for (_, after) in &mut self.lanes {
            *after = 0;
        }
        self.read(store).await
    }

    pub(super) fn mark_of(&self, event: &OutboxEvent, fate: Fate) -> Mark {
        Mark {
            lane: self.lane(event.place.lane),
            seq: event.place.seq,
            fate,
        }
    }

    pub(super) async fn mark(&self, store: &impl OutboxStore, event: &OutboxEvent, fate: Fate) {
        let marks = [self.mark_of(event, fate)];
        assert_eq!(
            mark(store, self.id, &marks, SentEvents::Archive).await,
            [0_u16; 0]
        );
    }
}

/// `None` of an error that passes.
pub(super) fn retried<T>(result: Result<T, crate::store::StoreError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if error.is_transient() => None,
        Err(error) => panic!("the store fails: {error:?}"),
    }
}

pub(super) async fn attend(
    store: &impl OutboxStore,
    worker: WorkerId,
    ttl: Duration,
    wanted: u16,
) -> Attendance {
    until("a worker attends", async || {
        retried(store.attend(worker, ttl, wanted).await)
    })
    .await
}

pub(super) async fn mark(
    store: &impl OutboxStore,
    worker: WorkerId,
    marks: &[Mark],
    sent: SentEvents,
) -> Vec<u16> {
    until("events are marked", async || {
        retried(store.mark(worker, marks, sent).await)
    })
    .await
}

pub(super) async fn letters(
    store: &impl OutboxStore,
    filter: &DeadLetterFilter,
) -> Vec<crate::store::DeadLetter> {
    store.dead_letters(filter).await.unwrap().letters
}

pub(super) fn dead(error: &str, blocks: bool) -> Fate {
    Fate::Dead {
        attempts: 3,
        error: error.to_owned(),
        blocks,
    }
}

/// Not before its write, and then once.
pub async fn p11_an_event_is_stored_with_its_step<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    let mut reader = Reader::of_all(&store).await;
    assert!(reader.read(&store).await.is_empty());
    publish(&store, id, token, "reserve", &[event("a", 1)]).await;
    assert_eq!(numbers(&reader.read(&store).await), [1]);
    assert!(
        reader.read(&store).await.is_empty(),
        "what was read is not read again"
    );
    assert_eq!(
        numbers(&reader.read_all(&store).await),
        [1],
        "but is there until it is marked"
    );
}

/// With another owner's token.
pub async fn p11_the_events_of_a_lost_write_are_dropped<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    let foreign = Token {
        owner: EngineId::random(),
        ..token
    };
    let lost = publishing(id, foreign, "reserve", &[event("a", 1)]);
    assert_eq!(write_progress(&store, &lost).await, Written::Lost);
    let older = Token { epoch: 0, ..token };
    let lost = publishing(id, older, "reserve", &[event("a", 2)]);
    assert_eq!(write_progress(&store, &lost).await, Written::Lost);
    assert!(Reader::of_all(&store).await.read(&store).await.is_empty());
}

/// As after a lost reply.
pub async fn p11_a_write_that_is_repeated_stores_its_events_once<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    let events = [event("a", 1), event("a", 2), event("b", 3)];
    let progress = publish(&store, id, token, "reserve", &events).await;
    store_progress(&store, &progress).await;
    let second = harness.second(&store).await;
    store_progress(&second, &progress).await;
    let mut read = numbers(&Reader::of_all(&store).await.read(&store).await);
    read.sort_unstable();
    assert_eq!(read, [1, 2, 3]);
}

/// Neither when sent events are kept nor when they are deleted.
pub async fn p11_a_write_that_is_repeated_after_its_events_were_sent_stores_none<
    H: OutboxHarness,
>(
    harness: &H,
) {
    let store = harness.open().await;
    let mut reader = Reader::of_all(&store).await;
    for sent in [SentEvents::Archive, SentEvents::Delete] {
        let (id, token) = owned(&store, engine(&store).await).await;
        let progress = publish(&store, id, token, "reserve", &[event("a", 1)]).await;
        let read = reader.read(&store).await;
        let marks = [reader.mark_of(&read[0], Fate::Sent)];
        assert!(mark(&store, reader.id, &marks, sent).await.is_empty());
        store_progress(&store, &progress).await;
        assert!(reader.read_all(&store).await.is_empty(), "{sent:?}");
    }
}

/// Whose row has a state of its own.
pub async fn p11_the_events_of_a_compensation_are_stored_with_it<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    publish(&store, id, token, "reserve", &[event("a", 1)]).await;
    let mut undone = step("reserve", StepState::Compensated);
    undone.events = vec![event("a", 2)];
    let progress = Progress {
        steps: vec![undone],
        failure: Some(failure("declined")),
        ..progress(id, token, InstanceState::RolledBack)
    };
    store_progress(&store, &progress).await;
    store_progress(&store, &progress).await;
    assert_eq!(
        numbers(&Reader::of_all(&store).await.read(&store).await),
        [1, 2]
    );
}

/// And of no other.
pub async fn p11_a_batch_stores_the_events_of_every_write_that_it_applies<H: OutboxHarness>(
    harness: &H,
) {
    let store = harness.open().await;
    let owner = engine(&store).await;
    let mut batch = Vec::new();
    for n in 0..20 {
        let (id, token) = owned(&store, owner).await;
        // Every fourth is another's.
        let epoch = token.epoch + u64::from(n % 4 == 0);
        let token = Token { epoch, ..token };
        let events = [event("shared", n), event(id, 100 + n)];
        batch.push(crate::store::Write::Progress(publishing(
            id, token, "reserve", &events,
        )));
        batch.push(crate::store::Write::Accept(accept()));
    }
    let written = write(&store, &batch).await;
    let read = Reader::of_all(&store).await.read(&store).await;
    let read: BTreeSet<_> = read.iter().map(number).collect();
    let mut expected = BTreeSet::new();
    for (n, written) in (0..).zip(written.iter().step_by(2)) {
        if matches!(written, Written::Stored { .. }) {
            expected.extend([n, 100 + n]);
        }
    }
    assert_eq!(read, expected);
    assert!(!expected.contains(&0) && !expected.contains(&4));
    // A store may leave writes for later whose key others in the batch have: never all of them.
    assert!(expected.contains(&1));
}

/// Every attribute, and any bytes.
pub async fn an_event_comes_back_as_it_was<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    let strange = "späße \u{1F4A3} 'quoted' \"twice\" {braces} \\ %s ; --";
    let parts = EventParts {
        id: EventId::new(),
        event_type: "thing.happened".to_owned(),
        source: "/conformance".to_owned(),
        subject: None,
        key: Some("k".to_owned()),
        // Before and after the epoch of most clocks, to the millisecond.
        time: UNIX_EPOCH + Duration::from_millis(1_764_000_000_123),
        data: json(r#"{"a":1}"#),
        attributes: BTreeMap::new(),
    };
    let plain = Event::from_parts(parts.clone());
    let full = Event::from_parts(EventParts {
        id: EventId::from("a foreign id"),
        event_type: strange.to_owned(),
        source: strange.to_owned(),
        subject: Some(strange.to_owned()),
        key: Some(strange.to_owned()),
        data: crate::codec::Payload {
            content_type: "application/octet-stream".to_owned(),
            bytes: (0..=255).collect(),
        },
        attributes: [
            ("tenant", strange),
            ("traceparent", "00-1-2-01"),
            ("empty", ""),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        ..parts
    });
    publish(&store, id, token, "reserve", &[plain.clone(), full.clone()]).await;
    let read = Reader::of_all(&store).await.read(&store).await;
    let find = |event: &Event| {
        let mut read = read.iter();
        read.find(|it| it.event.event_id() == event.event_id())
            .expect("it is there")
    };
    assert_eq!(find(&plain).event, plain);
    let read = find(&full);
    assert_eq!(read.event, full);
    assert_eq!(read.event.attributes(), full.attributes());
    assert_eq!(
        (read.attempts, read.wait, read.is_blocking),
        (0, None, false)
    );
}

/// One after the other, whatever their types, and from several instances.
pub async fn p11_events_of_a_key_are_read_in_the_order_of_their_writes<H: OutboxHarness>(
    harness: &H,
) {
    let store = harness.open().await;
    let second = harness.second(&store).await;
    let (id, token) = owned(&store, engine(&store).await).await;
    for n in 0..20 {
        let handle = if n % 2 == 0 { &store } else { &second };
        let events = [
            event("a", 3 * n),
            event("b", 3 * n + 1),
            event("a", 3 * n + 2),
        ];
        publish(handle, id, token, &format!("step-{n}"), &events).await;
    }
    let read = Reader::of_all(&store).await.read(&store).await;
    for key in ["a", "b"] {
        let of_key = read
            .iter()
            .filter(|it| it.event.ordering_key() == Some(key));
        let of_key: Vec<_> = of_key.map(number).collect();
        assert!(of_key.is_sorted(), "{key}: {of_key:?}");
    }
    assert_eq!(read.len(), 60);
}

/// Also what comes meanwhile.
pub async fn every_event_is_read_however_small_the_pages_are<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let owner = engine(&store).await;
    let mut reader = Reader::of_all(&store).await;
    reader.limit = 3;
    let mut read = Vec::new();
    for round in 0..4 {
        for n in 0..10 {
            let (id, token) = owned(&store, owner).await;
            let number = round * 20 + n * 2;
            let events = [event(n, number), event(n, number + 1)];
            publish(&store, id, token, "reserve", &events).await;
        }
        read.extend(numbers(&reader.read(&store).await));
    }
    read.sort_unstable();
    read.dedup();
    assert_eq!(read, (0..80).collect::<Vec<_>>());
}

/// Nor does one at another epoch.
pub async fn a_lane_that_is_not_the_workers_gives_nothing<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    publish(&store, id, token, "reserve", &[event("a", 1)]).await;
    let reader = Reader::of_all(&store).await;
    let foreign = Fetch {
        worker: WorkerId::random(),
        ..reader.fetch()
    };
    let mut future = reader.fetch();
    for (lane, _) in &mut future.lanes {
        lane.epoch += 1;
    }
    for fetch in [foreign, future] {
        let fetched = store.fetch(&fetch).await.unwrap();
        assert!(fetched.events.is_empty());
        assert_eq!(fetched.after, vec![None; fetch.lanes.len()]);
    }
}

/// From a place on.
pub async fn a_key_can_be_read_once_more<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    let events: Vec<_> = (0..10)
        .map(|n| event(["a", "b"][n as usize % 2], n))
        .collect();
    publish(&store, id, token, "reserve", &events).await;
    let mut reader = Reader::of_all(&store).await;
    let read = reader.read(&store).await;
    let third = read
        .iter()
        .find(|it| number(it) == 4)
        .expect("it was published");
    let lane = reader.lane(third.place.lane);
    let fetched = store
        .fetch(&Fetch {
            lanes: Vec::new(),
            keys: vec![KeyFetch {
                lane,
                key: "a".to_owned(),
                from: third.place.seq,
            }],
            ..reader.fetch()
        })
        .await
        .unwrap();
    assert_eq!(numbers(&fetched.events), [4, 6, 8]);
}

/// What waits, for how long, and what is dead.
pub async fn the_outbox_tells_how_it_stands<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let empty = store.outbox_stats().await.unwrap();
    assert_eq!((empty.pending, empty.oldest, empty.dead), (0, None, 0));
    let (id, token) = owned(&store, engine(&store).await).await;
    publish(
        &store,
        id,
        token,
        "reserve",
        &[event("a", 1), event("b", 2)],
    )
    .await;
    let stats = store.outbox_stats().await.unwrap();
    assert_eq!((stats.pending, stats.dead), (2, 0));
    until("the oldest grows older", async || {
        let oldest = store.outbox_stats().await.unwrap().oldest;
        (oldest? > stats.oldest?).then_some(())
    })
    .await;
}
