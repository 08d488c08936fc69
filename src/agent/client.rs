//! Asking an agent.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::api::{
    ConnectRequest, Connected, CountRequest, Counted, DiskStatus, Emptied, ExchangeRequest, Exchanged, FaultRequest,
    FaultStatus, FillRequest, PREFIX, Removed, SendRequest, Sent, TraceRequest, Traced, TracedRequest, Tried,
    TryRequest,
};
use crate::control::client::Client as Control;
pub use crate::control::client::ClientError;

/// How long an answer may take, connecting included; longer than the agent itself waits for anything but exchanges.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The same where a disk is filled: the kernel may have to find memory for all of it.
const FILL_TIMEOUT: Duration = Duration::from_secs(10);

/// An agent, by the address of its control interface.
#[derive(Debug)]
pub struct Client(Control);

impl Client {
    /// Nothing is connected yet.
    pub fn new(address: SocketAddr) -> Self {
        Self(Control::new(address))
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

    /// Exchanges bytes with another agent.
    pub async fn exchange(&self, request: &ExchangeRequest) -> Result<Exchanged, ClientError> {
        let limit = TIMEOUT + Duration::from_millis(request.within_ms.saturating_add(request.wait_ms));
        self.0
            .ask(limit, Method::POST, &format!("{PREFIX}/probes/exchange"), Some(request))
            .await
    }

    /// The file systems that the agent shares with its replica.
    pub async fn disks(&self) -> Result<Vec<DiskStatus>, ClientError> {
        self.ask(Method::GET, "/disks", None::<&()>).await
    }

    /// Fills one.
    pub async fn fill(&self, id: &str, request: &FillRequest) -> Result<DiskStatus, ClientError> {
        let path = format!("{PREFIX}/fills/{id}");
        self.0.ask(FILL_TIMEOUT, Method::PUT, &path, Some(request)).await
    }

    /// Gives the space back.
    pub async fn empty(&self, id: &str) -> Result<Emptied, ClientError> {
        self.ask(Method::DELETE, &format!("/fills/{id}"), None::<&()>).await
    }

    /// Writes a block, and takes it back.
    pub async fn try_block(&self, request: &TryRequest) -> Result<Tried, ClientError> {
        self.ask(Method::POST, "/disks/try", Some(request)).await
    }

    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        question: Option<&Q>,
    ) -> Result<A, ClientError> {
        self.0.ask(TIMEOUT, method, &format!("{PREFIX}{path}"), question).await
    }
}
