//! A line that says how far a matrix is, where somebody looks at it: on a terminal.

use std::{
    io::{IsTerminal, Write, stderr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

const INTERVAL: Duration = Duration::from_millis(100);

pub(crate) struct Progress {
    saga: &'static str,
    is_shown: bool,
    state: Mutex<State>,
}

struct State {
    phase: &'static str,
    done: usize,
    total: usize,
    shown_at: Instant,
}

impl Progress {
    pub(crate) fn new(saga: &'static str) -> Self {
        Self {
            saga,
            is_shown: stderr().is_terminal(),
            state: Mutex::new(State {
                phase: "",
                done: 0,
                total: 0,
                shown_at: Instant::now(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn phase(&self, phase: &'static str, total: usize) {
        let mut state = self.state();
        (state.phase, state.done, state.total) = (phase, 0, total);
        self.show(&state);
    }

    pub(crate) fn step(&self) {
        let mut state = self.state();
        state.done += 1;
        if state.shown_at.elapsed() >= INTERVAL {
            state.shown_at = Instant::now();
            self.show(&state);
        }
    }

    pub(crate) fn end(&self) {
        if self.is_shown {
            // Only for people to look at.
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }

    fn show(&self, state: &State) {
        if self.is_shown {
            let _ = write!(
                stderr(),
                "\r\x1b[K{}: {} {} of {}",
                self.saga,
                state.phase,
                state.done,
                state.total
            );
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}
