//! Servers that the tests need, started privately: a free port, data under `target/`.
//!
//! In this order, per server: a URL in the environment; one that `cargo xtask services up` has started; native binaries,
//! installed from the distribution's packages when they are missing and that is allowed.

use crate::{Done, workspace};
use std::{
    env, fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The variable by which tests know the PostgreSQL server.
pub(crate) const POSTGRES_URL: &str = "SAGAZ_TEST_POSTGRES_URL";

/// A server to run tests against.
pub(crate) struct Server {
    pub(crate) url: String,
    /// Stopped at the end, unless somebody else started it.
    owned: Option<Postgres>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(server) = &self.owned {
            let _ = server.stop();
        }
    }
}

/// A server for one run of the tests.
pub(crate) fn postgres() -> Result<Server, String> {
    if let Ok(url) = env::var(POSTGRES_URL) {
        return Ok(Server { url, owned: None });
    }
    let shared = Postgres::at("postgres");
    if let Some(url) = shared.running() {
        return Ok(Server { url, owned: None });
    }
    let server = Postgres::at("postgres-for-tests");
    let url = server.start()?;
    Ok(Server {
        url,
        owned: Some(server),
    })
}

pub(crate) fn command(verb: &str) -> Done {
    let server = Postgres::at("postgres");
    match verb {
        "up" => {
            let url = match server.running() {
                Some(url) => url,
                None => server.start()?,
            };
            eprintln!("PostgreSQL: {url}");
            Ok(())
        }
        "down" => {
            let was_running = server.running().is_some();
            server.stop()?;
            eprintln!(
                "PostgreSQL: {}",
                if was_running {
                    "stopped"
                } else {
                    "was not running"
                }
            );
            Ok(())
        }
        "status" => {
            let url = server.running();
            eprintln!("PostgreSQL: {}", url.as_deref().unwrap_or("not running"));
            Ok(())
        }
        _ => Err(format!(
            "`services {verb}` is none of `up`, `down`, `status`"
        )),
    }
}

/// A private PostgreSQL.
struct Postgres {
    folder: PathBuf,
}

impl Postgres {
    fn at(name: &str) -> Self {
        Self {
            folder: folder(name),
        }
    }

    fn url_file(&self) -> PathBuf {
        self.folder.join("url")
    }

    fn running(&self) -> Option<String> {
        let url = fs::read_to_string(self.url_file()).ok()?;
        let address = url.split('@').nth(1)?.split('/').next()?.to_owned();
        TcpStream::connect(address).ok().map(|_| url)
    }

    fn start(&self) -> Result<String, String> {
        let binaries = binaries()?;
        // What a run that was killed has left.
        let _ = self.stop();
        let _ = fs::remove_dir_all(&self.folder);
        fs::create_dir_all(&self.folder).map_err(|error| at(&self.folder, &error))?;
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
            .map_err(|error| at(&binaries, &error))
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
            .map_err(|error| at(&binaries, &error))
            .and_then(succeeded("pg_ctl start"))?;
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        fs::write(self.url_file(), &url).map_err(|error| at(&self.folder, &error))?;
        Ok(url)
    }

    fn stop(&self) -> Done {
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
            .map_err(|error| at(&data, &error))
            .and_then(succeeded("pg_ctl stop"))
    }
}

/// Under `target/`, or among the temporary files where the server's own user cannot get to that.
fn folder(name: &str) -> PathBuf {
    let folder = workspace().join("target/services");
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
    if !can_install() {
        return Err(format!(
            "PostgreSQL is not installed; install it (Debian: `apt-get install postgresql`), or set {POSTGRES_URL}"
        ));
    }
    install("postgresql")?;
    installed().ok_or_else(|| "PostgreSQL is not where its package puts it".to_owned())
}

/// Whether the tests can start PostgreSQL servers of their own.
pub(crate) fn native_postgres() -> Done {
    match installed() {
        Some(_) => Ok(()),
        None => Err("PostgreSQL's programs are not installed".to_owned()),
    }
}

/// Whether the tests can start a `PgBouncer`, after an installation if there is none; `Ok(Err)` where it cannot be had.
pub(crate) fn pgbouncer() -> Result<Done, String> {
    let is_there = || Path::new("/usr/sbin/pgbouncer").exists() || on_path("pgbouncer").is_some();
    if is_there() {
        return Ok(Ok(()));
    }
    if !can_install() {
        return Ok(Err(
            "PgBouncer is not installed; install it (Debian: `apt-get install pgbouncer`)"
                .to_owned(),
        ));
    }
    install("pgbouncer")?;
    if is_there() {
        Ok(Ok(()))
    } else {
        Err("PgBouncer is not where its package puts it".to_owned())
    }
}

fn can_install() -> bool {
    is_root() && Command::new("apt-get").arg("--version").output().is_ok()
}

fn install(package: &str) -> Done {
    for arguments in [
        &["update"][..],
        &["install", "-y", "--no-install-recommends", package],
    ] {
        let mut command = Command::new("apt-get");
        command
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null());
        eprintln!("$ apt-get {}", arguments.join(" "));
        command
            .status()
            .map_err(|error| error.to_string())
            .and_then(succeeded("apt-get"))?;
    }
    Ok(())
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
        .or_else(|| on_path("initdb"))
}

/// The folder of the search path that has the program.
fn on_path(program: &str) -> Option<PathBuf> {
    let paths = env::var_os("PATH")?;
    env::split_paths(&paths).find(|path| path.join(program).exists())
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    Ok(address.port())
}

fn succeeded(what: &str) -> impl Fn(std::process::ExitStatus) -> Done + '_ {
    move |status| {
        if status.success() {
            Ok(())
        } else {
            Err(format!("{what} failed ({status})"))
        }
    }
}

fn at(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
