//! An event that no broker takes waits for an operator.

use super::{fixture::*, outbox::*};
use crate::{
    event::{Event, EventId},
    store::{DeadDecision, DeadLetterFilter, DeadLetterId, DeadState, OutboxStore},
};

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
