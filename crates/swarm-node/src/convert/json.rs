//! Reading and writing JSON by Go's rules, since every client of the Engine API was written against them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

/// A field that cannot be read; status 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidField {
    /// Another type than expected, in the words of Go's decoder.
    #[error("json: cannot unmarshal {found} into Go struct field {path} of type {expected}")]
    Type {
        /// What was found: `string`, `number`, `object`.
        found: String,
        /// Where: `ServiceSpec.TaskTemplate.ContainerSpec.Image`.
        path: String,
        /// What should be there.
        expected: &'static str,
    },
    /// A value that the field cannot take.
    #[error("{0}")]
    Value(String),
    /// A field that this engine has no place for.
    #[error("{path} is not supported by this engine{remedy}")]
    Unsupported {
        /// Which field.
        path: String,
        /// What to do instead, or empty.
        remedy: &'static str,
    },
}

/// The fields of one JSON object, with the path to it.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

impl<'a> Fields<'a> {
    /// The fields of a document's outermost object; `name` begins every path.
    pub fn new(value: &'a Value, name: &str) -> Result<Self, InvalidField> {
        match value {
            Value::Object(map) => Ok(Self { map, path: name.to_owned() }),
            other => Err(InvalidField::Type { found: kind(other), path: name.to_owned(), expected: "object" }),
        }
    }

    /// The path of a field.
    pub fn path(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    /// A field's value; `null` counts as absent. The exact name wins over one in other case.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.map
            .get(key)
            .or_else(|| self.map.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value))
            .filter(|value| !value.is_null())
    }

    /// Is the field there with something in it (not `null`, false, 0, or empty)?
    pub fn is_set(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| !is_empty(value))
    }

    /// Refuses a field that has something in it.
    pub fn refuse(&self, key: &str, remedy: &'static str) -> Result<(), InvalidField> {
        match self.is_set(key) {
            true => Err(InvalidField::Unsupported { path: self.path(key), remedy }),
            false => Ok(()),
        }
    }

    /// Refuses each of these fields that has something in it.
    pub fn refuse_all(&self, keys: &[&str]) -> Result<(), InvalidField> {
        keys.iter().try_for_each(|key| self.refuse(key, ""))
    }

    fn wrong<T>(&self, key: &str, value: &Value, expected: &'static str) -> Result<T, InvalidField> {
        Err(InvalidField::Type { found: kind(value), path: self.path(key), expected })
    }

    /// Text, if any.
    pub fn opt_string(&self, key: &str) -> Result<Option<String>, InvalidField> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => self.wrong(key, other, "string"),
        }
    }

    /// Text, empty when absent.
    pub fn string(&self, key: &str) -> Result<String, InvalidField> {
        Ok(self.opt_string(key)?.unwrap_or_default())
    }

    /// A truth value, if any.
    pub fn opt_bool(&self, key: &str) -> Result<Option<bool>, InvalidField> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(set)) => Ok(Some(*set)),
            Some(other) => self.wrong(key, other, "bool"),
        }
    }

    /// A truth value, false when absent.
    pub fn boolean(&self, key: &str) -> Result<bool, InvalidField> {
        Ok(self.opt_bool(key)?.unwrap_or_default())
    }

    /// A whole number in the range of `T`, if any.
    pub fn opt_int<T: GoInt>(&self, key: &str) -> Result<Option<T>, InvalidField> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
        match number {
            Some(number) => match T::try_from(number) {
                Ok(number) => Ok(Some(number)),
                Err(_) => {
                    Err(InvalidField::Type { found: format!("number {number}"), path: self.path(key), expected: T::GO })
                }
            },
            None if value.is_number() => {
                Err(InvalidField::Type { found: format!("number {value}"), path: self.path(key), expected: T::GO })
            }
            None => self.wrong(key, value, T::GO),
        }
    }

    /// A whole number, 0 when absent.
    pub fn int<T: GoInt + Default>(&self, key: &str) -> Result<T, InvalidField> {
        Ok(self.opt_int(key)?.unwrap_or_default())
    }

    /// A number with a fraction, 0 when absent.
    pub fn float(&self, key: &str) -> Result<f64, InvalidField> {
        match self.get(key) {
            None => Ok(0.0),
            Some(value) => value.as_f64().map_or_else(|| self.wrong(key, value, "float32"), Ok),
        }
    }

    /// A duration in nanoseconds, if any; negative ones are refused.
    pub fn opt_duration(&self, key: &str) -> Result<Option<Duration>, InvalidField> {
        let Some(nanos) = self.opt_int::<i64>(key)? else { return Ok(None) };
        match u64::try_from(nanos) {
            Ok(nanos) => Ok(Some(Duration::from_nanos(nanos))),
            Err(_) => Err(InvalidField::Value(format!("{} cannot be negative: {nanos}", self.path(key)))),
        }
    }

    /// A duration in nanoseconds, zero when absent.
    pub fn duration(&self, key: &str) -> Result<Duration, InvalidField> {
        Ok(self.opt_duration(key)?.unwrap_or_default())
    }

    /// A list of texts, if any; `null` in it is the empty text, as in Go.
    pub fn opt_strings(&self, key: &str) -> Result<Option<Vec<String>>, InvalidField> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(values)) => values
                .iter()
                .map(|value| match value {
                    Value::String(text) => Ok(text.clone()),
                    Value::Null => Ok(String::new()),
                    other => self.wrong(key, other, "string"),
                })
                .collect::<Result<_, _>>()
                .map(Some),
            Some(other) => self.wrong(key, other, "[]string"),
        }
    }

    /// A list of texts, empty when absent.
    pub fn strings(&self, key: &str) -> Result<Vec<String>, InvalidField> {
        Ok(self.opt_strings(key)?.unwrap_or_default())
    }

    /// A command: a list, or one text that stands for a list of one.
    pub fn command(&self, key: &str) -> Result<Option<Vec<String>>, InvalidField> {
        match self.get(key) {
            Some(Value::String(text)) => Ok(Some(vec![text.clone()])),
            _ => self.opt_strings(key),
        }
    }

    /// Texts by name, empty when absent.
    pub fn map(&self, key: &str) -> Result<BTreeMap<String, String>, InvalidField> {
        match self.get(key) {
            None => Ok(BTreeMap::new()),
            Some(Value::Object(map)) => map
                .iter()
                .map(|(name, value)| match value {
                    Value::String(text) => Ok((name.clone(), text.clone())),
                    Value::Null => Ok((name.clone(), String::new())),
                    other => self.wrong(key, other, "string"),
                })
                .collect(),
            Some(other) => self.wrong(key, other, "map[string]string"),
        }
    }

    /// The names of a set, which Go writes as `{"80/tcp": {}}`.
    pub fn set(&self, key: &str) -> Result<Vec<String>, InvalidField> {
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Object(map)) => Ok(map.keys().cloned().collect()),
            Some(other) => self.wrong(key, other, "map[string]struct {}"),
        }
    }

    /// A nested object, if any.
    pub fn object(&self, key: &str) -> Result<Option<Fields<'a>>, InvalidField> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields { map, path: self.path(key) })),
            Some(other) => self.wrong(key, other, "object"),
        }
    }

    /// A list of objects, empty when absent.
    pub fn objects(&self, key: &str) -> Result<Vec<Fields<'a>>, InvalidField> {
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => values
                .iter()
                .map(|value| match value {
                    Value::Object(map) => Ok(Fields { map, path: self.path(key) }),
                    other => self.wrong(key, other, "object"),
                })
                .collect(),
            Some(other) => self.wrong(key, other, "[]object"),
        }
    }

    /// Objects by name, in the document's order.
    pub fn named_objects(&self, key: &str) -> Result<Vec<(String, Fields<'a>)>, InvalidField> {
        let Some(object) = self.object(key)? else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for (name, value) in object.map {
            match value {
                Value::Object(map) => all.push((name.clone(), Fields { map, path: object.path(name) })),
                Value::Null => {}
                other => return object.wrong(name, other, "object"),
            }
        }
        Ok(all)
    }
}

/// Integers with their name in Go.
pub trait GoInt: TryFrom<i128> {
    /// The name.
    const GO: &'static str;
}
macro_rules! go_ints { ($($rust:ty = $go:literal),*) => { $(impl GoInt for $rust { const GO: &'static str = $go; })* } }
go_ints!(i64 = "int64", u64 = "uint64", u32 = "uint32", i32 = "int32", u16 = "uint16");

/// What Go's decoder calls a value.
fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
    .into()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(map) => map.values().all(is_empty),
    }
}

/// Builds one JSON object in the order of the calls.
#[derive(Debug, Clone, Default)]
pub struct Writer(Map<String, Value>);

impl Writer {
    /// A field that always stands there.
    pub fn put(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    /// A field that stands there when it has a value.
    pub fn some<T: Into<Value>>(self, key: &str, value: Option<T>) -> Self {
        match value {
            Some(value) => self.put(key, value),
            None => self,
        }
    }

    /// Text that is left out when empty.
    pub fn text(self, key: &str, value: &str) -> Self {
        if value.is_empty() { self } else { self.put(key, value) }
    }

    /// A number that is left out when zero.
    pub fn number(self, key: &str, value: impl Into<i128>) -> Self {
        match i64::try_from(value.into()) {
            Ok(0) => self,
            Ok(number) => self.put(key, number),
            Err(_) => self.put(key, i64::MAX),
        }
    }

    /// A truth value that is left out when false.
    pub fn flag(self, key: &str, value: bool) -> Self {
        if value { self.put(key, true) } else { self }
    }

    /// A list that is left out when empty.
    pub fn list<T: Into<Value>>(self, key: &str, values: impl IntoIterator<Item = T>) -> Self {
        let values: Vec<Value> = values.into_iter().map(Into::into).collect();
        if values.is_empty() { self } else { self.put(key, values) }
    }

    /// Texts by name, left out when empty.
    pub fn map(self, key: &str, values: &BTreeMap<String, String>) -> Self {
        if values.is_empty() { self } else { self.put(key, serde_json::json!(values)) }
    }

    /// A duration in nanoseconds, left out when zero.
    pub fn duration(self, key: &str, value: Duration) -> Self {
        self.number(key, i128::from(nanos(value)))
    }

    /// The object.
    pub fn build(self) -> Value {
        Value::Object(self.0)
    }
}

/// A duration as Go holds it.
pub fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_match_without_case_and_null_is_absence() {
        let value = json!({"healthCheck": {"Test": ["NONE"]}, "Name": null, "name": "x"});
        let fields = Fields::new(&value, "Spec").unwrap();
        assert_eq!(fields.object("Healthcheck").unwrap().unwrap().strings("Test").unwrap(), ["NONE"]);
        assert_eq!(fields.string("Name").unwrap(), "");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_path() {
        let value = json!({"TaskTemplate": {"ContainerSpec": {"Image": 5}}, "N": -1, "F": 1.5});
        let fields = Fields::new(&value, "ServiceSpec").unwrap();
        let inner = fields.object("TaskTemplate").unwrap().unwrap().object("ContainerSpec").unwrap().unwrap();
        assert_eq!(
            inner.string("Image").unwrap_err().to_string(),
            "json: cannot unmarshal number into Go struct field ServiceSpec.TaskTemplate.ContainerSpec.Image of type string"
        );
        assert_eq!(
            fields.int::<u64>("N").unwrap_err().to_string(),
            "json: cannot unmarshal number -1 into Go struct field ServiceSpec.N of type uint64"
        );
        assert!(fields.int::<i64>("F").is_err());
    }

    #[test]
    fn empty_objects_and_zeros_are_no_settings() {
        let value = json!({"A": {"B": null, "C": 0}, "D": [1]});
        let fields = Fields::new(&value, "X").unwrap();
        assert!(fields.refuse("A", "").is_ok());
        assert_eq!(fields.refuse("D", "").unwrap_err().to_string(), "X.D is not supported by this engine");
    }
}
