//! Runs compared with those of a baseline: what passes no more, what became worse beyond noise, and what cannot be told.
//!
//! Runs are grouped by experiment, system and engine: times of one engine say nothing of another's. A metric has *regressed*
//! or *improved* only if three things are so: the exact rank test ([`rank`]) says that the two samples differ, with a p-value
//! below 5 % after correction for all metrics of the comparison ([`family`]); their medians differ by the minimum effect
//! ([`metric::Metric::least_effect`]); and there are five runs on either side. What must be zero regresses at once.
//!
//! Architecture invariant: pure; nothing is read, written or rendered here.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::accept::{Acceptance, Accepted, Weakness};
use super::{Campaign, RunRecord};
use crate::verdict::{AssertionKind, Judgement, Status};

pub mod change;
pub mod family;
pub mod metric;
pub mod rank;
pub mod standing;

mod group;
mod note;

#[cfg(test)]
pub(crate) mod tests;

use change::Case;
pub use change::{Change, MetricComparison, MissingRuns, Spread};
use group::Group;
use metric::{Metric, measure};
pub use note::Note;
pub use standing::{Outcome, Standing, Tally};

/// The `schema_version` of a comparison in JSON.
pub const SCHEMA_VERSION: u32 = 1;

/// A comparison.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Comparison {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The version of nightmail that made it.
    pub nightmail: String,
    /// 1 if anything regressed or fails that did not, 4 if something could not be read, 3 if something is flaky, inconclusive, or
    /// looks worse with too few runs to tell, otherwise 0.
    pub exit_code: u8,
    /// Every experiment of either side, by system, name and engine.
    pub experiments: Vec<ExperimentComparison>,
    /// How many metrics there are of which the rank test could have told a change, and for which the p-values are corrected.
    pub counted: usize,
    /// What failed, or became worse, and is accepted.
    pub accepted: Vec<Weakness>,
    /// What failed, or became worse, and was accepted until a day that has passed.
    pub expired: Vec<Weakness>,
    /// Entries that accept nothing, each with why.
    pub unmatched: Vec<String>,
    /// What could not be read, and is not compared, each with why.
    pub unread: Vec<String>,
    /// What else one should know.
    pub notes: Vec<Note>,
}

/// An experiment on one system and one engine.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ExperimentComparison {
    /// The system's name.
    pub system: String,
    /// The experiment's name.
    pub experiment: String,
    /// The engine; empty if no run got that far.
    pub engine: String,
    /// The experiment's title.
    pub title: String,
    /// What became of it.
    pub standing: Standing,
    /// How the runs of the baseline ended.
    pub baseline: Tally,
    /// How the runs ended that are compared with it.
    pub now: Tally,
    /// The experiment's file is not what it was.
    pub is_changed: bool,
    /// The assertions that failed, and are not accepted, with the number of runs.
    pub failing: BTreeMap<String, usize>,
    /// What made its runs fail and is accepted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<Weakness>,
    /// A failure, or a metric that is worse, was accepted until a day that has passed.
    pub is_expired: bool,
    /// Its metrics, for those that both sides have.
    pub metrics: Vec<MetricComparison>,
}

impl ExperimentComparison {
    /// Its metrics that became of that.
    pub fn changed(&self, change: Change) -> impl Iterator<Item = &MetricComparison> {
        self.metrics.iter().filter(move |metric| metric.change == change)
    }

    /// Its metrics that regressed, and nobody accepts that.
    pub fn regressed(&self) -> impl Iterator<Item = &MetricComparison> {
        self.changed(Change::Regressed)
            .filter(|metric| metric.accepted.is_none())
    }

    /// The exit code that it asks for.
    pub fn exit_code(&self) -> u8 {
        const PASSED: u8 = 0;
        const FAILED: u8 = 1;
        const INCONCLUSIVE: u8 = 3;
        let regressed = self.regressed().next().is_some();
        let suspect = self
            .metrics
            .iter()
            .any(|metric| metric.is_suspect && metric.accepted.is_none());
        let fails = match self.standing {
            Standing::NowFails => true,
            Standing::New => self.now.outcome() == Outcome::Fails,
            _ => false,
        };
        let in_doubt = match self.standing {
            Standing::Flaky | Standing::Inconclusive => true,
            Standing::New => self.now.outcome() != Outcome::Passes,
            _ => false,
        };
        match (fails || regressed || self.is_expired, in_doubt || suspect) {
            (true, _) => FAILED,
            (false, true) => INCONCLUSIVE,
            (false, false) => PASSED,
        }
    }
}

/// Why two campaigns cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found}\n  hint: {hint}")]
pub struct NotComparable {
    /// What they are.
    pub found: String,
    /// What to do.
    pub hint: &'static str,
}

/// Compares runs with those of a baseline.
///
/// # Errors
///
/// If either side has no run to compare, or no experiment is on both sides on the same system and engine.
pub fn compare(baseline: &Campaign, now: &Campaign, accepted: &Accepted) -> Result<Comparison, NotComparable> {
    let groups = group::groups(&baseline.runs, &now.runs);
    group::refuse_strangers(&groups)?;
    let cases: Vec<Vec<Case>> = groups.iter().map(cases).collect();
    let flat: Vec<&Case> = cases.iter().flatten().collect();
    let contenders = flat.iter().filter(|case| case.could_change()).count();
    let candidates: Vec<_> = flat.iter().map(|case| case.candidate()).collect();
    let corrected = family::correct(&candidates);
    let mut concluded = flat
        .iter()
        .zip(candidates.iter().zip(&corrected))
        .map(|(case, (candidate, corrected))| case.conclude(*candidate, *corrected, contenders));
    let mut comparison = Comparison {
        schema_version: SCHEMA_VERSION,
        nightmail: env!("CARGO_PKG_VERSION").to_owned(),
        exit_code: 0,
        experiments: Vec::new(),
        counted: corrected.iter().flatten().count(),
        accepted: Vec::new(),
        expired: Vec::new(),
        unmatched: Vec::new(),
        unread: Vec::new(),
        notes: note::notes(&baseline.runs, &now.runs, &groups),
    };
    for (group, cases) in groups.iter().zip(&cases) {
        let metrics = concluded.by_ref().take(cases.len()).collect();
        let experiment = comparison.experiment(group, metrics, accepted);
        comparison.experiments.push(experiment);
    }
    let compared: Vec<RunRecord> = groups.iter().flat_map(|group| &group.now).copied().cloned().collect();
    comparison.unmatched = accepted.unmatched(&compared);
    let met = [comparison.accepted.as_slice(), &comparison.expired].concat();
    let idle = accepted.unmatched_metrics(|weakness| met.contains(weakness));
    comparison.unmatched.extend(idle);
    let codes = comparison.experiments.iter().map(ExperimentComparison::exit_code);
    comparison.exit_code = crate::verdict::worst(codes);
    Ok(comparison)
}

impl Comparison {
    /// Notes what could not be read: a comparison with something missing is as good as a harness that broke, unless it shows a
    /// failure all the same.
    pub fn with_unread(mut self, unread: Vec<String>) -> Self {
        const BROKEN: u8 = 4;
        if !unread.is_empty() {
            self.exit_code = crate::verdict::worst([self.exit_code, BROKEN]);
        }
        self.unread.extend(unread);
        self
    }

    /// An experiment of the comparison; what is accepted of it is noted.
    fn experiment(
        &mut self,
        group: &Group<'_>,
        mut metrics: Vec<MetricComparison>,
        accepted: &Accepted,
    ) -> ExperimentComparison {
        let mut is_expired = false;
        let (mut verdicts, mut excuses) = (Vec::new(), Vec::new());
        for run in &group.now {
            let weighed = accepted.weigh(run);
            is_expired |= !weighed.expired.is_empty();
            for weakness in &weighed.accepted {
                put(&mut self.accepted, weakness);
                put(&mut excuses, weakness);
            }
            weighed
                .expired
                .iter()
                .for_each(|weakness| put(&mut self.expired, weakness));
            verdicts.push((run.verdict.verdict, weighed.verdict));
        }
        let excused = violations(group).all(|run| accepted.weigh(run).verdict != Judgement::Fail);
        let worse = |metric: &&mut MetricComparison| metric.change == Change::Regressed || metric.is_suspect;
        for metric in metrics.iter_mut().filter(worse) {
            match accepted.metric(group.system, group.experiment, &metric.metric) {
                Acceptance::Yes(weakness) => {
                    put(&mut self.accepted, weakness);
                    metric.accepted = Some(weakness.clone());
                }
                Acceptance::Expired(weakness) => {
                    is_expired = true;
                    put(&mut self.expired, weakness);
                }
                // What the invariants found is accepted with them.
                Acceptance::No if metric.is_violation && excused => {
                    let of_runs = group.now.iter().flat_map(|run| accepted.weigh(run).accepted);
                    metric.accepted = of_runs.into_iter().next();
                }
                Acceptance::No => {}
            }
        }
        let before = group.baseline.iter();
        let baseline = Tally::of(before.map(|run| (run.verdict.verdict, accepted.weigh(run).verdict)));
        let now = Tally::of(verdicts);
        let latest = group.now.last().or(group.baseline.last());
        ExperimentComparison {
            system: group.system.to_owned(),
            experiment: group.experiment.to_owned(),
            engine: group.engine.to_owned(),
            title: latest.map_or_else(String::new, |run| run.verdict.title.clone()),
            standing: Standing::of(&baseline, &now),
            baseline,
            now,
            is_changed: note::is_changed(group),
            failing: failing(group, accepted),
            accepted: excuses,
            is_expired,
            metrics,
        }
    }
}

fn put(list: &mut Vec<Weakness>, weakness: &Weakness) {
    if !list.contains(weakness) {
        list.push(weakness.clone());
    }
}

/// The assertions that failed now and are not accepted, with the number of runs.
fn failing(group: &Group<'_>, accepted: &Accepted) -> BTreeMap<String, usize> {
    let mut failing = BTreeMap::new();
    for run in &group.now {
        let failed = run.verdict.assertions.iter().filter(|assertion| {
            assertion.finding.verdict == Judgement::Fail
                && !matches!(accepted.assertion(run, assertion), Acceptance::Yes(_))
        });
        let names: BTreeSet<&str> = failed.map(|assertion| assertion.name.as_str()).collect();
        for name in names {
            *failing.entry(name.to_owned()).or_default() += 1;
        }
    }
    failing
}

/// Whether an invariant of a run failed: then what was lost is no loss that the experiment tolerates.
fn violates(run: &RunRecord) -> bool {
    let mut invariants = run.verdict.assertions.iter();
    invariants
        .any(|assertion| assertion.kind == AssertionKind::Invariant && assertion.finding.verdict == Judgement::Fail)
}

/// The runs of today by which something that must be zero is not.
fn violations<'g>(group: &'g Group<'_>) -> impl Iterator<Item = &'g RunRecord> {
    group.now.iter().copied().filter(|run| violates(run))
}

/// The metrics of an experiment with their values, for those that both sides have; and those that must be zero, if they are not.
fn cases(group: &Group<'_>) -> Vec<Case> {
    if group.baseline.is_empty() || group.now.is_empty() {
        return Vec::new();
    }
    let mut values: BTreeMap<Metric, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
    for run in &group.baseline {
        for (metric, value) in measure(run) {
            values.entry(metric).or_default().0.push(value);
        }
    }
    let mut violated = BTreeSet::new();
    for run in &group.now {
        for (metric, value) in measure(run) {
            let is_beyond_tolerance = metric != Metric::Lost || violates(run);
            if metric.is_safety() && value > 0.0 && is_beyond_tolerance {
                violated.insert(metric.clone());
            }
            values.entry(metric).or_default().1.push(value);
        }
    }
    let cases = values.into_iter().map(|(metric, (baseline, now))| Case {
        // Where there were violations before, it is a question of more or fewer.
        is_violation: violated.contains(&metric) && baseline.iter().all(|value| *value == 0.0),
        metric,
        baseline,
        now,
    });
    cases
        .filter(|case| case.is_violation || !(case.baseline.is_empty() || case.now.is_empty()))
        .collect()
}

/// Whether a run is of the experiment as it is: neither made unsafe on purpose nor ended by hand.
fn is_comparable(run: &RunRecord) -> bool {
    !run.is_twin && run.verdict.defects.is_empty() && run.verdict.status != Status::Interrupted
}
