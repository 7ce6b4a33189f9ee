//! Durations as authors write them: `500ms`, `30s`, `2m`, `1m30s`.

use core::time::Duration;

/// Reads `1m30s`, `30s`, `500ms`; `None` for anything else. A bare number is refused: its unit would be a guess.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() || rest.len() > 32 {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let (unit, len) = if rest.starts_with("ms") {
            (1, 2)
        } else if rest.starts_with('s') {
            (1000, 1)
        } else if rest.starts_with('m') {
            (60_000, 1)
        } else if rest.starts_with('h') {
            (3_600_000, 1)
        } else {
            return None;
        };
        total = total.checked_add(Duration::from_millis(number.checked_mul(unit)?))?;
        rest = rest.get(len..)?;
    }
    Some(total)
}

/// Writes a duration as [`parse_duration`] reads it, to the millisecond.
pub fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let mut out = String::new();
    if minutes > 0 {
        out.push_str(&format!("{minutes}m"));
    }
    if rest >= 1000 {
        out.push_str(&format!("{}s", rest / 1000));
    }
    if rest % 1000 > 0 {
        out.push_str(&format!("{}ms", rest % 1000));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_survive_a_round_trip() {
        assert_eq!(parse_duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        for bad in ["", "30", "s", "3 s", "-1s", "1.5s", "99999999999999999999s", "18446744073709551615h", "1d"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
        for text in ["1m30s", "250ms", "2m", "1s500ms", "0s"] {
            assert_eq!(parse_duration(text).map(show_duration).as_deref(), Some(text));
        }
    }
}
