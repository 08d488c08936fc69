//! Faults of links that a Toxiproxy carries in place of nightmail's agents.
//!
//! What is behind a proxy of the system's own speaks a protocol that nobody here knows, so the toxic is put on a *twin* as
//! well: a proxy on the same Toxiproxy, whose other end is here and answers with what it is sent. Exchanges over the twin
//! show what the toxic does; that the proxy itself has the very same toxic, and is enabled, is read back from it. Toxiproxy
//! keeps no time: that a fault ends in time, the reaper sees to.

use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::link::OnLink;
use super::measured::{Measured, after, nothing_to_heal, receipt};
use super::sign::{Looked, Shows, Sign, WITHIN};
use super::{FaultContext, FaultError, Receipt, target};
use crate::agent::api::ExchangeRequest;
use crate::link::chain::Per;
use crate::link::toxic::Kind;
use crate::plan::{ReplicaId, Target, ToxiproxyPlan};

mod server;
#[cfg(test)]
mod tests;

use server::{Server, Spoiling, Twin};

const FROM: &str = "from";
const TO: &str = "to";
/// The pause before another look.
const PAUSE: Duration = Duration::from_millis(5);

/// Puts a fault on the proxies that carry these links, and looks through their twins.
pub(super) async fn inject(
    context: &FaultContext,
    plan: &ToxiproxyPlan,
    on: &OnLink<'_, Target>,
    toxic: Option<Kind>,
    sign: &Sign,
) -> Result<Receipt, FaultError> {
    let act = Act::new(context, plan, on, toxic, sign)?;
    let system = &*context.system;
    let (from, to) = tokio::try_join!(target::resolve(system, on.from), target::resolve(system, on.to))?;
    let proxies = act.server.proxies(plan, &from, &to)?;
    context.acted.remember(FROM, &from);
    context.acted.remember(TO, &to);
    let measured = join_all(
        proxies
            .iter()
            .map(async |proxy| measured(proxy, act.spoil(proxy).await)),
    )
    .await;
    Ok(receipt(&replicas(&from, &to), measured))
}

/// Takes a fault from the proxies, and looks through their twins.
pub(super) async fn heal(
    context: &FaultContext,
    plan: &ToxiproxyPlan,
    on: &OnLink<'_, Target>,
    toxic: Option<Kind>,
    sign: &Sign,
) -> Result<Receipt, FaultError> {
    let (from, to) = (context.acted.list(FROM), context.acted.list(TO));
    if from.is_empty() {
        return Ok(nothing_to_heal());
    }
    let act = Act::new(context, plan, on, toxic, sign)?;
    let proxies = act.server.proxies(plan, &from, &to)?;
    // Every proxy is healed, whatever the others answer.
    let healed = join_all(proxies.iter().map(|proxy| act.server.restore(proxy, &act.spoiling))).await;
    let mut lapsed = false;
    for was_there in healed {
        lapsed |= !was_there?;
    }
    context.system.disarm_deadline(context.id).await?;
    let measured = join_all(
        proxies
            .iter()
            .map(async |proxy| measured(proxy, act.see_healed(proxy).await)),
    )
    .await;
    Ok(Receipt {
        lapsed,
        ..receipt(&replicas(&from, &to), measured)
    })
}

/// A proxy that fell silent is no error: the receipt stays unconfirmed.
fn measured(proxy: &str, seen: Result<Measured, FaultError>) -> Measured {
    seen.unwrap_or_else(|error| Measured::new(None, format!("proxy {proxy}: could not be measured: {error}")))
}

fn replicas(from: &[ReplicaId], to: &[ReplicaId]) -> Vec<ReplicaId> {
    from.iter().chain(to).cloned().collect()
}

/// An injection or a heal.
struct Act<'a> {
    context: &'a FaultContext,
    on: &'a OnLink<'a, Target>,
    sign: &'a Sign,
    server: Server,
    spoiling: Spoiling,
    start: Instant,
}

impl<'a> Act<'a> {
    fn new(
        context: &'a FaultContext,
        plan: &ToxiproxyPlan,
        on: &'a OnLink<'a, Target>,
        toxic: Option<Kind>,
        sign: &'a Sign,
    ) -> Result<Self, FaultError> {
        Ok(Self {
            context,
            on,
            sign,
            server: Server::of(context, plan)?,
            spoiling: Spoiling::new(context, on, toxic),
            start: Instant::now(),
        })
    }

    /// Puts the fault on a proxy and its twin.
    async fn spoil(&self, proxy: &str) -> Result<Measured, FaultError> {
        let context = self.context;
        let state = self.server.state(proxy).await?;
        let twin = self.server.twin(context.id, proxy).await?;
        let before = self
            .look(&twin, &self.sign.request_before(Ipv4Addr::UNSPECIFIED), None)
            .await;
        if let Some(took) = before.round_trip {
            context.acted.remember_round_trip(proxy, took);
        }
        // The end is arranged before the beginning.
        let undoing = self.spoiling.undoing(&self.server, proxy);
        context.system.arm_call(context.id, &undoing, context.ttl).await?;
        for name in [proxy, &twin.name] {
            self.server.put(name, &self.spoiling).await?;
        }
        let mut measured = self.see_spoiled(&twin, proxy, before.round_trip).await?;
        measured
            .evidence
            .push(format!("proxy {proxy}: before, {} over its twin", before.words()));
        if !before.is_whole(1) || !self.spoiling.is_off(&state) {
            // It was spoiled already: nothing shows that this fault spoiled it.
            measured.onset = None;
        }
        self.server.remove(twin).await?;
        Ok(measured)
    }

    async fn see_spoiled(&self, twin: &Twin, proxy: &str, base: Option<Duration>) -> Result<Measured, FaultError> {
        let told = Instant::now();
        loop {
            let asked = self.start.elapsed();
            let looked = self.look(twin, &self.request(), base).await;
            let acts = match self.sign.shows {
                Shows::Counted => looked.is_whole(1),
                _ => looked.shows(self.on.toxicity),
            };
            let is_on = self.spoiling.is_on(&self.server.state(proxy).await?);
            let shown = acts && is_on;
            // A share is sampled once: sampling until it fits would make anything fit.
            if shown || self.on.toxicity < 1.0 || told.elapsed() >= self.context.patience.cut {
                // What was met was met from its beginning on, however late that showed.
                let onset = shown.then_some(asked);
                let has = if is_on { "has the same" } else { "does not have it" };
                let seen = self.sign.words(&looked, self.on);
                let line = format!("its twin: {seen}; proxy {proxy} {has}{}", after(onset));
                return Ok(Measured::new(onset, line));
            }
            sleep(PAUSE).await;
        }
    }

    async fn see_healed(&self, proxy: &str) -> Result<Measured, FaultError> {
        let base = self.context.acted.round_trip(proxy);
        let twin = self.server.twin(self.context.id, proxy).await?;
        let measured = loop {
            let looked = self.look(&twin, &self.request(), base).await;
            let is_off = self.spoiling.is_off(&self.server.state(proxy).await?);
            let shown = looked.is_whole(self.sign.whole(self.on.toxicity)) && is_off;
            if shown || self.start.elapsed() >= self.context.patience.open {
                let onset = shown.then(|| self.start.elapsed());
                let has = if is_off { "has nothing of it" } else { "still has it" };
                let line = format!("proxy {proxy} {has}; a twin: {}{}", looked.words(), after(onset));
                break Measured::new(onset, line);
            }
            sleep(PAUSE).await;
        };
        self.server.remove(twin).await?;
        Ok(measured)
    }

    /// The exchanges that show the sign. Over a twin there is one way only.
    fn request(&self) -> ExchangeRequest {
        self.sign
            .request(Ipv4Addr::UNSPECIFIED, self.on.toxicity, Per::Connection)
    }

    /// Exchanges over a twin, looked at for the sign.
    async fn look(&self, twin: &Twin, request: &ExchangeRequest, base: Option<Duration>) -> Looked {
        // Without anything to compare with, nothing counts as late.
        self.sign.look(&twin.exchange(request).await, base.unwrap_or(WITHIN))
    }
}
