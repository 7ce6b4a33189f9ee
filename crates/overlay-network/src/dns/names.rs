//! What names mean on each network, and whose turn it is to be named first. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::DnsView;

/// Names that lead to addresses, on one network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameEntry {
    /// The names, in any case. An entry without addresses still makes its names known, so that they are answered
    /// empty instead of being asked upstream.
    pub names: Vec<String>,
    /// Where they lead. Entries that share a name add up, in the order in which they were given.
    pub addresses: Vec<IpAddr>,
    /// What the addresses are called when asked by PTR, without a final dot: in Docker `<name>.<network name>`. Of
    /// several entries for one address the first that says something counts.
    pub reverse: Option<String>,
}

/// The tables of all networks that a node's containers are on. Shared by all servers of the node.
#[derive(Debug, Default)]
pub struct Names {
    networks: BTreeMap<String, Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// By lower-case name.
    addresses: BTreeMap<String, Vec<IpAddr>>,
    reverse: BTreeMap<IpAddr, String>,
}

/// An address family that a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    fn has(self, address: &IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }
}

impl Names {
    /// Replaces everything known about a network (`network`: any key, the same as in [`DnsView::networks`]).
    pub fn set_network(&mut self, network: &str, entries: Vec<NameEntry>) {
        let mut table = Table::default();
        for entry in entries {
            for name in &entry.names {
                let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
                let known = table.addresses.entry(name).or_default();
                for address in &entry.addresses {
                    if !known.contains(address) {
                        known.push(*address);
                    }
                }
            }
            if let Some(text) = &entry.reverse {
                for address in &entry.addresses {
                    table.reverse.entry(*address).or_insert_with(|| text.clone());
                }
            }
        }
        self.networks.insert(network.to_owned(), table);
    }

    /// Forgets a network.
    pub fn remove_network(&mut self, network: &str) {
        self.networks.remove(network);
    }

    /// The addresses of one family that a name stands for; empty when the name is known but has none, `None` when the
    /// container's networks do not know it. `name` is in lower case and without a final dot.
    pub(super) fn resolve(&self, view: &DnsView, name: &str, family: Family) -> Option<Vec<IpAddr>> {
        let mut known = false;
        // `a.b.c` itself on any network, then `a.b` on network `c`, then `a` on network `b.c`
        let splits =
            name.rmatch_indices('.').filter_map(|(dot, _)| Some((name.get(..dot)?, Some(name.get(dot + 1..)?))));
        for (host, network_name) in std::iter::once((name, None)).chain(splits) {
            for (key, its_name) in &view.networks {
                if network_name.is_some_and(|wanted| !wanted.eq_ignore_ascii_case(its_name)) {
                    continue;
                }
                let Some(addresses) = self.networks.get(key).and_then(|table| table.addresses.get(host)) else {
                    continue;
                };
                known = true;
                let found: Vec<IpAddr> = addresses.iter().filter(|address| family.has(address)).copied().collect();
                if !found.is_empty() {
                    return Some(found);
                }
            }
            if known {
                return Some(Vec::new());
            }
        }
        None
    }

    /// Whether the container's networks know the name (lower case, no final dot) at all.
    pub(super) fn knows(&self, view: &DnsView, name: &str) -> bool {
        self.resolve(view, name, Family::V4).is_some()
    }

    /// What an address is called on the first of the container's networks that has it.
    pub(super) fn reverse(&self, view: &DnsView, address: IpAddr) -> Option<&str> {
        let tables = view.networks.iter().filter_map(|(key, _)| self.networks.get(key));
        tables.filter_map(|table| table.reverse.get(&address)).map(String::as_str).next()
    }
}

/// Most names whose turns one server remembers.
const MOST_TURNS: usize = 256;

/// Whose turn it is, for each name with several addresses that one container asks for. Counted for each name and family
/// apart: clients ask for A and AAAA in pairs, and with one counter for both every second address would never be first.
#[derive(Debug, Default)]
pub struct Rotation {
    start: usize,
    turns: BTreeMap<(String, Family), usize>,
}

impl Rotation {
    /// Names begin with the address at `start` (modulo their number). Different starts for different containers spread
    /// those that ask only once.
    pub fn new(start: usize) -> Self {
        Self { start, turns: BTreeMap::new() }
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.turns.len()
    }

    /// Puts the address first whose turn it is. With fewer than two there is nothing to remember.
    pub(super) fn turn(&mut self, name: &str, family: Family, addresses: &mut [IpAddr]) {
        if addresses.len() < 2 {
            return;
        }
        let key = (name.to_owned(), family);
        if self.turns.len() >= MOST_TURNS && !self.turns.contains_key(&key) {
            self.turns.clear();
        }
        let turn = self.turns.entry(key).or_insert(self.start);
        addresses.rotate_left(*turn % addresses.len());
        *turn = turn.wrapping_add(1);
    }
}
