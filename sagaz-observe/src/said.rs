//! What happens, in words: as events of the `tracing` facade.
//!
//! `info` is what becomes of instances, `warn` what went wrong and is tried again, `error` what needs a person; `debug` and `trace`
//! are for those who look for something.

use crate::spans::in_closing_span;
use sagaz_core::{
    CodecError,
    observe::{ConsumerEvent, ConsumerIdentity, Lifecycle, PublisherEvent, PublisherIdentity},
    store::Handled,
};
use std::error::Error;
use tracing::{debug, error, info, trace, warn};

/// An event about an instance.
macro_rules! say {
    ($level:ident, $instance:expr, $($rest:tt)*) => {
        $level!(target: "sagaz", saga = $instance.saga, instance = display($instance.id),
            trace_id = $instance.trace.map(|trace| trace.parent().trace_id()), $($rest)*)
    };
}

#[expect(clippy::too_many_lines, reason = "a table: one case, one line")]
pub(crate) fn tell(event: &Lifecycle<'_>) {
    match *event {
        Lifecycle::Accepted { instance } => say!(info, instance, "instance accepted"),
        Lifecycle::Claimed {
            instance,
            suspect: true,
            ..
        } => {
            say!(
                warn,
                instance,
                "instance taken as a suspect: it may be killing its processes"
            );
        }
        Lifecycle::Claimed {
            instance,
            taken_over: true,
            ..
        } => {
            say!(
                warn,
                instance,
                "instance taken over from an engine that died"
            );
        }
        Lifecycle::Claimed { instance, .. } => say!(debug, instance, "instance claimed"),
        Lifecycle::StepStarted {
            instance,
            step,
            attempt,
        } => {
            say!(trace, instance, step, attempt, "attempt begun");
        }
        Lifecycle::CompensationStarted {
            instance,
            step,
            attempt,
        } => {
            say!(
                trace,
                instance,
                step,
                attempt,
                kind = "compensation",
                "attempt begun"
            );
        }
        Lifecycle::StepCompleted {
            instance,
            step,
            attempt,
        } => {
            say!(
                debug,
                instance,
                step,
                attempt,
                "step completed, and its output is stored"
            );
        }
        Lifecycle::StepRetried {
            instance,
            step,
            attempt,
            delay,
        } => {
            say!(
                info,
                instance,
                step,
                attempt,
                delay_s = delay.as_secs_f64(),
                "step will be attempted again"
            );
        }
        Lifecycle::StepFailed {
            instance,
            step,
            unknown,
        } => {
            let outcome = if unknown { "unknown" } else { "failed" };
            say!(
                info,
                instance,
                step,
                outcome,
                "step is over without an output"
            );
        }
        // Not the words of the failure: those of a panic, or of a value that cannot be read, may have anything in them. What an
        // attempt failed with is said when it ends.
        Lifecycle::Compensating { instance, failure } => {
            let (step, reason) = (failure.step.as_deref(), failure.reason.as_str());
            say!(info, instance, step, reason, "instance is being undone");
        }
        Lifecycle::Compensated {
            instance,
            step,
            attempt,
        } => {
            say!(debug, instance, step, attempt, "step undone");
        }
        Lifecycle::CompensationRetried {
            instance,
            step,
            attempt,
            delay,
        } => {
            say!(
                info,
                instance,
                step,
                attempt,
                delay_s = delay.as_secs_f64(),
                "compensation will be attempted again"
            );
        }
        Lifecycle::CompensationFailed { instance, step } => {
            say!(error, instance, step, "compensation gave up");
        }
        Lifecycle::RecoveryStarted { instance, step } => {
            say!(
                info,
                instance,
                step,
                "retries are used up, and the recovery is asked"
            );
        }
        Lifecycle::Finished {
            instance,
            state,
            age,
        } => in_closing_span(&instance, state.as_str(), || {
            say!(
                info,
                instance,
                outcome = state.as_str(),
                age_s = age.as_secs_f64(),
                "instance ended"
            );
        }),
        Lifecycle::Stuck { instance, stuck } => in_closing_span(&instance, "stuck", || {
            let (step, reason) = (stuck.step.as_deref(), stuck.reason.as_str());
            say!(
                error,
                instance,
                step,
                reason,
                "instance is stuck, and needs an operator: `inspect` tells more"
            );
        }),
        Lifecycle::DriverPanicked { instance } => {
            say!(
                error,
                instance,
                "what drives the instance panicked: it goes on from what is stored"
            );
        }
        Lifecycle::CancelRefused { instance, deadline } => {
            let cause = if deadline { "deadline" } else { "request" };
            say!(warn, instance, cause, "cancel refused: it came too late");
        }
        Lifecycle::Released { instance } => say!(debug, instance, "instance released"),
        Lifecycle::LeaseLost { instance } => {
            say!(
                warn,
                instance,
                "another engine has taken the instance: work on it here is dropped"
            );
        }
        Lifecycle::OutputRefused {
            instance,
            step,
            reason,
        } => {
            say!(
                error,
                instance,
                step,
                error = reason,
                "output cannot be stored"
            );
        }
        Lifecycle::BatchStored {
            engine,
            store,
            writes,
            took,
        } => {
            trace!(target: "sagaz", engine = display(engine), store, writes, took_s = took.as_secs_f64(), "batch stored");
        }
        Lifecycle::WriteConflict {
            engine,
            store,
            lost,
        } => {
            debug!(target: "sagaz", engine = display(engine), store, lost, "write not applied");
        }
        Lifecycle::StoreUnavailable {
            engine,
            store,
            error,
        } => {
            warn!(target: "sagaz", engine = display(engine), store, error = words(error), "store unavailable");
        }
        Lifecycle::LeaseRenewed {
            engine,
            lapsed: true,
        } => {
            warn!(target: "sagaz", engine = display(engine), "lease renewed after it had lapsed: others may have taken over");
        }
        Lifecycle::LeaseRenewed { engine, .. } => {
            trace!(target: "sagaz", engine = display(engine), "lease renewed");
        }
        Lifecycle::LeaseNotRenewed { engine } => {
            warn!(target: "sagaz", engine = display(engine), "lease not renewed");
        }
        // What attempts end with is said when their scopes end: `spans`.
        _ => {}
    }
}

pub(crate) fn tell_of_publisher(publisher: &PublisherIdentity, event: &PublisherEvent<'_>) {
    let (sender, broker, store) = (publisher.kind.as_str(), publisher.broker, publisher.store);
    match *event {
        PublisherEvent::Published {
            event_type, took, ..
        } => {
            debug!(target: "sagaz", sender, broker, event_type, took_s = took.as_secs_f64(), "event published");
        }
        PublisherEvent::Retried {
            event_type,
            attempts,
            error,
            after,
        } => {
            let after_s = after.as_secs_f64();
            warn!(target: "sagaz", sender, broker, event_type, attempts, after_s, error = words(error), "event not published");
        }
        PublisherEvent::Dead {
            event_type,
            attempts,
            error,
        } => {
            error!(target: "sagaz", sender, broker, event_type, attempts, error = words(error),
                "event given up: it is a dead letter");
        }
        PublisherEvent::Left { events } => {
            debug!(target: "sagaz", sender, broker, events, "events left to the relay");
        }
        PublisherEvent::BrokerFailed { error } => {
            warn!(target: "sagaz", sender, broker, error = words(error), "broker unavailable");
        }
        PublisherEvent::StoreFailed { call, error } => {
            warn!(target: "sagaz", sender, store, call, error = words(error), "store unavailable");
        }
        PublisherEvent::Attended { lanes, workers } => {
            trace!(target: "sagaz", sender, store, lanes, workers, "lease on lanes renewed");
        }
        PublisherEvent::Load { events, unmarked } => {
            trace!(target: "sagaz", sender, events, unmarked, "outbox read");
        }
        _ => {}
    }
}

pub(crate) fn tell_of_consumer(consumer: &ConsumerIdentity<'_>, event: &ConsumerEvent<'_>) {
    let (consumer, broker) = (consumer.consumer, consumer.broker);
    match *event {
        ConsumerEvent::Handled {
            event_type,
            handled: Handled::Dead,
            took,
        } => {
            let took_s = took.as_secs_f64();
            error!(target: "sagaz", consumer, broker, event_type, took_s, "event given up: it is a dead letter");
        }
        ConsumerEvent::Handled {
            event_type,
            handled,
            took,
        } => {
            let (outcome, took_s) = (handled.as_str(), took.as_secs_f64());
            debug!(target: "sagaz", consumer, broker, event_type, outcome, took_s, "event handled");
        }
        ConsumerEvent::Failed {
            event_type,
            attempts,
            error,
        } => {
            warn!(target: "sagaz", consumer, event_type, attempts, error = words(error), "event not handled");
        }
        ConsumerEvent::Skipped { event_type } => {
            trace!(target: "sagaz", consumer, broker, event_type, "event skipped");
        }
        ConsumerEvent::Malformed { from, malformed } => {
            warn!(target: "sagaz", consumer, broker, from, error = malformed.reason.as_str(), "message is no event");
        }
        ConsumerEvent::Refused { event_type, error } => {
            error!(target: "sagaz", consumer, broker, event_type, error, "event cannot be kept here");
        }
        ConsumerEvent::BrokerFailed { error } => {
            warn!(target: "sagaz", consumer, broker, error = words(error), "broker unavailable");
        }
        ConsumerEvent::Ended { error } => {
            error!(target: "sagaz", consumer, broker, error = words(error), "consumer has ended");
        }
        ConsumerEvent::StoreFailed { error } => {
            warn!(target: "sagaz", consumer, error = words(error), "store unavailable");
        }
        _ => {}
    }
}

/// An error and its causes, without values that were read or written.
fn words(error: &(dyn Error + 'static)) -> String {
    let own = |error: &(dyn Error + 'static)| match error.downcast_ref::<CodecError>() {
        Some(error) => error.without_values(),
        None => error.to_string(),
    };
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(own(error), |words, cause| {
        format!("{words}: {}", own(cause))
    })
}
