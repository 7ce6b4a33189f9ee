//! `swarmlab probe`: what a check sends from inside a node or one of its containers. Hidden; the runner calls it in the
//! node by `exec`.
//!
//! A node has no client of its own that could be relied on, a container's image may have none at all, and what a client
//! there sees is what counts. So the probe enters the container's network and asks itself.

mod container;
mod http;

use std::net::SocketAddr;
use std::process::ExitCode;

use lab::Reply;
use overlay_network::dns::{Wanted, lookup};

pub use http::get;

use container::Container;

/// Exit code: there is no such container.
pub const NO_CONTAINER: u8 = 44;

const USAGE: &str = "swarmlab probe: expected `http URL COUNT [CONTAINER-ID]` or `dns CONTAINER-ID A|AAAA|PTR NAME`";

/// `http URL COUNT [CONTAINER-ID]` prints one JSON line for each reply; `dns CONTAINER-ID RECORD NAME` prints one: what the
/// container's name server answers.
pub fn main(args: &[std::ffi::OsString]) -> ExitCode {
    let args: Vec<&str> = args.iter().filter_map(|a| a.to_str()).collect();
    match args.as_slice() {
        ["http", url, count, rest @ ..] if rest.len() < 2 => match count.parse() {
            Ok(count) => with_container(rest.first().copied(), async |inside| replies(url, count, inside).await),
            Err(_) => usage(),
        },
        ["dns", container, record, name] => {
            let wanted = match *record {
                "A" => Wanted::A,
                "AAAA" => Wanted::Aaaa,
                "PTR" => Wanted::Ptr,
                _ => return usage(),
            };
            with_container(Some(container), async |inside| records(name, wanted, inside).await)
        }
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// Enters the container's network, if one is named, before anything else of this process exists.
fn with_container(id: Option<&str>, ask: impl AsyncFnOnce(Option<&Container>) -> Option<()>) -> ExitCode {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string());
    let prepared = id.map_or(Ok(None), |id| runtime()?.block_on(Container::find(id)).map(Some));
    let container = match prepared {
        Ok(Some(None)) => return ExitCode::from(NO_CONTAINER),
        Ok(found) => found.flatten(),
        Err(why) => return trouble(&why),
    };
    let ended = |container: Option<&Container>| container.is_some_and(Container::ended);
    match container.as_ref().map(Container::enter_network) {
        Some(Err(_)) if ended(container.as_ref()) => return ExitCode::from(NO_CONTAINER),
        Some(Err(why)) => return trouble(&why),
        Some(Ok(())) | None => {}
    }
    match runtime() {
        Ok(runtime) => match runtime.block_on(ask(container.as_ref())) {
            Some(()) => ExitCode::SUCCESS,
            None => trouble("the answer cannot be told"),
        },
        Err(why) => trouble(&why),
    }
}

fn trouble(why: &str) -> ExitCode {
    eprintln!("swarmlab probe: {why}");
    ExitCode::from(2)
}

fn tell(answer: &impl serde::Serialize) -> Option<()> {
    println!("{}", serde_json::to_string(answer).ok()?);
    Some(())
}

async fn replies(url: &str, count: u32, inside: Option<&Container>) -> Option<()> {
    for _ in 0..count {
        let reply = match http::address(url, inside).await {
            Ok(at) => get(url, at).await,
            Err(why) => Reply::Err(why),
        };
        tell(&reply)?;
        if matches!(reply, Reply::Err(_)) {
            // one failure decides; more would only take their time
            break;
        }
    }
    Some(())
}

async fn records(name: &str, wanted: Wanted, inside: Option<&Container>) -> Option<()> {
    let answer = match inside.and_then(Container::name_server) {
        Some(server) => lookup(SocketAddr::new(server, 53), name, wanted).await,
        None => Err("the container has no name server in its /etc/resolv.conf".to_owned()),
    };
    tell(&answer)
}
