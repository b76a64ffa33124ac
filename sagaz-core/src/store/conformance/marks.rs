//! What a worker says of an event counts if the lane is its own, and once.

use super::{fixture::*, outbox::*};
use crate::store::{DeadLetterFilter, Fate, OutboxEvent, OutboxStore, SentEvents};
use std::{collections::BTreeSet, time::Duration};

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
