//! A manager's raft state in one folder: segments of the log and the last two snapshots.
//!
//! Two snapshots, with the entries from the older one on, because then no single damaged file costs anything that was
//! acknowledged. Segments are deleted from the oldest on, once all their entries lie before the older snapshot.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use swarm_manager::consensus::{Persist, PersistedEntry, PersistedHardState, PersistedSnapshot, PersistedState};

use super::file::sync_dir_of;
use super::segment::{self, Damage, Record, Segment};
use super::{Repair, SealKey, StorageError, create_private_dir, set_aside, snapshot};

/// A segment that has grown beyond this is closed and a new one begun: small enough to free space soon after a
/// snapshot, large enough that a swarm of a few nodes needs one or two.
const SEGMENT_BYTES: u64 = 1024 * 1024;

/// Snapshots kept.
const SNAPSHOTS: usize = 2;

/// The raft state on disk, open for writing.
#[derive(Debug)]
pub struct RaftLog {
    dir: PathBuf,
    key: SealKey,
    current: Segment,
    /// Closed segments: number and highest index of an entry in it.
    closed: VecDeque<(u64, u64)>,
    highest_in_current: u64,
    hard_state: PersistedHardState,
    snapshots: VecDeque<u64>,
}

impl RaftLog {
    /// Opens (or makes) the folder and reads what is there. Damage is repaired as far as possible and reported.
    pub fn open(dir: &Path, key: SealKey) -> Result<(Self, PersistedState, Vec<Repair>), StorageError> {
        create_private_dir(dir)?;
        let mut repairs = Vec::new();
        let (snapshot, snapshots) = read_snapshots(dir, &key, &mut repairs)?;
        let mut state = PersistedState { snapshot, ..PersistedState::default() };
        let mut replay = Replay::new(state.snapshot.as_ref());
        let numbers = segment::list(dir)?;
        let mut closed = VecDeque::new();
        let mut last_good = 0;
        let mut damaged_from = None;
        for (place, number) in numbers.iter().enumerate() {
            let content = segment::read(dir, *number, &key)?;
            let mut highest = 0;
            for record in content.records {
                if let Record::Entry(entry) = &record {
                    highest = highest.max(entry.index);
                }
                replay.record(record);
            }
            closed.push_back((*number, highest));
            last_good = content.good;
            let last = place + 1 == numbers.len();
            match content.damage {
                None => {}
                Some(Damage::TornTail) if last => repairs.push(Repair {
                    path: segment::path_of(dir, *number),
                    loss: false,
                    what: format!("the last write was cut off at byte {}; it had not been acknowledged", content.good),
                }),
                Some(_) => {
                    replay.damaged();
                    damaged_from = damaged_from.or(Some(*number));
                }
            }
        }
        state.entries = replay.matching_entries();
        state.hard_state = replay.hard_state;
        let loss = replay.gap || replay.ended;
        let next = numbers.last().map_or(1, |number| number + 1);
        let mut log = if damaged_from.is_some() || last_good == 0 {
            // Begin a segment with all that could be saved before anything damaged is set aside.
            let mut current = Segment::create(dir, next)?;
            let before = state
                .entries
                .first()
                .map_or_else(|| state.snapshot.as_ref().map_or(0, |snapshot| snapshot.index), |entry| entry.index - 1);
            let mut records = vec![Record::Reset { index: before }, Record::HardState(state.hard_state)];
            records.extend(state.entries.iter().cloned().map(Record::Entry));
            current.append(&key, &records)?;
            current.sync()?;
            let highest_in_current = state.entries.last().map_or(0, |entry| entry.index);
            let hard_state = state.hard_state;
            Self { dir: dir.to_owned(), key, current, closed, highest_in_current, hard_state, snapshots }
        } else {
            let (number, highest) = closed.pop_back().unwrap_or((next, 0));
            let current = Segment::reopen(dir, number, last_good)?;
            let hard_state = state.hard_state;
            Self { dir: dir.to_owned(), key, current, closed, highest_in_current: highest, hard_state, snapshots }
        };
        if let Some(first) = damaged_from {
            log.set_aside_from(first, &state, loss, &mut repairs)?;
        } else if last_good == 0 && log.closed.pop_back().is_some() {
            // A segment without even a head: made, but nothing was written to it.
            let path = segment::path_of(dir, next - 1);
            fs::remove_file(&path).map_err(StorageError::io("remove", &path))?;
        }
        Ok((log, state, repairs))
    }

    /// Whether a folder holds any raft state.
    pub fn exists(dir: &Path) -> bool {
        dir.is_dir()
            && (segment::list(dir).is_ok_and(|list| !list.is_empty())
                || snapshot::list(dir).is_ok_and(|list| !list.is_empty()))
    }

    /// Writes a new group's first state.
    pub fn write_state(&mut self, state: &PersistedState) -> Result<(), StorageError> {
        self.write(&[Persist {
            number: 0,
            snapshot: state.snapshot.clone(),
            entries: state.entries.clone(),
            hard_state: Some(state.hard_state),
            sync: true,
        }])
    }

    /// Writes in order, and once what must be is on disk, returns. After an error nothing more may be written: what
    /// the disk holds is then known only after reading it anew.
    pub fn write(&mut self, batch: &[Persist]) -> Result<(), StorageError> {
        let mut records = Vec::new();
        let mut sync = false;
        for persist in batch {
            if let Some(snapshot) = &persist.snapshot {
                self.flush(&mut records, true)?;
                self.write_snapshot(snapshot)?;
            }
            for entry in &persist.entries {
                self.highest_in_current = self.highest_in_current.max(entry.index);
                records.push(Record::Entry(entry.clone()));
            }
            if let Some(hard_state) = persist.hard_state {
                self.hard_state = hard_state;
                records.push(Record::HardState(hard_state));
            }
            sync |= persist.sync;
        }
        self.flush(&mut records, sync)?;
        if self.current.len() > SEGMENT_BYTES {
            self.rotate()?;
        }
        Ok(())
    }

    fn flush(&mut self, records: &mut Vec<Record>, sync: bool) -> Result<(), StorageError> {
        if !records.is_empty() {
            self.current.append(&self.key, records)?;
            records.clear();
        }
        if sync { self.current.sync() } else { Ok(()) }
    }

    fn write_snapshot(&mut self, made: &PersistedSnapshot) -> Result<(), StorageError> {
        snapshot::write(&self.dir, &self.key, made)?;
        if made.reset {
            self.current.append(&self.key, &[Record::Reset { index: made.index }])?;
            self.current.sync()?;
        }
        self.snapshots.retain(|index| *index != made.index);
        self.snapshots.push_back(made.index);
        while self.snapshots.len() > SNAPSHOTS {
            if let Some(old) = self.snapshots.pop_front() {
                let path = snapshot::path_of(&self.dir, old);
                fs::remove_file(&path).map_err(StorageError::io("remove", &path))?;
            }
        }
        let oldest = self.snapshots.front().copied().unwrap_or(0);
        let floor = made.keep_after.min(oldest);
        while let Some((number, highest)) = self.closed.front().copied() {
            if highest > floor {
                break;
            }
            let path = segment::path_of(&self.dir, number);
            fs::remove_file(&path).map_err(StorageError::io("remove", &path))?;
            self.closed.pop_front();
        }
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), StorageError> {
        self.current.sync()?;
        let mut next = Segment::create(&self.dir, self.current.number + 1)?;
        // The hard state anew, so that older segments can be deleted.
        next.append(&self.key, &[Record::HardState(self.hard_state)])?;
        next.sync()?;
        let old = std::mem::replace(&mut self.current, next);
        self.closed.push_back((old.number, self.highest_in_current));
        self.highest_in_current = 0;
        Ok(())
    }

    fn set_aside_from(
        &mut self,
        first: u64,
        state: &PersistedState,
        loss: bool,
        repairs: &mut Vec<Repair>,
    ) -> Result<(), StorageError> {
        let last = state.entries.last().map(|entry| entry.index);
        let last = last.or(state.snapshot.as_ref().map(|snapshot| snapshot.index)).unwrap_or(0);
        let commit = state.hard_state.commit;
        while let Some((number, _)) = self.closed.back().copied() {
            if number < first {
                break;
            }
            self.closed.pop_back();
            let path = segment::path_of(&self.dir, number);
            let aside = set_aside(&path)?;
            let outcome = if commit > last {
                format!("committed entries {} to {commit} are lost", last + 1)
            } else if loss {
                "what came after it is lost".to_owned()
            } else {
                "nothing is lost".to_owned()
            };
            let aside = aside.display();
            let what = format!("damaged, set aside as {aside}; the log goes on after entry {last}, {outcome}");
            repairs.push(Repair { path, loss, what });
        }
        sync_dir_of(&segment::path_of(&self.dir, first))
    }
}

/// The newest readable snapshot, and the indexes of the readable ones.
#[allow(clippy::type_complexity)]
fn read_snapshots(
    dir: &Path,
    key: &SealKey,
    repairs: &mut Vec<Repair>,
) -> Result<(Option<PersistedSnapshot>, VecDeque<u64>), StorageError> {
    let mut newest: Option<PersistedSnapshot> = None;
    let mut readable = VecDeque::new();
    let indexes = snapshot::list(dir)?;
    for index in indexes.iter().rev() {
        // An older one is looked at just for its checksum; only one is held in memory at a time.
        match snapshot::read(dir, key, *index)? {
            Some(found) => {
                readable.push_front(*index);
                newest.get_or_insert(found);
            }
            None => {
                let path = snapshot::path_of(dir, *index);
                let aside = set_aside(&path)?;
                let what = format!("damaged, set aside as {}; an older one takes its place", aside.display());
                repairs.push(Repair { path, loss: newest.is_none(), what });
            }
        }
    }
    Ok((newest, readable))
}

/// Puts the records of all segments together to the entries that follow the snapshot.
struct Replay {
    entries: Vec<PersistedEntry>,
    hard_state: PersistedHardState,
    /// Index and term of the snapshot.
    snapshot: (u64, u64),
    /// The index that the next entry may have at most.
    next: Option<u64>,
    /// Records are missing here.
    gap: bool,
    ended: bool,
}

impl Replay {
    fn new(snapshot: Option<&PersistedSnapshot>) -> Self {
        Self {
            entries: Vec::new(),
            hard_state: PersistedHardState::default(),
            snapshot: snapshot.map_or((0, 0), |snapshot| (snapshot.index, snapshot.term)),
            next: None,
            gap: false,
            ended: false,
        }
    }

    /// The entries, unless they belong to another history than the snapshot: one that was received from the leader
    /// voids the log, which a crash may have left as it was.
    fn matching_entries(&mut self) -> Vec<PersistedEntry> {
        let (index, term) = self.snapshot;
        let differs = |entry: &PersistedEntry| entry.index == index && entry.term != term;
        if self.entries.iter().any(differs) || self.entries.last().is_some_and(|last| last.index <= index) {
            self.entries.clear();
        }
        std::mem::take(&mut self.entries)
    }

    fn damaged(&mut self) {
        self.gap = true;
    }

    fn record(&mut self, record: Record) {
        match record {
            // Also behind a gap: a vote that was given must not be given again.
            Record::HardState(hard_state) => self.hard_state = hard_state,
            Record::Reset { index } => {
                self.entries.clear();
                self.next = Some(index + 1);
                (self.gap, self.ended) = (false, index > self.snapshot.0);
            }
            Record::Entry(_) if self.ended => {}
            Record::Entry(entry) => self.entry(entry),
        }
    }

    fn entry(&mut self, entry: PersistedEntry) {
        let follows = self.next.is_none_or(|next| entry.index <= next) && !self.gap;
        if !follows {
            if entry.index > self.snapshot.0 + 1 {
                self.ended = true;
                return;
            }
            // What came before is not needed: the snapshot reaches up to here.
            self.entries.clear();
            self.gap = false;
        } else if self.next.is_none() && entry.index > self.snapshot.0 + 1 {
            self.ended = true;
            return;
        }
        while self.entries.last().is_some_and(|last| last.index >= entry.index) {
            self.entries.pop();
        }
        self.next = Some(entry.index + 1);
        self.entries.push(entry);
    }
}
