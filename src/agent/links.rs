//! The links of the replica beside this agent: its connections to a peer, which the kernel hands to the agent before they
//! leave, whatever port they go to.
//!
//! Each peer is a proxy of the agent's control interface under its own name, so that Toxiproxy's clients can look at it and
//! spoil it; a fault spoils several at once and has its own end (see [`super::faults`]).

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::str::FromStr;
use std::sync::Arc;

use nix::sys::socket::{getsockopt, sockopt::OriginalDst};
use tokio::net::{TcpListener, TcpStream};

use super::api::{PeerCount, Spoil};
use crate::control;
use crate::link::carrier::{Carrier, allow_descriptors};
use crate::link::chain::Toxic;
use crate::link::proxies::Proxies;
use crate::link::proxy::{Proxy, Reach};
use crate::link::state::ToxicError;

/// Set on every socket that the agent opens for a link or past it: the kernel does not hand these back to the agent.
pub const MARK: u32 = 0x6e6d;

/// A peer, as the command line writes it: `database-1=10.64.1.5`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// What the link is called.
    pub name: String,
    /// Where connections over it go to.
    pub address: Ipv4Addr,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("`{text}` is not of the form NAME=ADDRESS, such as database-1=10.64.1.5");
        let (name, address) = text.split_once('=').ok_or_else(form)?;
        let address = address.parse().map_err(|_| form())?;
        match name {
            "" => Err(form()),
            name => Ok(Self {
                name: name.to_owned(),
                address,
            }),
        }
    }
}

/// The links of one agent.
#[derive(Debug)]
pub struct Links {
    proxies: Arc<Proxies>,
    by_peer: BTreeMap<Ipv4Addr, Arc<Proxy>>,
}

impl Links {
    /// A link for each peer. Their draws come from `seed`.
    pub fn new(peers: &[Peer], seed: u64) -> io::Result<Arc<Self>> {
        let carrier = match peers {
            [] => Carrier::here(),
            _ => {
                allow_descriptors();
                Carrier::on_threads(1)?.marked(MARK)
            }
        };
        let proxies = Proxies::new(carrier, seed, Reach::Loopback);
        let by_peer = peers.iter().map(|peer| {
            let proxy = proxies.add_redirected(peer.name.clone(), peer.address.to_string());
            (peer.address, proxy)
        });
        let by_peer = by_peer.collect();
        Ok(Arc::new(Self { proxies, by_peer }))
    }

    /// As proxies of Toxiproxy's interface.
    pub fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    /// Carries what the kernel hands over, for ever.
    pub async fn serve(&self, listener: &TcpListener) {
        loop {
            let client = control::accept(listener).await;
            // Whoever connects to the listener itself is meant for nobody: carried, it would come back here.
            if let Ok(meant) = original_destination(&client)
                && let Some(proxy) = self.by_peer.get(meant.ip())
            {
                proxy.take(client, SocketAddr::V4(meant));
            }
        }
    }

    /// Puts a toxic under that name on the links to these peers; one of the same name is replaced. On an error none of them
    /// has it.
    pub async fn spoil(&self, name: &str, peers: &[Ipv4Addr], spoil: &Spoil) -> Result<(), String> {
        let mut proxies = Vec::with_capacity(peers.len());
        for peer in peers {
            let proxy = self.by_peer.get(peer);
            proxies.push(proxy.ok_or_else(|| format!("there is no link to {peer}: none was asked for at the start"))?);
        }
        for proxy in proxies {
            let toxic = || Toxic {
                name: name.to_owned(),
                kind: spoil.toxic.clone(),
                stream: spoil.stream,
                toxicity: spoil.toxicity,
                per: spoil.per,
            };
            if proxy.link.add(toxic()).await == Err(ToxicError::Exists) {
                // Where somebody takes it away at this very moment, the receipt says so.
                let _ = proxy.link.update(toxic()).await;
            }
        }
        Ok(())
    }

    /// Takes the toxic of that name from the links to these peers. What it had met, by peer; those without it are left out.
    pub async fn restore(&self, name: &str, peers: &[Ipv4Addr]) -> Vec<PeerCount> {
        let mut counts = Vec::new();
        for peer in peers {
            if let Some(proxy) = self.by_peer.get(peer)
                && let Ok(removed) = proxy.link.remove(name).await
            {
                counts.push(count(*peer, removed.affected.counts()));
            }
        }
        counts
    }

    /// What the toxic of that name has met, by peer.
    pub fn counts(&self, name: &str) -> Vec<PeerCount> {
        let met = |(peer, proxy): (&Ipv4Addr, &Arc<Proxy>)| {
            let chain = proxy.link.chain();
            Some(count(*peer, chain.find(name)?.affected.counts()))
        };
        self.by_peer.iter().filter_map(met).collect()
    }

    /// Closes what is carried to these peers.
    pub fn close_connections(&self, peers: &[Ipv4Addr]) {
        for peer in peers {
            if let Some(proxy) = self.by_peer.get(peer) {
                proxy.link.close_connections();
            }
        }
    }
}

fn count(address: Ipv4Addr, (connections, bytes): (u64, u64)) -> PeerCount {
    PeerCount {
        connections,
        bytes,
        ..PeerCount::none(address)
    }
}

/// Where a connection was meant to go before the kernel handed it over.
fn original_destination(client: &TcpStream) -> io::Result<SocketAddrV4> {
    let meant = getsockopt(client, OriginalDst)?;
    // Both fields are in network order.
    let address = Ipv4Addr::from_bits(u32::from_be(meant.sin_addr.s_addr));
    Ok(SocketAddrV4::new(address, u16::from_be(meant.sin_port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_name_and_an_address() {
        let peer: Peer = "database-1=10.64.1.5".parse().unwrap();
        assert_eq!(
            (peer.name.as_str(), peer.address),
            ("database-1", Ipv4Addr::new(10, 64, 1, 5))
        );
        for wrong in ["database-1", "=10.64.1.5", "a=b", "a=10.64.1"] {
            let error = wrong.parse::<Peer>().unwrap_err();
            assert!(error.contains("NAME=ADDRESS"), "{error}");
        }
    }
}
