//! Topics, their partitions, and how far each group is in them. No waiting here: whoever calls holds the lock.

use sagaz_core::{
    Event,
    broker::{BrokerError, Malformed},
    store::lane_of,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

type Message = Result<Event, Malformed>;

#[derive(Debug)]
pub(super) struct Topics {
    logs: BTreeMap<String, Vec<Partition>>,
    groups: BTreeMap<String, Group>,
    partitions: u16,
    capacity: usize,
    makes_missing: bool,
    members: u64,
    /// How many messages came, to all topics.
    came: u64,
}

/// A log of messages, of which the first have been dropped.
#[derive(Debug, Default)]
struct Partition {
    /// The offset of the first that is kept.
    base: u64,
    /// Each with its place among those of all topics.
    messages: VecDeque<(u64, Message)>,
    progress: BTreeMap<String, Progress>,
}

/// How far a group is in a partition.
#[derive(Debug, Default)]
struct Progress {
    /// The first offset that was never delivered.
    next: u64,
    /// Given back, with how often they were delivered.
    returned: BTreeMap<u64, u32>,
    /// Delivered and not acknowledged.
    unacked: BTreeMap<u64, Unacked>,
}

#[derive(Debug)]
struct Unacked {
    member: u64,
    deliveries: u32,
}

/// The members of a group, with what each subscribed to.
type Group = BTreeMap<u64, BTreeSet<String>>;

/// A message that a member was given.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) topic: String,
    partition: usize,
    offset: u64,
    member: u64,
}

pub(super) struct Found {
    pub(super) message: Message,
    pub(super) held: Held,
    pub(super) delivered_before: u32,
}

impl Topics {
    pub(super) fn new(partitions: u16, capacity: usize, makes_missing: bool) -> Self {
        Self {
            logs: BTreeMap::new(),
            groups: BTreeMap::new(),
            partitions,
            capacity,
            makes_missing,
            members: 0,
            came: 0,
        }
    }

    pub(super) fn create(&mut self, name: &str) {
        if !self.logs.contains_key(name) {
            let partitions = (0..self.partitions).map(|_| Partition::default());
            self.logs.insert(name.to_owned(), partitions.collect());
        }
    }

    fn find_or_create(&mut self, name: &str) -> Result<(), String> {
        if self.makes_missing {
            self.create(name);
        }
        if self.logs.contains_key(name) {
            return Ok(());
        }
        Err(format!(
            "there is no topic `{name}`; make it, or let the broker make topics"
        ))
    }

    /// Whether there was room.
    pub(super) fn put(&mut self, topic: &str, event: &Event) -> Result<bool, BrokerError> {
        self.find_or_create(topic).map_err(BrokerError::refused)?;
        let kept: usize = self.logs[topic]
            .iter()
            .map(|partition| partition.messages.len())
            .sum();
        let has_room = kept < self.capacity;
        if has_room {
            self.put_anyway(topic, Ok(event.clone()));
        }
        Ok(has_room)
    }

    /// Makes the topic if it is missing, and does not look at what it may keep.
    pub(super) fn put_anyway(&mut self, topic: &str, message: Message) {
        self.create(topic);
        self.came += 1;
        let came = self.came;
        // Those without a key have no order, and are spread.
        let key = message.as_ref().ok().and_then(Event::ordering_key);
        let index = key.map_or_else(
            || usize::try_from(came).unwrap_or_default() % usize::from(self.partitions),
            |key| usize::from(lane_of(key, self.partitions)),
        );
        if let Some(partition) = self
            .logs
            .get_mut(topic)
            .and_then(|topic| topic.get_mut(index))
        {
            partition.messages.push_back((came, message));
        }
    }

    pub(super) fn events(&self, topic: &str) -> Vec<Event> {
        let partitions = self.logs.get(topic).into_iter().flatten();
        let mut events: Vec<_> = partitions
            .flat_map(|partition| &partition.messages)
            .filter_map(|(came, message)| Some((*came, message.as_ref().ok()?)))
            .collect();
        events.sort_unstable_by_key(|(came, _)| *came);
        events.into_iter().map(|(_, event)| event.clone()).collect()
    }

    /// The number of the new member.
    pub(super) fn join(
        &mut self,
        group: &str,
        topics: &[String],
        from_oldest: bool,
    ) -> Result<u64, BrokerError> {
        for topic in topics {
            self.find_or_create(topic).map_err(BrokerError::misused)?;
        }
        for topic in topics {
            for partition in self.logs.get_mut(topic).into_iter().flatten() {
                let next = if from_oldest {
                    partition.base
                } else {
                    partition.end()
                };
                partition
                    .progress
                    .entry(group.to_owned())
                    .or_insert_with(|| Progress {
                        next,
                        ..Progress::default()
                    });
            }
        }
        self.members += 1;
        let topics = topics.iter().cloned().collect();
        self.groups
            .entry(group.to_owned())
            .or_default()
            .insert(self.members, topics);
        Ok(self.members)
    }

    pub(super) fn leave(&mut self, group: &str, member: u64) {
        if let Some(members) = self.groups.get_mut(group) {
            members.remove(&member);
        }
    }

    /// The next message of this member's, of whichever of its partitions has the oldest.
    pub(super) fn take(&mut self, group: &str, member: u64, topics: &[String]) -> Option<Found> {
        let members = self.groups.get(group)?;
        let mut best: Option<(u64, &str, usize, u64)> = None;
        for topic in topics {
            let sharing: Vec<u64> = members
                .iter()
                .filter(|(_, topics)| topics.contains(topic))
                .map(|(member, _)| *member)
                .collect();
            let rank = sharing.iter().position(|it| *it == member)?;
            let own = self.logs.get(topic)?.iter().enumerate();
            for (index, partition) in own.skip(rank).step_by(sharing.len()) {
                let Some((came, offset)) = partition.head(group, member) else {
                    continue;
                };
                if best.is_none_or(|(best, ..)| came < best) {
                    best = Some((came, topic, index, offset));
                }
            }
        }
        let (_, topic, index, offset) = best?;
        let partition = self.logs.get_mut(topic)?.get_mut(index)?;
        let (message, delivered_before) = partition.deliver(group, member, offset)?;
        Some(Found {
            message,
            held: Held {
                topic: topic.to_owned(),
                partition: index,
                offset,
                member,
            },
            delivered_before,
        })
    }

    /// The group is done with the message.
    pub(super) fn settle(&mut self, group: &str, held: &Held) {
        if let Some(partition) = self.partition(held) {
            let progress = partition.progress.get_mut(group);
            if let Some(progress) = progress.filter(|progress| progress.holds(held)) {
                progress.unacked.remove(&held.offset);
            }
            partition.trim();
        }
    }

    /// The message is delivered again, before those that come after it.
    pub(super) fn give_back(&mut self, group: &str, held: &Held) {
        let partition = self.partition(held);
        let progress = partition.and_then(|partition| partition.progress.get_mut(group));
        if let Some(progress) = progress.filter(|progress| progress.holds(held)) {
            let unacked = progress.unacked.remove(&held.offset);
            let deliveries = unacked.map_or(1, |unacked| unacked.deliveries);
            progress.returned.insert(held.offset, deliveries);
        }
    }

    /// The group is done with the message, which goes to the topic of the dead.
    pub(super) fn bury(&mut self, group: &str, held: &Held, dead: Option<&str>) {
        let message = self
            .partition(held)
            .and_then(|partition| partition.message(held.offset).cloned());
        if let (Some(dead), Some(message)) = (dead, message) {
            self.put_anyway(dead, message);
        }
        self.settle(group, held);
    }

    fn partition(&mut self, held: &Held) -> Option<&mut Partition> {
        self.logs.get_mut(&held.topic)?.get_mut(held.partition)
    }
}

impl Partition {
    fn end(&self) -> u64 {
        self.base + self.messages.len() as u64
    }

    fn at(&self, offset: u64) -> Option<&(u64, Message)> {
        let index = usize::try_from(offset.checked_sub(self.base)?).ok()?;
        self.messages.get(index)
    }

    fn message(&self, offset: u64) -> Option<&Message> {
        self.at(offset).map(|(_, message)| message)
    }

    /// When the next message for this member came, and its offset. None while another one holds some.
    fn head(&self, group: &str, member: u64) -> Option<(u64, u64)> {
        let progress = self.progress.get(group)?;
        if progress
            .unacked
            .values()
            .any(|unacked| unacked.member != member)
        {
            return None;
        }
        let returned = progress.returned.keys().next().copied();
        let offset = returned.unwrap_or(progress.next);
        self.at(offset).map(|(came, _)| (*came, offset))
    }

    /// The message, and how often it was delivered before.
    fn deliver(&mut self, group: &str, member: u64, offset: u64) -> Option<(Message, u32)> {
        let message = self.message(offset)?.clone();
        let progress = self.progress.get_mut(group)?;
        let before = progress.returned.remove(&offset).unwrap_or(0);
        progress.next = progress.next.max(offset + 1);
        let unacked = Unacked {
            member,
            deliveries: before + 1,
        };
        progress.unacked.insert(offset, unacked);
        Some((message, before))
    }

    /// Drops what every group has acknowledged.
    fn trim(&mut self) {
        let Some(floor) = self.progress.values().map(Progress::floor).min() else {
            return;
        };
        while self.base < floor && self.messages.pop_front().is_some() {
            self.base += 1;
        }
    }
}

impl Progress {
    /// The first offset that is not acknowledged.
    fn floor(&self) -> u64 {
        let returned = self.returned.keys().next().copied();
        let unacked = self.unacked.keys().next().copied();
        let floor = returned
            .unwrap_or(self.next)
            .min(unacked.unwrap_or(self.next));
        floor.min(self.next)
    }

    fn holds(&self, held: &Held) -> bool {
        self.unacked
            .get(&held.offset)
            .is_some_and(|unacked| unacked.member == held.member)
    }
}
