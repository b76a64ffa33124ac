//! The subscriber: logs, and the export of spans.

use crate::{
    error::SetupError,
    logs::{JsonLogs, LogFormat},
};
use std::io::{self, IsTerminal};
use tracing::Level;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, FilterFn, filter_fn},
    layer::{Identity, SubscriberExt},
    util::SubscriberInitExt,
};

#[cfg(feature = "otel")]
use crate::otlp;
#[cfg(feature = "otel")]
use opentelemetry_sdk::trace::SdkTracerProvider;

/// What a subscriber is asked for. Without any of it none is installed.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    pub(super) logs: Option<LogFormat>,
    pub(super) filter: Option<String>,
    #[cfg(feature = "otel")]
    pub(super) otlp: Option<String>,
    #[cfg(feature = "otel")]
    pub(super) service: Option<String>,
}

/// What exports spans, if something does.
#[derive(Debug)]
pub(super) struct Exporter {
    #[cfg(feature = "otel")]
    provider: Option<SdkTracerProvider>,
}

impl Subscription {
    pub(super) fn install(&self) -> Result<Exporter, SetupError> {
        #[cfg(feature = "otel")]
        let provider = match &self.otlp {
            Some(endpoint) => Some(otlp::provider(endpoint, self.service.as_deref())?),
            None => None,
        };
        #[cfg(feature = "otel")]
        let export = match &provider {
            None => None,
            Some(provider) => {
                let layer = tracing_opentelemetry::layer().with_tracer(otlp::tracer(provider));
                // What the export itself does is exported by nobody, or it would never end.
                let is_own = filter_fn(|it| {
                    let mut own = otlp::TRANSPORT.iter();
                    own.any(|own| it.target().starts_with(own))
                });
                Some(layer.with_filter(self.filter()?.or(spans_of_sagaz()).and(is_own.not())))
            }
        };
        #[cfg(not(feature = "otel"))]
        let export: Option<Identity> = None;
        if self.logs.is_some() || export.is_some() {
            // Not an `Option` of a layer, which is not told of the subscriber that it is part of.
            let logs = match self.logs {
                None => Identity::new().boxed(),
                Some(format) if format.is_json() => JsonLogs::new(io::stderr)
                    .with_filter(self.filter()?.or(spans_of_sagaz()))
                    .boxed(),
                Some(_) => tracing_subscriber::fmt::layer()
                    .with_ansi(io::stderr().is_terminal())
                    .with_writer(io::stderr)
                    .with_filter(self.filter()?.or(spans_of_sagaz()))
                    .boxed(),
            };
            let subscriber = Registry::default().with(export).with(logs);
            let installed = subscriber.try_init();
            installed.map_err(|_| SetupError::SubscribedAlready)?;
        }
        Ok(Exporter {
            #[cfg(feature = "otel")]
            provider,
        })
    }

    /// What is logged, and exported.
    fn filter(&self) -> Result<EnvFilter, SetupError> {
        let from_environment = || std::env::var("RUST_LOG").ok().filter(|it| !it.is_empty());
        let filter = self.filter.clone().or_else(from_environment);
        let filter = filter.unwrap_or_else(|| "info".to_owned());
        EnvFilter::try_new(&filter).map_err(|error| SetupError::Filter {
            filter,
            source: Box::new(error),
        })
    }
}

/// Attempts and what is around them are spans whatever is logged: what a step says would else not tell whose it is, and the trace
/// would be torn.
fn spans_of_sagaz() -> FilterFn {
    filter_fn(|it| it.is_span() && it.target() == "sagaz" && *it.level() <= Level::INFO)
}

#[cfg(feature = "otel")]
impl Exporter {
    /// Exports what is left. It blocks until the collector has answered, or for some seconds.
    pub(super) async fn shutdown(self) {
        if let Some(provider) = self.provider {
            let flushed = tokio::task::spawn_blocking(move || {
                let _ = provider.force_flush();
                let _ = provider.shutdown();
            });
            let _ = flushed.await;
        }
    }
}
