//! A private Redis, with the settings that every promise needs.

use super::{Server, free_port, is_installed};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Ends the server when its own input ends, so that none outlives a test that is killed.
const KEEPER: &str =
    r#"redis-server "$@" >/dev/null 2>&1 </dev/null & cat >/dev/null; kill -9 $!; wait $!"#;

pub(crate) struct RedisServer {
    folder: TempDir,
    port: u16,
    keeper: Option<Child>,
}

impl Server for RedisServer {
    fn begin() -> Result<Self, String> {
        if !is_installed("redis-server") {
            return Err(
                "redis-server is not installed (Debian: `apt-get install redis-server`)".to_owned(),
            );
        }
        let mut server = Self {
            folder: TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
            port: free_port(),
            keeper: None,
        };
        server.start();
        Ok(server)
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn crash(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            keeper.wait().unwrap();
        }
    }

    fn start(&mut self) {
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "redis-server"])
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args([
                "--save",
                "",
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
            ])
            .arg("--dir")
            .arg(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.keeper = Some(keeper.unwrap());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.crash();
    }
}
