//! What happens to instances, engines, relays and consumers, as it happens.
//!
//! An [`Observer`] is told of everything and may put a [`Scope`] around work. Traces, metrics, logs and health are built on it
//! (`sagaz-observe`); the core itself writes none. Invariants: what is told carries names, numbers and the words of errors, and
//! never an input, an output or the data of an event; a panic in an observer reaches nobody.

mod lifecycle;
mod messaging;
mod observers;
mod probe;
mod scope;
mod trace;

pub use lifecycle::{AttemptError, Instance, Lifecycle};
pub use messaging::{
    ConsumerEvent, ConsumerIdentity, PublisherEvent, PublisherIdentity, PublisherKind,
};
pub use observers::{Observers, set_default};
pub use probe::{ConsumerProbe, EngineProbe, OutboxProbe, Probe, RelayStanding};
pub use scope::{AttemptKind, End, Scope, Scoped, Scoping, Work};
pub use trace::{Trace, TraceContext};

/// Is told of everything that happens.
///
/// Called on the tasks of engines, relays and consumers: return quickly, and do not block. Panics are caught.
///
/// ```
/// use sagaz_core::observe::{Lifecycle, Observer};
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// #[derive(Default)]
/// struct Retries(AtomicU64);
///
/// impl Observer for Retries {
///     fn observe(&self, event: &Lifecycle<'_>) {
///         if let Lifecycle::StepRetried { .. } = event {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
/// ```
///
/// An engine has the observers that it is built with, and that of the process, if one is [set](set_default) by then; relays,
/// consumers and runs in process likewise.
pub trait Observer: Send + Sync + 'static {
    /// Something happened to an instance or to an engine.
    fn observe(&self, event: &Lifecycle<'_>) {
        let _ = event;
    }

    /// Something happened to a relay, or to an optimistic sender.
    fn publisher(&self, publisher: &PublisherIdentity, event: &PublisherEvent<'_>) {
        let _ = (publisher, event);
    }

    /// Something happened to a consumer.
    fn consumer(&self, consumer: &ConsumerIdentity<'_>, event: &ConsumerEvent<'_>) {
        let _ = (consumer, event);
    }

    /// Whether anything is made of what is told now. Asked once for each run in process, which costs nothing more if not.
    fn is_enabled(&self) -> bool {
        true
    }

    /// Work begins: what this gives is entered whenever it goes on, and ended with it.
    fn begin(&self, work: &Work<'_>) -> Option<Box<dyn Scope>> {
        let _ = work;
        None
    }

    /// The trace context of the code that runs now, on this thread: of what calls [`start`](crate::Engine::start) or publishes.
    fn trace(&self) -> Option<TraceContext> {
        None
    }

    /// Something has begun that can be asked how it stands, for as long as it lives.
    fn watch(&self, probe: Probe) {
        let _ = probe;
    }
}
