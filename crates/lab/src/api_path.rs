//! Two small notations: JSON pointers with `*`, and API paths whose query may be written in plain JSON.

use serde_json::Value;

/// A path into a JSON value: `/Spec/Name`, `/*/Status/State`, or nothing for the whole value.
///
/// `*` stands for every element of a list or every value of an object, and makes the result a list with one entry for
/// each, `null` where an element has nothing there. `~1` and `~0` stand for `/` and `~` as in RFC 6901.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pointer {
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Key(String),
    Every,
}

impl Pointer {
    /// Reads a pointer; the error says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err("a pointer that begins with `/`, such as `/Spec/Name` or `/*/Status/State`".to_owned());
        };
        let segments: Vec<Segment> =
            rest.split('/')
                .map(|part| {
                    if part == "*" { Segment::Every } else { Segment::Key(part.replace("~1", "/").replace("~0", "~")) }
                })
                .collect();
        if segments.iter().filter(|s| **s == Segment::Every).count() > 3 {
            return Err("at most three `*`".to_owned());
        }
        Ok(Self { segments })
    }

    /// The value there; `None` where there is none.
    pub fn select(&self, value: &Value) -> Option<Value> {
        select(&self.segments, value)
    }

    /// Whether it selects the whole value.
    pub fn is_whole(&self) -> bool {
        self.segments.is_empty()
    }

    /// The pointer as a reader would say it: `Spec.Name`, `Status.State of each`.
    pub fn words(&self) -> String {
        let keys: Vec<&str> =
            self.segments.iter().map(|s| if let Segment::Key(k) = s { k.as_str() } else { "*" }).collect();
        keys.join(".").trim_start_matches("*.").to_owned()
    }
}

fn select(segments: &[Segment], value: &Value) -> Option<Value> {
    let Some((first, rest)) = segments.split_first() else {
        return Some(value.clone());
    };
    match (first, value) {
        (Segment::Key(key), Value::Object(map)) => select(rest, map.get(key)?),
        (Segment::Key(key), Value::Array(list)) => select(rest, list.get(key.parse::<usize>().ok()?)?),
        (Segment::Every, Value::Array(list)) => Some(each(rest, list.iter())),
        (Segment::Every, Value::Object(map)) => Some(each(rest, map.values())),
        _ => None,
    }
}

fn each<'a>(rest: &[Segment], values: impl Iterator<Item = &'a Value>) -> Value {
    Value::Array(values.map(|v| select(rest, v).unwrap_or(Value::Null)).collect())
}

/// Percent-encodes what may not stand in a request target, so that `filters={"name":["web"]}` can be written plainly.
pub fn encode_query(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => out.push(char::from(byte)),
            b'-' | b'.' | b'_' | b'~' | b'/' | b'?' | b'&' | b'=' | b'%' | b'+' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_star_lists_every_element_and_null_for_what_is_missing() {
        let nodes = json!([{"Status": {"State": "ready"}}, {"Spec": {}}]);
        let states = Pointer::parse("/*/Status/State").unwrap().select(&nodes);
        assert_eq!(states, Some(json!(["ready", null])));
        assert_eq!(Pointer::parse("/0/Status/State").unwrap().select(&nodes), Some(json!("ready")));
        assert_eq!(Pointer::parse("/7").unwrap().select(&nodes), None);
        assert_eq!(Pointer::parse("").unwrap().select(&nodes), Some(nodes.clone()));
        assert!(Pointer::parse("Spec/Name").is_err());
    }

    #[test]
    fn a_plain_filter_is_encoded_and_an_encoded_one_left_alone() {
        assert_eq!(encode_query("/tasks?filters={\"a\":[\"b\"]}"), "/tasks?filters=%7B%22a%22%3A%5B%22b%22%5D%7D");
        assert_eq!(encode_query("/a?b=%7B"), "/a?b=%7B");
    }
}
