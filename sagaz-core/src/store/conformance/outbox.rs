//! Events are there if and only if what they came with is, and are read in order, by one worker at a time.

use super::{Harness, fixture::*};
use crate::{
    event::{Event, EventId, EventParts},
    id::{EngineId, SagaId, Token},
    store::{
        Attendance, DeadDecision, DeadLetterFilter, DeadLetterId, DeadState, Fate, Fetch,
        InstanceState, KeyFetch, Lane, Mark, OutboxEvent, OutboxStore, Place, Progress, Sender,
        SentEvents, StepState, WorkerId, Written,
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
            outbox: p7_a_lane_has_one_owner,
            outbox: a_worker_takes_no_more_lanes_than_it_wants,
            outbox: released_lanes_are_taken_by_others,
            outbox: p7_the_lanes_of_a_dead_worker_are_taken_over,
            outbox: p7_a_mark_of_a_former_owner_changes_nothing,
            outbox: a_mark_with_an_epoch_to_come_changes_nothing,
            outbox: a_sent_event_is_gone,
            outbox: a_mark_may_be_repeated,
            outbox: p12_sent_events_are_pruned_after_their_age,
            outbox: an_event_to_be_tried_again_waits,
            outbox: p8_a_dead_letter_is_kept_and_its_key_goes_on,
            outbox: p8_a_dead_letter_can_block_its_key,
            outbox: p8_a_dead_letter_can_be_sent_again,
            outbox: p8_a_dead_letter_that_blocks_is_sent_again_at_its_place,
            outbox: p8_a_dead_letter_that_is_discarded_frees_its_key,
            outbox: a_decision_on_a_dead_letter_is_applied_once_and_recorded,
            outbox: p12_dead_letters_are_listed_in_pages_that_cover_everything_once,
            outbox: dead_letters_are_filtered,
            outbox: p11_a_sender_gets_the_first_of_a_key_and_the_relay_waits_for_it,
            outbox: what_a_sender_leaves_is_the_relays_at_once,
            outbox: p7_a_sender_whose_lease_has_ended_settles_nothing,
            outbox: another_sender_gets_nothing,
            outbox: the_outbox_tells_how_it_stands,
        }
    };
}

/// One step further, with these events.
async fn publish(
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

fn publishing(id: SagaId, token: Token, step: &str, events: &[Event]) -> Progress {
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

fn numbers(events: &[OutboxEvent]) -> Vec<u32> {
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

    async fn of(store: &impl OutboxStore, id: WorkerId, wanted: u16, ttl: Duration) -> Self {
        let attendance = attend(store, id, ttl, wanted).await;
        Self {
            id,
            lanes: attendance.lanes.into_iter().map(|lane| (lane, 0)).collect(),
            unsettled: Vec::new(),
            limit: 1_000,
        }
    }

    fn lane(&self, index: u16) -> Lane {
        let mut lanes = self.lanes.iter().map(|(lane, _)| *lane);
        lanes
            .find(|lane| lane.index == index)
            .expect("the lane is the reader's")
    }

    fn fetch(&self) -> Fetch {
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

    fn mark_of(&self, event: &OutboxEvent, fate: Fate) -> Mark {
        Mark {
            lane: self.lane(event.place.lane),
            seq: event.place.seq,
            fate,
        }
    }

    async fn mark(&self, store: &impl OutboxStore, event: &OutboxEvent, fate: Fate) {
        let marks = [self.mark_of(event, fate)];
        assert_eq!(
            mark(store, self.id, &marks, SentEvents::Archive).await,
            [0_u16; 0]
        );
    }
}

/// `None` of an error that passes.
fn retried<T>(result: Result<T, crate::store::StoreError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if error.is_transient() => None,
        Err(error) => panic!("the store fails: {error:?}"),
    }
}

async fn attend(
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

async fn mark(
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

async fn letters(
    store: &impl OutboxStore,
    filter: &DeadLetterFilter,
) -> Vec<crate::store::DeadLetter> {
    store.dead_letters(filter).await.unwrap().letters
}

fn dead(error: &str, blocks: bool) -> Fate {
    Fate::Dead {
        attempts: 3,
        error: error.to_owned(),
        blocks,
    }
}

fn decision(letters: &[&EventId], state: DeadState) -> DeadDecision {
    let letters = letters.iter().map(|id| DeadLetterId {
        event: (*id).clone(),
        consumer: None,
    });
    DeadDecision {
        letters: letters.collect(),
        state,
        intervention: intervention(),
    }
}

async fn decide(store: &impl OutboxStore, decision: &DeadDecision) -> u64 {
    until("it is decided", async || {
        retried(store.decide(decision).await)
    })
    .await
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

/// However many ask.
pub async fn p7_a_lane_has_one_owner<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let second = harness.second(&store).await;
    let (one, other) = (WorkerId::random(), WorkerId::random());
    let all = store.lanes();
    let (a, b) = tokio::join!(
        attend(&store, one, HOUR, all),
        attend(&second, other, HOUR, all)
    );
    let (a, b): (BTreeSet<_>, BTreeSet<_>) =
        (a.lanes.into_iter().collect(), b.lanes.into_iter().collect());
    assert!(
        a.iter()
            .all(|lane| b.iter().all(|other| lane.index != other.index))
    );
    // What one did not get at once, it gets if it is still free.
    let mut all_of_both = 0;
    let mut workers = 0;
    for (store, worker) in [(&store, one), (&second, other)] {
        let attendance = attend(store, worker, HOUR, all).await;
        all_of_both += attendance.lanes.len();
        workers = attendance.workers;
    }
    assert_eq!(all_of_both, usize::from(all));
    assert_eq!(workers, 2);
}

/// And keeps those that it has.
pub async fn a_worker_takes_no_more_lanes_than_it_wants<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let worker = WorkerId::random();
    let some = attend(&store, worker, HOUR, 5).await;
    assert_eq!(some.lanes.len(), 5);
    let more = attend(&store, worker, HOUR, 8).await;
    assert_eq!(more.lanes.len(), 8);
    assert!(
        some.lanes.iter().all(|lane| more.lanes.contains(lane)),
        "at the same epochs"
    );
    assert_eq!(attend(&store, worker, HOUR, 0).await.lanes, more.lanes);
}

/// At a greater epoch.
pub async fn released_lanes_are_taken_by_others<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let reader = Reader::of_all(&store).await;
    let (lane, _) = reader.lanes[3];
    store.release(reader.id, Some(&[lane.index])).await.unwrap();
    // What is not its own, nobody can give up.
    store
        .release(WorkerId::random(), Some(&[reader.lanes[4].0.index]))
        .await
        .unwrap();
    let other = WorkerId::random();
    let taken = attend(&store, other, HOUR, store.lanes()).await;
    let indexes: Vec<_> = taken.lanes.iter().map(|lane| lane.index).collect();
    assert_eq!(indexes, [lane.index]);
    assert!(taken.lanes[0].epoch > lane.epoch);
    store.release(reader.id, None).await.unwrap();
    let taken = attend(&store, other, HOUR, store.lanes()).await;
    assert_eq!(taken.lanes.len(), usize::from(store.lanes()));
    assert_eq!(taken.workers, 1);
}

/// Once its lease has ended, and not before.
pub async fn p7_the_lanes_of_a_dead_worker_are_taken_over<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let lanes = store.lanes();
    let dead = Reader::of(&store, WorkerId::random(), lanes, HOUR).await;
    let heir = WorkerId::random();
    assert!(attend(&store, heir, HOUR, lanes).await.lanes.is_empty());
    // A lease can be shortened.
    attend(&store, dead.id, harness.lease_short(), lanes).await;
    let taken = until("the lease ends", async || {
        let taken = attend(&store, heir, HOUR, lanes).await.lanes;
        (taken.len() == usize::from(lanes)).then_some(taken)
    })
    .await;
    for lane in taken {
        assert!(lane.epoch > dead.lane(lane.index).epoch);
    }
    assert!(
        attend(&store, dead.id, HOUR, lanes).await.lanes.is_empty(),
        "it is told"
    );
}

/// Of none of its fates.
pub async fn p7_a_mark_of_a_former_owner_changes_nothing<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    publish(&store, id, token, "reserve", &[event("a", 1)]).await;
    let mut former = Reader::of_all(&store).await;
    let read = former.read(&store).await;
    store.release(former.id, None).await.unwrap();
    let mut owner = Reader::of_all(&store).await;
    let retry = Fate::Retry {
        attempts: 7,
        error: "no".to_owned(),
        after: HOUR,
    };
    for fate in [Fate::Sent, retry, dead("no", false), dead("no", true)] {
        let marks = [former.mark_of(&read[0], fate)];
        let lost = mark(&store, former.id, &marks, SentEvents::Delete).await;
        assert_eq!(lost, [read[0].place.lane]);
    }
    let read = owner.read(&store).await;
    assert_eq!(numbers(&read), [1]);
    assert_eq!(
        (read[0].attempts, read[0].wait, read[0].is_blocking),
        (0, None, false)
    );
    assert!(
        letters(&store, &DeadLetterFilter::default())
            .await
            .is_empty()
    );
}

/// Its neighbours are marked.
pub async fn a_mark_with_an_epoch_to_come_changes_nothing<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let owner = engine(&store).await;
    let mut reader = Reader::of_all(&store).await;
    let mut read: Vec<OutboxEvent> = Vec::new();
    let mut n = 0;
    // Until two lanes have one.
    while read.iter().all(|it| it.place.lane == read[0].place.lane) {
        let (id, token) = owned(&store, owner).await;
        publish(&store, id, token, "reserve", &[event(id, n)]).await;
        read.extend(reader.read(&store).await);
        n += 1;
    }
    let marks: Vec<_> = read
        .iter()
        .map(|event| {
            let mut mark = reader.mark_of(event, Fate::Sent);
            mark.lane.epoch += u64::from(event.place.lane == read[0].place.lane);
            mark
        })
        .collect();
    let lost = mark(&store, reader.id, &marks, SentEvents::Archive).await;
    assert_eq!(lost, [read[0].place.lane]);
    let left: BTreeSet<_> = reader
        .read_all(&store)
        .await
        .iter()
        .map(|it| it.place.lane)
        .collect();
    assert_eq!(left, [read[0].place.lane].into());
}

/// And no other.
pub async fn a_sent_event_is_gone<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    let events = [event("a", 1), event("a", 2), event("b", 3)];
    publish(&store, id, token, "reserve", &events).await;
    let mut reader = Reader::of_all(&store).await;
    let read = reader.read(&store).await;
    for (sent, event) in [SentEvents::Archive, SentEvents::Delete]
        .into_iter()
        .zip(&read)
    {
        let marks = [reader.mark_of(event, Fate::Sent)];
        assert!(mark(&store, reader.id, &marks, sent).await.is_empty());
    }
    assert_eq!(numbers(&reader.read_all(&store).await), numbers(&read[2..]));
    assert_eq!(store.outbox_stats().await.unwrap().pending, 1);
}

/// As after a lost reply.
pub async fn a_mark_may_be_repeated<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    let events = [event("a", 1), event("b", 2), event("c", 3), event("d", 4)];
    publish(&store, id, token, "reserve", &events).await;
    let mut reader = Reader::of_all(&store).await;
    let mut read = reader.read(&store).await;
    read.sort_by_key(number);
    let retry = Fate::Retry {
        attempts: 2,
        error: "no".to_owned(),
        after: HOUR,
    };
    let fates = [Fate::Sent, retry, dead("no", false), dead("no", true)];
    let marks: Vec<_> = read
        .iter()
        .zip(fates)
        .map(|(event, fate)| reader.mark_of(event, fate))
        .collect();
    for _ in 0..3 {
        assert!(
            mark(&store, reader.id, &marks, SentEvents::Archive)
                .await
                .is_empty()
        );
    }
    let mut left = reader.read_all(&store).await;
    left.sort_by_key(number);
    assert_eq!(numbers(&left), [2, 4]);
    assert_eq!((left[0].attempts, left[0].is_blocking), (2, false));
    assert_left(left[0].wait, HOUR);
    assert!(left[1].is_blocking);
    assert_eq!(letters(&store, &DeadLetterFilter::default()).await.len(), 2);
}

/// From the archive.
pub async fn p12_sent_events_are_pruned_after_their_age<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    let events: Vec<_> = (0..5).map(|n| event("a", n)).collect();
    publish(&store, id, token, "reserve", &events).await;
    let mut reader = Reader::of_all(&store).await;
    let read = reader.read(&store).await;
    for event in &read[..4] {
        reader.mark(&store, event, Fate::Sent).await;
    }
    assert_eq!(
        store.prune_sent(HOUR, 100).await.unwrap(),
        0,
        "they are not old"
    );
    let mut pruned = Vec::new();
    until("they are old enough", async || {
        pruned.push(store.prune_sent(Duration::from_millis(1), 3).await.unwrap());
        (pruned.iter().sum::<u64>() == 4).then_some(())
    })
    .await;
    assert!(pruned.iter().all(|count| *count <= 3), "{pruned:?}");
    assert_eq!(store.prune_sent(Duration::ZERO, 100).await.unwrap(), 0);
    assert_eq!(
        numbers(&reader.read_all(&store).await),
        [4],
        "what waits is never pruned"
    );
}

/// With its attempts.
pub async fn an_event_to_be_tried_again_waits<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    publish(
        &store,
        id,
        token,
        "reserve",
        &[event("a", 1), event("a", 2)],
    )
    .await;
    let mut reader = Reader::of_all(&store).await;
    let read = reader.read(&store).await;
    let retry = |after| Fate::Retry {
        attempts: 1,
        error: "the broker said no".to_owned(),
        after,
    };
    reader.mark(&store, &read[0], retry(HOUR)).await;
    let again = reader.read_all(&store).await;
    assert_eq!(numbers(&again), [1, 2], "at its old place");
    assert_eq!((again[0].attempts, again[1].attempts), (1, 0));
    assert_left(again[0].wait, HOUR);
    assert_eq!(again[1].wait, None);
    reader
        .mark(&store, &read[0], retry(Duration::from_millis(1)))
        .await;
    until("the wait is over", async || {
        reader.read_all(&store).await[0]
            .wait
            .is_none()
            .then_some(())
    })
    .await;
}

/// It is listed with everything that is known of it.
pub async fn p8_a_dead_letter_is_kept_and_its_key_goes_on<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    let events = [event("a", 1).attribute("tenant", "north"), event("a", 2)];
    publish(&store, id, token, "reserve", &events).await;
    let mut reader = Reader::of_all(&store).await;
    let read = reader.read(&store).await;
    reader
        .mark(&store, &read[0], dead("no queue wants it", false))
        .await;
    assert_eq!(numbers(&reader.read_all(&store).await), [2]);
    let letters = letters(&store, &DeadLetterFilter::default()).await;
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!(letter.event, events[0]);
    assert_eq!(letter.error, "no queue wants it");
    assert_eq!(
        (letter.attempts, letter.blocks, letter.state),
        (3, false, DeadState::Open)
    );
    assert_eq!(letter.consumer, None);
    assert!(letter.interventions.is_empty());
    let stats = store.outbox_stats().await.unwrap();
    assert_eq!((stats.pending, stats.dead), (1, 1));
}

/// It stays where it is.
pub async fn p8_a_dead_letter_can_block_its_key<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    publish(
        &store,
        id,
        token,
        "reserve",
        &[event("a", 1), event("a", 2)],
    )
    .await;
    let mut reader = Reader::of_all(&store).await;
    let read = reader.read(&store).await;
    reader.mark(&store, &read[0], dead("no", true)).await;
    let again = reader.read_all(&store).await;
    assert_eq!(numbers(&again), [1, 2]);
    assert_eq!((again[0].is_blocking, again[1].is_blocking), (true, false));
    let letters = letters(&store, &DeadLetterFilter::default()).await;
    assert!(letters[0].blocks);
}

/// Behind what waits, as if it were new.
pub async fn p8_a_dead_letter_can_be_sent_again<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    publish(
        &store,
        id,
        token,
        "reserve",
        &[event("a", 1), event("a", 2)],
    )
    .await;
    let mut reader = Reader::of_all(&store).await;
    let read = reader.read(&store).await;
    reader.mark(&store, &read[0], dead("no", false)).await;
    let retried = decision(&[read[0].event.event_id()], DeadState::Retried);
    assert_eq!(decide(&store, &retried).await, 1);
    let again = reader.read(&store).await;
    assert_eq!(numbers(&again), [1]);
    assert_eq!(
        (again[0].attempts, again[0].event == read[0].event),
        (0, true)
    );
    assert_eq!(numbers(&reader.read_all(&store).await), [2, 1]);
    // It can die once more.
    reader
        .mark(&store, &again[0], dead("no again", false))
        .await;
    let letters = letters(&store, &DeadLetterFilter::default()).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].state, letters[0].error.as_str()),
        (DeadState::Open, "no again")
    );
    assert_eq!(
        letters[0].interventions.len(),
        1,
        "what was done before is remembered"
    );
}

/// Before what waited for it.
pub async fn p8_a_dead_letter_that_blocks_is_sent_again_at_its_place<H: OutboxHarness>(
    harness: &H,
) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    publish(
        &store,
        id,
        token,
        "reserve",
        &[event("a", 1), event("a", 2)],
    )
    .await;
    let mut reader = Reader::of_all(&store).await;
    let read = reader.read(&store).await;
    reader.mark(&store, &read[0], dead("no", true)).await;
    let retried = decision(&[read[0].event.event_id()], DeadState::Retried);
    assert_eq!(decide(&store, &retried).await, 1);
    let again = reader.read_all(&store).await;
    assert_eq!(numbers(&again), [1, 2]);
    assert_eq!(
        (again[0].is_blocking, again[0].attempts, again[0].wait),
        (false, 0, None)
    );
}

/// What waited for it goes on.
pub async fn p8_a_dead_letter_that_is_discarded_frees_its_key<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    publish(
        &store,
        id,
        token,
        "reserve",
        &[event("a", 1), event("a", 2)],
    )
    .await;
    let mut reader = Reader::of_all(&store).await;
    let read = reader.read(&store).await;
    reader.mark(&store, &read[0], dead("no", true)).await;
    let discarded = decision(&[read[0].event.event_id()], DeadState::Discarded);
    assert_eq!(decide(&store, &discarded).await, 1);
    assert_eq!(numbers(&reader.read_all(&store).await), [2]);
    let letters = letters(&store, &DeadLetterFilter::default()).await;
    assert_eq!(
        (letters[0].state, letters[0].blocks),
        (DeadState::Discarded, false)
    );
    assert_eq!(store.outbox_stats().await.unwrap().dead, 0);
}

/// With who and why.
pub async fn a_decision_on_a_dead_letter_is_applied_once_and_recorded<H: OutboxHarness>(
    harness: &H,
) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    let events: Vec<_> = (0..3).map(|n| event(n, n)).collect();
    publish(&store, id, token, "reserve", &events).await;
    let mut reader = Reader::of_all(&store).await;
    let read = reader.read(&store).await;
    for event in &read {
        reader.mark(&store, event, dead("no", false)).await;
    }
    let unknown = EventId::new();
    let ids: Vec<_> = read[..2]
        .iter()
        .map(|it| it.event.event_id())
        .chain([&unknown])
        .collect();
    let retried = decision(&ids, DeadState::Retried);
    assert_eq!(decide(&store, &retried).await, 2);
    assert_eq!(decide(&store, &retried).await, 0, "they are no longer open");
    assert_eq!(
        decide(&store, &decision(&ids, DeadState::Discarded)).await,
        0
    );
    assert_eq!(reader.read(&store).await.len(), 2);
    for letter in letters(&store, &DeadLetterFilter::default()).await {
        let is_decided = ids.contains(&letter.event.event_id());
        assert_eq!(letter.state == DeadState::Retried, is_decided);
        assert_eq!(letter.interventions.len(), usize::from(is_decided));
        for done in letter.interventions {
            let expected = intervention();
            assert_eq!(
                (done.action, done.who, done.why),
                (expected.action, expected.who, expected.why)
            );
            assert!(done.at_ms > 1_600_000_000_000, "by the store's clock");
        }
    }
}

/// In their order.
pub async fn p12_dead_letters_are_listed_in_pages_that_cover_everything_once<H: OutboxHarness>(
    harness: &H,
) {
    let store = harness.open().await;
    let owner = engine(&store).await;
    let mut reader = Reader::of_all(&store).await;
    for n in 0..7 {
        let (id, token) = owned(&store, owner).await;
        publish(&store, id, token, "reserve", &[event(id, n)]).await;
        let read = reader.read(&store).await;
        reader.mark(&store, &read[0], dead("no", false)).await;
    }
    let mut filter = DeadLetterFilter {
        limit: 3,
        ..DeadLetterFilter::default()
    };
    let mut listed = Vec::new();
    let mut pages = 0;
    loop {
        let page = store.dead_letters(&filter).await.unwrap();
        assert!(page.letters.len() <= 3);
        listed.extend(
            page.letters
                .into_iter()
                .map(|letter| letter.event.event_id().clone()),
        );
        pages += 1;
        let Some(next) = page.next else { break };
        filter.after = Some(next);
    }
    assert_eq!((listed.len(), pages), (7, 3));
    assert!(listed.is_sorted());
    listed.dedup();
    assert_eq!(listed.len(), 7);
}

/// By state, type, key and consumer.
pub async fn dead_letters_are_filtered<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    let other = Event::new("thing.else", &2).key("b");
    publish(&store, id, token, "reserve", &[event("a", 1), other]).await;
    let mut reader = Reader::of_all(&store).await;
    let mut read = reader.read(&store).await;
    read.sort_by_key(number);
    for event in &read {
        reader.mark(&store, event, dead("no", false)).await;
    }
    let discarded = decision(&[read[0].event.event_id()], DeadState::Discarded);
    decide(&store, &discarded).await;
    let all = DeadLetterFilter::default;
    let filters = [
        (
            DeadLetterFilter {
                state: Some(DeadState::Open),
                ..all()
            },
            vec![2],
        ),
        (
            DeadLetterFilter {
                state: Some(DeadState::Discarded),
                ..all()
            },
            vec![1],
        ),
        (
            DeadLetterFilter {
                event_type: Some("thing.else".to_owned()),
                ..all()
            },
            vec![2],
        ),
        (
            DeadLetterFilter {
                key: Some("a".to_owned()),
                ..all()
            },
            vec![1],
        ),
        (
            DeadLetterFilter {
                key: Some("c".to_owned()),
                ..all()
            },
            vec![],
        ),
        (
            DeadLetterFilter {
                consumer: Some(None),
                ..all()
            },
            vec![1, 2],
        ),
        (
            DeadLetterFilter {
                consumer: Some(Some("mail".to_owned())),
                ..all()
            },
            vec![],
        ),
    ];
    for (filter, expected) in filters {
        let found = letters(&store, &filter).await;
        let mut found: Vec<u32> = found.iter().map(|it| it.event.decode().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{filter:?}");
    }
}

/// A step's events, stored with a sender.
async fn send_at_once(
    store: &impl OutboxSaga,
    id: SagaId,
    token: Token,
    step: &str,
    events: &[Event],
    sender: Sender,
) {
    let progress = Progress {
        sender: Some(sender),
        ..publishing(id, token, step, events)
    };
    store_progress(store, &progress).await;
}

async fn heads(
    store: &impl OutboxStore,
    sender: WorkerId,
    events: &[Event],
) -> Vec<(EventId, Place)> {
    let ids: Vec<_> = events
        .iter()
        .map(|event| event.event_id().clone())
        .collect();
    until("the heads are read", async || {
        retried(store.heads(sender, &ids).await)
    })
    .await
}

fn sender() -> Sender {
    Sender {
        id: WorkerId::random(),
        lease: HOUR,
    }
}

/// Until the sender has settled it.
pub async fn p11_a_sender_gets_the_first_of_a_key_and_the_relay_waits_for_it<H: OutboxHarness>(
    harness: &H,
) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    let mut reader = Reader::of_all(&store).await;
    publish(&store, id, token, "zero", &[event("b", 0)]).await;
    let sender = sender();
    let events = [event("a", 1), event("a", 2), event("b", 3)];
    send_at_once(&store, id, token, "one", &events, sender).await;
    let first = heads(&store, sender.id, &events).await;
    let ids: Vec<_> = first.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(
        ids,
        [events[0].event_id().clone()],
        "the first of `a`, and none of `b`"
    );
    let read = reader.read(&store).await;
    let waits: BTreeMap<_, _> = read.iter().map(|it| (number(it), it.wait)).collect();
    assert_left(waits[&1], HOUR);
    assert_eq!((waits[&0], waits[&2], waits[&3]), (None, None, None));
    store
        .settle_heads(sender.id, &[(first[0].1, true)], SentEvents::Archive)
        .await
        .unwrap();
    let mut left = numbers(&reader.read_all(&store).await);
    left.sort_unstable();
    assert_eq!(left, [0, 2, 3]);
}

/// Without waiting for the end of the lease.
pub async fn what_a_sender_leaves_is_the_relays_at_once<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    let sender = sender();
    let events = [event("a", 1)];
    send_at_once(&store, id, token, "one", &events, sender).await;
    let first = heads(&store, sender.id, &events).await;
    store
        .settle_heads(sender.id, &[(first[0].1, false)], SentEvents::Archive)
        .await
        .unwrap();
    let read = Reader::of_all(&store).await.read(&store).await;
    assert_eq!((numbers(&read), read[0].wait), (vec![1], None));
    // Too late: it is the relay's.
    store
        .settle_heads(sender.id, &[(first[0].1, true)], SentEvents::Archive)
        .await
        .unwrap();
    assert_eq!(
        Reader::of(&store, WorkerId::random(), 0, HOUR).await.lanes,
        []
    );
    assert_eq!(store.outbox_stats().await.unwrap().pending, 1);
}

/// The relay has it by then.
pub async fn p7_a_sender_whose_lease_has_ended_settles_nothing<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    let sender = Sender {
        lease: harness.lease_short(),
        ..sender()
    };
    let events = [event("a", 1)];
    send_at_once(&store, id, token, "one", &events, sender).await;
    let first = heads(&store, sender.id, &events).await;
    let mut reader = Reader::of_all(&store).await;
    until("the lease ends", async || {
        reader.read_all(&store).await[0]
            .wait
            .is_none()
            .then_some(())
    })
    .await;
    for (_, place) in first {
        store
            .settle_heads(sender.id, &[(place, true)], SentEvents::Delete)
            .await
            .unwrap();
    }
    assert_eq!(numbers(&reader.read_all(&store).await), [1]);
    let late = heads(&store, sender.id, &events).await;
    assert!(late.is_empty(), "{late:?}");
}

/// Of a place that it may know.
pub async fn another_sender_gets_nothing<H: OutboxHarness>(harness: &H) {
    let store = harness.open().await;
    let (id, token) = owned(&store, engine(&store).await).await;
    let own = sender();
    let events = [event("a", 1)];
    send_at_once(&store, id, token, "one", &events, own).await;
    let other = WorkerId::random();
    assert!(heads(&store, other, &events).await.is_empty());
    let place = heads(&store, own.id, &events).await[0].1;
    for was_sent in [true, false] {
        store
            .settle_heads(other, &[(place, was_sent)], SentEvents::Delete)
            .await
            .unwrap();
    }
    let read = Reader::of_all(&store).await.read(&store).await;
    assert_left(read[0].wait, HOUR);
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
