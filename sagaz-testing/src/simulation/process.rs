//! The processes of a run, and who watches over them: starts the instance as a client would, and a successor for each process that
//! is gone.

use super::{LEASE, Order, SimulatedStore, Simulation, broker::SimulatedBroker, saga::Simulated};
use crate::story::{ProcessNumber, What};
use sagaz_core::{
    Codec, Engine, EngineBuilder, Payload, RunsOn, Saga, SagaId,
    store::{CancelReply, Filter, SagaStore, Snapshot, memory::Memory},
};
use sagaz_outbox::{Optimistic, Relay};
use std::{marker::PhantomData, sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

/// After the end, so that what comes late comes.
const AFTERMATH: Duration = Duration::from_secs(150);

const START_KEY: &str = "matrix";

/// What a run needs of the matrix.
pub(crate) struct Setting<'a, G> {
    /// The saga of one process.
    pub(crate) saga: &'a dyn Fn() -> G,
    pub(crate) engine:
        &'a (dyn Fn(EngineBuilder<SimulatedStore>) -> EngineBuilder<SimulatedStore> + Sync),
    pub(crate) input: &'a Payload,
    /// Whether processes also send events right after their commit.
    pub(crate) optimistic: bool,
    /// How long the run may take, in virtual time.
    pub(crate) limit: Duration,
}

/// How a run ended.
pub(crate) struct Ending {
    pub(crate) memory: Memory,
    /// The instance, if it came to be.
    pub(crate) snapshot: Option<Snapshot>,
    /// Whether it came to an end.
    pub(crate) is_over: bool,
    /// How many instances there are.
    pub(crate) instances: usize,
    /// What a second start with the same key gave.
    pub(crate) started_again: Result<SagaId, String>,
}

struct Process<G: Saga> {
    number: ProcessNumber,
    engine: Engine<SimulatedStore>,
    sender: Option<Arc<Optimistic>>,
    relay: Relay,
    saga: PhantomData<fn() -> G>,
}

impl<G: RunsOn<SimulatedStore>> Process<G> {
    async fn start(
        simulation: &Simulation,
        memory: &Memory,
        setting: &Setting<'_, G>,
    ) -> Result<Option<Self>, String> {
        let number = simulation.new_process();
        simulation.tell(number, What::Starts);
        let store = SimulatedStore::new(memory, simulation, number);
        let saga = Simulated::new((setting.saga)(), simulation.clone(), number);
        let broker = SimulatedBroker::new(simulation, number);
        let sender = setting.optimistic.then(|| {
            let sender = Optimistic::builder(store.clone(), broker.clone()).lease(LEASE);
            Arc::new(sender.start())
        });
        let builder = Engine::builder(store.clone())
            .lease(LEASE)
            .poll_interval(LEASE / 2)
            .start_timeout(LEASE * 4);
        let builder = match sender.clone() {
            Some(sender) => builder.after_commit(sender),
            None => builder,
        };
        let starting = (setting.engine)(builder).register(saga).start();
        let engine = tokio::select! {
            biased;
            engine = starting => engine.map_err(|error| error.to_string())?,
            // Its successor is asked for already.
            () = simulation.has_died(number) => return Ok(None),
        };
        let relay = Relay::builder(store.clone(), broker)
            .lease(LEASE)
            .poll_interval(LEASE / 2)
            .start_timeout(LEASE * 4)
            .retention(None);
        let relay = tokio::select! {
            biased;
            relay = relay.start() => relay.map_err(|error| error.to_string())?,
            () = simulation.has_died(number) => return Ok(None),
        };
        Ok(Some(Self {
            number,
            engine,
            sender,
            relay,
            saga: PhantomData,
        }))
    }

    fn die(self) {
        self.engine.abort();
        drop(self.sender);
        drop(self.relay);
    }

    async fn shut_down(self) {
        self.engine.shutdown().await;
        if let Some(sender) = self.sender {
            sender.shutdown().await;
        }
        self.relay.shutdown().await;
    }
}

/// Runs one instance to its end.
pub(crate) async fn run<G: RunsOn<SimulatedStore>>(
    simulation: &Simulation,
    setting: &Setting<'_, G>,
) -> Ending {
    let _entered = simulation.enter();
    let memory = Memory::new();
    let mut processes = Vec::new();
    let ended = timeout(
        setting.limit,
        supervise(simulation, &memory, setting, &mut processes),
    )
    .await;
    let is_over = matches!(ended, Ok(Ok(())));
    if let Ok(Err(why)) = ended {
        simulation.tell(0, What::StartFailed(why));
    }
    let started_again = match processes.last().filter(|_| is_over) {
        // With the same key and input it is the same instance.
        Some(process) => start(simulation, process, setting).await,
        None => Err("the run came to no end".to_owned()),
    };
    for process in processes {
        process.die();
    }
    // Nothing of the run is left on this thread: what was aborted is dropped before the next one begins.
    tokio::task::yield_now().await;
    let all = memory.list(&Filter::all()).await.unwrap_or_default();
    let snapshot = match all.instances.first() {
        Some(summary) => memory.load(summary.id).await.unwrap_or_default(),
        None => None,
    };
    Ending {
        snapshot,
        is_over,
        instances: all.instances.len(),
        started_again,
        memory,
    }
}

/// Starts the instance, and does what the simulation asks for, until nothing is left to be done.
async fn supervise<G: RunsOn<SimulatedStore>>(
    simulation: &Simulation,
    memory: &Memory,
    setting: &Setting<'_, G>,
    processes: &mut Vec<Process<G>>,
) -> Result<(), String> {
    let mut is_started = false;
    let mut leaving = tokio::task::JoinSet::new();
    processes.extend(Process::start(simulation, memory, setting).await?);
    loop {
        let changed = simulation.0.changed.notified();
        for order in simulation.take_orders() {
            match order {
                Order::Replace(gone) => {
                    let is_dead = simulation.is_dead(gone);
                    let place = processes.iter().position(|it| it.number == gone);
                    if let Some(place) = place.filter(|_| is_dead) {
                        processes.remove(place).die();
                    }
                    processes.extend(Process::start(simulation, memory, setting).await?);
                }
                Order::ShutDown(leaver) => {
                    let place = processes.iter().position(|it| it.number == leaver);
                    if let Some(place) = place {
                        simulation.tell(leaver, What::ShutsDown);
                        let leaver = processes.remove(place);
                        processes.extend(Process::start(simulation, memory, setting).await?);
                        leaving.spawn(leaver.shut_down());
                    }
                }
                Order::Cancel => {
                    let id = memory.list(&Filter::all()).await.unwrap_or_default();
                    if let (Some(summary), Some(process)) = (id.instances.first(), processes.last())
                    {
                        let granted = tokio::select! {
                            biased;
                            // If the store is away, it was never asked.
                            reply = process.engine.cancel(summary.id) => {
                                matches!(reply, Ok(CancelReply::Requested))
                            }
                            () = simulation.has_died(process.number) => false,
                        };
                        simulation.tell(process.number, What::CancelRequested { granted });
                    }
                }
            }
        }
        if simulation.has_no_end() {
            return Err("it goes round in circles".to_owned());
        }
        if !is_started && let Some(process) = processes.last() {
            match start(simulation, process, setting).await {
                Ok(_) => is_started = true,
                // As a client does: it asks again, with the same start key.
                Err(why) => {
                    simulation.tell(0, What::StartFailed(why));
                    sleep(Duration::from_secs(1)).await;
                }
            }
            continue;
        }
        if simulation.is_over() && leaving.is_empty() {
            break;
        }
        tokio::select! {
            biased;
            () = changed => {}
            Some(_) = leaving.join_next() => {}
        }
    }
    simulation.calm();
    sleep(AFTERMATH).await;
    Ok(())
}

/// As a client does that loses its connection when the process dies.
async fn start<G: RunsOn<SimulatedStore>>(
    simulation: &Simulation,
    process: &Process<G>,
    setting: &Setting<'_, G>,
) -> Result<SagaId, String> {
    let input = G::Codec::decode(&setting.input.bytes).map_err(|error| error.to_string())?;
    let started = process.engine.start::<Simulated<G>>(input).key(START_KEY);
    tokio::select! {
        biased;
        started = started => started.map(|handle| handle.id()).map_err(|error| error.to_string()),
        () = simulation.has_died(process.number) => Err("the connection was lost".to_owned()),
    }
}
