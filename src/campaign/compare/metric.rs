//! What is measured of a run and compared: of every metric more is worse.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use crate::campaign::RunRecord;
use crate::verdict::{AssertionKind, Judgement, Status, Verdict};

/// A metric. By its text (`recovery-time`, `p99:buy-postage`) it is named in files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// `recovery.recovery_time_ms`.
    RecoveryTime,
    /// `recovery.disruption_ms`.
    Disruption,
    /// `safety.lost`: operations that were acknowledged and are gone.
    Lost,
    /// `recovery.data_loss_time_ms`, zero where nothing was lost.
    LossTime,
    /// `safety.twice`.
    Twice,
    /// `safety.ledger_differences`.
    LedgerDifferences,
    /// The share of all arrivals that were not served.
    ErrorBudget,
    /// For how long a business service was disrupted, by its key.
    ServiceDisrupted(String),
    /// The 99th percentile of an operation's latency.
    P99(String),
    /// A stage of a change of primaries.
    Failover(FailoverStage, String),
}

/// A stage of a change of primaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailoverStage {
    /// Until it was noticed.
    Detection,
    /// Until another member was not in recovery any more.
    Promotion,
    /// Until the first write was acknowledged.
    FirstWrite,
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RecoveryTime => f.write_str("recovery-time"),
            Self::Disruption => f.write_str("disruption"),
            Self::Lost => f.write_str("lost"),
            Self::LossTime => f.write_str("data-loss-time"),
            Self::Twice => f.write_str("happened-twice"),
            Self::LedgerDifferences => f.write_str("ledger-differences"),
            Self::ErrorBudget => f.write_str("error-budget"),
            Self::ServiceDisrupted(service) => write!(f, "disrupted:{service}"),
            Self::P99(operation) => write!(f, "p99:{operation}"),
            Self::Failover(FailoverStage::Detection, fault) => write!(f, "detection:{fault}"),
            Self::Failover(FailoverStage::Promotion, fault) => write!(f, "promotion:{fault}"),
            Self::Failover(FailoverStage::FirstWrite, fault) => write!(f, "first-write:{fault}"),
        }
    }
}

/// What a metric is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MetricUnit {
    /// Milliseconds.
    Ms,
    /// Percent of all arrivals.
    Percent,
    /// A number of things.
    Count,
}

impl Metric {
    /// What it is counted in.
    pub fn unit(&self) -> MetricUnit {
        match self {
            Self::Lost | Self::Twice | Self::LedgerDifferences => MetricUnit::Count,
            Self::ErrorBudget => MetricUnit::Percent,
            _ => MetricUnit::Ms,
        }
    }

    /// Whether it must be zero: whatever a run finds of it is a violation and no matter of statistics.
    pub fn is_safety(&self) -> bool {
        matches!(self, Self::Lost | Self::Twice | Self::LedgerDifferences)
    }

    /// The least difference from such a median that is worth a word: a tenth of it, and no less than what the harness can
    /// tell apart or a customer notices. That is a bin of 250 ms for times that are found in bins; for what is timed by the
    /// operation or by the event 100 ms, below which people take an answer for immediate (R. B. Miller, "Response time in
    /// man-computer conversational transactions", AFIPS 1968); a thousandth of all arrivals; one.
    pub fn least_effect(&self, from: f64) -> f64 {
        const SHARE: f64 = 0.1;
        let floor: f64 = match self {
            Self::RecoveryTime | Self::Disruption | Self::LossTime | Self::ServiceDisrupted(_) => 250.0,
            Self::P99(_) | Self::Failover(..) => 100.0,
            Self::ErrorBudget => 0.1,
            Self::Lost | Self::Twice | Self::LedgerDifferences => 1.0,
        };
        floor.max(from.abs() * SHARE)
    }
}

/// What a run gives: values by metric. A time that had not ended with the load is infinite, larger than any measured.
pub fn measure(run: &RunRecord) -> BTreeMap<Metric, f64> {
    let verdict = &run.verdict;
    let mut values = BTreeMap::new();
    let mut put = |metric, value: Option<f64>| {
        if let Some(value) = value.filter(|value| !value.is_nan()) {
            values.insert(metric, value);
        }
    };
    put(Metric::Lost, verdict.safety.lost.map(|number| number as f64));
    put(Metric::Twice, verdict.safety.twice.map(|number| number as f64));
    let differences = verdict.safety.ledger_differences;
    put(Metric::LedgerDifferences, differences.map(|number| number as f64));
    if !is_supported(verdict) {
        return values;
    }
    let recovery = &verdict.recovery;
    let time = |measured: Option<f64>| match recovery.censored {
        true => Some(f64::INFINITY),
        false => measured,
    };
    put(Metric::RecoveryTime, time(recovery.recovery_time_ms));
    put(Metric::Disruption, time(recovery.disruption_ms));
    let nothing_lost = verdict.safety.lost.filter(|&lost| lost == 0).map(|_| 0.0);
    put(Metric::LossTime, recovery.data_loss_time_ms.or(nothing_lost));
    let arrived: u64 = verdict.operations.iter().map(|operation| operation.arrived).sum();
    let ok: u64 = verdict.operations.iter().map(|operation| operation.ok).sum();
    let share = arrived.saturating_sub(ok) as f64 / arrived as f64;
    put(Metric::ErrorBudget, (arrived > 0).then_some(share * 100.0));
    for service in &verdict.services {
        put(Metric::ServiceDisrupted(service.service.clone()), service.disrupted_ms);
    }
    for operation in &verdict.operations {
        put(Metric::P99(operation.operation.clone()), operation.p99_ms);
    }
    for failover in &verdict.failovers {
        let mut stage = |stage, ms| put(Metric::Failover(stage, failover.fault.clone()), ms);
        stage(FailoverStage::Detection, failover.times.detection_ms);
        stage(FailoverStage::Promotion, Some(failover.times.promotion_ms));
        stage(FailoverStage::FirstWrite, Some(failover.times.first_write_ms));
    }
    values
}

/// Whether what the load measured can be relied on: the run came to its end, was steady beforehand, its faults are proven,
/// and its load kept its schedule. Otherwise a fast recovery may be that of a fault that never bit.
fn is_supported(verdict: &Verdict) -> bool {
    use AssertionKind::{Gate, Generator, Receipt};
    let bears = |kind| matches!(kind, Gate | Generator | Receipt);
    let mut bearing = verdict.assertions.iter().filter(|assertion| bears(assertion.kind));
    verdict.status == Status::Completed && bearing.all(|assertion| assertion.finding.verdict == Judgement::Pass)
}

/// The median; of an even number of values the mean of the two in the middle.
///
/// # Panics
///
/// If there is no value.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (lower, upper) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    // Never the difference of two infinities.
    if lower == upper {
        lower
    } else {
        lower + (upper - lower) / 2.0
    }
}
