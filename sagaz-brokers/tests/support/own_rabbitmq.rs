//! A RabbitMQ that a test starts for itself, to kill it and to give it orders. It ends with the test's process, however that ends.

#[path = "rabbitmq_node.rs"]
mod node;
#[path = "ports.rs"]
pub(crate) mod ports;

use lapin::{Connection, ConnectionProperties};
use node::Node;
use ports::free_port;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_mins(2);

/// A shell that ends the server, and its port mapper, when its input ends, which is when nobody holds the other end of it.
const GUARD: &str = r#"
"$0" >>"$RABBITMQ_BASE/log" 2>&1 </dev/null &
cat >/dev/null
kill -9 "$(cat "$RABBITMQ_PID_FILE")" $!
epmd -port "$ERL_EPMD_PORT" -kill >/dev/null 2>&1
wait
"#;

pub(crate) struct OwnRabbitMq {
    pub(crate) port: u16,
    folder: PathBuf,
    others: [u16; 2],
    guard: Child,
}

impl OwnRabbitMq {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| String::new()).await
    }

    /// `settings`: what it is told beside what every one is, by somebody who may put more into its folder.
    pub(crate) async fn start_with(settings: impl FnOnce(&Path) -> String) -> Self {
        let port = free_port();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("rabbitmq-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let mut server = Self {
            port,
            folder,
            others: [free_port(), free_port()],
            guard: Command::new("true").spawn().expect("a process"),
        };
        let settings = settings(&server.folder);
        server.node().write_settings(&settings).expect("settings");
        server.run().await;
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// A kill that it cannot answer.
    pub(crate) fn kill(&mut self) {
        drop(self.guard.stdin.take());
        self.guard.wait().expect("the guard ends");
    }

    /// A start on what is left in its folder.
    pub(crate) async fn run(&mut self) {
        let mut guard = Command::new("sh");
        guard
            .args(["-c", GUARD])
            .arg(script("rabbitmq-server"))
            .stdin(Stdio::piped());
        self.node().set_environment(&mut guard);
        self.guard = guard.spawn().expect("a shell");
        let began = Instant::now();
        while Connection::connect(&self.url(), ConnectionProperties::default())
            .await
            .is_err()
        {
            assert!(began.elapsed() < PATIENCE, "the server does not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// An order of an operator; what is said to it.
    pub(crate) async fn ctl(&self, words: &[&str]) -> String {
        let mut ctl = Command::new(script("rabbitmqctl"));
        ctl.arg("--quiet").args(words);
        self.node().set_environment(&mut ctl);
        let done = tokio::task::spawn_blocking(move || ctl.output()).await;
        let output = done.expect("a thread").expect("rabbitmqctl");
        assert!(output.status.success(), "rabbitmqctl {words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Until queues and bindings that were declared are on its disk: a kill right after may lose them, although it has confirmed them.
    pub(crate) async fn until_declared(&self) {
        assert_eq!(self.ctl(&["eval", "mnesia:sync_log()."]).await, "ok");
    }

    /// Stops the broker in good order, and starts it again: every connection is lost.
    pub(crate) async fn restart(&self) {
        self.ctl(&["stop_app"]).await;
        self.ctl(&["start_app"]).await;
    }

    /// Until a quorum queue has a leader again.
    pub(crate) async fn until_led(&self, queue: &str) {
        let question = format!("ra_leaderboard:lookup_leader('%2F_{queue}').");
        let began = Instant::now();
        while self.ctl(&["eval", &question]).await == "undefined" {
            assert!(began.elapsed() < PATIENCE, "the queue has no leader");
        }
    }

    fn node(&self) -> Node<'_> {
        Node {
            folder: &self.folder,
            port: self.port,
            others: self.others,
        }
    }
}

impl Drop for OwnRabbitMq {
    fn drop(&mut self) {
        self.kill();
        // Its log tells more, if something went wrong.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn script(name: &str) -> PathBuf {
    node::packaged(name).unwrap_or_else(|| name.into())
}
