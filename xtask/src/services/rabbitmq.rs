//! A private RabbitMQ: its node, its cookie and its port mapper are its own, so that it stands beside any other.

#[path = "../../../sagaz-brokers/tests/support/rabbitmq_node.rs"]
mod node;

use super::{
    Kind,
    native::{empty, find, folder, free_port, install, is_alive, terminate},
};
use crate::{Done, at};
use node::Node;
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::process::CommandExt,
    path::PathBuf,
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
    program().map(|_| ())
}

/// The script that starts one, after an installation if there is none.
fn program() -> Result<PathBuf, String> {
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

fn installed() -> Option<PathBuf> {
    let script = "rabbitmq-server";
    node::packaged(script).or_else(|| find(script))
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
        let program = program()?;
        // What a run that was killed has left.
        let _ = self.stop();
        empty(&self.folder)?;
        let (port, distribution, mapper) = (free_port()?, free_port()?, free_port()?);
        let written = |name: &str, text: &str| {
            let path = self.folder.join(name);
            fs::write(&path, text).map_err(at(&path))
        };
        written("epmd_port", &mapper.to_string())?;
        let node = Node {
            folder: &self.folder,
            port,
            others: [distribution, mapper],
        };
        node.write_settings("vm_memory_high_watermark.absolute = 1GB\n")
            .map_err(at(&self.folder))?;
        let log = fs::File::create(self.folder.join("log")).map_err(at(&self.folder))?;
        let errors = log.try_clone().map_err(at(&self.folder))?;
        let mut command = Command::new(&program);
        node.set_environment(&mut command);
        command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // It outlives this program, and what is typed at its terminal.
            .process_group(0);
        let mut started = command.spawn().map_err(at(&program))?;
        let url = format!("amqp://guest:guest@127.0.0.1:{port}/%2f");
        written("url", &url)?;
        let began = Instant::now();
        while self.running().is_none() {
            let has_ended = started.try_wait().is_ok_and(|status| status.is_some());
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
            fs::read_to_string(&path).map_err(at(&path))
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
