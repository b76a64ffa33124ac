//! How a process is observed: all at once, or part by part.

#[cfg(feature = "metrics")]
mod exposition;
#[cfg(feature = "tracing")]
mod subscriber;

use crate::{error::SetupError, health, health::Health, watched::Watched};
use sagaz_core::observe::{Observer, Observers, set_default};
use std::sync::Arc;
#[cfg(any(feature = "metrics", feature = "otel"))]
use tokio::runtime::Handle;

#[cfg(feature = "metrics")]
use crate::{
    error::SERVE_VARIABLE,
    metrics::{self, Counting},
};
#[cfg(feature = "tracing")]
use crate::{logs::LogFormat, spans::Telling};
#[cfg(feature = "metrics")]
use exposition::{Exposed, Exposition};
#[cfg(feature = "metrics")]
use std::{net::SocketAddr, time::Duration};
#[cfg(feature = "otel")]
use subscriber::Exporter;
#[cfg(feature = "tracing")]
use subscriber::Subscription;

/// Observes this process, in one call at its start, within a tokio runtime:
///
/// - logs to standard error, for people in a terminal and else as JSON, as far as `RUST_LOG` says, and from `info` if it says
///   nothing;
/// - metrics, liveness and readiness on `http://127.0.0.1:9464/metrics`, `/livez` and `/readyz`, if that address is free, or on the one in
///   `SAGAZ_SERVE`, which is not to be taken; `off` serves nothing;
/// - spans by OTLP over gRPC, if `OTEL_EXPORTER_OTLP_ENDPOINT` names a collector; `OTEL_SERVICE_NAME` says who sends them.
///
/// Each of these with its feature: `tracing`, `metrics`, `otel`. It installs a `tracing` subscriber and a `metrics` recorder for the
/// process. An application that has its own calls [`attach`], or takes parts: [`Observability::builder`].
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let observability = sagaz_observe::init()?;
/// // .. engines, relays and consumers start, and are seen
/// observability.shutdown().await;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`SetupError`] says what is in the way.
pub fn init() -> Result<Observability, SetupError> {
    let builder = Observability::builder();
    #[cfg(feature = "tracing")]
    let builder = builder.logs(LogFormat::Auto);
    #[cfg(feature = "metrics")]
    let builder = match std::env::var(SERVE_VARIABLE).as_deref() {
        Ok("" | "off") => builder.prometheus(),
        Ok(address) => builder.prometheus().serve(address),
        Err(_) => builder.prometheus().serve_default(),
    };
    #[cfg(feature = "otel")]
    let builder = match std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT") {
        Ok(endpoint) if !endpoint.is_empty() => builder.otlp(endpoint),
        _ => builder,
    };
    builder.install()
}

/// Observes this process for an application that has a `tracing` subscriber and a `metrics` recorder of its own, which are to be
/// installed before: spans, events and metrics of sagaz go to them. Nothing else is installed.
///
/// # Errors
///
/// The process is observed already.
pub fn attach() -> Result<Observability, SetupError> {
    Observability::builder().install()
}

/// What observes this process. Dropped, that goes on, but for the server and for how things stand, which is asked no more.
#[derive(Debug)]
#[must_use = "dropped, it serves nothing: keep it as long as the process runs, and shut it down last"]
pub struct Observability {
    watched: Arc<Watched>,
    #[cfg(feature = "metrics")]
    exposed: Exposed,
    #[cfg(feature = "otel")]
    exporter: Exporter,
}

/// Configures [`Observability`]. Without any setting it is [`attach`].
#[derive(Debug, Default)]
#[must_use = "nothing is observed before it is installed"]
pub struct ObservabilityBuilder {
    #[cfg(feature = "tracing")]
    subscription: Subscription,
    #[cfg(feature = "metrics")]
    exposition: Exposition,
}

impl Observability {
    /// Configures it part by part.
    pub fn builder() -> ObservabilityBuilder {
        ObservabilityBuilder::default()
    }

    /// How the engines, stores, relays, brokers and consumers of this process stand. Brokers are asked.
    pub async fn health(&self) -> Health {
        health::check(&self.watched).await
    }

    /// Whether the tasks of this process go on by themselves. Nobody is asked.
    #[must_use]
    pub fn liveness(&self) -> Health {
        health::glance(&self.watched)
    }

    /// The page of `/metrics`, if Prometheus was asked for. Stores and brokers are asked first.
    #[cfg(feature = "metrics")]
    pub async fn metrics_page(&self) -> Option<String> {
        self.exposed.page().await
    }

    /// Where it serves; of interest if that was said with port 0.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.exposed.address()
    }

    /// Exports what is not exported yet, and ends the server and the samples. Call it last.
    #[cfg_attr(
        not(feature = "otel"),
        expect(clippy::unused_async, reason = "it waits where something is exported")
    )]
    pub async fn shutdown(self) {
        #[cfg(feature = "otel")]
        self.exporter.shutdown().await;
    }
}

impl ObservabilityBuilder {
    /// Installs a `tracing` subscriber for the process that writes logs to standard error.
    #[cfg(feature = "tracing")]
    pub fn logs(mut self, format: LogFormat) -> Self {
        self.subscription.logs = Some(format);
        self
    }

    /// What is logged and exported, as `RUST_LOG` has it, which this overrides. Default: from `info`. Attempts, and what is around
    /// them, are spans whatever this says.
    #[cfg(feature = "tracing")]
    pub fn filter(mut self, filter: impl Into<String>) -> Self {
        self.subscription.filter = Some(filter.into());
        self
    }

    /// Exports spans by OTLP over gRPC to this collector, such as `http://collector:4317`. Installs a `tracing` subscriber for the
    /// process.
    #[cfg(feature = "otel")]
    pub fn otlp(mut self, endpoint: impl Into<String>) -> Self {
        self.subscription.otlp = Some(endpoint.into());
        self
    }

    /// Who exports spans: `service.name`. Default: what `OTEL_SERVICE_NAME` says.
    #[cfg(feature = "otel")]
    pub fn service_name(mut self, name: impl Into<String>) -> Self {
        self.subscription.service = Some(name.into());
        self
    }

    /// Installs a `metrics` recorder for the process that keeps what [`serve`](Self::serve) serves on `/metrics`.
    #[cfg(feature = "metrics")]
    pub fn prometheus(mut self) -> Self {
        self.exposition.prometheus = true;
        self
    }

    /// Serves `/livez` and `/readyz` on this address, such as `0.0.0.0:9464`, and `/metrics` with [`prometheus`](Self::prometheus).
    #[cfg(feature = "metrics")]
    pub fn serve(mut self, address: impl Into<String>) -> Self {
        self.exposition.serve = Some(address.into());
        self
    }

    /// On the default address, if that is free: another process of this host may have it.
    #[cfg(feature = "metrics")]
    fn serve_default(mut self) -> Self {
        self.exposition.serve_default = true;
        self
    }

    /// How often stores and brokers are asked how they stand. Default 15 s.
    #[cfg(feature = "metrics")]
    pub fn sample_interval(mut self, interval: Duration) -> Self {
        self.exposition.sample_interval = interval.max(Duration::from_millis(10));
        self
    }

    /// Installs what was asked for, and observes every engine, relay and consumer that starts from now on.
    ///
    /// # Errors
    ///
    /// [`SetupError`] says what is in the way.
    pub fn install(self) -> Result<Observability, SetupError> {
        // What may be refused comes before what cannot be taken back.
        if Observers::with_default(Vec::new()).is_some() {
            return Err(SetupError::ObservedAlready);
        }
        #[cfg(any(feature = "metrics", feature = "otel"))]
        Handle::try_current().map_err(|_| SetupError::NoRuntime)?;
        let watched = Arc::new(Watched::default());
        let observers: Vec<Arc<dyn Observer>> = vec![
            Arc::clone(&watched) as _,
            #[cfg(feature = "tracing")]
            Arc::new(Telling),
            #[cfg(feature = "metrics")]
            Arc::new(Counting::default()),
        ];
        #[cfg(feature = "metrics")]
        let listener = self.exposition.listen()?;
        #[cfg(feature = "otel")]
        let exporter = self.subscription.install()?;
        #[cfg(all(feature = "tracing", not(feature = "otel")))]
        self.subscription.install()?;
        #[cfg(feature = "metrics")]
        let prometheus = self.exposition.install()?;
        #[cfg(feature = "metrics")]
        metrics::describe();
        let observers = Observers::of(observers).ok_or(SetupError::ObservedAlready)?;
        set_default(observers).map_err(|_| SetupError::ObservedAlready)?;
        #[cfg(feature = "metrics")]
        let exposed = self.exposition.expose(&watched, prometheus, listener);
        Ok(Observability {
            watched,
            #[cfg(feature = "metrics")]
            exposed,
            #[cfg(feature = "otel")]
            exporter,
        })
    }
}

#[cfg(all(test, feature = "metrics"))]
mod tests {
    use super::*;

    #[test]
    fn outside_a_runtime_it_is_told_that_one_is_wanted() {
        for refused in [init(), attach()] {
            assert!(matches!(refused, Err(SetupError::NoRuntime)));
        }
    }
}
