//! Real processes on one SQLite file, or on one PostgreSQL server: killed, stopped and continued.
//!
//! A worker is this test binary, started anew with `SAGAZ_WORKER` in its environment: see [`worker::worker`].
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod kill;
mod ledger;
mod stop;
mod worker;
