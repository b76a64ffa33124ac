//! What the attempts of one instance have published, until it is stored.
//!
//! Invariant: events are stored with the row of the attempt that published them, if it completed; those of any other attempt are
//! dropped. What was put into a write stays here until the store has acknowledged that write, so that a write which is made anew
//! has it again.

use crate::{
    event::{Event, PublishError},
    observe::TraceContext,
};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

/// The most events that one attempt publishes. Their sizes together have the limit that one has.
const EVENTS_MAX: usize = 1_000;

/// Takes the events of a run in process.
pub(crate) type Outlet = Arc<dyn Fn(Event) + Send + Sync>;

/// Where events go.
#[derive(Clone, Default)]
pub(crate) enum Destination {
    /// Nowhere: there is no store.
    #[default]
    Nowhere,
    /// To whoever runs the saga in process.
    Outlet(Outlet),
    /// Into a store, which takes events up to this size.
    Store { size_max: usize },
}

/// How large an event may be that is not stored.
const SIZE_MAX_UNSTORED: usize = 1 << 20;

#[derive(Default)]
pub(crate) struct Published {
    pub(crate) destination: Destination,
    /// Made by the first event: most instances publish none, and each waiting one would keep the place.
    list: OnceLock<Box<Mutex<Vec<Publication>>>>,
}

struct Publication {
    step: usize,
    undo: bool,
    /// It is in the write that is in flight.
    offered: bool,
    /// As its author made it: what is added to it refuses none.
    size: usize,
    event: Event,
}

impl Published {
    /// Keeps an event of an attempt.
    pub(crate) fn push(
        &self,
        step: usize,
        undo: bool,
        event: Event,
        trace: impl FnOnce() -> Option<TraceContext>,
    ) -> Result<(), PublishError> {
        let size_max = match &self.destination {
            Destination::Nowhere => {
                return Err(PublishError::of(
                    &event,
                    "a run in process has no outbox; start the saga on an engine, or run it with `run_publishing`",
                ));
            }
            Destination::Outlet(_) => SIZE_MAX_UNSTORED,
            Destination::Store { size_max } => *size_max,
        };
        event.check(size_max)?;
        let mut list = lock(self.list.get_or_init(Box::default));
        let own = list.iter().filter(|it| it.step == step && it.undo == undo);
        let (count, size) = own.fold((1, event.size()), |(count, size), it| {
            (count + 1, size + it.size)
        });
        if count > EVENTS_MAX {
            let words = format!("an attempt publishes at most {EVENTS_MAX} events");
            return Err(PublishError::of(&event, words));
        }
        if size > size_max {
            let words = format!(
                "the events of this attempt have {size} bytes together, and the limit is {size_max}: publish addresses of \
                 data instead of data, or raise `payload_max`"
            );
            return Err(PublishError::of(&event, words));
        }
        list.push(Publication {
            step,
            undo,
            offered: false,
            size: event.size(),
            event: event.in_trace(trace(), size_max),
        });
        Ok(())
    }

    /// An attempt failed.
    #[inline]
    pub(crate) fn discard(&self, step: usize, undo: bool) {
        if let Some(mut list) = self.list() {
            list.retain(|it| it.step != step || it.undo != undo);
        }
    }

    /// What an attempt has published, so far.
    pub(crate) fn of(&self, step: usize, undo: bool) -> Vec<Event> {
        let list = self.list();
        let own = list.iter().flat_map(|list| list.iter());
        own.filter(|it| it.step == step && it.undo == undo)
            .map(|it| it.event.clone())
            .collect()
    }

    /// An attempt of a run in process completed.
    #[inline]
    pub(crate) fn hand_out(&self, step: usize, undo: bool) {
        if self.list.get().is_none() {
            return;
        }
        let completed = self.take(|it| it.step == step && it.undo == undo);
        if let Destination::Outlet(outlet) = &self.destination {
            for event in completed {
                outlet(event);
            }
        }
    }

    /// The events of an attempt that completed, for its row.
    pub(crate) fn offer(&self, step: usize, undo: bool) -> Vec<Event> {
        let Some(mut list) = self.list() else {
            return Vec::new();
        };
        let own = list
            .iter_mut()
            .filter(|it| it.step == step && it.undo == undo);
        own.map(|it| {
            it.offered = true;
            it.event.clone()
        })
        .collect()
    }

    /// The row of a step is stored, and with it what was offered.
    pub(crate) fn stored(&self, step: usize) -> Vec<Event> {
        self.take(|it| it.step == step && it.offered)
    }

    fn take(&self, is_it: impl Fn(&Publication) -> bool) -> Vec<Event> {
        let Some(mut list) = self.list() else {
            return Vec::new();
        };
        let taken = list.extract_if(.., |it| is_it(it)).map(|it| it.event);
        taken.collect()
    }

    /// `None` if nothing was ever published. What is pushed on another thread was pushed by an attempt that ended there before this
    /// asks.
    #[inline]
    fn list(&self) -> Option<MutexGuard<'_, Vec<Publication>>> {
        self.list.get().map(|list| lock(list))
    }
}

fn lock(list: &Mutex<Vec<Publication>>) -> MutexGuard<'_, Vec<Publication>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published").finish_non_exhaustive()
    }
}
