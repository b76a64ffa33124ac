//! Which partition an instance is in, and the hash tags of the partitions.
//!
//! Invariant: everything of an instance (its hash, its start key, its places in the ordered sets) is in one partition, and so in
//! one slot of a cluster: the last two bytes of its id tell which. The partition of a start key is a hash of it, so an instance that
//! has one takes an id that fits. What an instance publishes is where it is; other events, and what their consumers record, are in the
//! partition of their key.

use sagaz_core::{Event, SagaId};
use std::fmt::Write;

/// The most partitions: a look at all of them is one batch of requests.
pub(super) const PARTITIONS_MAX: u16 = 1024;

/// The keys of one store.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) prefix: String,
    /// Of the leases, and of what is stored about the store itself.
    pub(super) center: String,
    /// Of the partitions, in order.
    pub(super) tags: Vec<String>,
}

impl Space {
    pub(super) fn new(prefix: String, partitions: u16) -> Self {
        Self {
            center: format!("{{{prefix}:engines}}"),
            tags: (0..partitions.max(1))
                .map(|number| format!("{{{prefix}:{number}}}"))
                .collect(),
            prefix,
        }
    }

    /// The partition of an instance.
    pub(super) fn of(&self, id: SagaId) -> usize {
        usize::from(place(id)) % self.tags.len()
    }

    pub(super) fn tag(&self, id: SagaId) -> &str {
        &self.tags[self.of(id)]
    }

    /// The partition of a start key. It must never change: FNV-1a of the saga after its length, and the key.
    pub(super) fn of_key(&self, saga: &str, start_key: &str) -> usize {
        let length = (saga.len() as u64).to_be_bytes();
        self.of_hash(&[&length, saga.as_bytes(), start_key.as_bytes()])
    }

    /// The partition of an event that no instance published: of its key, or if it has none, of its id. It must never change.
    pub(super) fn of_event(&self, event: &Event) -> usize {
        let text = event
            .ordering_key()
            .unwrap_or_else(|| event.event_id().as_str());
        self.of_text(text)
    }

    /// The partition of the events of a key, and of what is written with them.
    pub(super) fn of_text(&self, key: &str) -> usize {
        self.of_hash(&[key.as_bytes()])
    }

    fn of_hash(&self, parts: &[&[u8]]) -> usize {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in parts.iter().copied().flatten() {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        // The last letters reach only some bits of FNV: mixed, as MurmurHash3 ends.
        for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
            hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
        }
        hash ^= hash >> 33;
        usize::try_from(hash % self.tags.len() as u64).unwrap_or_default()
    }

    /// A new id in the partition of the start key.
    pub(super) fn new_id(&self, saga: &str, start_key: Option<&str>) -> SagaId {
        let id = SagaId::new();
        let Some(start_key) = start_key else {
            return id;
        };
        let (wanted, partitions) = (self.of_key(saga, start_key), self.tags.len());
        let random = usize::from(place(id));
        let fitting = random - random % partitions + wanted;
        let fitting = u16::try_from(fitting)
            .or_else(|_| u16::try_from(fitting - partitions))
            .unwrap_or_default();
        // The last bytes of a version 7 are random; what makes ids grow is before them.
        let mut bytes = *id.as_uuid().as_bytes();
        bytes[14..].copy_from_slice(&fitting.to_be_bytes());
        SagaId::from(uuid::Uuid::from_bytes(bytes))
    }
}

fn place(id: SagaId) -> u16 {
    let uuid = id.as_uuid();
    let bytes = uuid.as_bytes();
    u16::from_be_bytes([bytes[14], bytes[15]])
}

/// The names of a version's sets of instances that nobody owns, as `due` in `instance.lua` makes them.
pub(super) fn due_sets(version: u32, saga: &str) -> [String; 2] {
    [":due:", ":tired:"].map(|kind| {
        let mut name = String::with_capacity(kind.len() + saga.len() + 12);
        let _ = write!(name, "{kind}{version}:{saga}");
        name
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn an_id_is_in_the_partition_of_its_start_key() {
        for partitions in [1, 2, 3, 64, 100, PARTITIONS_MAX] {
            let space = Space::new("sagaz".to_owned(), partitions);
            let mut used = BTreeSet::new();
            let mut last = None;
            for n in 0..2_000 {
                let key = format!("order-{n}");
                let id = space.new_id("shop", Some(&key));
                assert_eq!(space.of(id), space.of_key("shop", &key));
                assert!(last < Some(id), "ids grow");
                last = Some(id);
                used.insert(space.of(id));
            }
            let half = usize::from(partitions).div_ceil(2);
            assert!(used.len() >= half, "{} of {partitions}", used.len());
        }
    }

    /// Another hash would look for what is stored in another place.
    #[test]
    fn p10_the_partition_of_a_start_key_never_changes() {
        let space = Space::new("sagaz".to_owned(), 64);
        let found = ["order-1", "order-2", "", "\0"].map(|key| space.of_key("shop", key));
        assert_eq!(found, [52, 61, 19, 15]);
    }

    /// The same: a repeated delivery would not find the record of the first.
    #[test]
    fn p11_the_partition_of_an_event_never_changes() {
        let space = Space::new("sagaz".to_owned(), 64);
        let found = ["customer-1", "customer-2", "", "\0"].map(|key| space.of_text(key));
        assert_eq!(found, [26, 51, 38, 59]);
        let event = Event::new("paid", &1).id("event-1");
        assert_eq!(space.of_event(&event), space.of_text("event-1"));
        assert_eq!(space.of_event(&event.key("customer-1")), found[0]);
    }
}
