//! Work as spans of the `tracing` facade, and what happens as its events: for whichever subscriber the program has installed.
//!
//! Invariant: no input, no output and no data of an event is in a span or an event. Names are few: of sagas, steps and event
//! types; what is one instance's is in fields.
//!
//! Attempts are under the trace context of whoever started the instance, which is stored with it: so one trace goes on over a
//! crash. The span of an acceptance is short, and ended when it is stored; what tells of the instance's end is linked to it,
//! because a successor cannot end the span of a dead process.

use crate::{propagation, said};
use sagaz_core::observe::{
    AttemptKind, ConsumerEvent, ConsumerIdentity, End, Instance, Lifecycle, Observer,
    PublisherEvent, PublisherIdentity, Scope, Trace, TraceContext, Work,
};
use sagaz_core::{Event, SAGA_ATTRIBUTE, SagaId};
use tracing::{Span, debug, debug_span, field::Empty, info_span, level_filters::LevelFilter, warn};

/// Tells the subscriber of the `tracing` facade.
#[derive(Debug)]
pub(crate) struct Telling;

impl Observer for Telling {
    fn is_enabled(&self) -> bool {
        LevelFilter::current() != LevelFilter::OFF
    }

    fn begin(&self, work: &Work<'_>) -> Option<Box<dyn Scope>> {
        // Without a subscriber, or with one that wants errors alone, this is all.
        if LevelFilter::current() < LevelFilter::WARN {
            return None;
        }
        let span = match work {
            Work::Accept { instance, caller } => acceptance(instance, *caller),
            Work::Attempt {
                instance,
                step,
                kind,
                attempt,
            } => of_attempt(instance, step, *kind, *attempt),
            Work::Write { store, writes } => of_write(store, *writes),
            Work::Publish { broker, event } => of_publishing(broker, event),
            Work::Handle {
                broker,
                consumer,
                event,
            } => of_handling(*broker, consumer, event),
            _ => return None,
        };
        let attempt = Attempt::of(work);
        // That an attempt has failed is said also where nobody wants to know of its span.
        let is_of_use = !span.is_disabled() || attempt.is_some();
        is_of_use.then(|| Box::new(InSpan { span, attempt }) as Box<dyn Scope>)
    }

    fn trace(&self) -> Option<TraceContext> {
        propagation::current()
    }

    fn observe(&self, event: &Lifecycle<'_>) {
        if self.is_enabled() {
            said::tell(event);
        }
    }

    fn publisher(&self, publisher: &PublisherIdentity, event: &PublisherEvent<'_>) {
        if self.is_enabled() {
            said::tell_of_publisher(publisher, event);
        }
    }

    fn consumer(&self, consumer: &ConsumerIdentity<'_>, event: &ConsumerEvent<'_>) {
        if self.is_enabled() {
            said::tell_of_consumer(consumer, event);
        }
    }
}

/// Work in a span, or an attempt whose span nobody wants: that it failed is said all the same.
struct InSpan {
    span: Span,
    attempt: Option<Attempt>,
}

/// Which attempt it is.
struct Attempt {
    saga: &'static str,
    instance: SagaId,
    step: &'static str,
    kind: AttemptKind,
    number: u32,
}

impl Attempt {
    fn of(work: &Work<'_>) -> Option<Self> {
        let Work::Attempt {
            instance,
            step,
            kind,
            attempt,
        } = *work
        else {
            return None;
        };
        Some(Self {
            saga: instance.saga,
            instance: instance.id,
            step,
            kind,
            number: attempt,
        })
    }
}

impl Scope for InSpan {
    fn enter(&self) {
        self.span
            .with_subscriber(|(id, subscriber)| subscriber.enter(id));
    }

    fn exit(&self) {
        self.span
            .with_subscriber(|(id, subscriber)| subscriber.exit(id));
    }

    fn trace(&self) -> Option<TraceContext> {
        propagation::of(&self.span)
    }

    fn end(self: Box<Self>, end: &End<'_>) {
        let Self { span, attempt } = *self;
        let outcome = end.outcome;
        span.record("outcome", outcome);
        let words = end.error.map(ToString::to_string);
        if let Some(words) = &words {
            span.record("error", words.as_str());
            span.record("error.type", outcome);
            span.record("otel.status_code", "ERROR");
        }
        let Some(attempt) = attempt else { return };
        match words.as_deref() {
            None => span.in_scope(|| debug!(target: "sagaz", outcome, "attempt completed")),
            // Its span says the rest.
            Some(error) if !span.is_disabled() => {
                span.in_scope(|| warn!(target: "sagaz", outcome, error, "attempt failed"));
            }
            Some(error) => {
                let Attempt { saga, step, .. } = attempt;
                let (kind, number) = (attempt.kind.as_str(), attempt.number);
                warn!(target: "sagaz", saga, instance = display(attempt.instance), step, kind, attempt = number, outcome, error,
                    "attempt failed");
            }
        }
    }
}

/// A span under a trace context, if there is one, and else under the span that is current.
macro_rules! span_under {
    ($context:expr, $make:ident, $name:literal, $($fields:tt)*) => {
        match $context {
            Some(context) => {
                let span = $make!(target: "sagaz", parent: None, $name, $($fields)*,
                    outcome = Empty, error = Empty, "error.type" = Empty, "otel.status_code" = Empty);
                propagation::set_parent(&span, context);
                span
            }
            None => $make!(target: "sagaz", $name, $($fields)*,
                outcome = Empty, error = Empty, "error.type" = Empty, "otel.status_code" = Empty),
        }
    };
}

fn acceptance(instance: &Instance<'_>, caller: Option<&TraceContext>) -> Span {
    let name = format!("{} accepted", instance.saga);
    span_under!(
        caller,
        info_span,
        "saga",
        "otel.name" = name,
        saga = instance.saga,
        instance = display(instance.id)
    )
}

fn of_attempt(
    instance: &Instance<'_>,
    step: &'static str,
    kind: AttemptKind,
    attempt: u32,
) -> Span {
    let saga = instance.saga;
    let name = match kind {
        AttemptKind::Compensation => format!("{saga} undo {step}"),
        AttemptKind::Recovery => format!("{saga} recover {step}"),
        _ => format!("{saga} {step}"),
    };
    let caller = instance.trace.map(Trace::parent);
    span_under!(
        caller,
        info_span,
        "attempt",
        "otel.name" = name,
        saga,
        instance = display(instance.id),
        step,
        kind = kind.as_str(),
        attempt
    )
}

/// A batch is of many instances, so it is in no trace of one of them.
/// <https://opentelemetry.io/docs/specs/semconv/db/database-spans/>
fn of_write(store: &'static str, writes: usize) -> Span {
    debug_span!(target: "sagaz", parent: None, "write", "otel.name" = format!("write {store}"), "otel.kind" = "client",
        "db.system.name" = store, "db.operation.name" = "write", "db.operation.batch.size" = writes,
        outcome = Empty, error = Empty, "error.type" = Empty, "otel.status_code" = Empty)
}

/// <https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/>
fn of_publishing(broker: &'static str, event: &Event) -> Span {
    let name = format!("publish {}", event.event_type());
    let instance = event.attributes().get(SAGA_ATTRIBUTE).map(String::as_str);
    span_under!(
        TraceContext::of(event).as_ref(),
        info_span,
        "publish",
        "otel.name" = name,
        "otel.kind" = "producer",
        instance,
        "messaging.system" = broker,
        "messaging.operation.name" = "publish",
        "messaging.operation.type" = "send",
        "messaging.message.id" = event.event_id().as_str(),
        "cloudevents.event_id" = event.event_id().as_str(),
        "cloudevents.event_type" = event.event_type(),
        "cloudevents.event_source" = event.source_uri()
    )
}

fn of_handling(broker: Option<&'static str>, consumer: &str, event: &Event) -> Span {
    let name = format!("process {}", event.event_type());
    let instance = event.attributes().get(SAGA_ATTRIBUTE).map(String::as_str);
    span_under!(
        TraceContext::of(event).as_ref(),
        info_span,
        "process",
        "otel.name" = name,
        "otel.kind" = "consumer",
        instance,
        consumer,
        "messaging.system" = broker,
        "messaging.operation.name" = "process",
        "messaging.operation.type" = "process",
        "messaging.consumer.group.name" = consumer,
        "messaging.message.id" = event.event_id().as_str(),
        "cloudevents.event_id" = event.event_id().as_str(),
        "cloudevents.event_type" = event.event_type(),
        "cloudevents.event_source" = event.source_uri()
    )
}

/// The span of an instance's end: short, and linked to that of its acceptance, which may be another process's.
pub(crate) fn in_closing_span(instance: &Instance<'_>, outcome: &'static str, say: impl FnOnce()) {
    let name = format!("{} {}", instance.saga, outcome);
    let caller = instance.trace.map(Trace::parent);
    let span = span_under!(
        caller,
        info_span,
        "end",
        "otel.name" = name,
        saga = instance.saga,
        instance = display(instance.id)
    );
    if let Some(accepted) = instance.trace.and_then(Trace::accepted) {
        propagation::link(&span, &accepted);
    }
    span.record("outcome", outcome);
    span.in_scope(say);
}
