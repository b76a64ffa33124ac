//! Chaos on real servers: worker processes, servers and connections are killed, stopped, cut and filled up, by a plan that follows
//! from a seed; then the books, the events and the promises are audited.
//!
//! `docs/reliability.md` tells what is done and what is looked at. One program with two roles: the conductor (`run`), which nothing
//! disturbs, and the workers (`worker`), which it starts and kills.

mod audit;
mod broker;
mod conductor;
mod course;
mod faults;
mod gather;
mod ledger;
mod order;
mod place;
mod proxy;
mod report;
mod sagas;
mod schedule;
mod servers;
mod settings;
mod watch;
mod witness;
mod worker;
mod workers;
mod world;

use clap::Parser;
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(about = "Kills, stops, cuts and fills up what sagas run on, and audits what is left.")]
enum Role {
    /// Starts servers and workers, disturbs them, and audits.
    Run(settings::Settings),
    /// A process that is disturbed; `run` starts it.
    #[command(hide = true)]
    Worker(worker::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Role::parse() {
        Role::Run(settings) => conductor::run(settings).await,
        Role::Worker(told) => worker::run(told).await.map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error}");
            ExitCode::FAILURE
        }
    }
}
