//! The orders of `cdnow_orders` publish events, and two consumers keep a read model of them: what was paid for each order, and
//! whether it was shipped. At the end the read model is compared with the services' books.
//!
//! ```sh
//! cargo run --release --features sqlite,outbox --example order_events
//! cargo run --release --features sqlite,outbox,kafka --example order_events -- --broker kafka://localhost:9092
//! cargo run --release --features sqlite,outbox,rabbitmq --example order_events -- --broker amqp://guest:guest@localhost
//! cargo run --release --features sqlite,outbox,nats --example order_events -- --broker nats://localhost
//! cargo run --release --features sqlite,outbox,redis --example order_events -- --broker redis://localhost
//! ```
//!
//! On a broker the consumers are processes of their own, and one of them is killed in the middle; without one they are tasks of
//! this process. Kill any process at any moment and start the same command again: it goes on, and the read model is right.
//!
//! The saga is that of the first example, `examples/cdnow_orders/saga.rs`: look for `emits` there. `consume.rs` is what a consumer
//! is. Sagas and outbox are in `orders.db`, the read model, with its inbox, in `view.db`, the services' books in `books.db`.

#![expect(clippy::print_stdout, reason = "a program tells what it has done")]

#[path = "../cdnow_orders/books.rs"]
#[expect(dead_code, reason = "the first example also asks the books for totals")]
mod books;
mod check;
mod consume;
#[path = "../cdnow_orders/desk.rs"]
mod desk;
#[path = "../cdnow_orders/files.rs"]
#[expect(
    dead_code,
    reason = "the first example also looks at files before it deletes them"
)]
mod files;
#[cfg(any(feature = "metrics", feature = "tracing"))]
#[path = "../cdnow_orders/observed.rs"]
mod observed;
#[path = "../cdnow_orders/orders.rs"]
mod orders;
mod publish;
#[path = "../cdnow_orders/saga.rs"]
mod saga;
#[path = "../cdnow_orders/services.rs"]
mod services;

use clap::{Parser, Subcommand};
use consume::Role;
use std::{error::Error, path::PathBuf, process::ExitCode};

const ORDERS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/examples/data/cdnow_orders.csv"
);
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/order_events");

/// Processes real orders, publishes what happens to them, and keeps a read model of that by two consumers.
#[derive(Parser)]
struct Args {
    /// The orders, as CSV
    #[arg(long, value_name = "FILE", default_value = ORDERS)]
    orders: PathBuf,
    /// How many of them
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    #[command(flatten)]
    place: Place,
    /// Delete what an earlier run has left, and begin anew
    #[arg(long)]
    fresh: bool,
    /// Send no events right after their commit: leave all of them to the relay
    #[arg(long)]
    relay_only: bool,
    #[cfg(any(feature = "metrics", feature = "tracing"))]
    #[command(flatten)]
    observed: observed::Observed,
    #[command(subcommand)]
    consumer: Option<Consume>,
}

/// Where everything is.
#[derive(Clone, Debug, clap::Args)]
struct Place {
    /// The broker: `kafka://..`, `amqp://..`, `nats://..`, `redis://..`, or `memory://` for one in this process
    #[arg(
        long,
        value_name = "URL",
        default_value = "memory://order-events",
        global = true
    )]
    broker: String,
    /// Where the databases are
    #[arg(long, value_name = "FOLDER", default_value = FOLDER, global = true)]
    folder: PathBuf,
}

#[derive(Subcommand)]
enum Consume {
    /// Runs one consumer until its standard input ends; this program starts it by itself
    Consume {
        /// What it keeps
        role: Role,
    },
}

#[cfg(any(feature = "metrics", feature = "tracing"))]
impl Args {
    /// What this process is called in traces.
    fn service(&self) -> &'static str {
        match &self.consumer {
            Some(Consume::Consume { role }) => role.name(),
            None => "orders",
        }
    }
}

impl Place {
    /// A broker in memory is in one process, and so are its consumers.
    fn is_in_memory(&self) -> bool {
        self.broker.starts_with("memory:")
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    #[cfg(any(feature = "metrics", feature = "tracing"))]
    let observability = match args.observed.begin(args.service()) {
        Ok(observability) => observability,
        Err(error) => return complain(&*error),
    };
    let ended = match &args.consumer {
        Some(Consume::Consume { role }) => consume::process(&args.place, *role).await,
        None => Box::pin(publish::run(&args)).await,
    };
    #[cfg(any(feature = "metrics", feature = "tracing"))]
    args.observed.end(observability).await;
    match ended {
        Ok(code) => code,
        Err(error) => complain(&*error),
    }
}

fn complain(error: &dyn Error) -> ExitCode {
    eprintln!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("  because {cause}");
        source = cause.source();
    }
    ExitCode::FAILURE
}
