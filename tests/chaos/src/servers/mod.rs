//! Servers that the chaos kills: native programs, each on a port that it keeps, with its data in a folder of the run.
//!
//! A kill is SIGKILL to the server and to all that it has started: what it did not write is lost, as in a crash of the process. The disk
//! below is not cut off, so this is no power failure.

mod disk;
mod nats;
mod postgres;
mod probe;
mod rabbitmq;
mod redis;
mod writer;

pub(crate) use disk::{Disk, sweep};

use crate::place::AnyError;
use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    process::{Child, Command},
    time::sleep,
};

/// A server starts within this, also after a crash and on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(10);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres,
    Redis,
    RabbitMq,
    Nats,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Redis => "Redis",
            Self::RabbitMq => "RabbitMQ",
            Self::Nats => "NATS",
        }
    }

    /// The URL of one that answers at this port, its own or a proxy's.
    pub(crate) fn url(self, port: u16) -> String {
        match self {
            Self::Postgres => format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            Self::Redis => format!("redis://127.0.0.1:{port}"),
            // Quorum queues of RabbitMQ 3.10 may never find a leader again after a kill, whoever their clients are.
            Self::RabbitMq => format!("amqp://guest:guest@127.0.0.1:{port}/%2f?queue_type=classic"),
            Self::Nats => format!("nats://127.0.0.1:{port}"),
        }
    }

    fn probe(self) -> probe::Probe {
        match self {
            Self::Postgres => probe::POSTGRES,
            Self::Redis => probe::REDIS,
            Self::RabbitMq => probe::RABBITMQ,
            Self::Nats => probe::NATS,
        }
    }
}

/// A server of the run's own.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) port: u16,
    folder: PathBuf,
    /// Further ports that it needs.
    others: [u16; 2],
    /// Ends the server when its input ends, which it does with this process at the latest.
    guard: Option<Child>,
}

impl Server {
    /// A new one, in an empty folder, running.
    pub(crate) async fn begin(kind: Kind, folder: PathBuf) -> Result<Self, AnyError> {
        tokio::fs::create_dir_all(&folder).await?;
        let mut server = Self {
            kind,
            port: free_port()?,
            folder,
            others: [free_port()?, free_port()?],
            guard: None,
        };
        match kind {
            Kind::Postgres => postgres::prepare(&server.folder).await?,
            Kind::RabbitMq => rabbitmq::prepare(&server)?,
            Kind::Redis | Kind::Nats => {}
        }
        server.start().await?;
        Ok(server)
    }

    pub(crate) fn url(&self) -> String {
        self.kind.url(self.port)
    }

    /// What its guard runs.
    fn command(&self) -> Result<Command, AnyError> {
        match self.kind {
            Kind::Postgres => postgres::command(self),
            Kind::Redis => Ok(redis::command(self)),
            Kind::RabbitMq => Ok(rabbitmq::command(self)),
            Kind::Nats => nats::command(self),
        }
    }

    /// Starts it on what is in its folder, and waits until it answers. What a crash has left may keep it from starting at once.
    pub(crate) async fn start(&mut self) -> Result<(), AnyError> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let mut command = self.command()?;
            let guard = command
                .current_dir(&self.folder)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(false)
                // What is typed at the terminal is for the conductor alone.
                .process_group(0)
                .spawn()?;
            self.guard = Some(guard);
            while began.elapsed() < PATIENCE {
                if self.answers().await {
                    return Ok(());
                }
                // The guard says so when the server ended by itself.
                if let Some(guard) = &mut self.guard
                    && guard.try_wait()?.is_some()
                {
                    break;
                }
                sleep(Duration::from_millis(20)).await;
            }
            self.kill().await;
            sleep(Duration::from_millis(100)).await;
        }
        Err(format!(
            "{} does not start; see the log in {}",
            self.kind.name(),
            self.folder.display()
        )
        .into())
    }

    /// Whether a client is answered.
    pub(crate) async fn answers(&self) -> bool {
        self.kind.probe().answers(self.port).await
    }

    /// Whether it cannot write for want of room: it says so to somebody who writes, or it has ended of it.
    pub(crate) async fn has_no_room(&mut self) -> Result<bool, AnyError> {
        let has_ended = match &mut self.guard {
            Some(guard) => guard.try_wait()?.is_some(),
            None => true,
        };
        Ok(has_ended || writer::is_refused(self.kind, &self.url()).await)
    }

    /// SIGKILL, to all of it; whether it ran until then.
    pub(crate) async fn kill(&mut self) -> bool {
        let Some(mut guard) = self.guard.take() else {
            return false;
        };
        let ran = matches!(guard.try_wait(), Ok(None));
        drop(guard.stdin.take());
        let _ = guard.wait().await;
        ran
    }
}

/// A shell that runs a program until the program ends, or the shell's own input does: then it kills, by `end`.
fn guarded(end: &str) -> Command {
    let script = format!(
        "\"$@\" >>log 2>&1 </dev/null & pid=$!; exec 3<&0; \
         (cat <&3 >/dev/null; {end}) & reader=$!; wait $pid 2>/dev/null; {{ {end}; }} >/dev/null 2>&1; kill $reader 2>/dev/null"
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh"]);
    command
}

/// The port of somebody who keeps it over restarts: from below those that the system gives to connections.
pub(crate) fn free_port() -> std::io::Result<u16> {
    for _ in 0..1_000 {
        let port = fastrand::u16(10_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(std::io::Error::other("no port is free"))
}

/// Where a program is, by `PATH` or where packages put it.
fn find(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths)
        .chain(["/usr/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|path| path.exists())
}

async fn run(command: &mut Command) -> Result<(), AnyError> {
    let done = command.stdin(Stdio::null()).output().await?;
    if done.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    let program = Path::new(command.as_std().get_program()).display();
    Err(format!("{program} failed ({}): {errors}", done.status).into())
}
