//! Work that an observer wants to be around.

use super::{Instance, Observers, TraceContext};
use crate::event::Event;
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

/// Work that begins.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Work<'a> {
    /// An instance is being stored. What [`Scope::trace`] of its scope tells is stored with it.
    Accept {
        /// Which.
        instance: Instance<'a>,
        /// The trace context that the caller gave, and not that of the code that runs now.
        caller: Option<&'a TraceContext>,
    },
    /// An attempt.
    Attempt {
        /// Of which instance.
        instance: Instance<'a>,
        /// Of which step.
        step: &'static str,
        /// What it is an attempt to do.
        kind: AttemptKind,
        /// Its number; the first is 1.
        attempt: u32,
    },
    /// Writes go to the store.
    Write {
        /// What the store is.
        store: &'static str,
        /// How many writes.
        writes: usize,
    },
    /// An event goes to the broker.
    Publish {
        /// What the broker is.
        broker: &'static str,
        /// The event.
        event: &'a Event,
    },
    /// An event is handled by a consumer.
    Handle {
        /// What the broker is that it came from; `None` if whoever got it handed it over.
        broker: Option<&'static str>,
        /// The consumer.
        consumer: &'a str,
        /// The event.
        event: &'a Event,
    },
}

/// What an attempt is made to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AttemptKind {
    /// The step.
    Step,
    /// To undo it.
    Compensation,
    /// To decide how it goes on after its retries are used up.
    Recovery,
}

impl AttemptKind {
    /// The word in logs, traces and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Compensation => "compensation",
            Self::Recovery => "recovery",
        }
    }
}

/// Is around work: entered and left as often as the work goes on and waits, on any thread, and never by two at once.
///
/// Dropped without [`end`](Self::end), the work was dropped.
pub trait Scope: Send + Sync {
    /// The work goes on, on this thread.
    fn enter(&self);

    /// It waits, or has ended.
    fn exit(&self);

    /// The trace context of what the work does.
    fn trace(&self) -> Option<TraceContext> {
        None
    }

    /// The work has ended.
    fn end(self: Box<Self>, end: &End<'_>);
}

/// How work ended.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct End<'a> {
    /// In one word: `completed`, `failed`, ..
    pub outcome: &'static str,
    /// What was wrong, if something was.
    pub error: Option<&'a dyn fmt::Display>,
}

impl<'a> End<'a> {
    /// Well.
    #[must_use]
    pub const fn well(outcome: &'static str) -> Self {
        Self {
            outcome,
            error: None,
        }
    }

    /// Not well.
    #[must_use]
    pub const fn ill(outcome: &'static str, error: &'a dyn fmt::Display) -> Self {
        Self {
            outcome,
            error: Some(error),
        }
    }
}

impl fmt::Debug for End<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("End")
            .field("outcome", &self.outcome)
            .field("error", &self.error.map(ToString::to_string))
            .finish()
    }
}

/// The scopes of some work, if an observer wants any. A panic in one is caught.
#[derive(Default)]
pub struct Scoping(Option<Box<dyn Scope>>);

impl Scoping {
    pub(super) fn of(mut scopes: Vec<Box<dyn Scope>>) -> Self {
        match scopes.len() {
            0 | 1 => Self(scopes.pop()),
            _ => Self(Some(Box::new(Several(scopes)))),
        }
    }

    /// Those of work that begins, if anybody watches.
    #[must_use]
    #[inline]
    pub fn begin(observers: Option<&Observers>, work: &Work<'_>) -> Self {
        observers.map_or_else(Self::default, |observers| observers.begin(work))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// The work goes on until what this gives is dropped.
    #[must_use = "the scope is left when it is dropped"]
    #[inline]
    pub fn enter(&self) -> Entered<'_> {
        if let Some(scope) = &self.0 {
            quietly(|| scope.enter());
        }
        Entered(self)
    }

    /// The trace context of what the work does.
    #[must_use]
    pub fn trace(&self) -> Option<TraceContext> {
        let scope = self.0.as_ref()?;
        quietly(|| scope.trace()).flatten()
    }

    /// The work has ended.
    #[inline]
    pub fn end(mut self, end: &End<'_>) {
        if let Some(scope) = self.0.take() {
            quietly(|| scope.end(end));
        }
    }

    /// The work has ended: with this word, or by an error.
    pub fn end_by<T>(self, result: &Result<T, impl fmt::Display>, well: &'static str) {
        match result {
            Ok(_) => self.end(&End::well(well)),
            Err(error) => self.end(&End::ill("failed", error)),
        }
    }

    /// Is entered whenever this future is polled.
    pub fn around<F: Future>(&self, future: F) -> Scoped<'_, F> {
        Scoped {
            scoping: self,
            future,
        }
    }
}

impl Drop for Scoping {
    fn drop(&mut self) {
        if let Some(scope) = self.0.take() {
            quietly(|| drop(scope));
        }
    }
}

impl fmt::Debug for Scoping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scoping").field(&self.0.is_some()).finish()
    }
}

/// Work goes on in its scope, until this is dropped.
#[derive(Debug)]
pub struct Entered<'s>(&'s Scoping);

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(scope) = &self.0.0 {
            quietly(|| scope.exit());
        }
    }
}

pin_project_lite::pin_project! {
    /// A future in a scope: [`Scoping::around`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Scoped<'s, F> {
        scoping: &'s Scoping,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Scoped<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = this.scoping.enter();
        this.future.poll(cx)
    }
}

/// The scopes of several observers.
struct Several(Vec<Box<dyn Scope>>);

impl Scope for Several {
    fn enter(&self) {
        for scope in &self.0 {
            quietly(|| scope.enter());
        }
    }

    fn exit(&self) {
        for scope in self.0.iter().rev() {
            quietly(|| scope.exit());
        }
    }

    fn trace(&self) -> Option<TraceContext> {
        self.0
            .iter()
            .find_map(|scope| quietly(|| scope.trace()).flatten())
    }

    fn end(self: Box<Self>, end: &End<'_>) {
        for scope in self.0.into_iter().rev() {
            quietly(|| scope.end(end));
        }
    }
}

/// What a panic of an observer gives is nothing.
#[inline]
pub(super) fn quietly<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}
