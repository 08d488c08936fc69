//! Probes: a number measured over a window, and the bound it must keep.
//!
//! An operation belongs to its *intended* time, whenever it was sent, and its latency counts from there; one that did not
//! end `ok` counts as longer than any. No data is never a pass, and a window for which the load generator itself was late
//! says nothing of the system.

use std::ops::Range;

use super::about::About;
use super::sample::{self, DOUBT};
use crate::history::Op;
use crate::history::load::History;
use crate::plan::{Compare, Measure, Probe};
use crate::verdict::{Finding, Judgement, Violation};

/// The generator's own lag, 99th percentile, beyond which the load was not the one that was planned: less than half of
/// the bins in which recovery is measured, so that arrivals stay in the bins they belong to.
pub const LAG_P99_MAX_US: u64 = 100_000;

/// Share of a latency bound that the generator's lag may make up where the bound is broken, in percent.
const LAG_OF_BOUND_PERCENT: f64 = 10.0;

/// Gauge readings that may be missing, in percent of all, before the rest cannot stand for them.
pub(super) const GAPS_MAX_PERCENT: usize = 10;

/// Judges a probe over operations intended, and readings taken, within `window_us`.
pub fn evaluate(probe: &Probe, history: &History<'_>, window_us: Range<u64>) -> Finding {
    evaluate_over(probe, history, &[window_us])
}

/// Judges a probe over all of the windows together.
pub fn evaluate_over(probe: &Probe, history: &History<'_>, windows_us: &[Range<u64>]) -> Finding {
    let within = |at_us: &u64| windows_us.iter().any(|window| window.contains(at_us));
    match &probe.measure {
        Measure::SuccessRate { operation } => {
            let ops = operations(history, operation, within);
            unless_late(&ops, || success_rate(probe, operation, &ops))
        }
        Measure::Latency {
            operation,
            quantile_permille,
        } => {
            let ops = operations(history, operation, within);
            unless_late(&ops, || {
                let finding = latency(probe, operation, *quantile_permille, &ops);
                unless_lag_broke_it(probe, &ops, finding)
            })
        }
        Measure::Metric {
            metric,
            quantile_permille,
        } => {
            let samples = history.samples.iter().filter(|sample| sample.metric == *metric);
            let readings: Vec<(u64, Option<f64>)> = samples
                .filter(|sample| within(&sample.at_us))
                .map(|sample| (sample.at_us, sample.value))
                .collect();
            gauge(probe, metric, *quantile_permille, &readings)
        }
    }
}

fn operations<'h, 'a>(history: &'h History<'a>, kind: &str, within: impl Fn(&u64) -> bool) -> Vec<&'h Op<'a>> {
    let ops = history.ops.iter();
    ops.filter(|op| op.kind == kind && within(&op.intended_us)).collect()
}

/// Judges, unless the generator was late for these very operations.
fn unless_late(ops: &[&Op<'_>], judge: impl FnOnce() -> Finding) -> Finding {
    match Punctuality::of(ops.iter().copied()).doubt() {
        Some(reason) => doubt(reason, ops.len()),
        None => judge(),
    }
}

/// Lag lengthens latencies, which count from the intended time, and never shortens them: a bound that holds in spite of
/// it holds. One that is broken may have been broken by the lag, unless that is small beside the bound.
fn unless_lag_broke_it(probe: &Probe, ops: &[&Op<'_>], finding: Finding) -> Finding {
    let lag_ms = Punctuality::of(ops.iter().copied()).lag_p99_us.unwrap_or_default() as f64 / 1e3;
    let too_long = lag_ms > probe.tolerance.value * LAG_OF_BOUND_PERCENT / 100.0;
    if finding.verdict != Judgement::Fail || !too_long {
        return finding;
    }
    Finding {
        verdict: Judgement::Inconclusive,
        detail: format!(
            "the load generator's own lag was {lag_ms:.1} ms at p99, too much beside the bound; {}",
            finding.detail
        ),
        ..finding
    }
}

/// How the generator kept its schedule.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Punctuality {
    /// Arrivals for which it was too late altogether.
    pub late: usize,
    /// Arrivals whose request it could not make.
    pub not_made: usize,
    /// Its lag, 99th percentile, over the arrivals that it sent; none if it sent none.
    pub lag_p99_us: Option<u64>,
}

impl Punctuality {
    pub(super) fn of<'h, 'a: 'h>(ops: impl Iterator<Item = &'h Op<'a>>) -> Self {
        let (mut late, mut not_made) = (0, 0);
        let mut lags_us = Vec::new();
        for op in ops {
            late += usize::from(op.error.as_deref() == Some(Op::LATE));
            not_made += usize::from(op.error.as_deref() == Some(Op::NOT_MADE));
            lags_us.extend(op.sent_us.map(|_| op.lag_us()));
        }
        let rank = sample::rank(lags_us.len(), 990);
        Self {
            late,
            not_made,
            lag_p99_us: rank.map(|rank| *lags_us.select_nth_unstable(rank).1),
        }
    }

    /// Why no judgement of these operations is supported, if it is not.
    pub(super) fn doubt(&self) -> Option<String> {
        if self.not_made > 0 {
            return Some(format!(
                "the requests of {} arrivals could not be made as the system's definition says",
                self.not_made
            ));
        }
        if self.late > 0 {
            return Some(format!(
                "the load generator itself was too late for {} arrivals",
                self.late
            ));
        }
        let lag_us = self.lag_p99_us.filter(|lag_us| *lag_us > LAG_P99_MAX_US)?;
        let (lag_ms, max_ms) = (lag_us as f64 / 1e3, LAG_P99_MAX_US / 1_000);
        Some(format!(
            "the load generator's own lag was {lag_ms:.1} ms at p99, above {max_ms} ms"
        ))
    }
}

fn doubt(detail: String, samples: usize) -> Finding {
    Finding {
        verdict: Judgement::Inconclusive,
        detail,
        evidence: Vec::new(),
        samples: samples as u64,
        first: None,
    }
}

/// `first` gives the first operation or reading that is outside the bound by itself.
fn judged(
    probe: &Probe,
    measured: f64,
    detail: String,
    samples: usize,
    first: impl FnOnce() -> Option<Violation>,
) -> Finding {
    let held = probe.tolerance.holds(measured);
    Finding {
        verdict: if held { Judgement::Pass } else { Judgement::Fail },
        detail,
        evidence: Vec::new(),
        samples: samples as u64,
        first: if held { None } else { first() },
    }
}

/// The first of the operations that is outside the bound: did not end `ok`, or took too long.
fn first_outside(ops: &[&Op<'_>], is_outside: impl Fn(&Op<'_>) -> bool) -> Option<Violation> {
    let outside = ops.iter().filter(|op| is_outside(op));
    let first = outside.min_by_key(|op| op.intended_us)?;
    let ended = match is_ok(first) {
        true => format!("`{}` took {} ms", first.key, rounded(latency_ms(first))),
        false => format!("`{}` ended {}", first.key, reason(first)),
    };
    Some(About::op(first).violation(ended))
}

fn success_rate(probe: &Probe, operation: &str, ops: &[&Op<'_>]) -> Finding {
    if ops.is_empty() {
        return doubt(format!("no `{operation}` arrived in the window"), 0);
    }
    let ok = ops.iter().filter(|op| is_ok(op)).count();
    let percent = 100.0 * ok as f64 / ops.len() as f64;
    let held = probe.tolerance.holds(percent);
    let confidence = confidence(probe, held, ops.len() as u64, (ops.len() - ok) as u64);
    let detail = format!(
        "{}% of {} `{operation}` ended ok, bound {}%{}",
        rounded(percent),
        ops.len(),
        probe.tolerance,
        confidence.map(|note| format!("; {note}")).unwrap_or_default()
    );
    let is_least = matches!(probe.tolerance.compare, Compare::AtLeast | Compare::MoreThan);
    let finding = judged(probe, percent, detail, ops.len(), || {
        // Where too many succeed no operation is the one that did wrong.
        first_outside(ops, |op| is_least && !is_ok(op))
    });
    Finding {
        evidence: reasons(ops),
        ..finding
    }
}

/// What must be said where the sample is too small to tell, at 95 % confidence, what it seems to tell.
fn confidence(probe: &Probe, held: bool, count: u64, failed: u64) -> Option<String> {
    if !matches!(probe.tolerance.compare, Compare::AtLeast | Compare::MoreThan) {
        return None;
    }
    let bound = probe.tolerance.value;
    let failing = 1.0 - bound / 100.0;
    if held {
        let needed = sample::successes_to_claim(failing)?;
        return (sample::at_most(failed, count, failing) > DOUBT).then(|| {
            format!(
                "an estimate, no proof: to claim {bound}% at 95 % confidence takes about {needed} successes in a row"
            )
        });
    }
    let by_chance = 1.0
        - failed
            .checked_sub(1)
            .map_or(0.0, |fewer| sample::at_most(fewer, count, failing));
    (by_chance > DOUBT).then(|| {
        let by_chance = 100.0 * by_chance;
        format!("a small sample: a system that keeps the bound does as badly in {by_chance:.0} of 100 windows")
    })
}

fn latency(probe: &Probe, operation: &str, permille: u32, ops: &[&Op<'_>]) -> Finding {
    let mut latencies_ms: Vec<f64> = ops.iter().map(|op| latency_ms(op)).collect();
    let Some(measured) = sample::quantile(&mut latencies_ms, permille) else {
        return doubt(format!("no `{operation}` arrived in the window"), 0);
    };
    let not_ok = ops.iter().filter(|op| !is_ok(op)).count();
    let measured_text = match measured.is_finite() {
        true => format!("{} ms", rounded(measured)),
        false => "beyond every answer".to_owned(),
    };
    let detail = format!(
        "{} of {} `{operation}` is {measured_text}, bound {} ms; {not_ok} did not end ok and count as longest{}",
        name_of(permille),
        ops.len(),
        probe.tolerance,
        small_sample(permille, ops.len())
    );
    let finding = judged(probe, measured, detail, ops.len(), || {
        first_outside(ops, |op| !probe.tolerance.holds(latency_ms(op)))
    });
    Finding {
        evidence: reasons(ops),
        ..finding
    }
}

/// Latency from the intended time in milliseconds; infinite for what did not end `ok`.
pub(super) fn latency_ms(op: &Op<'_>) -> f64 {
    match is_ok(op) {
        true => op.latency_us() as f64 / 1_000.0,
        false => f64::INFINITY,
    }
}

pub(super) fn is_ok(op: &Op<'_>) -> bool {
    op.outcome == crate::history::Outcome::Ok
}

fn gauge(probe: &Probe, metric: &str, permille: u32, readings: &[(u64, Option<f64>)]) -> Finding {
    let mut values: Vec<f64> = readings.iter().filter_map(|(_, value)| *value).collect();
    let (count, gaps) = (values.len(), readings.len() - values.len());
    let Some(measured) = sample::quantile(&mut values, permille) else {
        return doubt(format!("no reading of `{metric}` in the window, {gaps} failed"), 0);
    };
    let gaps_text = match gaps {
        0 => String::new(),
        _ => format!(", {gaps} more failed"),
    };
    let detail = format!(
        "{} of {count} readings of `{metric}` is {}, bound {}{gaps_text}{}",
        name_of(permille),
        rounded(measured),
        probe.tolerance,
        small_sample(permille, count)
    );
    if gaps * 100 > readings.len() * GAPS_MAX_PERCENT {
        return doubt(format!("{detail}: too many gaps to tell"), count);
    }
    judged(probe, measured, detail, count, || {
        let mut known = readings.iter().filter_map(|(at_us, value)| Some((*at_us, (*value)?)));
        let (at_us, value) = known.find(|(_, value)| !probe.tolerance.holds(*value))?;
        let text = format!("`{metric}` was {}", rounded(value));
        Some(About::reading(metric, at_us).violation(text))
    })
}

/// `p99`, `p99.9`, `max`, `min`.
fn name_of(permille: u32) -> String {
    match permille {
        0 => "min".to_owned(),
        1_000 => "max".to_owned(),
        whole if whole.is_multiple_of(10) => format!("p{}", whole / 10),
        _ => format!("p{}.{}", permille / 10, permille % 10),
    }
}

/// Said where a quantile is no more than the greatest value.
fn small_sample(permille: u32, count: usize) -> &'static str {
    match sample::rank(count, permille) {
        Some(rank) if rank + 1 == count && (1..1_000).contains(&permille) => "; of so few it is the greatest",
        _ => "",
    }
}

/// At most four decimals, none of them an idle zero.
fn rounded(number: f64) -> String {
    let text = format!("{number:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What the operations that did not end `ok` ended in, the most frequent first.
fn reasons(ops: &[&Op<'_>]) -> Vec<String> {
    let mut counts = std::collections::BTreeMap::<String, u64>::new();
    for op in ops.iter().filter(|op| !is_ok(op)) {
        *counts.entry(reason(op)).or_default() += 1;
    }
    let mut counts: Vec<(String, u64)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let lines = counts
        .into_iter()
        .map(|(reason, count)| format!("{count} ended {reason}"));
    lines.take(Finding::EVIDENCE_MAX).collect()
}

fn reason(op: &Op<'_>) -> String {
    let outcome = match op.outcome {
        crate::history::Outcome::Ok => "ok",
        crate::history::Outcome::Fail => "fail",
        crate::history::Outcome::Info => "info",
    };
    let why = [
        op.error.as_deref().map(str::to_owned),
        op.status.map(|status| format!("status {status}")),
    ];
    let why: Vec<String> = why.into_iter().flatten().collect();
    match why.is_empty() {
        true => outcome.to_owned(),
        false => format!("{outcome} ({})", why.join(", ")),
    }
}
