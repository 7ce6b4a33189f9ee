//! The chapter's side of a lab: which fenced blocks are steps, and what commands and recorded output they hold.
//!
//! ````text
//! ```console {step=create-service}
//! manager1$ docker service ls        a command: node, `$`, a blank, the line
//! ID    NAME   MODE   [..]           recorded output; `[..]` is any text, a line `...` any lines
//! manager1$ docker service create \  a command that goes on
//! > --name web nginx                 on lines that begin with `> `
//! ```
//! ```exercise {step=scale}
//! Markdown: the task that the reader is set.
//! ```
//! ````

use core::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use crate::diagnostic::{Diagnostic, Lines};
use crate::limits;
use crate::model::Recording;
use crate::table::{Sink, cut};

/// A fenced block with a step id.
pub(crate) struct Block {
    pub(crate) id: String,
    pub(crate) line: usize,
    pub(crate) range: Range<usize>,
    pub(crate) body: Body,
}

pub(crate) enum Body {
    Console(Vec<ConsoleCommand>),
    Exercise(String),
}

pub(crate) struct ConsoleCommand {
    pub(crate) node: String,
    pub(crate) line: String,
    pub(crate) source_line: usize,
    pub(crate) recording: Recording,
}

pub(crate) fn has_steps(text: &str) -> bool {
    Parser::new(text).any(|event| {
        matches!(&event, Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) if attributes(info).is_some())
    })
}

/// Reads the step blocks of a chapter in order; `None` where the text is too large to be one.
pub(crate) fn read(file: &str, text: &str, found: &mut Vec<Diagnostic>) -> Option<Vec<Block>> {
    let mut sink = Sink { file, lines: Lines::new(text), found };
    if text.len() > limits::CHAPTER_BYTES {
        sink.say(1, format!("a chapter of {} bytes", text.len()), format!("at most {} bytes", limits::CHAPTER_BYTES));
        return None;
    }
    let mut blocks = Vec::new();
    let mut depth = 0usize;
    for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                if let Some(attributes) = attributes(&info) {
                    blocks.extend(block(text, &info, attributes, range, depth, &mut sink));
                } else if ["console", "exercise"].contains(&info.as_ref().trim_end()) && info.as_ref() == "exercise" {
                    let line = sink.lines.at(range.start);
                    sink.say(line, "an `exercise` block without an id", "```exercise {step=ID}");
                }
            }
            Event::Start(Tag::List(_) | Tag::BlockQuote(_)) => depth += 1,
            Event::End(TagEnd::List(_) | TagEnd::BlockQuote(_)) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Some(blocks)
}

/// What stands in the braces of an info string such as `console {step=a}`.
fn attributes(info: &str) -> Option<&str> {
    let open = info.find('{')?;
    let inner = info.get(open + 1..)?;
    let inner = inner.split('}').next().unwrap_or(inner);
    inner.split([' ', ',']).any(|a| a.trim().split('=').next() == Some("step")).then_some(inner)
}

fn block(
    text: &str,
    info: &str,
    attributes: &str,
    range: Range<usize>,
    depth: usize,
    sink: &mut Sink<'_>,
) -> Option<Block> {
    let line = sink.lines.at(range.start);
    let language = info.split([' ', ',', '{']).next().unwrap_or_default();
    if !["console", "exercise"].contains(&language) {
        let diagnostic = Diagnostic::new(
            sink.file,
            line,
            format!("a step block of language `{}`", cut(language)),
            "`console` (commands and their output) or `exercise` (a task in Markdown)",
        );
        sink.found.push(diagnostic.did_you_mean(language, ["console", "exercise"]));
        return None;
    }
    let mut id = None;
    for attribute in attributes.split([' ', ',']).map(str::trim).filter(|a| !a.is_empty()) {
        match attribute.split_once('=') {
            Some(("step", value)) => id = Some(value.trim_matches('"').to_owned()),
            _ => {
                let key = attribute.split('=').next().unwrap_or_default();
                let found = format!("unknown attribute `{}` of a step block", cut(attribute));
                let diagnostic =
                    Diagnostic::new(sink.file, line, found, "only `step=ID`; all else is said in lab.toml");
                sink.found.push(diagnostic.did_you_mean(key, ["step"]));
            }
        }
    }
    let id = id.unwrap_or_default();
    if !is_id(&id) {
        sink.say(line, format!("the step id `{}`", cut(&id)), ID_EXPECTED);
        return None;
    }
    let starts_line = range.start == 0 || text.as_bytes().get(range.start - 1) == Some(&b'\n');
    if depth > 0 || !starts_line {
        sink.say(
            line,
            format!("the step `{id}` is indented, or inside a list or a quotation"),
            "a step block at the left edge",
        );
        return None;
    }
    let source = text.get(range.clone())?;
    let fence_len = source.bytes().take_while(|b| *b == b'`' || *b == b'~').count();
    let lines: Vec<(usize, &str)> = with_offsets(source, range.start);
    let closed = lines.len() > 1
        && lines.last().is_some_and(|(_, l)| {
            let l = l.trim_end();
            l.len() >= fence_len && l.bytes().all(|b| b == b'`' || b == b'~')
        });
    if !closed {
        sink.say(line, format!("the block of step `{id}` is not closed"), "a closing fence as long as the opening one");
        return None;
    }
    let inner = lines.get(1..lines.len() - 1).unwrap_or_default();
    let body = if language == "console" {
        let commands = console(&id, line, inner, sink);
        if commands.is_empty() {
            sink.say(line, format!("the step `{id}` has no command"), "a line such as `manager1$ docker node ls`");
            return None;
        }
        Body::Console(commands)
    } else {
        let task = inner.iter().map(|(_, l)| *l).collect::<Vec<_>>().join("\n").trim().to_owned();
        if task.is_empty() {
            sink.say(line, format!("the exercise `{id}` has no text"), "the task, in Markdown, inside the block");
            return None;
        }
        Body::Exercise(task)
    };
    Some(Block { id, line, range, body })
}

pub(crate) const ID_EXPECTED: &str =
    "an id of at most 40 small letters, digits and `-` that begins with a letter, such as `create-service`";

pub(crate) fn is_id(id: &str) -> bool {
    id.len() <= 40
        && id.starts_with(|c: char| c.is_ascii_lowercase())
        && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Lines without their ends, each with the offset where it begins.
fn with_offsets(source: &str, base: usize) -> Vec<(usize, &str)> {
    let mut out = Vec::new();
    let mut at = base;
    for line in source.split_inclusive('\n') {
        out.push((at, line.trim_end_matches('\n').trim_end_matches('\r')));
        at += line.len();
    }
    out
}

/// `manager1$ docker ps` to its node and command. A lone `manager1$` has an empty command.
pub(crate) fn prompt(line: &str) -> Option<(&str, &str)> {
    let (node, rest) = line.split_once('$')?;
    let command = if rest.is_empty() { rest } else { rest.strip_prefix(' ')? };
    let named = node.starts_with(|c: char| c.is_ascii_lowercase())
        && node.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    named.then_some((node, command.trim_end()))
}

fn console(id: &str, fence_line: usize, lines: &[(usize, &str)], sink: &mut Sink<'_>) -> Vec<ConsoleCommand> {
    let mut commands: Vec<ConsoleCommand> = Vec::new();
    let mut at = 0;
    while let Some((offset, line)) = lines.get(at) {
        let number = fence_line + 1 + at;
        let Some((node, first)) = prompt(line) else {
            let found = if line.trim_start().starts_with("$ ") || line.starts_with("# ") {
                format!("a prompt without a node in step `{id}`: `{}`", cut(line))
            } else {
                format!("output before any command in step `{id}`: `{}`", cut(line))
            };
            sink.say(number, found, "a prompt that names the node, such as `manager1$ docker node ls`");
            return commands;
        };
        let mut command = first.to_owned();
        at += 1;
        while let Some((_, next)) = lines.get(at) {
            let Some(more) = next.strip_prefix("> ").or((*next == ">").then_some("")) else { break };
            command.push('\n');
            command.push_str(more);
            at += 1;
        }
        if command.ends_with('\\') {
            sink.say(
                fence_line + at,
                format!("a command in step `{id}` ends in `\\`"),
                "next, a line that begins with `> `",
            );
        }
        if command.trim().is_empty() {
            sink.say(number, format!("a prompt without a command in step `{id}`"), "a command after the prompt");
        }
        if command.len() > limits::COMMAND_BYTES {
            sink.say(
                number,
                format!("a command of {} bytes", command.len()),
                format!("at most {}", limits::COMMAND_BYTES),
            );
        }
        let begin = lines.get(at).map_or_else(|| end_of(lines, *offset), |(o, _)| *o);
        let mut text = Vec::new();
        while let Some((_, output)) = lines.get(at) {
            if prompt(output).is_some() {
                break;
            }
            text.push(*output);
            at += 1;
        }
        let end = lines.get(at).map_or_else(|| end_of(lines, begin), |(o, _)| *o);
        let text = text.join("\n").trim_end().to_owned();
        if text.len() > limits::RECORDING_BYTES {
            sink.say(
                number,
                format!("{} bytes of recorded output", text.len()),
                format!("at most {}", limits::RECORDING_BYTES),
            );
        }
        commands.push(ConsoleCommand {
            node: node.to_owned(),
            line: command,
            source_line: number,
            recording: Recording { text, range: begin..end.max(begin) },
        });
        if commands.len() > limits::COMMANDS {
            sink.say(fence_line, format!("more than {} commands in step `{id}`", limits::COMMANDS), "smaller steps");
            return commands;
        }
    }
    commands
}

/// The offset after the last line, where the closing fence begins.
fn end_of(lines: &[(usize, &str)], otherwise: usize) -> usize {
    // A line's end may be "\n" or "\r\n"; the rewriter works on texts with "\n", as git keeps them.
    lines.last().map_or(otherwise, |(o, l)| o + l.len() + 1)
}
