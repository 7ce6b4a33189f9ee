//! Control groups of a sandbox, as root only: one subtree per sandbox in every hierarchy, one group per node in it.
//!
//! Works with version 1 (one hierarchy per controller), version 2, and both side by side. Without root nothing is
//! made: limits are then accepted and not enforced, which the node daemon says as Docker does. The folders made
//! outside are recorded in the state folder before they exist, so that a crash leaves nothing unfindable.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{SandboxError, io_error};

/// Marks our folders; nothing without it in its name is ever removed.
const PREFIX: &str = "swarmlab-";
const RECORD: &str = "cgroups.json";

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Folder name below /sys/fs/cgroup: `memory`, `cpu,cpuacct`, `systemd`; empty for version 2 as the only one.
    pub folder: String,
    /// Mount options: `memory`, `name=systemd`; empty for version 2.
    pub options: String,
    /// Where the hierarchy is mounted here.
    mount: PathBuf,
    /// This process's group in it.
    own: PathBuf,
}

impl Hierarchy {
    fn is_v2(&self) -> bool {
        self.options.is_empty()
    }

    fn base(&self, id: &str) -> PathBuf {
        if self.is_v2() {
            // a group with processes of its own cannot have children with controllers, so ours goes to the top
            self.mount.join(format!("{PREFIX}{id}"))
        } else {
            // below our own group, so that limits set on us hold for the sandbox too
            self.own.join(format!("{PREFIX}{id}"))
        }
    }
}

/// The hierarchies that are mounted here.
pub fn hierarchies() -> Vec<Hierarchy> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    parse(&groups, &mounts)
}

fn parse(groups: &str, mounts: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mounts.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let (Some(root), Some(mount)) = (left.get(3), left.get(4)) else {
            continue;
        };
        let (Some(kind), Some(super_options)) = (right.first(), right.get(2)) else {
            continue;
        };
        if !matches!(*kind, "cgroup" | "cgroup2") {
            continue;
        }
        let group = groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let same = match *kind {
                "cgroup2" => controllers.is_empty(),
                // `name=systemd` stands in both as it is; controllers stand among other mount options
                _ => {
                    !controllers.is_empty()
                        && controllers.split(',').all(|c| super_options.split(',').any(|option| option == c))
                }
            };
            same.then_some((controllers, path))
        });
        let Some((controllers, path)) = group else {
            continue;
        };
        let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
        let folder = Path::new(mount)
            .strip_prefix("/sys/fs/cgroup")
            .map(|folder| folder.to_string_lossy().into_owned())
            .unwrap_or_else(|_| controllers.trim_start_matches("name=").to_owned());
        let hierarchy = Hierarchy {
            folder,
            options: controllers.to_owned(),
            own: Path::new(mount).join(below),
            mount: PathBuf::from(mount),
        };
        if !found.iter().any(|known| known.options == hierarchy.options) {
            found.push(hierarchy);
        }
    }
    found
}

/// Makes the sandbox's subtrees and records them in its state folder.
pub fn create(dir: &Path, id: &str) -> Result<Vec<PathBuf>, SandboxError> {
    let wanted: Vec<(Hierarchy, PathBuf)> = hierarchies()
        .into_iter()
        .map(|hierarchy| {
            let base = hierarchy.base(id);
            (hierarchy, base)
        })
        .collect();
    let paths: Vec<&PathBuf> = wanted.iter().map(|(_, path)| path).collect();
    let record =
        serde_json::to_vec(&paths).map_err(|error| SandboxError::Remote(format!("encode {RECORD}: {error}")))?;
    fs::write(dir.join(RECORD), record).map_err(io_error(format!("write {RECORD}")))?;
    let mut made = Vec::new();
    for (hierarchy, path) in wanted {
        if hierarchy.is_v2() {
            enable_controllers(&hierarchy.mount);
        }
        // a read-only or masked hierarchy is left out: limits of its controllers are then not enforced
        match make_group(&path) {
            Ok(()) => made.push(path),
            Err(error) => {
                eprintln!("cgroup {}: {error}: left out", path.display());
            }
        }
    }
    Ok(made)
}

/// Makes one group, usable at once.
pub fn make_group(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // version 1 cpusets start empty, and no process may enter an empty one
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if let (Some(parent), true) = (path.parent(), path.join("cgroup.procs").exists())
            && let Ok(value) = fs::read_to_string(parent.join(file))
            && !value.trim().is_empty()
        {
            let _ = fs::write(path.join(file), value.trim());
        }
    }
    Ok(())
}

/// Hands all controllers of a version 2 group on to its children, as far as the kernel lets us.
pub fn enable_controllers(group: &Path) {
    let Ok(all) = fs::read_to_string(group.join("cgroup.controllers")) else {
        return;
    };
    for controller in all.split_whitespace() {
        let _ = fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// Moves a process into the groups.
pub fn enter(groups: &[PathBuf], pid: i32) -> Result<(), SandboxError> {
    for group in groups {
        fs::write(group.join("cgroup.procs"), pid.to_string())
            .map_err(io_error(format!("enter cgroup {}", group.display())))?;
    }
    Ok(())
}

/// Removes the recorded subtrees of a dead sandbox; quiet where there are none.
pub fn remove_recorded(dir: &Path) {
    let Ok(text) = fs::read(dir.join(RECORD)) else {
        return;
    };
    let paths: Vec<PathBuf> = serde_json::from_slice(&text).unwrap_or_default();
    for path in paths {
        let ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        if ours && let Err(error) = remove_group(&path) {
            eprintln!("cgroup {} not removed: {error}", path.display());
        }
    }
}

/// Removes a group and those below it; fine when it is not there.
pub fn remove_group(path: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path())?;
        }
    }
    // files of a group are not real: only rmdir works. A process that is just being reaped keeps the group busy
    // for a moment, and no event tells its end: hence the few short waits.
    let mut result = fs::remove_dir(path);
    for _ in 0..50 {
        match &result {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(std::time::Duration::from_millis(10));
                result = fs::remove_dir(path);
            }
            _ => break,
        }
    }
    result
}

/// A name for the subtree that no other sandbox of this machine has: of name and state folder.
pub fn id_of(dir: &Path) -> String {
    let name = dir.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut hash: u32 = 0x811c_9dc5; // FNV-1a: short, stable, and no secret
    for byte in dir.as_os_str().as_bytes() {
        hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    }
    format!("{}-{hash:08x}", name.unwrap_or_default())
}

/// The sandbox root's node folder in each hierarchy, as mounted inside at `mount_root`.
pub fn node_groups(mount_root: &Path, hierarchies: &[Hierarchy], node: &str) -> Vec<PathBuf> {
    hierarchies.iter().map(|hierarchy| mount_root.join(&hierarchy.folder).join(node)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_groups_lie_below_our_own() {
        let found = parse(
            "4:memory:/a/b\n3:cpu,cpuacct:/\n1:name=systemd:/\n0::/\n",
            "1 0 0:1 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             2 0 0:2 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             3 0 0:3 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
             4 0 0:4 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        );
        let folders: Vec<&str> = found.iter().map(|h| h.folder.as_str()).collect();
        assert_eq!(folders, ["memory", "cpu,cpuacct", "systemd", "unified"]);
        assert_eq!(found[0].base("x"), Path::new("/sys/fs/cgroup/memory/a/b/swarmlab-x"));
        assert_eq!(found[2].options, "name=systemd");
    }

    #[test]
    fn version_2_groups_lie_at_the_top() {
        let found = parse("0::/user.slice/session\n", "4 0 0:4 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        assert_eq!(found[0].folder, "");
        assert_eq!(found[0].base("x"), Path::new("/sys/fs/cgroup/swarmlab-x"));
    }
}
