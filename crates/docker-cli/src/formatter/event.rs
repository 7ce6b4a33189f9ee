//! Events, one line each.

use crate::spec::json::{at, int, text};
use docker_api::time::{UnixTime, format_fixed};
use serde_json::Value;
use std::collections::BTreeMap;

/// `2024-05-01T10:00:00.123456789Z service create ID (name=web)`
pub fn line(event: &Value) -> String {
    let nanos = int(event, "timeNano");
    let time = match nanos {
        0 => UnixTime::new(int(event, "time"), 0),
        nanos => UnixTime::from_nanos(nanos.into()),
    };
    let mut out =
        format!("{} {} {} {}", format_fixed(time), text(event, "Type"), text(event, "Action"), text(event, "Actor.ID"));
    let attributes: BTreeMap<&String, &Value> =
        at(event, "Actor.Attributes").and_then(Value::as_object).map_or(BTreeMap::new(), |map| map.iter().collect());
    if !attributes.is_empty() {
        let pairs: Vec<String> =
            attributes.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or(""))).collect();
        out.push_str(&format!(" ({})", pairs.join(", ")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_follow_in_order() {
        let event = serde_json::json!({
            "Type": "container", "Action": "start", "Actor": {"ID": "abc", "Attributes": {"name": "web", "image": "i"}},
            "time": 1, "timeNano": 1_500_000_000i64,
        });
        assert_eq!(line(&event), "1970-01-01T00:00:01.500000000Z container start abc (image=i, name=web)");
    }
}
