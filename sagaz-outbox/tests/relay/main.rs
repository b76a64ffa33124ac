//! The relay on the memory store and the memory broker, in virtual time.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod dead_letters;
mod fixture;
mod leases;
mod order;
mod troubles;
