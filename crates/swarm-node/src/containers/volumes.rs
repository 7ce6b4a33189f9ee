//! Local volumes: a directory each, with a small description beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use container_runtime::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use swarm_types::Labels;

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name; 64 hex digits for anonymous ones.
    pub name: String,
    /// Nanoseconds since 1970.
    pub created_at: i64,
    /// Its labels.
    pub labels: Labels,
    /// Options of its driver.
    pub options: BTreeMap<String, String>,
}

/// The volumes of a node.
#[derive(Debug)]
pub struct Volumes {
    dir: PathBuf,
}

impl Volumes {
    pub(super) fn open(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).map_err(|error| failed("making", dir, &error))?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// All volumes by name.
    pub fn list(&self) -> Vec<Volume> {
        let Ok(files) = std::fs::read_dir(&self.dir) else { return Vec::new() };
        let mut all: Vec<Volume> =
            files.flatten().filter_map(|file| self.get(&file.file_name().to_string_lossy()).ok()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// One volume.
    pub fn get(&self, name: &str) -> Result<Volume> {
        let missing = || Error::new(Kind::NotFound, format!("get {name}: no such volume"));
        check_name(name).map_err(|_| missing())?;
        let text = std::fs::read(self.dir.join(name).join("volume.json")).map_err(|_| missing())?;
        serde_json::from_slice(&text)
            .map_err(|error| Error::new(Kind::Corrupt, format!("the description of volume {name} is damaged: {error}")))
    }

    /// Where its files are.
    pub fn data(&self, name: &str) -> PathBuf {
        self.dir.join(name).join("_data")
    }

    /// Makes a volume unless it is there; tells whether it was made.
    pub fn ensure(&self, name: &str, labels: Labels, options: BTreeMap<String, String>) -> Result<(Volume, bool)> {
        check_name(name)?;
        if let Ok(volume) = self.get(name) {
            return Ok((volume, false));
        }
        let data = self.data(name);
        std::fs::create_dir_all(&data).map_err(|error| failed("making", &data, &error))?;
        let created_at = crate::core::now().as_nanos();
        let volume = Volume { name: name.into(), created_at, labels, options };
        let file = self.dir.join(name).join("volume.json");
        let text = serde_json::to_vec(&volume).map_err(|error| failed("writing", &file, &error))?;
        std::fs::write(&file, text).map_err(|error| failed("writing", &file, &error))?;
        Ok((volume, true))
    }

    /// Removes a volume with its files. Whether it is used, the caller has asked.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.get(name)?;
        let dir = self.dir.join(name);
        std::fs::remove_dir_all(&dir).map_err(|error| failed("removing", &dir, &error))
    }
}

fn failed(what: &str, path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Internal, format!("{what} {}: {error}", path.display()))
}

/// Docker's rule for names, which also keeps paths out.
pub fn check_name(name: &str) -> Result<()> {
    if name.len() == 1 {
        let short = "volume name is too short, names should be at least two alphanumeric characters";
        return Err(Error::new(Kind::InvalidArgument, format!("create {name}: {short}")));
    }
    let ok = name.len() <= 255
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
    match ok {
        true => Ok(()),
        false => Err(Error::new(
            Kind::InvalidArgument,
            format!(
                "create {name}: {name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
            ),
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_made_once_and_paths_are_no_names() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = Volumes::open(dir.path()).unwrap();
        assert!(volumes.ensure("data", Labels::new(), BTreeMap::new()).unwrap().1);
        assert!(!volumes.ensure("data", Labels::new(), BTreeMap::new()).unwrap().1);
        assert_eq!(volumes.list().len(), 1);
        for bad in ["", "a", "../x", "a/b", ".hidden"] {
            assert!(volumes.ensure(bad, Labels::new(), BTreeMap::new()).is_err(), "{bad}");
            assert!(volumes.get(bad).is_err(), "{bad}");
        }
        volumes.remove("data").unwrap();
        assert_eq!(volumes.get("data").unwrap_err().to_string(), "get data: no such volume");
    }
}
