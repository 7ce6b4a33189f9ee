//! From the swarm's types to the data plane's: names. The rest is `network-plan`'s, and goes by the name of this module.

use overlay_network::dns::NameEntry;
use swarm_gossip::view::NetworkView;

pub(crate) use network_plan::wishes::*;

/// The names for the name servers; reverse names are qualified by the network's.
pub(super) fn names(view: &NetworkView, network: &str) -> Vec<NameEntry> {
    let entry = |one: &swarm_gossip::view::NameView| NameEntry {
        names: one.names.clone(),
        addresses: one.addresses.clone(),
        reverse: one.reverse.as_ref().map(|name| format!("{name}.{network}")),
    };
    view.names.iter().map(entry).collect()
}
