//! A metric before and now: changed beyond noise, as before, or too few runs to tell.

use schemars::JsonSchema;
use serde::Serialize;

use super::family::{ALPHA, Candidate};
use super::metric::{Metric, MetricUnit, median};
use super::rank::{least_p, rank_test};

/// Runs that there must be on either side.
pub const RUNS_MIN: usize = 5;

/// Runs beyond which nobody is asked to make more.
const RUNS_MAX: usize = 100;

/// What became of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Worse, beyond noise and by more than the minimum effect; or a violation of safety where there was none.
    Regressed,
    /// Better, likewise.
    Improved,
    /// Within noise, or within the minimum effect.
    AsBefore,
    /// There are too few runs to tell.
    NotEnoughData,
}

/// Values of a metric.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, JsonSchema)]
pub struct Spread {
    /// How many runs gave one.
    pub runs: usize,
    /// Of how many it was not over when the load ended: larger than any measured.
    pub not_over: usize,
    /// The least; absent if there is none, or none was over.
    pub min: Option<f64>,
    /// The median; absent if there is none, or it was not over.
    pub median: Option<f64>,
    /// The greatest; absent if there is none, or it was not over.
    pub max: Option<f64>,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
        Self {
            runs: values.len(),
            not_over: values.iter().filter(|value| value.is_infinite()).count(),
            min: finite(values.iter().copied().min_by(f64::total_cmp)),
            median: finite((!values.is_empty()).then(|| median(values))),
            max: finite(values.iter().copied().max_by(f64::total_cmp)),
        }
    }
}

/// Runs that would be needed to tell, beyond those that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct MissingRuns {
    /// Of the baseline.
    pub baseline: usize,
    /// Of what is compared with it.
    pub now: usize,
}

/// A metric of an experiment, before and now.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct MetricComparison {
    /// Its name, such as `recovery-time` or `p99:buy-postage`.
    pub metric: String,
    /// What it is counted in.
    pub unit: MetricUnit,
    /// In the baseline.
    pub baseline: Spread,
    /// In the runs that are compared.
    pub now: Spread,
    /// What became of it.
    pub change: Change,
    /// It must be zero, was, and is not: no matter of statistics.
    pub is_violation: bool,
    /// Too few runs to tell, but each is worse than every one of the baseline, by more than the minimum effect, and by more than
    /// chance gives in one of a hundred or than the baseline's differ among themselves.
    pub is_suspect: bool,
    /// The p-value of the rank test; absent where none was made.
    pub p: Option<f64>,
    /// The same, corrected for all comparisons; absent where so many cannot be told apart with so few runs.
    pub p_corrected: Option<f64>,
    /// What is missing; absent if there is enough data.
    pub missing: Option<MissingRuns>,
    /// The owner of it and the day until which it is accepted, if it is worse and that is accepted.
    pub accepted: Option<super::Weakness>,
}

/// A metric with its values, not compared yet.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub metric: Metric,
    pub baseline: Vec<f64>,
    pub now: Vec<f64>,
    /// One of the runs violates safety by it.
    pub is_violation: bool,
}

impl Case {
    fn has_runs(&self) -> bool {
        self.baseline.len().min(self.now.len()) >= RUNS_MIN
    }

    /// Whether any order of these values could show the minimum effect. That does not ask which run gave which value, so that
    /// leaving those out that could not says nothing of those that are left.
    pub fn could_change(&self) -> bool {
        if self.is_violation || self.baseline.is_empty() || self.now.is_empty() {
            return false;
        }
        let mut pooled: Vec<f64> = self.baseline.iter().chain(&self.now).copied().collect();
        pooled.sort_by(f64::total_cmp);
        let (lowest, rest) = pooled.split_at(self.baseline.len());
        let (others, highest) = pooled.split_at(self.now.len());
        self.is_effect(median(lowest), median(rest)) || self.is_effect(median(highest), median(others))
    }

    /// Whether one median lies away from the other by the minimum effect.
    fn is_effect(&self, from: f64, to: f64) -> bool {
        let distance = (to - from).abs();
        distance > 0.0 && distance >= self.metric.least_effect(from)
    }

    pub fn candidate(&self) -> Candidate {
        match self.has_runs() && self.could_change() {
            true => {
                let test = rank_test(&self.baseline, &self.now);
                Candidate {
                    p: test.p,
                    p_least: Some(test.p_least),
                }
            }
            false => Candidate { p: 1.0, p_least: None },
        }
    }

    /// Whether every run is worse than every one of the baseline, by the minimum effect, and so clearly that it is worth more
    /// runs: chance alone does as much in one of a hundred, or they lie away from the baseline's by more than those lie apart.
    fn is_apart(&self) -> bool {
        const BY_CHANCE: f64 = 0.01;
        let greatest = self.baseline.iter().copied().max_by(f64::total_cmp);
        let best = self.baseline.iter().copied().min_by(f64::total_cmp);
        let least = self.now.iter().copied().min_by(f64::total_cmp);
        let (Some(best), Some(greatest), Some(least)) = (best, greatest, least) else {
            return false;
        };
        // Of two infinities it is no number, and so no distance.
        let distance = least - greatest;
        let is_clear = least_p(self.baseline.len(), self.now.len()) / 2.0 <= BY_CHANCE || distance > greatest - best;
        is_clear && distance >= self.metric.least_effect(median(&self.baseline))
    }

    /// Says what became of it. `contenders` is how many metrics could have changed.
    pub fn conclude(&self, candidate: Candidate, corrected: Option<f64>, contenders: usize) -> MetricComparison {
        let change = self.change(corrected);
        let is_short = change == Change::NotEnoughData;
        MetricComparison {
            metric: self.metric.to_string(),
            unit: self.metric.unit(),
            baseline: Spread::of(&self.baseline),
            now: Spread::of(&self.now),
            change,
            is_violation: self.is_violation,
            is_suspect: is_short && self.is_apart(),
            p: candidate.p_least.map(|_| candidate.p),
            p_corrected: corrected,
            missing: is_short.then(|| missing(self.baseline.len(), self.now.len(), contenders)),
            accepted: None,
        }
    }

    fn change(&self, corrected: Option<f64>) -> Change {
        let is_zero = |values: &[f64]| !values.is_empty() && values.iter().all(|value| *value == 0.0);
        if self.is_violation {
            return Change::Regressed;
        }
        if self.metric.is_safety() && is_zero(&self.baseline) && is_zero(&self.now) {
            return Change::AsBefore;
        }
        match (self.has_runs(), self.could_change(), corrected) {
            (false, _, _) | (true, true, None) => Change::NotEnoughData,
            (true, false, _) => Change::AsBefore,
            (true, true, Some(p)) => {
                let (from, to) = (median(&self.baseline), median(&self.now));
                match p < ALPHA && self.is_effect(from, to) {
                    true if to > from => Change::Regressed,
                    true => Change::Improved,
                    false => Change::AsBefore,
                }
            }
        }
    }
}

/// How many runs are missing until a clear difference could be told among so many comparisons. The baseline stays as it is if
/// it can.
fn missing(baseline: usize, now: usize, contenders: usize) -> MissingRuns {
    let bound = ALPHA / contenders.max(1) as f64;
    let enough = |of: usize, with: usize| least_p(of, with) < bound;
    let of = baseline.max(RUNS_MIN);
    // More than three for one of the baseline tell little that the same number on both sides does not tell sooner.
    let alone = (now.max(RUNS_MIN)..=3 * of).find(|&with| enough(of, with));
    let (of, with) = match alone {
        Some(with) => (of, with),
        None => {
            let both = (of.max(now)..=RUNS_MAX).find(|&runs| enough(runs, runs));
            let runs = both.unwrap_or(RUNS_MAX);
            (runs, runs)
        }
    };
    MissingRuns {
        baseline: of.saturating_sub(baseline),
        now: with.saturating_sub(now),
    }
}
