//! Who publishes right after the commit, and the relay, leave each other alone.

use super::{fixture::*, outbox::*};
use crate::{
    event::{Event, EventId},
    id::{SagaId, Token},
    store::{OutboxStore, Place, Progress, Sender, SentEvents, WorkerId},
};
use std::collections::BTreeMap;

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
