//! The tasks that the agent remembers over a restart of the daemon, one small file each. They hold no secrets. They are
//! not synced: a daemon that was killed finds them, and after a loss of power the managers send the tasks anew.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use swarm_agent::StoredTask;
use swarm_types::TaskId;

use crate::storage::{StorageError, create_private_dir};

/// The folder of the tasks.
#[derive(Debug)]
pub struct TaskFiles {
    dir: PathBuf,
}

impl TaskFiles {
    /// Opens (or makes) the folder and reads the tasks. Files that cannot be read are set aside and named.
    pub fn open(dir: &Path) -> Result<(Self, Vec<StoredTask>, Vec<String>), StorageError> {
        create_private_dir(dir)?;
        let io = |source| StorageError::Io { action: "list", path: dir.to_owned(), source };
        let (mut tasks, mut damaged) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(dir).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if name.parse::<TaskId>().is_err() {
                continue;
            }
            let bytes =
                fs::read(&path).map_err(|source| StorageError::Io { action: "read", path: path.clone(), source })?;
            match decode(&bytes) {
                Some(task) => tasks.push(task),
                None => {
                    let aside = path.with_extension("corrupt");
                    fs::rename(&path, &aside).map_err(|source| StorageError::Io {
                        action: "set aside",
                        path: path.clone(),
                        source,
                    })?;
                    damaged.push(format!("{}: damaged, set aside; the managers know the task", aside.display()));
                }
            }
        }
        tasks.sort_by_key(|stored| stored.task.id);
        Ok((Self { dir: dir.to_owned() }, tasks, damaged))
    }

    /// Remembers a task as it is now.
    pub fn put(&self, stored: &StoredTask) -> Result<(), StorageError> {
        let path = self.path(stored.task.id);
        let temporary = self.dir.join("task.new");
        let io = |source| StorageError::Io { action: "write", path: path.clone(), source };
        let content = rmp_serde::to_vec_named(stored).map_err(|error| io(io::Error::other(error)))?;
        let mut file =
            OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&temporary).map_err(io)?;
        file.write_all(&crc32fast::hash(&content).to_le_bytes()).map_err(io)?;
        file.write_all(&content).map_err(io)?;
        fs::rename(&temporary, &path).map_err(io)
    }

    /// Forgets a task.
    pub fn remove(&self, task: TaskId) -> Result<(), StorageError> {
        let path = self.path(task);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(StorageError::Io { action: "remove", path, source })
            }
            _ => Ok(()),
        }
    }

    fn path(&self, task: TaskId) -> PathBuf {
        self.dir.join(task.to_string())
    }
}

fn decode(bytes: &[u8]) -> Option<StoredTask> {
    let (sum, content) = bytes.split_at_checked(4)?;
    if crc32fast::hash(content).to_le_bytes() != sum {
        return None;
    }
    rmp_serde::from_slice(content).ok()
}
