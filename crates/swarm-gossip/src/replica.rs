//! What a node knows of another node's records.
//!
//! The owner numbers its changes. A node knows all changes up to [`Replica::complete`], and maybe some later ones that
//! overtook others on the way. Nothing that a node once knew is undone by what arrives late: a word is taken only if it
//! is later than `complete` and than the word on the same endpoint before it.

use std::collections::{BTreeMap, BTreeSet};

use swarm_types::{EndpointRecord, NetworkId, Timestamp};

use crate::limits;
use crate::wire::{Delta, Entry, Word, encoded_len};

/// An endpoint: its network, and its id there.
pub(crate) type Key = (NetworkId, String);

/// The most stretches of changes that are remembered as known beyond a gap.
const MAX_AHEAD: usize = 64;

/// What changed for this node's user.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    Changed(EndpointRecord),
    Removed(Key),
}

/// The latest known word on one endpoint.
#[derive(Debug, Clone)]
struct Held {
    generation: u64,
    version: u64,
    /// `None`: it is gone.
    record: Option<EndpointRecord>,
    /// The record's encoded length.
    bytes: usize,
}

/// A word that is news.
struct Fresh {
    version: u64,
    key: Key,
    record: Option<EndpointRecord>,
    bytes: usize,
}

impl Fresh {
    fn new(Entry { version, word }: Entry) -> Self {
        let key = word.key();
        match word {
            Word::Here(record) => Self { version, key, bytes: encoded_len(&record), record: Some(record) },
            Word::Gone(..) => Self { version, key, bytes: 0, record: None },
        }
    }
}

/// What is known of one owner's records.
#[derive(Debug, Clone)]
pub(crate) struct Replica {
    generation: u64,
    complete: u64,
    /// Removals up to here are no longer held.
    floor: u64,
    /// Stretches beyond a gap of which all changes are known: `after` to `through`.
    ahead: BTreeMap<u64, u64>,
    entries: BTreeMap<Key, Held>,
    bytes: usize,
    /// When the records of the owner's earlier lives go, if it has said nothing else of them by then.
    sweep_at: Option<Timestamp>,
}

/// What came of a delta.
#[derive(Debug, PartialEq)]
pub(crate) enum Applied {
    /// It goes beyond what one owner may say: nothing changed.
    Refused,
    /// It said nothing new.
    Known,
    /// It was news, with these visible changes.
    News(Vec<Change>),
}

impl Replica {
    pub(crate) fn new(generation: u64) -> Self {
        Self {
            generation,
            complete: 0,
            floor: 0,
            ahead: BTreeMap::new(),
            entries: BTreeMap::new(),
            bytes: 0,
            sweep_at: None,
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn complete(&self) -> u64 {
        self.complete
    }

    /// Removals up to here are forgotten: who knows less needs the whole list.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    pub(crate) fn sweep_at(&self) -> Option<Timestamp> {
        self.sweep_at
    }

    /// The owner lives anew. What it said before stands until `sweep_at`, so that a daemon's restart, which its
    /// containers outlive, disturbs nobody.
    pub(crate) fn begin_life(&mut self, generation: u64, sweep_at: Timestamp) {
        self.entries.retain(|_, held| held.record.is_some());
        debug_assert!(generation > self.generation, "lives go on");
        self.generation = generation;
        (self.complete, self.floor) = (0, 0);
        self.ahead.clear();
        self.sweep_at = (!self.entries.is_empty()).then_some(sweep_at);
    }

    /// Removes what only earlier lives said.
    pub(crate) fn sweep(&mut self) -> Vec<Change> {
        self.sweep_at = None;
        let generation = self.generation;
        self.remove_where(|_, held| held.generation < generation)
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &EndpointRecord> {
        self.entries.values().filter_map(|held| held.record.as_ref())
    }

    /// Takes a delta of the owner's present life, which the caller has checked.
    pub(crate) fn apply(&mut self, delta: Delta) -> Applied {
        let Delta { after, through, whole, entries, .. } = delta;
        let whole = whole && through > self.complete;
        // A whole list names what is there as of `through`: what else is held of that time is gone.
        let listed: Option<BTreeSet<Key>> = whole.then(|| entries.iter().map(|entry| entry.word.key()).collect());
        let generation = self.generation;
        let dead = |key: &Key, held: &Held| {
            let unlisted = listed.as_ref().is_some_and(|listed| !listed.contains(key));
            unlisted && held.generation == generation && held.version <= through
        };
        let fresh: Vec<Fresh> = entries.into_iter().filter(|entry| self.is_fresh(entry)).map(Fresh::new).collect();
        if !self.has_room(&fresh, dead) {
            return Applied::Refused;
        }
        let mut changes = self.remove_where(dead);
        let mut news = !fresh.is_empty();
        changes.extend(fresh.into_iter().filter_map(|fresh| self.enter(fresh)));
        news |= self.advance(if whole { 0 } else { after }, through);
        if whole {
            self.forget(through);
        }
        if news { Applied::News(changes) } else { Applied::Known }
    }

    /// Whether a word is later than what is known.
    fn is_fresh(&self, entry: &Entry) -> bool {
        let later = |held: &Held| (held.generation, held.version) < (self.generation, entry.version);
        entry.version > self.complete && self.entries.get(&entry.word.key()).is_none_or(later)
    }

    /// Whether the owner stays within its limits if these words come and the dead go.
    fn has_room(&self, fresh: &[Fresh], dead: impl Fn(&Key, &Held) -> bool) -> bool {
        let within = |count: usize, bytes: usize| count <= limits::MAX_ENTRIES && bytes <= limits::MAX_RECORDS_BYTES;
        let added: usize = fresh.iter().map(|fresh| fresh.bytes).sum();
        if fresh.iter().any(|fresh| fresh.bytes > limits::MAX_RECORD_BYTES) {
            return false;
        }
        if within(self.entries.len() + fresh.len(), self.bytes + added) {
            return true;
        }
        // Only now it matters what goes: the dead, the replaced, and earlier lives' records, which do not count.
        let replaced: BTreeSet<&Key> = fresh.iter().map(|fresh| &fresh.key).collect();
        let stays = |(key, held): &(&Key, &Held)| {
            held.generation == self.generation && !dead(key, held) && !replaced.contains(key)
        };
        let (mut count, mut bytes) = (fresh.len(), added);
        for (_, held) in self.entries.iter().filter(stays) {
            (count, bytes) = (count + 1, bytes + held.bytes);
        }
        within(count, bytes)
    }

    fn remove_where(&mut self, gone: impl Fn(&Key, &Held) -> bool) -> Vec<Change> {
        let keys: Vec<Key> =
            self.entries.iter().filter(|(key, held)| gone(key, held)).map(|(key, _)| key.clone()).collect();
        let mut changes = Vec::new();
        for key in keys {
            let Some(held) = self.entries.remove(&key) else { continue };
            self.bytes -= held.bytes;
            changes.extend(held.record.map(|_| Change::Removed(key)));
        }
        changes
    }

    fn enter(&mut self, fresh: Fresh) -> Option<Change> {
        let Fresh { version, key, record, bytes } = fresh;
        let held = Held { generation: self.generation, version, record: record.clone(), bytes };
        let before = self.entries.insert(key.clone(), held);
        self.bytes = self.bytes + bytes - before.as_ref().map_or(0, |held| held.bytes);
        let before = before.and_then(|held| held.record);
        match (before, record) {
            (before, Some(record)) if before.as_ref() != Some(&record) => Some(Change::Changed(record)),
            (Some(_), None) => Some(Change::Removed(key)),
            _ => None,
        }
    }

    /// All changes of a stretch are known. Returns whether that was new.
    fn advance(&mut self, after: u64, through: u64) -> bool {
        if through <= self.complete {
            return false;
        }
        if after > self.complete {
            if self.ahead.len() >= MAX_AHEAD && !self.ahead.contains_key(&after) {
                return false;
            }
            let known = self.ahead.entry(after).or_insert(after);
            let new = through > *known;
            *known = through.max(*known);
            return new;
        }
        self.complete = through;
        while let Some(stretch) = self.ahead.first_entry() {
            if *stretch.key() > self.complete {
                break;
            }
            self.complete = self.complete.max(stretch.remove());
        }
        true
    }

    /// The owner has forgotten the removals up to `floor`: no live member needs them.
    pub(crate) fn forget(&mut self, floor: u64) {
        self.floor = self.floor.max(floor.min(self.complete));
        let (generation, floor) = (self.generation, self.floor);
        self.entries.retain(|_, held| held.record.is_some() || held.generation < generation || held.version > floor);
    }

    /// The words on this life later than `after`, in order.
    pub(crate) fn listing(&self, after: u64) -> Vec<Entry> {
        let later = |held: &&Held| held.generation == self.generation && held.version > after;
        let mut entries: Vec<Entry> = self
            .entries
            .iter()
            .filter(|(_, held)| later(held))
            .map(|((network, id), held)| Entry {
                version: held.version,
                word: held.record.clone().map_or_else(|| Word::Gone(*network, id.clone()), Word::Here),
            })
            .collect();
        entries.sort_by_key(|entry| entry.version);
        entries
    }
}
