//! What an observed value must satisfy: `expect = 3`, `expect = { count = 5, all = "ready" }`.

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::DeValue;

use crate::diagnostic::Diagnostic;
use crate::table::{Sink, cut, describe, list};
use crate::{limits, table};

/// Longer lists with repetitions are shown as counts: what sixty requests brought is a distribution to a reader.
const COUNTED_FROM: usize = 6;

/// The conditions of a predicate.
pub const PREDICATE_KEYS: &[&str] = &[
    "eq", "ne", "gt", "ge", "lt", "le", "contains", "lacks", "matches", "one_of", "exists", "count", "distinct",
    "share", "all", "any", "none",
];

/// Conditions that must all hold.
#[derive(Debug, Clone)]
pub struct Predicate {
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone)]
enum Condition {
    Eq(Value),
    Ne(Value),
    Gt(f64),
    Ge(f64),
    Lt(f64),
    Le(f64),
    Contains(Value),
    Lacks(Value),
    Matches(Regex),
    OneOf(Vec<Value>),
    Exists(bool),
    Count(Predicate),
    Distinct(Predicate),
    Share(Predicate),
    All(Predicate),
    Any(Predicate),
    None(Predicate),
}

impl Predicate {
    /// Equal to this value.
    pub fn equals(value: Value) -> Self {
        Self { conditions: vec![Condition::Eq(value)] }
    }

    /// Whether `value` satisfies it; `None` is a value that does not exist.
    ///
    /// A list that is empty or missing satisfies neither `all` nor `any`: "every task runs" is false while there is no
    /// task, which is what a check of an untouched state must say.
    pub fn test(&self, value: Option<&Value>) -> bool {
        self.conditions.iter().all(|c| c.test(value))
    }

    /// The predicate in words that follow "expected".
    pub fn words(&self) -> String {
        self.conditions.iter().map(Condition::words).collect::<Vec<_>>().join(" and ")
    }

    pub(crate) fn read(value: &Spanned<DeValue<'_>>, what: &str, depth: usize, sink: &mut Sink<'_>) -> Option<Self> {
        let line = sink.lines.at(value.span().start);
        let Some(map) = value.get_ref().as_table() else {
            return json(value, what, sink).map(Self::equals);
        };
        if depth >= limits::PREDICATE_DEPTH {
            sink.say(line, format!("{what} nests too deep"), format!("at most {} levels", limits::PREDICATE_DEPTH));
            return None;
        }
        if map.is_empty() {
            sink.say(line, format!("{what} is empty"), format!("a value, or some of {}", list(PREDICATE_KEYS)));
            return None;
        }
        let mut conditions = Vec::new();
        for (key, entry) in map.iter() {
            let name: &str = key.get_ref();
            if !PREDICATE_KEYS.contains(&name) {
                let line = sink.lines.at(key.span().start);
                let found = format!("unknown condition `{}` in {what}", cut(name));
                let expected = format!("one of {}", list(PREDICATE_KEYS));
                let near = Diagnostic::new(sink.file, line, found, expected);
                sink.found.push(near.did_you_mean(name, PREDICATE_KEYS.iter().copied()));
                continue;
            }
            conditions.extend(Condition::read(name, entry, what, depth, sink));
        }
        (!conditions.is_empty()).then_some(Self { conditions })
    }
}

impl Condition {
    fn read(name: &str, entry: &Spanned<DeValue<'_>>, what: &str, depth: usize, sink: &mut Sink<'_>) -> Option<Self> {
        let inner = |sink: &mut Sink<'_>| Predicate::read(entry, &format!("`{name}` of {what}"), depth + 1, sink);
        let line = sink.lines.at(entry.span().start);
        let seen = format!("`{name}` of {what} is {}", describe(entry.get_ref()));
        Some(match name {
            "eq" => Self::Eq(json(entry, what, sink)?),
            "ne" => Self::Ne(json(entry, what, sink)?),
            "contains" => Self::Contains(json(entry, what, sink)?),
            "lacks" => Self::Lacks(json(entry, what, sink)?),
            "gt" | "ge" | "lt" | "le" => {
                let Some(number) = json(entry, what, sink)?.as_f64() else {
                    sink.say(line, seen, "a number");
                    return None;
                };
                match name {
                    "gt" => Self::Gt(number),
                    "ge" => Self::Ge(number),
                    "lt" => Self::Lt(number),
                    _ => Self::Le(number),
                }
            }
            "matches" => {
                let Some(text) = entry.get_ref().as_str() else {
                    sink.say(line, seen, "a regular expression in quotes");
                    return None;
                };
                match RegexBuilder::new(text).size_limit(limits::PATTERN_BYTES).multi_line(true).build() {
                    Ok(pattern) => Self::Matches(pattern),
                    Err(error) => {
                        let said = error.to_string();
                        let last = said.lines().last().unwrap_or_default().trim();
                        sink.say(line, seen, format!("a regular expression that compiles ({last})"));
                        return None;
                    }
                }
            }
            "one_of" => match json(entry, what, sink)? {
                Value::Array(values) if !values.is_empty() => Self::OneOf(values),
                _ => {
                    sink.say(line, seen, "a list of values");
                    return None;
                }
            },
            "exists" => {
                let Some(flag) = entry.get_ref().as_bool() else {
                    sink.say(line, seen, "`true` or `false`");
                    return None;
                };
                Self::Exists(flag)
            }
            "count" => Self::Count(inner(sink)?),
            "distinct" => Self::Distinct(inner(sink)?),
            "share" => Self::Share(inner(sink)?),
            "all" => Self::All(inner(sink)?),
            "any" => Self::Any(inner(sink)?),
            _ => Self::None(inner(sink)?),
        })
    }

    fn test(&self, value: Option<&Value>) -> bool {
        let number = |test: &dyn Fn(f64) -> bool| value.and_then(as_number).is_some_and(test);
        match self {
            Self::Eq(want) => value.is_some_and(|v| same(v, want)),
            Self::Ne(want) => value.is_some_and(|v| !same(v, want)),
            Self::Gt(want) => number(&|n| n > *want),
            Self::Ge(want) => number(&|n| n >= *want),
            Self::Lt(want) => number(&|n| n < *want),
            Self::Le(want) => number(&|n| n <= *want),
            Self::Contains(want) => value.is_some_and(|v| contains(v, want)),
            Self::Lacks(want) => value.is_some_and(|v| !contains(v, want)),
            Self::Matches(pattern) => value.and_then(Value::as_str).is_some_and(|t| pattern.is_match(t)),
            Self::OneOf(values) => value.is_some_and(|v| values.iter().any(|want| same(v, want))),
            Self::Exists(want) => value.is_some_and(|v| !v.is_null()) == *want,
            Self::Count(inner) => inner.test(Some(&Value::from(size(value)))),
            Self::Distinct(inner) => inner.test(Some(&Value::from(shares(value).len()))),
            Self::Share(inner) => {
                let shares = shares(value);
                !shares.is_empty() && shares.into_iter().all(|share| inner.test(Some(&Value::from(share))))
            }
            Self::All(inner) => {
                let all = elements(value);
                !all.is_empty() && all.into_iter().all(|v| inner.test(Some(v)))
            }
            Self::Any(inner) => elements(value).into_iter().any(|v| inner.test(Some(v))),
            Self::None(inner) => !elements(value).into_iter().any(|v| inner.test(Some(v))),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Eq(want) => show(want),
            Self::Ne(want) => format!("not {}", show(want)),
            Self::Gt(n) => format!("more than {n}"),
            Self::Ge(n) => format!("at least {n}"),
            Self::Lt(n) => format!("less than {n}"),
            Self::Le(n) => format!("at most {n}"),
            Self::Contains(want) => format!("something that contains {}", show(want)),
            Self::Lacks(want) => format!("nothing that contains {}", show(want)),
            Self::Matches(pattern) => format!("something that matches /{pattern}/"),
            Self::OneOf(values) => format!("one of {}", values.iter().map(show).collect::<Vec<_>>().join(", ")),
            Self::Exists(true) => "something there".to_owned(),
            Self::Exists(false) => "nothing there".to_owned(),
            Self::Count(inner) => format!("{} in number", inner.words()),
            Self::Distinct(inner) => format!("{} different ones", inner.words()),
            Self::Share(inner) => format!("each different one's share {}", inner.words()),
            Self::All(inner) => format!("each {}", inner.words()),
            Self::Any(inner) => format!("at least one {}", inner.words()),
            Self::None(inner) => format!("none {}", inner.words()),
        }
    }
}

fn as_number(value: &Value) -> Option<f64> {
    value.as_f64()
}

fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

fn contains(value: &Value, want: &Value) -> bool {
    match value {
        Value::String(text) => want.as_str().is_some_and(|w| text.contains(w)),
        Value::Array(list) => list.iter().any(|v| same(v, want)),
        Value::Object(map) => want.as_str().is_some_and(|w| map.contains_key(w)),
        _ => false,
    }
}

fn elements(value: Option<&Value>) -> Vec<&Value> {
    match value {
        Some(Value::Array(list)) => list.iter().collect(),
        Some(Value::Object(map)) => map.values().collect(),
        _ => Vec::new(),
    }
}

/// Each different element with how often it occurs, in the order of their text.
fn counts<'v>(all: impl IntoIterator<Item = &'v Value>) -> Vec<(&'v Value, usize)> {
    let mut seen: BTreeMap<String, (&Value, usize)> = BTreeMap::new();
    for element in all {
        seen.entry(element.to_string()).or_insert((element, 0)).1 += 1;
    }
    seen.into_values().collect()
}

/// How much of all elements each different one makes up, from 0 to 1.
fn shares(value: Option<&Value>) -> Vec<f64> {
    let all = elements(value);
    let whole = all.len() as f64;
    counts(all).into_iter().map(|(_, count)| count as f64 / whole).collect()
}

fn size(value: Option<&Value>) -> usize {
    match value {
        Some(Value::String(text)) => text.lines().count(),
        other => elements(other).len(),
    }
}

/// A value as a reader would say it.
pub(crate) fn show(value: &Value) -> String {
    match value {
        Value::String(text) => format!("\"{text}\""),
        Value::Null => "nothing".to_owned(),
        Value::Array(list) if list.is_empty() => "an empty list".to_owned(),
        Value::Array(list) if list.iter().all(|v| !v.is_array() && !v.is_object()) => {
            let counts = counts(list);
            if list.len() > COUNTED_FROM && counts.len() < list.len() {
                let count = |(value, count): (&Value, usize)| format!("{} ({count} of {})", show(value), list.len());
                return counts.into_iter().map(count).collect::<Vec<_>>().join(", ");
            }
            list.iter().map(show).collect::<Vec<_>>().join(", ")
        }
        Value::Array(list) => format!("a list of {}", list.len()),
        other => other.to_string(),
    }
}

fn json(value: &Spanned<DeValue<'_>>, what: &str, sink: &mut Sink<'_>) -> Option<Value> {
    let line = sink.lines.at(value.span().start);
    Some(match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Integer(_) => match table::integer(value.get_ref()) {
            Some(number) => Value::from(number),
            None => {
                sink.say(line, format!("{what} holds {}", describe(value.get_ref())), "a whole number of 64 bits");
                return None;
            }
        },
        DeValue::Float(number) => match number.as_str().replace('_', "").parse().ok().and_then(Number::from_f64) {
            Some(number) => Value::Number(number),
            None => {
                sink.say(line, format!("{what} holds {}", describe(value.get_ref())), "a finite number");
                return None;
            }
        },
        DeValue::Datetime(_) => {
            sink.say(line, format!("{what} holds a date"), "a text, a number, `true`, `false` or a list of those");
            return None;
        }
        DeValue::Array(list) => Value::Array(list.iter().map(|v| json(v, what, sink)).collect::<Option<Vec<_>>>()?),
        DeValue::Table(map) => {
            let mut object = Map::new();
            for (key, entry) in map.iter() {
                object.insert(key.get_ref().to_string(), json(entry, what, sink)?);
            }
            Value::Object(object)
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::diagnostic::Lines;
    use serde_json::json;

    fn predicate(text: &str) -> Result<Predicate, Vec<Diagnostic>> {
        let value = DeValue::parse(text).unwrap();
        let mut found = Vec::new();
        let mut sink = Sink { file: "lab.toml", lines: Lines::new(text), found: &mut found };
        let read = Predicate::read(&value, "`expect`", 0, &mut sink);
        read.filter(|_| found.is_empty()).ok_or(found)
    }

    #[test]
    fn every_condition_holds_and_fails_as_it_says() {
        let cases = [
            ("3", json!(3), json!(4)),
            ("\"a\"", json!("a"), json!(["a"])),
            ("{ne = 1}", json!(2), json!(1)),
            ("{gt = 1, le = 3}", json!(3), json!(4)),
            ("{ge = 1, lt = 3}", json!(1), json!(3)),
            ("{contains = 'web'}", json!("a web"), json!("a")),
            ("{contains = 'x'}", json!(["x"]), json!(["xy"])),
            ("{lacks = 'web'}", json!("a"), json!("a web")),
            ("{matches = '^v[0-9]+$'}", json!("no\nv12"), json!("v")),
            ("{one_of = [1, 'a']}", json!("a"), json!(2)),
            ("{exists = false}", json!(null), json!(0)),
            ("{count = 2}", json!([1, 2]), json!([1])),
            ("{count = {ge = 2}}", json!("a\nb"), json!("a")),
            ("{distinct = 2}", json!([1, 2, 1]), json!([1, 1])),
            ("{share = {ge = 0.25, le = 0.5}}", json!(["a", "b", "c", "a"]), json!(["a", "b", "a", "a"])),
            ("{share = {ge = 0.2}}", json!(["a"]), json!([])),
            ("{all = 'ready'}", json!(["ready"]), json!(["ready", "down"])),
            ("{any = {gt = 3}}", json!([1, 4]), json!([1])),
            ("{none = 'x'}", json!(["y"]), json!(["x"])),
        ];
        for (text, good, bad) in cases {
            let predicate = predicate(text).unwrap();
            assert!(predicate.test(Some(&good)), "{text} on {good}");
            assert!(!predicate.test(Some(&bad)), "{text} on {bad}");
            assert!(!predicate.words().is_empty());
        }
    }

    #[test]
    fn all_of_nothing_is_not_true() {
        let all = predicate("{all = 'running'}").unwrap();
        assert!(!all.test(Some(&json!([]))));
        assert!(!all.test(None));
        assert!(predicate("{exists = false}").unwrap().test(None));
        assert!(predicate("{count = 0}").unwrap().test(None));
    }

    #[test]
    fn a_misspelt_condition_names_the_nearest() {
        let found = predicate("{contain = 'a'}").unwrap_err();
        assert_eq!(found[0].help.as_deref(), Some("did you mean `contains` or `count`?"));
        assert!(predicate("{matches = '('}").is_err());
        assert!(predicate("{all={all={all={all={eq=1}}}}}").is_err());
        assert!(predicate("{}").is_err());
    }
}
