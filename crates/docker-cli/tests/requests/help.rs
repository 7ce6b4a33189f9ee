//! Help pages: not their sentences, but what scripts and readers rely on: usage, aliases, flags with their types, and
//! the commands of a group.

use crate::genuine::Docker;
use docker_cli::command::{Asked, read};

/// Pages that have all of Docker's flags.
const COMPLETE: &[&str] = &[
    "config",
    "config create",
    "config inspect",
    "config ls",
    "config rm",
    "container prune",
    "network",
    "network connect",
    "network create",
    "network disconnect",
    "network inspect",
    "network ls",
    "network prune",
    "network rm",
    "port",
    "secret",
    "secret create",
    "secret inspect",
    "secret ls",
    "secret rm",
    "service",
    "service create",
    "service inspect",
    "service ls",
    "service ps",
    "service update",
    "swarm",
    "swarm init",
    "swarm join",
    "volume inspect",
    "volume prune",
    "volume rm",
];

/// The number of pages, and what differs in them.
pub fn compare(docker: &Docker) -> Result<(usize, String), String> {
    let mut differences = String::new();
    for command in COMPLETE {
        let words: Vec<String> = command.split(' ').chain(["--help"]).map(str::to_owned).collect();
        let page = match read(&docker_cli::commands::root(), &words) {
            Ok((_, Asked::Print(page))) => page,
            _ => return Err(format!("docker {command} --help prints no page")),
        };
        let (genuine, own) = (facts(&docker.help(command)?), facts(&page));
        let sides = [("docker", &genuine, &own), ("ours", &own, &genuine)];
        let lines: Vec<String> = sides
            .iter()
            .flat_map(|(side, these, those)| {
                these.iter().filter(|fact| !those.contains(fact)).map(move |fact| format!("  {side}: {fact}\n"))
            })
            .collect();
        if !lines.is_empty() {
            differences.push_str(&format!("== docker {command} --help\n{}", lines.concat()));
        }
    }
    Ok((COMPLETE.len(), differences))
}

/// Usage, aliases, heads of flags, and defaults.
fn facts(page: &str) -> Vec<String> {
    let mut facts = Vec::new();
    let mut section = "";
    for line in page.lines() {
        if !line.starts_with(' ') {
            section = line;
            if line.starts_with("Usage:") {
                facts.push(line.to_owned());
            }
            continue;
        }
        let text = line.trim();
        match section {
            "Aliases:" => facts.push(text.to_owned()),
            "Commands:" => facts.extend(text.split_whitespace().next().map(str::to_owned)),
            "Options:"
                if text.starts_with('-') && line.starts_with("  ") && line.find('-').is_some_and(|at| at <= 6) =>
            {
                let head = text.split("  ").next().unwrap_or(text);
                facts.push(head.to_owned());
            }
            _ => {}
        }
    }
    facts
}
