//! A private PostgreSQL.

use super::{Server, free_port};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tempfile::TempDir;

pub(crate) struct PostgresServer {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
}

impl Server for PostgresServer {
    fn begin() -> Result<Self, String> {
        let programs = programs().ok_or(
            "PostgreSQL's server programs are not installed (Debian: `apt-get install postgresql`)",
        )?;
        let folder = folder_for_postgres();
        let mut server = Self {
            programs,
            folder,
            port: free_port(),
        };
        server.run(
            "initdb",
            &[
                "-U",
                "postgres",
                "-A",
                "trust",
                "--locale=C",
                "--no-instructions",
            ],
        );
        server.start();
        Ok(server)
    }

    fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    fn crash(&mut self) {
        self.run("pg_ctl", &["-m", "immediate", "-w", "stop"]);
    }

    fn start(&mut self) {
        let folder = self.folder.path().display();
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}",
            self.port
        );
        let log = format!("{folder}/log");
        self.run(
            "pg_ctl",
            &["-w", "-t", "60", "-l", &log, "-o", &options, "start"],
        );
    }
}

impl PostgresServer {
    fn run(&self, program: &str, arguments: &[&str]) {
        let status = as_postgres(&self.programs.join(program))
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .args(arguments)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{program} {arguments:?}: {status}");
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if self.folder.path().join("data/postmaster.pid").exists() {
            self.crash();
        }
    }
}

/// Among the temporary files of the build, or of the system where the server's user cannot get to those.
fn folder_for_postgres() -> TempDir {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    if !is_root() {
        return folder;
    }
    let give = |folder: &TempDir| {
        let mut give = Command::new("chown");
        let given = give.arg("postgres").arg(folder.path()).status();
        assert!(given.unwrap().success());
    };
    give(&folder);
    let reached = as_postgres(Path::new("test"))
        .arg("-w")
        .arg(folder.path())
        .stderr(Stdio::null())
        .status();
    if reached.unwrap().success() {
        return folder;
    }
    let folder = TempDir::new().unwrap();
    give(&folder);
    folder
}

/// PostgreSQL refuses to run as root.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command.current_dir("/");
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The folder of the newest version.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let newest = versions
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, folder)| folder.join("initdb").exists())
        .max();
    newest.map(|(_, folder)| folder).or_else(|| {
        let paths = env::var_os("PATH")?;
        env::split_paths(&paths).find(|folder| folder.join("initdb").exists())
    })
}
