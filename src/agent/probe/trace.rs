//! Datagrams that carry their number and the time at which they were sent, and what is known of those that arrive: when,
//! in which order, how often.
//!
//! Latency is measured one way, by the clock that all network namespaces of a machine share, until the receiving kernel has the
//! datagram. A datagram whose bits were
//! flipped on its way never comes here, since the kernel drops what does not match its checksum; should one pass all the
//! same, the bytes that fill it up give it away.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::Probes;
use super::taking::now_ns;
use crate::agent::api::{Arrival, DATAGRAMS_MAX, Sent, TraceRequest, Traced, TracedRequest, WAIT_MAX_MS};

/// First bytes of such a datagram. The nonce, the number and the time in nanoseconds follow, most significant byte first,
/// and then zeros.
const MAGIC: &[u8; 16] = b"nightmail trace\0";
/// Long enough that a bit flipped anywhere in the frame is one of these in all but about one of a hundred.
pub const LENGTH: usize = 512;
const NUMBER_AT: usize = MAGIC.len() + size_of::<u64>();
const TIME_AT: usize = NUMBER_AT + size_of::<u32>();
const ZEROS_AT: usize = TIME_AT + size_of::<u64>();
/// Datagrams sent one right after another: few enough for the usual receive buffer. An even number, so that the pairs in
/// it are whole.
const BURST: u32 = 32;
/// The pause between bursts.
const PAUSE: Duration = Duration::from_millis(2);
/// Measurements remembered; the oldest gives way.
const TRACES_MAX: usize = 64;
/// Arrivals remembered of each.
const ARRIVALS_MAX: usize = 1 << 15;

/// A measurement: its nonce and its sender.
type Key = (u64, Ipv4Addr);

/// What has arrived, by measurement.
#[derive(Default)]
pub(super) struct Traces {
    arrivals: HashMap<Key, Trace>,
    /// Keys of `arrivals`, oldest first.
    order: VecDeque<Key>,
}

#[derive(Default)]
struct Trace {
    arrivals: Vec<Arrival>,
    numbers: HashSet<u32>,
}

impl Traces {
    pub(super) fn add(&mut self, nonce: u64, from: Ipv4Addr, arrival: Arrival) {
        let key = (nonce, from);
        if !self.arrivals.contains_key(&key) {
            if self.order.len() == TRACES_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.arrivals.remove(&oldest);
            }
            self.order.push_back(key);
        }
        let trace = self.arrivals.entry(key).or_default();
        if trace.arrivals.len() < ARRIVALS_MAX {
            trace.arrivals.push(arrival);
            trace.numbers.insert(arrival.number);
        }
    }

    fn different(&self, key: Key) -> usize {
        self.arrivals.get(&key).map_or(0, |trace| trace.numbers.len())
    }
}

impl Probes {
    /// Sends such datagrams to another agent. Those that the kernel would not take have no number.
    pub async fn trace(&self, request: &TraceRequest) -> Sent {
        let to = SocketAddr::from((request.to, self.port));
        let mut sent = 0;
        for position in 0..request.datagrams.min(DATAGRAMS_MAX) {
            if position > 0 && position % BURST == 0 {
                sleep(PAUSE).await;
            }
            let number = request.first.saturating_add(sent);
            let datagram = write(request.nonce, number, now_ns());
            if self.socket.send_to(&datagram, to).await.is_ok() {
                sent += 1;
            }
        }
        Sent { datagrams: sent }
    }

    /// Waits until so many different ones have arrived, or until the time is up.
    pub async fn traced(&self, request: &TracedRequest) -> Traced {
        let until = Instant::now() + Duration::from_millis(request.wait_ms.min(WAIT_MAX_MS));
        let key = (request.nonce, request.from);
        loop {
            let arrived = self.arrived.notified();
            let time_is_up = Instant::now() >= until;
            if let Some(arrivals) = self.arrivals_if(key, request, time_is_up) {
                return Traced { arrivals };
            }
            tokio::select! {
                () = arrived => {}
                () = sleep_until(until) => {}
            }
        }
    }

    /// What has arrived by now, if there are so many different ones or the time is up.
    fn arrivals_if(&self, key: Key, request: &TracedRequest, time_is_up: bool) -> Option<Vec<Arrival>> {
        self.drain();
        let traces = self.traces.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let arrivals = traces.arrivals.get(&key).map_or(&[][..], |trace| &trace.arrivals);
            arrivals.get(request.skip as usize..).unwrap_or_default().to_vec()
        };
        (time_is_up || traces.different(key) >= request.datagrams as usize).then(new)
    }
}

fn write(nonce: u64, number: u32, sent_ns: i64) -> [u8; LENGTH] {
    let mut datagram = [0; LENGTH];
    datagram[..MAGIC.len()].copy_from_slice(MAGIC);
    datagram[MAGIC.len()..NUMBER_AT].copy_from_slice(&nonce.to_be_bytes());
    datagram[NUMBER_AT..TIME_AT].copy_from_slice(&number.to_be_bytes());
    datagram[TIME_AT..ZEROS_AT].copy_from_slice(&sent_ns.to_be_bytes());
    datagram
}

/// The nonce and what else such a datagram says when it arrives at that time; none if it is another, or was harmed.
pub(super) fn read(datagram: &[u8], arrived_ns: i64) -> Option<(u64, Arrival)> {
    let datagram: &[u8; LENGTH] = datagram.try_into().ok()?;
    let ours = datagram.starts_with(MAGIC) && datagram[ZEROS_AT..].iter().all(|byte| *byte == 0);
    if !ours {
        return None;
    }
    let nonce = u64::from_be_bytes(datagram[MAGIC.len()..NUMBER_AT].try_into().ok()?);
    let number = u32::from_be_bytes(datagram[NUMBER_AT..TIME_AT].try_into().ok()?);
    let sent_ns = i64::from_be_bytes(datagram[TIME_AT..ZEROS_AT].try_into().ok()?);
    let arrival = Arrival {
        number,
        transit_us: arrived_ns.saturating_sub(sent_ns) / 1_000,
    };
    Some((nonce, arrival))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: Ipv4Addr = Ipv4Addr::LOCALHOST;

    fn arrival(number: u32) -> Arrival {
        Arrival { number, transit_us: 30 }
    }

    #[test]
    fn what_is_written_is_read_with_its_time_on_the_way() {
        let datagram = write(7, 3, 1_000_000);
        let (nonce, arrival) = read(&datagram, 51_000_000).unwrap();
        assert_eq!(nonce, 7);
        assert_eq!((arrival.number, arrival.transit_us), (3, 50_000));
        assert_eq!(
            read(&datagram, 0).unwrap().1.transit_us,
            -1_000,
            "clocks that differ are seen"
        );
    }

    #[test]
    fn a_harmed_datagram_has_not_arrived() {
        for at in [0, MAGIC.len() - 1, ZEROS_AT, LENGTH - 1] {
            let mut datagram = write(7, 3, 0);
            datagram[at] ^= 1 << 4;
            assert_eq!(read(&datagram, 0), None, "byte {at}");
        }
        assert_eq!(read(&write(7, 3, 0)[1..], 0), None);
        assert_eq!(read(&[0; LENGTH + 1], 0), None);
    }

    #[test]
    fn copies_are_kept_and_counted_once() {
        let mut traces = Traces::default();
        for number in [0, 1, 1, 0, 2] {
            traces.add(9, FROM, arrival(number));
        }
        assert_eq!(traces.different((9, FROM)), 3);
        assert_eq!(traces.arrivals[&(9, FROM)].arrivals.len(), 5);
    }

    #[test]
    fn a_flood_of_measurements_pushes_out_the_oldest_only() {
        let mut traces = Traces::default();
        for nonce in 0..=TRACES_MAX as u64 {
            traces.add(nonce, FROM, arrival(0));
        }
        assert_eq!(traces.arrivals.len(), TRACES_MAX);
        assert_eq!((traces.different((0, FROM)), traces.different((1, FROM))), (0, 1));
    }

    #[tokio::test]
    async fn datagrams_that_arrive_are_told_in_their_order() {
        let sender = Probes::bind(FROM, 0).await.unwrap();
        let receiver = Probes::bind(FROM, 0).await.unwrap();
        let sender = Probes {
            port: receiver.socket.local_addr().unwrap().port(),
            ..sender
        };
        let trace = TraceRequest {
            nonce: 5,
            to: FROM,
            first: 10,
            datagrams: 50,
        };
        let traced = TracedRequest {
            nonce: 5,
            from: FROM,
            skip: 0,
            datagrams: 50,
            wait_ms: WAIT_MAX_MS,
        };
        let again = traced.clone();
        let arrives = async {
            tokio::select! {
                () = receiver.receive() => unreachable!("it receives for ever"),
                traced = receiver.traced(&traced) => traced,
            }
        };
        let (sent, traced) = tokio::join!(sender.trace(&trace), arrives);
        assert_eq!(sent.datagrams, 50);
        let numbers: Vec<u32> = traced.arrivals.iter().map(|arrival| arrival.number).collect();
        assert_eq!(numbers, (10..60).collect::<Vec<u32>>());
        assert!(traced.arrivals.iter().all(|arrival| arrival.transit_us >= 0));
        for (skip, left) in [(48, 2), (50, 0), (51, 0)] {
            let rest = TracedRequest { skip, ..again.clone() };
            assert_eq!(receiver.traced(&rest).await.arrivals.len(), left, "after {skip}");
        }
    }
}
