//! `swarmlab doctor`: what this machine lacks for running labs, each with its exact remedy.
//!
//! The abilities are really tried (see [`probe`]); this file knows what a missing one means and how to mend it. A boot
//! that fails on such a machine shows the same findings instead of its errno. Exit code 0: labs run here; 1: not yet.

use std::fs;
use std::process::ExitCode;
use std::sync::OnceLock;

use overlay_network::apply::{ABILITIES, NETEM_REMEDY, tap_remedy};
use serde::Serialize;

use crate::sandbox::{probe, state};

/// Below this a lab's images and containers do not fit.
const DISK_NEEDED: u64 = 256 << 20;
/// Below this it gets tight with many nodes.
const DISK_COMFORTABLE: u64 = 1 << 30;

/// Arguments of `swarmlab doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Pretty)]
    format: Format,
}

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    Pretty,
    /// For scripts
    Json,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable name, as `user-namespaces`.
    pub id: &'static str,
    /// Whether labs can run.
    pub severity: Severity,
    /// What was seen.
    pub what: String,
    /// What to do about it, exactly; empty when nothing is needed.
    pub remedy: String,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Works.
    Ok,
    /// Labs run; something is less than ideal.
    Note,
    /// Labs do not run before this is mended.
    Missing,
}

impl Finding {
    fn ok(id: &'static str, what: impl Into<String>) -> Self {
        Self { id, severity: Severity::Ok, what: what.into(), remedy: String::new() }
    }

    fn note(id: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { id, severity: Severity::Note, what: what.into(), remedy: remedy.into() }
    }

    fn missing(id: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { id, severity: Severity::Missing, what: what.into(), remedy: remedy.into() }
    }
}

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    let findings = check();
    let good = findings.iter().all(|finding| finding.severity != Severity::Missing);
    match args.format {
        Format::Json => {
            let report = serde_json::json!({ "format_version": 1, "ok": good, "findings": findings });
            println!("{report:#}");
        }
        Format::Pretty => {
            for finding in &findings {
                let mark = match finding.severity {
                    Severity::Ok => "ok     ",
                    Severity::Note => "note   ",
                    Severity::Missing => "MISSING",
                };
                println!("{mark}  {:<16}  {}", finding.id, finding.what);
                if !finding.remedy.is_empty() {
                    println!("{:27}remedy: {}", "", finding.remedy);
                }
            }
            println!("{}", if good { "Labs run on this machine." } else { "Labs do not run on this machine yet." });
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// Findings that keep labs from running, as lines for a terminal.
pub fn describe(findings: &[Finding]) -> String {
    let lines: Vec<String> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Missing)
        .map(|finding| format!("  {}: {}\n    remedy: {}", finding.id, finding.what, finding.remedy))
        .collect();
    lines.join("\n")
}

/// Looks at this machine.
pub fn check() -> Vec<Finding> {
    let mut findings = vec![system()];
    match probe::run() {
        Ok(abilities) => findings.extend(abilities.iter().map(|(name, result)| ability(name, result))),
        Err(why) => findings.push(Finding::missing(
            "state-folder",
            why,
            "set SWARMLAB_STATE_DIR to a folder of yours on a local disk, such as ~/.swarmlab",
        )),
    }
    findings.push(disk());
    findings.push(limits());
    if !state::privileged() {
        findings.push(users());
    }
    findings
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn system() -> Finding {
    let Ok(uname) = nix::sys::utsname::uname() else {
        return Finding::missing("system", "the system does not tell what it is", "use Linux 5.12 or newer");
    };
    let name = uname.sysname().to_string_lossy();
    let release = uname.release().to_string_lossy();
    if name != "Linux" {
        return Finding::missing(
            "system",
            format!("{name} {release}: nodes and containers need a Linux kernel"),
            "run swarmlab in a Linux virtual machine; on Windows in WSL 2, on macOS for example in Lima",
        );
    }
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (5, 12) {
        return Finding::ok("system", format!("Linux {release}"));
    }
    let remedy = if release.contains("Microsoft") {
        "this is WSL 1, without a Linux kernel: run `wsl --set-version DISTRIBUTION 2` in Windows"
    } else {
        "install a kernel of version 5.12 or newer"
    };
    Finding::missing("system", format!("Linux {release} is too old"), remedy)
}

/// What an ability that was tried means.
fn ability(name: &str, result: &Result<(), String>) -> Finding {
    let load =
        |module: &str, option: &str| format!("sudo modprobe {module}; if that fails, use a kernel built with {option}");
    let why = match result {
        Ok(()) => return Finding::ok(known(name), "works"),
        Err(why) => why,
    };
    let seen = format!("refused: {why}");
    match name {
        "user-namespaces" | "namespaces" | "mount" => namespaces(known(name), &seen),
        "overlayfs" => Finding::missing(
            "overlayfs",
            format!("cannot be mounted on the state folder: {why}"),
            "sudo modprobe overlay; needs Linux 5.11 or newer without root, and a state folder that is not itself on \
             overlayfs or a network: set SWARMLAB_STATE_DIR to one on a local disk or tmpfs",
        ),
        "proc" | "sysfs" | "devpts" => Finding::missing(
            known(name),
            format!("cannot be mounted afresh: {why}"),
            "this happens inside containers that hide parts of /proc or /sys: run swarmlab outside, or start the \
             container with --privileged (Docker: also --security-opt systempaths=unconfined)",
        ),
        "bridge" => Finding::missing("bridge", seen, load("bridge", "CONFIG_BRIDGE")),
        "veth" => Finding::missing("veth", seen, load("veth", "CONFIG_VETH")),
        // services' networks need the next ones; steps on single nodes do not
        "vxlan" => Finding::note("vxlan", networks(&seen), load("vxlan", "CONFIG_VXLAN")),
        "nftables" => {
            Finding::note("nftables", networks(&seen), load("nf_tables", "CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET"))
        }
        "nft-nat" => Finding::note("nft-nat", networks(&seen), load("nft_chain_nat", "CONFIG_NFT_NAT")),
        "nft-masquerade" => Finding::note("nft-masquerade", networks(&seen), load("nft_masq", "CONFIG_NFT_MASQ")),
        "nft-numgen" => Finding::note("nft-numgen", networks(&seen), load("nft_numgen", "CONFIG_NFT_NUMGEN")),
        "nft-fib" => Finding::note("nft-fib", networks(&seen), load("nft_fib_inet", "CONFIG_NFT_FIB_INET")),
        "nft-conntrack" => Finding::note("nft-conntrack", networks(&seen), load("nft_ct", "CONFIG_NFT_CT")),
        "netem" => {
            Finding::note("netem", format!("{seen}; `swarmlab fault delay` holds packets back itself"), NETEM_REMEDY)
        }
        _ => Finding::note(
            "tap",
            format!("{seen}; `swarmlab fault delay` needs it where the kernel has no netem"),
            tap_remedy(why),
        ),
    }
}

fn networks(seen: &str) -> String {
    format!("{seen}; overlay networks and published ports need it")
}

/// Why steps that need this feature cannot work on this kernel, if so. Tries it once.
pub fn kernel_lacks(feature: &str) -> Option<String> {
    static ABILITIES: OnceLock<Vec<probe::Ability>> = OnceLock::new();
    // each of these is enough, and made of what must be there together
    let ways: &[&[&str]] = match feature {
        "delay" => &[&["netem"], &["tap"]],
        "vip" => &[&["vxlan", "nftables", "nft-nat", "nft-numgen", "nft-fib", "nft-conntrack"]],
        _ => return None,
    };
    // a probe that cannot even begin is told where a boot fails
    let abilities = ABILITIES.get_or_init(|| probe::run().unwrap_or_default());
    let refused = |name: &&&str| abilities.iter().any(|(known, result)| known == **name && result.is_err());
    let missing: Vec<&str> = ways.iter().filter_map(|way| way.iter().find(refused).copied()).collect();
    let lacks = missing.len() == ways.len();
    lacks.then(|| format!("this kernel has no {}; `swarmlab doctor` tells the remedy", missing.join(" and no ")))
}

/// The probe speaks of nothing else.
fn known(name: &str) -> &'static str {
    const OF_SANDBOX: [&str; 7] = ["user-namespaces", "namespaces", "mount", "overlayfs", "proc", "sysfs", "devpts"];
    OF_SANDBOX.into_iter().chain(ABILITIES).find(|known| *known == name).unwrap_or("other")
}

/// Namespaces are forbidden by one of several switches: name the one that is set.
fn namespaces(id: &'static str, seen: &str) -> Finding {
    let switch = |name: &str| read(&format!("/proc/sys/{}", name.replace('.', "/")));
    if switch("user.max_user_namespaces").as_deref() == Some("0") {
        return Finding::missing(
            id,
            "user.max_user_namespaces is 0",
            "sudo sysctl -w user.max_user_namespaces=28633 (lasting: a line in /etc/sysctl.d/90-swarmlab.conf)",
        );
    }
    if switch("kernel.unprivileged_userns_clone").as_deref() == Some("0") {
        return Finding::missing(
            id,
            "kernel.unprivileged_userns_clone is 0",
            "sudo sysctl -w kernel.unprivileged_userns_clone=1 (lasting: a line in /etc/sysctl.d/90-swarmlab.conf)",
        );
    }
    if switch("kernel.apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        let binary = std::env::current_exe().map_or("/path/to/swarmlab".into(), |path| path.display().to_string());
        return Finding::missing(
            id,
            "AppArmor restricts unprivileged user namespaces (Ubuntu 23.10 and newer)",
            format!(
                "allow this program alone: echo 'abi <abi/4.0>, include <tunables/global> profile swarmlab {binary} \
                 flags=(unconfined) {{ userns, }}' | sudo tee /etc/apparmor.d/swarmlab && sudo apparmor_parser -r \
                 /etc/apparmor.d/swarmlab; or all: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
            ),
        );
    }
    Finding::missing(
        id,
        seen.to_owned(),
        "no known switch of the kernel is off, so a container or a security policy forbids it: run swarmlab outside \
         of the container, start the container with --privileged, or run swarmlab as root",
    )
}

fn disk() -> Finding {
    let remedy = "free some space, or set SWARMLAB_STATE_DIR to a folder of yours on a larger disk";
    let base = match state::base_dir() {
        Ok(base) => base,
        Err(error) => return Finding::missing("disk", error.to_string(), remedy),
    };
    let Ok(stat) = nix::sys::statvfs::statvfs(&base) else {
        return Finding::note("disk", format!("free space of {} is not known", base.display()), "");
    };
    // 32 bits wide on some platforms
    #[allow(clippy::useless_conversion)]
    let free = u64::from(stat.blocks_available()) * stat.fragment_size();
    let what = format!("{} MiB free at {}", free >> 20, base.display());
    match free {
        _ if free < DISK_NEEDED => Finding::missing("disk", what, remedy),
        _ if free < DISK_COMFORTABLE => Finding::note("disk", what, remedy),
        _ => Finding::ok("disk", what),
    }
}

fn limits() -> Finding {
    if state::privileged() {
        return Finding::ok("cgroups", "limits of memory and processors are enforced");
    }
    Finding::note(
        "cgroups",
        "without root, limits of memory and processors are accepted but not enforced",
        "nothing to do for the labs; to see limits enforced run as root",
    )
}

fn users() -> Finding {
    let name = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().map(|user| user.name);
    let name = name.unwrap_or_default();
    let range =
        |file: &str| read(file).is_some_and(|text| text.lines().any(|line| line.starts_with(&format!("{name}:"))));
    let helper = |program: &str| {
        ["/usr/bin", "/bin", "/usr/local/bin"].iter().any(|dir| fs::exists(format!("{dir}/{program}")).unwrap_or(false))
    };
    let ranges = range("/etc/subuid") && range("/etc/subgid");
    if ranges && helper("newuidmap") && helper("newgidmap") {
        return Finding::ok("user-ids", "containers may use users of their own");
    }
    let missing =
        if ranges { "newuidmap is not installed" } else { "no range of user ids in /etc/subuid and /etc/subgid" };
    Finding::note(
        "user-ids",
        format!("{missing}: in containers every user is the same as root"),
        "nothing to do for the labs; otherwise: sudo apt-get install uidmap && sudo usermod --add-subuids \
         100000-165535 --add-subgids 100000-165535 $USER",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_ability_carries_a_remedy() {
        for name in ["user-namespaces", "namespaces", "mount", "overlayfs", "proc", "sysfs", "devpts", "bridge", "veth"]
        {
            let finding = ability(name, &Err("EPERM".into()));
            assert_eq!((finding.id, finding.severity), (name, Severity::Missing));
            assert!(!finding.remedy.is_empty(), "{name}");
        }
        for name in ABILITIES.into_iter().filter(|name| !["bridge", "veth"].contains(name)) {
            let finding = ability(name, &Err("EPERM".into()));
            assert_eq!((finding.id, finding.severity), (name, Severity::Note), "labs of single nodes run without");
            assert!(finding.remedy.contains("sudo modprobe") && finding.remedy.contains("CONFIG_"), "{name}");
        }
    }

    #[test]
    fn only_what_is_missing_is_described() {
        let text = describe(&[Finding::ok("a", "fine"), Finding::missing("b", "seen", "do")]);
        assert_eq!(text, "  b: seen\n    remedy: do");
    }
}
