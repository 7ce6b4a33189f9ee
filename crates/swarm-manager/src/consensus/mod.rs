//! Agreement on the log by the `raft` crate (Ongaro and Ousterhout, "In Search of an Understandable Consensus
//! Algorithm"), driven sans-IO: time comes in as ticks, messages and disk writes go out as data.
//!
//! The edge writes each [`Persist`] to disk, in order, and then calls [`Consensus::persisted`]. Only then are the
//! messages that depend on it sent and the entries counted as this member's. What this leaves out: the meaning of the
//! entries ([`crate::store`]), encoding on the wire between machines, and disk formats.

mod confirm;
mod log;

use std::collections::{BTreeMap, VecDeque};

use protobuf::Message as _;
use raft::eraftpb::{ConfChange, ConfChangeType, ConfState, Entry, EntryType, Message, MessageType, Snapshot};
use raft::{Config, RawNode, StateRole};
use serde::{Deserialize, Serialize};
use swarm_types::{IdSource, ManagerPeer, RaftSpec};

use crate::store::{Proposal, StoreSnapshot};
use confirm::Confirmation;
use log::Log;

/// What must be on disk before [`Consensus::persisted`] is called with `number`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Persist {
    /// Names this write; rising.
    pub number: u64,
    /// A snapshot that replaces everything written before it up to its index (see [`PersistedSnapshot::reset`]).
    pub snapshot: Option<PersistedSnapshot>,
    /// Entries to append; an entry replaces all with the same or a later index.
    pub entries: Vec<PersistedEntry>,
    /// Term, vote and commit index, if they changed.
    pub hard_state: Option<PersistedHardState>,
    /// Whether the write must reach the disk (`fsync`) before it counts.
    pub sync: bool,
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersistedEntry {
    /// Its place in the log.
    pub index: u64,
    /// The term of the leader that made it.
    pub term: u64,
    /// The encoded entry.
    #[serde(with = "serde_bytes_compat")]
    pub bytes: Vec<u8>,
}

/// Raft's hard state (section 5.2 of the paper: persistent state on all servers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PersistedHardState {
    /// The current term.
    pub term: u64,
    /// The candidate that got this member's vote in it; 0 for none.
    pub vote: u64,
    /// The last index known to be committed.
    pub commit: u64,
}

/// The state at an index, in place of the log up to there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersistedSnapshot {
    /// The last index that it contains.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// True for one received from the leader: all entries on disk are void. False for one made here: entries after
    /// `keep_after` stay.
    pub reset: bool,
    /// Entries up to and with this index may be deleted.
    pub keep_after: u64,
    /// The encoded snapshot.
    #[serde(with = "serde_bytes_compat")]
    pub bytes: Vec<u8>,
}

mod serde_bytes_compat {
    //! Bytes as bytes, not as a sequence of numbers.
    use serde::{Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl<'de> de::Visitor<'de> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u8>, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    bytes.push(byte);
                }
                Ok(bytes)
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// What the disk gave back after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PersistedState {
    /// The last snapshot, if any.
    pub snapshot: Option<PersistedSnapshot>,
    /// The entries after it (and perhaps some before).
    pub entries: Vec<PersistedEntry>,
    /// The last hard state.
    pub hard_state: PersistedHardState,
}

/// A member of the raft group.
pub type Member = ManagerPeer;

/// What a snapshot contains.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SnapshotData {
    /// The members by raft id.
    pub members: BTreeMap<u64, Member>,
    /// The objects.
    pub store: StoreSnapshot,
}

/// What a group member applies, in the order of the log.
#[derive(Debug, Clone, PartialEq)]
pub enum Committed {
    /// A proposal.
    Proposal {
        /// Its place in the log.
        index: u64,
        /// The proposal.
        proposal: Box<Proposal>,
    },
    /// The leader of a new term has nothing more to apply from older ones (its empty entry was committed).
    TermBegan {
        /// The term.
        term: u64,
    },
    /// The group changed.
    Members {
        /// The change's number, as given to [`Consensus::propose_member`].
        serial: u64,
        /// The member that was added (with its address) or removed.
        raft_id: u64,
        /// Who it is; `None`: removed.
        member: Option<Member>,
    },
    /// Everything before is replaced by the leader's snapshot.
    Snapshot(Box<SnapshotData>),
}

/// Why the raft state cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsensusError {
    /// Bytes that are not what they should be.
    #[error(
        "the raft {what} at index {index} cannot be decoded: {reason}; restore this manager from a backup or remove it and join again"
    )]
    Decode {
        /// What.
        what: &'static str,
        /// Where.
        index: u64,
        /// Why.
        reason: String,
    },
    /// The raft library refused.
    #[error("raft: {0}")]
    Raft(String),
    /// Not the leader: ask it.
    #[error("this manager is not the leader")]
    NotLeader,
}

/// One member of the raft group.
pub struct Consensus {
    raw: RawNode<Log>,
    members: BTreeMap<u64, Member>,
    ids: IdSource,
    timeout_of: Option<(u64, StateRole)>,
    timeout: usize,
    applied: (u64, u64),
    snapshot_interval: u64,
    keep_entries: u64,
    messages: VecDeque<(u64, Vec<u8>)>,
    committed: VecDeque<Committed>,
    persist: VecDeque<Persist>,
    // Messages that may go once the write of this number is on disk.
    held: VecDeque<(u64, Vec<Message>)>,
    // Ticks since a snapshot was sent to a member that has not answered.
    snapshots_sent: BTreeMap<u64, usize>,
    // The write that holds a received snapshot, until it is on disk.
    snapshot_unwritten: Option<u64>,
    // A snapshot that was made here and is to be written with the next persist.
    made: Option<PersistedSnapshot>,
    confirmation: Option<Confirmation>,
}

/// The most that one raft message carries, and so the size to which entries are batched.
pub const MAX_MESSAGE_BYTES: u64 = 1024 * 1024;

/// The first index: bootstrap state stands there as a snapshot, so that later members always begin with one.
pub const FIRST_INDEX: u64 = 1;

impl Consensus {
    /// State of a group of one, holding `data`: what the first manager begins with.
    pub fn bootstrap_state(raft_id: u64, data: &SnapshotData) -> Result<PersistedState, ConsensusError> {
        let conf = ConfState { voters: vec![raft_id], ..ConfState::default() };
        let snapshot = encode_snapshot(FIRST_INDEX, 1, conf, data)?;
        let snapshot = persisted_snapshot(&snapshot, true, FIRST_INDEX)?;
        let hard_state = PersistedHardState { term: 1, vote: 0, commit: FIRST_INDEX };
        Ok(PersistedState { snapshot: Some(snapshot), entries: Vec::new(), hard_state })
    }

    /// A member with the state that the disk gave back; an empty state makes one that waits to be added by the leader.
    /// `seed` decides the election timeouts.
    pub fn new(raft_id: u64, spec: &RaftSpec, seed: u64, state: PersistedState) -> Result<Self, ConsensusError> {
        let mut log = Log::default();
        log.hard_state.term = state.hard_state.term;
        log.hard_state.vote = state.hard_state.vote;
        log.hard_state.commit = state.hard_state.commit;
        let (mut members, mut applied) = (BTreeMap::new(), (0, 0));
        let mut committed = VecDeque::new();
        if let Some(persisted) = &state.snapshot {
            let snapshot = parse::<Snapshot>("snapshot", persisted.index, &persisted.bytes)?;
            let data: SnapshotData = decode("snapshot", persisted.index, &snapshot.data)?;
            members.clone_from(&data.members);
            applied = (persisted.index, persisted.term);
            committed.push_back(Committed::Snapshot(Box::new(data)));
            log.reset_to(snapshot);
        }
        let entries = state
            .entries
            .iter()
            .filter(|entry| entry.index > applied.0)
            .map(|entry| parse::<Entry>("entry", entry.index, &entry.bytes))
            .collect::<Result<Vec<_>, _>>()?;
        log.append(&entries);
        let last = raft::Storage::last_index(&log).unwrap_or(applied.0);
        // A commit index beyond the log means that entries were lost after they counted; the log is what there is.
        log.hard_state.commit = log.hard_state.commit.min(last);
        let election_tick = usize::try_from(spec.election_tick).unwrap_or(10).max(2);
        let config = Config {
            id: raft_id,
            election_tick,
            heartbeat_tick: usize::try_from(spec.heartbeat_tick).unwrap_or(1).clamp(1, election_tick - 1),
            applied: applied.0,
            max_size_per_msg: MAX_MESSAGE_BYTES,
            max_inflight_msgs: 256,
            check_quorum: true,
            pre_vote: true,
            ..Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let mut raw = RawNode::new(&config, log, &logger).map_err(raft_error)?;
        let voters = raw.store().conf_state.voters.clone();
        if voters == [raft_id] {
            // Alone there is nobody to wait for.
            raw.campaign().map_err(raft_error)?;
        }
        let mut consensus = Self {
            raw,
            members,
            ids: IdSource::from_seed(seed),
            timeout_of: None,
            timeout: 0,
            applied,
            snapshot_interval: spec.snapshot_interval.max(1),
            keep_entries: spec.log_entries_for_slow_followers,
            messages: VecDeque::new(),
            committed,
            persist: VecDeque::new(),
            held: VecDeque::new(),
            snapshots_sent: BTreeMap::new(),
            snapshot_unwritten: None,
            made: None,
            confirmation: None,
        };
        consensus.advance()?;
        Ok(consensus)
    }

    /// New raft settings (`docker swarm update`); the tick counts take effect with the next start.
    pub fn configure(&mut self, spec: &RaftSpec) {
        self.snapshot_interval = spec.snapshot_interval.max(1);
        self.keep_entries = spec.log_entries_for_slow_followers;
    }

    /// This member's raft id.
    pub fn raft_id(&self) -> u64 {
        self.raw.raft.id
    }

    /// Whether this member leads.
    pub fn is_leader(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    /// The leader's raft id, if one is known.
    pub fn leader(&self) -> Option<u64> {
        (self.raw.raft.leader_id != 0).then_some(self.raw.raft.leader_id)
    }

    /// The current term.
    pub fn term(&self) -> u64 {
        self.raw.raft.term
    }

    /// The members by raft id.
    pub fn members(&self) -> &BTreeMap<u64, Member> {
        &self.members
    }

    /// On the leader: whether a member answered within the last election timeout. Elsewhere `None`.
    pub fn recently_active(&self, raft_id: u64) -> Option<bool> {
        if !self.is_leader() {
            return None;
        }
        if raft_id == self.raft_id() {
            return Some(true);
        }
        self.raw.raft.prs().get(raft_id).map(|progress| progress.recent_active)
    }

    /// One tick (a second in a node) went by.
    pub fn tick(&mut self) -> Result<(), ConsensusError> {
        self.raw.tick();
        self.retry_lost_snapshots();
        self.repeat_question();
        self.advance()
    }

    /// A message from another member. Malformed ones are refused and change nothing.
    pub fn step(&mut self, bytes: &[u8]) -> Result<(), ConsensusError> {
        let message = parse::<Message>("message", 0, bytes)?;
        // Local messages and proposals never come from outside; the library panics or misbehaves on some.
        if raft::raw_node::is_local_msg(message.get_msg_type()) || message.to != self.raft_id() {
            return Err(ConsensusError::Raft("unexpected message".to_owned()));
        }
        self.note_confirmation(&message);
        match self.raw.step(message) {
            Ok(()) | Err(raft::Error::StepPeerNotFound | raft::Error::ProposalDropped) => {}
            Err(error) => return Err(raft_error(error)),
        }
        self.advance()
    }

    /// A message to a member did not arrive: stop pipelining to it, and send a snapshot again if it was one.
    pub fn unreachable(&mut self, raft_id: u64) {
        self.raw.report_unreachable(raft_id);
        if self.snapshots_sent.remove(&raft_id).is_some() {
            self.raw.report_snapshot(raft_id, raft::SnapshotStatus::Failure);
        }
    }

    /// The library waits for ever for the answer to a snapshot; one that was lost on the way is sent again after an
    /// election timeout.
    fn retry_lost_snapshots(&mut self) {
        let patience = self.raw.raft.election_timeout();
        let raw = &mut self.raw;
        self.snapshots_sent.retain(|raft_id, ticks| {
            let waiting = raw.raft.prs().get(*raft_id).is_some_and(|p| p.state == raft::ProgressState::Snapshot);
            *ticks += 1;
            if waiting && *ticks > patience {
                raw.report_snapshot(*raft_id, raft::SnapshotStatus::Failure);
            }
            waiting && *ticks <= patience
        });
    }

    /// Proposes a change of the store. Only the leader may.
    pub fn propose(&mut self, proposal: &Proposal) -> Result<(), ConsensusError> {
        if !self.is_leader() {
            return Err(ConsensusError::NotLeader);
        }
        self.raw.propose(Vec::new(), encode(proposal)?).map_err(raft_error)?;
        self.advance()
    }

    /// Proposes to add a member (with its address) or to remove one.
    pub fn propose_member(&mut self, serial: u64, raft_id: u64, member: Option<&Member>) -> Result<(), ConsensusError> {
        if !self.is_leader() {
            return Err(ConsensusError::NotLeader);
        }
        let mut change = ConfChange { node_id: raft_id, id: serial, ..ConfChange::default() };
        change.set_change_type(if member.is_some() { ConfChangeType::AddNode } else { ConfChangeType::RemoveNode });
        if let Some(member) = member {
            change.set_context(encode(member)?.into());
        }
        self.raw.propose_conf_change(Vec::new(), change).map_err(raft_error)?;
        self.advance()
    }

    /// Hands leadership to another member, before this one is removed.
    pub fn transfer_leader(&mut self, raft_id: u64) -> Result<(), ConsensusError> {
        self.raw.transfer_leader(raft_id);
        self.advance()
    }

    /// The write of this number, and all before it, are on disk.
    pub fn persisted(&mut self, number: u64) -> Result<(), ConsensusError> {
        self.raw.on_persist_ready(number);
        self.snapshot_unwritten = self.snapshot_unwritten.filter(|waiting| *waiting > number);
        while let Some((held, _)) = self.held.front()
            && *held <= number
        {
            if let Some((_, messages)) = self.held.pop_front() {
                self.send(messages);
            }
        }
        self.advance()
    }

    /// The next write for the disk.
    pub fn poll_persist(&mut self) -> Option<Persist> {
        self.persist.pop_front()
    }

    /// The next message, and the raft id that it is for.
    pub fn poll_message(&mut self) -> Option<(u64, Vec<u8>)> {
        self.messages.pop_front()
    }

    /// The next thing to apply.
    pub fn poll_committed(&mut self) -> Option<Committed> {
        self.committed.pop_front()
    }

    /// Whether enough was applied since the last snapshot to make one, or a new member needs one.
    pub fn wants_snapshot(&self) -> bool {
        let last = self.raw.store().snapshot.get_metadata();
        let behind = self.applied.0.saturating_sub(last.index) >= self.snapshot_interval;
        // A follower takes a snapshot only if that names it as a member.
        let newcomer = self.members.keys().any(|id| !last.get_conf_state().voters.contains(id));
        (behind || (newcomer && self.is_leader())) && self.committed.is_empty()
    }

    /// Takes the store as it is after everything that was handed out by `poll_committed`.
    pub fn snapshot(&mut self, store: StoreSnapshot) -> Result<(), ConsensusError> {
        let (index, term) = self.applied;
        let data = SnapshotData { members: self.members.clone(), store };
        let conf = self.raw.raft.prs().conf().to_conf_state();
        let snapshot = encode_snapshot(index, term, conf, &data)?;
        let keep_after = index.saturating_sub(self.keep_entries);
        self.made = Some(persisted_snapshot(&snapshot, false, keep_after)?);
        let log = self.raw.mut_store();
        log.snapshot = snapshot;
        log.compact(keep_after);
        self.advance()
    }

    /// Tells the library what was applied. A received snapshot counts only once it is on disk.
    fn report_applied(&mut self) {
        if self.snapshot_unwritten.is_none() {
            self.raw.advance_apply_to(self.applied.0);
        }
    }

    /// Moves everything that the library has ready into the queues.
    fn advance(&mut self) -> Result<(), ConsensusError> {
        self.report_applied();
        self.pin_election_timeout();
        while self.raw.has_ready() || self.made.is_some() {
            let mut ready = self.raw.ready();
            let number = ready.number();
            let messages = ready.take_messages();
            self.send(messages);
            let mut persist = Persist { number, sync: ready.must_sync(), ..Persist::default() };
            if !ready.snapshot().is_empty() {
                let snapshot = ready.snapshot().clone();
                let index = snapshot.get_metadata().index;
                let data: SnapshotData = decode("snapshot", index, &snapshot.data)?;
                self.members.clone_from(&data.members);
                self.applied = (index, snapshot.get_metadata().term);
                persist.snapshot = Some(persisted_snapshot(&snapshot, true, index)?);
                self.made = None;
                self.snapshot_unwritten = Some(number);
                self.raw.mut_store().reset_to(snapshot);
                self.committed.push_back(Committed::Snapshot(Box::new(data)));
            } else if let Some(made) = self.made.take() {
                persist.snapshot = Some(made);
                persist.sync = true;
            }
            let entries = ready.take_entries();
            persist.entries = entries.iter().map(persisted_entry).collect::<Result<_, _>>()?;
            self.raw.mut_store().append(&entries);
            if let Some(state) = ready.hs() {
                self.raw.mut_store().hard_state = state.clone();
                persist.hard_state =
                    Some(PersistedHardState { term: state.term, vote: state.vote, commit: state.commit });
            }
            let committed = ready.take_committed_entries();
            self.held.push_back((number, ready.take_persisted_messages()));
            // Even an empty write is reported back, so that `persisted` comes in the order of the numbers.
            self.persist.push_back(persist);
            self.raw.advance_append_async(ready);
            for entry in committed {
                self.commit(entry)?;
            }
            self.report_applied();
            self.pin_election_timeout();
        }
        Ok(())
    }

    fn commit(&mut self, entry: Entry) -> Result<(), ConsensusError> {
        self.applied = (entry.index, entry.term);
        match entry.get_entry_type() {
            EntryType::EntryNormal if entry.data.is_empty() => {
                self.committed.push_back(Committed::TermBegan { term: entry.term });
            }
            EntryType::EntryNormal => {
                let proposal = Box::new(decode("entry", entry.index, &entry.data)?);
                self.committed.push_back(Committed::Proposal { index: entry.index, proposal });
            }
            EntryType::EntryConfChange => {
                let change = parse::<ConfChange>("membership change", entry.index, &entry.data)?;
                let member = match change.get_change_type() {
                    ConfChangeType::RemoveNode => None,
                    _ => Some(decode::<Member>("membership change", entry.index, &change.context)?),
                };
                let conf = self.raw.apply_conf_change(&change).map_err(raft_error)?;
                self.raw.mut_store().conf_state = conf;
                match &member {
                    Some(member) => self.members.insert(change.node_id, member.clone()),
                    None => self.members.remove(&change.node_id),
                };
                self.committed.push_back(Committed::Members { serial: change.id, raft_id: change.node_id, member });
            }
            EntryType::EntryConfChangeV2 => {
                let reason = "joint changes are never proposed".to_owned();
                return Err(ConsensusError::Decode { what: "membership change", index: entry.index, reason });
            }
        }
        Ok(())
    }

    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            // Encoding to memory fails only beyond 2 GiB, far above MAX_MESSAGE_BYTES; raft repeats lost messages.
            if let Ok(bytes) = message.write_to_bytes() {
                if message.get_msg_type() == MessageType::MsgSnapshot {
                    self.snapshots_sent.insert(message.to, 0);
                }
                self.messages.push_back((message.to, bytes));
            }
        }
    }

    /// The library draws election timeouts from the system's entropy. They are replaced by draws from the seed, so
    /// that a simulation repeats; redrawn whenever term or role changes, as the library does.
    fn pin_election_timeout(&mut self) {
        let current = (self.raw.raft.term, self.raw.raft.state);
        if self.timeout_of != Some(current) {
            self.timeout_of = Some(current);
            let base = self.raw.raft.election_timeout();
            self.timeout = base + usize::try_from(self.ids.below(base as u64)).unwrap_or(0);
        }
        self.raw.raft.set_randomized_election_timeout(self.timeout);
    }
}

fn raft_error(error: raft::Error) -> ConsensusError {
    ConsensusError::Raft(error.to_string())
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, ConsensusError> {
    rmp_serde::to_vec_named(value).map_err(|error| ConsensusError::Raft(error.to_string()))
}

fn decode<T: for<'de> Deserialize<'de>>(what: &'static str, index: u64, bytes: &[u8]) -> Result<T, ConsensusError> {
    rmp_serde::from_slice(bytes).map_err(|error| ConsensusError::Decode { what, index, reason: error.to_string() })
}

fn parse<T: protobuf::Message>(what: &'static str, index: u64, bytes: &[u8]) -> Result<T, ConsensusError> {
    T::parse_from_bytes(bytes).map_err(|error| ConsensusError::Decode { what, index, reason: error.to_string() })
}

fn persisted_entry(entry: &Entry) -> Result<PersistedEntry, ConsensusError> {
    let bytes = entry.write_to_bytes().map_err(|error| ConsensusError::Raft(error.to_string()))?;
    Ok(PersistedEntry { index: entry.index, term: entry.term, bytes })
}

fn persisted_snapshot(snapshot: &Snapshot, reset: bool, keep_after: u64) -> Result<PersistedSnapshot, ConsensusError> {
    let bytes = snapshot.write_to_bytes().map_err(|error| ConsensusError::Raft(error.to_string()))?;
    let meta = snapshot.get_metadata();
    Ok(PersistedSnapshot { index: meta.index, term: meta.term, reset, keep_after, bytes })
}

fn encode_snapshot(index: u64, term: u64, conf: ConfState, data: &SnapshotData) -> Result<Snapshot, ConsensusError> {
    let mut snapshot = Snapshot::default();
    snapshot.set_data(encode(data)?.into());
    let meta = snapshot.mut_metadata();
    meta.index = index;
    meta.term = term;
    meta.set_conf_state(conf);
    Ok(snapshot)
}

#[cfg(test)]
mod tests;
