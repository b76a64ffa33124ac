//! The outbox and the inbox of `sagaz`. Use the [`sagaz`](https://docs.rs/sagaz) crate, which re-exports what is public here.

mod consumer;
mod dead;
mod error;
mod inbox;
mod machine;
mod optimistic;
mod outbox;
mod relay;

pub use consumer::{Consumer, Handling, OnEvent, StopHandle};
pub use dead::{DeadLetterOperator, DeadLetters};
pub use error::Error;
pub use inbox::{HandlerError, Inbox, InboxBuilder, InboxCounts, Permanent};
pub use machine::OnDead;
pub use optimistic::{Optimistic, OptimisticBuilder};
pub use outbox::Outbox;
pub use relay::{Relay, RelayBuilder};
pub use sagaz_core::store::Handled;
