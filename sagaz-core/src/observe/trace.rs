//! The trace that work belongs to, as it crosses processes.

use crate::event::{EVENT_TEXT_MAX, Event};
use serde::{Deserialize, Serialize};

/// A [W3C trace context](https://www.w3.org/TR/trace-context/): where in which trace a request was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    traceparent: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tracestate: Option<String>,
}

impl TraceContext {
    /// From the headers `traceparent` and `tracestate` of a request. `None` if the first is none that can be understood; the second
    /// is dropped if it cannot be carried. What later versions of the first may add is left out, as the specification has it for
    /// whoever passes a context on.
    #[must_use]
    pub fn new(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let is_hex = |part: &str, length: usize| {
            let is_digit = |it: u8| matches!(it, b'0'..=b'9' | b'a'..=b'f');
            part.len() == length && part.bytes().all(is_digit)
        };
        let is_id = |part: &str, length| is_hex(part, length) && part.bytes().any(|it| it != b'0');
        let mut parts = traceparent.trim().splitn(5, '-');
        let (version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
        let (flags, more) = (parts.next()?, parts.next());
        let is_known = is_hex(version, 2) && version != "ff" && (version != "00" || more.is_none());
        if !is_known || !is_id(trace, 32) || !is_id(span, 16) || !is_hex(flags, 2) {
            return None;
        }
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1;
        let can_be_carried = |state: &&str| {
            let is_plain = |it: u8| (b' '..=b'~').contains(&it);
            !state.is_empty() && state.len() <= EVENT_TEXT_MAX && state.bytes().all(is_plain)
        };
        Some(Self {
            traceparent: format!("00-{trace}-{span}-{sampled:02x}"),
            tracestate: tracestate
                .map(str::trim)
                .filter(can_be_carried)
                .map(str::to_owned),
        })
    }

    /// That of whoever made this event.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        let attribute = |name| event.attributes().get(name).map(String::as_str);
        Self::new(attribute("traceparent")?, attribute("tracestate"))
    }

    /// The header `traceparent`.
    #[must_use]
    pub fn traceparent(&self) -> &str {
        &self.traceparent
    }

    /// The header `tracestate`.
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.tracestate.as_deref()
    }

    /// The id of the trace: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        self.traceparent.get(3..35).unwrap_or_default()
    }

    /// The id of the span: 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> &str {
        self.traceparent.get(36..52).unwrap_or_default()
    }

    /// Gives it to an event that has none, as far as that leaves an event which can be published.
    pub(crate) fn give_to(self, event: Event, size_max: usize) -> Event {
        let has = |name: &str| event.attributes().contains_key(name);
        if has("traceparent") || has("tracestate") {
            return event;
        }
        let traced = event.clone().trace(self.traceparent);
        if traced.check(size_max).is_err() {
            return event;
        }
        let Some(state) = self.tracestate else {
            return traced;
        };
        let with_state = traced.clone().attribute("tracestate", state);
        if with_state.check(size_max).is_err() {
            return traced;
        }
        with_state
    }
}

/// The trace that an instance belongs to; it is stored with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Under which its attempts are: that of whoever started it, or, if that had none, of its acceptance.
    #[serde(flatten)]
    parent: TraceContext,
    /// The span of its acceptance, as a `traceparent`; what tells of its end is linked to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    saga: Option<String>,
}

impl Trace {
    /// Of an instance that somebody in this context started, and that was accepted in that one.
    #[must_use]
    pub fn new(caller: Option<TraceContext>, accepted: Option<&TraceContext>) -> Option<Self> {
        let saga = accepted.map(|accepted| accepted.traceparent.clone());
        let parent = caller.or_else(|| accepted.cloned())?;
        Some(Self { parent, saga })
    }

    /// Under which its attempts are.
    #[must_use]
    pub fn parent(&self) -> &TraceContext {
        &self.parent
    }

    /// The span of its acceptance.
    #[must_use]
    pub fn accepted(&self) -> Option<TraceContext> {
        TraceContext::new(self.saga.as_deref()?, self.parent.tracestate())
    }

    /// As it is stored.
    pub(crate) fn to_text(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }

    /// One that cannot be read is none: no instance is held up by it.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let read: Self = serde_json::from_str(text).ok()?;
        let parent = TraceContext::new(&read.parent.traceparent, read.parent.tracestate())?;
        Some(Self { parent, ..read })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_context_is_taken_as_the_specification_has_it() {
        let context = TraceContext::new(PARENT, Some("congo=t61rcWkgMzE")).unwrap();
        assert_eq!(context.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(context.span_id(), "b7ad6b7169203331");
        assert_eq!(context.tracestate(), Some("congo=t61rcWkgMzE"));
        let later = format!("01{}3-more\t", &PARENT[2..54]);
        let context = TraceContext::new(&later, None).unwrap();
        assert_eq!(context.traceparent(), PARENT, "only what is known goes on");
        for wrong in [
            "",
            "00",
            &PARENT[..54],
            &format!("{PARENT}-more"),
            &PARENT.to_uppercase(),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319ä-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::new(wrong, None), None, "{wrong}");
        }
        for unusable in ["", "a\nb", &"x".repeat(513)] {
            let context = TraceContext::new(PARENT, Some(unusable)).unwrap();
            assert_eq!(context.tracestate(), None);
        }
    }

    #[test]
    fn no_event_is_refused_for_a_trace_that_was_added() {
        let context = || TraceContext::new(PARENT, Some("vendor=1")).unwrap();
        let event = |attributes: usize| {
            let event = Event::new("order.placed", &1).source("/shop");
            (0..attributes).fold(event, |event, nth| event.attribute(format!("a{nth}"), "x"))
        };
        for (own, added) in [(30, 2), (31, 1), (32, 0)] {
            let traced = context().give_to(event(own), 10_000);
            traced.check(10_000).unwrap();
            assert_eq!(traced.attributes().len(), own + added);
        }
        let size = event(0).size();
        for limit in [size, size + 20, size + 66, size + 80, size + 200] {
            context().give_to(event(0), limit).check(limit).unwrap();
        }
        let plain = event(0);
        assert_eq!(context().give_to(plain.clone(), size), plain);
        let foreign = event(0).attribute("tracestate", "theirs=1");
        assert_eq!(context().give_to(foreign.clone(), 10_000), foreign);
    }

    #[test]
    fn a_trace_is_the_same_after_it_was_stored() {
        let caller = TraceContext::new(PARENT, Some("a=b"));
        let accepted = TraceContext::new(&PARENT.replace("b7ad", "c8be"), None).unwrap();
        let trace = Trace::new(caller.clone(), Some(&accepted)).unwrap();
        assert_eq!(
            Trace::from_text(&trace.to_text().unwrap()),
            Some(trace.clone())
        );
        assert_eq!(trace.parent(), &caller.unwrap());
        assert_eq!(trace.accepted().unwrap().span_id(), accepted.span_id());
        let of_nobody = Trace::new(None, Some(&accepted)).unwrap();
        assert_eq!(of_nobody.parent(), &accepted);
        assert_eq!(Trace::new(None, None), None);
        for wrong in ["", "{}", r#"{"traceparent":"no"}"#, PARENT] {
            assert_eq!(Trace::from_text(wrong), None);
        }
    }
}
