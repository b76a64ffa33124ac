//! What observers are told of attempts, and the scopes that they want around them.

use super::{Crew, Host};
use crate::{
    observe::{AttemptError, AttemptKind, End, Instance, Lifecycle, Scoping, Work},
    saga::Saga,
    state::Recovered,
};
use std::time::Duration;

/// Of the attempts that have begun and not ended, by step.
#[derive(Default)]
#[expect(
    clippy::box_collection,
    reason = "most of what waits has none, and keeps little room for them"
)]
pub(super) struct Scopes(Option<Box<Vec<(u16, Scoping)>>>);

impl Scopes {
    /// Whether no attempt has ever had one.
    #[inline]
    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    #[inline]
    fn put(&mut self, step: usize, scope: Scoping) {
        if !scope.is_none() {
            let scopes = self.0.get_or_insert_default();
            scopes.push((u16::try_from(step).unwrap_or(u16::MAX), scope));
        }
    }

    fn take(&mut self, step: usize) -> Scoping {
        let Some(scopes) = &mut self.0 else {
            return Scoping::default();
        };
        let place = scopes.iter().position(|(at, _)| usize::from(*at) == step);
        place.map_or_else(Scoping::default, |place| scopes.swap_remove(place).1)
    }
}

impl<'a, G: Saga, H: Host<G>> Crew<'a, '_, G, H> {
    #[inline]
    pub(super) fn tell<'e>(&self, event: impl FnOnce(Instance<'e>) -> Lifecycle<'e>)
    where
        'a: 'e,
    {
        if let Some(observers) = self.shared.observers() {
            observers.observe(&event(self.shared.instance()));
        }
    }

    /// Whether anybody is told.
    #[inline]
    pub(super) fn is_watched(&self) -> bool {
        self.shared.observers().is_some()
    }

    /// An attempt begins.
    #[inline]
    pub(super) fn scope(&self, step: usize, kind: AttemptKind) -> Scoping {
        match self.shared.observers() {
            None => Scoping::default(),
            Some(observers) => observers.begin(&Work::Attempt {
                instance: self.shared.instance(),
                step: self.name(step),
                kind,
                attempt: self.stage.contexts[step].attempt(),
            }),
        }
    }

    /// Does something for an attempt that goes on, and keeps its scope.
    #[inline]
    pub(super) fn within<T>(
        &mut self,
        step: usize,
        scope: Scoping,
        act: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let done = {
            let _entered = scope.enter();
            act(self)
        };
        self.scopes.put(step, scope);
        done
    }

    pub(super) fn take_scope(&mut self, step: usize) -> Scoping {
        self.scopes.take(step)
    }

    #[inline]
    pub(super) fn tell_completed(&mut self, step: usize, compensation: bool, took: Duration) {
        if !self.scopes.is_empty() {
            self.take_scope(step).end(&End::well("completed"));
        }
        if !H::DURABLE {
            self.shared.published.hand_out(step, compensation);
        }
        self.tell(|instance| Lifecycle::AttemptCompleted {
            instance,
            step: self.name(step),
            attempt: self.stage.contexts[step].attempt(),
            kind: kind_of(compensation),
            took,
        });
    }

    pub(super) fn tell_failed(
        &mut self,
        step: usize,
        kind: AttemptKind,
        error: AttemptError<'_>,
        took: Duration,
    ) {
        self.take_scope(step).end(&End::ill(error.as_str(), &error));
        let compensation = kind == AttemptKind::Compensation;
        self.shared.published.discard(step, compensation);
        let attempt = self.stage.contexts[step].attempt();
        let step = self.name(step);
        self.tell(|instance| Lifecycle::AttemptFailed {
            instance,
            step,
            attempt,
            kind,
            error,
            took,
        });
    }

    pub(super) fn recovery_failed(&mut self, step: usize, error: AttemptError<'_>) -> Recovered {
        self.tell_failed(step, AttemptKind::Recovery, error, Duration::ZERO);
        Recovered::Stuck
    }
}

pub(super) const fn kind_of(undo: bool) -> AttemptKind {
    if undo {
        AttemptKind::Compensation
    } else {
        AttemptKind::Step
    }
}
