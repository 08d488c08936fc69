//! A server that does as it is told, and remembers what it was asked.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::event::Events;
use crate::history::record::Recorder;
use crate::plan::rate::RatePlan;
use crate::plan::{Arrivals, WorkloadPlan};
use crate::system::definition::SystemDefinition;
use crate::workload::{Addresses, Load, LoadRequest};

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The replica that was asked, by its number.
    pub replica: u8,
    pub method: String,
    pub path: String,
    pub key: String,
    pub body: String,
}

/// What to do with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    Answer(u16, String),
    Redirect(&'static str),
    /// Close the connection without an answer.
    Close,
    /// Never answer.
    Never,
}

impl Reply {
    pub fn json(status: u16, body: &Value) -> Self {
        Self::Answer(status, body.to_string())
    }
}

pub struct Stub {
    pub port: u16,
    seen: watch::Receiver<Vec<Seen>>,
    _server: JoinSet<()>,
}

impl Stub {
    /// Answers on 127.0.0.1 as `handler` says, which is told the request and how many came before it. Nobody listens at
    /// the same port of 127.0.0.2: connections to there are refused.
    pub async fn start(handler: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_async(move |seen, before| {
            let reply = handler(seen, before);
            Box::pin(async move { reply })
        })
        .await
    }

    pub async fn start_async(
        handler: impl Fn(&Seen, usize) -> BoxFuture<'static, Reply> + Send + Sync + 'static,
    ) -> Self {
        Self::serve(listen(1).await, handler)
    }

    /// Replicas 1 to `count` that answer as `handler` says, on 127.0.0.1 and its successors.
    pub async fn start_replicas(count: u8, handler: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve(listen(count).await, move |seen, before| {
            let reply = handler(seen, before);
            Box::pin(async move { reply })
        })
    }

    fn serve(
        listeners: Vec<TcpListener>,
        handler: impl Fn(&Seen, usize) -> BoxFuture<'static, Reply> + Send + Sync + 'static,
    ) -> Self {
        let port = listeners[0].local_addr().unwrap().port();
        let (remember, seen) = watch::channel(Vec::new());
        let (handler, remember): (Arc<Handler>, _) = (Arc::new(handler), Arc::new(remember));
        let mut server = JoinSet::new();
        for listener in listeners {
            server.spawn(serve(listener, handler.clone(), remember.clone()));
        }
        Self {
            port,
            seen,
            _server: server,
        }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    /// Waits until `enough` of what was seen.
    pub async fn until(&self, enough: impl FnMut(&Vec<Seen>) -> bool) -> Vec<Seen> {
        let mut seen = self.seen.clone();
        let waited = tokio::time::timeout(PATIENCE, seen.wait_for(enough)).await;
        waited.expect("in time").unwrap().clone()
    }
}

/// Listens at one port of so many addresses: one that is free at the first may be taken at another.
async fn listen(count: u8) -> Vec<TcpListener> {
    loop {
        let mut listeners = Vec::new();
        let mut port = 0;
        for number in 1..=count {
            match TcpListener::bind(SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, number), port)).await {
                Ok(listener) => {
                    port = listener.local_addr().unwrap().port();
                    listeners.push(listener);
                }
                Err(err) if err.kind() == std::io::ErrorKind::AddrInUse => break,
                Err(err) => panic!("{err}"),
            }
        }
        if listeners.len() == usize::from(count) {
            return listeners;
        }
    }
}

type Handler = dyn Fn(&Seen, usize) -> BoxFuture<'static, Reply> + Send + Sync;

async fn serve(listener: TcpListener, handler: Arc<Handler>, remember: Arc<watch::Sender<Vec<Seen>>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (handler, remember) = (handler.clone(), remember.clone());
        let service = service_fn(move |request| answer(request, handler.clone(), remember.clone()));
        connections.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A reply of `Close` ends it with an error.
            let _ = connection.await;
        });
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    handler: Arc<Handler>,
    remember: Arc<watch::Sender<Vec<Seen>>>,
) -> Result<hyper::Response<Full<Bytes>>, String> {
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    let host: SocketAddrV4 = header("host").unwrap().parse().unwrap();
    let mut seen = Seen {
        replica: host.ip().octets()[3],
        method: request.method().to_string(),
        path: request.uri().to_string(),
        key: header("idempotency-key").unwrap_or_default(),
        body: String::new(),
    };
    let body = request.into_body().collect().await.map_err(|err| err.to_string())?;
    seen.body = String::from_utf8(body.to_bytes().to_vec()).unwrap();
    let mut before = 0;
    remember.send_modify(|all| {
        before = all.len();
        all.push(seen.clone());
    });
    let mut response = hyper::Response::new(Full::default());
    match handler(&seen, before).await {
        Reply::Answer(status, text) => {
            *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap();
            *response.body_mut() = Full::from(text);
        }
        Reply::Redirect(to) => {
            *response.status_mut() = hyper::StatusCode::FOUND;
            response.headers_mut().insert("location", to.parse().unwrap());
        }
        Reply::Close => return Err("closed on purpose".to_owned()),
        Reply::Never => std::future::pending::<Infallible>().await.into_unreachable(),
    }
    Ok(response)
}

trait IntoUnreachable {
    fn into_unreachable(self) -> !;
}

impl IntoUnreachable for Infallible {
    fn into_unreachable(self) -> ! {
        match self {}
    }
}

/// Replicas of the service `api`: 1 answers on 127.0.0.1, 2 refuses on 127.0.0.2.
pub fn replicas(numbers: &[u8]) -> Addresses {
    let addresses = numbers.iter().map(|number| Ipv4Addr::new(127, 0, 0, *number));
    BTreeMap::from([("api".to_owned(), addresses.collect())])
}

/// A definition with these members; every `request` gets the service `api` and its port.
pub fn system(port: u16, mut members: Value) -> SystemDefinition {
    fn add_port(value: &mut Value, port: u16) {
        match value {
            Value::Object(members) => {
                if let Some(Value::Object(request)) = members.get_mut("request") {
                    request.insert("service".to_owned(), "api".into());
                    request.insert("port".to_owned(), port.into());
                }
                members.values_mut().for_each(|member| add_port(member, port));
            }
            Value::Array(items) => items.iter_mut().for_each(|item| add_port(item, port)),
            _ => {}
        }
    }
    add_port(&mut members, port);
    let mut definition = json!({"name": "stub", "title": "Stub", "operations": {}});
    definition
        .as_object_mut()
        .unwrap()
        .extend(members.as_object().unwrap().clone());
    serde_json::from_value(definition).unwrap()
}

/// The operation `buy` as most tests need it.
pub fn buy(fields: Value) -> Value {
    let mut operation = json!({
        "values": {"account": {"one-of": "accounts"}, "amount": {"range": {"min": 1, "max": 500}}},
        "record": ["account", "amount"],
        "request": {
            "method": "POST", "path": "/orders", "timeout": "30s", "headers": {"idempotency-key": "{{ key }}"},
            "json": {"account": "{{ account }}", "amount": "{{ amount }}"}
        },
        "outcome": {"ok": "status == 200", "fail": "status == 422"}
    });
    for (name, value) in fields.as_object().unwrap() {
        match name.as_str() {
            "timeout" => operation["request"]["timeout"] = value.clone(),
            name => operation[name] = value.clone(),
        }
    }
    json!({
        "pools": {"accounts": {"sequence": {"prefix": "acct-", "count": 20}}},
        "operations": {"buy": operation}
    })
}

/// A run's folder, recorder and epoch.
pub struct Bench {
    pub recorder: Recorder,
    pub events: Events,
    pub epoch: Instant,
    folder: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::create(&folder.path().join("history.jsonl")).unwrap();
        Self {
            recorder,
            events: Events::unsaved(None),
            epoch: Instant::now(),
            folder,
        }
    }

    pub fn load(&self, system: &SystemDefinition, rate: impl Into<RatePlan>, in_flight_max: usize, seed: u64) -> Load {
        self.load_at(&[1], system, rate, in_flight_max, seed)
    }

    /// A load on these replicas.
    pub fn load_at(
        &self,
        numbers: &[u8],
        system: &SystemDefinition,
        rate: impl Into<RatePlan>,
        in_flight_max: usize,
        seed: u64,
    ) -> Load {
        let rate = rate.into();
        let rates = system.operations.keys().map(|name| (name.clone(), rate.clone()));
        let workload = WorkloadPlan {
            arrivals: Arrivals::Poisson,
            rates: rates.collect(),
            in_flight_max,
        };
        Load::start(&LoadRequest {
            system,
            workload: &workload,
            seed,
            addresses: &replicas(numbers),
            epoch: self.epoch,
            run_part: "t1",
            recorder: &self.recorder,
            events: &self.events,
        })
        .unwrap()
    }

    /// The history so far, complete.
    pub async fn history(&self) -> String {
        self.recorder.flush().await.unwrap();
        let path: PathBuf = self.folder.path().join("history.jsonl");
        std::fs::read_to_string(path).unwrap()
    }
}

/// Long enough for any machine; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);
