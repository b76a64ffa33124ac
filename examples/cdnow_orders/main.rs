//! 6,919 real orders of an online music shop, each an instance of one saga, against services that decline, lose answers and
//! time out after the money was taken. Then an audit of the services' books.
//!
//! ```sh
//! cargo run --release --features sqlite --example cdnow_orders
//! cargo run --release --features sqlite,postgres --example cdnow_orders -- --store postgres://user:password@localhost/shop
//! cargo run --release --features sqlite,redis --example cdnow_orders -- --store redis://localhost
//! ```
//!
//! Kill it at any moment and start it again: it goes on, and the books balance. Or start it twice at once: the two share the
//! work.
//!
//! The sagas are in one SQLite file, in the schema `cdnow_orders` of a PostgreSQL database, or on a Redis server under
//! `{cdnow_orders:`. The books of the services are in a SQLite file of their own in any case: they are the world outside.
//!
//! Read `saga.rs` first: it is all that an application would write. The other files are the world around it: `run.rs` starts
//! the sagas, `place.rs` says where they are stored, `orders.rs` reads the orders, `services.rs`, `desk.rs` and `books.rs` are
//! the services, `report.rs` and `audit.rs` the end.

mod audit;
mod books;
mod desk;
mod files;
#[cfg(any(feature = "metrics", feature = "tracing"))]
mod observed;
mod orders;
mod place;
mod report;
mod run;
mod saga;
mod services;

use books::Books;
use clap::Parser;
use orders::Order;
use place::Place;
use run::{Run, SAGA};
use sagaz::{sqlite::Sqlite, store::Store};
use std::{
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
};

const ORDERS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/examples/data/cdnow_orders.csv"
);

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
    /// The store of the sagas: `sqlite:FILE`, or only the file; `postgres://user:password@host:5432/database`, in which they
    /// have the schema `cdnow_orders`; or `redis://user:password@host:6379`, with keys that begin with `{cdnow_orders:`
    #[arg(long, value_name = "URL", alias = "db", default_value = place::DEFAULT)]
    store: Place,
    /// The books of the services, a SQLite file; beside the store, or under `target/` for a server, if not given
    #[arg(long, value_name = "FILE")]
    books: Option<PathBuf>,
    /// Delete the books and what this example has in the store, and begin anew
    #[arg(long)]
    fresh: bool,
    #[cfg(any(feature = "metrics", feature = "tracing"))]
    #[command(flatten)]
    observed: observed::Observed,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    #[cfg(any(feature = "metrics", feature = "tracing"))]
    let observability = match args.observed.begin("cdnow-orders") {
        Ok(observability) => observability,
        Err(error) => return complain(&*error, 2),
    };
    let code = Box::pin(run_on_place(&args)).await;
    #[cfg(any(feature = "metrics", feature = "tracing"))]
    args.observed.end(observability).await;
    code
}

async fn run_on_place(args: &Args) -> ExitCode {
    let books_file = args.books.clone().unwrap_or_else(|| args.store.books());
    // Deleted when the store has nothing against it, and before anything of the store is: books without a store are refused,
    // and what is left of a store without its books as well, so that a kill in between is noticed.
    let fresh = args.fresh.then_some(&*books_file);
    // What opens a store is boxed: it is a large future, and awaited once.
    match &args.store {
        Place::Sqlite(file) => {
            let open = Box::pin(open_file(file, &books_file, fresh));
            shop(args, &books_file, open).await
        }
        #[cfg(feature = "postgres")]
        Place::Postgres(server) => {
            let open = Box::pin(server.open(fresh));
            shop(args, &books_file, open).await
        }
        #[cfg(feature = "redis")]
        Place::Redis(server) => {
            let open = Box::pin(server.open(fresh));
            shop(args, &books_file, open).await
        }
    }
}

/// The store in a file, empty if that is wanted.
async fn open_file(
    file: &Path,
    books_file: &Path,
    fresh: Option<&Path>,
) -> Result<Sqlite, Box<dyn Error>> {
    if file == books_file {
        return Err("the store and the books are one file; name another for --books".into());
    }
    files::make_folder_of(file)?;
    if let Some(books_file) = fresh {
        files::check_database(file)?;
        files::delete_database(books_file)?;
        files::delete_database(file)?;
    }
    Ok(Sqlite::open(file).await?)
}

/// The whole program, on any store.
async fn shop<S: Store>(
    args: &Args,
    books_file: &Path,
    open: impl Future<Output = Result<S, Box<dyn Error>>>,
) -> ExitCode {
    let (orders, store, books) = match prepare(args, books_file, open).await {
        Ok(ready) => ready,
        Err(error) => return complain(&*error, 2),
    };
    let run = Run {
        orders: &orders,
        seed: args.seed,
        concurrency: args.concurrency.into(),
        books: &books,
        books_file,
    };
    match run.on(store).await {
        Ok(code) => code,
        Err(error) => complain(&*error, 1),
    }
}

/// Everything that can be refused, before anything starts.
async fn prepare<S: Store>(
    args: &Args,
    books_file: &Path,
    open: impl Future<Output = Result<S, Box<dyn Error>>>,
) -> Result<(Vec<Order>, S, Books), Box<dyn Error>> {
    let orders = orders::read(&args.orders)?;
    if args.fresh {
        // Looked at first, so that a store is not asked for nothing.
        files::check_database(books_file)?;
    }
    let store = open.await?;
    files::make_folder_of(books_file)?;
    let books = Books::open(books_file)
        .await
        .map_err(|error| format!("failed to open the books {}: {error}", books_file.display()))?;
    let books_are = |what: &str| {
        format!(
            "the books {} {what}; name those that belong together, or let --fresh delete both",
            books_file.display()
        )
    };
    // In this order, so that another process that begins meanwhile refutes nothing: it begins the books, then starts sagas,
    // which then write to the books.
    let were_written = books.were_written().await?;
    let sagas: u64 = store
        .count()
        .await?
        .into_iter()
        .filter(|(saga, ..)| saga == SAGA)
        .map(|(_, _, instances)| instances)
        .sum();
    let is_new = !books.were_begun().await?;
    if is_new && sagas > 0 {
        return Err(books_are("are new, but the store holds sagas already").into());
    }
    if were_written && sagas == 0 {
        return Err(books_are("were written for sagas that this store does not hold").into());
    }
    let wanted = (args.seed, digest(&orders));
    let begun = books.begin(wanted.0, wanted.1).await?;
    if begun.0 != wanted.0 {
        return Err(books_are(&format!("were begun with --seed {}", begun.0)).into());
    }
    if begun.1 != wanted.1 {
        return Err(books_are("were begun with other orders").into());
    }
    Ok((orders, store, books))
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

/// Tells this list of orders from every other.
fn digest(orders: &[Order]) -> u64 {
    desk::digest(orders.iter().flat_map(|order| {
        [order.number, order.customer, order.quantity, order.cents]
            .into_iter()
            .flat_map(u32::to_le_bytes)
            .chain(order.date.bytes())
    }))
}
