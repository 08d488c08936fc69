//! Asking an agent: kept-alive connections, JSON, and a bound on every wait.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest as Connection, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

use super::api::{
    ConnectRequest, Connected, CountRequest, Counted, FaultRequest, FaultStatus, PREFIX, Refusal, Removed, SendRequest,
    Sent, TraceRequest, Traced, TracedRequest,
};

/// How long an answer may take, connecting included; longer than the agent itself waits for anything.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The longest answer.
const BODY_MAX: usize = 4 * 1024 * 1024;

/// Why an agent could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection, or it broke.
    #[error("{0}")]
    Connection(String),
    /// Nothing came in time.
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// The agent refused.
    #[error("refused: {0}")]
    Refused(String),
    /// It answered something else.
    #[error("unintelligible answer: {0}")]
    Answer(String),
}

/// An agent, by the address of its control interface.
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

    /// Puts a fault in force.
    pub async fn put_fault(&self, id: &str, request: &FaultRequest) -> Result<FaultStatus, ClientError> {
        self.ask(Method::PUT, &format!("/faults/{id}"), Some(request)).await
    }

    /// Removes a fault.
    pub async fn remove_fault(&self, id: &str) -> Result<Removed, ClientError> {
        self.ask(Method::DELETE, &format!("/faults/{id}"), None::<&()>).await
    }

    /// Lists the faults in force.
    pub async fn faults(&self) -> Result<Vec<FaultStatus>, ClientError> {
        self.ask(Method::GET, "/faults", None::<&()>).await
    }

    /// Sends probe datagrams to another agent.
    pub async fn send(&self, request: &SendRequest) -> Result<Sent, ClientError> {
        self.ask(Method::POST, "/probes/send", Some(request)).await
    }

    /// Counts probe datagrams that have arrived.
    pub async fn count(&self, request: &CountRequest) -> Result<Counted, ClientError> {
        self.ask(Method::POST, "/probes/count", Some(request)).await
    }

    /// Sends datagrams with numbers and times to another agent.
    pub async fn trace(&self, request: &TraceRequest) -> Result<Sent, ClientError> {
        self.ask(Method::POST, "/probes/trace", Some(request)).await
    }

    /// Says which of them have arrived.
    pub async fn traced(&self, request: &TracedRequest) -> Result<Traced, ClientError> {
        self.ask(Method::POST, "/probes/traced", Some(request)).await
    }

    /// Tries a connection to another agent.
    pub async fn connect(&self, request: &ConnectRequest) -> Result<Connected, ClientError> {
        self.ask(Method::POST, "/probes/connect", Some(request)).await
    }

    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
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
                .uri(format!("{PREFIX}{path}"))
                .header(HOST, self.address.to_string())
                .header(CONTENT_TYPE, "application/json")
                .body(Full::new(Bytes::from(body.clone())))
                .map_err(|error| ClientError::Connection(error.to_string()))
        };
        let answer = tokio::time::timeout(TIMEOUT, self.exchange(request))
            .await
            .map_err(|_| ClientError::Timeout)??;
        serde_json::from_slice(&answer).map_err(|error| ClientError::Answer(error.to_string()))
    }

    async fn exchange(
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
            // The agent had closed it while it was idle, and the request was never sent.
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
        Err(ClientError::Refused(refusal.unwrap_or_else(|_| status.to_string())))
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
