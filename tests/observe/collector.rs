//! A collector of spans: a server that speaks OTLP over gRPC, and keeps what it gets.

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use std::{
    collections::BTreeMap,
    fmt::Write,
    net::TcpListener,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{task::JoinHandle, time::sleep};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

/// A span that was exported.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty of a root.
    pub(crate) parent: String,
    /// The ids of the spans that it is linked to.
    pub(crate) links: Vec<String>,
    pub(crate) kind: i32,
    pub(crate) attributes: BTreeMap<String, String>,
    /// In nanoseconds since the Unix epoch.
    pub(crate) began: u64,
    pub(crate) ended: u64,
    /// 2 is an error.
    pub(crate) status: i32,
}

pub(crate) struct Collector {
    pub(crate) url: String,
    spans: Arc<Mutex<Vec<Seen>>>,
    server: JoinHandle<()>,
}

struct Keeps(Arc<Mutex<Vec<Seen>>>);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn attributes(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |attribute: KeyValue| {
        let value = match attribute.value?.value? {
            Value::StringValue(text) => text,
            Value::IntValue(number) => number.to_string(),
            Value::BoolValue(is_so) => is_so.to_string(),
            other => format!("{other:?}"),
        };
        Some((attribute.key, value))
    };
    attributes.into_iter().filter_map(text).collect()
}

impl Seen {
    fn new(service: &str, span: Span) -> Self {
        Self {
            service: service.to_owned(),
            name: span.name,
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
            kind: span.kind,
            attributes: attributes(span.attributes),
            began: span.start_time_unix_nano,
            ended: span.end_time_unix_nano,
            status: span.status.map_or(0, |status| status.code),
        }
    }
}

#[tonic::async_trait]
impl TraceService for Keeps {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut spans = self.0.lock().unwrap();
        for of_resource in request.into_inner().resource_spans {
            let resource = attributes(of_resource.resource.unwrap_or_default().attributes);
            let service = resource.get("service.name").cloned().unwrap_or_default();
            let exported = of_resource.scope_spans.into_iter().flat_map(|it| it.spans);
            spans.extend(exported.map(|span| Seen::new(&service, span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener).unwrap());
        let spans = Arc::new(Mutex::new(Vec::new()));
        let service = TraceServiceServer::new(Keeps(Arc::clone(&spans)));
        let server = tokio::spawn(async move {
            Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming)
                .await
                .unwrap();
        });
        Self {
            url: format!("http://{address}"),
            spans,
            server,
        }
    }

    pub(crate) fn spans(&self) -> Vec<Seen> {
        self.spans.lock().unwrap().clone()
    }

    /// Waits until spans of all these names were exported; of a name that is there twice, two.
    pub(crate) async fn wait_for(&self, names: &[&str]) -> Vec<Seen> {
        for _ in 0..600 {
            let spans = self.spans();
            let exported = |name: &&str| spans.iter().filter(|span| span.name == **name).count();
            let wanted = |name: &&str| names.iter().filter(|it| *it == name).count();
            if names.iter().all(|name| exported(name) >= wanted(name)) {
                return spans;
            }
            sleep(Duration::from_millis(100)).await;
        }
        let seen: Vec<_> = self.spans().into_iter().map(|span| span.name).collect();
        panic!("of {names:?} these were exported within a minute: {seen:?}");
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}
