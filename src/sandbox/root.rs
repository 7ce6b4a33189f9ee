//! File systems of the sandbox and of a node: what the programs in it see of the machine.
//!
//! The sandbox has a root of its own (a tmpfs) in which the machine's programs and libraries appear read-only; homes,
//! data and devices of the machine do not appear at all. A node starts from that and gets fresh /etc (writable, over
//! the machine's), /run, /tmp, /var, /root, /proc, /sys and /dev/pts.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::cgroup::{self, Hierarchy};
use super::{NodeSpec, SandboxError, SandboxSpec, io_error};

/// Where the state folder appears inside, for sandbox-init only; nodes take it away.
pub const STATE: &str = "/.state";
/// First folder of PATH: our binary and what the engine adds.
pub const TOOLS: &str = "/swarmlab/bin";
/// Where a node's own state folder appears in it.
pub const NODE_STATE: &str = "/run/swarmlab";
/// Where control groups appear.
pub const CGROUP: &str = "/sys/fs/cgroup";

/// Entries of the machine's / that appear inside, read-only. Symbolic links are always taken over (`/bin` -> `usr/bin`).
fn appears(name: &str) -> bool {
    matches!(name, "usr" | "bin" | "sbin" | "etc" | "opt" | "nix" | "gnu") || name.starts_with("lib")
}

const DEVICES: [&str; 8] = ["null", "zero", "full", "random", "urandom", "tty", "fuse", "kmsg"];

/// Builds the sandbox's root at `DIR/root` and moves this process into it.
pub fn enter_sandbox(dir: &Path, spec: &SandboxSpec, cgroups: Option<&[Hierarchy]>) -> Result<(), SandboxError> {
    // nothing done here may travel back to the machine
    mount_flags("/", MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
    let root = dir.join("root");
    mount_tmpfs(&root, "mode=755")?;
    for entry in fs::read_dir("/").map_err(io_error("list /"))?.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let here = root.join(name);
        let kind = entry.file_type().map_err(io_error("list /"))?;
        if kind.is_symlink() {
            if let Ok(target) = fs::read_link(entry.path()) {
                symlink(target, &here).map_err(io_error(format!("link /{name}")))?;
            }
        } else if kind.is_dir() && appears(name) {
            make_dir(&here)?;
            bind_read_only(&entry.path(), &here)?;
        }
    }
    for name in ["proc", "sys", "dev", "tmp", "run", "var", "root", "home", "mnt", "swarmlab/bin"] {
        make_dir(&root.join(name))?;
    }
    install_tools(&root, spec)?;
    for (outside, inside) in &spec.binds {
        let here = below(&root, inside);
        make_dir(&here)?;
        bind_read_only(outside, &here)?;
    }
    make_dev(&root.join("dev"))?;
    mount_kernel(&root.join("proc"), "proc")?;
    mount_sys(&root.join("sys"), cgroups)?;
    mount_tmpfs(&root.join("tmp"), "mode=1777")?;
    let state = below(&root, Path::new(STATE));
    make_dir(&state)?;
    bind(dir, &state, MsFlags::empty())?;
    pivot(&root)
}

/// In the node's own namespaces, starting from a copy of the sandbox's mounts.
pub fn enter_node(spec: &SandboxSpec, node: &NodeSpec, cgroups: Option<&[Hierarchy]>) -> Result<(), SandboxError> {
    let state = super::state::node_dir(Path::new(STATE), &node.name);
    mount_flags("/", MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
    mount_kernel(Path::new("/proc"), "proc")?;
    mount_sys(Path::new("/sys"), cgroups)?;
    mount_devpts(Path::new("/dev"))?;
    mount_tmpfs(Path::new("/dev/shm"), "mode=1777")?;
    for (path, options) in [
        ("/run", "mode=755"),
        ("/tmp", "mode=1777"),
        ("/var", "mode=755"),
        ("/root", "mode=700"),
        ("/home", "mode=755"),
    ] {
        mount_tmpfs(Path::new(path), options)?;
    }
    for name in ["lib", "log", "cache", "spool", "tmp"] {
        make_dir(&Path::new("/var").join(name))?;
    }
    let _ = fs::set_permissions("/var/tmp", fs::Permissions::from_mode(0o1777));
    make_dir(Path::new("/run/lock"))?;
    link("/run", "/var/run")?;
    link("/run/lock", "/var/lock")?;
    make_dir(Path::new(NODE_STATE))?;
    bind(&state, Path::new(NODE_STATE), MsFlags::empty())?;
    make_dir(&spec.data_at)?;
    bind(&state.join("data"), &spec.data_at, MsFlags::empty())?;
    // the socket itself lies in the state folder, where clients outside reach the same file
    link(&format!("{NODE_STATE}/docker.sock"), "/run/docker.sock")?;
    make_etc(spec, node)?;
    let prompt = format!("PS1='{}$ '\n", node.name);
    fs::write("/root/.bashrc", prompt).map_err(io_error("write /root/.bashrc"))?;
    // other nodes' files are none of this node's business
    umount2(STATE, MntFlags::MNT_DETACH).map_err(io_error("hide the state folder"))
}

/// Our binary, found by its name and as what the engine's spec asks for; bound, so that it may lie anywhere.
fn install_tools(root: &Path, spec: &SandboxSpec) -> Result<(), SandboxError> {
    let tools = below(root, Path::new(TOOLS));
    let own = tools.join("swarmlab");
    let path = fs::read_link("/proc/self/exe").map_err(io_error("find our own binary"))?;
    fs::write(&own, b"").map_err(io_error("place our binary"))?;
    if same_file(&path) {
        bind_read_only(&path, &own)?;
    } else {
        // replaced or removed since we started (a new build, say): our own open file still has the old content
        fs::copy("/proc/self/exe", &own).map_err(io_error("copy our binary"))?;
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&own, executable).map_err(io_error("copy our binary"))?;
    }
    for applet in container_runtime::builtin::APPLETS {
        link_at(Path::new("swarmlab"), &tools.join(applet))?;
    }
    for (name, target) in &spec.tools {
        link_at(target, &tools.join(name))?;
    }
    Ok(())
}

fn same_file(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (fs::metadata(path), fs::metadata("/proc/self/exe")) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// /etc is the machine's with a writable layer over it, so that hosts, hostname and resolv.conf are the node's own.
fn make_etc(spec: &SandboxSpec, node: &NodeSpec) -> Result<(), SandboxError> {
    let mut hosts = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for other in &spec.nodes {
        hosts.push_str(&format!("{}\t{}\n", other.address, other.name));
    }
    let files = [
        ("hosts", hosts),
        ("hostname", format!("{}\n", node.name)),
        // There is no name server: a query to a closed local port fails at once instead of hanging.
        ("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n".to_owned()),
    ];
    let layer = Path::new("/run/.etc");
    make_dir(layer)?;
    mount_tmpfs(layer, "mode=755")?;
    for name in ["upper", "work"] {
        make_dir(&layer.join(name))?;
    }
    for (name, text) in &files {
        fs::write(layer.join("upper").join(name), text).map_err(io_error(format!("write {name}")))?;
    }
    let options = |extra: &str| format!("lowerdir=/etc,upperdir=/run/.etc/upper,workdir=/run/.etc/work{extra}");
    let overlay =
        |options: String| mount(Some("overlay"), "/etc", Some("overlay"), MsFlags::empty(), Some(options.as_str()));
    // `userxattr` is for user namespaces; root of the machine does without on kernels that refuse it there
    if overlay(options(",userxattr")).or_else(|_| overlay(options(""))).is_err() {
        // no overlayfs: the files alone, over those of the machine where it has them
        for (name, _) in &files {
            let target = Path::new("/etc").join(name);
            if target.exists() {
                bind(&layer.join("upper").join(name), &target, MsFlags::empty())?;
            }
        }
        return Ok(());
    }
    umount2(layer, MntFlags::MNT_DETACH).map_err(io_error("hide /run/.etc"))?;
    fs::remove_dir(layer).map_err(io_error("hide /run/.etc"))
}

fn make_dev(dev: &Path) -> Result<(), SandboxError> {
    mount_tmpfs(dev, "mode=755")?;
    for name in DEVICES {
        bind_device(name, dev)?;
    }
    make_dir(&dev.join("net"))?;
    bind_device("net/tun", dev)?;
    for (target, name) in [
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
        ("pts/ptmx", "ptmx"),
    ] {
        symlink(target, dev.join(name)).map_err(io_error(format!("link /dev/{name}")))?;
    }
    for name in ["pts", "shm", "mqueue"] {
        make_dir(&dev.join(name))?;
    }
    mount_devpts(dev)
}

/// Device files cannot be made in a user namespace, only shown.
fn bind_device(name: &str, dev: &Path) -> Result<(), SandboxError> {
    let source = Path::new("/dev").join(name);
    if !source.exists() {
        return Ok(());
    }
    let target = dev.join(name);
    fs::write(&target, b"").map_err(io_error(format!("place /dev/{name}")))?;
    bind(&source, &target, MsFlags::empty())
}

fn mount_devpts(dev: &Path) -> Result<(), SandboxError> {
    mount(
        Some("devpts"),
        &dev.join("pts"),
        Some("devpts"),
        MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
        Some("newinstance,ptmxmode=0666,mode=0620"),
    )
    .map_err(io_error("mount /dev/pts"))
}

/// /sys of the caller's network namespace, with cgroups: real ones as root, else an empty folder where runtimes may
/// make theirs to no effect.
fn mount_sys(sys: &Path, cgroups: Option<&[Hierarchy]>) -> Result<(), SandboxError> {
    mount_kernel(sys, "sysfs")?;
    let place = sys.join("fs/cgroup");
    if !place.is_dir() {
        return Ok(());
    }
    let Some(hierarchies) = cgroups else {
        return mount_tmpfs(&place, "mode=755");
    };
    if hierarchies.iter().any(|h| !h.folder.is_empty()) {
        mount_tmpfs(&place, "mode=755")?;
    }
    for hierarchy in hierarchies {
        let target = place.join(&hierarchy.folder);
        make_dir_unless_there(&target)?;
        let (kind, options) =
            if hierarchy.options.is_empty() { ("cgroup2", None) } else { ("cgroup", Some(hierarchy.options.as_str())) };
        mount(Some(kind), &target, Some(kind), MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC, options)
            .map_err(io_error(format!("mount cgroup {}", hierarchy.folder)))?;
        // programs look for /sys/fs/cgroup/cpu where the machine mounts cpu and cpuacct as one
        if hierarchy.folder.contains(',') {
            for controller in hierarchy.folder.split(',') {
                let _ = symlink(&hierarchy.folder, place.join(controller));
            }
        }
    }
    Ok(())
}

/// Leaves the cgroup that the namespace starts at to its children: version 2 lets no group have both processes of
/// its own and children with controllers.
pub fn make_way_in_cgroups(hierarchies: &[Hierarchy]) -> Result<(), SandboxError> {
    for hierarchy in hierarchies.iter().filter(|h| h.options.is_empty()) {
        let top = Path::new(CGROUP).join(&hierarchy.folder);
        let leaf = top.join("init");
        cgroup::make_group(&leaf).map_err(io_error("make cgroup leaf"))?;
        // 0: the writer itself, whatever its number in whichever namespace
        cgroup::enter(&[leaf], 0)?;
        cgroup::enable_controllers(&top);
    }
    Ok(())
}

fn pivot(root: &Path) -> Result<(), SandboxError> {
    nix::unistd::chdir(root).map_err(io_error("enter new root"))?;
    // the old root is put over the new one and taken off again: no folder for it is needed
    nix::unistd::pivot_root(".", ".").map_err(io_error("change root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(io_error("leave old root"))?;
    nix::unistd::chdir("/").map_err(io_error("enter new root"))
}

fn mount_flags(path: &str, flags: MsFlags) -> Result<(), SandboxError> {
    mount(None::<&str>, path, None::<&str>, flags, None::<&str>).map_err(io_error(format!("change mount {path}")))
}

fn mount_tmpfs(path: &Path, options: &str) -> Result<(), SandboxError> {
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options))
        .map_err(io_error(format!("mount tmpfs at {}", path.display())))
}

fn mount_kernel(path: &Path, kind: &str) -> Result<(), SandboxError> {
    mount(Some(kind), path, Some(kind), MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC, None::<&str>)
        .map_err(io_error(format!("mount {kind} at {}", path.display())))
}

fn bind(source: &Path, target: &Path, more: MsFlags) -> Result<(), SandboxError> {
    mount(
        Some(source),
        target,
        None::<&str>,
        // a user namespace may only bind a tree whole: what the machine covers must stay covered
        MsFlags::MS_BIND | MsFlags::MS_REC | more,
        None::<&str>,
    )
    .map_err(io_error(format!("show {} at {}", source.display(), target.display())))
}

fn bind_read_only(source: &Path, target: &Path) -> Result<(), SandboxError> {
    bind(source, target, MsFlags::empty())?;
    let path = std::ffi::CString::new(target.as_os_str().as_encoded_bytes())
        .map_err(|error| io_error("mount path")(io::Error::other(error)))?;
    let attributes =
        nix::libc::mount_attr { attr_set: nix::libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: path and attributes live through the call and have the size that is passed.
    let result = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_mount_setattr,
            nix::libc::AT_FDCWD,
            path.as_ptr(),
            nix::libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<nix::libc::mount_attr>(),
        )
    };
    nix::errno::Errno::result(result)
        .map(drop)
        .map_err(io_error(format!("make {} read-only (needs Linux 5.12)", target.display())))
}

fn below(root: &Path, absolute: &Path) -> PathBuf {
    root.join(absolute.strip_prefix("/").unwrap_or(absolute))
}

fn make_dir(path: &Path) -> Result<(), SandboxError> {
    fs::create_dir_all(path).map_err(io_error(format!("make {}", path.display())))
}

fn make_dir_unless_there(path: &Path) -> Result<(), SandboxError> {
    if path.is_dir() { Ok(()) } else { make_dir(path) }
}

fn link(target: &str, at: &str) -> Result<(), SandboxError> {
    link_at(Path::new(target), Path::new(at))
}

fn link_at(target: &Path, at: &Path) -> Result<(), SandboxError> {
    symlink(target, at).map_err(io_error(format!("link {}", at.display())))
}
