//! Where the engine listens: `-H`, `DOCKER_HOST`, `--context`.

use crate::error::{CliError, Result};
use crate::flags::Parsed;
use std::fmt;

const DEFAULT: &str = "unix:///var/run/docker.sock";

/// An engine's socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A socket in the file system.
    Unix(String),
    /// Host and port.
    Tcp(String),
}

impl Endpoint {
    /// From flags and environment, in Docker's order.
    pub fn find(global: &Parsed, env: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        if global.bool("tls") || global.bool("tlsverify") || set("DOCKER_TLS_VERIFY").is_some() {
            return Err(CliError::new(
                "TLS sockets are not supported by this version of swarmlab: use unix:// or tcp:// without TLS",
            ));
        }
        let hosts = global.list("host");
        let context = global.string("context");
        if !hosts.is_empty() && !context.is_empty() {
            return Err(CliError::new("conflicting options: cannot specify both --host and --context"));
        }
        let context = if context.is_empty() { set("DOCKER_CONTEXT").unwrap_or_default() } else { context.to_owned() };
        match hosts {
            [] if context.is_empty() => Self::parse(&set("DOCKER_HOST").unwrap_or_else(|| DEFAULT.into())),
            [] if context == "default" => Self::parse(DEFAULT),
            [] => Err(CliError::new(format!(
                "Failed to initialize: unable to resolve docker endpoint: context {context:?}: context not found: this program knows \"default\" only"
            ))),
            [host] => Self::parse(host),
            _ => Err(CliError::new("Specify only one -H")),
        }
    }

    fn parse(text: &str) -> Result<Self> {
        let invalid = || {
            CliError::new(format!(
                "Failed to initialize: unable to resolve docker endpoint: invalid bind address format: {text}"
            ))
        };
        let text = text.trim();
        match text.split_once("://") {
            Some(("unix", "")) => Self::parse(DEFAULT),
            Some(("unix", path)) => Ok(Self::Unix(path.to_owned())),
            Some(("tcp" | "http", address)) => {
                let address = address.trim_end_matches('/');
                if address.contains('/') {
                    return Err(invalid());
                }
                let (host, port) = match address.rsplit_once(':') {
                    Some((host, port)) if !port.contains(']') => (host, port),
                    _ => (address, ""),
                };
                let host = if host.is_empty() { "localhost" } else { host };
                let port = if port.is_empty() { "2375" } else { port };
                port.parse::<u16>().map_err(|_| invalid())?;
                Ok(Self::Tcp(format!("{host}:{port}")))
            }
            Some(("ssh" | "https" | "npipe" | "fd", _)) => {
                Err(CliError::new(format!("{text}: this kind of socket is not supported by this version of swarmlab")))
            }
            Some(_) => Err(invalid()),
            None if text.starts_with('/') => Err(invalid()),
            None => Self::parse(&format!("tcp://{text}")),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{path}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn find(args: &[&str], env: &[(&str, &str)]) -> Result<Endpoint> {
        let args: Vec<String> = args.iter().map(|s| (*s).to_owned()).collect();
        let global = crate::flags::parse(&crate::commands::global_flags(), &args, false).unwrap();
        Endpoint::find(&global, &|name| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn flags_win_over_the_environment() {
        assert_eq!(find(&[], &[]).unwrap().to_string(), DEFAULT);
        assert_eq!(find(&[], &[("DOCKER_HOST", "tcp://10.0.0.1")]).unwrap(), Endpoint::Tcp("10.0.0.1:2375".into()));
        assert_eq!(find(&["-H", "unix:///x"], &[("DOCKER_HOST", "tcp://a:1")]).unwrap(), Endpoint::Unix("/x".into()));
        assert_eq!(find(&["-c", "default"], &[("DOCKER_HOST", "tcp://a:1")]).unwrap().to_string(), DEFAULT);
    }

    #[test]
    fn malformed_hosts_are_named() {
        assert!(find(&["-H", "foo://x"], &[]).unwrap_err().message.ends_with("invalid bind address format: foo://x"));
        assert!(find(&["-H", "tcp://a:x"], &[]).is_err());
        assert!(find(&["-c", "other"], &[]).unwrap_err().message.contains("context not found"));
    }
}
