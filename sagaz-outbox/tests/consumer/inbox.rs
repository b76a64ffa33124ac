//! What the inbox promises of one event.

use crate::fixture::{Fixture, event, note};
use sagaz_core::{
    Event,
    store::{
        DeadLetterFilter, DeadLetterId, OutboxStore,
        fault::{Call, Fault},
        memory::Memory,
    },
};
use sagaz_outbox::{Handled, Inbox, Outbox, Permanent};
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn p11_a_handlers_writes_are_there_once_however_often_it_is_delivered() {
    let fixture = Fixture::new();
    let inbox = fixture.inbox();
    let event = event("a", 1);
    let handle = || inbox.handle(&event, async |tx| note(tx, &event));
    assert_eq!(handle().await.unwrap(), Handled::Done);
    assert_eq!(handle().await.unwrap(), Handled::Duplicate);
    let (one, other) = tokio::join!(handle(), handle());
    assert_eq!(
        (one.unwrap(), other.unwrap()),
        (Handled::Duplicate, Handled::Duplicate)
    );
    assert_eq!(fixture.noted("a").await, [1]);
    assert_eq!((inbox.counts().handled, inbox.counts().duplicates), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn p11_deliveries_side_by_side_write_once() {
    let fixture = Fixture::new();
    let inbox = fixture.inbox();
    let event = event("a", 1);
    let slow = || {
        inbox.handle(&event, async |tx| {
            sleep(Duration::from_millis(100)).await;
            note(tx, &event)
        })
    };
    let (one, other) = tokio::join!(slow(), slow());
    let ends = [one.unwrap(), other.unwrap()];
    assert!(
        ends.contains(&Handled::Done) && ends.contains(&Handled::Duplicate),
        "{ends:?}"
    );
    assert_eq!(fixture.noted("a").await, [1]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_fails_is_called_again_and_then_its_event_is_a_dead_letter() {
    let fixture = Fixture::new();
    let inbox = fixture.inbox();
    let event = event("a", 1);
    let calls = AtomicU32::new(0);
    let handled = inbox.handle(&event, async |tx| {
        note(tx, &event)?;
        match calls.fetch_add(1, Ordering::Relaxed) {
            0 => Err("no".into()),
            1 => panic!("oh"),
            _ => Err("the shelf is full".into()),
        }
    });
    assert_eq!(handled.await.unwrap(), Handled::Dead);
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    assert!(
        fixture.noted("a").await.is_empty(),
        "what failed is rolled back"
    );
    let outbox = Outbox::new(fixture.store.clone());
    let page = outbox.dead_letters();
    let page = page.list(&DeadLetterFilter::default()).await.unwrap();
    let letter = &page.letters[0];
    assert_eq!(letter.consumer.as_deref(), Some("read-model"));
    assert_eq!(
        (letter.attempts, letter.error.as_str()),
        (3, "the shelf is full")
    );
    assert_eq!(inbox.counts().dead, 1);

    // It is not handled again before somebody decides so.
    let again = inbox.handle(&event, async |tx| note(tx, &event));
    assert_eq!(again.await.unwrap(), Handled::Duplicate);
    let id = DeadLetterId {
        event: event.event_id().clone(),
        consumer: Some("read-model".to_owned()),
    };
    let letters = outbox.dead_letters();
    letters
        .operator("ann", "more shelves")
        .retry(&id)
        .await
        .unwrap();
    let given_back = inbox.retries(10).await.unwrap();
    assert_eq!(given_back, std::slice::from_ref(&event));
    let again = inbox.handle(&event, async |tx| note(tx, &event));
    assert_eq!(again.await.unwrap(), Handled::Done);
    assert!(inbox.retries(10).await.unwrap().is_empty());
    assert_eq!(
        letters.show(&id).await.unwrap().unwrap().interventions[0].who,
        "ann"
    );
}

#[tokio::test(start_paused = true)]
async fn handling_can_be_moved_between_threads() {
    let fixture = Fixture::new();
    let (inbox, name) = (fixture.inbox(), "a".to_owned());
    let handled = tokio::spawn(async move {
        let event = event(&name, 1);
        inbox.handle(&event, async |tx| note(tx, &event)).await
    });
    assert_eq!(handled.await.unwrap().unwrap(), Handled::Done);
}

#[tokio::test(start_paused = true)]
async fn a_permanent_error_is_not_tried_again() {
    let fixture = Fixture::new();
    let inbox = fixture.inbox();
    let calls = AtomicU32::new(0);
    let event = event("a", 1);
    let handled = inbox.handle(&event, async |_| {
        calls.fetch_add(1, Ordering::Relaxed);
        Err(Permanent::new("an order of nothing").into())
    });
    assert_eq!(handled.await.unwrap(), Handled::Dead);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_commit_in_doubt_is_settled_by_its_record() {
    for (fault, calls_expected) in [(Fault::FailAfter, 1), (Fault::FailBefore, 2)] {
        let fixture = Fixture::new();
        let inbox = fixture.inbox();
        fixture.store.faults().plan(Call::FinishHandling, 1, fault);
        let event = event("a", 1);
        let calls = AtomicU32::new(0);
        let handled = inbox.handle(&event, async |tx| {
            calls.fetch_add(1, Ordering::Relaxed);
            note(tx, &event)
        });
        assert_eq!(handled.await.unwrap(), Handled::Done);
        assert_eq!(calls.load(Ordering::Relaxed), calls_expected);
        assert_eq!(fixture.noted("a").await, [1]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_counts_as_no_attempt() {
    let fixture = Fixture::new();
    let inbox = fixture.inbox();
    let event = event("a", 1);
    for nth in 1..=20 {
        fixture
            .store
            .faults()
            .plan(Call::BeginHandling, nth, Fault::FailBefore);
        fixture
            .store
            .faults()
            .plan(Call::AppendIn, nth, Fault::FailBefore);
    }
    // A handler whose error comes from the store's is no worse.
    let outbox = Outbox::new(fixture.store.clone());
    let handled = inbox.handle(&event, async |tx| {
        outbox.append(tx, Event::new("order.noted", &1)).await?;
        note(tx, &event)
    });
    assert_eq!(handled.await.unwrap(), Handled::Done);
    assert_eq!(inbox.counts().failed, 0);
    assert_eq!(fixture.noted("a").await, [1]);
}

#[tokio::test(start_paused = true)]
async fn p11_events_of_a_handler_are_stored_with_its_writes() {
    let fixture = Fixture::new();
    let inbox = fixture.inbox();
    let outbox = Outbox::new(fixture.store.clone());
    for number in 1..=2 {
        let event = event("a", number);
        let handled = inbox.handle(&event, async |tx| {
            outbox
                .append(tx, Event::new("order.noted", &number))
                .await?;
            if number == 1 {
                return Err(Permanent::new("no").into());
            }
            Ok(())
        });
        handled.await.unwrap();
        // A second delivery leaves them alone.
        let again = inbox.handle(&event, async |_| Ok(())).await.unwrap();
        assert_eq!(again, Handled::Duplicate);
    }
    assert_eq!(fixture.store.outbox_stats().await.unwrap().pending, 1);
}

#[tokio::test(start_paused = true)]
async fn records_are_kept_as_long_as_events_may_come_again_and_no_longer() {
    let hour = Duration::from_hours(1);
    let inbox = |retention| {
        let inbox = Inbox::builder(Memory::new(), "c").redelivered_for(hour);
        inbox.retention(retention).build()
    };
    let error = inbox(hour).unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("make `retention` longer"));
    let inbox = inbox(2 * hour).unwrap();
    for number in 0..1_500 {
        inbox
            .handle(&event("a", number), async |_| Ok(()))
            .await
            .unwrap();
    }
    sleep(hour).await;
    assert_eq!(inbox.prune().await.unwrap(), 0);
    sleep(hour * 2).await;
    assert_eq!(inbox.prune().await.unwrap(), 1_500);
}
