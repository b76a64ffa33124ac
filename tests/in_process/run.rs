//! A run: its outputs, what runs side by side, detached, dropped, observed.

use crate::{
    permanent, position, sleeping,
    support::{Act, Diamond, Recorder, SECOND, World},
    unclear,
};
use sagaz::{Outcome, Saga};
use std::sync::{Arc, Mutex};
use tokio::{
    task::AbortHandle,
    time::{Instant, timeout},
};

#[tokio::test(start_paused = true)]
async fn outputs_are_typed_by_field() {
    let Outcome::Completed(outputs) = Diamond(World::new()).run(4).await else {
        panic!("not completed")
    };
    assert_eq!(
        (outputs.a, outputs.b, outputs.c.as_str(), outputs.d),
        (5, 50, "c of 5", 56)
    );
}

#[tokio::test(start_paused = true)]
async fn independent_steps_run_side_by_side() {
    let world = World::new();
    world.plan("b", [sleeping(10)]);
    world.plan("c", [sleeping(10)]);
    let began = Instant::now();
    assert!(Diamond(world.clone()).run(1).await.is_completed());
    assert_eq!(began.elapsed().as_secs(), 10);
    assert_eq!(position(&world.effects(), "d"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_detached_run_ends_without_its_handle() {
    let world = World::new();
    world.plan("a", [sleeping(5)]);
    drop(Diamond(world.clone()).run_detached(1));
    world.wait_began("d", 1).await;
    assert!(Diamond(world).run_detached(1).await.unwrap().is_completed());
}

#[tokio::test(start_paused = true)]
async fn a_detached_run_outlives_the_task_that_began_it() {
    let world = World::new();
    let caller = Arc::new(Mutex::new(None::<AbortHandle>));
    world.plan(
        "a",
        [Act::Call(Box::new({
            let caller = Arc::clone(&caller);
            move || caller.lock().unwrap().take().unwrap().abort()
        }))],
    );
    let task = tokio::spawn({
        let world = world.clone();
        async move { Diamond(world).run_detached(1).await.is_ok() }
    });
    *caller.lock().unwrap() = Some(task.abort_handle());
    assert!(task.await.unwrap_err().is_cancelled());
    world.wait_began("d", 1).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_undoes_nothing() {
    let world = World::new();
    world.plan("b", [Act::Hang]);
    assert!(
        timeout(SECOND * 60, Diamond(world.clone()).run(1))
            .await
            .is_err()
    );
    tokio::time::sleep(SECOND * 60).await;
    assert_eq!(world.effects(), ["a", "c"]);
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_told_in_order() {
    let (world, recorder) = (World::new(), Arc::new(Recorder::default()));
    world.fail("a", [unclear()]);
    world.fail("c", [permanent()]);
    world.plan("b", [Act::Done]);
    let outcome = Diamond(world)
        .run_observed(1, Arc::clone(&recorder) as _)
        .await;
    assert!(outcome.is_rolled_back());
    assert!(recorder.has("compensating"));
    let events = recorder.events();
    let before = [
        "a #1 started",
        "a #1 failed",
        "a waits after #1",
        "a #2 started",
        "a #2 ended",
        "a #2 stored",
    ];
    assert_eq!(events[..6], before);
    let after = [
        "undo a #1 started",
        "undo a #1 ended",
        "undo a #1 stored",
        "rolled_back",
    ];
    assert_eq!(events[events.len() - 4..], after);
}
