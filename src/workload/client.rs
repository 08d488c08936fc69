//! An HTTP/1.1 client whose phases are visible: whether a failed attempt can have had an effect decides between *fail*
//! and *info*.
//!
//! It never follows redirects and never sends a request twice. What it repeats is a request that was never written,
//! because the kept-alive connection chosen for it turned out to be closed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::WorkloadError;
use super::expression::Answer;
use super::template::Rendered;

/// Addresses of each Compose service's replicas, in the order of their numbers.
pub type Addresses = BTreeMap<String, Vec<Ipv4Addr>>;

/// Connections kept for the next request, by address. After a stall thousands come free at once.
const IDLE_MAX: usize = 128;

/// A connection unused for longer is closed: servers do the same, and a request may cross that.
const IDLE_FOR: Duration = Duration::from_secs(5);

/// The largest answer read.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

type Sender = SendRequest<Full<Bytes>>;
type HttpRequest = hyper::Request<Full<Bytes>>;

/// An attempt without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// What happened, in a word or two.
    pub error: &'static str,
    /// What it can have done.
    pub effect: Effect,
}

/// What an attempt without an answer can have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: no byte of the request was written.
    None,
    /// Nothing, and for a reason that lies with this machine, not with the system.
    NoneLocal,
    /// Anything.
    Unknown,
}

impl Broken {
    fn new(error: &'static str, effect: Effect) -> Self {
        Self { error, effect }
    }
}

/// Sends requests to replicas. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    services: BTreeMap<String, Service>,
    idle: Mutex<HashMap<SocketAddrV4, VecDeque<Idle>>>,
}

#[derive(Debug)]
struct Service {
    addresses: Vec<Ipv4Addr>,
    next: AtomicUsize,
}

#[derive(Debug)]
struct Idle {
    sender: Sender,
    since: Instant,
}

/// How many replicas each Compose service has.
pub type ReplicaCounts = BTreeMap<String, u32>;

/// How many replicas have these addresses.
pub fn replica_counts(addresses: &Addresses) -> ReplicaCounts {
    let counts = addresses.iter();
    counts
        .map(|(service, addresses)| (service.clone(), addresses.len() as u32))
        .collect()
}

/// The replicas of a service in the order in which one operation tries them.
#[derive(Debug)]
pub struct Turn {
    addresses: Vec<SocketAddrV4>,
}

impl Turn {
    /// The address of the n-th attempt, from 0.
    pub fn address(&self, attempt: u32) -> SocketAddrV4 {
        self.addresses[attempt as usize % self.addresses.len()]
    }
}

impl Client {
    /// A client for services at these addresses.
    pub fn new(addresses: &Addresses) -> Self {
        let services = addresses.iter().map(|(service, addresses)| {
            let service_turns = Service {
                addresses: addresses.clone(),
                next: AtomicUsize::new(0),
            };
            (service.clone(), service_turns)
        });
        Self {
            shared: Arc::new(Shared {
                services: services.collect(),
                idle: Mutex::new(HashMap::new()),
            }),
        }
    }

    /// An error if the service has no address.
    pub fn require(&self, service: &str) -> Result<(), WorkloadError> {
        match self.shared.services.get(service) {
            Some(found) if !found.addresses.is_empty() => Ok(()),
            _ => Err(WorkloadError::NoAddress {
                service: service.to_owned(),
            }),
        }
    }

    /// The replicas of a service for the next operation: the one that is named, by its number, or all of them, beginning
    /// one further than the last did. There may be no such replica; another never stands in for it.
    pub fn turn(&self, service: &str, port: u16, replica: Option<u32>) -> Result<Turn, String> {
        let found = self.shared.services.get(service);
        let Some(found) = found.filter(|found| !found.addresses.is_empty()) else {
            return Err(format!("`{service}` has no replica"));
        };
        let count = found.addresses.len();
        let addresses = match replica {
            None => {
                let first = found.next.fetch_add(1, Ordering::Relaxed) % count;
                (0..count)
                    .map(|step| SocketAddrV4::new(found.addresses[(first + step) % count], port))
                    .collect()
            }
            Some(number) => {
                let position = (number as usize).checked_sub(1);
                let address = position.and_then(|position| found.addresses.get(position));
                let address =
                    address.ok_or_else(|| format!("`{service}` has no replica {number}, but 1 to {count}"))?;
                vec![SocketAddrV4::new(*address, port)]
            }
        };
        Ok(Turn { addresses })
    }

    /// Where the replicas of a service are, in the order of their numbers; none if it is not known.
    pub(super) fn addresses(&self, service: &str) -> Option<&[Ipv4Addr]> {
        self.shared.services.get(service).map(|service| &service.addresses[..])
    }

    /// The numbers of a service's replicas.
    pub fn numbers(&self, service: &str) -> RangeInclusive<u32> {
        let found = self.shared.services.get(service);
        1..=found.map_or(0, |found| found.addresses.len() as u32)
    }

    /// Sends a request to one address and reads the whole answer, all within `timeout`.
    pub async fn attempt(
        &self,
        address: SocketAddrV4,
        request: &Rendered,
        timeout: Duration,
    ) -> Result<Answer, Broken> {
        let mut connecting = true;
        let exchange = self.exchange(address, request, &mut connecting);
        match tokio::time::timeout(timeout, exchange).await {
            Ok(result) => result,
            Err(_) if connecting => Err(Broken::new("connect timeout", Effect::Unknown)),
            Err(_) => Err(Broken::new("timeout", Effect::Unknown)),
        }
    }

    async fn exchange(
        &self,
        address: SocketAddrV4,
        rendered: &Rendered,
        connecting: &mut bool,
    ) -> Result<Answer, Broken> {
        let mut request = http_request(address, rendered);
        while let Some(mut sender) = self.take(address) {
            *connecting = false;
            match send(&mut sender, request).await {
                Sent::Answered(answer) => return self.keep(address, sender, answer),
                Sent::Failed(broken) => return Err(broken),
                Sent::NotWritten(again) => request = again,
            }
        }
        *connecting = true;
        let mut sender = connect(address).await?;
        *connecting = false;
        match send(&mut sender, request).await {
            Sent::Answered(answer) => self.keep(address, sender, answer),
            Sent::Failed(broken) => Err(broken),
            Sent::NotWritten(_) => Err(Broken::new("closed", Effect::None)),
        }
    }

    /// The connection used last: the others grow old and are closed.
    fn take(&self, address: SocketAddrV4) -> Option<Sender> {
        let mut pools = self.shared.idle.lock().expect("no holder panics");
        let idle = pools.get_mut(&address)?;
        for position in (0..idle.len()).rev() {
            let closed = idle[position].sender.is_closed();
            if closed || idle[position].sender.is_ready() {
                let taken = idle.remove(position)?;
                if !closed {
                    return Some(taken.sender);
                }
            }
        }
        None
    }

    fn keep(&self, address: SocketAddrV4, sender: Sender, answer: Answer) -> Result<Answer, Broken> {
        if !sender.is_closed() {
            let mut pools = self.shared.idle.lock().expect("no holder panics");
            let idle = pools.entry(address).or_default();
            let now = Instant::now();
            while idle
                .front()
                .is_some_and(|oldest| idle.len() >= IDLE_MAX || now.duration_since(oldest.since) > IDLE_FOR)
            {
                idle.pop_front();
            }
            idle.push_back(Idle { sender, since: now });
        }
        Ok(answer)
    }
}

fn http_request(address: SocketAddrV4, rendered: &Rendered) -> HttpRequest {
    let mut request = hyper::Request::new(Full::new(rendered.body.clone()));
    *request.method_mut() = rendered.method.clone();
    *request.uri_mut() = rendered.uri.clone();
    *request.headers_mut() = rendered.headers.clone();
    if !request.headers().contains_key(HOST) {
        let host = HeaderValue::from_str(&address.to_string()).expect("digits, dots and a colon");
        request.headers_mut().insert(HOST, host);
    }
    request
}

async fn connect(address: SocketAddrV4) -> Result<Sender, Broken> {
    let stream = TcpStream::connect(address).await.map_err(|err| connect_error(&err))?;
    // A request is one small packet that should leave at once. Without the option it still leaves.
    let _ = stream.set_nodelay(true);
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|_| Broken::new("closed", Effect::None))?;
    // What goes wrong with the connection is told to whoever waits for an answer on it.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

/// Nothing was written, so nothing happened, except where the kernel cannot know how far the connection came.
fn connect_error(err: &io::Error) -> Broken {
    match (err.kind(), err.raw_os_error()) {
        (io::ErrorKind::ConnectionRefused, _) => Broken::new("refused", Effect::None),
        (io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable, _) => {
            Broken::new("unreachable", Effect::None)
        }
        (io::ErrorKind::AddrNotAvailable, _)
        | (_, Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EAGAIN)) => {
            Broken::new("no local resources", Effect::NoneLocal)
        }
        (io::ErrorKind::TimedOut, _) => Broken::new("connect timeout", Effect::Unknown),
        (io::ErrorKind::ConnectionReset, _) => Broken::new("reset", Effect::Unknown),
        _ => Broken::new("connect failed", Effect::Unknown),
    }
}

enum Sent {
    Answered(Answer),
    Failed(Broken),
    /// No byte of it was written: hyper gives the request back.
    NotWritten(HttpRequest),
}

async fn send(sender: &mut Sender, request: HttpRequest) -> Sent {
    let response = match sender.try_send_request(request).await {
        Ok(response) => response,
        Err(mut err) => {
            return match err.take_message() {
                Some(request) => Sent::NotWritten(request),
                None => Sent::Failed(send_error(err.error())),
            };
        }
    };
    let (head, body) = response.into_parts();
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => Sent::Answered(Answer::new(head.status.as_u16(), head.headers, body.to_bytes())),
        Err(err) if err.is::<LengthLimitError>() => Sent::Failed(Broken::new("answer too large", Effect::Unknown)),
        Err(err) => Sent::Failed(match err.downcast_ref() {
            Some(err) => send_error(err),
            None => Broken::new("broken", Effect::Unknown),
        }),
    }
}

/// After the first byte was written anything may have happened.
fn send_error(err: &hyper::Error) -> Broken {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(err);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            match io.kind() {
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
                    return Broken::new("reset", Effect::Unknown);
                }
                io::ErrorKind::TimedOut => return Broken::new("timeout", Effect::Unknown),
                io::ErrorKind::UnexpectedEof => return Broken::new("closed", Effect::Unknown),
                _ => {}
            }
        }
        source = inner.source();
    }
    let error = match err {
        err if err.is_incomplete_message() || err.is_canceled() || err.is_closed() => "closed",
        err if err.is_parse() => "not HTTP",
        _ => "broken",
    };
    Broken::new(error, Effect::Unknown)
}

#[cfg(test)]
mod tests;
