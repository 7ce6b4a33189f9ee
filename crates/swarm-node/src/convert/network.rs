//! Networks of the swarm, endpoints and published ports.

use serde_json::{Value, json};
use swarm_types::{
    Driver, Endpoint, EndpointMode, EndpointSpec, IpamConfig, IpamOptions, Network, NetworkAttachment,
    NetworkAttachmentConfig, NetworkSpec, PortConfig, PortProtocol, PublishMode,
};

use super::{Fields, InvalidField, Result, Writer, annotations, driver, object, read_annotations, read_driver, time};

/// A network as `GET /networks` shows it: the engine's form, not the swarm's.
pub fn network(from: &Network) -> Value {
    let ipam = from.ipam.as_ref().or(from.spec.ipam.as_ref());
    let chosen = from.driver_state.as_ref().or(from.spec.driver.as_ref());
    json!({
        "Name": from.spec.annotations.name,
        "Id": from.id.to_string(),
        "Created": time(from.meta.created_at),
        "Scope": "swarm",
        "Driver": chosen.map(|d| d.name.as_str()).filter(|n| !n.is_empty()).unwrap_or("overlay"),
        "EnableIPv4": true,
        "EnableIPv6": from.spec.ipv6,
        "IPAM": {
            "Driver": ipam.map(|i| i.driver.name.as_str()).filter(|n| !n.is_empty()).unwrap_or("default"),
            "Options": null,
            "Config": ipam.map(|i| i.configs.iter().map(engine_ipam_config).collect::<Vec<_>>()).unwrap_or_default(),
        },
        "Internal": from.spec.internal,
        "Attachable": from.spec.attachable,
        "Ingress": from.spec.ingress,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": false,
        "Containers": null,
        "Options": chosen.map(|d| d.options.clone()).unwrap_or_default(),
        // as they come from managers: none is not an empty map
        "Labels": Some(&from.spec.annotations.labels).filter(|labels| !labels.is_empty()),
    })
}

fn engine_ipam_config(from: &IpamConfig) -> Value {
    Writer::default()
        .text("Subnet", &from.subnet)
        .text("IPRange", &from.range)
        .text("Gateway", &from.gateway)
        .map("AuxiliaryAddresses", &from.reserved)
        .build()
}

/// The body of `POST /networks/create`, for networks of the swarm.
pub fn read_network_create(body: &Value) -> Result<NetworkSpec> {
    let fields = Fields::new(body, "NetworkCreate")?;
    fields.refuse_all(&["ConfigOnly", "ConfigFrom"])?;
    let ipam = match fields.object("IPAM")? {
        Some(ipam) => Some(IpamOptions {
            driver: Driver { name: ipam.string("Driver")?, options: ipam.map("Options")? },
            configs: ipam
                .objects("Config")?
                .iter()
                .map(|config| {
                    Ok(IpamConfig {
                        subnet: config.string("Subnet")?,
                        range: config.string("IPRange")?,
                        gateway: config.string("Gateway")?,
                        reserved: config.map("AuxiliaryAddresses")?,
                    })
                })
                .collect::<Result<_>>()?,
        }),
        None => None,
    };
    Ok(NetworkSpec {
        annotations: read_annotations(&fields)?,
        driver: Some(Driver { name: fields.string("Driver")?, options: fields.map("Options")? }),
        ipv6: fields.boolean("EnableIPv6")?,
        internal: fields.boolean("Internal")?,
        attachable: fields.boolean("Attachable")?,
        ingress: fields.boolean("Ingress")?,
        ipam,
        scope: fields.string("Scope")?,
    })
}

/// A service's wish for a network.
pub fn attachment_config(from: &NetworkAttachmentConfig) -> Value {
    Writer::default()
        .text("Target", &from.target)
        .list("Aliases", from.aliases.iter().cloned())
        .map("DriverOpts", &from.driver_options)
        .build()
}

/// The reverse.
pub fn read_attachment_config(fields: &Fields<'_>) -> Result<NetworkAttachmentConfig> {
    Ok(NetworkAttachmentConfig {
        target: fields.string("Target")?,
        aliases: fields.strings("Aliases")?,
        addresses: Vec::new(),
        driver_options: fields.map("DriverOpts")?,
    })
}

/// A task's attachment, with its network as far as the node that answers knows it.
pub fn attachment(from: &NetworkAttachment, network: Option<&Network>) -> Value {
    let network = network.map_or_else(
        || json!({"ID": from.network_id.to_string()}),
        |network| {
            let spec = annotations(Writer::default(), &network.spec.annotations)
                .some("DriverConfiguration", network.spec.driver.as_ref().map(driver))
                .flag("IPv6Enabled", network.spec.ipv6)
                .flag("Internal", network.spec.internal)
                .flag("Attachable", network.spec.attachable)
                .flag("Ingress", network.spec.ingress)
                .some("IPAMOptions", network.spec.ipam.as_ref().map(swarm_ipam))
                .text("Scope", if network.spec.scope.is_empty() { "swarm" } else { &network.spec.scope });
            object(network.id, &network.meta)
                .put("Spec", spec.build())
                .some("DriverState", network.driver_state.as_ref().map(driver))
                .some("IPAMOptions", network.ipam.as_ref().map(swarm_ipam))
                .build()
        },
    );
    Writer::default().put("Network", network).list("Addresses", from.addresses.iter().cloned()).build()
}

fn swarm_ipam(from: &IpamOptions) -> Value {
    let config = |c: &IpamConfig| {
        Writer::default().text("Subnet", &c.subnet).text("Range", &c.range).text("Gateway", &c.gateway).build()
    };
    Writer::default().put("Driver", driver(&from.driver)).list("Configs", from.configs.iter().map(config)).build()
}

/// What a user asked of an endpoint.
pub fn endpoint_spec(from: &EndpointSpec) -> Value {
    let mode = match from.mode {
        EndpointMode::Vip => "vip",
        EndpointMode::DnsRoundRobin => "dnsrr",
    };
    Writer::default().put("Mode", mode).list("Ports", from.ports.iter().map(port)).build()
}

/// The reverse.
pub fn read_endpoint_spec(fields: &Fields<'_>) -> Result<EndpointSpec> {
    let mode = match fields.string("Mode")?.as_str() {
        "" | "vip" => EndpointMode::Vip,
        "dnsrr" => EndpointMode::DnsRoundRobin,
        other => return Err(InvalidField::Value(format!("invalid resolution mode: {other}"))),
    };
    let ports = fields.objects("Ports")?.iter().map(read_port).collect::<Result<_>>()?;
    Ok(EndpointSpec { mode, ports })
}

/// What was decided for an endpoint.
pub fn endpoint(from: Option<&Endpoint>) -> Value {
    // without ports and addresses nothing was decided, and Docker shows nothing
    let decided = |endpoint: &&Endpoint| !endpoint.ports.is_empty() || !endpoint.virtual_ips.is_empty();
    let Some(from) = from.filter(decided) else { return json!({"Spec": {}}) };
    Writer::default()
        .put("Spec", endpoint_spec(&from.spec))
        .list("Ports", from.ports.iter().map(port))
        .list(
            "VirtualIPs",
            from.virtual_ips.iter().map(|vip| {
                Writer::default().put("NetworkID", vip.network_id.to_string()).text("Addr", &vip.address).build()
            }),
        )
        .build()
}

/// A published port.
pub fn port(from: &PortConfig) -> Value {
    let protocol = match from.protocol {
        PortProtocol::Tcp => "tcp",
        PortProtocol::Udp => "udp",
        PortProtocol::Sctp => "sctp",
    };
    let mode = match from.publish_mode {
        PublishMode::Ingress => "ingress",
        PublishMode::Host => "host",
    };
    Writer::default()
        .text("Name", &from.name)
        .put("Protocol", protocol)
        .number("TargetPort", from.target_port)
        .number("PublishedPort", from.published_port)
        .put("PublishMode", mode)
        .build()
}

fn read_port(fields: &Fields<'_>) -> Result<PortConfig> {
    let protocol = match fields.string("Protocol")?.as_str() {
        "" | "tcp" => PortProtocol::Tcp,
        "udp" => PortProtocol::Udp,
        "sctp" => PortProtocol::Sctp,
        other => {
            return Err(InvalidField::Value(format!(
                "invalid protocol {other:?} for a published port: tcp, udp or sctp"
            )));
        }
    };
    let publish_mode = match fields.string("PublishMode")?.as_str() {
        "" | "ingress" => PublishMode::Ingress,
        "host" => PublishMode::Host,
        other => return Err(InvalidField::Value(format!("invalid publish mode {other:?}: ingress or host"))),
    };
    Ok(PortConfig {
        name: fields.string("Name")?,
        protocol,
        target_port: port_number(fields, "TargetPort")?,
        published_port: port_number(fields, "PublishedPort")?,
        publish_mode,
    })
}

/// Docker's daemon reads 32 bits and takes any number: a service that publishes port 65536 is made and never runs. Its
/// command line refuses such ports, and so does this.
fn port_number(fields: &Fields<'_>, key: &str) -> Result<u16> {
    let number: u32 = fields.int(key)?;
    let what = if key == "TargetPort" { "target" } else { "published" };
    u16::try_from(number)
        .map_err(|_| InvalidField::Value(format!("invalid {what} port ({number}): a port is at most 65535")))
}

/// A driver from its own object.
pub fn read_driver_config(fields: &Fields<'_>, key: &str) -> Result<Option<Driver>> {
    fields.object(key)?.map(|driver| read_driver(&driver)).transpose()
}
