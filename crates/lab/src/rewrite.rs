//! Puts newly observed output into a chapter, changing as little as possible.

use crate::recording::{bindings, matches, matches_unordered, pair_lines, substitute, tidy};
use crate::{Diagnostic, Lab, RecordingMode};

/// What a command of a step printed.
#[derive(Debug, Clone)]
pub struct NewOutput {
    /// The step.
    pub step: String,
    /// Which of its commands, from 0.
    pub command: usize,
    /// The line as it ran, with the ids and tokens of that run.
    pub ran: String,
    /// Its output.
    pub output: String,
}

/// The chapter with its recordings brought up to date.
///
/// A recording that still matches stays as it is. In one that does not, lines that still stand for an observed line
/// stay (with their `[..]`), the others are replaced; lines `...` go, for an author to put back where they belong.
/// Ids and tokens agree all through the chapter afterwards: new outputs name those of the recordings that stayed, and
/// commands that quote one that is gone quote the new one.
pub fn rewrite(chapter_path: &str, chapter: &str, lab: &Lab, outputs: &[NewOutput]) -> Result<String, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let mut changed: Vec<(core::ops::Range<usize>, String)> = Vec::new();
    // recorded value -> value of this run, of recordings that stay and of all others
    let mut kept: Vec<(String, String)> = Vec::new();
    let mut gone: Vec<(String, String)> = Vec::new();
    for new in outputs {
        let Some(step) = lab.step(&new.step) else { continue };
        let Some(command) = step.commands.get(new.command) else { continue };
        let Some(recording) = &command.recording else { continue };
        let observed = tidy(&new.output);
        gone.extend(bindings(&command.line, &new.ran));
        let same = match step.recording {
            RecordingMode::Ordered => matches(&recording.text, &observed),
            RecordingMode::Unordered => matches_unordered(&recording.text, &observed),
            RecordingMode::Ignored => !recording.text.is_empty(),
        };
        if same {
            kept.extend(bindings(&recording.text, &observed));
            continue;
        }
        let unfit = |l: &&str| l.starts_with("```") || l.starts_with("~~~") || crate::chapter::prompt(l).is_some();
        if let Some(line) = observed.lines().find(unfit) {
            problems.push(Diagnostic::new(
                chapter_path,
                command.source_line,
                format!("the output holds a line that reads as a prompt or a fence: `{line}`"),
                "a command whose output can stand in a `console` block",
            ));
            continue;
        }
        gone.extend(bindings(&recording.text, &observed));
        let mut text = String::new();
        for (old, line) in pair_lines(&recording.text, &observed) {
            match (old, line) {
                (Some(old), Some(_)) if old.contains("[..]") => text.push_str(old),
                (_, Some(line)) => text.push_str(line),
                (_, None) => continue,
            }
            text.push('\n');
        }
        changed.push((recording.range.clone(), text));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    // Short ids are left alone: they could be part of something else. `substitute` shortens long ones by itself.
    let long = |pairs: &mut Vec<(String, String)>| pairs.retain(|(old, new)| old.len() >= 25 && new.len() >= 25);
    long(&mut kept);
    long(&mut gone);
    let back: Vec<(String, String)> = kept.iter().map(|(old, new)| (new.clone(), old.clone())).collect();
    gone.retain(|(old, _)| !kept.iter().any(|(k, _)| k == old));
    for (_, new) in &mut gone {
        *new = substitute(new, &back);
    }
    changed.sort_by_key(|(range, _)| range.start);
    let mut out = String::with_capacity(chapter.len());
    let mut at = 0;
    for (range, text) in changed {
        out.push_str(chapter.get(at..range.start).unwrap_or_default());
        out.push_str(&substitute(&text, &back));
        at = range.end;
    }
    out.push_str(chapter.get(at..).unwrap_or_default());
    Ok(substitute(&out, &gone))
}
