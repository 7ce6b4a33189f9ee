//! The `filters` query parameter: `{"label":["a=b"],"name":["web"]}`, and the older `{"label":{"a=b":true}}`.
//!
//! Left out: what a filter means for an object; [`Filters`] offers the ways of matching that Docker's objects
//! share (exact, prefix, label, boolean), and a list route says which keys it knows by [`Filters::validate`].

use crate::limits::{MAX_FILTER_VALUES, MAX_FILTERS};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Filters of one request: values of the same key are alternatives, different keys must all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

impl Filters {
    /// Parses the query parameter; an empty text is no filter at all.
    pub fn from_json(text: &str) -> Result<Self, FilterError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        if text.len() > MAX_FILTERS {
            return Err(FilterError::TooLarge);
        }
        let Ok(Value::Object(map)) = serde_json::from_str::<Value>(text) else {
            return Err(FilterError::Malformed);
        };
        let mut filters = Self::default();
        let mut count = 0;
        for (key, values) in map {
            let entry = filters.0.entry(key).or_default();
            match values {
                Value::Array(values) => {
                    for value in values {
                        let Value::String(value) = value else {
                            return Err(FilterError::Malformed);
                        };
                        entry.insert(value);
                    }
                }
                // The form of API versions before 1.22, which the genuine client still sends: the value's truth is not looked at.
                Value::Object(values) => {
                    for (value, set) in values {
                        if !set.is_boolean() {
                            return Err(FilterError::Malformed);
                        }
                        entry.insert(value);
                    }
                }
                _ => return Err(FilterError::Malformed),
            }
            count += entry.len();
            if count > MAX_FILTER_VALUES {
                return Err(FilterError::TooLarge);
            }
        }
        Ok(filters)
    }

    /// The query parameter, in the form that every engine since 1.22 and the genuine client use.
    pub fn to_json(&self) -> String {
        let map: serde_json::Map<String, Value> = self
            .0
            .iter()
            .map(|(key, values)| {
                let values = values.iter().map(|v| (v.clone(), Value::Bool(true))).collect();
                (key.clone(), Value::Object(values))
            })
            .collect();
        Value::Object(map).to_string()
    }

    /// Adds a value.
    pub fn add(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.entry(key.into()).or_default().insert(value.into());
    }

    /// No filter at all?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Is there a filter of this key?
    pub fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The values of a key, in order.
    pub fn get(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.get(key).into_iter().flatten().map(String::as_str)
    }

    /// All keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Refuses keys that the route does not know.
    pub fn validate(&self, accepted: &[&str]) -> Result<(), FilterError> {
        match self.keys().find(|key| !accepted.contains(key)) {
            Some(key) => Err(FilterError::Unknown(key.to_owned())),
            None => Ok(()),
        }
    }

    /// Without a filter of this key everything matches; with one, a value must equal `candidate`.
    pub fn matches_exactly(&self, key: &str, candidate: &str) -> bool {
        self.0.get(key).is_none_or(|values| values.is_empty() || values.contains(candidate))
    }

    /// As [`Self::matches_exactly`], with a prefix being enough (ids, names in swarm lists).
    pub fn matches_prefix(&self, key: &str, candidate: &str) -> bool {
        self.0
            .get(key)
            .is_none_or(|values| values.is_empty() || values.iter().any(|v| candidate.starts_with(v.as_str())))
    }

    /// As [`Self::matches_exactly`], with any part being enough (names of containers and networks).
    pub fn matches_part(&self, key: &str, candidate: &str) -> bool {
        self.0.get(key).is_none_or(|values| values.is_empty() || values.iter().any(|v| candidate.contains(v.as_str())))
    }

    /// Labels: every value, `key` or `key=value`, must hold.
    pub fn matches_labels<'a>(&self, key: &str, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.get(key).all(|wanted| match wanted.split_once('=') {
            Some((name, value)) => label(name) == Some(value),
            None => label(wanted).is_some(),
        })
    }

    /// A filter that is true or false (`dangling`, `is-task`); an absent one is `default`.
    pub fn boolean(&self, key: &str, default: bool) -> Result<bool, FilterError> {
        let Some(values) = self.0.get(key).filter(|values| !values.is_empty()) else {
            return Ok(default);
        };
        let is = |words: &[&str]| values.iter().any(|value| words.contains(&value.as_str()));
        match (is(&["1", "true"]), is(&["0", "false"])) {
            (true, false) => Ok(true),
            (false, true) => Ok(false),
            _ => {
                let values: Vec<&str> = self.get(key).collect();
                Err(FilterError::Value { key: key.to_owned(), values: values.join(" ") })
            }
        }
    }
}

/// Why filters are refused. All are status 400; the texts are those of genuine engines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Not JSON, or not of either form.
    #[error("invalid filter")]
    Malformed,
    /// More than [`crate::limits`] allow.
    #[error("invalid filter: more than {MAX_FILTERS} bytes or {MAX_FILTER_VALUES} values")]
    TooLarge,
    /// A key that the route does not know.
    #[error("invalid filter '{0}'")]
    Unknown(String),
    /// A value that the key cannot take.
    #[error("invalid filter '{key}=[{values}]'")]
    Value {
        /// The key.
        key: String,
        /// All its values, separated by spaces.
        values: String,
    },
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_forms_mean_the_same() {
        let new = Filters::from_json(r#"{"label":["a=b","c"],"name":["web"]}"#).unwrap();
        let old = Filters::from_json(r#"{"label":{"a=b":true,"c":true},"name":{"web":true}}"#).unwrap();
        assert_eq!(new, old);
        assert_eq!(Filters::from_json(&new.to_json()).unwrap(), new);
        assert_eq!(Filters::from_json("").unwrap(), Filters::default());
    }

    #[test]
    fn other_shapes_are_refused() {
        for bad in ["{", "[]", "1", "null", r#"{"a":"b"}"#, r#"{"a":[1]}"#, r#"{"a":{"b":"c"}}"#] {
            assert_eq!(Filters::from_json(bad), Err(FilterError::Malformed), "{bad}");
        }
        assert_eq!(Filters::from_json(&"x".repeat(MAX_FILTERS + 1)), Err(FilterError::TooLarge));
    }

    #[test]
    fn unknown_keys_and_values_are_named() {
        let filters = Filters::from_json(r#"{"foo":["x"],"dangling":["maybe"]}"#).unwrap();
        assert_eq!(filters.validate(&["dangling"]).unwrap_err().to_string(), "invalid filter 'foo'");
        let error = filters.boolean("dangling", false).unwrap_err();
        assert_eq!(error.to_string(), "invalid filter 'dangling=[maybe]'");
    }

    #[test]
    fn keys_are_conjunctions_and_values_alternatives() {
        let filters = Filters::from_json(r#"{"name":["web","db"],"label":["tier=front"]}"#).unwrap();
        assert!(filters.matches_prefix("name", "web-1") && filters.matches_exactly("name", "db"));
        assert!(!filters.matches_exactly("name", "web-1") && filters.matches_exactly("id", "anything"));
        assert!(filters.matches_labels("label", |key| (key == "tier").then_some("front")));
        assert!(!filters.matches_labels("label", |key| (key == "tier").then_some("back")));
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in ".{0,200}") {
            let _ = Filters::from_json(&text);
        }

        #[test]
        fn any_filters_survive_the_round_trip(map in proptest::collection::btree_map("[a-z]{1,8}", proptest::collection::btree_set(".{0,12}", 1..4), 0..4)) {
            let filters = Filters(map);
            prop_assert_eq!(Filters::from_json(&filters.to_json()).unwrap(), filters);
        }
    }
}
