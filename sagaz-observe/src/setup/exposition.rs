//! What others can read: metrics in a recorder for Prometheus, and the pages of the server.

use crate::{
    error::SetupError,
    metrics::{Kind, METRICS, Sampler},
    server::{self, Pages},
    watched::Watched,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};
use tokio::{task::JoinSet, time::sleep};

/// Where `init` serves: the port of OpenTelemetry's exporters for Prometheus.
const DEFAULT_ADDRESS: &str = "127.0.0.1:9464";

/// What is asked for.
#[derive(Debug)]
pub(super) struct Exposition {
    pub(super) prometheus: bool,
    pub(super) serve: Option<String>,
    /// Where `init` does, if that is free.
    pub(super) serve_default: bool,
    pub(super) sample_interval: Duration,
}

impl Default for Exposition {
    fn default() -> Self {
        Self {
            prometheus: false,
            serve: None,
            serve_default: false,
            sample_interval: Duration::from_secs(15),
        }
    }
}

/// What is there.
#[derive(Debug)]
pub(super) struct Exposed {
    prometheus: Option<PrometheusHandle>,
    address: Option<SocketAddr>,
    sampler: Arc<Sampler>,
    #[expect(dead_code, reason = "its tasks end with it")]
    tasks: JoinSet<()>,
}

impl Exposition {
    /// `None` if nothing is to be served, or if that can be gone without.
    pub(super) fn listen(&self) -> Result<Option<TcpListener>, SetupError> {
        if let Some(address) = &self.serve {
            let refused = |source| SetupError::Listen {
                address: address.clone(),
                source,
            };
            return listen(address).map(Some).map_err(refused);
        }
        Ok(self
            .serve_default
            .then(|| listen(DEFAULT_ADDRESS).ok())
            .flatten())
    }

    /// Installs a recorder with the buckets of the registry, if it is asked for.
    pub(super) fn install(&self) -> Result<Option<PrometheusHandle>, SetupError> {
        if !self.prometheus {
            return Ok(None);
        }
        let mut builder = PrometheusBuilder::new();
        for metric in METRICS.iter().filter(|it| it.kind == Kind::Histogram) {
            builder = builder
                .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), metric.buckets)
                .expect("a histogram of the registry has buckets");
        }
        let handle = builder.install_recorder();
        handle.map(Some).map_err(|_| SetupError::RecordedAlready)
    }

    /// Samples and serves, on the runtime that this is called on.
    pub(super) fn expose(
        self,
        watched: &Arc<Watched>,
        prometheus: Option<PrometheusHandle>,
        listener: Option<TcpListener>,
    ) -> Exposed {
        let sampler = Arc::new(Sampler::new(Arc::clone(watched)));
        let mut tasks = JoinSet::new();
        let (own, interval) = (Arc::clone(&sampler), self.sample_interval);
        tasks.spawn(async move { own.run(interval).await });
        if let Some(prometheus) = prometheus.clone() {
            // As long as the recorder, which is never taken back, and would keep every value for ever.
            tokio::spawn(upkeep(prometheus));
        }
        let address = listener.as_ref().and_then(|it| it.local_addr().ok());
        if let Some(listener) = listener {
            let pages = Pages {
                watched: Arc::clone(watched),
                sampler: Arc::clone(&sampler),
                prometheus: prometheus.clone(),
                last_check: Arc::default(),
            };
            tasks.spawn(async move {
                let _ = server::serve(listener, pages).await;
            });
        }
        Exposed {
            prometheus,
            address,
            sampler,
            tasks,
        }
    }
}

impl Exposed {
    pub(super) async fn page(&self) -> Option<String> {
        let prometheus = self.prometheus.as_ref()?;
        self.sampler.known();
        self.sampler.asked().await;
        Some(prometheus.render())
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.address
    }
}

fn listen(address: &str) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Values of histograms wait in memory until they are put into buckets: at a scrape, or here.
async fn upkeep(prometheus: PrometheusHandle) {
    loop {
        sleep(Duration::from_secs(5)).await;
        prometheus.run_upkeep();
    }
}
