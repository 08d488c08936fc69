//! The server of a control interface: HTTP with a bound on connections, bodies and idle time. What is answered is up to
//! whoever serves. [`client`] asks.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

pub mod client;

/// The most connections at once.
const CONNECTIONS_MAX: usize = 64;
/// The longest body: a list of all proxies that a process may have.
const BODY_MAX: usize = 256 * 1024;
/// How long a connection may stay without a request.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// How long a body may take to come.
const BODY_WITHIN: Duration = Duration::from_secs(15);
/// The pause after the kernel has no descriptor left for a connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(10);

/// JSON, as all control interfaces speak it.
pub const JSON: &str = "application/json";

/// A request.
#[derive(Debug)]
pub struct Asked {
    /// Its method.
    pub method: Method,
    /// Its path, without the query.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, or why it could not be had.
    pub body: Result<Bytes, String>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// The type of its body.
    pub content_type: &'static str,
    /// Its body.
    pub body: Bytes,
}

/// Accepts connections for ever and answers what is asked on them.
pub async fn serve<A, F>(listener: &TcpListener, answer: A)
where
    A: Fn(Asked) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    serve_to(|_| true, listener, answer).await;
}

/// The same for those who may ask; the others find their connections closed.
pub async fn serve_to<A, F>(may_ask: impl Fn(IpAddr) -> bool, listener: &TcpListener, answer: A)
where
    A: Fn(Asked) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = accept(listener).await;
        if !stream.peer_addr().is_ok_and(|peer| may_ask(peer.ip())) {
            continue;
        }
        let Ok(place) = free.clone().try_acquire_owned() else {
            continue;
        };
        let answer = answer.clone();
        tokio::spawn(async move {
            serve_connection(stream, answer).await;
            drop(place);
        });
    }
}

/// The next connection.
pub async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _from)) => return stream,
            Err(_) => tokio::time::sleep(ACCEPT_RETRY).await,
        }
    }
}

async fn serve_connection<A, F>(stream: TcpStream, answer: A)
where
    A: Fn(Asked) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer.clone();
        async move {
            let (head, body) = request.into_parts();
            let collected = Limited::new(body, BODY_MAX).collect();
            let body = match tokio::time::timeout(BODY_WITHIN, collected).await {
                Ok(Ok(body)) => Ok(body.to_bytes()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("the body did not come within {} s", BODY_WITHIN.as_secs())),
            };
            let asked = Asked {
                method: head.method,
                path: head.uri.path().to_owned(),
                headers: head.headers,
                body,
            };
            Ok::<_, Infallible>(written(answer(asked).await))
        }
    });
    // A connection that breaks is its client's to notice.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn written(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    if answer.status != StatusCode::NO_CONTENT {
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    }
    response
}
