//! Names to addresses by `/etc/hosts` and the name servers of `/etc/resolv.conf`: a stub resolver as RFC 1035 and
//! resolv.conf(5) describe it. Addresses keep the order in which the server gave them. Leaves out EDNS (a long answer
//! is asked for again by TCP), caching, nsswitch.conf, and options other than `ndots`.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

/// How long one server may take, each time that it is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often all servers are asked.
const ROUNDS: usize = 2;
/// resolv.conf(5): more are not looked at.
const MOST_SERVERS: usize = 3;
const HEADER: usize = 12;
/// Names follow at most so many pointers (RFC 1035, 4.1.4): each must lead back, so this is ample.
const MOST_POINTERS: usize = 32;
const NOERROR: u8 = 0;
const SERVFAIL: u8 = 2;
const REFUSED: u8 = 5;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::builtin) enum Kind {
    A,
    Aaaa,
    Ptr,
}

impl Kind {
    fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
            Self::Ptr => 12,
        }
    }
}

/// What one record of an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::builtin) enum Data {
    Address(IpAddr),
    /// Another name that this one stands for.
    Alias(String),
    /// The name of an address.
    Name(String),
}

/// A server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::builtin) struct Reply {
    /// RCODE: 0 is none, 2 SERVFAIL, 3 NXDOMAIN.
    pub code: u8,
    pub authoritative: bool,
    pub records: Vec<(String, Data)>,
    truncated: bool,
}

#[cfg(test)]
impl Reply {
    pub fn of(code: u8, records: Vec<(String, Data)>) -> Self {
        Self { code, authoritative: false, records, truncated: false }
    }
}

/// What the container's files say.
#[derive(Debug, Default)]
pub(in crate::builtin) struct Resolver {
    pub servers: Vec<IpAddr>,
    search: Vec<String>,
    ndots: usize,
    hosts: String,
}

impl Resolver {
    pub fn new() -> Self {
        let read = |path| std::fs::read(path).map(|text| String::from_utf8_lossy(&text).into_owned());
        Self::of(&read("/etc/resolv.conf").unwrap_or_default(), read("/etc/hosts").unwrap_or_default())
    }

    pub fn of(resolv_conf: &str, hosts: String) -> Self {
        let mut resolver = Self { ndots: 1, hosts, ..Self::default() };
        for line in resolv_conf.lines() {
            let mut fields = line.split_whitespace();
            match fields.next() {
                Some("nameserver") => {
                    resolver.servers.extend(fields.next().and_then(|text| text.parse::<IpAddr>().ok()))
                }
                Some("search" | "domain") => resolver.search = fields.map(str::to_owned).collect(),
                Some("options") => {
                    let mut ndots = fields.filter_map(|option| option.strip_prefix("ndots:")?.parse().ok());
                    resolver.ndots = ndots.next_back().unwrap_or(resolver.ndots);
                }
                _ => {}
            }
        }
        resolver.servers.truncate(MOST_SERVERS);
        if resolver.servers.is_empty() {
            resolver.servers.push(Ipv4Addr::LOCALHOST.into());
        }
        resolver
    }

    /// The names that a name may stand for, in the order in which they are asked for.
    pub fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let mut names: Vec<String> = self.search.iter().map(|domain| format!("{name}.{domain}")).collect();
        let at = if name.matches('.').count() >= self.ndots { 0 } else { names.len() };
        names.insert(at, name.to_owned());
        names
    }

    /// The first server that answers, with its answer. One that failed itself (SERVFAIL, REFUSED) is only believed when
    /// no other does better, and one that cannot be reached is not asked again.
    pub fn ask(&self, name: &str, kind: Kind) -> Option<(IpAddr, Reply)> {
        let mut failed = None;
        let mut servers = self.servers.clone();
        for _ in 0..ROUNDS {
            let mut silent = Vec::new();
            for server in servers {
                match ask(SocketAddr::new(server, 53), name, kind) {
                    Ok(reply) if matches!(reply.code, SERVFAIL | REFUSED) => failed = Some((server, reply)),
                    Ok(reply) => return Some((server, reply)),
                    // the system says the former when a receive times out
                    Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                        silent.push(server);
                    }
                    Err(_) => {}
                }
            }
            if failed.is_some() {
                break;
            }
            servers = silent;
        }
        failed
    }

    /// The addresses of a host, which may be given by its address. The IPv4 ones if there are any, else the IPv6 ones,
    /// unless only one family is wanted. Empty: there is no such host, or nobody who knows.
    pub fn addresses(&self, host: &str, only: Option<Kind>) -> Vec<IpAddr> {
        let wanted = |ip: &IpAddr| match only {
            Some(Kind::A) => ip.is_ipv4(),
            Some(Kind::Aaaa) => ip.is_ipv6(),
            _ => true,
        };
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return vec![address].into_iter().filter(wanted).collect();
        }
        let mut local: Vec<IpAddr> = hosts_lines(&self.hosts, host).filter(wanted).collect();
        local.sort_by_key(IpAddr::is_ipv6);
        if !local.is_empty() {
            return local;
        }
        for name in self.candidates(host).into_iter().filter(|name| is_name(name)) {
            for kind in [Kind::A, Kind::Aaaa].into_iter().filter(|kind| only.is_none_or(|only| only == *kind)) {
                // when nobody answers, nobody will answer for the next name
                let Some((_, reply)) = self.ask(&name, kind) else { return Vec::new() };
                let found: Vec<IpAddr> = reply
                    .records
                    .into_iter()
                    .filter_map(|(_, data)| match data {
                        Data::Address(ip) => Some(ip),
                        _ => None,
                    })
                    .collect();
                if !found.is_empty() {
                    return found;
                }
            }
        }
        Vec::new()
    }
}

fn hosts_lines<'a>(hosts: &'a str, host: &'a str) -> impl Iterator<Item = IpAddr> + 'a {
    hosts.lines().filter_map(move |line| {
        let mut fields = line.split('#').next()?.split_whitespace();
        let address = fields.next()?.parse().ok()?;
        fields.any(|name| name.eq_ignore_ascii_case(host)).then_some(address)
    })
}

/// The name under which an address is asked for (RFC 1035, 3.5 and RFC 3596, 2.5).
pub(super) fn arpa(address: IpAddr) -> String {
    match address {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(ip) => {
            let nibbles = ip.octets().into_iter().rev().map(|byte| format!("{:x}.{:x}.", byte & 15, byte >> 4));
            format!("{}ip6.arpa", nibbles.collect::<String>())
        }
    }
}

/// Asks one server, and by TCP if the answer does not fit a datagram.
fn ask(server: SocketAddr, name: &str, kind: Kind) -> io::Result<Reply> {
    let id = RandomState::new().build_hasher().finish() as u16;
    let query = question(id, name, kind)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("'{name}' is no name")))?;
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    // without it only a closed port is told, not that no way leads to the server; what cannot be set costs time at most
    let _ = match server {
        SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4RecvErr, &true),
        SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvErr, &true),
    };
    socket.send(&query)?;
    let until = Instant::now() + PATIENCE;
    let mut buffer = [0; 4096];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = socket.recv(&mut buffer)?;
        match parse(&buffer[..length], &query) {
            Some(reply) if reply.truncated => break,
            Some(reply) => return Ok(reply),
            // of an earlier question, or nonsense
            None => {}
        }
    }
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut framed = u16::try_from(query.len()).unwrap_or(0).to_be_bytes().to_vec();
    framed.extend(&query);
    stream.write_all(&framed)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut bytes)?;
    parse(&bytes, &query).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Whether servers can be asked for it: labels of 1 to 63 bytes, 253 in all.
pub(super) fn is_name(name: &str) -> bool {
    question(0, name, Kind::A).is_some()
}

fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    // recursion desired, one question
    let mut query = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query[..2].copy_from_slice(&id.to_be_bytes());
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?);
        query.extend(label.as_bytes());
    }
    query.push(0);
    if query.len() - HEADER > 255 {
        return None;
    }
    query.extend(kind.number().to_be_bytes());
    query.extend(1_u16.to_be_bytes());
    Some(query)
}

/// Reads an answer to a query; `None` when it is none, or damaged.
fn parse(bytes: &[u8], query: &[u8]) -> Option<Reply> {
    let header = bytes.first_chunk::<HEADER>()?;
    let asked = query.get(HEADER..)?;
    if header[..2] != query[..2] || header[2] & 0x80 == 0 {
        return None;
    }
    let mut at = HEADER;
    if header[4..6] == [0, 1] {
        let same = bytes.get(HEADER..HEADER + asked.len())?;
        if !same.eq_ignore_ascii_case(asked) {
            return None;
        }
        at += asked.len();
    } else if header[3] & 15 == NOERROR {
        return None;
    }
    let mut records = Vec::new();
    for _ in 0..u16::from_be_bytes([header[6], header[7]]) {
        let (name, next) = read_name(bytes, at)?;
        let fixed = bytes.get(next..)?.first_chunk::<10>()?;
        let start = next + 10;
        let end = start + usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        let data = bytes.get(start..end)?;
        let data = match u16::from_be_bytes([fixed[0], fixed[1]]) {
            1 => Some(Data::Address(IpAddr::from(<[u8; 4]>::try_from(data).ok()?))),
            28 => Some(Data::Address(IpAddr::from(<[u8; 16]>::try_from(data).ok()?))),
            5 => Some(Data::Alias(read_name(bytes, start)?.0)),
            12 => Some(Data::Name(read_name(bytes, start)?.0)),
            _ => None,
        };
        records.extend(data.map(|data| (name, data)));
        at = end;
    }
    Some(Reply { code: header[3] & 15, authoritative: header[2] & 4 != 0, truncated: header[2] & 2 != 0, records })
}

/// The name at a place of a message, and the place after it.
fn read_name(bytes: &[u8], mut at: usize) -> Option<(String, usize)> {
    let (mut name, mut after, mut pointers) = (Vec::new(), None, 0);
    loop {
        let length = *bytes.get(at)?;
        match length {
            0 => break,
            1..=63 => {
                let label = bytes.get(at + 1..at + 1 + usize::from(length))?;
                if !name.is_empty() {
                    name.push(b'.');
                }
                // nothing from outside moves the cursor of the reader's terminal
                name.extend(label.iter().map(|byte| if byte.is_ascii_graphic() { *byte } else { b'?' }));
                at += 1 + usize::from(length);
            }
            0xc0.. => {
                pointers += 1;
                let target = usize::from(length & 0x3f) << 8 | usize::from(*bytes.get(at + 1)?);
                if target >= at || pointers > MOST_POINTERS {
                    return None;
                }
                after.get_or_insert(at + 2);
                at = target;
            }
            _ => return None,
        }
        if name.len() > 255 {
            return None;
        }
    }
    Some((String::from_utf8(name).ok()?, after.unwrap_or(at + 1)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer to `alias. A` as a server writes it: an alias, and two addresses of what it stands for.
    fn answer() -> (Vec<u8>, Vec<u8>) {
        let query = question(7, "alias", Kind::A).unwrap();
        let mut bytes = query.clone();
        (bytes[2], bytes[3], bytes[7]) = (0x85, 0x80, 3);
        bytes.extend(b"\xc0\x0c\0\x05\0\x01\0\0\x02\x58\0\x08\x03web\x01x\xc0\x12"); // CNAME web.x.
        let target = bytes.len() - 8;
        for last in [3, 2] {
            bytes.extend([0xc0, target as u8, 0, 1, 0, 1, 0, 0, 2, 0x58, 0, 4, 10, 0, 1, last]);
        }
        (bytes, query)
    }

    #[test]
    fn an_answer_is_read_in_its_order() {
        let (bytes, query) = answer();
        let reply = parse(&bytes, &query).unwrap();
        assert_eq!((reply.code, reply.authoritative, reply.truncated), (0, true, false));
        let address = |last| Data::Address(IpAddr::from([10, 0, 1, last]));
        let expected = [("alias", Data::Alias("web.x".into())), ("web.x", address(3)), ("web.x", address(2))];
        assert_eq!(reply.records, expected.map(|(name, data)| (name.to_owned(), data)));
    }

    #[test]
    fn what_a_datagram_cuts_off_is_asked_for_by_tcp() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = udp.local_addr().unwrap();
        let tcp = std::net::TcpListener::bind(server).unwrap();
        // the same answer under the question's id, by datagram first to another question and then cut off
        let reply_to = |query: &[u8]| {
            let (mut reply, _) = answer();
            reply[..2].copy_from_slice(&query[..2]);
            reply
        };
        std::thread::spawn(move || {
            let mut query = [0; 512];
            let (length, from) = udp.recv_from(&mut query).unwrap();
            let (mut other, mut cut) = (reply_to(&query), query[..length].to_vec());
            other[13] = b'x';
            (cut[2], cut[3]) = (0x83, 0x80);
            udp.send_to(&other, from).unwrap();
            udp.send_to(&cut, from).unwrap();
            let (mut stream, _) = tcp.accept().unwrap();
            stream.read_exact(&mut query[..2 + length]).unwrap();
            let reply = reply_to(&query[2..]);
            stream.write_all(&(reply.len() as u16).to_be_bytes()).unwrap();
            stream.write_all(&reply).unwrap();
        });
        let reply = ask(server, "alias", Kind::A).unwrap();
        assert_eq!((reply.records.len(), reply.truncated), (3, false));
    }

    #[test]
    fn answers_to_other_questions_are_none() {
        let (bytes, query) = answer();
        for at in [0, 2, 13] {
            let mut other = bytes.clone();
            other[at] ^= 0x81;
            assert_eq!(parse(&other, &query), None, "byte {at}");
        }
    }

    #[test]
    fn a_refusal_may_come_without_the_question() {
        let query = question(7, "web", Kind::A).unwrap();
        let bytes = [0, 7, 0x81, 0x82, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(parse(&bytes, &query).unwrap().code, 2);
    }

    #[test]
    fn names_that_cannot_be_are_not_asked_for() {
        for name in ["", "a..b", &"a".repeat(64), &["abcdefghi"; 30].join(".")] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn the_search_list_counts_for_names_with_few_dots() {
        let resolver = |text: &str| Resolver::of(text, String::new());
        let names = |text: &str, name: &str| resolver(text).candidates(name).join(" ");
        assert_eq!(names("search x y", "web"), "web.x web.y web");
        assert_eq!(names("search x y", "web.z"), "web.z web.z.x web.z.y");
        assert_eq!(names("search x\noptions timeout:1 ndots:0", "web"), "web web.x");
        assert_eq!(names("search x", "web."), "web");
        assert_eq!(resolver("").servers, [IpAddr::from([127, 0, 0, 1])]);
        assert_eq!(resolver("nameserver 10.0.0.1\nnameserver x\nnameserver ::1").servers.len(), 2);
    }

    #[test]
    fn hosts_and_addresses_need_no_server() {
        let resolver = Resolver::of("", "127.0.0.1 localhost\n::1\tlocalhost ip6 # loop web\n10.0.1.9 Web\n".into());
        let found = |host, only| resolver.addresses(host, only).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found("localhost", None), ["127.0.0.1", "::1"]);
        assert_eq!(found("localhost", Some(Kind::Aaaa)), ["::1"]);
        assert_eq!(found("web", None), ["10.0.1.9"]);
        assert_eq!(found("10.1.1.1", None), ["10.1.1.1"]);
        assert_eq!(found("[fd00::1]", None), ["fd00::1"]);
        assert!(found("10.1.1.1", Some(Kind::Aaaa)).is_empty());
    }

    #[test]
    fn addresses_have_names_to_be_asked_for() {
        assert_eq!(arpa("10.0.1.3".parse().unwrap()), "3.1.0.10.in-addr.arpa");
        let v6 = arpa("fd00:1::a3".parse().unwrap());
        assert!(v6.starts_with("3.a.0.0.") && v6.ends_with(".1.0.0.0.0.0.d.f.ip6.arpa"), "{v6}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (_, query) = answer();
            let _ = parse(&bytes, &query);
        }

        #[test]
        fn a_damaged_answer_is_read_or_refused(changes in proptest::collection::vec((12usize..80, any::<u8>()), 1..4)) {
            let (mut bytes, query) = answer();
            for (at, value) in changes {
                let length = bytes.len();
                bytes[at % length] = value;
            }
            if let Some(reply) = parse(&bytes, &query) {
                prop_assert!(reply.records.iter().all(|(name, _)| name.len() <= 255));
            }
        }
    }
}
