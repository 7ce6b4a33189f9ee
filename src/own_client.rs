//! The learner's own client of a lab's published ports, without a program of their machine: what `lab$ curl` and checks
//! with `node = "lab"` use.
//!
//! `http://localhost:8080/` means the port 8080 that the lab publishes, wherever the forwarder made it reachable: so a
//! chapter runs the same on a machine where 8080 is taken.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use lab::Reply;

use crate::engine::{Cluster, EngineError, Protocol};

/// How long a port may take to become reachable after it was published.
const APPEARS: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Why a URL is none of the lab's.
pub fn objection(url: &str) -> Option<String> {
    port(url).err()
}

/// The port of a URL at this machine.
fn port(url: &str) -> Result<u16, String> {
    let wrong = || format!("`{url}`: only a port of this machine can be asked, as http://localhost:8080/");
    let uri: hyper::Uri = full(url).parse().map_err(|_| wrong())?;
    let here = matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if uri.scheme_str() == Some("http") && here { Ok(uri.port_u16().unwrap_or(80)) } else { Err(wrong()) }
}

/// As `curl` takes it: without a scheme it is http.
fn full(url: &str) -> String {
    if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
}

/// Asks so often, each time by a connection of its own; up to the first that brings no reply.
pub fn get(cluster: &dyn Cluster, url: &str, requests: u32) -> Result<Vec<Reply>, EngineError> {
    let published = port(url).map_err(EngineError::Spec)?;
    let Some(at) = place(cluster, published)? else {
        return Ok(vec![Reply::Err(format!("localhost:{published}: nothing is published there"))]);
    };
    let failed = |error: std::io::Error| EngineError::Spec(format!("start event loop: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let mut replies = Vec::new();
    for _ in 0..requests {
        let reply = runtime.block_on(crate::probe::get(&full(url), at));
        let done = matches!(reply, Reply::Err(_));
        replies.push(reply);
        if done {
            break;
        }
    }
    Ok(replies)
}

/// Where a published port is reachable, once it is.
fn place(cluster: &dyn Cluster, published: u16) -> Result<Option<SocketAddr>, EngineError> {
    let deadline = Instant::now() + APPEARS;
    loop {
        let forwards = cluster.forwards()?.unwrap_or_default();
        let found = forwards.ports.iter().filter(|f| f.published == published && f.protocol == Protocol::Tcp);
        if let Some(local) = found.filter_map(|forward| forward.at.as_ref().ok()).next() {
            return Ok(Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), local.port)));
        }
        if Instant::now() > deadline {
            return Ok(None);
        }
        // the forwarder hears of it by an event, but nobody hears of the forwarder's having heard
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// What `curl` would do with it: exit code, standard output and standard error.
pub fn curl(cluster: &dyn Cluster, url: &str, silent: bool, fail: bool) -> Result<(i32, String, String), EngineError> {
    let reply = get(cluster, url, 1)?.pop();
    let told = |text: String| if silent { String::new() } else { text };
    Ok(match reply {
        Some(Reply::Ok { status, .. }) if fail && status >= 400 => {
            (22, String::new(), told(format!("curl: (22) The requested URL returned error: {status}\n")))
        }
        Some(Reply::Ok { body, .. }) => (0, body, String::new()),
        Some(Reply::Err(why)) if why.contains("reset") => {
            (56, String::new(), told("curl: (56) Recv failure: Connection reset by peer\n".to_owned()))
        }
        _ => {
            let port = port(url).unwrap_or(80);
            let said = format!(
                "curl: (7) Failed to connect to localhost port {port} after 0 ms: Couldn't connect to server\n"
            );
            (7, String::new(), told(said))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_s_ports_can_be_asked() {
        for (url, found) in [
            ("localhost:8080", Some(8080)),
            ("http://localhost", Some(80)),
            ("http://127.0.0.1:81/path?x=1", Some(81)),
            ("http://[::1]:82/", Some(82)),
            ("https://localhost:8080", None),
            ("http://example.org/", None),
            ("http://localhost.example.org/", None),
            ("http://user@example.org:80/", None),
            ("file:///etc/passwd", None),
            ("", None),
        ] {
            assert_eq!(port(url).ok(), found, "{url}");
            assert_eq!(objection(url).is_none(), found.is_some());
        }
    }
}
