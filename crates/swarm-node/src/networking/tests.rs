//! The pure parts: what becomes of the managers' words and the others' records.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use swarm_types::*;

use super::{plan, task_networks};

fn network(id: u128, name: &str, driver: &str) -> Network {
    let options = BTreeMap::from([("com.docker.network.driver.overlay.vxlanid_list".to_owned(), "4098".to_owned())]);
    Network {
        id: NetworkId::from_bits(id),
        meta: Meta::default(),
        spec: NetworkSpec {
            annotations: Annotations { name: name.into(), ..Annotations::default() },
            ..NetworkSpec::default()
        },
        driver_state: Some(Driver { name: driver.into(), options }),
        ipam: Some(IpamOptions {
            driver: Driver::default(),
            configs: vec![IpamConfig {
                subnet: "10.0.1.0/24".into(),
                gateway: "10.0.1.1".into(),
                ..IpamConfig::default()
            }],
        }),
        pending_delete: false,
    }
}

fn attachment(id: u128, address: &str) -> NetworkAttachment {
    NetworkAttachment {
        network_id: NetworkId::from_bits(id),
        addresses: vec![address.into()],
        aliases: vec!["store".into()],
    }
}

#[test]
fn a_network_becomes_an_overlay_with_the_nodes_own_address() {
    let overlay = plan::overlay(&network(7, "shop", "overlay"), Some(&attachment(7, "10.0.1.4/24"))).unwrap();
    assert_eq!((overlay.vni, overlay.mtu), (4098, 1450));
    assert_eq!(overlay.subnets[0].gateway.to_string(), "10.0.1.1");
    assert_eq!(overlay.load_balancer, ["10.0.1.4/24".parse().unwrap()]);
}

#[test]
fn a_network_that_is_not_allocated_is_refused_with_the_reason() {
    let mut bare = network(7, "shop", "overlay");
    bare.driver_state = None;
    assert_eq!(plan::overlay(&bare, None), Err(plan::Unusable::NoVxlanId));
    let mut bare = network(7, "shop", "overlay");
    bare.ipam = None;
    assert_eq!(plan::overlay(&bare, None), Err(plan::Unusable::NoSubnet));
    let mut odd = network(7, "shop", "overlay");
    odd.ipam.as_mut().unwrap().configs[0].gateway = "nonsense".into();
    assert_eq!(plan::overlay(&odd, None), Err(plan::Unusable::Address("nonsense".into())));
}

fn task(networks: Vec<NetworkAttachment>, mode: EndpointMode) -> Task {
    let port =
        |publish_mode| PortConfig { target_port: 80, published_port: 8080, publish_mode, ..PortConfig::default() };
    Task {
        id: TaskId::from_bits(1),
        meta: Meta::default(),
        service_id: Some(ServiceId::from_bits(2)),
        slot: 1,
        node_id: None,
        spec: Arc::new(TaskSpec::default()),
        spec_version: Version::default(),
        service_annotations: Arc::new(Annotations { name: "web".into(), ..Annotations::default() }),
        status: TaskStatus::default(),
        desired_state: DesiredState::Running,
        networks,
        endpoint: Some(Arc::new(Endpoint {
            spec: EndpointSpec { mode, ports: vec![] },
            ports: vec![port(PublishMode::Ingress), port(PublishMode::Host)],
            virtual_ips: vec![
                VirtualIp { network_id: NetworkId::from_bits(7), address: "10.0.1.2/24".into() },
                VirtualIp { network_id: NetworkId::from_bits(8), address: "10.0.2.2/24".into() },
            ],
        })),
        assigned_resources: vec![],
        job_iteration: None,
    }
}

#[test]
fn a_task_is_known_on_each_network_by_the_virtual_address_of_that_network() {
    let mut ingress = network(8, "ingress", "overlay");
    ingress.spec.ingress = true;
    let networks = [Arc::new(network(7, "shop", "overlay")), Arc::new(ingress)];
    let task = task(vec![attachment(8, "10.0.2.3/24"), attachment(7, "10.0.1.3/24")], EndpointMode::Vip);
    let found = task_networks(&task, &networks).unwrap();
    let names: Vec<_> = found.swarm.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["ingress", "shop"], "in the task's order");
    let [ingress, shop] = &found.swarm[..] else { panic!() };
    let bound = |one: &super::SwarmAttachment| one.service.clone().unwrap();
    assert_eq!(bound(shop).virtual_ips, ["10.0.1.2".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!((bound(shop).aliases, bound(shop).ports), (vec!["store".to_owned()], vec![]));
    assert_eq!(bound(ingress).ports.len(), 1, "ports of the node itself are not the mesh's");
}

#[test]
fn without_virtual_addresses_a_service_is_known_by_its_tasks() {
    let task = task(vec![attachment(7, "10.0.1.3/24")], EndpointMode::DnsRoundRobin);
    let found = task_networks(&task, &[Arc::new(network(7, "shop", "overlay"))]).unwrap();
    assert!(found.swarm[0].service.as_ref().unwrap().virtual_ips.is_empty());
}

#[test]
fn the_nodes_own_networks_are_no_overlays_and_unknown_ones_are_refused() {
    let task = task(vec![attachment(9, "10.0.1.3/24")], EndpointMode::Vip);
    let found = task_networks(&task, &[Arc::new(network(9, "host", "host"))]).unwrap();
    assert_eq!((found.swarm.len(), found.local.as_deref()), (0, Some("host")));
    assert!(task_networks(&task, &[]).unwrap_err().contains("not found"));
}

#[test]
fn peers_and_ports_follow_from_the_view() {
    let view = swarm_gossip::view::NetworkView {
        remote: BTreeSet::from([swarm_gossip::view::RemoteEndpoint {
            addresses: vec!["10.0.1.9".parse().unwrap()],
            data_path: "192.0.2.2".parse().unwrap(),
        }]),
        ..Default::default()
    };
    let peer = plan::peers(&view).pop_first().unwrap();
    assert_eq!(peer.mac.to_string(), "02:42:0a:00:01:09");
    assert!(plan::published(&view).is_empty());
}
