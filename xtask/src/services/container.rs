//! Servers in containers, where there is a Docker engine. The program that starts them is `xtask/containers`, which is built only
//! then: it prints the server's URL, and ends the container when its input ends or says a line.

use super::native::{empty, folder};
use crate::{Done, at, cargo};
use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

/// Ends with this program, however that ends.
pub(super) struct Container {
    starter: Child,
}

pub(super) fn has_engine() -> bool {
    env::var_os("DOCKER_HOST").is_some() || Path::new("/var/run/docker.sock").exists()
}

impl Container {
    /// Starts one; its URL.
    pub(super) fn start(word: &str) -> Result<(Self, String), String> {
        let mut command = cargo("run --quiet --package xtask-containers --");
        let starter = command
            .arg(word)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut container = Self { starter };
        let url = container.starter.stdout.as_mut().and_then(first_line);
        if let Some(url) = url {
            return Ok((container, url));
        }
        container.stop();
        Err("it did not start; the error is above".to_owned())
    }

    pub(super) fn stop(&mut self) {
        drop(self.starter.stdin.take());
        let _ = self.starter.wait();
    }
}

/// Starts one that stays when this program ends, until it is let go.
pub(super) fn keep(word: &str) -> Result<String, String> {
    let folder = folder(&format!("{word}-container"));
    empty(&folder)?;
    let input = folder.join("input");
    let made = Command::new("mkfifo").arg(&input).status();
    if !made.is_ok_and(|status| status.success()) {
        return Err(format!("{}: it cannot be made", input.display()));
    }
    // Built first, so that the shell runs the program itself.
    crate::run(&mut cargo("build --quiet --package xtask-containers"))?;
    let program = env::current_exe()
        .ok()
        .and_then(|xtask| Some(xtask.parent()?.join("xtask-containers")))
        .ok_or_else(|| "xtask does not know where it is".to_owned())?;
    // Opened for both, the input does not end before a line is said.
    let mut starter = Command::new("sh")
        .args(["-c", r#"exec "$0" "$1" <>"$2""#])
        .args([program.as_os_str(), word.as_ref(), input.as_os_str()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let url = starter
        .stdout
        .as_mut()
        .and_then(first_line)
        .ok_or_else(|| "it did not start; the error is above".to_owned())?;
    fs::write(folder.join("url"), &url).map_err(at(&folder))?;
    Ok(url)
}

/// The URL of one that was started to stay, if it answers.
pub(super) fn kept(word: &str) -> Option<String> {
    let url = fs::read_to_string(folder(&format!("{word}-container")).join("url")).ok()?;
    let authority = url.split("://").nth(1)?.split('/').next()?;
    let address = authority.rsplit('@').next()?;
    TcpStream::connect(address).ok()?;
    Some(url)
}

pub(super) fn let_go(word: &str) -> Done {
    if kept(word).is_none() {
        return Ok(());
    }
    let input = folder(&format!("{word}-container")).join("input");
    let mut end = fs::OpenOptions::new()
        .write(true)
        .open(&input)
        .map_err(at(&input))?;
    writeln!(end, "end").map_err(at(&input))
}

fn first_line(output: &mut impl std::io::Read) -> Option<String> {
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).ok()?;
    let line = line.trim();
    (!line.is_empty()).then(|| line.to_owned())
}
