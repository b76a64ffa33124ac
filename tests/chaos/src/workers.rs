//! The worker processes: a slot each, in which one takes the place of the other.

use crate::{ledger::now_ms, place::AnyError, worker::GRACE};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::File,
    path::PathBuf,
    process::Stdio,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    sync::Mutex as AsyncMutex,
    time::{sleep, timeout},
};

/// What a worker needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) store: String,
    pub(crate) broker: String,
}

/// A process that runs, for those who send it signals.
#[derive(Clone, Copy, Debug)]
struct Running {
    process: u32,
    pid: Pid,
}

#[derive(Debug)]
struct Slot {
    told: Told,
    child: AsyncMutex<Option<Child>>,
    /// Who stops it, or ends it in good order, waits for who does so now.
    turn: AsyncMutex<()>,
    /// `None` before its process is waited for: a signal never goes to whoever has its number next.
    running: Mutex<Option<Running>>,
}

impl Slot {
    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        locked(&self.running)
    }
}

#[derive(Debug)]
pub(crate) struct Workers {
    slots: Vec<Slot>,
    world: PathBuf,
    log: PathBuf,
    /// The number of the next process.
    next: AtomicU32,
    /// When processes were stopped: process, from and to.
    stops: Mutex<Vec<(u32, u64, u64)>>,
    /// Those that ended by themselves, in words.
    died: Mutex<Vec<String>>,
    /// Those that were told to end, and did not do so in good order.
    ended_badly: Mutex<Vec<String>>,
}

/// A worker that is told to end does so within this, whatever happens around it: its own bound, and some time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(GRACE.as_secs() + 15);

impl Workers {
    pub(crate) async fn start(
        told: Vec<Told>,
        world: PathBuf,
        log: PathBuf,
    ) -> Result<Self, AnyError> {
        let slots = told.into_iter().map(|told| Slot {
            told,
            child: AsyncMutex::default(),
            turn: AsyncMutex::default(),
            running: Mutex::default(),
        });
        let workers = Self {
            slots: slots.collect(),
            world,
            log,
            next: AtomicU32::new(1),
            stops: Mutex::default(),
            died: Mutex::default(),
            ended_badly: Mutex::default(),
        };
        for slot in &workers.slots {
            *slot.child.lock().await = Some(workers.spawn(slot)?);
        }
        Ok(workers)
    }

    fn spawn(&self, slot: &Slot) -> Result<Child, AnyError> {
        let process = self.next.fetch_add(1, Ordering::Relaxed);
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new(std::env::current_exe()?)
            .arg("worker")
            .args(["--store", &slot.told.store, "--broker", &slot.told.broker])
            .arg("--world")
            .arg(&self.world)
            .args(["--process", &process.to_string()])
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            // What is typed at the terminal is for the conductor alone.
            .process_group(0)
            .spawn()?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        *slot.running() = pid.map(|pid| Running { process, pid });
        Ok(child)
    }

    /// SIGKILL; the process that died.
    pub(crate) async fn kill(&self, slot: usize) -> Result<Option<u32>, AnyError> {
        let slot = &self.slots[slot];
        let mut child = slot.child.lock().await;
        let killed = slot.running().take().map(|it| it.process);
        if let Some(child) = &mut *child {
            child.kill().await?;
        }
        *child = Some(self.spawn(slot)?);
        Ok(killed)
    }

    /// SIGSTOP, and SIGCONT later, if nobody has killed it meanwhile; the process that was stopped.
    pub(crate) async fn stop(&self, slot: usize, lasting: Duration) -> Option<u32> {
        let slot = &self.slots[slot];
        let _turn = slot.turn.lock().await;
        let stopped = {
            // Whoever replaces it has done so.
            let _child = slot.child.lock().await;
            let running = slot.running();
            let running = (*running)?;
            kill_process(running.pid, Signal::STOP).ok()?;
            running.process
        };
        let from = now_ms();
        sleep(lasting).await;
        {
            let running = slot.running();
            if let Some(running) = *running
                && running.process == stopped
            {
                let _ = kill_process(running.pid, Signal::CONT);
            }
        }
        locked(&self.stops).push((stopped, from, now_ms()));
        Some(stopped)
    }

    /// Ended in good order, and started anew; the process that ended.
    pub(crate) async fn restart(&self, slot: usize) -> Result<Option<u32>, AnyError> {
        let slot = &self.slots[slot];
        let _turn = slot.turn.lock().await;
        let mut child = slot.child.lock().await;
        let ended = slot.running().map(|it| it.process);
        if let Some(child) = &mut *child {
            self.end_one(slot, child).await?;
        }
        *child = Some(self.spawn(slot)?);
        Ok(ended)
    }

    /// Workers that ended by themselves are told of, and replaced.
    pub(crate) fn tend(&self) -> Result<(), AnyError> {
        for slot in &self.slots {
            // Somebody who ends or kills it has it.
            let Ok(mut child) = slot.child.try_lock() else {
                continue;
            };
            let ended = {
                // Reaped only when nobody can signal it any more.
                let mut running = slot.running();
                let ended = child.as_mut().and_then(|child| child.try_wait().ok()?);
                ended.map(|ended| (ended, running.take()))
            };
            if let Some((ended, running)) = ended {
                let process = running.map_or(0, |it| it.process);
                locked(&self.died).push(format!("process {process} ended by itself: {ended}"));
                *child = Some(self.spawn(slot)?);
            }
        }
        Ok(())
    }

    /// All of them, in good order.
    pub(crate) async fn end(&self) -> Result<(), AnyError> {
        let ends = self
            .slots
            .iter()
            .map(async |slot| match slot.child.lock().await.take() {
                Some(mut child) => self.end_one(slot, &mut child).await,
                None => Ok(()),
            });
        for ended in futures_util::future::join_all(ends).await {
            ended?;
        }
        Ok(())
    }

    /// In good order; killed if it does not end so, which is told.
    async fn end_one(&self, slot: &Slot, child: &mut Child) -> Result<(), AnyError> {
        let process = slot.running().map_or(0, |it| it.process);
        drop(child.stdin.take());
        let ended = timeout(PATIENCE, async {
            // Reaped only when nobody can signal it any more.
            loop {
                {
                    let mut running = slot.running();
                    if let Some(ended) = child.try_wait()? {
                        *running = None;
                        return std::io::Result::Ok(ended);
                    }
                }
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        let why = if let Ok(ended) = ended {
            let ended = ended?;
            if ended.success() {
                return Ok(());
            }
            ended.to_string()
        } else {
            slot.running().take();
            child.kill().await?;
            format!("not within {PATIENCE:?}")
        };
        locked(&self.ended_badly).push(format!(
            "process {process} was told to end, and did not do so in good order: {why}; see workers.log"
        ));
        Ok(())
    }

    /// Those that ended by themselves, in words.
    pub(crate) fn died(&self) -> Vec<String> {
        locked(&self.died).clone()
    }

    /// Those that were told to end, and did not do so in good order, in words.
    pub(crate) fn ended_badly(&self) -> Vec<String> {
        locked(&self.ended_badly).clone()
    }

    pub(crate) fn stops(&self) -> Vec<(u32, u64, u64)> {
        locked(&self.stops).clone()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
