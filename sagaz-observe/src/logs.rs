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
    Dispatch, Event, Metadata, Subscriber,
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

/// A layer that writes a JSON object for each event, to a writer of yours: to be added to a subscriber of yours, and not as an
/// `Option` of a layer, which is not told of the subscriber that it is part of and so knows no `trace_id`.
///
/// A field of a span or event of yours that is named as one of the line's own is in the object `fields`.
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
            // Another of these layers may have been here before, and has put the same.
            span.extensions_mut().replace(Fields(fields));
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
        let mut line = Line::default();
        if let Some(spans) = context.event_scope(event) {
            for span in spans.from_root() {
                if let Some(Fields(fields)) = span.extensions().get() {
                    line.add(fields.clone(), is_of_sagaz(span.metadata()));
                }
            }
        }
        // What is said last is nearest.
        let mut fields = Map::new();
        event.record(&mut Collect(&mut fields));
        line.add(fields, is_of_sagaz(metadata));
        if let Some(span) = context.event_span(event) {
            self.add_ids(&mut line.own, &span);
        }
        line.own.insert("timestamp".to_owned(), now().into());
        line.own
            .insert("level".to_owned(), metadata.level().as_str().into());
        line.own
            .insert("target".to_owned(), metadata.target().into());
        let mut bytes = serde_json::to_vec(&line.whole()).unwrap_or_default();
        bytes.push(b'\n');
        // Where to log that a log cannot be written?
        let _ = self.make_writer.make_writer_for(metadata).write_all(&bytes);
    }
}

fn is_of_sagaz(metadata: &Metadata<'_>) -> bool {
    metadata.target() == "sagaz"
}

/// A line of the log. Nobody's fields take the place of its own: those of others with such a name are put aside, in `fields`.
#[derive(Default)]
struct Line {
    /// What this layer says, and what the spans and events of sagaz have.
    own: Map<String, Value>,
    others: Map<String, Value>,
}

impl Line {
    fn add(&mut self, fields: Map<String, Value>, is_own: bool) {
        // Those are for exporters.
        let fields = fields
            .into_iter()
            .filter(|(name, _)| !name.starts_with("otel."));
        let (message, fields): (Vec<_>, Vec<_>) = fields.partition(|(name, _)| name == "message");
        self.own.extend(message);
        let all = if is_own {
            &mut self.own
        } else {
            &mut self.others
        };
        all.extend(fields);
    }

    fn whole(self) -> Value {
        let Self {
            own: mut line,
            others,
        } = self;
        let mut aside = Map::new();
        for (name, value) in others {
            let taken = line.contains_key(&name) || name == "fields";
            let place = if taken { &mut aside } else { &mut line };
            place.insert(name, value);
        }
        if !aside.is_empty() {
            line.insert("fields".to_owned(), aside.into());
        }
        line.into()
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing::{info, info_span};
    use tracing_subscriber::{Registry, layer::SubscriberExt};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What two of these layers in one subscriber write.
    fn lines(say: impl FnOnce()) -> [Vec<Value>; 2] {
        let buffers = [Buffer::default(), Buffer::default()];
        let layer = |buffer: &Buffer| {
            let buffer = buffer.clone();
            JsonLogs::new(move || buffer.clone())
        };
        let subscriber = Registry::default()
            .with(layer(&buffers[0]))
            .with(layer(&buffers[1]));
        tracing::subscriber::with_default(subscriber, say);
        buffers.map(|buffer| {
            let bytes = buffer.0.lock().unwrap().clone();
            let text = String::from_utf8(bytes).unwrap();
            text.lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        })
    }

    #[test]
    fn nobodys_fields_take_the_place_of_the_lines_own() {
        let [lines, others] = lines(|| {
            let attempt = info_span!(target: "sagaz", "attempt", saga = "buy", step = "charge", outcome = tracing::field::Empty);
            let _attempt = attempt.enter();
            let _own = info_span!("their own", step = 3, bank = "north", target = "x").entered();
            info!(
                level = 7,
                timestamp = "never",
                saga = "theirs",
                fields = 1,
                ratio = f64::NAN,
                "two\nlines"
            );
            attempt.record("outcome", "completed");
            info!("later");
        });
        let untimed = |lines: &[Value]| {
            let untimed = lines.iter().cloned().map(|mut line| {
                line.as_object_mut().unwrap().remove("timestamp").unwrap();
                line
            });
            untimed.collect::<Vec<_>>()
        };
        assert_eq!(
            untimed(&lines),
            untimed(&others),
            "the two of them write the same"
        );
        let line = &lines[0];
        assert_eq!(
            (&line["saga"], &line["step"], &line["level"]),
            (&"buy".into(), &"charge".into(), &"INFO".into())
        );
        assert_eq!(
            (&line["bank"], &line["message"]),
            (&"north".into(), &"two\nlines".into())
        );
        assert_eq!(line["target"], "sagaz_observe::logs::tests");
        assert_ne!(line["timestamp"], "never");
        let aside = &line["fields"];
        assert_eq!(
            (&aside["step"], &aside["level"], &aside["fields"]),
            (&3.into(), &7.into(), &1.into())
        );
        assert_eq!(
            (&aside["saga"], &aside["target"]),
            (&"theirs".into(), &"x".into())
        );
        assert_eq!(
            lines[1]["outcome"], "completed",
            "what a span is told later is there as well"
        );
    }
}
