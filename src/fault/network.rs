//! What the faults of packets share: dropping them where they arrive, letting them pass again, and measuring both.
//!
//! Each path is measured in its own direction by the agents at its ends. A cut is shown by datagrams that all came as far
//! as the rule and none of which arrived; a loss by a share that fits; a heal by all of them arriving, and by a fresh
//! connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use tokio::time::{Instant, sleep};

use super::measured::{Measured, after, nothing_to_heal, receipt};
use super::path::{Path, RuleCount, Station};
use super::{FaultContext, FaultError, Problem, Receipt, sample, target};
use crate::agent::api::{Action, FaultRequest};
use crate::plan::{ReplicaId, Target};
use crate::system::engine::RunningSystem;

pub(super) const FROM: &str = "from";
pub(super) const TO: &str = "to";
/// Datagrams that show a path open or cut. On a bridge none is lost by accident, and a heal tries again if one is.
const DATAGRAMS: u32 = 5;
/// The pause before another look.
pub(super) const PAUSE: Duration = Duration::from_millis(2);

/// What is wrong with the two groups of a fault of packets.
pub(super) fn problems(from: &[Target], to: &[Target]) -> Vec<Problem> {
    let mut problems: Vec<Problem> = target::empty_list(FROM, from).into_iter().collect();
    problems.extend(target::empty_list(TO, to));
    problems.extend(target::overlaps(from, to));
    problems
}

/// `payment-provider-1 -> postage-api-1, postage-api-2`, or with `<->`.
pub(super) fn route(from: &[Target], to: &[Target], both_ways: bool) -> String {
    let arrow = if both_ways { "<->" } else { "->" };
    format!("{} {arrow} {}", target::names(from), target::names(to))
}

/// Drops packets: a share of them, or all.
pub(super) async fn inject(
    context: &FaultContext,
    from: &[Target],
    to: &[Target],
    both_ways: bool,
    percent: Option<f64>,
) -> Result<Receipt, FaultError> {
    let start = Instant::now();
    let system = &*context.system;
    let (from, to) = tokio::try_join!(target::resolve(system, from), target::resolve(system, to))?;
    let network = Network::between(system, &from, &to, both_ways)?;
    let before = try_join_all(network.paths.iter().map(|path| path.sample(DATAGRAMS, None))).await?;
    context.acted.remember(FROM, &from);
    context.acted.remember(TO, &to);

    let id = context.id.to_string();
    network.drop_packets(&id, percent, context.ttl).await?;
    let measured = join_all(network.paths.iter().zip(before).map(async |(path, before)| {
        let open = format!("{}: before, {}", path.name(), before.arrivals());
        let shown = match percent {
            None => see_cut(path, &id, start, context.patience.cut).await,
            Some(percent) => see_loss(path, &id, percent, start).await,
        };
        let mut measured = path.or_unmeasured(shown);
        measured.evidence.push(open);
        if before.arrived == 0 {
            // It was closed already: nothing shows that this fault closed it.
            measured.onset = None;
        }
        measured
    }))
    .await;
    Ok(receipt(&network.replicas(), measured))
}

/// Lets packets pass again.
pub(super) async fn heal(context: &FaultContext, both_ways: bool, percent: Option<f64>) -> Result<Receipt, FaultError> {
    let (from, to) = (context.acted.list(FROM), context.acted.list(TO));
    if from.is_empty() {
        return Ok(nothing_to_heal());
    }
    let start = Instant::now();
    let network = Network::between(&*context.system, &from, &to, both_ways)?;
    let datagrams = percent.map_or(DATAGRAMS, sample::datagrams_for);
    let id = context.id.to_string();
    let ended_before = network.let_pass(&id).await?;
    let measured = join_all(network.paths.iter().map(async |path| {
        let mut measured = path.or_unmeasured(see_healed(path, &id, datagrams, start, context.patience.open).await);
        if ended_before.contains(&path.to.id) {
            measured.evidence.insert(
                0,
                format!(
                    "{}: its rule was gone before the heal: its time-to-live had passed, or somebody removed it",
                    path.name()
                ),
            );
        }
        measured
    }))
    .await;
    Ok(Receipt {
        lapsed: !ended_before.is_empty(),
        ..receipt(&network.replicas(), measured)
    })
}

/// The agents and paths that a fault touches.
pub(super) struct Network {
    pub paths: Vec<Path>,
    stations: BTreeMap<ReplicaId, Arc<Station>>,
}

impl Network {
    pub(super) fn between(
        system: &dyn RunningSystem,
        from: &[ReplicaId],
        to: &[ReplicaId],
        both_ways: bool,
    ) -> Result<Self, FaultError> {
        let stations = Station::of_all(system, from.iter().chain(to))?;
        let mut paths = Vec::new();
        for (one, other) in from.iter().flat_map(|one| to.iter().map(move |other| (one, other))) {
            // A role may have moved to a replica of the other side since the plan was made.
            if one == other {
                continue;
            }
            let path = |from: &ReplicaId, to: &ReplicaId| Path {
                from: stations[from].clone(),
                to: stations[to].clone(),
            };
            paths.push(path(one, other));
            if both_ways {
                paths.push(path(other, one));
            }
        }
        if paths.is_empty() {
            return Err(FaultError::NoTarget {
                role: "path".to_owned(),
                members: stations.keys().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                reason: "`from` and `to` mean the same replica".to_owned(),
            });
        }
        Ok(Self { paths, stations })
    }

    pub(super) fn replicas(&self) -> Vec<ReplicaId> {
        self.stations.keys().cloned().collect()
    }

    /// Each replica that packets are dropped at, and those whose packets are.
    fn receivers(&self) -> BTreeMap<&ReplicaId, (&Station, Vec<&Station>)> {
        let mut receivers: BTreeMap<_, (&Station, Vec<&Station>)> = BTreeMap::new();
        for path in &self.paths {
            let (_, peers) = receivers.entry(&path.to.id).or_insert_with(|| (&path.to, Vec::new()));
            if !peers.iter().any(|peer| peer.id == path.from.id) {
                peers.push(&path.from);
            }
        }
        receivers
    }

    async fn drop_packets(&self, fault: &str, percent: Option<f64>, ttl: Duration) -> Result<(), FaultError> {
        let puts = self.receivers().into_values().map(async |(station, peers)| {
            let peers = peers.iter().map(|peer| peer.address).collect();
            let ttl_ms = ttl.as_millis().try_into().unwrap_or(u64::MAX);
            let action = Action::Discard { percent };
            let request = FaultRequest { peers, action, ttl_ms };
            station
                .agent
                .put_fault(fault, &request)
                .await
                .map_err(|error| station.failed(error))
        });
        join_all(puts).await.into_iter().try_for_each(|put| put.map(drop))
    }

    /// Every agent is asked, whatever the others answer. Returns those whose fault had ended by itself.
    async fn let_pass(&self, fault: &str) -> Result<Vec<ReplicaId>, FaultError> {
        let removals = self.receivers().into_values().map(async |(station, _)| {
            let removed = station
                .agent
                .remove_fault(fault)
                .await
                .map_err(|error| station.failed(error))?;
            Ok((!removed.existed).then(|| station.id.clone()))
        });
        let ended = join_all(removals).await.into_iter().filter_map(Result::transpose);
        ended.collect()
    }
}

async fn see_cut(path: &Path, fault: &str, start: Instant, limit: Duration) -> Result<Measured, FaultError> {
    let told = Instant::now();
    let mut rule = RuleCount {
        fault: fault.to_owned(),
        ..RuleCount::default()
    };
    loop {
        let sample = path.sample(DATAGRAMS, Some(&mut rule)).await?;
        let all_seen = sample.sent == DATAGRAMS && sample.seen == sample.sent;
        let cut = sample.arrived == 0 && all_seen && sample.dropped >= u64::from(sample.sent);
        if cut || told.elapsed() >= limit {
            let onset = cut.then(|| start.elapsed());
            let line = format!(
                "{}: {}, {} came as far as the rule and the kernel dropped {} packets there{}",
                path.name(),
                sample.arrivals(),
                sample.seen,
                sample.dropped,
                after(onset)
            );
            return Ok(Measured::new(onset, line));
        }
        sleep(PAUSE).await;
    }
}

/// One sample decides: sampling until it fits would make anything fit.
async fn see_loss(path: &Path, fault: &str, percent: f64, start: Instant) -> Result<Measured, FaultError> {
    let mut rule = RuleCount {
        fault: fault.to_owned(),
        ..RuleCount::default()
    };
    let sample = path.sample(sample::datagrams_for(percent), Some(&mut rule)).await?;
    let lost = sample.seen.saturating_sub(sample.arrived);
    let fits = sample::fits(lost, sample.seen, percent);
    let onset = fits.then(|| start.elapsed());
    let measured = f64::from(lost) / f64::from(sample.seen.max(1)) * 100.0;
    let line = format!(
        "{}: {lost} of {} datagrams lost at the rule ({measured:.1} %), which {} {percent} %{}",
        path.name(),
        sample.seen,
        if fits { "fits" } else { "does not fit" },
        after(onset)
    );
    Ok(Measured::new(onset, line))
}

async fn see_healed(
    path: &Path,
    fault: &str,
    datagrams: u32,
    start: Instant,
    limit: Duration,
) -> Result<Measured, FaultError> {
    loop {
        let sample = path.sample(datagrams, None).await?;
        let all_arrived = sample.arrived == datagrams;
        let connected = if all_arrived {
            path.connect().await?
        } else {
            Err("not tried".to_owned())
        };
        let line = format!("{}: {}", path.name(), sample.arrivals());
        let reason = match connected {
            Ok(()) => {
                let onset = start.elapsed();
                let line = format!("{line}, and a fresh connection was made{}", after(Some(onset)));
                return Ok(Measured::new(Some(onset), line));
            }
            Err(reason) => reason,
        };
        if let Some(others) = held_by_others(path, fault).await? {
            let line = format!(
                "{}: open as far as this fault goes, still held by {others}",
                path.name()
            );
            return Ok(Measured::new(Some(start.elapsed()), line));
        }
        if start.elapsed() >= limit {
            return Ok(Measured::new(None, format!("{line}; fresh connection: {reason}")));
        }
        sleep(PAUSE).await;
    }
}

/// Other faults on the path that drop packets too. What spoils links does not reach the probes of packets.
async fn held_by_others(path: &Path, fault: &str) -> Result<Option<String>, FaultError> {
    path.held_by_others(fault, |action| matches!(action, Action::Discard { .. }))
        .await
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;
    use crate::agent::links::Links;
    use crate::agent::rules::tests::MemoryFilter;
    use crate::agent::{CONTROL_PORT, server::Agent};
    use crate::fault::test_double::{Disobedience, FakeSystem, targets};

    /// Two replicas on loopback, each with a true agent whose filter obeys nobody.
    async fn disobedient() -> Arc<FakeSystem> {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let net = NEXT.fetch_add(1, Ordering::Relaxed);
        let process = u8::try_from(std::process::id() % 250).unwrap() + 2;
        let mut agents = [(Ipv4Addr::LOCALHOST, None); 2];
        for (host, agent) in (1..).zip(&mut agents) {
            let address = Ipv4Addr::new(127, process, net, host);
            let server = Agent::bind(address, MemoryFilter::shared(), Links::new(&[], 1).unwrap())
                .await
                .unwrap();
            tokio::spawn(async move { server.serve().await });
            *agent = (address, Some(SocketAddr::from((address, CONTROL_PORT))));
        }
        FakeSystem::new(Disobedience::default(), agents)
    }

    #[tokio::test]
    async fn a_filter_that_drops_nothing_is_not_confirmed() {
        for percent in [None, Some(30.0)] {
            let system = disobedient().await;
            let context = system.context();
            let on = inject(&context, &targets(&[1]), &targets(&[2]), true, percent)
                .await
                .unwrap();
            assert!(!on.confirmed && on.onset_us.is_none(), "{on:?}");
            assert_eq!(on.replicas, ["api-1", "api-2"]);
            assert!(
                on.evidence.iter().any(|line| line.starts_with("api-2 -> api-1: ")),
                "{on:?}"
            );
            // Nothing was ever dropped, and so everything arrives.
            let off = heal(&context, true, percent).await.unwrap();
            assert!(off.confirmed, "{off:?}");
        }
    }

    #[tokio::test]
    async fn a_heal_after_the_end_of_its_time_says_so() {
        let system = disobedient().await;
        let context = FaultContext {
            ttl: Duration::from_millis(1),
            ..system.context()
        };
        inject(&context, &targets(&[1]), &targets(&[2]), false, None)
            .await
            .unwrap();
        let off = heal(&context, false, None).await.unwrap();
        assert!(
            off.lapsed && off.evidence.iter().any(|line| line.contains("time-to-live had passed")),
            "{off:?}"
        );
    }

    #[tokio::test]
    async fn without_an_agent_it_cannot_act() {
        let system = FakeSystem::without_agents(Disobedience::default());
        let context = system.context();
        let error = inject(&context, &targets(&[1]), &targets(&[2]), true, None)
            .await
            .unwrap_err();
        assert!(
            matches!(&error, FaultError::Agent { replica, .. } if replica == "api-1"),
            "{error}"
        );
        assert!(heal(&context, true, None).await.unwrap().confirmed);
    }

    #[tokio::test]
    async fn nobody_is_cut_off_from_itself() {
        let system = disobedient().await;
        let error = inject(&system.context(), &targets(&[1]), &targets(&[1]), true, None)
            .await
            .unwrap_err();
        assert!(matches!(error, FaultError::NoTarget { .. }), "{error}");
    }
}
