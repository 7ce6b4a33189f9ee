//! Durations and sizes in words, as Docker rounds them.

pub use docker_api::time::human_duration;

/// `1.23kB`: powers of 1000, so many significant digits.
pub fn human_size(bytes: f64, precision: usize) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"], precision)
}

/// `1.5GiB`: powers of 1024, four significant digits.
pub fn bytes_size(bytes: f64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"], 4)
}

fn scaled(mut size: f64, base: f64, units: &[&str], precision: usize) -> String {
    let mut unit = 0;
    while size >= base && unit + 1 < units.len() {
        size /= base;
        unit += 1;
    }
    format!("{}{}", significant(size, precision), units[unit])
}

/// Go's `%.Ng`: so many significant digits, no trailing zeros.
pub fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".into();
    }
    // Rounding may carry into a new digit (999.96 to four digits is 1000), so the exponent is read after rounding.
    let scientific = format!("{value:.*e}", digits.saturating_sub(1));
    let exponent: i32 = scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    if exponent < -4 || exponent >= digits as i32 {
        let (mantissa, _) = scientific.split_once('e').unwrap_or((&scientific, ""));
        let mantissa = trim_zeros(mantissa);
        return format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    }
    let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
    trim_zeros(&format!("{value:.decimals$}")).to_owned()
}

fn trim_zeros(text: &str) -> &str {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_round_as_docker_rounds() {
        let s = 1_000_000_000i128;
        for (nanos, words) in [
            (0, "Less than a second"),
            (s, "1 second"),
            (59 * s, "59 seconds"),
            (61 * s, "About a minute"),
            (120 * s, "2 minutes"),
            (59 * 60 * s, "59 minutes"),
            (60 * 60 * s, "About an hour"),
            (47 * 3600 * s, "47 hours"),
            (49 * 3600 * s, "2 days"),
            (15 * 86400 * s, "2 weeks"),
            (70 * 86400 * s, "2 months"),
            (800 * 86400 * s, "2 years"),
            (-5 * s, "Less than a second"),
        ] {
            assert_eq!(human_duration(nanos), words);
        }
    }

    #[test]
    fn sizes_have_significant_digits() {
        assert_eq!(human_size(7_660_000.0, 3), "7.66MB");
        assert_eq!(human_size(0.0, 3), "0B");
        assert_eq!(human_size(999_960.0, 4), "1000kB");
        assert_eq!(human_size(123.0, 3), "123B");
        assert_eq!(bytes_size(67_108_864.0), "64MiB");
        assert_eq!(bytes_size(16_700_000_000.0), "15.55GiB");
    }
}
