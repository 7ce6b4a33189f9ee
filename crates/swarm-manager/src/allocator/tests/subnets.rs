//! What networks ask for of their addresses, and get.

use super::*;

fn config(subnet: &str, range: &str, gateway: &str) -> IpamConfig {
    let [subnet, range, gateway] = [subnet, range, gateway].map(str::to_owned);
    IpamConfig { subnet, range, gateway, ..IpamConfig::default() }
}

/// A swarm with a network `front` (2) of these subnets, a service on it and as many tasks.
fn swarm(configs: Vec<IpamConfig>, ipv6: bool, tasks: u128) -> Swarm {
    let mut front = network(2, "front");
    front.spec.ipv6 = ipv6;
    front.spec.ipam = Some(IpamOptions { configs, ..IpamOptions::default() });
    let web = service(1, "web", vec![], &["front"]);
    let mut objects: Vec<Object> = (1..=tasks).map(|bits| Object::Task(task(bits, &web).into())).collect();
    objects.extend([mesh(), Object::Node(node(1).into()), Object::Network(front.into()), Object::Service(web.into())]);
    Swarm::new(objects)
}

fn configs(swarm: &Swarm) -> Vec<[String; 2]> {
    let front = swarm.store.networks().get(NetworkId::from_bits(2)).unwrap();
    front.ipam.as_ref().unwrap().configs.iter().map(|c| [c.subnet.clone(), c.gateway.clone()]).collect()
}

fn addresses(swarm: &Swarm, task: u128) -> Vec<String> {
    swarm.task(task).networks[0].addresses.clone()
}

fn vips(swarm: &Swarm) -> Vec<&str> {
    swarm.endpoint(1).virtual_ips.iter().map(|vip| vip.address.as_str()).collect()
}

#[test]
fn a_range_limits_what_is_given_out_and_the_gateway_may_be_chosen() {
    let swarm = swarm(vec![config("10.5.0.0/16", "10.5.7.0/24", "10.5.255.254")], false, 1);
    assert_eq!(configs(&swarm), [["10.5.0.0/16", "10.5.255.254"]]);
    assert_eq!(vips(&swarm), ["10.5.7.0/16"]);
    assert_eq!(addresses(&swarm, 1), ["10.5.7.1/16"]);
    let quirk = self::swarm(vec![config("10.5.0.0/16", "10.5.7.0/24", "")], false, 1);
    assert_eq!(configs(&quirk)[0][1], "10.5.7.0", "Docker takes the gateway from the range as well");
}

#[test]
fn addresses_set_aside_are_nobodys() {
    let mut aside = config("10.5.0.0/29", "", "");
    let reserved = [("router", "10.5.0.1"), ("printer", "10.5.0.3")];
    aside.reserved = reserved.into_iter().map(|(name, address)| (name.to_owned(), address.to_owned())).collect();
    let swarm = swarm(vec![aside], false, 2);
    assert_eq!(configs(&swarm), [["10.5.0.0/29", "10.5.0.2"]]);
    assert_eq!(vips(&swarm), ["10.5.0.4/29"]);
    assert_eq!([addresses(&swarm, 1), addresses(&swarm, 2)].concat(), ["10.5.0.5/29", "10.5.0.6/29"]);
}

#[test]
fn when_one_subnet_is_full_the_next_one_serves() {
    let both = vec![config("10.5.0.0/30", "", ""), config("10.6.0.0/24", "", "")];
    let swarm = swarm(both, false, 2);
    assert_eq!(vips(&swarm), ["10.5.0.2/30"]);
    assert_eq!([addresses(&swarm, 1), addresses(&swarm, 2)].concat(), ["10.6.0.2/24", "10.6.0.3/24"]);
    let front = swarm.store.networks().get(NetworkId::from_bits(2)).unwrap();
    let ids = &front.driver_state.as_ref().unwrap().options[networks::VXLAN_OPTION];
    assert_eq!(ids, "4097,4098", "one for each subnet");
}

#[test]
fn a_full_network_makes_tasks_wait_until_somebody_leaves() {
    let mut swarm = swarm(vec![config("10.5.0.0/29", "", "")], false, 5);
    let states = |swarm: &Swarm| (1..=5).map(|bits| swarm.task(bits).status.state).collect::<Vec<_>>();
    use TaskState::{New, Pending};
    assert_eq!(states(&swarm), [Pending, Pending, Pending, Pending, New]);
    assert_eq!(swarm.task(5).status.err, "could not find an available IP on network front");
    swarm.apply(vec![StoreAction::Remove(ObjectId::Task(TaskId::from_bits(2)))]);
    swarm.settle();
    assert_eq!(swarm.task(5).status.state, Pending);
    assert_eq!(addresses(&swarm, 5), ["10.5.0.4/29"]);
}

#[test]
fn ipv6_stands_beside_ipv4_for_tasks_services_and_nodes() {
    let mut swarm = swarm(vec![config("fd05::/64", "", "")], true, 1);
    assert_eq!(configs(&swarm), [["10.0.1.0/24", "10.0.1.1"], ["fd05::/64", "fd05::1"]]);
    assert_eq!(vips(&swarm), ["10.0.1.2/24", "fd05::2/64"]);
    assert_eq!(addresses(&swarm, 1), ["10.0.1.3/24", "fd05::3/64"]);
    swarm.place(1, 1);
    assert_eq!(swarm.addresses(1), ["10.0.0.2/24", "10.0.1.4/24", "fd05::4/64"]);
}

#[test]
fn ipv6_without_a_subnet_gets_one_that_follows_from_the_swarms_id() {
    let swarm = |id: u128| {
        let cluster = Cluster {
            id: ClusterId::from_bits(id),
            meta: Meta::default(),
            spec: ClusterSpec::default(),
            root_ca: RootCa::default(),
            network_keys: Vec::new(),
            unlock_key: None,
            default_address_pool: vec!["172.30.0.0/16".to_owned(), "172.20.0.0/16".to_owned()],
            subnet_size: 26,
            data_path_port: 4789,
            revoked_nodes: Vec::new(),
        };
        let mut one = network(2, "one");
        one.spec.ipv6 = true;
        let mut two = network(3, "two");
        two.spec.ipv6 = true;
        let networks = [one, two].map(|network| Object::Network(network.into()));
        Swarm::new(std::iter::once(Object::Cluster(cluster.into())).chain(networks).collect())
    };
    let subnets = |swarm: &Swarm| -> Vec<String> {
        let networks = swarm.store.networks().iter();
        networks.flat_map(|n| &n.ipam.as_ref().unwrap().configs).map(|config| config.subnet.clone()).collect()
    };
    let first = swarm(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    assert_eq!(subnets(&first), ["172.20.0.0/26", "fd01:2345:6789::/64", "172.20.0.64/26", "fd01:2345:6789:1::/64"]);
    assert_eq!(subnets(&swarm(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef)), subnets(&first));
    assert_ne!(subnets(&swarm(0x9923_4567_89ab_cdef_0123_4567_89ab_cdef)), subnets(&first));
}

#[test]
fn an_address_that_is_asked_for_is_given_or_said_to_be_taken() {
    let attached = |bits: u128, asked: &[&str]| {
        let mut attached = task(bits, &service(9, "none", vec![], &[]));
        let addresses = asked.iter().map(|text| (*text).to_owned()).collect();
        let networks = vec![NetworkAttachmentConfig {
            target: "front".to_owned(),
            addresses,
            ..NetworkAttachmentConfig::default()
        }];
        let attachment = Some(AttachmentSpec { container_id: format!("c{bits}") });
        attached.spec = TaskSpec { attachment, networks, ..TaskSpec::default() }.into();
        attached.node_id = Some(NodeId::from_bits(1));
        attached.service_id = None;
        StoreAction::Create(Object::Task(attached.into()))
    };
    let mut swarm = swarm(vec![config("10.5.0.0/24", "10.5.0.128/25", ""), config("fd05::/64", "", "")], true, 1);
    swarm.apply(vec![
        attached(11, &["10.5.0.9", "fd05::99"]),
        attached(12, &["10.5.0.9"]),
        attached(13, &["10.7.0.1"]),
    ]);
    swarm.settle();
    assert_eq!(addresses(&swarm, 11), ["10.5.0.9/24", "fd05::99/64"]);
    assert_eq!(swarm.task(12).status.err, "Address already in use: 10.5.0.9");
    assert_eq!(swarm.task(13).status.err, "address 10.7.0.1 is not on network front");
    swarm.apply(vec![StoreAction::Remove(ObjectId::Task(TaskId::from_bits(11)))]);
    swarm.settle();
    assert_eq!(addresses(&swarm, 12)[0], "10.5.0.9/24");
}

#[test]
fn vxlan_ids_are_those_asked_for_or_ones_that_were_not_just_given_up() {
    let mut asked = network(5, "asked");
    asked.spec.driver.as_mut().unwrap().options.insert(networks::VXLAN_OPTION.to_owned(), "77".to_owned());
    let mut swarm = Swarm::new(vec![mesh(), Object::Network(network(2, "one").into()), Object::Network(asked.into())]);
    let id = |swarm: &Swarm, bits| {
        let network = swarm.store.networks().get(NetworkId::from_bits(bits)).unwrap();
        network.driver_state.as_ref().unwrap().options[networks::VXLAN_OPTION].clone()
    };
    assert_eq!([id(&swarm, 1), id(&swarm, 2), id(&swarm, 5)], ["4096", "4097", "77"]);
    swarm.apply(vec![StoreAction::Remove(ObjectId::Network(NetworkId::from_bits(2)))]);
    swarm.apply(vec![StoreAction::Create(Object::Network(network(3, "two").into()))]);
    swarm.settle();
    assert_eq!(id(&swarm, 3), "4098");
}

#[test]
fn a_network_of_each_node_gives_no_addresses() {
    let mut host = network(4, "host");
    host.spec.driver = Some(Driver { name: "host".to_owned(), ..Driver::default() });
    let web = service(1, "web", vec![], &["host"]);
    let mut swarm = Swarm::new(vec![
        Object::Node(node(1).into()),
        Object::Network(host.into()),
        Object::Task(task(1, &web).into()),
        Object::Service(web.into()),
    ]);
    assert_eq!(swarm.task(1).status.state, TaskState::Pending);
    assert_eq!(addresses(&swarm, 1), [""; 0]);
    assert!(swarm.endpoint(1).virtual_ips.is_empty());
    swarm.place(1, 1);
    assert_eq!(swarm.addresses(1), [""; 0], "nodes have no address on it either");
}

#[test]
fn ports_and_networks_of_a_service_change_while_it_lives() {
    let web = service(1, "web", vec![port(8080)], &["front"]);
    let networks = [network(2, "front"), network(3, "back")].map(|network| Object::Network(network.into()));
    let mut swarm = Swarm::new([mesh(), Object::Service(web.into())].into_iter().chain(networks).collect());
    let mut update = |edit: &dyn Fn(&mut ServiceSpec)| {
        let mut web = Service::clone(swarm.store.services().get(ServiceId::from_bits(1)).unwrap());
        edit(&mut web.spec);
        swarm.apply(vec![StoreAction::Update(Object::Service(web.into()))]);
        swarm.settle();
        let endpoint = swarm.endpoint(1).clone();
        let vips: Vec<String> = endpoint.virtual_ips.iter().map(|vip| vip.address.clone()).collect();
        (vips, endpoint.ports.iter().map(|port| port.published_port).collect::<Vec<_>>())
    };
    let on = |names: &'static [&'static str]| {
        move |spec: &mut ServiceSpec| {
            let attach = |name: &&str| NetworkAttachmentConfig { target: (*name).to_owned(), ..Default::default() };
            Arc::make_mut(&mut spec.task).networks = names.iter().map(attach).collect();
        }
    };
    let ports =
        |ports: Vec<PortConfig>| move |spec: &mut ServiceSpec| spec.endpoint.as_mut().unwrap().ports.clone_from(&ports);
    let text = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    assert_eq!(update(&|_| {}), (text(&["10.0.0.2/24", "10.0.1.2/24"]), vec![8080]));
    assert_eq!(update(&on(&["back", "front"])).0, ["10.0.0.2/24", "10.0.1.2/24", "10.0.2.2/24"]);
    assert_eq!(update(&on(&["back"])).0, ["10.0.0.2/24", "10.0.2.2/24"]);
    assert_eq!(update(&ports(vec![port(0), port(9090)])).1, [30_000, 9090]);
    assert_eq!(update(&ports(vec![])), (text(&["10.0.2.2/24"]), vec![]));
    let dnsrr = |spec: &mut ServiceSpec| spec.endpoint.as_mut().unwrap().mode = EndpointMode::DnsRoundRobin;
    assert_eq!(update(&dnsrr).0, [""; 0]);
    for id in [1, 2, 3] {
        assert_eq!(swarm.allocator.networks.in_use(NetworkId::from_bits(id)), 1, "the gateway");
    }
}
