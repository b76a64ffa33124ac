//! Each lane has one owner, whose lease the store judges.

use super::{fixture::*, outbox::*};
use crate::store::{OutboxStore, WorkerId};
use std::collections::BTreeSet;

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
