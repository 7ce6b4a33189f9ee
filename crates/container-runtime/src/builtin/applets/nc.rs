//! `nc -u [-46v] [-w SECONDS] [-W COUNT] HOST PORT`: one datagram from standard input, and the datagrams that come back;
//! `nc -z [-46v] [-w SECONDS] HOST PORT`: whether a TCP port accepts connections. Options and words of OpenBSD's.
//!
//! Unlike netcat it always ends, after five seconds of silence if not told otherwise, and silence is a failure: that is
//! what a lab wants to know. Leaves out listening and carrying bytes over TCP (`curl` does what labs need of it), and
//! `-z` over UDP, whose answer would mean nothing: an open port may be silent, and so is one behind a firewall.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::resolve::{Kind, Resolver};
use super::{Argument, Arguments, reason};

const USAGE: &str = "usage: nc -u [-46v] [-w SECONDS] [-W COUNT] HOST PORT\n       nc -z [-46v] [-w SECONDS] HOST PORT";
/// How long silence may last.
const PATIENCE: Duration = Duration::from_secs(5);
/// What fits into one datagram of IPv4.
const LARGEST: usize = 65_507;

#[derive(Debug, PartialEq, Eq)]
struct Options {
    udp: bool,
    only: Option<Kind>,
    verbose: bool,
    patience: Duration,
    /// End after so many datagrams came back.
    replies: Option<u64>,
    host: String,
    port: u16,
}

pub(super) fn main(args: Vec<String>) -> ExitCode {
    let options = match read(args) {
        Ok(options) => options,
        Err(what) => {
            eprintln!("nc: {what}\n{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    let addresses = Resolver::new().addresses(&options.host, options.only);
    let Some(address) = addresses.first().map(|ip| SocketAddr::new(*ip, options.port)) else {
        eprintln!("nc: getaddrinfo for host \"{}\" port {}: Name or service not known", options.host, options.port);
        return ExitCode::FAILURE;
    };
    let kind = if options.udp { "udp" } else { "tcp" };
    let said = |error: &io::Error| match error.kind() {
        io::ErrorKind::TimedOut => "Connection timed out".to_owned(),
        _ => reason(error),
    };
    let result = match options.udp {
        true => exchange(&options, address),
        false => TcpStream::connect_timeout(&address, options.patience).map(|_| true),
    };
    let at = format!("{} ({}) {}{}", options.host, address.ip(), if options.udp { "" } else { "port " }, options.port);
    match result {
        Ok(true) => {
            if options.verbose {
                eprintln!(
                    "Connection to {} ({}) {} port [{kind}/*] succeeded!",
                    options.host,
                    address.ip(),
                    options.port
                );
            }
            ExitCode::SUCCESS
        }
        Ok(false) => {
            if options.verbose {
                eprintln!("nc: no answer from {at} ({kind})");
            }
            ExitCode::FAILURE
        }
        Err(error) if options.udp => {
            eprintln!("nc: {at} ({kind}): {}", said(&error));
            ExitCode::FAILURE
        }
        Err(error) => {
            // OpenBSD's is silent without -v too
            if options.verbose {
                eprintln!("nc: connect to {at} ({kind}) failed: {}", said(&error));
            }
            ExitCode::FAILURE
        }
    }
}

fn read(args: Vec<String>) -> Result<Options, String> {
    let (mut udp, mut check) = (false, false);
    let mut options = Options {
        udp: false,
        only: None,
        verbose: false,
        patience: PATIENCE,
        replies: None,
        host: String::new(),
        port: 0,
    };
    let mut operands = Vec::new();
    let mut args = Arguments::new(args);
    while let Some(arg) = args.next() {
        let name = match arg {
            Argument::Option(name) => name,
            Argument::Operand(text) => {
                operands.push(text);
                continue;
            }
        };
        match name.as_str() {
            "-u" => udp = true,
            "-z" => check = true,
            "-v" => options.verbose = true,
            "-4" => options.only = Some(Kind::A),
            "-6" => options.only = Some(Kind::Aaaa),
            "-w" => {
                let seconds = args.seconds().filter(|time| !time.is_zero());
                options.patience = seconds.ok_or("timeout too small or no number")?;
            }
            "-W" => {
                let count = args.value().and_then(|text| text.parse().ok()).filter(|count| *count > 0);
                options.replies = Some(count.ok_or("receive limit too small or no number")?);
            }
            other => return Err(format!("option {other} is unknown to this small nc")),
        }
    }
    let [host, port] = <[String; 2]>::try_from(operands).map_err(|_| "it takes a host and a port")?;
    options.port = port.parse().ok().filter(|port| *port > 0).ok_or(format!("port number invalid: {port}"))?;
    options.host = host;
    options.udp = match (udp, check) {
        (true, false) => true,
        (false, true) => false,
        (true, true) => return Err("-z over UDP would tell nothing: send something that is answered".into()),
        (false, false) => return Err("this small nc does -u (a datagram) or -z (is the port open?)".into()),
    };
    Ok(options)
}

/// Sends what is on standard input, prints what comes back: whether something did.
fn exchange(options: &Options, address: SocketAddr) -> io::Result<bool> {
    let mut datagram = Vec::new();
    io::stdin().lock().take(LARGEST as u64 + 1).read_to_end(&mut datagram)?;
    send_and_print(options, address, &datagram, &mut io::stdout().lock())
}

fn send_and_print(options: &Options, to: SocketAddr, datagram: &[u8], sink: &mut dyn Write) -> io::Result<bool> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    // connected: only this address may answer, and a refusal is told
    socket.connect(to)?;
    socket.send(datagram)?;
    let mut bytes = vec![0; LARGEST];
    let (mut seen, mut until) = (0, Instant::now() + options.patience);
    while options.replies.is_none_or(|most| seen < most) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv(&mut bytes) {
            Ok(length) => {
                sink.write_all(bytes.get(..length).unwrap_or_default())?;
                sink.flush()?;
                seen += 1;
                until = Instant::now() + options.patience;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(seen > 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        read(line.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn options_are_netcats_and_others_are_refused() {
        let options = parse("-uvw2 -W 1 web 80").unwrap();
        assert!(options.udp && options.verbose && options.host == "web" && options.port == 80);
        assert_eq!((options.patience, options.replies), (Duration::from_secs(2), Some(1)));
        assert!(!parse("-zv manager1 2377").unwrap().udp);
        for wrong in ["-u web", "-u web 0", "-u web 80 81", "-u web 70000", "web 80", "-uz web 80", "-ul web 80"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        for wrong in ["-u -w 0 web 80", "-u -w x web 80", "-u -W 0 web 80", "-u -w"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_datagram_is_sent_and_the_replies_printed_up_to_the_limit() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let mut options = parse("-u -w 20 -W 2 localhost 1").unwrap();
        let answer = std::thread::spawn(move || {
            let mut bytes = [0; 100];
            let (length, from) = server.recv_from(&mut bytes).unwrap();
            for _ in 0..3 {
                server.send_to(&bytes[..length], from).unwrap();
            }
            server
        });
        let mut out = Vec::new();
        assert!(send_and_print(&options, address, b"one\n", &mut out).unwrap());
        assert_eq!(out, b"one\none\n");
        // silence ends it, and is no success
        let _server = answer.join().unwrap();
        (options.patience, options.replies) = (Duration::from_millis(50), None);
        assert!(!send_and_print(&options, address, b"", &mut out).unwrap());
    }

    #[test]
    fn a_port_where_nobody_listens_is_told_at_once() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        drop(socket);
        let options = parse("-u -w 20 localhost 1").unwrap();
        let error = send_and_print(&options, address, b"x", &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
