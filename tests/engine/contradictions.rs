//! Rows that contradict themselves, as no engine writes them: the instance is stuck and says why, nothing of it runs, and an operator
//! sets it going.

use crate::{Line, completed, failure, snapshot, started, state, stuck, support::*};
use sagaz::{
    Engine, Failure, FailureReason, Handle, Payload, Resolution, SagaId, StepKind, StuckReason,
    Token,
    store::{
        InstanceState, Progress, SagaStore, StepState, StepWrite, Wake, Write, Written,
        memory::Memory,
    },
};

fn json(text: &str) -> Payload {
    Payload {
        content_type: "application/json".to_owned(),
        bytes: text.as_bytes().to_vec(),
    }
}

fn step(name: &str, state: StepState, output: Option<Payload>) -> StepWrite {
    StepWrite {
        name: name.to_owned(),
        kind: StepKind::Compensatable,
        state,
        attempts: 1,
        undo_attempts: 0,
        recoveries: 0,
        output,
        error: None,
        wake: None,
        events: Vec::new(),
    }
}

fn declined() -> Failure {
    let value = r#"{"step":"two","reason":"failed","message":"declined"}"#;
    serde_json::from_str(value).unwrap()
}

/// An instance with these rows, that nobody owns, and a world in which nothing of it has run.
async fn stored(
    state: InstanceState,
    failure: Option<Failure>,
    steps: Vec<StepWrite>,
) -> (Memory, World, SagaId) {
    let (store, before) = (Memory::new(), World::new());
    before.plan("one", [Act::Hang]);
    let engine = started(&store, &before).await;
    let id = engine.start::<Line>(1).await.unwrap().id();
    before.wait_began("one", 1).await;
    engine.abort();
    let token = Token {
        owner: engine.id(),
        epoch: snapshot(&store, id).await.summary.epoch,
    };
    let progress = Progress {
        id,
        token,
        state,
        pivot_passed: false,
        failure,
        stuck: None,
        release: Some(Wake::Now),
        sender: None,
        steps,
    };
    let written = store.write(&[Write::Progress(progress)]).await.unwrap();
    assert!(matches!(written[..], [Written::Stored { .. }]));
    (store, World::new(), id)
}

/// An engine finds it, and it is stuck, at this step and with these words, and nothing of it has begun.
async fn found_unreadable(
    (store, world, id): &(Memory, World, SagaId),
    step: Option<&str>,
    words: &str,
) -> (Engine<Memory>, Handle<Line, Memory>) {
    let engine = started(store, world).await;
    let handle = engine.handle::<Line>(*id).await.unwrap();
    let stuck = stuck(&handle).await;
    assert_eq!(
        (stuck.step.as_deref(), stuck.reason),
        (step, StuckReason::Undecodable)
    );
    assert!(stuck.message.contains(words), "{stuck}");
    assert!(world.began().is_empty());
    (engine, handle)
}

#[tokio::test(start_paused = true)]
async fn p2_a_step_that_is_completed_without_an_output_is_stuck_until_somebody_gives_the_output() {
    let steps = vec![step("one", StepState::Completed, None)];
    let instance = stored(InstanceState::Executing, None, steps).await;
    let words = "`one` is stored as completed, without an output";
    let (engine, handle) = found_unreadable(&instance, Some("one"), words).await;
    let (_, world, id) = instance;

    let operator = engine.operator("ann", "the service has it");
    let output = Resolution::Completed(json("2"));
    operator.resolve(id, "one", output).await.unwrap();
    let outputs = completed(&handle).await;
    assert_eq!((outputs.one, outputs.three), (2, 4));
    assert_eq!(world.began(), ["two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn p8_a_step_that_is_undone_in_an_instance_that_is_not_is_stuck_until_it_is_tried_again() {
    for state in [
        StepState::Running,
        StepState::Compensating,
        StepState::Compensated,
        StepState::CompensationFailed,
        StepState::Resolved,
    ] {
        let steps = vec![step("one", state, None)];
        let instance = stored(InstanceState::Executing, None, steps).await;
        let words = &format!("`one` is stored as {state}, in an instance that is not undone");
        let (engine, handle) = found_unreadable(&instance, Some("one"), words).await;
        let (_, world, id) = instance;

        let operator = engine.operator("ann", "looked at it");
        operator.retry(id, "one").await.unwrap();
        assert_eq!(completed(&handle).await.three, 4);
        assert_eq!(world.began(), ["one", "two", "three"]);
    }
}

#[tokio::test(start_paused = true)]
async fn p8_an_instance_that_is_undone_for_no_reason_is_stuck_until_it_is_tried_again() {
    let steps = vec![step("one", StepState::Completed, Some(json("2")))];
    let instance = stored(InstanceState::Compensating, None, steps).await;
    let words = "stored as compensating, with no reason to undo it";
    let (engine, handle) = found_unreadable(&instance, None, words).await;
    let (_, world, id) = instance;

    let operator = engine.operator("ann", "it goes on");
    operator.retry(id, "one").await.unwrap();
    assert_eq!(completed(&handle).await.three, 4);
    assert_eq!(world.began(), ["two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn p8_an_instance_that_goes_forward_with_a_reason_to_undo_it_is_stuck_until_it_is_tried_again()
 {
    let steps = vec![step("one", StepState::Completed, Some(json("2")))];
    let instance = stored(InstanceState::Executing, Some(declined()), steps).await;
    let words = "stored as executing, with a reason to undo it";
    let (engine, handle) = found_unreadable(&instance, None, words).await;
    let (store, world, id) = instance;

    let operator = engine.operator("ann", "it is undone");
    operator.retry(id, "one").await.unwrap();
    assert_eq!(failure(&handle).await.reason, FailureReason::Failed);
    assert_eq!(world.began(), ["undo one"]);
    assert_eq!(state(&store, id).await, InstanceState::RolledBack);
}
