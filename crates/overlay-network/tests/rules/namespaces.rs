//! Network namespaces for tests, wired by `ip`, and traffic in them.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::libc;
use nix::sched::{CloneFlags, setns, unshare};
use overlay_network::NetNamespace;
use overlay_network::rules::{FaultRule, NodeRules, OverlayRules};

/// How long a test waits for what should come.
pub const SOON: Duration = Duration::from_secs(5);
/// How long a test waits for what should not come.
pub const NEVER: Duration = Duration::from_millis(300);

/// Runs `inside` in fresh namespaces: the first call starts the test anew there, the second one runs it.
pub fn in_namespaces(test: &str, inside: impl FnOnce()) {
    const MARK: &str = "OVERLAY_TEST_INSIDE";
    if std::env::var_os(MARK).is_some() {
        return inside();
    }
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", test, "--nocapture", "--test-threads=1", "--include-ignored"]).env(MARK, "1");
    let map = [
        (c"/proc/self/setgroups", "deny".to_owned()),
        (c"/proc/self/uid_map", format!("0 {uid} 1")),
        (c"/proc/self/gid_map", format!("0 {gid} 1")),
    ];
    // SAFETY: only system calls between fork and exec.
    unsafe {
        again.pre_exec(move || {
            if libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET | libc::CLONE_NEWNS) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            for (path, text) in &map {
                let fd = libc::open(path.as_ptr(), libc::O_WRONLY);
                if libc::write(fd, text.as_ptr().cast(), text.len()) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                libc::close(fd);
            }
            Ok(())
        });
    }
    let output = again.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    // measurements and reasons for what could not be tested
    for line in out.lines().filter_map(|line| line.split_once("note: ")) {
        println!("note: {}", line.1);
    }
}

/// Whether a program that a test asks for its opinion is there; says so when not.
pub fn has(program: &str) -> bool {
    let there = Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !there {
        println!("note: not tested here, as there is no `{program}`");
    }
    there
}

/// A network namespace.
pub struct Net(File);

impl Net {
    /// A new one. Its loopback interface is up.
    pub fn new() -> Self {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        };
        let net = Self(std::thread::spawn(make).join().unwrap());
        net.ip("link set lo up");
        // measurements should not depend on what this machine prefers: others send in time with a clock
        net.setting("net/ipv4/tcp_congestion_control", "reno");
        net
    }

    /// Runs something in it. Sockets stay in the namespace that they were made in.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let enter = || {
                setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
                f()
            };
            scope.spawn(enter).join().unwrap()
        })
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()))
    }

    /// Commands for `ip`, one a line.
    pub fn ip(&self, commands: &str) {
        let output = self.run(|| {
            let mut ip = Command::new("ip");
            ip.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = ip.spawn().unwrap();
            child.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        });
        assert!(output.status.success(), "ip: {}\nof {commands}", String::from_utf8_lossy(&output.stderr));
    }

    /// A cable to another namespace, and the interfaces' names at both ends.
    pub fn cable(&self, name: &str, other: &Self, name_there: &str) {
        self.ip(&format!("link add {name} type veth peer name {name_there} netns {}", other.path().display()));
        self.ip(&format!("link set {name} up"));
        other.ip(&format!("link set {name_there} up"));
    }

    /// Writes a setting below /proc/sys.
    pub fn setting(&self, key: &str, value: &str) {
        self.run(|| std::fs::write(format!("/proc/sys/{key}"), value).unwrap());
    }

    /// What `nft` answers.
    pub fn nft(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.run(|| Command::new("nft").args(arguments).output().unwrap());
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// An async call about this namespace.
    pub fn with<T>(&self, f: impl AsyncFnOnce(NetNamespace) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { f(NetNamespace::at(&self.path()).unwrap()).await })
    }

    /// Applies an overlay's rules; whether they were others before.
    pub fn overlay(&self, rules: &OverlayRules) -> bool {
        self.with(async |namespace| namespace.apply_overlay_rules(rules).await.unwrap())
    }

    /// Applies a node's rules; whether they were others before.
    pub fn node(&self, rules: &NodeRules) -> bool {
        self.with(async |namespace| namespace.apply_node_rules(rules).await.unwrap())
    }

    /// Applies faults; whether they were others before.
    pub fn faults(&self, faults: &[FaultRule]) -> bool {
        self.with(async |namespace| namespace.apply_faults(faults).await.unwrap())
    }

    /// Starts servers by TCP and UDP at a port of every address. To whoever connects, and to every datagram, they say
    /// their name and whom they see: `NAME ADDRESS`. By TCP they then send back what they get.
    pub fn serve(&self, name: &str, port: u16) {
        for any in ["0.0.0.0", "::"] {
            let at = SocketAddr::new(any.parse().unwrap(), port);
            let (tcp, udp) = self.run(|| (listen(at), bind(at)));
            let line = name.to_owned();
            std::thread::spawn(move || {
                for stream in tcp.incoming() {
                    let (Ok(stream), line) = (stream, line.clone()) else { continue };
                    std::thread::spawn(move || echo(stream, &line));
                }
            });
            let line = name.to_owned();
            std::thread::spawn(move || {
                let mut buffer = [0; 2048];
                while let Ok((_, from)) = udp.recv_from(&mut buffer) {
                    let _ = udp.send_to(format!("{line} {}", from.ip()).as_bytes(), from);
                }
            });
        }
    }

    /// Connects by TCP.
    pub fn connect(&self, to: SocketAddr) -> std::io::Result<Talk> {
        let stream = self.run(|| TcpStream::connect_timeout(&to, SOON))?;
        stream.set_read_timeout(Some(SOON))?;
        Talk::begin(stream)
    }

    /// Whether a TCP connection is neither made nor refused for a while.
    pub fn is_silent(&self, to: SocketAddr) -> bool {
        match self.run(|| TcpStream::connect_timeout(&to, NEVER)) {
            Err(error) => error.kind() == std::io::ErrorKind::TimedOut,
            Ok(_) => false,
        }
    }

    /// A UDP socket that speaks to one address.
    pub fn udp(&self, to: SocketAddr) -> UdpSocket {
        let any: IpAddr = if to.is_ipv4() { "0.0.0.0" } else { "::" }.parse().unwrap();
        let socket = self.run(|| UdpSocket::bind((any, 0)).unwrap());
        self.run(|| socket.connect(to)).unwrap();
        socket
    }

    /// Asks by UDP from a new port: who answered, and whom it saw.
    pub fn ask(&self, to: SocketAddr) -> std::io::Result<(String, IpAddr)> {
        ask(&self.udp(to), SOON)
    }
}

fn listen(at: SocketAddr) -> TcpListener {
    let socket = open(at, libc::SOCK_STREAM);
    // SAFETY: the descriptor is open, and nobody else's.
    unsafe {
        assert_eq!(libc::listen(socket, 1024), 0);
        std::os::fd::FromRawFd::from_raw_fd(socket)
    }
}

fn bind(at: SocketAddr) -> UdpSocket {
    let socket = open(at, libc::SOCK_DGRAM);
    // SAFETY: the descriptor is open, and nobody else's.
    unsafe { std::os::fd::FromRawFd::from_raw_fd(socket) }
}

/// A socket at that address of that family only, so that both families can be listened for at once.
fn open(at: SocketAddr, kind: i32) -> i32 {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt};
    use std::os::fd::IntoRawFd;
    let family = if at.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let kind = if kind == libc::SOCK_STREAM { SockType::Stream } else { SockType::Datagram };
    let made = socket(family, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
    setsockopt(&made, sockopt::ReuseAddr, &true).unwrap();
    if at.is_ipv6() {
        setsockopt(&made, sockopt::Ipv6V6Only, &true).unwrap();
    }
    bind(made.as_raw_fd(), &SockaddrStorage::from(at)).unwrap();
    made.into_raw_fd()
}

fn echo(mut stream: TcpStream, name: &str) -> std::io::Result<()> {
    let peer = stream.peer_addr()?.ip();
    stream.write_all(format!("{name} {peer}\n").as_bytes())?;
    let mut buffer = [0; 65536];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => stream.write_all(&buffer[..read])?,
        }
    }
}

/// Asks by a UDP socket: who answered, and whom it saw.
pub fn ask(socket: &UdpSocket, limit: Duration) -> std::io::Result<(String, IpAddr)> {
    socket.set_read_timeout(Some(limit)).unwrap();
    socket.send(b"who?")?;
    let mut buffer = [0; 256];
    let read = socket.recv(&mut buffer)?;
    Ok(parse(std::str::from_utf8(&buffer[..read]).unwrap()))
}

fn parse(line: &str) -> (String, IpAddr) {
    let (name, address) = line.trim().split_once(' ').unwrap();
    (name.into(), address.parse().unwrap())
}

/// A TCP connection to a server of [`Net::serve`].
pub struct Talk {
    stream: TcpStream,
    /// Who answered.
    pub server: String,
    /// The address that the server saw.
    pub seen: IpAddr,
}

impl Talk {
    fn begin(mut stream: TcpStream) -> std::io::Result<Self> {
        let mut line = Vec::new();
        let mut byte = [0];
        while line.last() != Some(&b'\n') {
            if stream.read(&mut byte)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            line.push(byte[0]);
        }
        let (server, seen) = parse(std::str::from_utf8(&line).unwrap());
        Ok(Self { stream, server, seen })
    }

    /// Whether what is said comes back.
    pub fn goes_on(&mut self) -> std::io::Result<bool> {
        self.stream.write_all(b"still there?")?;
        let mut buffer = [0; 12];
        self.stream.read_exact(&mut buffer)?;
        Ok(&buffer == b"still there?")
    }
}
