//! The lab's load balancer: hands each TCP connection to the next of its backends that answers. Knows nothing of HTTP, keeps
//! no list of the dead: whoever does not answer within a moment is skipped, this time.
//!
//! The backends are its arguments or, separated by commas, the variable BACKENDS (`host:port`); a name is looked up for
//! each connection, and stands for all of its addresses, so that `tasks.NAME:80` is every task of a service. It listens on port 80, or
//! the one in PORT. Each connection is a line on standard output: client, backend, and those that were skipped.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

use super::applets::resolve::Resolver;

/// How long a backend may take to answer before the next one is tried.
const PATIENCE: Duration = Duration::from_millis(700);

/// A connection that says nothing for so long is ended.
const SILENCE: Duration = Duration::from_secs(60);

/// Enough for a lab, and a bound on threads.
const MAX_CONNECTIONS: usize = 128;

pub(super) fn main(args: Vec<String>) -> ExitCode {
    let given = if args.is_empty() { std::env::var("BACKENDS").unwrap_or_default() } else { args.join(",") };
    let backends: Vec<String> = given.split(',').map(str::trim).filter(|b| !b.is_empty()).map(str::to_owned).collect();
    if backends.is_empty() {
        eprintln!("proxy: no backends: name them in BACKENDS, as host:port,host:port");
        return ExitCode::from(2);
    }
    let port = match std::env::var("PORT").map(|text| text.parse::<u16>()) {
        Ok(Ok(port)) => port,
        Ok(Err(_)) => {
            eprintln!("proxy: PORT is no port number");
            return ExitCode::from(2);
        }
        Err(_) => 80,
    };
    // As PID 1 a process ignores the signals that it does not handle.
    let mut stop = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        stop.add(signal);
    }
    if let Err(error) = stop.thread_block() {
        eprintln!("proxy: blocking signals: {error}");
        return ExitCode::FAILURE;
    }
    std::thread::spawn(move || {
        let _ = stop.wait();
        std::process::exit(0);
    });
    let listener = match TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port))) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("proxy: listening on port {port}: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("proxy listening on port {port}, for {}", backends.join(" "));
    let proxy = Arc::new(Proxy { backends, next: AtomicUsize::new(0), busy: AtomicUsize::new(0) });
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // Out of descriptors or memory: let some connections end first.
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        if proxy.busy.fetch_add(1, Ordering::SeqCst) >= MAX_CONNECTIONS {
            proxy.busy.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let guard = Busy(proxy.clone());
        // A connection that gets no thread is closed, and the proxy goes on.
        let _ = std::thread::Builder::new().stack_size(128 << 10).spawn(move || guard.0.serve(&stream));
    }
    ExitCode::SUCCESS
}

struct Proxy {
    backends: Vec<String>,
    next: AtomicUsize,
    busy: AtomicUsize,
}

struct Busy(Arc<Proxy>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Proxy {
    fn serve(&self, client: &TcpStream) {
        let who = client.peer_addr().map_or_else(|_| "?".to_owned(), |addr| addr.ip().to_canonical().to_string());
        let first = self.next.fetch_add(1, Ordering::SeqCst);
        let mut skipped: Vec<String> = Vec::new();
        let mut all = Vec::new();
        for backend in &self.backends {
            match addresses(&Resolver::new(), backend) {
                found if found.is_empty() => skipped.push(backend.clone()),
                found => all.extend(found),
            }
        }
        for address in (0..all.len()).filter_map(|n| all.get((first + n) % all.len())) {
            match TcpStream::connect_timeout(address, PATIENCE) {
                Ok(server) => {
                    let note =
                        if skipped.is_empty() { String::new() } else { format!(" (skipped {})", skipped.join(" ")) };
                    println!("{who} -> {address}{note}");
                    return both_ways(client, &server);
                }
                Err(_) => skipped.push(address.to_string()),
            }
        }
        println!("{who} -> nobody (skipped {})", skipped.join(" "));
    }
}

/// What `host:port` stands for now, sorted: the turns are the proxy's own, whatever order the name server gives.
fn addresses(resolver: &Resolver, backend: &str) -> Vec<SocketAddr> {
    let Some((host, port)) = backend.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?))) else {
        return Vec::new();
    };
    let mut found: Vec<SocketAddr> =
        resolver.addresses(host, None).into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
    found.sort();
    found
}

/// Carries bytes until both sides are done.
fn both_ways(client: &TcpStream, server: &TcpStream) {
    for stream in [client, server] {
        let _ = stream.set_read_timeout(Some(SILENCE)).and_then(|()| stream.set_write_timeout(Some(SILENCE)));
    }
    std::thread::scope(|scope| {
        let back = std::thread::Builder::new().stack_size(128 << 10).spawn_scoped(scope, || carry(server, client));
        match back {
            Ok(_) => carry(client, server),
            // Without a second thread nothing can be answered: both are closed.
            Err(_) => drop(client.shutdown(Shutdown::Both)),
        }
    });
}

fn carry(mut from: &TcpStream, mut to: &TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_all_addresses_of_its_name() {
        let resolver = Resolver::of("", "10.0.9.4 tasks.web\n10.0.9.3 tasks.web\n10.0.9.5 other\n".into());
        let found = |backend: &str| -> Vec<String> {
            addresses(&resolver, backend).iter().map(SocketAddr::to_string).collect()
        };
        assert_eq!(found("tasks.web:80"), ["10.0.9.3:80", "10.0.9.4:80"]);
        assert_eq!(found("10.77.0.11:8080"), ["10.77.0.11:8080"]);
        assert_eq!(found("[fd00::1]:80"), ["[fd00::1]:80"]);
        for wrong in ["tasks.web", "tasks.web:", "tasks.web:70000", ":"] {
            assert!(found(wrong).is_empty(), "{wrong}");
        }
    }
}
