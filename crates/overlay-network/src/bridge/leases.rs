//! The addresses given out on one network, as a file that survives the daemon.
//!
//! A new file takes the place of the old one, so that the death of the daemon leaves either; its first line is a sum
//! of the rest. It does not wait for the disk: after a power cut no container runs any more.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::network::{BridgeNetwork, EndpointInfo, EndpointWish};
use crate::apply::NetError;
use crate::plan::{Cidr, Ipam, IpamError, Mac};

/// Who has what on one network.
#[derive(Debug)]
pub(super) struct Leases {
    file: PathBuf,
    held: Held,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Held {
    /// One for each of the network's pools, in their order.
    pools: Vec<Ipam>,
    /// Link-layer addresses that were asked for.
    macs: BTreeMap<String, Mac>,
}

impl Leases {
    /// Reads the leases of an earlier life. Those that do not fit the network any more are dropped, and a damaged file
    /// counts as empty: the containers' own records rebuild it.
    pub(super) fn open(dir: &Path, network: &BridgeNetwork) -> Result<Self, NetError> {
        let file = dir.join(format!("{}.leases", network.id));
        let old = match std::fs::read_to_string(&file) {
            Ok(text) => parse(&text).unwrap_or_else(|| {
                tracing::warn!(file = %file.display(), "address leases are damaged: starting empty");
                Held::default()
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Held::default(),
            Err(source) => return Err(NetError::Io { what: format!("read {}", file.display()), source }),
        };
        let mut held = Held { pools: network.pools.iter().cloned().map(Ipam::new).collect(), macs: old.macs };
        for (owner, lease) in old.pools.iter().flat_map(Ipam::leases) {
            for pool in held.pools.iter_mut().filter(|pool| pool.pool().contains(lease.ip)) {
                let _ = pool.lease_exactly(owner, lease.ip);
            }
        }
        Ok(Self { file, held })
    }

    /// Gives the endpoint an address of each pool, in place of those that it had if it wants others now.
    pub(super) fn lease(&mut self, endpoint: &str, wish: &EndpointWish) -> Result<(), NetError> {
        let known = self.held.pools.iter().all(|pool| {
            let has = pool.of(endpoint);
            has.is_some() && wish.address(pool.pool()).is_none_or(|wanted| has == Some(wanted))
        });
        if known && self.held.macs.get(endpoint) == wish.mac.as_ref() {
            return Ok(());
        }
        let mut change = || -> Result<(), IpamError> {
            for pool in &mut self.held.pools {
                match wish.address(pool.pool()) {
                    Some(ip) => pool.lease_exactly(endpoint, ip)?,
                    None => pool.lease(endpoint)?,
                };
            }
            Ok(())
        };
        if let Err(error) = change() {
            // not one family without the other
            self.forget(endpoint);
            return Err(error.into());
        }
        match wish.mac {
            Some(mac) => self.held.macs.insert(endpoint.to_owned(), mac),
            None => self.held.macs.remove(endpoint),
        };
        self.save()
    }

    /// What the endpoint has.
    pub(super) fn get(&self, endpoint: &str, network: &BridgeNetwork) -> Option<EndpointInfo> {
        let mut addresses = Vec::new();
        let mut gateways = Vec::new();
        for pool in &self.held.pools {
            addresses.push(on_interface(pool.of(endpoint)?, pool.pool().subnet));
            if !network.internal {
                gateways.push(pool.pool().gateway);
            }
        }
        let own = addresses.first().map(|cidr: &Cidr| Mac::of_ip(cidr.address));
        let mac = self.held.macs.get(endpoint).copied().or(own)?;
        Some(EndpointInfo { addresses, gateways, mac })
    }

    /// All endpoints.
    pub(super) fn owners(&self) -> Vec<String> {
        let owners = self.held.pools.first().map(|pool| pool.leases().map(|(owner, _)| owner.to_owned()).collect());
        owners.unwrap_or_default()
    }

    /// Takes the endpoint's addresses back.
    pub(super) fn release(&mut self, endpoint: &str) -> Result<(), NetError> {
        if self.forget(endpoint) { self.save() } else { Ok(()) }
    }

    fn forget(&mut self, endpoint: &str) -> bool {
        self.held.macs.remove(endpoint);
        // all of them, not only up to the first
        self.held.pools.iter_mut().filter_map(|pool| pool.release(endpoint).then_some(())).count() > 0
    }

    /// Removes the file.
    pub(super) fn delete(self) {
        let _ = std::fs::remove_file(self.file);
    }

    fn save(&self) -> Result<(), NetError> {
        let io = |source| NetError::Io { what: format!("write {}", self.file.display()), source };
        let json = serde_json::to_string(&self.held).map_err(|error| io(error.into()))?;
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("{:016x}\n{json}", sum(json.as_bytes()))).map_err(io)?;
        std::fs::rename(&next, &self.file).map_err(io)
    }
}

fn parse(text: &str) -> Option<Held> {
    let (expected, json) = text.split_once('\n')?;
    (expected == format!("{:016x}", sum(json.as_bytes()))).then(|| serde_json::from_str(json).ok())?
}

/// FNV-1a: enough against torn and edited files, which is all that can happen to it here.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// An address as its interface has it: with the network's prefix length.
pub(super) fn on_interface(ip: IpAddr, subnet: Cidr) -> Cidr {
    Cidr { address: ip, prefix: subnet.prefix }
}
