//! One file of the log: a head, then records. A record is its length, the CRC-32 of length and payload, and the
//! payload, sealed for its place (segment number and offset), so that no record can be taken for another.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use swarm_manager::consensus::{PersistedEntry, PersistedHardState};

use super::file::sync_dir_of;
use super::seal::OVERHEAD;
use super::{SealKey, StorageError};

const MAGIC: &[u8; 8] = b"SWLABLOG";
const FORMAT: u32 = 1;
const HEAD: usize = 24;
const RECORD_HEAD: usize = 8;

/// Largest record: an entry is at most one proposal, which the transport limits to a few megabytes.
const MAX_RECORD: usize = 64 * 1024 * 1024;

/// What the log is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Record {
    /// An entry; voids all with the same or a later index.
    Entry(PersistedEntry),
    /// Term, vote, commit.
    HardState(PersistedHardState),
    /// All entries so far are void; the next one follows this index.
    Reset { index: u64 },
}

/// A segment that is written to.
#[derive(Debug)]
pub(super) struct Segment {
    pub number: u64,
    path: PathBuf,
    file: File,
    length: u64,
}

impl Segment {
    /// A new, empty segment.
    pub fn create(dir: &Path, number: u64) -> Result<Self, StorageError> {
        let path = path_of(dir, number);
        let io = |action| StorageError::io(action, &path);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(io("create"))?;
        file.write_all(&head(number)).map_err(io("write"))?;
        file.sync_all().map_err(io("sync"))?;
        sync_dir_of(&path)?;
        Ok(Self { number, path, file, length: HEAD as u64 })
    }

    /// Goes on with a segment of which `good` bytes are good; anything behind them is cut off.
    pub fn reopen(dir: &Path, number: u64, good: u64) -> Result<Self, StorageError> {
        let path = path_of(dir, number);
        let io = |action| StorageError::io(action, &path);
        let mut file = OpenOptions::new().read(true).write(true).open(&path).map_err(io("open"))?;
        if file.metadata().map_err(io("examine"))?.len() != good {
            file.set_len(good).map_err(io("truncate"))?;
            file.sync_all().map_err(io("sync"))?;
        }
        file.seek(SeekFrom::End(0)).map_err(io("seek in"))?;
        Ok(Self { number, path, file, length: good })
    }

    /// How long it is.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Appends records by one write. After an error the segment is as before, or says so by a second error.
    pub fn append(&mut self, key: &SealKey, records: &[Record]) -> Result<(), StorageError> {
        let io = |action| StorageError::io(action, &self.path);
        let mut bytes = Vec::new();
        for record in records {
            let start = bytes.len();
            let place = place(self.number, self.length + start as u64);
            let content =
                rmp_serde::to_vec(record).map_err(|error| io("encode record for")(std::io::Error::other(error)))?;
            if content.len() > MAX_RECORD {
                return Err(io("write")(std::io::Error::other("a raft entry is larger than 64 MiB")));
            }
            bytes.extend_from_slice(&[0; RECORD_HEAD]);
            key.seal(&place, &content, &mut bytes).map_err(io("seal record for"))?;
            let length = u32::try_from(bytes.len() - start - RECORD_HEAD).unwrap_or(u32::MAX).to_le_bytes();
            let crc = checksum(length, &bytes[start + RECORD_HEAD..]).to_le_bytes();
            bytes[start..start + 4].copy_from_slice(&length);
            bytes[start + 4..start + 8].copy_from_slice(&crc);
        }
        if let Err(error) = self.file.write_all_at(&bytes, self.length) {
            self.file.set_len(self.length).map_err(io("undo a failed write to"))?;
            return Err(io("write")(error));
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// What was appended is on disk on return.
    pub fn sync(&self) -> Result<(), StorageError> {
        self.file.sync_data().map_err(StorageError::io("sync", &self.path))
    }
}

/// What is wrong with a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    /// The last write did not get through: its record is cut short.
    TornTail,
    /// A record in the middle, or the head, is not what was written.
    Corrupt,
}

/// What a segment holds.
#[derive(Debug)]
pub(super) struct Content {
    pub records: Vec<Record>,
    /// How many bytes from the start are good; 0: not even the head.
    pub good: u64,
    pub damage: Option<Damage>,
}

/// Reads a segment up to the first damage.
pub(super) fn read(dir: &Path, number: u64, key: &SealKey) -> Result<Content, StorageError> {
    let path = path_of(dir, number);
    let bytes = fs::read(&path).map_err(StorageError::io("read", &path))?;
    let mut content = Content { records: Vec::new(), good: 0, damage: None };
    if bytes.get(..HEAD) != Some(&head(number)) {
        let newer = bytes.len() >= HEAD && bytes.starts_with(MAGIC) && bytes[8..12] != FORMAT.to_le_bytes();
        if newer && checksum_of_head(&bytes[..HEAD]) {
            let reason = "was written by a newer version of this program: use that one".to_owned();
            return Err(StorageError::Unusable { path, reason });
        }
        content.damage = Some(if bytes.len() < HEAD { Damage::TornTail } else { Damage::Corrupt });
        return Ok(content);
    }
    let mut at = HEAD;
    while at < bytes.len() {
        let Some(sealed) = record_at(&bytes, at) else {
            content.damage = Some(if reaches_end(&bytes, at) { Damage::TornTail } else { Damage::Corrupt });
            break;
        };
        let Some(opened) = key.open(&place(number, at as u64), sealed) else {
            let reason = "was sealed with another key than the one in the node's key file: put that file back, or \
                          leave the swarm with --force"
                .to_owned();
            return Err(StorageError::Unusable { path, reason });
        };
        let record = rmp_serde::from_slice(&opened).map_err(|error| {
            let reason = format!("has a record that this version of the program cannot read: {error}");
            StorageError::Unusable { path: path.clone(), reason }
        })?;
        content.records.push(record);
        at += RECORD_HEAD + sealed.len();
    }
    content.good = at as u64;
    Ok(content)
}

/// The numbers of the segments in a folder, in order.
pub(super) fn list(dir: &Path) -> Result<Vec<u64>, StorageError> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(StorageError::io("list", dir))? {
        let name = entry.map_err(StorageError::io("list", dir))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("log-")).filter(|digits| digits.len() == 16);
        numbers.extend(number.and_then(|digits| u64::from_str_radix(digits, 16).ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Where a segment lies.
pub(super) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("log-{number:016x}"))
}

fn record_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let head = bytes.get(at..at + RECORD_HEAD)?;
    let length: [u8; 4] = head[..4].try_into().ok()?;
    let crc = u32::from_le_bytes(head[4..].try_into().ok()?);
    let start = at + RECORD_HEAD;
    let sealed = bytes.get(start..start.checked_add(u32::from_le_bytes(length) as usize)?)?;
    (sealed.len() >= OVERHEAD && checksum(length, sealed) == crc).then_some(sealed)
}

/// Whether a bad record is the last thing in the file, as a write that was cut off leaves it.
fn reaches_end(bytes: &[u8], at: usize) -> bool {
    let Some(length) = bytes.get(at..at + 4).and_then(|length| length.try_into().ok()) else { return true };
    let length = u32::from_le_bytes(length) as usize;
    (length <= MAX_RECORD + OVERHEAD && at + RECORD_HEAD + length >= bytes.len())
        || bytes[at..].iter().all(|byte| *byte == 0)
}

fn checksum(length: [u8; 4], sealed: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(sealed);
    hasher.finalize()
}

fn place(number: u64, offset: u64) -> [u8; 16] {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&number.to_le_bytes());
    place[8..].copy_from_slice(&offset.to_le_bytes());
    place
}

fn head(number: u64) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(MAGIC);
    head[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    head[12..20].copy_from_slice(&number.to_le_bytes());
    let crc = crc32fast::hash(&head[..20]);
    head[20..].copy_from_slice(&crc.to_le_bytes());
    head
}

fn checksum_of_head(head: &[u8]) -> bool {
    crc32fast::hash(&head[..20]).to_le_bytes() == head[20..24]
}
