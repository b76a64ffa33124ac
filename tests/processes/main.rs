//! Real processes on one SQLite file, or on one server: killed, stopped and continued, and the server crashed.
//!
//! A worker is this test binary, started anew with `SAGAZ_WORKER` in its environment: see [`worker::worker`].
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod audit;
mod book;
mod crash;
mod events;
mod kill;
mod ledger;
mod places;
mod servers;
mod stop;
mod worker;
