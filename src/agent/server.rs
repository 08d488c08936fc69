//! The agent's sockets, and what is done about each request.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::api::{CountRequest, FaultRequest, PREFIX, Refusal};
use super::faults::{Faults, Refused};
use super::probe::Probes;
use super::rules::PacketFilter;
use super::{AgentError, CONTROL_PORT, PROBE_PORT};

/// The most connections to the control interface at once.
const CONNECTIONS_MAX: usize = 64;
/// The longest body.
const BODY_MAX: usize = 64 * 1024;
/// How long a connection may stay without a request.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// The pause after the kernel has no descriptor left for a connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(10);

/// An agent that listens.
pub struct Agent {
    control: TcpListener,
    probe_connections: TcpListener,
    state: Arc<State>,
}

struct State {
    faults: Arc<Faults>,
    probes: Probes,
}

type Answer = Result<Bytes, (StatusCode, String)>;

impl Agent {
    /// Listens on [`CONTROL_PORT`] and [`PROBE_PORT`] of that address.
    pub async fn bind(address: Ipv4Addr, filter: Arc<dyn PacketFilter>) -> Result<Self, AgentError> {
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
        let state = Arc::new(State {
            faults: Faults::new(filter),
            probes,
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
            self.serve_probe_connections(),
            self.state.probes.receive()
        );
    }

    async fn serve_control(&self) {
        let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let stream = accept(&self.control).await;
            let Ok(place) = free.clone().try_acquire_owned() else {
                continue;
            };
            let state = self.state.clone();
            tokio::spawn(async move {
                serve_connection(stream, state).await;
                drop(place);
            });
        }
    }

    /// Whoever connects has learnt what there is to learn: the connection is closed at once.
    async fn serve_probe_connections(&self) {
        loop {
            drop(accept(&self.probe_connections).await);
        }
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _from)) => return stream,
            Err(_) => tokio::time::sleep(ACCEPT_RETRY).await,
        }
    }
}

async fn serve_connection(stream: TcpStream, state: Arc<State>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let answer = service_fn(move |request| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(respond(&state, request).await) }
    });
    // A connection that breaks is its client's to notice; faults have their own end.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_MAX)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

async fn respond(state: &State, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, body) = match route(state, request).await {
        Ok(body) => (StatusCode::OK, body),
        Err((status, error)) => (status, json(&Refusal { error }).unwrap_or_default()),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn route(state: &State, request: Request<Incoming>) -> Answer {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let unknown = || (StatusCode::NOT_FOUND, format!("nothing answers {method} {path}"));
    let Some(below) = path.strip_prefix(PREFIX) else {
        return Err(unknown());
    };
    let segments: Vec<&str> = below.split('/').skip(1).collect();
    match (method.as_str(), segments.as_slice()) {
        ("GET", ["faults"]) => json(&state.faults.list().await.map_err(refused)?),
        ("PUT", ["faults", id]) => {
            let fault: FaultRequest = read(request).await?;
            json(&state.faults.put(id, fault).await.map_err(refused)?)
        }
        ("DELETE", ["faults", id]) => json(&state.faults.remove(id).await.map_err(refused)?),
        ("POST", ["probes", "send"]) => json(&state.probes.send(&read(request).await?).await),
        ("POST", ["probes", "count"]) => {
            let count: CountRequest = read(request).await?;
            let counted = state.probes.wait(&count, &state.faults).await;
            json(&counted.map_err(|error| refused(error.into()))?)
        }
        ("POST", ["probes", "connect"]) => json(&state.probes.connect(&read(request).await?).await),
        _ => Err(unknown()),
    }
}

fn refused(reason: Refused) -> (StatusCode, String) {
    let status = match reason {
        Refused::Request(_) => StatusCode::BAD_REQUEST,
        Refused::Filter(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, reason.to_string())
}

async fn read<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, (StatusCode, String)> {
    let bad = |reason: String| (StatusCode::BAD_REQUEST, reason);
    let body = Limited::new(request.into_body(), BODY_MAX)
        .collect()
        .await
        .map_err(|error| bad(error.to_string()))?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| bad(error.to_string()))
}

fn json<T: Serialize>(value: &T) -> Answer {
    let written = serde_json::to_vec(value).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(written.into())
}
