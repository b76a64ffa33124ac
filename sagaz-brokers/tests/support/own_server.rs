//! A server of one program that a test starts for itself, to kill it. It ends with the test's process, however that ends.

#[path = "ports.rs"]
mod ports;

use ports::free_port;
use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_mins(1);

/// A shell that ends the server when its input ends, which is when nobody holds the other end of it.
const GUARD: &str = r#"
"$0" "$@" </dev/null >>log 2>&1 &
cat >/dev/null
kill -9 $!
wait
"#;

pub(crate) struct OwnServer {
    pub(crate) port: u16,
    program: PathBuf,
    arguments: Vec<String>,
    folder: PathBuf,
    guard: Option<Child>,
}

impl OwnServer {
    /// `arguments`: behind the port, with what it keeps in the folder that it runs in.
    pub(crate) async fn start(program: PathBuf, port_flag: &str, arguments: &[&str]) -> Self {
        Self::start_with(program, port_flag, arguments, |_| {}).await
    }

    /// `prepare` puts into the folder what has to be there first.
    pub(crate) async fn start_with(
        program: PathBuf,
        port_flag: &str,
        arguments: &[&str],
        prepare: impl FnOnce(&Path),
    ) -> Self {
        let port = free_port();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("server-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        prepare(&folder);
        let own = [port_flag.to_owned(), port.to_string()];
        let rest = arguments.iter().map(|argument| (*argument).to_owned());
        let mut server = Self {
            port,
            program,
            arguments: own.into_iter().chain(rest).collect(),
            folder,
            guard: None,
        };
        server.run().await;
        server
    }

    /// A kill that it cannot answer.
    pub(crate) fn kill(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            drop(guard.stdin.take());
            guard.wait().expect("the guard ends");
        }
    }

    /// A start on what is left in its folder.
    pub(crate) async fn run(&mut self) {
        let guard = Command::new("sh")
            .args(["-c", GUARD])
            .arg(&self.program)
            .args(&self.arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .spawn();
        self.guard = Some(guard.expect("a shell"));
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(began.elapsed() < PATIENCE, "the server does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.kill();
        // Its log tells more, if something went wrong.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}
