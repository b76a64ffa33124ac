//! A private PostgreSQL.

use super::{
    Kind,
    native::{empty, find, folder, free_port, install, is_root, succeeded},
};
use crate::{Done, at, workspace};
use std::{
    env, fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

pub(super) struct Postgres {
    folder: PathBuf,
}

impl Postgres {
    pub(super) fn at(name: &str) -> Self {
        Self {
            folder: reachable_folder(name),
        }
    }

    fn url_file(&self) -> PathBuf {
        self.folder.join("url")
    }

    pub(super) fn running(&self) -> Option<String> {
        let url = fs::read_to_string(self.url_file()).ok()?;
        let address = url.split('@').nth(1)?.split('/').next()?.to_owned();
        TcpStream::connect(address).ok().map(|_| url)
    }

    pub(super) fn start(&self) -> Result<String, String> {
        let binaries = binaries()?;
        // What a run that was killed has left.
        let _ = self.stop();
        empty(&self.folder)?;
        if is_root() {
            let owner = Command::new("chown")
                .arg("postgres")
                .arg(&self.folder)
                .status();
            if !owner.is_ok_and(|status| status.success()) {
                return Err(format!(
                    "{}: it cannot be given to the user postgres",
                    self.folder.display()
                ));
            }
        }
        let data = self.folder.join("data");
        as_postgres(&binaries.join("initdb"))
            .arg("-D")
            .arg(&data)
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
            .stdout(Stdio::null())
            .status()
            .map_err(at(&binaries))
            .and_then(succeeded("initdb"))?;
        let port = free_port()?;
        let options = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c max_connections=200",
            self.folder.display()
        );
        as_postgres(&binaries.join("pg_ctl"))
            .arg("-D")
            .arg(&data)
            .args(["-w", "-t", "60", "-l"])
            .arg(self.folder.join("log"))
            .args(["-o", &options, "start"])
            .stdout(Stdio::null())
            .status()
            .map_err(at(&binaries))
            .and_then(succeeded("pg_ctl start"))?;
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        fs::write(self.url_file(), &url).map_err(at(&self.folder))?;
        Ok(url)
    }

    pub(super) fn stop(&self) -> Done {
        let data = self.folder.join("data");
        if !data.join("postmaster.pid").exists() {
            return Ok(());
        }
        as_postgres(&binaries()?.join("pg_ctl"))
            .arg("-D")
            .arg(&data)
            .args(["-m", "fast", "-w", "stop"])
            .stdout(Stdio::null())
            .status()
            .map_err(at(&data))
            .and_then(succeeded("pg_ctl stop"))
    }
}

/// Under `target/`, or among the temporary files where the server's own user cannot get to that.
fn reachable_folder(name: &str) -> PathBuf {
    let folder = folder("");
    let reachable = fs::create_dir_all(&folder).is_ok()
        && as_postgres(Path::new("test"))
            .args(["-x"])
            .arg(&folder)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
    if reachable || !is_root() {
        return folder.join(name);
    }
    let unique = workspace().display().to_string().replace('/', "-");
    env::temp_dir()
        .join(format!("sagaz-services{unique}"))
        .join(name)
}

/// PostgreSQL refuses to run as root.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command
        .args(["-u", "postgres", "--"])
        .arg(program)
        .current_dir("/");
    command
}

/// The folder of the newest version, after an installation if there is none.
fn binaries() -> Result<PathBuf, String> {
    if let Some(found) = installed() {
        return Ok(found);
    }
    install(
        "postgresql",
        Kind::Postgres.name(),
        Some(Kind::Postgres.variable()),
    )?;
    installed().ok_or_else(|| "PostgreSQL is not where its package puts it".to_owned())
}

/// Whether tests can start servers themselves, after an installation if the programs are not there.
pub(super) fn ensure() -> Done {
    binaries().map(|_| ())
}

fn installed() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, path)| path.join("initdb").exists())
        .collect();
    found.sort();
    found
        .pop()
        .map(|(_, path)| path)
        .or_else(|| find("initdb")?.parent().map(PathBuf::from))
}
