//! What an engine tells an instance that it has in flight.

use futures_util::task::AtomicWaker;
use std::{
    sync::atomic::{AtomicU8, Ordering},
    task::Waker,
};

const CANCEL: u8 = 1;
const STOP: u8 = 2;
const STOP_NOW: u8 = 4;
const SUSPECT: u8 = 8;

/// Flags, and the waker of the one task that looks at them.
#[derive(Default)]
pub(crate) struct Signals {
    flags: AtomicU8,
    waker: AtomicWaker,
}

impl Signals {
    fn raise(&self, flag: u8) {
        self.flags.fetch_or(flag, Ordering::AcqRel);
        self.waker.wake();
    }

    fn is_raised(&self, flag: u8) -> bool {
        self.flags.load(Ordering::Acquire) & flag != 0
    }

    /// Somebody asked to cancel it.
    pub(crate) fn cancel(&self) {
        self.raise(CANCEL);
    }

    /// Begin no attempt, and give the instance up when those in flight have ended.
    pub(crate) fn stop(&self) {
        self.raise(STOP);
    }

    /// Give the instance up at once.
    pub(crate) fn stop_now(&self) {
        self.raise(STOP | STOP_NOW);
    }

    /// It has the engine's only place for a suspect.
    pub(crate) fn suspect(&self) {
        self.flags.fetch_or(SUSPECT, Ordering::AcqRel);
    }

    /// Whether it had that place, and has it no longer.
    pub(crate) fn was_suspect(&self) -> bool {
        self.flags.fetch_and(!SUSPECT, Ordering::AcqRel) & SUSPECT != 0
    }

    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.is_raised(CANCEL)
    }

    pub(crate) fn must_stop(&self) -> bool {
        self.is_raised(STOP)
    }

    pub(crate) fn must_stop_now(&self) -> bool {
        self.is_raised(STOP_NOW)
    }

    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }
}
