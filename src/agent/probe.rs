//! Measuring paths: datagrams that are sent, and those that arrive.
//!
//! Each direction is measured by itself: one agent sends, the other counts, by the nonce that tells one measurement from
//! all others. Nothing is answered by datagram, so that a cut in one direction is not taken for one in the other.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt::Mark};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::api::{
    ConnectRequest, Connected, CountRequest, Counted, DATAGRAMS_MAX, PeerCount, SendRequest, Sent, WAIT_MAX_MS,
};
use super::faults::Faults;
use super::links::MARK;
use super::rules::FilterError;

mod taking;
mod trace;

use taking::Taken;
use trace::Traces;

/// First bytes of a probe datagram; the nonce follows, most significant byte first.
const MAGIC: &[u8; 16] = b"nightmail probe\0";
const LENGTH: usize = MAGIC.len() + size_of::<u64>();
/// Measurements remembered; the oldest gives way.
const NONCES_MAX: usize = 1_024;
/// The kernel tells nobody when its counters move, so that they are looked at this often.
const COUNTER_POLL: Duration = Duration::from_millis(1);

/// The probe socket and what has arrived on it.
pub struct Probes {
    socket: UdpSocket,
    port: u16,
    arrivals: Mutex<Arrivals>,
    traces: Mutex<Traces>,
    arrived: Notify,
}

#[derive(Default)]
struct Arrivals {
    counts: HashMap<(u64, Ipv4Addr), u32>,
    /// Keys of `counts`, oldest first.
    order: VecDeque<(u64, Ipv4Addr)>,
}

impl Arrivals {
    fn add(&mut self, nonce: u64, from: Ipv4Addr) {
        let key = (nonce, from);
        if let Some(count) = self.counts.get_mut(&key) {
            *count = count.saturating_add(1);
            return;
        }
        if self.order.len() == NONCES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.counts.remove(&oldest);
        }
        self.order.push_back(key);
        self.counts.insert(key, 1);
    }
}

impl Probes {
    /// Listens on that address.
    pub async fn bind(address: Ipv4Addr, port: u16) -> io::Result<Self> {
        let socket = UdpSocket::bind((address, port)).await?;
        taking::prepare(&socket)?;
        Ok(Self {
            socket,
            port,
            arrivals: Mutex::default(),
            traces: Mutex::default(),
            arrived: Notify::new(),
        })
    }

    /// Counts what arrives, for ever.
    pub async fn receive(&self) {
        loop {
            if self.socket.readable().await.is_err() {
                tokio::time::sleep(COUNTER_POLL).await;
            }
            self.drain();
        }
    }

    /// Counts all that waits in the socket's buffer.
    fn drain(&self) {
        // One byte more than is looked at, so that longer datagrams are told from ours.
        let mut datagram = [0; trace::LENGTH + 1];
        let mut some = false;
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        let mut traces = self.traces.lock().unwrap_or_else(PoisonError::into_inner);
        while let Ok(taken) = taking::take(&self.socket, &mut datagram) {
            let Taken {
                length,
                from,
                arrived_ns,
            } = taken;
            if let Some(nonce) = nonce_of(&datagram[..length]) {
                arrivals.add(nonce, from);
                some = true;
            } else if let Some((nonce, arrival)) = trace::read(&datagram[..length], arrived_ns) {
                traces.add(nonce, from, arrival);
                some = true;
            }
        }
        drop((arrivals, traces));
        if some {
            self.arrived.notify_waiters();
        }
    }

    fn count(&self, nonce: u64, from: Ipv4Addr) -> u32 {
        self.drain();
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.counts.get(&(nonce, from)).copied().unwrap_or(0)
    }

    /// Sends datagrams to another agent. Those that the kernel would not take are not counted as sent.
    pub async fn send(&self, request: &SendRequest) -> Sent {
        let mut datagram = [0; LENGTH];
        datagram[..MAGIC.len()].copy_from_slice(MAGIC);
        datagram[MAGIC.len()..].copy_from_slice(&request.nonce.to_be_bytes());
        let to = SocketAddr::from((request.to, self.port));
        let mut sent = 0;
        for _ in 0..request.datagrams.min(DATAGRAMS_MAX) {
            if self.socket.send_to(&datagram, to).await.is_ok() {
                sent += 1;
            }
        }
        Sent { datagrams: sent }
    }

    /// Waits until it is known how many have arrived, or until the time is up.
    pub async fn wait(&self, request: &CountRequest, faults: &Faults) -> Result<Counted, FilterError> {
        let until = Instant::now() + Duration::from_millis(request.wait_ms.min(WAIT_MAX_MS));
        loop {
            let arrived = self.arrived.notified();
            let rule = match &request.rule {
                Some(rule) => seen_by(faults, &rule.fault, request.from).await?,
                None => None,
            };
            // Counted after the rule's counters were read: what the rule let pass by then is in the buffer.
            let datagrams = self.count(request.nonce, request.from);
            let rule_is_done = match (&request.rule, rule) {
                (Some(wanted), Some(seen)) => seen.probes_seen >= wanted.probes,
                _ => false,
            };
            if datagrams >= request.datagrams || rule_is_done || Instant::now() >= until {
                return Ok(Counted { datagrams, rule });
            }
            let next_look = match request.rule {
                Some(_) => until.min(Instant::now() + COUNTER_POLL),
                None => until,
            };
            tokio::select! {
                () = arrived => {}
                () = tokio::time::sleep_until(next_look) => {}
            }
        }
    }

    /// Tries a fresh connection to another agent.
    pub async fn connect(&self, request: &ConnectRequest) -> Connected {
        let wait = Duration::from_millis(request.wait_ms.min(WAIT_MAX_MS));
        let refusal = match tokio::time::timeout(wait, dial(SocketAddr::from((request.to, self.port)))).await {
            Ok(Ok(_stream)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {} ms", wait.as_millis())),
        };
        Connected { refusal }
    }
}

/// A connection past every link: it is the packets' way that is tried.
async fn dial(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // Whoever may not set it has no links either.
    let _ = setsockopt(&socket, Mark, &MARK);
    socket.connect(to).await
}

async fn seen_by(faults: &Faults, fault: &str, peer: Ipv4Addr) -> Result<Option<PeerCount>, FilterError> {
    let counts = faults.counters_of(fault).await?;
    Ok(counts.into_iter().find(|count| count.address == peer))
}

fn nonce_of(datagram: &[u8]) -> Option<u64> {
    let nonce = datagram.strip_prefix(MAGIC)?;
    Some(u64::from_be_bytes(nonce.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_datagrams_are_counted() {
        let mut datagram = MAGIC.to_vec();
        datagram.extend_from_slice(&7_u64.to_be_bytes());
        assert_eq!(nonce_of(&datagram), Some(7));
        assert_eq!(nonce_of(&datagram[1..]), None);
        datagram.push(0);
        assert_eq!(nonce_of(&datagram), None);
    }

    #[test]
    fn a_flood_of_nonces_pushes_out_the_oldest_only() {
        let from = Ipv4Addr::LOCALHOST;
        let mut arrivals = Arrivals::default();
        for nonce in 0..=NONCES_MAX as u64 {
            arrivals.add(nonce, from);
        }
        assert_eq!(arrivals.counts.len(), NONCES_MAX);
        assert!(!arrivals.counts.contains_key(&(0, from)));
        assert!(arrivals.counts.contains_key(&(1, from)));
    }
}
