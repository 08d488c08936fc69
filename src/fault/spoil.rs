//! Putting toxics on links, taking them off, and looking through the links meanwhile.
//!
//! The agents at both ends exchange bytes over fresh connections that go the way of the replica's own: through the kernel's
//! redirection, the link and its toxics. Each kind of toxic has its [`Sign`]; what does not show it is not confirmed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use tokio::time::{Instant, sleep};

use super::link::OnLink;
use super::measured::{Measured, after, ms, nothing_to_heal, receipt};
use super::path::{Path, Station};
use super::sign::{Looked, Shows, Sign, WITHIN};
use super::{FaultContext, FaultError, Receipt, target};
use crate::agent::api::{Action, ExchangeRequest, FaultRequest, PeerCount, Spoil};
use crate::link::toxic::Kind;
use crate::plan::{ReplicaId, Target};
use crate::system::engine::RunningSystem;

const FROM: &str = "from";
const TO: &str = "to";
/// The pause before another look.
const PAUSE: Duration = Duration::from_millis(5);

/// The links that a fault acts on.
struct Links {
    paths: Vec<Path>,
}

impl Links {
    fn between(system: &dyn RunningSystem, from: &[ReplicaId], to: &[ReplicaId]) -> Result<Self, FaultError> {
        let stations = Station::of_all(system, from.iter().chain(to))?;
        let mut paths = Vec::new();
        for (one, other) in from.iter().flat_map(|one| to.iter().map(move |other| (one, other))) {
            // A role may have moved to a replica of the other side since the plan was made.
            if one != other {
                paths.push(Path {
                    from: stations[one].clone(),
                    to: stations[other].clone(),
                });
            }
        }
        match paths.is_empty() {
            true => Err(FaultError::NoTarget {
                role: "link".to_owned(),
                members: stations.keys().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                reason: "`from` and `to` mean the same replica".to_owned(),
            }),
            false => Ok(Self { paths }),
        }
    }

    fn replicas(&self) -> Vec<ReplicaId> {
        let ends = self.paths.iter().flat_map(|path| [&path.from.id, &path.to.id]);
        let mut replicas: Vec<ReplicaId> = ends.cloned().collect();
        replicas.sort();
        replicas.dedup();
        replicas
    }

    /// Each replica whose connections are met, and the peers they go to.
    fn openers(&self) -> Vec<(Arc<Station>, Vec<Arc<Station>>)> {
        let mut openers: BTreeMap<&ReplicaId, (Arc<Station>, Vec<Arc<Station>>)> = BTreeMap::new();
        for path in &self.paths {
            let (_, peers) = openers
                .entry(&path.from.id)
                .or_insert_with(|| (path.from.clone(), Vec::new()));
            peers.push(path.to.clone());
        }
        openers.into_values().collect()
    }

    async fn spoil(&self, fault: &str, action: &Action, ttl: Duration) -> Result<(), FaultError> {
        let puts = self.openers().into_iter().map(async |(station, peers)| {
            let request = FaultRequest {
                peers: peers.iter().map(|peer| peer.address).collect(),
                action: action.clone(),
                ttl_ms: ttl.as_millis().try_into().unwrap_or(u64::MAX),
            };
            let put = station.agent.put_fault(fault, &request).await;
            put.map_err(|error| station.failed(error))
        });
        join_all(puts).await.into_iter().try_for_each(|put| put.map(drop))
    }

    /// Every agent is asked, whatever the others answer. What each link's toxic had met, by opener and peer; a link is left
    /// out whose toxic was gone before.
    async fn restore(&self, fault: &str) -> Result<BTreeMap<ReplicaId, Option<Vec<PeerCount>>>, FaultError> {
        let removals = self.openers().into_iter().map(async |(station, _peers)| {
            let removed = station.agent.remove_fault(fault).await;
            let removed = removed.map_err(|error| station.failed(error))?;
            Ok((station.id.clone(), removed.existed.then_some(removed.peers)))
        });
        join_all(removals).await.into_iter().collect()
    }
}

/// Puts a fault on links, and looks through each.
pub(super) async fn inject(
    context: &FaultContext,
    on: &OnLink<'_, Target>,
    toxic: Option<Kind>,
    sign: &Sign,
) -> Result<Receipt, FaultError> {
    let start = Instant::now();
    let system = &*context.system;
    let (from, to) = tokio::try_join!(target::resolve(system, on.from), target::resolve(system, on.to))?;
    let links = Links::between(system, &from, &to)?;
    let before = try_join_all(links.paths.iter().map(|path| {
        let request = sign.request_before(path.to.address);
        look(path, sign, request, None)
    }))
    .await?;
    context.acted.remember(FROM, &from);
    context.acted.remember(TO, &to);

    let id = context.id.to_string();
    let action = match toxic {
        None => Action::Refuse,
        Some(toxic) => Action::Spoil(Spoil {
            toxic,
            stream: on.stream,
            toxicity: on.toxicity,
            per: on.per,
        }),
    };
    links.spoil(&id, &action, context.ttl).await?;
    let seen = links.paths.iter().zip(before).map(async |(path, before)| {
        let base = before.round_trip;
        let mut measured = path.or_unmeasured(see_spoiled(path, &id, on, sign, base, start, context).await);
        measured
            .evidence
            .push(format!("{}: before, {}", path.name(), before.words()));
        if let Some(took) = base {
            context.acted.remember_round_trip(&path.name(), took);
        }
        if !before.is_whole(1) {
            // It was spoiled already: nothing shows that this fault spoiled it.
            measured.onset = None;
        }
        measured
    });
    let measured = join_all(seen).await;
    Ok(receipt(&links.replicas(), measured))
}

/// Takes a fault from links, and looks through each.
pub(super) async fn heal(context: &FaultContext, on: &OnLink<'_, Target>, sign: &Sign) -> Result<Receipt, FaultError> {
    let (from, to) = (context.acted.list(FROM), context.acted.list(TO));
    if from.is_empty() {
        return Ok(nothing_to_heal());
    }
    let start = Instant::now();
    let links = Links::between(&*context.system, &from, &to)?;
    let id = context.id.to_string();
    let had_met = links.restore(&id).await?;
    let seen = links.paths.iter().map(async |path| {
        let mut measured = path.or_unmeasured(see_healed(path, &id, on, sign, start, context).await);
        match &had_met[&path.from.id] {
            Some(counts) => measured
                .evidence
                .push(format!("{}: {}", path.name(), met_words(counts, path))),
            // What is odd comes first.
            None => measured.evidence.insert(
                0,
                format!(
                    "{}: it was gone before the heal: its time-to-live had passed, or somebody removed it",
                    path.name()
                ),
            ),
        }
        measured
    });
    let measured = join_all(seen).await;
    Ok(Receipt {
        lapsed: had_met.values().any(Option::is_none),
        ..receipt(&links.replicas(), measured)
    })
}

fn met_words(counts: &[PeerCount], path: &Path) -> String {
    match counts.iter().find(|count| count.address == path.to.address) {
        Some(count) if count.dropped > 0 => format!("it had refused {} packets", count.dropped),
        Some(count) => format!(
            "it had acted on {} connections and {} bytes, the probes' own among them",
            count.connections, count.bytes
        ),
        None => "it had met nothing".to_owned(),
    }
}

/// Makes exchanges, and looks at them for the sign.
async fn look(
    path: &Path,
    sign: &Sign,
    request: ExchangeRequest,
    base: Option<Duration>,
) -> Result<Looked, FaultError> {
    let exchanged = path.from.agent.exchange(&request).await;
    let exchanged = exchanged.map_err(|error| path.from.failed(error))?;
    // Without anything to compare with, nothing counts as late.
    Ok(sign.look(&exchanged, base.unwrap_or(WITHIN)))
}

async fn see_spoiled(
    path: &Path,
    fault: &str,
    on: &OnLink<'_, Target>,
    sign: &Sign,
    base: Option<Duration>,
    start: Instant,
    context: &FaultContext,
) -> Result<Measured, FaultError> {
    let told = Instant::now();
    loop {
        let asked = start.elapsed();
        let looked = look(path, sign, sign.request(path.to.address, on.toxicity, on.per), base).await?;
        let shown = match sign.shows {
            Shows::Counted => looked.is_whole(1) && has_acted(path, fault).await?,
            _ => looked.shows(on.toxicity),
        };
        // A share is sampled once: sampling until it fits would make anything fit.
        if shown || on.toxicity < 1.0 || told.elapsed() >= context.patience.cut {
            // What was met was met from its beginning on, however late that showed.
            let onset = shown.then_some(asked);
            let line = format!("{}: {}{}", path.name(), sign.words(&looked, on), after(onset));
            return Ok(Measured::new(onset, line));
        }
        sleep(PAUSE).await;
    }
}

/// Whether the link says that the toxic has met something.
async fn has_acted(path: &Path, fault: &str) -> Result<bool, FaultError> {
    let faults = path
        .from
        .agent
        .faults()
        .await
        .map_err(|error| path.from.failed(error))?;
    let counts = faults
        .iter()
        .filter(|held| held.id == fault)
        .flat_map(|held| &held.peers);
    Ok(counts
        .filter(|count| count.address == path.to.address)
        .any(|count| count.connections > 0 && count.bytes > 0))
}

async fn see_healed(
    path: &Path,
    fault: &str,
    on: &OnLink<'_, Target>,
    sign: &Sign,
    start: Instant,
    context: &FaultContext,
) -> Result<Measured, FaultError> {
    let base = context.acted.round_trip(&path.name());
    loop {
        let looked = look(path, sign, sign.request(path.to.address, on.toxicity, on.per), base).await?;
        if looked.is_whole(sign.whole(on.toxicity)) {
            let onset = Some(start.elapsed());
            let line = format!("{}: {}{}", path.name(), looked.words(), after(onset));
            return Ok(Measured::new(onset, line));
        }
        if let Some(others) = path.held_by_others(fault, |_any| true).await? {
            let line = format!(
                "{}: whole as far as this fault goes, still held by {others}",
                path.name()
            );
            return Ok(Measured::new(Some(start.elapsed()), line));
        }
        if start.elapsed() >= context.patience.open {
            return Ok(Measured::new(None, format!("{}: {}", path.name(), looked.words())));
        }
        sleep(PAUSE).await;
    }
}

impl Looked {
    /// `5 of 5 exchanges whole, round trip 0.2 ms`.
    pub(super) fn words(&self) -> String {
        let round_trip = self
            .round_trip
            .map_or_else(String::new, |took| format!(", round trip {} at best", ms(took)));
        format!("{} of {} exchanges whole{round_trip}", self.whole, self.of)
    }
}

impl Sign {
    /// `5 of 5 exchanges came later than 50 ms, round trip 50.3 ms`.
    pub(super) fn words(&self, looked: &Looked, on: &OnLink<'_, Target>) -> String {
        let what = match self.shows {
            Shows::Later(by) => format!(
                "exchanges were answered later than before, as {} of delay make them",
                ms(by)
            ),
            Shows::Silent => "exchanges were not answered".to_owned(),
            Shows::Closed { not_before, .. } => format!(
                "exchanges were cut off by the end, {} or more after their beginning",
                ms(not_before)
            ),
            Shows::Reset { not_before } => {
                format!("exchanges were reset, {} or more after their beginning", ms(not_before))
            }
            Shows::Changed => "exchanges were answered by other bytes".to_owned(),
            Shows::LateEnd(by) => format!("connections were closed {} or more after they had said all", ms(by)),
            Shows::Refused => "connections were refused".to_owned(),
            Shows::Counted => return format!("{}; the link counts that the toxic acted", looked.words()),
        };
        let fits = match (on.toxicity < 1.0, looked.shows(on.toxicity)) {
            (false, _) => String::new(),
            (true, true) => format!(", which fits {} %", on.toxicity * 100.0),
            (true, false) => format!(", which does not fit {} %", on.toxicity * 100.0),
        };
        let round_trip = looked
            .round_trip
            .map_or_else(String::new, |took| format!("; round trip {} at best", ms(took)));
        format!("{} of {} {what}{fits}{round_trip}", looked.met, looked.of)
    }
}
