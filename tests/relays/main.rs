//! Relays as real processes, from PostgreSQL to each broker: killed and started again, with a broker that refuses, answers late and
//! loses answers.
//!
//! A worker is this test binary, started anew with `SAGAZ_RELAY` in its environment: see [`worker::worker`].
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod consumers;
mod order;
mod place;
mod worker;
