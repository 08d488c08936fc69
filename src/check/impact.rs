//! What a run did to customers and to the business: every operation by its outcome and by when it was disrupted, and every
//! business service against its impact tolerance.
//!
//! Disruption is told as degradation is (see [`super::recovery`]): two bad bins in a row or more, from the gate on, by the
//! success rate alone: whoever is served is, however late, unless the impact tolerance says within which time. The steady state's probes and the recovery that an experiment asks for play no part, so that
//! experiments can be compared, and a service is held to one tolerance in all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::bins::{BIN_US, Level, Signal, bad_stretches};
use super::invariants::Invariants;
use super::support::Support;
use super::timeline::Timeline;
use super::{Breach, probe, sample};
use crate::history::Outcome;
use crate::history::load::History;
use crate::plan::{Bound, BoundUnit, Measure, Plan};
use crate::system::definition::{BusinessService, ImpactTolerance};
use crate::verdict::{Finding, Judgement, OperationImpact, PutToTest, Safety, ServiceImpact, Stretch};

/// Checkers that find that acknowledged operations are gone.
const FIND_LOST: &[&str] = &["durable-set", "exactly-once", "ledger"];

/// Checkers that find what happened twice.
const FIND_TWICE: &[&str] = &["durable-set", "exactly-once", "device-log", "ledger"];

/// Checkers that compare two sides, or a total and its parts.
const FIND_DIFFERENCES: &[&str] = &["ledger", "device-log", "copied"];

/// Breaches that say that something happened twice.
const TWICE: &[Breach] = &[Breach::Duplicated];

/// Breaches that say that two sides, or a total and its parts, do not agree.
const DIFFERENCES: &[Breach] = &[
    Breach::Differs,
    Breach::OneLeg,
    Breach::SameAccount,
    Breach::Unbalanced,
    Breach::Total,
    Breach::Negative,
    Breach::BalanceOff,
    Breach::NotAtHost,
    Breach::InNoJournal,
    Breach::Numbering,
    Breach::NotTheSame,
    Breach::NotCopied,
    Breach::CopyDiffers,
];

/// Every operation of the load.
pub(super) fn operations(plan: &Plan, history: &History<'_>, timeline: &Timeline<'_>) -> Vec<OperationImpact> {
    let bins = (timeline.load_end_us / BIN_US) as usize;
    let gate_us = timeline.gate.map_or(0, |(at_us, ..)| at_us);
    let asked_us = timeline.first_effect_us().unwrap_or(gate_us);
    let kinds = plan.workload.rates.keys();
    let of = |kind: &String| {
        let mut impact = counted(plan, history, kind);
        let measure = Measure::SuccessRate {
            operation: kind.clone(),
        };
        let tolerance = tolerance(plan, kind);
        impact.served_within_ms = tolerance.served_within_ms;
        let most_ms = tolerance.most_ms();
        let signal = Signal::collect(&measure, tolerance.success_rate, history, bins);
        let levels = signal.served_within(most_ms).levels();
        let stretch = |bins: Range<usize>| Stretch {
            from_ms: ms((bins.start as u64 * BIN_US).max(gate_us)),
            to_ms: ms(bins.end as u64 * BIN_US),
            ..Stretch::default()
        };
        impact.disrupted = bad_stretches(&levels, gate_us).into_iter().map(stretch).collect();
        for stretch in &mut impact.disrupted {
            count(stretch, history, kind, most_ms);
        }
        impact.disrupted.retain(|stretch| stretch.arrived > 0);
        let from = (asked_us / BIN_US) as usize;
        let asked = levels.get(from..).unwrap_or_default();
        impact.is_told = timeline.gate.is_some() && !asked.is_empty() && !asked.contains(&Level::Unknown);
        impact
    };
    kinds.map(of).collect()
}

/// When an operation is disrupted.
struct Tolerance {
    /// Where fewer than this are served.
    success_rate: Bound,
    /// And in time.
    served_within_ms: Option<u64>,
}

impl Tolerance {
    fn most_ms(&self) -> f64 {
        self.served_within_ms.map_or(f64::MAX, |ms| ms as f64)
    }
}

/// That of its business service.
fn tolerance(plan: &Plan, kind: &str) -> Tolerance {
    let mut services = plan.system.business_services.values();
    let owner = services.find(|service| service.operations.iter().any(|operation| operation == kind));
    let stated = owner.map_or(ImpactTolerance::SUCCESS_RATE, |service| {
        &service.impact_tolerance.success_rate
    });
    let parse = |text| Bound::parse(text, BoundUnit::Percent).ok();
    // A plan by another hand may hold anything.
    let bound = parse(stated).or_else(|| parse(ImpactTolerance::SUCCESS_RATE));
    Tolerance {
        success_rate: bound.expect("the default is a bound"),
        served_within_ms: owner.and_then(|service| Some(service.impact_tolerance.served_within?.0)),
    }
}

fn counted(plan: &Plan, history: &History<'_>, kind: &str) -> OperationImpact {
    let mut impact = OperationImpact {
        operation: kind.to_owned(),
        title: plan
            .system
            .operations
            .get(kind)
            .map(|operation| operation.title.clone())
            .unwrap_or_default(),
        ..OperationImpact::default()
    };
    let mut latencies = Vec::new();
    for op in history.ops.iter().filter(|op| op.kind == kind) {
        impact.arrived += 1;
        match op.outcome {
            Outcome::Ok => {
                impact.ok += 1;
                latencies.push(probe::latency_ms(op));
            }
            Outcome::Fail => impact.fail += 1,
            Outcome::Info => impact.info += 1,
        }
    }
    impact.p50_ms = sample::quantile(&mut latencies, 500);
    impact.p99_ms = sample::quantile(&mut latencies, 990);
    impact
}

/// Counts who came in a stretch, and leaves it no longer than from the bin of the first to that of the last of them: where few
/// come, or all at once, windows are wider than the time that they say something of.
fn count(stretch: &mut Stretch, history: &History<'_>, kind: &str, most_ms: f64) {
    let within = |at_us: u64| ms(at_us) >= stretch.from_ms && ms(at_us) < stretch.to_ms;
    let (mut arrived, mut ok) = (0, 0);
    let (mut first_us, mut last_us) = (u64::MAX, 0);
    for op in history
        .ops
        .iter()
        .filter(|op| op.kind == kind && within(op.intended_us))
    {
        arrived += 1;
        ok += u64::from(probe::is_ok(op) && probe::latency_ms(op) <= most_ms);
        first_us = first_us.min(op.intended_us);
        last_us = last_us.max(op.intended_us);
    }
    if arrived > 0 {
        stretch.from_ms = stretch.from_ms.max(ms(first_us / BIN_US * BIN_US));
        stretch.to_ms = stretch.to_ms.min(ms((last_us / BIN_US + 1) * BIN_US));
    }
    (stretch.arrived, stretch.ok) = (arrived, ok);
}

/// The business services that are part of the load.
pub(super) fn services(
    plan: &Plan,
    operations: &[OperationImpact],
    invariants: &Invariants<'_>,
    support: &Support,
) -> Vec<ServiceImpact> {
    let lost = invariants.lost_by_kind();
    let services = plan.system.business_services.iter();
    let of = |(name, service): (&String, &BusinessService)| {
        let own: Vec<&OperationImpact> = operations
            .iter()
            .filter(|impact| service.operations.contains(&impact.operation))
            .collect();
        (!own.is_empty()).then(|| Judged { service, own }.judge(name, lost.as_ref(), support))
    };
    services.filter_map(of).collect()
}

/// A business service in one run.
struct Judged<'a> {
    service: &'a BusinessService,
    own: Vec<&'a OperationImpact>,
}

/// Lost operations by their kind, and whether these are all.
pub(super) struct LostByKind<'c> {
    pub counts: BTreeMap<&'c str, u64>,
    pub is_certain: bool,
}

impl Judged<'_> {
    fn judge(&self, name: &str, lost: Option<&LostByKind<'_>>, support: &Support) -> ServiceImpact {
        let tolerance = &self.service.impact_tolerance;
        let disrupted_ms = self.disrupted_ms();
        let lost = self.lost(lost);
        let time = self.time(disrupted_ms);
        let time = support.of_load(time);
        let data = self.data(lost);
        ServiceImpact {
            service: name.to_owned(),
            title: self.service.title.clone(),
            verdict: time.verdict.max(data.verdict),
            detail: format!("{}; {}", time.detail, data.detail),
            operations: self.own.iter().map(|impact| impact.operation.clone()).collect(),
            disrupted_ms: (time.verdict != Judgement::Inconclusive).then_some(disrupted_ms),
            tolerated_ms: tolerance.time.0,
            served_within_ms: tolerance.served_within.map(|within| within.0),
            lost,
            tolerated_lost: tolerance.data_loss,
        }
    }

    fn time(&self, disrupted_ms: f64) -> Finding {
        let tolerance = &self.service.impact_tolerance;
        let tolerated_ms = tolerance.time.0;
        let served = tolerance
            .served_within
            .map_or_else(String::new, |within| format!(" (served within {within})"));
        let disrupted = format!(
            "disrupted for {:.2} s, of {:.2} s at most{served}",
            disrupted_ms / 1e3,
            tolerated_ms as f64 / 1e3
        );
        let untold: Vec<&str> = self
            .own
            .iter()
            .filter(|impact| !impact.is_told)
            .map(|impact| impact.operation.as_str())
            .collect();
        let (verdict, detail) = if disrupted_ms > tolerated_ms as f64 {
            (Judgement::Fail, disrupted)
        } else if !untold.is_empty() {
            let detail = format!("too few customers came for {} to tell", untold.join(", "));
            (Judgement::Inconclusive, detail)
        } else {
            (Judgement::Pass, disrupted)
        };
        Finding {
            verdict,
            detail,
            evidence: Vec::new(),
            samples: self.own.iter().map(|impact| impact.arrived).sum(),
            first: None,
        }
    }

    fn data(&self, lost: Option<u64>) -> Finding {
        let most = self.service.impact_tolerance.data_loss;
        let (verdict, detail) = match lost {
            Some(lost) if lost > most => (
                Judgement::Fail,
                format!("{lost} acknowledged operations lost, of {most} at most"),
            ),
            Some(lost) => (
                Judgement::Pass,
                format!("{lost} acknowledged operations lost, of {most} at most"),
            ),
            None => (
                Judgement::Inconclusive,
                "it cannot be said that nothing was lost".to_owned(),
            ),
        };
        Finding {
            verdict,
            detail,
            evidence: Vec::new(),
            samples: 0,
            first: None,
        }
    }

    fn lost(&self, lost: Option<&LostByKind<'_>>) -> Option<u64> {
        let lost = lost?;
        let count = |impact: &&OperationImpact| lost.counts.get(impact.operation.as_str()).copied().unwrap_or(0);
        let count: u64 = self.own.iter().map(count).sum();
        (lost.is_certain || count > 0).then_some(count)
    }

    /// All stretches of all operations laid over each other.
    fn disrupted_ms(&self) -> f64 {
        let mut stretches: Vec<(f64, f64)> = self
            .own
            .iter()
            .flat_map(|impact| &impact.disrupted)
            .map(|stretch| (stretch.from_ms, stretch.to_ms))
            .collect();
        stretches.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut covered_to = f64::NEG_INFINITY;
        let mut total = 0.0;
        for (from, to) in stretches {
            total += (to - from.max(covered_to)).max(0.0);
            covered_to = covered_to.max(to);
        }
        total
    }
}

/// What must be zero. `lost` is what [`Invariants::loss`] found.
pub(super) fn safety(plan: &Plan, invariants: &Invariants<'_>, lost: Option<u64>) -> Safety {
    let certain = invariants.certain();
    let of = |breaches: &[Breach], checkers: &[&str]| {
        let found = invariants.count(breaches);
        // Somebody must have looked.
        let looked: BTreeSet<&str> = that_look(plan, checkers).collect();
        let is_certain = !looked.is_empty() && looked.is_subset(&certain);
        (found > 0 || is_certain).then_some(found)
    };
    Safety {
        lost,
        twice: of(TWICE, FIND_TWICE),
        ledger_differences: of(DIFFERENCES, FIND_DIFFERENCES),
    }
}

/// What a plan has an invariant for.
pub fn put_to_test(plan: &Plan) -> PutToTest {
    let is_looked_for = |checkers| that_look(plan, checkers).next().is_some();
    PutToTest {
        lost: is_looked_for(FIND_LOST),
        twice: is_looked_for(FIND_TWICE),
        ledger_differences: is_looked_for(FIND_DIFFERENCES),
    }
}

/// The invariants of a plan that one of these checkers judges.
fn that_look<'p>(plan: &'p Plan, checkers: &[&str]) -> impl Iterator<Item = &'p str> {
    let names = plan.invariants.iter().filter(move |name| {
        let invariant = plan.system.invariants.get(*name);
        invariant.is_some_and(|invariant| checkers.contains(&invariant.name()))
    });
    names.map(String::as_str)
}

fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}
