//! Time in bins of 250 ms, each good, bad, or not to be told.
//!
//! A bin is bad if *every* rolling second that it lies in is outside the tolerance. So the edges of an outage stay sharp:
//! the bin before it lies in a second that ends there, the bin after it in one that begins there, and one stray failure
//! makes one bad bin, which is no degradation yet. Where a second holds too few operations to tell, it is widened.

use std::ops::Range;

use super::probe::latency_ms;
use super::sample;
use crate::history::load::History;
use crate::plan::{Bound, Compare, Measure};

/// Width of a bin.
pub const BIN_US: u64 = 250_000;

/// A rolling second.
const ROLLING_BINS: usize = 4;

/// Fewer operations than this never tell anything.
const OPS_MIN: usize = 10;

/// A window is widened to hold as many operations as its tolerance takes to be told from the next worse, up to here.
const WIDENED_BINS: usize = 20;

/// And up to here to hold [`OPS_MIN`] at least.
const WIDEST_BINS: usize = 40;

/// What can be said of a bin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Within the tolerance.
    Good,
    /// Outside it.
    Bad,
    /// There is too little to tell.
    Unknown,
}

/// Two bad bins in a row or more that end after `after_us`, each from its first bin to behind its last: one bad bin is no
/// degradation yet.
pub(super) fn bad_stretches(levels: &[Level], after_us: u64) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    for stretch in levels.chunk_by(|one, other| one == other) {
        let to = from + stretch.len();
        if stretch[0] == Level::Bad && stretch.len() >= 2 && to as u64 * BIN_US > after_us {
            found.push(from..to);
        }
        from = to;
    }
    found
}

/// What bins are judged by: a measure, its tolerance, and its data.
pub(super) struct Signal {
    measure: Measure,
    tolerance: Bound,
    /// Latencies or readings, by bin: those of bin `n` are at `starts[n]..starts[n + 1]`.
    values: Vec<f64>,
    starts: Vec<usize>,
}

impl Signal {
    /// Collects the data of a measure in the first `bins` bins.
    pub(super) fn collect(measure: &Measure, tolerance: Bound, history: &History<'_>, bins: usize) -> Self {
        let placed: Vec<(u64, f64)> = match measure {
            Measure::SuccessRate { operation } | Measure::Latency { operation, .. } => {
                let ops = history.ops.iter().filter(|op| op.kind == *operation);
                ops.map(|op| (op.intended_us, latency_ms(op))).collect()
            }
            Measure::Metric { metric, .. } => {
                let samples = history.samples.iter().filter(|sample| sample.metric == *metric);
                samples
                    .filter_map(|sample| Some((sample.at_us, sample.value?)))
                    .collect()
            }
        };
        let (values, starts) = by_bin(&placed, bins);
        Self {
            measure: measure.clone(),
            tolerance,
            values,
            starts,
        }
    }

    /// Whoever takes longer than this counts as not served.
    pub(super) fn served_within(mut self, most_ms: f64) -> Self {
        for latency_ms in self.values.iter_mut().filter(|latency_ms| **latency_ms > most_ms) {
            *latency_ms = f64::INFINITY;
        }
        self
    }

    /// What can be said of each bin.
    pub(super) fn levels(&self) -> Vec<Level> {
        let bins = self.starts.len() - 1;
        let mut levels = vec![Level::Unknown; bins];
        let mut scratch = Vec::new();
        for (first, last) in self.windows(bins) {
            let Some(good) = self.within_tolerance(first, last, &mut scratch) else {
                continue;
            };
            for level in &mut levels[first..=last] {
                match good {
                    true => *level = Level::Good,
                    false if *level == Level::Unknown => *level = Level::Bad,
                    false => {}
                }
            }
        }
        levels
    }

    /// First and last bin of every window: one that ends with each bin, and at the end of the load also those that begin
    /// too late to be widened, as those at its start have ended too soon.
    fn windows(&self, bins: usize) -> impl Iterator<Item = (usize, usize)> {
        let rolling = (0..bins).map(|last| (self.window_start(last), last));
        let late = bins.checked_sub(1).into_iter().flat_map(move |last| {
            let starts = self.window_start(last) + 1..(bins + 1).saturating_sub(ROLLING_BINS);
            starts.map(move |first| (first, last))
        });
        rolling.chain(late)
    }

    fn count(&self, first: usize, last: usize) -> usize {
        self.starts[last + 1] - self.starts[first]
    }

    /// The first bin of the window that ends with bin `last`.
    fn window_start(&self, last: usize) -> usize {
        let at_most = |bins: usize| (last + 1).saturating_sub(bins);
        let mut first = at_most(ROLLING_BINS);
        while first > at_most(WIDENED_BINS) && self.count(first, last) < self.enough() {
            first -= 1;
        }
        while first > at_most(WIDEST_BINS) && self.count(first, last) < self.least() {
            first -= 1;
        }
        first
    }

    /// Values without which nothing is said.
    fn least(&self) -> usize {
        match self.measure {
            Measure::Metric { .. } => 1,
            _ => OPS_MIN,
        }
    }

    /// Values with which the tolerance means something: 99.5 % of 40 is no number of operations, of 200 it is 199. A
    /// gauge's readings are few, and each of them counts.
    fn enough(&self) -> usize {
        let tolerated = match &self.measure {
            Measure::SuccessRate { .. } if matches!(self.tolerance.compare, Compare::AtLeast | Compare::MoreThan) => {
                1.0 - self.tolerance.value / 100.0
            }
            Measure::Latency { quantile_permille, .. } => 1.0 - f64::from(*quantile_permille) / 1_000.0,
            _ => 1.0,
        };
        // A hair less, so that 1 / 0.005 is 200 and not 201.
        let enough = (1.0 / tolerated.max(1e-6) - 1e-6).ceil() as usize;
        enough.max(self.least())
    }

    fn within_tolerance(&self, first: usize, last: usize, scratch: &mut Vec<f64>) -> Option<bool> {
        let values = &self.values[self.starts[first]..self.starts[last + 1]];
        if values.len() < self.least() {
            return None;
        }
        let measured = match self.measure {
            Measure::SuccessRate { .. } => {
                let ok = values.iter().filter(|latency_ms| latency_ms.is_finite()).count();
                100.0 * ok as f64 / values.len() as f64
            }
            Measure::Latency { quantile_permille, .. } | Measure::Metric { quantile_permille, .. } => {
                scratch.clear();
                scratch.extend_from_slice(values);
                sample::quantile(scratch, quantile_permille)?
            }
        };
        Some(self.tolerance.holds(measured))
    }
}

/// The operation or the metric that is measured.
pub(super) fn name(measure: &Measure) -> &str {
    match measure {
        Measure::SuccessRate { operation } | Measure::Latency { operation, .. } => operation,
        Measure::Metric { metric, .. } => metric,
    }
}

/// Sorts values into bins.
fn by_bin(placed: &[(u64, f64)], bins: usize) -> (Vec<f64>, Vec<usize>) {
    let bin = |at_us: u64| usize::try_from(at_us / BIN_US).ok().filter(|bin| *bin < bins);
    let mut starts = vec![0; bins + 1];
    for (at_us, _) in placed {
        if let Some(bin) = bin(*at_us) {
            starts[bin + 1] += 1;
        }
    }
    for bin in 0..bins {
        starts[bin + 1] += starts[bin];
    }
    let mut next = starts.clone();
    let mut values = vec![0.0; starts[bins]];
    for (at_us, value) in placed {
        if let Some(bin) = bin(*at_us) {
            values[next[bin]] = *value;
            next[bin] += 1;
        }
    }
    (values, starts)
}
