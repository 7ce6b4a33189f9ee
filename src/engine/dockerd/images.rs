//! The built-in lab images as an archive that genuine Docker loads: one layer with programs of this machine and the
//! swarmlab binary, and a configuration per image over it. Built once and kept in the user's cache.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use container_runtime::builtin;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::userland;
use crate::sandbox::SandboxError;

/// Programs that labs use in containers, as far as the machine has them.
const PROGRAMS: &[&str] = &[
    "sh",
    "bash",
    "cat",
    "ls",
    "echo",
    "printf",
    "true",
    "false",
    "test",
    "expr",
    "sleep",
    "timeout",
    "date",
    "env",
    "printenv",
    "hostname",
    "uname",
    "id",
    "whoami",
    "kill",
    "ps",
    "top",
    "free",
    "nproc",
    "uptime",
    "grep",
    "sed",
    "awk",
    "mawk",
    "gawk",
    "head",
    "tail",
    "cut",
    "sort",
    "uniq",
    "wc",
    "tr",
    "tee",
    "seq",
    "yes",
    "dd",
    "stat",
    "touch",
    "mkdir",
    "rmdir",
    "rm",
    "mv",
    "cp",
    "ln",
    "chmod",
    "chown",
    "df",
    "du",
    "find",
    "xargs",
    "readlink",
    "realpath",
    "dirname",
    "basename",
    "mktemp",
    "which",
    "getent",
    "ip",
    "ss",
    "wget",
    "nc",
    "dig",
    "md5sum",
    "sha256sum",
    "base64",
    "od",
    "mount",
    "umount",
    "sysctl",
    "sync",
    "tar",
    "gzip",
    "nohup",
    "setsid",
];

/// The archive, from the cache or newly made.
pub fn archive() -> Result<Vec<u8>, SandboxError> {
    let failed = |what: String| move |source: io::Error| SandboxError::Io { what, source };
    let binary = fs::metadata("/proc/self/exe").map_err(failed("look at our own binary".into()))?;
    // another build of swarmlab has another time and size; the machine's programs change rarely, and harmlessly
    let key = format!("{:x}-{:x}-{:x}", binary.size(), binary.mtime(), binary.mtime_nsec());
    let folder = cache_dir();
    let path = folder.join(format!("lab-images-{key}.tar"));
    if let Ok(bytes) = fs::read(&path) {
        return Ok(bytes);
    }
    let bytes = build().map_err(failed("pack the lab images from this machine's programs".into()))?;
    // a cache that cannot be written only costs time
    if fs::create_dir_all(&folder).is_ok() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("lab-images-") {
                let _ = fs::remove_file(entry.path());
            }
        }
        let next = folder.join(format!("next-{}", std::process::id()));
        if fs::write(&next, &bytes).and_then(|()| fs::rename(&next, &path)).is_err() {
            let _ = fs::remove_file(&next);
        }
    }
    Ok(bytes)
}

fn cache_dir() -> PathBuf {
    let from_env = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from_env("XDG_CACHE_HOME")
        .or_else(|| from_env("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(|| PathBuf::from("/tmp"))
        .join("swarmlab")
}

fn build() -> io::Result<Vec<u8>> {
    let layer = layer()?;
    let diff_id = format!("sha256:{:x}", Sha256::digest(&layer));
    let images = builtin::exported(&diff_id).map_err(io::Error::other)?;
    let mut archive = tar::Builder::new(Vec::with_capacity(layer.len() + (1 << 20)));
    append(&mut archive, "layer.tar", 0o644, layer.as_slice(), layer.len())?;
    let mut manifest = Vec::new();
    for (name, config) in images {
        let file = format!("{:x}.json", Sha256::digest(&config));
        append(&mut archive, &file, 0o644, config.as_bytes(), config.len())?;
        manifest.push(json!({ "Config": file, "RepoTags": [name], "Layers": ["layer.tar"] }));
    }
    let manifest = json!(manifest).to_string();
    append(&mut archive, "manifest.json", 0o644, manifest.as_bytes(), manifest.len())?;
    archive.into_inner()
}

/// The file system that all lab images share.
fn layer() -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    // Docker refuses a layer that holds a path twice
    let mut made = BTreeSet::new();
    for dir in ["usr", "etc", "tmp", "var", "var/tmp", "root", "home", "proc", "sys", "dev", "run", "mnt", ".swarmlab"]
    {
        folder(&mut tar, dir, if dir.ends_with("tmp") { 0o1777 } else { 0o755 })?;
        made.insert(PathBuf::from(dir));
    }
    for (name, text) in [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"),
        ("etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
        ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
    ] {
        append(&mut tar, name, 0o644, text.as_bytes(), text.len())?;
    }
    // as on the machine: links into /usr where it has them
    for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        if let Ok(target) = fs::read_link(Path::new("/").join(name)) {
            link(&mut tar, name, &target)?;
        }
    }
    let applets = Path::new(builtin::APPLETS_DIR.trim_start_matches('/'));
    folder(&mut tar, applets, 0o755)?;
    for name in builtin::APPLETS {
        link(&mut tar, applets.join(name), Path::new(builtin::EXE))?;
    }
    let own = Path::new(builtin::EXE);
    let wanted = userland::collect(PROGRAMS, Path::new("/proc/self/exe"))?;
    let mut files: Vec<(PathBuf, PathBuf)> = wanted.into_iter().collect();
    files.push((own.to_path_buf(), PathBuf::from("/proc/self/exe")));
    for (inside, outside) in files {
        let inside = inside.strip_prefix("/").unwrap_or(&inside).to_path_buf();
        let mut parents: Vec<&Path> = inside.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()).collect();
        parents.reverse();
        for parent in parents {
            if made.insert(parent.to_path_buf()) {
                folder(&mut tar, parent, 0o755)?;
            }
        }
        let mut bytes = Vec::new();
        fs::File::open(&outside)?.read_to_end(&mut bytes)?;
        append(&mut tar, &inside, 0o755, bytes.as_slice(), bytes.len())?;
    }
    tar.into_inner()
}

fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header
}

fn append(
    tar: &mut tar::Builder<Vec<u8>>,
    path: impl AsRef<Path>,
    mode: u32,
    bytes: impl Read,
    size: usize,
) -> io::Result<()> {
    tar.append_data(&mut header(tar::EntryType::Regular, mode, size), path, bytes)
}

fn folder(tar: &mut tar::Builder<Vec<u8>>, path: impl AsRef<Path>, mode: u32) -> io::Result<()> {
    tar.append_data(&mut header(tar::EntryType::Directory, mode, 0), path, io::empty())
}

fn link(tar: &mut tar::Builder<Vec<u8>>, path: impl AsRef<Path>, target: &Path) -> io::Result<()> {
    tar.append_link(&mut header(tar::EntryType::Symlink, 0o777, 0), path, target)
}
