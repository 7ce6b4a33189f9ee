//! `ping [-46q] [-c COUNT] [-i SECONDS] [-W SECONDS] [-w SECONDS] HOST`: ICMP echoes with BusyBox's lines. A raw socket
//! where it is allowed (Docker's default), else the kernel's own for pings; the latter, and IPv6, do not tell the `ttl`
//! of replies. Leaves out other sizes, floods, routes, and errors that routers report: such an echo is just lost.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use super::resolve::{Kind, Resolver};
use super::{Argument, Arguments, reason};

const USAGE: &str = "usage: ping [-46q] [-c COUNT] [-i SECONDS] [-W SECONDS] [-w SECONDS] HOST";
/// Bytes after the ICMP header.
const PAYLOAD: usize = 56;
const ICMP_HEADER: usize = 8;
/// Shortest pause between echoes.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

struct Options {
    only: Option<Kind>,
    quiet: bool,
    count: Option<u64>,
    interval: Duration,
    /// How long replies may come after the last echo.
    patience: Duration,
    /// When to end, however many replies there are.
    deadline: Option<Duration>,
    host: String,
}

pub(super) fn main(args: Vec<String>) -> ExitCode {
    let options = match read(args) {
        Ok(options) => options,
        Err(what) => {
            eprintln!("ping: {what}\n{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    let Some(address) = Resolver::new().addresses(&options.host, options.only).first().copied() else {
        eprintln!("ping: bad address '{}'", options.host);
        return ExitCode::FAILURE;
    };
    let pinger = match Pinger::open(address) {
        Ok(pinger) => pinger,
        Err(error) => {
            eprintln!("ping: cannot open a socket for ICMP: {}", reason(&error));
            return ExitCode::FAILURE;
        }
    };
    let tally = Arc::new(Mutex::new(Tally::default()));
    if let Err(errno) = end_on_signals(&tally, &options.host) {
        eprintln!("ping: blocking signals: {errno}");
        return ExitCode::FAILURE;
    }
    println!("PING {} ({address}): {PAYLOAD} data bytes", options.host);
    if let Err(error) = pinger.run(&options, &tally) {
        eprintln!("ping: sendto: {}", reason(&error));
        return ExitCode::FAILURE;
    }
    let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    print!("{}", tally.text(&options.host));
    if tally.times.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn read(args: Vec<String>) -> Result<Options, String> {
    let mut options = Options {
        only: None,
        quiet: false,
        count: None,
        interval: Duration::from_secs(1),
        patience: Duration::from_secs(10),
        deadline: None,
        host: String::new(),
    };
    let mut args = Arguments::new(args);
    while let Some(arg) = args.next() {
        let name = match arg {
            Argument::Option(name) => name,
            Argument::Operand(host) if options.host.is_empty() => {
                options.host = host;
                continue;
            }
            Argument::Operand(_) => return Err("more than one host".into()),
        };
        let number = |name: &str| format!("option {name} needs a number");
        match name.as_str() {
            "-4" => options.only = Some(Kind::A),
            "-6" => options.only = Some(Kind::Aaaa),
            "-q" => options.quiet = true,
            "-c" => {
                let count = args.value().and_then(|text| text.parse().ok()).filter(|count| *count > 0);
                options.count = Some(count.ok_or_else(|| number("-c"))?);
            }
            "-i" => options.interval = args.seconds().ok_or_else(|| number("-i"))?.max(SHORTEST_INTERVAL),
            "-W" => options.patience = args.seconds().ok_or_else(|| number("-W"))?,
            "-w" => options.deadline = Some(args.seconds().ok_or_else(|| number("-w"))?),
            other => return Err(format!("unknown option {other}")),
        }
    }
    match options.host.is_empty() {
        true => Err("a host is missing".into()),
        false => Ok(options),
    }
}

/// Prints what there is and ends when told to, also as a container's first process.
fn end_on_signals(tally: &Arc<Mutex<Tally>>, host: &str) -> nix::Result<()> {
    let mut signals = SigSet::empty();
    [Signal::SIGINT, Signal::SIGTERM].into_iter().for_each(|signal| signals.add(signal));
    signals.thread_block()?;
    let (tally, host) = (Arc::clone(tally), host.to_owned());
    std::thread::spawn(move || {
        if signals.wait().is_ok() {
            let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            print!("{}", tally.text(&host));
            std::process::exit(i32::from(tally.times.is_empty()));
        }
    });
    Ok(())
}

#[derive(Default)]
struct Tally {
    sent: u64,
    times: Vec<Duration>,
}

impl Tally {
    fn text(&self, host: &str) -> String {
        let received = self.times.len() as u64;
        let lost = (self.sent.saturating_sub(received) * 100).checked_div(self.sent).unwrap_or(0);
        let mut text = format!(
            "\n--- {host} ping statistics ---\n{} packets transmitted, {received} packets received, {lost}% packet loss\n",
            self.sent
        );
        if let (Some(least), Some(most)) = (self.times.iter().min(), self.times.iter().max()) {
            let all: Duration = self.times.iter().sum();
            let average = all / u32::try_from(received).unwrap_or(u32::MAX);
            let [least, average, most] = [*least, average, *most].map(milliseconds);
            _ = writeln!(text, "round-trip min/avg/max = {least}/{average}/{most} ms");
        }
        text
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{}.{:03}", time.as_millis(), time.as_micros() % 1000)
}

struct Pinger {
    /// Not UDP, but sent and received by the same calls.
    socket: UdpSocket,
    to: IpAddr,
    id: u16,
    raw: bool,
}

impl Pinger {
    fn open(to: IpAddr) -> io::Result<Self> {
        let (family, protocol) = match to {
            IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
            IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
        };
        let open = |kind| socket(family, kind, SockFlag::SOCK_CLOEXEC, protocol);
        let (socket, raw) = match open(SockType::Raw) {
            Ok(socket) => (socket, true),
            Err(_) => (open(SockType::Datagram)?, false),
        };
        let id = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0) as u16;
        Ok(Self { socket: socket.into(), to, id, raw })
    }

    fn run(&self, options: &Options, tally: &Mutex<Tally>) -> io::Result<()> {
        let start = Instant::now();
        let end = options.deadline.map(|deadline| start + deadline);
        let mut sent: Vec<Instant> = Vec::new();
        let mut answered = BTreeSet::new();
        loop {
            let last = options.count.is_some_and(|count| sent.len() as u64 + 1 >= count);
            let now = Instant::now();
            self.socket.send_to(&echo(self.to, self.id, sent.len() as u16), SocketAddr::new(self.to, 0))?;
            sent.push(now);
            tally.lock().unwrap_or_else(PoisonError::into_inner).sent += 1;
            let pause = if last { options.patience } else { options.interval };
            let until = end.map_or(now + pause, |end| end.min(now + pause));
            while let Some((bytes, ttl)) = self.receive(until) {
                let Some(sequence) = reply(&bytes, self.to, self.raw.then_some(self.id)) else { continue };
                // the sequence number has 16 bits: the latest echo that it can be of
                let newest = sent.len() - 1;
                let back = usize::from((newest as u16).wrapping_sub(sequence));
                let Some(at) = newest.checked_sub(back) else { continue };
                let (Some(begin), true) = (sent.get(at), answered.insert(at)) else { continue };
                let time = begin.elapsed();
                if !options.quiet {
                    let ttl = ttl.map(|ttl| format!(" ttl={ttl}")).unwrap_or_default();
                    let (length, time) = (bytes.len(), milliseconds(time));
                    println!("{length} bytes from {}: seq={sequence}{ttl} time={time} ms", self.to);
                }
                tally.lock().unwrap_or_else(PoisonError::into_inner).times.push(time);
                if last && answered.len() == sent.len() {
                    return Ok(());
                }
            }
            if last || end.is_some_and(|end| Instant::now() >= end) {
                return Ok(());
            }
        }
    }

    /// The next ICMP message from the host, and the time to live of its packet if that is known; `None` when the time
    /// is over.
    fn receive(&self, until: Instant) -> Option<(Vec<u8>, Option<u8>)> {
        let mut buffer = [0; 2048];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.socket.set_read_timeout(Some(left)).is_err() {
                return None;
            }
            let Ok((length, from)) = self.socket.recv_from(&mut buffer) else { continue };
            if from.ip() != self.to {
                continue;
            }
            let packet = &buffer[..length];
            // only raw IPv4 sockets show the packet's own header
            match (self.raw, self.to) {
                (true, IpAddr::V4(_)) => {
                    let header = usize::from(packet.first()? & 15) * 4;
                    let Some(message) = packet.get(header..) else { continue };
                    return Some((message.to_vec(), packet.get(8).copied()));
                }
                _ => return Some((packet.to_vec(), None)),
            }
        }
    }
}

/// An echo request. Its checksum is the kernel's to fill in for IPv6, and for sockets that are for pings.
fn echo(to: IpAddr, id: u16, sequence: u16) -> Vec<u8> {
    let mut message = vec![if to.is_ipv4() { 8 } else { 128 }, 0, 0, 0];
    message.extend(id.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.resize(ICMP_HEADER + PAYLOAD, 0);
    if to.is_ipv4() {
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// RFC 1071: the complement of the sum of all 16-bit words, in one's complement.
fn checksum(message: &[u8]) -> u16 {
    let words = message.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The sequence number, if this is the reply to an echo of ours.
fn reply(message: &[u8], from: IpAddr, id: Option<u16>) -> Option<u16> {
    let [kind, 0, _, _, id_high, id_low, high, low] = *message.first_chunk::<ICMP_HEADER>()? else { return None };
    let expected = if from.is_ipv4() { 0 } else { 129 };
    let ours = id.is_none_or(|id| id.to_be_bytes() == [id_high, id_low]);
    (kind == expected && ours).then_some(u16::from_be_bytes([high, low]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    #[test]
    fn an_echo_sums_up_to_nothing() {
        let message = echo(V4, 0x1234, 7);
        assert_eq!((message.len(), checksum(&message)), (64, 0));
        assert_eq!(message[..2], [8, 0]);
        assert_eq!(checksum(&[0xff]), !0xff00);
    }

    #[test]
    fn only_replies_to_our_own_echoes_count() {
        let mut message = echo(V4, 0x1234, 7);
        assert_eq!(reply(&message, V4, Some(0x1234)), None, "a request");
        message[0] = 0;
        assert_eq!(reply(&message, V4, Some(0x1234)), Some(7));
        assert_eq!(reply(&message, V4, Some(0x1235)), None);
        assert_eq!(reply(&message, V4, None), Some(7));
        assert_eq!(reply(&message[..7], V4, None), None);
        assert_eq!(reply(&message, V6, None), None);
    }

    #[test]
    fn the_summary_counts() {
        let times = [1500, 500, 1000].map(Duration::from_micros).to_vec();
        assert_eq!(
            Tally { sent: 4, times }.text("web"),
            "\n--- web ping statistics ---\n4 packets transmitted, 3 packets received, 25% packet loss\n\
             round-trip min/avg/max = 0.500/1.000/1.500 ms\n"
        );
        assert!(
            Tally { sent: 2, times: vec![] }
                .text("web")
                .ends_with("2 packets transmitted, 0 packets received, 100% packet loss\n")
        );
        assert!(Tally::default().text("web").contains(" 0% packet loss"));
    }

    #[test]
    fn options_are_read_or_refused() {
        let read = |line: &str| read(line.split(' ').map(str::to_owned).collect());
        let options = read("-qc3 -W 0.5 -i .2 web").unwrap();
        assert_eq!((options.count, options.quiet, options.host.as_str()), (Some(3), true, "web"));
        assert_eq!((options.patience, options.interval), (Duration::from_millis(500), Duration::from_millis(200)));
        let refused = |line| read(line).err().unwrap();
        assert_eq!(refused("-c 0 web"), "option -c needs a number");
        assert_eq!(refused("-W -1 web"), "option -W needs a number");
        assert_eq!(refused("-f web"), "unknown option -f");
        assert_eq!(refused("-q"), "a host is missing");
        assert_eq!(refused("a b"), "more than one host");
    }
}
