//! Values as Go prints them: `%v`, JSON, and the verbs of `printf`.

use super::exec::Maybe;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Widest field of `printf`.
const MAX_WIDTH: usize = 10_000;

/// Under this key alone, base64: bytes, which JSON has no kind of its own for.
const BYTES: &str = "\0bytes";

/// Bytes as a value of templates: printed as numbers, by `%s` as text, by `json` as base64.
pub fn bytes(content: &[u8]) -> Value {
    json!({ BYTES: STANDARD.encode(content) })
}

fn as_bytes(value: &Value) -> Option<Vec<u8>> {
    value.get(BYTES).and_then(Value::as_str).and_then(|text| STANDARD.decode(text).ok())
}

/// Bytes as the list of numbers that they are, anything else as it is.
pub fn listed(value: Value) -> Value {
    match as_bytes(&value) {
        Some(content) => content.into(),
        None => value,
    }
}

/// As `%v`.
pub fn print(value: &Value) -> String {
    if let Some(content) = as_bytes(value) {
        return print(&content.into());
    }
    match value {
        Value::Null => "<nil>".into(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
            (Some(n), _, _) => n.to_string(),
            (_, Some(n), _) => n.to_string(),
            (_, _, Some(f)) => float(f),
            _ => n.to_string(),
        },
        Value::String(s) => s.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(print).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut pairs: Vec<_> = map.iter().collect();
            pairs.sort_by(|a, b| a.0.cmp(b.0));
            let pairs: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}:{}", print(v))).collect();
            format!("map[{}]", pairs.join(" "))
        }
    }
}

/// Shortest form, with an exponent where Go uses one.
fn float(f: f64) -> String {
    if f != 0.0 && (f.abs() < 1e-4 || f.abs() >= 1e21) {
        let text = format!("{f:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    format!("{f}")
}

/// JSON on one line, without HTML escapes, as Docker's `json` function writes it.
pub fn go_json(value: &Value) -> String {
    fn without_bytes(value: &mut Value) {
        if let Some(text) = value.get_mut(BYTES) {
            *value = text.take();
            return;
        }
        match value {
            Value::Array(items) => items.iter_mut().for_each(without_bytes),
            Value::Object(map) => map.values_mut().for_each(without_bytes),
            _ => {}
        }
    }
    let mut value = value.clone();
    without_bytes(&mut value);
    value.to_string()
}

/// JSON with `<`, `>` and `&` escaped, as Go writes it unless told otherwise.
pub fn go_json_escaped(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// The type that Go would name.
pub fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(map) if map.contains_key(BYTES) => "[]uint8",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// Go's `Sprintf` for `%v %s %d %q %t %x %X %o %b %c %f %e %g %%`, with flags, width and precision.
pub fn sprintf(format: &str, args: &[Maybe]) -> String {
    let mut out = String::new();
    let mut args = args.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.next_if(|c| "-+# 0".contains(*c)) {
            match flag {
                '-' => spec.left = true,
                '+' => spec.plus = true,
                '0' => spec.zero = true,
                '#' => spec.alternate = true,
                _ => {}
            }
        }
        while let Some(digit) = chars.next_if(char::is_ascii_digit) {
            spec.width = (spec.width * 10 + digit.to_digit(10).unwrap_or(0) as usize).min(MAX_WIDTH);
        }
        if chars.next_if_eq(&'.').is_some() {
            let mut precision = 0;
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                precision = (precision * 10 + digit.to_digit(10).unwrap_or(0) as usize).min(MAX_WIDTH);
            }
            spec.precision = Some(precision);
        }
        match chars.next() {
            Some('%') => out.push('%'),
            None => out.push_str("%!(NOVERB)"),
            Some(verb) => match args.next() {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(value) => out.push_str(&spec.apply(verb, value.as_ref().unwrap_or(&Value::Null))),
            },
        }
    }
    let extra: Vec<String> = args
        .map(|value| {
            let value = value.clone().unwrap_or(Value::Null);
            format!("{}={}", go_type(&value), print(&value))
        })
        .collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

#[derive(Default)]
struct Spec {
    left: bool,
    plus: bool,
    zero: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
}

impl Spec {
    fn apply(&self, verb: char, value: &Value) -> String {
        let bad = || format!("%!{verb}({}={})", go_type(value), print(value));
        if let Some(content) = as_bytes(value) {
            return match verb {
                's' | 'q' | 'x' | 'X' => self.apply(verb, &String::from_utf8_lossy(&content).into()),
                _ => print(value),
            };
        }
        let text = match (verb, value) {
            ('v', Value::Number(_)) => self.sign(print(value)),
            ('v', Value::String(s)) if self.alternate => format!("{s:?}"),
            ('v', _) => print(value),
            ('s', Value::String(s)) => match self.precision {
                Some(p) => s.chars().take(p).collect(),
                None => s.clone(),
            },
            ('s', Value::Array(_) | Value::Object(_)) => print(value),
            ('q', Value::String(s)) => format!("{s:?}"),
            ('t', Value::Bool(b)) => b.to_string(),
            ('x', Value::String(s)) => s.bytes().map(|b| format!("{b:02x}")).collect(),
            ('X', Value::String(s)) => s.bytes().map(|b| format!("{b:02X}")).collect(),
            ('f' | 'F' | 'e' | 'g', Value::Number(n)) if n.is_f64() => {
                let number = n.as_f64().unwrap_or(0.0);
                self.sign(match (verb, self.precision) {
                    ('g', None) => float(number),
                    ('e', p) => format!("{number:.*e}", p.unwrap_or(6)),
                    (_, p) => format!("{number:.*}", p.unwrap_or(6)),
                })
            }
            (_, Value::Number(n)) => match (verb, n.as_i64()) {
                ('d', Some(n)) => self.sign(n.to_string()),
                ('x', Some(n)) => format!("{n:x}"),
                ('X', Some(n)) => format!("{n:X}"),
                ('o', Some(n)) => format!("{n:o}"),
                ('b', Some(n)) => format!("{n:b}"),
                ('c', Some(n)) => u32::try_from(n).ok().and_then(char::from_u32).map_or_else(bad, String::from),
                _ => return bad(),
            },
            _ => return bad(),
        };
        self.pad(text, value.is_number())
    }

    fn sign(&self, text: String) -> String {
        match self.plus && !text.starts_with('-') {
            true => format!("+{text}"),
            false => text,
        }
    }

    fn pad(&self, text: String, number: bool) -> String {
        let missing = self.width.saturating_sub(text.chars().count());
        match (self.left, self.zero && number) {
            (true, _) => text + &" ".repeat(missing),
            (false, true) => match text.strip_prefix('-') {
                Some(digits) => format!("-{}{digits}", "0".repeat(missing)),
                None => "0".repeat(missing) + &text,
            },
            (false, false) => " ".repeat(missing) + &text,
        }
    }
}
