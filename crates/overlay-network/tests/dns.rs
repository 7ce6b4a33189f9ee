//! Name servers on real sockets, in network namespaces of the test's own. Works as root and as an ordinary user: each
//! test starts itself again in fresh user, network and mount namespaces, which end with it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use nix::libc;
use overlay_network::{DnsServers, DnsView, NameEntry, NetNamespace};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// Runs `inside` in fresh namespaces: the first call starts the test anew there, the second one runs it.
fn in_namespaces(test: &str, inside: impl AsyncFnOnce()) {
    const MARK: &str = "OVERLAY_TEST_INSIDE";
    if std::env::var_os(MARK).is_some() {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            NetNamespace::current().unwrap().set_up("lo", true).await.unwrap();
            inside().await;
        });
        return;
    }
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(MARK, "1");
    let map = [
        ("/proc/self/setgroups\0", "deny".to_owned()),
        ("/proc/self/uid_map\0", format!("0 {uid} 1")),
        ("/proc/self/gid_map\0", format!("0 {gid} 1")),
    ];
    // SAFETY: only system calls between fork and exec.
    unsafe {
        again.pre_exec(move || {
            if libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET | libc::CLONE_NEWNS) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            for (path, text) in &map {
                let fd = libc::open(path.as_ptr().cast(), libc::O_WRONLY);
                if libc::write(fd, text.as_ptr().cast(), text.len()) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                libc::close(fd);
            }
            Ok(())
        });
    }
    let output = again.output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A thread with a network namespace of its own: all of a container that matters to its name server.
struct Container {
    tid: u32,
    jobs: mpsc::Sender<Box<dyn FnOnce() + Send>>,
}

impl Container {
    fn start() -> Self {
        let (ready, tid) = mpsc::channel();
        let (jobs, todo) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let life = move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            ready.send(nix::unistd::gettid().as_raw().unsigned_abs()).unwrap();
            todo.into_iter().for_each(|job| job());
        };
        std::thread::Builder::new().stack_size(64 * 1024).spawn(life).unwrap();
        Self { tid: tid.recv().unwrap(), jobs }
    }

    fn within<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        self.jobs.send(Box::new(move || done.send(job()).unwrap())).unwrap();
        result.recv().unwrap()
    }

    /// A datagram socket of the container, connected to its name server.
    fn udp(&self) -> UdpSocket {
        let socket = self.within(|| {
            let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.connect((overlay_network::dns::ADDRESS, 53)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        });
        UdpSocket::from_std(socket).unwrap()
    }

    fn try_tcp(&self) -> std::io::Result<TcpStream> {
        let stream = self.within(|| {
            let stream = std::net::TcpStream::connect((overlay_network::dns::ADDRESS, 53))?;
            stream.set_nonblocking(true)?;
            Ok::<_, std::io::Error>(stream)
        })?;
        TcpStream::from_std(stream)
    }

    fn tcp(&self) -> TcpStream {
        self.try_tcp().unwrap()
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Message {
        ask(&self.udp(), name, kind).await
    }
}

async fn within<T>(limit: u64, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(limit), future).await.expect("in time")
}

fn query(id: u16, name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

async fn receive(socket: &UdpSocket) -> std::io::Result<Message> {
    let mut buffer = [0; 65_535];
    let length = within(10, socket.recv(&mut buffer)).await?;
    Ok(Message::from_vec(&buffer[..length]).unwrap())
}

async fn ask(socket: &UdpSocket, name: &str, kind: RecordType) -> Message {
    socket.send(&query(4711, name, kind).to_vec().unwrap()).await.unwrap();
    let reply = receive(socket).await.unwrap();
    assert_eq!(reply.metadata.id, 4711);
    reply
}

async fn write_framed(stream: &mut TcpStream, message: &Message) {
    let bytes = message.to_vec().unwrap();
    stream.write_all(&u16::try_from(bytes.len()).unwrap().to_be_bytes()).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
}

async fn read_framed(stream: &mut TcpStream) -> std::io::Result<Message> {
    let mut length = [0; 2];
    within(10, stream.read_exact(&mut length)).await?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    within(10, stream.read_exact(&mut bytes)).await?;
    Ok(Message::from_vec(&bytes).unwrap())
}

async fn ask_tcp(stream: &mut TcpStream, name: &str, kind: RecordType) -> Message {
    write_framed(stream, &query(4711, name, kind)).await;
    read_framed(stream).await.unwrap()
}

fn addresses(reply: &Message) -> Vec<String> {
    reply.answers.iter().filter_map(|record| record.data.ip_addr()).map(|address| address.to_string()).collect()
}

/// A name server in the node's namespace that answers every question by `f` of it: any number of messages.
async fn upstream(f: impl Fn(Message) -> Vec<Message> + Clone + Send + 'static) -> SocketAddr {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = udp.local_addr().unwrap();
    let tcp = TcpListener::bind(address).await.unwrap();
    let by_udp = f.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, from) = udp.recv_from(&mut buffer).await.unwrap();
            for reply in by_udp(Message::from_vec(&buffer[..length]).unwrap()) {
                udp.send_to(&reply.to_vec().unwrap(), from).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let question = read_framed(&mut stream).await.unwrap();
            for reply in f(question) {
                write_framed(&mut stream, &reply).await;
            }
        }
    });
    address
}

fn reply_to(question: &Message, ip: [u8; 4]) -> Message {
    let mut reply = Message::response(question.metadata.id, OpCode::Query);
    reply.metadata.recursion_available = true;
    reply.queries = question.queries.clone();
    let name = question.queries[0].name().clone();
    reply.add_answer(Record::from_rdata(name, 60, RData::A(A(ip.into()))));
    reply
}

fn failure_of(question: &Message, code: ResponseCode) -> Message {
    let mut reply = reply_to(question, [0; 4]);
    reply.answers.clear();
    reply.metadata.response_code = code;
    reply
}

fn view(upstream: &[SocketAddr]) -> DnsView {
    DnsView { networks: vec![("n".into(), "net".into())], upstream: upstream.to_vec(), forward: true }
}

/// Servers that know `web` with three addresses and `many` with a thousand.
fn servers() -> DnsServers {
    let servers = DnsServers::new();
    let entry = |name: &str, addresses: Vec<IpAddr>| NameEntry { names: vec![name.into()], addresses, reverse: None };
    let many = (0..1000_u32).map(|n| IpAddr::V4((0x0a00_0100 + n).into())).collect();
    servers.update(|names| {
        let web = ["10.0.0.2", "10.0.0.3", "10.0.0.4"].map(|text| text.parse().unwrap()).to_vec();
        names.set_network("n", vec![entry("web", web), entry("many", many)]);
    });
    servers
}

/// A port of the node's loopback where nobody listens.
fn nobody() -> SocketAddr {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn names_are_answered_by_udp_and_by_tcp() {
    in_namespaces("names_are_answered_by_udp_and_by_tcp", async || {
        let (servers, container) = (servers(), Container::start());
        servers.start("c", container.tid, view(&[])).await.unwrap();
        let reply = container.ask("web.", RecordType::A).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
        assert_eq!(addresses(&reply).len(), 3);
        let mut stream = container.tcp();
        for _ in 0..3 {
            let reply = ask_tcp(&mut stream, "web.net.", RecordType::A).await;
            assert_eq!(addresses(&reply).len(), 3, "one connection serves several questions");
        }
        let reply = container.ask("elsewhere.", RecordType::A).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::ServFail, "there is no upstream server");
    });
}

#[test]
fn every_address_is_first_equally_often() {
    in_namespaces("every_address_is_first_equally_often", async || {
        let (servers, container) = (servers(), Container::start());
        servers.start("c", container.tid, view(&[])).await.unwrap();
        let mut first: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..30 {
            let reply = container.ask("web.", RecordType::A).await;
            *first.entry(addresses(&reply).swap_remove(0)).or_default() += 1;
        }
        assert_eq!(first.into_values().collect::<Vec<_>>(), [10, 10, 10]);
    });
}

#[test]
fn what_does_not_fit_a_datagram_is_whole_by_tcp() {
    in_namespaces("what_does_not_fit_a_datagram_is_whole_by_tcp", async || {
        let (servers, container) = (servers(), Container::start());
        servers.start("c", container.tid, view(&[])).await.unwrap();
        let reply = container.ask("many.", RecordType::A).await;
        assert!(reply.metadata.truncation && addresses(&reply).len() < 1000);
        let reply = ask_tcp(&mut container.tcp(), "many.", RecordType::A).await;
        assert!(!reply.metadata.truncation);
        assert_eq!(addresses(&reply).len(), 1000);
    });
}

#[test]
fn unknown_names_are_asked_upstream_under_another_id() {
    in_namespaces("unknown_names_are_asked_upstream_under_another_id", async || {
        let (servers, container) = (servers(), Container::start());
        let (seen, ids) = mpsc::channel();
        let server = upstream(move |question| {
            seen.send(question.metadata.id).unwrap();
            vec![reply_to(&question, [192, 0, 2, 7])]
        })
        .await;
        servers.start("c", container.tid, view(&[server])).await.unwrap();
        for _ in 0..4 {
            assert_eq!(addresses(&container.ask("example.com.", RecordType::A).await), ["192.0.2.7"]);
        }
        let reply = ask_tcp(&mut container.tcp(), "example.com.", RecordType::A).await;
        assert_eq!(addresses(&reply), ["192.0.2.7"]);
        let ids: std::collections::BTreeSet<u16> = ids.try_iter().collect();
        assert!(ids.len() >= 4, "five questions under {} ids", ids.len());
        assert_eq!(addresses(&container.ask("web.", RecordType::A).await).len(), 3, "known names stay here");
    });
}

#[test]
fn a_server_that_fails_makes_for_the_next() {
    in_namespaces("a_server_that_fails_makes_for_the_next", async || {
        let (servers, container) = (servers(), Container::start());
        let failing = upstream(|question| vec![failure_of(&question, ResponseCode::ServFail)]).await;
        let refusing = upstream(|question| vec![failure_of(&question, ResponseCode::Refused)]).await;
        let good = upstream(|question| vec![reply_to(&question, [192, 0, 2, 8])]).await;
        let knows_not = upstream(|question| vec![failure_of(&question, ResponseCode::NXDomain)]).await;
        for (list, expected) in [
            (vec![nobody(), good], "NoError 192.0.2.8"),
            (vec![failing, refusing, good], "NoError 192.0.2.8"),
            (vec![knows_not, good], "NXDomain"),
            (vec![failing, refusing, nobody()], "ServFail"),
            (vec![failing, refusing, nobody(), good], "ServFail"),
        ] {
            servers.start("c", container.tid, view(&list)).await.unwrap();
            let udp = container.ask("example.com.", RecordType::A).await;
            let tcp = ask_tcp(&mut container.tcp(), "example.com.", RecordType::A).await;
            for reply in [udp, tcp] {
                let words = format!("{:?} {}", reply.metadata.response_code, addresses(&reply).join(" "));
                assert_eq!(words.trim_end(), expected);
            }
        }
    });
}

#[test]
fn a_server_that_is_not_there_costs_no_time() {
    in_namespaces("a_server_that_is_not_there_costs_no_time", async || {
        let (servers, container) = (servers(), Container::start());
        // neither a closed port, nor an address that no route leads to
        let servers_of_it = [nobody(), "192.0.2.1:53".parse().unwrap()];
        servers.start("c", container.tid, view(&servers_of_it)).await.unwrap();
        let begin = Instant::now();
        for _ in 0..10 {
            let reply = container.ask("example.com.", RecordType::A).await;
            assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
            let reply = ask_tcp(&mut container.tcp(), "example.com.", RecordType::A).await;
            assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
        }
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    });
}

#[test]
fn a_silent_server_is_given_up_after_two_seconds() {
    in_namespaces("a_silent_server_is_given_up_after_two_seconds", async || {
        let (servers, container) = (servers(), Container::start());
        let silent = upstream(|_| vec![]).await;
        let good = upstream(|question| vec![reply_to(&question, [192, 0, 2, 8])]).await;
        servers.start("c", container.tid, view(&[silent, good])).await.unwrap();
        let begin = Instant::now();
        let socket = container.udp();
        socket.send(&query(1, "example.com.", RecordType::A).to_vec().unwrap()).await.unwrap();
        // what is known is answered meanwhile
        assert_eq!(addresses(&container.ask("web.", RecordType::A).await).len(), 3);
        assert!(begin.elapsed() < Duration::from_secs(1));
        assert_eq!(addresses(&receive(&socket).await.unwrap()), ["192.0.2.8"]);
        assert!(begin.elapsed() >= Duration::from_secs(2));
    });
}

#[test]
fn replies_to_other_questions_are_not_believed() {
    in_namespaces("replies_to_other_questions_are_not_believed", async || {
        let (servers, container) = (servers(), Container::start());
        let server = upstream(|question| {
            let mut wrong_id = reply_to(&question, [6, 6, 6, 1]);
            wrong_id.metadata.id ^= 1;
            let mut wrong_name = reply_to(&question, [6, 6, 6, 2]);
            wrong_name.queries[0].set_name(Name::from_ascii("example.org.").unwrap());
            let mut wrong_type = reply_to(&question, [6, 6, 6, 3]);
            wrong_type.queries[0].set_query_type(RecordType::TXT);
            let mut no_reply = reply_to(&question, [6, 6, 6, 4]);
            no_reply.metadata.message_type = MessageType::Query;
            let mut right = reply_to(&question, [192, 0, 2, 9]);
            right.queries[0].set_name(Name::from_ascii("eXample.COM.").unwrap());
            vec![wrong_id, wrong_name, wrong_type, no_reply, right]
        })
        .await;
        servers.start("c", container.tid, view(&[server])).await.unwrap();
        assert_eq!(addresses(&container.ask("example.com.", RecordType::A).await), ["192.0.2.9"]);
    });
}

#[test]
fn a_container_may_have_64_questions_waiting() {
    in_namespaces("a_container_may_have_64_questions_waiting", async || {
        let (servers, container) = (servers(), Container::start());
        let silent = upstream(|_| vec![]).await;
        servers.start("c", container.tid, view(&[silent])).await.unwrap();
        let socket = container.udp();
        for id in 1..=65 {
            socket.send(&query(id, "example.com.", RecordType::A).to_vec().unwrap()).await.unwrap();
        }
        let reply = receive(&socket).await.unwrap();
        assert_eq!((reply.metadata.id, reply.metadata.response_code), (65, ResponseCode::Refused));
        for _ in 1..=64 {
            assert_eq!(receive(&socket).await.unwrap().metadata.response_code, ResponseCode::ServFail);
        }
        socket.send(&query(66, "web.", RecordType::A).to_vec().unwrap()).await.unwrap();
        assert_eq!(receive(&socket).await.unwrap().metadata.id, 66);
    });
}

#[test]
fn a_stopped_server_is_gone_with_what_it_waited_for() {
    in_namespaces("a_stopped_server_is_gone_with_what_it_waited_for", async || {
        let (servers, container) = (servers(), Container::start());
        let silent = upstream(|_| vec![]).await;
        servers.start("c", container.tid, view(&[silent])).await.unwrap();
        let (udp, mut tcp) = (container.udp(), container.tcp());
        udp.send(&query(1, "example.com.", RecordType::A).to_vec().unwrap()).await.unwrap();
        write_framed(&mut tcp, &query(2, "example.com.", RecordType::A)).await;
        assert_eq!(addresses(&container.ask("web.", RecordType::A).await).len(), 3);
        servers.stop("c");
        servers.stop("c");
        let error = read_framed(&mut tcp).await.unwrap_err();
        assert!(matches!(error.kind(), std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset));
        let socket = container.udp();
        socket.send(&query(3, "web.", RecordType::A).to_vec().unwrap()).await.unwrap();
        assert_eq!(receive(&socket).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
        assert!(container.try_tcp().is_err());
        servers.change("c", view(&[]));
    });
}

#[test]
fn a_server_can_be_started_again_at_once_and_by_a_later_daemon() {
    in_namespaces("a_server_can_be_started_again_at_once_and_by_a_later_daemon", async || {
        let container = Container::start();
        for _ in 0..3 {
            let servers = servers();
            for _ in 0..3 {
                servers.start("c", container.tid, view(&[])).await.unwrap();
                let mut stream = container.tcp();
                assert_eq!(addresses(&ask_tcp(&mut stream, "web.", RecordType::A).await).len(), 3);
            }
            servers.stop("c");
            servers.start("c", container.tid, view(&[])).await.unwrap();
            assert_eq!(addresses(&container.ask("web.", RecordType::A).await).len(), 3);
            drop(servers);
            // the tasks end when the event loop comes to them; a daemon that dies takes them with it at once
            within(10, async {
                while container.try_tcp().is_ok() {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
    });
}

#[test]
fn an_occupied_port_is_an_error_that_says_so() {
    in_namespaces("an_occupied_port_is_an_error_that_says_so", async || {
        let (servers, container) = (servers(), Container::start());
        NetNamespace::of_pid(container.tid).unwrap().set_up("lo", true).await.unwrap();
        let occupied = container.within(|| std::net::UdpSocket::bind("0.0.0.0:53").unwrap());
        let error = servers.start("c", container.tid, view(&[])).await.unwrap_err();
        assert!(
            error.to_string().starts_with("listen on 127.0.0.11:53 in container c: Address already in use"),
            "{error}"
        );
        drop(occupied);
        servers.start("c", container.tid, view(&[])).await.unwrap();
    });
}

#[test]
fn changes_count_from_the_next_question_on() {
    in_namespaces("changes_count_from_the_next_question_on", async || {
        let (servers, container) = (servers(), Container::start());
        servers.start("c", container.tid, view(&[])).await.unwrap();
        servers.change("c", DnsView::default());
        assert_eq!(container.ask("web.", RecordType::A).await.metadata.response_code, ResponseCode::ServFail);
        let good = upstream(|question| vec![reply_to(&question, [192, 0, 2, 8])]).await;
        servers.change("c", view(&[good]));
        assert_eq!(addresses(&container.ask("example.com.", RecordType::A).await), ["192.0.2.8"]);
        servers.update(|names| names.set_network("n", vec![]));
        assert_eq!(addresses(&container.ask("web.", RecordType::A).await), ["192.0.2.8"]);
    });
}

#[test]
fn containers_have_servers_of_their_own() {
    in_namespaces("containers_have_servers_of_their_own", async || {
        let servers = servers();
        let (one, two) = (Container::start(), Container::start());
        servers.start("one", one.tid, view(&[])).await.unwrap();
        servers.start("two", two.tid, DnsView::default()).await.unwrap();
        assert_eq!(addresses(&one.ask("web.", RecordType::A).await).len(), 3);
        assert_eq!(two.ask("web.", RecordType::A).await.metadata.response_code, ResponseCode::ServFail);
        servers.stop("one");
        assert_eq!(two.ask("web.", RecordType::A).await.metadata.response_code, ResponseCode::ServFail);
    });
}

#[test]
fn a_flood_of_connections_leaves_room_for_datagrams() {
    in_namespaces("a_flood_of_connections_leaves_room_for_datagrams", async || {
        let (servers, container) = (servers(), Container::start());
        servers.start("c", container.tid, view(&[])).await.unwrap();
        let mut flood: Vec<TcpStream> = (0..17).map(|_| container.tcp()).collect();
        let mut last = flood.pop().unwrap();
        assert!(read_framed(&mut last).await.is_err(), "the seventeenth is closed");
        assert_eq!(addresses(&ask_tcp(&mut flood[0], "web.", RecordType::A).await).len(), 3);
        assert_eq!(addresses(&container.ask("web.", RecordType::A).await).len(), 3);
        // a question that is longer than questions are
        flood[1].write_all(&[0xff, 0xff]).await.unwrap();
        assert!(read_framed(&mut flood[1]).await.is_err());
    });
}

/// Resident memory of this process, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_server_costs_little_memory() {
    in_namespaces("a_server_costs_little_memory", async || {
        const COUNT: usize = 100;
        let servers = servers();
        let containers: Vec<Container> = (0..=COUNT).map(|_| Container::start()).collect();
        servers.start("warm", containers[COUNT].tid, view(&[])).await.unwrap();
        containers[COUNT].ask("web.", RecordType::A).await;
        let before = resident();
        for (n, container) in containers[..COUNT].iter().enumerate() {
            servers.start(&n.to_string(), container.tid, view(&[])).await.unwrap();
            container.ask("web.", RecordType::A).await;
        }
        let each = (resident() - before) / COUNT;
        eprintln!("{each} KiB for each server");
        assert!(each < 40, "{each} KiB for each server");
    });
}
