//! The kernel's traffic control, as far as the agent uses it.

use std::time::Duration;

use async_trait::async_trait;
use nlink::netlink::filter::U32Filter;
use nlink::netlink::tc::{HtbClassConfig, HtbQdiscConfig, QdiscConfig};
use nlink::netlink::{Connection, Route};
use nlink::{Bytes, EthProto, FilterPriority, Packets, Rate, TcHandle};
use tokio::time::{Instant, sleep};

use super::NetemError;
use super::impairment::Combined;
use super::tree::{Class, Step};

/// `nm`: tells the agent's tree from anybody else's.
const MAJOR: u16 = 0x6e6d;
const ROOT: TcHandle = TcHandle::major_only(MAJOR);
/// What a class may send: more than any interface of a container does, since nothing is to be slowed by it.
const RATE: Rate = Rate::bytes_per_sec(10_000_000_000);
/// What a class may send at once: the largest packets, many times over.
const BURST: Bytes = Bytes::mb(10);
/// What a class sends before its neighbour's turn comes: the largest packet.
const QUANTUM: u32 = 65_536;
/// Packets that wait where no filter chooses, as on an interface without a tree.
const DIRECT: Packets = Packets::new(1_000);
/// How long packets may take to leave a class before they are lost with it.
const DRAIN_MAX: Duration = Duration::from_secs(1);
/// The kernel tells nobody when a queue is empty, so that it is looked at this often.
const DRAIN_POLL: Duration = Duration::from_millis(5);

/// Something that puts trees of queueing disciplines in place.
#[async_trait]
pub trait TrafficControl: Send + Sync {
    /// The interfaces that packets for peers leave by: those that are up, but for the loopback.
    async fn interfaces(&self) -> Result<Vec<u32>, NetemError>;

    /// Takes a step on an interface. To drop what is not there is no error.
    async fn take(&self, interface: u32, step: &Step) -> Result<(), NetemError>;
}

/// What stands below a class.
pub type Leaf = fn(&Combined) -> Box<dyn QdiscConfig>;

/// The kernel, by netlink.
pub struct Rtnetlink {
    connection: Connection<Route>,
    leaf: Leaf,
}

impl Rtnetlink {
    /// In the network namespace of the thread that calls.
    pub fn open() -> Result<Self, NetemError> {
        let connection = Connection::<Route>::new().map_err(|error| NetemError::of("opening netlink", &error))?;
        Ok(Self::with_leaf(connection, |combined| Box::new(combined.netem())))
    }

    /// With another discipline in netem's place, so that the tree can be seen to work on a kernel that has none.
    pub fn with_leaf(connection: Connection<Route>, leaf: Leaf) -> Self {
        Self { connection, leaf }
    }

    /// The loopback interface.
    pub(super) async fn loopback(&self) -> Result<u32, NetemError> {
        let links = self.links().await?;
        let loopback = links.iter().find(|link| link.is_loopback());
        loopback
            .map(|link| link.ifindex())
            .ok_or_else(|| NetemError::new("looking for the loopback interface", "there is none"))
    }

    async fn links(&self) -> Result<Vec<nlink::netlink::messages::LinkMessage>, NetemError> {
        let links = self.connection.get_links().await;
        links.map_err(|error| NetemError::of("listing the interfaces", &error))
    }

    async fn drain(&self, interface: u32, class: Class) -> Result<(), NetemError> {
        let until = Instant::now() + DRAIN_MAX;
        let below = handle(class);
        loop {
            let disciplines = self.connection.get_qdiscs_by_index(interface).await;
            let disciplines = disciplines.map_err(|error| NetemError::of("looking at a queue", &error))?;
            let waits = |queue: &nlink::netlink::messages::TcMessage| queue.parent() == below && queue.qlen() > 0;
            if !disciplines.iter().any(waits) || Instant::now() >= until {
                return Ok(());
            }
            sleep(DRAIN_POLL).await;
        }
    }
}

#[async_trait]
impl TrafficControl for Rtnetlink {
    async fn interfaces(&self) -> Result<Vec<u32>, NetemError> {
        let links = self.links().await?;
        let leads_out = links.iter().filter(|link| link.is_up() && !link.is_loopback());
        Ok(leads_out.map(|link| link.ifindex()).collect())
    }

    async fn take(&self, interface: u32, step: &Step) -> Result<(), NetemError> {
        let connection = &self.connection;
        let (action, taken) = match *step {
            Step::AddRoot => {
                let htb = HtbQdiscConfig::new().default_class(0).direct_qlen(DIRECT);
                let added = connection.add_qdisc_by_index_full(interface, TcHandle::ROOT, Some(ROOT), htb);
                ("adding the queueing discipline `htb`", added.await)
            }
            Step::AddClass(class) => {
                let htb = HtbClassConfig::new(RATE).burst(BURST).cburst(BURST).quantum(QUANTUM);
                let added = connection.add_class_by_index(interface, ROOT, handle(class), htb);
                ("adding a class of `htb`", added.await)
            }
            Step::AddNetem(class, combined) => {
                let leaf = (self.leaf)(&combined);
                let added = connection.add_qdisc_by_index_full(interface, handle(class), None, leaf);
                ("adding the queueing discipline `netem`", added.await)
            }
            Step::AddFilter(slot, peer, class) => {
                let filter = U32Filter::new().match_dst_ipv4(peer, 32).classid(handle(class));
                let (protocol, priority) = (EthProto::IP, FilterPriority::new(slot));
                let added = connection.add_filter_by_index_full(interface, ROOT, None, protocol, priority, filter);
                ("adding a filter `u32`", added.await)
            }
            Step::DropFilter(slot) => {
                let priority = FilterPriority::new(slot);
                let dropped = connection.del_filter_by_index(interface, ROOT, EthProto::IP, priority);
                ("removing a filter", unless_gone(dropped.await))
            }
            Step::Drain(class) => return self.drain(interface, class).await,
            Step::DropClass(class) => {
                let dropped = connection.del_class_by_index(interface, ROOT, handle(class));
                ("removing a class", unless_gone(dropped.await))
            }
            Step::DropRoot => {
                // By its handle, so that the kernel lets nobody else's go.
                let dropped = connection.del_qdisc_by_index_full(interface, TcHandle::ROOT, Some(ROOT));
                ("removing the queueing disciplines", unless_gone(dropped.await))
            }
        };
        taken.map_err(|error| NetemError::of(action, &error))
    }
}

fn handle(class: Class) -> TcHandle {
    TcHandle::new(MAJOR, class)
}

/// What is not there needs no removal. The kernel says it in several ways: no such thing, no such handle on this interface,
/// or that it knows of no traffic control at all.
fn unless_gone(dropped: nlink::Result<()>) -> nlink::Result<()> {
    match dropped {
        Err(error) if error.is_not_found() || error.is_invalid_argument() || error.is_not_supported() => Ok(()),
        dropped => dropped,
    }
}
