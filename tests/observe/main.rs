//! What an operator sees, seen: by a collector of spans, by Prometheus, in logs and over HTTP.
//!
//! What is observed is a process of its own, because it is observed once: this test binary, started anew ([`process`]), or an
//! example.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "a test that looks at other processes waits on its own thread, and by their clock"
)]

mod buy;
mod cardinality;
mod collector;
mod health;
mod http;
mod logs;
mod picture;
#[path = "../relays/place.rs"]
mod place;
mod process;
mod prometheus;
#[path = "../servers/mod.rs"]
mod servers;
mod setup;
mod shop;
mod traces;
