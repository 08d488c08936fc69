//! The agent's sockets, and what is done about each request.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;

use super::api::{CountRequest, ExchangeRequest, FaultRequest, PREFIX, Refusal};
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
}

type Written = Result<Bytes, (StatusCode, String)>;

impl Agent {
    /// Listens on [`CONTROL_PORT`] and [`PROBE_PORT`] of that address, and has no network emulation.
    pub async fn bind(address: Ipv4Addr, filter: Arc<dyn PacketFilter>, links: Arc<Links>) -> Result<Self, AgentError> {
        Self::bind_with(address, Faults::new(filter, links.clone()), links).await
    }

    /// Listens there, and holds these faults.
    pub async fn bind_with(address: Ipv4Addr, faults: Arc<Faults>, links: Arc<Links>) -> Result<Self, AgentError> {
        let socket = |what: &'static str, port: u16| {
            move |source| AgentError::Socket {
                what: format!("listening on {what} {address}:{port}"),
                source,
            }
        };
        let control = TcpListener::bind((address, CONTROL_PORT))
            .await
            .map_err(socket("TCP", CONTROL_PORT))?;
        let probe_connections = TcpListener::bind((address, PROBE_PORT))
            .await
            .map_err(socket("TCP", PROBE_PORT))?;
        let probes = Probes::bind(address, PROBE_PORT)
            .await
            .map_err(socket("UDP", PROBE_PORT))?;
        let state = Arc::new(State { faults, links, probes });
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

async fn respond(state: &State, asked: Asked) -> Answer {
    let ours = asked
        .path
        .strip_prefix(PREFIX)
        .is_some_and(|below| below.is_empty() || below.starts_with('/'));
    if !ours {
        return toxiproxy::answer(state.links.proxies(), &asked).await;
    }
    let (status, body) = match route(state, &asked).await {
        Ok(body) => (StatusCode::OK, body),
        Err((status, error)) => (status, json(&Refusal { error }).unwrap_or_default()),
    };
    Answer {
        status,
        content_type: control::JSON,
        body,
    }
}

async fn route(state: &State, asked: &Asked) -> Written {
    let unknown = || {
        (
            StatusCode::NOT_FOUND,
            format!("nothing answers {} {}", asked.method, asked.path),
        )
    };
    let Some(below) = asked.path.strip_prefix(PREFIX) else {
        return Err(unknown());
    };
    let segments: Vec<&str> = below.split('/').skip(1).collect();
    match (asked.method.as_str(), segments.as_slice()) {
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
        _ => Err(unknown()),
    }
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
