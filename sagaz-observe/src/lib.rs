//! Metrics, traces, logs and health of `sagaz`. Use the [`sagaz`](https://docs.rs/sagaz) crate, which re-exports what is public
//! here as `sagaz::observe`.
//!
//! Everything goes through the facades `tracing` and `metrics`, so it adds to what an application has already; nothing global is
//! installed but what is asked for by name. With nobody listening it costs next to nothing.

mod error;
mod health;
mod setup;
mod watched;

#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "metrics")]
mod server;

#[cfg(feature = "tracing")]
mod logs;
#[cfg(feature = "otel")]
mod otlp;
#[cfg(feature = "tracing")]
mod propagation;
#[cfg(feature = "tracing")]
mod said;
#[cfg(feature = "tracing")]
mod spans;

pub use error::SetupError;
pub use health::{Health, Part, Standing};
#[cfg(feature = "tracing")]
pub use logs::{JsonLogs, LogFormat};
#[cfg(feature = "metrics")]
pub use metrics::{EVENT_TYPES_MAX, Kind, METRICS, Metric, Unit, document};
pub use setup::{Observability, ObservabilityBuilder, attach, init};
