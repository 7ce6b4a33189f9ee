//! Network commands of the built-in images: `nslookup`, `ping`, `curl` and `nc`, the few options that labs need.
//!
//! They come first on the images' PATH, also where the machine has programs of these names: what a lab prints is then
//! the same on every machine, and a machine without them can do every lab. They do without the C library's resolver,
//! which sorts addresses by its own rules and would hide the order that a name server gave.
//!
//! Leaves out everything that labs do not use; an option that is not there is refused, never ignored.

mod curl;
mod nc;
mod nslookup;
mod ping;
pub(super) mod resolve;

use std::process::ExitCode;

/// The commands, each reached by its name as a link to the swarmlab binary in [`DIR`].
pub const APPLETS: [&str; 4] = ["curl", "nc", "nslookup", "ping"];

/// Where the links are in a container.
pub const DIR: &str = "/.swarmlab/applets";

/// Runs the command of this name; `None` when there is none.
pub(super) fn main(name: &str, args: Vec<String>) -> Option<ExitCode> {
    Some(match name {
        "curl" => curl::main(args),
        "nc" => nc::main(args),
        "nslookup" => nslookup::main(args),
        "ping" => ping::main(args),
        _ => return None,
    })
}

/// The system's words without the number that Rust adds.
fn reason(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |code| nix::errno::Errno::from_raw(code).desc().to_owned())
}

/// Arguments one after the other, options of one letter taken apart: `-sm 2` is `-s -m 2`, `-c3` is `-c 3`.
struct Arguments {
    rest: std::vec::IntoIter<String>,
    letters: String,
    only_operands: bool,
}

enum Argument {
    /// `-c` or `--name`; a value is asked for by [`Arguments::value`].
    Option(String),
    Operand(String),
}

impl Arguments {
    fn new(args: Vec<String>) -> Self {
        Self { rest: args.into_iter(), letters: String::new(), only_operands: false }
    }

    fn next(&mut self) -> Option<Argument> {
        if !self.letters.is_empty() {
            return Some(Argument::Option(format!("-{}", self.letters.remove(0))));
        }
        let arg = self.rest.next()?;
        if self.only_operands || arg == "-" || !arg.starts_with('-') {
            return Some(Argument::Operand(arg));
        }
        if arg == "--" {
            self.only_operands = true;
            return self.next();
        }
        if arg.starts_with("--") {
            return Some(Argument::Option(arg));
        }
        self.letters = arg[1..].to_owned();
        self.next()
    }

    /// The value of the option that came last: the rest of its word, or the next one.
    fn value(&mut self) -> Option<String> {
        match self.letters.is_empty() {
            true => self.rest.next(),
            false => Some(std::mem::take(&mut self.letters)),
        }
    }

    /// A number of seconds, as the value of an option.
    fn seconds(&mut self) -> Option<std::time::Duration> {
        let seconds: f64 = self.value()?.parse().ok()?;
        std::time::Duration::try_from_secs_f64(seconds).ok()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn letters_may_be_joined_with_each_other_and_with_a_value() {
        let words = ["-sSm2", "-o", "-", "--fail", "url", "--", "-x"].map(str::to_owned).to_vec();
        let mut arguments = Arguments::new(words);
        let mut seen = Vec::new();
        while let Some(argument) = arguments.next() {
            seen.push(match argument {
                Argument::Option(name) if name == "-m" || name == "-o" => {
                    format!("{name}={}", arguments.value().unwrap())
                }
                Argument::Option(name) => name,
                Argument::Operand(text) => format!("[{text}]"),
            });
        }
        assert_eq!(seen, ["-s", "-S", "-m=2", "-o=-", "--fail", "[url]", "[-x]"]);
    }
}
