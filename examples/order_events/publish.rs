//! The process that runs the sagas and the relay, and starts the consumers.

use crate::{
    Args, Place,
    books::Books,
    check,
    consume::{self, Ready, Role},
    desk, files,
    orders::{self, Order},
    saga::OrderProcessing,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use sagaz::{
    outbox::{InboxCounts, Optimistic, Relay, StopHandle},
    prelude::*,
    sqlite::Sqlite,
    store::OutboxStore,
};
use std::{
    error::Error,
    process::{ExitCode, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    process::{Child, Command},
    task::JoinHandle,
    time::sleep,
};

/// The services of the first example misbehave by this.
const SEED: u64 = 1;

/// How long the consumers may need for what is left when everything is published.
const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) async fn run(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    let place = &args.place;
    let mut orders = orders::read(&args.orders).map_err(|refused| refused.to_string())?;
    orders.truncate(usize::try_from(args.count)?);
    std::fs::create_dir_all(&place.folder)?;
    if args.fresh {
        for file in ["orders.db", "view.db", "books.db"] {
            files::delete_database(&place.folder.join(file))?;
        }
    }
    let store = Sqlite::open(place.folder.join("orders.db")).await?;
    let books = Books::open(&place.folder.join("books.db")).await?;
    let broker = Arc::new(consume::options(place)?.connect(&place.broker).await?);
    let mut consumers = Consumers::start(place).await?;

    let relay = Relay::builder(store.clone(), Arc::clone(&broker))
        .start()
        .await?;
    let optimistic = Optimistic::builder(store.clone(), Arc::clone(&broker)).start();
    let optimistic = Arc::new(optimistic);
    let mut engine = Engine::builder(store.clone())
        .register(desk::shop(&books, SEED))
        .in_flight_max(128)
        .lease(Duration::from_secs(3));
    if !args.relay_only {
        engine = engine.after_commit(optimistic.clone());
    }
    let engine = engine.start().await?;
    let began = Instant::now();
    start_all(&engine, &orders).await?;
    consumers.kill_one(place).await?;
    wait_ended(&engine, orders.len()).await?;
    // Everything is in the outbox; the relay brings it to the broker, the consumers into the read model.
    wait_published(&store).await?;
    println!(
        "{} orders have ended and all events are published after {:.1?}",
        orders.len(),
        began.elapsed()
    );
    println!("{}", check::ended(&engine.count().await?));
    println!("{} events were published", check::published(place).await?);
    wait_consumed(place).await?;
    engine.shutdown().await;
    optimistic.shutdown().await;
    relay.shutdown().await;
    consumers.stop().await?;
    if check::compare(place).await? {
        Ok(ExitCode::SUCCESS)
    } else {
        Ok(ExitCode::FAILURE)
    }
}

/// The start key makes a second start of an order harmless: it gives the saga of the first.
async fn start_all(engine: &Engine<Sqlite>, orders: &[Order]) -> Result<(), sagaz::Error> {
    stream::iter(orders)
        .map(Ok)
        .try_for_each_concurrent(64, async |order| {
            let start = engine.start::<OrderProcessing>(order.clone());
            start.key(format!("order-{}", order.number)).await.map(drop)
        })
        .await
}

async fn wait_ended(engine: &Engine<Sqlite>, orders: usize) -> Result<(), sagaz::Error> {
    loop {
        let counts = engine.count().await?;
        let ended = counts.iter().filter(|(_, state, _)| !state.is_live());
        if ended.map(|(.., count)| count).sum::<u64>() >= orders as u64 {
            return Ok(());
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn wait_published(store: &Sqlite) -> Result<(), Box<dyn Error>> {
    while store.outbox_stats().await?.pending > 0 {
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Until the read model is what the books are, or does not become so: the comparison then says where.
async fn wait_consumed(place: &Place) -> Result<(), Box<dyn Error>> {
    let pool = consume::open_view(place).await?;
    let books = check::books(place).await?;
    let began = Instant::now();
    while check::view(&pool).await? != books && began.elapsed() < PATIENCE {
        sleep(Duration::from_millis(50)).await;
    }
    pool.close().await;
    Ok(())
}

/// A consumer that runs as a task.
type Running = JoinHandle<Result<InboxCounts, sagaz::outbox::Error>>;

/// The two consumers: processes, or tasks where the broker is in this process.
enum Consumers {
    Processes(Vec<(Role, Child)>),
    Tasks(Vec<(Role, StopHandle, Running)>),
}

impl Consumers {
    async fn start(place: &Place) -> Result<Self, Box<dyn Error>> {
        if !place.is_in_memory() {
            // What is published from now on is kept for them.
            for role in Role::ALL {
                drop(consume::subscribe(place, role).await?);
            }
            let processes = Role::ALL.map(|role| Ok((role, spawn(place, role)?)));
            return Ok(Self::Processes(
                processes
                    .into_iter()
                    .collect::<Result<_, std::io::Error>>()?,
            ));
        }
        let mut tasks = Vec::new();
        for role in Role::ALL {
            let ready = Ready::new(place, role).await?;
            tasks.push((role, ready.stop_handle(), tokio::spawn(ready.run())));
        }
        Ok(Self::Tasks(tasks))
    }

    /// In the middle of its work: what it had not finished is delivered again to its successor.
    async fn kill_one(&mut self, place: &Place) -> Result<(), Box<dyn Error>> {
        if let Self::Processes(processes) = self {
            let (role, process) = &mut processes[0];
            process.kill().await?;
            *process = spawn(place, *role)?;
            println!(
                "the consumer `{}` was killed, and started again",
                role.name()
            );
        }
        Ok(())
    }

    async fn stop(self) -> Result<(), Box<dyn Error>> {
        match self {
            Self::Processes(processes) => {
                for (role, mut process) in processes {
                    drop(process.stdin.take());
                    let status = process.wait().await?;
                    if !status.success() {
                        return Err(
                            format!("the consumer `{}` failed: {status}", role.name()).into()
                        );
                    }
                }
            }
            Self::Tasks(tasks) => {
                for (role, stop, running) in tasks {
                    stop.stop();
                    println!("{}: {}", role.name(), consume::told(running.await??));
                }
            }
        }
        Ok(())
    }
}

fn spawn(place: &Place, role: Role) -> Result<Child, std::io::Error> {
    Command::new(std::env::current_exe()?)
        .arg("--broker")
        .arg(&place.broker)
        .arg("--folder")
        .arg(&place.folder)
        .args(["consume", role.name()])
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}
