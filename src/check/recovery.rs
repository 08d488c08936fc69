//! Recovery, as customers see it.
//!
//! Time is cut into bins (see [`super::bins`]) that are judged by the probes of the steady state and by the backlogs.
//! Service is *degraded* from two bad bins in a row. It has *recovered* at the start of the first run of good bins that
//! lasts as long as the plan says, with every backlog at its drained value or below, and with final reads that
//! succeeded. `recovery_time` counts from the last heal, `disruption` from the first effect, both as observed.
//! Established connections that take their time are part of it: what counts is what customers see. No recovery while the
//! load lasted: the time is censored, and the assertion has failed. So it has where the disruption was longer than the plan
//! allows. Still degraded then, at a load no higher than when
//! the fault took effect: metastable.
//!
//! Rates that change need nothing more: bins count the operations that came, not those that a rate makes one expect. Where
//! few come a window is widened, as for any rare operation, and where none come for long the bins cannot be told, which
//! is a doubt where they matter. A load that has risen explains a degradation that stays, so it is not called metastable.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::bins::{self, BIN_US, Level, Signal};
use super::timeline::Timeline;
use crate::history::load::History;
use crate::plan::{Bound, Compare, Measure, Plan, RecoveryPlan};
use crate::verdict::{Degraded, Finding, Judgement, Recovery, Violation};

/// A backlog is drained when every reading of a rolling second says so.
const MAX_PERMILLE: u32 = 1_000;

/// What recovery is measured on. Times are microseconds since the load started.
#[derive(Debug, Clone)]
pub struct Course {
    /// Levels of each operation, metric and backlog, by name, all of the same length.
    pub levels: BTreeMap<String, Vec<Level>>,
    /// Names in `levels` that are backlogs.
    pub backlogs: Vec<String>,
    /// When the gate passed; what was before it is nobody's degradation.
    pub gate_us: u64,
    /// When the first fault was seen in effect.
    pub effect_us: u64,
    /// When the last fault was seen healed.
    pub heal_us: u64,
    /// From the heal to the start of the run of good bins.
    pub within_us: u64,
    /// How long that run must last.
    pub stable_us: u64,
    /// How the load at its end compares with the load when the first fault took effect.
    pub load_at_end: Ordering,
}

/// Whether and when there was a run of good bins that lasted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    /// In time, or not, beginning with this bin.
    From(usize),
    /// There was none.
    None,
    /// There may have been one: bins that cannot be told, or a load that ended too soon.
    Perhaps,
}

/// Measures recovery over a saved run. Loss is not filled in.
pub(super) fn measure(
    plan: &Plan,
    recovery: &RecoveryPlan,
    history: &History<'_>,
    timeline: &Timeline<'_>,
) -> Option<(Recovery, Finding)> {
    let (effect_us, heal_us) = (timeline.first_effect_us()?, timeline.last_heal_us()?);
    let course = Course {
        levels: levels(plan, history, (timeline.load_end_us / BIN_US) as usize),
        backlogs: plan
            .system
            .backlogs
            .iter()
            .map(|backlog| backlog.metric.clone())
            .collect(),
        gate_us: timeline.gate.map_or(0, |(at_us, ..)| at_us),
        effect_us,
        heal_us,
        within_us: recovery.within_ms * 1_000,
        stable_us: recovery.stable_for_ms * 1_000,
        load_at_end: load_at_end(plan, recovery, timeline.load_end_us, effect_us),
    };
    let (mut measured, mut finding) = course.measure();
    let in_effect = |at_us: u64| at_us >= effect_us;
    finding.samples = history.ops.iter().filter(|op| in_effect(op.intended_us)).count() as u64;
    if measured.backlog_drained_ms.is_none() && !course.backlogs.is_empty() {
        measured.backlog_drained_ms = drained_later_ms(&course, timeline);
    }
    require_reads(plan, history, &mut finding);
    if let Some(most_ms) = recovery.disrupted_for_ms {
        limit_disruption(measured.disruption_ms, most_ms, &mut finding);
    }
    Some((measured, finding))
}

/// Service that came back in time may have been away for too long all the same.
fn limit_disruption(disruption_ms: Option<f64>, most_ms: u64, finding: &mut Finding) {
    let Some(disruption_ms) = disruption_ms else { return };
    if disruption_ms > most_ms as f64 {
        finding.verdict = Judgement::Fail;
        finding.detail = format!(
            "service was disrupted for {:.3} s, of {:.3} s at most; {}",
            disruption_ms / 1e3,
            most_ms as f64 / 1e3,
            finding.detail
        );
    }
}

/// How the load of the last while, as long as good time must last, compares with that of the instant of the effect: if any
/// operation came more often it was higher, whatever the others did.
fn load_at_end(plan: &Plan, recovery: &RecoveryPlan, end_us: u64, effect_us: u64) -> Ordering {
    let (end_ms, while_ms) = (ms(end_us), recovery.stable_for_ms as f64);
    let compared = plan.workload.rates.values().map(|rate| {
        if !rate.is_changing() {
            return Ordering::Equal;
        }
        let last = rate.expected_until(end_ms) - rate.expected_until(end_ms - while_ms);
        let as_before = rate.at(ms(effect_us)) * while_ms / 1_000.0;
        match (last - as_before).abs() < 1e-6 * as_before {
            true => Ordering::Equal,
            false => last.total_cmp(&as_before),
        }
    });
    let rank = |ordering: &Ordering| match ordering {
        Ordering::Equal => 0,
        Ordering::Less => 1,
        Ordering::Greater => 2,
    };
    compared.max_by_key(rank).unwrap_or(Ordering::Equal)
}

/// Levels by operation, metric and backlog.
fn levels(plan: &Plan, history: &History<'_>, count: usize) -> BTreeMap<String, Vec<Level>> {
    let backlogs = plan.system.backlogs.iter().map(|backlog| {
        let measure = Measure::Metric {
            metric: backlog.metric.clone(),
            quantile_permille: MAX_PERMILLE,
        };
        let tolerance = Bound {
            compare: Compare::AtMost,
            value: backlog.drained,
        };
        (measure, tolerance)
    });
    let of = |measure: &Measure, tolerance| Signal::collect(measure, tolerance, history, count).levels();
    let probes = plan
        .gate
        .probes
        .iter()
        .map(|probe| (&probe.measure, of(&probe.measure, probe.tolerance)));
    let backlogs: Vec<(Measure, Bound)> = backlogs.collect();
    let backlogs = backlogs
        .iter()
        .map(|(measure, tolerance)| (measure, without_spikes(of(measure, *tolerance))));
    let mut levels: BTreeMap<String, Vec<Level>> = BTreeMap::new();
    for (measure, found) in probes.chain(backlogs) {
        match levels.get_mut(bins::name(measure)) {
            Some(known) => known
                .iter_mut()
                .zip(found)
                .for_each(|(known, found)| *known = both(*known, found)),
            None => {
                levels.insert(bins::name(measure).to_owned(), found);
            }
        }
    }
    levels
}

/// A backlog that is there for one bin alone is work in progress.
fn without_spikes(mut levels: Vec<Level>) -> Vec<Level> {
    for stretch in levels.chunk_by_mut(|one, other| one == other) {
        if let [spike @ Level::Bad] = stretch {
            *spike = Level::Good;
        }
    }
    levels
}

/// A bin that is judged by two measures.
fn both(one: Level, other: Level) -> Level {
    match (one, other) {
        (Level::Bad, _) | (_, Level::Bad) => Level::Bad,
        (Level::Unknown, _) | (_, Level::Unknown) => Level::Unknown,
        _ => Level::Good,
    }
}

/// When the backlogs drained, where that was after the load had ended.
fn drained_later_ms(course: &Course, timeline: &Timeline<'_>) -> Option<f64> {
    let drained = course.backlogs.iter().map(|metric| {
        let drained = timeline.drained.get(metric.as_str())?;
        drained.drained.then_some(drained.at_us)
    });
    let last_us = drained.collect::<Option<Vec<u64>>>()?.into_iter().max()?;
    Some(ms(last_us.saturating_sub(course.heal_us)))
}

/// A system whose lists cannot be read has not recovered; one whose lists nobody asked for may have.
fn require_reads(plan: &Plan, history: &History<'_>, finding: &mut Finding) {
    for name in plan.system.final_reads.keys() {
        let (verdict, problem) = match history.reads.get(name) {
            Some(list) if list.complete => continue,
            Some(list) => {
                let verdict = if list.failed {
                    Judgement::Fail
                } else {
                    Judgement::Inconclusive
                };
                (verdict, list.problem.clone().unwrap_or_default())
            }
            None => (Judgement::Inconclusive, "it was not made".to_owned()),
        };
        finding.verdict = finding.verdict.max(verdict);
        finding.evidence.push(format!("final read `{name}`: {problem}"));
        finding.detail = format!("the final read `{name}` did not succeed; {}", finding.detail);
    }
}

fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}

fn seconds(us: u64) -> String {
    format!("{:.3} s", us as f64 / 1e6)
}

impl Course {
    /// Measures recovery and judges it.
    pub fn measure(&self) -> (Recovery, Finding) {
        let joint = self.joint();
        let degraded = self.degraded();
        let touched = |stretch: &Degraded| stretch.to_ms > ms(self.effect_us / BIN_US * BIN_US);
        let mut recovery = Recovery {
            backlog_drained_ms: self.backlog_drained_ms(&joint, &degraded),
            ..Recovery::default()
        };
        let (verdict, detail) = match degraded.iter().any(touched) {
            true => self.judge_degraded(&joint, &degraded, &mut recovery),
            false => self.judge_undegraded(&joint, &mut recovery),
        };
        let lines = degraded.iter().map(|stretch| {
            let (from_s, to_s) = (stretch.from_ms / 1e3, stretch.to_ms / 1e3);
            format!(
                "`{}` outside its tolerance from {from_s:.2} s to {to_s:.2} s",
                stretch.operation
            )
        });
        let evidence = lines.chain(self.untold()).take(Finding::EVIDENCE_MAX).collect();
        recovery.degraded = degraded;
        let finding = Finding {
            verdict,
            detail,
            evidence,
            samples: 0,
            first: self.late(&recovery.degraded).filter(|_| verdict == Judgement::Fail),
        };
        (recovery, finding)
    }

    /// What was outside its tolerance when good time should have begun, or was next after that.
    fn late(&self, degraded: &[Degraded]) -> Option<Violation> {
        let due_ms = ms(self.heal_us + self.within_us);
        let later = degraded.iter().filter(|stretch| stretch.to_ms > due_ms);
        let first = later.min_by(|one, other| one.from_ms.max(due_ms).total_cmp(&other.from_ms.max(due_ms)))?;
        let at_ms = first.from_ms.max(due_ms);
        Some(Violation {
            at_ms: Some(at_ms),
            operation: Some(first.operation.clone()),
            key: None,
            text: format!(
                "`{}` was outside its tolerance at {:.2} s, and good time was to begin by {:.2} s",
                first.operation,
                at_ms / 1e3,
                due_ms / 1e3
            ),
        })
    }

    /// Everything together.
    fn joint(&self) -> Vec<Level> {
        let mut all = self.levels.values();
        let Some(mut joint) = all.next().cloned() else {
            return Vec::new();
        };
        for levels in all {
            joint
                .iter_mut()
                .zip(levels)
                .for_each(|(joint, level)| *joint = both(*joint, *level));
        }
        joint
    }

    /// Stretches of two bad bins in a row or more, after the gate.
    fn degraded(&self) -> Vec<Degraded> {
        let of = |(name, levels): (&String, &Vec<Level>)| {
            let stretches = bins::bad_stretches(levels, self.gate_us);
            let degraded = stretches.into_iter().map(|stretch| Degraded {
                operation: name.clone(),
                from_ms: ms(stretch.start as u64 * BIN_US),
                to_ms: ms(stretch.end as u64 * BIN_US),
            });
            degraded.collect::<Vec<_>>()
        };
        self.levels.iter().flat_map(of).collect()
    }

    /// The bin in which the heal was seen.
    fn heal_bin(&self) -> usize {
        (self.heal_us / BIN_US) as usize
    }

    fn stable_bins(&self) -> usize {
        (self.stable_us.div_ceil(BIN_US) as usize).max(1)
    }

    /// The last bin with which the run of good bins may begin.
    fn latest_bin(&self) -> usize {
        ((self.heal_us + self.within_us) / BIN_US) as usize
    }

    /// The first run of good bins that lasts, if it begins with one of these bins.
    fn run(&self, joint: &[Level], starts: std::ops::RangeInclusive<usize>) -> Run {
        let mut found = Run::None;
        for start in starts {
            let wanted = joint.get(start..).unwrap_or_default();
            let lasting = &wanted[..wanted.len().min(self.stable_bins())];
            if lasting.contains(&Level::Bad) {
                continue;
            }
            if lasting.len() == self.stable_bins() && !lasting.contains(&Level::Unknown) {
                return Run::From(start);
            }
            found = Run::Perhaps;
        }
        found
    }

    fn judge_undegraded(&self, joint: &[Level], recovery: &mut Recovery) -> (Judgement, String) {
        let first = self.heal_bin();
        let after = joint.get(first..first + self.stable_bins());
        match after {
            Some(after) if !after.contains(&Level::Unknown) => {
                recovery.recovery_time_ms = Some(0.0);
                recovery.disruption_ms = Some(0.0);
                let lasted = seconds(self.stable_us);
                (
                    Judgement::Pass,
                    format!(
                        "service was not seen degraded (outside its tolerance for more than {} ms on end), neither under the \
                         fault nor in the {lasted} after the heal",
                        BIN_US / 1_000
                    ),
                )
            }
            Some(_) => (
                Judgement::Inconclusive,
                "too few operations or readings after the heal to tell good time from bad".to_owned(),
            ),
            None => (
                Judgement::Inconclusive,
                format!(
                    "the load ended before good time could last {} after the heal",
                    seconds(self.stable_us)
                ),
            ),
        }
    }

    fn judge_degraded(&self, joint: &[Level], degraded: &[Degraded], recovery: &mut Recovery) -> (Judgement, String) {
        let (first, latest) = (self.heal_bin(), self.latest_bin());
        let within = seconds(self.within_us);
        let stable = seconds(self.stable_us);
        let in_time = self.run(joint, first..=latest);
        let run = match in_time {
            Run::None => self.run(joint, latest + 1..=joint.len().max(latest + 1)),
            found => found,
        };
        match (in_time, run) {
            (_, Run::From(start)) => {
                self.recovered(joint, start, recovery);
                let took = format!(
                    "and stable for {stable}; disrupted for {:.3} s",
                    recovery.disruption_ms.unwrap_or_default() / 1e3,
                );
                let time = format!(
                    "recovered {:.3} s after the heal",
                    recovery.recovery_time_ms.unwrap_or_default() / 1e3
                );
                match in_time {
                    Run::From(_) => (Judgement::Pass, format!("{time} (within {within}) {took}")),
                    _ => (Judgement::Fail, format!("{time} (later than within {within}) {took}")),
                }
            }
            (Run::None, _) => {
                let end_us = joint.len() as u64 * BIN_US;
                let lasted_us = end_us.saturating_sub(self.heal_us);
                let is_last = |stretch: &Degraded| stretch.to_ms >= ms(end_us);
                recovery.censored = true;
                let to_the_end = degraded.iter().any(is_last);
                recovery.metastable = to_the_end && self.load_at_end != Ordering::Greater;
                recovery.disruption_ms = Some(ms(end_us.saturating_sub(self.effect_us)));
                let end = match self.load_at_end {
                    _ if !to_the_end => "",
                    Ordering::Equal => ", degraded to the end at unchanged load: metastable",
                    Ordering::Less => ", degraded to the end though the load fell: metastable",
                    Ordering::Greater => ", degraded to the end under a load that rose",
                };
                let lasted = seconds(lasted_us);
                (
                    Judgement::Fail,
                    format!(
                        "no good time that lasts {stable} began within {within} of the heal (recovery > {lasted}){end}"
                    ),
                )
            }
            _ => (
                Judgement::Inconclusive,
                format!(
                    "whether good time that lasts {stable} began within {within} of the heal cannot be told: too few operations or readings, or the load ended too soon"
                ),
            ),
        }
    }

    fn recovered(&self, joint: &[Level], start: usize, recovery: &mut Recovery) {
        // Good time that was there at the heal began before it.
        let earlier = joint[..start].iter().rev().take_while(|level| **level == Level::Good);
        let began = match start == self.heal_bin() {
            true => start - earlier.count(),
            false => start,
        };
        let began_us = began as u64 * BIN_US;
        recovery.recovery_time_ms = Some(ms(began_us.saturating_sub(self.heal_us)));
        recovery.disruption_ms = Some(ms(began_us.saturating_sub(self.effect_us)));
    }

    /// When the last backlog was worked off under load, from the last heal.
    fn backlog_drained_ms(&self, joint: &[Level], degraded: &[Degraded]) -> Option<f64> {
        if self.backlogs.is_empty() {
            return None;
        }
        let end_ms = ms(joint.len() as u64 * BIN_US);
        let known = |name: &String| {
            self.levels
                .get(name)
                .is_some_and(|levels| levels.last() == Some(&Level::Good))
        };
        let stretches = degraded
            .iter()
            .filter(|stretch| self.backlogs.contains(&stretch.operation));
        let last_ms = stretches.map(|stretch| stretch.to_ms).fold(0.0, f64::max);
        let drained = self.backlogs.iter().all(known) && last_ms < end_ms;
        drained.then(|| (last_ms - ms(self.heal_us)).max(0.0))
    }

    /// Names of which nothing is known from the heal on.
    fn untold(&self) -> impl Iterator<Item = String> {
        let nothing = |levels: &&Vec<Level>| {
            let after = levels.get(self.heal_bin()..).unwrap_or_default();
            !after.is_empty() && after.iter().all(|level| *level == Level::Unknown)
        };
        let untold = self.levels.iter().filter(move |(_, levels)| nothing(levels));
        untold.map(|(name, _)| format!("of `{name}` there is too little after the heal to tell"))
    }
}
