//! The run's own network: a bridge of the stage, which no other run and nothing of the host can meet.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};

use nlink::netlink::addr::Ipv4Address;
use nlink::netlink::link::BridgeLink;
use nlink::netlink::{Connection, Route};

use crate::system::engine::EngineError;

/// A bridge with the harness's own address on it.
#[derive(Debug, Clone)]
pub(super) struct Network {
    /// Its name.
    pub(super) bridge: String,
    number: u8,
}

/// The interfaces of this network namespace, one a line.
const DEVICES: &str = "/proc/self/net/dev";

/// Runs of one command take turns; each has a number of its own.
static NEXT: AtomicU8 = AtomicU8::new(0);

impl Network {
    /// The next one; its bridge is not there yet.
    pub(super) fn next() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            bridge: format!("nm{number}"),
            number,
        }
    }

    /// Makes the bridge.
    pub(super) async fn make(&self) -> Result<(), EngineError> {
        let refused = |error: nlink::netlink::Error| EngineError::Refused {
            action: format!("making the bridge {}", self.bridge),
            reason: format!(
                "{error}\n  hint: this takes a kernel with bridges and pairs of virtual interfaces (`modprobe bridge veth`)"
            ),
        };
        let netlink = Connection::<Route>::new().map_err(refused)?;
        netlink.set_link_up("lo").await.map_err(refused)?;
        netlink
            .del_link_if_exists(self.bridge.as_str())
            .await
            .map_err(refused)?;
        netlink.add_link(BridgeLink::new(&self.bridge)).await.map_err(refused)?;
        netlink
            .add_address(Ipv4Address::new(&self.bridge, self.gateway(), 24))
            .await
            .map_err(refused)?;
        netlink.set_link_up(self.bridge.as_str()).await.map_err(refused)
    }

    /// The harness's own address on it.
    pub(super) fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 64, self.number, 1)
    }

    /// The fixed address of the n-th replica, from 0.
    pub(super) fn address(&self, index: u16) -> Ipv4Addr {
        // The Compose reader admits no more replicas than fit.
        Ipv4Addr::new(10, 64, self.number, index as u8 + 2)
    }

    /// The name of the bridge's end of that replica's wire.
    pub(super) fn wire(&self, index: u16) -> String {
        format!("nm{}w{index}", self.number)
    }

    /// Removes it, and its wires. These would go with the namespaces at their other ends, but a connection whose last packet was
    /// lost keeps such a namespace for a minute or two after its last process.
    pub(super) async fn remove(&self) -> Result<(), String> {
        let netlink = Connection::<Route>::new().map_err(|error| error.to_string())?;
        // The kernel's own list; one by netlink is refused while others come and go.
        let listed = std::fs::read_to_string(DEVICES).map_err(|error| format!("{DEVICES}: {error}"))?;
        let wires = format!("{}w", self.bridge);
        let names = listed.lines().filter_map(|line| Some(line.split_once(':')?.0.trim()));
        let own = names.filter(|name| name.starts_with(&wires));
        // One that cannot be removed keeps no other.
        let mut left = Vec::new();
        for name in own.chain([&*self.bridge]) {
            let removed = netlink.del_link_if_exists(name).await;
            left.extend(removed.err().map(|error| format!("interface {name}: {error}")));
        }
        match left.is_empty() {
            true => Ok(()),
            false => Err(left.join("; ")),
        }
    }
}
