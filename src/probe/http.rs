//! One HTTP request, each on a connection of its own, as a load balancer shares out connections.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use lab::Reply;
use overlay_network::dns::{Wanted, lookup};

use super::container::Container;

/// Largest body that is kept.
const MAX_BODY: usize = 64 << 10;
/// Longest time for one request.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where a URL's host and port are, for a client in the container or else in this process's own surroundings.
pub async fn address(url: &str, inside: Option<&Container>) -> Result<SocketAddr, String> {
    let uri: hyper::Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
    let host = uri.host().ok_or_else(|| format!("{url}: no host"))?.trim_matches(['[', ']']);
    let port = uri.port_u16().unwrap_or(80);
    if let Ok(ip) = host.parse() {
        return Ok(SocketAddr::new(ip, port));
    }
    let Some(container) = inside else {
        let found = tokio::net::lookup_host((host, port)).await;
        let first = found.map_err(|error| format!("{host}: {error}"))?.next();
        return first.ok_or_else(|| format!("{host}: no address"));
    };
    if let Some(ip) = container.host(host) {
        return Ok(SocketAddr::new(ip, port));
    }
    let server = container.name_server().ok_or_else(|| format!("{host}: the container has no name server"))?;
    let server = SocketAddr::new(server, 53);
    for wanted in [Wanted::A, Wanted::Aaaa] {
        let found = lookup(server, host, wanted).await.map_err(|why| format!("{host}: {why}"))?;
        if let Some(ip) = found.first().and_then(|text| text.parse::<IpAddr>().ok()) {
            return Ok(SocketAddr::new(ip, port));
        }
    }
    Err(format!("{host}: the name server knows no such name"))
}

/// `GET` a URL whose host is at this address.
pub async fn get(url: &str, at: SocketAddr) -> Reply {
    match tokio::time::timeout(TIMEOUT, request(url, at)).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(why)) => Reply::Err(format!("{at}: {why}")),
        Err(_) => Reply::Err(format!("{at}: no reply within {} s", TIMEOUT.as_secs())),
    }
}

async fn request(url: &str, at: SocketAddr) -> Result<Reply, String> {
    let uri: hyper::Uri = url.parse().map_err(|error| format!("{error}"))?;
    let stream = tokio::net::TcpStream::connect(at).await.map_err(|e| e.to_string())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let authority = uri.authority().map_or("localhost", |a| a.as_str());
    let request = hyper::Request::get(path)
        .header("Host", authority)
        .header("User-Agent", "swarmlab")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), MAX_BODY).collect().await.map_err(|error| error.to_string())?;
    Ok(Reply::Ok { status, body: String::from_utf8_lossy(&body.to_bytes()).into_owned() })
}
