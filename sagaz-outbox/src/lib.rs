//! The outbox and the inbox of `sagaz`. Use the [`sagaz`](https://docs.rs/sagaz) crate, which re-exports what is public here.

mod error;
mod machine;
mod relay;

pub use error::Error;
pub use machine::OnDead;
pub use relay::{Relay, RelayBuilder, RelayEvent, RelayObserver};
