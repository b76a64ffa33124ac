//! What the tests of this package share.

#[expect(clippy::allow_attributes, reason = "not every test uses all of it")]
#[allow(dead_code, reason = "not every test uses all of it")]
pub(crate) mod postgres;
#[expect(clippy::allow_attributes, reason = "not every test uses all of it")]
#[allow(dead_code, reason = "not every test uses all of it")]
pub(crate) mod postgres_events;
#[expect(clippy::allow_attributes, reason = "not every test uses all of it")]
#[allow(dead_code, reason = "not every test uses all of it")]
pub(crate) mod private;
mod server;
