//! What is said of a comparison.

use crate::campaign::accept::Weakness;
use crate::campaign::compare::change::{MissingRuns, RUNS_MIN};
use crate::campaign::compare::metric::MetricUnit;
use crate::campaign::compare::{
    Change, Comparison, ExperimentComparison, MetricComparison, Outcome, Spread, Standing, Tally,
};
use crate::report::mark::Mark;
use crate::report::text::{clean, count, duration, list, percent_of, plural, trim};

/// How the figures of a row are to be read.
pub(super) const HOW_SHOWN: &str = "before and now: median (least to greatest; runs)";

/// What counts as a change, a sentence each.
pub(super) fn how_compared(comparison: &Comparison) -> Vec<String> {
    let corrected = match comparison.counted {
        0 => "corrected by Holm for all metrics that could have changed (of none were there enough runs)".to_owned(),
        1 => "corrected by Holm for the 1 metric that could have changed".to_owned(),
        number => format!(
            "corrected by Holm for the {} metrics that could have changed",
            count(number as u64)
        ),
    };
    vec![
        format!("Regressed and improved mean: p < 0.05 by the exact Mann-Whitney rank test, two-sided, {corrected};"),
        format!(
            "medians apart by 10 %, and by 250 ms, 100 ms for latencies and failovers, 0.1 percentage points of error budget, or \
             1; {RUNS_MIN} runs or more on each side."
        ),
        "What must be zero regresses at once.".to_owned(),
        "With too few runs a metric looks worse if each is worse than every run of the baseline, by more than chance gives in one of \
         a hundred or than those differ."
            .to_owned(),
    ]
}

/// `5 of 6 passed, 1 inconclusive`.
pub(super) fn tally(tally: &Tally) -> String {
    let others = [
        (tally.accepted, "failed as accepted"),
        (tally.inconclusive, "inconclusive"),
    ];
    let others = others.into_iter().filter(|(number, _)| *number > 0);
    let others: String = others.map(|(number, what)| format!(", {number} {what}")).collect();
    match tally.outcome() {
        Outcome::None => "-".to_owned(),
        _ => format!("{} of {} passed{others}", tally.passed, tally.runs()),
    }
}

/// What the experiment's row is to be taken for.
pub(super) fn mark(experiment: &ExperimentComparison) -> Mark {
    let is_known = matches!(experiment.standing, Standing::StillFails | Standing::Missing)
        || experiment.now.accepted > 0
        || experiment.metrics.iter().any(|metric| metric.accepted.is_some());
    match experiment.exit_code() {
        0 if is_known => Mark::Known,
        0 => Mark::Pass,
        3 => Mark::Doubt,
        _ => Mark::Fail,
    }
}

/// What became of an experiment, and by what.
pub(super) fn standing(experiment: &ExperimentComparison) -> String {
    let mut said = Vec::new();
    let failing = by(experiment);
    match experiment.standing {
        Standing::Passes => {}
        Standing::NowFails => said.push(format!("now fails{failing}")),
        Standing::StillFails => said.push(format!("fails as before{failing}")),
        Standing::Flaky => said.push(format!("flaky{failing}")),
        Standing::WasFlaky => said.push("was flaky, passes".to_owned()),
        Standing::Fixed => said.push("fixed".to_owned()),
        Standing::Inconclusive => said.push("inconclusive".to_owned()),
        Standing::New => said.push(match experiment.now.outcome() {
            Outcome::Passes => "new".to_owned(),
            Outcome::Fails => format!("new, fails{failing}"),
            Outcome::Flaky => format!("new, flaky{failing}"),
            Outcome::Inconclusive | Outcome::None => "new, inconclusive".to_owned(),
        }),
        Standing::Missing => said.push("missing: the baseline has it".to_owned()),
    }
    if !experiment.accepted.is_empty() {
        let weaknesses = experiment.accepted.iter();
        let told = weaknesses
            .map(|Weakness { what, until, owner, .. }| clean(&format!("{what} until {until} by {owner}")))
            .collect::<Vec<_>>();
        said.push(format!("fails as accepted: {}", list(&told)));
    }
    if experiment.is_expired {
        said.push("acceptance expired".to_owned());
    }
    let named = |is: &dyn Fn(&MetricComparison) -> bool| {
        let names = experiment.metrics.iter().filter(|metric| is(metric));
        names.map(|metric| clean(&metric.metric)).collect::<Vec<_>>()
    };
    let regressed = named(&|metric| metric.change == Change::Regressed && metric.accepted.is_none());
    let suspect = named(&|metric| metric.is_suspect && metric.accepted.is_none());
    let excused = named(&|metric| metric.accepted.is_some());
    let improved = named(&|metric| metric.change == Change::Improved);
    for (names, what) in [
        (regressed, "regressed"),
        (suspect, "looks worse, not enough data"),
        (excused, "worse, accepted"),
        (improved, "improved"),
    ] {
        if !names.is_empty() {
            said.push(format!("{what}: {}", list(&names)));
        }
    }
    match said.is_empty() {
        true => "as before".to_owned(),
        false => said.join("; "),
    }
}

/// What became worse than the baseline's, short: `recovery-time of answers-lost regressed`.
pub(in crate::report) fn regression(experiment: &ExperimentComparison, metric: Option<&MetricComparison>) -> String {
    let name = clean(&experiment.experiment);
    match metric {
        Some(metric) => format!("{} of {name} regressed", clean(&metric.metric)),
        None => format!("{name} looks worse than was accepted until a day that has passed"),
    }
}

/// The same with its figures: `recovery-time of answers-lost regressed: median 1.5 s before, 4 s now (+167 %)`.
pub(in crate::report) fn regression_figures(
    experiment: &ExperimentComparison,
    metric: Option<&MetricComparison>,
) -> String {
    let said = regression(experiment, metric);
    let Some(metric) = metric else { return said };
    let median = |of: &Spread| {
        of.median
            .map_or_else(|| "not over".to_owned(), |number| value(number, metric.unit))
    };
    match metric.is_violation {
        true => format!("{said}: it must be zero, and is {}", median(&metric.now)),
        false => format!(
            "{said}: median {} before, {} now ({})",
            median(&metric.baseline),
            median(&metric.now),
            moved(metric)
        ),
    }
}

/// By which assertions it fails.
fn by(experiment: &ExperimentComparison) -> String {
    const NAMES_MAX: usize = 4;
    let of = experiment.now.runs();
    let name = |(name, runs): (&String, &usize)| match *runs == of {
        true => clean(name),
        false => format!("{} ({runs} of {of} runs)", clean(name)),
    };
    let mut names: Vec<String> = experiment.failing.iter().take(NAMES_MAX).map(name).collect();
    if experiment.failing.len() > NAMES_MAX {
        names.push(format!("{} more", experiment.failing.len() - NAMES_MAX));
    }
    match names.is_empty() {
        true => String::new(),
        false => format!(": {}", list(&names)),
    }
}

/// What became of a metric.
pub(super) fn change(metric: &MetricComparison) -> String {
    let said = match (metric.change, metric.missing) {
        (Change::Regressed, _) if metric.is_violation => "regressed: it must be zero".to_owned(),
        (Change::Regressed, _) => "regressed".to_owned(),
        (Change::Improved, _) => "improved".to_owned(),
        (Change::AsBefore, _) => "as before".to_owned(),
        (Change::NotEnoughData, missing) => format!("not enough data{}", missing.map_or_else(String::new, needed)),
    };
    match &metric.accepted {
        Some(weakness) => format!("{said}, accepted until {}", clean(&weakness.until)),
        None => said,
    }
}

fn needed(missing: MissingRuns) -> String {
    match (missing.baseline, missing.now) {
        (0, 0) => String::new(),
        (0, now) => format!(": {} needed", more_runs(now)),
        (baseline, 0) => format!(": {} needed of the baseline", more_runs(baseline)),
        (baseline, now) => format!(
            ": {} needed, and {} of the baseline",
            more_runs(now),
            more_runs(baseline)
        ),
    }
}

/// `1.5 s (1.2 s to 1.9 s; 5)`.
pub(super) fn spread(spread: &Spread, unit: MetricUnit) -> String {
    let shown = |number: Option<f64>| number.map_or_else(|| "not over".to_owned(), |number| value(number, unit));
    match spread.runs {
        0 => "-".to_owned(),
        1 => format!("{} (1)", shown(spread.median)),
        runs => format!(
            "{} ({} to {}; {runs})",
            shown(spread.median),
            shown(spread.min),
            shown(spread.max)
        ),
    }
}

fn value(number: f64, unit: MetricUnit) -> String {
    match unit {
        MetricUnit::Ms => duration(number),
        MetricUnit::Percent => percent_of(number),
        MetricUnit::Count => trim(number, 1),
    }
}

/// By how much the median moved: in percent where that says something.
pub(super) fn moved(metric: &MetricComparison) -> String {
    let sign = |difference: f64| if difference < 0.0 { "-" } else { "+" };
    match (metric.baseline.median, metric.now.median) {
        (Some(from), Some(to)) if from == to => "0".to_owned(),
        (Some(from), Some(to)) if metric.unit == MetricUnit::Percent => {
            format!("{}{} points", sign(to - from), trim((to - from).abs(), 2))
        }
        (Some(from), Some(to)) if from > 0.0 && to / from < 100.0 => {
            let percent = (to - from) / from * 100.0;
            format!("{}{} %", sign(percent), trim(percent.abs(), 0))
        }
        (Some(from), Some(to)) => format!("{}{}", sign(to - from), value((to - from).abs(), metric.unit)),
        (_, None) if metric.now.runs > 0 => "not over".to_owned(),
        _ => "-".to_owned(),
    }
}

/// A p-value.
pub(super) fn p(metric: &MetricComparison) -> String {
    match (metric.p_corrected, metric.p) {
        (Some(p), _) if p < 0.001 => "<0.001".to_owned(),
        (Some(p), _) => trim(p, 3),
        (None, Some(p)) => format!(
            "{} uncorrected",
            if p < 0.001 { "<0.001".to_owned() } else { trim(p, 3) }
        ),
        (None, None) => "-".to_owned(),
    }
}

/// The whole in one sentence.
pub(super) fn answer(comparison: &Comparison) -> String {
    let number = |is: &dyn Fn(&ExperimentComparison) -> bool| {
        let experiments = comparison.experiments.iter();
        experiments.filter(|experiment| is(experiment)).count()
    };
    let compared = |experiment: &ExperimentComparison| experiment.baseline.runs() > 0 && experiment.now.runs() > 0;
    let regressed = |experiment: &ExperimentComparison| {
        let mut metrics = experiment.changed(Change::Regressed);
        metrics.any(|metric| metric.accepted.is_none())
    };
    let fails = |experiment: &ExperimentComparison| match experiment.standing {
        Standing::NowFails => true,
        Standing::New => experiment.now.outcome() == Outcome::Fails,
        _ => false,
    };
    let flaky = |experiment: &ExperimentComparison| experiment.now.outcome() == Outcome::Flaky;
    let suspect = |experiment: &ExperimentComparison| {
        experiment
            .metrics
            .iter()
            .any(|metric| metric.is_suspect && metric.accepted.is_none())
    };
    let parts = [
        (number(&regressed), "regressed"),
        (number(&fails), "fails that did not"),
        (
            number(&|experiment| experiment.is_expired),
            "with an expired acceptance",
        ),
        (number(&flaky), "flaky"),
        (
            number(&|experiment| experiment.now.outcome() == Outcome::Inconclusive),
            "inconclusive",
        ),
        (number(&suspect), "with too few runs for what looks worse"),
    ];
    let said: Vec<String> = parts
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| {
            format!(
                "{number} {}",
                if number > 1 && what == "fails that did not" {
                    "fail that did not"
                } else {
                    what
                }
            )
        })
        .collect();
    let known = [
        (
            number(&|experiment| experiment.standing == Standing::StillFails),
            "as before",
        ),
        (number(&|experiment| experiment.now.accepted > 0), "as accepted"),
    ];
    let known = known.into_iter().filter(|(number, _)| *number > 0);
    let known = known.map(|(number, how)| format!("{number} {} {how}", if number > 1 { "fail" } else { "fails" }));
    let known: Vec<String> = known.collect();
    let of = plural(number(&compared) as u64, "experiment");
    match (said.is_empty(), known.is_empty()) {
        (true, true) => format!("Nothing became worse in {of} compared with the baseline."),
        (true, false) => format!(
            "Nothing became worse in {of} compared with the baseline; {}.",
            known.join(", ")
        ),
        (false, _) => format!(
            "Of {of} compared with the baseline: {}.",
            [said, known].concat().join(", ")
        ),
    }
}

/// What follows from a comparison for the gate that it is part of.
pub(super) fn to_gate(comparison: &Comparison) -> &'static str {
    match comparison.exit_code {
        0 => "This does not close the gate.",
        1 => "This closes the gate.",
        _ => "This does not close the gate: what cannot be told of so few runs closes none.",
    }
}

/// How many metrics came to what, and how many runs would tell of the rest.
pub(super) fn metrics_counted(comparison: &Comparison) -> String {
    let metrics = || comparison.experiments.iter().flat_map(|experiment| &experiment.metrics);
    let number = |change: Change| metrics().filter(|metric| metric.change == change).count() as u64;
    let missing = || metrics().filter_map(|metric| metric.missing);
    let most = |of: fn(&MissingRuns) -> usize| missing().map(|missing| of(&missing)).max().unwrap_or(0);
    let enough = match (most(|missing| missing.baseline), most(|missing| missing.now)) {
        (0, 0) => String::new(),
        (0, now) => format!(": {} of each experiment would do", more_runs(now)),
        (baseline, 0) => format!(": {} of each experiment for the baseline would do", more_runs(baseline)),
        (baseline, now) => format!(
            ": {} of each experiment, and {baseline} for the baseline, would do",
            more_runs(now)
        ),
    };
    format!(
        "Of {}, {} regressed, {} improved, {} are as before; of {} there is not enough data{enough}.",
        plural(metrics().count() as u64, "metric"),
        count(number(Change::Regressed)),
        count(number(Change::Improved)),
        count(number(Change::AsBefore)),
        count(number(Change::NotEnoughData))
    )
}

fn more_runs(number: usize) -> String {
    match number {
        1 => "1 more run".to_owned(),
        number => format!("{number} more runs"),
    }
}
