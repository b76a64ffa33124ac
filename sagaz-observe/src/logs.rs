//! Logs: one line of JSON an event, or lines for people in a terminal.
//!
//! What is logged within an attempt has the fields of the attempt by itself, whoever logs it: `saga`, `instance`, `step`, `kind`,
//! `attempt`, and `trace_id` and `span_id` where spans are exported.

use serde_json::{Map, Value};
use std::{
    fmt,
    io::{self, IsTerminal, Write},
    sync::OnceLock,
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tracing::{
    Dispatch, Event, Subscriber,
    dispatcher::WeakDispatch,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    fmt::MakeWriter,
    layer::Context,
    registry::{LookupSpan, SpanRef},
};

/// How logs look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// For people if standard error is a terminal, and else JSON.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Human,
}

impl LogFormat {
    /// Whether it is JSON, here and now.
    pub(crate) fn is_json(self) -> bool {
        match self {
            Self::Auto => !io::stderr().is_terminal(),
            Self::Json => true,
            Self::Human => false,
        }
    }
}

/// A layer that writes a JSON object for each event, to a writer of yours: to be added to a subscriber of yours.
///
/// ```
/// use tracing_subscriber::{layer::SubscriberExt, Registry};
///
/// let subscriber = Registry::default().with(sagaz_observe::JsonLogs::new(std::io::stdout));
/// # let _ = subscriber;
/// ```
#[derive(Debug)]
pub struct JsonLogs<W> {
    make_writer: W,
    dispatch: OnceLock<WeakDispatch>,
}

impl<W> JsonLogs<W> {
    /// Writes to what this makes: `std::io::stdout`, for one.
    pub fn new(make_writer: W) -> Self {
        Self {
            make_writer,
            dispatch: OnceLock::new(),
        }
    }
}

/// The fields of a span, as they are logged.
struct Fields(Map<String, Value>);

impl<S, W> Layer<S> for JsonLogs<W>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        let _ = self.dispatch.set(dispatch.downgrade());
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Map::new();
            attributes.record(&mut Collect(&mut fields));
            span.extensions_mut().insert(Fields(fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(Fields(fields)) = span.extensions_mut().get_mut()
        {
            values.record(&mut Collect(fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut line = Map::new();
        line.insert("timestamp".to_owned(), now().into());
        line.insert("level".to_owned(), metadata.level().as_str().into());
        line.insert("target".to_owned(), metadata.target().into());
        if let Some(spans) = context.event_scope(event) {
            for span in spans.from_root() {
                add_fields(&mut line, &span);
            }
        }
        // What is said last is nearest.
        event.record(&mut Collect(&mut line));
        if let Some(span) = context.event_span(event) {
            self.add_ids(&mut line, &span);
        }
        let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
        bytes.push(b'\n');
        // Where to log that a log cannot be written?
        let _ = self.make_writer.make_writer_for(metadata).write_all(&bytes);
    }
}

impl<W> JsonLogs<W> {
    #[cfg(feature = "otel")]
    fn add_ids<'a, S: LookupSpan<'a>>(&self, line: &mut Map<String, Value>, span: &SpanRef<'a, S>) {
        use opentelemetry::trace::TraceContextExt;

        let dispatch = self.dispatch.get().and_then(WeakDispatch::upgrade);
        let context =
            dispatch.and_then(|it| tracing_opentelemetry::get_otel_context(&span.id(), &it));
        let Some(context) = context
            .map(|it| it.span().span_context().clone())
            .filter(opentelemetry::trace::SpanContext::is_valid)
        else {
            return;
        };
        line.insert("trace_id".to_owned(), context.trace_id().to_string().into());
        line.insert("span_id".to_owned(), context.span_id().to_string().into());
    }

    #[cfg(not(feature = "otel"))]
    #[expect(clippy::unused_self, reason = "spans have ids where they are exported")]
    fn add_ids<'a, S: LookupSpan<'a>>(&self, _: &mut Map<String, Value>, _: &SpanRef<'a, S>) {}
}

/// All fields of a span but those that only exporters read.
fn add_fields<'a, S: LookupSpan<'a>>(line: &mut Map<String, Value>, span: &SpanRef<'a, S>) {
    let extensions = span.extensions();
    let Some(Fields(fields)) = extensions.get() else {
        return;
    };
    let own = fields.iter().filter(|(name, _)| !name.starts_with("otel."));
    line.extend(own.map(|(name, value)| (name.clone(), value.clone())));
}

#[expect(
    clippy::disallowed_methods,
    reason = "when something was said is told to people, and decides nothing"
)]
fn now() -> String {
    let now = OffsetDateTime::from(std::time::SystemTime::now());
    now.format(&Rfc3339).unwrap_or_default()
}

/// Fields as JSON.
struct Collect<'m>(&'m mut Map<String, Value>);

impl Collect<'_> {
    fn put(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Collect<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}
