//! What setting observability up can fail with.

use std::{error::Error, io};

/// Why observability was not set up. Nothing that was asked for is half there, but for globals that had been installed before what
/// failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The process has observers of sagaz already.
    #[error("this process is observed already: set observability up once, at its start")]
    ObservedAlready,
    /// The process has a subscriber already.
    #[error(
        "this process has a `tracing` subscriber already: leave `.logs(..)` and `.otlp(..)` out; spans and events of sagaz go to it, and `JsonLogs` and a layer of `tracing-opentelemetry` can be added to it"
    )]
    SubscribedAlready,
    /// The process has a recorder already.
    #[error(
        "this process has a `metrics` recorder already: leave `.prometheus()` out, and sagaz records to that one"
    )]
    RecordedAlready,
    /// The address is not to be had.
    #[error("cannot listen on {address}, which `{SERVE_VARIABLE}` or `.serve(..)` names")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The collector cannot be exported to.
    #[error(
        "cannot export spans to `{endpoint}`, which `OTEL_EXPORTER_OTLP_ENDPOINT` or `.otlp(..)` names"
    )]
    Otlp {
        /// Where.
        endpoint: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The filter of logs makes no sense.
    #[error(
        "cannot understand the filter of logs `{filter}`, which `RUST_LOG` or `.filter(..)` names"
    )]
    Filter {
        /// The filter.
        filter: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// There is no tokio runtime.
    #[error(
        "observability is set up within a tokio runtime, on which its server and its sampling run"
    )]
    NoRuntime,
}

/// Names the address that `init` serves on.
pub(crate) const SERVE_VARIABLE: &str = "SAGAZ_SERVE";
