//! Namespaces for tests: of the test itself, of nodes, and of containers; and looking into them.
//!
//! A test starts itself again where it may do as it likes: as root in fresh network and mount namespaces, and as an
//! ordinary user in a fresh user namespace. Everything ends with that process.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sched::{CloneFlags, setns};

const MARK: &str = "OVERLAY_TEST_INSIDE";
/// nobody, on every machine
const ORDINARY_USER: u32 = 65534;

/// Runs `inside` in fresh namespaces, as root where the caller is, and as an ordinary user in a user namespace.
pub fn in_namespaces(test: &str, inside: impl AsyncFnOnce()) {
    if std::env::var_os(MARK).is_some() {
        // what we mount is nobody else's
        let private = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
        nix::mount::mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(inside());
        return;
    }
    match nix::unistd::geteuid().is_root() {
        true => again(test, false),
        false => eprintln!("{test}: not root here, so only tried as an ordinary user"),
    }
    again(test, true);
}

fn again(test: &str, ordinary: bool) {
    let mut again = Command::new(std::env::current_exe().unwrap());
    again
        .args(["--exact", test, "--nocapture", "--include-ignored", "--test-threads=1"])
        .env(MARK, "1")
        .current_dir("/");
    let root = nix::unistd::geteuid().is_root();
    let (uid, gid) = match root {
        true => (ORDINARY_USER, ORDINARY_USER),
        false => (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw()),
    };
    let map = [
        ("/proc/self/setgroups\0", "deny".to_owned()),
        ("/proc/self/uid_map\0", format!("0 {uid} 1")),
        ("/proc/self/gid_map\0", format!("0 {gid} 1")),
    ];
    let check = |result: libc::c_int| match result {
        0.. => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    };
    // SAFETY: only system calls between fork and exec.
    unsafe {
        again.pre_exec(move || {
            if !ordinary {
                return check(libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS));
            }
            if root {
                check(libc::setgroups(0, std::ptr::null()))?;
                check(libc::setresgid(gid, gid, gid))?;
                check(libc::setresuid(uid, uid, uid))?;
                // changing users makes /proc/self root's
                check(libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0))?;
            }
            check(libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET | libc::CLONE_NEWNS))?;
            for (path, text) in &map {
                let fd = libc::open(path.as_ptr().cast(), libc::O_WRONLY);
                check(fd)?;
                if libc::write(fd, text.as_ptr().cast(), text.len()) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                libc::close(fd);
            }
            Ok(())
        });
    }
    let who = if ordinary { "an ordinary user" } else { "root" };
    let output = again.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "as {who}:\n{out}{err}");
    assert!(out.contains("1 passed"), "there is no test {test}:\n{out}");
    // what a test measures is worth seeing
    err.lines().filter(|line| line.starts_with("measured: ")).for_each(|line| eprintln!("as {who}: {line}"));
}

/// A process with a network namespace of its own, as a container has.
pub struct Container(Child);

impl Container {
    pub fn start() -> Self {
        let mut command = Command::new("sleep");
        command.arg("1000").stdin(Stdio::null());
        // SAFETY: only system calls between fork and exec.
        unsafe {
            command.pre_exec(|| match libc::unshare(libc::CLONE_NEWNET) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        Self(command.spawn().unwrap())
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    pub fn namespace(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.pid()).into()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `f` in a network namespace. Sockets stay in the namespace that they were made in.
pub fn within<T: Send>(namespace: &Path, f: impl FnOnce() -> T + Send) -> T {
    let file = std::fs::File::open(namespace).unwrap();
    std::thread::scope(|scope| {
        let run = || {
            setns(&file, CloneFlags::CLONE_NEWNET).unwrap();
            f()
        };
        scope.spawn(run).join().unwrap()
    })
}

/// Waits until something is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(Instant::now() < deadline, "{what}: not within ten seconds");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One line over TCP, there and back. The error tells what did not work.
pub fn tcp_echo(server: &Path, client: &Path, at: IpAddr) -> Result<(), String> {
    let listener = within(server, || TcpListener::bind((at, 0))).map_err(|error| format!("listen at {at}: {error}"))?;
    let address = listener.local_addr().unwrap();
    let answering = std::thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let mut line = [0; 5];
        if stream.read_exact(&mut line).is_ok() {
            let _ = stream.write_all(&line);
        }
    });
    let result = within(client, || {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))
            .map_err(|error| format!("connect to {address}: {error}"))?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut line = [0; 5];
        stream.write_all(b"hello").and_then(|()| stream.read_exact(&mut line)).map_err(|error| error.to_string())
    });
    if result.is_err() {
        // the one that answers waits for ever
        let _ = within(server, || TcpStream::connect_timeout(&address, Duration::from_secs(1)));
    }
    let _ = answering.join();
    result
}

/// Answers every connection to a port with a word and the address that it sees the client at, until dropped.
pub struct Server(std::sync::Arc<std::sync::atomic::AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Server {
    pub fn start(namespace: &Path, port: u16, word: &'static str) -> Self {
        let listener = within(namespace, || TcpListener::bind(("::", port)).unwrap());
        listener.set_nonblocking(true).unwrap();
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopping = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopping.load(std::sync::atomic::Ordering::Relaxed) {
                match listener.accept() {
                    Ok((mut stream, from)) => drop(write!(stream, "{word} {}", from.ip().to_canonical())),
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        });
        Self(stop, Some(thread))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        let _ = self.1.take().map(std::thread::JoinHandle::join);
    }
}

/// What a [`Server`] answers: its word, and the address that it saw.
pub fn ask(client: &Path, at: SocketAddr) -> std::io::Result<(String, IpAddr)> {
    within(client, || {
        let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (word, from) = text.split_once(' ').ok_or_else(|| std::io::Error::other(format!("answer {text:?}")))?;
        Ok((word.to_owned(), from.parse().map_err(std::io::Error::other)?))
    })
}

/// A datagram of so many bytes, there and back, never cut into pieces.
pub fn udp_echo(server: &Path, client: &Path, at: IpAddr, bytes: usize) -> Result<(), String> {
    let timeout = Some(Duration::from_secs(1));
    let answering = within(server, || UdpSocket::bind((at, 0))).map_err(|error| format!("bind {at}: {error}"))?;
    answering.set_read_timeout(timeout).unwrap();
    let address = answering.local_addr().unwrap();
    let any: SocketAddr = if at.is_ipv4() { "0.0.0.0:0".parse().unwrap() } else { "[::]:0".parse().unwrap() };
    let asking = within(client, || UdpSocket::bind(any)).map_err(|error| error.to_string())?;
    asking.set_read_timeout(timeout).unwrap();
    for socket in [&answering, &asking] {
        let (level, name, value) = match at {
            IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO),
            IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IP_PMTUDISC_DO),
        };
        // SAFETY: the value is an int that lives through the call.
        let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), 4) };
        assert_eq!(done, 0);
    }
    let message = vec![7; bytes];
    let mut buffer = vec![0; 65536];
    asking.send_to(&message, address).map_err(|error| format!("send {bytes} bytes to {address}: {error}"))?;
    let (size, from) = answering.recv_from(&mut buffer).map_err(|error| format!("at {address}: {error}"))?;
    answering.send_to(&buffer[..size], from).map_err(|error| format!("answer {size} bytes to {from}: {error}"))?;
    let size = asking.recv(&mut buffer).map_err(|error| format!("answer from {address}: {error}"))?;
    if size == bytes { Ok(()) } else { Err(format!("{size} bytes came back of {bytes}")) }
}

/// One echo request (ping) and its answer.
pub fn ping(client: &Path, to: IpAddr) -> Result<(), String> {
    let IpAddr::V4(ip) = to else { return Err("only IPv4".into()) };
    within(client, || {
        // SAFETY: no memory is involved.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_ICMP) };
        assert!(fd >= 0, "raw socket: {}", std::io::Error::last_os_error());
        // SAFETY: just made, and nobody else's. The calls that UdpSocket makes are those of any datagram socket.
        let socket = UdpSocket::from(unsafe { OwnedFd::from_raw_fd(fd) });
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        // type 8 code 0, checksum of the rest, identifier 1, sequence 1
        let request = [8, 0, 0xf7, 0xfd, 0, 1, 0, 1];
        socket.send_to(&request, (ip, 0)).map_err(|error| error.to_string())?;
        let mut packet = [0; 200];
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline {
            let (size, from) = socket.recv_from(&mut packet).map_err(|error| format!("ping {to}: {error}"))?;
            let header = usize::from(packet[0] & 15) * 4;
            if from.ip() == to && size > header && packet[header] == 0 {
                return Ok(());
            }
        }
        Err(format!("ping {to}: no answer"))
    })
}

/// Sees the packets of an interface.
pub struct Capture(OwnedFd);

impl Capture {
    pub fn on(namespace: &Path, interface: &str) -> Self {
        within(namespace, || {
            // SAFETY: plain system calls with values that live through them.
            unsafe {
                let all = (libc::ETH_P_ALL as u16).to_be();
                let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
                let fd = libc::socket(libc::AF_PACKET, kind, i32::from(all));
                assert!(fd >= 0, "packet socket: {}", std::io::Error::last_os_error());
                let mut address: libc::sockaddr_ll = std::mem::zeroed();
                address.sll_family = libc::AF_PACKET as u16;
                address.sll_protocol = all;
                let name = std::ffi::CString::new(interface).unwrap();
                address.sll_ifindex = libc::if_nametoindex(name.as_ptr()).cast_signed();
                let size = size_of::<libc::sockaddr_ll>() as u32;
                assert_eq!(libc::bind(fd, (&raw const address).cast(), size), 0);
                Self(OwnedFd::from_raw_fd(fd))
            }
        })
    }

    /// How many IPv4 UDP packets to this port passed since the last look.
    pub fn udp_to(&self, port: u16) -> usize {
        let mut found = 0;
        let mut packet = [0; 2048];
        // SAFETY: the buffer lives through the call, and its size is told.
        while let size @ 1.. = unsafe { libc::recv(self.0.as_raw_fd(), packet.as_mut_ptr().cast(), packet.len(), 0) } {
            let header = usize::from(packet[0] & 15) * 4;
            let udp = size.cast_unsigned() >= header + 4 && packet[0] >> 4 == 4 && packet[9] == 17;
            found += usize::from(udp && packet[header + 2..header + 4] == port.to_be_bytes());
        }
        found
    }
}
