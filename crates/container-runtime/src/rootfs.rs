//! The container's root filesystem, prepared in the shim's own mount namespace: the overlay, and what has to be
//! looked up or made inside it. Every path inside is resolved by the kernel as if the container's root were `/`,
//! so an image's symbolic links cannot lead out. Leaves out the mounts on top, which libcontainer makes.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, mkdirat};

use crate::config::MountSource;
use crate::error::{Context, Error, Kind, Result};
use crate::plan::Plan;

/// Enters a mount namespace of the shim's own and mounts the overlay at `dir/bundle/rootfs`. The mount lives
/// exactly as long as the shim and the container: nobody has to unmount it.
pub(crate) fn mount_overlay(plan: &Plan, dir: &Path) -> Result<PathBuf> {
    unshare(CloneFlags::CLONE_NEWNS).context(|| "making a mount namespace".into())?;
    // Slave, not private: when the node unmounts a secret's tmpfs, no copy of the mount here keeps it alive.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
        .context(|| "separating the mount namespace".into())?;
    let rootfs = dir.join("bundle/rootfs");
    for d in ["bundle/rootfs", "upper", "work"] {
        fs::create_dir_all(dir.join(d)).context(|| format!("making {d} in {}", dir.display()))?;
    }
    // The root directory of the overlay takes its mode from the upper directory.
    fs::set_permissions(dir.join("upper"), fs::Permissions::from_mode(0o755)).context(|| "chmod of upper".into())?;
    // Layers by name relative to their directory, and our own directory by descriptor: mount options have one page
    // in all, and commas or colons in the state directory's path would otherwise need escaping.
    let own = File::open(dir).context(|| format!("opening {}", dir.display()))?;
    std::env::set_current_dir(&plan.layers_dir).context(|| format!("entering {}", plan.layers_dir.display()))?;
    let fd = own.as_raw_fd();
    let mut options =
        format!("lowerdir={},upperdir=/proc/self/fd/{fd}/upper,workdir=/proc/self/fd/{fd}/work", plan.layers.join(":"));
    if plan.rootless {
        options.push_str(",userxattr");
    }
    let mounted = mount(Some("overlay"), &rootfs, Some("overlay"), MsFlags::empty(), Some(options.as_str()));
    std::env::set_current_dir("/").context(|| "leaving the layer directory".into())?;
    mounted.map_err(|e| {
        let hint = match e {
            Errno::EPERM if plan.rootless => {
                "; overlayfs in a user namespace needs Linux 5.11 or newer and no security \
                 module that forbids it: run `swarmlab doctor`"
            }
            Errno::EINVAL => {
                "; the state directory's filesystem may not carry an overlay (another overlay, or NFS): \
                 set XDG_RUNTIME_DIR to a directory on ext4, xfs, btrfs or tmpfs"
            }
            Errno::ENODEV => "; the kernel has no overlayfs: `modprobe overlay` as root",
            _ => "",
        };
        Error::new(Kind::Unsupported, format!("mounting the container's overlay filesystem: {e}{hint}"))
    })?;
    Ok(rootfs)
}

/// A directory that paths are resolved in as if it were `/`.
pub(crate) struct Root(OwnedFd);

impl Root {
    pub(crate) fn open(path: &Path) -> Result<Root> {
        let file = File::open(path).context(|| format!("opening {}", path.display()))?;
        Ok(Root(file.into()))
    }

    pub(crate) fn open_at(&self, path: &str, flags: OFlag) -> nix::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(self.0.as_fd(), if path.is_empty() { "." } else { path }, how)
    }

    /// A file's text, if it exists and is a plain file of reasonable size.
    fn read(&self, path: &str) -> Option<String> {
        let fd = self.open_at(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK).ok()?;
        let file = File::from(fd);
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let mut text = Vec::new();
        file.take(4 << 20).read_to_end(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// Makes a directory and its parents, following links inside the root.
    pub(crate) fn mkdir_all(&self, path: &str, mode: u32) -> Result<OwnedFd> {
        let mut so_far = String::new();
        let mut dir = self.open_at(".", OFlag::O_PATH | OFlag::O_DIRECTORY).context(|| "opening the root".into())?;
        for part in path.split('/').filter(|p| !p.is_empty() && *p != ".") {
            so_far.push('/');
            so_far.push_str(part);
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
            dir = match self.open_at(&so_far, flags) {
                Ok(d) => d,
                Err(Errno::ENOENT) => mkdirat(dir.as_fd(), part, Mode::from_bits_truncate(mode))
                    .and_then(|()| self.open_at(&so_far, flags))
                    .context(|| format!("making {so_far} in the container"))?,
                Err(e) => return Err(e).context(|| format!("entering {so_far} in the container")),
            };
        }
        Ok(dir)
    }
}

/// Who a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: String,
}

/// Resolves `user[:group]` against the container's own /etc/passwd and /etc/group.
pub(crate) fn resolve_user(root: &Root, spec: &str, extra_groups: &[String], rootless: bool) -> Result<User> {
    let passwd = root.read("etc/passwd").unwrap_or_default();
    let group = root.read("etc/group").unwrap_or_default();
    let user = lookup_user(&passwd, &group, spec, extra_groups)?;
    if rootless {
        check_mapped("uid", user.uid, "/proc/self/uid_map")?;
        check_mapped("gid", user.gid, "/proc/self/gid_map")?;
        if !extra_groups.is_empty() {
            return Err(Error::new(
                Kind::Unsupported,
                "supplementary groups cannot be set without root: the lab's user namespace forbids setgroups",
            ));
        }
        return Ok(User { groups: Vec::new(), ..user });
    }
    Ok(user)
}

fn lookup_user(passwd: &str, group: &str, spec: &str, extra: &[String]) -> Result<User> {
    let (user, wanted_group) = spec.split_once(':').map_or((spec, None), |(u, g)| (u, Some(g)));
    let user = if user.is_empty() { "0" } else { user };
    let entry = passwd
        .lines()
        .map(|l| l.split(':').collect::<Vec<_>>())
        .find(|f| f.len() >= 6 && (f[0] == user || (f[2] == user && user.parse::<u32>().is_ok())));
    let number = |s: &str| s.parse::<u32>().ok().filter(|n| *n < 1 << 31);
    let (name, uid, gid, home) = match &entry {
        Some(f) => (
            Some(f[0]),
            number(f[2]).ok_or_else(|| Error::invalid(format!("/etc/passwd: bad uid for user {user}")))?,
            number(f[3]).unwrap_or(0),
            f[5].to_owned(),
        ),
        None => {
            let uid = number(user).ok_or_else(|| {
                Error::invalid(format!("unable to find user {user}: no matching entries in passwd file"))
            })?;
            (None, uid, 0, "/".to_owned())
        }
    };
    let gid_of = |g: &str| -> Result<u32> {
        group
            .lines()
            .map(|l| l.split(':').collect::<Vec<_>>())
            .find(|f| f.len() >= 3 && f[0] == g)
            .and_then(|f| number(f[2]))
            .or_else(|| number(g))
            .ok_or_else(|| Error::invalid(format!("unable to find group {g}: no matching entries in group file")))
    };
    let mut groups = Vec::new();
    let gid = match wanted_group {
        Some(g) if !g.is_empty() => gid_of(g)?,
        _ => {
            // As login does: the groups that list the user. Given an explicit group, just that one.
            for f in group.lines().map(|l| l.split(':').collect::<Vec<_>>()) {
                if f.len() >= 4
                    && name.is_some_and(|n| f[3].split(',').any(|m| m == n))
                    && let Some(g) = number(f[2])
                {
                    groups.push(g);
                }
            }
            gid
        }
    };
    groups.insert(0, gid);
    for g in extra {
        groups.push(gid_of(g)?);
    }
    let mut seen = std::collections::BTreeSet::new();
    groups.retain(|g| seen.insert(*g));
    Ok(User { uid, gid, groups, home })
}

fn check_mapped(what: &str, id: u32, map: &str) -> Result<()> {
    let text = fs::read_to_string(map).context(|| format!("reading {map}"))?;
    let inside = |l: &str| {
        let mut n = l.split_whitespace().filter_map(|f| f.parse::<u64>().ok());
        matches!((n.next(), n.next(), n.next()), (Some(start), Some(_), Some(len)) if (start..start + len).contains(&id.into()))
    };
    if text.lines().any(inside) {
        return Ok(());
    }
    Err(Error::new(
        Kind::Unsupported,
        format!(
            "the container asks to run as {what} {id}, which is not mapped in this lab's user namespace: use an image \
             or `--user` that runs as root inside, give this account a range in /etc/subuid and /etc/subgid and \
             install newuidmap, or run the lab as root"
        ),
    ))
}

/// Copies an image's content into volumes that are empty, as Docker does at a volume's first use.
pub(crate) fn fill_volumes(plan: &Plan, root: &Root) -> Result<()> {
    for m in &plan.mounts {
        let MountSource::Volume { path, no_copy: false } = &m.source else {
            continue;
        };
        let empty = fs::read_dir(path).context(|| format!("reading volume {}", path.display()))?.next().is_none();
        if !empty {
            continue;
        }
        if let Ok(source) = root.open_at(&m.target, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            // From here by descriptor: the copy walks real directory entries and never follows a link.
            let from = PathBuf::from(format!("/proc/self/fd/{}", source.as_raw_fd()));
            copy_tree(&from, path, 0).context(|| format!("filling the volume for {}", m.target))?;
        }
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path, depth: usize) -> std::io::Result<()> {
    if depth > 256 {
        return Err(std::io::Error::other("directories nested deeper than 256"));
    }
    copy_owner(&fs::metadata(from)?, to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (meta, target) = (entry.metadata()?, to.join(entry.file_name()));
        if meta.is_dir() {
            fs::create_dir(&target)?;
            copy_tree(&entry.path(), &target, depth + 1)?;
        } else if meta.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, &target)?;
        } else if meta.is_file() {
            fs::copy(entry.path(), &target)?;
            copy_owner(&meta, &target)?;
        }
        // Sockets, pipes and devices mean nothing in a volume.
    }
    Ok(())
}

fn copy_owner(meta: &fs::Metadata, to: &Path) -> std::io::Result<()> {
    // Where other owners cannot exist (one mapped uid) everything belongs to root anyway.
    let _ = std::os::unix::fs::chown(to, Some(meta.uid()), Some(meta.gid()));
    fs::set_permissions(to, fs::Permissions::from_mode(meta.mode() & 0o7777))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n";
    const GROUP: &str = "root:x:0:\napp:x:1001:\nwheel:x:10:root,app\n";

    #[test]
    fn users_and_groups_resolve_by_name_and_number() {
        let u = |s: &str| lookup_user(PASSWD, GROUP, s, &[]).unwrap();
        assert_eq!(u(""), User { uid: 0, gid: 0, groups: vec![0, 10], home: "/root".into() });
        assert_eq!(u("app"), User { uid: 1000, gid: 1001, groups: vec![1001, 10], home: "/home/app".into() });
        assert_eq!(u("1000:wheel").gid, 10);
        assert_eq!(u("4242"), User { uid: 4242, gid: 0, groups: vec![0], home: "/".into() });
        assert!(
            lookup_user(PASSWD, GROUP, "nobody", &[]).unwrap_err().message.contains("no matching entries in passwd")
        );
        assert!(lookup_user(PASSWD, GROUP, "app:nope", &[]).is_err());
    }

    #[test]
    fn links_inside_the_root_cannot_lead_out_of_it() {
        let d = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/../../../", d.path().join("up")).unwrap();
        let root = Root::open(d.path()).unwrap();
        root.mkdir_all("/up/made/here", 0o755).unwrap();
        assert!(d.path().join("made/here").is_dir());
    }
}
