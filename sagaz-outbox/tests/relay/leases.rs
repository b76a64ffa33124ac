//! Who publishes what.

use crate::fixture::Fixture;
use sagaz_brokers::memory::Fault;
use sagaz_core::store::{
    OutboxStore,
    fault::{Call, Fault as StoreFault},
};
use std::time::Duration;
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn relays_share_the_lanes_evenly_and_take_over_those_of_one_that_leaves() {
    let fixture = Fixture::new();
    let first = fixture.relay().start().await.unwrap();
    let lanes = async |id| {
        // A look that prolongs the lease for a moment, and takes nothing.
        let ttl = Duration::from_secs(15);
        fixture.store.attend(id, ttl, 0).await.unwrap().lanes.len()
    };
    fixture
        .until("one has all", async || lanes(first.id()).await == 64)
        .await;
    let second = fixture.relay().start().await.unwrap();
    fixture
        .until("they share", async || {
            lanes(first.id()).await == 32 && lanes(second.id()).await == 32
        })
        .await;
    let left = Instant::now();
    first.shutdown().await;
    fixture
        .until("one has all", async || lanes(second.id()).await == 64)
        .await;
    assert!(
        left.elapsed() < Duration::from_secs(10),
        "it had given them up"
    );
    second.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn events_of_a_relay_that_died_are_published_when_its_lease_has_ended() {
    let fixture = Fixture::new();
    let first = fixture.relay().start().await.unwrap();
    fixture.append("a", 1).await;
    fixture.until_empty().await;
    drop(first);
    fixture.append("a", 2).await;
    let died = Instant::now();
    let second = fixture.relay().start().await.unwrap();
    fixture.until_empty().await;
    assert!(
        died.elapsed() > Duration::from_secs(9),
        "{:?}",
        died.elapsed()
    );
    assert!(
        died.elapsed() < Duration::from_secs(25),
        "{:?}",
        died.elapsed()
    );
    assert_eq!(fixture.published_of("a"), [1, 2]);
    second.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_published_once_the_lease_is_not_surely_good() {
    let fixture = Fixture::new();
    let relay = fixture.relay().start().await.unwrap();
    fixture.append("a", 1).await;
    fixture.until_empty().await;
    let attended = fixture.store.faults().count(Call::Attend);
    for nth in 1..1_000 {
        fixture
            .store
            .faults()
            .plan(Call::Attend, nth, StoreFault::FailBefore);
    }
    // What is in memory by now may go out, what comes later may not.
    sleep(Duration::from_secs(12)).await;
    fixture.append("a", 2).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(fixture.published_of("a"), [1]);
    fixture.store.faults().clear();
    fixture.until_empty().await;
    assert_eq!(fixture.published_of("a"), [1, 2]);
    assert!(fixture.store.faults().count(Call::Attend) > attended);
    relay.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_confirmations_and_gives_its_lanes_up() {
    let fixture = Fixture::new();
    let relay = fixture.relay().start().await.unwrap();
    let slow = Fault::Delay(Duration::from_secs(3));
    fixture.broker.faults().plan(1, slow);
    fixture.append("a", 1).await;
    let broker = fixture.broker.clone();
    fixture
        .until("it is on its way", async || broker.faults().count() == 1)
        .await;
    let began = Instant::now();
    relay.shutdown().await;
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(
        fixture.outbox.stats().await.unwrap().pending,
        0,
        "it is stored as sent"
    );
    let next = fixture.relay().start().await.unwrap();
    fixture.append("a", 2).await;
    let began = Instant::now();
    fixture.until_empty().await;
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    next.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn p12_an_idle_relay_costs_at_most_one_call_a_second() {
    let fixture = Fixture::new();
    let relay = fixture.relay().start().await.unwrap();
    fixture.append("a", 1).await;
    fixture.until_empty().await;
    sleep(Duration::from_mins(1)).await;
    let calls = || {
        let calls = [Call::Attend, Call::Fetch, Call::Mark, Call::Release];
        calls
            .map(|call| fixture.store.faults().count(call))
            .iter()
            .sum::<u64>()
    };
    let before = calls();
    sleep(Duration::from_secs(1_000)).await;
    let calls = calls() - before;
    assert!((300..=1_000).contains(&calls), "{calls}");
    relay.shutdown().await;
}
