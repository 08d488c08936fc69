//! Faults of links that a Toxiproxy carries in place of nightmail's agents.
//!
//! What is behind a proxy of the system's own speaks a protocol that nobody here knows, so the toxic is put on a *twin* as
//! well: a proxy on the same Toxiproxy, whose other end is here and answers with what it is sent. Exchanges over the twin
//! show what the toxic does; that the proxy itself has the very same toxic, and is enabled, is read back from it. Toxiproxy
//! keeps no time: that a fault ends in time, the reaper sees to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::link::OnLink;
use super::measured::{Measured, after, nothing_to_heal, receipt};
use super::sign::{Looked, Shows, Sign, WITHIN};
use super::{FaultContext, FaultError, Receipt, target};
use crate::agent::exchange;
use crate::control::client::{Client, ClientError};
use crate::link::chain::Per;
use crate::link::toxic::Kind;
use crate::plan::{ReplicaId, Target, ToxiproxyHost, ToxiproxyPlan};
use crate::system::engine::Call;

const FROM: &str = "from";
const TO: &str = "to";
/// How long an answer of Toxiproxy's may take.
const TIMEOUT: Duration = Duration::from_secs(2);
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
    let start = Instant::now();
    let system = &*context.system;
    let (from, to) = tokio::try_join!(target::resolve(system, on.from), target::resolve(system, on.to))?;
    let server = Server::of(context, plan)?;
    let proxies = server.proxies(plan, &from, &to)?;
    let spoiling = Spoiling::new(context, on, toxic);
    context.acted.remember(FROM, &from);
    context.acted.remember(TO, &to);
    let seen = proxies.iter().map(async |proxy| {
        let measured = server.spoil(context, proxy, &spoiling, on, sign, start).await;
        measured.unwrap_or_else(|error| unmeasured(proxy, &error))
    });
    let measured = join_all(seen).await;
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
    let start = Instant::now();
    let server = Server::of(context, plan)?;
    let proxies = server.proxies(plan, &from, &to)?;
    let spoiling = Spoiling::new(context, on, toxic);
    // Every proxy is healed, whatever the others answer.
    let healed = join_all(proxies.iter().map(async |proxy| server.restore(proxy, &spoiling).await)).await;
    let mut lapsed = false;
    for was_there in healed {
        lapsed |= !was_there?;
    }
    // Whoever armed it knows that it ran out, if it did.
    context.system.disarm_deadline(context.id).await?;
    let seen = proxies.iter().map(async |proxy| {
        let measured = server.see_healed(context, proxy, &spoiling, on, sign, start).await;
        measured.unwrap_or_else(|error| unmeasured(proxy, &error))
    });
    let measured = join_all(seen).await;
    Ok(Receipt {
        lapsed,
        ..receipt(&replicas(&from, &to), measured)
    })
}

fn unmeasured(proxy: &str, error: &FaultError) -> Measured {
    Measured::new(None, format!("proxy {proxy}: could not be measured: {error}"))
}

fn replicas(from: &[ReplicaId], to: &[ReplicaId]) -> Vec<ReplicaId> {
    from.iter().chain(to).cloned().collect()
}

/// What is put on each proxy.
struct Spoiling {
    /// The toxic, as Toxiproxy's interface writes it; none if the proxy is disabled.
    toxic: Option<Value>,
    name: String,
}

impl Spoiling {
    fn new(context: &FaultContext, on: &OnLink<'_, Target>, toxic: Option<Kind>) -> Self {
        let name = format!("nightmail-{}", context.id);
        let toxic = toxic.map(|kind| {
            let mut toxic = json!(kind);
            toxic["name"] = json!(name);
            toxic["stream"] = json!(on.stream);
            toxic["toxicity"] = json!(on.toxicity);
            toxic
        });
        Self { toxic, name }
    }

    /// What undoes it on a proxy.
    fn undo(&self, proxy: &str) -> (&'static str, String, Option<Value>) {
        match self.toxic {
            Some(_) => ("DELETE", format!("/proxies/{proxy}/toxics/{}", self.name), None),
            None => ("POST", format!("/proxies/{proxy}"), Some(json!({"enabled": true}))),
        }
    }

    /// Whether a proxy has it.
    fn is_on(&self, proxy: &ProxyState) -> bool {
        match &self.toxic {
            None => !proxy.enabled,
            Some(toxic) => {
                proxy.enabled
                    && proxy.toxics.iter().any(|there| {
                        ["name", "type", "stream", "attributes"]
                            .iter()
                            .all(|key| there[*key] == toxic[*key])
                            && there["toxicity"].as_f64() == toxic["toxicity"].as_f64()
                    })
            }
        }
    }

    /// Whether a proxy has nothing of it.
    fn is_off(&self, proxy: &ProxyState) -> bool {
        proxy.enabled && proxy.toxics.iter().all(|there| there["name"] != json!(self.name))
    }
}

/// A proxy as Toxiproxy describes it.
#[derive(Debug, Deserialize)]
struct ProxyState {
    listen: String,
    enabled: bool,
    toxics: Vec<Value>,
}

/// A Toxiproxy.
struct Server {
    client: Client,
}

/// A proxy of the same Toxiproxy, whose other end is here.
struct Twin {
    name: String,
    listens: SocketAddr,
    answering: JoinHandle<()>,
}

impl Drop for Twin {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

impl Server {
    fn of(context: &FaultContext, plan: &ToxiproxyPlan) -> Result<Self, FaultError> {
        let host = match &plan.host {
            ToxiproxyHost::Loopback(address) => *address,
            ToxiproxyHost::Replica(id) => IpAddr::V4(context.system.replica(id)?.address),
        };
        Ok(Self {
            client: Client::new(SocketAddr::from((host, plan.port))),
        })
    }

    /// The proxies that carry connections between these replicas, each once.
    fn proxies(&self, plan: &ToxiproxyPlan, from: &[ReplicaId], to: &[ReplicaId]) -> Result<Vec<String>, FaultError> {
        let mut proxies: Vec<String> = Vec::new();
        for (one, other) in from.iter().flat_map(|one| to.iter().map(move |other| (one, other))) {
            let proxy = plan
                .proxy(&one.service, &other.service)
                .ok_or_else(|| self.failed(ClientError::Answer(format!("no proxy is known from {one} to {other}"))))?;
            if !proxies.iter().any(|known| known == proxy) {
                proxies.push(proxy.to_owned());
            }
        }
        Ok(proxies)
    }

    fn failed(&self, error: ClientError) -> FaultError {
        FaultError::Toxiproxy {
            address: self.client.address(),
            reason: error.to_string(),
        }
    }

    async fn ask<A: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<A, FaultError> {
        let answer = self.client.ask(TIMEOUT, method, path, body).await;
        answer.map_err(|error| self.failed(error))
    }

    async fn state(&self, proxy: &str) -> Result<ProxyState, FaultError> {
        self.ask(Method::GET, &format!("/proxies/{proxy}"), None).await
    }

    /// Puts the fault on a proxy and its twin.
    async fn spoil(
        &self,
        context: &FaultContext,
        proxy: &str,
        spoiling: &Spoiling,
        on: &OnLink<'_, Target>,
        sign: &Sign,
        start: Instant,
    ) -> Result<Measured, FaultError> {
        let state = self.state(proxy).await?;
        let twin = self.twin(context, proxy).await?;
        let before = look(&twin, sign, sign.request_before(Ipv4Addr::UNSPECIFIED), None).await;
        if let Some(took) = before.round_trip {
            context.acted.remember_round_trip(proxy, took);
        }
        // The end is arranged before the beginning.
        let (method, path, body) = spoiling.undo(proxy);
        let call = Call {
            address: self.client.address(),
            method,
            path,
            body: body.map_or_else(String::new, |body| body.to_string()),
        };
        context.system.arm_call(context.id, &call, context.ttl).await?;
        for name in [proxy, &twin.name] {
            self.put(name, spoiling).await?;
        }
        let mut measured = self
            .see_spoiled(&twin, proxy, spoiling, on, sign, before.round_trip, start, context)
            .await?;
        measured
            .evidence
            .insert(0, format!("proxy {proxy}: before, {} over its twin", before.words()));
        if !before.is_whole(1) || !spoiling.is_off(&state) {
            // It was spoiled already: nothing shows that this fault spoiled it.
            measured.onset = None;
        }
        self.remove(twin).await?;
        Ok(measured)
    }

    async fn put(&self, proxy: &str, spoiling: &Spoiling) -> Result<(), FaultError> {
        let (path, body) = match &spoiling.toxic {
            Some(toxic) => (format!("/proxies/{proxy}/toxics"), toxic.clone()),
            None => (format!("/proxies/{proxy}"), json!({"enabled": false})),
        };
        self.ask::<Value>(Method::POST, &path, Some(&body)).await.map(drop)
    }

    /// Takes the fault from a proxy. Whether it was there.
    async fn restore(&self, proxy: &str, spoiling: &Spoiling) -> Result<bool, FaultError> {
        let was_there = spoiling.is_on(&self.state(proxy).await?);
        let (method, path, body) = spoiling.undo(proxy);
        let method = if method == "DELETE" {
            Method::DELETE
        } else {
            Method::POST
        };
        let undone: Result<Value, ClientError> = self.client.ask(TIMEOUT, method, &path, body.as_ref()).await;
        match undone {
            Ok(_) => Ok(was_there),
            Err(ClientError::Refused { status: 404, .. }) => Ok(false),
            Err(error) => Err(self.failed(error)),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what is looked at, and for what")]
    async fn see_spoiled(
        &self,
        twin: &Twin,
        proxy: &str,
        spoiling: &Spoiling,
        on: &OnLink<'_, Target>,
        sign: &Sign,
        base: Option<Duration>,
        start: Instant,
        context: &FaultContext,
    ) -> Result<Measured, FaultError> {
        let told = Instant::now();
        loop {
            let request = sign.request(Ipv4Addr::UNSPECIFIED, on.toxicity, Per::Connection);
            let looked = look(twin, sign, request, base).await;
            let acts = match sign.shows {
                Shows::Counted => looked.is_whole(1),
                _ => looked.shows(on.toxicity),
            };
            let is_on = spoiling.is_on(&self.state(proxy).await?);
            let shown = acts && is_on;
            // A share is sampled once: sampling until it fits would make anything fit.
            if shown || on.toxicity < 1.0 || told.elapsed() >= context.patience.cut {
                let onset = shown.then(|| start.elapsed());
                let has = if is_on { "has the same" } else { "does not have it" };
                let line = format!(
                    "its twin: {}; proxy {proxy} {has}{}",
                    sign.words(&looked, on),
                    after(onset)
                );
                return Ok(Measured::new(onset, line));
            }
            sleep(PAUSE).await;
        }
    }

    async fn see_healed(
        &self,
        context: &FaultContext,
        proxy: &str,
        spoiling: &Spoiling,
        on: &OnLink<'_, Target>,
        sign: &Sign,
        start: Instant,
    ) -> Result<Measured, FaultError> {
        let base = context.acted.round_trip(proxy);
        let twin = self.twin(context, proxy).await?;
        let measured = loop {
            let request = sign.request(Ipv4Addr::UNSPECIFIED, on.toxicity, Per::Connection);
            let looked = look(&twin, sign, request, base).await;
            let is_off = spoiling.is_off(&self.state(proxy).await?);
            let shown = looked.is_whole(1) && is_off;
            if shown || start.elapsed() >= context.patience.open {
                let onset = shown.then(|| start.elapsed());
                let has = if is_off { "has nothing of it" } else { "still has it" };
                let line = format!("proxy {proxy} {has}; a twin: {}{}", looked.words(), after(onset));
                break Measured::new(onset, line);
            }
            sleep(PAUSE).await;
        };
        self.remove(twin).await?;
        Ok(measured)
    }

    /// Makes a twin of a proxy. What an earlier measurement left is replaced.
    async fn twin(&self, context: &FaultContext, proxy: &str) -> Result<Twin, FaultError> {
        let io = |error: std::io::Error| self.failed(ClientError::Connection(error.to_string()));
        // The address that Toxiproxy sees us at, and can come back to.
        let ours = TcpStream::connect(self.client.address())
            .await
            .and_then(|way| way.local_addr());
        let ours = ours.map_err(io)?.ip();
        let listener = TcpListener::bind((ours, 0)).await.map_err(io)?;
        let upstream = listener.local_addr().map_err(io)?;
        let answering = tokio::spawn(async move { exchange::serve(&listener).await });
        let name = format!("nightmail-twin-{}-{proxy}", context.id);
        let listen = match ours.is_loopback() {
            true => SocketAddr::from((ours, 0)),
            false => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        };
        self.delete(&name).await?;
        let twin =
            json!({"name": name, "listen": listen.to_string(), "upstream": upstream.to_string(), "enabled": true});
        let made: ProxyState = self.ask(Method::POST, "/proxies", Some(&twin)).await?;
        let port = made.listen.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let port: u16 = port.ok_or_else(|| self.failed(ClientError::Answer(format!("listen: {}", made.listen))))?;
        Ok(Twin {
            name,
            listens: SocketAddr::from((self.client.address().ip(), port)),
            answering,
        })
    }

    async fn remove(&self, twin: Twin) -> Result<(), FaultError> {
        self.delete(&twin.name).await
    }

    async fn delete(&self, proxy: &str) -> Result<(), FaultError> {
        let path = format!("/proxies/{proxy}");
        match self
            .client
            .ask::<Value, Value>(TIMEOUT, Method::DELETE, &path, None)
            .await
        {
            Ok(_) | Err(ClientError::Refused { status: 404, .. }) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }
}

/// Exchanges over a twin, looked at for the sign.
async fn look(twin: &Twin, sign: &Sign, request: crate::agent::api::ExchangeRequest, base: Option<Duration>) -> Looked {
    let exchanged = exchange::make(&request, twin.listens).await;
    // Without anything to compare with, nothing counts as late.
    sign.look(&exchanged, base.unwrap_or(WITHIN))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::control;
    use crate::fault::FaultSpec;
    use crate::fault::test_double::{Disobedience, FakeSystem, targets};
    use crate::link::carrier::Carrier;
    use crate::link::proxies::Proxies;
    use crate::link::proxy::Reach;
    use crate::plan::ProxyPlan;

    /// What stands in for Toxiproxy: nightmail's own links, which speak its interface. One proxy, `api`, leads nowhere.
    async fn toxiproxy() -> (Arc<Proxies>, ToxiproxyPlan) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxies = Proxies::new(Carrier::here(), 1, Reach::Loopback);
        let added = proxies.add(
            "api".to_owned(),
            "127.0.0.1:0".to_owned(),
            "127.0.0.1:1".to_owned(),
            true,
        );
        added.await.unwrap();
        let served = proxies.clone();
        tokio::spawn(async move {
            let answer = move |asked| {
                let proxies = served.clone();
                async move { crate::link::api::answer(&proxies, &asked).await }
            };
            control::serve(&listener, answer).await;
        });
        let plan = ToxiproxyPlan {
            host: ToxiproxyHost::Loopback(address.ip()),
            port: address.port(),
            proxies: vec![ProxyPlan {
                proxy: "api".to_owned(),
                from: "api".to_owned(),
                to: "api".to_owned(),
            }],
        };
        (proxies, plan)
    }

    fn fault(key: &str, parameters: Value) -> FaultSpec<Target> {
        let mut parameters = parameters;
        parameters["from"] = json!(targets(&[1]));
        parameters["to"] = json!(targets(&[2]));
        serde_json::from_value(json!({ key: parameters })).unwrap()
    }

    fn context(system: &Arc<FakeSystem>, plan: &ToxiproxyPlan) -> FaultContext {
        FaultContext {
            toxiproxy: Some(plan.clone()),
            ..system.context()
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_toxic_of_toxiproxys_is_seen_and_seen_healed() {
        let (proxies, plan) = toxiproxy().await;
        for (key, parameters) in [
            ("latency", json!({"latency": "50ms", "jitter": "10ms"})),
            ("bandwidth", json!({"rate": "100KB/s"})),
            ("slow-close", json!({"delay": "100ms"})),
            ("timeout", json!({"timeout": "50ms"})),
            ("reset-peer", json!({"timeout": "10ms"})),
            ("slicer", json!({"average-size": 50, "delay": "5ms"})),
            ("limit-data", json!({"bytes": 100})),
            ("link-down", json!({})),
        ] {
            let system = FakeSystem::without_agents(Disobedience::default());
            let context = context(&system, &plan);
            let fault = fault(key, parameters);
            assert_eq!(fault.behaviour().beyond_toxiproxy(), None, "{key}");
            let on = fault.behaviour().inject(&context).await.unwrap();
            assert!(on.confirmed, "{key}: {on:#?}");
            assert!(system.asked()[0].starts_with("call 7 "), "{key}: {:?}", system.asked());
            let off = fault.behaviour().heal(&context).await.unwrap();
            assert!(off.confirmed && !off.lapsed, "{key}: {off:#?}");
            assert!(system.asked().contains(&"disarm 7".to_owned()));
        }
        let left: Vec<String> = proxies.all().iter().map(|proxy| proxy.name.clone()).collect();
        assert_eq!(left, ["api"], "no twin is left behind");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_toxic_that_the_proxy_lost_is_not_confirmed_and_its_heal_says_so() {
        let (proxies, plan) = toxiproxy().await;
        let system = FakeSystem::without_agents(Disobedience::default());
        let context = context(&system, &plan);
        let fault = fault("latency", json!({"latency": "50ms"}));
        assert!(fault.behaviour().inject(&context).await.unwrap().confirmed);
        proxies.get("api").unwrap().link.clear().await;
        let off = fault.behaviour().heal(&context).await.unwrap();
        assert!(off.lapsed, "{off:#?}");

        // On a proxy that is disabled a toxic is accepted, and nothing is spoiled by it.
        proxies.get("api").unwrap().stop().await;
        let on = fault.behaviour().inject(&context).await.unwrap();
        assert!(!on.confirmed && on.evidence[1].contains("does not have it"), "{on:#?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_toxiproxy_that_is_not_there_or_has_no_such_proxy_says_so() {
        let (_proxies, mut plan) = toxiproxy().await;
        let system = FakeSystem::without_agents(Disobedience::default());
        plan.proxies[0].proxy = "absent".to_owned();
        let fault = fault("latency", json!({"latency": "50ms"}));
        let on = fault.behaviour().inject(&context(&system, &plan)).await.unwrap();
        assert!(!on.confirmed && on.evidence[0].contains("proxy not found"), "{on:#?}");
        plan.port = 1;
        let on = fault.behaviour().inject(&context(&system, &plan)).await.unwrap();
        assert!(!on.confirmed && on.evidence[0].contains("127.0.0.1:1"), "{on:#?}");
    }

    #[test]
    fn what_toxiproxy_lacks_is_known() {
        for (key, parameters, path) in [
            ("blackhole", json!({}), ""),
            ("corrupt", json!({"probability": 0.1}), ""),
            ("stall", json!({"byte": 1}), ""),
            (
                "latency",
                json!({"latency": "50ms", "distribution": "normal"}),
                "distribution",
            ),
            ("reset-peer", json!({"per": "request"}), "per"),
        ] {
            let problem = fault(key, parameters).behaviour().beyond_toxiproxy();
            assert_eq!(problem.map(|problem| problem.path).as_deref(), Some(path), "{key}");
        }
    }
}
