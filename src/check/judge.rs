//! From a saved run to its verdict.

use super::invariants::{Invariants, LostBefore};
use super::support::{self, Support};
use super::timeline::{FaultSeen, Timeline};
use super::windows::{self, Judged};
use super::{impact, probe, recovery};
use crate::event::Entry;
use crate::history::load::History;
use crate::plan::{Plan, PlannedFault, Probe, Trigger, WindowedProbe};
use crate::system::definition::Backlog;
use crate::verdict::{
    Assertion, AssertionKind, FailoverTimes, FaultRecord, Finding, Judgement, OperationImpact, Recovery,
    SCHEMA_VERSION, Safety, ServiceImpact, Status, Verdict, conclude,
};

/// Judges a saved run: every assertion, recovery, and the exit code. Pure: the same plan, history and events give the
/// same verdict on any machine.
///
/// `events` holds at least everything up to the taking down of the system; a run whose events end sooner counts as one
/// whose harness died.
pub fn judge(plan: &Plan, history: &History<'_>, events: &[Entry]) -> Verdict {
    let timeline = Timeline::new(plan, history, events);
    let last_heal_us = timeline.last_heal_us();
    // The checkers take most of the time, and need nothing more of the rest.
    std::thread::scope(|scope| {
        let invariants = scope.spawn(move || Invariants::check(plan, history, last_heal_us));
        let bench = Bench {
            plan,
            history,
            support: Support::new(plan, history, &timeline),
            timeline,
        };
        bench.judge(|| invariants.join().expect("checkers are guarded"))
    })
}

/// What the run did to customers and to the business.
struct Impacts {
    operations: Vec<OperationImpact>,
    services: Vec<ServiceImpact>,
    safety: Safety,
}

/// What is judged.
struct Bench<'a> {
    plan: &'a Plan,
    history: &'a History<'a>,
    timeline: Timeline<'a>,
    support: Support,
}

impl Bench<'_> {
    fn judge<'p>(&self, invariants: impl FnOnce() -> Invariants<'p>) -> Verdict {
        let (mut recovery, recovered) = self.recovery();
        let after = self.steady_state_after(&recovery);
        let invariants = invariants();
        let loss = invariants.loss(match self.plan.tolerate.data_loss_fault {
            None => LostBefore::FirstEffect(self.timeline.first_effect_us()),
            Some(fault) => LostBefore::EffectOf(self.timeline.effect_us(fault)),
        });
        recovery.data_loss_operations = (loss.is_certain || loss.operations > 0).then_some(loss.operations);
        recovery.data_loss_time_ms = loss.age_ms;

        let operations = impact::operations(self.plan, self.history, &self.timeline);
        let impacts = Impacts {
            services: impact::services(self.plan, &operations, &invariants, &self.support),
            safety: impact::safety(self.plan, &invariants, recovery.data_loss_operations),
            operations,
        };

        let mut assertions = self.gate();
        assertions.extend(self.receipts());
        assertions.extend(self.during());
        assertions.extend(recovered);
        assertions.extend(self.afterwards());
        assertions.extend(self.plan.system.backlogs.iter().map(|backlog| self.backlog(backlog)));
        assertions.extend(after);
        assertions.extend(invariants.assertions(self.plan, &loss));
        assertions.push(support::non_vacuous(self.plan, self.history));
        assertions.push(support::generator(self.plan, self.history, &self.support));
        self.conclude(assertions, recovery, impacts)
    }

    /// As it was judged when the run depended on it: operations that were still in flight then have ended since.
    fn gate(&self) -> Vec<Assertion> {
        let Some((_, _, assertions)) = self.timeline.gate else {
            let doubt = || doubt("the steady state was never judged".to_owned());
            let probes = self.plan.gate.probes.iter();
            return probes
                .map(|probe| assertion(&probe.name, AssertionKind::Gate, doubt()))
                .collect();
        };
        let mut assertions = assertions.to_vec();
        for assertion in assertions
            .iter_mut()
            .filter(|assertion| assertion.finding.verdict == Judgement::Fail)
        {
            // No steady state is no failure under a fault: nothing was broken yet.
            assertion.finding.verdict = Judgement::Inconclusive;
            assertion.finding.detail = format!("not steady before the method: {}", assertion.finding.detail);
        }
        assertions
    }

    fn receipts(&self) -> impl Iterator<Item = Assertion> {
        let faults = self.plan.faults.iter().zip(&self.timeline.faults);
        faults.map(|(fault, seen)| support::receipt(&fault.name, seen))
    }

    fn during(&self) -> impl Iterator<Item = Assertion> {
        self.plan.during.iter().map(|asked| {
            let time = windows::of_faults(self.plan, &self.timeline, asked);
            let part = asked.part_of_faults(&self.plan.faults);
            let finding = self.windowed(asked, time, part);
            assertion(&asked.probe.name, AssertionKind::During, finding)
        })
    }

    fn afterwards(&self) -> impl Iterator<Item = Assertion> {
        self.plan.afterwards.iter().map(|asked| {
            let time = windows::afterwards(&self.timeline, asked);
            let finding = self.windowed(asked, time, asked.part_of_afterwards());
            assertion(&asked.probe.name, AssertionKind::Afterwards, finding)
        })
    }

    /// A bound over its part of the time. A breach is one wherever it was; to hold, all that was asked about must have been
    /// judged.
    fn windowed(&self, asked: &WindowedProbe, time: Judged, part: Option<String>) -> Finding {
        if time.windows_us.is_empty() {
            return self.support.of_load(doubt(time.doubt.unwrap_or_default()));
        }
        let mut finding = probe::evaluate_over(&asked.probe, self.history, &time.windows_us);
        if let Some(part) = part {
            finding.detail = format!("{}; judged {part}", finding.detail);
        }
        if let Some(reason) = time.doubt.filter(|_| finding.verdict == Judgement::Pass) {
            finding.verdict = Judgement::Inconclusive;
            finding.detail = format!("{reason}; {}", finding.detail);
        }
        self.support.of_load(finding)
    }

    fn recovery(&self) -> (Recovery, Option<Assertion>) {
        let Some(wanted) = self.plan.recovery.as_ref().filter(|_| !self.plan.faults.is_empty()) else {
            return Default::default();
        };
        let (measured, finding) = match recovery::measure(self.plan, wanted, self.history, &self.timeline) {
            Some((measured, finding)) => (measured, self.support.of_load(finding)),
            None => (
                Recovery::default(),
                doubt(format!("not measured: {}", self.support.reason())),
            ),
        };
        (
            measured,
            Some(assertion(Recovery::ASSERTION, AssertionKind::Recovery, finding)),
        )
    }

    fn backlog(&self, backlog: &Backlog) -> Assertion {
        let metric = &backlog.metric;
        let finding = match self.timeline.drained.get(metric.as_str()) {
            None => doubt(format!("nobody looked whether `{metric}` came to zero after the load")),
            Some(ended) if ended.drained => judged(
                Judgement::Pass,
                format!("`{metric}` was zero {} ms after the load ended", ended.took_ms),
            ),
            Some(ended) => match ended.last {
                Some(last) => judged(
                    Judgement::Fail,
                    format!(
                        "`{metric}` was still {last} when {} had passed after the load",
                        backlog.within
                    ),
                ),
                None => doubt(format!("`{metric}` could not be read after the load")),
            },
        };
        assertion(metric, AssertionKind::Backlog, self.support.of_backlog(finding))
    }

    /// Over the last moments of the load, as long as the gate's window, but none of the time before recovery.
    fn steady_state_after(&self, recovery: &Recovery) -> Vec<Assertion> {
        let end_us = self.timeline.load_end_us;
        let healed_us = self.timeline.last_heal_us().unwrap_or(0);
        let recovered_us = healed_us + recovery.recovery_time_ms.map_or(0, |ms| (ms * 1_000.0) as u64);
        let start_us = end_us
            .saturating_sub(self.plan.gate.window_ms * 1_000)
            .max(recovered_us);
        let judged = |probe: &Probe| {
            let finding = probe::evaluate(probe, self.history, start_us..end_us);
            assertion(
                &probe.name,
                AssertionKind::SteadyStateAfter,
                self.support.of_load(finding),
            )
        };
        self.plan.gate.probes.iter().map(judged).collect()
    }

    fn conclude(&self, assertions: Vec<Assertion>, recovery: Recovery, impacts: Impacts) -> Verdict {
        let status = self.timeline.status();
        let joined = assertions.iter().map(|assertion| assertion.finding.verdict).max();
        let verdict = match joined {
            // A run that did not come to its end has not passed.
            Some(Judgement::Pass) if status != Status::Completed => Judgement::Inconclusive,
            Some(joined) => joined,
            None => Judgement::Inconclusive,
        };
        let leftovers = self.timeline.leftovers.to_vec();
        Verdict {
            schema_version: SCHEMA_VERSION,
            experiment: self.plan.experiment.name.clone(),
            title: self.plan.experiment.title.clone(),
            run_id: self.timeline.run_id.to_owned(),
            status,
            verdict,
            exit_code: conclude::exit_code(status, verdict, self.timeline.signal, !leftovers.is_empty()),
            problem: self.timeline.problem(),
            seed: self.plan.seed,
            defects: self.plan.defects.clone(),
            assertions,
            recovery,
            safety: impacts.safety,
            operations: impacts.operations,
            services: impacts.services,
            failovers: self.failovers(),
            lag_p99_ms: self.support.lag_p99_ms(),
            faults: self.faults(),
            leftovers,
            again: conclude::again(self.plan),
        }
    }

    fn failovers(&self) -> Vec<FailoverTimes> {
        let faults = self.plan.faults.iter().zip(&self.timeline.faults);
        let takeover = |(fault, seen): (&PlannedFault, &FaultSeen<'_>)| {
            Some(FailoverTimes {
                fault: fault.name.clone(),
                times: seen.injected?.takeover?,
            })
        };
        faults.filter_map(takeover).collect()
    }

    fn faults(&self) -> Vec<FaultRecord> {
        let faults = self.plan.faults.iter().zip(&self.timeline.faults);
        faults.map(|(fault, seen)| record(fault, seen)).collect()
    }
}

fn record(fault: &PlannedFault, seen: &FaultSeen<'_>) -> FaultRecord {
    let ms = |us: Option<i64>| us.map(|us| us as f64 / 1_000.0);
    FaultRecord {
        name: fault.name.clone(),
        kind: fault.fault.name().to_owned(),
        describe: seen
            .describe
            .map_or_else(|| fault.fault.behaviour().describe(), str::to_owned),
        planned_ms: match fault.trigger {
            Trigger::At { at_ms } => Some(at_ms),
            Trigger::OnOperation { .. } | Trigger::OnLog { .. } => None,
        },
        effective_ms: ms(seen.effective_us),
        healed_ms: ms(seen.healed_us),
        injected: seen.injected.cloned(),
        healed: seen.healed.cloned(),
        problem: seen.problem.map(str::to_owned),
    }
}

fn assertion(name: &str, kind: AssertionKind, finding: Finding) -> Assertion {
    Assertion {
        name: name.to_owned(),
        kind,
        finding,
    }
}

fn judged(verdict: Judgement, detail: String) -> Finding {
    Finding {
        verdict,
        detail,
        evidence: Vec::new(),
        samples: 1,
        first: None,
    }
}

fn doubt(detail: String) -> Finding {
    Finding {
        samples: 0,
        ..judged(Judgement::Inconclusive, detail)
    }
}
