//! Containers and their networks: the node's own bridges, the swarm's overlays, only a loopback, or the node's own
//! namespace.
//!
//! A container has a list of [`Attachment`]s, in the order of its interfaces. When it is prepared, [`plug`](Engine::plug)
//! makes of each an [`Endpoint`]: local ones by the bridge driver, those of the swarm by [`Networking`]
//! (crate::networking); then docker_gwbridge where only overlays would lead out, the default route, published ports,
//! /etc/hosts and names. The endpoints are kept in the container's record, so a restarted daemon knows them.
//!
//! | file | what |
//! |---|---|
//! | `attachment` | the data |
//! | `registry`, `define`, `manage` | the node's networks: kept, checked, made and removed |
//! | `plug` | at a container's start and end |
//! | `adopt` | after a start of the daemon |
//! | `live` | `docker network connect` and `disconnect` |
//! | `publish`, `filter` | the node's ports, and the rules that lead them to containers |
//! | `naming` | /etc/hosts, resolv.conf, name servers |
//! | `gateway` | docker_gwbridge, for overlays and the ingress network |
//! | `swarm` | places on the swarm's networks |
//!
//! [`Networking`]: crate::networking::Networking

use std::path::Path;
use std::sync::{Arc, Mutex};

use container_runtime::{Error, Kind, Result};
use overlay_network::{BridgeDriver, PortAllocator};

use super::EventHub;

mod adopt;
mod attachment;
mod define;
mod filter;
mod gateway;
mod live;
mod manage;
mod naming;
mod plug;
mod publish;
mod registry;
mod swarm;

pub(crate) use attachment::endpoint_id;
pub use attachment::{Attachment, Endpoint, Published};
pub(crate) use naming::dns_names;
pub use plug::NetworkMember;
pub use registry::{LocalNetwork, PREDEFINED, local_network_id};
pub(super) use swarm::SwarmPlaces;

use filter::Filter;
use registry::Registry;

/// The node's own networks, shared by the engine and, for docker_gwbridge, the swarm's networks.
pub(super) struct Networks {
    /// `Err` where the machine allows no bridge: containers with a network are refused then, with the reason.
    /// Its lock is the one for changes of networks and endpoints; it is taken before any other.
    driver: tokio::sync::Mutex<std::result::Result<BridgeDriver, String>>,
    registry: Mutex<Registry>,
    ports: PortAllocator,
    /// The packet filter of the node's namespace.
    filter: tokio::sync::Mutex<Filter>,
    events: Arc<EventHub>,
}

impl Networks {
    /// Reads what networks there are and makes their bridges.
    pub(super) async fn open(state_dir: &Path, events: Arc<EventHub>) -> Result<Self> {
        let registry = Registry::open(&state_dir.join("networks"))?;
        let bridges = registry.all().into_iter().filter_map(|network| network.bridge);
        let driver = async {
            let mut driver = BridgeDriver::open(&state_dir.join("networks")).await?;
            for bridge in bridges {
                if bridge.bridge == "docker0" {
                    driver.ensure(&bridge).await?;
                } else if let Err(error) = driver.ensure(&bridge).await {
                    // the others are of use without it
                    tracing::error!(bridge = bridge.bridge, "a network's bridge cannot be made: {error}");
                }
            }
            Ok::<_, overlay_network::NetError>(driver)
        };
        let driver = driver.await;
        if let Err(error) = &driver {
            tracing::warn!("no bridge network on this machine: {error}");
        }
        Ok(Self {
            driver: tokio::sync::Mutex::new(driver.map_err(|error| error.to_string())),
            registry: Mutex::new(registry),
            ports: PortAllocator::default(),
            filter: tokio::sync::Mutex::default(),
            events,
        })
    }
}

fn internal(error: impl std::fmt::Display) -> Error {
    Error::new(Kind::Internal, error.to_string())
}

/// Docker's words for a container's start that fails at its networks.
fn setup_failed(error: Error) -> Error {
    let already = error.message.starts_with("failed to set up container networking");
    match already {
        true => error,
        false => Error::new(error.kind, format!("failed to set up container networking: {}", error.message)),
    }
}

/// A network failure as the engine's: an address that is taken is the request's fault.
fn of_net(error: overlay_network::NetError) -> Error {
    use overlay_network::NetError;
    use overlay_network::plan::IpamError;
    let kind = match &error {
        NetError::Ipam(IpamError::InUse(_)) => Kind::Forbidden,
        NetError::Ipam(IpamError::Outside(..)) => Kind::InvalidArgument,
        _ => Kind::Internal,
    };
    Error::new(kind, error.to_string())
}
