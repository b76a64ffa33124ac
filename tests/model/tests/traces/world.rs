//! Services that are called, keep their word, and answer as their seed says; and the record of what was seen.

use crate::trace::Event;
use sagaz::{StepContext, StepError, store::memory::Memory};
use std::{
    collections::BTreeSet,
    future,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::time::sleep;

/// A clone is the same world.
#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<Inner>>);

struct Inner {
    store: Memory,
    rng: fastrand::Rng,
    /// Each with how many changes the store had applied before it.
    seen: Vec<(usize, Event)>,
    effects: BTreeSet<&'static str>,
    /// Said once that they do not happen, and so they never do.
    declined: BTreeSet<&'static str>,
    dead: BTreeSet<String>,
}

impl World {
    pub(crate) fn new(store: Memory, rng: fastrand::Rng) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            store,
            rng,
            seen: Vec::new(),
            effects: BTreeSet::new(),
            declined: BTreeSet::new(),
            dead: BTreeSet::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    pub(crate) fn see(&self, event: Event) {
        let mut inner = self.lock();
        if inner.dead.contains(&event.eng) {
            return;
        }
        if event.what == "die" {
            let engine = event.eng.clone();
            inner.dead.insert(engine);
        }
        let changes = inner.store.history().len();
        inner.seen.push((changes, event));
    }

    pub(crate) fn seen(&self) -> Vec<(usize, Event)> {
        self.lock().seen.clone()
    }

    fn chance(&self, percent: u8) -> bool {
        self.lock().rng.u8(0..100) < percent
    }

    async fn some_time(&self) {
        let millis = {
            let mut inner = self.lock();
            if inner.rng.bool() {
                inner.rng.u64(0..6_000)
            } else {
                0
            }
        };
        if millis > 0 {
            sleep(Duration::from_millis(millis)).await;
        }
    }
}

/// What one process calls.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) world: World,
    /// The name of the process.
    pub(crate) engine: String,
}

impl Services {
    fn event(&self, what: &'static str, step: &str, how: &str) -> Event {
        Event {
            what,
            eng: self.engine.clone(),
            s: step.to_owned(),
            how: how.to_owned(),
            ..Event::default()
        }
    }

    fn see(&self, what: &'static str, step: &str, how: &str) {
        self.world.see(self.event(what, step, how));
    }

    /// An attempt of a step.
    pub(crate) async fn act(&self, ctx: &StepContext<'_>) -> Result<u64, StepError> {
        let (world, step) = (&self.world, ctx.step());
        self.see("begin", step, "");
        let mut attempt = Attempt {
            services: self,
            step,
            is_over: false,
        };
        world.some_time().await;
        if world.chance(6) {
            future::pending::<()>().await;
        }
        if world.chance(10) {
            return Err(attempt.fails("clean", StepError::retryable("busy").clean()));
        }
        let has_effect = world.lock().effects.contains(step);
        let is_declined = world.lock().declined.contains(step);
        if is_declined || !has_effect && world.chance(6) {
            world.lock().declined.insert(step);
            return Err(attempt.fails("permanent", StepError::permanent("declined")));
        }
        if world.chance(6) {
            return Err(attempt.fails("unknown", StepError::retryable("cut off")));
        }
        world.lock().effects.insert(step);
        self.see("effect", step, "");
        world.some_time().await;
        if world.chance(4) {
            future::pending::<()>().await;
        }
        if world.chance(6) {
            return Err(attempt.fails("unknown", StepError::retryable("cut off")));
        }
        attempt.ends("end", "completed");
        Ok(1)
    }

    /// An attempt to undo a step.
    pub(crate) async fn undo(&self, ctx: &StepContext<'_>) -> Result<(), StepError> {
        let (world, step) = (&self.world, ctx.step());
        self.see("begin undo", step, "");
        let mut attempt = Attempt {
            services: self,
            step,
            is_over: false,
        };
        world.some_time().await;
        if world.chance(15) {
            attempt.ends("end undo", "failed");
            return Err(StepError::retryable("busy"));
        }
        if world.chance(4) {
            attempt.ends("end undo", "failed");
            return Err(StepError::permanent("no way back"));
        }
        attempt.ends("end undo", "completed");
        Ok(())
    }
}

/// An attempt under way; if it is dropped in the middle, that is seen.
struct Attempt<'s> {
    services: &'s Services,
    step: &'static str,
    is_over: bool,
}

impl Attempt<'_> {
    fn ends(&mut self, what: &'static str, how: &str) {
        self.is_over = true;
        self.services.see(what, self.step, how);
    }

    fn fails(&mut self, how: &str, error: StepError) -> StepError {
        self.ends("end", how);
        error
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.services.see("gone", self.step, "");
        }
    }
}
