//! A history condensed to what a page can draw: a bounded number of points, whatever the number of operations.
//!
//! Times are milliseconds since the load started. Operations belong to their intended time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::{Entry, Event, Phase};
use crate::history::load::History;
use crate::history::{Op, Outcome};
use crate::plan::Plan;
use crate::verdict::{FaultRecord, Verdict};

/// Bins of one line at most; each is drawn with two points.
pub(super) const BINS_MAX: usize = 1_000;

/// The narrowest bin, the one that recovery is judged by.
const BIN_MS_MIN: u64 = 250;

/// Arrivals a bin should hold on average for a rate to say something.
const ARRIVALS_PER_BIN: f64 = 8.0;

/// Bin widths that divide seconds and minutes evenly.
const BIN_WIDTHS_MS: [u64; 12] = [
    250, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000,
];

/// The time axis and what lies on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// The end of the axis; it starts at 0, when the load started.
    pub end_ms: f64,
    /// When the gate passed or was refused.
    pub gate_ms: Option<f64>,
    /// The phases that overlap the axis.
    pub phases: Vec<PhaseSpan>,
    /// The faults, in the order of the method.
    pub faults: Vec<FaultSpan>,
    /// The first effect of any fault.
    pub first_effect_ms: Option<f64>,
    /// The last heal, once all that took effect have healed.
    pub last_heal_ms: Option<f64>,
    /// When service was good again for good.
    pub recovered_ms: Option<f64>,
    /// When customers stopped noticing, counted from the first effect; the end of the axis if it is not known.
    pub disruption_end_ms: Option<f64>,
}

/// A phase on the axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseSpan {
    pub phase: Phase,
    pub from_ms: f64,
    pub to_ms: f64,
}

/// A fault on the axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultSpan {
    /// From 1, as the page counts.
    pub number: usize,
    pub name: String,
    /// When it was to start, where that is a time.
    pub planned_ms: Option<f64>,
    /// When its effect was first seen; absent if it was not.
    pub effective_ms: Option<f64>,
    /// When its absence was first seen; absent if it was not.
    pub healed_ms: Option<f64>,
}

impl Timeline {
    /// Lays a run out on its axis.
    pub fn new(plan: &Plan, verdict: &Verdict, history: &History<'_>, events: &[Entry]) -> Self {
        let last_op_us = history.ops.iter().map(|op| op.intended_us).max();
        let last_sample_us = history.samples.iter().map(|sample| sample.at_us).max();
        let last_us = last_op_us.max(last_sample_us);
        Self::laid_out(plan, verdict, last_us.map(|us| ms(us as i64)), events)
    }

    /// The same where only the time of the last operation or reading is known.
    pub fn laid_out(plan: &Plan, verdict: &Verdict, last_ms: Option<f64>, events: &[Entry]) -> Self {
        let end_ms = end_ms(plan, verdict, last_ms, events);
        let gate_ms = events
            .iter()
            .find(|entry| matches!(entry.event, Event::Gate { .. }))
            .map(|entry| ms(entry.at_us));
        let faults = fault_spans(&verdict.faults, gate_ms);
        let took_effect: Vec<&FaultSpan> = faults.iter().filter(|fault| fault.effective_ms.is_some()).collect();
        let first_effect_ms = took_effect
            .iter()
            .filter_map(|fault| fault.effective_ms)
            .reduce(f64::min);
        let last_heal_ms = match took_effect.iter().all(|fault| fault.healed_ms.is_some()) {
            true => took_effect.iter().filter_map(|fault| fault.healed_ms).reduce(f64::max),
            false => None,
        };
        let recovery = &verdict.recovery;
        let after = |start: Option<f64>, length: Option<f64>| Some(start? + length?);
        let recovered_ms = match recovery.censored {
            true => None,
            false => after(last_heal_ms, recovery.recovery_time_ms),
        };
        let disruption_end_ms = match recovery.censored {
            true => first_effect_ms.map(|_| end_ms),
            false => after(first_effect_ms, recovery.disruption_ms),
        };
        Self {
            end_ms,
            gate_ms,
            phases: phase_spans(events, end_ms),
            faults,
            first_effect_ms,
            last_heal_ms,
            recovered_ms,
            disruption_end_ms,
        }
    }
}

fn ms(us: i64) -> f64 {
    us as f64 / 1_000.0
}

fn end_ms(plan: &Plan, verdict: &Verdict, last_ms: Option<f64>, events: &[Entry]) -> f64 {
    let load_ended_us = events
        .iter()
        .find(|entry| matches!(entry.event, Event::LoadEnded(_)))
        .map(|entry| entry.at_us);
    let last_heal_ms = verdict
        .faults
        .iter()
        .filter_map(|fault| fault.healed_ms)
        .reduce(f64::max);
    let measured = [load_ended_us.map(ms), last_ms, last_heal_ms];
    match measured.into_iter().flatten().reduce(f64::max) {
        Some(end) if end > 0.0 => end,
        _ => (plan.schedule.total_ms as f64).max(1_000.0),
    }
}

fn phase_spans(events: &[Entry], end_ms: f64) -> Vec<PhaseSpan> {
    let starts: Vec<(f64, Phase)> = events
        .iter()
        .filter_map(|entry| match entry.event {
            Event::Phase { phase, .. } => Some((ms(entry.at_us), phase)),
            _ => None,
        })
        .collect();
    let mut spans = Vec::new();
    for (index, &(from_ms, phase)) in starts.iter().enumerate() {
        let to_ms = starts.get(index + 1).map_or(end_ms, |next| next.0).min(end_ms);
        let from_ms = from_ms.max(0.0);
        if from_ms < to_ms {
            spans.push(PhaseSpan { phase, from_ms, to_ms });
        }
    }
    spans
}

fn fault_spans(records: &[FaultRecord], gate_ms: Option<f64>) -> Vec<FaultSpan> {
    records
        .iter()
        .enumerate()
        .map(|(index, record)| FaultSpan {
            number: index + 1,
            name: record.name.clone(),
            planned_ms: record.planned_ms.zip(gate_ms).map(|(after, gate)| gate + after as f64),
            effective_ms: record.effective_ms,
            healed_ms: record.healed_ms,
        })
        .collect()
}

/// How operations ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub ok: u64,
    pub fail: u64,
    pub info: u64,
}

impl Counts {
    /// All that arrived.
    pub fn total(&self) -> u64 {
        self.ok + self.fail + self.info
    }

    /// Share that ended `ok`, in percent; absent if none arrived.
    pub fn ok_percent(&self) -> Option<f64> {
        match self.total() {
            0 => None,
            total => Some(self.ok as f64 / total as f64 * 100.0),
        }
    }

    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Ok => self.ok += 1,
            Outcome::Fail => self.fail += 1,
            Outcome::Info => self.info += 1,
        }
    }
}

/// What some operations of a kind came to. A quantile that lies among those that did not end `ok` is infinite: whoever
/// was not served waited longest of all.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Tally {
    pub counts: Counts,
    /// Absent if none arrived.
    pub p50_ms: Option<f64>,
    /// Absent if none arrived.
    pub p99_ms: Option<f64>,
}

/// Collects operations into a [`Tally`].
#[derive(Debug, Clone, Default)]
struct Tallying {
    counts: Counts,
    latencies_us: Vec<u64>,
}

impl Tallying {
    fn add(&mut self, op: &Op<'_>) {
        self.counts.add(op.outcome);
        if op.outcome == Outcome::Ok {
            self.latencies_us.push(op.latency_us());
        }
    }

    fn finish(mut self) -> Tally {
        self.latencies_us.sort_unstable();
        let quantile = |permille| quantile_ms(&self.latencies_us, self.counts.total(), permille);
        Tally {
            counts: self.counts,
            p50_ms: quantile(500),
            p99_ms: quantile(990),
        }
    }
}

/// Nearest rank among `total` operations, of which those beyond `sorted_us` are the longest.
fn quantile_ms(sorted_us: &[u64], total: u64, permille: u64) -> Option<f64> {
    let rank = (total * permille).div_ceil(1_000).checked_sub(1)?;
    Some(
        sorted_us
            .get(rank as usize)
            .map_or(f64::INFINITY, |&us| us as f64 / 1_000.0),
    )
}

/// One kind of operation over the run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct OperationSeries {
    pub operation: String,
    pub bin_ms: u64,
    /// From 0 to the end of the axis, without gaps.
    pub bins: Vec<Tally>,
    /// The whole run.
    pub whole: Tally,
    /// Up to the first effect of a fault; the whole run where there was none.
    pub before: Tally,
    /// From the first effect to the last heal.
    pub during: Option<Tally>,
    /// From the last heal.
    pub after: Option<Tally>,
}

/// Every kind of operation that the plan or the history names.
pub(super) fn operations(plan: &Plan, history: &History<'_>, timeline: &Timeline) -> Vec<OperationSeries> {
    let mut by_kind: BTreeMap<&str, Vec<&Op<'_>>> = plan
        .workload
        .rates
        .keys()
        .map(|kind| (kind.as_str(), Vec::new()))
        .collect();
    for op in &history.ops {
        by_kind.entry(&op.kind).or_default().push(op);
    }
    by_kind
        .into_iter()
        .map(|(kind, ops)| operation(kind, &ops, timeline))
        .collect()
}

fn operation(kind: &str, ops: &[&Op<'_>], timeline: &Timeline) -> OperationSeries {
    let bin_ms = bin_ms(timeline.end_ms, ops.len());
    let mut bins = vec![Tallying::default(); bin_count(timeline.end_ms, bin_ms)];
    let mut whole = Tallying::default();
    let mut windows = [const { None }; 3];
    for op in ops {
        let at_ms = op.intended_us as f64 / 1_000.0;
        whole.add(op);
        windows[window(at_ms, timeline)]
            .get_or_insert_with(Tallying::default)
            .add(op);
        let bin = (op.intended_us / (bin_ms * 1_000)) as usize;
        let last = bins.len() - 1;
        bins[bin.min(last)].add(op);
    }
    let [before, during, after] = windows.map(|window: Option<Tallying>| window.map(Tallying::finish));
    OperationSeries {
        operation: kind.to_owned(),
        bin_ms,
        bins: bins.into_iter().map(Tallying::finish).collect(),
        whole: whole.finish(),
        before: before.unwrap_or_default(),
        during,
        after,
    }
}

/// 0 before any effect, 1 until the last heal, 2 after it.
fn window(at_ms: f64, timeline: &Timeline) -> usize {
    match (timeline.first_effect_ms, timeline.last_heal_ms) {
        (Some(first), _) if at_ms < first => 0,
        (Some(_), Some(last)) if at_ms >= last => 2,
        (Some(_), _) => 1,
        (None, _) => 0,
    }
}

/// The narrowest bin that holds enough arrivals and does not make too many bins.
fn bin_ms(end_ms: f64, arrivals: usize) -> u64 {
    let per_ms = arrivals as f64 / end_ms;
    let wide_enough = |width: u64| end_ms / width as f64 <= BINS_MAX as f64;
    let full_enough = |width: u64| arrivals == 0 || per_ms * width as f64 >= ARRIVALS_PER_BIN;
    let telling = BIN_WIDTHS_MS
        .into_iter()
        .filter(|&width| width <= BIN_MS_MIN.max((end_ms / 20.0) as u64))
        .find(|&width| wide_enough(width) && full_enough(width));
    // A rare operation would need bins so wide that no outage showed: then a second must do, nearly empty or not.
    telling
        .or_else(|| {
            BIN_WIDTHS_MS
                .into_iter()
                .find(|&width| width >= 1_000 && wide_enough(width))
        })
        .unwrap_or((end_ms / BINS_MAX as f64).ceil() as u64)
}

fn bin_count(end_ms: f64, bin_ms: u64) -> usize {
    ((end_ms / bin_ms as f64).ceil() as usize).max(1)
}

/// The load as a whole.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LoadSeries {
    pub bin_ms: u64,
    /// Arrivals in each bin.
    pub arrivals: Vec<u64>,
    /// Of these, the ones that found the in-flight cap full.
    pub dropped: Vec<u64>,
    /// Operations in flight at the end of each bin.
    pub in_flight: Vec<u64>,
}

/// Arrivals, drops and operations in flight over the run.
pub(super) fn load(history: &History<'_>, timeline: &Timeline) -> LoadSeries {
    let bin_ms = BIN_WIDTHS_MS
        .into_iter()
        .find(|&width| timeline.end_ms / width as f64 <= BINS_MAX as f64)
        .unwrap_or((timeline.end_ms / BINS_MAX as f64).ceil() as u64);
    let bins = bin_count(timeline.end_ms, bin_ms);
    let bin_of = |us: u64| ((us / (bin_ms * 1_000)) as usize).min(bins);
    let mut arrivals = vec![0; bins + 1];
    let mut dropped = vec![0; bins + 1];
    let mut change = vec![0_i64; bins + 1];
    for op in &history.ops {
        // The last bin takes what arrives at the very end of the axis.
        let arrived = bin_of(op.intended_us).min(bins - 1);
        arrivals[arrived] += 1;
        if op.error.as_deref() == Some(Op::DROPPED) {
            dropped[arrived] += 1;
        } else {
            change[arrived] += 1;
            change[bin_of(op.done_us)] -= 1;
        }
    }
    arrivals.truncate(bins);
    dropped.truncate(bins);
    let in_flight = change[..bins]
        .iter()
        .scan(0_i64, |now, change| {
            *now += change;
            Some((*now).max(0) as u64)
        })
        .collect();
    LoadSeries {
        bin_ms,
        arrivals,
        dropped,
        in_flight,
    }
}

/// A gauge over the run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GaugeSeries {
    pub metric: String,
    /// Time and reading; a reading that could not be had is a gap.
    pub points: Vec<(f64, Option<f64>)>,
    /// Readings that each point stands for; the greatest of them is shown.
    pub readings_per_point: usize,
    /// The greatest reading; absent if there is none.
    pub max: Option<f64>,
}

/// Every gauge, the ones without a reading included.
pub(super) fn gauges(plan: &Plan, history: &History<'_>) -> Vec<GaugeSeries> {
    let mut by_metric: BTreeMap<&str, Vec<(f64, Option<f64>)>> = plan
        .system
        .metrics
        .keys()
        .map(|metric| (metric.as_str(), Vec::new()))
        .collect();
    for sample in &history.samples {
        let value = sample.value.filter(|value| value.is_finite());
        by_metric
            .entry(&sample.metric)
            .or_default()
            .push((sample.at_us as f64 / 1_000.0, value));
    }
    by_metric
        .into_iter()
        .map(|(metric, readings)| gauge(metric, readings))
        .collect()
}

fn gauge(metric: &str, readings: Vec<(f64, Option<f64>)>) -> GaugeSeries {
    let readings_per_point = readings.len().div_ceil(BINS_MAX).max(1);
    let greatest = |readings: &[(f64, Option<f64>)]| readings.iter().filter_map(|&(_, value)| value).reduce(f64::max);
    GaugeSeries {
        metric: metric.to_owned(),
        max: greatest(&readings),
        points: readings
            .chunks(readings_per_point)
            .map(|chunk| (chunk[0].0, greatest(chunk)))
            .collect(),
        readings_per_point,
    }
}
