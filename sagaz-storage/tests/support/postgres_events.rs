//! Instances of one saga that publish, and whoever reads what they have published.

use super::postgres::url;
use sagaz_core::{
    EngineId, Event, Payload, SagaId, StepKind, Token,
    store::{
        Accept, DefinitionKey, Fate, Fetch, Fetched, InstanceState, Lane, Mark, OutboxEvent,
        OutboxStore, Progress, SagaStore, Sender, SentEvents, StepState, StepWrite, WorkerId,
        Write,
    },
};
use sagaz_storage::postgres::Postgres;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use std::time::{Duration, Instant};

pub(crate) const HOUR: Duration = Duration::from_hours(1);
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) async fn engine(store: &Postgres) -> EngineId {
    let engine = EngineId::random();
    store.renew(engine, HOUR).await.expect("a lease");
    engine
}

pub(crate) async fn owned(store: &Postgres, owner: EngineId) -> (SagaId, Token) {
    let id = SagaId::new();
    let accept = Accept {
        id,
        definition: DefinitionKey {
            saga: "shop".to_owned(),
            version: 1,
            fingerprint: "graph".to_owned(),
        },
        input: Payload {
            content_type: "application/json".to_owned(),
            bytes: b"{}".to_vec(),
        },
        input_digest: "digest".to_owned(),
        start_key: None,
        owner: Some(owner),
        deadline: None,
        trace: None,
    };
    let written = store.write(&[Write::Accept(accept)]).await;
    written.expect("it is accepted");
    (id, Token { owner, epoch: 1 })
}

/// A step that has completed, and published this.
pub(crate) fn publishing(
    (id, token): (SagaId, Token),
    step: &str,
    events: &[Event],
    sender: Option<Sender>,
) -> Write {
    Write::Progress(Progress {
        id,
        token,
        state: InstanceState::Executing,
        pivot_passed: false,
        failure: None,
        stuck: None,
        release: None,
        sender,
        steps: vec![StepWrite {
            name: step.to_owned(),
            kind: StepKind::Compensatable,
            state: StepState::Completed,
            attempts: 1,
            undo_attempts: 0,
            recoveries: 0,
            output: None,
            error: None,
            wake: None,
            events: events.to_vec(),
        }],
    })
}

/// An event whose data is a number, under a key.
pub(crate) fn event(key: impl ToString, number: u32) -> Event {
    Event::new("thing.happened", &number)
        .source("/test")
        .key(key)
}

pub(crate) fn number(event: &OutboxEvent) -> u32 {
    event.event.decode().expect("a number")
}

/// A worker that owns all lanes.
pub(crate) struct Reader {
    pub(crate) id: WorkerId,
    pub(crate) lanes: Vec<(Lane, u64)>,
    pub(crate) unsettled: Vec<u64>,
}

impl Reader {
    pub(crate) async fn of(store: &Postgres) -> Self {
        let id = WorkerId::random();
        let attendance = store.attend(id, HOUR, store.lanes()).await;
        let lanes = attendance.expect("it attends").lanes;
        Self {
            id,
            lanes: lanes.into_iter().map(|lane| (lane, 0)).collect(),
            unsettled: Vec::new(),
        }
    }

    pub(crate) async fn fetch(&mut self, store: &Postgres, limit: u32) -> Fetched {
        let fetch = Fetch {
            worker: self.id,
            lanes: self.lanes.clone(),
            unsettled: self.unsettled.clone(),
            keys: Vec::new(),
            limit,
        };
        let fetched = store.fetch(&fetch).await.expect("it reads");
        for ((_, after), next) in self.lanes.iter_mut().zip(&fetched.after) {
            *after = next.expect("the lanes are the reader's");
        }
        self.unsettled.clone_from(&fetched.unsettled);
        fetched
    }

    /// The numbers of what can be read now.
    pub(crate) async fn read(&mut self, store: &Postgres) -> Vec<u32> {
        let events = self.events(store).await;
        events.iter().map(number).collect()
    }

    pub(crate) async fn events(&mut self, store: &Postgres) -> Vec<OutboxEvent> {
        let mut events = Vec::new();
        loop {
            let fetched = self.fetch(store, 1_000).await;
            events.extend(fetched.events);
            if !fetched.more {
                return events;
            }
        }
    }

    /// Everything that is there.
    pub(crate) async fn events_again(&mut self, store: &Postgres) -> Vec<OutboxEvent> {
        for (_, after) in &mut self.lanes {
            *after = 0;
        }
        self.events(store).await
    }

    pub(crate) fn sent(&self, event: &OutboxEvent) -> Mark {
        let mut lanes = self.lanes.iter().map(|(lane, _)| *lane);
        Mark {
            lane: lanes
                .find(|lane| lane.index == event.place.lane)
                .expect("the lane is the reader's"),
            seq: event.place.seq,
            fate: Fate::Sent,
        }
    }

    pub(crate) async fn mark_sent(&self, store: &Postgres, events: &[OutboxEvent]) {
        let marks: Vec<_> = events.iter().map(|event| self.sent(event)).collect();
        let lost = store.mark(self.id, &marks, SentEvents::Delete).await;
        assert_eq!(lost.expect("they are marked"), [0_u16; 0]);
    }
}

pub(crate) async fn session() -> PgConnection {
    PgConnection::connect(&url()).await.expect("a session")
}

pub(crate) async fn run(session: &mut PgConnection, sql: String) {
    session.execute(AssertSqlSafe(sql)).await.expect("it runs");
}

/// Waits until a session waits for a lock in a statement that names the schema.
pub(crate) async fn until_blocked(schema: &str) {
    let mut session = session().await;
    let began = Instant::now();
    loop {
        let row = sqlx::query(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1",
        )
        .bind(format!("%{schema}%"))
        .fetch_one(&mut session)
        .await
        .expect("it looks");
        if row.get::<i64, _>(0) > 0 {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "nobody waits");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
