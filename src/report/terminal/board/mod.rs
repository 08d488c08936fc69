//! What is going on right now, and how it has gone so far: the state behind the live lines.
//!
//! Nothing here judges. What has been judged while the run is on (the gate) is shown as judged; of bounds on success rates whose time
//! lasts an estimate is shown, and called one; all else is left to the judge.

use std::collections::BTreeMap;

use super::style::{Paint, Style};
use crate::event::{Entry, Event, Phase, Progress};
use crate::plan::{Compare, Measure, Plan};
use crate::report::text::{clean, duration};
use crate::report::words;
use crate::verdict::Judgement;

mod axis;
mod draw;
mod estimate;
mod faults;
mod layout;
mod spark;
mod tracks;

use estimate::{Course, Estimate};
use faults::Faults;
pub(super) use layout::Room;
use tracks::Tracks;

/// The state of a run, as far as it is shown.
#[derive(Debug, Default)]
pub(super) struct Board {
    expected: Expected,
    phase: Option<(Phase, Option<u64>)>,
    /// Being made, with the step.
    images: BTreeMap<String, String>,
    ready: Vec<String>,
    tracks: Tracks,
    in_flight: usize,
    faults: Faults,
    course: Course,
    /// The last heal so far.
    healed_us: Option<i64>,
    estimates: Vec<Estimate>,
    /// Probes of the steady state, once they are judged.
    gate: Vec<(Judgement, String)>,
    /// The phases of the load, and when each began.
    phases: Vec<(Phase, i64)>,
    load_ended_us: Option<i64>,
}

/// What no event tells.
#[derive(Debug, Default, Clone)]
struct Expected {
    replicas: Option<u32>,
    /// How long the load is to last.
    load_us: i64,
    /// How many probes the steady state has.
    probes: usize,
    /// The success rate that the steady state asks of an operation.
    bounds_percent: BTreeMap<String, f64>,
    /// Nothing is broken.
    is_faultless: bool,
    estimates: Vec<Estimate>,
}

impl Board {
    /// Learns what no event tells. What was shown before is over.
    pub fn expect(&mut self, plan: &Plan) {
        let bound = |measure: &Measure, compare, percent| match (measure, compare) {
            (Measure::SuccessRate { operation }, Compare::AtLeast | Compare::MoreThan) => {
                Some((operation.clone(), percent))
            }
            _ => None,
        };
        let bounds_percent = plan
            .gate
            .probes
            .iter()
            .filter_map(|probe| bound(&probe.measure, probe.tolerance.compare, probe.tolerance.value));
        let expected = Expected {
            replicas: Some(plan.replicas.values().sum()),
            load_us: i64::try_from(plan.schedule.total_ms).unwrap_or(i64::MAX / 1_000) * 1_000,
            probes: plan.gate.probes.len(),
            bounds_percent: bounds_percent.collect(),
            is_faultless: plan.faults.is_empty(),
            estimates: Estimate::of(&plan.during, &plan.afterwards, &plan.faults),
        };
        *self = Self {
            estimates: expected.estimates.clone(),
            expected,
            ..Self::default()
        };
        self.faults.expect(plan);
    }

    /// Takes an event in.
    pub fn apply(&mut self, entry: &Entry) {
        let at_us = entry.at_us;
        match &entry.event {
            Event::Phase { phase, budget_ms } => {
                self.phase = Some((*phase, *budget_ms));
                self.images.clear();
                if matches!(phase, Phase::Gate | Phase::Method | Phase::Recovery) {
                    self.phases.push((*phase, at_us));
                }
                self.tell_last_heal();
            }
            Event::ImageStarted { image, step } => {
                self.images.insert(clean(image), clean(step));
            }
            Event::ImageReady { image, .. } => {
                self.images.remove(&clean(image));
            }
            Event::ReplicaReady { replica, .. } => self.ready.push(clean(replica)),
            Event::Gate { passed, assertions } => {
                self.course.gate_us = passed.then_some(at_us);
                let judged = assertions
                    .iter()
                    .map(|probe| (probe.finding.verdict, clean(&probe.name)));
                self.gate = judged.collect();
                self.faults.apply(at_us, &entry.event);
            }
            Event::Progress(progress) => self.take(at_us, progress),
            Event::LoadEnded(_) => self.load_ended_us = Some(at_us),
            event => self.apply_fault(at_us, event),
        }
    }

    fn take(&mut self, at_us: i64, progress: &Progress) {
        self.in_flight = progress.in_flight;
        let (since_us, news) = self.tracks.take(at_us, progress);
        for estimate in &mut self.estimates {
            estimate.take(since_us, &news, &self.course, self.expected.is_faultless);
        }
    }

    fn apply_fault(&mut self, at_us: i64, event: &Event) {
        match event {
            Event::FaultInjected {
                fault,
                effective_us: Some(effective_us),
                ..
            } => self.course.in_force.push((*fault, *effective_us)),
            Event::FaultHealed {
                fault,
                healed_us: Some(healed_us),
                ..
            } => {
                self.course.in_force.retain(|(id, _)| id != fault);
                self.healed_us = self.healed_us.max(Some(*healed_us));
                self.tell_last_heal();
            }
            _ => {}
        }
        self.faults.apply(at_us, event);
    }

    /// Once no fault is to come any more and none is left, the last heal is known.
    fn tell_last_heal(&mut self) {
        let is_over = self.phase.is_some_and(|(phase, _)| phase >= Phase::Recovery);
        if is_over && self.course.in_force.is_empty() {
            self.course.last_heal_us = self.healed_us;
        }
    }

    /// The phase that is on and how long it lasts at most, in words.
    pub fn headline(&self, style: &Style) -> String {
        let phase = self.phase.map_or("starting", |(phase, _)| words::phase(phase));
        let budget = self.phase.and_then(|(_, budget_ms)| budget_ms);
        let budget = budget.map_or_else(String::new, |ms| format!(" (at most {})", duration(ms as f64)));
        format!("{}{budget}", style.paint(Paint::Bold, phase))
    }

    fn readiness(&self) -> String {
        let of = self
            .expected
            .replicas
            .map_or_else(String::new, |replicas| format!(" of {replicas}"));
        format!("  {}{of} replicas ready {}", self.ready.len(), self.ready.join(" "))
    }

    /// The success rate that the steady state asks of an operation, if it does.
    fn asked_percent(&self, operation: &str) -> Option<f64> {
        self.expected.bounds_percent.get(operation).copied()
    }
}
