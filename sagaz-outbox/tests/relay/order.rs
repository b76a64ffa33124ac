//! Order, and that nothing is lost, whatever dies.

use crate::fixture::{Fixture, TOPIC};
use fastrand::Rng;
use sagaz_brokers::memory::Fault;
use sagaz_core::{
    Event, Retry,
    store::{DeadLetterFilter, Transacts},
};
use sagaz_outbox::Relay;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn p11_an_event_is_published_if_and_only_if_its_transaction_was_committed() {
    let fixture = Fixture::new();
    let relay = fixture.relay().start().await.unwrap();
    let (mut tx, _guard) = fixture.store.begin().await.unwrap();
    let event = Event::new(TOPIC, &1).key("never");
    fixture.outbox.append(&mut tx, event).await.unwrap();
    drop(tx);
    fixture.append("a", 2).await;
    fixture.until_empty().await;
    assert_eq!(fixture.published(), [("a".to_owned(), 2)]);
    relay.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_without_a_key_or_a_source_gets_them() {
    let fixture = Fixture::new();
    let relay = fixture.relay().start().await.unwrap();
    let (mut tx, _guard) = fixture.store.begin().await.unwrap();
    let event = Event::new(TOPIC, &1);
    let id = event.event_id().to_string();
    fixture.outbox.append(&mut tx, event).await.unwrap();
    fixture.store.commit(tx).await.unwrap();
    let event = fixture.first_delivery().await;
    assert_eq!(event.ordering_key(), Some(id.as_str()));
    assert_eq!(event.source_uri(), "/outbox");
    relay.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_published_is_told_when_it_is_appended() {
    let fixture = Fixture::new();
    let (mut tx, _guard) = fixture.store.begin().await.unwrap();
    let outbox = fixture.outbox.clone().payload_max(100);
    let large = Event::new(TOPIC, &"x".repeat(200)).key("a");
    let error = outbox.append(&mut tx, large).await.unwrap_err();
    assert!(
        error.is_invalid() && error.to_string().contains("the limit is 100"),
        "{error}"
    );
    fixture.store.commit(tx).await.unwrap();
    assert_eq!(fixture.outbox.stats().await.unwrap().pending, 0);
}

const KEYS: u32 = 500;
const ROUNDS: u32 = 100;

/// Four relays share 500 keys; the broker is slow now and then, one publish in twenty fails, one key is refused, and relays die.
#[tokio::test(start_paused = true)]
async fn p11_order_within_a_key_survives_deaths_failures_and_a_poisoned_key() {
    let mut rng = Rng::with_seed(11);
    let fixture = Fixture::new();
    let mut chance = Rng::with_seed(12);
    fixture.broker.faults().on_event(move |event| {
        if event.ordering_key() == Some("key-13") {
            return Some(Fault::Refuse);
        }
        match chance.u32(0..100) {
            0..2 => Some(Fault::TimeOutBefore),
            2..4 => Some(Fault::TimeOutAfter),
            4 => Some(Fault::Refuse),
            5..50 => Some(Fault::Delay(Duration::from_millis(chance.u64(0..40)))),
            _ => None,
        }
    });
    let start = || async {
        let retry = Retry {
            attempts: Some(8),
            ..Retry::BACKOFF
        };
        let relay = fixture.relay().lease(Duration::from_secs(3)).retry(retry);
        relay.events_max(2_000).start().await.unwrap()
    };
    let mut relays: Vec<Relay> = Vec::new();
    for _ in 0..4 {
        relays.push(start().await);
    }
    for round in 0..ROUNDS {
        for key in 0..KEYS {
            fixture.append(&format!("key-{key}"), round).await;
        }
        sleep(Duration::from_millis(rng.u64(0..400))).await;
        match rng.u8(0..6) {
            // Killed, and another one started.
            0 => {
                drop(relays.swap_remove(rng.usize(0..4)));
                relays.push(start().await);
            }
            1 => {
                relays.swap_remove(rng.usize(0..4)).shutdown().await;
                relays.push(start().await);
            }
            _ => {}
        }
    }
    fixture.until_empty().await;

    let mut dead: BTreeSet<(String, u32)> = BTreeSet::new();
    let mut filter = DeadLetterFilter::default();
    loop {
        let letters = fixture.outbox.dead_letters();
        let page = letters.list(&filter).await.unwrap();
        dead.extend(page.letters.iter().map(|letter| {
            let key = letter.event.ordering_key().unwrap().to_owned();
            (key, letter.event.decode().unwrap())
        }));
        let Some(next) = page.next else { break };
        filter.after = Some(next);
    }
    let mut first: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for (key, number) in fixture.published() {
        let seen = first.entry(key).or_default();
        if !seen.contains(&number) {
            seen.push(number);
        }
    }
    let poisoned = dead.iter().filter(|(key, _)| key == "key-13").count();
    assert_eq!(poisoned, ROUNDS as usize);
    assert!(!first.contains_key("key-13"));
    for key in (0..KEYS)
        .filter(|key| *key != 13)
        .map(|key| format!("key-{key}"))
    {
        let delivered = &first[&key];
        assert!(delivered.is_sorted(), "{key}: {delivered:?}");
        let expected = (0..ROUNDS).filter(|round| !dead.contains(&(key.clone(), *round)));
        let missing: Vec<u32> = expected
            .filter(|round| !delivered.contains(round))
            .collect();
        assert!(missing.is_empty(), "{key}: {missing:?}");
    }
    for relay in relays {
        relay.shutdown().await;
    }
}
