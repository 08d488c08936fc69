//! How the load is going: totals, the last second, and the generator's own lag.

use std::collections::VecDeque;

use hdrhistogram::Histogram;

use crate::event::{LoadSummary, OperationProgress, Progress};
use crate::history::Outcome;

/// The last second is made of this many parts, one dropped with each progress report.
pub const PARTS: usize = 4;

/// Longer latencies and lags count as this long.
const LONGEST_US: u64 = 600_000_000;

/// What has happened so far.
#[derive(Debug)]
pub struct Tally {
    operations: Vec<OperationTally>,
    lag: Histogram<u64>,
    arrivals: u64,
    dropped: u64,
}

#[derive(Debug)]
struct OperationTally {
    name: String,
    ok: u64,
    fail: u64,
    info: u64,
    recent: VecDeque<Part>,
}

#[derive(Debug)]
struct Part {
    ok: u64,
    ended: u64,
    latency: Histogram<u64>,
}

impl Part {
    fn new() -> Self {
        Self {
            ok: 0,
            ended: 0,
            latency: histogram(2),
        }
    }
}

fn histogram(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, digits).expect("constant bounds in order")
}

impl Tally {
    /// Of operations with these names.
    pub fn new(names: impl Iterator<Item = String>) -> Self {
        let operations = names.map(|name| OperationTally {
            name,
            ok: 0,
            fail: 0,
            info: 0,
            recent: VecDeque::from([Part::new()]),
        });
        Self {
            operations: operations.collect(),
            lag: histogram(3),
            arrivals: 0,
            dropped: 0,
        }
    }

    /// An arrival.
    pub fn arrived(&mut self) {
        self.arrivals += 1;
    }

    /// How late the generator was for an arrival.
    pub fn lagged(&mut self, lag_us: u64) {
        self.lag.saturating_record(lag_us);
    }

    /// An arrival found the cap full.
    pub fn dropped(&mut self) {
        self.dropped += 1;
    }

    /// An operation ended.
    pub fn ended(&mut self, operation: usize, outcome: Outcome, latency_us: u64) {
        let tally = &mut self.operations[operation];
        match outcome {
            Outcome::Ok => tally.ok += 1,
            Outcome::Fail => tally.fail += 1,
            Outcome::Info => tally.info += 1,
        }
        let Some(part) = tally.recent.back_mut() else { return };
        part.ended += 1;
        part.ok += u64::from(outcome == Outcome::Ok);
        part.latency.saturating_record(latency_us);
    }

    /// A report over the last second; the next begins a part later.
    pub fn progress(&mut self, in_flight: usize) -> Progress {
        Progress {
            operations: self.operations.iter_mut().map(OperationTally::report).collect(),
            in_flight,
        }
    }

    /// What the generator says of itself.
    pub fn summary(&self) -> LoadSummary {
        LoadSummary {
            arrivals: self.arrivals,
            dropped: self.dropped,
            lag_p99_us: self.lag.value_at_quantile(0.99),
            lag_max_us: self.lag.max(),
            machine: None,
        }
    }
}

impl OperationTally {
    fn report(&mut self) -> OperationProgress {
        let mut second = Part::new();
        for part in &self.recent {
            second.ok += part.ok;
            second.ended += part.ended;
            second.latency.add(&part.latency).expect("equal bounds");
        }
        let any = second.ended > 0;
        let quantile_ms = |quantile| any.then(|| second.latency.value_at_quantile(quantile) as f64 / 1_000.0);
        let report = OperationProgress {
            operation: self.name.clone(),
            ok: self.ok,
            fail: self.fail,
            info: self.info,
            ok_percent: any.then(|| 100.0 * second.ok as f64 / second.ended as f64),
            p50_ms: quantile_ms(0.5),
            p99_ms: quantile_ms(0.99),
        };
        if self.recent.len() == PARTS {
            self.recent.pop_front();
        }
        self.recent.push_back(Part::new());
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_grow_and_the_last_second_moves() {
        let mut tally = Tally::new(["buy".to_owned()].into_iter());
        for _ in 0..99 {
            tally.ended(0, Outcome::Ok, 1_000);
        }
        tally.ended(0, Outcome::Info, 2_000_000);
        for _ in 0..PARTS {
            let report = &tally.progress(3).operations[0];
            assert_eq!((report.ok, report.fail, report.info), (99, 0, 1));
            assert_eq!(report.ok_percent, Some(99.0));
            assert!((report.p50_ms.unwrap() - 1.0).abs() < 0.02, "{report:?}");
        }
        let report = &tally.progress(3).operations[0];
        assert_eq!(
            (report.ok, report.ok_percent, report.p99_ms),
            (99, None, None),
            "a second later"
        );
    }

    #[test]
    fn the_summary_tells_the_lag() {
        let mut tally = Tally::new(["buy".to_owned()].into_iter());
        for _ in 0..199 {
            tally.arrived();
            tally.lagged(50);
        }
        tally.arrived();
        tally.lagged(9_000);
        tally.dropped();
        let summary = tally.summary();
        assert_eq!((summary.arrivals, summary.dropped, summary.lag_p99_us), (200, 1, 50));
        assert!(summary.lag_max_us.abs_diff(9_000) < 10);
    }
}
