//! A private Redis that keeps whatever it acknowledges.

use super::{
    Kind,
    native::{empty, find, folder, free_port, install, succeeded},
};
use crate::{Done, at};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

pub(super) struct Redis {
    folder: PathBuf,
}

fn program() -> Option<PathBuf> {
    find("redis-server")
}

/// Whether tests can start servers themselves, after an installation if the program is not there.
pub(super) fn ensure() -> Done {
    if program().is_none() {
        install(
            "redis-server",
            Kind::Redis.name(),
            Some(Kind::Redis.variable()),
        )?;
    }
    Ok(())
}

impl Redis {
    pub(super) fn at(name: &str) -> Self {
        Self {
            folder: folder(name),
        }
    }

    pub(super) fn running(&self) -> Option<String> {
        let url = fs::read_to_string(self.folder.join("url")).ok()?;
        let is_there = say(&url, "PING").is_some_and(|reply| reply.starts_with("+PONG"));
        is_there.then_some(url)
    }

    pub(super) fn start(&self) -> Result<String, String> {
        ensure()?;
        let program =
            program().ok_or_else(|| "Redis is not where its package puts it".to_owned())?;
        // What a run that was killed has left.
        let _ = self.stop();
        empty(&self.folder)?;
        let port = free_port()?;
        Command::new(&program)
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .args([
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
                "--daemonize",
                "yes",
            ])
            .arg("--dir")
            .arg(&self.folder)
            .arg("--logfile")
            .arg(self.folder.join("log"))
            .stdout(Stdio::null())
            .status()
            .map_err(at(&program))
            .and_then(succeeded("redis-server"))?;
        let url = format!("redis://127.0.0.1:{port}");
        fs::write(self.folder.join("url"), &url).map_err(at(&self.folder))?;
        let began = Instant::now();
        while self.running().is_none() {
            if began.elapsed() > Duration::from_secs(30) {
                return Err(format!(
                    "Redis does not answer; see {}",
                    self.folder.join("log").display()
                ));
            }
            // It listens some milliseconds after it has become a daemon.
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Ok(url)
    }

    pub(super) fn stop(&self) -> Done {
        let Some(url) = self.running() else {
            return Ok(());
        };
        match say(&url, "SHUTDOWN NOSAVE") {
            Some(reply) if !reply.is_empty() => Err(format!("Redis does not stop: {reply}")),
            _ => Ok(()),
        }
    }
}

/// Says a line to a server; what it answers, until it ends the line or the connection.
fn say(url: &str, line: &str) -> Option<String> {
    let address = url.strip_prefix("redis://")?;
    let mut connection = TcpStream::connect(address).ok()?;
    let patience = Some(Duration::from_secs(10));
    connection.set_read_timeout(patience).ok()?;
    connection
        .write_all(format!("{line}\r\n").as_bytes())
        .ok()?;
    let mut reply = Vec::new();
    let mut byte = [0];
    while !reply.ends_with(b"\n") && connection.read(&mut byte).ok()? == 1 {
        reply.push(byte[0]);
    }
    String::from_utf8(reply).ok()
}
