//! Servers of a test's own, which it may crash: native programs, a free port, data in a folder that goes with them.

mod postgres;
#[cfg(feature = "redis")]
mod redis;

pub(crate) use postgres::PostgresServer;
#[cfg(feature = "redis")]
pub(crate) use redis::RedisServer;

use std::{env, io::Write, net::TcpListener};

pub(crate) trait Server: Sized {
    /// Starts one, or says why there is none to start.
    fn begin() -> Result<Self, String>;

    /// Where it is to be reached, whenever it runs.
    fn url(&self) -> String;

    /// Ends it in the middle of everything: what it did not write to its disk is lost.
    fn crash(&mut self);

    /// Starts it again on what the crash has left. It may take a moment before it answers.
    fn start(&mut self);
}

/// Says loudly that a test was left out, also where the output of tests that pass is not shown. In CI it is a failure.
pub(crate) fn skipped(why: &str) {
    let is_ci = env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!is_ci, "in CI nothing is left out: {why}");
    let thread = std::thread::current();
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: {}: {why}",
        thread.name().unwrap_or("a test")
    );
}

/// Whether a program is found by `PATH`.
#[cfg(feature = "redis")]
pub(crate) fn is_installed(program: &str) -> bool {
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths).any(|folder| folder.join(program).exists())
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}
