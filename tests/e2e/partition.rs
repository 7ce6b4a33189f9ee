//! A swarm that is divided and grows together again: what goes on in its parts meanwhile, and that afterwards every node
//! knows the same, and nothing of what is no more.
#![allow(clippy::unwrap_used)]

use crate::support::{Cluster, Shares, poll};

/// A network, a service on workers that publishes port 8080, one client on each node, and one in each node's own network.
fn shop(c: &Cluster, nodes: &[&str], replicas: usize) {
    c.ok("manager1 network create -d overlay --subnet 10.5.0.0/24 shop");
    c.ok(&format!(
        "manager1 service create -d --name web --network shop --publish 8080:80 --replicas {replicas} --constraint node.role==worker swarmlab/web:1.0"
    ));
    c.ok("manager1 service create -d --name client --network shop --mode global swarmlab/tools:1.0 sleep infinity");
    for node in nodes {
        c.ok(&format!("{node} run -d --name probe --network host swarmlab/tools:1.0 sleep infinity"));
    }
    c.running("web", &format!("{replicas}/{replicas}"));
    c.running("client", &format!("{0}/{0}", nodes.len()));
}

/// A client on this node finds these tasks of a service, each once, and reaches each of them in its turn by the name.
/// The client is looked for each time: that of a node which was cut off is replaced when the node is back.
fn finds(c: &Cluster, node: &str, service: &str, tasks: &[String]) {
    let names = || {
        let client = c.container_of(node, "client");
        (c.addresses(node, &client, &format!("tasks.{service}")), c.addresses(node, &client, service).len())
    };
    let what = format!("as {}: {node} knows the tasks of {service} and its one virtual address", c.user.name());
    poll(&what, names, |(found, virtual_ips)| found == tasks && *virtual_ips == 1);
    spreads(c, node, || c.container_of(node, "client"), &format!("http://{service}/"), tasks.len());
}

/// Connections that a container makes go to this number of tasks in turn.
fn spreads(c: &Cluster, node: &str, container: impl Fn() -> String, url: &str, tasks: usize) {
    let even = vec![2; tasks];
    let what = format!("as {}: an even spread of {url} from {node}", c.user.name());
    let even = |shares: &Shares| !shares.contains_key("-") && shares.values().copied().collect::<Vec<_>>() == even;
    poll(&what, || c.tried(node, &container(), url, tasks * 2), even);
}

/// The same of the published port at one of a node's addresses, in the network of a node.
fn published(c: &Cluster, node: &str, address: &str, tasks: usize) {
    spreads(c, node, || "probe".to_owned(), &format!("http://{address}:8080/"), tasks);
}

/// The addresses of a service's tasks that run on a node, as its containers say.
fn on(c: &Cluster, node: &str, service: &str) -> Vec<String> {
    let ids = c.ok(&format!("{node} ps -q -f label=com.docker.swarm.service.name={service}"));
    let ids: Vec<&str> = ids.split_whitespace().collect();
    let told = c.ok(&format!("{node} inspect -f '{{{{.NetworkSettings.Networks.shop.IPAddress}}}}' {}", ids.join(" ")));
    let mut addresses: Vec<String> = told.split_whitespace().map(str::to_owned).collect();
    addresses.sort();
    addresses
}

#[test]
fn services_go_on_in_every_part_of_a_swarm_without_quorum_and_it_grows_together_again() {
    let nodes = ["manager1", "manager2", "manager3", "worker1", "worker2"];
    for c in Cluster::each(3, 2) {
        shop(&c, &nodes, 4);
        let all = c.given("web");
        assert_eq!(all.len(), 4);
        let parts = [["manager1", "worker1"], ["manager2", "worker2"]];
        let tasks = parts.map(|[_, worker]| on(&c, worker, "web"));
        assert_eq!(tasks.concat().len(), 4);
        let ids = |worker: &str| c.ok(&format!("{worker} ps -q --no-trunc -f label=com.docker.swarm.service.name=web"));
        let before = parts.map(|[_, worker]| ids(worker));

        c.fault("partition manager1,worker1 --from manager2,manager3,worker2");
        c.fault("partition manager2,worker2 --from manager3");
        for manager in ["manager1", "manager2", "manager3"] {
            poll(
                &format!("{manager} has no leader"),
                || c.docker(&format!("{manager} node ls")),
                |done| done.code == Some(1) && done.err.contains("The swarm does not have a leader"),
            );
        }
        for (part, tasks) in parts.iter().zip(&tasks) {
            for node in part {
                finds(&c, node, "web", tasks);
                for address in part {
                    published(&c, node, address, tasks.len());
                }
            }
        }
        c.refused("manager1 service scale -d web=3", 1, "The swarm does not have a leader");

        c.fault("heal");
        assert_eq!(c.fault("ls"), "Nothing is broken.\n");
        let members = "{{.Hostname}} {{.Status}} {{.ManagerStatus}}";
        for manager in ["manager1", "manager2", "manager3"] {
            c.until(&format!("{manager} node ls --format '{members}'"), |out| {
                let count = |status: &str| out.lines().filter(|line| line.trim_end().ends_with(status)).count();
                (count("Ready Leader"), count("Ready Reachable"), count("Ready")) == (1, 2, 2)
            });
        }
        for node in nodes {
            finds(&c, node, "web", &all);
        }
        assert_eq!(parts.map(|[_, worker]| ids(worker)), before, "as {}: nothing was restarted", c.user.name());

        c.ok("manager2 service update -d --image swarmlab/web:2.0 --update-parallelism 0 web");
        let image = "manager3 service ps -f desired-state=running --format '{{.Image}} {{.CurrentState}}' web";
        c.until(image, |out| out.lines().filter(|line| line.starts_with("swarmlab/web:2.0 Running")).count() == 4);
        let new = c.given("web");
        assert_eq!(new.len(), 4);
        for node in nodes {
            finds(&c, node, "web", &new);
            published(&c, node, "127.0.0.1", 4);
            let page = c.fetch(node, "probe", "http://127.0.0.1:8080/").unwrap();
            assert!(page.contains("version: 2.0"), "as {}: {node}: {page}", c.user.name());
        }
    }
}

#[test]
fn nobody_keeps_an_address_of_a_task_that_died_or_was_replaced_while_its_node_was_cut_off() {
    let nodes = ["manager1", "worker1", "worker2"];
    for c in Cluster::each(1, 2) {
        shop(&c, &nodes, 2);
        c.ok("manager1 service create -d --name api --network shop --replicas 2 --constraint node.role==worker swarmlab/web:1.0");
        c.running("api", "2/2");
        let services = ["web", "api"];
        for service in services {
            finds(&c, "worker2", service, &c.given(service));
        }

        assert_eq!(c.fault("partition worker2"), "worker2 is cut off from manager1, worker1\n");
        // one dies with nobody to tell, the other runs on without being wanted
        c.ok(&format!("worker2 kill {}", c.container_of("worker2", "web")));
        for service in services {
            let place = format!(
                "manager1 service ps -f desired-state=running --format '{{{{.Node}}}} {{{{.CurrentState}}}}' {service}"
            );
            c.until(&place, |out| out.lines().filter(|line| line.starts_with("worker1 Running")).count() == 2);
            finds(&c, "worker1", service, &c.given(service));
            finds(&c, "manager1", service, &c.given(service));
        }
        c.until("manager1 node ls --format '{{.Hostname}} {{.Status}}'", |out| out.contains("worker2 Down"));

        c.fault("heal");
        assert_eq!(c.fault("ls"), "Nothing is broken.\n");
        c.until("manager1 node ls --format '{{.Status}}'", |out| out == "Ready\nReady\nReady");
        c.until("worker2 ps --format '{{.Label \"com.docker.swarm.service.name\"}}'", |out| {
            let mut running: Vec<&str> = out.split_whitespace().collect();
            running.sort_unstable();
            running == ["client"]
        });
        for node in nodes {
            for service in services {
                finds(&c, node, service, &c.given(service));
            }
            published(&c, node, "127.0.0.1", 2);
        }
    }
}

#[test]
fn without_gossip_alone_connections_among_those_who_hear_each_other_go_on_and_afterwards_all_know_the_same() {
    let nodes = ["manager1", "worker1", "worker2"];
    for c in Cluster::each(1, 2) {
        shop(&c, &nodes, 2);
        let all = c.given("web");
        // A request that is not finished before it is told so, over each of two connections: one to each task.
        let request = "trap \"\" PIPE; \
                       for at in 3 4; do eval \"exec $at<>/dev/tcp/web/80\"; printf \"GET / HTTP/1.0\\r\\n\" >&$at; done; \
                       touch /tmp/open; \
                       until [ -e /tmp/finish ]; do printf \"X-More: 1\\r\\n\" >&3; printf \"X-More: 1\\r\\n\" >&4; sleep 0.5; done; \
                       for at in 3 4; do printf \"\\r\\n\" >&$at; cat <&$at >>/tmp/page; done; touch /tmp/done";
        let clients = ["manager1", "worker1"].map(|node| (node, c.container_of(node, "client")));
        for (node, client) in &clients {
            finds(&c, node, "web", &all);
            c.ok(&format!("{node} exec -d {client} bash -c '{request}'"));
            c.until(&format!("{node} exec {client} ls /tmp"), |out| out.contains("open"));
        }

        c.fault("block worker1 --port 7946");
        let known = |node: &str| c.addresses(node, &c.container_of(node, "client"), "tasks.web").len();
        poll("worker1's word is missed", || known("manager1"), |count| *count == 1);
        poll("worker1 misses the others'", || known("worker1"), |count| *count == 1);
        for (node, client) in &clients {
            c.ok(&format!("{node} exec {client} touch /tmp/finish"));
            c.until(&format!("{node} exec {client} ls /tmp"), |out| out.contains("done"));
            // The one to the task that is still heard of goes on; the other was ended, not left hanging.
            let pages = c.ok(&format!("{node} exec {client} cat /tmp/page"));
            assert_eq!(pages.matches("version: 1.0").count(), 1, "as {}: {node}: {pages}", c.user.name());
            spreads(&c, node, || client.clone(), "http://web/", 1);
        }

        c.fault("heal");
        assert_eq!(c.fault("ls"), "Nothing is broken.\n");
        for node in nodes {
            finds(&c, node, "web", &all);
            published(&c, node, "127.0.0.1", 2);
        }
    }
}
