//! The outbox and the inbox of `sagaz`. Use the [`sagaz`](https://docs.rs/sagaz) crate, which re-exports what is public here.

mod dead;
mod error;
mod machine;
mod outbox;
mod relay;

pub use dead::{DeadLetterOperator, DeadLetters};
pub use error::Error;
pub use machine::OnDead;
pub use outbox::Outbox;
pub use relay::{Relay, RelayBuilder, RelayEvent, RelayObserver};
