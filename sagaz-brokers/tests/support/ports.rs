//! Ports for servers that tests start.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU32, Ordering},
};

/// A port that no other server of this process was given. Below those that the system gives to whoever asks for any, so that it is
/// still free after a restart.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let place = std::process::id() * 37 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 23_000 + u16::try_from(place % 9_000).expect("it is small");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
