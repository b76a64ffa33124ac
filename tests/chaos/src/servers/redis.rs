//! Redis, with the settings that every promise needs.

use super::{Server, guarded};
use tokio::process::Command;

pub(super) fn command(server: &Server) -> Command {
    let mut command = guarded("kill -9 $pid");
    command
        .arg("redis-server")
        .args(["--port", &server.port.to_string(), "--bind", "127.0.0.1"])
        .args([
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
        ])
        .arg("--dir")
        .arg(&server.folder);
    command
}
