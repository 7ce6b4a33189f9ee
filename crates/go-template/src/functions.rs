//! The functions of templates: Go's own, and those that Docker adds (`json`, `split`, `join`, `title`, `lower`,
//! `upper`, `pad`, `truncate`).

use super::Language;
use super::exec::Maybe;
use super::print::{go_json, go_type, listed, print, sprintf};
use serde_json::Value;
use std::cmp::Ordering;

/// Go's own.
const GO: &[&str] = &[
    "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice", "print", "printf", "println",
    "html", "js", "urlquery",
];
/// Docker's, for `--format`.
const DOCKER: &[&str] = &["json", "split", "join", "title", "lower", "upper", "pad", "truncate"];

/// Largest padding that a template may ask for.
const MAX_PAD: i64 = 10_000;

pub fn exists(name: &str, language: &Language<'_>) -> bool {
    GO.contains(&name) || language.docker && DOCKER.contains(&name) || language.arity(name).is_some()
}

pub enum Error {
    /// Wrong number or kinds of arguments.
    Arguments(String),
    /// The function itself failed.
    Call(String),
}

/// Go's idea of truth: zero, empty and absent are false.
pub fn is_true(value: &Maybe) -> bool {
    value.as_ref().is_some_and(|value| !crate::is_empty(value))
}

pub fn call(name: &str, args: &[Maybe], header: bool) -> Result<Maybe, Error> {
    let count = |n: usize| match args.len() == n {
        true => Ok(()),
        false => Err(Error::Arguments(format!("wrong number of args for {name}: want {n} got {}", args.len()))),
    };
    let at_least = |n: usize| match args.len() >= n {
        true => Ok(()),
        false => {
            Err(Error::Arguments(format!("wrong number of args for {name}: want at least {n} got {}", args.len())))
        }
    };
    let value = |at: usize| args.get(at).cloned().flatten().unwrap_or(Value::Null);
    let text = |at: usize| match value(at) {
        Value::String(text) => Ok(text),
        other => Err(Error::Arguments(format!("wrong type for value; expected string; got {}", go_type(&other)))),
    };
    let int = |at: usize| match value(at).as_i64() {
        Some(n) => Ok(n),
        None => Err(Error::Arguments(format!("wrong type for value; expected int; got {}", go_type(&value(at))))),
    };
    if header && matches!(name, "json" | "title" | "lower" | "upper" | "truncate") {
        return Ok(Some(value(0)));
    }
    let result = match name {
        "not" => {
            count(1)?;
            Value::from(!is_true(&args[0]))
        }
        "eq" => {
            at_least(2)?;
            let mut any = false;
            for other in &args[1..] {
                any |= equal(&value(0), &other.clone().unwrap_or(Value::Null))?;
            }
            Value::from(any)
        }
        "ne" => {
            count(2)?;
            Value::from(!equal(&value(0), &value(1))?)
        }
        "lt" | "le" | "gt" | "ge" => {
            count(2)?;
            let order = compare(&value(0), &value(1))?;
            Value::from(match name {
                "lt" => order == Ordering::Less,
                "le" => order != Ordering::Greater,
                "gt" => order == Ordering::Greater,
                _ => order != Ordering::Less,
            })
        }
        "len" => {
            count(1)?;
            match listed(value(0)) {
                Value::String(s) => Value::from(s.len()),
                Value::Array(a) => Value::from(a.len()),
                Value::Object(o) => Value::from(o.len()),
                Value::Null => return Err(Error::Call("len of nil pointer".into())),
                other => return Err(Error::Call(format!("len of type {}", go_type(&other)))),
            }
        }
        "index" => {
            at_least(1)?;
            return index(listed(value(0)), &args[1..]);
        }
        "slice" => {
            at_least(1)?;
            slice(listed(value(0)), &args[1..])?
        }
        "print" => Value::from(print_all(args, false)),
        "println" => Value::from(print_all(args, true)),
        "printf" => {
            at_least(1)?;
            Value::from(sprintf(&text(0)?, &args[1..]))
        }
        "html" => Value::from(escape_html(&print_all(args, false))),
        "js" => Value::from(print_all(args, false).replace('\\', "\\\\").replace('\'', "\\'").replace('"', "\\\"")),
        "urlquery" => Value::from(escape_query(&print_all(args, false))),
        "json" => {
            count(1)?;
            Value::from(go_json(&value(0)))
        }
        "split" => {
            count(2)?;
            let (subject, separator) = (text(0)?, text(1)?);
            match separator.is_empty() {
                true => subject.chars().map(String::from).collect::<Value>(),
                false => subject.split(separator.as_str()).collect::<Value>(),
            }
        }
        "join" => {
            count(2)?;
            match value(0) {
                Value::Array(items) => Value::from(items.iter().map(print).collect::<Vec<_>>().join(&text(1)?)),
                Value::Null => Value::from(""),
                other if header => other,
                other => {
                    return Err(Error::Arguments(format!(
                        "wrong type for value; expected []string; got {}",
                        go_type(&other)
                    )));
                }
            }
        }
        "title" => {
            count(1)?;
            let mut start = true;
            let change = |c: char| {
                let changed = if start { c.to_uppercase().collect::<String>() } else { c.to_string() };
                start = !c.is_alphanumeric() && c != '_' && c != '\'';
                changed
            };
            Value::from(text(0)?.chars().map(change).collect::<String>())
        }
        "lower" => {
            count(1)?;
            Value::from(text(0)?.to_lowercase())
        }
        "upper" => {
            count(1)?;
            Value::from(text(0)?.to_uppercase())
        }
        "pad" => {
            count(3)?;
            let (subject, before, after) = (text(0)?, int(1)?, int(2)?);
            if subject.is_empty() {
                return Ok(Some(Value::from("")));
            }
            let spaces = |n: i64| " ".repeat(n.clamp(0, MAX_PAD) as usize);
            Value::from(format!("{}{subject}{}", spaces(before), spaces(after)))
        }
        "truncate" => {
            count(2)?;
            let (subject, length) = (text(0)?, int(1)?);
            Value::from(subject.chars().take(length.max(0) as usize).collect::<String>())
        }
        _ => return Err(Error::Arguments(format!("function {name:?} not defined"))),
    };
    Ok(Some(result))
}

fn index(mut value: Value, keys: &[Maybe]) -> Result<Maybe, Error> {
    for key in keys {
        let key = key.clone().unwrap_or(Value::Null);
        value = match (value, &key) {
            (Value::Object(mut map), Value::String(key)) => match map.shift_remove(key) {
                Some(value) => value,
                None => return Ok(Some(Value::from(""))),
            },
            (Value::Array(mut items), Value::Number(n)) => match n.as_u64() {
                Some(at) if (at as usize) < items.len() => items.swap_remove(at as usize),
                _ => return Err(Error::Call(format!("index out of range: {n}"))),
            },
            (Value::String(text), Value::Number(n)) => {
                match n.as_u64().and_then(|at| text.as_bytes().get(at as usize)) {
                    Some(byte) => Value::from(*byte),
                    None => return Err(Error::Call(format!("index out of range: {n}"))),
                }
            }
            (Value::Null, _) => return Err(Error::Call("index of untyped nil".into())),
            (value @ (Value::Object(_) | Value::Array(_)), key) => {
                let (has, wants) = (go_type(key), if value.is_object() { "string" } else { "int" });
                return Err(Error::Call(match wants {
                    "int" => format!("cannot index slice/array with type {has}"),
                    _ => format!("value has type {has}; should be string"),
                }));
            }
            (other, _) => {
                return Err(Error::Call(format!("can't index item of type {}", go_type(&other))));
            }
        };
    }
    Ok(Some(value))
}

fn slice(value: Value, bounds: &[Maybe]) -> Result<Value, Error> {
    let length = match &value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.len(),
        other => {
            return Err(Error::Call(format!("can't slice item of type {}", go_type(other))));
        }
    };
    let bound = |at: usize, default: usize| match bounds.get(at) {
        None => Ok(default),
        Some(bound) => match bound.as_ref().and_then(Value::as_u64) {
            Some(n) if n as usize <= length => Ok(n as usize),
            _ => Err(Error::Call(format!("index out of range: {}", print(&bound.clone().unwrap_or(Value::Null))))),
        },
    };
    let (from, to) = (bound(0, 0)?, bound(1, length)?);
    if from > to {
        return Err(Error::Call(format!("invalid slice index: {from} > {to}")));
    }
    Ok(match value {
        Value::Array(items) => Value::from(items[from..to].to_vec()),
        Value::String(text) => Value::from(String::from_utf8_lossy(&text.as_bytes()[from..to]).into_owned()),
        other => other,
    })
}

fn equal(a: &Value, b: &Value) -> Result<bool, Error> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => Ok(a.as_f64() == b.as_f64()),
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => {
            Err(Error::Call("non-comparable type".into()))
        }
        (Value::Null, _) | (_, Value::Null) => Ok(a == b),
        _ if std::mem::discriminant(a) == std::mem::discriminant(b) => Ok(a == b),
        _ => Err(Error::Call("incompatible types for comparison".into())),
    }
}

fn compare(a: &Value, b: &Value) -> Result<Ordering, Error> {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => {
            let (x, y) = (x.as_f64().unwrap_or(0.0), y.as_f64().unwrap_or(0.0));
            Ok(x.partial_cmp(&y).unwrap_or(Ordering::Equal))
        }
        (Value::String(x), Value::String(y)) => Ok(x.cmp(y)),
        _ if std::mem::discriminant(a) == std::mem::discriminant(b) => {
            Err(Error::Call("invalid type for comparison".into()))
        }
        _ => Err(Error::Call("incompatible types for comparison".into())),
    }
}

/// Go's `Sprint` puts spaces between two operands when neither is a text; `Sprintln` always.
fn print_all(args: &[Maybe], line: bool) -> String {
    let mut out = String::new();
    let is_text = |value: &Maybe| matches!(value, Some(Value::String(_)));
    for (at, value) in args.iter().enumerate() {
        if at > 0 && (line || (!is_text(value) && !is_text(&args[at - 1]))) {
            out.push(' ');
        }
        out.push_str(&value.as_ref().map_or_else(|| "<nil>".to_owned(), print));
    }
    if line {
        out.push('\n');
    }
    out
}

/// Go's `url.QueryEscape`.
fn escape_query(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        b' ' => "+".to_owned(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;").replace('\'', "&#39;")
}
