//! How much an overlay network costs: TCP between containers of two nodes, against a plain VXLAN link between the nodes.
//! Only on demand, since it measures for two minutes: `cargo test -p overlay-network --test throughput -- --ignored`.
#![allow(clippy::unwrap_used)]

mod kernel;
mod overlay_lab;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use kernel::{in_namespaces, within};
use overlay_lab::{Lab, NETWORK, Node, peers, place, two_nodes};
use overlay_network::overlay::Peer;
use overlay_network::plan::Mac;
use overlay_network::rules::VirtualService;

/// Bytes that went from the client to the server.
struct Flow {
    /// Per second.
    by_clock: f64,
    /// Per second of this process' processor time: says something also on a machine that has other things to do.
    by_work: f64,
}

fn work() -> Duration {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap();
    let time =
        |value: nix::sys::time::TimeVal| Duration::from_micros((value.tv_sec() * 1_000_000 + value.tv_usec()) as u64);
    time(usage.user_time()) + time(usage.system_time())
}

/// Sends for so long to an address that leads to the server.
fn flow(server: &Path, client: &Path, at: IpAddr, time: Duration) -> Flow {
    let listener = within(server, || TcpListener::bind(("0.0.0.0", 0)).unwrap());
    let address = SocketAddr::new(at, listener.local_addr().unwrap().port());
    let reading = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = vec![0; 256 * 1024];
        let mut total = 0;
        let (begin, before) = (Instant::now(), work());
        while let size @ 1.. = stream.read(&mut buffer).unwrap() {
            total += size;
        }
        let (clock, work) = (begin.elapsed().as_secs_f64(), (work() - before).as_secs_f64());
        Flow { by_clock: total as f64 / clock, by_work: total as f64 / work }
    });
    let mut stream = within(client, || TcpStream::connect(address).unwrap());
    let block = vec![0; 256 * 1024];
    let begin = Instant::now();
    while begin.elapsed() < time {
        stream.write_all(&block).unwrap();
    }
    drop(stream);
    reading.join().unwrap()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn ip(namespace: &Path, command: &str) {
    within(namespace, || {
        let status = std::process::Command::new("ip").args(command.split(' ')).status().unwrap();
        assert!(status.success(), "ip {command}");
    });
}

/// A VXLAN link as people make it by hand.
fn bare_vxlan(nodes: &[Node; 2]) -> IpAddr {
    for (node, (own, other)) in nodes.iter().zip([(1, 2), (2, 1)]) {
        let namespace = &node.namespace;
        ip(
            namespace,
            &format!("link add bare0 type vxlan id 99 dstport 4789 local 10.99.0.{own} remote 10.99.0.{other}"),
        );
        ip(namespace, &format!("address add 10.98.0.{own}/24 dev bare0"));
        ip(namespace, "link set bare0 up");
    }
    "10.98.0.2".parse().unwrap()
}

/// Both in turn, so that what else the machine does hits both: how fast the first is for each of the second.
fn compare(what: &str, ours: impl Fn() -> Flow, plain: impl Fn() -> Flow) -> f64 {
    let (plain, ours): (Vec<Flow>, Vec<Flow>) = (0..15).map(|_| (plain(), ours())).unzip();
    let report = |unit: &str, of: fn(&Flow) -> f64| {
        let ratio = median(ours.iter().zip(&plain).map(|(ours, plain)| of(ours) / of(plain)).collect());
        let gigabits = |flows: &[Flow]| median(flows.iter().map(of).collect()) * 8.0 / 1e9;
        eprintln!("measured: {what} {:.1}, bare {:.1} Gbit {unit}: {ratio:.2}", gigabits(&ours), gigabits(&plain));
        ratio
    };
    report("per second", |flow| flow.by_clock);
    report("per second of work", |flow| flow.by_work)
}

#[test]
#[ignore = "measures for two minutes"]
fn an_overlay_is_about_as_fast_as_a_bare_vxlan() {
    in_namespaces("an_overlay_is_about_as_fast_as_a_bare_vxlan", async || {
        let lab = Lab::new().await;
        let (mut nodes, [_, there], [one, two]) = two_nodes(&lab).await;
        let bare = bare_vxlan(&nodes);
        let namespaces = [nodes[0].namespace.clone(), nodes[1].namespace.clone()];
        let time = Duration::from_millis(600);
        let (one, two) = (one.namespace(), two.namespace());
        let plain = || flow(&namespaces[1], &namespaces[0], bare, time);
        let ratio = compare("overlay", || flow(&two, &one, there.v4(), time), plain);
        assert!(ratio > 0.5, "{ratio}");

        // with load balancing in the overlay's namespace: packet filter and connection tracking are at work there
        let virtual_ip = Ipv4Addr::new(10, 0, 1, 50).into();
        let web = VirtualService {
            name: "web".into(),
            virtual_ips: vec![virtual_ip],
            backends: vec![there.v4()],
            ports: vec![],
        };
        for (node, number) in nodes.iter_mut().zip([2, 1]) {
            let balancer = Ipv4Addr::new(10, 0, 1, 200 + number).into();
            let vtep = Ipv4Addr::new(10, 99, 0, number).into();
            let mut peers = peers([&place(2 + number, number)]);
            peers.insert(Peer { addresses: vec![balancer], mac: Mac::of_ip(balancer), vtep });
            node.driver.set_services(NETWORK, std::slice::from_ref(&web)).await.unwrap();
            node.driver.set_peers(NETWORK, &peers).await.unwrap();
        }
        compare("overlay with services", || flow(&two, &one, there.v4(), time), plain);
        compare("by a virtual address", || flow(&two, &one, virtual_ip, time), plain);
    });
}
