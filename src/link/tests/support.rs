//! A proxy before a server, and connections through it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::link::carrier::Carrier;
use crate::link::chain::{Direction, Per, Toxic};
use crate::link::proxies::Proxies;
use crate::link::proxy::{Proxy, Reach};
use crate::link::toxic::Kind;

pub(super) const ANY_PORT: &str = "127.0.0.1:0";

pub(super) fn proxies() -> Arc<Proxies> {
    Proxies::new(Carrier::on_threads(2).unwrap(), 1, Reach::Loopback)
}

pub(super) struct Bench {
    pub(super) proxy: Arc<Proxy>,
    server: TcpListener,
    _proxies: Arc<Proxies>,
}

impl Bench {
    pub(super) async fn start() -> Self {
        let server = TcpListener::bind(ANY_PORT).await.unwrap();
        let upstream = server.local_addr().unwrap().to_string();
        let proxies = proxies();
        let proxy = proxies
            .add("p".to_owned(), ANY_PORT.to_owned(), upstream, true)
            .await
            .unwrap();
        Self {
            proxy,
            server,
            _proxies: proxies,
        }
    }

    pub(super) async fn try_dial(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(&self.proxy.described().listen).await
    }

    /// Both ends of a connection through the proxy.
    pub(super) async fn connect(&self) -> (TcpStream, TcpStream) {
        let client = self.try_dial().await.unwrap();
        let (server, _from) = self.server.accept().await.unwrap();
        (client, server)
    }

    pub(super) async fn echoing(&self) -> Echo {
        let (client, mut server) = self.connect().await;
        tokio::spawn(async move {
            let (mut read, mut write) = server.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        Echo { client }
    }

    pub(super) async fn until_none_lives(&self) {
        eventually(|| self.proxy.link.live() == 0).await;
    }
}

/// A connection whose other end sends back what it gets.
pub(super) struct Echo {
    client: TcpStream,
}

impl Echo {
    pub(super) async fn round_trip(&mut self) -> Duration {
        self.try_round_trip().await.unwrap()
    }

    pub(super) async fn try_round_trip(&mut self) -> std::io::Result<Duration> {
        let began = Instant::now();
        self.client.write_all(b"?").await?;
        self.client.read_u8().await?;
        Ok(began.elapsed())
    }

    pub(super) async fn fastest_of(&mut self, tries: usize) -> Duration {
        let mut fastest = Duration::MAX;
        for _ in 0..tries {
            fastest = fastest.min(self.round_trip().await);
        }
        fastest
    }
}

pub(super) fn toxic(name: &str, stream: Direction, kind: impl Into<Kind>) -> Toxic {
    Toxic {
        name: name.to_owned(),
        kind: kind.into(),
        stream,
        toxicity: 1.0,
        per: Per::Connection,
    }
}

/// Waits for a condition, for longer than any machine needs.
pub(super) async fn eventually(mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(20), "it never came about");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A port at which nobody listens.
pub(super) async fn closed_port() -> SocketAddr {
    TcpListener::bind(ANY_PORT).await.unwrap().local_addr().unwrap()
}
