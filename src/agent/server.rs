//! The agent's sockets, and what is done about each request.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;

use super::api::{CountRequest, ExchangeRequest, FaultRequest, PREFIX, Refusal, TryRequest};
use super::disks::{self, Disks};
use super::faults::{Faults, Refused};
use super::links::Links;
use super::probe::Probes;
use super::rules::PacketFilter;
use super::{AgentError, CONTROL_PORT, PROBE_PORT, exchange};
use crate::control::{self, Answer, Asked};
use crate::link::api as toxiproxy;

/// An agent that listens.
pub struct Agent {
    control: TcpListener,
    probe_connections: TcpListener,
    state: Arc<State>,
}

struct State {
    faults: Arc<Faults>,
    links: Arc<Links>,
    probes: Probes,
    disks: Disks,
}

type Written = Result<Bytes, (StatusCode, String)>;

impl Agent {
    /// Listens on [`CONTROL_PORT`] and [`PROBE_PORT`] of that address, and has neither network emulation nor disks.
    pub async fn bind(address: Ipv4Addr, filter: Arc<dyn PacketFilter>, links: Arc<Links>) -> Result<Self, AgentError> {
        Self::bind_with(address, Faults::new(filter, links.clone()), links, Disks::default()).await
    }

    /// Listens there, and holds these faults and disks.
    pub async fn bind_with(
        address: Ipv4Addr,
        faults: Arc<Faults>,
        links: Arc<Links>,
        disks: Disks,
    ) -> Result<Self, AgentError> {
        let socket = |what: &'static str, port: u16| {
            move |source| AgentError::Socket {
                what: format!("listening on {what} {address}:{port}"),
                source,
            }
        };
        let control = bind_control(address).await?;
        let probe_connections = TcpListener::bind((address, PROBE_PORT))
            .await
            .map_err(socket("TCP", PROBE_PORT))?;
        let probes = Probes::bind(address, PROBE_PORT)
            .await
            .map_err(socket("UDP", PROBE_PORT))?;
        let state = Arc::new(State {
            faults,
            links,
            probes,
            disks,
        });
        Ok(Self {
            control,
            probe_connections,
            state,
        })
    }

    /// Serves for ever.
    pub async fn serve(&self) {
        tokio::join!(
            self.serve_control(),
            exchange::serve(&self.probe_connections),
            self.state.probes.receive()
        );
    }

    async fn serve_control(&self) {
        let state = self.state.clone();
        let answer = move |asked| {
            let state = state.clone();
            async move { respond(&state, asked).await }
        };
        control::serve(&self.control, answer).await;
    }
}

/// Serves disks for ever, and nothing of the network. Where no packet filter keeps the others away, whoever may not ask is turned
/// away here.
pub async fn serve_disks(control: &TcpListener, admit: Ipv4Addr, disks: Disks) {
    let disks = Arc::new(disks);
    let answer = move |asked: Asked| {
        let disks = disks.clone();
        async move {
            let written = match segments(&asked) {
                Some(segments) => route_disks(&disks, &asked, &segments).await,
                None => None,
            };
            answered(written.unwrap_or_else(|| Err(unknown(&asked))))
        }
    };
    control::serve_to(move |peer| peer == admit, control, answer).await;
}

/// Listens on [`CONTROL_PORT`].
pub async fn bind_control(address: Ipv4Addr) -> Result<TcpListener, AgentError> {
    let bound = TcpListener::bind((address, CONTROL_PORT)).await;
    bound.map_err(|source| AgentError::Socket {
        what: format!("listening on TCP {address}:{CONTROL_PORT}"),
        source,
    })
}

/// The steps of a path that is the agent's own.
fn segments(asked: &Asked) -> Option<Vec<&str>> {
    let below = asked.path.strip_prefix(PREFIX)?;
    let ours = below.is_empty() || below.starts_with('/');
    ours.then(|| below.split('/').skip(1).collect())
}

async fn respond(state: &State, asked: Asked) -> Answer {
    match segments(&asked) {
        None => toxiproxy::answer(state.links.proxies(), &asked).await,
        Some(segments) => answered(route(state, &asked, &segments).await),
    }
}

fn answered(written: Written) -> Answer {
    let (status, body) = match written {
        Ok(body) => (StatusCode::OK, body),
        Err((status, error)) => (status, json(&Refusal { error }).unwrap_or_default()),
    };
    Answer {
        status,
        content_type: control::JSON,
        body,
    }
}

fn unknown(asked: &Asked) -> (StatusCode, String) {
    let reason = format!("nothing answers {} {}", asked.method, asked.path);
    (StatusCode::NOT_FOUND, reason)
}

async fn route(state: &State, asked: &Asked, segments: &[&str]) -> Written {
    match (asked.method.as_str(), segments) {
        ("GET", ["faults"]) => json(&state.faults.list().await.map_err(refused)?),
        ("PUT", ["faults", id]) => {
            let fault: FaultRequest = read(asked)?;
            json(&state.faults.put(id, fault).await.map_err(refused)?)
        }
        ("DELETE", ["faults", id]) => json(&state.faults.remove(id).await.map_err(refused)?),
        ("POST", ["probes", "send"]) => json(&state.probes.send(&read(asked)?).await),
        ("POST", ["probes", "count"]) => {
            let count: CountRequest = read(asked)?;
            let counted = state.probes.wait(&count, &state.faults).await;
            json(&counted.map_err(|error| refused(error.into()))?)
        }
        ("POST", ["probes", "trace"]) => json(&state.probes.trace(&read(asked)?).await),
        ("POST", ["probes", "traced"]) => json(&state.probes.traced(&read(asked)?).await),
        ("POST", ["probes", "connect"]) => json(&state.probes.connect(&read(asked)?).await),
        ("POST", ["probes", "exchange"]) => {
            let request: ExchangeRequest = read(asked)?;
            let to = SocketAddr::from((request.to, PROBE_PORT));
            json(&exchange::make(&request, to).await)
        }
        _ => {
            let written = route_disks(&state.disks, asked, segments).await;
            written.unwrap_or_else(|| Err(unknown(asked)))
        }
    }
}

/// What is asked of disks; nothing if it is something else.
async fn route_disks(disks: &Disks, asked: &Asked, segments: &[&str]) -> Option<Written> {
    let answer = async {
        match (asked.method.as_str(), segments) {
            ("GET", ["disks"]) => json(&disks.list().await.map_err(disk_refused)?).map(Some),
            ("PUT", ["fills", id]) => {
                let filled = disks.fill(id, &read(asked)?).await;
                json(&filled.map_err(disk_refused)?).map(Some)
            }
            ("DELETE", ["fills", id]) => json(&disks.empty(id).await.map_err(disk_refused)?).map(Some),
            ("POST", ["disks", "try"]) => {
                let request: TryRequest = read(asked)?;
                let tried = disks.try_block(&request.path).await;
                json(&tried.map_err(disk_refused)?).map(Some)
            }
            _ => Ok(None),
        }
    };
    answer.await.transpose()
}

fn disk_refused(reason: disks::Refused) -> (StatusCode, String) {
    let status = match reason {
        disks::Refused::Request(_) => StatusCode::BAD_REQUEST,
        disks::Refused::Space { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, reason.to_string())
}

fn refused(reason: Refused) -> (StatusCode, String) {
    let status = match reason {
        Refused::Request(_) => StatusCode::BAD_REQUEST,
        Refused::Filter(_) | Refused::Netem(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, reason.to_string())
}

fn read<T: DeserializeOwned>(asked: &Asked) -> Result<T, (StatusCode, String)> {
    let bad = |reason: String| (StatusCode::BAD_REQUEST, reason);
    let body = asked.body.as_ref().map_err(|reason| bad(reason.clone()))?;
    serde_json::from_slice(body).map_err(|error| bad(error.to_string()))
}

fn json<T: Serialize>(value: &T) -> Written {
    let written = serde_json::to_vec(value).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(written.into())
}
