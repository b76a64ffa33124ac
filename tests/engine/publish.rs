//! Events of steps: stored if and only if the attempt that published them is.

use crate::{LEASE, completed, failure, outcome, permanent, snapshot, support::*, unclear, until};
use sagaz::{
    AfterCommit, Engine, EngineBuilder, Event, FailureReason, Saga, SagaId, StepContext, StepError,
    compensate, saga, step,
    store::{
        Fetch, OutboxStore, Sender, StepState, WorkerId,
        fault::{Call, Fault},
        memory::{Memory, MemoryTransaction},
    },
};
use std::sync::{Arc, Mutex};

/// Publishes, before each attempt does its work, which attempt it is.
struct Herald(World);

impl Herald {
    async fn tell(&self, ctx: &StepContext<'_>, what: &str) -> Result<u64, StepError> {
        ctx.publish(Event::new(what, &ctx.attempt()))?;
        self.0.attempt(ctx, None).await.map(|()| 1)
    }
}

#[saga(name = "herald")]
impl Herald {
    #[step(retry(attempts = 3, initial = "1s"), timeout = "1m")]
    async fn one(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.tell(ctx, "one.done").await
    }

    #[compensate("one", retry(attempts = 3, initial = "1s"))]
    async fn undo_one(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        self.tell(ctx, "one.undone").await.map(drop)
    }

    #[step(depends_on = ["one"], retry(attempts = 3, initial = "1s"))]
    async fn two(
        &self,
        ctx: &StepContext<'_>,
        tx: &mut MemoryTransaction,
    ) -> Result<u64, StepError> {
        tx.set("two", "done");
        self.tell(ctx, "two.done").await
    }

    #[compensate("two", retry(attempts = 3, initial = "1s"))]
    async fn undo_two(
        &self,
        ctx: &StepContext<'_>,
        tx: &mut MemoryTransaction,
    ) -> Result<(), StepError> {
        tx.remove("two");
        self.tell(ctx, "two.undone").await.map(drop)
    }

    #[step(depends_on = ["two"], retry(attempts = 3, initial = "1s"))]
    async fn three(&self, ctx: &StepContext<'_>) -> Result<String, StepError> {
        self.tell(ctx, "three.done").await?;
        // Too large to be stored, if it is planned so.
        Ok("x".repeat(if self.0.decide("large").await.is_ok() {
            1
        } else {
            2_000
        }))
    }

    #[compensate("three")]
    async fn undo_three(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        self.tell(ctx, "three.undone").await.map(drop)
    }
}

fn herald(store: &Memory, world: &World) -> EngineBuilder<Memory> {
    Engine::builder(store.clone())
        .lease(LEASE)
        .payload_max(1_000)
        .register(Herald(world.clone()))
}

/// What is in the outbox, read by a worker that then gives its lanes back.
async fn outbox(store: &Memory) -> Vec<Event> {
    let worker = WorkerId::random();
    let attendance = store.attend(worker, SECOND, store.lanes()).await.unwrap();
    let fetch = Fetch {
        worker,
        lanes: attendance.lanes.into_iter().map(|lane| (lane, 0)).collect(),
        unsettled: Vec::new(),
        keys: Vec::new(),
        limit: 1_000_000,
    };
    let fetched = store.fetch(&fetch).await.unwrap();
    store.release(worker, None).await.unwrap();
    fetched.events.into_iter().map(|it| it.event).collect()
}

/// Types and attempts.
async fn told(store: &Memory) -> Vec<String> {
    let tell = |event: &Event| format!("{} {}", event.event_type(), event.decode::<u32>().unwrap());
    outbox(store).await.iter().map(tell).collect()
}

#[tokio::test(start_paused = true)]
async fn p11_the_events_of_completed_attempts_are_in_the_outbox_in_their_order() {
    let (store, world) = (Memory::new(), World::new());
    let engine = herald(&store, &world).start().await.unwrap();
    let handle = engine.start::<Herald>(()).await.unwrap();
    completed(&handle).await;
    assert_eq!(
        told(&store).await,
        ["one.done 1", "two.done 1", "three.done 1"]
    );
    for event in outbox(&store).await {
        let id = handle.id();
        assert_eq!(event.ordering_key(), Some(id.to_string().as_str()));
        assert_eq!(event.saga_id(), Some(id));
        assert_eq!(event.source_uri(), "/sagas/herald");
        let step = event.event_type().trim_end_matches(".done");
        assert_eq!(event.attributes()["sagastep"], step);
    }
}

#[tokio::test(start_paused = true)]
async fn p11_the_events_of_attempts_that_fail_panic_or_time_out_are_dropped() {
    let (store, world) = (Memory::new(), World::new());
    world.plan("one", [Act::Panic, Act::Hang]);
    world.fail("two", [unclear(), unclear()]);
    world.plan("three", [Act::Fail(unclear()), Act::Panic]);
    let engine = herald(&store, &world).start().await.unwrap();
    completed(&engine.start::<Herald>(()).await.unwrap()).await;
    assert_eq!(
        told(&store).await,
        ["one.done 3", "two.done 3", "three.done 3"]
    );
}

#[tokio::test(start_paused = true)]
async fn p11_the_events_of_an_attempt_that_is_dropped_are_dropped() {
    let (store, world) = (Memory::new(), World::new());
    world.plan("two", [Act::Hang]);
    let engine = herald(&store, &world).start().await.unwrap();
    let handle = engine.start::<Herald>(()).await.unwrap();
    world.wait_began("two", 1).await;
    engine.abort();
    let heir = herald(&store, &world).start().await.unwrap();
    completed(&heir.handle::<Herald>(handle.id()).await.unwrap()).await;
    assert_eq!(
        told(&store).await,
        ["one.done 1", "two.done 1", "three.done 1"]
    );
}

#[tokio::test(start_paused = true)]
async fn p11_compensations_publish_as_well() {
    let (store, world) = (Memory::new(), World::new());
    world.fail("three", [permanent()]);
    world.fail("undo one", [unclear()]);
    let engine = herald(&store, &world).start().await.unwrap();
    failure(&engine.start::<Herald>(()).await.unwrap()).await;
    let expected = ["one.done 1", "two.done 1", "two.undone 1", "one.undone 2"];
    assert_eq!(told(&store).await, expected);
}

#[tokio::test(start_paused = true)]
async fn p11_the_events_of_an_output_that_cannot_be_stored_are_dropped() {
    let (store, world) = (Memory::new(), World::new());
    world.fail("large", [permanent()]);
    let engine = herald(&store, &world).start().await.unwrap();
    let failure = failure(&engine.start::<Herald>(()).await.unwrap()).await;
    assert_eq!(failure.reason, FailureReason::OutputRefused);
    let expected = [
        "one.done 1",
        "two.done 1",
        "three.undone 1",
        "two.undone 1",
        "one.undone 1",
    ];
    assert_eq!(told(&store).await, expected);
}

/// Publishes what it is started with.
struct Crier;

#[saga(name = "crier", input = u64)]
impl Crier {
    #[step(no_compensation, retry(attempts = 5, initial = "1s"))]
    async fn cry(&self, ctx: &StepContext<'_>, input: u64) -> Result<u64, StepError> {
        for _ in 0..input {
            ctx.publish(Event::new("cry", &"x".repeat(100)))?;
        }
        Ok(input)
    }

    #[step(depends_on = ["cry"], no_compensation)]
    async fn rest(&self) -> Result<(), StepError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn p12_what_an_attempt_publishes_is_bounded_and_its_outcome_then_unknown() {
    let store = Memory::new();
    let builder = Engine::builder(store.clone()).payload_max(1_000);
    let engine = builder.register(Crier).start().await.unwrap();
    completed(&engine.start::<Crier>(2).await.unwrap()).await;
    assert_eq!(outbox(&store).await.len(), 2);
    let failure = failure(&engine.start::<Crier>(20).await.unwrap()).await;
    assert_eq!(
        failure.reason,
        FailureReason::Unknown,
        "and it is not tried again"
    );
    assert!(
        failure.message.contains("bytes together"),
        "{}",
        failure.message
    );
    assert_eq!(outbox(&store).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_run_in_process_has_nowhere_to_publish_unless_it_is_given_a_place() {
    let failure = match Crier.run(1).await {
        sagaz::Outcome::RolledBack(failure) => failure,
        other => panic!("{other:?}"),
    };
    assert!(
        failure.message.contains("run_publishing"),
        "{}",
        failure.message
    );
    let told = Arc::new(Mutex::new(Vec::new()));
    let outlet = {
        let told = Arc::clone(&told);
        move |event: Event| told.lock().unwrap().push(event)
    };
    assert!(Crier.run_publishing(3, outlet).await.is_completed());
    assert_eq!(told.lock().unwrap().len(), 3);
}

/// A store whose every write and commit may be the last thing that its engine does, and one that only answers late or not at
/// all.
#[tokio::test(start_paused = true)]
async fn p11_an_event_is_there_if_and_only_if_its_step_is_whatever_dies_a_thousand_times() {
    let mut kills = 0;
    let mut seed = 0;
    while kills < 1_000 {
        seed += 1;
        let mut random = fastrand::Rng::with_seed(seed);
        let (store, world) = (Memory::new(), World::new());
        for step in ["one", "two", "three", "undo one", "undo two"] {
            if random.u8(..4) == 0 {
                world.fail(step, [unclear()]);
            }
        }
        if random.bool() {
            world.fail("three", [permanent()]);
        }
        let mut id: Option<SagaId> = None;
        loop {
            let engine = herald(&store, &world).start().await.unwrap();
            let kinds = [
                Fault::DropBefore,
                Fault::DropAfter,
                Fault::FailAfter,
                Fault::FailBefore,
            ];
            let fault = kinds[random.usize(..4)];
            let call = if random.u8(..3) == 0 {
                Call::Commit
            } else {
                Call::Write
            };
            let is_last = random.u8(..6) == 0;
            if !is_last {
                store.faults().plan(call, random.u64(1..4), fault);
            }
            let faults = store.faults();
            let fired = faults.fired();
            let handle = if let Some(id) = id {
                engine.handle::<Herald>(id).await.unwrap()
            } else {
                let Ok(handle) = engine.start::<Herald>(()).key("k").await else {
                    // Its acceptance was never answered.
                    engine.abort();
                    kills += 1;
                    continue;
                };
                handle
            };
            id = Some(handle.id());
            tokio::select! {
                _ = outcome(&handle) => {
                    engine.abort();
                    break;
                }
                () = faults.wait_fired(fired + 1) => {
                    engine.abort();
                    kills += 1;
                }
            }
        }
        let rows = snapshot(&store, id.unwrap()).await.steps;
        let mut expected = Vec::new();
        for row in &rows {
            if row.output.is_some() {
                expected.push(format!("{}.done", row.name));
            }
            if row.state == StepState::Compensated {
                expected.push(format!("{}.undone", row.name));
            }
        }
        let mut told: Vec<_> = outbox(&store)
            .await
            .iter()
            .map(|it| it.event_type().to_owned())
            .collect();
        let order = [
            "one.done",
            "two.done",
            "three.done",
            "three.undone",
            "two.undone",
            "one.undone",
        ];
        let places = told
            .iter()
            .map(|told| order.iter().position(|it| it == told));
        assert!(places.is_sorted(), "seed {seed}: {told:?}");
        told.sort();
        expected.sort();
        assert_eq!(told, expected, "seed {seed}: {rows:#?}");
    }
}

/// Keeps what it is given.
struct Hook {
    sender: Sender,
    given: Mutex<Vec<Event>>,
    store: Memory,
}

impl AfterCommit for Hook {
    fn sender(&self) -> Sender {
        self.sender
    }

    fn committed(&self, events: Vec<Event>) {
        self.given.lock().unwrap().extend(events);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_is_given_events_after_their_commit_and_leased_to_it() {
    let (store, world) = (Memory::new(), World::new());
    let hook = Arc::new(Hook {
        sender: Sender {
            id: WorkerId::random(),
            lease: SECOND * 100,
        },
        given: Mutex::default(),
        store: store.clone(),
    });
    world.fail("one", [unclear()]);
    // Stored, but the reply is lost.
    store.faults().plan(Call::Commit, 1, Fault::FailAfter);
    let engine = herald(&store, &world)
        .after_commit(hook.clone())
        .start()
        .await
        .unwrap();
    completed(&engine.start::<Herald>(()).await.unwrap()).await;
    until("all are given", async || {
        hook.given.lock().unwrap().len() == 3
    })
    .await;
    let given = hook.given.lock().unwrap().clone();
    assert_eq!(given, outbox(&hook.store).await);
    let ids: Vec<_> = given.iter().map(|event| event.event_id().clone()).collect();
    let heads = store.heads(hook.sender.id, &ids).await.unwrap();
    assert_eq!(heads.len(), 1, "the first of the key");
    assert_eq!(heads[0].0, ids[0]);
}
