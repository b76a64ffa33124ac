//! What the options of the command line say of being observed. An application that has no such options calls
//! `sagaz::observe::init()`, and that is all.

use sagaz::observe::Observability;
use std::error::Error;

/// How this process is observed.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Observed {
    /// Serve `/metrics`, `/livez` and `/readyz` on this address, and go on serving at the end until standard input ends
    #[cfg(feature = "metrics")]
    #[arg(long, value_name = "ADDRESS", global = true)]
    serve: Option<String>,
    /// Export spans by OTLP over gRPC to this collector
    #[cfg(feature = "otel")]
    #[arg(long, value_name = "URL", global = true)]
    otlp: Option<String>,
    /// Write logs to standard error, as far as `RUST_LOG` says
    #[cfg(feature = "tracing")]
    #[arg(long, global = true)]
    logs: bool,
}

impl Observed {
    /// Observes this process, if that is wanted.
    pub(crate) fn begin(&self, service: &str) -> Result<Observability, Box<dyn Error>> {
        let builder = Observability::builder();
        #[cfg(feature = "metrics")]
        let builder = match &self.serve {
            Some(address) => builder.prometheus().serve(address),
            None => builder,
        };
        #[cfg(feature = "otel")]
        let builder = match &self.otlp {
            Some(collector) => builder.otlp(collector).service_name(service),
            None => builder,
        };
        #[cfg(feature = "tracing")]
        let builder = if self.logs {
            builder.logs(sagaz::observe::LogFormat::Auto)
        } else {
            builder
        };
        let _ = service;
        Ok(builder.install()?)
    }

    /// Until nobody looks any more.
    pub(crate) async fn end(&self, observability: Observability) {
        #[cfg(feature = "metrics")]
        if self.serve.is_some() {
            eprintln!("serving until standard input ends");
            let mut input = tokio::io::stdin();
            let _ = tokio::io::copy(&mut input, &mut tokio::io::sink()).await;
        }
        observability.shutdown().await;
    }
}
