//! A reader over a parsed TOML table that remembers where everything stands, says what is wrong in one voice, and goes
//! on reading, so that an author sees all mistakes at once.

use core::time::Duration;
use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Lines};
use crate::{duration::parse_duration, limits, predicate::Predicate};

/// Where diagnostics about one file go.
pub(crate) struct Sink<'a> {
    pub(crate) file: &'a str,
    pub(crate) lines: Lines,
    pub(crate) found: &'a mut Vec<Diagnostic>,
}

impl Sink<'_> {
    pub(crate) fn say(&mut self, line: usize, found: impl Into<String>, expected: impl Into<String>) {
        self.found.push(Diagnostic::new(self.file, line, found, expected));
    }
}

/// One table, with the name by which messages call it.
pub(crate) struct Table<'t, 'i> {
    pub(crate) name: String,
    pub(crate) line: usize,
    map: &'t DeTable<'i>,
}

impl<'t, 'i> Table<'t, 'i> {
    pub(crate) fn new(name: impl Into<String>, line: usize, map: &'t DeTable<'i>) -> Self {
        Self { name: name.into(), line, map }
    }

    /// Complains about every key outside `known`.
    pub(crate) fn only(&self, known: &[&str], sink: &mut Sink<'_>) {
        for key in self.map.keys() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let line = sink.lines.at(key.span().start);
                let expected = format!("one of {}", list(known));
                let found = format!("unknown key `{name}` in {}", self.name);
                sink.found
                    .push(Diagnostic::new(sink.file, line, found, expected).did_you_mean(name, known.iter().copied()));
            }
        }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    pub(crate) fn line_of(&self, key: &str, sink: &Sink<'_>) -> usize {
        self.map.get(key).map_or(self.line, |v| sink.lines.at(v.span().start))
    }

    pub(crate) fn raw(&self, key: &str) -> Option<&'t Spanned<DeValue<'i>>> {
        self.map.get(key)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &'t Spanned<DeValue<'i>>)> {
        self.map.iter().map(|(k, v)| (k.get_ref().as_ref(), v))
    }

    /// Says that `key` is missing.
    pub(crate) fn missing(&self, key: &str, expected: &str, sink: &mut Sink<'_>) {
        sink.say(self.line, format!("{} has no `{key}`", self.name), expected);
    }

    fn wrong(&self, key: &str, value: &Spanned<DeValue<'_>>, expected: &str, sink: &mut Sink<'_>) {
        let line = sink.lines.at(value.span().start);
        sink.say(line, format!("`{key}` in {} is {}", self.name, describe(value.get_ref())), expected);
    }

    pub(crate) fn text(&self, key: &str, sink: &mut Sink<'_>) -> Option<String> {
        let value = self.map.get(key)?;
        match value.get_ref().as_str() {
            Some(text) if text.len() > limits::TEXT_BYTES.max(limits::COMMAND_BYTES) => {
                self.wrong(key, value, &format!("at most {} bytes", limits::COMMAND_BYTES), sink);
                None
            }
            Some(text) if text.trim().is_empty() => {
                self.wrong(key, value, "a text that is not empty", sink);
                None
            }
            Some(text) => Some(text.to_owned()),
            None => {
                self.wrong(key, value, "a text in quotes", sink);
                None
            }
        }
    }

    /// A text out of a small set of names.
    pub(crate) fn choice<T: Copy>(&self, key: &str, of: &[(&str, T)], sink: &mut Sink<'_>) -> Option<T> {
        let value = self.map.get(key)?;
        let names: Vec<&str> = of.iter().map(|(n, _)| *n).collect();
        let expected = format!("one of {}", list(&names));
        let Some(text) = value.get_ref().as_str() else {
            self.wrong(key, value, &expected, sink);
            return None;
        };
        let hit = of.iter().find(|(n, _)| *n == text).map(|(_, t)| *t);
        if hit.is_none() {
            let line = sink.lines.at(value.span().start);
            let found = format!("`{key} = \"{}\"` in {}", cut(text), self.name);
            sink.found.push(Diagnostic::new(sink.file, line, found, expected).did_you_mean(text, names));
        }
        hit
    }

    pub(crate) fn flag(&self, key: &str, sink: &mut Sink<'_>) -> Option<bool> {
        let value = self.map.get(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.wrong(key, value, "`true` or `false`", sink);
        }
        flag
    }

    pub(crate) fn integer(&self, key: &str, range: core::ops::RangeInclusive<i64>, sink: &mut Sink<'_>) -> Option<i64> {
        let value = self.map.get(key)?;
        let number = integer(value.get_ref()).filter(|n| range.contains(n));
        if number.is_none() {
            self.wrong(key, value, &format!("a whole number from {} to {}", range.start(), range.end()), sink);
        }
        number
    }

    pub(crate) fn duration(&self, key: &str, most: Duration, sink: &mut Sink<'_>) -> Option<Duration> {
        let value = self.map.get(key)?;
        let read = value.get_ref().as_str().and_then(parse_duration).filter(|d| *d <= most);
        if read.is_none() {
            let most = crate::show_duration(most);
            self.wrong(
                key,
                value,
                &format!("a time in quotes such as \"500ms\", \"30s\" or \"2m\", at most {most}"),
                sink,
            );
        }
        read
    }

    pub(crate) fn texts(&self, key: &str, most: usize, sink: &mut Sink<'_>) -> Option<Vec<String>> {
        let value = self.map.get(key)?;
        let expected = format!("a list of at most {most} texts");
        let Some(array) = value.get_ref().as_array().filter(|a| a.len() <= most) else {
            self.wrong(key, value, &expected, sink);
            return None;
        };
        let mut out = Vec::new();
        for entry in array.iter() {
            match entry.get_ref().as_str().filter(|t| !t.trim().is_empty() && t.len() <= limits::TEXT_BYTES) {
                Some(text) => out.push(text.to_owned()),
                None => self.wrong(key, entry, &expected, sink),
            }
        }
        Some(out)
    }

    pub(crate) fn predicate(&self, key: &str, sink: &mut Sink<'_>) -> Option<Predicate> {
        let value = self.map.get(key)?;
        Predicate::read(value, &format!("`{key}` in {}", self.name), 0, sink)
    }

    pub(crate) fn table(&self, key: &str, sink: &mut Sink<'_>) -> Option<Table<'t, 'i>> {
        let value = self.map.get(key)?;
        let line = sink.lines.at(value.span().start);
        match value.get_ref().as_table() {
            Some(map) => Some(Table::new(format!("`{key}` of {}", self.name), line, map)),
            None => {
                self.wrong(key, value, "a table", sink);
                None
            }
        }
    }

    pub(crate) fn tables(&self, key: &str, most: usize, sink: &mut Sink<'_>) -> Vec<Table<'t, 'i>> {
        let Some(value) = self.map.get(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong(key, value, &format!("tables, each begun by `[[{key}]]`"), sink);
            return Vec::new();
        };
        if array.len() > most {
            self.wrong(key, value, &format!("at most {most} tables"), sink);
        }
        let mut out = Vec::new();
        for (at, entry) in array.iter().take(most).enumerate() {
            let line = sink.lines.at(entry.span().start);
            match entry.get_ref().as_table() {
                Some(map) => out.push(Table::new(format!("[[{key}]] number {}", at + 1), line, map)),
                None => self.wrong(key, entry, "a table", sink),
            }
        }
        out
    }

    /// `requires = ["vip"]`
    pub(crate) fn features(&self, sink: &mut Sink<'_>) -> Vec<String> {
        let known = crate::lab_file::FEATURES;
        let asked = self.texts("requires", known.len(), sink).unwrap_or_default();
        let line = self.line_of("requires", sink);
        for name in asked.iter().filter(|n| !known.contains(&n.as_str())) {
            let found = format!("`requires` of {} names `{}`", self.name, cut(name));
            let diagnostic = Diagnostic::new(sink.file, line, found, format!("some of {}", list(known)));
            sink.found.push(diagnostic.did_you_mean(name, known.iter().copied()));
        }
        asked
    }

    /// `skip = { dockerd = "reason" }`
    pub(crate) fn skips(&self, engines: &[&str], sink: &mut Sink<'_>) -> BTreeMap<String, String> {
        let Some(table) = self.table("skip", sink) else { return BTreeMap::new() };
        table.only(engines, sink);
        let known: Vec<&str> = engines.iter().copied().filter(|e| table.has(e)).collect();
        known.into_iter().filter_map(|e| Some((e.to_owned(), table.text(e, sink)?))).collect()
    }
}

pub(crate) fn integer(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// What a value is, for messages.
pub(crate) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{}\"", cut(text)),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(flag) => format!("`{flag}`"),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(list) => format!("a list of {}", list.len()),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

pub(crate) fn cut(text: &str) -> String {
    let mut out: String = text.chars().take(60).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}

pub(crate) fn list(names: &[&str]) -> String {
    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}
