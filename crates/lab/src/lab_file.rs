//! The `lab.toml` side of a lab: the cluster and, for each step, what its block cannot say.

use core::time::Duration;
use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::chapter::{ID_EXPECTED, is_id, prompt};
use crate::diagnostic::{Diagnostic, Lines};
use crate::model::{Check, ClusterNeeds, Command, Eventually, RecordingMode, StepKind};
use crate::table::{Sink, Table, cut, describe, integer};
use crate::{FORMAT_VERSION, check_file, limits};

/// The keys of `lab.toml` itself.
pub const TOP_KEYS: &[&str] = &["format_version", "title", "slug", "cluster", "step"];
/// The keys of `[cluster]`.
pub const CLUSTER_KEYS: &[&str] = &["managers", "workers", "swarm"];
/// The keys of `[[step]]`.
pub const STEP_KEYS: &[&str] = &[
    "id",
    "title",
    "kind",
    "node",
    "timeout",
    "points",
    "needs",
    "exit",
    "continue_on_error",
    "recording",
    "settle",
    "hints",
    "solution",
    "reset",
    "requires",
    "skip",
    "check",
];
/// The keys of one command of `solution` or `reset` that is written as a table.
pub const LINE_KEYS: &[&str] = &["run", "node", "exit", "save"];
/// The engines that a lab may be skipped on.
pub const ENGINES: &[&str] = &["embedded", "docker", "dockerd", "remote"];

/// What an engine may lack on a machine; a step or check that `requires` it is then skipped with the engine's reason.
pub const FEATURES: &[&str] = &["vip", "delay"];

/// What `lab.toml` says.
pub(crate) struct LabFile {
    pub(crate) title: String,
    pub(crate) slug: Option<String>,
    pub(crate) cluster: ClusterNeeds,
    pub(crate) steps: Vec<StepFile>,
}

/// One `[[step]]`.
pub(crate) struct StepFile {
    pub(crate) id: String,
    pub(crate) line: usize,
    pub(crate) title: Option<String>,
    pub(crate) kind: StepKind,
    pub(crate) node: Option<String>,
    pub(crate) timeout: Duration,
    pub(crate) points: Option<u32>,
    pub(crate) needs: Option<Vec<String>>,
    pub(crate) needs_line: usize,
    /// One exit code for the last command, or one for each.
    pub(crate) exits: Option<Vec<i32>>,
    pub(crate) continue_on_error: bool,
    pub(crate) recording: RecordingMode,
    pub(crate) settle: Option<Eventually>,
    pub(crate) hints: Vec<String>,
    pub(crate) solution: Vec<Command>,
    pub(crate) reset: Vec<Command>,
    pub(crate) requires: Vec<String>,
    pub(crate) skip: BTreeMap<String, String>,
    pub(crate) checks: Vec<Check>,
}

/// Reads `lab.toml`; `None` where it is no TOML or too large.
pub(crate) fn read(file: &str, text: &str, found: &mut Vec<Diagnostic>) -> Option<LabFile> {
    let mut sink = Sink { file, lines: Lines::new(text), found };
    if text.len() > limits::LAB_BYTES {
        sink.say(1, format!("a file of {} bytes", text.len()), format!("at most {} bytes", limits::LAB_BYTES));
        return None;
    }
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let line = error.span().map_or(1, |s| sink.lines.at(s.start));
            sink.say(line, format!("no valid TOML: {}", error.message()), "TOML 1.0, see https://toml.io");
            return None;
        }
    };
    let top = Table::new("lab.toml", 1, document.get_ref());
    top.only(TOP_KEYS, &mut sink);
    if !top.has("format_version") {
        top.missing("format_version", "`format_version = 1` on the first line", &mut sink);
    } else if top.integer("format_version", 0..=i64::MAX, &mut sink).is_some_and(|v| v != FORMAT_VERSION) {
        let line = top.line_of("format_version", &sink);
        sink.say(
            line,
            "a `format_version` that this swarmlab does not know",
            "`format_version = 1`, or a newer swarmlab",
        );
    }
    if !top.has("title") {
        top.missing("title", "the chapter's title, such as `title = \"Services\"`", &mut sink);
    }
    let slug = top.text("slug", &mut sink);
    if let Some(slug) = slug.as_deref().filter(|s| !is_id(s)) {
        let line = top.line_of("slug", &sink);
        sink.say(line, format!("`slug = \"{}\"`", cut(slug)), ID_EXPECTED);
    }
    let cluster = match top.table("cluster", &mut sink) {
        Some(table) => cluster(&table, &mut sink),
        None => {
            if !top.has("cluster") {
                top.missing("cluster", "`[cluster]` with `managers`, `workers` and `swarm`", &mut sink);
            }
            ClusterNeeds { managers: 1, workers: 0, swarm: true }
        }
    };
    let tables = top.tables("step", limits::STEPS, &mut sink);
    let mut steps: Vec<StepFile> = Vec::new();
    for table in tables {
        if let Some(step) = step(table, &mut sink) {
            if let Some(first) = steps.iter().find(|s| s.id == step.id) {
                let (id, line) = (step.id.clone(), first.line);
                sink.say(
                    step.line,
                    format!("a second [[step]] `{id}`, after line {line}"),
                    "an id of its own for each step",
                );
                continue;
            }
            steps.push(step);
        }
    }
    Some(LabFile { title: top.text("title", &mut sink).unwrap_or_default(), slug, cluster, steps })
}

fn cluster(table: &Table<'_, '_>, sink: &mut Sink<'_>) -> ClusterNeeds {
    table.only(CLUSTER_KEYS, sink);
    let count = |key: &str, range, default: u8, sink: &mut Sink<'_>| {
        table.integer(key, range, sink).and_then(|n| u8::try_from(n).ok()).unwrap_or(default)
    };
    ClusterNeeds {
        managers: count("managers", 1..=limits::MANAGERS, 1, sink),
        workers: count("workers", 0..=limits::WORKERS, 0, sink),
        swarm: table.flag("swarm", sink).unwrap_or(true),
    }
}

fn step(mut table: Table<'_, '_>, sink: &mut Sink<'_>) -> Option<StepFile> {
    if !table.has("id") {
        table.missing("id", "the id of a block in the chapter, such as `id = \"create-service\"`", sink);
        return None;
    }
    let id = table.text("id", sink)?;
    if !is_id(&id) {
        let line = table.line_of("id", sink);
        sink.say(line, format!("`id = \"{}\"` in {}", cut(&id), table.name), ID_EXPECTED);
        return None;
    }
    table.name = format!("[[step]] `{id}`");
    table.only(STEP_KEYS, sink);
    let kinds = [("demo", StepKind::Demo), ("exercise", StepKind::Exercise)];
    let kind = table.choice("kind", &kinds, sink).unwrap_or(StepKind::Demo);
    let modes = [
        ("ordered", RecordingMode::Ordered),
        ("unordered", RecordingMode::Unordered),
        ("ignored", RecordingMode::Ignored),
    ];
    let node = table.text("node", sink);
    let solution = commands(&table, "solution", node.as_deref(), sink);
    let reset = commands(&table, "reset", node.as_deref(), sink);
    let mut checks = Vec::new();
    for (at, check) in table.tables("check", limits::CHECKS, sink).into_iter().enumerate() {
        checks.extend(check_file::read(check, &id, at + 1, sink));
    }
    let read = StepFile {
        line: table.line,
        title: table.text("title", sink),
        kind,
        node,
        timeout: table.duration("timeout", limits::TIMEOUT, sink).unwrap_or(Duration::from_secs(60)),
        points: table.integer("points", 0..=limits::POINTS, sink).and_then(|p| u32::try_from(p).ok()),
        needs: table.texts("needs", limits::STEPS, sink),
        needs_line: table.line_of("needs", sink),
        exits: exits(&table, sink),
        continue_on_error: table.flag("continue_on_error", sink).unwrap_or(false),
        recording: table.choice("recording", &modes, sink).unwrap_or_default(),
        settle: table.table("settle", sink).and_then(|t| check_file::eventually(&t, sink)),
        hints: table.texts("hints", limits::HINTS, sink).unwrap_or_default(),
        solution,
        reset,
        requires: table.features(sink),
        skip: table.skips(ENGINES, sink),
        checks,
        id,
    };
    only_for_its_kind(&table, &read, sink);
    Some(read)
}

/// Refuses keys that say nothing for this kind of step, and asks for those that it cannot do without.
fn only_for_its_kind(table: &Table<'_, '_>, step: &StepFile, sink: &mut Sink<'_>) {
    let id = &step.id;
    match step.kind {
        StepKind::Demo => {
            for key in ["solution", "hints"].into_iter().filter(|k| table.has(k)) {
                let line = table.line_of(key, sink);
                sink.say(
                    line,
                    format!("`{key}` in the demo `{id}`"),
                    "`kind = \"exercise\"`, or no such key: a demo shows its commands",
                );
            }
        }
        StepKind::Exercise => {
            for key in ["exit", "settle", "recording"].into_iter().filter(|k| table.has(k)) {
                let line = table.line_of(key, sink);
                sink.say(
                    line,
                    format!("`{key}` in the exercise `{id}`"),
                    "no such key: an exercise has no recorded commands",
                );
            }
            let wants = [
                ("solution", "`solution = [\"manager1$ ...\"]`: the commands that solve it"),
                (
                    "reset",
                    "`reset = [\"manager1$ ...\"]`: the commands that undo the solution, so that it can be tried again",
                ),
                ("hints", "`hints = [...]` with one to three hints, each saying more"),
                ("check", "at least one [[step.check]]: what must hold when it is solved"),
            ];
            for (key, expected) in wants.into_iter().filter(|(k, _)| !table.has(k)) {
                table.missing(key, expected, sink);
            }
            let all_always = !step.checks.is_empty() && step.checks.iter().all(|c| c.always.is_some());
            if all_always {
                sink.say(
                    table.line,
                    format!("every check of the exercise `{id}` says `always`"),
                    "a check that fails before the exercise is solved",
                );
            }
        }
    }
}

/// `exit = 1` or `exit = [0, 1]`
fn exits(table: &Table<'_, '_>, sink: &mut Sink<'_>) -> Option<Vec<i32>> {
    let value = table.raw("exit")?;
    let code = |v: &DeValue<'_>| integer(v).and_then(|n| i32::try_from(n).ok()).filter(|n| (0..=255).contains(n));
    let read = match value.get_ref() {
        DeValue::Array(list) if !list.is_empty() => list.iter().map(|v| code(v.get_ref())).collect::<Option<Vec<_>>>(),
        one => code(one).map(|c| vec![c]),
    };
    if read.is_none() {
        let line = table.line_of("exit", sink);
        let found = format!("`exit` in {} is {}", table.name, describe(value.get_ref()));
        sink.say(line, found, "an exit code from 0 to 255 for the last command, or a list with one for each command");
    }
    read
}

/// `solution = "cmd"`, `["manager1$ cmd", { run = "cmd", node = "worker1", save = "TOKEN", exit = 1 }]`
fn commands(table: &Table<'_, '_>, key: &str, node: Option<&str>, sink: &mut Sink<'_>) -> Vec<Command> {
    let Some(value) = table.raw(key) else { return Vec::new() };
    let entries: Vec<&Spanned<DeValue<'_>>> = match value.get_ref() {
        DeValue::Array(list) => list.iter().collect(),
        _ => vec![value],
    };
    if entries.is_empty() || entries.len() > limits::COMMANDS {
        let line = table.line_of(key, sink);
        let found = format!("`{key}` in {} has {} commands", table.name, entries.len());
        sink.say(line, found, format!("1 to {} commands", limits::COMMANDS));
        return Vec::new();
    }
    let mut out = Vec::new();
    for entry in entries {
        let source_line = sink.lines.at(entry.span().start);
        let plain = |text: &str| {
            let (named, line) = prompt(text).map_or((None, text), |(n, l)| (Some(n), l));
            Command {
                node: named.or(node).unwrap_or("manager1").to_owned(),
                line: line.trim().to_owned(),
                source_line,
                exit: 0,
                save: None,
                recording: None,
            }
        };
        let command = match entry.get_ref() {
            DeValue::String(text) => plain(text),
            DeValue::Table(map) => {
                let line = Table::new(format!("a command of `{key}` in {}", table.name), source_line, map);
                line.only(LINE_KEYS, sink);
                if !line.has("run") {
                    line.missing("run", "`run = \"docker ...\"`", sink);
                    continue;
                }
                let Some(run) = line.text("run", sink) else { continue };
                let mut command = plain(&run);
                if let Some(node) = line.text("node", sink) {
                    command.node = node;
                }
                command.exit = line.integer("exit", 0..=255, sink).and_then(|e| i32::try_from(e).ok()).unwrap_or(0);
                command.save = line.text("save", sink);
                let variable = |n: &str| n.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') && n.len() <= 40;
                if let Some(name) = command.save.as_deref().filter(|n| !variable(n)) {
                    let at = line.line_of("save", sink);
                    sink.say(
                        at,
                        format!("`save = \"{}\"`", cut(name)),
                        "a variable's name in capitals, such as `WORKER_TOKEN`",
                    );
                }
                command
            }
            other => {
                let found = format!("a command of `{key}` in {} is {}", table.name, describe(other));
                sink.say(
                    source_line,
                    found,
                    "a text such as \"manager1$ docker node ls\", or { run, node, exit, save }",
                );
                continue;
            }
        };
        if command.line.is_empty() || command.line.len() > limits::COMMAND_BYTES {
            let found = format!("a command of {} bytes in `{key}` of {}", command.line.len(), table.name);
            sink.say(source_line, found, format!("1 to {} bytes", limits::COMMAND_BYTES));
            continue;
        }
        out.push(command);
    }
    out
}
