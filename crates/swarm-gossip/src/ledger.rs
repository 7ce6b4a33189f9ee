//! A node's own records, and how much of them each other node has.
//!
//! Each change gets the next version. A removal is remembered until every live member has it; members that were away
//! longer get the whole list instead.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use swarm_types::{EndpointRecord, NetworkId, NodeId, Timestamp};

use crate::limits;
use crate::replica::Key;
use crate::wire::{Entry, Word, encoded_len};

/// This node's latest word on one endpoint.
#[derive(Debug, Clone)]
struct Own {
    version: u64,
    /// `None`: it is gone.
    record: Option<EndpointRecord>,
    bytes: usize,
}

/// How much of this node's records a member has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader {
    /// It said that it has all changes up to here.
    pub acknowledged: u64,
    /// All changes up to here were sent to it, or left to others to pass on.
    pub sent: u64,
    /// When to send again unless it has said that it has them.
    pub resend_at: Option<Timestamp>,
    /// The time until then.
    pub wait: Duration,
}

/// A node's own records.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    generation: u64,
    version: u64,
    /// Removals up to here are forgotten.
    floor: u64,
    entries: BTreeMap<Key, Own>,
    /// The keys of `entries` by version.
    order: BTreeMap<u64, Key>,
    /// The removals among them.
    removals: BTreeSet<u64>,
    bytes: usize,
    readers: BTreeMap<NodeId, Reader>,
    resend: Duration,
}

impl Ledger {
    pub(crate) fn new(generation: u64, resend: Duration) -> Self {
        Self {
            generation,
            version: 0,
            floor: 0,
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
            removals: BTreeSet::new(),
            bytes: 0,
            readers: BTreeMap::new(),
            resend,
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &EndpointRecord> {
        self.entries.values().filter_map(|own| own.record.as_ref())
    }

    /// Says that an endpoint is there. False: the record, or the sum of them, is more than others take.
    #[must_use]
    pub(crate) fn publish(&mut self, record: EndpointRecord) -> bool {
        let key = (record.network, record.id.clone());
        let before = self.entries.get(&key);
        if before.is_some_and(|own| own.record.as_ref() == Some(&record)) {
            return true;
        }
        let bytes = encoded_len(&record);
        let (held, held_bytes) = before.map_or((0, 0), |own| (usize::from(own.record.is_some()), own.bytes));
        if !limits::record_is_valid(&record)
            || bytes > limits::MAX_RECORD_BYTES
            || self.entries.len() - self.removals.len() + 1 - held > limits::MAX_RECORDS
            || self.bytes + bytes - held_bytes > limits::MAX_RECORDS_BYTES
        {
            return false;
        }
        self.say(key, Some(record), bytes);
        true
    }

    /// Says that an endpoint is gone.
    pub(crate) fn withdraw(&mut self, key: Key) {
        if self.entries.get(&key).is_some_and(|own| own.record.is_some()) {
            self.say(key, None, 0);
        }
    }

    fn say(&mut self, key: Key, record: Option<EndpointRecord>, bytes: usize) {
        self.version += 1;
        self.bytes += bytes;
        self.order.insert(self.version, key.clone());
        if record.is_none() {
            self.removals.insert(self.version);
        }
        if let Some(before) = self.entries.insert(key, Own { version: self.version, record, bytes }) {
            self.order.remove(&before.version);
            self.removals.remove(&before.version);
            self.bytes -= before.bytes;
        }
        self.collect();
    }

    /// Forgets the removals that every member has, or the oldest if there are too many to keep.
    pub(crate) fn collect(&mut self) {
        let known = self.readers.values().map(|reader| reader.acknowledged).min().unwrap_or(self.version);
        while let Some(version) = self.removals.first().copied() {
            if version > known && self.removals.len() <= limits::MAX_RECORDS {
                break;
            }
            self.removals.remove(&version);
            if let Some(key) = self.order.remove(&version) {
                self.entries.remove(&key);
            }
            self.floor = version;
        }
    }

    /// A new life: all that was said is said anew, and nobody has any of it yet.
    pub(crate) fn begin_life(&mut self, generation: u64) {
        self.generation = generation;
        let members: Vec<NodeId> = self.readers.keys().copied().collect();
        self.readers.clear();
        self.collect();
        members.into_iter().for_each(|member| self.add_reader(member));
    }

    /// A member that has nothing of this yet.
    pub(crate) fn add_reader(&mut self, member: NodeId) {
        let reader = Reader { acknowledged: 0, sent: 0, resend_at: None, wait: self.resend };
        self.readers.insert(member, reader);
    }

    pub(crate) fn remove_reader(&mut self, member: NodeId) {
        self.readers.remove(&member);
        self.collect();
    }

    /// A member says how far it has come. False: that is further than anything that was said.
    #[must_use]
    pub(crate) fn acknowledge(&mut self, now: Timestamp, member: NodeId, complete: u64) -> bool {
        if complete > self.version {
            return false;
        }
        let resend = self.resend;
        let Some(reader) = self.readers.get_mut(&member) else { return true };
        let before = std::mem::replace(&mut reader.acknowledged, complete);
        if complete >= reader.sent {
            (reader.sent, reader.resend_at, reader.wait) = (complete, None, resend);
        } else if complete != before {
            // Less than before: an older message came late, or it has lost what it had, for it held this node to be down.
            (reader.resend_at, reader.wait) = (Some(now.plus(resend)), resend);
        }
        if complete > before {
            self.collect();
        }
        true
    }

    /// Members to which not all changes were sent.
    pub(crate) fn behind(&self) -> Vec<NodeId> {
        let behind = self.readers.iter().filter(|(_, reader)| reader.sent < self.version);
        behind.map(|(member, _)| *member).collect()
    }

    /// Members that have not said in time that they have what was sent.
    pub(crate) fn overdue(&self, now: Timestamp) -> Vec<NodeId> {
        let overdue = self.readers.iter().filter(|(_, reader)| reader.resend_at.is_some_and(|at| at <= now));
        overdue.map(|(member, _)| *member).collect()
    }

    pub(crate) fn next_resend(&self) -> Option<Timestamp> {
        self.readers.values().filter_map(|reader| reader.resend_at).min()
    }

    pub(crate) fn reader(&mut self, member: NodeId) -> Option<&mut Reader> {
        self.readers.get_mut(&member)
    }

    /// Whether every member has the latest word on this endpoint.
    pub(crate) fn acknowledged(&self, network: NetworkId, id: &str) -> bool {
        let Some(own) = self.entries.get(&(network, id.to_owned())) else { return true };
        self.readers.values().all(|reader| reader.acknowledged >= own.version)
    }

    /// The words later than `after`, in order.
    pub(crate) fn listing(&self, after: u64) -> Vec<Entry> {
        let range = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        let keys = self.order.range(range);
        let entries = keys.filter_map(|(version, key)| self.entries.get(key).map(|own| (version, key, own)));
        entries
            .map(|(version, (network, id), own)| Entry {
                version: *version,
                word: own.record.clone().map_or_else(|| Word::Gone(*network, id.clone()), Word::Here),
            })
            .collect()
    }
}
