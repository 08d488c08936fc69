//! What the run supports a judgement of: assertions on rates, latency and recovery mean nothing without a steady state
//! before the fault, a fault that is proven, and a load that came when it was meant to.

use super::machine;
use super::probe::{self, LAG_P99_MAX_US, Punctuality};
use super::timeline::{FaultSeen, Timeline};
use crate::history::Op;
use crate::history::load::History;
use crate::plan::Plan;
use crate::verdict::{Assertion, AssertionKind, Finding, Judgement, Status};

/// Reasons for which a judgement is not supported.
pub(super) struct Support {
    run: Option<String>,
    receipts: Option<String>,
    generator: Option<String>,
    /// Why a failure in time is none.
    machine: Option<String>,
    punctuality: Punctuality,
    waiting_percent: Option<f64>,
}

impl Support {
    pub(super) fn new(plan: &Plan, history: &History<'_>, timeline: &Timeline<'_>) -> Self {
        let punctuality = Punctuality::of(history.ops.iter());
        let seen = timeline.summary.and_then(|summary| summary.machine.as_ref());
        let gate_us = timeline.gate.map_or(0, |(at_us, ..)| at_us);
        Self {
            run: run_doubt(history, timeline),
            receipts: plan
                .faults
                .iter()
                .zip(&timeline.faults)
                .find_map(|(fault, seen)| Some(format!("the fault `{}`: {}", fault.name, receipt_doubt(seen)?))),
            generator: generator_doubt(&punctuality, timeline),
            machine: seen.and_then(|seen| machine::doubt(seen, gate_us)),
            waiting_percent: seen.and_then(machine::waiting_percent),
            punctuality,
        }
    }

    /// For what is measured while faults act and afterwards, by the load.
    pub(super) fn of_load(&self, finding: Finding) -> Finding {
        let machine = self.of_failure(&finding);
        let reasons = [&self.run, &self.receipts, &self.generator].into_iter().flatten();
        lowered(finding, reasons.chain(machine))
    }

    /// For what is measured after the load.
    pub(super) fn of_backlog(&self, finding: Finding) -> Finding {
        let machine = self.of_failure(&finding);
        lowered(
            finding,
            [&self.run, &self.receipts].into_iter().flatten().chain(machine),
        )
    }

    /// What only speaks against failures: a pressed machine makes nothing quicker.
    fn of_failure(&self, finding: &Finding) -> Option<&String> {
        self.machine.as_ref().filter(|_| finding.verdict == Judgement::Fail)
    }

    /// The generator's own lag at p99, in milliseconds.
    pub(super) fn lag_p99_ms(&self) -> Option<f64> {
        self.punctuality.lag_p99_us.map(|us| us as f64 / 1e3)
    }

    /// Why recovery cannot even be measured.
    pub(super) fn reason(&self) -> String {
        let mut reasons = [&self.run, &self.receipts, &self.generator].into_iter().flatten();
        reasons
            .next()
            .cloned()
            .unwrap_or_else(|| "no fault was seen in effect".to_owned())
    }
}

fn lowered<'r>(finding: Finding, reasons: impl Iterator<Item = &'r String>) -> Finding {
    let reasons: Vec<&str> = reasons.map(String::as_str).collect();
    if reasons.is_empty() {
        return finding;
    }
    Finding {
        verdict: Judgement::Inconclusive,
        detail: format!("{}; measured all the same: {}", reasons.join("; "), finding.detail),
        ..finding
    }
}

fn run_doubt(history: &History<'_>, timeline: &Timeline<'_>) -> Option<String> {
    if timeline.status() != Status::Completed {
        return Some("the run did not come to its end".to_owned());
    }
    match timeline.gate {
        None => return Some("the steady state was never judged".to_owned()),
        Some((_, false, _)) => return Some("there was no steady state before the method".to_owned()),
        Some((_, true, _)) => {}
    }
    let succeeded = history.ops.iter().any(probe::is_ok);
    (!succeeded).then(|| "no operation succeeded at all".to_owned())
}

fn generator_doubt(punctuality: &Punctuality, timeline: &Timeline<'_>) -> Option<String> {
    if let Some(reason) = punctuality.doubt() {
        return Some(reason);
    }
    let told_us = timeline.summary.map_or(0, |summary| summary.lag_p99_us);
    (told_us > LAG_P99_MAX_US).then(|| {
        let (lag_ms, max_ms) = (told_us as f64 / 1e3, LAG_P99_MAX_US / 1_000);
        format!("the load generator says its lag was {lag_ms:.1} ms at p99, above {max_ms} ms")
    })
}

/// Why a fault is not proven, if it is not.
fn receipt_doubt(seen: &FaultSeen<'_>) -> Option<String> {
    if let Some(problem) = seen.problem {
        return Some(problem.to_owned());
    }
    let confirmed = |receipt: Option<&crate::fault::Receipt>| receipt.is_some_and(|receipt| receipt.confirmed);
    let doubt = if seen.injected.is_none() {
        "it was not injected"
    } else if !confirmed(seen.injected) || seen.effective_us.is_none() {
        "it was not seen to bite"
    } else if seen.healed.is_none() {
        "it was not healed"
    } else if !confirmed(seen.healed) || seen.healed_us.is_none() {
        "it was not seen to heal"
    } else if seen.healed.is_some_and(|receipt| receipt.lapsed) {
        "it had ended before its heal"
    } else {
        return None;
    };
    Some(doubt.to_owned())
}

/// A receipt as an assertion: it passes, or it leaves a doubt. It fails where what the step did was to succeed and did not.
pub(super) fn receipt(name: &str, seen: &FaultSeen<'_>) -> Assertion {
    let at_s = |us: Option<i64>| us.map_or("never".to_owned(), |us| format!("{:.3} s", us as f64 / 1e6));
    let (effective, healed) = (at_s(seen.effective_us), at_s(seen.healed_us));
    let doubt = receipt_doubt(seen);
    let receipts = [("on", seen.injected), ("off", seen.healed)];
    let lines = receipts
        .iter()
        .filter_map(|(when, receipt)| Some((when, receipt.as_ref()?)));
    let evidence: Vec<String> = lines
        .flat_map(|(when, receipt)| receipt.evidence.iter().map(move |line| format!("{when}: {line}")))
        .collect();
    let failed = seen.healed.and_then(|receipt| receipt.failed.as_ref());
    let held = format!("seen in effect at {effective}, seen healed at {healed}");
    let (verdict, detail) = match (doubt, failed) {
        (Some(doubt), _) => (Judgement::Inconclusive, doubt),
        (None, Some(failed)) => (Judgement::Fail, format!("{failed}; {held}")),
        (None, None) => (Judgement::Pass, held),
    };
    let finding = Finding {
        verdict,
        detail,
        samples: evidence.len() as u64,
        first: None,
        evidence: evidence.into_iter().take(Finding::EVIDENCE_MAX).collect(),
    };
    Assertion {
        name: name.to_owned(),
        kind: AssertionKind::Receipt,
        finding,
    }
}

/// Whether every kind of operation in the load succeeded at least once.
pub(super) fn non_vacuous(plan: &Plan, history: &History<'_>) -> Assertion {
    let succeeded = |kind: &String| history.ops.iter().any(|op| op.kind == *kind && probe::is_ok(op));
    let mut evidence: Vec<String> = plan
        .workload
        .rates
        .keys()
        .filter(|kind| !succeeded(kind))
        .map(|kind| format!("no `{kind}` succeeded"))
        .collect();
    if plan.workload.rates.is_empty() {
        evidence.push("the load has no operations".to_owned());
    }
    if let Some(line) = history.truncated {
        evidence.push(format!(
            "the history is cut off in line {line}: the harness was ended while it wrote"
        ));
    }
    let detail = match evidence.first() {
        None => match plan.workload.rates.len() {
            1 => "the only kind of operation succeeded".to_owned(),
            kinds => format!("each of {kinds} kinds of operation succeeded"),
        },
        Some(_) => evidence.join(", "),
    };
    let finding = Finding {
        verdict: if evidence.is_empty() {
            Judgement::Pass
        } else {
            Judgement::Inconclusive
        },
        detail,
        evidence,
        samples: history.ops.len() as u64,
        first: None,
    };
    Assertion {
        name: "non-vacuous".to_owned(),
        kind: AssertionKind::NonVacuous,
        finding,
    }
}

/// Whether the load came when it was meant to.
pub(super) fn generator(plan: &Plan, history: &History<'_>, support: &Support) -> Assertion {
    let dropped = history
        .ops
        .iter()
        .filter(|op| op.error.as_deref() == Some(Op::DROPPED))
        .count();
    let drops = match dropped {
        0 => String::new(),
        _ => {
            let cap = plan.workload.in_flight_max;
            format!("; {dropped} arrivals found all {cap} in flight and count as the system's failures")
        }
    };
    let lag_us = support.punctuality.lag_p99_us;
    let doubt = match lag_us {
        Some(_) => support.generator.clone(),
        None => Some("no operation was sent".to_owned()),
    };
    let waiting = support.waiting_percent.map_or_else(String::new, |percent| {
        format!("; on this machine something waited for a processor {percent:.0} % of the time")
    });
    let kept = || {
        format!(
            "its own lag was {:.1} ms at p99{waiting}",
            lag_us.unwrap_or_default() as f64 / 1e3
        )
    };
    let finding = Finding {
        verdict: if doubt.is_some() {
            Judgement::Inconclusive
        } else {
            Judgement::Pass
        },
        detail: format!("{}{drops}", doubt.unwrap_or_else(kept)),
        evidence: Vec::new(),
        samples: history.ops.len() as u64,
        first: None,
    };
    Assertion {
        name: "generator".to_owned(),
        kind: AssertionKind::Generator,
        finding,
    }
}
