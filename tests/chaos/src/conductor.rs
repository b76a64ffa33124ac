//! The conductor: starts servers, proxies and workers, lets the run take its [course](crate::course), and has it audited and told.

use crate::{
    audit::{self, Evidence, Finding},
    broker,
    course::Conducting,
    faults::{Injected, Targets},
    place::{AnyError, CONSUMER, File, Place, Prefix, Schema},
    proxy::Link,
    report::{self, Run},
    schedule::Scope,
    servers::{Disk, Kind, Server, free_port, sweep},
    settings::{Broker, Settings, Store},
    witness::{Witness, is_healthy},
    worker::told_to_end,
    workers::{Told, Workers},
    world,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Mutex as AsyncMutex, watch},
    time::sleep,
};

/// How big the store's disk is.
const DISK_MEGABYTES: u64 = 6_144;

/// So many stories are told of what was found.
const STORIES_MAX: usize = 3;

/// Runs it; whether the audit found nothing.
pub(crate) async fn run(settings: Settings) -> Result<bool, AnyError> {
    let folder = settings.folder()?;
    tokio::fs::create_dir_all(&folder).await?;
    sweep(&runs()).await;
    let wants_disk = settings.store != Store::Sqlite;
    let disk = if wants_disk {
        Disk::mount(&folder.join("disk"), DISK_MEGABYTES).await
    } else {
        Err("a SQLite file's disk would be that of the ledger".into())
    };
    let stage = Stage {
        no_disk: disk.as_ref().err().map(ToString::to_string),
        disk: disk.ok(),
        settings,
        folder,
    };
    let enough = watch::Sender::new(false);
    let is_well = tokio::select! {
        is_well = stage.run(enough.subscribe()) => is_well,
        // Dropped, it ends its servers and workers.
        () = interrupted(&enough) => Err("interrupted".into()),
        () = input_ended(stage.settings.ends_with_input) => Err("its input has ended".into()),
    };
    let keep = stage.settings.keep || !matches!(is_well, Ok(true));
    if let Some(disk) = &stage.disk
        && let Err(error) = disk.unmount(keep).await
    {
        eprintln!("{} is not unmounted: {error}", disk.folder.display());
    }
    if keep {
        eprintln!("what is left of the run is in {}", stage.folder.display());
    } else {
        let _ = tokio::fs::remove_dir_all(&stage.folder).await;
    }
    is_well
}

/// Ctrl-C: it has lasted long enough, and what came of it is audited. Once more: at once.
async fn interrupted(enough: &watch::Sender<bool>) {
    // Without the signal it lasts as long as it was told to.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
    eprintln!("enough: no more faults; Ctrl-C again ends it without an audit");
    enough.send_replace(true);
    let _ = tokio::signal::ctrl_c().await;
}

/// Never, if it does not end with it.
async fn input_ended(ends_with_input: bool) {
    if ends_with_input {
        told_to_end().await;
    } else {
        std::future::pending::<()>().await;
    }
}

struct Stage {
    settings: Settings,
    folder: PathBuf,
    disk: Option<Disk>,
    no_disk: Option<String>,
}

impl Stage {
    async fn run(&self, enough: watch::Receiver<bool>) -> Result<bool, AnyError> {
        let (store, broker) = (self.settings.store, self.settings.broker);
        eprintln!(
            "chaos on {} and {} for {:?}, {} workers: --seed {} makes the same plan again",
            store.name(),
            broker.kind().name(),
            self.settings.lasting(),
            self.settings.workers,
            self.settings.seed
        );
        let store_server = match store.kind() {
            Some(kind) => Some(self.begin(kind, "store").await?),
            None => None,
        };
        let broker_server = match &store_server {
            Some(both) if store.kind() == Some(broker.kind()) => Arc::clone(both),
            _ => self.begin(broker.kind(), "broker").await?,
        };
        let url = match &store_server {
            Some(server) => server.lock().await.url(),
            None => self.file_url(),
        };
        let servers = Servers {
            store: store_server,
            broker: broker_server,
        };
        match store {
            Store::Postgres => self.on(Schema { url }, servers, enough).await,
            Store::Redis => self.on(Prefix { url }, servers, enough).await,
            Store::Sqlite => {
                let path = self.file();
                self.on(File { path }, servers, enough).await
            }
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.join("sagas.db")
    }

    fn file_url(&self) -> String {
        format!("sqlite://{}", self.file().display())
    }

    async fn begin(&self, kind: Kind, name: &str) -> Result<Shared, AnyError> {
        let folder = match &self.disk {
            Some(disk) if name == "store" => disk.folder.join("data"),
            _ => self.folder.join(name),
        };
        let server = Server::begin(kind, folder).await?;
        Ok(Arc::new(AsyncMutex::new(server)))
    }

    async fn on<P: Place>(
        &self,
        place: P,
        servers: Servers,
        enough: watch::Receiver<bool>,
    ) -> Result<bool, AnyError> {
        let settings = self.settings.clone();
        place.prepare().await?;
        let broker_url = servers.broker.lock().await.url();
        while !is_healthy(&broker_url).await {
            sleep(Duration::from_millis(100)).await;
        }
        // Both groups are there before the first event.
        let witness = soon(async || Witness::start(&broker_url).await).await?;
        drop(soon(async || broker::subscribe(&broker_url, CONSUMER).await).await?);

        let world = world::Server::listen(
            &self.folder.join("world"),
            &self.folder.join("ledger.jsonl"),
        )?;
        let scope = Scope {
            seed: settings.seed,
            lasting: settings.lasting(),
            workers: settings.workers,
            store_server: servers.store.is_some(),
            broker_server: !servers.are_one(),
            disk: self.disk.is_some(),
            long_transactions: settings.store == Store::Postgres,
        };
        let targets = Arc::new(self.targets(servers).await?);
        let run = Conducting {
            settings: &settings,
            world: &world,
            targets: &targets,
            witness: &witness,
            broker_url: &broker_url,
            enough,
        };
        let settled = run.play_and_settle(&scope, &place).await;
        targets.workers.end().await?;
        let faults = targets.carried_out();
        for server in targets.store.iter().chain([&targets.broker]) {
            server.lock().await.kill().await;
        }
        let (lasted, evidence, counts) = settled?;
        let findings = audit::audit(&evidence);
        let report = report::markdown(&Run {
            settings: &settings,
            lasted,
            disk: self.disk.as_ref().map(|disk| disk.what),
            no_disk: self.no_disk.as_deref(),
            evidence: &evidence,
            faults: &faults.injected,
            missed: &faults.missed,
            counts: &counts,
            findings: &findings,
        });
        eprintln!("\n{report}");
        std::fs::write(self.folder.join("report.md"), &report)?;
        if let Some(page) = settings.page.as_ref().filter(|_| findings.is_empty()) {
            report::put_into(page, &report)?;
        }
        self.tell_findings(&evidence, &faults.injected, &findings)?;
        Ok(findings.is_empty())
    }

    /// Proxies for each worker, and the workers behind them.
    async fn targets(&self, servers: Servers) -> Result<Targets, AnyError> {
        let (mut store_links, mut broker_links, mut told) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.settings.workers {
            let store = match &servers.store {
                Some(server) => through(server, &mut store_links).await?,
                None => self.file_url(),
            };
            let broker = through(&servers.broker, &mut broker_links).await?;
            told.push(Told { store, broker });
        }
        let (world, log) = (self.folder.join("world"), self.folder.join("workers.log"));
        Ok(Targets {
            workers: Workers::start(told, world, log).await?,
            store_links,
            broker_links,
            store: servers.store,
            broker: servers.broker,
            disk: self.disk.clone(),
            done: std::sync::Mutex::default(),
        })
    }

    fn tell_findings(
        &self,
        evidence: &Evidence,
        faults: &[Injected],
        findings: &[Finding],
    ) -> Result<(), AnyError> {
        if findings.is_empty() {
            return Ok(());
        }
        let all: Vec<String> = findings.iter().map(ToString::to_string).collect();
        std::fs::write(self.folder.join("findings"), all.join("\n"))?;
        eprintln!(
            "{} findings, with --seed {}:",
            all.len(),
            self.settings.seed
        );
        for words in all.iter().take(30) {
            eprintln!("- {words}");
        }
        let mut told = Vec::new();
        for finding in findings {
            let Some(id) = finding.id.filter(|id| !told.contains(id)) else {
                continue;
            };
            if told.len() == STORIES_MAX {
                break;
            }
            told.push(id);
            eprintln!("\n{finding}\n{}", audit::story(evidence, faults, id));
        }
        Ok(())
    }
}

type Shared = Arc<AsyncMutex<Server>>;

/// The servers of a run.
struct Servers {
    /// None where the store is a file.
    store: Option<Shared>,
    broker: Shared,
}

impl Servers {
    /// Whether one server is both.
    fn are_one(&self) -> bool {
        let both = self.store.as_ref();
        both.is_some_and(|store| Arc::ptr_eq(store, &self.broker))
    }
}

/// A way to a server, and its URL.
/// What a server that was just started may refuse for a while.
async fn soon<T>(call: impl AsyncFn() -> Result<T, AnyError>) -> Result<T, AnyError> {
    let began = Instant::now();
    loop {
        match call().await {
            Err(_) if began.elapsed() < Duration::from_mins(1) => {
                sleep(Duration::from_millis(100)).await;
            }
            end => return end,
        }
    }
}

async fn through(server: &Shared, links: &mut Vec<Link>) -> Result<String, AnyError> {
    let server = server.lock().await;
    let link = Link::to(server.port, free_port()?).await?;
    let url = server.kind.url(link.port);
    links.push(link);
    Ok(url)
}

/// Where the data of runs is by default.
fn runs() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let workspace = workspace.unwrap_or_else(|| Path::new("."));
    workspace.join("target/chaos")
}

pub(crate) fn default_folder(seed: u64) -> PathBuf {
    runs().join(format!("{seed}-{}", std::process::id()))
}

impl Broker {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Rabbitmq => Kind::RabbitMq,
            Self::Redis => Kind::Redis,
            Self::Nats => Kind::Nats,
        }
    }
}

impl Store {
    /// `None`: it is a file, and has no server.
    pub(crate) fn kind(self) -> Option<Kind> {
        match self {
            Self::Postgres => Some(Kind::Postgres),
            Self::Redis => Some(Kind::Redis),
            Self::Sqlite => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        self.kind().map_or("SQLite", Kind::name)
    }
}
