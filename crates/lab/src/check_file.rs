//! `[[step.check]]` tables to [`Check`]s.

use core::time::Duration;

use crate::api_path::{Pointer, encode_query};
use crate::lab_file::ENGINES;
use crate::model::{Check, CheckKind, Eventually, HttpPart, Parse, Place, RecordKind, Stream};
use crate::table::{Sink, Table};
use crate::{Predicate, limits, readonly};

/// The keys that a check of any kind knows.
pub const CHECK_KEYS: &[&str] =
    &["kind", "words", "node", "expect", "eventually", "always", "look", "requires", "skip"];
/// The further keys of `kind = "api"`.
pub const API_KEYS: &[&str] = &["path", "status", "select", "where"];
/// The further keys of `kind = "command"`.
pub const COMMAND_KEYS: &[&str] = &["run", "exit", "stream", "parse", "select", "timeout", "times"];
/// The further keys of `kind = "http"`.
pub const HTTP_KEYS: &[&str] = &["url", "requests", "part", "select", "container"];
/// The further keys of `kind = "file"`.
pub const FILE_KEYS: &[&str] = &["path", "container"];
/// The further keys of `kind = "dns"`.
pub const DNS_KEYS: &[&str] = &["container", "name", "record"];
/// The keys of `eventually` and `settle`.
pub const EVENTUALLY_KEYS: &[&str] = &["timeout", "interval", "stable_for"];

#[derive(Clone, Copy)]
enum Kind {
    Api,
    Command,
    Http,
    File,
    Dns,
}

/// Reads one check. `node` is where it looks unless it says otherwise.
pub(crate) fn read(mut table: Table<'_, '_>, step: &str, number: usize, sink: &mut Sink<'_>) -> Option<Check> {
    table.name = format!("check {number} of step `{step}`");
    if !table.has("kind") {
        table.missing("kind", "`kind = \"api\"`, `\"command\"`, `\"http\"`, `\"file\"` or `\"dns\"`", sink);
        return None;
    }
    let kinds = [
        ("api", Kind::Api),
        ("command", Kind::Command),
        ("http", Kind::Http),
        ("file", Kind::File),
        ("dns", Kind::Dns),
    ];
    let kind = table.choice("kind", &kinds, sink)?;
    let own = match kind {
        Kind::Api => API_KEYS,
        Kind::Command => COMMAND_KEYS,
        Kind::Http => HTTP_KEYS,
        Kind::File => FILE_KEYS,
        Kind::Dns => DNS_KEYS,
    };
    let known: Vec<&str> = CHECK_KEYS.iter().chain(own).copied().collect();
    table.only(&known, sink);
    if !table.has("words") {
        table.missing("words", "one sentence that tells a reader what must hold", sink);
    }
    let words = table.text("words", sink);
    let expect = table.predicate("expect", sink);
    let kind = match kind {
        Kind::Api => api(&table, sink),
        Kind::Command => command(&table, sink),
        Kind::Http => http(&table, sink),
        Kind::File => file(&table, sink),
        Kind::Dns => dns(&table, sink),
    };
    let eventually = table.table("eventually", sink).and_then(|t| eventually(&t, sink));
    Some(Check {
        id: format!("{step}/{number}"),
        words: words?,
        kind: kind?,
        node: table.text("node", sink).unwrap_or_default(),
        expect,
        eventually,
        always: table.text("always", sink),
        look: table.text("look", sink),
        requires: table.features(sink),
        skip: table.skips(ENGINES, sink),
        line: table.line,
    })
}

/// Reads `{ timeout, interval, stable_for }`.
pub(crate) fn eventually(table: &Table<'_, '_>, sink: &mut Sink<'_>) -> Option<Eventually> {
    table.only(EVENTUALLY_KEYS, sink);
    if !table.has("timeout") {
        table.missing("timeout", "how long to wait, such as `timeout = \"20s\"`", sink);
        return None;
    }
    let timeout = table.duration("timeout", limits::TIMEOUT, sink)?;
    let interval = table.duration("interval", limits::TIMEOUT, sink).unwrap_or(Duration::from_millis(250));
    let stable_for = table.duration("stable_for", limits::TIMEOUT, sink).unwrap_or(Duration::ZERO);
    Some(Eventually { timeout, interval: interval.max(limits::INTERVAL), stable_for })
}

fn pointer(table: &Table<'_, '_>, key: &str, sink: &mut Sink<'_>) -> Option<Pointer> {
    let Some(text) = table.raw(key).and_then(|v| v.get_ref().as_str().map(str::to_owned)) else {
        if table.has(key) {
            table.text(key, sink)?;
        }
        return Some(Pointer::default());
    };
    match Pointer::parse(&text) {
        Ok(pointer) => Some(pointer),
        Err(expected) => {
            let line = table.line_of(key, sink);
            sink.say(line, format!("`{key} = \"{text}\"` in {}", table.name), expected);
            None
        }
    }
}

fn api(table: &Table<'_, '_>, sink: &mut Sink<'_>) -> Option<CheckKind> {
    if !table.has("path") {
        table.missing("path", "a path of the Docker Engine API such as `path = \"/services/web\"`", sink);
        return None;
    }
    let path = table.text("path", sink)?;
    let versioned = path.strip_prefix("/v1.").is_some_and(|r| r.starts_with(|c: char| c.is_ascii_digit()));
    if !path.starts_with('/') || versioned || path.contains(['#', '\n']) {
        let line = table.line_of("path", sink);
        let expected = "a path that begins with `/` and names no version, such as `/services/web`";
        sink.say(line, format!("`path = \"{path}\"` in {}", table.name), expected);
        return None;
    }
    let mut filter = Vec::new();
    if let Some(wheres) = table.table("where", sink) {
        for (key, value) in wheres.entries() {
            let what = format!("`{key}` of `where` in {}", table.name);
            let predicate = Predicate::read(value, &what, 0, sink);
            match (Pointer::parse(key), predicate) {
                (Ok(pointer), Some(predicate)) => filter.push((pointer, predicate)),
                (Err(expected), _) => sink.say(sink.lines.at(value.span().start), what, expected),
                _ => {}
            }
        }
    }
    let status = table.integer("status", 100..=599, sink).and_then(|s| u16::try_from(s).ok()).unwrap_or(200);
    Some(CheckKind::Api { path: encode_query(&path), status, select: pointer(table, "select", sink)?, filter })
}

fn command(table: &Table<'_, '_>, sink: &mut Sink<'_>) -> Option<CheckKind> {
    if !table.has("run") {
        table.missing("run", "a command that reads, such as `run = \"docker node ls -q\"`", sink);
        return None;
    }
    let run = table.text("run", sink)?;
    if let Some(what) = readonly::objection(&run) {
        let line = table.line_of("run", sink);
        sink.say(
            line,
            format!("{what} in {}", table.name),
            "a command that only reads: a check never changes anything",
        );
    }
    let streams = [("stdout", Stream::Stdout), ("stderr", Stream::Stderr)];
    let parses = [("text", Parse::Text), ("lines", Parse::Lines), ("number", Parse::Number), ("json", Parse::Json)];
    let any = table.raw("exit").is_some_and(|v| v.get_ref().as_str() == Some("any"));
    let exit = if any {
        None
    } else {
        let exit = table.integer("exit", 0..=255, sink).and_then(|e| i32::try_from(e).ok());
        Some(exit.unwrap_or(0))
    };
    Some(CheckKind::Command {
        run,
        exit,
        stream: table.choice("stream", &streams, sink).unwrap_or(Stream::Stdout),
        parse: table.choice("parse", &parses, sink).unwrap_or(Parse::Text),
        select: pointer(table, "select", sink)?,
        timeout: table.duration("timeout", limits::TIMEOUT, sink).unwrap_or(Duration::from_secs(10)),
        times: times(table, "times", sink),
    })
}

fn http(table: &Table<'_, '_>, sink: &mut Sink<'_>) -> Option<CheckKind> {
    if !table.has("url") {
        table.missing("url", "`url = \"http://manager1:8080/\"`", sink);
        return None;
    }
    let url = table.text("url", sink)?;
    let rest = url.strip_prefix("http://").unwrap_or_default();
    if rest.is_empty() || rest.starts_with('/') || url.contains([' ', '@', '\n']) {
        let line = table.line_of("url", sink);
        sink.say(line, format!("`url = \"{url}\"` in {}", table.name), "an address such as `http://manager1:8080/`");
        return None;
    }
    let parts = [("status", HttpPart::Status), ("body", HttpPart::Body), ("json", HttpPart::Json)];
    let requests = times(table, "requests", sink);
    let part = table.choice("part", &parts, sink).unwrap_or(HttpPart::Body);
    let from = container(table, sink)?.map_or(Place::Node, Place::Container);
    Some(CheckKind::Http { from, url, requests, part, select: pointer(table, "select", sink)? })
}

fn times(table: &Table<'_, '_>, key: &str, sink: &mut Sink<'_>) -> u32 {
    table.integer(key, 1..=limits::REQUESTS, sink).and_then(|n| u32::try_from(n).ok()).unwrap_or(1)
}

fn plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// How the container's name begins, if one is named; the outer `None` where what is named cannot be a container.
fn container(table: &Table<'_, '_>, sink: &mut Sink<'_>) -> Option<Option<String>> {
    let Some(name) = table.text("container", sink) else { return Some(None) };
    if !plain(&name) {
        let line = table.line_of("container", sink);
        let found = format!("`container = \"{name}\"` in {}", table.name);
        sink.say(line, found, "how the container's name begins, such as `web.1`");
        return None;
    }
    Some(Some(name))
}

fn dns(table: &Table<'_, '_>, sink: &mut Sink<'_>) -> Option<CheckKind> {
    for (key, expected) in [
        ("container", "the container whose name server is asked: how its name begins, such as `web.1`"),
        ("name", "the name to ask for, such as `name = \"web\"` or `\"tasks.web\"`"),
    ] {
        if !table.has(key) {
            table.missing(key, expected, sink);
        }
    }
    let container = container(table, sink)?;
    let name = table.text("name", sink)?;
    let records = [("A", RecordKind::A), ("AAAA", RecordKind::Aaaa), ("PTR", RecordKind::Ptr)];
    let record = table.choice("record", &records, sink).unwrap_or(RecordKind::A);
    let address = name.parse::<core::net::IpAddr>().is_ok();
    if address != (record == RecordKind::Ptr) || !(address || plain(&name)) || name.len() > 253 {
        let line = table.line_of("name", sink);
        let expected = if record == RecordKind::Ptr { "an address such as `10.0.1.2`" } else { "a name such as `web`" };
        sink.say(line, format!("`name = \"{name}\"` in {}", table.name), expected);
        return None;
    }
    Some(CheckKind::Dns { container: container?, name, record })
}

fn file(table: &Table<'_, '_>, sink: &mut Sink<'_>) -> Option<CheckKind> {
    if !table.has("path") {
        table.missing("path", "the file's absolute path", sink);
        return None;
    }
    let path = table.text("path", sink)?;
    if !path.starts_with('/') || path.contains(['\n', '\'']) {
        let line = table.line_of("path", sink);
        sink.say(line, format!("`path = \"{path}\"` in {}", table.name), "an absolute path without quotes");
        return None;
    }
    let source = container(table, sink)?.map_or(Place::Node, Place::Container);
    Some(CheckKind::File { source, path })
}
