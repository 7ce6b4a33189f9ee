//! The shape of the code base, as ARCHITECTURE.md states it: dependency directions, module heads, file sizes.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The workspace's crates with their normal dependencies among each other.
fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let siblings = |package: &serde_json::Value| {
        let normal = |dep: &&serde_json::Value| dep["kind"].is_null();
        let name =
            |dep: &serde_json::Value| dep["name"].as_str().filter(|name| names.contains(name)).map(str::to_owned);
        package["dependencies"].as_array().unwrap().iter().filter(normal).filter_map(name).collect()
    };
    packages.iter().map(|package| (package["name"].as_str().unwrap().to_owned(), siblings(package))).collect()
}

#[test]
fn crates_depend_only_in_the_directions_of_the_architecture() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("swarm-types", &[] as &[&str]),
        ("docker-api", &[]),
        ("lab", &[]),
        ("swarm-manager", &["swarm-types", "go-template"]),
        ("swarm-agent", &["swarm-types"]),
        ("container-runtime", &[]),
        ("overlay-network", &["swarm-types", "network-plan"]),
        ("swarm-gossip", &["swarm-types"]),
        ("network-plan", &["swarm-types", "swarm-gossip"]),
        ("swarm-sim", &["swarm-types", "swarm-manager", "swarm-agent", "swarm-gossip", "network-plan"]),
        ("go-template", &[]),
        ("docker-cli", &["docker-api", "go-template"]),
        (
            "swarm-node",
            &[
                "swarm-types",
                "swarm-manager",
                "swarm-agent",
                "swarm-gossip",
                "container-runtime",
                "network-plan",
                "overlay-network",
                "docker-api",
            ],
        ),
        ("swarmlab", &["lab", "docker-api", "docker-cli", "swarm-node", "container-runtime", "overlay-network"]),
    ]);
    for (package, siblings) in edges() {
        let allowed = allowed.get(package.as_str());
        let allowed =
            allowed.unwrap_or_else(|| panic!("crate {package} has no place in tests/tidy.rs and ARCHITECTURE.md"));
        for sibling in siblings {
            assert!(allowed.contains(&sibling.as_str()), "{package} must not depend on {sibling}");
        }
    }
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') && name != "book" {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn rust_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    sources(root(), &mut found);
    assert!(found.len() > 50, "only {} source files found", found.len());
    found
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<_> = rust_files()
        .into_iter()
        .filter(|path| !path.ends_with("tests.rs"))
        .filter(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            !text.lines().take(3).any(|line| line.starts_with("//!"))
        })
        .collect();
    assert!(silent.is_empty(), "files without a //! head: {silent:#?}");
}

#[test]
fn no_file_is_a_grab_bag() {
    for path in rust_files() {
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 800, "{} has {lines} lines: does it still hold one thing?", path.display());
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(!["utils", "util", "helpers", "common", "misc"].contains(&name.as_str()), "{}", path.display());
    }
}

#[test]
fn components_of_the_control_plane_meet_only_through_the_store() {
    let components = ["orchestrator", "allocator", "scheduler", "dispatcher"];
    for component in components {
        let mut files = Vec::new();
        sources(&root().join("crates/swarm-manager/src").join(component), &mut files);
        for path in files {
            let text = std::fs::read_to_string(&path).unwrap();
            for other in components.iter().filter(|other| **other != component) {
                assert!(!text.contains(&format!("crate::{other}")), "{} must not know {other}", path.display());
            }
        }
    }
}
