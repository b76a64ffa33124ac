//! How a process is observed: all at once, or part by part.

use crate::{error::SetupError, health, health::Health, watched::Watched};
use sagaz_core::observe::{Observer, Observers, set_default};
#[cfg(any(feature = "metrics", feature = "tracing"))]
use std::io;
use std::sync::Arc;

#[cfg(feature = "metrics")]
use crate::{
    error::SERVE_VARIABLE,
    metrics::{self, Counting, Kind, METRICS, Sampler},
    server::{self, Pages},
};
#[cfg(feature = "metrics")]
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
#[cfg(feature = "metrics")]
use std::{net::TcpListener, time::Duration};
#[cfg(any(feature = "metrics", feature = "otel"))]
use tokio::runtime::Handle;
#[cfg(feature = "metrics")]
use tokio::{task::JoinSet, time::sleep};

#[cfg(feature = "tracing")]
use crate::{
    logs::{JsonLogs, LogFormat},
    spans::Telling,
};
#[cfg(feature = "tracing")]
use tracing::Level;
#[cfg(feature = "tracing")]
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, FilterFn, filter_fn},
    layer::{Identity, SubscriberExt},
    util::SubscriberInitExt,
};

#[cfg(feature = "otel")]
use opentelemetry_sdk::trace::SdkTracerProvider;

/// Where `init` serves: the port of OpenTelemetry's exporters for Prometheus.
#[cfg(feature = "metrics")]
const DEFAULT_ADDRESS: &str = "127.0.0.1:9464";

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
        // Another process of this host may have it.
        Err(_) => builder.prometheus().serve_if_free(DEFAULT_ADDRESS),
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
    prometheus: Option<PrometheusHandle>,
    #[cfg(feature = "metrics")]
    address: Option<std::net::SocketAddr>,
    #[cfg(feature = "metrics")]
    sampler: Arc<Sampler>,
    #[cfg(feature = "metrics")]
    #[expect(dead_code, reason = "its tasks end with it")]
    tasks: JoinSet<()>,
    #[cfg(feature = "otel")]
    provider: Option<SdkTracerProvider>,
}

/// Configures [`Observability`]. Without any setting it is [`attach`].
#[derive(Debug)]
#[must_use = "nothing is observed before it is installed"]
pub struct ObservabilityBuilder {
    #[cfg(feature = "tracing")]
    logs: Option<LogFormat>,
    #[cfg(feature = "tracing")]
    filter: Option<String>,
    #[cfg(feature = "metrics")]
    prometheus: bool,
    #[cfg(feature = "metrics")]
    serve: Option<String>,
    /// Going without is in order.
    #[cfg(feature = "metrics")]
    if_free: bool,
    #[cfg(feature = "metrics")]
    sample_interval: Duration,
    #[cfg(feature = "otel")]
    otlp: Option<String>,
    #[cfg(feature = "otel")]
    service: Option<String>,
}

impl Observability {
    /// Configures it part by part.
    pub fn builder() -> ObservabilityBuilder {
        ObservabilityBuilder {
            #[cfg(feature = "tracing")]
            logs: None,
            #[cfg(feature = "tracing")]
            filter: None,
            #[cfg(feature = "metrics")]
            prometheus: false,
            #[cfg(feature = "metrics")]
            serve: None,
            #[cfg(feature = "metrics")]
            if_free: false,
            #[cfg(feature = "metrics")]
            sample_interval: Duration::from_secs(15),
            #[cfg(feature = "otel")]
            otlp: None,
            #[cfg(feature = "otel")]
            service: None,
        }
    }

    /// How the engines, stores, relays, brokers and consumers of this process stand. Stores and brokers are asked.
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
        let prometheus = self.prometheus.as_ref()?;
        self.sampler.known();
        self.sampler.asked().await;
        Some(prometheus.render())
    }

    /// Where it serves; of interest if that was said with port 0.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        self.address
    }

    /// Exports what is not exported yet, and ends the server and the samples. Call it last.
    #[cfg_attr(
        not(feature = "otel"),
        expect(clippy::unused_async, reason = "it waits where something is exported")
    )]
    pub async fn shutdown(self) {
        #[cfg(feature = "otel")]
        if let Some(provider) = self.provider {
            // It blocks until the collector has answered.
            let flushed = tokio::task::spawn_blocking(move || {
                let _ = provider.force_flush();
                let _ = provider.shutdown();
            });
            let _ = flushed.await;
        }
    }
}

impl ObservabilityBuilder {
    /// Installs a `tracing` subscriber for the process that writes logs to standard error.
    #[cfg(feature = "tracing")]
    pub fn logs(mut self, format: LogFormat) -> Self {
        self.logs = Some(format);
        self
    }

    /// What is logged and exported, as `RUST_LOG` has it, which this overrides. Default: from `info`.
    #[cfg(feature = "tracing")]
    pub fn filter(mut self, filter: impl Into<String>) -> Self {
        self.filter = Some(filter.into());
        self
    }

    /// Installs a `metrics` recorder for the process that keeps what [`serve`](Self::serve) serves on `/metrics`.
    #[cfg(feature = "metrics")]
    pub fn prometheus(mut self) -> Self {
        self.prometheus = true;
        self
    }

    /// Serves `/livez` and `/readyz` on this address, such as `0.0.0.0:9464`, and `/metrics` with [`prometheus`](Self::prometheus).
    #[cfg(feature = "metrics")]
    pub fn serve(mut self, address: impl Into<String>) -> Self {
        self.serve = Some(address.into());
        self
    }

    #[cfg(feature = "metrics")]
    fn serve_if_free(mut self, address: &str) -> Self {
        self.if_free = true;
        self.serve(address)
    }

    /// How often stores and brokers are asked how they stand. Default 15 s.
    #[cfg(feature = "metrics")]
    pub fn sample_interval(mut self, interval: Duration) -> Self {
        self.sample_interval = interval.max(Duration::from_millis(10));
        self
    }

    /// Exports spans by OTLP over gRPC to this collector, such as `http://collector:4317`. Installs a `tracing` subscriber for the
    /// process.
    #[cfg(feature = "otel")]
    pub fn otlp(mut self, endpoint: impl Into<String>) -> Self {
        self.otlp = Some(endpoint.into());
        self
    }

    /// Who exports spans: `service.name`. Default: what `OTEL_SERVICE_NAME` says.
    #[cfg(feature = "otel")]
    pub fn service_name(mut self, name: impl Into<String>) -> Self {
        self.service = Some(name.into());
        self
    }

    /// Installs what was asked for, and observes every engine, relay and consumer that starts from now on.
    ///
    /// # Errors
    ///
    /// [`SetupError`] says what is in the way.
    pub fn install(self) -> Result<Observability, SetupError> {
        let watched = Arc::new(Watched::default());
        #[cfg_attr(
            not(any(feature = "tracing", feature = "metrics")),
            expect(unused_mut, reason = "there is nothing to add")
        )]
        let mut observers: Vec<Arc<dyn Observer>> = vec![Arc::clone(&watched) as _];
        // What may be refused comes before what cannot be taken back.
        if Observers::with_default(Vec::new()).is_some() {
            return Err(SetupError::ObservedAlready);
        }
        #[cfg(any(feature = "metrics", feature = "otel"))]
        let handle = Handle::try_current().map_err(|_| SetupError::NoRuntime)?;
        #[cfg(all(feature = "otel", not(feature = "metrics")))]
        drop(handle);
        #[cfg(feature = "metrics")]
        let listener = self.listener()?;
        #[cfg(feature = "otel")]
        let provider = match &self.otlp {
            Some(endpoint) => Some(crate::otlp::provider(endpoint, self.service.as_deref())?),
            None => None,
        };
        #[cfg(feature = "tracing")]
        {
            self.subscribe(
                #[cfg(feature = "otel")]
                provider.as_ref(),
            )?;
            observers.push(Arc::new(Telling));
        }
        #[cfg(feature = "metrics")]
        let prometheus = if self.prometheus {
            Some(prometheus()?)
        } else {
            None
        };
        #[cfg(feature = "metrics")]
        {
            metrics::describe();
            observers.push(Arc::new(Counting::default()));
        }
        let observers = Observers::of(observers).ok_or(SetupError::ObservedAlready)?;
        set_default(observers).map_err(|_| SetupError::ObservedAlready)?;
        #[cfg(feature = "metrics")]
        let (sampler, tasks, address) = {
            let sampler = Arc::new(Sampler::new(Arc::clone(&watched)));
            let mut tasks = JoinSet::new();
            let (own, interval) = (Arc::clone(&sampler), self.sample_interval);
            tasks.spawn_on(async move { own.run(interval).await }, &handle);
            if let Some(prometheus) = prometheus.clone() {
                // As long as the recorder, which is never taken back, and would keep every value for ever.
                handle.spawn(upkeep(prometheus));
            }
            let address = listener.as_ref().and_then(|it| it.local_addr().ok());
            if let Some(listener) = listener {
                let pages = Pages {
                    watched: Arc::clone(&watched),
                    sampler: Arc::clone(&sampler),
                    prometheus: prometheus.clone(),
                    last_check: Arc::default(),
                };
                tasks.spawn_on(
                    async move {
                        let _ = server::serve(listener, pages).await;
                    },
                    &handle,
                );
            }
            (sampler, tasks, address)
        };
        Ok(Observability {
            watched,
            #[cfg(feature = "metrics")]
            prometheus,
            #[cfg(feature = "metrics")]
            address,
            #[cfg(feature = "metrics")]
            sampler,
            #[cfg(feature = "metrics")]
            tasks,
            #[cfg(feature = "otel")]
            provider,
        })
    }

    /// `None` if nothing is to be served, or if that can be gone without.
    #[cfg(feature = "metrics")]
    fn listener(&self) -> Result<Option<TcpListener>, SetupError> {
        let Some(address) = &self.serve else {
            return Ok(None);
        };
        match listen(address) {
            Ok(listener) => Ok(Some(listener)),
            Err(error) if self.if_free && error.kind() == io::ErrorKind::AddrInUse => Ok(None),
            Err(source) => Err(SetupError::Listen {
                address: address.clone(),
                source,
            }),
        }
    }

    /// Installs a subscriber, if something is asked for that needs one.
    #[cfg(feature = "tracing")]
    fn subscribe(
        &self,
        #[cfg(feature = "otel")] provider: Option<&SdkTracerProvider>,
    ) -> Result<(), SetupError> {
        #[cfg(feature = "otel")]
        let export = match provider {
            None => None,
            Some(provider) => {
                let layer =
                    tracing_opentelemetry::layer().with_tracer(crate::otlp::tracer(provider));
                // What the export itself does is exported by nobody, or it would never end.
                let is_own = filter_fn(|it| {
                    crate::otlp::TRANSPORT
                        .iter()
                        .any(|own| it.target().starts_with(own))
                });
                Some(layer.with_filter(self.events()?.or(spans_of_sagaz()).and(is_own.not())))
            }
        };
        #[cfg(not(feature = "otel"))]
        let export: Option<Identity> = None;
        if self.logs.is_none() && export.is_none() {
            return Ok(());
        }
        // Not an `Option` of a layer, which is not told of the subscriber that it is part of.
        let logs = match self.logs {
            None => Identity::new().boxed(),
            Some(format) if format.is_json() => JsonLogs::new(io::stderr)
                .with_filter(self.events()?.or(spans_of_sagaz()))
                .boxed(),
            Some(_) => tracing_subscriber::fmt::layer()
                .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
                .with_writer(io::stderr)
                .with_filter(self.events()?.or(spans_of_sagaz()))
                .boxed(),
        };
        let subscriber = Registry::default().with(export).with(logs);
        subscriber
            .try_init()
            .map_err(|_| SetupError::SubscribedAlready)
    }

    /// What is logged, and exported.
    #[cfg(feature = "tracing")]
    fn events(&self) -> Result<EnvFilter, SetupError> {
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
#[cfg(feature = "tracing")]
fn spans_of_sagaz() -> FilterFn {
    filter_fn(|it| it.is_span() && it.target() == "sagaz" && *it.level() <= Level::INFO)
}

#[cfg(feature = "metrics")]
fn listen(address: &str) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A recorder with the buckets of the registry.
#[cfg(feature = "metrics")]
fn prometheus() -> Result<PrometheusHandle, SetupError> {
    let mut builder = PrometheusBuilder::new();
    for metric in METRICS.iter().filter(|it| it.kind == Kind::Histogram) {
        builder = builder
            .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), metric.buckets)
            .expect("a histogram of the registry has buckets");
    }
    builder
        .install_recorder()
        .map_err(|_| SetupError::RecordedAlready)
}

/// Values of histograms wait in memory until they are put into buckets: at a scrape, or here.
#[cfg(feature = "metrics")]
async fn upkeep(prometheus: PrometheusHandle) {
    loop {
        sleep(Duration::from_secs(5)).await;
        prometheus.run_upkeep();
    }
}
