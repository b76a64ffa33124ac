//! What a handler writes is there once, and events of an open transaction are there with the rest of it.

use super::{
    Harness,
    fixture::*,
    outbox::{Reader, event, number},
};
use crate::{
    event::{Event, EventId},
    store::{
        AppendsIn, Begun, CommitError, DeadDecision, DeadLetter, DeadLetterFilter, DeadLetterId,
        DeadState, Finished, InboxStore, OutboxStore, StoreError,
    },
};
use std::time::Duration;

/// A harness of a store that has an inbox. It says how a handler writes in its transaction.
pub trait InboxHarness: Harness<Store: InboxStore + AppendsIn<Tx<Self>>> + Sync {
    /// Writes a row of the application's own, under this key.
    fn put(&self, tx: &mut Tx<Self>, key: &str) -> impl Future<Output = ()> + Send;

    /// Whether that row is committed.
    fn has(&self, store: &Self::Store, key: &str) -> impl Future<Output = bool> + Send;
}

/// The transaction of a handler.
pub type Tx<H> = <<H as Harness>::Store as InboxStore>::Tx;

/// Makes a `#[tokio::test]` of each rule about the inbox: see [`store_conformance!`](crate::store_conformance).
#[macro_export]
macro_rules! inbox_conformance {
    ($harness:expr) => {
        $crate::store_conformance! { @each $harness;
            inbox: p11_what_a_handler_writes_is_there_once,
            inbox: p11_a_handling_that_is_dropped_leaves_nothing,
            inbox: p11_of_concurrent_handlings_one_counts,
            inbox: each_consumer_handles_an_event_for_itself,
            inbox: p8_an_event_that_nobody_can_handle_is_a_dead_letter,
            inbox: p8_an_operator_gives_an_event_back_to_its_consumer,
            inbox: p11_an_event_that_was_handled_meanwhile_becomes_no_dead_letter,
            inbox: a_dead_letter_of_a_consumer_that_is_discarded_stays_handled,
            inbox: p12_records_are_pruned_after_their_age,
            inbox: p11_an_event_of_a_handler_is_there_with_what_it_wrote,
            inbox: p11_a_duplicate_publishes_nothing_and_takes_nothing_back,
            inbox: p11_overlapping_transactions_on_one_key_are_read_in_the_order_of_their_commits,
        }
    };
}

/// `None` of an error that passes.
fn retried<T>(result: Result<T, StoreError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if error.is_transient() => None,
        Err(error) => panic!("the store fails: {error:?}"),
    }
}

async fn begin<S: InboxStore>(store: &S, consumer: &str, event: &Event) -> Begun<S::Tx> {
    until("a handling begins", async || {
        retried(store.begin_handling(consumer, event).await)
    })
    .await
}

async fn begun<S: InboxStore>(store: &S, consumer: &str, event: &Event) -> S::Tx {
    match begin(store, consumer, event).await {
        Begun::New(tx) => tx,
        Begun::Duplicate => panic!("it was handled before"),
    }
}

/// Handles an event as a consumer does: again if the store rolls back.
async fn handle<H: InboxHarness>(
    harness: &H,
    store: &H::Store,
    consumer: &str,
    event: &Event,
    key: &str,
) -> Finished {
    until("it is handled", async || {
        let Begun::New(mut tx) = begin(store, consumer, event).await else {
            return Some(Finished::Duplicate);
        };
        harness.put(&mut tx, key).await;
        match store.finish_handling(tx).await {
            Ok(finished) => Some(finished),
            Err(CommitError::RolledBack(error)) => retried(Err(error)),
            Err(CommitError::InDoubt(error)) => panic!("the commit is in doubt: {error:?}"),
        }
    })
    .await
}

async fn is_handled(store: &impl InboxStore, consumer: &str, event: &Event) -> bool {
    store.is_handled(consumer, event.event_id()).await.unwrap()
}

async fn append<H: InboxHarness>(store: &H::Store, tx: &mut Tx<H>, event: &Event) {
    store.append_in(tx, event).await.unwrap();
}

/// However often it is delivered.
pub async fn p11_what_a_handler_writes_is_there_once<H: InboxHarness>(harness: &H) {
    let store = harness.open().await;
    let event = event("a", 1);
    assert!(!is_handled(&store, "mail", &event).await);
    let mut tx = begun(&store, "mail", &event).await;
    harness.put(&mut tx, "first").await;
    assert_eq!(store.finish_handling(tx).await.unwrap(), Finished::Handled);
    assert!(harness.has(&store, "first").await);
    assert!(is_handled(&store, "mail", &event).await);
    for handle in [&store, &harness.second(&store).await] {
        assert!(matches!(
            begin(handle, "mail", &event).await,
            Begun::Duplicate
        ));
    }
}

/// And it can be handled again.
pub async fn p11_a_handling_that_is_dropped_leaves_nothing<H: InboxHarness>(harness: &H) {
    let store = harness.open().await;
    let event = event("a", 1);
    let mut tx = begun(&store, "mail", &event).await;
    harness.put(&mut tx, "dropped").await;
    append::<H>(&store, &mut tx, &self::event("b", 2)).await;
    drop(tx);
    assert_eq!(
        handle(harness, &store, "mail", &event, "again").await,
        Finished::Handled
    );
    assert!(!harness.has(&store, "dropped").await);
    assert!(harness.has(&store, "again").await);
    let read = Reader::of_all(&store).await.read(&store).await;
    assert!(read.is_empty(), "{read:?}");
}

/// The writes of the others are not there.
pub async fn p11_of_concurrent_handlings_one_counts<H: InboxHarness>(harness: &H) {
    let store = harness.open().await;
    let second = harness.second(&store).await;
    let event = event("a", 1);
    let keys: Vec<_> = (0..6).map(|n| format!("try-{n}")).collect();
    let tries = keys.iter().enumerate().map(|(n, key)| {
        let store = if n % 2 == 0 { &store } else { &second };
        handle(harness, store, "mail", &event, key)
    });
    let finished = futures_util::future::join_all(tries).await;
    let handled = finished.iter().filter(|it| **it == Finished::Handled);
    assert_eq!(handled.count(), 1, "{finished:?}");
    for (key, finished) in keys.iter().zip(&finished) {
        assert_eq!(
            harness.has(&store, key).await,
            *finished == Finished::Handled,
            "{key}"
        );
    }
}

/// Another's record is none of its own.
pub async fn each_consumer_handles_an_event_for_itself<H: InboxHarness>(harness: &H) {
    let store = harness.open().await;
    let event = event("a", 1);
    assert_eq!(
        handle(harness, &store, "mail", &event, "mail").await,
        Finished::Handled
    );
    assert!(!is_handled(&store, "books", &event).await);
    assert_eq!(
        handle(harness, &store, "books", &event, "books").await,
        Finished::Handled
    );
    let other = self::event("a", 1);
    assert_eq!(
        handle(harness, &store, "mail", &other, "other").await,
        Finished::Handled
    );
}

/// It counts as handled from then on.
pub async fn p8_an_event_that_nobody_can_handle_is_a_dead_letter<H: InboxHarness>(harness: &H) {
    let store = harness.open().await;
    let event = event("a", 1).attribute("tenant", "north");
    for _ in 0..2 {
        store
            .bury("mail", &event, 5, "the address is wrong")
            .await
            .unwrap();
    }
    assert!(is_handled(&store, "mail", &event).await);
    assert!(matches!(
        begin(&store, "mail", &event).await,
        Begun::Duplicate
    ));
    let letters = store
        .dead_letters(&DeadLetterFilter::default())
        .await
        .unwrap()
        .letters;
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!(
        (&letter.event, letter.consumer.as_deref()),
        (&event, Some("mail"))
    );
    assert_eq!(
        (letter.attempts, letter.error.as_str()),
        (5, "the address is wrong")
    );
    assert_eq!((letter.state, letter.blocks), (DeadState::Open, false));
    let of_outbox = DeadLetterFilter {
        consumer: Some(None),
        ..DeadLetterFilter::default()
    };
    assert!(
        store
            .dead_letters(&of_outbox)
            .await
            .unwrap()
            .letters
            .is_empty()
    );
    assert!(store.retries("mail", 10).await.unwrap().is_empty());
}

fn decision(event: &EventId, state: DeadState) -> DeadDecision {
    DeadDecision {
        letters: vec![DeadLetterId {
            event: event.clone(),
            consumer: Some("mail".to_owned()),
        }],
        state,
        intervention: intervention(),
    }
}

/// It comes until it is handled, and to no other consumer.
pub async fn p8_an_operator_gives_an_event_back_to_its_consumer<H: InboxHarness>(harness: &H) {
    let store = harness.open().await;
    let event = event("a", 1).attribute("tenant", "north");
    store.bury("mail", &event, 5, "no").await.unwrap();
    let retried = decision(event.event_id(), DeadState::Retried);
    assert_eq!(store.decide(&retried).await.unwrap(), 1);
    assert!(!is_handled(&store, "mail", &event).await);
    for _ in 0..2 {
        let given = store.retries("mail", 10).await.unwrap();
        assert_eq!(given, std::slice::from_ref(&event));
    }
    assert!(store.retries("books", 10).await.unwrap().is_empty());
    let read = Reader::of_all(&store).await.read(&store).await;
    assert!(read.is_empty(), "it is not published again");
    // If it cannot be handled this time either, it waits for an operator as before.
    store.bury("mail", &event, 9, "still no").await.unwrap();
    assert!(store.retries("mail", 10).await.unwrap().is_empty());
    let letters = letters(&store).await;
    assert_eq!(
        (letters.len(), letters[0].state, letters[0].attempts),
        (1, DeadState::Open, 9)
    );
    assert_eq!(letters[0].interventions.len(), 1);
    assert_eq!(store.decide(&retried).await.unwrap(), 1);
    assert_eq!(
        handle(harness, &store, "mail", &event, "again").await,
        Finished::Handled
    );
    assert!(store.retries("mail", 10).await.unwrap().is_empty());
    assert_eq!(store.decide(&retried).await.unwrap(), 0);
}

async fn letters<S: OutboxStore>(store: &S) -> Vec<DeadLetter> {
    let page = store.dead_letters(&DeadLetterFilter::default()).await;
    page.unwrap().letters
}

/// By another delivery of it, while this one failed: given back by an operator, it would be handled twice.
pub async fn p11_an_event_that_was_handled_meanwhile_becomes_no_dead_letter<H: InboxHarness>(
    harness: &H,
) {
    let store = harness.open().await;
    let event = event("a", 1);
    assert_eq!(
        handle(harness, &store, "mail", &event, "once").await,
        Finished::Handled
    );
    store.bury("mail", &event, 5, "no").await.unwrap();
    assert!(letters(&store).await.is_empty());
    assert!(is_handled(&store, "mail", &event).await);
    // One that was given back is no other.
    let event = self::event("a", 2);
    store.bury("mail", &event, 5, "no").await.unwrap();
    let retried = decision(event.event_id(), DeadState::Retried);
    assert_eq!(store.decide(&retried).await.unwrap(), 1);
    assert_eq!(
        handle(harness, &store, "mail", &event, "again").await,
        Finished::Handled
    );
    store.bury("mail", &event, 9, "still no").await.unwrap();
    assert_eq!(letters(&store).await[0].state, DeadState::Retried);
    assert_eq!(store.decide(&retried).await.unwrap(), 0);
    assert!(store.retries("mail", 10).await.unwrap().is_empty());
}

/// It does not come again.
pub async fn a_dead_letter_of_a_consumer_that_is_discarded_stays_handled<H: InboxHarness>(
    harness: &H,
) {
    let store = harness.open().await;
    let event = event("a", 1);
    store.bury("mail", &event, 5, "no").await.unwrap();
    let discarded = decision(event.event_id(), DeadState::Discarded);
    assert_eq!(store.decide(&discarded).await.unwrap(), 1);
    assert!(is_handled(&store, "mail", &event).await);
    assert!(store.retries("mail", 10).await.unwrap().is_empty());
}

/// And not before.
pub async fn p12_records_are_pruned_after_their_age<H: InboxHarness>(harness: &H) {
    let store = harness.open().await;
    for n in 0..4 {
        let key = format!("k{n}");
        assert_eq!(
            handle(harness, &store, "mail", &event("a", n), &key).await,
            Finished::Handled
        );
    }
    assert_eq!(store.prune_handled(HOUR, 100).await.unwrap(), 0);
    let mut pruned = Vec::new();
    until("they are old enough", async || {
        pruned.push(
            store
                .prune_handled(Duration::from_millis(1), 3)
                .await
                .unwrap(),
        );
        (pruned.iter().sum::<u64>() == 4).then_some(())
    })
    .await;
    assert!(pruned.iter().all(|count| *count <= 3), "{pruned:?}");
    assert!(harness.has(&store, "k0").await, "what they wrote stays");
}

/// Not before, and as it was given.
pub async fn p11_an_event_of_a_handler_is_there_with_what_it_wrote<H: InboxHarness>(harness: &H) {
    let store = harness.open().await;
    let mut reader = Reader::of_all(&store).await;
    let mut tx = begun(&store, "mail", &event("a", 1)).await;
    let published = event("b", 2).attribute("tenant", "north");
    append::<H>(&store, &mut tx, &published).await;
    append::<H>(&store, &mut tx, &event("b", 3)).await;
    let early = reader.read(&store).await;
    assert!(early.is_empty(), "{early:?}");
    store.finish_handling(tx).await.unwrap();
    let read = reader.read(&store).await;
    assert_eq!(read.iter().map(number).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(read[0].event, published);
}

/// Those of the first handling are still to be sent.
pub async fn p11_a_duplicate_publishes_nothing_and_takes_nothing_back<H: InboxHarness>(
    harness: &H,
) {
    let store = harness.open().await;
    let event = event("a", 1);
    let mut tx = begun(&store, "mail", &event).await;
    append::<H>(&store, &mut tx, &self::event("b", 2)).await;
    store.finish_handling(tx).await.unwrap();
    assert!(matches!(
        begin(&store, "mail", &event).await,
        Begun::Duplicate
    ));
    let read = Reader::of_all(&store).await.read(&store).await;
    assert_eq!(read.iter().map(number).collect::<Vec<_>>(), [2]);
}

/// Whichever appended first.
pub async fn p11_overlapping_transactions_on_one_key_are_read_in_the_order_of_their_commits<
    H: InboxHarness,
>(
    harness: &H,
) {
    let store = harness.open().await;
    let second = harness.second(&store).await;
    // On Redis the events of a handler are in its message's partition, where their key has its order.
    let (one, other) = (event("m", 101), event("m", 102));
    for round in 0..4_u32 {
        let (one, other) = (
            one.clone().id(format!("one-{round}")),
            other.clone().id(format!("other-{round}")),
        );
        // One commit at a time, so that their order is known also on a store that makes nobody wait before.
        let order = tokio::sync::Mutex::new(Vec::new());
        let commit = async |store: &H::Store, consumer: &str, message: &Event, number: u32| {
            until("it is committed", async || {
                let Begun::New(mut tx) = begin(store, consumer, message).await else {
                    panic!("nobody else handles it");
                };
                let ours = event("shared", number);
                if let Err(error) = store.append_in(&mut tx, &ours).await {
                    return retried(Err(error));
                }
                // The other one begins, if the store lets it.
                tokio::task::yield_now().await;
                let mut order = order.lock().await;
                match store.finish_handling(tx).await {
                    Ok(_) => {
                        order.push(number);
                        Some(())
                    }
                    Err(CommitError::RolledBack(error)) => retried(Err(error)),
                    Err(CommitError::InDoubt(error)) => panic!("{error:?}"),
                }
            })
            .await;
        };
        let (a, b) = (round * 2, round * 2 + 1);
        tokio::join!(
            commit(&store, "first", &one, a),
            commit(&second, "second", &other, b)
        );
        let mut reader = Reader::of_all(&store).await;
        let read = reader.read(&store).await;
        let read = read.iter().map(number).filter(|number| *number >= a);
        assert_eq!(read.collect::<Vec<_>>(), *order.lock().await);
        store.release(reader.id, None).await.unwrap();
    }
}
