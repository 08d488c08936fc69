//! What the faults of packets by network emulation share: spoiling them where they are sent, letting them pass as they
//! are again, and measuring both.
//!
//! Each path is measured in its own direction by numbered datagrams, which pass the same queueing discipline as the
//! replica's packets. What they must show is each fault's own matter: its [`Effect`].

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use tokio::time::{Instant, sleep};

use super::measured::{Measured, after, nothing_to_heal, receipt};
use super::network::{FROM, Network, PAUSE, TO};
use super::path::{Path, Station};
use super::trace::Trace;
use super::{FaultContext, FaultError, Receipt, target};
use crate::agent::api::{Action, FaultRequest};
use crate::agent::netem::Impairment;
use crate::plan::{ReplicaId, Target};

/// Datagrams that show a path as it was, its time on the way included.
const BEFORE: u32 = 64;

/// What one of these faults does, and what shows it.
pub(super) trait Effect: Send + Sync {
    /// What the agents are asked for.
    fn impairment(&self) -> Impairment;

    /// Datagrams that show whether it acts.
    fn datagrams(&self) -> u32;

    /// The longest that one of them may be held back.
    fn longest(&self) -> Duration;

    /// Whether a measurement shows the effect, beside one from before it; and what it shows.
    fn shows(&self, before: &Trace, now: &Trace) -> (bool, String);

    /// Whether a measurement shows that it is over; and what it shows.
    fn is_over(&self, now: &Trace) -> (bool, String);
}

/// Spoils packets from one group on their way to the other.
pub(super) async fn inject(
    context: &FaultContext,
    from: &[Target],
    to: &[Target],
    both_ways: bool,
    effect: &dyn Effect,
) -> Result<Receipt, FaultError> {
    let start = Instant::now();
    let system = &*context.system;
    let (from, to) = tokio::try_join!(target::resolve(system, from), target::resolve(system, to))?;
    let network = Network::between(system, &from, &to, both_ways)?;
    let before = try_join_all(network.paths.iter().map(|path| path.trace(BEFORE, Duration::ZERO))).await?;
    context.acted.remember(FROM, &from);
    context.acted.remember(TO, &to);

    let id = context.id.to_string();
    impair(&network, &id, effect, context.ttl).await?;
    let measured = join_all(network.paths.iter().zip(before).map(async |(path, before)| {
        let open = format!("{}: before, {}", path.name(), before.told());
        let mut measured = path.or_unmeasured(see(path, &before, effect, start).await);
        measured.evidence.insert(0, open);
        if before.arrived() == 0 {
            // Nothing passed as it was: nothing shows what this fault does.
            measured.onset = None;
        }
        measured
    }))
    .await;
    Ok(receipt(&network.replicas(), measured))
}

/// Lets packets pass as they are again.
pub(super) async fn heal(context: &FaultContext, both_ways: bool, effect: &dyn Effect) -> Result<Receipt, FaultError> {
    let (from, to) = (context.acted.list(FROM), context.acted.list(TO));
    if from.is_empty() {
        return Ok(nothing_to_heal());
    }
    let start = Instant::now();
    let network = Network::between(&*context.system, &from, &to, both_ways)?;
    let id = context.id.to_string();
    let ended_before = restore(&network, &id).await?;
    let measured = join_all(network.paths.iter().map(async |path| {
        let seen = see_over(path, &id, effect, start, context.patience.open).await;
        let mut measured = path.or_unmeasured(seen);
        if ended_before.contains(&path.from.id) {
            let gone = "it was gone before the heal: its time-to-live had passed, or somebody removed it";
            measured.evidence.insert(0, format!("{}: {gone}", path.name()));
        }
        measured
    }))
    .await;
    Ok(Receipt {
        lapsed: !ended_before.is_empty(),
        ..receipt(&network.replicas(), measured)
    })
}

/// Each replica whose packets are spoilt, and those they are for.
fn senders(network: &Network) -> BTreeMap<&ReplicaId, (&Station, Vec<&Station>)> {
    let mut senders: BTreeMap<_, (&Station, Vec<&Station>)> = BTreeMap::new();
    for path in &network.paths {
        let (_, peers) = senders.entry(&path.from.id).or_insert_with(|| (&path.from, Vec::new()));
        if !peers.iter().any(|peer| peer.id == path.to.id) {
            peers.push(&path.to);
        }
    }
    senders
}

async fn impair(network: &Network, fault: &str, effect: &dyn Effect, ttl: Duration) -> Result<(), FaultError> {
    let puts = senders(network).into_values().map(async |(station, peers)| {
        let request = FaultRequest {
            peers: peers.iter().map(|peer| peer.address).collect(),
            action: Action::Impair(effect.impairment()),
            ttl_ms: ttl.as_millis().try_into().unwrap_or(u64::MAX),
        };
        let put = station.agent.put_fault(fault, &request).await;
        put.map_err(|error| station.failed(error))
    });
    join_all(puts).await.into_iter().try_for_each(|put| put.map(drop))
}

/// Every agent is asked, whatever the others answer. Returns those whose fault had ended by itself.
async fn restore(network: &Network, fault: &str) -> Result<Vec<ReplicaId>, FaultError> {
    let removals = senders(network).into_values().map(async |(station, _)| {
        let removed = station.agent.remove_fault(fault).await;
        let existed = removed.map_err(|error| station.failed(error))?.existed;
        Ok((!existed).then(|| station.id.clone()))
    });
    let ended = join_all(removals).await.into_iter().filter_map(Result::transpose);
    ended.collect()
}

/// One measurement decides: measuring until it fits would make anything fit.
async fn see(path: &Path, before: &Trace, effect: &dyn Effect, start: Instant) -> Result<Measured, FaultError> {
    let now = path.trace(effect.datagrams(), effect.longest()).await?;
    let (shown, what) = effect.shows(before, &now);
    let onset = shown.then(|| start.elapsed());
    Ok(Measured::new(onset, format!("{}: {what}{}", path.name(), after(onset))))
}

async fn see_over(
    path: &Path,
    fault: &str,
    effect: &dyn Effect,
    start: Instant,
    limit: Duration,
) -> Result<Measured, FaultError> {
    loop {
        let now = path.trace(effect.datagrams(), effect.longest()).await?;
        let (over, what) = effect.is_over(&now);
        let line = format!("{}: {what}", path.name());
        let connected = match over {
            true => path.connect().await?,
            false => Err("not tried".to_owned()),
        };
        let reason = match connected {
            Ok(()) => {
                let onset = start.elapsed();
                let line = format!("{line}, and a fresh connection was made{}", after(Some(onset)));
                return Ok(Measured::new(Some(onset), line));
            }
            Err(reason) => reason,
        };
        if let Some(others) = path.held_by_others(fault, |_any| true).await? {
            let line = format!("{line}: over as far as this fault goes, still spoilt by {others}");
            return Ok(Measured::new(Some(start.elapsed()), line));
        }
        if start.elapsed() >= limit {
            return Ok(Measured::new(None, format!("{line}; fresh connection: {reason}")));
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;
    use crate::agent::CONTROL_PORT;
    use crate::agent::disks::Disks;
    use crate::agent::faults::Faults;
    use crate::agent::links::Links;
    use crate::agent::netem::tests::{MemoryEmulator, Recorder};
    use crate::agent::netem::{Emulator, Netem};
    use crate::agent::rules::tests::MemoryFilter;
    use crate::agent::server::Agent;
    use crate::duration::DurationMs;
    use crate::fault::Fault;
    use crate::fault::packet_corrupt::PacketCorrupt;
    use crate::fault::packet_duplicate::PacketDuplicate;
    use crate::fault::packet_latency::PacketLatency;
    use crate::fault::packet_reorder::PacketReorder;
    use crate::fault::test_double::{Disobedience, FakeSystem, targets};

    /// Two replicas on loopback, each with a true agent that leaves emulation to that.
    async fn emulated_by(emulator: Arc<dyn Emulator>) -> Arc<FakeSystem> {
        // Other tests of true agents take the lower half.
        static NEXT: AtomicU8 = AtomicU8::new(128);
        let net = NEXT.fetch_add(1, Ordering::Relaxed);
        let process = u8::try_from(std::process::id() % 250).unwrap() + 2;
        let mut agents = [(Ipv4Addr::LOCALHOST, None); 2];
        for (host, agent) in (1..).zip(&mut agents) {
            let address = Ipv4Addr::new(127, process, net, host);
            let links = Links::new(&[], 1).unwrap();
            let faults = Faults::with_emulator(MemoryFilter::shared(), links.clone(), emulator.clone());
            let server = Agent::bind_with(address, faults, links, Disks::default())
                .await
                .unwrap();
            tokio::spawn(async move { server.serve().await });
            *agent = (address, Some(SocketAddr::from((address, CONTROL_PORT))));
        }
        FakeSystem::new(Disobedience::default(), agents)
    }

    fn corrupt() -> PacketCorrupt<Target> {
        PacketCorrupt {
            from: targets(&[1]),
            to: targets(&[2]),
            both_ways: true,
            percent: 30.0,
        }
    }

    fn each() -> Vec<Box<dyn Fault>> {
        let (from, to) = (targets(&[1]), targets(&[2]));
        let (both_ways, percent) = (true, 30.0);
        vec![
            Box::new(corrupt()),
            Box::new(PacketLatency {
                from: from.clone(),
                to: to.clone(),
                both_ways,
                latency: DurationMs(500),
                jitter: Some(DurationMs(200)),
                distribution: None,
            }),
            Box::new(PacketReorder {
                from: from.clone(),
                to: to.clone(),
                both_ways,
                percent,
                delay: DurationMs(20),
            }),
            Box::new(PacketDuplicate {
                from,
                to,
                both_ways,
                percent,
            }),
        ]
    }

    #[tokio::test]
    async fn an_emulation_that_does_nothing_is_not_confirmed() {
        let system = emulated_by(MemoryEmulator::shared()).await;
        for fault in each() {
            let context = system.context();
            let on = fault.inject(&context).await.unwrap();
            assert!(!on.confirmed && on.onset_us.is_none(), "{on:?}");
            assert_eq!(on.replicas, ["api-1", "api-2"]);
            assert_eq!(on.evidence.len(), 4, "before and after, each way: {on:?}");
            assert!(on.evidence.iter().any(|line| line.contains("does not fit")), "{on:?}");
            // Nothing was ever done to a packet, and so all pass.
            let off = fault.heal(&context).await.unwrap();
            assert!(off.confirmed && !off.lapsed, "{off:?}");
        }
    }

    #[tokio::test]
    async fn a_heal_after_the_end_of_its_time_says_so() {
        let system = emulated_by(MemoryEmulator::shared()).await;
        let context = FaultContext {
            ttl: Duration::from_millis(1),
            ..system.context()
        };
        corrupt().inject(&context).await.unwrap();
        let off = corrupt().heal(&context).await.unwrap();
        let told = off.evidence.iter().any(|line| line.contains("time-to-live had passed"));
        assert!(off.lapsed && told, "{off:?}");
    }

    #[tokio::test]
    async fn a_kernel_without_netem_is_named_by_the_agent_that_met_it() {
        let system = emulated_by(Arc::new(Netem::new(Recorder::without_netem()))).await;
        let context = system.context();
        for fault in each() {
            let error = fault.inject(&context).await.unwrap_err();
            assert!(error.to_string().contains("adding netem: no such thing"), "{error}");
            assert!(fault.heal(&context).await.unwrap().confirmed);
        }
    }

    #[tokio::test]
    async fn nothing_is_spoilt_on_the_way_to_oneself() {
        let system = emulated_by(MemoryEmulator::shared()).await;
        let fault = PacketCorrupt {
            to: targets(&[1]),
            ..corrupt()
        };
        let error = fault.inject(&system.context()).await.unwrap_err();
        assert!(matches!(error, FaultError::NoTarget { .. }), "{error}");
    }
}
