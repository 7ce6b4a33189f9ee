//! Flags as the docker CLI reads them: a small twin of Go's `pflag`.
//!
//! Own code rather than `clap`, because scripts see the differences: `-it`, `-p80:80`, `--tty=false`, flags that end at the
//! first argument (`docker run IMAGE -x`), and error texts and exit codes that clap cannot be made to print.
//! Left out: deprecated flags and completion.

mod kinds;

pub use kinds::Kind;
use kinds::Taken;
pub(crate) use kinds::{parse_bytes, parse_int, parse_uint};

use std::collections::BTreeMap;

/// One flag of a command.
#[derive(Debug, Clone)]
pub struct Flag {
    /// Long name without dashes.
    pub name: &'static str,
    /// Short name.
    pub short: Option<char>,
    /// What it takes.
    pub kind: Kind,
    /// One line for the help page.
    pub help: &'static str,
    /// Value when not given, as the help page shows it.
    pub default: Option<&'static str>,
    /// Understood, but not on the help page.
    pub hidden: bool,
    /// Another flag whose value this one gives too.
    pub same_as: Option<&'static str>,
}

impl Flag {
    /// With a default that the help page shows and that the getters return.
    pub const fn default(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    /// Another, hidden word for a flag.
    pub const fn same_as(mut self, name: &'static str) -> Self {
        (self.hidden, self.same_as) = (true, Some(name));
        self
    }

    /// Not on the help page.
    pub const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }
}

/// A flag without short name.
pub const fn flag(name: &'static str, kind: Kind, help: &'static str) -> Flag {
    Flag { name, short: None, kind, help, default: None, hidden: false, same_as: None }
}

/// A flag with a short name.
pub const fn short(short: char, name: &'static str, kind: Kind, help: &'static str) -> Flag {
    Flag { name, short: Some(short), kind, help, default: None, hidden: false, same_as: None }
}

/// What the command line said.
#[derive(Debug, Clone, Default)]
pub struct Parsed {
    values: BTreeMap<&'static str, Vec<String>>,
    defaults: BTreeMap<&'static str, &'static str>,
    /// Arguments that are not flags.
    pub args: Vec<String>,
    /// `--help` was among the flags.
    pub help: bool,
}

impl Parsed {
    /// Was the flag given?
    pub fn changed(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Was any of the flags given?
    pub fn any_changed(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.changed(name))
    }

    /// Names of the flags given.
    pub fn given(&self) -> impl Iterator<Item = &str> {
        self.values.keys().copied()
    }

    fn last(&self, name: &str) -> Option<&str> {
        let given = self.values.get(name).and_then(|values| values.last()).map(String::as_str);
        given.or_else(|| self.defaults.get(name).copied())
    }

    /// A text flag, empty when absent.
    pub fn string(&self, name: &str) -> &str {
        self.last(name).unwrap_or("")
    }

    /// A switch.
    pub fn bool(&self, name: &str) -> bool {
        self.last(name).is_some_and(kinds::is_true)
    }

    /// Every value of a flag that may be repeated.
    pub fn list(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// An unsigned number, if given or defaulted.
    pub fn u64(&self, name: &str) -> Option<u64> {
        self.last(name).and_then(|value| kinds::parse_uint(value, 64).ok())
    }

    /// A signed number, if given or defaulted.
    pub fn i64(&self, name: &str) -> Option<i64> {
        self.last(name).and_then(|value| kinds::parse_int(value).ok())
    }

    /// A fraction, if given.
    pub fn f64(&self, name: &str) -> Option<f64> {
        self.last(name).and_then(|value| value.parse().ok())
    }

    /// A duration in nanoseconds, if given.
    pub fn duration(&self, name: &str) -> Option<i64> {
        self.last(name).and_then(|value| docker_api::time::parse_duration(value).ok())
    }

    /// A number of CPUs in billionths, 0 when absent.
    pub fn nano_cpus(&self, name: &str) -> i64 {
        self.last(name).and_then(|value| kinds::parse_cpus(value).ok()).unwrap_or(0)
    }

    /// A size in bytes, 0 when absent.
    pub fn bytes(&self, name: &str) -> i64 {
        self.last(name).and_then(|value| kinds::parse_bytes(value).ok()).unwrap_or(0)
    }
}

/// Parses arguments. With `interspersed` false, everything from the first non-flag on is an argument.
/// The error is the first line that Docker prints; the caller adds the usage.
pub fn parse(flags: &[Flag], args: &[String], interspersed: bool) -> Result<Parsed, String> {
    let mut parsed =
        Parsed { defaults: flags.iter().filter_map(|f| f.default.map(|d| (f.name, d))).collect(), ..Parsed::default() };
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if arg == "--" {
            parsed.args.extend(rest.cloned());
            break;
        } else if let Some(long) = arg.strip_prefix("--") {
            parse_long(flags, long, &mut rest, &mut parsed)?;
        } else if arg.len() > 1 && arg.starts_with('-') {
            parse_short(flags, &arg[1..], &mut rest, &mut parsed)?;
        } else {
            parsed.args.push(arg.clone());
            if !interspersed {
                parsed.args.extend(rest.cloned());
                break;
            }
        }
    }
    Ok(parsed)
}

type Rest<'a> = std::slice::Iter<'a, String>;

fn parse_long(flags: &[Flag], text: &str, rest: &mut Rest<'_>, parsed: &mut Parsed) -> Result<(), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if name.is_empty() || name.starts_with('-') {
        return Err(format!("bad flag syntax: --{text}"));
    }
    let Some(flag) = flags.iter().find(|flag| flag.name == name) else {
        if name == "help" {
            parsed.help = value.as_deref().is_none_or(kinds::is_true);
            return Ok(());
        }
        return Err(format!("unknown flag: --{name}"));
    };
    let value = match value {
        Some(value) => value,
        None if flag.kind.is_switch() => "true".to_owned(),
        None => rest.next().cloned().ok_or_else(|| format!("flag needs an argument: --{name}"))?,
    };
    set(flag, value, parsed)
}

fn parse_short(flags: &[Flag], cluster: &str, rest: &mut Rest<'_>, parsed: &mut Parsed) -> Result<(), String> {
    for (at, letter) in cluster.char_indices() {
        let tail = &cluster[at + letter.len_utf8()..];
        let Some(flag) = flags.iter().find(|flag| flag.short == Some(letter)) else {
            if letter == 'h' {
                parsed.help = true;
                return Ok(());
            }
            return Err(format!("unknown shorthand flag: '{letter}' in -{}", &cluster[at..]));
        };
        if let Some(value) = tail.strip_prefix('=') {
            return set(flag, value.to_owned(), parsed);
        } else if flag.kind.is_switch() {
            set(flag, "true".to_owned(), parsed)?;
        } else if !tail.is_empty() {
            return set(flag, tail.to_owned(), parsed);
        } else {
            let value = rest.next().cloned();
            let value = value.ok_or_else(|| format!("flag needs an argument: '{letter}' in -{}", &cluster[at..]))?;
            return set(flag, value, parsed);
        }
    }
    Ok(())
}

fn set(flag: &Flag, value: String, parsed: &mut Parsed) -> Result<(), String> {
    let taken = flag.kind.read(&value).map_err(|reason| {
        let name = match flag.short {
            Some(short) => format!("-{short}, --{}", flag.name),
            None => format!("--{}", flag.name),
        };
        format!("invalid argument {value:?} for {name:?} flag: {reason}")
    })?;
    let values = parsed.values.entry(flag.same_as.unwrap_or(flag.name)).or_default();
    match taken {
        Taken::AsGiven => values.push(value),
        Taken::As(values_read) => values.extend(values_read),
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FLAGS: &[Flag] = &[
        short('i', "interactive", Kind::Bool, ""),
        short('t', "tty", Kind::Bool, ""),
        short('p', "publish", Kind::List, ""),
        flag("replicas", Kind::Uint, ""),
        flag("mode", Kind::String, "").default("replicated"),
    ];

    fn parse_line(line: &str, interspersed: bool) -> Result<Parsed, String> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(FLAGS, &args, interspersed)
    }

    #[test]
    fn short_flags_cluster_and_take_glued_values() {
        let parsed = parse_line("-itp80:80 -p=81:81 --publish 82 image -t", false).unwrap();
        assert!(parsed.bool("interactive") && parsed.bool("tty"));
        assert_eq!(parsed.list("publish"), ["80:80", "81:81", "82"]);
        assert_eq!(parsed.args, ["image", "-t"]);
    }

    #[test]
    fn flags_may_follow_arguments_where_the_command_allows_it() {
        let parsed = parse_line("a --tty=false b --replicas=3 -- --x", true).unwrap();
        assert_eq!(parsed.args, ["a", "b", "--x"]);
        assert!(parsed.changed("tty") && !parsed.bool("tty"));
        assert_eq!((parsed.u64("replicas"), parsed.string("mode")), (Some(3), "replicated"));
    }

    #[test]
    fn errors_are_worded_as_docker_words_them() {
        let error = |line: &str| parse_line(line, true).unwrap_err();
        assert_eq!(error("--nope"), "unknown flag: --nope");
        assert_eq!(error("-tz"), "unknown shorthand flag: 'z' in -z");
        assert_eq!(error("--mode"), "flag needs an argument: --mode");
        assert_eq!(error("-p"), "flag needs an argument: 'p' in -p");
        assert_eq!(
            error("--replicas x"),
            "invalid argument \"x\" for \"--replicas\" flag: strconv.ParseUint: parsing \"x\": invalid syntax"
        );
        assert_eq!(
            error("--tty=x"),
            "invalid argument \"x\" for \"-t, --tty\" flag: strconv.ParseBool: parsing \"x\": invalid syntax"
        );
    }

    proptest! {
        #[test]
        fn any_arguments_parse_or_are_refused(args in proptest::collection::vec("-{0,3}[a-z=]{0,6}.{0,3}", 0..6)) {
            let _ = parse(FLAGS, &args, true);
        }
    }
}
