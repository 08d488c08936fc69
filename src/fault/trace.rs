//! Numbered datagrams on one path: which of them arrived, how late, in which order, and how often.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::FaultError;
use super::measured::ms;
use super::path::Path;
use crate::agent::api::{Arrival, TraceRequest, TracedRequest, WAIT_MAX_MS};

/// Datagrams sent by one request: few enough for any machine to do it in time.
const CHUNK: u32 = 256;
/// How much longer than it must take a datagram is awaited.
const WAIT: Duration = Duration::from_millis(250);
/// How long copies are awaited once all have arrived.
const SETTLE_MS: u64 = 10;

/// What became of the datagrams of one measurement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Trace {
    pub sent: u32,
    /// Unharmed arrivals in their order.
    pub arrivals: Vec<Arrival>,
}

impl Trace {
    /// How many different ones arrived.
    pub(super) fn arrived(&self) -> u32 {
        let numbers: BTreeSet<u32> = self.arrivals.iter().map(|arrival| arrival.number).collect();
        numbers.len() as u32
    }

    /// `63 of 64 datagrams arrived`.
    pub(super) fn told(&self) -> String {
        format!("{} of {} datagrams arrived", self.arrived(), self.sent)
    }

    /// How many arrived more than once.
    pub(super) fn arrived_again(&self) -> u32 {
        (self.arrivals.len() as u32).saturating_sub(self.arrived())
    }

    /// Of those that were sent two and two, the pairs that arrived whole, and those whose second came first.
    pub(super) fn pairs(&self) -> (u32, u32) {
        let mut places = BTreeMap::new();
        for (place, arrival) in self.arrivals.iter().enumerate() {
            places.entry(arrival.number).or_insert(place);
        }
        let firsts = places.iter().filter(|(number, _)| number.is_multiple_of(2));
        let whole: Vec<bool> = firsts
            .filter_map(|(number, place)| Some(places.get(&(number + 1))? < place))
            .collect();
        let swapped = whole.iter().filter(|swapped| **swapped).count();
        (whole.len() as u32, swapped as u32)
    }

    /// Times on the way, the shortest first.
    pub(super) fn transits_us(&self) -> Vec<i64> {
        let mut transits: Vec<i64> = self.arrivals.iter().map(|arrival| arrival.transit_us).collect();
        transits.sort_unstable();
        transits
    }

    /// The middle one of the times on the way; none if nothing arrived.
    pub(super) fn median_us(&self) -> Option<i64> {
        let transits = self.transits_us();
        transits.get(transits.len() / 2).copied()
    }
}

impl Path {
    /// Sends so many numbered datagrams and says what became of them. `longest` is how long one may be on its way.
    pub(super) async fn trace(&self, datagrams: u32, longest: Duration) -> Result<Trace, FaultError> {
        // Tells measurements apart and decides nothing, so it does not come from the plan's seed.
        let nonce = rand::random();
        let mut trace = Trace::default();
        while trace.sent < datagrams {
            let request = TraceRequest {
                nonce,
                to: self.to.address,
                first: trace.sent,
                datagrams: CHUNK.min(datagrams - trace.sent),
            };
            let sent = self.from.agent.trace(&request).await;
            let sent = sent.map_err(|error| self.from.failed(error))?.datagrams;
            trace.sent += sent;
            // What is there by now, so that no answer is long.
            self.add_traced(nonce, &mut trace, 0, 0).await?;
            if sent < request.datagrams {
                break;
            }
        }
        let until = Instant::now() + longest + WAIT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let wait_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).min(WAIT_MAX_MS);
            let all = trace.sent;
            self.add_traced(nonce, &mut trace, all, wait_ms).await?;
            if trace.arrived() >= trace.sent || left.is_zero() {
                break;
            }
        }
        self.add_traced(nonce, &mut trace, u32::MAX, SETTLE_MS).await?;
        Ok(trace)
    }

    /// Adds what has arrived since the last look, once so many have in all or the time is up.
    async fn add_traced(&self, nonce: u64, trace: &mut Trace, datagrams: u32, wait_ms: u64) -> Result<(), FaultError> {
        let request = TracedRequest {
            nonce,
            from: self.from.address,
            skip: trace.arrivals.len() as u32,
            datagrams,
            wait_ms,
        };
        let traced = self.to.agent.traced(&request).await;
        let traced = traced.map_err(|error| self.to.failed(error))?;
        trace.arrivals.extend(traced.arrivals);
        Ok(())
    }
}

/// `50.1 ms`.
pub(super) fn ms_of(us: i64) -> String {
    ms(Duration::from_micros(us.max(0).unsigned_abs()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// So many sent, and these arrived: numbers and times on the way.
    pub(in crate::fault) fn trace(sent: u32, arrivals: impl IntoIterator<Item = (u32, i64)>) -> Trace {
        let arrival = |(number, transit_us)| Arrival { number, transit_us };
        Trace {
            sent,
            arrivals: arrivals.into_iter().map(arrival).collect(),
        }
    }

    #[test]
    fn copies_are_told_from_arrivals() {
        let seen = trace(5, [(0, 1), (1, 1), (1, 1), (4, 1)]);
        assert_eq!((seen.arrived(), seen.arrived_again()), (3, 1));
        assert_eq!(seen.told(), "3 of 5 datagrams arrived");
    }

    #[test]
    fn a_pair_is_swapped_when_its_second_comes_first() {
        let in_order = trace(6, [(0, 1), (1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]);
        assert_eq!(in_order.pairs(), (3, 0));
        // The first pair waits for both: late, and in order. The second is swapped, the third lacks one.
        let held_back = trace(6, [(3, 1), (5, 1), (0, 1), (1, 1), (2, 1)]);
        assert_eq!(held_back.pairs(), (2, 1));
        let copied = trace(2, [(1, 1), (0, 1), (1, 1)]);
        assert_eq!(copied.pairs(), (1, 1), "the first arrival of each counts");
    }

    #[test]
    fn the_median_is_the_middle_of_the_times() {
        let seen = trace(3, [(0, 900), (1, 100), (2, 200)]);
        assert_eq!(seen.transits_us(), [100, 200, 900]);
        assert_eq!(seen.median_us(), Some(200));
        assert_eq!(Trace::default().median_us(), None);
    }
}
