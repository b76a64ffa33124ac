//! A Kafka that a test starts for itself, to kill and to configure it. It ends with the test's process, however that ends.

#[path = "ports.rs"]
mod ports;

pub(crate) use ports::free_port;
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_mins(2);

/// A shell that ends the server when its input ends, which is when nobody holds the other end of it.
const GUARD: &str = r#"java "$@" >>"$0/log" 2>&1 </dev/null & cat >/dev/null; kill -9 $!; wait"#;

pub(crate) struct OwnKafka {
    /// Where those inside connect to, who need no password.
    pub(crate) inside: u16,
    folder: PathBuf,
    jars: PathBuf,
    guard: Child,
}

impl OwnKafka {
    /// A server on a port, which tells its clients to come by another one: through a network of the test's.
    pub(crate) async fn start(port: u16, told: u16) -> Self {
        Self::start_with(&format!(
            "listeners=CLIENT://127.0.0.1:{port},INSIDE://127.0.0.1:{{inside}},CONTROLLER://127.0.0.1:{{controller}}\n\
             advertised.listeners=CLIENT://127.0.0.1:{told},INSIDE://127.0.0.1:{{inside}}\n\
             listener.security.protocol.map=CLIENT:PLAINTEXT,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT\n"
        ))
        .await
    }

    /// A server that asks for the user `app` with the password `secret`.
    pub(crate) async fn start_with_password(port: u16) -> Self {
        Self::start_with(&format!(
            "listeners=CLIENT://127.0.0.1:{port},INSIDE://127.0.0.1:{{inside}},CONTROLLER://127.0.0.1:{{controller}}\n\
             advertised.listeners=CLIENT://127.0.0.1:{port},INSIDE://127.0.0.1:{{inside}}\n\
             listener.security.protocol.map=CLIENT:SASL_PLAINTEXT,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             sasl.enabled.mechanisms=PLAIN\n\
             listener.name.client.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
             user_app=\"secret\";\n"
        ))
        .await
    }

    async fn start_with(listeners: &str) -> Self {
        let (inside, controller) = (free_port(), free_port());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("kafka-{}-{inside}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let listeners = listeners
            .replace("{inside}", &inside.to_string())
            .replace("{controller}", &controller.to_string());
        let settings = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n{listeners}\
             inter.broker.listener.name=INSIDE\ncontroller.listener.names=CONTROLLER\nlog.dirs={}\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=2\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\nauto.create.topics.enable=false\n",
            folder.join("data").display()
        );
        fs::write(folder.join("server.properties"), settings).expect("a file");
        let mut server = Self {
            inside,
            jars: jars(),
            folder,
            guard: Command::new("true").spawn().expect("a process"),
        };
        let formatted = Command::new("java")
            .args(server.java("kafka.tools.StorageTool"))
            .args(["format", "-t", "c2FnYXotdGVzdC1rYWZrYQ", "-c"])
            .arg(server.folder.join("server.properties"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(formatted.expect("java").success());
        server.run().await;
        server
    }

    fn java(&self, class: &str) -> Vec<String> {
        let jars = self.jars.join("*").display().to_string();
        [
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-cp",
            &jars,
            class,
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// A kill that it cannot answer.
    pub(crate) fn kill(&mut self) {
        drop(self.guard.stdin.take());
        self.guard.wait().expect("the guard ends");
    }

    /// A start on what is left in its folder.
    pub(crate) async fn run(&mut self) {
        self.guard = Command::new("sh")
            .args(["-c", GUARD])
            .arg(&self.folder)
            .args(self.java("kafka.Kafka"))
            .arg(self.folder.join("server.properties"))
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell");
        let servers = format!("127.0.0.1:{}", self.inside);
        let up = tokio::task::spawn_blocking(move || {
            let client: BaseConsumer = ClientConfig::new()
                .set("bootstrap.servers", servers)
                .create()
                .expect("a client");
            let began = Instant::now();
            while client.fetch_metadata(None, Duration::from_secs(1)).is_err() {
                assert!(began.elapsed() < PATIENCE, "the server does not start");
            }
        });
        up.await.expect("the server starts");
    }
}

impl Drop for OwnKafka {
    fn drop(&mut self) {
        self.kill();
        // Its log tells more, if something went wrong.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Where `cargo xtask services` puts them.
fn jars() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))
        .expect("a cache folder");
    let versions = fs::read_dir(cache.join("sagaz")).into_iter().flatten();
    versions
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_none_or(|it| !it.to_string_lossy().starts_with("incoming"))
        })
        .find(|path| path.join("kafka-clients-3.9.1.jar").exists())
        .expect("the jars of Kafka are not there; `cargo xtask services up` brings them")
}
