//! Servers of a test's own, from the programs that are installed: they end with the test, however that ends.

use std::{
    env, fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_mins(2);

/// Runs until this is dropped, or this process ends: the shell waits for the end of its input, and then sends the signal by which
/// the program stops at once.
struct Guarded(Child);

impl Guarded {
    fn run(signal: &str, program: &Path, arguments: &[&str], log: &Path) -> Self {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("a log");
        let child = as_postgres(Path::new("sh"))
            .args([
                "-c",
                &format!("\"$@\" & pid=$!; read _; kill -{signal} $pid; wait $pid"),
                "sh",
            ])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("it starts");
        Self(child)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// A PostgreSQL server.
pub(crate) struct Server {
    folder: TempDir,
    pub(crate) port: u16,
    running: Option<Guarded>,
}

impl Server {
    /// A new one; its superuser `postgres` has the password `secret`, if it asks for passwords.
    pub(crate) fn new(authentication: &str) -> Self {
        let folder = folder();
        let password = folder.path().join("password");
        fs::write(&password, "secret\n").expect("a file");
        let data = folder.path().join("data");
        let made = as_postgres(&binary("initdb"))
            .args([
                "-N",
                "-U",
                "postgres",
                "-E",
                "UTF8",
                "--locale=C",
                "--no-instructions",
            ])
            .args(["-A", authentication, "--pwfile"])
            .arg(&password)
            .arg("-D")
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("initdb runs").success());
        Self::at(folder)
    }

    fn at(folder: TempDir) -> Self {
        let mut server = Self {
            folder,
            port: free_port(),
            running: None,
        };
        server.start();
        server
    }

    /// A replica of it.
    pub(crate) fn replica(&self) -> Self {
        let folder = folder();
        let copied = as_postgres(&binary("pg_basebackup"))
            .args([
                "-R",
                "-X",
                "stream",
                "-c",
                "fast",
                "-h",
                "127.0.0.1",
                "-U",
                "postgres",
            ])
            .args(["-p", &self.port.to_string(), "-D"])
            .arg(folder.path().join("data"))
            .status();
        assert!(copied.expect("pg_basebackup runs").success());
        Self::at(folder)
    }

    pub(crate) fn start(&mut self) {
        let data = self.folder.path().join("data");
        let port = self.port.to_string();
        let arguments = [
            "-D",
            data.to_str().expect("a path of text"),
            "-p",
            &port,
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
        ];
        let log = self.folder.path().join("log");
        self.running = Some(Guarded::run("QUIT", &binary("postgres"), &arguments, &log));
        until(&log, || {
            Command::new(binary("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &port])
                .status()
                .is_ok_and(|status| status.success())
        });
    }

    /// As a crash does.
    pub(crate) fn stop(&mut self) {
        self.running = None;
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

/// `PgBouncer` in transaction mode, with fewer sessions than clients.
pub(crate) struct Bouncer {
    _folder: TempDir,
    _running: Guarded,
    pub(crate) url: String,
}

impl Bouncer {
    /// In front of the server of this URL.
    pub(crate) fn new(url: &str) -> Self {
        let folder = folder();
        let address = url.split('@').nth(1).expect("a user in the URL");
        let (address, database) = address.split_once('/').expect("a database in the URL");
        let (host, server_port) = address.split_once(':').unwrap_or((address, "5432"));
        let user = url
            .split("://")
            .nth(1)
            .and_then(|rest| rest.split('@').next());
        let (user, password) = user
            .map(|user| user.split_once(':').unwrap_or((user, "")))
            .expect("a user in the URL");
        let password = if password.is_empty() {
            String::new()
        } else {
            format!(" password={password}")
        };
        let port = free_port();
        let configuration = format!(
            "[databases]\n\
            {database} = host={host} port={server_port} user={user}{password}\n\
            [pgbouncer]\n\
            listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n\
            default_pool_size = 12\nmax_client_conn = 2000\n"
        );
        let file = folder.path().join("pgbouncer.ini");
        fs::write(&file, configuration).expect("a file");
        let log = folder.path().join("log");
        let arguments = [file.to_str().expect("a path of text")];
        let running = Guarded::run("TERM", &bouncer(), &arguments, &log);
        until(&log, || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self {
            _folder: folder,
            _running: running,
            url: format!("postgres://{user}@127.0.0.1:{port}/{database}"),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test that needs the server has nothing else to do"
)]
fn until(log: &Path, is_ready: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_ready() {
        assert!(
            began.elapsed() < PATIENCE,
            "it does not start: {}",
            fs::read_to_string(log).unwrap_or_default()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

/// One that the server's user can write to.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    if is_root() {
        let given = Command::new("chown")
            .arg("postgres")
            .arg(folder.path())
            .status();
        assert!(
            given.is_ok_and(|status| status.success()),
            "it can be given"
        );
    }
    folder
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// PostgreSQL refuses to run as root, and so does `PgBouncer`.
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

/// Of the newest version that is installed.
fn binary(name: &str) -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut versions: Vec<(u32, PathBuf)> = installed
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin").join(name)))
        })
        .filter(|(_, path)| path.exists())
        .collect();
    versions.sort();
    versions
        .pop()
        .map_or_else(|| on_path(name), |(_, path)| path)
}

fn bouncer() -> PathBuf {
    let usual = Path::new("/usr/sbin/pgbouncer");
    if usual.exists() {
        usual.to_owned()
    } else {
        on_path("pgbouncer")
    }
}

fn on_path(name: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| {
            panic!("`{name}` is not installed; `cargo xtask test` leaves its tests out then")
        })
}
