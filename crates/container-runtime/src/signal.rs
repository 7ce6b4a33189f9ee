//! Signal names as Docker takes them: `SIGTERM`, `term`, `15`, `RTMIN+3`.

use nix::sys::signal::Signal;

use crate::error::{Error, Result};

/// The number of a signal.
pub fn parse(text: &str) -> Result<i32> {
    let bad = || Error::invalid(format!("Invalid signal: {text}"));
    if let Ok(n) = text.parse::<i32>() {
        return if (1..=64).contains(&n) { Ok(n) } else { Err(bad()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let offset =
            if rest.is_empty() { 0 } else { rest.strip_prefix('+').and_then(|r| r.parse().ok()).ok_or_else(bad)? };
        return if (0..=30).contains(&offset) { Ok(34 + offset) } else { Err(bad()) };
    }
    format!("SIG{name}").parse::<Signal>().map(|s| s as i32).map_err(|_| bad())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::parse;

    #[test]
    fn names_numbers_and_realtime_signals_parse_and_nonsense_is_refused() {
        assert_eq!(parse("SIGTERM").unwrap(), 15);
        assert_eq!(parse("usr1").unwrap(), 10);
        assert_eq!(parse("9").unwrap(), 9);
        assert_eq!(parse("RTMIN+3").unwrap(), 37);
        for bad in ["", "0", "65", "-1", "SIGNOPE", "RTMIN+99", "RTMIN-1"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
