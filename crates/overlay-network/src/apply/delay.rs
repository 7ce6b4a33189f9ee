//! Holding back the packets that leave by an interface, by the kernel's queueing discipline `netem`.

use std::time::Duration;

use nlink::TcHandle;
use nlink::netlink::tc::NetemConfig;

use super::{NetError, NetNamespace, netlink};

/// What a machine without `netem` needs.
pub const NETEM_REMEDY: &str = "sudo modprobe sch_netem; if that fails, use a kernel built with CONFIG_NET_SCH_NETEM";

/// What to do where no tap device can be made, by what the system said.
pub fn tap_remedy(why: &str) -> &'static str {
    if why.contains("Permission denied") {
        "sudo chmod 666 /dev/net/tun (udev does that by itself; the device gives power over one's own networks only)"
    } else {
        "sudo modprobe tun; if that fails, use a kernel built with CONFIG_TUN"
    }
}

/// Packets that may wait. The kernel's default of 1000 would lose packets of any fast transfer over a slow link.
pub(super) const QUEUE: u32 = 20_000;

/// How long packets are held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delay {
    /// On the average.
    pub mean: Duration,
    /// How much more or less it may be.
    pub jitter: Duration,
}

impl NetNamespace {
    /// Holds back every packet that leaves by the interface, or none any more. `false`: this kernel has no `netem`, and
    /// nothing was changed; see [`insert_delay_line`](Self::insert_delay_line).
    pub async fn set_delay(&self, device: &str, delay: Option<Delay>) -> Result<bool, NetError> {
        let what = || format!("delay the packets of {device}");
        let Some(delay) = delay else {
            let removed = self.connection.del_qdisc_if_exists(device, TcHandle::ROOT).await;
            return removed.map(|_| true).map_err(netlink(format!("no longer {}", what())));
        };
        let queue = nlink::util::Packets::new(QUEUE);
        let netem = NetemConfig::new().delay(delay.mean).jitter(delay.jitter).limit(queue).build();
        match self.connection.replace_qdisc(device, netem).await {
            Ok(()) => Ok(true),
            // what the kernel says of a discipline that it neither has nor can load
            Err(error) if error.is_not_found() || error.is_not_supported() => Ok(false),
            Err(error) => Err(netlink(what())(error)),
        }
    }
}
