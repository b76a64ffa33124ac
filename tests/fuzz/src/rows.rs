//! Rows of a store, as no engine has written them: whatever they say, an engine that claims the instance neither panics nor hangs;
//! the instance ends or is stuck, with words; a step whose row says that it is completed does not run again; undos are in order;
//! and other instances are not disturbed. Operators' decisions on it are taken or refused, with words.
//!
//! They are written through the store's own interface, in memory and in virtual time. Not here: what only a database can hold, such
//! as a state that is none, which is in `sqlite_rows`.

use crate::{
    shop::{Act, COMPENSATED, Order, Plan, STEPS, World},
    words::{number, one_of},
};
use sagaz::{
    Engine, EngineId, Event, Failure, FailureReason, Memory, Payload, Resolution, Saga, SagaId,
    Stuck, StuckReason, Token,
    store::{
        Accept, InstanceState, Progress, SagaStore, Snapshot, StepState, StepWrite, Wake, Write,
        Written,
    },
};
use std::{str, time::Duration};

const HOUR: Duration = Duration::from_hours(1);

/// Longer than all retries, waits and timeouts that are not said to be longer.
const HOURS_MAX: u32 = 72;

/// What an input says, line by line. What cannot be read is something all the same, so that no change of a line is lost.
struct Rows<'i> {
    input: Payload,
    state: InstanceState,
    pivot_passed: bool,
    failure: Option<Failure>,
    stuck: Option<Stuck>,
    release: Option<Wake>,
    deadline: Option<Duration>,
    trace: Option<String>,
    /// Its owner died.
    is_orphan: bool,
    /// It was started with the version before.
    is_older: bool,
    is_cancelled: bool,
    waits_for_all: bool,
    steps: Vec<StepWrite>,
    plan: Plan,
    operator: Vec<(&'i str, &'i str)>,
    /// It may still wait when the time is over.
    may_wait: bool,
}

pub(crate) fn rows(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let rows = Rows::of(&text);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        if rows.waits_for_all {
            let world = World::new(rows.plan.clone());
            Box::pin(run(world.patient(), world, &rows)).await;
        } else {
            let world = World::new(rows.plan.clone());
            Box::pin(run(world.shop(), world, &rows)).await;
        }
    });
}

async fn run<G>(shop: G, world: World, rows: &Rows<'_>)
where
    G: Saga<Input = Order> + sagaz::RunsOn<Memory> + Clone,
{
    let store = Memory::new();
    let first = engine(&store, shop.clone(), &world).await;
    let before = first.start::<G>(Order::GOOD).await.unwrap();
    assert!(before.outcome().await.unwrap().is_completed());
    let victim = SagaId::new();
    world.is_for(victim);
    let neighbour = write(&store, victim, before.id(), rows).await;
    first.shutdown().await;

    let engine = engine(&store, shop, &world).await;
    let later = engine.start::<G>(Order::GOOD).await.unwrap();
    let written = engine.inspect(victim).await.unwrap().unwrap();
    let mut settled = settle(&engine, victim, rows).await;
    check_neighbours(&engine, &world, [before.id(), neighbour, later.id()]).await;
    check(&world, victim, rows, &settled);
    for &(action, step) in &rows.operator {
        let before = settled.summary.clone();
        let operator = engine.operator("somebody", "for a reason");
        let done = match action {
            "retry" => operator.retry(victim, step).await,
            "no_effect" => operator.resolve(victim, step, Resolution::NoEffect).await,
            "compensated" => {
                operator
                    .resolve(victim, step, Resolution::Compensated)
                    .await
            }
            output => {
                let output = json(output);
                operator
                    .resolve(victim, step, Resolution::Completed(output))
                    .await
            }
        };
        if let Err(error) = &done {
            assert!(!error.to_string().is_empty());
        }
        assert!(done.is_err() || before.state == InstanceState::Stuck);
        settled = settle(&engine, victim, rows).await;
    }
    world.check_order_of_undos(victim);
    if !written.summary.state.is_final() {
        check_end(&settled);
    }
    check_neighbours(&engine, &world, [before.id(), neighbour, later.id()]).await;
    let handle = engine.handle::<G>(victim).await.unwrap();
    if !settled.summary.state.is_live() {
        let outcome = tokio::time::timeout(HOUR, handle.outcome()).await;
        if let Err(error) = outcome.expect("an instance that has ended tells how") {
            assert!(!error.to_string().is_empty());
        }
    }
    if written.summary.state.is_final() {
        assert_eq!(
            settled.summary, written.summary,
            "what has ended is left alone"
        );
        assert_eq!(settled.steps.len(), written.steps.len());
    }
    engine.shutdown().await;
}

async fn engine<G: sagaz::RunsOn<Memory>>(
    store: &Memory,
    shop: G,
    world: &World,
) -> Engine<Memory> {
    let engine = Engine::builder(store.clone()).register(shop);
    let engine = engine.lease(HOUR).poll_interval(HOUR / 6);
    engine.observer(world.observer()).start().await.unwrap()
}

/// Writes the rows, as an engine that is gone; another instance is left unowned with them.
async fn write(store: &Memory, victim: SagaId, like: SagaId, rows: &Rows<'_>) -> SagaId {
    let former = EngineId::random();
    store.renew(former, HOUR * 1_000).await.unwrap();
    let like = store.load(like).await.unwrap().unwrap();
    let good = Accept {
        id: SagaId::new(),
        definition: like.summary.definition,
        input: like.input,
        input_digest: String::new(),
        start_key: None,
        owner: None,
        deadline: None,
        trace: None,
    };
    let neighbour = good.id;
    let mut accept = Accept {
        id: victim,
        input: rows.input.clone(),
        owner: Some(former),
        deadline: rows.deadline,
        trace: rows.trace.clone(),
        ..good.clone()
    };
    if rows.is_older {
        accept.definition.version = 1;
        "of another graph".clone_into(&mut accept.definition.fingerprint);
    }
    store.write(&[Write::Accept(good)]).await.unwrap();
    store.write(&[Write::Accept(accept)]).await.unwrap();
    if rows.is_cancelled {
        store.request_cancel(victim).await.unwrap();
    }
    let progress = Progress {
        id: victim,
        token: Token {
            owner: former,
            epoch: 1,
        },
        state: rows.state,
        pivot_passed: rows.pivot_passed,
        failure: rows.failure.clone(),
        stuck: rows.stuck.clone(),
        release: if rows.is_orphan {
            None
        } else {
            rows.release.or(Some(Wake::Now))
        },
        steps: rows.steps.clone(),
        sender: None,
    };
    let written = store.write(&[Write::Progress(progress)]).await.unwrap();
    assert!(matches!(written[..], [Written::Stored { .. }]));
    store.retire(former).await.unwrap();
    neighbour
}

/// Until the instance has ended or is stuck.
async fn settle(engine: &Engine<Memory>, victim: SagaId, rows: &Rows<'_>) -> Snapshot {
    for _ in 0..HOURS_MAX {
        let snapshot = engine.inspect(victim).await.unwrap().unwrap();
        if !snapshot.summary.state.is_live() {
            let stuck = snapshot.summary.stuck.as_ref();
            if snapshot.summary.state == InstanceState::Stuck && rows.state != InstanceState::Stuck
            {
                let stuck = stuck.expect("it says why it is stuck");
                // The words of a last error may not have been stored.
                let needs_words =
                    matches!(stuck.reason, StuckReason::Undecodable | StuckReason::Poison);
                assert!(!needs_words || !stuck.message.is_empty(), "{stuck:?}");
                assert!(!stuck.to_string().contains("`?`"), "{stuck}");
            }
            return snapshot;
        }
        tokio::time::sleep(HOUR).await;
    }
    let snapshot = engine.inspect(victim).await.unwrap().unwrap();
    // One that this engine cannot run is left to others.
    assert!(rows.may_wait || rows.is_older, "it hangs: {snapshot:?}");
    snapshot
}

async fn check_neighbours(engine: &Engine<Memory>, world: &World, ids: [SagaId; 3]) {
    for id in ids {
        let state = engine.inspect(id).await.unwrap().unwrap().summary.state;
        assert_eq!(state, InstanceState::Completed);
        world.check_neighbour(id);
    }
    world.check_quiet();
}

/// What is over is over in every step.
fn check_end(settled: &Snapshot) {
    for step in &settled.steps {
        let is_over = match settled.summary.state {
            InstanceState::Completed => step.state == StepState::Completed,
            InstanceState::RolledBack if COMPENSATED.contains(&step.name.as_str()) => matches!(
                step.state,
                StepState::Pending
                    | StepState::Failed
                    | StepState::Compensated
                    | StepState::Resolved
            ),
            _ => true,
        };
        assert!(is_over, "{} with {step:?}", settled.summary.state);
    }
}

fn check(world: &World, victim: SagaId, rows: &Rows<'_>, settled: &Snapshot) {
    let (actions, undos) = (world.actions(victim), world.undos(victim));
    let state_of = |name: &str| {
        rows.steps
            .iter()
            .find(|step| step.name == name)
            .map(|it| it.state)
    };
    for name in &actions {
        assert_ne!(
            state_of(name),
            Some(StepState::Completed),
            "`{name}` was completed, and ran"
        );
        if rows.failure.is_some() {
            let is_over = matches!(
                state_of(name),
                Some(StepState::Compensated | StepState::Resolved | StepState::CompensationFailed)
            );
            assert!(!is_over, "`{name}` was undone, and ran");
        }
    }
    for name in &undos {
        let is_over = matches!(
            state_of(name),
            Some(StepState::Compensated | StepState::Resolved)
        );
        assert!(!is_over, "`{name}` was undone, and was undone again");
    }
    world.check_order_of_undos(victim);
    if rows.state.is_live() && settled.summary.state == InstanceState::RolledBack {
        for step in COMPENSATED {
            assert!(
                state_of(step) != Some(StepState::Completed) || undos.contains(&step),
                "`{step}` was completed, and is not undone"
            );
        }
    }
    if !rows.state.is_live() {
        assert!(
            actions.is_empty() && undos.is_empty(),
            "{actions:?} {undos:?}"
        );
    }
    if rows.failure.is_none() && rows.pivot_passed && state_of("book") == Some(StepState::Completed)
    {
        assert!(
            undos.is_empty(),
            "the pivot was passed, and {undos:?} undone"
        );
    }
    if rows.state.is_live() && settled.summary.state == InstanceState::Completed {
        for step in &settled.steps {
            assert!(
                step.state == StepState::Completed && step.output.is_some(),
                "{step:?}"
            );
        }
        assert_eq!(settled.steps.len(), STEPS.len());
    }
}

impl<'i> Rows<'i> {
    fn of(text: &'i str) -> Self {
        let mut rows = Self {
            input: json(r#"{"number":7}"#),
            state: InstanceState::Executing,
            pivot_passed: false,
            failure: None,
            stuck: None,
            release: None,
            deadline: None,
            trace: None,
            is_orphan: false,
            is_older: false,
            is_cancelled: false,
            waits_for_all: false,
            steps: Vec::new(),
            plan: Plan::default(),
            operator: Vec::new(),
            may_wait: false,
        };
        text.split('\n').take(100).for_each(|line| rows.read(line));
        rows
    }

    fn read(&mut self, line: &'i str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (first, more) = rest.split_once(' ').unwrap_or((rest, ""));
        match word {
            "input" => self.input = json(rest),
            "input_type" => rest.clone_into(&mut self.input.content_type),
            "state" => self.state = one_of(&InstanceState::ALL, rest, InstanceState::as_str),
            "pivot_passed" => self.pivot_passed = true,
            "failure" => {
                let (reason, message) = more.split_once(' ').unwrap_or((more, ""));
                let step = (first != "-").then(|| first.to_owned());
                let reason = one_of(&REASONS, reason, |reason| reason.as_str());
                self.failure = Some(failure(step.as_deref(), reason, message));
            }
            "stuck" => {
                let (reason, message) = more.split_once(' ').unwrap_or((more, ""));
                let step = (first != "-").then(|| first.to_owned());
                let reason = one_of(&StuckReason::ALL, reason, |reason| reason.as_str());
                self.stuck = Some(stuck(step.as_deref(), reason, message));
            }
            "release" => self.release = Some(Wake::After(self.seconds(rest))),
            "deadline" => self.deadline = Some(self.seconds(rest)),
            "trace" => self.trace = Some(rest.to_owned()),
            "orphan" => self.is_orphan = true,
            "older" => self.is_older = true,
            "cancelled" => self.is_cancelled = true,
            "wait_all" => self.waits_for_all = true,
            "act" => {
                let (act, times) = more.split_once(' ').unwrap_or((more, "1"));
                let act = one_of(&Act::ALL, act, Act::as_str);
                self.plan
                    .act(first, act, u8::try_from(number(times) % 10).unwrap_or(1));
            }
            "operator" if self.operator.len() < 4 => self.operator.push((more, first)),
            "step" => self.step(first, more),
            _ => self.of_step(word, rest),
        }
    }

    fn step(&mut self, name: &str, state: &str) {
        // A row replaces the one before it.
        self.steps.retain(|step| step.name != name);
        self.steps.push(StepWrite {
            name: name.to_owned(),
            kind: sagaz::StepKind::Compensatable,
            state: one_of(&StepState::ALL, state, StepState::as_str),
            attempts: 1,
            undo_attempts: 0,
            recoveries: 0,
            output: None,
            error: None,
            wake: None,
            events: Vec::new(),
        });
    }

    /// What else the row of the last step says.
    fn of_step(&mut self, word: &str, rest: &str) {
        let wake = self.seconds(rest);
        let Some(step) = self.steps.last_mut() else {
            return;
        };
        let count = u32::try_from(number(rest)).unwrap_or(u32::MAX);
        match word {
            "attempts" => step.attempts = count,
            "undo_attempts" => step.undo_attempts = count,
            "recoveries" => step.recoveries = count,
            "output" => step.output = Some(json(rest)),
            "output_type" => {
                if let Some(output) = &mut step.output {
                    rest.clone_into(&mut output.content_type);
                }
            }
            "error" => step.error = Some(rest.to_owned()),
            "wake" => step.wake = Some(wake),
            "pivot" => step.kind = sagaz::StepKind::Pivot,
            "retriable" => step.kind = sagaz::StepKind::Retriable,
            "event" => step.events.push(Event::new(rest, &1)),
            _ => {}
        }
    }

    fn seconds(&mut self, text: &str) -> Duration {
        let seconds = Duration::from_secs(number(text));
        self.may_wait |= seconds > HOUR * 24;
        seconds
    }
}

const REASONS: [FailureReason; 5] = [
    FailureReason::Failed,
    FailureReason::Unknown,
    FailureReason::OutputRefused,
    FailureReason::Cancelled,
    FailureReason::DeadlineExceeded,
];

fn json(text: &str) -> Payload {
    Payload {
        content_type: "application/json".to_owned(),
        bytes: text.as_bytes().to_vec(),
    }
}

fn failure(step: Option<&str>, reason: FailureReason, message: &str) -> Failure {
    let value = serde_json::json!({ "step": step, "reason": reason, "message": message });
    serde_json::from_value(value).unwrap()
}

fn stuck(step: Option<&str>, reason: StuckReason, message: &str) -> Stuck {
    let value = serde_json::json!({ "step": step, "reason": reason, "message": message });
    serde_json::from_value(value).unwrap()
}
