//! What flags take, and how each kind is checked while the command line is read.

use crate::spec::{addresses, networks, ports, values};
use docker_api::time::parse_duration;

/// The kind of a flag's value. Kinds that Docker checks at once are checked at once here, with its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // each name says what it is
pub enum Kind {
    Bool,
    String,
    Int,
    Uint,
    Uint16,
    Uint32,
    Float,
    Duration,
    /// A duration of 1 ms or more, or 0.
    PositiveDuration,
    Decimal,
    Bytes,
    /// Bytes, or -1.
    SwapBytes,
    List,
    /// Values that may also be given as one, with commas between.
    Strings,
    Filter,
    Env,
    Label,
    Host,
    Ip,
    DnsSearch,
    /// CONTAINER[:ALIAS]
    Link,
    /// A kernel setting that belongs to a namespace.
    Sysctl,
    Mount,
    Port,
    Network,
    Ulimit,
    Secret,
    Config,
    Pref,
    Command,
    CredentialSpec,
    NodeAddr,
    Cidr,
    Map,
    GenericResource,
    Tail,
    ExternalCa,
    /// stdin, stdout or stderr
    Stream,
}

/// A value after its check.
pub(super) enum Taken {
    /// Kept as it was given.
    AsGiven,
    /// Kept in another form, or as several values.
    As(Vec<String>),
}

impl Kind {
    /// Needs no value?
    pub fn is_switch(self) -> bool {
        self == Self::Bool
    }

    /// The word for the value on help pages.
    pub fn type_name(self) -> &'static str {
        match self {
            Self::Bool => "",
            Self::String | Self::Tail => "string",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Uint16 => "uint16",
            Self::Uint32 => "uint32",
            Self::Float => "float",
            Self::Duration | Self::PositiveDuration => "duration",
            Self::Decimal => "decimal",
            Self::Bytes | Self::SwapBytes => "bytes",
            Self::List
            | Self::Env
            | Self::Label
            | Self::Host
            | Self::Ip
            | Self::DnsSearch
            | Self::Link
            | Self::GenericResource
            | Self::Stream => "list",
            Self::Strings => "strings",
            Self::ExternalCa => "external-ca",
            Self::Filter => "filter",
            Self::Mount => "mount",
            Self::Port => "port",
            Self::Network => "network",
            Self::Ulimit => "ulimit",
            Self::Secret => "secret",
            Self::Config => "config",
            Self::Pref => "pref",
            Self::Command => "command",
            Self::CredentialSpec => "credential-spec",
            Self::NodeAddr => "node-addr",
            Self::Cidr => "ipNetSlice",
            Self::Map | Self::Sysctl => "map",
        }
    }

    /// Refuses values that the kind cannot take, and gives the others the form in which they are kept.
    pub(super) fn read(self, value: &str) -> Result<Taken, String> {
        match self {
            Self::Strings if value.is_empty() => Ok(Taken::As(Vec::new())),
            Self::Strings => values::csv(value).map(Taken::As),
            Self::Ip => addresses::ip_address(value).map(|ip| Taken::As(vec![ip])),
            Self::DnsSearch => addresses::dns_search(value).map(|domain| Taken::As(vec![domain])),
            Self::Cidr if value.is_empty() => Ok(Taken::As(Vec::new())),
            Self::Cidr => addresses::pools(value).map(Taken::As),
            Self::NodeAddr => addresses::listen_address(value).map(|address| Taken::As(vec![address])),
            _ => self.check(value).map(|()| Taken::AsGiven),
        }
    }

    fn check(self, value: &str) -> Result<(), String> {
        match self {
            Self::String | Self::List | Self::Map | Self::ExternalCa | Self::Tail => Ok(()),
            // Read above.
            Self::Strings | Self::Ip | Self::DnsSearch | Self::Cidr | Self::NodeAddr => Ok(()),
            Self::Label => {
                let key = value.split('=').next().unwrap_or("").trim_start_matches([' ', '\t']);
                match key {
                    "" => Err(format!("invalid label '{value}': empty name")),
                    key if key.contains([' ', '\t']) => Err(format!("label '{key}' contains whitespaces")),
                    _ => Ok(()),
                }
            }
            Self::Link => addresses::link(value).map(drop),
            Self::Sysctl => values::sysctl(value),
            Self::Bool => match value {
                "1" | "t" | "T" | "true" | "TRUE" | "True" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(()),
                _ => Err(format!("strconv.ParseBool: parsing {value:?}: invalid syntax")),
            },
            Self::Int => parse_int(value).map(drop),
            Self::Uint => parse_uint(value, 64).map(drop),
            Self::Uint16 => parse_uint(value, 16).map(drop),
            Self::Uint32 => parse_uint(value, 32).map(drop),
            Self::Float => value
                .parse::<f64>()
                .map(drop)
                .map_err(|_| format!("strconv.ParseFloat: parsing {value:?}: invalid syntax")),
            Self::Duration => parse_duration(value).map(drop).map_err(|e| e.to_string()),
            Self::PositiveDuration => match parse_duration(value).map_err(|e| e.to_string())? {
                ns if ns < 0 => Err("duration cannot be negative".into()),
                _ => Ok(()),
            },
            Self::Decimal => parse_cpus(value).map(drop),
            Self::Bytes => parse_bytes(value).map(drop),
            Self::SwapBytes if value == "-1" => Ok(()),
            Self::SwapBytes => parse_bytes(value).map(drop),
            Self::Filter => match value.split_once('=') {
                Some(_) => Ok(()),
                None if value.is_empty() => Ok(()),
                None => Err("bad format of filter (expected name=value)".into()),
            },
            Self::Env => match value.split_once('=') {
                Some(("", _)) => Err(format!("invalid environment variable: {value}")),
                None if value.is_empty() => Err(format!("invalid environment variable: {value}")),
                _ => Ok(()),
            },
            Self::Host => addresses::extra_host(value).map(drop),
            Self::Mount => values::mount(value).map(drop),
            Self::Port => ports::service_ports(value).map(drop),
            Self::Network => networks::network(value).map(drop),
            Self::Ulimit => values::ulimit(value).map(drop),
            Self::Secret => values::file_reference(value, "secret").map(drop),
            Self::Config => values::file_reference(value, "config").map(drop),
            Self::Pref => values::preference(value).map(drop),
            Self::Command => values::split_words(value).map(drop),
            Self::CredentialSpec => values::credential_spec(value).map(drop),
            Self::GenericResource => values::generic_resource(value).map(drop),
            Self::Stream => match value.to_lowercase().as_str() {
                "stdin" | "stdout" | "stderr" => Ok(()),
                _ => Err("valid streams are STDIN, STDOUT and STDERR".into()),
            },
        }
    }
}

/// Go's reading of a truth.
pub(super) fn is_true(value: &str) -> bool {
    matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// An unsigned number of so many bits.
pub(crate) fn parse_uint(value: &str, bits: u32) -> Result<u64, String> {
    let syntax = || format!("strconv.ParseUint: parsing {value:?}: invalid syntax");
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_digit()) {
        return Err(syntax());
    }
    match value.parse::<u64>() {
        Ok(number) if bits == 64 || number < 1 << bits => Ok(number),
        _ => Err(format!("strconv.ParseUint: parsing {value:?}: value out of range")),
    }
}

/// A signed number.
pub(crate) fn parse_int(value: &str) -> Result<i64, String> {
    value.parse().map_err(|e: std::num::ParseIntError| {
        let reason = match e.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.ParseInt: parsing {value:?}: {reason}")
    })
}

/// CPUs as a decimal or a fraction, in billionths.
pub(super) fn parse_cpus(value: &str) -> Result<i64, String> {
    let invalid = || format!("failed to parse {value} as a rational number");
    let number: f64 = match value.split_once('/') {
        Some((a, b)) => {
            a.parse::<i64>().map_err(|_| invalid())? as f64 / b.parse::<i64>().map_err(|_| invalid())? as f64
        }
        None if value.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E')) => {
            value.parse().map_err(|_| invalid())?
        }
        None => return Err(invalid()),
    };
    let nano = number * 1e9;
    if !nano.is_finite() || nano.abs() > 9e18 {
        return Err(invalid());
    }
    if (nano - nano.round()).abs() > 1e-4 {
        return Err("value is too precise".into());
    }
    Ok(nano.round() as i64)
}

/// A size such as `64m` or `1.5GiB`, in bytes; units are powers of 1024.
pub(crate) fn parse_bytes(value: &str) -> Result<i64, String> {
    let at = value.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ');
    let Some(at) = at else {
        return Err(format!("invalid size: '{value}'"));
    };
    let (number, suffix) = value.split_at(at + 1);
    let number: f64 = number.trim_end().parse().map_err(|_| format!("invalid size: '{value}'"))?;
    if number < 0.0 {
        return Err(format!("invalid size: '{value}'"));
    }
    let lower = suffix.to_ascii_lowercase();
    let scale: f64 = match lower.as_str() {
        "" | "b" => 1.0,
        "k" | "kb" | "kib" => 1024f64,
        "m" | "mb" | "mib" => 1024f64.powi(2),
        "g" | "gb" | "gib" => 1024f64.powi(3),
        "t" | "tb" | "tib" => 1024f64.powi(4),
        "p" | "pb" | "pib" => 1024f64.powi(5),
        _ => return Err(format!("invalid suffix: '{lower}'")),
    };
    Ok((number * scale) as i64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse_bytes("64m").unwrap(), 64 << 20);
        assert_eq!(parse_bytes("1.5GiB").unwrap(), 3 << 29);
        assert_eq!(parse_bytes("1x").unwrap_err(), "invalid suffix: 'x'");
        assert_eq!(parse_bytes("x").unwrap_err(), "invalid size: 'x'");
    }

    #[test]
    fn cpus_are_billionths() {
        assert_eq!(parse_cpus("0.5").unwrap(), 500_000_000);
        assert_eq!(parse_cpus("1/4").unwrap(), 250_000_000);
        assert_eq!(parse_cpus("x").unwrap_err(), "failed to parse x as a rational number");
        assert!(parse_cpus("1/0").is_err() && parse_cpus("0.00000000001").is_err());
    }
}
