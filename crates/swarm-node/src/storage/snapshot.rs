//! Snapshot files: written beside, synced and renamed into place, so that one under its name is complete.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use swarm_manager::consensus::PersistedSnapshot;

use super::file::sync_dir_of;
use super::{SealKey, StorageError};

const MAGIC: &[u8; 8] = b"SWLABSN1";

/// Writes a snapshot; on return it is on disk.
pub(super) fn write(dir: &Path, key: &SealKey, snapshot: &PersistedSnapshot) -> Result<(), StorageError> {
    let path = path_of(dir, snapshot.index);
    let io = |action| StorageError::io(action, &path);
    let content = rmp_serde::to_vec(snapshot).map_err(|error| io("encode")(std::io::Error::other(error)))?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&[0; 4]);
    key.seal(&place(snapshot.index), &content, &mut bytes).map_err(io("seal"))?;
    let crc = crc32fast::hash(&bytes[12..]).to_le_bytes();
    bytes[8..12].copy_from_slice(&crc);
    let temporary = dir.join("snapshot.new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(io("create"))?;
    file.write_all(&bytes).map_err(io("write"))?;
    file.sync_all().map_err(io("sync"))?;
    fs::rename(&temporary, &path).map_err(io("rename"))?;
    sync_dir_of(&path)
}

/// Reads a snapshot; `None`: damaged.
pub(super) fn read(dir: &Path, key: &SealKey, index: u64) -> Result<Option<PersistedSnapshot>, StorageError> {
    let path = path_of(dir, index);
    let bytes = fs::read(&path).map_err(StorageError::io("read", &path))?;
    if bytes.len() < 12 || &bytes[..8] != MAGIC || crc32fast::hash(&bytes[12..]).to_le_bytes() != bytes[8..12] {
        return Ok(None);
    }
    let Some(content) = key.open(&place(index), &bytes[12..]) else {
        let reason = "was sealed with another key than the one in the node's key file: put that file back, or leave \
                      the swarm with --force";
        return Err(StorageError::Unusable { path, reason: reason.to_owned() });
    };
    rmp_serde::from_slice(&content).map(Some).map_err(|error| {
        let reason = format!("cannot be read by this version of the program: {error}");
        StorageError::Unusable { path, reason }
    })
}

/// The indexes of the snapshots in a folder, in order.
pub(super) fn list(dir: &Path) -> Result<Vec<u64>, StorageError> {
    let mut indexes = Vec::new();
    for entry in fs::read_dir(dir).map_err(StorageError::io("list", dir))? {
        let name = entry.map_err(StorageError::io("list", dir))?.file_name();
        let index = name.to_str().and_then(|name| name.strip_prefix("snapshot-")).filter(|digits| digits.len() == 16);
        indexes.extend(index.and_then(|digits| u64::from_str_radix(digits, 16).ok()));
    }
    indexes.sort_unstable();
    Ok(indexes)
}

/// Where a snapshot lies.
pub(super) fn path_of(dir: &Path, index: u64) -> PathBuf {
    dir.join(format!("snapshot-{index:016x}"))
}

fn place(index: u64) -> [u8; 16] {
    let mut place = *b"snapshot\0\0\0\0\0\0\0\0";
    place[8..].copy_from_slice(&index.to_le_bytes());
    place
}
