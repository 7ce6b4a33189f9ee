//! The built-in lab images: no download, listed like all others. Their root filesystem is a small skeleton made
//! here; /usr and what belongs to it come read-only from the machine. The web images run the swarmlab binary
//! itself, bound to [`EXE`]; so are the network commands of all of them. Leaves out what the programs do: see `web`,
//! `init` and `applets`.

mod applets;
mod init;
mod proxy;
mod web;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::durable;
use crate::error::{Context, Result};
use crate::image::{Image, ImageConfig, Layer, layer_dir};

pub use applets::{APPLETS, DIR as APPLETS_DIR};

/// Where the swarmlab binary appears in a container.
pub const EXE: &str = "/.swarmlab/bin";

/// Entry of the mode `swarmlab lab-image PROGRAM ...`: a program inside a built-in image. The binary called by the name
/// of one of [`APPLETS`] is that program.
pub fn main(args: impl IntoIterator<Item = String>) -> ExitCode {
    let mut args = args.into_iter();
    let program = args.next();
    match program.as_deref() {
        Some("web") => web::main(args.collect()),
        Some("probe") => web::probe(args.collect()),
        Some("proxy") => proxy::main(args.collect()),
        Some("init") => init::main(args.collect()),
        other => other.and_then(|name| applets::main(name, args.collect())).unwrap_or_else(|| {
            let names = APPLETS.join(", ");
            eprintln!("swarmlab lab-image: no program {other:?}; there are web, probe, proxy, init, {names}");
            ExitCode::from(2)
        }),
    }
}

/// One image: name, command, health check.
struct Builtin {
    name: &'static str,
    args: &'static [&'static str],
    healthy: Option<&'static [&'static str]>,
    /// The program of ours that it runs, on port 80; none: a shell.
    program: Option<&'static str>,
    says: &'static str,
}

const PROBE: &[&str] = &["CMD", EXE, "lab-image", "probe", "http://127.0.0.1/health"];

const ALL: [Builtin; 8] = [
    Builtin {
        name: "swarmlab/tools:1.0",
        args: &["/bin/sh"],
        healthy: None,
        program: None,
        says: "a shell and the machine's own tools",
    },
    Builtin {
        name: "swarmlab/proxy:1.0",
        args: &[],
        healthy: None,
        program: Some("proxy"),
        says: "a load balancer in front of the addresses in BACKENDS",
    },
    web("swarmlab/web:1.0", &["--version", "1.0"], Some(PROBE), "a web server that tells who answers"),
    web("swarmlab/web:2.0", &["--version", "2.0"], Some(PROBE), "a web server that tells who answers"),
    web("swarmlab/web:3.0", &["--version", "3.0"], Some(PROBE), "a web server that tells who answers"),
    web(
        "swarmlab/web:crash",
        &["--version", "crash", "--crash-after", "2"],
        None,
        "a web server that fails after two seconds",
    ),
    web(
        "swarmlab/web:unhealthy",
        &["--version", "unhealthy", "--unhealthy"],
        Some(PROBE),
        "a web server that never gets well",
    ),
    web(
        "swarmlab/web:slow",
        &["--version", "slow", "--delay", "5"],
        Some(PROBE),
        "a web server that takes five seconds to listen",
    ),
];

const fn web(
    name: &'static str,
    args: &'static [&'static str],
    healthy: Option<&'static [&'static str]>,
    says: &'static str,
) -> Builtin {
    Builtin { name, args, healthy, program: Some("web"), says }
}

/// The images and their names, with the skeleton made on disk.
pub(crate) fn images(store: &Path) -> Result<Vec<(Image, &'static str)>> {
    let diff_id = format!("sha256:{}", durable::hex(&Sha256::digest(format!("swarmlab skeleton 4\n{}", PASSWD))));
    let layer = Layer { dir: layer_dir(&diff_id)?, diff_id, size: 0 };
    skeleton(&store.join("layers").join(&layer.dir)).context(|| "making the built-in images' skeleton".into())?;
    Ok(ALL.iter().map(|b| (image(b, &layer), b.name)).collect())
}

/// The images as another engine may load them, over one layer of its own making that holds a userland and the
/// swarmlab binary at [`EXE`]: each image's name and configuration file.
pub fn exported(diff_id: &str) -> Result<Vec<(&'static str, String)>> {
    let layer = Layer { dir: layer_dir(diff_id)?, diff_id: diff_id.to_owned(), size: 0 };
    Ok(ALL.iter().map(|b| (b.name, image(b, &layer).config_json)).collect())
}

fn image(b: &Builtin, layer: &Layer) -> Image {
    let (entrypoint, cmd): (Vec<&str>, Vec<&str>) =
        (b.program.map_or(vec![], |program| vec![EXE, "lab-image", program]), b.args.to_vec());
    let mut config = json!({
        "Env": [crate::spec::DEFAULT_PATH.replacen('=', &format!("={APPLETS_DIR}:"), 1)],
        "Entrypoint": entrypoint,
        "Cmd": cmd,
        "WorkingDir": "/",
        "Labels": {"org.opencontainers.image.title": b.name, "org.opencontainers.image.description": b.says},
    });
    if b.program.is_some() {
        config["ExposedPorts"] = json!({"80/tcp": {}});
        config["StopSignal"] = "SIGTERM".into();
    }
    if let Some(test) = b.healthy {
        // Fast, so that a lab does not wait: unhealthy after about three seconds.
        config["Healthcheck"] = json!({"Test": test, "Interval": 1_000_000_000_i64, "Timeout": 2_000_000_000_i64, "Retries": 3,
            "StartPeriod": if b.name.ends_with(":slow") { 10_000_000_000_i64 } else { 0 }, "StartInterval": 500_000_000_i64});
    }
    let file = json!({
        "created": "2026-01-01T00:00:00Z",
        "architecture": crate::image::architecture(),
        "os": "linux",
        "author": "swarmlab",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
        "history": [{"created": "2026-01-01T00:00:00Z", "created_by": format!("swarmlab built-in: {}", b.says)}],
    });
    let text = file.to_string();
    Image {
        id: format!("sha256:{}", durable::hex(&Sha256::digest(&text))),
        // Our own text, so it parses; a mistake here fails every test that opens a store.
        config: ImageConfig::parse(text.as_bytes()).unwrap_or_default(),
        config_json: text,
        layers: vec![layer.clone()],
        digests: BTreeSet::new(),
        loaded_at: 1_767_225_600,
        machine_userland: true,
    }
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n";
const GROUP: &str = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n";

fn skeleton(dir: &Path) -> std::io::Result<()> {
    if dir.join(".complete").exists() {
        return Ok(());
    }
    for d in [
        "usr",
        "etc",
        "tmp",
        "root",
        "home",
        "proc",
        "sys",
        "dev",
        "run",
        "mnt",
        "opt",
        "srv",
        ".swarmlab",
        APPLETS_DIR.trim_start_matches('/'),
        "var/tmp",
        "var/log",
    ] {
        fs::create_dir_all(dir.join(d))?;
    }
    for d in ["tmp", "var/tmp"] {
        fs::set_permissions(dir.join(d), fs::Permissions::from_mode(0o1777))?;
    }
    let _ = symlink("../run", dir.join("var/run"));
    for name in APPLETS {
        let _ = symlink(EXE, dir.join(APPLETS_DIR.trim_start_matches('/')).join(name));
    }
    // As on the machine: links into /usr where it has them, else mount points.
    for d in ["bin", "sbin", "lib", "lib64", "lib32", "libx32"] {
        match fs::read_link(Path::new("/").join(d)) {
            Ok(target) => drop(symlink(target, dir.join(d))),
            Err(_) if Path::new("/").join(d).is_dir() => fs::create_dir_all(dir.join(d))?,
            Err(_) => {}
        }
    }
    let files: BTreeMap<&str, &str> = [
        ("etc/passwd", PASSWD),
        ("etc/group", GROUP),
        ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
        (
            "etc/os-release",
            "ID=swarmlab\nNAME=\"swarmlab tools\"\nPRETTY_NAME=\"swarmlab tools (the machine's own /usr)\"\n",
        ),
    ]
    .into();
    for (name, text) in files {
        fs::write(dir.join(name), text)?;
    }
    // Mount points, made once here rather than in the writable layer of every container.
    for bind in machine_binds() {
        let at = dir.join(bind.trim_start_matches('/'));
        if Path::new(bind).is_dir() {
            fs::create_dir_all(at)?;
        } else {
            fs::write(at, "")?;
        }
    }
    for file in ["etc/hosts", "etc/hostname", "etc/resolv.conf", EXE.trim_start_matches('/')] {
        fs::write(dir.join(file), "")?;
    }
    fs::write(dir.join(".complete"), "")
}

/// The machine's paths that a built-in image shows read-only.
pub(crate) fn machine_binds() -> Vec<&'static str> {
    let real_dir = |p: &&'static str| fs::symlink_metadata(p).is_ok_and(|m| m.is_dir());
    let mut binds: Vec<&str> =
        ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32"].into_iter().filter(real_dir).collect();
    // What programs of /usr look for in /etc, and nothing that says who uses this machine.
    let etc = [
        "/etc/ld.so.cache",
        "/etc/ld.so.conf",
        "/etc/ld.so.conf.d",
        "/etc/alternatives",
        "/etc/ssl",
        "/etc/protocols",
        "/etc/services",
        "/etc/mime.types",
        "/etc/terminfo",
        "/etc/ld-musl-x86_64.path",
    ];
    binds.extend(etc.into_iter().filter(|p| fs::symlink_metadata(p).is_ok_and(|m| m.is_dir() || m.is_file())));
    binds
}
