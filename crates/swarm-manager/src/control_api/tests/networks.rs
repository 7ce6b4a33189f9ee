//! Networks: what may be created, in Docker's words.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use swarm_types::*;

use super::fixture::{Leader, publishing, spec};
use crate::control_api::*;

fn create(name: &str, edit: impl FnOnce(&mut NetworkSpec)) -> ControlRequest {
    let mut spec = NetworkSpec { annotations: Annotations::named(name), ..NetworkSpec::default() };
    edit(&mut spec);
    ControlRequest::CreateNetwork(Box::new(spec))
}

fn config(subnet: &str, range: &str, gateway: &str) -> IpamConfig {
    let [subnet, range, gateway] = [subnet, range, gateway].map(str::to_owned);
    IpamConfig { subnet, range, gateway, ..IpamConfig::default() }
}

fn with(configs: Vec<IpamConfig>) -> ControlRequest {
    create("n", |spec| spec.ipam = Some(IpamOptions { configs, ..IpamOptions::default() }))
}

fn subnet(text: &str) -> ControlRequest {
    with(vec![config(text, "", "")])
}

#[test]
fn subnets_and_addresses_are_checked_in_themselves() {
    let mut leader = Leader::of(1, 0);
    let mut aux = config("10.1.0.0/24", "", "");
    aux.reserved = [("router".to_owned(), "10.2.0.1".to_owned())].into();
    for (config, message) in [
        (config("10.1", "", ""), "invalid subnet 10.1: invalid CIDR block notation"),
        (config("10.1.0.0/33", "", ""), "invalid subnet 10.1.0.0/33: invalid CIDR block notation"),
        (config("10.1.0.7/24", "", ""), "invalid subnet 10.1.0.7/24: it should be 10.1.0.0/24"),
        (config("10.1.0.0/24", "x", ""), "invalid ip-range x: invalid CIDR block notation"),
        (
            config("10.1.0.0/24", "10.2.0.0/25", ""),
            "invalid ip-range 10.2.0.0/25: parent subnet 10.1.0.0/24 doesn't contain ip-range",
        ),
        (config("10.1.0.0/24", "fd00::/64", ""), "invalid ip-range fd00::/64: parent subnet is an IPv4 block"),
        (config("10.1.0.0/24", "", "x"), "invalid gateway x: invalid address"),
        (
            config("10.1.0.0/24", "", "10.1.1.1"),
            "invalid gateway 10.1.1.1: parent subnet 10.1.0.0/24 doesn't contain this address",
        ),
        (config("10.1.0.0/24", "", "fd00::1"), "invalid gateway fd00::1: parent subnet is an IPv4 block"),
        (aux, "invalid auxiliary address router: parent subnet 10.1.0.0/24 doesn't contain this address"),
    ] {
        assert_eq!(leader.refused(&with(vec![config])), format!("invalid network config:\n{message}"));
    }
    let many = config("10.1.0.7/24", "10.1.0.0/16", "");
    let message = leader.refused(&with(vec![many]));
    assert_eq!(
        message,
        "invalid network config:\n* invalid subnet 10.1.0.7/24: it should be 10.1.0.0/24\n* invalid ip-range \
         10.1.0.0/16: CIDR block is bigger than its parent subnet 10.1.0.7/24"
    );
    for (gateway, reserved) in [("10.1.0.0", None), ("10.1.0.255", None), ("10.1.0.9", Some("10.1.0.9"))] {
        let mut taken = config("10.1.0.0/24", "", gateway);
        taken.reserved = reserved.into_iter().map(|text| ("a".to_owned(), text.to_owned())).collect();
        assert!(leader.refused(&with(vec![taken])).ends_with("Address already in use"), "{gateway}");
    }
    leader.ask(&with(vec![config("10.1.0.0/24", "10.1.0.128/25", "10.1.0.1"), config("fd01::/64", "", "")])).unwrap();
}

#[test]
fn overlapping_subnets_are_refused() {
    let mut leader = Leader::of(1, 0);
    let overlap = "invalid pool request: Pool overlaps with other one on this address space";
    let twice = with(vec![config("10.9.0.0/24", "", ""), config("10.9.0.128/25", "", "")]);
    assert_eq!(leader.refused(&twice), overlap);
    leader
        .ask(&create("other", |spec| {
            spec.ipam = Some(IpamOptions { configs: vec![config("10.1.0.0/24", "", "")], ..IpamOptions::default() });
        }))
        .unwrap();
    for text in ["10.1.0.0/24", "10.1.0.128/25", "10.0.0.0/8"] {
        let refused = leader.ask(&subnet(text)).unwrap_err();
        assert_eq!((refused.kind, refused.message.as_str()), (ControlErrorKind::PermissionDenied, overlap), "{text}");
    }
    leader.ask(&subnet("10.1.1.0/24")).unwrap();
}

#[test]
fn without_a_free_subnet_in_the_pools_one_must_be_named() {
    let mut leader = Leader::of(1, 0);
    let mut cluster = Cluster::clone(leader.store.cluster().unwrap());
    cluster.default_address_pool = vec!["10.1.0.0/24".to_owned()];
    leader.apply(vec![crate::store::StoreAction::Update(Object::Cluster(Arc::new(cluster)))]);
    leader
        .ask(&create("all", |spec| {
            spec.ipam = Some(IpamOptions { configs: vec![config("10.1.0.0/24", "", "")], ..IpamOptions::default() });
        }))
        .unwrap();
    assert_eq!(leader.refused(&create("n", |_| {})), "all predefined address pools have been fully subnetted");
    leader.ask(&subnet("10.2.0.0/24")).unwrap();
}

#[test]
fn drivers_and_options_are_checked() {
    let mut leader = Leader::of(1, 0);
    let driver = |name: &str, options: &[(&str, &str)]| {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Some(Driver { name: name.to_owned(), options })
    };
    let of = |driver| create("n", |spec| spec.driver = driver);
    assert_eq!(
        leader.refused(&of(driver("weave", &[]))),
        "rpc error: code = InvalidArgument desc = error during lookup of plugin weave"
    );
    assert_eq!(leader.ask(&of(driver("bridge", &[]))).unwrap_err().kind, ControlErrorKind::Unimplemented);
    let vxlan = "com.docker.network.driver.overlay.vxlanid_list";
    for bad in ["x", "-1", "16777216", "1,x"] {
        assert!(leader.refused(&of(driver("overlay", &[(vxlan, bad)]))).starts_with("invalid vxlan id value"), "{bad}");
    }
    assert_eq!(
        leader.refused(&create("n", |spec| spec.scope = "local".to_owned())),
        "cannot downgrade network scope for overlay networks"
    );
    let label =
        create("n", |spec| drop(spec.annotations.labels.insert(PREDEFINED_LABEL.to_owned(), "true".to_owned())));
    assert_eq!(leader.ask(&label).unwrap_err().kind, ControlErrorKind::PermissionDenied);
    leader.ask(&of(driver("overlay", &[(vxlan, "5000,5001")]))).unwrap();
    assert_eq!(leader.refused(&create("N", |_| {})), "network with name N already exists");
}

#[test]
fn the_ingress_network_is_one_and_goes_when_nothing_is_published() {
    let mut leader = Leader::of(1, 0).with_ingress();
    let prefix = "rpc error: code =";
    let both = create("mesh", |spec| (spec.ingress, spec.attachable) = (true, true));
    assert_eq!(leader.refused(&both), format!("{prefix} InvalidArgument desc = ingress network cannot be attachable"));
    let id = leader.store.networks().by_name("ingress").unwrap().id;
    let mesh = || create("mesh", |spec| spec.ingress = true);
    assert_eq!(
        leader.refused(&mesh()),
        format!("{prefix} AlreadyExists desc = ingress network ({id}) is already present")
    );
    let mut web = spec("web");
    web.endpoint = Some(EndpointSpec {
        ports: vec![PortConfig { target_port: 80, ..PortConfig::default() }],
        ..EndpointSpec::default()
    });
    let web = leader.create(&web);
    let remove = ControlRequest::RemoveNetwork("ingress".into());
    assert_eq!(
        leader.refused(&remove),
        format!(
            "{prefix} FailedPrecondition desc = ingress network cannot be removed because service {web} depends on it"
        )
    );
    leader.ask(&ControlRequest::RemoveService("web".into())).unwrap();
    leader.ask(&remove).unwrap();
    leader.ask(&mesh()).unwrap();
    let other = create("n", |spec| {
        (spec.ingress, spec.driver) = (true, Some(Driver { name: "bridge".into(), ..Driver::default() }));
    });
    assert_eq!(leader.refused(&other), "Ingress network can only be global scope network");
}

#[test]
fn a_network_in_use_stays() {
    let mut leader = Leader::of(1, 0);
    leader.ask(&create("n", |_| {})).unwrap();
    let mut web = spec("web");
    Arc::make_mut(&mut web.task).networks =
        vec![NetworkAttachmentConfig { target: "n".into(), ..NetworkAttachmentConfig::default() }];
    let web = leader.create(&web);
    let message = leader.refused(&ControlRequest::RemoveNetwork("n".into()));
    assert!(message.ends_with(&format!("is in use by service {web}")), "{message}");
    leader.ask(&ControlRequest::RemoveService("web".into())).unwrap();
    leader.ask(&ControlRequest::RemoveNetwork("n".into())).unwrap();
}

/// Each is refused with nothing half created ([`Leader::refused`] compares the store). The messages are those of a Docker
/// 20.10 that was asked the same, or, for subnets, of Docker 28, which checks more.
#[test]
fn bad_input_of_networks_and_ports_is_refused_and_leaves_nothing() {
    let mut leader = Leader::of(1, 1).with_ingress();
    let mut cluster = Cluster::clone(leader.store.cluster().unwrap());
    cluster.default_address_pool = vec!["10.60.0.0/24".to_owned()];
    leader.apply(vec![crate::store::StoreAction::Update(Object::Cluster(Arc::new(cluster)))]);
    let named = |name: &str, of: IpamConfig| {
        create(name, |spec| spec.ipam = Some(IpamOptions { configs: vec![of], ..IpamOptions::default() }))
    };
    leader.ask(&named("pool", config("10.60.0.0/24", "", ""))).unwrap();
    leader.ask(&named("used", config("10.99.0.0/24", "", ""))).unwrap();
    let open = create("open", |spec| {
        let configs = vec![config("10.97.0.0/24", "", "")];
        (spec.attachable, spec.ipam) = (true, Some(IpamOptions { configs, ..IpamOptions::default() }));
    });
    leader.ask(&open).unwrap();
    let id = |leader: &Leader, name: &str| leader.store.networks().by_name(name).unwrap().id;
    let (used, open, ingress) = (id(&leader, "used"), id(&leader, "open"), id(&leader, "ingress"));
    let node = leader.store.nodes().iter().next().unwrap().id;
    let attach = |network: &str| ControlRequest::AttachNetwork {
        node,
        network: network.to_owned(),
        container_id: "c0ffee".to_owned(),
        addresses: Vec::new(),
    };
    let Ok(ControlResponse::Created { id: ObjectId::Task(attached), .. }) = leader.ask(&attach("open")) else {
        panic!("attached")
    };
    let web = leader.create(&publishing("web", 82, PublishMode::Ingress));
    let dns = leader.create(&publishing("dns", 53, PublishMode::Host));
    let mut on = spec("on");
    let attachment = |target: &str| NetworkAttachmentConfig { target: target.into(), ..Default::default() };
    Arc::make_mut(&mut on.task).networks = vec![attachment("used")];
    let on = leader.create(&on);

    let service = |spec: ServiceSpec| ControlRequest::CreateService(Box::new(spec));
    let target_0 = |mut spec: ServiceSpec| {
        spec.endpoint.as_mut().unwrap().ports[0].target_port = 0;
        service(spec)
    };
    let attached_to = |target: &str| {
        let mut spec = spec("late");
        Arc::make_mut(&mut spec.task).networks = vec![attachment(target)];
        service(spec)
    };
    let driver = |name: &str| {
        let driver = Some(Driver { name: name.to_owned(), ..Driver::default() });
        create("n", |spec| spec.driver = driver)
    };
    let remove = |name: &str| ControlRequest::RemoveNetwork(name.to_owned());
    let bad = |of| named("n", of);
    let (wrong, failed) = ("rpc error: code = InvalidArgument desc = ", "rpc error: code = FailedPrecondition desc = ");
    let lines: Vec<(ControlRequest, String)> = vec![
        // Subnets, gateways, pools.
        (bad(config("x", "", "")), "invalid network config:\ninvalid subnet x: invalid CIDR block notation".into()),
        (
            bad(config("10.70.0.0/33", "", "")),
            "invalid network config:\ninvalid subnet 10.70.0.0/33: invalid CIDR block notation".into(),
        ),
        (
            bad(config("10.74.0.0/24", "", "10.71.0.1")),
            "invalid network config:\ninvalid gateway 10.71.0.1: parent subnet 10.74.0.0/24 doesn't contain this address"
                .into(),
        ),
        (
            bad(config("10.78.0.0/24", "", "10.78.0.0")),
            "failed to allocate gateway (10.78.0.0): Address already in use".into(),
        ),
        (
            bad(config("10.99.0.0/25", "", "")),
            "invalid pool request: Pool overlaps with other one on this address space".into(),
        ),
        (create("n", |_| {}), "all predefined address pools have been fully subnetted".into()),
        // Names and drivers.
        (named("used", config("10.98.0.0/24", "", "")), "network with name used already exists".into()),
        (named("ingress", config("10.98.0.0/24", "", "")), "network with name ingress already exists".into()),
        (named("a b", config("10.98.0.0/24", "", "")), format!("{wrong}name must be valid as a DNS name component")),
        (
            named(&"a".repeat(64), config("10.98.0.0/24", "", "")),
            format!("{wrong}name must be 63 characters or fewer"),
        ),
        (driver("weave"), format!("{wrong}error during lookup of plugin weave")),
        // In use.
        (remove("used"), format!("{failed}network {used} is in use by service {on}")),
        (remove("open"), format!("{failed}network {open} is in use by task {attached}")),
        (
            remove("ingress"),
            format!("{failed}ingress network cannot be removed because service {web} depends on it"),
        ),
        (remove("none-such"), "network none-such not found".into()),
        // Ports. (65536 does not get this far: it is no number of a port.)
        (
            target_0(publishing("late", 81, PublishMode::Ingress)),
            format!("{wrong}EndpointSpec: a published port needs a target port between 1 and 65535"),
        ),
        (
            service(publishing("late", 82, PublishMode::Ingress)),
            format!("{wrong}port '82' is already in use by service 'web' ({web}) as an ingress port"),
        ),
        (
            service(publishing("late", 82, PublishMode::Host)),
            format!("{wrong}port '82' is already in use by service 'web' ({web}) as an ingress port"),
        ),
        (
            service(publishing("late", 53, PublishMode::Ingress)),
            format!("{wrong}port '53' is already in use by service 'dns' ({dns}) as a host-published port"),
        ),
        // Services and containers on networks.
        (attached_to("none-such"), "network none-such not found".into()),
        (
            attached_to("ingress"),
            format!("{wrong}Service cannot be explicitly attached to the ingress network \"ingress\""),
        ),
        (attach("used"), "rpc error: code = PermissionDenied desc = network used not manually attachable".into()),
        (attach("none-such"), "rpc error: code = NotFound desc = network none-such not found".into()),
    ];
    for (request, message) in lines {
        assert_eq!(leader.refused(&request), message);
    }
    assert_eq!(leader.store.networks().by_name("ingress").unwrap().id, ingress);
    // Port 0 is one that is assigned.
    leader.create(&publishing("any", 0, PublishMode::Ingress));
}

#[test]
fn services_name_the_networks_that_every_node_has() {
    let mut leader = Leader::of(1, 0);
    let on = |target: &str| {
        let mut web = spec("web");
        Arc::make_mut(&mut web.task).networks =
            vec![NetworkAttachmentConfig { target: target.into(), ..NetworkAttachmentConfig::default() }];
        ControlRequest::CreateService(Box::new(web))
    };
    assert_eq!(
        leader.refused(&on("none")),
        "could not find the corresponding predefined swarm network: network none not found"
    );
    let mut host = Network {
        id: NetworkId::from_bits(5 << 100),
        meta: Meta::default(),
        spec: NetworkSpec { annotations: Annotations::named("host"), ..NetworkSpec::default() },
        driver_state: None,
        ipam: None,
        pending_delete: false,
    };
    host.spec.annotations.labels.insert(PREDEFINED_LABEL.to_owned(), "true".to_owned());
    let id = host.id;
    leader.apply(vec![crate::store::StoreAction::Create(Object::Network(Arc::new(host)))]);
    leader.ask(&on("host")).unwrap();
    assert_eq!(leader.service("web").spec.task.networks[0].target, id.to_string());
    assert!(leader.refused(&ControlRequest::RemoveNetwork("host".into())).contains("is a swarm predefined network"));
}
