//! Customers who were served and had to wait for it: who is served late is no failure, and notices all the same.

use serde::{Deserialize, Serialize};

use super::binned::{Spread, Sum};

/// Whoever is served sooner than this waits for nothing that a customer would notice.
pub const NOTICEABLE_MS: f64 = 1_000.0;

/// And so does whoever is served within so many times what was usual.
pub const NOTICEABLE_TIMES: f64 = 10.0;

/// An operation is waited for where one in so many of those who came waits noticeably, or more of them.
pub const ONE_IN: u64 = 10;

/// Who waited for an operation.
///
/// A customer waits noticeably who is served after [`NOTICEABLE_MS`] or more, and after [`NOTICEABLE_TIMES`] times what was
/// usual or more: the median of those who came, and were served, before the first fault took effect. An operation was waited
/// for in those bins of its course, from that effect on, in which [`ONE_IN`] of those who came or more waited noticeably. Where
/// no fault took effect, the moment at which the gate passed stands for the effect.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Waits {
    /// Beginning and end of each stretch of such bins, in milliseconds since the load started.
    pub stretches: Vec<(f64, f64)>,
    /// How many came in them.
    pub arrived: u64,
    /// How many of those waited noticeably, and were served in the end.
    pub waited: u64,
    /// For how long those did at the median.
    pub median_ms: f64,
}

impl Waits {
    /// How long the stretches are together.
    pub fn total_ms(&self) -> f64 {
        self.stretches.iter().map(|(from_ms, to_ms)| to_ms - from_ms).sum()
    }
}

/// The customers of a bin.
pub(super) struct Bin<'a> {
    /// How many came.
    pub arrived: u64,
    /// How long those took who were served.
    pub latencies: &'a Spread,
}

/// What was usual before that time, in milliseconds; absent if nobody was served before. A bin that only began before it counts
/// as later.
pub(super) fn usual_ms(bins: &[Bin<'_>], bin_ms: u64, since_ms: f64) -> Option<f64> {
    let before = bins.get(..first(bin_ms, since_ms)).unwrap_or_default();
    let mut latencies = Spread::default();
    for bin in before {
        latencies.add(bin.latencies.clone());
    }
    median_ms(&latencies)
}

/// Who waited from that time on.
pub(super) fn waits(bins: &[Bin<'_>], bin_ms: u64, since_ms: f64, usual_ms: f64) -> Waits {
    let noticeable_us = (NOTICEABLE_MS.max(usual_ms * NOTICEABLE_TIMES) * 1_000.0) as u64;
    let (mut waits, mut latencies) = (Waits::default(), Spread::default());
    for (index, bin) in bins.iter().enumerate().skip(first(bin_ms, since_ms)) {
        let waited = bin.latencies.from(noticeable_us);
        if waited.count() == 0 || waited.count() * ONE_IN < bin.arrived {
            continue;
        }
        let (from_ms, to_ms) = ((index as u64 * bin_ms) as f64, ((index as u64 + 1) * bin_ms) as f64);
        match waits.stretches.last_mut() {
            Some((_, end_ms)) if *end_ms == from_ms => *end_ms = to_ms,
            _ => waits.stretches.push((from_ms, to_ms)),
        }
        waits.arrived += bin.arrived;
        waits.waited += waited.count();
        latencies.add(waited);
    }
    waits.median_ms = median_ms(&latencies).unwrap_or_default();
    waits
}

/// The bin that holds that time.
fn first(bin_ms: u64, since_ms: f64) -> usize {
    (since_ms / bin_ms.max(1) as f64) as usize
}

/// Nearest rank.
fn median_ms(latencies: &Spread) -> Option<f64> {
    let place = latencies.count().div_ceil(2).checked_sub(1)?;
    latencies.at(place).map(|us| us as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten customers a second, each of whom takes so many milliseconds.
    fn seconds(took_ms: &[[u64; 10]]) -> Vec<Spread> {
        let spread = |second: &[u64; 10]| {
            let mut spread = Spread::default();
            second.iter().for_each(|ms| spread.note(ms * 1_000));
            spread
        };
        took_ms.iter().map(spread).collect()
    }

    fn found(took_ms: &[[u64; 10]], since_ms: f64) -> (Option<f64>, Waits) {
        let spreads = seconds(took_ms);
        let bins: Vec<Bin<'_>> = spreads.iter().map(|latencies| Bin { arrived: 10, latencies }).collect();
        let usual = usual_ms(&bins, 1_000, since_ms);
        (usual, waits(&bins, 1_000, since_ms, usual.unwrap_or(0.0)))
    }

    const QUICK: [u64; 10] = [20; 10];
    const SLOW: [u64; 10] = [6_500; 10];

    #[test]
    fn who_waits_is_told_by_stretches_with_what_was_usual() {
        let one_in_ten = [20, 20, 20, 20, 20, 20, 20, 20, 20, 1_100];
        let (usual, waits) = found(&[QUICK, QUICK, SLOW, SLOW, QUICK, one_in_ten], 2_000.0);
        assert!(usual.is_some_and(|ms| (ms - 20.0).abs() < 0.6), "{usual:?}");
        assert_eq!(waits.stretches, [(2_000.0, 4_000.0), (5_000.0, 6_000.0)]);
        assert_eq!((waits.total_ms(), waits.arrived, waits.waited), (3_000.0, 30, 21));
        assert!((waits.median_ms - 6_500.0).abs() < 200.0, "{}", waits.median_ms);
    }

    #[test]
    fn what_was_slow_before_what_is_quick_and_what_came_before_is_no_wait() {
        assert_eq!(
            found(&[QUICK, SLOW, QUICK], 2_000.0).1,
            Waits::default(),
            "before the fault"
        );
        assert_eq!(
            found(&[QUICK, [900; 10]], 1_000.0).1,
            Waits::default(),
            "below a second"
        );
        assert_eq!(
            found(&[[800; 10], SLOW], 1_000.0).1,
            Waits::default(),
            "not ten times as long"
        );
        assert_eq!(found(&[[600; 10], SLOW], 1_000.0).1.waited, 10);
    }

    #[test]
    fn where_nobody_came_before_nothing_is_usual() {
        assert_eq!(found(&[SLOW], 500.0).0, None);
    }
}
