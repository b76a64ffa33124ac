//! A RabbitMQ that a test starts for itself, to kill it and to give it orders. It ends with the test's process, however that ends.

#[path = "ports.rs"]
pub(crate) mod ports;

use lapin::{Connection, ConnectionProperties};
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
        let settings = format!(
            "listeners.tcp.1 = 127.0.0.1:{port}\nloopback_users = none\ndisk_free_limit.absolute = 50MB\n{}",
            settings(&folder)
        );
        for (name, text) in [
            ("rabbitmq.conf", settings.as_str()),
            ("rabbitmq-env.conf", ""),
            ("enabled_plugins", "[]."),
        ] {
            fs::write(folder.join(name), text).expect("a file");
        }
        let mut server = Self {
            port,
            folder,
            others: [free_port(), free_port()],
            guard: Command::new("true").spawn().expect("a process"),
        };
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
        self.environment(&mut guard);
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
        self.environment(&mut ctl);
        let done = tokio::task::spawn_blocking(move || ctl.output()).await;
        let output = done.expect("a thread").expect("rabbitmqctl");
        assert!(output.status.success(), "rabbitmqctl {words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
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

    /// Everything that it would otherwise share.
    fn environment(&self, command: &mut Command) {
        let [distribution, mapper] = self.others;
        for (variable, path) in [
            ("HOME", ""),
            ("RABBITMQ_BASE", ""),
            ("RABBITMQ_MNESIA_BASE", "mnesia"),
            ("RABBITMQ_LOG_BASE", "logs"),
            ("RABBITMQ_PID_FILE", "pid"),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", "enabled_plugins"),
            ("RABBITMQ_CONFIG_FILE", "rabbitmq"),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", "advanced"),
            ("RABBITMQ_CONF_ENV_FILE", "rabbitmq-env.conf"),
            ("RABBITMQ_FEATURE_FLAGS_FILE", "feature_flags"),
            ("RABBITMQ_SCHEMA_DIR", "schema"),
            ("RABBITMQ_GENERATED_CONFIG_DIR", "config"),
        ] {
            command.env(variable, self.folder.join(path));
        }
        command
            .env("RABBITMQ_NODENAME", format!("sagaz{}@localhost", self.port))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", distribution.to_string())
            .env("ERL_EPMD_PORT", mapper.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            // It may be ended before it has noticed that its node was killed.
            .env("ERL_EPMD_RELAXED_COMMAND_CHECK", "1")
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1}",
            );
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

/// Not that in the path, which Debian lets change to a user of its own.
fn script(name: &str) -> PathBuf {
    let packaged = fs::read_dir("/usr/lib/rabbitmq/lib")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("sbin").join(name)))
        .find(|path| path.exists());
    packaged.unwrap_or_else(|| name.into())
}
