//! Which fault, when: all of it follows from a seed.
//!
//! Faults of different kinds overlap as they fall. Those of one kind that cannot happen twice at once, to one server or one process, wait
//! for each other when they are carried out.

use std::{fmt, time::Duration};

/// Something that happens to the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL, and a new process takes the place.
    KillWorker { slot: usize },
    /// SIGSTOP, and SIGCONT after this, which may be later than its lease.
    StopWorker { slot: usize, lasting: Duration },
    /// Ended in good order, and started anew.
    RestartWorker { slot: usize },
    /// SIGKILL, and started again on what is left.
    KillServer { whose: Whose, down: Duration },
    /// All connections that there are end: with a reset, or in good order.
    Cut { way: Way, reset: bool },
    /// Each piece of data is late by up to `by`.
    Delay {
        way: Way,
        by: Duration,
        lasting: Duration,
    },
    /// Nothing gets through in a direction; then it arrives, or the connections are reset.
    Hold {
        way: Way,
        direction: Direction,
        lasting: Duration,
        broken: bool,
    },
    /// New connections are reset, and so are those that there are.
    Refuse { way: Way, lasting: Duration },
    /// The store's disk is full to the last byte.
    FillDisk { lasting: Duration },
    /// Somebody holds a snapshot and locks of rows.
    LongTransaction { lasting: Duration },
}

/// Whose server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    Store,
    Broker,
}

/// Between which workers and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) whose: Whose,
    /// `None`: all workers.
    pub(crate) slot: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Up,
    Down,
    Both,
}

/// What a run can do, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    pub(crate) seed: u64,
    pub(crate) lasting: Duration,
    pub(crate) workers: usize,
    /// The store has a server, that can be killed and has connections.
    pub(crate) store_server: bool,
    /// The broker's server is another one.
    pub(crate) broker_server: bool,
    pub(crate) disk: bool,
    pub(crate) long_transactions: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) at: Duration,
    pub(crate) fault: Fault,
}

/// A kind of fault. Its number is part of the seed of its faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    KillWorker = 1,
    StopWorker,
    RestartWorker,
    KillStore,
    KillBroker,
    Cut,
    Delay,
    Hold,
    Refuse,
    FillDisk,
    LongTransaction,
}

impl Kind {
    pub(crate) const ALL: [Self; 11] = [
        Self::KillWorker,
        Self::StopWorker,
        Self::RestartWorker,
        Self::KillStore,
        Self::KillBroker,
        Self::Cut,
        Self::Delay,
        Self::Hold,
        Self::Refuse,
        Self::FillDisk,
        Self::LongTransaction,
    ];

    /// Its name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::KillWorker => "worker killed",
            Self::StopWorker => "worker stopped and continued",
            Self::RestartWorker => "worker restarted in good order",
            Self::KillStore => "store's server killed",
            Self::KillBroker => "broker's server killed",
            Self::Cut => "connections cut",
            Self::Delay => "connections delayed",
            Self::Hold => "connections held",
            Self::Refuse => "connections refused",
            Self::FillDisk => "disk full",
            Self::LongTransaction => "long transaction",
        }
    }

    /// The mean of the time between two of the kind, in seconds.
    fn mean(self) -> f64 {
        match self {
            Self::KillWorker => 14.0,
            Self::StopWorker => 20.0,
            Self::RestartWorker => 75.0,
            Self::KillStore => 80.0,
            Self::KillBroker => 110.0,
            Self::Cut => 12.0,
            Self::Delay => 25.0,
            Self::Hold => 22.0,
            Self::Refuse => 35.0,
            Self::FillDisk => 150.0,
            Self::LongTransaction => 40.0,
        }
    }

    /// The mean is at most this share of the run: a short one has at least one or two of each, and servers that are up most of the
    /// time.
    fn share(self) -> f64 {
        match self {
            Self::KillStore | Self::KillBroker | Self::FillDisk => 0.8,
            _ => 0.4,
        }
    }

    fn is_possible(self, scope: &Scope) -> bool {
        match self {
            Self::KillStore => scope.store_server,
            Self::KillBroker => scope.broker_server,
            Self::FillDisk => scope.disk && scope.store_server,
            Self::LongTransaction => scope.long_transactions,
            _ => true,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Fault {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::KillWorker { .. } => Kind::KillWorker,
            Self::StopWorker { .. } => Kind::StopWorker,
            Self::RestartWorker { .. } => Kind::RestartWorker,
            Self::KillServer { whose, .. } => match whose {
                Whose::Store => Kind::KillStore,
                Whose::Broker => Kind::KillBroker,
            },
            Self::Cut { .. } => Kind::Cut,
            Self::Delay { .. } => Kind::Delay,
            Self::Hold { .. } => Kind::Hold,
            Self::Refuse { .. } => Kind::Refuse,
            Self::FillDisk { .. } => Kind::FillDisk,
            Self::LongTransaction { .. } => Kind::LongTransaction,
        }
    }
}

/// All faults of a run, in their order.
pub(crate) fn schedule(scope: &Scope) -> Vec<Planned> {
    let mut plan = Vec::new();
    let kinds = Kind::ALL.into_iter();
    for kind in kinds.filter(|kind| kind.is_possible(scope)) {
        // Each kind has numbers of its own, so that one that is impossible here does not change the others.
        let mut rng = fastrand::Rng::with_seed(scope.seed ^ (kind as u64) << 40);
        let _ = (rng.u64(..), rng.u64(..));
        let lasting = scope.lasting.as_secs_f64();
        let mean = kind.mean().min(lasting * kind.share());
        let mut at = lasting * (0.03 + 0.5 * rng.f64() * (mean / lasting).min(1.0));
        // The last ones end in the run.
        while at < lasting * 0.97 {
            plan.push(Planned {
                at: Duration::from_secs_f64(at),
                fault: draw(kind, &mut rng, scope),
            });
            at += mean * (0.15 - rng.f64().max(1e-9).ln() * 0.85);
        }
    }
    plan.sort_by_key(|planned| planned.at);
    plan
}

fn draw(kind: Kind, rng: &mut fastrand::Rng, scope: &Scope) -> Fault {
    let slot = rng.usize(0..scope.workers);
    let lasting = millis(rng, 1_000, 8_000);
    match kind {
        Kind::KillWorker => Fault::KillWorker { slot },
        Kind::StopWorker => Fault::StopWorker {
            slot,
            lasting: millis(rng, 500, 9_000),
        },
        Kind::RestartWorker => Fault::RestartWorker { slot },
        Kind::KillStore => Fault::KillServer {
            whose: Whose::Store,
            down: millis(rng, 0, 5_000),
        },
        Kind::KillBroker => Fault::KillServer {
            whose: Whose::Broker,
            down: millis(rng, 0, 5_000),
        },
        Kind::Cut => Fault::Cut {
            way: way(rng, scope),
            reset: rng.bool(),
        },
        Kind::Delay => Fault::Delay {
            way: way(rng, scope),
            by: millis(rng, 10, 400),
            lasting,
        },
        Kind::Hold => Fault::Hold {
            way: way(rng, scope),
            direction: match rng.u8(0..3) {
                0 => Direction::Up,
                1 => Direction::Down,
                _ => Direction::Both,
            },
            lasting: millis(rng, 1_000, 12_000),
            broken: rng.u8(0..3) == 0,
        },
        Kind::Refuse => Fault::Refuse {
            way: way(rng, scope),
            lasting: millis(rng, 500, 5_000),
        },
        Kind::FillDisk => Fault::FillDisk {
            lasting: millis(rng, 2_000, 6_000),
        },
        Kind::LongTransaction => Fault::LongTransaction {
            lasting: millis(rng, 4_000, 20_000),
        },
    }
}

fn millis(rng: &mut fastrand::Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.u64(from..to))
}

/// Most often of one worker.
fn way(rng: &mut fastrand::Rng, scope: &Scope) -> Way {
    let whose = if !scope.store_server || rng.u8(0..5) < 2 {
        Whose::Broker
    } else {
        Whose::Store
    };
    let slot = rng.usize(0..scope.workers);
    Way {
        whose,
        slot: (rng.u8(0..4) != 0).then_some(slot),
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match self.whose {
            Whose::Store => "store",
            Whose::Broker => "broker",
        };
        match self.slot {
            Some(slot) => write!(f, "of slot {slot} to the {whose}"),
            None => write!(f, "of all to the {whose}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind())?;
        match self {
            Self::KillWorker { slot } | Self::RestartWorker { slot } => write!(f, ": slot {slot}"),
            Self::StopWorker { slot, lasting } => write!(f, ": slot {slot}, for {lasting:?}"),
            Self::KillServer { down, .. } => write!(f, ": down for {down:?} and its start"),
            Self::Cut { way, reset } => {
                let how = if *reset { "reset" } else { "closed" };
                write!(f, ": those {way}, {how}")
            }
            Self::Delay { way, by, lasting } => {
                write!(f, ": those {way}, by up to {by:?}, for {lasting:?}")
            }
            Self::Hold {
                way,
                direction,
                lasting,
                broken,
            } => {
                let then = if *broken {
                    "then reset"
                } else {
                    "then delivered"
                };
                write!(f, ": those {way}, {direction:?}, for {lasting:?}, {then}")
            }
            Self::Refuse { way, lasting } => write!(f, ": those {way}, for {lasting:?}"),
            Self::FillDisk { lasting } | Self::LongTransaction { lasting } => {
                write!(f, ": for {lasting:?}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn scope(seed: u64, minutes: u64) -> Scope {
        Scope {
            seed,
            lasting: Duration::from_mins(minutes),
            workers: 4,
            store_server: true,
            broker_server: true,
            disk: true,
            long_transactions: true,
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_faults_and_another_one_gives_others() {
        assert_eq!(schedule(&scope(7, 2)), schedule(&scope(7, 2)));
        assert_ne!(schedule(&scope(7, 2)), schedule(&scope(8, 2)));
    }

    #[test]
    fn a_run_of_two_minutes_has_every_kind() {
        for seed in 0..200 {
            let plan = schedule(&scope(seed, 2));
            let kinds: BTreeSet<_> = plan.iter().map(|it| it.fault.kind()).collect();
            assert_eq!(kinds, BTreeSet::from(Kind::ALL), "seed {seed}");
        }
    }

    #[test]
    fn what_is_impossible_is_left_out_and_the_rest_stays_as_it_is() {
        let all = schedule(&scope(7, 10));
        let some = schedule(&Scope {
            disk: false,
            ..scope(7, 10)
        });
        let without: Vec<_> = all
            .into_iter()
            .filter(|it| !matches!(it.fault, Fault::FillDisk { .. }))
            .collect();
        assert_eq!(some, without);
    }
}
