//! 6,919 real orders of an online music shop, each an instance of one saga, on one SQLite file, against services that
//! decline, lose answers and time out after the money was taken. Then an audit of the services' books.
//!
//! ```sh
//! cargo run --release --features sqlite --example cdnow_orders
//! ```
//!
//! Kill it at any moment and start it again: it goes on, and the books balance.
//!
//! Read `saga.rs` first: it is all that an application would write. The other files are the world around it: `orders.rs`
//! reads the orders, `services.rs`, `desk.rs` and `books.rs` are the services, `report.rs` and `audit.rs` the end.

mod audit;
mod books;
mod desk;
mod files;
mod orders;
mod report;
mod saga;
mod services;

use books::Books;
use clap::Parser;
use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use orders::Order;
use report::Tally;
use saga::OrderProcessing;
use sagaz::{Summary, prelude::*, sqlite::Sqlite};
use std::{
    collections::{BTreeMap, HashSet},
    error::Error,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

const ORDERS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/examples/data/cdnow_orders.csv"
);
const SAGA: &str = OrderProcessing::DEFINITION.name;
const DB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/cdnow/orders.db");

/// Processes real orders, each as a saga, against services that misbehave, and audits the services' books.
#[derive(Parser)]
struct Args {
    /// The orders, as CSV
    #[arg(long, value_name = "FILE", default_value = ORDERS)]
    orders: PathBuf,
    /// Decides which services misbehave towards which orders
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many orders are in flight at once
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    concurrency: u16,
    /// The store of the sagas
    #[arg(long, value_name = "FILE", default_value = DB)]
    db: PathBuf,
    /// The books of the services; beside the store if not given
    #[arg(long, value_name = "FILE")]
    books: Option<PathBuf>,
    /// Delete the store and the books, and begin anew
    #[arg(long)]
    fresh: bool,
}

impl Args {
    fn books(&self) -> PathBuf {
        let beside = || self.db.with_extension("books.db");
        self.books.clone().unwrap_or_else(beside)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let (orders, store, books) = match prepare(&args).await {
        Ok(ready) => ready,
        Err(error) => return complain(&*error, 2),
    };
    match process(&args, orders, store, &books).await {
        Ok(code) => code,
        Err(error) => complain(&*error, 1),
    }
}

/// Everything that can be refused, before anything starts.
async fn prepare(args: &Args) -> Result<(Vec<Order>, Sqlite, Books), Box<dyn Error>> {
    let orders = orders::read(&args.orders)?;
    let books_path = args.books();
    if args.fresh {
        files::delete_database(&args.db)?;
        files::delete_database(&books_path)?;
    }
    files::make_folder_of(&args.db)?;
    files::make_folder_of(&books_path)?;
    let store = Sqlite::open(&args.db).await?;
    let books = Books::open(&books_path)
        .await
        .map_err(|error| format!("failed to open the books {}: {error}", books_path.display()))?;
    let wanted = (args.seed, orders::digest(&orders));
    let begun = books.begin(wanted.0, wanted.1).await?;
    if begun.0 != wanted.0 {
        return Err(format!(
            "{} was begun with --seed {}; --fresh deletes it",
            books_path.display(),
            begun.0
        )
        .into());
    }
    if begun.1 != wanted.1 {
        return Err(format!(
            "{} was begun with other orders; --fresh deletes it",
            books_path.display()
        )
        .into());
    }
    Ok((orders, store, books))
}

/// Succeeds if the books balance when every order has ended.
async fn process(
    args: &Args,
    orders: Vec<Order>,
    store: Sqlite,
    books: &Books,
) -> Result<ExitCode, Box<dyn Error>> {
    let tally = Arc::new(Tally::default());
    let began = Instant::now();
    let engine = Engine::builder(store)
        .register(OrderProcessing::new(books, args.seed))
        .in_flight_max(args.concurrency.into())
        // What a killed process leaves behind is taken over after this.
        .lease(Duration::from_secs(3))
        .observer(tally.clone())
        .start()
        .await?;

    tokio::select! {
        done = async { tokio::try_join!(start_all(&engine, &orders), watch(&engine, orders.len())) } => done?,
        _ = tokio::signal::ctrl_c() => {
            engine.shutdown().await;
            eprintln!("interrupted: the same command goes on from here");
            return Ok(ExitCode::from(130));
        }
    };
    let took = began.elapsed();
    let counted = count(&engine).await?;
    let failed = Filter::all()
        .state(InstanceState::RolledBack)
        .state(InstanceState::Stuck);
    let failed = list(&engine, failed).await?;
    engine.shutdown().await;

    let books_path = args.books();
    let (totals, findings) = tokio::try_join!(books.totals(), audit::audit(&args.db, &books_path))?;
    report::print_orders(&counted, &failed);
    report::print_services(&totals);
    report::print_run(&tally, took);
    let balanced = report::print_audit(&findings);
    Ok(if balanced {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Starts a saga for each order. The start key makes a second start of an order harmless: it gives the saga of the first.
/// What earlier runs started is left out only to save the time.
async fn start_all(engine: &Engine<Sqlite>, orders: &[Order]) -> Result<(), sagaz::Error> {
    let started: u64 = count(engine).await?.values().sum();
    if started == orders.len() as u64 {
        return Ok(());
    }
    let key = |order: &Order| format!("order-{}", order.number);
    let known = list(engine, Filter::all()).await?;
    let known: HashSet<String> = known
        .into_iter()
        .filter_map(|saga| saga.start_key)
        .collect();
    stream::iter(orders.iter().filter(|order| !known.contains(&key(order))))
        .map(Ok)
        .try_for_each_concurrent(64, async |order| {
            // When this returns, the saga is stored, and is finished whatever happens to this process. Whoever wants to
            // know how it ends can await `handle.outcome()`.
            let _handle = engine
                .start::<OrderProcessing>(order.clone())
                .key(key(order))
                .await?;
            Ok(())
        })
        .await
}

/// How many are in each state.
async fn count(engine: &Engine<Sqlite>) -> Result<BTreeMap<InstanceState, u64>, sagaz::Error> {
    let counted = engine.count().await?.into_iter();
    Ok(counted
        .filter(|(saga, ..)| saga == SAGA)
        .map(|(_, state, instances)| (state, instances))
        .collect())
}

/// All pages of a list.
async fn list(engine: &Engine<Sqlite>, filter: Filter) -> Result<Vec<Summary>, sagaz::Error> {
    let mut filter = filter.saga(SAGA).limit(1_000);
    let mut sagas = Vec::new();
    loop {
        let page = engine.list(filter.clone()).await?;
        sagas.extend(page.instances);
        match page.next {
            Some(next) => filter = filter.after(next),
            None => return Ok(sagas),
        }
    }
}

/// Shows the progress until every order has ended.
async fn watch(engine: &Engine<Sqlite>, orders: usize) -> Result<(), sagaz::Error> {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} orders  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(orders as u64).with_style(style);
    loop {
        let counted = count(engine).await?;
        let of = |state| counted.get(&state).copied().unwrap_or(0);
        let (completed, rolled_back, stuck) = (
            of(InstanceState::Completed),
            of(InstanceState::RolledBack),
            of(InstanceState::Stuck),
        );
        bar.set_position(completed + rolled_back + stuck);
        bar.set_message(format!(
            "{completed} completed, {rolled_back} rolled back, {stuck} stuck"
        ));
        if completed + rolled_back + stuck >= orders as u64 {
            bar.finish_and_clear();
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn complain(error: &dyn Error, code: u8) -> ExitCode {
    eprintln!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("  because {cause}");
        source = cause.source();
    }
    ExitCode::from(code)
}
