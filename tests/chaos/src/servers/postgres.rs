//! PostgreSQL.

use super::{Server, find, guarded, run};
use crate::place::AnyError;
use std::{
    fs,
    path::{Path, PathBuf},
};
use tokio::process::Command;

/// Those that it has started do not end at once with it, and one of them alone keeps it from starting again. Stopped first, it starts no
/// more of them meanwhile.
const END: &str =
    "kill -STOP $pid; kids=$(ps -o pid= --ppid $pid | tr '\\n' ' '); kill -9 $pid $kids";

pub(super) async fn prepare(folder: &Path) -> Result<(), AnyError> {
    if let Some((user, group)) = owner()? {
        std::os::unix::fs::chown(folder, Some(user), Some(group))?;
    }
    let mut command = Command::new(programs()?.join("initdb"));
    command
        .args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-instructions",
        ])
        // New segments are needed all the time, so that a full disk is met at once.
        .arg("--wal-segsize=1")
        .arg("-D")
        .arg(folder.join("data"))
        .current_dir(folder);
    run(as_owner(&mut command)?).await
}

pub(super) fn command(server: &Server) -> Result<Command, AnyError> {
    // A server that was killed while it made its lock leaves an empty one, which an operator has to remove.
    let lock = server.folder.join("data/postmaster.pid");
    if fs::metadata(&lock).is_ok_and(|lock| lock.len() == 0) {
        fs::remove_file(&lock)?;
    }
    let mut command = guarded(END);
    command
        .arg(programs()?.join("postgres"))
        .arg("-D")
        .arg(server.folder.join("data"))
        .args(["-p", &server.port.to_string()])
        .args(["-c", "listen_addresses=127.0.0.1"])
        .args(["-c", "unix_socket_directories="])
        .args(["-c", "max_connections=400"])
        // So that crashes have checkpoints behind them, and the disk is small.
        .args(["-c", "max_wal_size=64MB", "-c", "wal_recycle=off"])
        .args(["-c", "log_min_messages=warning"])
        .args(["-c", "log_min_error_statement=fatal"]);
    as_owner(&mut command)?;
    Ok(command)
}

/// PostgreSQL refuses to run as root.
fn as_owner(command: &mut Command) -> Result<&mut Command, AnyError> {
    Ok(match owner()? {
        Some((user, group)) => command.uid(user).gid(group),
        None => command,
    })
}

/// Whom its files belong to and who runs it, if that is not this user.
pub(super) fn owner() -> Result<Option<(u32, u32)>, AnyError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let user = users.lines().find_map(|line| {
        let mut fields = line.strip_prefix("postgres:")?.split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    Ok(Some(user.ok_or(
        "there is no user `postgres`; install PostgreSQL's package",
    )?))
}

/// Of the newest version that is installed.
fn programs() -> Result<PathBuf, AnyError> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let newest = versions
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, folder)| folder.join("initdb").exists())
        .max();
    let found = newest
        .map(|(_, folder)| folder)
        .or_else(|| find("initdb")?.parent().map(PathBuf::from));
    Ok(found.ok_or("PostgreSQL is not installed (Debian: `apt-get install postgresql`)")?)
}
