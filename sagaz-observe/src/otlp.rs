//! Spans to a collector, by OTLP over gRPC.

use crate::error::SetupError;
use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, Tracer},
};
use std::time::Duration;

/// What carries spans to the collector, and speaks of itself.
pub(crate) const TRANSPORT: [&str; 5] = ["h2", "hyper", "tonic", "tower", "opentelemetry"];

/// How long a span waits before it is exported at most.
const EXPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Exports spans in batches, on a thread of its own.
pub(crate) fn provider(
    endpoint: &str,
    service: Option<&str>,
) -> Result<SdkTracerProvider, SetupError> {
    let is_url = ["http://", "https://"]
        .iter()
        .any(|it| endpoint.starts_with(it));
    if !is_url {
        return Err(SetupError::Otlp {
            endpoint: endpoint.to_owned(),
            source: "it is no URL such as http://collector:4317".into(),
        });
    }
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build();
    let exporter = exporter.map_err(|error| SetupError::Otlp {
        endpoint: endpoint.to_owned(),
        source: Box::new(error),
    })?;
    let batches = BatchConfigBuilder::default()
        .with_scheduled_delay(EXPORT_INTERVAL)
        .build();
    let processor = BatchSpanProcessor::builder(exporter)
        .with_batch_config(batches)
        .build();
    // `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` are read by the builder.
    let mut resource = Resource::builder();
    if let Some(service) = service {
        resource = resource.with_attribute(KeyValue::new("service.name", service.to_owned()));
    }
    Ok(SdkTracerProvider::builder()
        .with_span_processor(processor)
        .with_resource(resource.build())
        .build())
}

pub(crate) fn tracer(provider: &SdkTracerProvider) -> Tracer {
    provider.tracer("sagaz")
}
