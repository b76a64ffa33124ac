//! Fuzzing: what comes from outside is thrown at the code that reads it. `docs/fuzzing.md` tells how to run it, and how a
//! finding is kept.
//!
//! A target is a function of bytes that panics if a property does not hold. The files of its corpus are text as far as that can
//! be, so that a seed can be read and written by hand, and so that a change of a few bytes is a change of what it says.
//!
//! Much of what is looked at is private to its package. It is mounted here by path instead of being made public, at the places
//! where it looks for its neighbours (`crate::..`).
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

// Mounted modules ask for the crate.
extern crate proc_macro;

mod bounded;
#[expect(
    dead_code,
    unreachable_pub,
    reason = "mounted modules can do more than is asked of them here"
)]
mod brokers;
mod durations;
mod expand_saga;
mod headers;
mod mutation;
mod orders;
mod rows;
mod shop;
mod sqlite_rows;
mod urls;
mod words;

pub use bounded::bounded;

use std::{env, sync::LazyLock};

/// What is looked at.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "not published")]
pub struct Target {
    /// Of the target and the folder of its corpus.
    pub name: &'static str,
    /// How many inputs beside its corpus it is given every day.
    pub mutants: u64,
    /// Panics if the input shows a mistake.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 7] = [
    target("csv_orders", 1_500, orders::csv_orders),
    target("durations", 4_000, durations::durations),
    target("expand_saga", 1_500, expand_saga::expand_saga),
    target("headers", 3_000, headers::headers),
    target("rows", 400, rows::rows),
    target("sqlite_rows", 200, sqlite_rows::sqlite_rows),
    target("urls", 3_000, urls::urls),
];

const fn target(name: &'static str, mutants: u64, run: fn(&[u8])) -> Target {
    Target { name, mutants, run }
}

/// The target that the environment names.
pub fn chosen() -> fn(&[u8]) {
    static CHOSEN: LazyLock<fn(&[u8])> = LazyLock::new(|| {
        let name = env::var("SAGAZ_FUZZ_TARGET").unwrap_or_default();
        named(&name).run
    });
    *CHOSEN
}

fn named(name: &str) -> Target {
    let target = TARGETS.into_iter().find(|target| target.name == name);
    target.unwrap_or_else(|| {
        panic!(
            "`{name}` is none of {:?}",
            TARGETS.map(|target| target.name)
        )
    })
}

use brokers::{
    attributes, encryption,
    options::Options,
    percent,
    routes::Routes,
    subscription::{self, Subscription},
};
use macros::{check, debug, diagnostic, expand, item, model, print, settings, similar, syntax};

/// What `sagaz-macros` does with tokens. A crate of macros cannot be built for a fuzzer: it is the compiler's.
#[path = "../../../sagaz-macros/src"]
#[expect(dead_code, reason = "not all of it is asked for here")]
mod macros {
    pub(crate) mod check;
    pub(crate) mod debug;
    pub(crate) mod diagnostic;
    pub(crate) mod expand;
    pub(crate) mod item;
    pub(crate) mod model;
    pub(crate) mod print;
    pub(crate) mod settings;
    pub(crate) mod similar;
    pub(crate) mod syntax;
}

/// What holds of `#[saga]`, which its package asks of mutated sagas.
#[path = "../../../sagaz-macros/src/tests/property.rs"]
mod property;

/// The example's reader of orders.
#[path = "../../../examples/cdnow_orders"]
mod cdnow {
    pub(crate) mod orders;
}
