//! What the tests of this package share.

pub(crate) mod postgres;
mod server;
