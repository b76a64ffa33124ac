//! What the consumer promises of a stream of events.

use crate::fixture::{Fixture, event, note, until};
use fastrand::Rng;
use sagaz_brokers::{Subscription, memory::MemorySubscriber};
use sagaz_core::{
    broker::Subscriber,
    store::{
        DeadLetterFilter,
        fault::{Call, Fault},
        memory::Memory,
    },
};
use sagaz_outbox::{Consumer, Inbox, Outbox};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

/// Runs a consumer whose handler takes up to 20 ms.
fn start(
    consumer: Consumer<MemorySubscriber>,
    inbox: Inbox<Memory>,
) -> JoinHandle<Result<(), sagaz_outbox::Error>> {
    tokio::spawn(consumer.run(inbox, |event, tx| {
        Box::pin(async move {
            sleep(Duration::from_millis(fastrand::u64(0..20))).await;
            note(tx, event)
        })
    }))
}

#[tokio::test(start_paused = true)]
async fn p11_each_events_effect_is_there_once_and_in_order_whoever_is_killed() {
    let fixture = Fixture::new();
    let inbox = fixture.inbox();
    let mut rng = Rng::with_seed(5);
    let mut consumers: Vec<_> = (0..3)
        .map(|_| start(fixture.consumer(), inbox.clone()))
        .collect();
    for number in 0..100 {
        for key in 0..20 {
            let event = event(&format!("key-{key}"), number);
            fixture.publish(&event).await;
            if rng.u8(0..10) == 0 {
                // A relay that died told nobody that it had published it.
                fixture.publish(&event).await;
            }
        }
        sleep(Duration::from_millis(rng.u64(0..100))).await;
        if rng.u8(0..5) == 0 {
            consumers.swap_remove(rng.usize(0..3)).abort();
            consumers.push(start(fixture.consumer(), inbox.clone()));
        }
    }
    let all: Vec<u32> = (0..100).collect();
    for key in 0..20 {
        let key = format!("key-{key}");
        let is_there = async || fixture.noted(&key).await.len() >= all.len();
        until("all are noted", is_there).await;
        assert_eq!(fixture.noted(&key).await, all, "{key}");
    }
    assert!(inbox.counts().duplicates > 50, "{:?}", inbox.counts());
}

#[tokio::test(start_paused = true)]
async fn keys_are_handled_side_by_side_and_each_in_order() {
    let fixture = Fixture::new();
    let most = Arc::new(AtomicU32::new(0));
    let consumer = fixture.consumer().keys_max(8);
    let inbox = fixture.inbox();
    let peak = Arc::clone(&most);
    let now = Arc::new(AtomicU32::new(0));
    let running = tokio::spawn(consumer.run(inbox, move |event, tx| {
        let (now, peak) = (Arc::clone(&now), Arc::clone(&peak));
        Box::pin(async move {
            peak.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            sleep(Duration::from_millis(10)).await;
            now.fetch_sub(1, Ordering::Relaxed);
            note(tx, event)
        })
    }));
    for number in 0..10 {
        for key in 0..20 {
            fixture.publish(&event(&format!("key-{key}"), number)).await;
        }
    }
    for key in 0..20 {
        let key = format!("key-{key}");
        until("all are noted", async || {
            fixture.noted(&key).await.len() == 10
        })
        .await;
        assert!(fixture.noted(&key).await.is_sorted());
    }
    assert_eq!(most.load(Ordering::Relaxed), 8);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn what_is_no_event_or_of_another_type_holds_nothing_up() {
    let fixture = Fixture::new();
    fixture
        .broker
        .publish_malformed(crate::fixture::TOPIC, "what is this");
    let consumer = fixture.consumer().only(["order.changed"]);
    start(consumer, fixture.inbox());
    fixture.publish(&event("a", 1)).await;
    until("it is noted", async || fixture.noted("a").await == [1]).await;
    let is_empty = async || fixture.broker.events(crate::fixture::TOPIC).is_empty();
    until("all are acknowledged", is_empty).await;
    let dead = Subscription::new("people", ["order.changed.dead"]);
    let mut dead = fixture.broker.subscribe(dead).unwrap();
    let malformed = dead.receive().await.unwrap().event.unwrap_err();
    assert_eq!(malformed.body, b"what is this");
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_lets_its_key_go_on_and_comes_back_when_an_operator_says_so() {
    let fixture = Fixture::new();
    let is_broken = Arc::new(AtomicBool::new(true));
    let (consumer, inbox) = (fixture.consumer(), fixture.inbox());
    let switch = Arc::clone(&is_broken);
    tokio::spawn(consumer.run(inbox, move |event, tx| {
        let is_broken = switch.load(Ordering::Relaxed);
        Box::pin(async move {
            if event.decode::<u32>()? == 1 && is_broken {
                return Err("it is broken".into());
            }
            note(tx, event)
        })
    }));
    for number in 1..=3 {
        fixture.publish(&event("a", number)).await;
    }
    until("others are noted", async || {
        fixture.noted("a").await == [2, 3]
    })
    .await;
    let outbox = Outbox::new(fixture.store.clone());
    let letters = outbox.dead_letters();
    let operator = letters.operator("ann", "it was mended");
    let all = DeadLetterFilter::default();
    assert_eq!(operator.retry_all(&all).await.unwrap(), 1);
    // It was not.
    let is_dead = async || outbox.stats().await.unwrap().dead == 1;
    until("it is dead again", is_dead).await;
    is_broken.store(false, Ordering::Relaxed);
    assert_eq!(operator.retry_all(&all).await.unwrap(), 1);
    let began = Instant::now();
    until("it comes back", async || {
        fixture.noted("a").await == [2, 3, 1]
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(6));
    sleep(Duration::from_mins(1)).await;
    assert_eq!(fixture.noted("a").await, [2, 3, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_is_stopped_ends_what_it_has_begun_and_leaves_the_rest() {
    let fixture = Fixture::new();
    let consumer = fixture.consumer();
    let stop = consumer.stop_handle();
    let inbox = fixture.inbox();
    let running = tokio::spawn(consumer.run(inbox, |event, tx| {
        Box::pin(async move {
            sleep(Duration::from_secs(1)).await;
            note(tx, event)
        })
    }));
    for number in 1..=3 {
        fixture.publish(&event("a", number)).await;
    }
    sleep(Duration::from_millis(500)).await;
    stop.stop();
    running.await.unwrap().unwrap();
    assert_eq!(fixture.noted("a").await, [1]);
    start(fixture.consumer(), fixture.inbox());
    until("the rest is noted", async || {
        fixture.noted("a").await == [1, 2, 3]
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn brokers_and_stores_that_fail_for_a_while_cost_nothing_but_time() {
    let fixture = Fixture::new();
    start(fixture.consumer(), fixture.inbox());
    for call in [Call::BeginHandling, Call::FinishHandling, Call::Retries] {
        for nth in (1..100).step_by(3) {
            fixture.store.faults().plan(call, nth, Fault::FailBefore);
            fixture.store.faults().plan(call, nth + 1, Fault::FailAfter);
        }
    }
    for number in 0..30 {
        fixture.publish(&event("a", number)).await;
        fixture.broker.faults().set_down(number % 10 == 9);
        sleep(Duration::from_millis(100)).await;
        fixture.broker.faults().set_down(false);
    }
    let all: Vec<u32> = (0..30).collect();
    until("all are noted", async || {
        fixture.noted("a").await.len() >= 30
    })
    .await;
    assert_eq!(fixture.noted("a").await, all);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_before_it_has_given_a_future_stops_nothing() {
    let fixture = Fixture::new();
    let running = tokio::spawn(fixture.consumer().run(fixture.inbox(), |event, tx| {
        let number: u32 = event.decode().unwrap();
        assert!(number != 1, "what is this");
        Box::pin(async move { note(tx, event) })
    }));
    for number in 1..=2 {
        fixture.publish(&event("a", number)).await;
    }
    until("others are noted", async || {
        assert!(!running.is_finished());
        fixture.noted("a").await == [2]
    })
    .await;
    let stats = Outbox::new(fixture.store.clone()).stats().await.unwrap();
    assert_eq!(stats.dead, 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_acknowledgement_fails_comes_again() {
    let fixture = Fixture::new();
    let faults = fixture.broker.faults();
    let inbox = fixture.inbox();
    tokio::spawn(fixture.consumer().run(inbox.clone(), move |event, tx| {
        faults.set_down(true);
        Box::pin(async move { note(tx, event) })
    }));
    fixture.publish(&event("a", 1)).await;
    until("it is noted", async || fixture.noted("a").await == [1]).await;
    sleep(Duration::from_secs(1)).await;
    fixture.broker.faults().set_down(false);
    let is_empty = async || fixture.broker.events(crate::fixture::TOPIC).is_empty();
    until("it is acknowledged", is_empty).await;
    assert_eq!(inbox.counts().duplicates, 1);
}
