//! Small files that are replaced as a whole: a line with checksum and length, then the content. The previous content
//! stays beside it, for the case that the disk damages the current one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::{Repair, StorageError, set_aside};

/// What such a file begins with; the number is the format's.
const MAGIC: &str = "swarmlab-file-1";

/// Largest content that is read back: identity files have some kilobytes.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// A small file that survives crashes.
#[derive(Debug, Clone)]
pub struct CheckedFile {
    path: PathBuf,
}

impl CheckedFile {
    /// The file at `path`, which may not exist yet. Only its owner may read it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Replaces the content; on return it is on disk.
    pub fn write(&self, content: &[u8]) -> Result<(), StorageError> {
        let io = |action| StorageError::io(action, &self.path);
        let temporary = with_suffix(&self.path, ".new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(io("create"))?;
        let head = format!("{MAGIC} {:08x} {}\n", crc32fast::hash(content), content.len());
        file.write_all(head.as_bytes()).and_then(|()| file.write_all(content)).map_err(io("write"))?;
        file.sync_all().map_err(io("sync"))?;
        if self.path.exists() {
            let previous = with_suffix(&self.path, ".previous");
            match fs::remove_file(&previous) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io("replace backup of")(error)),
                _ => fs::hard_link(&self.path, &previous).map_err(io("keep backup of"))?,
            }
        }
        fs::rename(&temporary, &self.path).map_err(io("replace"))?;
        sync_dir_of(&self.path)
    }

    /// The content; the previous one if the current one is damaged; `None` if there is no file.
    pub fn read(&self) -> Result<(Option<Vec<u8>>, Vec<Repair>), StorageError> {
        let previous = with_suffix(&self.path, ".previous");
        match self.read_one(&self.path)? {
            Ok(content) => Ok((Some(content), Vec::new())),
            Err(None) if !previous.exists() => Ok((None, Vec::new())),
            Err(found) => {
                let aside = match found {
                    Some(_) => format!(", set aside as {}", set_aside(&self.path)?.display()),
                    None => String::new(),
                };
                let reason = found.unwrap_or_else(|| "is missing".to_owned());
                let Ok(content) = self.read_one(&previous)? else {
                    let reason =
                        format!("{reason}{aside}, and there is no usable backup: leave the swarm with --force");
                    return Err(StorageError::Unusable { path: self.path.clone(), reason });
                };
                self.write(&content)?;
                let what = format!("{reason}{aside}; went back to the content before the last change");
                Ok((Some(content), vec![Repair { path: self.path.clone(), loss: true, what }]))
            }
        }
    }

    /// Removes the file and its backup.
    pub fn remove(&self) -> Result<(), StorageError> {
        for path in [&self.path, &with_suffix(&self.path, ".previous"), &with_suffix(&self.path, ".new")] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StorageError::io("remove", path)(error));
                }
                _ => {}
            }
        }
        sync_dir_of(&self.path)
    }

    /// The inner error says what is wrong with the content; `None`: there is no file.
    #[allow(clippy::type_complexity)]
    fn read_one(&self, path: &Path) -> Result<Result<Vec<u8>, Option<String>>, StorageError> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(None)),
            other => other.map_err(StorageError::io("open", path))?,
        };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(StorageError::io("read", path))?;
        Ok(check(&bytes).map(<[u8]>::to_vec).map_err(|reason| Some(reason.to_owned())))
    }
}

fn check(bytes: &[u8]) -> Result<&[u8], &'static str> {
    let end = bytes.iter().take(64).position(|byte| *byte == b'\n').ok_or("has no head line")?;
    let (head, content) = (&bytes[..end], &bytes[end + 1..]);
    let mut words = std::str::from_utf8(head).map_err(|_| "has no readable head line")?.split(' ');
    if words.next() != Some(MAGIC) {
        return Err("was not written by this program or a newer one");
    }
    let sum = words.next().and_then(|word| u32::from_str_radix(word, 16).ok());
    let length = words.next().and_then(|word| word.parse::<usize>().ok());
    if length != Some(content.len()) {
        return Err("is cut short");
    }
    if sum != Some(crc32fast::hash(content)) {
        return Err("has a wrong checksum");
    }
    Ok(content)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes renames and new files in a file's folder durable.
pub(super) fn sync_dir_of(path: &Path) -> Result<(), StorageError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(StorageError::io("sync", dir))
}

/// Makes a folder (and its parents) that only its owner can enter.
pub fn create_private_dir(path: &Path) -> Result<(), StorageError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(StorageError::io("create", path))
}

/// Held while a daemon uses a state folder, so that a second one does not.
#[derive(Debug)]
pub struct DirLock {
    _lock: Flock<File>,
}

impl DirLock {
    /// Takes the folder.
    pub fn take(dir: &Path) -> Result<Self, StorageError> {
        let path = dir.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(StorageError::io("open", &path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { _lock: lock }),
            Err((_, errno)) if errno == nix::errno::Errno::EWOULDBLOCK => Err(StorageError::Unusable {
                path: dir.to_owned(),
                reason: "another daemon uses this state folder: stop it, or give this one a folder of its own".into(),
            }),
            Err((_, errno)) => Err(StorageError::io("lock", &path)(errno.into())),
        }
    }
}
