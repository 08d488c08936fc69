//! Who carries: threads with an event loop each, among which connections are shared out for good.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Handle;

use super::relay::{Ended, carry};
use super::state::Link;

/// How long the other end may take to accept a connection.
const DIAL_WITHIN: Duration = Duration::from_secs(30);

/// Lets as many connections be open as the system allows: each takes a descriptor for either end, and one for a timer.
pub fn allow_descriptors() {
    if let Ok((_soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Where that is refused, fewer fit.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Carries connections.
#[derive(Debug, Clone)]
pub struct Carrier {
    threads: Arc<Threads>,
    /// Set on the sockets that it opens, so that whoever redirects connections to it lets these pass.
    mark: Option<u32>,
}

#[derive(Debug)]
struct Threads {
    /// Empty if everything runs where it is called.
    handles: Vec<Handle>,
    /// Dropped to end them.
    _ends: Vec<tokio::sync::oneshot::Sender<()>>,
    next: AtomicUsize,
}

impl Carrier {
    /// Carries on so many threads of its own.
    pub fn on_threads(count: usize) -> io::Result<Self> {
        let mut handles = Vec::with_capacity(count);
        let mut ends = Vec::with_capacity(count);
        for number in 0..count {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            handles.push(runtime.handle().clone());
            let (end, ended) = tokio::sync::oneshot::channel();
            ends.push(end);
            std::thread::Builder::new()
                .name(format!("link-{number}"))
                .spawn(move || {
                    // Either way it is over.
                    let _ = runtime.block_on(ended);
                    runtime.shutdown_background();
                })?;
        }
        Ok(Self::new(handles, ends))
    }

    /// Carries on the event loop it is called on.
    pub fn here() -> Self {
        Self::new(Vec::new(), Vec::new())
    }

    /// The same with a mark on the sockets that it opens.
    pub fn marked(self, mark: u32) -> Self {
        Self {
            mark: Some(mark),
            ..self
        }
    }

    fn new(handles: Vec<Handle>, ends: Vec<tokio::sync::oneshot::Sender<()>>) -> Self {
        Self {
            threads: Arc::new(Threads {
                handles,
                _ends: ends,
                next: AtomicUsize::new(0),
            }),
            mark: None,
        }
    }

    /// Carries a connection that was accepted to `upstream`, until it ends. If nobody answers there, it is reset.
    pub fn accept(&self, link: &Arc<Link>, client: TcpStream, upstream: Upstream) {
        let (link, mark) = (link.clone(), self.mark);
        let Some(handle) = self.next() else {
            tokio::spawn(connect_and_carry(link, client, upstream, mark));
            return;
        };
        // A socket belongs to the event loop that it was made for.
        let Ok(client) = client.into_std() else {
            return;
        };
        handle.spawn(async move {
            if let Ok(client) = TcpStream::from_std(client) {
                connect_and_carry(link, client, upstream, mark).await;
            }
        });
    }

    fn next(&self) -> Option<&Handle> {
        let handles = &self.threads.handles;
        let turn = self.threads.next.fetch_add(1, Ordering::Relaxed);
        handles.get(turn % handles.len().max(1))
    }
}

/// Where connections go to.
#[derive(Debug, Clone)]
pub enum Upstream {
    /// An address.
    Address(SocketAddr),
    /// `host:port`, looked up for each connection.
    Name(Arc<str>),
}

async fn connect_and_carry(link: Arc<Link>, client: TcpStream, upstream: Upstream, mark: Option<u32>) -> Ended {
    let mut member = link.join();
    let mut dialling = pin!(tokio::time::timeout(DIAL_WITHIN, dial(&upstream, mark)));
    let server = std::future::poll_fn(|context| {
        member.handle.waker.register(context.waker());
        if member.is_closing() {
            return Poll::Ready(Err(Ended::Closed));
        }
        if member.is_behind() {
            // Nobody waits for a connection that has nothing to change yet.
            member.catch_up(|_chain| {});
        }
        dialling
            .as_mut()
            .poll(context)
            .map(|dialled| dialled.ok().and_then(Result::ok).ok_or(Ended::Reset))
    })
    .await;
    let server = match server {
        Ok(server) => server,
        Err(ended) => {
            if ended == Ended::Reset {
                // Where the kernel refuses, it is closed.
                let _ = client.set_zero_linger();
            }
            return ended;
        }
    };
    for end in [&client, &server] {
        // Where the kernel refuses, small pieces come later and nothing is lost.
        let _ = end.set_nodelay(true);
        unpaced(end);
    }
    carry(member, client, server).await
}

/// Where bytes never leave the machine nothing is gained by pacing them, as some congestion controls do (BBR), and a timer for
/// each piece is lost. Over a network the system's choice stands. Reno is there always, and anyone may choose it.
fn unpaced(end: &TcpStream) {
    let ends = [end.local_addr(), end.peer_addr()];
    if ends.iter().flatten().any(|address| address.ip().is_loopback()) {
        // Where the kernel refuses, it is slower.
        let _ = setsockopt(end, sockopt::TcpCongestion, &"reno".into());
    }
}

async fn dial(upstream: &Upstream, mark: Option<u32>) -> io::Result<TcpStream> {
    match upstream {
        Upstream::Address(address) => dial_address(*address, mark).await,
        Upstream::Name(name) => {
            let mut refused = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for address in tokio::net::lookup_host(&**name).await? {
                match dial_address(address, mark).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) => refused = error,
                }
            }
            Err(refused)
        }
    }
}

async fn dial_address(address: SocketAddr, mark: Option<u32>) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(mark) = mark {
        setsockopt(&socket, sockopt::Mark, &mark)?;
    }
    socket.connect(address).await
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::getsockopt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_stays_on_the_machine_is_not_paced() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let end = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        unpaced(&end);
        assert_eq!(getsockopt(&end, sockopt::TcpCongestion).unwrap(), "reno");
    }
}
