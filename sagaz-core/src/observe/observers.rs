//! Those who are told.

use super::{
    ConsumerEvent, ConsumerIdentity, Lifecycle, Observer, Probe, PublisherEvent, PublisherIdentity,
    Scoping, TraceContext, Work, scope::quietly,
};
use std::{
    fmt,
    sync::{Arc, OnceLock},
};

static DEFAULT: OnceLock<Observers> = OnceLock::new();

/// Sets the observers of this process: of every engine, relay and consumer that starts from now on, and of every run in process.
///
/// # Errors
///
/// There are some already; they stay, and these are given back.
pub fn set_default(observers: Observers) -> Result<(), Observers> {
    DEFAULT.set(observers)
}

/// The observers of something. A panic in one of them is caught.
#[derive(Clone)]
pub struct Observers(Arc<Vec<Arc<dyn Observer>>>);

impl Observers {
    /// These; `None` if there are none.
    #[must_use]
    pub fn of(observers: Vec<Arc<dyn Observer>>) -> Option<Self> {
        (!observers.is_empty()).then(|| Self(Arc::new(observers)))
    }

    /// These, and those of the process, if they are set; `None` if nobody is to be told.
    #[must_use]
    pub fn with_default(mut own: Vec<Arc<dyn Observer>>) -> Option<Self> {
        let Some(default) = DEFAULT.get() else {
            return Self::of(own);
        };
        if own.is_empty() {
            return Some(default.clone());
        }
        own.extend(default.0.iter().cloned());
        Self::of(own)
    }

    /// Those of the process, if they are set and one of them makes anything of what it is told.
    #[inline]
    pub(crate) fn enabled_default() -> Option<Self> {
        let default = DEFAULT.get()?;
        let is_enabled = || default.0.iter().any(|observer| observer.is_enabled());
        quietly(is_enabled)
            .unwrap_or(false)
            .then(|| default.clone())
    }

    fn each(&self, tell: impl Fn(&dyn Observer)) {
        for observer in &*self.0 {
            quietly(|| tell(&**observer));
        }
    }

    /// Tells of an instance or an engine.
    pub fn observe(&self, event: &Lifecycle<'_>) {
        self.each(|observer| observer.observe(event));
    }

    /// Tells of a relay or an optimistic sender.
    pub fn publisher(&self, publisher: &PublisherIdentity, event: &PublisherEvent<'_>) {
        self.each(|observer| observer.publisher(publisher, event));
    }

    /// Tells of a consumer.
    pub fn consumer(&self, consumer: &ConsumerIdentity<'_>, event: &ConsumerEvent<'_>) {
        self.each(|observer| observer.consumer(consumer, event));
    }

    /// Gives them something to ask.
    pub fn watch(&self, probe: &Probe) {
        self.each(|observer| observer.watch(probe.clone()));
    }

    /// Something of this kind is starting, until what this gives is dropped.
    #[must_use]
    pub fn starting(&self, kind: &'static str) -> Arc<()> {
        let starting = Arc::new(());
        self.watch(&Probe::Starting(kind, Arc::downgrade(&starting)));
        starting
    }

    /// Work begins.
    #[must_use]
    pub fn begin(&self, work: &Work<'_>) -> Scoping {
        let scopes = self
            .0
            .iter()
            .filter_map(|observer| quietly(|| observer.begin(work))?);
        Scoping::of(scopes.collect())
    }

    /// The trace context of the code that runs now.
    #[must_use]
    pub fn trace(&self) -> Option<TraceContext> {
        self.0
            .iter()
            .find_map(|observer| quietly(|| observer.trace())?)
    }

    /// That, as the observers of the process know it.
    #[must_use]
    pub fn current_trace() -> Option<TraceContext> {
        DEFAULT.get()?.trace()
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observers").field(&self.0.len()).finish()
    }
}
