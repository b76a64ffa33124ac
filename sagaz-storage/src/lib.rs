//! Stores of `sagaz`, each a module behind a feature of its name.
//!
//! Use the [`sagaz`](https://docs.rs/sagaz) crate, which re-exports what is public here.

#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub mod barrier;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
mod judging;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
mod value;
