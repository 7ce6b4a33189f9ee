//! The lab web server: tells who answers. A few threads on std::net, since it must be small and start at once.
//!
//! Options, or the variables SWARMLAB_WEB_DELAY, SWARMLAB_WEB_CRASH_AFTER and SWARMLAB_WEB_EXIT_CODE, make it start late
//! or fail. `/` says version, hostname, task slot, node and addresses (as JSON if asked for by `Accept` or `?format=json`),
//! `/health` answers 200 or 503, `/env` lists the environment. A datagram to the same port is answered with the text of
//! `/`. Each request is a line on standard output.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use serde_json::json;

/// Enough for a lab's load test, small enough that nothing outside can fill the memory with threads.
const MAX_CONNECTIONS: usize = 64;
const MAX_REQUEST: u64 = 16 << 10;

struct Server {
    version: String,
    unhealthy: bool,
    started: Instant,
    busy: AtomicUsize,
    served: AtomicUsize,
}

pub(super) fn main(args: Vec<String>) -> ExitCode {
    let (mut version, mut port, mut delay, mut crash, mut code, mut unhealthy) =
        ("1.0".to_owned(), 80u16, 0.0, None, 1u8, false);
    let mut args = args.into_iter();
    while let Some(a) = args.next() {
        let mut number =
            |what: &str| args.next().and_then(|v| v.parse::<f64>().ok()).ok_or(format!("{what} needs a number"));
        let parsed = match a.as_str() {
            "--unhealthy" => {
                unhealthy = true;
                Ok(())
            }
            "--delay" => number(&a).map(|n| delay = n),
            "--crash-after" => number(&a).map(|n| crash = Some(n)),
            "--exit-code" => number(&a).map(|n| code = n as u8),
            "--port" => number(&a).map(|n| port = n as u16),
            "--version" => args.next().map(|v| version = v).ok_or("--version needs a text".into()),
            other => Err(format!("unknown option {other}")),
        };
        if let Err(e) = parsed {
            eprintln!("web: {e}");
            return ExitCode::from(2);
        }
    }
    // A service is easier given an environment than another command.
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<f64>().ok());
    delay = number("SWARMLAB_WEB_DELAY").unwrap_or(delay);
    crash = number("SWARMLAB_WEB_CRASH_AFTER").or(crash);
    code = number("SWARMLAB_WEB_EXIT_CODE").map_or(code, |n| n as u8);
    // As PID 1 a process ignores what it does not handle: take the signals here, in a thread of their own.
    let mut stop = SigSet::empty();
    for s in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        stop.add(s);
    }
    if let Err(e) = stop.thread_block() {
        eprintln!("web: blocking signals: {e}");
        return ExitCode::FAILURE;
    }
    std::thread::spawn(move || {
        let signal = stop.wait();
        println!("stopping: {}", signal.map_or("signal", Signal::as_str));
        std::process::exit(0);
    });
    let nap = |seconds: f64| std::thread::sleep(Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0)));
    nap(delay);
    let listener = match TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port))) {
        Ok(l) => l,
        Err(e) => {
            eprintln!("web: listening on port {port}: {e}");
            return ExitCode::FAILURE;
        }
    };
    println!("web {version} listening on port {port}");
    if let Some(seconds) = crash {
        std::thread::spawn(move || {
            nap(seconds);
            eprintln!("web: crashing on purpose after {seconds} s");
            std::process::exit(i32::from(code));
        });
    }
    let server = Arc::new(Server {
        version,
        unhealthy,
        started: Instant::now(),
        busy: AtomicUsize::new(0),
        served: AtomicUsize::new(0),
    });
    match UdpSocket::bind(("::", port)).or_else(|_| UdpSocket::bind(("0.0.0.0", port))) {
        Ok(socket) => {
            let server = server.clone();
            std::thread::spawn(move || answer_datagrams(&server, &socket));
        }
        // what most labs want is the other half
        Err(e) => eprintln!("web: no datagrams at port {port}: {e}"),
    }
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else {
            // Out of descriptors or memory: let some connections end first.
            nap(0.05);
            continue;
        };
        let timeout = Some(Duration::from_secs(10));
        let _ = stream.set_read_timeout(timeout).and_then(|()| stream.set_write_timeout(timeout));
        if server.busy.fetch_add(1, Ordering::SeqCst) >= MAX_CONNECTIONS {
            server.busy.fetch_sub(1, Ordering::SeqCst);
            let _ = respond(&mut stream, 503, "text/plain", "too many connections\n");
            continue;
        }
        let guard = Busy(server.clone());
        // A connection that gets no thread is closed, and the server goes on.
        let _ = std::thread::Builder::new().stack_size(128 << 10).spawn(move || {
            let _ = serve(&guard.0, stream);
        });
    }
    ExitCode::SUCCESS
}

struct Busy(Arc<Server>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

fn serve(server: &Server, mut stream: TcpStream) -> std::io::Result<()> {
    let peer = stream.peer_addr()?;
    let local = stream.local_addr()?;
    let mut reader = BufReader::with_capacity(2048, stream.try_clone()?.take(MAX_REQUEST));
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut words = first.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return respond(&mut stream, 400, "text/plain", "bad request\n");
    };
    let (mut json, mut line) = (target.contains("format=json"), String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let lower = line.to_ascii_lowercase();
        json |= lower.starts_with("accept:") && lower.contains("application/json");
    }
    if reader.get_ref().limit() == 0 {
        return respond(&mut stream, 431, "text/plain", "request too large\n");
    }
    let path = target.split('?').next().unwrap_or("/");
    let n = server.served.fetch_add(1, Ordering::SeqCst) + 1;
    let (status, kind, body) = match (method, path) {
        ("GET" | "HEAD", "/") => {
            let me = me(server, &local.ip().to_canonical().to_string(), &peer.ip().to_canonical().to_string(), n);
            if json { (200, "application/json", format!("{me}\n")) } else { (200, "text/plain", plain(&me)) }
        }
        ("GET" | "HEAD", "/health") if server.unhealthy => (503, "text/plain", "unhealthy\n".into()),
        ("GET" | "HEAD", "/health") => (200, "text/plain", "ok\n".into()),
        ("GET" | "HEAD", "/env") => {
            let mut vars: Vec<String> = std::env::vars().map(|(k, v)| format!("{k}={v}\n")).collect();
            vars.sort();
            (200, "text/plain", vars.concat())
        }
        ("GET" | "HEAD", _) => (404, "text/plain", "not found; there are /, /health and /env\n".into()),
        _ => (405, "text/plain", "only GET and HEAD\n".into()),
    };
    respond(&mut stream, status, kind, if method == "HEAD" { "" } else { &body })?;
    println!("{} {method} {target} {status}", peer.ip().to_canonical());
    Ok(())
}

/// Each datagram, whatever it holds, gets the lines of `/` but for `local`, which only a connection tells.
fn answer_datagrams(server: &Server, socket: &UdpSocket) {
    let mut bytes = [0; 2048];
    loop {
        let (length, peer) = match socket.recv_from(&mut bytes) {
            Ok(received) => received,
            Err(_) => {
                // An earlier answer was refused, say. Never in a tight loop.
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
        };
        let n = server.served.fetch_add(1, Ordering::SeqCst) + 1;
        let ip = peer.ip().to_canonical();
        let mut me = me(server, "", &ip.to_string(), n);
        me.as_object_mut().map(|fields| fields.remove("local"));
        if socket.send_to(plain(&me).as_bytes(), peer).is_ok() {
            println!("{ip} datagram of {length} bytes");
        }
    }
}

fn me(server: &Server, local: &str, peer: &str, n: usize) -> serde_json::Value {
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    json!({
        "version": server.version,
        "hostname": nix::unistd::gethostname().map(|h| h.to_string_lossy().into_owned()).unwrap_or_default(),
        "slot": var("SWARMLAB_TASK_SLOT"),
        "node": var("SWARMLAB_NODE"),
        "addresses": addresses(),
        "local": local,
        "client": peer,
        "requests": n,
        "uptime_seconds": server.started.elapsed().as_secs(),
    })
}

fn plain(me: &serde_json::Value) -> String {
    let text = |v: &serde_json::Value| match v {
        serde_json::Value::String(s) => s.clone(),
        serde_json::Value::Array(a) => a.iter().filter_map(|x| x.as_str()).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    };
    me.as_object().into_iter().flatten().map(|(k, v)| format!("{k}: {}\n", text(v))).collect()
}

fn addresses() -> Vec<String> {
    let mut all: Vec<String> = nix::ifaddrs::getifaddrs()
        .into_iter()
        .flatten()
        .filter_map(|i| {
            let a = i.address?;
            let ip = a
                .as_sockaddr_in()
                .map(|s| s.ip().to_string())
                .or_else(|| a.as_sockaddr_in6().map(|s| s.ip().to_string()))?;
            (i.interface_name != "lo").then_some(ip)
        })
        .collect();
    all.sort();
    all.dedup();
    all
}

fn respond(stream: &mut TcpStream, status: u16, kind: &str, body: &str) -> std::io::Result<()> {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    };
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

/// `lab-image probe URL`: the health check's client. Succeeds on status 200.
pub(super) fn probe(args: Vec<String>) -> ExitCode {
    let result = args.first().ok_or_else(|| "expected a URL".to_owned()).and_then(|url| {
        let rest = url.strip_prefix("http://").ok_or("only http:// URLs")?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let at = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
        let ask = || -> std::io::Result<String> {
            let mut s = TcpStream::connect(at)?;
            s.set_read_timeout(Some(Duration::from_secs(5)))?;
            s.write_all(format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
            let mut answer = String::new();
            s.take(64 << 10).read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().map_err(|e| format!("{url}: {e}"))
    });
    match result {
        Ok(answer) => {
            let body = answer.split_once("\r\n\r\n").map_or("", |(_, b)| b);
            print!("{body}");
            if answer.starts_with("HTTP/1.1 200 ") { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(e) => {
            println!("{e}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_answered_with_who_answers() {
        let server = Server {
            version: "2.0".into(),
            unhealthy: false,
            started: Instant::now(),
            busy: AtomicUsize::new(0),
            served: AtomicUsize::new(0),
        };
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || answer_datagrams(&server, &socket));
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut bytes = [0; 4096];
        for n in 1..=2 {
            client.send_to(&[0xff; 3000], address).unwrap();
            let (length, from) = client.recv_from(&mut bytes).unwrap();
            let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
            assert_eq!(from, address);
            for line in ["version: 2.0", "client: 127.0.0.1", &format!("requests: {n}")] {
                assert!(text.lines().any(|seen| seen == line), "{line} in {text}");
            }
            assert!(!text.contains("local:"), "{text}");
        }
    }
}
