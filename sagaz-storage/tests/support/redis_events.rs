//! Events of one kind, published by instances, and a worker that reads all of them.

use super::{
    redis_instances::{engine, owned, progress},
    redis_server,
    shared::url,
};
use sagaz_core::{
    Event, SagaId,
    store::{
        DeadDecision, DeadLetterId, DeadState, Fate, Fetch, Fetched, Intervention, Lane, Mark,
        OutboxEvent, OutboxStore, SagaStore, Sender, WorkerId, Write,
    },
};
use sagaz_storage::redis::Redis;
use std::time::Duration;

pub(crate) const HOUR: Duration = Duration::from_hours(1);

pub(crate) fn event(key: &str, number: u32) -> Event {
    Event::new("thing.happened", &number)
        .source("/tests")
        .key(key)
}

pub(crate) fn number(event: &Event) -> u32 {
    event.decode().unwrap()
}

/// A new instance whose first step publishes these.
pub(crate) async fn publish(store: &Redis, events: &[Event], sender: Option<Sender>) -> SagaId {
    let (id, token) = owned(store, engine(store).await).await;
    let Write::Progress(mut write) = progress(id, token) else {
        unreachable!("it is progress")
    };
    write.sender = sender;
    write.steps[0].events = events.to_vec();
    store.write(&[Write::Progress(write)]).await.unwrap();
    id
}

pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) lanes: Vec<Lane>,
}

impl Worker {
    /// One that has all lanes that are free.
    pub(crate) async fn new(store: &Redis) -> Self {
        let id = WorkerId::random();
        let attendance = store.attend(id, HOUR, store.lanes()).await.unwrap();
        let lanes = attendance.lanes;
        Self { id, lanes }
    }

    pub(crate) async fn fetch(&self, store: &Redis) -> Fetched {
        let fetch = Fetch {
            worker: self.id,
            lanes: self.lanes.iter().map(|lane| (*lane, 0)).collect(),
            unsettled: Vec::new(),
            keys: Vec::new(),
            limit: 1_000,
        };
        store.fetch(&fetch).await.unwrap()
    }

    /// Everything that waits.
    pub(crate) async fn read(&self, store: &Redis) -> Vec<OutboxEvent> {
        self.fetch(store).await.events
    }

    pub(crate) fn mark(&self, event: &OutboxEvent, fate: Fate) -> Mark {
        let mut lanes = self.lanes.iter();
        let lane = lanes.find(|lane| lane.index == event.place.lane);
        Mark {
            lane: *lane.expect("the lane is the worker's"),
            seq: event.place.seq,
            fate,
        }
    }
}

pub(crate) fn retry(attempts: u32) -> Fate {
    Fate::Retry {
        attempts,
        error: "no".to_owned(),
        after: Duration::ZERO,
    }
}

pub(crate) fn dead(blocks: bool) -> Fate {
    Fate::Dead {
        attempts: 3,
        error: "no".to_owned(),
        blocks,
    }
}

pub(crate) fn decision(event: &Event, consumer: Option<&str>, state: DeadState) -> DeadDecision {
    DeadDecision {
        letters: vec![DeadLetterId {
            event: event.event_id().clone(),
            consumer: consumer.map(str::to_owned),
        }],
        state,
        intervention: Intervention {
            action: "decide".to_owned(),
            who: "an operator".to_owned(),
            why: "the-cause-is-mended".to_owned(),
            at_ms: 0,
        },
    }
}

/// A command on the server of all stores.
pub(crate) async fn command<T: redis::FromRedisValue>(words: &[&str]) -> T {
    redis::from_redis_value(redis_server::command(&url(), words).await).unwrap()
}
