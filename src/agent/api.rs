//! What is said on the agent's control interface: JSON bodies, and the paths they are sent to.
//!
//! | request | answer | |
//! | --- | --- | --- |
//! | `PUT /nightmail/faults/{id}` [`FaultRequest`] | [`FaultStatus`] | puts a fault in force; one of the same id is replaced |
//! | `DELETE /nightmail/faults/{id}` | [`Removed`] | ends it; nothing happens if there is none |
//! | `GET /nightmail/faults` | list of [`FaultStatus`] | those in force, with what they have met |
//! | `POST /nightmail/probes/send` [`SendRequest`] | [`Sent`] | sends probe datagrams to another agent |
//! | `POST /nightmail/probes/count` [`CountRequest`] | [`Counted`] | how many of a nonce have arrived here |
//! | `POST /nightmail/probes/trace` [`TraceRequest`] | [`Sent`] | sends datagrams with numbers and times to another agent |
//! | `POST /nightmail/probes/traced` [`TracedRequest`] | [`Traced`] | which of a nonce have arrived here, and how late |
//! | `POST /nightmail/probes/connect` [`ConnectRequest`] | [`Connected`] | tries a fresh connection to another agent, past any link |
//! | `POST /nightmail/probes/exchange` [`ExchangeRequest`] | [`Exchanged`] | exchanges bytes with another agent, the way the replica's connections go |
//! | `GET /nightmail/disks` | list of [`DiskStatus`] | the file systems that the agent shares with its replica |
//! | `PUT /nightmail/fills/{id}` [`FillRequest`] | [`DiskStatus`] | fills one to the last block |
//! | `DELETE /nightmail/fills/{id}` | [`Emptied`] | gives the space back; nothing happens if there is none |
//! | `POST /nightmail/disks/try` [`TryRequest`] | [`Tried`] | writes a block, and takes it back |
//!
//! Everything else is Toxiproxy's interface (see [`crate::link::api`]), with each link as a proxy under its peer's name.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::netem::Impairment;
use crate::link::chain::{Direction, Per};
use crate::link::toxic::Kind;

mod disks;

pub use disks::{DiskStatus, Emptied, FillRequest, Tried, TryRequest};

/// Everything the agent says of its own accord lies below this path.
pub const PREFIX: &str = "/nightmail";

/// The most peers one fault may name.
pub const PEERS_MAX: usize = 256;
/// The longest time-to-live: a day.
pub const TTL_MAX_MS: u64 = 24 * 60 * 60 * 1_000;
/// The most datagrams one request may send.
pub const DATAGRAMS_MAX: u32 = 1_000;
/// The longest that one request may wait.
pub const WAIT_MAX_MS: u64 = 1_000;

/// Spoil what passes between the replica and these peers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRequest {
    /// Who is at the other end.
    pub peers: Vec<Ipv4Addr>,
    /// What is done.
    pub action: Action,
    /// After this long the agent ends it by itself.
    pub ttl_ms: u64,
}

/// What a fault does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Packets that come in from the peers are dropped.
    Discard {
        /// The share of packets dropped, chosen at random packet by packet; absent means all.
        percent: Option<f64>,
    },
    /// Packets that go out to the peers are delayed, duplicated, reordered or corrupted.
    Impair(Impairment),
    /// Connections that the replica opens to the peers are refused, and those that it has are ended.
    Refuse,
    /// Connections that the replica opens to the peers, and has, go through a toxic.
    Spoil(Spoil),
}

/// A toxic on links.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spoil {
    /// What it does.
    pub toxic: Kind,
    /// Which way.
    pub stream: Direction,
    /// How likely it acts, from 0 to 1.
    pub toxicity: f64,
    /// On what.
    pub per: Per,
}

/// A fault in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultStatus {
    /// Its id.
    pub id: String,
    /// What it does.
    pub action: Action,
    /// What is left of its time-to-live.
    pub ttl_left_ms: u64,
    /// What it has met, by peer.
    pub peers: Vec<PeerCount>,
}

/// What a fault has met of one peer's since it was put in force: packets by the kernel's own count, connections by the
/// link's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerCount {
    /// The peer.
    pub address: Ipv4Addr,
    /// Probe datagrams that came as far as the rule, dropped or not.
    pub probes_seen: u64,
    /// Packets of all kinds that were dropped or refused.
    pub dropped: u64,
    /// Connections that the toxic has acted on.
    pub connections: u64,
    /// Bytes that it has acted on.
    pub bytes: u64,
}

impl PeerCount {
    /// Nothing yet.
    pub fn none(address: Ipv4Addr) -> Self {
        Self {
            address,
            probes_seen: 0,
            dropped: 0,
            connections: 0,
            bytes: 0,
        }
    }
}

/// A fault was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Whether there was one.
    pub existed: bool,
    /// What it had met by then.
    pub peers: Vec<PeerCount>,
}

/// Send probe datagrams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendRequest {
    /// Tells this measurement from all others.
    pub nonce: u64,
    /// The other agent.
    pub to: Ipv4Addr,
    /// How many.
    pub datagrams: u32,
}

/// Probe datagrams were handed to the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// How many.
    pub datagrams: u32,
}

/// Send datagrams that carry their number and the time at which each was sent, in small bursts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceRequest {
    /// Tells this measurement from all others.
    pub nonce: u64,
    /// The other agent.
    pub to: Ipv4Addr,
    /// The number of the first of them.
    pub first: u32,
    /// How many.
    pub datagrams: u32,
}

/// Say which datagrams of a nonce have arrived, as soon as so many different ones have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TracedRequest {
    /// The measurement.
    pub nonce: u64,
    /// The other agent.
    pub from: Ipv4Addr,
    /// Leave out so many arrivals, which are known already.
    pub skip: u32,
    /// Answer at once when so many different ones have arrived.
    pub datagrams: u32,
    /// Answer after so long in any case.
    pub wait_ms: u64,
}

/// What has arrived of a nonce.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traced {
    /// Every arrival but those left out, in their order; a datagram that came twice is there twice.
    pub arrivals: Vec<Arrival>,
}

/// A datagram that arrived unharmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// Its number.
    pub number: u32,
    /// From before it was handed to the kernel until it came to the receiver's, by the clock that all network namespaces of
    /// a machine share.
    pub transit_us: i64,
}

/// Say how many datagrams of a nonce have arrived, as soon as that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountRequest {
    /// The measurement.
    pub nonce: u64,
    /// The other agent.
    pub from: Ipv4Addr,
    /// Answer at once when so many have arrived.
    pub datagrams: u32,
    /// Answer at once when the rule of a fault has seen so many probe datagrams of that peer: those that have not arrived
    /// by then never will.
    pub rule: Option<RuleSaw>,
    /// Answer after so long in any case.
    pub wait_ms: u64,
}

/// A number of probe datagrams seen by a fault's rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSaw {
    /// The fault.
    pub fault: String,
    /// How many since it was put in force.
    pub probes: u64,
}

/// How many datagrams of a nonce have arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// How many.
    pub datagrams: u32,
    /// What the fault asked about has counted of that peer; absent if there is no such fault here.
    pub rule: Option<PeerCount>,
}

/// Try a connection to another agent's probe port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectRequest {
    /// The other agent.
    pub to: Ipv4Addr,
    /// How long it may take.
    pub wait_ms: u64,
}

/// How a connection went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connected {
    /// Absent if it was made; otherwise why not.
    pub refusal: Option<String>,
}

/// Exchange bytes with another agent, which answers each request with the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExchangeRequest {
    /// The other agent.
    pub to: Ipv4Addr,
    /// How many.
    pub exchanges: u32,
    /// How many over one connection, one after the other, before a fresh one is made.
    pub per_connection: u32,
    /// Bytes of each request.
    pub bytes: u32,
    /// How long an answer may take.
    pub wait_ms: u64,
    /// How long all may take; what has not been begun by then is left out.
    pub within_ms: u64,
}

/// What became of exchanges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchanged {
    /// Each of them.
    pub exchanges: Vec<Exchange>,
    /// Of connections that were closed in order: from saying so to the other end's saying the same, in microseconds.
    pub closings_us: Vec<u64>,
}

/// What became of one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// How it ended.
    pub end: End,
    /// When, counted from the first byte of the request, in microseconds.
    pub us: u64,
    /// Bytes of the answer that came.
    pub bytes: u32,
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// By the whole answer.
    Answered,
    /// By an answer of other bytes.
    Changed,
    /// By nothing, in its time.
    Silent,
    /// By the connection being closed.
    Closed,
    /// By its being reset.
    Reset,
    /// By its being refused.
    Refused,
}

/// A request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Why.
    pub error: String,
}
