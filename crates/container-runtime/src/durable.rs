//! Small state files that are either whole or detectably broken: a checksum line, then JSON, written beside
//! and renamed into place. Leaves out locking: each file has one writer (daemon or shim).

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::error::{Context, Error, Kind, Result};

/// Nothing we store is near this; a larger file is damage, not data.
const MAX_BYTES: u64 = 64 << 20;

/// Writes `value` so that the death of any process leaves the old content or the new. After a power cut it may also
/// be broken, which [`read`] then tells: a container's state is worth nothing once its machine has stopped, and
/// waiting for the disk would double the time that a container takes to start.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    replace(path, value, false)
}

/// The same, and it waits for the disk: after a return the new content survives a power cut.
pub(crate) fn write_synced<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    replace(path, value, true)
}

fn replace<T: Serialize>(path: &Path, value: &T, sync: bool) -> Result<()> {
    let body = serde_json::to_vec(value).map_err(|e| Error::internal(format!("encoding {}: {e}", path.display())))?;
    let tmp = path.with_extension("tmp");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&tmp)?;
        file.write_all(hex(&Sha256::digest(&body)).as_bytes())?;
        file.write_all(b"\n")?;
        file.write_all(&body)?;
        if sync {
            file.sync_all()?;
        }
        fs::rename(&tmp, path)?;
        match path.parent() {
            Some(dir) if sync => File::open(dir)?.sync_all(),
            _ => Ok(()),
        }
    };
    write().context(|| format!("writing {}", path.display()))
}

/// Reads what [`write`] wrote; `None` if the file does not exist.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let corrupt = |why: String| Error::new(Kind::Corrupt, format!("{} is damaged: {why}", path.display()));
    match fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).context(|| format!("reading {}", path.display())),
        Ok(m) if m.len() > MAX_BYTES => return Err(corrupt(format!("{} bytes long", m.len()))),
        Ok(_) => {}
    }
    let bytes = fs::read(path).context(|| format!("reading {}", path.display()))?;
    let Some(split) = bytes.iter().position(|b| *b == b'\n') else {
        return Err(corrupt("no checksum line".into()));
    };
    let (sum, body) = (&bytes[..split], &bytes[split + 1..]);
    if sum != hex(&Sha256::digest(body)).as_bytes() {
        return Err(corrupt("the checksum does not match".into()));
    }
    serde_json::from_slice(body).map(Some).map_err(|e| corrupt(e.to_string()))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut s, b| {
        let _ = write!(s, "{b:02x}");
        s
    })
}

/// Nanoseconds since 1970 by the machine's clock.
pub(crate) fn now_nanos() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_byte_is_detected_and_a_missing_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.state");
        assert_eq!(read::<Vec<u32>>(&path).unwrap(), None);
        write(&path, &vec![1u32, 2, 3]).unwrap();
        assert_eq!(read::<Vec<u32>>(&path).unwrap(), Some(vec![1, 2, 3]));
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 2;
        bytes[last] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(read::<Vec<u32>>(&path).unwrap_err().kind, Kind::Corrupt);
    }
}
