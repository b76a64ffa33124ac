//! Events that no broker takes.

use crate::fixture::Fixture;
use sagaz_brokers::memory::Fault;
use sagaz_core::{
    Retry,
    store::{DeadLetterFilter, DeadLetterId, DeadState, OutboxStore},
};
use sagaz_outbox::{OnDead, Relay};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::sleep;

const THREE: Retry = Retry {
    attempts: Some(3),
    ..Retry::BACKOFF
};

/// The first event of key `a` is refused as long as the switch is on.
fn refuse_the_first(fixture: &Fixture) -> Arc<AtomicBool> {
    let refuses = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&refuses);
    fixture.broker.faults().on_event(move |event| {
        let is_first = event.decode::<u32>().is_ok_and(|number| number == 1);
        (is_first && switch.load(Ordering::Relaxed)).then_some(Fault::Refuse)
    });
    refuses
}

async fn relay(fixture: &Fixture, on_dead: OnDead) -> Relay {
    let relay = fixture.relay().retry(THREE).on_dead(on_dead);
    relay.start().await.unwrap()
}

async fn the_dead(fixture: &Fixture) -> DeadLetterId {
    let has_died = async || fixture.store.outbox_stats().await.unwrap().dead == 1;
    fixture.until("one is dead", has_died).await;
    let page = fixture.outbox.dead_letters();
    let page = page.list(&DeadLetterFilter::default()).await.unwrap();
    assert_eq!(page.letters[0].attempts, 3);
    assert!(!page.letters[0].error.is_empty());
    DeadLetterId {
        event: page.letters[0].event.event_id().clone(),
        consumer: None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_goes_on_without_its_dead_letter_and_a_retry_comes_behind() {
    let fixture = Fixture::new();
    let refuses = refuse_the_first(&fixture);
    let relay = relay(&fixture, OnDead::GoOn).await;
    for number in 1..=3 {
        fixture.append("a", number).await;
    }
    fixture.until_empty().await;
    assert_eq!(fixture.published_of("a"), [2, 3]);
    let id = the_dead(&fixture).await;
    refuses.store(false, Ordering::Relaxed);
    let letters = fixture.outbox.dead_letters();
    letters
        .operator("ann", "there is a queue now")
        .retry(&id)
        .await
        .unwrap();
    fixture.until_empty().await;
    assert_eq!(fixture.published_of("a"), [2, 3, 1]);
    let letter = letters.show(&id).await.unwrap().unwrap();
    assert_eq!(letter.state, DeadState::Retried);
    assert_eq!(letter.interventions[0].who, "ann");
    assert_eq!(letter.interventions[0].why, "there is a queue now");
    assert_eq!(letter.interventions[0].action, "retry");
    relay.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_blocked_key_waits_for_the_decision_and_others_do_not() {
    for discards in [false, true] {
        let fixture = Fixture::new();
        let refuses = refuse_the_first(&fixture);
        let relay = relay(&fixture, OnDead::BlockKey).await;
        for number in 1..=3 {
            fixture.append("a", number).await;
        }
        fixture.append("b", 9).await;
        let id = the_dead(&fixture).await;
        sleep(Duration::from_mins(5)).await;
        assert_eq!(fixture.published(), [("b".to_owned(), 9)]);
        refuses.store(false, Ordering::Relaxed);
        let letters = fixture.outbox.dead_letters();
        let operator = letters.operator("ann", "looked at it");
        let expected: &[u32] = if discards {
            operator.discard(&id).await.unwrap();
            &[2, 3]
        } else {
            operator.retry(&id).await.unwrap();
            &[1, 2, 3]
        };
        fixture.until_empty().await;
        assert_eq!(fixture.published_of("a"), expected);
        relay.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn decisions_are_made_by_somebody_once_and_for_many_at_a_time() {
    let fixture = Fixture::new();
    fixture.broker.faults().on_event(|_| Some(Fault::Refuse));
    let relay = relay(&fixture, OnDead::GoOn).await;
    for number in 0..250 {
        fixture.append(&format!("key-{number}"), number).await;
    }
    fixture.until_empty().await;
    let letters = fixture.outbox.dead_letters();
    let filter = DeadLetterFilter::default();
    let nobody = letters.operator("", "").retry_all(&filter).await;
    assert!(nobody.unwrap_err().is_invalid());
    fixture.broker.faults().clear();
    let operator = letters.operator("ann", "the broker is well again");
    assert_eq!(operator.retry_all(&filter).await.unwrap(), 250);
    fixture.until_empty().await;
    assert_eq!(fixture.published().len(), 250);
    let one = letters.list(&filter).await.unwrap().letters.remove(0);
    let one = DeadLetterId {
        event: one.event.event_id().clone(),
        consumer: None,
    };
    let again = operator.retry(&one).await.unwrap_err();
    assert!(again.is_invalid() && again.to_string().contains("waits for a decision"));
    relay.shutdown().await;
}
