//! A Toxiproxy, as a fault uses it: its proxies, what is put on them, and twins whose other end is here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hyper::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::agent::api::{ExchangeRequest, Exchanged};
use crate::agent::exchange;
use crate::control::client::{Client, ClientError};
use crate::fault::link::OnLink;
use crate::fault::{FaultContext, FaultError};
use crate::link::toxic::Kind;
use crate::plan::{ReplicaId, Target, ToxiproxyHost, ToxiproxyPlan};
use crate::system::engine::Call;

/// How long an answer of Toxiproxy's may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What is put on each proxy.
pub(super) struct Spoiling {
    /// The toxic, as Toxiproxy's interface writes it; none if the proxy is disabled.
    toxic: Option<Value>,
    name: String,
}

impl Spoiling {
    pub(super) fn new(context: &FaultContext, on: &OnLink<'_, Target>, toxic: Option<Kind>) -> Self {
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
    pub(super) fn is_on(&self, proxy: &ProxyState) -> bool {
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

    /// The same as a call that others can make.
    pub(super) fn undoing(&self, server: &Server, proxy: &str) -> Call {
        let (method, path, body) = self.undo(proxy);
        Call {
            address: server.client.address(),
            method,
            path,
            body: body.map_or_else(String::new, |body| body.to_string()),
        }
    }

    /// Whether a proxy has nothing of it.
    pub(super) fn is_off(&self, proxy: &ProxyState) -> bool {
        proxy.enabled && proxy.toxics.iter().all(|there| there["name"] != json!(self.name))
    }
}

/// A proxy as Toxiproxy describes it.
#[derive(Debug, Deserialize)]
pub(super) struct ProxyState {
    listen: String,
    enabled: bool,
    toxics: Vec<Value>,
}

/// A Toxiproxy.
pub(super) struct Server {
    client: Client,
}

/// A proxy of the same Toxiproxy, whose other end is here.
pub(super) struct Twin {
    pub(super) name: String,
    listens: SocketAddr,
    answering: JoinHandle<()>,
}

impl Twin {
    /// Exchanges over it.
    pub(super) async fn exchange(&self, request: &ExchangeRequest) -> Exchanged {
        exchange::make(request, self.listens).await
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

impl Server {
    /// The one that a plan names.
    pub(super) fn of(context: &FaultContext, plan: &ToxiproxyPlan) -> Result<Self, FaultError> {
        let host = match &plan.host {
            ToxiproxyHost::Loopback(address) => *address,
            ToxiproxyHost::Replica(id) => IpAddr::V4(context.system.replica(id)?.address),
        };
        Ok(Self {
            client: Client::new(SocketAddr::from((host, plan.port))),
        })
    }

    /// The proxies that carry connections between these replicas, each once.
    pub(super) fn proxies(
        &self,
        plan: &ToxiproxyPlan,
        from: &[ReplicaId],
        to: &[ReplicaId],
    ) -> Result<Vec<String>, FaultError> {
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

    pub(super) fn failed(&self, error: ClientError) -> FaultError {
        FaultError::Toxiproxy {
            address: self.client.address(),
            reason: error.to_string(),
        }
    }

    async fn ask<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<A, FaultError> {
        let answer = self.client.ask(TIMEOUT, method, path, body).await;
        answer.map_err(|error| self.failed(error))
    }

    /// A proxy as it is now.
    pub(super) async fn state(&self, proxy: &str) -> Result<ProxyState, FaultError> {
        self.ask(Method::GET, &format!("/proxies/{proxy}"), None).await
    }

    /// Puts the fault on a proxy.
    pub(super) async fn put(&self, proxy: &str, spoiling: &Spoiling) -> Result<(), FaultError> {
        let (path, body) = match &spoiling.toxic {
            Some(toxic) => (format!("/proxies/{proxy}/toxics"), toxic.clone()),
            None => (format!("/proxies/{proxy}"), json!({"enabled": false})),
        };
        self.ask::<Value>(Method::POST, &path, Some(&body)).await.map(drop)
    }

    /// Takes the fault from a proxy. Whether it was there.
    pub(super) async fn restore(&self, proxy: &str, spoiling: &Spoiling) -> Result<bool, FaultError> {
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

    /// Makes a twin of a proxy. What an earlier measurement left is replaced.
    pub(super) async fn twin(&self, fault: u32, proxy: &str) -> Result<Twin, FaultError> {
        let io = |error: std::io::Error| self.failed(ClientError::Connection(error.to_string()));
        // The address that Toxiproxy sees us at, and can come back to.
        let ours = TcpStream::connect(self.client.address())
            .await
            .and_then(|way| way.local_addr());
        let ours = ours.map_err(io)?.ip();
        let listener = TcpListener::bind((ours, 0)).await.map_err(io)?;
        let upstream = listener.local_addr().map_err(io)?;
        let answering = tokio::spawn(async move { exchange::serve(&listener).await });
        let name = format!("nightmail-twin-{fault}-{proxy}");
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

    /// Takes a twin away.
    pub(super) async fn remove(&self, twin: Twin) -> Result<(), FaultError> {
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
