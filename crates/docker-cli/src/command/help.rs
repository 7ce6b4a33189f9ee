//! Help pages, laid out as Docker lays them out.

use super::Command;
use crate::flags::Flag;

/// Width that pages are wrapped to.
const WIDTH: usize = 80;

/// `docker service create [OPTIONS] IMAGE [COMMAND] [ARG...]`
pub fn usage_line(command: &Command, path: &str) -> String {
    format!("{path} {}", command.usage).trim_end().to_owned()
}

/// The page of a command.
pub fn command(command: &Command, path: &str) -> String {
    let mut out = format!("Usage:  {}\n\n{}\n", usage_line(command, path), command.about);
    let mut also: Vec<String> = command.also.iter().map(|line| (*line).to_owned()).collect();
    if also.is_empty() && !command.aliases.is_empty() {
        let parent = path.rsplit_once(' ').map_or("", |(parent, _)| parent);
        also.push(path.to_owned());
        also.extend(command.aliases.iter().map(|alias| format!("{parent} {alias}")));
    }
    if !also.is_empty() {
        out.push_str(&format!("\nAliases:\n  {}\n", also.join(", ")));
    }
    if !command.flags.is_empty() {
        out.push_str(&format!("\nOptions:\n{}", options(&command.flags)));
    }
    out
}

/// The page of a group, or of `docker` itself.
pub fn group(command: &Command, path: &str) -> String {
    let is_root = !path.contains(' ');
    let usage = if is_root { "docker [OPTIONS] COMMAND".to_owned() } else { format!("{path} COMMAND") };
    let mut out = format!("Usage:  {usage}\n\n{}\n", command.about);
    let sections: &[&str] = match is_root {
        true => &["Common Commands", "Management Commands", "Swarm Commands", "Commands"],
        false => &[""],
    };
    for section in sections {
        let mut listed: Vec<&Command> = command.commands.iter().filter(|c| !is_root || c.section == *section).collect();
        if *section != "Common Commands" {
            listed.sort_by_key(|c| c.name);
        }
        if listed.is_empty() {
            continue;
        }
        let width = command.commands.iter().map(|c| c.name.len()).max().unwrap_or(0).max(11);
        out.push_str(&format!("\n{}:\n", if section.is_empty() { "Commands" } else { section }));
        for c in listed {
            out.push_str(&format!("  {:width$} {}\n", c.name, c.about));
        }
    }
    if is_root {
        out.push_str(&format!("\nGlobal Options:\n{}", options(&command.flags)));
    }
    let shown = if is_root { "docker" } else { path };
    out.push_str(&format!("\nRun '{shown} COMMAND --help' for more information on a command.\n"));
    out
}

fn options(flags: &[Flag]) -> String {
    let mut flags: Vec<&Flag> = flags.iter().filter(|flag| !flag.hidden).collect();
    flags.sort_by_key(|flag| flag.name);
    let heads: Vec<String> = flags
        .iter()
        .map(|flag| {
            let short = flag.short.map_or("      ".to_owned(), |c| format!("  -{c}, "));
            format!("{short}--{} {}", flag.name, flag.kind.type_name()).trim_end().to_owned()
        })
        .collect();
    let width = heads.iter().map(String::len).max().unwrap_or(0) + 3;
    let mut out = String::new();
    for (flag, head) in flags.iter().zip(&heads) {
        let mut text = flag.help.to_owned();
        match flag.default {
            Some(default) if flag.kind.type_name() == "string" => text.push_str(&format!(" (default {default:?})")),
            Some(default) if default != "false" => text.push_str(&format!(" (default {default})")),
            _ => {}
        }
        let mut lines = wrap(&text, WIDTH.saturating_sub(width).max(24)).into_iter();
        out.push_str(&format!("{head:width$}{}\n", lines.next().unwrap_or_default()));
        for line in lines {
            out.push_str(&format!("{:width$}{line}\n", ""));
        }
    }
    out
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { break };
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
