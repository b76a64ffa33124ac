//! Inbox and consumer on the memory store and the memory broker, in virtual time.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod consuming;
mod fixture;
mod inbox;
