//! `nightmail forward`: a port of a kept run's service, as a port of this machine's loopback.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};

use super::args::ForwardArgs;
use super::exit;
use super::kept::{self, Failure, Kept};
use crate::diagnostic::Diagnostic;
use crate::plan::ReplicaId;
use crate::system::engine::EngineError;

/// Carries until it is told to end, or the system goes.
pub fn forward(args: &ForwardArgs) -> u8 {
    begin(args).unwrap_or_else(|failure| failure.tell())
}

/// Where connections go.
struct Peer {
    id: ReplicaId,
    address: SocketAddrV4,
}

fn begin(args: &ForwardArgs) -> Result<u8, Failure> {
    let (service, port) = target(&args.target)?;
    let run = kept::find(args.run.as_deref())?;
    let replicas = kept::replicas(&run.replicas(), service)?;
    let peers: Vec<Peer> = replicas
        .into_iter()
        .map(|(id, address)| Peer {
            id,
            address: SocketAddrV4::new(address, port),
        })
        .collect();
    // Before the namespaces are entered: it is to be found where whoever uses it is.
    let listener = listen(args.listen, port)?;
    let stage = match &run {
        Kept::Local(run) => Some(run.enter_network()?),
        Kept::Docker(_) => None,
    };
    let names: Vec<String> = peers
        .iter()
        .map(|peer| format!("{} ({})", peer.id, peer.address))
        .collect();
    let carried = kept::with_docker(async {
        let refused = |error: io::Error| EngineError::Refused {
            action: "carrying connections".to_owned(),
            reason: error.to_string(),
        };
        let ends = Ends::new(stage).map_err(refused)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(refused)?;
        let here = listener.local_addr().map_err(refused)?;
        println!("{here} -> {}", names.join(", "));
        tokio::select! {
            () = carry(&listener, peers) => {}
            over = ends.wait() => if over {
                eprintln!("the system is down");
            },
        }
        Ok(())
    });
    carried?;
    Ok(exit::PASSED)
}

fn target(text: &str) -> Result<(&str, u16), Diagnostic> {
    let parts = text
        .rsplit_once(':')
        .and_then(|(service, port)| Some((service, port.parse().ok()?)));
    match parts {
        Some((service, port)) if !service.is_empty() && port > 0 => Ok((service, port)),
        _ => Err(Diagnostic::new(format!("`{text}` is not SERVICE:PORT"))
            .allowed("a service or one of its replicas, and a port from 1 to 65535")
            .hint("for example database-1:5432")),
    }
}

/// Listens where it was said; otherwise on the same port if it can be had, or on any.
fn listen(wanted: Option<SocketAddr>, port: u16) -> Result<TcpListener, Diagnostic> {
    let bound = match wanted {
        Some(wanted) if !wanted.ip().is_loopback() => {
            return Err(
                Diagnostic::new(format!("--listen {wanted} would be reachable from other machines"))
                    .allowed("loopback addresses")
                    .hint(format!("--listen 127.0.0.1:{}", wanted.port())),
            );
        }
        Some(wanted) => TcpListener::bind(wanted),
        None => TcpListener::bind((Ipv4Addr::LOCALHOST, port)).or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))),
    };
    let bound = bound.and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|error| {
        let wanted = wanted.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, port).into());
        Diagnostic::new(format!("--listen {wanted}: {error}"))
            .hint("choose another, for example --listen 127.0.0.1:0 for any port that is free")
    })
}

/// Carries connections to the peers in turn.
async fn carry(listener: &tokio::net::TcpListener, peers: Vec<Peer>) {
    let peers: Vec<Arc<Peer>> = peers.into_iter().map(Arc::new).collect();
    for peer in peers.iter().cycle() {
        // Too many open files, most likely: others will be closed.
        let Ok((near, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let peer = peer.clone();
        tokio::spawn(async move {
            if let Err(error) = connect(near, &peer).await {
                eprintln!("{} ({}): {error}", peer.id, peer.address);
            }
        });
    }
}

/// A connection; only that it could not be made is an error.
async fn connect(mut near: TcpStream, peer: &Peer) -> io::Result<()> {
    let mut far = TcpStream::connect(peer.address).await?;
    let _ = near.set_nodelay(true);
    let _ = far.set_nodelay(true);
    let _ = copy_bidirectional(&mut near, &mut far).await;
    Ok(())
}

/// What ends it.
struct Ends {
    int: tokio::signal::unix::Signal,
    term: tokio::signal::unix::Signal,
    stage: Option<AsyncFd<OwnedFd>>,
}

impl Ends {
    fn new(stage: Option<OwnedFd>) -> io::Result<Self> {
        Ok(Self {
            int: signal(SignalKind::interrupt())?,
            term: signal(SignalKind::terminate())?,
            // A descriptor of a process can be read from when the process has ended.
            stage: stage
                // SAFETY: the descriptor is owned by what watches it, and closed with it.
                .map(|stage| unsafe { AsyncFd::register_with_interest(stage, Interest::READABLE) })
                .transpose()?,
        })
    }

    /// Whether it was the end of the system.
    async fn wait(mut self) -> bool {
        let stage = async {
            match &self.stage {
                Some(stage) => drop(stage.readable().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.int.recv() => false,
            _ = self.term.recv() => false,
            () = stage => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_service_and_a_port() {
        assert_eq!(target("database-1:5432"), Ok(("database-1", 5432)));
        for text in ["database-1", "database-1:", ":80", "api:0", "api:70000", "api:http"] {
            let error = target(text).unwrap_err().render(false);
            assert!(error.contains("database-1:5432"), "{error}");
        }
    }

    #[test]
    fn a_port_that_is_taken_is_replaced_unless_it_was_asked_for_and_others_are_kept_out() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let other = listen(None, address.port()).unwrap().local_addr().unwrap();
        assert!(other.ip().is_loopback() && other != address, "{other}");
        assert!(
            listen(Some(address), 1)
                .unwrap_err()
                .render(false)
                .contains("127.0.0.1:0")
        );
        let error = listen(Some("0.0.0.0:0".parse().unwrap()), 1).unwrap_err();
        assert!(error.render(false).contains("other machines"));
    }
}
