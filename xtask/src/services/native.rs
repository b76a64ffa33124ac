//! Programs that are installed here, and folders and ports for them.

use crate::{Done, at, is_ci, workspace};
use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

/// The folder of a server's data, under `target/`.
pub(super) fn folder(name: &str) -> PathBuf {
    workspace().join("target/services").join(name)
}

/// Installs a package of Debian's or Ubuntu's, where that is allowed: to root, and in CI to whoever may become root.
pub(super) fn install(package: &str, what: &str, variable: Option<&str>) -> Done {
    let is_root = is_root();
    let may_sudo = || is_ci() && quiet("sudo", &["-n", "true"]);
    if !quiet("apt-get", &["--version"]) || !(is_root || may_sudo()) {
        let or_set = variable.map_or_else(String::new, |variable| format!(", or set {variable}"));
        return Err(format!(
            "{what} is not installed; install it (Debian: `apt-get install {package}`){or_set}"
        ));
    }
    for arguments in [
        &["update"][..],
        &["install", "-y", "--no-install-recommends", package],
    ] {
        let mut command = if is_root {
            Command::new("apt-get")
        } else {
            let mut command = Command::new("sudo");
            command.args(["-n", "-E", "apt-get"]);
            command
        };
        command
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            // The package's own service is not wanted.
            .env("RUNLEVEL", "1")
            .stdout(Stdio::null());
        eprintln!("$ apt-get {}", arguments.join(" "));
        command
            .status()
            .map_err(|error| error.to_string())
            .and_then(succeeded("apt-get"))?;
    }
    Ok(())
}

/// Where a program is, by `PATH`.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let paths = env::var_os("PATH")?;
    env::split_paths(&paths)
        .map(|path| path.join(program))
        .find(|path| path.exists())
}

pub(super) fn quiet(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

pub(super) fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

pub(super) fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    Ok(address.port())
}

/// An empty folder, without what a run that was killed has left.
pub(super) fn empty(folder: &Path) -> Done {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).map_err(at(folder))
}

pub(super) fn succeeded(what: &str) -> impl Fn(ExitStatus) -> Done + '_ {
    move |status| {
        if status.success() {
            Ok(())
        } else {
            Err(format!("{what} failed ({status})"))
        }
    }
}

/// Asks a process to end.
pub(super) fn terminate(pid: &str) {
    quiet("kill", &["-TERM", pid.trim()]);
}

/// Whether a process runs. One that has ended, and that this program has started and not asked about since, does not.
pub(super) fn is_alive(pid: &str) -> bool {
    let state = Command::new("ps")
        .args(["-o", "stat=", "-p", pid.trim()])
        .output();
    state.is_ok_and(|output| {
        let state = output.stdout.trim_ascii();
        !state.is_empty() && !state.starts_with(b"Z")
    })
}

/// Whether there are Prometheus and its tool, after an installation if not.
pub(super) fn prometheus() -> Done {
    if find("prometheus").is_none() || find("promtool").is_none() {
        install("prometheus", "Prometheus", None)?;
    }
    Ok(())
}

/// Whether there is a `PgBouncer`, after an installation if there is none.
pub(super) fn pgbouncer() -> Done {
    let is_there = || Path::new("/usr/sbin/pgbouncer").exists() || find("pgbouncer").is_some();
    if !is_there() {
        install("pgbouncer", "PgBouncer", None)?;
    }
    if is_there() {
        Ok(())
    } else {
        Err("PgBouncer is not where its package puts it".to_owned())
    }
}

/// Whether there is a Valgrind, after an installation if there is none.
pub(super) fn valgrind() -> Done {
    if find("valgrind").is_none() {
        install("valgrind", "Valgrind", None)?;
    }
    Ok(())
}
