//! How long it took until things went on, from times of rows, lines and faults on one machine's clock.

use crate::{audit::Evidence, faults::Injected, ledger::What, schedule::Fault};
use sagaz::{InstanceState, SagaId};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
    time::Duration,
};

/// Median, 95th percentile and maximum, as cells of a table.
pub(super) struct Times(Vec<u64>);

impl Times {
    pub(super) fn of(mut millis: Vec<u64>) -> Self {
        millis.sort_unstable();
        Self(millis)
    }

    fn at(&self, percent: usize) -> Option<u64> {
        let last = self.0.len().checked_sub(1)?;
        self.0.get((last * percent).div_ceil(100)).copied()
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, percent) in [50, 95, 100].into_iter().enumerate() {
            if nth > 0 {
                f.write_str(" | ")?;
            }
            match self.at(percent) {
                Some(millis) => write!(f, "{:.2} s", Duration::from_millis(millis).as_secs_f64())?,
                None => f.write_str("–")?,
            }
        }
        Ok(())
    }
}

/// When instances completed, in order.
pub(super) fn completed(evidence: &Evidence) -> Vec<u64> {
    let completed = evidence.instances.iter();
    let completed = completed.filter(|it| it.state == InstanceState::Completed);
    let mut completed: Vec<u64> = completed.map(|it| it.updated_ms).collect();
    completed.sort_unstable();
    completed
}

pub(super) fn gaps(completed: &[u64]) -> Vec<u64> {
    completed.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// From the end of each fault, or from a kill, to the next instance that completed.
pub(super) fn next_completed(completed: &[u64], faults: &[&Injected]) -> Times {
    let times = faults.iter().filter_map(|fault| {
        // A killed process is replaced at once, and that takes no time of the fault.
        let over = match fault.fault {
            Fault::KillWorker { .. } | Fault::RestartWorker { .. } => fault.began_ms,
            _ => fault.ended_ms,
        };
        let next = completed.partition_point(|at| *at < over);
        completed.get(next).map(|at| at - over)
    });
    Times::of(times.collect())
}

/// What instances went through.
pub(super) struct Lived {
    /// A fault of any kind, of the whole or of a part, while they were unfinished.
    pub(super) at_least_one: usize,
    /// The process that owned them was killed.
    pub(super) orphaned: usize,
}

pub(super) fn lived_through(evidence: &Evidence, faults: &[Injected]) -> Lived {
    let began = first_lines(evidence);
    let at_least_one = evidence.instances.iter().filter(|instance| {
        let Some(began) = began.get(&instance.id) else {
            return false;
        };
        faults
            .iter()
            .any(|it| it.began_ms <= instance.updated_ms && it.ended_ms >= *began)
    });
    let orphaned: HashSet<SagaId> = orphaned(evidence, faults)
        .into_iter()
        .map(|it| it.0)
        .collect();
    Lived {
        at_least_one: at_least_one.count(),
        orphaned: orphaned.len(),
    }
}

fn first_lines(evidence: &Evidence) -> HashMap<SagaId, u64> {
    let mut first = HashMap::new();
    for line in &evidence.lines {
        first.entry(line.id).or_insert(line.at_ms);
    }
    first
}

/// From each kill of an owner to the end of what it owned.
pub(super) fn orphans(evidence: &Evidence, faults: &[Injected]) -> Vec<u64> {
    let orphaned = orphaned(evidence, faults);
    orphaned.into_iter().map(|(_, millis)| millis).collect()
}

/// Instances of each process that was killed, and how long after it they ended. The last process that an unfinished instance has a
/// line of is its owner.
fn orphaned(evidence: &Evidence, faults: &[Injected]) -> Vec<(SagaId, u64)> {
    let ended: HashMap<SagaId, u64> = evidence
        .instances
        .iter()
        .map(|instance| (instance.id, instance.updated_ms))
        .collect();
    let mut kills: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for fault in faults {
        if let (Fault::KillWorker { .. }, Some(process)) = (fault.fault, fault.process) {
            kills.entry(fault.began_ms).or_default().push(process);
        }
    }
    let mut owners: HashMap<SagaId, u32> = HashMap::new();
    let mut owned: HashMap<u32, BTreeSet<SagaId>> = HashMap::new();
    let mut orphaned = Vec::new();
    let mut lines = evidence.lines.iter().peekable();
    for (at, processes) in kills {
        while let Some(line) = lines.next_if(|line| line.at_ms <= at) {
            let is_owners = !matches!(
                line.what,
                What::CancelAsked { .. } | What::Lost | What::Accepted { .. }
            );
            // Who acknowledges a start owns it, unless somebody else was seen with it before.
            let is_first = matches!(line.what, What::Accepted { .. });
            if is_owners || is_first && !owners.contains_key(&line.id) {
                if let Some(before) = owners.insert(line.id, line.process) {
                    owned.entry(before).or_default().remove(&line.id);
                }
                owned.entry(line.process).or_default().insert(line.id);
            }
        }
        for process in processes {
            for id in owned.remove(&process).unwrap_or_default() {
                owners.remove(&id);
                if let Some(ended) = ended.get(&id).filter(|ended| **ended > at) {
                    orphaned.push((id, ended - at));
                }
            }
        }
    }
    orphaned
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{audit::Instance, ledger::Line, order::Order};

    fn fault(fault: Fault, began_ms: u64, ended_ms: u64, process: Option<u32>) -> Injected {
        Injected {
            fault,
            began_ms,
            ended_ms,
            process,
            note: String::new(),
        }
    }

    fn ended(id: SagaId, at: u64) -> Instance {
        let order = Order::new(1, 1, false);
        Instance {
            id,
            start_key: Some(order.start_key()),
            order,
            saga: order.saga.name().to_owned(),
            state: InstanceState::Completed,
            updated_ms: at,
            owners: 1,
            steps: Vec::new(),
        }
    }

    fn line(at_ms: u64, process: u32, id: SagaId, what: What) -> Line {
        Line {
            serial: at_ms,
            at_ms,
            process,
            id,
            what,
        }
    }

    #[test]
    fn times_are_median_95_percent_and_maximum() {
        let times = Times::of((1..=100).map(|nth| nth * 10).collect());
        assert_eq!(times.to_string(), "0.51 s | 0.96 s | 1.00 s");
        assert_eq!(Times::of(Vec::new()).to_string(), "– | – | –");
    }

    #[test]
    fn the_next_completion_counts_from_the_end_of_a_fault_and_from_a_kill() {
        let completed = [100, 400, 900];
        let hold = fault(
            Fault::FillDisk {
                lasting: Duration::ZERO,
            },
            50,
            350,
            None,
        );
        let kill = fault(Fault::KillWorker { slot: 0 }, 50, 350, Some(1));
        let late = fault(Fault::KillWorker { slot: 0 }, 901, 902, Some(2));
        let times = |faults: &[&Injected]| next_completed(&completed, faults).0;
        assert_eq!(times(&[&hold]), [50]);
        assert_eq!(times(&[&kill]), [50]);
        assert_eq!(times(&[&hold, &kill, &late]), [50, 50]);
    }

    #[test]
    fn what_a_killed_process_owned_last_and_had_not_ended_is_orphaned() {
        let [ours, taken, over] = [SagaId::new(), SagaId::new(), SagaId::new()];
        let number = 1;
        let evidence = Evidence {
            instances: vec![ended(ours, 700), ended(taken, 800), ended(over, 15)],
            lines: vec![
                line(10, 1, ours, What::Accepted { number }),
                line(11, 1, taken, What::Accepted { number }),
                line(12, 1, over, What::Accepted { number }),
                line(20, 2, taken, What::Claimed { taken_over: true }),
            ],
            ..Evidence::default()
        };
        let kill = fault(Fault::KillWorker { slot: 0 }, 100, 101, Some(1));
        assert_eq!(orphans(&evidence, std::slice::from_ref(&kill)), [600]);
        assert_eq!(lived_through(&evidence, &[kill]).orphaned, 1);
    }
}
