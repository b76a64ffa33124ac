//! Events as messages: CloudEvents in binary mode, an attribute a header, and the trace context under its own names.

use sagaz_core::{
    Event, Payload,
    broker::{BrokerError, Malformed},
};

/// Headers of W3C Trace Context (<https://www.w3.org/TR/trace-context/>), which every tracer reads: they have no prefix.
const TRACE: [&str; 2] = ["traceparent", "tracestate"];

/// Whether an event can be written as a message: an outbox has looked at it already, and others may not have.
#[cfg_attr(
    not(any(
        feature = "redis",
        feature = "nats",
        feature = "kafka",
        feature = "rabbitmq"
    )),
    expect(dead_code, reason = "no broker with headers is compiled in")
)]
pub(crate) fn check(event: &Event) -> Result<(), BrokerError> {
    event
        .check(usize::MAX)
        .map_err(|error| BrokerError::refused(error.to_string()))
}

/// The names, each behind the prefix of the broker, and values of all attributes but the content type.
#[cfg_attr(
    not(any(
        feature = "redis",
        feature = "nats",
        feature = "kafka",
        feature = "rabbitmq"
    )),
    expect(dead_code, reason = "no broker with headers is compiled in")
)]
pub(crate) fn write<'e>(
    event: &'e Event,
    prefix: &'e str,
) -> impl Iterator<Item = (String, String)> + 'e {
    event.headers().map(move |(name, value)| {
        let is_trace = TRACE.contains(&name);
        let name = if is_trace {
            name.to_owned()
        } else {
            format!("{prefix}{name}")
        };
        (name, value)
    })
}

/// The event of a message. Headers with none of the prefixes, and none of the trace context, are of others. The content type
/// comes from the broker's own place, or else from its attribute.
#[cfg_attr(
    not(any(
        feature = "redis",
        feature = "nats",
        feature = "kafka",
        feature = "rabbitmq"
    )),
    expect(dead_code, reason = "no broker with headers is compiled in")
)]
pub(crate) fn read(
    headers: impl IntoIterator<Item = (String, String)>,
    prefixes: &[&str],
    content_type: Option<String>,
    body: Vec<u8>,
) -> Result<Event, Malformed> {
    let (mut attributes, mut trace) = (Vec::new(), Vec::new());
    let mut content_type = content_type.filter(|content_type| !content_type.is_empty());
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        let attribute = prefixes
            .iter()
            .find_map(|prefix| name.strip_prefix(&prefix.to_ascii_lowercase()));
        match attribute {
            Some("datacontenttype") => {
                content_type.get_or_insert(value);
            }
            Some(attribute) => attributes.push((attribute.to_owned(), value)),
            None if TRACE.contains(&name.as_str()) => trace.push((name, value)),
            None => {}
        }
    }
    // What the event itself says of its trace goes before what its last carrier says.
    trace.extend(attributes);
    let no_data = Payload {
        content_type: content_type.unwrap_or_else(|| "application/octet-stream".to_owned()),
        bytes: Vec::new(),
    };
    match Event::from_headers(trace, no_data) {
        Ok(event) => {
            let mut parts = event.into_parts();
            parts.data.bytes = body;
            Ok(Event::from_parts(parts))
        }
        Err(reason) => Err(Malformed { reason, body }),
    }
}

#[cfg(test)]
#[cfg(any(
    feature = "redis",
    feature = "nats",
    feature = "kafka",
    feature = "rabbitmq"
))]
mod tests {
    use super::*;

    fn event() -> Event {
        Event::new("order.placed", &7)
            .key("k")
            .source("/shop")
            .attribute("tenant", "north")
            .trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    }

    #[test]
    fn attributes_have_the_brokers_prefix_and_the_trace_context_has_none() {
        let event = event();
        let headers: Vec<_> = write(&event, "ce_").collect();
        let names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
        for name in [
            "ce_id",
            "ce_specversion",
            "ce_tenant",
            "ce_partitionkey",
            "traceparent",
        ] {
            assert!(names.contains(&name), "{name} of {names:?}");
        }
        let others = [("traceId".to_owned(), "1".to_owned())];
        let data = event.data().clone();
        let read = read(
            headers.into_iter().chain(others),
            &["ce_"],
            Some(data.content_type),
            data.bytes,
        );
        assert_eq!(read, Ok(event));
    }

    #[test]
    fn several_prefixes_are_read_in_any_case_and_a_content_type_among_them() {
        let headers = write(&event(), "cloudEvents_")
            .map(|(name, value)| (name.to_uppercase(), value))
            .chain([(
                "cloudEvents:datacontenttype".to_owned(),
                "text/plain".to_owned(),
            )])
            .collect::<Vec<_>>();
        let read = read(headers, &["cloudEvents:", "cloudEvents_"], None, vec![1]).unwrap();
        assert_eq!(read.event_type(), "order.placed");
        assert_eq!(read.data().content_type, "text/plain");
    }

    #[test]
    fn a_message_of_others_is_malformed_and_keeps_its_body() {
        let malformed = read([], &["ce_"], None, b"hello".to_vec()).unwrap_err();
        assert!(malformed.reason.contains("specversion"));
        assert_eq!(malformed.body, b"hello");
    }
}
