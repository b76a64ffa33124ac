//! Stores of `sagaz`, each a module behind a feature of its name.
//!
//! Use the [`sagaz`](https://docs.rs/sagaz) crate, which re-exports what is public here.

#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub mod barrier;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod judging;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod value;
