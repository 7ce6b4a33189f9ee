//! The swarm's networks with real packets: names, virtual addresses, the routing mesh, faults between nodes.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::support::Cluster;

/// The task's host name that answers a request which a container makes.
fn answering(c: &Cluster, node: &str, container: &str, url: &str) -> Option<String> {
    let page = c.fetch(node, container, url)?;
    Some(page.lines().find_map(|line| line.strip_prefix("hostname:")).unwrap_or(&page).trim().to_owned())
}

/// How often each of so many tasks answers `count` requests that a container makes, once all of them answer: a task runs
/// before the server in it listens, and each node hears of it in its own time.
fn shares(c: &Cluster, node: &str, container: &str, url: &str, tasks: usize, count: usize) -> BTreeMap<String, usize> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let seen: Vec<Option<String>> = (0..tasks).map(|_| answering(c, node, container, url)).collect();
        if seen.iter().flatten().collect::<BTreeSet<_>>().len() == tasks {
            break;
        }
        assert!(Instant::now() < deadline, "{url} from {node}: not {tasks} tasks: {seen:?}");
    }
    let mut shares = BTreeMap::new();
    for _ in 0..count {
        let host = answering(c, node, container, url).unwrap_or_else(|| panic!("{url} does not answer"));
        *shares.entry(host).or_default() += 1;
    }
    shares
}

#[test]
fn tasks_on_different_nodes_find_and_reach_each_other_by_name() {
    for c in Cluster::each(1, 2) {
        c.ok("manager1 network create -d overlay --subnet 10.5.0.0/24 shop");
        c.ok("manager1 service create -d --name web --network name=shop,alias=store --replicas 4 swarmlab/web:1.0");
        c.ok("manager1 service create -d --name client --network shop --mode global swarmlab/tools:1.0 sleep infinity");
        c.running("web", "4/4");
        c.running("client", "3/3");
        for node in ["manager1", "worker1", "worker2"] {
            let client = c.container_of(node, "client");
            let shares = shares(&c, node, &client, "http://web/", 4, 8);
            assert_eq!(shares.values().copied().collect::<Vec<_>>(), [2, 2, 2, 2], "an even spread from {node}");
            assert!(c.fetch(node, &client, "http://store/").is_some(), "by its alias");
            let tasks = c.ok(&format!("{node} exec {client} nslookup tasks.web"));
            assert_eq!(tasks.matches("10.5.0.").count(), 4, "{tasks}");
            let vip = c.ok(&format!("{node} exec {client} nslookup web"));
            assert_eq!(vip.matches("10.5.0.").count(), 1, "{vip}");
        }
        // What stops leaves, what starts comes.
        c.ok("manager1 service scale -d web=1");
        let client = c.container_of("worker1", "client");
        c.until(&format!("worker1 exec {client} nslookup tasks.web"), |out| out.matches("10.5.0.").count() == 1);
        assert_eq!(shares(&c, "worker1", &client, "http://web/", 1, 3).len(), 1);
        // Nobody else's names are known, nobody else's addresses are reached.
        c.ok("manager1 network create -d overlay other");
        c.ok("manager1 service create -d --name lonely --network other --constraint node.hostname==worker1 swarmlab/tools:1.0 sleep infinity");
        c.running("lonely", "1/1");
        let lonely = c.container_of("worker1", "lonely");
        assert_ne!(c.docker(&format!("worker1 exec {lonely} nslookup web")).code, Some(0), "as {}", c.user.name());
        assert!(c.fetch("worker1", &lonely, "http://10.5.0.2/").is_none());
        c.refused("manager1 network rm shop", 1, "is in use by service");
        c.ok("manager1 service rm web client lonely");
        c.until("manager1 network rm shop other", |out| out == "shop\nother");
    }
}

#[test]
fn every_node_of_a_network_shows_its_services_tasks_and_nodes() {
    for c in Cluster::each(1, 1) {
        c.ok("manager1 network create -d overlay --subnet 10.5.0.0/24 shop");
        c.ok("manager1 network create -d overlay idle");
        assert_eq!(c.ok("manager1 network inspect -f '{{json .Containers}}' shop"), "null", "no task, no part in it");
        c.refused("worker1 network inspect shop", 1, "network shop not found");
        // a manager knows a `host` and a `bridge` of the swarm besides its own
        c.refused("manager1 network create host", 1, "network with name host already exists");
        c.refused("manager1 network create -d overlay bridge", 1, "network with name bridge already exists");
        c.refused("manager1 network create none", 1, "operation is not permitted on predefined none network");
        c.refused("worker1 network create host", 1, "operation is not permitted on predefined host network");
        c.ok("manager1 service create -d --name web --network shop --replicas 2 --placement-pref spread=node.id --publish 8080:80 swarmlab/web:1.0");
        c.running("web", "2/2");
        let vip = c.ok("manager1 service inspect -f '{{range .Endpoint.VirtualIPs}}{{.Addr}} {{end}}' web");
        let vip = vip.split(' ').find_map(|vip| vip.strip_suffix("/24").filter(|ip| ip.starts_with("10.5."))).unwrap();
        let tasks = "{{with index .Services \"web\"}}{{.VIP}}{{range .Tasks}} {{.Name}}={{.EndpointIP}}{{end}}{{end}}";
        let names = c.ok("manager1 service ps --no-trunc --format '{{.Name}}.{{.ID}}' web");
        for node in ["manager1", "worker1"] {
            let inspect = format!("{node} network inspect");
            let all = |out: &str| out.starts_with(&format!("{vip} ")) && names.lines().all(|name| out.contains(name));
            let shown = c.until(&format!("{inspect} -v -f '{tasks}' shop"), all);
            assert_eq!(shown.matches("=10.5.0.").count(), 2, "{shown}");
            c.until(&format!("{inspect} -f '{{{{len .Peers}}}}' shop"), |out| out == "2");
            let own = c.container_of(node, "web");
            let place = "{{.Name}} {{.MacAddress}} {{.IPv4Address}},{{end}}";
            let containers = c.ok(&format!("{inspect} -f '{{{{range .Containers}}}}{place}' shop"));
            assert!(containers.contains("shop-endpoint 02:42:0a:05:00:"), "as {}: {containers}", c.user.name());
            assert_eq!(containers.matches("/24,").count(), 2, "{containers}");
            assert!(c.ok(&format!("{inspect} shop")).contains(&format!("\"{own}")), "the container by its id");
            assert!(!c.ok(&format!("{inspect} shop")).contains("Services"), "only with --verbose");
            let ports = "{{with index .Services \"web\"}}{{.Ports}}{{end}}";
            assert_eq!(c.ok(&format!("{inspect} -v -f '{ports}' ingress")), "[Target: 80, Publish: 8080]");
        }
        let swarm = |node: &str| c.ok(&format!("{node} network ls -f scope=swarm --format '{{{{.Name}}}}'"));
        assert_eq!(swarm("manager1"), "idle\ningress\nshop");
        assert_eq!(swarm("worker1"), "ingress\nshop", "a worker knows those that it takes part in");
        c.refused("worker1 network rm shop", 1, "This node is not a swarm manager");
        c.refused("manager1 network rm shop", 1, "is in use by service");
        c.ok("manager1 service rm web");
        c.until("worker1 network ls -f scope=swarm --format '{{.Name}}'", |out| out == "ingress");
        c.until("manager1 network inspect -f '{{json .Containers}}' shop", |out| out == "null");
    }
}

#[test]
fn a_published_port_answers_on_every_node_and_spreads_evenly() {
    for c in Cluster::each(1, 2) {
        c.ok("manager1 service create -d --name web --publish 8080:80 --replicas 2 --constraint node.role==worker swarmlab/web:1.0");
        c.running("web", "2/2");
        for node in ["manager1", "worker1", "worker2"] {
            c.ok(&format!("{node} run -d --name probe --network host swarmlab/tools:1.0 sleep infinity"));
            let mut addresses = vec!["127.0.0.1", "manager1", "worker1", "worker2"];
            if std::path::Path::new("/proc/sys/net/ipv6").exists() {
                addresses.extend(["[::1]", "localhost"]);
            }
            for address in addresses {
                let shares = shares(&c, node, "probe", &format!("http://{address}:8080/"), 2, 6);
                assert_eq!(shares.values().copied().collect::<Vec<_>>(), [3, 3], "{node} at {address}: {shares:?}");
            }
        }
        c.until("manager1 service ls --format '{{.Ports}}'", |out| out == "*:8080->80/tcp");
        c.refused(
            "manager1 service create -d --name other --publish 8080:80 swarmlab/web:1.0",
            1,
            "port '8080' is already in use by service 'web'",
        );
        c.ok("manager1 service rm web");
    }
}

#[test]
fn existing_services_go_on_without_any_manager() {
    let c = Cluster::one(1, 2);
    c.ok("manager1 network create -d overlay shop");
    c.ok("manager1 service create -d --name web --network shop --replicas 2 --constraint node.role==worker swarmlab/web:1.0");
    c.ok("manager1 service create -d --name client --network shop --mode global --constraint node.role==worker swarmlab/tools:1.0 sleep infinity");
    c.running("web", "2/2");
    c.running("client", "2/2");
    let client = c.container_of("worker1", "client");
    assert_eq!(shares(&c, "worker1", &client, "http://web/", 2, 4).len(), 2);
    c.power("manager1", "kill");
    let deadline = Instant::now() + Duration::from_secs(12);
    while Instant::now() < deadline {
        let seen: BTreeSet<_> = (0..2).map(|_| answering(&c, "worker1", &client, "http://web/")).collect();
        assert!(seen.len() == 2 && !seen.contains(&None), "names and tasks are still there: {seen:?}");
    }
}
