//! Asking a control interface: kept-alive connections, JSON, and a bound on every wait.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest as Connection, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

use crate::system::engine::Call;

/// The longest answer.
const BODY_MAX: usize = 4 * 1024 * 1024;

/// Why something could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection, or it broke.
    #[error("{0}")]
    Connection(String),
    /// Nothing came in time.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// It was refused.
    #[error("refused: {reason}")]
    Refused {
        /// The status of the answer.
        status: u16,
        /// Why, in the server's words.
        reason: String,
    },
    /// It answered something else.
    #[error("unintelligible answer: {0}")]
    Answer(String),
}

/// Makes a call whose answer is nobody's concern: whoever is not there any more has nothing to be undone.
pub async fn make(call: &Call) {
    const WITHIN: Duration = Duration::from_secs(2);
    let Ok(method) = call.method.parse() else { return };
    let body: Option<serde_json::Value> = serde_json::from_str(&call.body).ok();
    let _: Result<serde_json::Value, _> = Client::new(call.address)
        .ask(WITHIN, method, &call.path, body.as_ref())
        .await;
}

/// What all control interfaces say when they refuse.
#[derive(Debug, Deserialize)]
struct Refusal {
    error: String,
}

/// A control interface, by its address.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    /// Connections that wait for their next request.
    idle: Mutex<Vec<Connection<Full<Bytes>>>>,
}

impl Client {
    /// Nothing is connected yet.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            idle: Mutex::default(),
        }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks, and reads the answer; nothing is read as `null`. `path` begins with a slash.
    pub async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        limit: Duration,
        method: Method,
        path: &str,
        question: Option<&Q>,
    ) -> Result<A, ClientError> {
        let body = match question {
            Some(question) => serde_json::to_vec(question).map_err(|error| ClientError::Answer(error.to_string()))?,
            None => Vec::new(),
        };
        let request = || {
            Request::builder()
                .method(method.clone())
                .uri(path)
                .header(HOST, self.address.to_string())
                .header(CONTENT_TYPE, "application/json")
                .body(Full::new(Bytes::from(body.clone())))
                .map_err(|error| ClientError::Connection(error.to_string()))
        };
        let answer = tokio::time::timeout(limit, self.converse(request))
            .await
            .map_err(|_| ClientError::Timeout(limit))??;
        let answer: &[u8] = if answer.is_empty() { b"null" } else { &answer };
        serde_json::from_slice(answer).map_err(|error| ClientError::Answer(error.to_string()))
    }

    async fn converse(
        &self,
        request: impl Fn() -> Result<Request<Full<Bytes>>, ClientError>,
    ) -> Result<Bytes, ClientError> {
        let broken = |error: hyper::Error| ClientError::Connection(error.to_string());
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reused = idle.is_some();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.open().await?,
        };
        let mut sent = connection.send_request(request()?).await;
        if reused && sent.as_ref().is_err_and(hyper::Error::is_canceled) {
            // The server had closed it while it was idle, and the request was never sent.
            connection = self.open().await?;
            sent = connection.send_request(request()?).await;
        }
        let answer = sent.map_err(broken)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), BODY_MAX).collect().await;
        let body = body
            .map_err(|error| ClientError::Connection(error.to_string()))?
            .to_bytes();
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(connection);
        if status.is_success() {
            return Ok(body);
        }
        let refusal = serde_json::from_slice::<Refusal>(&body).map(|refusal| refusal.error);
        Err(ClientError::Refused {
            status: status.as_u16(),
            reason: refusal.unwrap_or_else(|_| status.to_string()),
        })
    }

    async fn open(&self) -> Result<Connection<Full<Bytes>>, ClientError> {
        let failed =
            |error: std::io::Error| ClientError::Connection(format!("connecting to {}: {error}", self.address));
        let stream = TcpStream::connect(self.address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let (connection, driver) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| ClientError::Connection(error.to_string()))?;
        // The driver ends when the connection's other half is dropped.
        tokio::spawn(driver);
        Ok(connection)
    }
}
