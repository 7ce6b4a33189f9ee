//! Local bridges in a real kernel, in namespaces of the test's own. Works as root and as an ordinary user: each
//! test starts itself again in fresh user, network and mount namespaces, which end with it.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::libc;
use overlay_network::plan::{AddressPool, LinkKind, LinkPlan, Namespace, NetPlan};
use overlay_network::{BridgeDriver, BridgeNetwork, EndpointInfo, EndpointWish, NetNamespace};

/// Runs `inside` in fresh namespaces: the first call starts the test anew there, the second one runs it.
fn in_namespaces(test: &str, inside: impl AsyncFnOnce()) {
    const MARK: &str = "OVERLAY_TEST_INSIDE";
    if std::env::var_os(MARK).is_some() {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(inside());
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

/// A process with a network namespace of its own, as a container has.
struct Container(Child);

impl Container {
    fn start() -> Self {
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

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn links() -> Vec<String> {
    NetNamespace::current().unwrap().observe(&NetPlan::default()).await.unwrap().links.into_keys().collect()
}

const NO_WISH: EndpointWish = EndpointWish { ipv4: None, ipv6: None, mac: None };

/// A driver with `docker0` as network "default".
async fn docker0(dir: &Path) -> BridgeDriver {
    let mut driver = BridgeDriver::open(dir).await.unwrap();
    driver.ensure(&BridgeNetwork::docker0("default")).await.unwrap();
    driver
}

fn network(id: &str, subnet: &str) -> BridgeNetwork {
    BridgeNetwork::new(id, BridgeNetwork::bridge_name(id), vec![AddressPool::of(subnet.parse().unwrap(), None)])
}

fn ip(place: &EndpointInfo) -> Ipv4Addr {
    place.ipv4().unwrap().0
}

/// Does something in the container's network namespace, on a thread of its own.
fn inside<T: Send + 'static>(pid: u32, f: impl FnOnce() -> T + Send + 'static) -> T {
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net")).unwrap();
    let entered = move || {
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        f()
    };
    std::thread::spawn(entered).join().unwrap()
}

/// A listener in a container; sockets stay in the namespace that they were made in.
fn listen(pid: u32, address: Ipv4Addr) -> TcpListener {
    inside(pid, move || TcpListener::bind((address, 80)).unwrap())
}

fn reaches(pid: u32, address: Ipv4Addr) -> bool {
    let to = SocketAddr::new(IpAddr::V4(address), 80);
    inside(pid, move || TcpStream::connect_timeout(&to, Duration::from_millis(500)).is_ok())
}

#[test]
fn a_container_gets_eth0_with_dockers_addresses() {
    in_namespaces("a_container_gets_eth0_with_dockers_addresses", async || {
        let dir = tempfile::tempdir().unwrap();
        let mut driver = docker0(dir.path()).await;
        let container = Container::start();
        let endpoint = driver.attach("default", "0123456789abcdef", &NO_WISH, container.pid(), "eth0").await.unwrap();
        assert_eq!(endpoint.ipv4(), Some((Ipv4Addr::new(172, 17, 0, 2), 16)));
        assert_eq!(endpoint.gateway4(), Some(Ipv4Addr::new(172, 17, 0, 1)));
        assert_eq!(endpoint.mac.to_string(), "02:42:ac:11:00:02");
        BridgeDriver::route(container.pid(), "eth0", &endpoint).await.unwrap();

        let namespace = NetNamespace::of_pid(container.pid()).unwrap();
        let seen = namespace.observe(&NetPlan::default()).await.unwrap();
        let eth0 = &seen.links["eth0"];
        assert!(eth0.up && seen.links["lo"].up);
        assert_eq!((eth0.mac, eth0.mtu), (Some(endpoint.mac), 1500));
        assert_eq!(eth0.addresses, endpoint.addresses);
        let off = inside(container.pid(), || {
            let own = std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
            !own.lines().any(|line| line.ends_with("eth0"))
        });
        assert!(off, "no IPv6 where the network has none");

        let again = driver.attach("default", "0123456789abcdef", &NO_WISH, container.pid(), "eth0").await.unwrap();
        assert_eq!(again, endpoint, "twice is once");
        driver.detach("default", "0123456789abcdef").await.unwrap();
        driver.detach("default", "0123456789abcdef").await.unwrap();
        assert_eq!(links().await, ["docker0", "lo"]);
    });
}

#[test]
fn containers_reach_the_bridge_and_each_other() {
    in_namespaces("containers_reach_the_bridge_and_each_other", async || {
        let dir = tempfile::tempdir().unwrap();
        let mut driver = docker0(dir.path()).await;
        let (one, two) = (Container::start(), Container::start());
        let first = driver.attach("default", "aaaaaaaaaaaa", &NO_WISH, one.pid(), "eth0").await.unwrap();
        driver.attach("default", "bbbbbbbbbbbb", &NO_WISH, two.pid(), "eth0").await.unwrap();
        let _listener = listen(one.pid(), ip(&first));
        TcpStream::connect((ip(&first), 80)).unwrap();
        assert!(reaches(two.pid(), ip(&first)));
    });
}

#[test]
fn networks_have_bridges_of_their_own_and_a_container_can_be_on_several() {
    in_namespaces("networks_have_bridges_of_their_own_and_a_container_can_be_on_several", async || {
        let dir = tempfile::tempdir().unwrap();
        let mut driver = docker0(dir.path()).await;
        let subnet = driver.choose_subnet().await.unwrap().unwrap();
        assert_eq!(subnet.to_string(), "172.18.0.0/16", "docker0 has the first");
        let mut own = network("0123456789abcdef", &subnet.to_string());
        own.mtu = 1400;
        driver.ensure(&own).await.unwrap();
        assert_eq!(driver.choose_subnet().await.unwrap().unwrap().to_string(), "172.19.0.0/16");
        assert_eq!(links().await, ["br-0123456789ab", "docker0", "lo"]);

        let (both, other) = (Container::start(), Container::start());
        driver.attach("default", "both", &NO_WISH, both.pid(), "eth0").await.unwrap();
        let wish = EndpointWish {
            ipv4: Some(Ipv4Addr::new(172, 18, 7, 7)),
            mac: Some(overlay_network::Mac([2, 0, 0, 0, 0, 9])),
            ..NO_WISH
        };
        let second = driver.attach(&own.id, "both", &wish, both.pid(), "eth1").await.unwrap();
        assert_eq!((ip(&second), second.mac.to_string().as_str()), (Ipv4Addr::new(172, 18, 7, 7), "02:00:00:00:00:09"));
        driver.attach(&own.id, "other", &NO_WISH, other.pid(), "eth0").await.unwrap();
        let seen = NetNamespace::of_pid(both.pid()).unwrap().observe(&NetPlan::default()).await.unwrap();
        assert!(seen.links.contains_key("eth0"));
        assert_eq!((seen.links["eth1"].mtu, seen.links["eth1"].mac), (1400, wish.mac));
        let _listener = listen(both.pid(), ip(&second));
        assert!(reaches(other.pid(), ip(&second)));
        let taken = driver.reserve(&own.id, "third", &wish).unwrap_err();
        assert_eq!(taken.to_string(), "Address already in use");

        driver.remove(&own.id).await.unwrap();
        driver.remove(&own.id).await.unwrap();
        assert_eq!(links().await.iter().filter(|name| name.starts_with("br-")).count(), 0);
        assert!(driver.lookup(&own.id, "both").is_none() && driver.lookup("default", "both").is_some());
    });
}

#[test]
fn without_icc_containers_reach_the_node_but_not_each_other() {
    in_namespaces("without_icc_containers_reach_the_node_but_not_each_other", async || {
        let dir = tempfile::tempdir().unwrap();
        let mut driver = BridgeDriver::open(dir.path()).await.unwrap();
        driver.ensure(&BridgeNetwork::gateway("gw", "172.18.0.0/16".parse().unwrap())).await.unwrap();
        let ingress = driver.reserve_ingress("gw").unwrap();
        assert_eq!(ip(&ingress), Ipv4Addr::new(172, 18, 0, 2));
        let (one, two) = (Container::start(), Container::start());
        let first = driver.attach("gw", "one", &NO_WISH, one.pid(), "eth1").await.unwrap();
        driver.attach("gw", "two", &NO_WISH, two.pid(), "eth1").await.unwrap();
        assert_eq!(ip(&first), Ipv4Addr::new(172, 18, 0, 3), "the ingress network keeps its place");
        let _listener = listen(one.pid(), ip(&first));
        TcpStream::connect((ip(&first), 80)).unwrap();
        assert!(!reaches(two.pid(), ip(&first)));
        let node = TcpListener::bind(("172.18.0.1", 80)).unwrap();
        assert!(reaches(two.pid(), Ipv4Addr::new(172, 18, 0, 1)));
        drop(node);
        driver.reconcile(|_, _| false).await.unwrap();
        assert_eq!(driver.lookup("gw", "overlay_network"), None);
        assert!(driver.lookup("gw", overlay_network::INGRESS_ENDPOINT).is_some(), "not a container's to lose");
    });
}

#[test]
fn a_network_with_ipv6_gives_addresses_of_both_families() {
    in_namespaces("a_network_with_ipv6_gives_addresses_of_both_families", async || {
        if std::fs::read_to_string("/proc/sys/net/ipv6/conf/lo/disable_ipv6").is_ok_and(|off| off.trim() == "0") {
            let dir = tempfile::tempdir().unwrap();
            let mut driver = BridgeDriver::open(dir.path()).await.unwrap();
            let mut both = network("six", "172.18.0.0/16");
            both.pools.push(AddressPool::of("fd00:5::/64".parse().unwrap(), None));
            driver.ensure(&both).await.unwrap();
            let (one, two) = (Container::start(), Container::start());
            let first = driver.attach("six", "one", &NO_WISH, one.pid(), "eth0").await.unwrap();
            let texts: Vec<String> = first.addresses.iter().map(ToString::to_string).collect();
            assert_eq!(texts, ["172.18.0.2/16", "fd00:5::2/64"]);
            assert_eq!(first.gateway6().unwrap().to_string(), "fd00:5::1");
            let wish = EndpointWish { ipv6: Some("fd00:5::99".parse().unwrap()), ..NO_WISH };
            let second = driver.attach("six", "two", &wish, two.pid(), "eth0").await.unwrap();
            assert_eq!(second.ipv6(), Some(("fd00:5::99".parse().unwrap(), 64)));
            BridgeDriver::route(two.pid(), "eth0", &second).await.unwrap();
            let to = first.ipv6().unwrap().0;
            let _listener = inside(one.pid(), move || TcpListener::bind((to, 80)).unwrap());
            let reached = inside(two.pid(), move || {
                TcpStream::connect_timeout(&SocketAddr::new(to.into(), 80), Duration::from_secs(2)).map(|_| ())
            });
            reached.unwrap();
        } else {
            eprintln!("skipped: no IPv6 on this machine");
        }
    });
}

#[test]
fn leases_survive_a_restart_and_those_of_the_dead_are_dropped() {
    in_namespaces("leases_survive_a_restart_and_those_of_the_dead_are_dropped", async || {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (Container::start(), Container::start());
        let mut driver = docker0(dir.path()).await;
        driver.attach("default", "aaaaaaaaaaaa", &NO_WISH, one.pid(), "eth0").await.unwrap();
        let kept = driver.attach("default", "bbbbbbbbbbbb", &NO_WISH, two.pid(), "eth0").await.unwrap();
        drop(driver);

        let mut driver = docker0(dir.path()).await;
        assert_eq!(driver.lookup("default", "bbbbbbbbbbbb"), Some(kept.clone()));
        driver.reconcile(|_, container| container == "bbbbbbbbbbbb").await.unwrap();
        assert_eq!(driver.lookup("default", "aaaaaaaaaaaa"), None);
        let names = links().await;
        assert_eq!((names.len(), names[2].starts_with("veth")), (3, true), "{names:?}");
        let freed = driver.reserve("default", "cccccccccccc", &NO_WISH).unwrap();
        assert_eq!(ip(&freed), Ipv4Addr::new(172, 17, 0, 2), "the freed one");

        drop(driver);
        let file = dir.path().join("default.leases");
        let text = std::fs::read_to_string(&file).unwrap().replace("172.17.0.3", "172.17.0.4");
        std::fs::write(&file, text).unwrap();
        let mut driver = docker0(dir.path()).await;
        assert_eq!(driver.lookup("default", "bbbbbbbbbbbb"), None, "a damaged file starts empty");
        let wish = EndpointWish { ipv4: Some(ip(&kept)), ..NO_WISH };
        assert_eq!(driver.attach("default", "bbbbbbbbbbbb", &wish, two.pid(), "eth0").await.unwrap(), kept);
        assert!(driver.reserve("default", "dddddddddddd", &wish).is_err(), "the address has its owner");
        drop(one);
    });
}

#[test]
fn applying_a_plan_twice_changes_nothing_the_second_time() {
    in_namespaces("applying_a_plan_twice_changes_nothing_the_second_time", async || {
        let peer = Container::start();
        let namespace = NetNamespace::current().unwrap();
        let mut bridge = LinkPlan::new("br0", LinkKind::Bridge);
        bridge.addresses = vec!["10.1.2.1/24".parse().unwrap()];
        bridge.mtu = Some(1400);
        let mut cable = LinkPlan::new(
            "cable0",
            LinkKind::Veth { peer: "eth0".into(), peer_mac: None, peer_namespace: Namespace::Pid(peer.pid()) },
        );
        cable.master = Some("br0".into());
        cable.mtu = Some(1400);
        let plan = NetPlan {
            links: vec![LinkPlan::new("lo", LinkKind::Existing), bridge, cable],
            sysctls: vec![("net/ipv4/ip_forward".into(), "1".into())],
            ..NetPlan::default()
        };
        assert!(!namespace.apply(&plan).await.unwrap().is_empty());
        assert_eq!(namespace.apply(&plan).await.unwrap(), vec![]);
    });
}
