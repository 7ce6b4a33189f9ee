//! `docker secret` and `docker config`, which differ in little more than their names.

mod create;
mod inspect;
mod ls;
mod rm;

use crate::command::Command;
use crate::context::Context;

/// `docker secret`
pub fn secrets() -> Command {
    let commands = vec![
        create::secret(),
        inspect::command("[OPTIONS] SECRET [SECRET...]"),
        ls::command(),
        rm::command("SECRET [SECRET...]"),
    ];
    Command::group("secret", "Secrets of the swarm", commands)
}

/// `docker config`
pub fn configs() -> Command {
    let commands = vec![
        create::config(),
        inspect::command("[OPTIONS] CONFIG [CONFIG...]"),
        ls::command(),
        rm::command("CONFIG [CONFIG...]"),
    ];
    Command::group("config", "Configs of the swarm", commands)
}

/// Which of the two a command line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Noun {
    Secret,
    Config,
}

impl Noun {
    fn of(context: &Context) -> Self {
        match context.path.split(' ').nth(1) {
            Some("config") => Self::Config,
            _ => Self::Secret,
        }
    }

    /// Where the engine has them.
    fn path(self) -> &'static str {
        match self {
            Self::Secret => "/secrets",
            Self::Config => "/configs",
        }
    }
}
