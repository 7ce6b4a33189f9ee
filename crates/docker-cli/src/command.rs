//! The tree of commands: what each is called and takes, its help page, and finding the one that a command line means.

mod help;

use crate::context::Context;
use crate::error::{CliError, EXIT_USAGE, Result};
use crate::flags::{self, Flag, Parsed};
use std::future::Future;
use std::pin::Pin;

/// What a running command returns.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result> + 'a>>;

/// A command's doing.
pub type Handler = for<'a> fn(&'a Context, Parsed) -> Running<'a>;

/// How many arguments a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// None.
    None,
    /// That many.
    Exactly(usize),
    /// That many or more.
    AtLeast(usize),
    /// That many or fewer.
    AtMost(usize),
    /// Between the two.
    Between(usize, usize),
}

/// A command, or a group of them.
#[derive(Debug, Clone)]
pub struct Command {
    /// Its word.
    pub name: &'static str,
    /// Other words for it.
    pub aliases: &'static [&'static str],
    /// What follows the name in the usage line.
    pub usage: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// Heading under which a group's help lists it.
    pub section: &'static str,
    /// What it takes.
    pub flags: Vec<Flag>,
    /// How many arguments.
    pub arity: Arity,
    /// May flags follow arguments?
    pub interspersed: bool,
    /// Whole command lines that mean the same, for the help page.
    pub also: &'static [&'static str],
    /// Commands of a group.
    pub commands: Vec<Command>,
    /// What it does; groups do nothing.
    pub handler: Option<Handler>,
}

impl Command {
    /// A command.
    pub fn new(name: &'static str, usage: &'static str, about: &'static str, arity: Arity, handler: Handler) -> Self {
        Self {
            name,
            aliases: &[],
            usage,
            about,
            section: "Commands",
            flags: Vec::new(),
            arity,
            interspersed: true,
            also: &[],
            commands: Vec::new(),
            handler: Some(handler),
        }
    }

    /// A group of commands.
    pub fn group(name: &'static str, about: &'static str, commands: Vec<Command>) -> Self {
        Self {
            name,
            aliases: &[],
            usage: "",
            about,
            section: "Management Commands",
            flags: Vec::new(),
            arity: Arity::None,
            interspersed: false,
            also: &[],
            commands,
            handler: None,
        }
    }

    /// With flags.
    pub fn flags(mut self, flags: Vec<Flag>) -> Self {
        self.flags = flags;
        self
    }

    /// With other words for it.
    pub fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// With the command lines that mean the same.
    pub fn also(mut self, also: &'static [&'static str]) -> Self {
        self.also = also;
        self
    }

    /// Under another name, as `docker ps` is `docker container ls`.
    pub fn named(mut self, name: &'static str, aliases: &'static [&'static str]) -> Self {
        (self.name, self.aliases) = (name, aliases);
        self
    }

    /// Flags end at the first argument, as the rest is a command line of the container's.
    pub fn flags_first(mut self) -> Self {
        self.interspersed = false;
        self
    }

    /// Under a heading.
    pub fn section(mut self, section: &'static str) -> Self {
        self.section = section;
        self
    }

    fn find(&self, word: &str) -> Option<&Command> {
        self.commands.iter().find(|command| command.name == word || command.aliases.contains(&word))
    }
}

/// What a command line asks for.
pub enum Asked {
    /// To run a command.
    Run {
        /// Its doing.
        handler: Handler,
        /// Its flags and arguments.
        parsed: Parsed,
        /// Words of the command, `docker service create`.
        path: String,
    },
    /// To print this.
    Print(String),
    /// To print this to standard error: the page of a group of which no command was named.
    Remind(String),
}

/// Reads a whole command line: the flags before the first word, and what is asked for.
pub fn read(root: &Command, args: &[String]) -> Result<(Parsed, Asked)> {
    let global = split_global(&root.flags, args)?;
    if global.bool("version") {
        let page = format!("Docker version {}, build swarmlab\n", env!("CARGO_PKG_VERSION"));
        return Ok((global, Asked::Print(page)));
    }
    let mut words = global.args.clone();
    if global.help {
        words.insert(0, "help".into());
    }
    let asked = resolve(root, &words)?;
    Ok((global, asked))
}

/// Finds the command that `args` (after the global flags) mean, and reads its flags.
pub fn resolve(root: &Command, args: &[String]) -> Result<Asked> {
    let mut command = root;
    let mut path = root.name.to_owned();
    let mut rest = args;
    loop {
        if let Some(handler) = command.handler {
            return leaf(command, &path, handler, rest);
        }
        let Some((word, tail)) = rest.split_first() else {
            return Ok(Asked::Remind(help::group(command, &path)));
        };
        if word == "help" && command.name == root.name {
            return help_topic(root, tail);
        }
        if word.starts_with('-') {
            let is_help = matches!(word.as_str(), "--help" | "-h");
            return match is_help {
                true => Ok(Asked::Print(help::group(command, &path))),
                false => {
                    let reason = flags::parse(&[], rest, false).err();
                    let reason = reason.unwrap_or_else(|| format!("unknown flag: {word}"));
                    Err(usage_error(EXIT_USAGE, &reason, command, &path))
                }
            };
        }
        let Some(next) = command.find(word) else {
            let message = match command.name == root.name {
                true => format!("docker: unknown command: docker {word}\n\nRun 'docker --help' for more information"),
                false => format!(
                    "docker: unknown command: {path} {word}\n\nUsage:  {path}\n\nRun '{path} --help' for more information"
                ),
            };
            return Err(CliError::new(message));
        };
        command = next;
        path = format!("{path} {}", command.name);
        rest = tail;
    }
}

fn leaf(command: &Command, path: &str, handler: Handler, args: &[String]) -> Result<Asked> {
    let parsed = flags::parse(&command.flags, args, command.interspersed)
        .map_err(|reason| usage_error(EXIT_USAGE, &reason, command, path))?;
    if parsed.help {
        return Ok(Asked::Print(help::command(command, path)));
    }
    check_arity(command, path, parsed.args.len())?;
    Ok(Asked::Run { handler, parsed, path: path.to_owned() })
}

fn help_topic(root: &Command, words: &[String]) -> Result<Asked> {
    let mut command = root;
    let mut path = root.name.to_owned();
    for word in words {
        let Some(next) = command.find(word) else {
            return Err(CliError::new(format!("unknown help topic: {}", words.join(" "))));
        };
        command = next;
        path = format!("{path} {}", command.name);
    }
    Ok(Asked::Print(match command.handler {
        Some(_) => help::command(command, &path),
        None => help::group(command, &path),
    }))
}

fn usage_error(code: u8, reason: &str, command: &Command, path: &str) -> CliError {
    let line = help::usage_line(command, path);
    CliError::with_code(code, format!("{reason}\n\nUsage:  {line}\n\nRun '{path} --help' for more information"))
}

fn check_arity(command: &Command, path: &str, count: usize) -> Result {
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    let (reason, hint) = match command.arity {
        Arity::None if count > 0 => ("accepts no arguments".to_owned(), "Run"),
        Arity::Exactly(n) if count != n => (format!("requires {n} argument{}", plural(n)), "Run"),
        Arity::AtLeast(n) if count < n => (format!("requires at least {n} argument{}", plural(n)), "See"),
        Arity::AtMost(n) if count > n => (format!("requires at most {n} argument{}", plural(n)), "Run"),
        Arity::Between(a, b) if count < a || count > b => {
            (format!("requires at least {a} and at most {b} argument{}", plural(b)), "Run")
        }
        _ => return Ok(()),
    };
    let line = help::usage_line(command, path);
    Err(CliError::new(format!(
        "docker: '{path}' {reason}\n\nUsage:  {line}\n\n{hint} '{path} --help' for more information"
    )))
}

/// The flags before the first command word.
fn split_global(flags: &[Flag], args: &[String]) -> Result<Parsed> {
    flags::parse(flags, args, false).map_err(|reason| {
        CliError::with_code(
            EXIT_USAGE,
            format!(
                "{reason}\n\nUsage:  docker [OPTIONS] COMMAND [ARG...]\n\nRun 'docker --help' for more information"
            ),
        )
    })
}

/// Makes a handler of an `async fn(&Context, Parsed) -> Result`.
#[macro_export]
#[doc(hidden)]
macro_rules! handler {
    ($run:path) => {{
        fn boxed<'a>(
            context: &'a $crate::context::Context,
            parsed: $crate::flags::Parsed,
        ) -> $crate::command::Running<'a> {
            Box::pin($run(context, parsed))
        }
        boxed
    }};
}
