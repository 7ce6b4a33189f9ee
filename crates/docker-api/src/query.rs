//! Query strings: parsing with Docker's idea of booleans and numbers, and one struct per endpoint.
//!
//! A server calls `ListContainers::from_query(uri.query().unwrap_or(""))`, a client `params.to_query()`. Unknown
//! parameters are ignored, as engines do.

mod endpoints;

pub use endpoints::*;

use crate::filters::{FilterError, Filters};
use crate::limits::{MAX_QUERY, MAX_QUERY_PAIRS};

/// A decoded query string, in the order of the request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes `a=b&c=d%20e`. Pairs beyond the limits are an error, not cut off.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        if text.len() > MAX_QUERY {
            return Err(QueryError::TooLarge);
        }
        let mut pairs = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            if pairs.len() == MAX_QUERY_PAIRS {
                return Err(QueryError::TooLarge);
            }
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decode(key)?, decode(value)?));
        }
        Ok(Self(pairs))
    }

    /// First value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// All values of a key.
    pub fn get_all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Adds a pair.
    pub fn add(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.push((key.into(), value.into()));
    }

    /// The encoded form, without question mark.
    pub fn encode(&self) -> String {
        let pairs: Vec<String> = self.0.iter().map(|(k, v)| format!("{}={}", encode(k), encode(v))).collect();
        pairs.join("&")
    }
}

/// Percent-encodes all but unreserved characters: safe in a query and as one segment of a path.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn decode(text: &str) -> Result<String, QueryError> {
    let invalid = || QueryError::Escape(text.chars().take(64).collect());
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let mut digit = || bytes.next().and_then(|b| (b as char).to_digit(16));
                match (digit(), digit()) {
                    (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
                    _ => return Err(invalid()),
                }
            }
            other => out.push(other),
        }
    }
    String::from_utf8(out).map_err(|_| invalid())
}

/// The query parameters of one endpoint.
pub trait QueryParams: Sized {
    /// Takes the parameters out of a parsed query.
    fn read(query: &Query) -> Result<Self, QueryError>;

    /// Writes the parameters that differ from their default.
    fn write(&self, query: &mut Query);

    /// Parses a raw query string.
    fn from_query(text: &str) -> Result<Self, QueryError> {
        Self::read(&Query::parse(text)?)
    }

    /// The encoded query string, empty when all is default.
    fn to_query(&self) -> String {
        let mut query = Query::default();
        self.write(&mut query);
        query.encode()
    }
}

/// A type that a query parameter can have.
pub trait QueryValue: Sized {
    /// From the query.
    fn read(query: &Query, key: &str) -> Result<Self, QueryError>;
    /// Into the query, unless it is the default.
    fn write(&self, key: &str, query: &mut Query);
}

/// Docker reads a flag as set unless it is empty or one of the words for no.
impl QueryValue for bool {
    fn read(query: &Query, key: &str) -> Result<Self, QueryError> {
        let value = query.get(key).unwrap_or("").trim().to_ascii_lowercase();
        Ok(!matches!(value.as_str(), "" | "0" | "no" | "false" | "none"))
    }

    fn write(&self, key: &str, query: &mut Query) {
        if *self {
            query.add(key, "1");
        }
    }
}

/// `None` when the parameter is absent; an empty one is false.
impl QueryValue for Option<bool> {
    fn read(query: &Query, key: &str) -> Result<Self, QueryError> {
        query.get(key).map(|_| bool::read(query, key)).transpose()
    }

    fn write(&self, key: &str, query: &mut Query) {
        if let Some(value) = self {
            query.add(key, if *value { "1" } else { "0" });
        }
    }
}

impl QueryValue for String {
    fn read(query: &Query, key: &str) -> Result<Self, QueryError> {
        Ok(query.get(key).unwrap_or("").to_owned())
    }

    fn write(&self, key: &str, query: &mut Query) {
        if !self.is_empty() {
            query.add(key, self.as_str());
        }
    }
}

impl QueryValue for Vec<String> {
    fn read(query: &Query, key: &str) -> Result<Self, QueryError> {
        Ok(query.get_all(key).map(str::to_owned).collect())
    }

    fn write(&self, key: &str, query: &mut Query) {
        for value in self {
            query.add(key, value.as_str());
        }
    }
}

macro_rules! number {
    ($($type:ty),*) => {$(
        impl QueryValue for Option<$type> {
            fn read(query: &Query, key: &str) -> Result<Self, QueryError> {
                let Some(value) = query.get(key).filter(|value| !value.is_empty()) else { return Ok(None) };
                value.parse().map(Some).map_err(|_| QueryError::Number {
                    key: key.to_owned(),
                    value: value.chars().take(64).collect(),
                })
            }

            fn write(&self, key: &str, query: &mut Query) {
                if let Some(value) = self {
                    query.add(key, value.to_string());
                }
            }
        }
    )*};
}
number!(i64, u64, u16);

impl QueryValue for Filters {
    fn read(query: &Query, key: &str) -> Result<Self, QueryError> {
        Ok(Filters::from_json(query.get(key).unwrap_or(""))?)
    }

    fn write(&self, key: &str, query: &mut Query) {
        if !self.is_empty() {
            query.add(key, self.to_json());
        }
    }
}

/// A query that cannot be read; status 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Beyond the limits.
    #[error("query string is longer than {MAX_QUERY} bytes or has more than {MAX_QUERY_PAIRS} parameters")]
    TooLarge,
    /// A percent sign without two digits, or bytes that are not UTF-8.
    #[error("invalid URL escape in query parameter {0:?}")]
    Escape(String),
    /// Not a number, or out of range.
    #[error("invalid value {value:?} for query parameter {key}: expected an integer")]
    Number {
        /// The parameter.
        key: String,
        /// What it holds.
        value: String,
    },
    /// Filters of the wrong shape.
    #[error(transparent)]
    Filters(#[from] FilterError),
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn booleans_follow_docker() {
        let read = |text: &str| bool::read(&Query::parse(text).unwrap(), "a").unwrap();
        assert!(read("a=1") && read("a=true") && read("a=anything"));
        assert!(!read("a=0") && !read("a=no") && !read("a=None") && !read("a=") && !read("a") && !read(""));
    }

    #[test]
    fn broken_escapes_and_numbers_are_named() {
        assert!(matches!(Query::parse("a=%zz"), Err(QueryError::Escape(_))));
        assert!(matches!(Query::parse("a=%ff"), Err(QueryError::Escape(_))));
        let error = ListContainers::from_query("limit=many").unwrap_err();
        assert_eq!(error.to_string(), "invalid value \"many\" for query parameter limit: expected an integer");
    }

    #[test]
    fn parameters_survive_the_round_trip() {
        let mut filters = Filters::default();
        filters.add("label", "a b=c&d");
        let params = ListContainers { all: true, limit: Some(3), filters, ..Default::default() };
        assert_eq!(ListContainers::from_query(&params.to_query()).unwrap(), params);
        assert_eq!(ListContainers::default().to_query(), "");
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in ".{0,200}") {
            let _ = Query::parse(&text);
        }

        #[test]
        fn any_pair_survives_the_round_trip(key in "[a-z]{1,5}", value in ".{0,30}") {
            let mut query = Query::default();
            query.add(key.as_str(), value.as_str());
            prop_assert_eq!(Query::parse(&query.encode()).unwrap(), query);
        }
    }
}
