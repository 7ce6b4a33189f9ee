//! Traffic between two network namespaces, made by threads of this process: one stream as fast as it goes, and short
//! connections as many as go. No other program takes part, so that both engines are measured with the same tool.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns, unshare};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::unistd::Pid;

use crate::common::{Outcome, work_of};

/// Whatever does not answer within it is broken.
const LIMIT: Duration = Duration::from_secs(5);
/// What a stream is written and read in.
const BLOCK: usize = 256 * 1024;
/// How long a stream is sent.
const STREAM: Duration = Duration::from_millis(400);
/// Clients that ask at the same time, and threads that answer them.
const CLIENTS: usize = 4;
/// Connections of each client in a run.
const CONNECTIONS: usize = 300;
const REQUEST: &[u8] = b"GET / HTTP/1.0\r\nHost: task\r\nUser-Agent: bench\r\n\r\n";
/// Bytes of an answer, head included.
const ANSWER: usize = 1024;
/// A network namespace.
pub struct Place(File);

impl Place {
    /// Of a process, by its number for us.
    pub fn of(process: u32) -> Outcome<Self> {
        Self::at(Path::new(&format!("/proc/{process}/ns/net")))
    }

    /// That a file names.
    pub fn at(file: &Path) -> Outcome<Self> {
        Ok(Self(File::open(file).map_err(|error| format!("{}: {error}", file.display()))?))
    }

    /// A new one, which goes with this value.
    pub fn new() -> Outcome<Self> {
        let made = std::thread::spawn(|| -> io::Result<File> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        Ok(Self(made.join().map_err(|_| "a thread panicked")??))
    }

    /// The file that is the namespace.
    pub fn file(&self) -> &File {
        &self.0
    }

    /// Runs `f` in it, in a thread of its own: sockets stay where they were made.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Outcome<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| -> nix::Result<T> {
                setns(&self.0, CloneFlags::CLONE_NEWNET)?;
                Ok(f())
            });
            Ok(inside.join().map_err(|_| "a thread panicked")??)
        })
    }

    fn listen(&self, port: u16) -> Outcome<TcpListener> {
        let listener = self.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))?;
        Ok(listener.map_err(|error| format!("listen on port {port}: {error}"))?)
    }
}

/// How fast something went.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Per second.
    pub by_clock: f64,
    /// Per second of processor time that it took, both ends and the whole way in between: says something also on a machine
    /// that has other things to do.
    pub by_work: f64,
}

impl Rate {
    fn of(count: f64, began: Instant, before: f64) -> Self {
        Self { by_clock: count / began.elapsed().as_secs_f64(), by_work: count / (work() - before) }
    }
}

/// Processor time in seconds: of this process, in whose time the kernel carries its packets from end to end, and of the
/// kernel's own threads for packets that could not be done there.
fn work() -> f64 {
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let own =
        getrusage(UsageWho::RUSAGE_SELF).map_or(0.0, |usage| seconds(usage.user_time()) + seconds(usage.system_time()));
    own + kernel_threads()
}

fn kernel_threads() -> f64 {
    // the kernel's own threads have low numbers
    let low = |entry: &std::fs::DirEntry| entry.file_name().len() <= 3;
    let ours = |entry: &std::fs::DirEntry| {
        std::fs::read(entry.path().join("comm")).is_ok_and(|name| name.starts_with(b"ksoftirqd/"))
    };
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter(low).filter(ours).filter_map(|entry| work_of(entry.path())).sum()
}

/// Lets a thread run on one processor only, where there are several: both ways that are compared then have the same.
fn on_processor(number: usize) {
    let mut set = CpuSet::new();
    if set.set(number).is_ok() {
        // not ours to have where the machine gave us one only
        let _ = sched_setaffinity(Pid::from_raw(0), &set);
    }
}

fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let timeout = PollTimeout::try_from(LIMIT).unwrap_or(PollTimeout::ZERO);
    if poll(&mut [PollFd::new(listener.as_fd(), PollFlags::POLLIN)], timeout)? == 0 {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody connects"));
    }
    let (stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// A server in a namespace, and the address that leads to it for a client in another.
pub struct Way<'a> {
    /// Where the server is.
    pub server: &'a Place,
    /// Where it listens.
    pub port: u16,
    /// Where the client is.
    pub client: &'a Place,
    /// What it connects to.
    pub to: SocketAddr,
}

impl<'a> Way<'a> {
    /// Where the port is the same at both ends.
    pub fn new(server: &'a Place, client: &'a Place, to: IpAddr, port: u16) -> Self {
        Self { server, port, client, to: SocketAddr::new(to, port) }
    }

    fn connect(&self) -> Outcome<TcpStream> {
        let stream = self.client.run(|| TcpStream::connect_timeout(&self.to, LIMIT))?;
        let stream = stream.map_err(|error| format!("connect to {}: {error}", self.to))?;
        stream.set_write_timeout(Some(LIMIT))?;
        Ok(stream)
    }

    /// Bits per second of one stream.
    pub fn stream(&self) -> Outcome<Rate> {
        let listener = self.server.listen(self.port)?;
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| -> io::Result<Rate> {
                on_processor(1);
                let mut stream = accept(&listener)?;
                let mut buffer = vec![0; BLOCK];
                let mut total = 0;
                let (began, before) = (Instant::now(), work());
                while let size @ 1.. = stream.read(&mut buffer)? {
                    total += size;
                }
                Ok(Rate::of(total as f64 * 8.0, began, before))
            });
            let mut stream = self.connect()?;
            let writing = scope.spawn(move || -> io::Result<()> {
                on_processor(0);
                let block = vec![0; BLOCK];
                let began = Instant::now();
                while began.elapsed() < STREAM {
                    stream.write_all(&block)?;
                }
                Ok(())
            });
            writing.join().map_err(|_| "a thread panicked")??;
            Ok(reading.join().map_err(|_| "a thread panicked")??)
        })
    }

    /// Short HTTP connections per second, each to its end: connect, ask, the whole answer, close.
    pub fn connections(&self) -> Outcome<Rate> {
        let listener = Arc::new(self.server.listen(self.port)?);
        listener.set_nonblocking(true)?;
        let ended = Arc::new(AtomicBool::new(false));
        let servers: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (listener, ended) = (Arc::clone(&listener), Arc::clone(&ended));
                std::thread::spawn(move || answer(&listener, &ended))
            })
            .collect();
        let (began, before) = (Instant::now(), work());
        let clients: Outcome<Vec<()>> = std::thread::scope(|scope| {
            let ask = || -> Outcome<()> { self.client.run_here(|| ask(self.to, CONNECTIONS)) };
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(ask)).collect();
            clients.into_iter().map(|client| client.join().map_err(|_| "a thread panicked")?).collect()
        });
        let rate = Rate::of((CLIENTS * CONNECTIONS) as f64, began, before);
        ended.store(true, Ordering::Relaxed);
        for server in servers {
            server.join().map_err(|_| "a thread panicked")??;
        }
        clients.map(|_| rate)
    }
}

impl Place {
    /// Takes the calling thread there for good.
    fn run_here<T>(&self, f: impl FnOnce() -> io::Result<T>) -> Outcome<T> {
        setns(&self.0, CloneFlags::CLONE_NEWNET)?;
        Ok(f()?)
    }
}

fn ask(to: SocketAddr, times: usize) -> io::Result<()> {
    let mut buffer = [0; 2 * ANSWER];
    for _ in 0..times {
        let mut stream = TcpStream::connect_timeout(&to, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(REQUEST)?;
        let mut size = 0;
        while let more @ 1.. = stream.read(&mut buffer)? {
            size += more;
        }
        if size != ANSWER {
            return Err(io::Error::other(format!("{to} answers {size} bytes instead of {ANSWER}")));
        }
    }
    Ok(())
}

fn answer(listener: &TcpListener, ended: &AtomicBool) -> io::Result<()> {
    let mut page = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", ANSWER - 43).into_bytes();
    page.resize(ANSWER, b'.');
    let timeout = PollTimeout::from(10u8);
    while !ended.load(Ordering::Relaxed) {
        poll(&mut [PollFd::new(listener.as_fd(), PollFlags::POLLIN)], timeout)?;
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            // another of us has it
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let mut request = [0; REQUEST.len()];
        stream.read_exact(&mut request)?;
        stream.write_all(&page)?;
    }
    Ok(())
}

/// What was measured of two ways in turn, so that what else the machine does hits both.
pub struct Compared {
    one: Vec<Rate>,
    other: Vec<Rate>,
}

impl Compared {
    /// So many rounds, after one that warms up.
    pub fn rounds(count: usize, one: impl Fn() -> Outcome<Rate>, other: impl Fn() -> Outcome<Rate>) -> Outcome<Self> {
        one()?;
        other()?;
        let mut compared = Self { one: Vec::new(), other: Vec::new() };
        for _ in 0..count {
            compared.one.push(one()?);
            compared.other.push(other()?);
        }
        Ok(compared)
    }

    /// Of each round: how fast the first was for the second.
    pub fn ratios(&self, by: fn(&Rate) -> f64) -> Vec<f64> {
        self.one.iter().zip(&self.other).map(|(one, other)| by(one) / by(other)).collect()
    }

    /// The first one's.
    pub fn ones(&self, by: fn(&Rate) -> f64) -> Vec<f64> {
        self.one.iter().map(by).collect()
    }

    /// The second one's.
    pub fn others(&self, by: fn(&Rate) -> f64) -> Vec<f64> {
        self.other.iter().map(by).collect()
    }
}
