//! The outbox and the inbox of `sagaz`. Use the [`sagaz`](https://docs.rs/sagaz) crate, which re-exports what is public here.

mod machine;
