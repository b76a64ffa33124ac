//! Trace contexts between spans and the world: OpenTelemetry's, if the feature `otel` is on, and else none.

use sagaz_core::observe::TraceContext;
use tracing::Span;

#[cfg(feature = "otel")]
mod contexts {
    use super::{Span, TraceContext};
    use opentelemetry::{
        Context,
        trace::{SpanContext, TraceContextExt, TraceFlags, TraceState},
    };
    use std::str::FromStr;
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    /// That of the code that runs now: of its span, or else of OpenTelemetry's own context.
    pub(crate) fn current() -> Option<TraceContext> {
        of(&Span::current()).or_else(|| to_w3c(Context::current().span().span_context()))
    }

    /// That of a span.
    pub(crate) fn of(span: &Span) -> Option<TraceContext> {
        if span.is_disabled() {
            return None;
        }
        to_w3c(span.context().span().span_context())
    }

    /// Puts a span, which has not begun, under a trace context.
    pub(crate) fn set_parent(span: &Span, parent: &TraceContext) {
        if let Some(parent) = from_w3c(parent) {
            // Without a layer of OpenTelemetry there is nothing to put.
            let _ = span.set_parent(Context::new().with_remote_span_context(parent));
        }
    }

    /// Links a span to another.
    pub(crate) fn link(span: &Span, to: &TraceContext) {
        if let Some(to) = from_w3c(to) {
            span.add_link(to);
        }
    }

    /// <https://www.w3.org/TR/trace-context/#traceparent-header>
    fn to_w3c(context: &SpanContext) -> Option<TraceContext> {
        if !context.is_valid() {
            return None;
        }
        let flags = context.trace_flags() & TraceFlags::SAMPLED;
        let traceparent = format!(
            "00-{}-{}-{:02x}",
            context.trace_id(),
            context.span_id(),
            flags.to_u8()
        );
        TraceContext::new(&traceparent, Some(&context.trace_state().header()))
    }

    fn from_w3c(context: &TraceContext) -> Option<SpanContext> {
        let state = context
            .tracestate()
            .and_then(|state| TraceState::from_str(state).ok());
        let flags = u8::from_str_radix(context.traceparent().get(53..55)?, 16).ok()?;
        Some(SpanContext::new(
            opentelemetry::TraceId::from_hex(context.trace_id()).ok()?,
            opentelemetry::SpanId::from_hex(context.span_id()).ok()?,
            TraceFlags::new(flags) & TraceFlags::SAMPLED,
            true,
            state.unwrap_or_default(),
        ))
    }
}

#[cfg(not(feature = "otel"))]
mod contexts {
    use super::{Span, TraceContext};

    pub(crate) fn current() -> Option<TraceContext> {
        None
    }

    pub(crate) fn of(_: &Span) -> Option<TraceContext> {
        None
    }

    pub(crate) fn set_parent(_: &Span, _: &TraceContext) {}

    pub(crate) fn link(_: &Span, _: &TraceContext) {}
}

pub(crate) use contexts::{current, link, of, set_parent};
