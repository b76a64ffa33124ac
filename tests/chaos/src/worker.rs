//! The process that is killed and stopped: an engine, a relay, an optimistic sender in every other one, a consumer, and clients that
//! start orders.
//!
//! It ends in good order when its standard input ends.

use crate::{
    broker,
    ledger::What,
    order::{Kind, Order},
    place::{AnyError, CONSUMER, File, Place, Prefix, Schema},
    sagas::Shop,
    watch::Watch,
    world::World,
};
use sagaz::{
    Engine, Event, Retry, SagaId,
    outbox::{Consumer, Inbox, Optimistic, Relay},
};
use std::{io, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    sync::{oneshot, watch},
    time::{sleep, timeout},
};

/// What a worker is told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The URL of the store, by way of the proxy.
    #[arg(long)]
    pub(crate) store: String,
    /// The URL of the broker, by way of the proxy.
    #[arg(long)]
    pub(crate) broker: String,
    /// The socket of the world.
    #[arg(long)]
    pub(crate) world: PathBuf,
    /// The number of this process.
    #[arg(long)]
    pub(crate) process: u32,
}

/// How long a dead process's instances, and its lanes, wait for another.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// Clients that start orders, in each worker.
const CLIENTS: u32 = 6;

/// How long each of its parts waits for what is under way when it is told to end.
const PART_GRACE: Duration = Duration::from_secs(3);

/// How long the worker takes to end in good order, at most, whatever store and broker do: the engine waits up to three times, and the
/// others follow.
pub(crate) const GRACE: Duration = Duration::from_secs(30);

pub(crate) async fn run(args: Args) -> Result<(), AnyError> {
    // Also one that is stopped ends with the conductor.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let url = args.store.clone();
    match url.split("://").next() {
        Some("postgres") => work(args, Schema { url }).await,
        Some("redis") => work(args, Prefix { url }).await,
        Some("sqlite") => {
            let path = url.trim_start_matches("sqlite://").into();
            work(args, File { path }).await
        }
        _ => Err(format!("`{url}` is no store of the chaos").into()),
    }
}

/// Until standard input ends.
pub(crate) async fn told_to_end() {
    let (told, ended) = oneshot::channel();
    // Not a thread of the runtime, which would wait for it at the end.
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = told.send(());
    });
    let _ = ended.await;
}

async fn work<P: Place>(args: Args, place: P) -> Result<(), AnyError> {
    let world = World::connect(&args.world, args.process).await?;
    let begun = tokio::select! {
        begun = Working::begin(&args, place, &world) => begun?,
        () = told_to_end() => return Ok(()),
    };
    told_to_end().await;
    let ended = timeout(GRACE, begun.end()).await;
    ended.map_err(|_| format!("it did not end in good order within {GRACE:?}").into())
}

/// What runs in a worker. The sagas wait for no broker: only what publishes and consumes does.
struct Working<P: Place> {
    engine: Engine<P::Store>,
    optimistic: Option<Arc<Optimistic>>,
    relay: tokio::task::JoinHandle<()>,
    consumer: tokio::task::JoinHandle<()>,
    clients: tokio::task::JoinSet<()>,
    ending: watch::Sender<bool>,
}

impl<P: Place> Working<P> {
    async fn begin(args: &Args, place: P, world: &World) -> Result<Self, AnyError> {
        let store = patiently(world, "open the store", || place.open()).await;
        let watching = Watch::start(world.clone());
        let optimistic = if args.process.is_multiple_of(2) {
            optimistic::<P>(args, &store).await
        } else {
            None
        };
        let engine = patiently(world, "start the engine", || {
            let mut engine = Engine::builder(store.clone())
                .lease(LEASE)
                .poll_interval(Duration::from_millis(300))
                .in_flight_max(256)
                .start_timeout(Duration::from_secs(4))
                .shutdown_grace(PART_GRACE)
                .observer(watching.clone());
            if let Some(optimistic) = &optimistic {
                engine = engine.after_commit(optimistic.clone());
            }
            let engine = place.register(engine, world);
            async { Ok(engine.start().await?) }
        })
        .await;
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(client(place.clone(), engine.clone(), world.clone()));
        }
        let ending = watch::Sender::new(false);
        let relaying = relay::<P>(
            args.broker.clone(),
            store.clone(),
            world.clone(),
            watching,
            ending.subscribe(),
        );
        let consuming = consume(
            args.broker.clone(),
            place,
            store,
            world.clone(),
            ending.subscribe(),
        );
        Ok(Self {
            engine,
            optimistic,
            relay: tokio::spawn(relaying),
            consumer: tokio::spawn(consuming),
            clients,
            ending,
        })
    }

    async fn end(mut self) {
        self.clients.shutdown().await;
        self.engine.shutdown().await;
        if let Some(optimistic) = self.optimistic {
            optimistic.shutdown().await;
        }
        self.ending.send_replace(true);
        let _ = tokio::join!(self.relay, self.consumer);
    }
}

/// An optimistic sender, if the broker can be reached now.
async fn optimistic<P: Place>(args: &Args, store: &P::Store) -> Option<Arc<Optimistic>> {
    let to = timeout(Duration::from_secs(2), broker::connect(&args.broker)).await;
    let sender = Optimistic::builder(store.clone(), to.ok()?.ok()?);
    Some(Arc::new(sender.lease(Duration::from_secs(2)).start()))
}

/// Relays, once the broker can be reached, until the worker ends.
async fn relay<P: Place>(
    url: String,
    store: P::Store,
    world: World,
    watching: Arc<Watch>,
    mut ending: watch::Receiver<bool>,
) {
    let starting = async {
        let to = patiently(&world, "connect to the broker", || broker::connect(&url)).await;
        let to = Arc::new(to);
        patiently(&world, "start the relay", || {
            let relay = Relay::builder(store.clone(), Arc::clone(&to));
            let relay = relay.lease(LEASE).shutdown_grace(PART_GRACE);
            let relay = relay.observer(watching.clone());
            async { Ok(relay.start().await?) }
        })
        .await
    };
    let mut told = ending.clone();
    let relay = tokio::select! {
        relay = starting => relay,
        () = is_told(&mut told) => return,
    };
    is_told(&mut ending).await;
    relay.shutdown().await;
}

async fn is_told(ending: &mut watch::Receiver<bool>) {
    let _ = ending.wait_for(|ending| *ending).await;
}

/// Tries until it succeeds, as whoever keeps processes running would do.
async fn patiently<T, F>(world: &World, what: &str, mut attempt: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, AnyError>>,
{
    let mut failed = 0;
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => {
                failed += 1;
                if failed % 50 == 0 {
                    world.tell(format!(
                        "failed {failed} times to {what}: {}",
                        words(&*error)
                    ));
                }
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// An error with its causes.
fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

/// Starts orders. In doubt it asks again, with the same start key, or leaves it to a client elsewhere.
async fn client<P: Place>(place: P, engine: Engine<P::Store>, world: World) {
    while let Ok(order) = world.order().await {
        let mut tries = 0;
        let answered = loop {
            match start(&place, &engine, order).await {
                Ok(id) => break world.accepted(order.number, id).await.map(|()| Some(id)),
                Err(error) if error.is_transient() && tries < 3 => {
                    tries += 1;
                    sleep(Duration::from_millis(50)).await;
                }
                Err(error) => {
                    if !error.is_transient() {
                        let number = order.number;
                        world.tell(format!("order {number} does not start: {}", words(&error)));
                    }
                    sleep(Duration::from_millis(200)).await;
                    break world.give_back(order.number).await.map(|()| None);
                }
            }
        };
        if let (Ok(Some(id)), Some(after)) = (answered, order.cancelled_after()) {
            tokio::spawn(cancel(engine.clone(), world.clone(), id, after));
        }
    }
}

async fn start<P: Place>(
    place: &P,
    engine: &Engine<P::Store>,
    order: Order,
) -> Result<SagaId, sagaz::Error> {
    match order.saga {
        Kind::Order => {
            let start = engine.start::<Shop>(order).key(order.start_key());
            Ok(start.await?.id())
        }
        Kind::Entry => place.start_entry(engine, order).await,
    }
}

async fn cancel<S: sagaz::store::Store>(
    engine: Engine<S>,
    world: World,
    id: SagaId,
    after: Duration,
) {
    sleep(after).await;
    if let Ok(reply) = engine.cancel(id).await {
        let reply = format!("{reply:?}");
        world.note(id, What::CancelAsked { reply });
    }
}

/// Handles events through the inbox, until the worker ends; subscribes again if the broker or the store could not be used at all.
async fn consume<P: Place>(
    url: String,
    place: P,
    store: P::Store,
    world: World,
    mut ending: watch::Receiver<bool>,
) {
    while !*ending.borrow() {
        let subscribing = patiently(&world, "subscribe", || broker::subscribe(&url, CONSUMER));
        let subscriber = tokio::select! {
            subscriber = subscribing => subscriber,
            () = is_told(&mut ending) => return,
        };
        // A handler of this consumer fails only because its store does.
        let retry = Retry {
            attempts: None,
            initial: Duration::from_millis(50),
            max: Duration::from_secs(2),
            ..Retry::BACKOFF
        };
        let inbox = match Inbox::builder(store.clone(), CONSUMER).retry(retry).build() {
            Ok(inbox) => inbox,
            Err(error) => return world.tell(format!("there is no inbox: {}", words(&error))),
        };
        let consumer = Consumer::new(subscriber).shutdown_grace(PART_GRACE);
        let stop = consumer.stop_handle();
        let handling = place.clone();
        let counted = inbox.clone();
        let running = consumer.run(inbox, move |event: &Event, tx| {
            let place = handling.clone();
            Box::pin(async move { place.consume(event, tx).await })
        });
        let mut running = std::pin::pin!(running);
        let ended = tokio::select! {
            ended = &mut running => ended,
            () = is_told(&mut ending) => {
                stop.stop();
                running.await
            }
        };
        let duplicates = counted.counts().duplicates;
        let what = "duplicates skipped by consumers that were not killed";
        world.count([(what.to_owned(), duplicates)].into());
        if let Err(error) = ended {
            world.tell(format!("the consumer ended: {}", words(&error)));
        }
        sleep(Duration::from_millis(200)).await;
    }
}
