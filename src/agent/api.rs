//! What is said on the agent's control interface: JSON bodies, and the paths they are sent to.
//!
//! | request | answer | |
//! | --- | --- | --- |
//! | `PUT /nightmail/faults/{id}` [`FaultRequest`] | [`FaultStatus`] | drops packets; one of the same id is replaced |
//! | `DELETE /nightmail/faults/{id}` | [`Removed`] | lets them pass; nothing happens if there is none |
//! | `GET /nightmail/faults` | list of [`FaultStatus`] | those in force, with the kernel's counters |
//! | `POST /nightmail/probes/send` [`SendRequest`] | [`Sent`] | sends probe datagrams to another agent |
//! | `POST /nightmail/probes/count` [`CountRequest`] | [`Counted`] | how many of a nonce have arrived here |
//! | `POST /nightmail/probes/connect` [`ConnectRequest`] | [`Connected`] | tries a fresh connection to another agent |

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

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

/// Drop packets that come in from these peers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRequest {
    /// Whose packets.
    pub peers: Vec<Ipv4Addr>,
    /// The share of packets dropped, chosen at random packet by packet; absent means all.
    pub percent: Option<f64>,
    /// After this long the agent lets packets pass again by itself.
    pub ttl_ms: u64,
}

/// A fault in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultStatus {
    /// Its id.
    pub id: String,
    /// The share of packets dropped; absent means all.
    pub percent: Option<f64>,
    /// What is left of its time-to-live.
    pub ttl_left_ms: u64,
    /// What the kernel has counted, by peer.
    pub peers: Vec<PeerCount>,
}

/// The kernel's own count of a peer's packets since the fault was put in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerCount {
    /// The peer.
    pub address: Ipv4Addr,
    /// Probe datagrams that came as far as the rule, dropped or not.
    pub probes_seen: u64,
    /// Packets of all kinds that were dropped.
    pub dropped: u64,
}

/// A fault was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Whether there was one.
    pub existed: bool,
    /// What the kernel had counted by then.
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

/// A request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Why.
    pub error: String,
}
