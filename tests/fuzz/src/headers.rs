//! Messages, as each broker gives them.
//!
//! Whatever arrives is an event, or it is told what is missing, and the body is kept; and it is the same on every broker. An
//! event that may be published comes back from each broker's form as it was. A trace context is taken as a model of the W3C's
//! specification takes it, and none makes an event unpublishable.

use crate::brokers::{Arriving, Headers, kafka, nats, rabbitmq, redis};
use sagaz::{
    Event, EventParts, Payload,
    broker::{BrokerError, Malformed},
    observe::TraceContext,
};
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const TRACE: [&str; 2] = ["traceparent", "tracestate"];
const CONTENT_TYPE: &str = "content-type";

/// Lines of `name: value`, an empty line, and the body.
pub(crate) fn headers(input: &[u8]) {
    let end = input.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&input[..end], &input[end + 2..]),
        None => (input, &[][..]),
    };
    let head = String::from_utf8_lossy(head);
    let lines: Vec<(&str, &str)> = head
        .split('\n')
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.strip_prefix(' ').unwrap_or(value)))
        .collect();
    arrives(&lines, body);
    is_published(&lines, body);
    let find = |wanted| {
        lines
            .iter()
            .find(|(name, _)| *name == wanted)
            .map(|it| it.1)
    };
    trace(find("traceparent").unwrap_or_default(), find("tracestate"));
}

fn arrives(lines: &Headers<'_>, body: &[u8]) {
    // Brokers differ in which names they carry, and in which of two with one name counts.
    let is_carried = |name: &str| {
        !name.contains('\0') && nats::can_be_named(name) && rabbitmq::can_be_named(name)
    };
    let mut named = BTreeMap::new();
    for (name, value) in lines
        .iter()
        .filter(|(name, value)| is_carried(name) && !value.contains('\r'))
    {
        named
            .entry(name.to_ascii_lowercase())
            .or_insert((*name, *value));
    }
    let content_type = named.remove(CONTENT_TYPE).map(|it| it.1);
    let (trace, attributes): (Vec<_>, Vec<_>) = named
        .into_values()
        .partition(|(name, _)| TRACE.contains(name));
    let arriving = Arriving {
        attributes: &attributes,
        trace: &trace,
        content_type,
        body,
    };
    let all = [kafka::read, nats::read, rabbitmq::read, redis::read];
    let all = all.map(|read| read(arriving).map(|event| at(UNIX_EPOCH, event)));
    let value = |wanted: &str| {
        let mut found = attributes
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.next().map(|(_, value)| *value)
    };
    for (broker, read) in all.iter().enumerate() {
        assert_eq!(
            read, &all[0],
            "broker {broker} reads it otherwise than the first"
        );
        match read {
            Ok(event) => {
                assert_eq!(event.data().bytes, body);
                assert_eq!(Some(event.event_id().as_str()), value("id"));
                assert_eq!(Some(event.event_type()), value("type"));
                assert_eq!(event.subject_name(), value("subject"));
                assert!(value("specversion").is_some_and(|version| version.starts_with("1.")));
            }
            Err(Malformed {
                reason, body: kept, ..
            }) => {
                assert_eq!(kept, body);
                let missing = ["specversion", "id", "type", "source"]
                    .map(|name| value(name).is_none().then_some(name));
                let is_named = missing.iter().flatten().any(|name| reason.contains(name));
                assert!(
                    is_named || missing == [None; 4] && reason.contains("CloudEvents"),
                    "{reason}"
                );
            }
        }
    }
    if let Ok(event) = &all[0] {
        comes_back(event);
    }
}

fn is_published(lines: &Headers<'_>, body: &[u8]) {
    let mut parts = EventParts {
        id: "1".into(),
        event_type: String::new(),
        source: String::new(),
        subject: None,
        key: None,
        time: UNIX_EPOCH,
        data: Payload {
            content_type: "text/plain".to_owned(),
            bytes: body.to_vec(),
        },
        attributes: BTreeMap::new(),
    };
    for (name, value) in lines {
        let value = (*value).to_owned();
        match *name {
            "specversion" => {}
            "id" => parts.id = value.into(),
            "type" => parts.event_type = value,
            "source" => parts.source = value,
            "subject" => parts.subject = Some(value),
            "partitionkey" => parts.key = Some(value),
            CONTENT_TYPE => parts.data.content_type = value,
            "seconds" => parts.time = moment(&value).unwrap_or(UNIX_EPOCH),
            other => drop(parts.attributes.insert(other.to_owned(), value)),
        }
    }
    comes_back(&Event::from_parts(parts));
}

/// Seconds since or before 1970, with a fraction.
fn moment(text: &str) -> Option<SystemTime> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let (seconds, nanos) = (seconds.parse::<i64>().ok()?, fraction.parse::<u32>().ok()?);
    let moved = Duration::new(seconds.unsigned_abs(), nanos.min(999_999_999));
    if seconds < 0 {
        UNIX_EPOCH.checked_sub(moved)
    } else {
        UNIX_EPOCH.checked_add(moved)
    }
}

/// Also one that may not be published is written without a panic.
fn comes_back(event: &Event) {
    let may_be_published = event.check(usize::MAX);
    if let Err(error) = may_be_published {
        assert!(!error.to_string().is_empty());
        return;
    }
    let mut expected = event.clone().into_parts();
    if expected.data.content_type.is_empty() {
        "application/octet-stream".clone_into(&mut expected.data.content_type);
    }
    let expected = Ok(Event::from_parts(expected));
    assert_eq!(kafka::there_and_back(event), expected);
    assert_eq!(redis::there_and_back(event), expected);
    for there_and_back in [nats::there_and_back, rabbitmq::there_and_back] {
        match there_and_back(event) {
            Ok(back) => assert_eq!(back, expected),
            Err(error) => is_refused(event, &error),
        }
    }
    let context = TraceContext::of(event);
    let traced = event.clone().in_trace(context, event.size());
    assert_eq!(
        &traced, event,
        "it has a trace, or there is no room for one"
    );
}

/// What only some brokers have no room for.
fn is_refused(event: &Event, error: &BrokerError) {
    assert!(error.is_refusal(), "{error}");
    assert!(event.data().content_type.len() > 255, "{error}");
}

fn at(time: SystemTime, event: Event) -> Event {
    let mut parts = event.into_parts();
    parts.time = time;
    Event::from_parts(parts)
}

fn trace(parent: &str, state: Option<&str>) {
    let context = TraceContext::new(parent, state);
    let expected = model(parent);
    let read = context.as_ref().map(|it| {
        (
            it.trace_id().to_owned(),
            it.span_id().to_owned(),
            it.traceparent().ends_with('1'),
        )
    });
    assert_eq!(read, expected, "{parent:?}");
    let Some(context) = context else { return };
    let again = TraceContext::new(context.traceparent(), context.tracestate());
    assert_eq!(again.as_ref(), Some(&context), "it is passed on as it is");
    let event = Event::new("a", &1).source("/");
    for room in [0, 60, 80, 700] {
        let limit = event.size() + room;
        let traced = event.clone().in_trace(Some(context.clone()), limit);
        traced.check(limit).unwrap();
        comes_back(&traced);
    }
}

/// The ids of a `traceparent`, and whether it is sampled.
fn model(parent: &str) -> Option<(String, String, bool)> {
    let text: Vec<char> = parent.trim().chars().collect();
    let is_hex = |digit: &char| digit.is_ascii_digit() || ('a'..='f').contains(digit);
    let is_shaped = |(place, letter): (usize, &char)| match place {
        2 | 35 | 52 => *letter == '-',
        _ => is_hex(letter),
    };
    let known = text.get(..55)?;
    if !known.iter().enumerate().all(is_shaped) {
        return None;
    }
    let part = |from: usize, to: usize| known[from..to].iter().collect::<String>();
    let ends_there = text.len() == 55 || part(0, 2) != "00" && text[55] == '-';
    let (version, trace, span) = (part(0, 2), part(3, 35), part(36, 52));
    let is_none = |id: &str| id.chars().all(|digit| digit == '0');
    if !ends_there || version == "ff" || is_none(&trace) || is_none(&span) {
        return None;
    }
    Some((trace, span, known[54].to_digit(16)? % 2 == 1))
}
