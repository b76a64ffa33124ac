//! NATS with JetStream.

use super::{Server, find, guarded};
use crate::place::AnyError;
use std::{env, path::PathBuf};
use tokio::process::Command;

pub(super) fn command(server: &Server) -> Result<Command, AnyError> {
    let settings = server.folder.join("settings");
    // What was acknowledged is on the disk.
    std::fs::write(
        &settings,
        format!(
            "jetstream {{ store_dir: \"{}\", sync_interval: always }}\n",
            server.folder.join("data").display()
        ),
    )?;
    let mut command = guarded("kill -9 $pid");
    command
        .arg(program().ok_or("NATS is not installed; `cargo xtask chaos` gets it")?)
        .args(["-a", "127.0.0.1", "-p", &server.port.to_string()])
        .arg("-c")
        .arg(settings);
    Ok(command)
}

/// From `PyPI`, where `cargo xtask` puts it, or installed.
fn program() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cache"));
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cached = cache.or_else(home)?.join("sagaz/nats/bin/nats-server");
    if cached.exists() {
        Some(cached)
    } else {
        find("nats-server")
    }
}
