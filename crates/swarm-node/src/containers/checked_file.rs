//! One value as one file whose first line is the CRC-32 of the rest.
//!
//! A new file takes the place of the old one, so that the death of the daemon leaves either. It does not wait for the
//! disk, as the runtime does not with its part: after a power cut no container runs any more, the checksum tells what is
//! whole, and waiting twice would be much of the time that a container takes to start.

use std::path::Path;

use container_runtime::{Error, Kind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads a value.
pub(super) fn read<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let bad = |what: String| Error::new(Kind::Corrupt, format!("{}: {what}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| bad(error.to_string()))?;
    let (sum, json) = text.split_once('\n').ok_or_else(|| bad("no checksum".into()))?;
    if sum != format!("{:08x}", crc32fast::hash(json.as_bytes())) {
        return Err(bad("the checksum does not match".into()));
    }
    serde_json::from_str(json).map_err(|error| bad(error.to_string()))
}

/// Writes it.
pub(super) fn write<T: Serialize>(file: &Path, value: &T) -> Result<()> {
    let failed =
        |error: &dyn std::fmt::Display| Error::new(Kind::Internal, format!("writing {}: {error}", file.display()));
    let json = serde_json::to_string(value).map_err(|error| failed(&error))?;
    let next = file.with_extension("next");
    let write = || -> std::io::Result<()> {
        std::fs::write(&next, format!("{:08x}\n{json}", crc32fast::hash(json.as_bytes())))?;
        std::fs::rename(&next, file)
    };
    write().map_err(|error| failed(&error))
}
