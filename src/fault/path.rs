//! One direction between two replicas, measured by the agents at its ends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::FaultError;
use super::measured::Measured;
use crate::agent::api::{Action, ConnectRequest, CountRequest, RuleSaw, SendRequest};
use crate::agent::client::{Client, ClientError};
use crate::plan::ReplicaId;
use crate::system::engine::RunningSystem;

/// Datagrams sent before the other side's count is awaited: few enough for the usual receive buffer to hold them all, however
/// long the agent there is not scheduled. Beyond about 160 some were lost on a busy machine.
const WAVE: u32 = 64;
/// How long a count is awaited that does not come about.
const COUNT_WAIT_MS: u64 = 250;
/// How long a connection may take to be made.
const CONNECT_WAIT_MS: u64 = 250;

/// A replica and the agent beside it.
pub(super) struct Station {
    pub id: ReplicaId,
    pub address: Ipv4Addr,
    pub agent: Client,
}

impl Station {
    /// An error if no agent stands there.
    pub(super) fn of(system: &dyn RunningSystem, id: &ReplicaId) -> Result<Arc<Self>, FaultError> {
        let replica = system.replica(id)?;
        let Some(agent) = replica.agent else {
            return Err(FaultError::Agent {
                replica: id.to_string(),
                reason: "there is none, and without one this fault cannot be put in force".to_owned(),
            });
        };
        Ok(Arc::new(Self {
            id: id.clone(),
            address: replica.address,
            agent: Client::new(agent),
        }))
    }

    /// One for each of these replicas.
    pub(super) fn of_all<'a>(
        system: &dyn RunningSystem,
        ids: impl IntoIterator<Item = &'a ReplicaId>,
    ) -> Result<BTreeMap<ReplicaId, Arc<Self>>, FaultError> {
        let ids: BTreeSet<&ReplicaId> = ids.into_iter().collect();
        ids.into_iter()
            .map(|id| Ok((id.clone(), Self::of(system, id)?)))
            .collect()
    }

    pub(super) fn failed(&self, error: ClientError) -> FaultError {
        FaultError::Agent {
            replica: self.id.to_string(),
            reason: error.to_string(),
        }
    }
}

/// The way of packets from one replica to another.
pub(super) struct Path {
    pub from: Arc<Station>,
    pub to: Arc<Station>,
}

/// What became of the datagrams of one measurement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sample {
    pub sent: u32,
    pub arrived: u32,
    /// Those that came as far as the fault's rule; 0 where there is no such rule.
    pub seen: u32,
    /// Packets of all kinds that the rule dropped meanwhile.
    pub dropped: u64,
}

impl Sample {
    /// `3 of 5 datagrams arrived`.
    pub(super) fn arrivals(&self) -> String {
        format!("{} of {} datagrams arrived", self.arrived, self.sent)
    }
}

/// What a fault's rule had counted when the last measurement of a path ended.
#[derive(Debug, Clone, Default)]
pub(super) struct RuleCount {
    pub fault: String,
    pub seen: u64,
    pub dropped: u64,
}

impl Path {
    /// `payment-provider-1 -> postage-api-1`.
    pub(super) fn name(&self) -> String {
        format!("{} -> {}", self.from.id, self.to.id)
    }

    /// An agent that fell silent after the command is no error: the receipt stays unconfirmed.
    pub(super) fn or_unmeasured(&self, measured: Result<Measured, FaultError>) -> Measured {
        measured.unwrap_or_else(|error| {
            let line = format!("{}: could not be measured: {error}", self.name());
            Measured::new(None, line)
        })
    }

    /// Sends so many datagrams and says what became of them. `rule` is the fault whose rule stands in the way, if any.
    pub(super) async fn sample(&self, datagrams: u32, mut rule: Option<&mut RuleCount>) -> Result<Sample, FaultError> {
        // Tells measurements apart and decides nothing, so it does not come from the plan's seed.
        let nonce = rand::random();
        let mut sample = Sample::default();
        while sample.sent < datagrams {
            let wave = WAVE.min(datagrams - sample.sent);
            let send = SendRequest {
                nonce,
                to: self.to.address,
                datagrams: wave,
            };
            let count = CountRequest {
                nonce,
                from: self.from.address,
                datagrams: sample.sent + wave,
                rule: rule.as_ref().map(|rule| RuleSaw {
                    fault: rule.fault.clone(),
                    probes: rule.seen + u64::from(wave),
                }),
                wait_ms: COUNT_WAIT_MS,
            };
            let send = async {
                self.from
                    .agent
                    .send(&send)
                    .await
                    .map_err(|error| self.from.failed(error))
            };
            let count = async { self.to.agent.count(&count).await.map_err(|error| self.to.failed(error)) };
            // At once: the count comes back the moment that it is known.
            let (sent, counted) = tokio::try_join!(send, count)?;
            sample.sent += sent.datagrams;
            sample.arrived = counted.datagrams;
            if let (Some(before), Some(now)) = (rule.as_deref_mut(), counted.rule) {
                sample.seen += u32::try_from(now.probes_seen.saturating_sub(before.seen)).unwrap_or(u32::MAX);
                sample.dropped += now.dropped.saturating_sub(before.dropped);
                before.seen = now.probes_seen;
                before.dropped = now.dropped;
            }
            if sent.datagrams < wave {
                break;
            }
        }
        Ok(sample)
    }

    /// Tries a fresh connection; the inner error says why there is none.
    pub(super) async fn connect(&self) -> Result<Result<(), String>, FaultError> {
        let request = ConnectRequest {
            to: self.to.address,
            wait_ms: CONNECT_WAIT_MS,
        };
        let connected = self
            .from
            .agent
            .connect(&request)
            .await
            .map_err(|error| self.from.failed(error))?;
        Ok(connected.refusal.map_or(Ok(()), Err))
    }

    /// Names faults other than `fault` on the path, in either direction since a connection needs both, of those whose action
    /// matters.
    pub(super) async fn held_by_others(
        &self,
        fault: &str,
        matters: impl Fn(&Action) -> bool + Copy,
    ) -> Result<Option<String>, FaultError> {
        let (there, back) = tokio::try_join!(
            others(&self.to, &self.from, fault, matters),
            others(&self.from, &self.to, fault, matters)
        )?;
        let names: Vec<String> = there.into_iter().chain(back).map(|id| format!("fault {id}")).collect();
        Ok((!names.is_empty()).then(|| names.join(", ")))
    }
}

/// Ids of faults other than `fault` that an agent holds against a peer.
async fn others(
    at: &Station,
    peer: &Station,
    fault: &str,
    matters: impl Fn(&Action) -> bool,
) -> Result<Vec<String>, FaultError> {
    let faults = at.agent.faults().await.map_err(|error| at.failed(error))?;
    let others = faults.into_iter().filter(|held| {
        held.id != fault && matters(&held.action) && held.peers.iter().any(|count| count.address == peer.address)
    });
    Ok(others.map(|held| held.id).collect())
}
