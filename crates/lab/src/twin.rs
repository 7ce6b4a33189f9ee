//! Joins the two sides of a lab: every block its `[[step]]`, every `[[step]]` its block, every name one that exists.

use std::collections::BTreeMap;

use crate::chapter::{Block, Body};
use crate::diagnostic::Diagnostic;
use crate::lab_file::{LabFile, StepFile};
use crate::limits;
use crate::model::{Command, LAB_NODE, Lab, Step, StepKind};

pub(crate) fn join(
    chapter_path: &str,
    lab_path: &str,
    blocks: Vec<Block>,
    file: LabFile,
    found: &mut Vec<Diagnostic>,
) -> Option<Lab> {
    if blocks.is_empty() && !found.iter().any(|d| d.file == chapter_path) {
        found.push(Diagnostic::new(
            chapter_path,
            1,
            "no step in the chapter",
            "at least one block such as ```console {step=create-service}",
        ));
    }
    if blocks.len() > limits::STEPS {
        let line = blocks.get(limits::STEPS).map_or(1, |b| b.line);
        let text = format!("{} steps", blocks.len());
        found.push(Diagnostic::new(chapter_path, line, text, format!("at most {}", limits::STEPS)));
        return None;
    }
    let cluster = file.cluster.clone();
    let mut files: BTreeMap<String, StepFile> = file.steps.into_iter().map(|s| (s.id.clone(), s)).collect();
    let known: Vec<String> = files.keys().cloned().collect();
    let mut steps: Vec<Step> = Vec::new();
    let mut needs_lines: BTreeMap<String, usize> = BTreeMap::new();
    for block in blocks {
        if let Some(first) = steps.iter().find(|s| s.id == block.id) {
            let text = format!("a second block of step `{}`, after line {}", block.id, first.line);
            found.push(Diagnostic::new(chapter_path, block.line, text, "an id of its own for each block"));
            continue;
        }
        let Some(twin) = files.remove(&block.id) else {
            let text = format!("the step `{}` has no [[step]] in {lab_path}", block.id);
            let diagnostic =
                Diagnostic::new(chapter_path, block.line, text, format!("[[step]] with `id = \"{}\"`", block.id));
            found.push(diagnostic.did_you_mean(&block.id, known.iter().map(String::as_str)));
            continue;
        };
        needs_lines.insert(block.id.clone(), twin.needs_line);
        let before = steps.last().map(|s| s.id.clone());
        steps.extend(one(chapter_path, lab_path, block, twin, before, found));
    }
    for (id, twin) in &files {
        let text = format!("[[step]] `{id}` has no block in {chapter_path}: its checks are never used");
        let diagnostic = Diagnostic::new(lab_path, twin.line, text, format!("a block ```console {{step={id}}}"));
        found.push(diagnostic.did_you_mean(id, steps.iter().map(|s| s.id.as_str())));
    }
    needs(lab_path, &steps, &needs_lines, found);
    nodes(chapter_path, lab_path, &cluster.nodes(), &steps, found);
    let id = lab_id(lab_path, chapter_path);
    Some(Lab { slug: file.slug.unwrap_or_else(|| id.clone()), id, title: file.title, cluster, steps })
}

/// `labs/chapter-3/lab.toml` is the lab `chapter-3`.
fn lab_id(lab_path: &str, chapter_path: &str) -> String {
    let folder = lab_path.rsplit(['/', '\\']).nth(1).filter(|f| !f.is_empty() && *f != ".");
    let stem = chapter_path.rsplit(['/', '\\']).next().unwrap_or_default().trim_end_matches(".md");
    folder.unwrap_or(stem).to_owned()
}

fn one(
    chapter_path: &str,
    lab_path: &str,
    block: Block,
    twin: StepFile,
    before: Option<String>,
    found: &mut Vec<Diagnostic>,
) -> Option<Step> {
    let id = twin.id;
    let (commands, task) = match (block.body, twin.kind) {
        (Body::Console(console), StepKind::Demo) => {
            let last = console.len().saturating_sub(1);
            let exits = twin.exits.unwrap_or_default();
            if exits.len() > 1 && exits.len() != console.len() {
                let text =
                    format!("`exit` of [[step]] `{id}` lists {} codes for {} commands", exits.len(), console.len());
                found.push(Diagnostic::new(
                    lab_path,
                    twin.line,
                    text,
                    "one code for the last command, or one for each",
                ));
            }
            let exit = |at: usize| match exits.as_slice() {
                [one] => {
                    if at == last {
                        *one
                    } else {
                        0
                    }
                }
                many => many.get(at).copied().unwrap_or(0),
            };
            let commands = console.into_iter().enumerate().map(|(at, c)| Command {
                node: c.node,
                line: c.line,
                source_line: c.source_line,
                exit: exit(at),
                save: None,
                recording: Some(c.recording),
            });
            (commands.collect::<Vec<_>>(), String::new())
        }
        (Body::Exercise(task), StepKind::Exercise) => (Vec::new(), task),
        (Body::Console(_), StepKind::Exercise) => {
            let text = format!("the exercise `{id}` is a `console` block");
            found.push(Diagnostic::new(
                chapter_path,
                block.line,
                text,
                format!("```exercise {{step={id}}} with the task in Markdown"),
            ));
            return None;
        }
        (Body::Exercise(_), StepKind::Demo) => {
            let text = format!("the block `{id}` is an `exercise`, its [[step]] in {lab_path} is a demo");
            found.push(Diagnostic::new(
                chapter_path,
                block.line,
                text,
                "`kind = \"exercise\"` there, or a `console` block here",
            ));
            return None;
        }
    };
    let default_node = twin.node.clone().or_else(|| commands.last().map(|c| c.node.clone()).filter(|n| n != LAB_NODE));
    let mut checks = twin.checks;
    for check in checks.iter_mut().filter(|c| c.node.is_empty()) {
        // Most of what checks read is the swarm's state, which only managers tell.
        let asks_manager = matches!(check.kind, crate::CheckKind::Api { .. });
        check.node = match &default_node {
            Some(node) if !asks_manager || twin.node.is_some() || node.starts_with("manager") => node.clone(),
            _ => "manager1".to_owned(),
        };
    }
    Some(Step {
        title: twin.title.unwrap_or_else(|| id.replace('-', " ")),
        kind: twin.kind,
        line: block.line,
        block: block.range,
        commands,
        task,
        timeout: twin.timeout,
        points: twin.points.unwrap_or(u32::from(twin.kind == StepKind::Exercise)),
        needs: twin.needs.unwrap_or_else(|| before.into_iter().collect()),
        checks,
        hints: twin.hints,
        solution: twin.solution,
        reset: twin.reset,
        continue_on_error: twin.continue_on_error,
        settle: twin.settle,
        recording: twin.recording,
        requires: twin.requires,
        skip: twin.skip,
        id,
    })
}

/// `needs` may only name steps, and following it must end.
fn needs(lab_path: &str, steps: &[Step], lines: &BTreeMap<String, usize>, found: &mut Vec<Diagnostic>) {
    let line = |id: &str| lines.get(id).copied().unwrap_or(1);
    for (at, step) in steps.iter().enumerate() {
        for need in &step.needs {
            match steps.iter().position(|s| s.id == *need) {
                None => {
                    let text = format!("step `{}` needs `{need}`, which is no step", step.id);
                    let others = steps.iter().map(|s| s.id.as_str()).filter(|id| *id != step.id);
                    let diagnostic =
                        Diagnostic::new(lab_path, line(&step.id), text, "ids of steps that come before it");
                    found.push(diagnostic.did_you_mean(need, others));
                }
                Some(there) if there >= at => {
                    let kind = if reaches(steps, need, &step.id) { "a circle" } else { "a later step" };
                    let text = format!("step `{}` needs `{need}`: {kind}", step.id);
                    found.push(Diagnostic::new(
                        lab_path,
                        line(&step.id),
                        text,
                        "only steps that come before it in the chapter",
                    ));
                }
                Some(_) => {}
            }
        }
    }
}

fn reaches(steps: &[Step], from: &str, to: &str) -> bool {
    let mut open = vec![from];
    let mut seen: Vec<&str> = Vec::new();
    while let Some(id) = open.pop() {
        if id == to {
            return true;
        }
        if !seen.contains(&id) {
            seen.push(id);
            open.extend(steps.iter().filter(|s| s.id == id).flat_map(|s| s.needs.iter().map(String::as_str)));
        }
    }
    false
}

fn nodes(chapter_path: &str, lab_path: &str, names: &[String], steps: &[Step], found: &mut Vec<Diagnostic>) {
    let mut ask = |file: &str, line: usize, node: &str, outside: bool| {
        if names.iter().any(|n| n == node) || (outside && node == LAB_NODE) {
            return;
        }
        let all = match (names.first(), names.last()) {
            (Some(first), Some(last)) if names.len() > 4 => {
                format!("one of {} nodes, `{first}` to `{last}`", names.len())
            }
            _ => format!("one of {}", names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")),
        };
        let diagnostic =
            Diagnostic::new(file, line, format!("the node `{node}`"), format!("{all} ([cluster] of lab.toml)"));
        found.push(diagnostic.did_you_mean(node, names.iter().map(String::as_str)));
    };
    for step in steps {
        for command in &step.commands {
            ask(chapter_path, command.source_line, &command.node, true);
        }
        for command in step.solution.iter().chain(&step.reset) {
            ask(lab_path, command.source_line, &command.node, true);
        }
        for check in &step.checks {
            // the learner's own machine has a client for published ports, and nothing else that is the lab's
            let asks = matches!(check.kind, crate::CheckKind::Http { from: crate::Place::Node, .. });
            ask(lab_path, check.line, &check.node, asks);
        }
    }
}
