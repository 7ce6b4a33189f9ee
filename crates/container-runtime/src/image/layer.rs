//! A layer's archive into a directory that overlayfs can stack: files, links, owners, and Docker's whiteouts turned
//! into overlayfs's. Every path is resolved by the kernel with the layer's directory as `/`.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::libc;
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmodat, mkdirat, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat};

use super::archive::Limits;
use crate::error::{Context, Error, Result};
use std::path::Path;

const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

/// Unpacks one layer; returns the bytes of its files.
pub(super) fn unpack(tar: impl Read, to: &Path, rootless: bool, limits: &Limits) -> Result<u64> {
    let root = File::open(to).context(|| format!("opening {}", to.display()))?;
    let mut u = Unpacker { root: root.into(), rootless, bytes: 0, times: BTreeMap::new() };
    let bad = |e: std::io::Error| Error::invalid(format!("invalid layer: {e}"));
    let mut archive = tar::Archive::new(tar);
    for (n, entry) in archive.entries().map_err(bad)?.enumerate() {
        if n >= limits.layer_entries {
            return Err(Error::invalid(format!("a layer has more than {} entries", limits.layer_entries)));
        }
        u.entry(&mut entry.map_err(bad)?)?;
    }
    u.directory_times();
    Ok(u.bytes)
}

struct Unpacker {
    root: OwnedFd,
    rootless: bool,
    bytes: u64,
    /// Set last: filling a directory changes its time.
    times: BTreeMap<String, i64>,
}

impl Unpacker {
    fn entry<R: Read>(&mut self, e: &mut tar::Entry<'_, R>) -> Result<()> {
        let bad = |err: std::io::Error| Error::invalid(format!("invalid layer: {err}"));
        let raw = e.path_bytes().into_owned();
        let path = clean(&raw)?;
        if path.is_empty() {
            return self.attributes(".", e, true);
        }
        let (dir, name) = path.rsplit_once('/').unwrap_or((".", &path));
        let parent = self.parent(dir)?;
        if name == OPAQUE {
            // Both spellings: which one overlayfs reads depends on who mounts.
            return self.opaque(&parent);
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            if hidden.starts_with(".wh.") {
                return Ok(()); // aufs's own bookkeeping
            }
            if matches!(hidden, "" | "." | "..") {
                return Err(Error::invalid(format!("invalid layer: whiteout of {hidden:?}")));
            }
            self.clear(&parent, hidden)?;
            return mknodat(parent.as_fd(), hidden, SFlag::S_IFCHR, Mode::empty(), 0)
                .context(|| format!("hiding {path}"));
        }
        let kind = e.header().entry_type();
        let mode = Mode::from_bits_truncate(e.header().mode().map_err(bad)? & 0o7777);
        if kind == tar::EntryType::Directory {
            // A directory may come twice, or after its content; anything else in its place gives way.
            match mkdirat(parent.as_fd(), name, Mode::S_IRWXU) {
                Ok(()) => {}
                Err(Errno::EEXIST) => {
                    if open(&parent, name, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).is_err() {
                        self.clear(&parent, name)?;
                        mkdirat(parent.as_fd(), name, Mode::S_IRWXU).context(|| format!("making {path}"))?;
                    }
                }
                Err(err) => return Err(err).context(|| format!("making {path}")),
            }
            return self.attributes(&path, e, true);
        }
        self.clear(&parent, name)?;
        let what = || format!("unpacking {path}");
        match kind {
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
                let how = how(flags).mode(Mode::S_IRUSR | Mode::S_IWUSR);
                let mut file = File::from(openat2(parent.as_fd(), name, how).context(what)?);
                let size = e.size();
                let n = std::io::copy(e, &mut file).map_err(bad)?;
                if n != size {
                    return Err(Error::invalid(format!("invalid layer: it ends in the middle of {path}")));
                }
                self.bytes += n;
            }
            tar::EntryType::Symlink => {
                let target = e.link_name_bytes().unwrap_or_default().into_owned();
                let target = CString::new(target).map_err(|_| Error::invalid("invalid layer: NUL in a link"))?;
                symlinkat(target.as_c_str(), parent.as_fd(), name).context(what)?;
            }
            tar::EntryType::Link => {
                let target = clean(&e.link_name_bytes().unwrap_or_default())?;
                let (tdir, tname) = target.rsplit_once('/').unwrap_or((".", &target));
                let from = self
                    .at(tdir, OFlag::O_PATH | OFlag::O_DIRECTORY)
                    .map_err(|err| Error::invalid(format!("invalid layer: {path} is a link to {target}: {err}")))?;
                return linkat(from.as_fd(), tname, parent.as_fd(), name, AtFlags::empty())
                    .map_err(|err| Error::invalid(format!("invalid layer: {path} is a link to {target}: {err}")));
            }
            tar::EntryType::Fifo => mknodat(parent.as_fd(), name, SFlag::S_IFIFO, mode, 0).context(what)?,
            tar::EntryType::Char | tar::EntryType::Block => {
                if self.rootless {
                    return Ok(()); // device nodes need root; /dev is made anew in every container anyway
                }
                let number = |r: std::io::Result<Option<u32>>| r.ok().flatten().unwrap_or(0);
                let device = libc::makedev(number(e.header().device_major()), number(e.header().device_minor()));
                let t = if kind == tar::EntryType::Char { SFlag::S_IFCHR } else { SFlag::S_IFBLK };
                mknodat(parent.as_fd(), name, t, mode, device).context(what)?;
            }
            _ => return Ok(()),
        }
        self.attributes(&path, e, false)
    }

    fn at(&self, path: &str, flags: OFlag) -> nix::Result<OwnedFd> {
        open(&self.root, path, flags)
    }

    fn parent(&self, dir: &str) -> Result<OwnedFd> {
        match self.at(dir, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            Ok(fd) => Ok(fd),
            Err(Errno::ENOENT) => {
                let (up, name) = dir.rsplit_once('/').unwrap_or((".", dir));
                let parent = self.parent(up)?;
                match mkdirat(parent.as_fd(), name, Mode::from_bits_truncate(0o755)) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(e) => return Err(e).context(|| format!("making {dir}")),
                }
                // A dangling link in its place resolves to nothing again; that is an error, not a loop.
                self.at(dir, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
                    .map_err(|e| Error::invalid(format!("invalid layer: {dir} is not a directory: {e}")))
            }
            Err(e) => Err(Error::invalid(format!("invalid layer: {dir} is not a directory: {e}"))),
        }
    }

    fn clear(&self, parent: &OwnedFd, name: &str) -> Result<()> {
        match unlinkat(parent.as_fd(), name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(Errno::EISDIR) => {
                let path = format!("/proc/self/fd/{}/{name}", parent.as_raw_fd());
                std::fs::remove_dir_all(path).context(|| format!("replacing {name}"))
            }
            Err(e) => Err(e).context(|| format!("replacing {name}")),
        }
    }

    fn attributes<R: Read>(&mut self, path: &str, e: &tar::Entry<'_, R>, directory: bool) -> Result<()> {
        let h = e.header();
        let (dir, name) = path.rsplit_once('/').unwrap_or((".", path));
        let parent = self.at(dir, OFlag::O_RDONLY | OFlag::O_DIRECTORY).context(|| format!("entering {dir}"))?;
        let what = || format!("setting the attributes of {path}");
        if !self.rootless {
            let id = |r: std::io::Result<u64>| r.map_err(|e| Error::invalid(format!("invalid layer: {e}")));
            let (uid, gid) = (id(h.uid())? as u32, id(h.gid())? as u32);
            fchownat(
                parent.as_fd(),
                name,
                Some(Uid::from_raw(uid)),
                Some(Gid::from_raw(gid)),
                AtFlags::AT_SYMLINK_NOFOLLOW,
            )
            .context(what)?;
        }
        let link = h.entry_type() == tar::EntryType::Symlink;
        if !link {
            let mode = Mode::from_bits_truncate(h.mode().unwrap_or(0o644) & 0o7777);
            fchmodat(parent.as_fd(), name, mode, FchmodatFlags::FollowSymlink).context(what)?;
        }
        let mtime = h.mtime().unwrap_or(0).min(i64::MAX as u64) as i64;
        if directory {
            self.times.insert(path.to_owned(), mtime);
        } else {
            set_time(&parent, name, mtime);
        }
        Ok(())
    }

    fn directory_times(&self) {
        for (path, mtime) in &self.times {
            let (dir, name) = path.rsplit_once('/').unwrap_or((".", path));
            if let Ok(parent) = self.at(dir, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
                set_time(&parent, name, *mtime);
            }
        }
    }

    fn opaque(&self, dir: &OwnedFd) -> Result<()> {
        let set = |name: &std::ffi::CStr| {
            // SAFETY: all pointers are to live, terminated or sized buffers, and the descriptor is open.
            let r = unsafe { libc::fsetxattr(dir.as_raw_fd(), name.as_ptr(), c"y".as_ptr().cast(), 1, 0) };
            Errno::result(r).map(drop)
        };
        let needed = if self.rootless { set(c"user.overlay.opaque") } else { set(c"trusted.overlay.opaque") };
        needed.context(|| {
            "marking a directory as opaque (the state directory's filesystem must support extended attributes)".into()
        })
    }
}

// A time that cannot be set spoils nothing.
fn set_time(parent: &OwnedFd, name: &str, mtime: i64) {
    let t = TimeSpec::new(mtime, 0);
    let _ = utimensat(parent.as_fd(), name, &t, &t, UtimensatFlags::NoFollowSymlink);
}

fn how(flags: OFlag) -> OpenHow {
    OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS)
}

fn open(dir: &OwnedFd, path: &str, flags: OFlag) -> nix::Result<OwnedFd> {
    openat2(dir.as_fd(), path, how(flags))
}

/// A relative path with `.` and doubled slashes gone. `..`, bytes that are no UTF-8, and excess are refused.
fn clean(raw: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(raw).map_err(|_| Error::invalid("invalid layer: a path is not UTF-8"))?;
    let parts: Vec<&str> = text.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    if parts.contains(&"..") || text.contains('\0') {
        return Err(Error::invalid(format!("invalid layer: unsafe path {text:?}")));
    }
    if text.len() > 4096 || parts.len() > 256 || parts.iter().any(|p| p.len() > 255) {
        return Err(Error::invalid(format!("invalid layer: a path of {} bytes and {} parts", text.len(), parts.len())));
    }
    Ok(parts.join("/"))
}
