//! Small helpers for JSON objects with Go's habit of leaving empty fields out.

pub use go_template::is_empty;
use serde_json::{Map, Value, json};

/// Sets a field, or takes it away when the value is empty.
pub fn set(object: &mut Value, key: &str, value: Value) {
    let map = object_mut(object);
    if is_empty(&value) {
        map.shift_remove(key);
    } else {
        map.insert(key.to_owned(), value);
    }
}

/// The value as an object, made one if it is none.
pub fn object_mut(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

/// A field as an object, created when absent or null.
pub fn child<'a>(object: &'a mut Value, key: &str) -> &'a mut Value {
    let slot = object_mut(object).entry(key.to_owned()).or_insert_with(|| json!({}));
    if !slot.is_object() {
        *slot = json!({});
    }
    slot
}

/// The texts of an array field, empty when absent.
pub fn strings(object: &Value, key: &str) -> Vec<String> {
    array(object, key).iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// The elements of an array field, empty when absent.
pub fn array<'a>(object: &'a Value, key: &str) -> &'a [Value] {
    object.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// `key=value` texts as an object; a text without `=` has the value "".
pub fn key_values(texts: &[String]) -> Value {
    let pairs = texts.iter().map(|text| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), Value::from(value))
    });
    Value::Object(pairs.collect())
}

/// A path of fields as text, empty when absent.
pub fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or("")
}

/// A path of fields as a number, 0 when absent.
pub fn int(value: &Value, path: &str) -> i64 {
    let found = at(value, path);
    found
        .and_then(|v| v.as_i64().or_else(|| v.as_u64().map(|n| n as i64)).or_else(|| v.as_f64().map(|f| f as i64)))
        .unwrap_or(0)
}

/// A path of fields as a truth, false when absent.
pub fn truth(value: &Value, path: &str) -> bool {
    at(value, path).and_then(Value::as_bool).unwrap_or(false)
}

/// A path of fields, `A.B.C`; null counts as absent.
pub fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, key| value.get(key)).filter(|value| !value.is_null())
}

/// Bytes as Go puts them into JSON: base64 of the standard alphabet.
pub fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Bytes that Go put into JSON.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}
