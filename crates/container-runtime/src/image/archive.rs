//! The outer archive of `docker load`: a tar, perhaps compressed, taken apart into files of a scratch directory.
//! Names in it are only keys: no file is ever written under a name that the archive chose.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Component, Path, PathBuf};

use crate::error::{Context, Error, Result};

/// What an archive may ask of this machine.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one archive, uncompressed.
    pub archive_bytes: u64,
    /// Entries of the outer archive.
    pub archive_entries: usize,
    /// Bytes of one layer, uncompressed.
    pub layer_bytes: u64,
    /// Entries of one layer.
    pub layer_entries: usize,
    /// Bytes of a manifest, index or configuration.
    pub json_bytes: u64,
    /// Layers of one image: what overlayfs can stack.
    pub layers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            archive_bytes: 16 << 30,
            archive_entries: 100_000,
            layer_bytes: 16 << 30,
            layer_entries: 2_000_000,
            json_bytes: 8 << 20,
            layers: 125,
        }
    }
}

/// The files of an archive, by normalised name.
pub(super) struct Contents {
    files: BTreeMap<String, PathBuf>,
    links: BTreeMap<String, String>,
    max_json: u64,
}

impl Contents {
    /// Takes the archive apart.
    pub(super) fn unpack(input: impl Read, dir: &Path, limits: &Limits) -> Result<Contents> {
        let mut c = Contents { files: BTreeMap::new(), links: BTreeMap::new(), max_json: limits.json_bytes };
        let mut left = limits.archive_bytes;
        let plain = decompress(input)?;
        let mut tar = tar::Archive::new(plain);
        let bad = |e: std::io::Error| Error::invalid(format!("invalid tar archive: {e}"));
        for (n, entry) in tar.entries().map_err(bad)?.enumerate() {
            let mut entry = entry.map_err(bad)?;
            if n >= limits.archive_entries {
                return Err(Error::invalid(format!("the archive has more than {} entries", limits.archive_entries)));
            }
            let path = entry.path().map_err(bad)?;
            let Some(name) = normal(&path) else {
                return Err(Error::invalid(format!("the archive holds an unsafe path: {}", path.display())));
            };
            match entry.header().entry_type() {
                tar::EntryType::Regular | tar::EntryType::Continuous => {
                    let size = entry.size();
                    left = left.checked_sub(size).ok_or_else(|| {
                        Error::invalid(format!("the archive is larger than {} bytes", limits.archive_bytes))
                    })?;
                    let to = dir.join(format!("f{n}"));
                    let mut file = File::create(&to).context(|| format!("writing {}", to.display()))?;
                    let copied = copy(&mut entry, &mut file)?;
                    if copied != size {
                        return Err(Error::invalid("unexpected EOF: the archive ends in the middle of a file"));
                    }
                    c.files.insert(name, to);
                }
                // Old `docker save` stored a layer once and linked to it.
                tar::EntryType::Symlink | tar::EntryType::Link => {
                    let target = entry.link_name().map_err(bad)?.unwrap_or_default().into_owned();
                    let base = if entry.header().entry_type() == tar::EntryType::Symlink {
                        Path::new(&name).parent().unwrap_or(Path::new("")).join(&target)
                    } else {
                        target.clone()
                    };
                    let Some(to) = collapse(&base) else {
                        return Err(Error::invalid(format!(
                            "the archive holds an unsafe link: {name} -> {}",
                            target.display()
                        )));
                    };
                    c.links.insert(name, to);
                }
                _ => {}
            }
        }
        Ok(c)
    }

    fn path(&self, name: &str) -> Option<&Path> {
        let mut name = collapse(Path::new(name))?;
        for _ in 0..8 {
            if let Some(p) = self.files.get(&name) {
                return Some(p);
            }
            name = self.links.get(&name)?.clone();
        }
        None
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.path(name).is_some()
    }

    pub(super) fn open(&self, name: &str) -> Result<(File, u64)> {
        let path = self
            .path(name)
            .ok_or_else(|| Error::invalid(format!("the archive names {name:?} but does not hold it")))?;
        let file = File::open(path).context(|| format!("reading {name}"))?;
        let size = file.metadata().context(|| format!("reading {name}"))?.len();
        Ok((file, size))
    }

    /// A small file's bytes.
    pub(super) fn json(&self, name: &str) -> Result<Vec<u8>> {
        let (file, size) = self.open(name)?;
        if size > self.max_json {
            return Err(Error::invalid(format!("{name} has {size} bytes; at most {} are accepted", self.max_json)));
        }
        let mut bytes = Vec::with_capacity(size as usize);
        BufReader::new(file).read_to_end(&mut bytes).context(|| format!("reading {name}"))?;
        Ok(bytes)
    }
}

// Our own disk's errors are internal, the archive's are the sender's: told apart by who fails.
fn copy(from: &mut impl Read, to: &mut impl Write) -> Result<u64> {
    let mut buf = vec![0; 64 << 10];
    let mut total = 0;
    loop {
        let n = match from.read(&mut buf) {
            Ok(0) => return Ok(total),
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Error::invalid(format!("reading the archive: {e}"))),
        };
        to.write_all(&buf[..n]).context(|| "storing the archive".into())?;
        total += n as u64;
    }
}

/// Undoes gzip or zstd, by the first bytes.
pub(super) fn decompress<'a>(input: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    let mut input = BufReader::with_capacity(64 << 10, input);
    let mut head = Vec::new();
    input.by_ref().take(6).read_to_end(&mut head).map_err(|e| Error::invalid(format!("reading the archive: {e}")))?;
    let whole = std::io::Cursor::new(head.clone()).chain(input);
    Ok(match head.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut d = zstd::stream::read::Decoder::new(whole).map_err(|e| Error::invalid(format!("zstd: {e}")))?;
            // 128 MiB: what an archive may make us hold at once.
            d.window_log_max(27).map_err(|e| Error::invalid(format!("zstd: {e}")))?;
            Box::new(d)
        }
        [b'B', b'Z', b'h', ..] => {
            return Err(Error::invalid("bzip2 archives are not supported: repack with gzip or zstd"));
        }
        [0xfd, b'7', b'z', b'X', b'Z', ..] => {
            return Err(Error::invalid("xz archives are not supported: repack with gzip or zstd"));
        }
        [] => return Err(Error::invalid("the archive is empty")),
        _ => Box::new(whole),
    })
}

/// A relative path without `..`, as text with single slashes.
fn normal(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for c in path.components() {
        match c {
            Component::Normal(p) => parts.push(p.to_str()?),
            Component::CurDir => {}
            _ => return None,
        }
    }
    (path.as_os_str().len() <= 4096).then(|| parts.join("/"))
}

/// The same, with `..` resolved as long as it stays inside.
fn collapse(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for c in path.components() {
        match c {
            Component::Normal(p) => parts.push(p.to_str()?),
            Component::CurDir => {}
            Component::ParentDir => drop(parts.pop()?),
            _ => return None,
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_out_are_refused() {
        assert_eq!(normal(Path::new("./a//b/")), Some("a/b".into()));
        assert_eq!(normal(Path::new("a/../b")), None);
        assert_eq!(normal(Path::new("/a")), None);
        assert_eq!(collapse(Path::new("x/../y/layer.tar")), Some("y/layer.tar".into()));
        assert_eq!(collapse(Path::new("x/../../y")), None);
    }
}
