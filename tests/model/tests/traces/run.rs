//! One run: engines on one store in virtual time, and what their seed lets happen to them.

use crate::{
    sagas::Chosen,
    trace::{Event, Trace},
    world::{Services, World},
};
use sagaz::{
    Engine, EngineId,
    store::{
        InstanceState, StepState,
        fault::{Cause, Change, Fault},
        memory::Memory,
    },
};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Longer than any run, in virtual time.
const BOUND: Duration = Duration::from_hours(4);

/// What happens to a process.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Lives,
    Dies,
    ShutDown,
    /// It cannot renew its lease for a while.
    CutOff,
}

fn fate(rng: &mut fastrand::Rng) -> (Fate, Duration) {
    let fate = match rng.u8(0..10) {
        0..3 => Fate::Lives,
        3..6 => Fate::Dies,
        6..8 => Fate::ShutDown,
        _ => Fate::CutOff,
    };
    (fate, Duration::from_millis(rng.u64(0..20_000)))
}

async fn started<G: Chosen>(store: &Memory, world: &World, name: &str) -> Engine<Memory> {
    let services = Services {
        world: world.clone(),
        engine: name.to_owned(),
    };
    Engine::builder(store.clone())
        .lease(Duration::from_secs(15))
        .wake_up_after(Duration::from_secs(3))
        .shutdown_grace(Duration::from_secs(2))
        .register(G::new(services))
        .start()
        .await
        .unwrap()
}

/// Lets happen to an engine what is to happen.
async fn meet(engine: Engine<Memory>, name: String, (fate, after): (Fate, Duration), world: World) {
    sleep(after).await;
    match fate {
        Fate::Lives => {}
        Fate::Dies => {
            world.see(Event {
                what: "die",
                eng: name,
                ..Event::default()
            });
            engine.abort();
        }
        Fate::ShutDown => engine.shutdown().await,
        // The store's hook does it.
        Fate::CutOff => sleep(Duration::from_mins(1)).await,
    }
}

/// A run of one instance. The last engine lives.
pub(crate) fn run<G: Chosen>(seed: u64) -> Trace {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(live::<G>(seed))
}

async fn live<G: Chosen>(seed: u64) -> Trace {
    fastrand::seed(seed);
    let mut rng = fastrand::Rng::with_seed(seed);
    let store = Memory::recording();
    let world = World::new(store.clone(), rng.fork());
    let began = Instant::now();
    let mut names = BTreeMap::new();
    let mut engines = Vec::new();
    let fates = [
        fate(&mut rng),
        fate(&mut rng),
        (Fate::Lives, Duration::ZERO),
    ];
    spoil_writes(&store, rng.fork());
    spoil_claims(&store, rng.fork());
    let first = started::<G>(&store, &world, "e1").await;
    names.insert(first.id(), "e1".to_owned());
    cut_off(&store, &names, &fates, began);
    let start = tokio::spawn({
        let engine = first.clone();
        async move {
            let _ = engine.start::<G>(()).await;
        }
    });
    let cancels_at = (rng.u8(0..10) < 3).then(|| Duration::from_millis(rng.u64(0..15_000)));
    let later = [
        Duration::from_millis(rng.u64(0..15_000)),
        Duration::from_secs(25),
    ];
    let mut tasks = vec![tokio::spawn(meet(
        first,
        "e1".to_owned(),
        fates[0],
        world.clone(),
    ))];
    if let Some(at) = cancels_at {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            sleep(at).await;
            cancel(&store).await;
        }));
    }
    for (at, (delay, fate)) in later.into_iter().zip(&fates[1..]).enumerate() {
        sleep_until(began + delay).await;
        let name = format!("e{}", at + 2);
        let engine = started::<G>(&store, &world, &name).await;
        names.insert(engine.id(), name.clone());
        cut_off(&store, &names, &fates, began);
        tasks.push(tokio::spawn(meet(
            engine.clone(),
            name,
            *fate,
            world.clone(),
        )));
        engines.push(engine);
    }
    let end = timeout(BOUND, async {
        while !has_ended(&store) {
            sleep(Duration::from_secs(1)).await;
        }
    });
    assert!(
        end.await.is_ok() || store.history().is_empty(),
        "seed {seed}: the instance does not come to an end"
    );
    start.abort();
    for task in tasks {
        task.abort();
    }
    Trace {
        seed,
        events: merge(&store.history(), world.seen(), &names),
    }
}

fn has_ended(store: &Memory) -> bool {
    let last = store.history().pop();
    last.is_some_and(|change| !change.state.is_live())
}

async fn cancel(store: &Memory) {
    use sagaz::store::SagaStore;
    if let Some(change) = store.history().first() {
        let _ = store.request_cancel(change.id).await;
    }
}

/// Writes fail before or after they are applied, or take long.
fn spoil_writes(store: &Memory, mut rng: fastrand::Rng) {
    store.faults().on_write(move |_| match rng.u8(0..100) {
        0..6 => Some(Fault::FailBefore),
        6..12 => Some(Fault::FailAfter),
        12..20 => Some(Fault::Delay(Duration::from_millis(rng.u64(0..4_000)))),
        20..24 => Some(Fault::Delay(Duration::from_millis(rng.u64(4_000..30_000)))),
        _ => None,
    });
}

/// Replies of claims are lost, or claims fail.
fn spoil_claims(store: &Memory, mut rng: fastrand::Rng) {
    store.faults().on_claim(move |_| match rng.u8(0..100) {
        0..8 => Some(Fault::FailAfter),
        8..12 => Some(Fault::FailBefore),
        _ => None,
    });
}

/// Engines that are to be cut off renew nothing for a while.
fn cut_off(
    store: &Memory,
    names: &BTreeMap<EngineId, String>,
    fates: &[(Fate, Duration)],
    began: Instant,
) {
    let cut: Vec<(EngineId, Duration)> = names
        .iter()
        .filter_map(|(id, name)| {
            let at: usize = name[1..].parse().unwrap();
            let (fate, after) = fates[at - 1];
            matches!(fate, Fate::CutOff).then_some((*id, after))
        })
        .collect();
    store.faults().on_renew(move |engine| {
        let now = began.elapsed();
        let is_cut = |(id, after): &(EngineId, Duration)| {
            id == engine && now >= *after && now < *after + Duration::from_secs(40)
        };
        cut.iter().any(is_cut).then_some(Fault::FailBefore)
    });
}

/// What the store applied and what the world saw, in one order.
fn merge(
    history: &[Change],
    seen: Vec<(usize, Event)>,
    names: &BTreeMap<EngineId, String>,
) -> Vec<Event> {
    let mut events = Vec::new();
    let mut seen = seen.into_iter().peekable();
    for (at, change) in history.iter().enumerate() {
        while let Some((_, event)) = seen.next_if(|(changes, _)| *changes <= at) {
            events.push(event);
        }
        events.push(event_of(change, names));
    }
    events.extend(seen.map(|(_, event)| event));
    events
}

fn event_of(change: &Change, names: &BTreeMap<EngineId, String>) -> Event {
    let name = |engine: EngineId| names.get(&engine).cloned().unwrap_or_default();
    let owner = change.owner.map_or_else(|| "none".to_owned(), name);
    let (what, eng, orphaned) = match change.cause {
        Cause::Accept => ("accept", owner.clone(), false),
        Cause::Progress(token) => ("progress", name(token.owner), false),
        Cause::Claim { orphaned, .. } => ("claim", owner.clone(), orphaned),
        Cause::Postpone => ("postpone", String::new(), false),
        Cause::Poison => ("poison", String::new(), false),
        Cause::RequestCancel => ("cancel", String::new(), false),
        other => panic!("nobody does this here: {other:?}"),
    };
    let rows = change.steps.iter().map(|step| {
        let state = match step.state {
            // One word of the model: what surely had no effect.
            StepState::Pending | StepState::Failed => "clean",
            StepState::CompensationFailed => "compFailed",
            other => other.as_str(),
        };
        (step.name.clone(), state.to_owned(), step.has_output)
    });
    let st = match change.state {
        InstanceState::RolledBack => "rolledBack",
        other => other.as_str(),
    };
    Event {
        what,
        eng,
        orphaned,
        owner,
        epoch: change.epoch,
        st: st.to_owned(),
        passed: change.pivot_passed,
        rows: rows.collect(),
        ..Event::default()
    }
}
