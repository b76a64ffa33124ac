//! Which messages of which partitions are in whose hands. No I/O.
//!
//! Invariant: what may be committed of a partition is the offset of its oldest message that is not settled, whatever the order in
//! which messages are settled; and a receipt of a partition that was lost since settles nothing.

use sagaz_core::broker::Receipt;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A topic and the number of a partition of it.
pub(super) type Place = (String, i32);

#[derive(Debug)]
pub(super) struct Ledger<M> {
    partitions: BTreeMap<Place, Partition<M>>,
    given: HashMap<Receipt, (Place, i64)>,
    receipts: u64,
}

#[derive(Debug)]
struct Partition<M> {
    /// The offset behind the newest message that has arrived.
    end: i64,
    /// What may be committed already.
    settled_to: i64,
    /// Messages that are not settled, by offset.
    open: BTreeMap<i64, Held<M>>,
    /// Those of them that wait to be given.
    waiting: BTreeSet<i64>,
}

#[derive(Debug)]
struct Held<M> {
    message: M,
    /// How often it was given before.
    given_before: u32,
}

/// A message to be given.
#[derive(Debug)]
pub(super) struct Given<'l, M> {
    pub(super) receipt: Receipt,
    pub(super) place: &'l Place,
    pub(super) message: &'l M,
    /// How often it was given before.
    pub(super) before: u32,
}

/// What settling a message changes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// There is no such message in hand.
    Unknown,
    /// An older message of its partition is still open.
    Waits,
    /// The partition may be committed up to this offset.
    To(Place, i64),
}

impl<M> Default for Ledger<M> {
    fn default() -> Self {
        Self {
            partitions: BTreeMap::new(),
            given: HashMap::new(),
            receipts: 0,
        }
    }
}

impl<M> Ledger<M> {
    /// A message has arrived, and waits to be given.
    pub(super) fn arrived(&mut self, place: Place, offset: i64, message: M) {
        let partition = self.partitions.entry(place).or_insert_with(|| Partition {
            end: offset,
            settled_to: offset,
            open: BTreeMap::new(),
            waiting: BTreeSet::new(),
        });
        // One that came before is known already.
        if offset < partition.end {
            return;
        }
        partition.end = offset + 1;
        let held = Held {
            message,
            given_before: 0,
        };
        partition.open.insert(offset, held);
        partition.waiting.insert(offset);
    }

    /// The next message that waits, the oldest of its partition.
    pub(super) fn give(&mut self) -> Option<Given<'_, M>> {
        let (place, partition) = self
            .partitions
            .iter_mut()
            .find(|(_, partition)| !partition.waiting.is_empty())?;
        let offset = partition.waiting.pop_first()?;
        let held = partition.open.get(&offset)?;
        self.receipts += 1;
        let receipt = Receipt(self.receipts);
        self.given.insert(receipt, (place.clone(), offset));
        Some(Given {
            receipt,
            place,
            message: &held.message,
            before: held.given_before,
        })
    }

    /// A message that was given and not settled, and how often it was given before.
    pub(super) fn given(&self, receipt: Receipt) -> Option<(&M, u32)> {
        let (place, offset) = self.given.get(&receipt)?;
        let held = self.partitions.get(place)?.open.get(offset)?;
        Some((&held.message, held.given_before))
    }

    /// A message is handled, or is a dead letter.
    pub(super) fn settle(&mut self, receipt: Receipt) -> Settled {
        let Some((place, offset)) = self.given.remove(&receipt) else {
            return Settled::Unknown;
        };
        let Some(partition) = self.partitions.get_mut(&place) else {
            return Settled::Unknown;
        };
        partition.open.remove(&offset);
        let oldest = partition.open.first_key_value();
        let settled_to = oldest.map_or(partition.end, |(offset, _)| *offset);
        if settled_to <= partition.settled_to {
            return Settled::Waits;
        }
        partition.settled_to = settled_to;
        Settled::To(place, settled_to)
    }

    /// A message is to be given again; whether it can be.
    pub(super) fn put_back(&mut self, receipt: Receipt) -> bool {
        let Some((place, offset)) = self.given.remove(&receipt) else {
            return false;
        };
        let partition = self.partitions.get_mut(&place);
        let Some(held) = partition.and_then(|partition| {
            partition.waiting.insert(offset);
            partition.open.get_mut(&offset)
        }) else {
            return false;
        };
        held.given_before += 1;
        true
    }

    /// The partition is another's, or begins anew.
    pub(super) fn lose(&mut self, place: &Place) {
        self.partitions.remove(place);
        self.given.retain(|_, (given_of, _)| given_of != place);
    }

    /// How many messages are given and not settled.
    pub(super) fn in_hand(&self) -> usize {
        self.given.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(partition: i32) -> Place {
        ("t".to_owned(), partition)
    }

    fn ledger(offsets: impl IntoIterator<Item = i64>) -> Ledger<i64> {
        let mut ledger = Ledger::default();
        for offset in offsets {
            ledger.arrived(place(0), offset, offset);
        }
        ledger
    }

    fn give(ledger: &mut Ledger<i64>) -> (i64, Receipt) {
        let given = ledger.give().expect("a message waits");
        (*given.message, given.receipt)
    }

    #[test]
    fn no_offset_is_committed_past_a_message_that_is_not_settled() {
        // Offsets have gaps, where transactions end and where a topic was compacted.
        let offsets = [3, 4, 7, 8, 12];
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut ledger = ledger(offsets);
            let mut open: Vec<_> = offsets.map(|_| give(&mut ledger)).into();
            random.shuffle(&mut open);
            let mut committed = 3;
            while let Some((_, receipt)) = open.pop() {
                let oldest = open.iter().map(|(offset, _)| *offset).min().unwrap_or(13);
                match ledger.settle(receipt) {
                    Settled::To(_, offset) => {
                        assert!(offset > committed);
                        committed = offset;
                    }
                    Settled::Waits => {}
                    Settled::Unknown => panic!("it is in hand"),
                }
                assert_eq!(committed, oldest, "seed {seed}");
            }
        }
    }

    #[test]
    fn what_is_put_back_is_given_again_before_what_is_behind_it() {
        let mut ledger = ledger(0..4);
        let (first, receipt) = give(&mut ledger);
        let (second, _) = give(&mut ledger);
        assert!(ledger.put_back(receipt));
        assert!(!ledger.put_back(receipt), "it is not in hand any more");
        let again = ledger.give().expect("it waits");
        assert_eq!((*again.message, again.before), (0, 1));
        assert_eq!((first, second, give(&mut ledger).0), (0, 1, 2));
    }

    #[test]
    fn a_receipt_of_a_lost_partition_settles_nothing() {
        let mut ledger = ledger(0..2);
        ledger.arrived(place(1), 0, 0);
        let (_, lost) = give(&mut ledger);
        ledger.lose(&place(0));
        assert_eq!(ledger.settle(lost), Settled::Unknown);
        // It comes again to the same consumer, from where it was committed.
        ledger.arrived(place(0), 0, 0);
        assert!(ledger.given(lost).is_none());
        assert_eq!(ledger.in_hand(), 0);
        assert_eq!(give(&mut ledger).0, 0);
    }

    #[test]
    fn a_message_that_is_fetched_twice_is_given_once() {
        let mut ledger = ledger([0, 1, 0, 1, 2]);
        let given: Vec<_> =
            std::iter::from_fn(|| ledger.give().map(|given| *given.message)).collect();
        assert_eq!(given, [0, 1, 2]);
    }
}
