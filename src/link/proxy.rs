//! A link with a place of its own to listen at, as in Toxiproxy.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::carrier::{Carrier, Upstream};
use super::random::Purpose;
use super::state::Link;

/// The pause after the kernel has no descriptor left for a connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(10);

/// A proxy.
#[derive(Debug)]
pub struct Proxy {
    /// Unique among proxies.
    pub name: String,
    /// Its toxics and counters.
    pub link: Arc<Link>,
    carrier: Carrier,
    place: Place,
    settings: Mutex<Settings>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Settings {
    listen: String,
    upstream: String,
    accepting: Accepting,
}

/// Where a proxy's connections come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It listens, within that reach.
    Own(Reach),
    /// Somebody else takes them and hands them over: it is where it is, and cannot be moved.
    HandedOver,
}

#[derive(Debug)]
enum Accepting {
    No,
    /// At a socket of its own.
    Listening(JoinHandle<()>),
    HandedOver,
}

/// What a proxy that is handed its connections has in place of an address to listen at.
const HANDED_OVER: &str = "redirected";

/// Where a proxy may listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Where nobody but this machine reaches it.
    Loopback,
    /// Everywhere.
    Anywhere,
}

/// What a proxy looks like from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Where it listens; while it does, with the port that it got.
    pub listen: String,
    /// Where its connections go to.
    pub upstream: String,
    /// Whether it listens.
    pub enabled: bool,
}

impl Proxy {
    /// A proxy that does not listen yet.
    pub fn new(
        name: String,
        listen: String,
        upstream: String,
        purpose: Purpose,
        carrier: Carrier,
        reach: Reach,
    ) -> Arc<Self> {
        let settings = Settings {
            listen,
            upstream,
            accepting: Accepting::No,
        };
        Self::at(name, purpose, carrier, Place::Own(reach), settings)
    }

    /// A proxy that is handed its connections (see [`Proxy::take`]), and takes them from the start. `upstream` is what
    /// others are told of where they go to.
    pub fn redirected(name: String, upstream: String, purpose: Purpose, carrier: Carrier) -> Arc<Self> {
        let settings = Settings {
            listen: HANDED_OVER.to_owned(),
            upstream,
            accepting: Accepting::HandedOver,
        };
        Self::at(name, purpose, carrier, Place::HandedOver, settings)
    }

    fn at(name: String, purpose: Purpose, carrier: Carrier, place: Place, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            link: Link::new(purpose.named(&name)),
            name,
            carrier,
            place,
            settings: Mutex::new(settings),
            changing: tokio::sync::Mutex::default(),
        })
    }

    /// Whether it is handed its connections.
    pub fn is_handed_over(&self) -> bool {
        self.place == Place::HandedOver
    }

    /// Carries a connection that somebody else has accepted to that address; closed at once while the proxy is taken down.
    pub fn take(&self, client: TcpStream, to: SocketAddr) {
        if self.described().enabled {
            self.carrier.accept(&self.link, client, Upstream::Address(to));
        }
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it looks like.
    pub fn described(&self) -> Described {
        let settings = self.settings();
        Described {
            listen: settings.listen.clone(),
            upstream: settings.upstream.clone(),
            enabled: !matches!(settings.accepting, Accepting::No),
        }
    }

    /// Listens, if it does not yet.
    pub async fn start(&self) -> io::Result<()> {
        let _turn = self.changing.lock().await;
        self.start_in_turn().await
    }

    async fn start_in_turn(&self) -> io::Result<()> {
        let (listen, upstream) = {
            let mut settings = self.settings();
            match (&settings.accepting, self.place) {
                (Accepting::No, Place::Own(_)) => {}
                (Accepting::No, Place::HandedOver) => {
                    settings.accepting = Accepting::HandedOver;
                    return Ok(());
                }
                _ => return Ok(()),
            }
            (settings.listen.clone(), settings.upstream.clone())
        };
        let listener = self.bind(&listen).await?;
        let bound = listener.local_addr()?;
        let upstream = match upstream.parse::<SocketAddr>() {
            Ok(address) => Upstream::Address(address),
            Err(_) => Upstream::Name(upstream.into()),
        };
        let accepting = tokio::spawn(accept(listener, self.link.clone(), self.carrier.clone(), upstream));
        let mut settings = self.settings();
        settings.listen = bound.to_string();
        settings.accepting = Accepting::Listening(accepting);
        Ok(())
    }

    /// The addresses that are meant by `listen`, all of which it may listen at.
    async fn addresses(&self, listen: &str) -> io::Result<Vec<SocketAddr>> {
        let wrong = |problem: String| io::Error::new(io::ErrorKind::InvalidInput, problem);
        let addresses: Vec<SocketAddr> = match tokio::net::lookup_host(&*with_host(listen)).await {
            Ok(addresses) => addresses.collect(),
            Err(error) => return Err(wrong(format!("listen tcp: address {listen}: {error}"))),
        };
        let beyond = |address: &&SocketAddr| !address.ip().is_loopback();
        if let (Place::Own(Reach::Loopback), Some(address)) = (self.place, addresses.iter().find(beyond)) {
            return Err(wrong(format!(
                "listen {address}: only loopback addresses are allowed, unless started with --anywhere"
            )));
        }
        Ok(addresses)
    }

    async fn bind(&self, listen: &str) -> io::Result<TcpListener> {
        let addresses = self.addresses(listen).await?;
        let refused = |error: io::Error| {
            let why = match error.kind() {
                io::ErrorKind::AddrInUse => "address already in use".to_owned(),
                _ => error.to_string(),
            };
            let at = addresses.first().map_or(listen.to_owned(), SocketAddr::to_string);
            io::Error::new(error.kind(), format!("listen tcp {at}: bind: {why}"))
        };
        TcpListener::bind(&*addresses).await.map_err(refused)
    }

    /// Whether these are other addresses than its own. `localhost:6000` is none where it listens at `127.0.0.1:6000`.
    pub async fn differs(&self, listen: &str, upstream: &str) -> io::Result<bool> {
        let now = self.described();
        if now.listen == listen {
            return Ok(now.upstream != upstream);
        }
        let addresses = self.addresses(listen).await?;
        let same = addresses.iter().any(|address| address.to_string() == now.listen);
        Ok(!same || now.upstream != upstream)
    }

    /// Ceases to listen and closes what it carries.
    pub async fn stop(&self) {
        let _turn = self.changing.lock().await;
        self.stop_in_turn().await;
    }

    async fn stop_in_turn(&self) {
        let accepting = std::mem::replace(&mut self.settings().accepting, Accepting::No);
        if let Accepting::Listening(accepting) = accepting {
            accepting.abort();
            // Its end is what was asked for: the socket is closed then.
            let _ = accepting.await;
        }
        self.link.close_connections();
    }

    /// Changes where it listens and where its connections go to, and whether it listens. Connections are closed by a
    /// change of either address, and live on otherwise.
    pub async fn update(&self, listen: String, upstream: String, enabled: bool) -> io::Result<()> {
        let _turn = self.changing.lock().await;
        if self.differs(&listen, &upstream).await? {
            if self.place == Place::HandedOver {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("{} is a link of its replica and stays where it is", self.name),
                ));
            }
            self.stop_in_turn().await;
            let mut settings = self.settings();
            settings.listen = listen;
            settings.upstream = upstream;
        }
        match enabled {
            true => self.start_in_turn().await,
            false => {
                self.stop_in_turn().await;
                Ok(())
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Accepting::Listening(accepting) = &self.settings().accepting {
            accepting.abort();
        }
        self.link.close_connections();
    }
}

async fn accept(listener: TcpListener, link: Arc<Link>, carrier: Carrier, upstream: Upstream) {
    loop {
        match listener.accept().await {
            Ok((client, _from)) => carrier.accept(&link, client, upstream.clone()),
            Err(_) => tokio::time::sleep(ACCEPT_RETRY).await,
        }
    }
}

/// `:8080` is every address of this machine in Toxiproxy; here it is loopback, since nothing listens beyond it unasked.
fn with_host(listen: &str) -> std::borrow::Cow<'_, str> {
    match listen {
        "" => "127.0.0.1:0".into(),
        _ if listen.starts_with(':') => format!("127.0.0.1{listen}").into(),
        _ => listen.into(),
    }
}
