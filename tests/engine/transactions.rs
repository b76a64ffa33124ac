//! Steps that commit together with their output, and instances that start in a caller's transaction.

use super::*;
use sagaz::{
    FailureReason,
    store::{
        StepState, Transacts,
        fault::{Call, Fault},
        memory::MemoryTransaction,
    },
};
use std::sync::Arc;
use support::Recorder;

/// `order` and its undo, and `ship`, count in the store what they do; `pay` stands between them.
struct Shop(World);

impl Shop {
    /// Counts, in the transaction, how often this was done.
    fn count(tx: &mut MemoryTransaction, what: &str) -> u64 {
        let done = tx.get(what).map_or(0, |bytes| u64::from(bytes[0])) + 1;
        tx.set(what, vec![u8::try_from(done).unwrap()]);
        done
    }
}

#[saga(name = "shop")]
impl Shop {
    #[step(retry(attempts = 3, initial = "1s"), timeout = "1m")]
    async fn order(
        &self,
        ctx: &StepContext<'_>,
        tx: &mut MemoryTransaction,
    ) -> Result<u64, StepError> {
        let done = Self::count(tx, "order");
        self.0.attempt(ctx, None).await.map(|()| done)
    }

    #[compensate("order", retry(attempts = 3, initial = "1s"))]
    async fn undo_order(
        &self,
        ctx: &StepContext<'_>,
        order: &u64,
        tx: &mut MemoryTransaction,
    ) -> Result<(), StepError> {
        Self::count(tx, "undo order");
        self.0.attempt(ctx, Some(*order)).await
    }

    #[step(depends_on = ["order"])]
    async fn pay(&self, ctx: &StepContext<'_>, order: &u64) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| order + 10)
    }

    #[compensate("pay")]
    async fn undo_pay(&self, ctx: &StepContext<'_>, pay: Option<&u64>) -> Result<(), StepError> {
        self.0.attempt(ctx, pay.copied()).await
    }

    #[step(depends_on = ["pay"])]
    async fn ship(
        &self,
        tx: &mut MemoryTransaction,
        ctx: &StepContext<'_>,
        pay: &u64,
    ) -> Result<u64, StepError> {
        let done = Self::count(tx, "ship");
        self.0.attempt(ctx, None).await.map(|()| pay + done)
    }
}

fn shop(store: &Memory, world: &World) -> EngineBuilder<Memory> {
    Engine::builder(store.clone())
        .lease(LEASE)
        .register(Shop(world.clone()))
}

/// How often that was done, by what is committed.
fn done(store: &Memory, what: &str) -> u64 {
    store.value(what).map_or(0, |bytes| u64::from(bytes[0]))
}

async fn run(store: &Memory, world: &World) -> Handle<Shop, Memory> {
    let engine = shop(store, world).start().await.unwrap();
    engine.start::<Shop>(()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_step_its_output_and_its_effect_are_one_commit() {
    let (store, world) = (Memory::new(), World::new());
    let handle = run(&store, &world).await;
    let outputs = completed(&handle).await;
    assert_eq!((outputs.order, outputs.pay, outputs.ship), (1, 11, 12));
    assert_eq!((done(&store, "order"), done(&store, "ship")), (1, 1));
    let faults = store.faults();
    assert_eq!(
        (faults.write_rows(), faults.count(Call::Commit)),
        (2, 2),
        "one write to accept it, one for each step; the last completes the instance"
    );
    assert_eq!(state(&store, handle.id()).await, InstanceState::Completed);
}

#[tokio::test(start_paused = true)]
async fn p5_a_transactional_step_that_ends_badly_had_no_effect() {
    for act in [
        Act::Fail(unclear()),
        Act::Panic,
        Act::Hang,
        Act::Fail(StepError::unknown("who knows")),
    ] {
        let (store, world) = (Memory::new(), World::new());
        let acts = (0..2).map(|_| Act::Panic).chain([act]);
        world.plan("order", acts);
        let handle = run(&store, &world).await;
        let failure = failure(&handle).await;
        assert_eq!(failure.reason, FailureReason::Failed, "{failure:?}");
        assert_eq!(done(&store, "order"), 0);
        assert!(world.entries("undo order").is_empty());
        assert_eq!(
            row(&store, handle.id(), "order").await.state,
            StepState::Failed
        );
    }
}

#[tokio::test(start_paused = true)]
async fn p4_a_transactional_compensation_happens_once_with_its_record() {
    let (store, world) = (Memory::new(), World::new());
    world.fail("pay", [permanent()]);
    world.fail("undo order", [unclear(), unclear()]);
    let handle = run(&store, &world).await;
    failure(&handle).await;
    assert_eq!((done(&store, "order"), done(&store, "undo order")), (1, 1));
    assert_eq!(world.entries("undo order").len(), 3);
    assert_eq!(
        row(&store, handle.id(), "order").await.state,
        StepState::Compensated
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_commit_reply_is_not_a_failure() {
    for call in [Call::Begin, Call::WriteIn, Call::Commit] {
        for fault in [Fault::FailAfter, Fault::FailBefore] {
            let (store, world) = (Memory::new(), World::new());
            store.faults().plan(call, 1, fault);
            store.faults().plan(Call::Settle, 1, Fault::FailBefore);
            let handle = run(&store, &world).await;
            completed(&handle).await;
            assert_eq!(
                (done(&store, "order"), done(&store, "ship")),
                (1, 1),
                "{call:?} {fault:?}"
            );
            let repeated = matches!(
                (call, fault),
                (Call::WriteIn, _) | (Call::Commit, Fault::FailBefore)
            );
            let attempts: Vec<_> = world
                .entries("order")
                .iter()
                .map(|entry| entry.attempt)
                .collect();
            assert_eq!(
                attempts,
                if repeated { vec![1, 1] } else { vec![1] },
                "a store that is busy uses no attempt: {call:?} {fault:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_refused_for_good_is_a_failed_attempt_without_an_effect() {
    let (store, world) = (Memory::new(), World::new());
    for nth in 1..=3 {
        store.faults().plan(Call::Commit, nth, Fault::Refuse);
    }
    let handle = run(&store, &world).await;
    assert_eq!(failure(&handle).await.reason, FailureReason::Failed);
    assert_eq!(world.entries("order").len(), 3);
    assert_eq!(done(&store, "order"), 0);
}

/// The process dies in the middle of each call, before and after it took effect.
#[tokio::test(start_paused = true)]
async fn p2_a_transactional_step_happens_once_whenever_its_process_dies() {
    let calls = [Call::Begin, Call::WriteIn, Call::Commit, Call::Settle];
    for call in calls {
        for fault in [Fault::DropBefore, Fault::DropAfter] {
            for (nth, is_undone) in [(1, false), (2, false), (2, true)] {
                let (store, world) = (Memory::new(), World::new());
                if is_undone {
                    world.fail("pay", [permanent()]);
                }
                if call == Call::Settle {
                    store.faults().plan(Call::Commit, nth, Fault::FailAfter);
                    store.faults().plan(Call::Settle, 1, fault);
                } else {
                    store.faults().plan(call, nth, fault);
                }
                let first = shop(&store, &world).start().await.unwrap();
                let id = first.start::<Shop>(()).await.unwrap().id();
                let fired = if call == Call::Settle { 2 } else { 1 };
                within(store.faults().wait_fired(fired)).await;
                first.abort();
                let second = shop(&store, &world).start().await.unwrap();
                let handle = second.handle::<Shop>(id).await.unwrap();
                let outcome = outcome(&handle).await;
                assert_eq!(outcome.is_completed(), !is_undone);
                let counts = ["order", "ship", "undo order"].map(|what| done(&store, what));
                let wanted = if is_undone { [1, 0, 1] } else { [1, 1, 0] };
                assert_eq!(counts, wanted, "{call:?} {fault:?} {nth}");
            }
        }
    }
}

/// The fence is in the transaction: a write that comes after a takeover takes the step's own effect back.
#[tokio::test(start_paused = true)]
async fn p7_a_former_owner_commits_nothing() {
    let (store, world) = (Memory::new(), World::new());
    store
        .faults()
        .plan(Call::WriteIn, 1, Fault::Delay(SECOND * 300));
    let first = shop(&store, &world).start().await.unwrap();
    let handle = first.start::<Shop>(()).await.unwrap();
    world.wait_began("order", 1).await;
    // Its renewals fail from now on, and the second engine takes over.
    let rival = first.id();
    store
        .faults()
        .on_renew(move |engine| (*engine == rival).then_some(Fault::FailBefore));
    let second = shop(&store, &world).start().await.unwrap();
    let other = second.handle::<Shop>(handle.id()).await.unwrap();
    completed(&other).await;
    assert_eq!(done(&store, "order"), 1);
    until("the first engine's commit has been tried", async || {
        store.faults().count(Call::WriteIn) == 3 && first.in_flight() == 0
    })
    .await;
    assert_eq!((done(&store, "order"), done(&store, "ship")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_cancel_waits_for_a_commit_that_may_decide() {
    let (store, world) = (Memory::new(), World::new());
    // `ship` is the last step: its commit completes the instance.
    store
        .faults()
        .plan(Call::Commit, 2, Fault::Delay(SECOND * 5));
    let handle = run(&store, &world).await;
    until("the last commit is on its way", async || {
        store.faults().count(Call::Commit) == 2
    })
    .await;
    handle.cancel().await.unwrap();
    completed(&handle).await;
    assert_eq!((done(&store, "ship"), done(&store, "undo order")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_cancel_is_honoured_when_the_commit_failed() {
    let (store, world) = (Memory::new(), World::new());
    store.faults().plan(Call::Commit, 2, Fault::FailBefore);
    store
        .faults()
        .plan(Call::Settle, 1, Fault::Delay(SECOND * 5));
    let handle = run(&store, &world).await;
    until("the last commit is in doubt", async || {
        store.faults().count(Call::Settle) == 1
    })
    .await;
    handle.cancel().await.unwrap();
    let cancelled = failure(&handle).await;
    assert_eq!(cancelled.reason, FailureReason::Cancelled);
    assert_eq!(
        ["order", "undo order", "ship"].map(|what| done(&store, what)),
        [1, 1, 0]
    );
}

#[tokio::test(start_paused = true)]
async fn p12_an_output_that_is_too_large_is_rolled_back_with_its_effect() {
    struct Large;

    #[saga(name = "large")]
    impl Large {
        #[step(retry(attempts = 5, initial = "1s"))]
        async fn grow(&self, tx: &mut MemoryTransaction) -> Result<String, StepError> {
            tx.set("grown", "yes");
            Ok("x".repeat(2_000))
        }
    }

    let store = Memory::new();
    let recorder = Arc::new(Recorder::default());
    let engine = Engine::builder(store.clone())
        .register(Large)
        .payload_max(1_000)
        .observer(recorder.clone())
        .start()
        .await
        .unwrap();
    let handle = engine.start::<Large>(()).await.unwrap();
    let failure = failure(&handle).await;
    assert!(failure.message.contains("2002 bytes"), "{failure:?}");
    assert_eq!(failure.reason, FailureReason::OutputRefused);
    assert!(recorder.has("output of grow refused"));
    assert_eq!(store.value("grown"), None);
}

/// A sibling fails while a commit is on its way.
struct Siblings(World);

#[saga(name = "siblings")]
impl Siblings {
    #[step]
    async fn left(
        &self,
        ctx: &StepContext<'_>,
        tx: &mut MemoryTransaction,
    ) -> Result<u64, StepError> {
        Shop::count(tx, "left");
        self.0.attempt(ctx, None).await.map(|()| 1)
    }

    #[compensate("left")]
    async fn undo_left(
        &self,
        ctx: &StepContext<'_>,
        tx: &mut MemoryTransaction,
        left: &u64,
    ) -> Result<(), StepError> {
        Shop::count(tx, "undo left");
        self.0.attempt(ctx, Some(*left)).await
    }

    #[step]
    async fn right(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        self.0.attempt(ctx, None).await.map(|()| 2)
    }

    #[compensate("right")]
    async fn undo_right(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        self.0.attempt(ctx, None).await
    }
}

#[tokio::test(start_paused = true)]
async fn p4_a_step_that_was_committed_while_a_sibling_failed_is_undone() {
    for fault in [
        Fault::Delay(SECOND * 3),
        Fault::FailAfter,
        Fault::FailBefore,
    ] {
        let (store, world) = (Memory::new(), World::new());
        store.faults().plan(Call::Commit, 1, fault);
        store
            .faults()
            .plan(Call::Settle, 1, Fault::Delay(SECOND * 3));
        world.plan("right", [seconds(1), Act::Fail(permanent())]);
        let engine = Engine::builder(store.clone())
            .register(Siblings(world.clone()))
            .start()
            .await
            .unwrap();
        let handle = engine.start::<Siblings>(()).await.unwrap();
        failure(&handle).await;
        let left = u64::from(fault != Fault::FailBefore);
        assert_eq!(
            (done(&store, "left"), done(&store, "undo left")),
            (left, left),
            "{fault:?}"
        );
        assert!(world.entries("undo right").is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn shutdown_lets_a_commit_end() {
    let (store, world) = (Memory::new(), World::new());
    store
        .faults()
        .plan(Call::Commit, 1, Fault::Delay(SECOND * 3));
    let engine = shop(&store, &world).start().await.unwrap();
    let handle = engine.start::<Shop>(()).await.unwrap();
    until("a commit is on its way", async || {
        store.faults().count(Call::Commit) == 1
    })
    .await;
    within(engine.shutdown()).await;
    assert_eq!(
        row(&store, handle.id(), "order").await.state,
        StepState::Completed
    );
    let next = shop(&store, &world).start().await.unwrap();
    completed(&next.handle::<Shop>(handle.id()).await.unwrap()).await;
    assert_eq!(world.entries("order").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_starts_in_a_transaction_exists_when_it_is_committed() {
    let (store, world) = (Memory::new(), World::new());
    let engine = shop(&store, &world).start().await.unwrap();
    let (mut tx, ()) = store.begin().await.unwrap();
    tx.set("row of the application", "1");
    let handle = engine
        .start_in::<Shop>(&mut tx, ())
        .key("one")
        .await
        .unwrap();
    assert!(handle.outcome().await.unwrap_err().is_not_found());
    assert!(world.began().is_empty());
    store.commit(tx).await.unwrap();
    completed(&handle).await;
    assert!(store.value("row of the application").is_some());
    // The key is used.
    let (mut tx, ()) = store.begin().await.unwrap();
    let again = engine
        .start_in::<Shop>(&mut tx, ())
        .key("one")
        .await
        .unwrap();
    assert_eq!(again.id(), handle.id());
}

#[tokio::test(start_paused = true)]
async fn what_starts_in_a_transaction_that_is_rolled_back_never_was() {
    let (store, world) = (Memory::new(), World::new());
    let engine = shop(&store, &world).start().await.unwrap();
    let (mut tx, ()) = store.begin().await.unwrap();
    let handle = engine
        .start_in::<Shop>(&mut tx, ())
        .key("one")
        .await
        .unwrap();
    drop(tx);
    assert!(handle.outcome().await.unwrap_err().is_not_found());
    let later = engine.start::<Shop>(()).key("one").await.unwrap();
    assert_ne!(later.id(), handle.id());
    completed(&later).await;
}

#[tokio::test(start_paused = true)]
async fn p10_a_key_in_a_transaction_with_another_input_is_an_error() {
    let (store, world) = (Memory::new(), World::new());
    let engine = started(&store, &world).await;
    engine.start::<Line>(1).key("one").await.unwrap();
    let (mut tx, ()) = store.begin().await.unwrap();
    let error = engine
        .start_in::<Line>(&mut tx, 2)
        .key("one")
        .await
        .unwrap_err();
    assert!(error.is_conflict());
    assert!(
        engine
            .start_in::<Line>(&mut tx, 3)
            .key("")
            .await
            .unwrap_err()
            .is_invalid()
    );
}

/// `save` may take its time, and writes nothing.
struct Recovering;

#[saga(name = "recovering")]
impl Recovering {
    #[step(pivot)]
    async fn pay(&self, tx: &mut MemoryTransaction) -> Result<u64, StepError> {
        Ok(Shop::count(tx, "pay"))
    }

    #[step(depends_on = ["pay"], retry(attempts = 1))]
    async fn book(&self, tx: &mut MemoryTransaction) -> Result<u64, StepError> {
        Shop::count(tx, "book");
        Err(permanent())
    }

    #[recover("book")]
    async fn save(&self) -> Recover<u64> {
        Recover::Use(7)
    }
}

#[tokio::test(start_paused = true)]
async fn a_recovery_has_no_transaction() {
    let store = Memory::new();
    let builder = Engine::builder(store.clone()).register(Recovering);
    let engine = builder.start().await.unwrap();
    let handle = engine.start::<Recovering>(()).await.unwrap();
    assert_eq!(completed(&handle).await.book, 7);
    assert_eq!(done(&store, "book"), 0);
    assert_eq!(
        store.faults().count(Call::Begin),
        2,
        "one for each attempt of a step"
    );
}

/// What an attempt gave is dropped when it is rolled back, and that may panic.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Touchy {
    padding: String,
    is_touchy: bool,
}

impl Drop for Touchy {
    fn drop(&mut self) {
        assert!(!self.is_touchy || std::thread::panicking(), "touched");
    }
}

struct Fragile(World);

#[saga(name = "fragile")]
impl Fragile {
    #[step]
    async fn one(
        &self,
        ctx: &StepContext<'_>,
        tx: &mut MemoryTransaction,
    ) -> Result<Touchy, StepError> {
        Shop::count(tx, "one");
        self.0.attempt(ctx, None).await?;
        Ok(Touchy {
            padding: "x".repeat(2_000),
            is_touchy: true,
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_an_output_that_is_rolled_back_is_of_the_attempt_alone() {
    let (store, world) = (Memory::new(), World::new());
    let engine = Engine::builder(store.clone())
        .register(Fragile(world.clone()))
        .payload_max(1_000)
        .start()
        .await
        .unwrap();
    let handle = engine.start::<Fragile>(()).await.unwrap();
    failure(&handle).await;
    assert_eq!((world.entries("one").len(), done(&store, "one")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn p10_two_starts_with_one_key_in_one_transaction_are_one() {
    let (store, world) = (Memory::new(), World::new());
    let engine = shop(&store, &world).start().await.unwrap();
    let (mut tx, ()) = store.begin().await.unwrap();
    let first = engine.start_in::<Shop>(&mut tx, ()).key("one").await;
    let second = engine.start_in::<Shop>(&mut tx, ()).key("one").await;
    assert_eq!(first.unwrap().id(), second.unwrap().id());
}

async fn siblings(store: &Memory, world: &World) -> Handle<Siblings, Memory> {
    let builder = Engine::builder(store.clone()).register(Siblings(world.clone()));
    let engine = builder.start().await.unwrap();
    engine.start::<Siblings>(()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_commit_takes_along_what_is_to_be_stored() {
    let (store, world) = (Memory::new(), World::new());
    let handle = siblings(&store, &world).await;
    completed(&handle).await;
    let faults = store.faults();
    assert_eq!((faults.write_rows(), faults.count(Call::Commit)), (1, 1));
    assert_eq!(state(&store, handle.id()).await, InstanceState::Completed);
}

/// A failure as well, with every step that was in flight.
#[tokio::test(start_paused = true)]
async fn p4_a_commit_takes_along_a_failure() {
    for fault in [None, Some(Fault::FailBefore), Some(Fault::FailAfter)] {
        let (store, world) = (Memory::new(), World::new());
        world.fail("right", [permanent()]);
        if let Some(fault) = fault {
            store.faults().plan(Call::Commit, 1, fault);
        }
        let handle = siblings(&store, &world).await;
        assert_eq!(
            failure(&handle).await.step.as_deref(),
            Some("right"),
            "{fault:?}"
        );
        assert_eq!(done(&store, "left"), done(&store, "undo left"), "{fault:?}");
    }
}

/// What it took along is to blame, for all that is known.
#[tokio::test(start_paused = true)]
async fn a_refused_commit_that_took_something_along_uses_no_attempt() {
    let (store, world) = (Memory::new(), World::new());
    store.faults().plan(Call::Commit, 1, Fault::Refuse);
    let handle = siblings(&store, &world).await;
    completed(&handle).await;
    let attempts: Vec<_> = world.entries("left").iter().map(|it| it.attempt).collect();
    assert_eq!(attempts, [1, 1]);
    assert_eq!(world.entries("right").len(), 1);
    assert_eq!((done(&store, "left"), store.faults().write_rows()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn p12_a_record_that_the_store_refuses_for_good_is_not_offered_again() {
    let (store, world) = (Memory::new(), World::new());
    store.faults().plan(Call::WriteIn, 1, Fault::Refuse);
    let handle = run(&store, &world).await;
    let failure = failure(&handle).await;
    assert_eq!(failure.reason, FailureReason::OutputRefused, "{failure:?}");
    assert_eq!(
        (world.entries("order").len(), done(&store, "order")),
        (1, 0)
    );
}
