//! Redis servers that a test starts for itself, to stop, restart and misconfigure them. They end with the test's process,
//! however that ends.

#[path = "redis_connection.rs"]
mod own;

use redis::Value;
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Longer than any machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A shell that ends the server when its input ends, which is when nobody holds the other end of it.
const GUARD: &str =
    r#"redis-server "$@" >/dev/null 2>&1 </dev/null & cat >/dev/null; kill -9 $!; wait"#;

pub(crate) struct OwnServer {
    pub(crate) port: u16,
    folder: PathBuf,
    arguments: Vec<String>,
    guard: Child,
}

impl OwnServer {
    /// A server that keeps what it acknowledges, with further settings.
    pub(crate) async fn start(settings: &[&str]) -> Self {
        let port = free_port();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("redis-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let fixed = [
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--dir",
            &folder.display().to_string(),
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--pidfile",
            &folder.join("pid").display().to_string(),
        ]
        .map(str::to_owned);
        let arguments = fixed
            .into_iter()
            .chain(settings.iter().map(|it| (*it).to_owned()))
            .collect();
        let mut server = Self {
            port,
            folder,
            arguments,
            guard: Command::new("true").spawn().expect("a process"),
        };
        server.run().await;
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A kill that it cannot answer.
    pub(crate) fn kill(&mut self) {
        drop(self.guard.stdin.take());
        self.guard.wait().expect("the guard ends");
    }

    /// A start on what is left in its folder.
    pub(crate) async fn run(&mut self) {
        self.guard = guard(&self.arguments);
        self.until_up().await;
    }

    /// Until it answers, and has loaded its data.
    async fn until_up(&self) {
        let began = Instant::now();
        while !self.is_up().await {
            assert!(began.elapsed() < PATIENCE, "the server does not start");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn is_up(&self) -> bool {
        let Ok(mut connection) = TcpStream::connect(("127.0.0.1", self.port)).await else {
            return false;
        };
        let mut reply = [0; 64];
        let asked = connection.write_all(b"PING\r\n").await;
        match connection.read(&mut reply).await {
            Ok(length @ 1..) if asked.is_ok() => !reply[..length].starts_with(b"-LOADING"),
            _ => false,
        }
    }

    /// A command of an administrator.
    pub(crate) async fn command(&self, words: &[&str]) -> Value {
        command(&self.url(), words).await
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn guard(arguments: &[String]) -> Child {
    Command::new("sh")
        .args(["-c", GUARD, "redis-server"])
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell")
}

pub(crate) async fn command(url: &str, words: &[&str]) -> Value {
    let mut connection = own::connection(url).await;
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    let asked = Instant::now();
    loop {
        match command.query_async(&mut connection).await {
            Ok(reply) => return reply,
            // It has just been started, and reads its file.
            Err(error) if error.code() == Some("LOADING") && asked.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("no reply: {error}"),
        }
    }
}

/// A port that no other server of this process was given. Below those that the system gives to whoever asks for any; a node of
/// a cluster takes the port 10,000 above its own as well.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let place = std::process::id() * 37 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + u16::try_from(place % 2_700).expect("it is small");
        if [port, port + 10_000]
            .into_iter()
            .all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        {
            return port;
        }
    }
}
