//! The node's own networks by the API: what is made, shown, refused, and there again after a restart. Messages and
//! statuses are those of genuine engines (20.10 asked, 28.5 read).

use super::*;

/// A node, unless this machine lets nobody make bridges here (an ordinary user).
async fn node() -> Option<Node> {
    let node = Node::start().await;
    let probe = node.post("/networks/create", json!({"Name": "probe"})).await;
    if probe.status != 201 {
        eprintln!("skipped: {}", probe.body);
        return None;
    }
    assert_eq!(node.delete("/networks/probe").await.status, 204);
    Some(node)
}

fn network(name: &str, subnet: &str) -> Value {
    json!({"Name": name, "IPAM": {"Config": [{"Subnet": subnet}]}})
}

impl Node {
    async fn made(&self, body: Value) -> String {
        let answer = self.post("/networks/create", body).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.json()["Id"].as_str().unwrap().to_owned()
    }

    async fn names(&self, filters: &str) -> Vec<String> {
        let listed = self.get(&format!("/networks?filters={}", filters.replace('"', "%22"))).await.json();
        listed.as_array().unwrap().iter().map(|one| one["Name"].as_str().unwrap().to_owned()).collect()
    }

    async fn refused(&self, body: Value) -> (u16, String) {
        let answer = self.post("/networks/create", body).await;
        (answer.status.as_u16(), answer.message())
    }
}

#[tokio::test]
async fn a_network_is_made_shown_and_removed() {
    let Some(node) = node().await else { return };
    let id = node
        .made(json!({
            "Name": "own", "Labels": {"tier": "front"}, "Internal": true, "Attachable": true,
            "Options": {"com.docker.network.driver.mtu": "1400"},
        }))
        .await;
    assert_eq!(id.len(), 64);
    for term in ["own", &id, &id[..10]] {
        let shown = node.get(&format!("/networks/{term}")).await.json();
        assert_eq!((&shown["Id"], &shown["Driver"], &shown["Scope"]), (&json!(id), &json!("bridge"), &json!("local")));
        assert_eq!(shown["IPAM"]["Config"], json!([{"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"}]));
        assert_eq!((&shown["Internal"], &shown["Attachable"]), (&json!(true), &json!(true)));
        assert_eq!(shown["Labels"], json!({"tier": "front"}));
        assert_eq!(shown["Options"], json!({"com.docker.network.driver.mtu": "1400"}));
        assert_eq!(shown["Containers"], json!({}));
        serde_json::from_value::<docker_api::models::NetworkInspect>(shown).unwrap();
    }
    let next = node.made(json!({"Name": "next"})).await;
    let next = node.get(&format!("/networks/{next}")).await.json();
    assert_eq!(next["IPAM"]["Config"][0]["Subnet"], "172.19.0.0/16");
    assert_eq!(node.delete("/networks/own").await.status, 204);
    assert_eq!(node.delete("/networks/own").await.message(), "network own not found");
    let until = crate::core::now().as_nanos() / 1_000_000_000 + 1;
    let path = format!("/events?since=1&until={until}&filters={{%22network%22:[%22own%22]}}");
    let told = node.get(&path).await.body;
    let actions: Vec<Value> =
        told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["Action"].clone()).collect();
    assert_eq!(actions, ["create", "destroy"]);
}

#[tokio::test]
async fn only_what_the_user_named_is_shown_of_subnets() {
    let Some(node) = node().await else { return };
    let config =
        json!([{"Subnet": "10.5.0.0/16", "IPRange": "10.5.1.0/24", "AuxiliaryAddresses": {"router": "10.5.1.9"}}]);
    node.made(json!({"Name": "own", "IPAM": {"Config": config}})).await;
    assert_eq!(node.get("/networks/own").await.json()["IPAM"]["Config"], config);
}

#[tokio::test]
async fn networks_are_refused_in_dockers_words() {
    let Some(node) = node().await else { return };
    node.made(network("own", "10.5.0.0/16")).await;
    let already = "network with name own already exists".to_owned();
    assert_eq!(node.refused(json!({"Name": "own"})).await, (409, already));
    for (body, status, message) in [
        (json!({"Name": "host"}), 403, "operation is not permitted on predefined host network"),
        (json!({"Name": ""}), 400, "invalid name: name is empty"),
        (json!({"Name": "x", "Driver": "host"}), 403, "only one instance of \"host\" network is allowed"),
        (json!({"Name": "x", "Driver": "nope"}), 404, "plugin \"nope\" not found"),
        (json!({"Name": "x", "IPAM": {"Driver": "nope"}}), 404, "plugin \"nope\" not found"),
        (network("x", "10.5.9.0/24"), 403, "invalid pool request: Pool overlaps with other one on this address space"),
        (
            network("x", "172.17.3.0/24"),
            403,
            "invalid pool request: Pool overlaps with other one on this address space",
        ),
        (
            network("x", "10.6.0.1/16"),
            400,
            "invalid network config:\ninvalid subnet 10.6.0.1/16: it should be 10.6.0.0/16",
        ),
    ] {
        assert_eq!(node.refused(body.clone()).await, (status, message.to_owned()), "{body}");
    }
    let foreign = json!({"Name": "x", "Options": {"com.docker.network.bridge.name": "lo"}});
    assert_eq!(node.refused(foreign).await.0, 403, "an interface that is no network's is left alone");
    for name in ["bridge", "host", "none"] {
        let answer = node.delete(&format!("/networks/{name}")).await;
        let message = format!("{name} is a pre-defined network and cannot be removed");
        assert_eq!((answer.status.as_u16(), answer.message()), (403, message));
    }
    assert_eq!(node.names("{}").await, ["bridge", "host", "none", "own"], "what was refused left nothing");
}

#[tokio::test]
async fn networks_are_found_by_filters_and_pruned() {
    let Some(node) = node().await else { return };
    node.made(json!({"Name": "one", "Labels": {"a": "1"}})).await;
    node.made(json!({"Name": "two", "Labels": {"a": "2"}})).await;
    assert_eq!(node.names("{\"dangling\":[\"true\"]}").await, ["one", "two"]);
    assert_eq!(node.names("{\"dangling\":[\"false\"]}").await, ["bridge", "host", "none"]);
    assert_eq!(node.names("{\"label\":[\"a=2\"]}").await, ["two"]);
    assert_eq!(node.names("{\"type\":[\"custom\"],\"driver\":[\"bridge\"]}").await, ["one", "two"]);
    assert_eq!(node.names("{\"name\":[\"ridg\"]}").await, ["bridge"]);
    let wrong = node.get("/networks?filters={%22dangling%22:[%22maybe%22]}").await;
    assert_eq!(wrong.status, 400);
    let pruned = node.post("/networks/prune?filters={%22label%22:[%22a=1%22]}", json!({})).await;
    assert_eq!(pruned.json(), json!({"NetworksDeleted": ["one"]}));
    let pruned = node.post("/networks/prune?filters={%22label!%22:[%22a=2%22]}", json!({})).await;
    assert_eq!(pruned.json(), json!({"NetworksDeleted": null}));
    let pruned = node.post("/networks/prune", json!({})).await;
    assert_eq!(pruned.json(), json!({"NetworksDeleted": ["two"]}));
}

#[tokio::test]
async fn a_stopped_container_is_connected_and_disconnected_for_its_next_start() {
    let Some(node) = node().await else { return };
    let own = node.made(network("own", "10.5.0.0/16")).await;
    let id = node.create("c1", tools()).await;
    let networks = async || {
        let shown = node.get("/containers/c1/json").await.json();
        serde_json::from_value::<docker_api::models::ContainerInspectResponse>(shown.clone()).unwrap();
        shown["NetworkSettings"]["Networks"].clone()
    };
    assert_eq!(networks().await.as_object().unwrap().keys().collect::<Vec<_>>(), ["bridge"]);
    let wanted =
        json!({"Container": "c1", "EndpointConfig": {"Aliases": ["db"], "IPAMConfig": {"IPv4Address": "10.5.7.7"}}});
    assert_eq!(node.post("/networks/own/connect", wanted).await.status, 200);
    let shown = networks().await;
    assert_eq!(shown["own"]["Aliases"], json!(["db"]));
    assert_eq!(shown["own"]["DNSNames"], json!(["c1", "db", id[..12]]));
    assert_eq!((&shown["own"]["NetworkID"], &shown["own"]["IPAddress"]), (&json!(own), &json!("")));
    let by_network = format!("/containers/json?all=1&filters={{%22network%22:[%22{own}%22]}}");
    assert_eq!(node.get(&by_network).await.json()[0]["Id"], id);

    for (path, body, status, message) in [
        (
            "own",
            json!({"Container": "c1", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "10.6.0.1"}}}),
            400,
            "invalid endpoint settings:\nno configured subnet or ip-range contain the IP address 10.6.0.1".to_owned(),
        ),
        (
            "bridge",
            json!({"Container": "c1", "EndpointConfig": {"Aliases": ["x"], "IPAMConfig": {"IPv4Address": "172.17.0.9"}}}),
            400,
            "invalid endpoint settings:\nuser specified IP address is supported on user defined networks only\n\
             network-scoped alias is supported only for containers in user defined networks\n\
             user specified IP address is supported only when connecting to networks with user configured subnets"
                .to_owned(),
        ),
        (
            "host",
            json!({"Container": "c1"}),
            400,
            "cannot connect container to host network - container must be created in host network mode".to_owned(),
        ),
        (
            "none",
            json!({"Container": "c1"}),
            400,
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
                .to_owned(),
        ),
        ("own", json!({"Container": "nope"}), 404, "No such container: nope".to_owned()),
    ] {
        let answer = node.post(&format!("/networks/{path}/connect"), body).await;
        assert_eq!((answer.status.as_u16(), answer.message()), (status, message), "{path}");
    }
    assert_eq!(node.post("/networks/bridge/disconnect", json!({"Container": "c1"})).await.status, 200);
    assert_eq!(networks().await.as_object().unwrap().keys().collect::<Vec<_>>(), ["own"]);
    let again = node.post("/networks/bridge/disconnect", json!({"Container": "c1"})).await;
    assert_eq!(
        (again.status.as_u16(), again.message()),
        (500, format!("container {id} is not connected to the network bridge"))
    );
    assert_eq!(node.post("/networks/own/disconnect", json!({"Container": "c1"})).await.status, 200);
    assert_eq!(networks().await, json!({}));
    assert_eq!(node.delete("/networks/own").await.status, 204, "a container that does not run keeps no network");
}

#[tokio::test]
async fn a_new_containers_wishes_are_checked_against_its_networks() {
    let Some(node) = node().await else { return };
    node.made(json!({"Name": "own"})).await;
    let mut body = tools();
    body["HostConfig"] = json!({"NetworkMode": "own"});
    body["NetworkingConfig"] = json!({"EndpointsConfig": {"own": {"IPAMConfig": {"IPv4Address": "172.18.0.9"}}}});
    let refused = node.post("/containers/create", body).await;
    assert_eq!(
        (refused.status.as_u16(), refused.message().as_str()),
        (
            400,
            "invalid config for network own: invalid endpoint settings:\nuser specified IP address is supported only when connecting to networks with user configured subnets"
        )
    );
    let mut body = tools();
    body["HostConfig"] = json!({"NetworkMode": "container:nobody"});
    node.create("alone", body).await;
    let start = node.post("/containers/alone/start", json!({})).await;
    assert_eq!(
        (start.status.as_u16(), start.message().as_str()),
        (500, "joining network namespace of container: No such container: nobody")
    );
    assert_eq!(node.delete("/containers/alone").await.status, 204);
    let mut body = tools();
    body["ExposedPorts"] = json!({"9000/udp": {}});
    body["HostConfig"] = json!({"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}});
    let id = node.create("ports", body).await;
    let shown = node.get(&format!("/containers/{id}/json")).await.json();
    assert_eq!(shown["HostConfig"]["PortBindings"], json!({"80/tcp": [{"HostPort": "8080"}]}));
    assert_eq!(shown["NetworkSettings"]["Ports"], json!({}), "nothing is published before the start");
    assert_eq!(node.get("/containers/json?all=1").await.json()[0]["Ports"], json!([]));
}

#[tokio::test]
async fn networks_are_there_again_after_a_restart() {
    let Some(node) = node().await else { return };
    let id = node.made(network("own", "10.5.0.0/16")).await;
    let options = container_runtime::Options {
        shim_exe: "/proc/self/exe".into(),
        rootless: None,
        cgroups: container_runtime::CgroupMode::Ignore,
    };
    let again = Engine::open(node.dir.path(), options).await.unwrap();
    let names: Vec<String> = again.networks().into_iter().map(|network| network.name).collect();
    assert_eq!(names, ["bridge", "host", "none", "own"]);
    assert_eq!(again.find_network("own").unwrap().unwrap().id, id);
}
