//! Receipts: what was measured of a fault while it was on, and after its removal.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was measured when a fault was injected or healed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// Whether the measurement shows what it should: the effect when injecting, its absence when healing.
    pub confirmed: bool,
    /// From the call of `inject` or `heal` to the first measurement that showed it, in microseconds; absent if none did.
    /// It holds whatever had to be found out first, so that the effect was seen this long after the call.
    pub onset_us: Option<u64>,
    /// The replicas acted on.
    pub replicas: Vec<String>,
    /// Of a heal: the fault had ended before, by its time-to-live or by somebody's hand. It did not act as long as planned,
    /// and what was seen in its time is no evidence.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lapsed: bool,
    /// Of a heal: what was to be done did not succeed, which is a finding about the system and no doubt about the fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Each measurement in one line, such as `payment-provider-1 -> postage-api-1: 0 of 5 datagrams arrived`.
    pub evidence: Vec<String>,
    /// Of a failover that came about: its times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takeover: Option<Takeover>,
}

/// When another took the place of a primary. Times are milliseconds from the command that broke the old one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Takeover {
    /// Until it was noticed; absent if nothing tells.
    pub detection_ms: Option<f64>,
    /// Until another member was not in recovery any more.
    pub promotion_ms: f64,
    /// Until the first write was acknowledged.
    pub first_write_ms: f64,
}
