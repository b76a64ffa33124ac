//! P12: everything has a bound.

use crate::{
    Line, completed, engine, failure, late::Late, permanent, seconds, snapshot, state, support::*,
    unclear, until,
};
use sagaz::{
    Engine, FailureReason, StepContext, StepError, StuckReason, compensate, saga, step,
    store::{Filter, InstanceState, SagaStore, fault::Call, memory::Memory},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Outputs as large as the input says.
struct Large(World);

#[saga(name = "large", input = String)]
impl Large {
    #[step]
    async fn before(&self, ctx: &StepContext<'_>, input: &String) -> Result<String, StepError> {
        self.0
            .attempt(ctx, None)
            .await
            .map(|()| self.output("before", input))
    }

    #[compensate("before")]
    async fn undo_before(
        &self,
        ctx: &StepContext<'_>,
        before: Option<&String>,
    ) -> Result<(), StepError> {
        self.0
            .attempt(ctx, before.map(|before| before.len() as u64))
            .await
    }

    #[step(depends_on = ["before"], pivot, retry(attempts = 2))]
    async fn pivot(&self, ctx: &StepContext<'_>, input: &String) -> Result<String, StepError> {
        self.0
            .attempt(ctx, None)
            .await
            .map(|()| self.output("pivot", input))
    }

    #[step(depends_on = ["pivot"], retry(attempts = 2))]
    async fn after(&self, ctx: &StepContext<'_>, input: &String) -> Result<String, StepError> {
        self.0
            .attempt(ctx, None)
            .await
            .map(|()| self.output("after", input))
    }

    fn output(&self, step: &str, input: &str) -> String {
        let _ = self;
        if step == input {
            "x".repeat(200)
        } else {
            "small".to_owned()
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p12_an_output_over_the_limit_is_undone_with_none() {
    let (store, world) = (Memory::new(), World::new());
    let engine = Engine::builder(store)
        .payload_max(100)
        .register(Large(world.clone()))
        .start()
        .await
        .unwrap();
    let failure = failure(&engine.start::<Large>("before".to_owned()).await.unwrap()).await;
    assert_eq!(
        (failure.step.as_deref(), failure.reason),
        (Some("before"), FailureReason::OutputRefused)
    );
    assert_eq!(
        world.began(),
        ["before", "undo before"],
        "it is not run again"
    );
    assert_eq!(world.entries("undo before")[0].known, None);
    assert!(
        failure.message.contains("202 bytes"),
        "the failure says why: {failure:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn p12_an_output_over_the_limit_from_the_pivot_on_makes_it_stuck() {
    for (step, reason) in [
        ("pivot", StuckReason::PivotInDoubt),
        ("after", StuckReason::StepGaveUp),
    ] {
        let (store, world) = (Memory::new(), World::new());
        let engine = Engine::builder(store)
            .payload_max(100)
            .register(Large(world.clone()))
            .start()
            .await
            .unwrap();
        let stuck = crate::stuck(&engine.start::<Large>(step.to_owned()).await.unwrap()).await;
        assert_eq!((stuck.step.as_deref(), stuck.reason), (Some(step), reason));
        assert_eq!(
            (
                world.entries(step).len(),
                world.entries("undo before").len()
            ),
            (1, 0)
        );
        assert!(
            stuck.message.contains("202 bytes"),
            "it says why: {stuck:?}"
        );
    }
}

/// Counts how many attempts run at once.
#[derive(Clone, Default)]
struct Gauge(Arc<AtomicUsize>, Arc<AtomicUsize>);

impl Gauge {
    async fn pass(&self) {
        let now = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.1.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(SECOND).await;
        self.0.fetch_sub(1, Ordering::SeqCst);
    }

    fn most(&self) -> usize {
        self.1.load(Ordering::SeqCst)
    }
}

struct Limited {
    limited: Gauge,
    unlimited: Gauge,
}

#[saga(name = "limited")]
impl Limited {
    #[step(limit = 3, timeout = "60s", retry(attempts = 2, initial = "1s"))]
    async fn narrow(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        self.limited.pass().await;
        if ctx.attempt() == 1 {
            Err(unclear())
        } else {
            Ok(())
        }
    }

    #[compensate("narrow")]
    async fn undo_narrow(&self) -> Result<(), StepError> {
        Ok(())
    }

    #[step(depends_on = ["narrow"])]
    async fn wide(&self) -> Result<(), StepError> {
        self.unlimited.pass().await;
        Ok(())
    }

    #[compensate("wide")]
    async fn undo_wide(&self) -> Result<(), StepError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn p12_the_limit_of_a_step_holds_over_many_instances_and_waiting_for_it_is_no_part_of_the_timeout()
 {
    let (limited, unlimited) = (Gauge::default(), Gauge::default());
    let saga = Limited {
        limited: limited.clone(),
        unlimited: unlimited.clone(),
    };
    let engine = Engine::builder(Memory::new())
        .register(saga)
        .start()
        .await
        .unwrap();
    let mut handles = Vec::new();
    for _ in 0..120 {
        handles.push(engine.start::<Limited>(()).await.unwrap());
    }
    for handle in &handles {
        completed(handle).await;
    }
    assert_eq!(limited.most(), 3);
    assert!(unlimited.most() >= 3);
}

struct Gauged(Gauge);

#[saga(name = "gauged", input = u32)]
impl Gauged {
    #[step(no_compensation)]
    async fn first(&self) -> Result<(), StepError> {
        self.0.pass().await;
        Ok(())
    }

    #[step(depends_on = ["first"], atomic)]
    async fn long(&self, input: u32) -> Result<(), StepError> {
        tokio::time::sleep(SECOND * input).await;
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn p12_no_more_instances_are_in_flight_than_the_limit() {
    let (gauge, store) = (Gauge::default(), Memory::new());
    let engine = Engine::builder(store.clone())
        .in_flight_max(4)
        .register(Gauged(gauge.clone()))
        .start()
        .await
        .unwrap();
    let mut handles = Vec::new();
    for _ in 0..50 {
        handles.push(engine.start::<Gauged>(1).await.unwrap());
        assert!(engine.in_flight() <= 4);
    }
    for handle in &handles {
        completed(handle).await;
    }
    assert!(gauge.most() <= 4, "{}", gauge.most());
}

#[tokio::test(start_paused = true)]
async fn p1_a_few_free_places_are_enough_for_what_waits() {
    let (gauge, store) = (Gauge::default(), Memory::new());
    let engine = Engine::builder(store.clone())
        .in_flight_max(8)
        .register(Gauged(gauge))
        .start()
        .await
        .unwrap();
    // Seven of eight places are taken for hours, and the eighth is free now and then.
    for _ in 0..7 {
        engine.start::<Gauged>(9_000).await.unwrap();
    }
    let mut short = Vec::new();
    for _ in 0..10 {
        short.push(engine.start::<Gauged>(1).await.unwrap());
    }
    let began = tokio::time::Instant::now();
    for handle in &short {
        completed(handle).await;
    }
    assert!(began.elapsed() < SECOND * 120, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn p12_ended_instances_are_removed_after_the_retention_and_stuck_ones_stay() {
    let (store, world) = (Memory::new(), World::new());
    let engine = engine(&store, &world)
        .retention(SECOND * 600)
        .start()
        .await
        .unwrap();
    let gone = engine.start::<Line>(1).key("k").await.unwrap();
    completed(&gone).await;
    world.fail("two", [permanent()]);
    world.fail("undo one", [permanent()]);
    let stays = engine.start::<Line>(1).await.unwrap();
    crate::stuck(&stays).await;
    tokio::time::sleep(SECOND * 500).await;
    assert!(
        store.load(gone.id()).await.unwrap().is_some(),
        "not before its time"
    );
    until("it is removed", async || {
        store.load(gone.id()).await.unwrap().is_none()
    })
    .await;
    assert!(world.now() < SECOND * 900);
    assert_eq!(state(&store, stays.id()).await, InstanceState::Stuck);
    let again = engine
        .start::<Line>(2)
        .key("k")
        .await
        .expect("a key lives as long as its instance");
    completed(&again).await;
}

#[tokio::test(start_paused = true)]
async fn ended_instances_are_archived_after_the_age_that_is_set() {
    let (store, world) = (Memory::new(), World::new());
    let engine = engine(&store, &world)
        .archive_after(SECOND * 600)
        .start()
        .await
        .unwrap();
    let gone = engine.start::<Line>(1).key("k").await.unwrap();
    completed(&gone).await;
    let before = engine.inspect(gone.id()).await.unwrap().unwrap();
    until("it is archived", async || {
        engine.archived(gone.id()).await.unwrap().is_some()
    })
    .await;
    assert!(world.now() >= SECOND * 600);
    assert!(engine.inspect(gone.id()).await.unwrap().is_none());
    assert!(engine.find::<Line>("k").await.unwrap().is_none());
    let after = engine.archived(gone.id()).await.unwrap().unwrap();
    assert_eq!(after.summary, before.summary);
    assert_eq!(after.steps, before.steps);
}

/// A store that always has news is asked now and then, and more often than it is polled.
#[tokio::test(start_paused = true)]
async fn p12_a_storm_of_news_causes_no_storm_of_claims() {
    let (store, world) = (Memory::new(), World::new());
    let engine = Engine::builder(Late(store.clone(), Duration::ZERO))
        .register(Line(world.clone()))
        .poll_interval(SECOND)
        .start()
        .await
        .unwrap();
    let before = store.faults().count(Call::Claim);
    tokio::time::sleep(SECOND * 10).await;
    let claims = store.faults().count(Call::Claim) - before;
    assert!(
        (100..=600).contains(&claims),
        "{claims} claims in ten seconds"
    );
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn instances_are_listed_filtered_paged_inspected_and_counted() {
    let (store, world) = (Memory::new(), World::new());
    let engine = engine(&store, &world).start().await.unwrap();
    let mut completed_ids = Vec::new();
    for input in 0..5 {
        let handle = engine.start::<Line>(input).await.unwrap();
        completed(&handle).await;
        completed_ids.push(handle.id());
    }
    world.fail("two", [permanent()]);
    let undone = engine.start::<Line>(9).await.unwrap();
    failure(&undone).await;
    world.plan("p", [seconds(60)]);
    let running = engine.start::<crate::Pivotal>(()).await.unwrap();
    world.wait_began("p", 1).await;

    let filter = || {
        Filter::all()
            .saga("line")
            .state(InstanceState::Completed)
            .limit(2)
    };
    let (mut seen, mut page) = (Vec::new(), engine.list(filter()).await.unwrap());
    loop {
        assert!(page.instances.len() <= 2);
        seen.extend(page.instances.iter().map(|summary| summary.id));
        let Some(next) = page.next else { break };
        page = engine.list(filter().after(next)).await.unwrap();
    }
    completed_ids.reverse();
    assert_eq!(seen, completed_ids, "newest first, each once");
    assert_eq!(engine.list(Filter::all()).await.unwrap().instances.len(), 7);
    assert!(
        engine
            .list(Filter::all().older_than(SECOND * 3_600))
            .await
            .unwrap()
            .instances
            .is_empty()
    );

    let inspected = engine.inspect(running.id()).await.unwrap().unwrap();
    assert_eq!(inspected.summary.state, InstanceState::Executing);
    assert_eq!(
        inspected
            .steps
            .iter()
            .map(|row| row.name.as_str())
            .collect::<Vec<_>>(),
        ["a"]
    );
    assert_eq!(
        inspected.summary,
        snapshot(&store, running.id()).await.summary
    );
    let counts = engine.count().await.unwrap();
    let count = |saga: &str, state| {
        counts
            .iter()
            .find(|it| it.0 == saga && it.1 == state)
            .map(|it| it.2)
    };
    assert_eq!(count("line", InstanceState::Completed), Some(5));
    assert_eq!(count("line", InstanceState::RolledBack), Some(1));
    assert_eq!(count("pivotal", InstanceState::Executing), Some(1));
}
