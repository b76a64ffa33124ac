//! A private RabbitMQ: its node, its cookie and its port mapper are its own, so that it stands beside any other.

use super::{
    Kind,
    native::{at, empty, find, folder, free_port, install, is_alive, terminate},
};
use crate::Done;
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// It compiles much of itself when it starts.
const PATIENCE: Duration = Duration::from_mins(2);

pub(super) struct RabbitMq {
    folder: PathBuf,
}

/// Whether tests can start servers themselves, after an installation if the programs are not there.
pub(super) fn ensure() -> Done {
    programs().map(|_| ())
}

/// The folder of its scripts, after an installation if there is none.
fn programs() -> Result<PathBuf, String> {
    if let Some(found) = installed() {
        return Ok(found);
    }
    install(
        "rabbitmq-server",
        Kind::RabbitMq.name(),
        Some(Kind::RabbitMq.variable()),
    )?;
    installed().ok_or_else(|| "RabbitMQ is not where its package puts it".to_owned())
}

/// The scripts themselves, and not those in the path, which Debian lets change to a user of their own and write to `/var`.
fn installed() -> Option<PathBuf> {
    let packaged = fs::read_dir("/usr/lib/rabbitmq/lib")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("sbin")))
        .find(|path| path.join("rabbitmq-server").exists());
    packaged.or_else(|| find("rabbitmq-server")?.parent().map(PathBuf::from))
}

impl RabbitMq {
    pub(super) fn at(name: &str) -> Self {
        Self {
            folder: folder(name),
        }
    }

    pub(super) fn running(&self) -> Option<String> {
        let url = fs::read_to_string(self.folder.join("url")).ok()?;
        let address = url.split('@').nth(1)?.split('/').next()?;
        greets(address).then_some(url)
    }

    pub(super) fn start(&self) -> Result<String, String> {
        let programs = programs()?;
        // What a run that was killed has left.
        let _ = self.stop();
        empty(&self.folder)?;
        let (port, others, mapper) = (free_port()?, free_port()?, free_port()?);
        let written = |name: &str, text: &str| {
            let path = self.folder.join(name);
            fs::write(&path, text).map_err(|error| at(&path, &error))
        };
        written("rabbitmq-env.conf", "")?;
        written("enabled_plugins", "[].")?;
        written("epmd_port", &mapper.to_string())?;
        written(
            "rabbitmq.conf",
            &format!(
                "listeners.tcp.1 = 127.0.0.1:{port}\nloopback_users = none\ndisk_free_limit.absolute = 50MB\n\
                 vm_memory_high_watermark.absolute = 1GB\n"
            ),
        )?;
        let log =
            fs::File::create(self.folder.join("log")).map_err(|error| at(&self.folder, &error))?;
        let errors = log.try_clone().map_err(|error| at(&self.folder, &error))?;
        let program = programs.join("rabbitmq-server");
        let mut node = Command::new(&program);
        self.environment(&mut node)
            .env("RABBITMQ_NODENAME", format!("sagaz{port}@localhost"))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", port.to_string())
            .env("RABBITMQ_DIST_PORT", others.to_string())
            .env("ERL_EPMD_PORT", mapper.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // It outlives this program, and what is typed at its terminal.
            .process_group(0);
        let mut node = node.spawn().map_err(|error| at(&program, &error))?;
        let url = format!("amqp://guest:guest@127.0.0.1:{port}/%2f");
        written("url", &url)?;
        let began = Instant::now();
        while self.running().is_none() {
            let has_ended = node.try_wait().is_ok_and(|status| status.is_some());
            if has_ended || began.elapsed() > PATIENCE {
                return Err(format!(
                    "RabbitMQ does not answer; see {}",
                    self.folder.join("log").display()
                ));
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        Ok(url)
    }

    pub(super) fn stop(&self) -> Done {
        if self.running().is_none() {
            return Ok(());
        }
        let read = |name: &str| {
            let path = self.folder.join(name);
            fs::read_to_string(&path).map_err(|error| at(&path, &error))
        };
        let pid = read("pid")?.trim().to_owned();
        terminate(&pid);
        let began = Instant::now();
        while is_alive(&pid) {
            if began.elapsed() > PATIENCE {
                return Err(format!("RabbitMQ (process {pid}) does not stop"));
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        // The port mapper outlives its node.
        let _ = Command::new("epmd")
            .args(["-port", read("epmd_port")?.trim(), "-kill"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        Ok(())
    }

    /// Everything that it would otherwise share.
    fn environment<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let paths = [
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
        ];
        for (variable, path) in paths {
            command.env(variable, self.folder.join(Path::new(path)));
        }
        command.env(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-kernel inet_dist_use_interface {127,0,0,1}",
        )
    }
}

/// Whether a server there answers the greeting of AMQP 0-9-1 with the first frame, which is of a method.
fn greets(address: &str) -> bool {
    let greeting = || -> Option<u8> {
        let mut connection = TcpStream::connect(address).ok()?;
        let patience = Some(Duration::from_secs(10));
        connection.set_read_timeout(patience).ok()?;
        connection.write_all(b"AMQP\0\0\x09\x01").ok()?;
        let mut frame = [0];
        connection.read_exact(&mut frame).ok()?;
        Some(frame[0])
    };
    greeting() == Some(1)
}
