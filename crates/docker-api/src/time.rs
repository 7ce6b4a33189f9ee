//! Times on the wire: RFC 3339 with nanoseconds as Go writes them, and the forms of `since` and `until`.
//!
//! Left out: the current time (callers pass it) and zones (the engine speaks UTC).

use jiff::Timestamp;
use std::fmt;

/// Go's zero time, which the Engine API uses for "never" in fields that are not optional.
pub const ZERO: &str = "0001-01-01T00:00:00Z";

/// A moment, in seconds and nanoseconds since 1970 UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime {
    /// Whole seconds, negative before 1970.
    pub seconds: i64,
    /// Nanoseconds after `seconds`, below 1e9.
    pub nanos: u32,
}

impl UnixTime {
    /// From seconds and nanoseconds; nanoseconds from 1e9 on are cut off.
    pub fn new(seconds: i64, nanos: u32) -> Self {
        Self { seconds, nanos: nanos.min(999_999_999) }
    }

    /// From nanoseconds since 1970.
    pub fn from_nanos(nanos: i128) -> Self {
        let seconds = nanos.div_euclid(1_000_000_000);
        Self {
            seconds: seconds.clamp(i64::MIN as i128, i64::MAX as i128) as i64,
            nanos: nanos.rem_euclid(1_000_000_000) as u32,
        }
    }

    /// Nanoseconds since 1970.
    pub fn as_nanos(self) -> i128 {
        self.seconds as i128 * 1_000_000_000 + self.nanos as i128
    }

    /// Is this [`ZERO`]?
    pub fn is_zero_time(self) -> bool {
        self.seconds == -62_135_596_800
    }

    /// Parses RFC 3339, in any zone.
    pub fn parse_rfc3339(text: &str) -> Result<Self, TimeError> {
        let invalid = || TimeError::Invalid(text.chars().take(64).collect());
        if text.len() > 64 {
            return Err(invalid());
        }
        let time: Timestamp = text.parse().map_err(|_| invalid())?;
        Ok(Self::from_nanos(time.as_nanosecond()))
    }

    /// Seconds with nine decimals: how times stand in the query of `logs` and `events`.
    pub fn to_param(self) -> String {
        format!("{}.{:09}", self.seconds, self.nanos)
    }
}

/// `2024-05-01T10:00:00.123Z`: the fraction has no trailing zeros, and is left out when it is zero.
impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(time) = Timestamp::new(self.seconds, 0) else {
            return f.write_str(ZERO);
        };
        write!(f, "{}", time.strftime("%Y-%m-%dT%H:%M:%S"))?;
        if self.nanos != 0 {
            let fraction = format!("{:09}", self.nanos);
            write!(f, ".{}", fraction.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

/// `2024-05-01T10:00:00.123000000Z`: nine decimals always, as log lines with timestamps carry them.
pub fn format_fixed(time: UnixTime) -> String {
    let whole = UnixTime::new(time.seconds, 0).to_string();
    format!("{}.{:09}Z", whole.trim_end_matches('Z'), time.nanos)
}

/// Parses what an engine receives as `since` or `until`: `SECONDS` or `SECONDS.FRACTION`. Empty is `None`.
/// The fraction is padded on the right: `1.5` is one and a half seconds.
pub fn parse_param(text: &str) -> Result<Option<UnixTime>, TimeError> {
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = || TimeError::Invalid(text.chars().take(64).collect());
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().map_err(|_| invalid())?;
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid());
    }
    let nanos = if fraction.is_empty() { 0 } else { format!("{fraction:0<9}").parse().map_err(|_| invalid())? };
    Ok(Some(UnixTime { seconds, nanos }))
}

/// Parses what a person types for `--since` and `--until`: a Go duration before `now`, an RFC 3339 time, a date or
/// a time without zone (read as UTC), or Unix seconds.
pub fn parse_since(text: &str, now: UnixTime) -> Result<UnixTime, TimeError> {
    if let Ok(nanos) = parse_duration(text) {
        return Ok(UnixTime::from_nanos(now.as_nanos() - nanos as i128));
    }
    if let Ok(time) = UnixTime::parse_rfc3339(text) {
        return Ok(time);
    }
    if text.contains('-') && text.len() <= 40 {
        let padded = match text.len() {
            10 => format!("{text}T00:00:00Z"),
            13 => format!("{text}:00:00Z"),
            16 => format!("{text}:00Z"),
            _ => format!("{text}Z"),
        };
        if let Ok(time) = UnixTime::parse_rfc3339(&padded) {
            return Ok(time);
        }
    }
    parse_param(text)?.ok_or_else(|| TimeError::Invalid(String::new()))
}

/// Parses a Go duration such as `1h30m`, `250ms` or `-1.5s` into nanoseconds. A bare `0` is allowed, other bare
/// numbers are not: they lack a unit.
pub fn parse_duration(text: &str) -> Result<i64, TimeError> {
    let invalid = || TimeError::Duration(text.chars().take(64).collect());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() || rest.len() > 64 {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        if tail.is_empty() {
            return Err(TimeError::MissingUnit(text.chars().take(64).collect()));
        }
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => {
                return Err(TimeError::UnknownUnit {
                    unit: unit.chars().take(16).collect(),
                    text: text.chars().take(64).collect(),
                });
            }
        };
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse::<i64>().map_err(|_| invalid())?.into() };
        total += whole * scale;
        if !fraction.is_empty() {
            let digits = &fraction[..fraction.len().min(18)];
            let value: i128 = digits.parse::<i64>().map_err(|_| invalid())?.into();
            total += value * scale / 10i128.pow(digits.len() as u32);
        }
        rest = tail;
    }
    let total = if negative { -total } else { total };
    i64::try_from(total).map_err(|_| invalid())
}

/// Writes nanoseconds as Go prints a duration: `1h0m0s`, `1.5s`, `250ms`, `0s`.
pub fn format_duration(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".into();
    }
    let sign = if nanos < 0 { "-" } else { "" };
    let n = nanos.unsigned_abs();
    let decimal = |value: u64, unit: u64| {
        let fraction = value % unit;
        let width = unit.ilog10() as usize;
        let text = format!("{}.{:0width$}", value / unit, fraction);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let text = match n {
        0..1_000 => format!("{n}ns"),
        1_000..1_000_000 => format!("{}µs", decimal(n, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(n, 1_000_000)),
        _ => {
            let (hours, rest) = (n / 3_600_000_000_000, n % 3_600_000_000_000);
            let (minutes, rest) = (rest / 60_000_000_000, rest % 60_000_000_000);
            let seconds = decimal(rest, 1_000_000_000);
            match (hours, minutes) {
                (0, 0) => format!("{seconds}s"),
                (0, _) => format!("{minutes}m{seconds}s"),
                _ => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    };
    format!("{sign}{text}")
}

/// A time or duration that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// None of the forms.
    #[error("failed to parse value as time or duration: {0:?}")]
    Invalid(String),
    /// Not a Go duration.
    #[error("time: invalid duration {0:?}")]
    Duration(String),
    /// A number without unit.
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    /// A unit that Go does not know.
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
}

/// `5 seconds`, `About a minute`, `3 weeks`. Takes nanoseconds.
pub fn human_duration(nanos: i128) -> String {
    let seconds = nanos / 1_000_000_000;
    let minutes = seconds / 60;
    let hours = (nanos as f64 / 3.6e12 + 0.5) as i128;
    match seconds {
        ..1 => "Less than a second".into(),
        1 => "1 second".into(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".into(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".into(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fractions_lose_their_trailing_zeros() {
        assert_eq!(UnixTime::new(0, 0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(UnixTime::new(1, 120_000_000).to_string(), "1970-01-01T00:00:01.12Z");
        assert_eq!(format_fixed(UnixTime::new(1, 120_000_000)), "1970-01-01T00:00:01.120000000Z");
        assert!(UnixTime::parse_rfc3339(ZERO).unwrap().is_zero_time());
        assert_eq!(
            UnixTime::parse_rfc3339("2024-05-01T12:00:00.5+02:00").unwrap().to_string(),
            "2024-05-01T10:00:00.5Z"
        );
    }

    #[test]
    fn since_takes_durations_dates_and_seconds() {
        let now = UnixTime::new(100_000, 0);
        assert_eq!(parse_since("1m", now).unwrap(), UnixTime::new(99_940, 0));
        assert_eq!(parse_since("1970-01-02", now).unwrap(), UnixTime::new(86_400, 0));
        assert_eq!(parse_since("1970-01-02T01", now).unwrap(), UnixTime::new(90_000, 0));
        assert_eq!(parse_since("42.5", now).unwrap(), UnixTime::new(42, 500_000_000));
        assert!(parse_since("yesterday", now).is_err() && parse_since("", now).is_err());
        assert_eq!(parse_param("").unwrap(), None);
    }

    #[test]
    fn durations_read_as_go_does() {
        assert_eq!(parse_duration("1h30m").unwrap(), 5_400_000_000_000);
        assert_eq!(parse_duration("-1.5s").unwrap(), -1_500_000_000);
        assert_eq!(parse_duration("10").unwrap_err().to_string(), "time: missing unit in duration \"10\"");
        assert_eq!(parse_duration("1d").unwrap_err().to_string(), "time: unknown unit \"d\" in duration \"1d\"");
        assert_eq!(parse_duration("abc").unwrap_err().to_string(), "time: invalid duration \"abc\"");
        for (nanos, text) in [
            (0, "0s"),
            (1_500_000_000, "1.5s"),
            (3_600_000_000_000, "1h0m0s"),
            (250_000_000, "250ms"),
            (90_000_000_000, "1m30s"),
        ] {
            assert_eq!(format_duration(nanos), text);
        }
    }

    proptest! {
        #[test]
        fn every_duration_reads_back(nanos in any::<i64>().prop_filter("min has no positive twin", |n| *n != i64::MIN)) {
            prop_assert_eq!(parse_duration(&format_duration(nanos)).unwrap(), nanos);
        }

        #[test]
        fn every_time_reads_back(seconds in -60_000_000_000i64..200_000_000_000, nanos in 0u32..1_000_000_000) {
            let time = UnixTime::new(seconds, nanos);
            prop_assert_eq!(UnixTime::parse_rfc3339(&time.to_string()).unwrap(), time);
        }

        #[test]
        fn any_text_is_a_time_or_refused(text in ".{0,50}") {
            let _ = parse_since(&text, UnixTime::new(0, 0));
            let _ = parse_param(&text);
        }
    }
}
