//! Inbox and consumer on the memory store and the memory broker, in virtual time.

mod consuming;
mod fixture;
mod inbox;
