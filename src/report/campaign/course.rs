//! How a run went over time, condensed to what a page can draw: gathered in one pass over its history.

use serde::{Deserialize, Serialize};

use super::binned::{BIN_US_MIN, Binned, Spread, Sum};
use super::waits::{self, Waits};
use crate::event::Entry;
use crate::history::pass::Keeper;
use crate::history::{Op, Outcome, Sample};
use crate::plan::Plan;
use crate::report::series::Timeline;
use crate::system::definition::Unit;
use crate::verdict::{Recovery, Stretch, Verdict};

/// Bins of a line at most.
const BINS_SHOWN_MAX: usize = 96;

/// Arrivals that a bin should hold on average for a rate to say something.
const ARRIVALS_PER_BIN: u64 = 8;

/// For so many of its intervals a reading stands for the gauge.
const FRESH_INTERVALS: u64 = 4;

/// Operations, and gauges, that are followed at most: more than any system has, and no more than memory bears.
const NAMES_MAX: usize = 200;

/// How a run went. Times are milliseconds since the load started; operations belong to their intended time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Course {
    /// Phases, faults as measured, and the moments that the recovery figures are counted between.
    pub timeline: Timeline,
    /// The recovery figures, with the stretches of bad time.
    pub recovery: Recovery,
    /// All operations together.
    pub load: LoadCourse,
    /// Each operation.
    pub operations: Vec<OperationCourse>,
    /// Each gauge, backlogs first.
    pub gauges: Vec<GaugeCourse>,
}

/// Arrivals over time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadCourse {
    /// The width of a bin.
    pub bin_ms: u64,
    /// How many arrived in each bin.
    pub arrived: Vec<u64>,
    /// Those of them that found the in-flight cap full.
    pub dropped: Vec<u64>,
}

/// An operation over time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OperationCourse {
    /// Its key in `system.operations`.
    pub operation: String,
    /// What a customer does by it; empty if the system does not say.
    pub title: String,
    /// When it was disrupted, by its business service's tolerance.
    pub disrupted: Vec<Stretch>,
    /// The width of a bin.
    pub bin_ms: u64,
    /// How many arrived in each bin.
    pub arrived: Vec<u64>,
    /// How many of them were served in the end.
    pub ok: Vec<u64>,
    /// Median latency from the intended time, whoever was not served counting as longest; absent where it lies among those,
    /// and where nobody arrived.
    pub p50_ms: Vec<Option<f64>>,
    /// The 99th percentile, likewise.
    pub p99_ms: Vec<Option<f64>>,
    /// Median latency of those who were served before the first fault took effect (without one: before the gate passed); absent
    /// if there is no such time, or if nobody was.
    pub usual_ms: Option<f64>,
    /// Who waited from then on; absent where nothing tells what is usual, or if nobody did.
    pub waits: Option<Waits>,
}

/// A gauge over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GaugeCourse {
    /// Its key in `system.metrics`.
    pub metric: String,
    /// What it tells; empty if the system does not say.
    pub title: String,
    /// Whether it counts something or is a time.
    pub unit: Unit,
    /// Whether it must drain.
    pub is_backlog: bool,
    /// The width of a bin.
    pub bin_ms: u64,
    /// The greatest reading of each bin; absent where there was none.
    pub greatest: Vec<Option<f64>>,
}

impl GaugeCourse {
    /// The greatest reading of all.
    pub fn peak(&self) -> Option<f64> {
        self.greatest.iter().flatten().copied().reduce(f64::max)
    }

    /// The one reading that it had all the time, if it never changed and never was missing.
    pub fn unchanged(&self) -> Option<f64> {
        let first = (*self.greatest.first()?)?;
        self.greatest
            .iter()
            .all(|reading| *reading == Some(first))
            .then_some(first)
    }
}

impl OperationCourse {
    /// Share of a bin's arrivals that were served, in percent; none if nobody arrived.
    pub fn ok_percent(&self, bin: usize) -> Option<f64> {
        let (arrived, ok) = (*self.arrived.get(bin)?, *self.ok.get(bin)?);
        (arrived > 0).then(|| ok as f64 / arrived as f64 * 100.0)
    }
}

/// What a pass over a history gathers.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    operations: Vec<(String, Binned<Served>)>,
    load: Binned<Arrivals>,
    gauges: Vec<(String, Binned<Readings>)>,
    last_us: u64,
}

#[derive(Debug, Clone, Default)]
struct Served {
    arrived: u64,
    ok: u64,
    latencies: Spread,
}

impl Sum for Served {
    fn add(&mut self, later: Self) {
        self.arrived += later.arrived;
        self.ok += later.ok;
        self.latencies.add(later.latencies);
    }
}

impl Served {
    /// Nearest rank among all that arrived, of whom those that were not served waited longest.
    fn quantile_ms(&self, permille: u64) -> Option<f64> {
        let place = (self.arrived * permille).div_ceil(1_000).checked_sub(1)?;
        self.latencies.at(place).map(|us| us as f64 / 1_000.0)
    }
}

#[derive(Debug, Clone, Default)]
struct Arrivals {
    arrived: u64,
    dropped: u64,
}

impl Sum for Arrivals {
    fn add(&mut self, later: Self) {
        self.arrived += later.arrived;
        self.dropped += later.dropped;
    }
}

#[derive(Debug, Clone, Default)]
struct Readings {
    greatest: Option<f64>,
    failed: bool,
}

impl Sum for Readings {
    fn add(&mut self, later: Self) {
        self.greatest = [self.greatest, later.greatest].into_iter().flatten().reduce(f64::max);
        self.failed |= later.failed;
    }
}

/// What is kept of that name; nothing beyond [`NAMES_MAX`] names.
fn named<'k, T: Default>(kept: &'k mut Vec<(String, T)>, name: &str) -> Option<&'k mut T> {
    let place = match kept.iter().position(|(known, _)| known == name) {
        Some(place) => place,
        None if kept.len() == NAMES_MAX => return None,
        None => {
            kept.push((name.to_owned(), T::default()));
            kept.len() - 1
        }
    };
    Some(&mut kept[place].1)
}

impl Keeper for Gathering {
    fn op(&mut self, op: &Op<'_>) {
        self.last_us = self.last_us.max(op.intended_us);
        let arrivals = self.load.at(op.intended_us);
        arrivals.arrived += 1;
        arrivals.dropped += u64::from(op.error.as_deref() == Some(Op::DROPPED));
        if let Some(operation) = named(&mut self.operations, &op.kind) {
            let served = operation.at(op.intended_us);
            served.arrived += 1;
            if op.outcome == Outcome::Ok {
                served.ok += 1;
                served.latencies.note(op.latency_us());
            }
        }
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        self.last_us = self.last_us.max(sample.at_us);
        if let Some(gauge) = named(&mut self.gauges, &sample.metric) {
            let reading = sample.value.filter(|value| value.is_finite());
            gauge.at(sample.at_us).add(Readings {
                greatest: reading,
                failed: reading.is_none(),
            });
        }
    }

    fn join(&mut self, later: Self) {
        self.last_us = self.last_us.max(later.last_us);
        self.load.join(later.load);
        for (name, bins) in later.operations {
            if let Some(known) = named(&mut self.operations, &name) {
                known.join(bins);
            }
        }
        for (name, bins) in later.gauges {
            if let Some(known) = named(&mut self.gauges, &name) {
                known.join(bins);
            }
        }
    }
}

impl Gathering {
    /// Whether there was any load.
    pub(super) fn is_empty(&self) -> bool {
        self.operations.is_empty() && self.gauges.is_empty()
    }

    /// The course of the run that was gone through.
    pub(super) fn course(mut self, plan: &Plan, verdict: &Verdict, events: &[Entry]) -> Course {
        let last_ms = (!self.is_empty()).then(|| self.last_us as f64 / 1_000.0);
        let timeline = Timeline::laid_out(plan, verdict, last_ms, events);
        let end_us = (timeline.end_ms * 1_000.0) as u64;
        // An operation of the plan without an arrival is told, too.
        for kind in plan.workload.rates.keys() {
            named(&mut self.operations, kind);
        }
        self.operations.sort_by(|one, other| one.0.cmp(&other.0));
        let operations = self.operations.into_iter();
        let mut gauges: Vec<GaugeCourse> = self
            .gauges
            .into_iter()
            .map(|(metric, bins)| gauge(plan, metric, bins, end_us))
            .collect();
        gauges.sort_by(|one, other| (!one.is_backlog, &one.metric).cmp(&(!other.is_backlog, &other.metric)));
        Course {
            recovery: verdict.recovery.clone(),
            load: load(self.load, end_us),
            operations: operations
                .map(|(kind, bins)| {
                    let bins = shown(bins, end_us);
                    operation(plan, verdict, kind, bins, timeline.first_effect_ms.or(timeline.gate_ms))
                })
                .collect(),
            gauges,
            timeline,
        }
    }
}

fn load(bins: Binned<Arrivals>, end_us: u64) -> LoadCourse {
    let (bin_ms, bins) = bins.shown(end_us, BINS_SHOWN_MAX, |_| true);
    LoadCourse {
        bin_ms,
        arrived: bins.iter().map(|bin| bin.arrived).collect(),
        dropped: bins.iter().map(|bin| bin.dropped).collect(),
    }
}

/// The bins of an operation, with their width in milliseconds.
fn shown(bins: Binned<Served>, end_us: u64) -> (u64, Vec<Served>) {
    let arrived: u64 = bins.total(|bin| bin.arrived);
    // A rare operation would need bins so wide that no outage showed: then a second must do, nearly empty or not.
    let widest_us = (end_us / 20).max(1_000_000);
    let is_full = |width_us: u64| arrived as f64 * width_us as f64 >= ARRIVALS_PER_BIN as f64 * end_us as f64;
    bins.shown(end_us, BINS_SHOWN_MAX, |width_us| {
        is_full(width_us) || width_us * 2 > widest_us.max(BIN_US_MIN)
    })
}

/// `since_ms` is when something first could be noticed.
fn operation(
    plan: &Plan,
    verdict: &Verdict,
    kind: String,
    (bin_ms, bins): (u64, Vec<Served>),
    since_ms: Option<f64>,
) -> OperationCourse {
    let definition = plan.system.operations.get(&kind);
    let customers: Vec<waits::Bin<'_>> = bins
        .iter()
        .map(|bin| waits::Bin {
            arrived: bin.arrived,
            latencies: &bin.latencies,
        })
        .collect();
    let usual_ms = since_ms.and_then(|since_ms| waits::usual_ms(&customers, bin_ms, since_ms));
    let waits = since_ms.zip(usual_ms);
    let waits = waits.map(|(since_ms, usual_ms)| waits::waits(&customers, bin_ms, since_ms, usual_ms));
    let impact = verdict.operations.iter().find(|impact| impact.operation == kind);
    OperationCourse {
        title: definition
            .map(|definition| definition.title.clone())
            .unwrap_or_default(),
        disrupted: impact.map(|impact| impact.disrupted.clone()).unwrap_or_default(),
        operation: kind,
        bin_ms,
        arrived: bins.iter().map(|bin| bin.arrived).collect(),
        ok: bins.iter().map(|bin| bin.ok).collect(),
        p50_ms: bins.iter().map(|bin| bin.quantile_ms(500)).collect(),
        p99_ms: bins.iter().map(|bin| bin.quantile_ms(990)).collect(),
        usual_ms,
        waits: waits.filter(|waits| waits.waited > 0),
    }
}

fn gauge(plan: &Plan, metric: String, bins: Binned<Readings>, end_us: u64) -> GaugeCourse {
    let (bin_ms, bins) = bins.shown(end_us, BINS_SHOWN_MAX, |_| true);
    let definition = plan.system.metrics.get(&metric);
    let fresh_ms = definition.map_or(0, |definition| definition.every.0 * FRESH_INTERVALS);
    GaugeCourse {
        title: definition
            .map(|definition| definition.title.clone())
            .unwrap_or_default(),
        unit: definition.map(|definition| definition.unit).unwrap_or_default(),
        is_backlog: plan.system.backlogs.iter().any(|backlog| backlog.metric == metric),
        metric,
        bin_ms,
        greatest: standing(&bins, fresh_ms.div_ceil(bin_ms.max(1)) as usize),
    }
}

/// The readings, each standing for so many bins that have none. One that failed stands for nothing.
fn standing(bins: &[Readings], bins_max: usize) -> Vec<Option<f64>> {
    let (mut last, mut age) = (None, 0);
    let of = |bin: &Readings| {
        (last, age) = match (bin.greatest, bin.failed) {
            (Some(reading), _) => (Some(reading), 0),
            (None, true) => (None, 0),
            (None, false) => (last, age + 1),
        };
        last.filter(|_| age <= bins_max)
    };
    bins.iter().map(of).collect()
}
