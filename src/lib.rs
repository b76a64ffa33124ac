//! Declarative sagas for Rust.

pub use sagaz_core::*;
#[cfg(feature = "macros")]
pub use sagaz_macros::*;
#[doc(hidden)]
pub use sagaz_core::private as __private;
#[cfg(feature = "sqlite")]
pub use sagaz_storage::sqlite;

/// prelude
pub mod prelude {
    pub use crate::*;
}
