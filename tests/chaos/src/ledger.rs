//! The ledger: what the world outside was asked for and what it did, in one order, away from every fault.
//!
//! The conductor keeps it. Participants do what is asked once an idempotency key, refuse what comes after its undo, and answer; a worker that is
//! killed between a line and its answer has had an effect that it knows nothing of. Every line is written to a file as well, for
//! people who look for what happened.

use crate::order::{Order, Step};
use sagaz::SagaId;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    time::{Duration, SystemTime},
};

/// A line. Serials grow by one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) serial: u64,
    /// Milliseconds since the Unix epoch, as the store counts too.
    pub(crate) at_ms: u64,
    /// The worker process.
    pub(crate) process: u32,
    pub(crate) id: SagaId,
    pub(crate) what: What,
}

/// What a line says of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum What {
    /// A start was acknowledged to a client.
    Accepted { number: u32 },
    /// An engine took it.
    Claimed { taken_over: bool },
    /// An attempt of a step begins.
    Called { step: Step, attempt: u32 },
    /// Its effect.
    Done { step: Step, call: u64 },
    /// Its effect was there.
    Repeated { step: Step },
    /// Its effect was refused: it has been undone.
    Refused { step: Step },
    /// An attempt to undo a step begins.
    UndoCalled { step: Step, attempt: u32 },
    /// It is undone; whether there was anything to undo.
    Undone { step: Step, was_there: bool },
    /// It was undone already.
    UndoRepeated { step: Step },
    /// Somebody asked to cancel it.
    CancelAsked { reply: String },
    /// Its engine found that another one owns it.
    Lost,
    /// Its end is stored.
    Finished { completed: bool },
    /// It is stuck.
    Stuck { why: String },
}

/// What became of an effect that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Effect {
    Done,
    Repeated,
    Refused,
}

/// The effect that a participant had under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Booking {
    pub(crate) id: SagaId,
    pub(crate) step: Step,
    pub(crate) cents: i64,
    pub(crate) pieces: u32,
    pub(crate) undone: bool,
}

/// Lines, the books that follow from them, and the keys by which they were asked for.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    lines: Vec<Line>,
    /// Effects, by their idempotency keys: under the same key there is one.
    books: BTreeMap<String, Booking>,
    /// The keys under which a step had effects: one, if all is well.
    effects: HashMap<(SagaId, Step), Vec<String>>,
    /// What was undone, also if there was nothing to undo yet.
    undone: HashSet<(SagaId, Step)>,
    /// The key of each step and undo, and of which instance.
    keys: HashMap<String, (SagaId, Step, bool)>,
    named: HashMap<(SagaId, Step, bool), String>,
    /// P3: keys that were not what they were before.
    pub(crate) strange_keys: Vec<(SagaId, String)>,
    file: Option<BufWriter<File>>,
}

/// Who asks for what.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) id: SagaId,
    pub(crate) step: Step,
    /// The idempotency key.
    pub(crate) key: String,
    pub(crate) attempt: u32,
}

impl Ledger {
    pub(crate) fn in_file(path: &Path) -> std::io::Result<Self> {
        Ok(Self {
            file: Some(BufWriter::new(File::create(path)?)),
            ..Self::default()
        })
    }

    pub(crate) fn write(&mut self, process: u32, id: SagaId, what: What) -> u64 {
        let line = Line {
            serial: self.lines.len() as u64 + 1,
            at_ms: now_ms(),
            process,
            id,
            what,
        };
        if let Some(file) = &mut self.file
            && serde_json::to_writer(&mut *file, &line).is_ok()
        {
            // It is for people; what is audited is in memory.
            let _ = file.write_all(b"\n");
        }
        let serial = line.serial;
        self.lines.push(line);
        serial
    }

    fn check_key(&mut self, request: &Request, undo: bool) {
        let place = (request.id, request.step, undo);
        let named = self
            .named
            .entry(place)
            .or_insert_with(|| request.key.clone());
        let owner = self.keys.entry(request.key.clone()).or_insert(place);
        if *named != request.key || *owner != place {
            self.strange_keys.push((request.id, request.key.clone()));
        }
    }

    /// An attempt begins; the serial of its line.
    pub(crate) fn call(&mut self, process: u32, request: &Request) -> u64 {
        self.check_key(request, false);
        let (step, attempt) = (request.step, request.attempt);
        self.write(process, request.id, What::Called { step, attempt })
    }

    /// The effect of a call: once a key, and never after its undo.
    pub(crate) fn take_effect(
        &mut self,
        process: u32,
        request: &Request,
        order: &Order,
        call: u64,
    ) -> Effect {
        let (id, step) = (request.id, request.step);
        let (what, effect) = if self.undone.contains(&(id, step)) {
            (What::Refused { step }, Effect::Refused)
        } else if self.books.contains_key(&request.key) {
            (What::Repeated { step }, Effect::Repeated)
        } else {
            let booking = Booking {
                id,
                step,
                cents: order.cents,
                pieces: order.pieces,
                undone: false,
            };
            self.books.insert(request.key.clone(), booking);
            let keys = self.effects.entry((id, step)).or_default();
            keys.push(request.key.clone());
            (What::Done { step, call }, Effect::Done)
        };
        self.write(process, id, what);
        effect
    }

    pub(crate) fn call_undo(&mut self, process: u32, request: &Request) -> u64 {
        self.check_key(request, true);
        let (step, attempt) = (request.step, request.attempt);
        self.write(process, request.id, What::UndoCalled { step, attempt })
    }

    /// Undoes what a step did, under whatever keys; if there was nothing yet, nothing will come.
    pub(crate) fn undo(&mut self, process: u32, request: &Request) {
        let (id, step) = (request.id, request.step);
        let what = if self.undone.insert((id, step)) {
            let keys = self.effects.get(&(id, step)).map_or(&[][..], Vec::as_slice);
            for key in keys {
                if let Some(booking) = self.books.get_mut(key) {
                    booking.undone = true;
                }
            }
            let was_there = !keys.is_empty();
            What::Undone { step, was_there }
        } else {
            What::UndoRepeated { step }
        };
        self.write(process, id, what);
    }

    /// All of it, at the end.
    pub(crate) fn close(&mut self) -> (Vec<Line>, BTreeMap<String, Booking>) {
        if let Some(mut file) = self.file.take() {
            let _ = file.flush();
        }
        (
            std::mem::take(&mut self.lines),
            std::mem::take(&mut self.books),
        )
    }

    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }
}

/// The time as the stores of this machine have it, to set lines, faults and rows beside each other.
pub(crate) fn now_ms() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "nothing is decided by it: it is compared with the times of stored rows, for people and for figures"
    )]
    let now = SystemTime::now();
    millis(now)
}

pub(crate) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since
        .ok()
        .and_then(|since: Duration| u64::try_from(since.as_millis()).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: SagaId, key: &str) -> Request {
        Request {
            id,
            step: Step::Charge,
            key: key.to_owned(),
            attempt: 1,
        }
    }

    #[test]
    fn an_effect_is_there_once_a_key_and_never_after_its_undo() {
        let (mut ledger, id) = (Ledger::default(), SagaId::new());
        let (request, order) = (request(id, "key"), Order::new(1, 1, false));
        let call = ledger.call(1, &request);
        let take = |ledger: &mut Ledger| ledger.take_effect(1, &request, &order, call);
        assert_eq!(take(&mut ledger), Effect::Done);
        assert_eq!(take(&mut ledger), Effect::Repeated);
        ledger.undo(1, &request);
        ledger.undo(1, &request);
        assert_eq!(take(&mut ledger), Effect::Refused);
        let (lines, books) = ledger.close();
        let step = Step::Charge;
        let was_there = true;
        let what: Vec<_> = lines.into_iter().map(|line| line.what).collect();
        assert_eq!(
            what,
            [
                What::Called { step, attempt: 1 },
                What::Done { step, call },
                What::Repeated { step },
                What::Undone { step, was_there },
                What::UndoRepeated { step },
                What::Refused { step },
            ]
        );
        assert!(books["key"].undone);
        assert_eq!(books.len(), 1);
    }

    #[test]
    fn an_effect_under_another_key_is_another_effect_and_the_undo_takes_both_back() {
        let (mut ledger, id) = (Ledger::default(), SagaId::new());
        let order = Order::new(1, 1, false);
        for key in ["key", "another"] {
            let effect = ledger.take_effect(1, &request(id, key), &order, 1);
            assert_eq!(effect, Effect::Done);
        }
        ledger.undo(1, &request(id, "undo"));
        let (_, books) = ledger.close();
        assert_eq!(books.len(), 2);
        assert!(books.values().all(|booking| booking.undone));
    }

    #[test]
    fn an_undo_without_an_effect_keeps_it_from_coming() {
        let (mut ledger, id) = (Ledger::default(), SagaId::new());
        let (request, order) = (request(id, "key"), Order::new(1, 1, false));
        ledger.undo(1, &request);
        let effect = ledger.take_effect(1, &request, &order, 1);
        assert_eq!(effect, Effect::Refused);
    }

    #[test]
    fn p3_a_key_that_changes_and_one_of_two_instances_are_strange() {
        let (mut ledger, one, two) = (Ledger::default(), SagaId::new(), SagaId::new());
        ledger.call(1, &request(one, "key"));
        ledger.call(2, &request(one, "key"));
        assert!(ledger.strange_keys.is_empty());
        ledger.call(1, &request(one, "another"));
        ledger.call(1, &request(two, "key"));
        // The undo of a step has a key of its own.
        ledger.call_undo(1, &request(one, "key"));
        assert_eq!(ledger.strange_keys.len(), 3);
    }
}
