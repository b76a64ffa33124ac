//! Carries faults out, and keeps what was done, when, and to whom.
//!
//! Invariant: what is kept as a fault was met by somebody: a process that was there, a connection that was cut, data that was late, a
//! write that was refused. One that nobody meets lasts a while longer; then it is kept as missed. A long transaction is kept if
//! it began.

use crate::{
    ledger::now_ms,
    place::{AnyError, Schema},
    proxy::{Link, Trouble},
    schedule::{Direction, Fault, Way, Whose},
    servers::{Disk, Server},
    workers::Workers,
};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{sync::Mutex as AsyncMutex, time::sleep};

/// A fault that has happened.
#[derive(Clone, Debug)]
pub(crate) struct Injected {
    pub(crate) fault: Fault,
    pub(crate) began_ms: u64,
    /// When everything was well again, as far as this fault is concerned.
    pub(crate) ended_ms: u64,
    /// The process that was killed or stopped.
    pub(crate) process: Option<u32>,
    pub(crate) note: String,
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.fault)?;
        if let Some(process) = self.process {
            write!(f, " (process {process})")?;
        }
        if !self.note.is_empty() {
            write!(f, " ({})", self.note)?;
        }
        write!(f, ", over after {} ms", self.ended_ms - self.began_ms)
    }
}

/// All that can be disturbed.
#[derive(Debug)]
pub(crate) struct Targets {
    pub(crate) workers: Workers,
    /// One way for each slot; none where the store is a file.
    pub(crate) store_links: Vec<Link>,
    pub(crate) broker_links: Vec<Link>,
    pub(crate) store: Option<Arc<AsyncMutex<Server>>>,
    /// The same one, if it is both.
    pub(crate) broker: Arc<AsyncMutex<Server>>,
    pub(crate) disk: Option<Disk>,
    pub(crate) done: Mutex<Done>,
}

/// What has been carried out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    pub(crate) injected: Vec<Injected>,
    /// Faults that nobody met.
    pub(crate) missed: Vec<Fault>,
}

/// How long a server may take to get well by itself when its disk has room again.
const CONVALESCENCE: Duration = Duration::from_secs(5);

/// How much longer than planned a fault lasts until somebody meets it.
const MEETING: Duration = Duration::from_secs(20);

/// What a fault did.
#[derive(Debug, Default)]
struct Outcome {
    process: Option<u32>,
    note: String,
}

impl Outcome {
    fn of(process: u32) -> Self {
        Self {
            process: Some(process),
            note: String::new(),
        }
    }

    fn noted(note: impl Into<String>) -> Self {
        Self {
            process: None,
            note: note.into(),
        }
    }
}

impl Targets {
    /// Carries one out, from its beginning to its end.
    pub(crate) async fn inject(&self, fault: Fault) -> Result<(), AnyError> {
        let began_ms = now_ms();
        let outcome = self.carry_out(fault).await?;
        let mut done = self.done();
        match outcome {
            Some(outcome) => done.injected.push(Injected {
                fault,
                began_ms,
                ended_ms: now_ms(),
                process: outcome.process,
                note: outcome.note,
            }),
            None => done.missed.push(fault),
        }
        Ok(())
    }

    fn done(&self) -> MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: nobody met it.
    async fn carry_out(&self, fault: Fault) -> Result<Option<Outcome>, AnyError> {
        Ok(match fault {
            Fault::KillWorker { slot } => self.workers.kill(slot).await?.map(Outcome::of),
            Fault::StopWorker { slot, lasting } => {
                self.workers.stop(slot, lasting).await.map(Outcome::of)
            }
            Fault::RestartWorker { slot } => self.workers.restart(slot).await?.map(Outcome::of),
            Fault::KillServer { whose, down } => {
                let mut server = self.server(whose).lock().await;
                let ran = server.kill().await;
                sleep(down).await;
                let began = Instant::now();
                server.start().await?;
                let note = format!("its start took {:?}", began.elapsed());
                ran.then(|| Outcome::noted(note))
            }
            Fault::Cut { way, reset } => met(self.cut(way, reset).await),
            Fault::Delay { way, by, lasting } => {
                let begin = |link: &Link| link.set(|weather| weather.delay += by);
                let end = |link: &Link| link.set(|weather| weather.delay -= by);
                let trouble = Trouble::Delayed;
                met(self.weather(way, trouble, lasting, begin, end).await)
            }
            Fault::Hold {
                way,
                direction,
                lasting,
                broken,
            } => met(self.hold(way, direction, lasting, broken).await),
            Fault::Refuse { way, lasting } => {
                let begin = |link: &Link| {
                    link.set(|weather| weather.refuse += 1);
                    link.cut(true);
                };
                let end = |link: &Link| link.set(|weather| weather.refuse -= 1);
                let trouble = Trouble::Refused;
                met(self.weather(way, trouble, lasting, begin, end).await)
            }
            Fault::FillDisk { lasting } => self.fill_disk(lasting).await?,
            Fault::LongTransaction { lasting } => self.hold_transaction(lasting).await,
        })
    }

    fn server(&self, whose: Whose) -> &Arc<AsyncMutex<Server>> {
        match (whose, &self.store) {
            (Whose::Store, Some(store)) => store,
            _ => &self.broker,
        }
    }

    fn links(&self, way: Way) -> impl Iterator<Item = &Link> {
        let links = match way.whose {
            Whose::Store => &self.store_links,
            Whose::Broker => &self.broker_links,
        };
        let wanted = links.iter().enumerate();
        wanted
            .filter(move |(slot, _)| way.slot.is_none_or(|only| only == *slot))
            .map(|(_, link)| link)
    }

    fn met(&self, way: Way, trouble: Trouble) -> u64 {
        self.links(way).map(|link| link.met(trouble)).sum()
    }

    /// Bad weather for so long, and until somebody has met it; whether somebody has.
    async fn weather(
        &self,
        way: Way,
        trouble: Trouble,
        lasting: Duration,
        begin: impl Fn(&Link),
        end: impl Fn(&Link),
    ) -> bool {
        let before = self.met(way, trouble);
        self.links(way).for_each(begin);
        sleep(lasting).await;
        let is_met = self.until_met(way, trouble, before, MEETING).await;
        self.links(way).for_each(end);
        is_met
    }

    async fn until_met(&self, way: Way, trouble: Trouble, before: u64, patience: Duration) -> bool {
        let began = Instant::now();
        while self.met(way, trouble) == before {
            if began.elapsed() > patience {
                return false;
            }
            sleep(Duration::from_millis(20)).await;
        }
        true
    }

    /// Cuts what is there, as soon as there is something; whether there was.
    async fn cut(&self, way: Way, reset: bool) -> bool {
        let before = self.met(way, Trouble::Cut);
        let began = Instant::now();
        while began.elapsed() < MEETING {
            self.links(way).for_each(|link| link.cut(reset));
            let soon = Duration::from_millis(100);
            if self.until_met(way, Trouble::Cut, before, soon).await {
                return true;
            }
        }
        false
    }

    async fn hold(&self, way: Way, direction: Direction, lasting: Duration, broken: bool) -> bool {
        let (up, down) = match direction {
            Direction::Up => (1, 0),
            Direction::Down => (0, 1),
            Direction::Both => (1, 1),
        };
        let begin = |link: &Link| {
            link.set(|weather| {
                weather.hold_up += up;
                weather.hold_down += down;
            });
        };
        let end = |link: &Link| {
            if broken {
                link.cut(true);
            }
            link.set(|weather| {
                weather.hold_up -= up;
                weather.hold_down -= down;
            });
        };
        self.weather(way, Trouble::Held, lasting, begin, end).await
    }

    /// Meanwhile nobody kills the server; it may end by itself, and is started again when there is room.
    async fn fill_disk(&self, lasting: Duration) -> Result<Option<Outcome>, AnyError> {
        let (Some(disk), Some(store)) = (&self.disk, &self.store) else {
            return Ok(None);
        };
        let mut server = store.lock().await;
        disk.fill().await?;
        let began = Instant::now();
        let mut is_met = false;
        while began.elapsed() < lasting || !is_met && began.elapsed() < lasting + MEETING {
            disk.top_up().await?;
            is_met = is_met || server.has_no_room().await?;
            sleep(Duration::from_millis(200)).await;
        }
        let answered = server.answers().await;
        disk.free().await?;
        let mut note = if answered {
            "writes were refused, and the server stayed"
        } else {
            "the server was away, and came back by itself"
        };
        let began = Instant::now();
        while !server.answers().await {
            if began.elapsed() > CONVALESCENCE {
                server.kill().await;
                server.start().await?;
                note = "the server had ended, and was started again";
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(is_met.then(|| Outcome::noted(note)))
    }

    /// On PostgreSQL, as soon as it can be begun there.
    async fn hold_transaction(&self, lasting: Duration) -> Option<Outcome> {
        let url = self.store.as_ref()?.lock().await.url();
        let place = Schema { url };
        let began = Instant::now();
        let holding = loop {
            match place.hold_rows().await {
                Ok(holding) => break holding,
                Err(_) if began.elapsed() > MEETING => return None,
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        };
        sleep(lasting).await;
        // The server may have been killed under it.
        let ended = sqlx::raw_sql("ROLLBACK").execute(&mut { holding }).await;
        let ended = ended.err().map(|error| format!("it ended early: {error}"));
        Some(Outcome::noted(ended.unwrap_or_default()))
    }

    /// Fine weather, and servers that answer.
    pub(crate) async fn heal(&self) -> Result<(), AnyError> {
        for link in self.store_links.iter().chain(&self.broker_links) {
            link.clear();
        }
        for server in self.store.iter().chain([&self.broker]) {
            let mut server = server.lock().await;
            if !server.answers().await {
                server.kill().await;
                server.start().await?;
            }
        }
        Ok(())
    }

    /// What was carried out, in the order in which it began.
    pub(crate) fn carried_out(&self) -> Done {
        let mut done = self.done().clone();
        done.injected.sort_by_key(|it| it.began_ms);
        done
    }
}

fn met(is_met: bool) -> Option<Outcome> {
    is_met.then(Outcome::default)
}
