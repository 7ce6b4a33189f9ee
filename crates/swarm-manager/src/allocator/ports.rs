//! Published ports of the routing mesh: one service each, over the whole swarm.

use std::collections::BTreeMap;

use swarm_types::*;

/// Where ports are taken from that a service leaves open: swarmkit's range, below the ephemeral ports of Linux.
const DYNAMIC: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// Who has which port.
#[derive(Debug, Default)]
pub(super) struct Ports {
    used: BTreeMap<(PortProtocol, u16), ServiceId>,
}

/// A port that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PortError {
    #[error("port '{port}' is already in use by service {holder} as an ingress port")]
    Taken { port: u16, holder: ServiceId },
    #[error("no published port is free between {} and {}", DYNAMIC.start(), DYNAMIC.end())]
    Exhausted,
}

impl Ports {
    /// Takes note of what a service has.
    pub fn claim(&mut self, service: ServiceId, endpoint: &Endpoint) {
        for port in mesh_ports(&endpoint.ports) {
            self.used.entry((port.protocol, port.published_port)).or_insert(service);
        }
    }

    /// Frees what a service has.
    pub fn release(&mut self, service: ServiceId, endpoint: &Endpoint) {
        for port in mesh_ports(&endpoint.ports) {
            let key = (port.protocol, port.published_port);
            if self.used.get(&key) == Some(&service) {
                self.used.remove(&key);
            }
        }
    }

    /// How many ports are held.
    #[cfg(test)]
    pub fn in_use(&self) -> usize {
        self.used.len()
    }

    /// The ports that a service gets for what its spec asks. Numbers that it was given before stay its own.
    pub fn allocate(
        &self,
        service: ServiceId,
        wanted: &[PortConfig],
        before: &[PortConfig],
    ) -> Result<Vec<PortConfig>, PortError> {
        let mut taken: BTreeMap<(PortProtocol, u16), ()> = BTreeMap::new();
        let free = |key: &(PortProtocol, u16)| self.used.get(key).is_none_or(|holder| *holder == service);
        let mut ports: Vec<PortConfig> = wanted.to_vec();
        for port in ports.iter().filter(|p| p.publish_mode == PublishMode::Ingress && p.published_port != 0) {
            let key = (port.protocol, port.published_port);
            if let Some(holder) = self.used.get(&key).filter(|holder| **holder != service) {
                return Err(PortError::Taken { port: port.published_port, holder: *holder });
            }
            taken.insert(key, ());
        }
        for port in ports.iter_mut().filter(|p| p.publish_mode == PublishMode::Ingress && p.published_port == 0) {
            let same = |old: &&PortConfig| {
                old.publish_mode == PublishMode::Ingress
                    && DYNAMIC.contains(&old.published_port)
                    && (old.protocol, old.target_port, &old.name) == (port.protocol, port.target_port, &port.name)
            };
            let kept = before.iter().filter(same).map(|old| old.published_port);
            let number = kept
                .chain(DYNAMIC)
                .find(|number| {
                    let key = (port.protocol, *number);
                    free(&key) && !taken.contains_key(&key)
                })
                .ok_or(PortError::Exhausted)?;
            port.published_port = number;
            taken.insert((port.protocol, number), ());
        }
        Ok(ports)
    }
}

fn mesh_ports(ports: &[PortConfig]) -> impl Iterator<Item = &PortConfig> {
    ports.iter().filter(|p| p.publish_mode == PublishMode::Ingress && p.published_port != 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn port(target: u16, published: u16) -> PortConfig {
        PortConfig { target_port: target, published_port: published, ..PortConfig::default() }
    }

    fn endpoint(ports: Vec<PortConfig>) -> Endpoint {
        Endpoint { ports, ..Endpoint::default() }
    }

    const WEB: ServiceId = ServiceId::from_bits(1);
    const DB: ServiceId = ServiceId::from_bits(2);

    #[test]
    fn open_ports_come_from_30000_on_and_stay() {
        let mut ports = Ports::default();
        let first = ports.allocate(WEB, &[port(80, 0), port(443, 0)], &[]).unwrap();
        assert_eq!(first, [port(80, 30_000), port(443, 30_001)]);
        ports.claim(WEB, &endpoint(first.clone()));
        assert_eq!(ports.allocate(DB, &[port(80, 0)], &[]).unwrap(), [port(80, 30_002)]);
        // After the first was given up, the second keeps its number.
        assert_eq!(ports.allocate(WEB, &[port(443, 0)], &first).unwrap(), [port(443, 30_001)]);
    }

    #[test]
    fn a_port_has_one_service_until_it_is_released() {
        let mut ports = Ports::default();
        let web = endpoint(vec![port(80, 8080)]);
        ports.claim(WEB, &web);
        let err = ports.allocate(DB, &[port(80, 8080)], &[]).unwrap_err();
        assert_eq!(err, PortError::Taken { port: 8080, holder: WEB });
        let udp = PortConfig { protocol: PortProtocol::Udp, ..port(80, 8080) };
        assert!(ports.allocate(DB, &[udp], &[]).is_ok());
        let host = PortConfig { publish_mode: PublishMode::Host, ..port(80, 8080) };
        assert!(ports.allocate(DB, &[host], &[]).is_ok());
        ports.release(DB, &web);
        assert!(ports.allocate(DB, &[port(80, 8080)], &[]).is_err(), "only its holder frees a port");
        ports.release(WEB, &web);
        assert!(ports.allocate(DB, &[port(80, 8080)], &[]).is_ok());
    }

    #[test]
    fn when_all_are_taken_that_is_said() {
        let mut ports = Ports::default();
        let all: Vec<PortConfig> = DYNAMIC.map(|number| port(number, number)).collect();
        ports.claim(WEB, &endpoint(all));
        assert_eq!(ports.allocate(DB, &[port(80, 0)], &[]).unwrap_err(), PortError::Exhausted);
    }
}
