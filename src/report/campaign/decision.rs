//! The answer on top, and the tables it rests on: business services, and the numbers that must be zero.

use std::collections::BTreeMap;

use super::Besides;
use super::model::{AcceptedRow, Decision, RunRef, ServiceRow, Worst, Zero, Zeros};
use crate::campaign::accept::{Acceptance, Accepted, Weakness, Weighed};
use crate::campaign::{Answer, RunRecord};
use crate::report::text::{count, duration, few, list, plural};
use crate::report::words;
use crate::verdict::{Judgement, PutToTest, Safety, ServiceImpact, Status};

/// A run that counts, with its number on the page.
pub(super) struct Counted<'a> {
    pub number: usize,
    pub run: &'a RunRecord,
    /// What it comes to, accepted failures left out of account.
    pub weighed: Weighed,
}

impl Counted<'_> {
    fn has_passed(&self) -> bool {
        self.run.verdict.status == Status::Completed && self.run.verdict.verdict == Judgement::Pass
    }

    pub(super) fn reference(&self) -> RunRef {
        RunRef {
            number: self.number,
            experiment: self.run.verdict.experiment.clone(),
        }
    }
}

/// Business services over all runs, the worst first. Accepted or not, what was measured stands there.
pub(super) fn services(runs: &[Counted<'_>], accepted: &Accepted) -> Vec<ServiceRow> {
    let mut rows = services_where(runs, |_, _| true);
    for row in &mut rows {
        let of_row = runs.iter().filter(|counted| counted.run.system == row.system);
        let is_accepted = |counted: &&Counted<'_>| {
            let mut impacts = counted.run.verdict.services.iter();
            impacts.any(|impact| impact.service == row.service && is_accepted(accepted, counted.run, impact))
        };
        row.accepted = of_row.filter(is_accepted).map(Counted::reference).collect();
    }
    rows
}

/// Whether it exceeded its tolerance, and somebody accepted that.
fn is_accepted(accepted: &Accepted, run: &RunRecord, impact: &ServiceImpact) -> bool {
    let acceptance = accepted.service(run, &impact.service);
    impact.verdict == Judgement::Fail && matches!(acceptance, Acceptance::Yes(_))
}

fn services_where(runs: &[Counted<'_>], counts: impl Fn(&RunRecord, &ServiceImpact) -> bool) -> Vec<ServiceRow> {
    let mut rows: BTreeMap<(&str, &str), ServiceRow> = BTreeMap::new();
    for counted in runs {
        for impact in counted
            .run
            .verdict
            .services
            .iter()
            .filter(|impact| counts(counted.run, impact))
        {
            let key = (counted.run.system.as_str(), impact.service.as_str());
            let row = rows.entry(key).or_insert_with(|| empty(counted.run, impact));
            add(row, counted, impact);
        }
    }
    let mut rows: Vec<ServiceRow> = rows.into_values().collect();
    rows.sort_by(|one, other| {
        let by_share = share(other).total_cmp(&share(one));
        other.verdict.cmp(&one.verdict).then(by_share)
    });
    rows
}

fn empty(run: &RunRecord, impact: &ServiceImpact) -> ServiceRow {
    ServiceRow {
        system: run.system.clone(),
        service: impact.service.clone(),
        title: impact.title.clone(),
        verdict: Judgement::Pass,
        accepted: Vec::new(),
        tolerated_ms: impact.tolerated_ms,
        served_within_ms: impact.served_within_ms,
        tolerated_lost: impact.tolerated_lost,
        disrupted: None,
        lost: None,
        runs: 0,
        untold: Vec::new(),
    }
}

fn add(row: &mut ServiceRow, counted: &Counted<'_>, impact: &ServiceImpact) {
    let (run, has_passed) = (counted.reference(), counted.has_passed());
    row.runs += 1;
    row.verdict = row.verdict.max(impact.verdict);
    if impact.verdict == Judgement::Inconclusive {
        row.untold.push((run.clone(), impact.detail.clone()));
    }
    // Should a tolerance have changed between runs, the worst is the one that used up most of its own.
    let of_tolerated = |ms: f64, tolerated_ms: u64| ms / tolerated_ms.max(1) as f64;
    if let Some(value) = impact.disrupted_ms
        && row
            .disrupted
            .as_ref()
            .is_none_or(|worst| of_tolerated(value, impact.tolerated_ms) > of_tolerated(worst.value, row.tolerated_ms))
    {
        row.tolerated_ms = impact.tolerated_ms;
        row.served_within_ms = impact.served_within_ms;
        row.disrupted = Some(Worst {
            value,
            run: run.clone(),
            has_passed,
        });
    }
    let beyond = |lost: u64, tolerated: u64| (lost.saturating_sub(tolerated), lost);
    if let Some(value) = impact.lost
        && row
            .lost
            .as_ref()
            .is_none_or(|worst| beyond(value, impact.tolerated_lost) > beyond(worst.value, row.tolerated_lost))
    {
        row.tolerated_lost = impact.tolerated_lost;
        row.lost = Some(Worst { value, run, has_passed });
    }
}

/// How much of its tolerated time the worst disruption took.
fn share(row: &ServiceRow) -> f64 {
    let disrupted_ms = row.disrupted.as_ref().map_or(0.0, |worst| worst.value);
    disrupted_ms / row.tolerated_ms.max(1) as f64
}

/// The numbers that must be zero, summed up.
pub(super) fn zeros(runs: &[Counted<'_>]) -> Zeros {
    let sum = |number: fn(&Safety) -> Option<u64>, tests: fn(&PutToTest) -> bool| {
        let mut zero = Zero::default();
        for counted in runs {
            let is_tested = counted.run.scope.put_to_test.as_ref().is_none_or(tests);
            match number(&counted.run.verdict.safety) {
                None | Some(0) if !is_tested => zero.untested += 1,
                Some(found) => {
                    zero.told += 1;
                    zero.sum = Some(zero.sum.unwrap_or(0) + found);
                    if found > 0 {
                        zero.found_in.push(counted.reference());
                    }
                }
                None => zero.untold += 1,
            }
        }
        zero
    };
    Zeros {
        lost: sum(|safety| safety.lost, |tested| tested.lost),
        twice: sum(|safety| safety.twice, |tested| tested.twice),
        ledger_differences: sum(|safety| safety.ledger_differences, |tested| tested.ledger_differences),
    }
}

/// Every accepted weakness, with the runs in which it was met.
pub(super) fn accepted(runs: &[Counted<'_>], accepted: &Accepted) -> Vec<AcceptedRow> {
    let is_met = |counted: &&Counted<'_>, weakness: &Weakness| {
        let Counted { run, weighed, .. } = counted;
        let mut of_services = run.verdict.services.iter();
        weighed
            .accepted
            .iter()
            .chain(&weighed.expired)
            .any(|one| one == weakness)
            || of_services.any(|impact| {
                let acceptance = accepted.service(run, &impact.service);
                impact.verdict == Judgement::Fail && acceptance.weakness() == Some(weakness)
            })
    };
    let row = |(weakness, is_expired): (&Weakness, bool)| AcceptedRow {
        weakness: weakness.clone(),
        is_expired,
        runs: runs
            .iter()
            .filter(|counted| is_met(counted, weakness))
            .map(Counted::reference)
            .collect(),
    };
    accepted.entries().map(row).collect()
}

/// What speaks for and against.
pub(super) struct Grounds<'a> {
    pub runs: &'a [Counted<'a>],
    pub services: &'a [ServiceRow],
    pub accepted: &'a Accepted,
    /// How many planned experiments were not run.
    pub not_run: usize,
    /// Of how many planned experiments the results are lost.
    pub lost: usize,
    pub not_read: &'a [String],
    /// Sentences on what decides nothing.
    pub open: Vec<String>,
    pub besides: &'a Besides,
}

impl Grounds<'_> {
    /// The answer. A failure wins over a doubt, and a doubt over all that passed.
    pub(super) fn decide(self) -> Decision {
        let against = self.against();
        let doubts = self.doubts();
        let answer = match (against.is_empty(), doubts.is_empty()) {
            (false, _) => Answer::NoGo,
            (true, false) => Answer::NotProven,
            (true, true) => Answer::Go,
        };
        let mut reasons = against;
        reasons.extend(doubts);
        if answer == Answer::Go {
            reasons.push(self.passed());
        }
        reasons.extend(self.let_pass());
        reasons.extend(self.besides.notes.iter().cloned());
        Decision {
            answer,
            reasons,
            open: self.open,
        }
    }

    /// Business services over the runs in which nobody accepted that they exceed their tolerances.
    fn unaccepted_services(&self) -> Vec<ServiceRow> {
        services_where(self.runs, |run, impact| !is_accepted(self.accepted, run, impact))
    }

    fn against(&self) -> Vec<String> {
        let mut against = Vec::new();
        let failed = |counted: &Counted<'_>| counted.weighed.verdict == Judgement::Fail;
        against.extend(self.of_runs(failed, ["failed", "failed"]));
        let services = self.unaccepted_services();
        let exceeded = services.iter().filter(|row| row.verdict == Judgement::Fail);
        against.extend(exceeded.map(exceeded_by));
        against.extend(self.besides.against.iter().cloned());
        against
    }

    fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        if self.runs.is_empty() {
            doubts.push("Nothing was run that says anything of the system as it is.".to_owned());
        }
        let of_status = |status| {
            move |counted: &Counted<'_>| {
                counted.run.verdict.status == status && counted.weighed.verdict != Judgement::Fail
            }
        };
        doubts.extend(self.of_runs(of_status(Status::Aborted), ["was aborted", "were aborted"]));
        doubts.extend(self.of_runs(of_status(Status::Interrupted), ["was interrupted", "were interrupted"]));
        let inconclusive = |counted: &Counted<'_>| {
            counted.run.verdict.status == Status::Completed && counted.weighed.verdict == Judgement::Inconclusive
        };
        doubts.extend(self.of_runs(inconclusive, ["is inconclusive", "are inconclusive"]));
        let is_dirty = |counted: &Counted<'_>| !counted.run.verdict.leftovers.is_empty();
        doubts.extend(self.of_runs(is_dirty, ["left something behind"; 2]));
        let untold: Vec<String> = self
            .unaccepted_services()
            .iter()
            .filter(|row| row.verdict == Judgement::Inconclusive)
            .map(|row| words::quoted(&row.title))
            .collect();
        if !untold.is_empty() {
            doubts.push(format!(
                "Of {} it cannot be said whether the impact tolerance was kept.",
                few(&untold)
            ));
        }
        match self.not_run as u64 {
            0 => {}
            1 => doubts.push("1 experiment that was planned was not run.".to_owned()),
            number => doubts.push(format!("{} experiments that were planned were not run.", count(number))),
        }
        if self.lost > 0 {
            let of = plural(self.lost as u64, "experiment");
            doubts.push(format!(
                "Of {of} that {} planned there is no result.",
                if self.lost == 1 { "was" } else { "were" }
            ));
        }
        doubts.extend(self.besides.doubts.iter().cloned());
        if !self.not_read.is_empty() {
            doubts.push(match self.not_read.len() as u64 {
                1 => "1 path could not be read; it is named below.".to_owned(),
                number => format!("{} paths could not be read; they are named below.", count(number)),
            });
        }
        doubts
    }

    /// `2 of 12 runs failed: a and b.`
    fn of_runs(&self, is_one: impl Fn(&Counted<'_>) -> bool, [one, several]: [&str; 2]) -> Option<String> {
        let names: Vec<String> = self
            .runs
            .iter()
            .filter(|counted| is_one(counted))
            .map(|counted| format!("{} ({})", counted.run.verdict.experiment, counted.number))
            .collect();
        let verb = match names.len() {
            0 => return None,
            1 => one,
            _ => several,
        };
        let (number, total) = (count(names.len() as u64), plural(self.runs.len() as u64, "run"));
        Some(format!("{number} of {total} {verb}: {}.", few(&names)))
    }

    fn passed(&self) -> String {
        let (all, passed) = (
            self.runs.len() as u64,
            self.runs.iter().filter(|counted| counted.has_passed()).count() as u64,
        );
        let runs = match (all, passed) {
            (1, 1) => "The one run passed".to_owned(),
            (all, passed) if all == passed => format!("All {} runs passed", count(all)),
            (all, passed) => format!("{} of {} passed", count(passed), plural(all, "run")),
        };
        let services = self.services.len() as u64;
        let kept = self
            .services
            .iter()
            .filter(|row| row.verdict == Judgement::Pass)
            .count() as u64;
        match (services, kept) {
            (0, _) => {
                format!("{runs}. No business service was part of them, so no impact tolerance was put to the test.")
            }
            (1, 1) => format!("{runs}, and the one business service stayed within its impact tolerance."),
            (services, kept) if services == kept => format!(
                "{runs}, and {} business services stayed within their impact tolerances.",
                count(services)
            ),
            (services, kept) => format!(
                "{runs}, and {} of {} stayed within the impact tolerance.",
                count(kept),
                plural(services, "business service")
            ),
        }
    }

    /// What is accepted and would count otherwise.
    fn let_pass(&self) -> Option<String> {
        let met = accepted(self.runs, self.accepted).into_iter();
        let told: Vec<String> = met
            .filter(|row| !row.is_expired && !row.runs.is_empty())
            .map(|AcceptedRow { weakness, .. }| {
                let Weakness {
                    experiment,
                    what,
                    owner,
                    until,
                    ..
                } = weakness;
                format!("{} of {experiment} until {until} ({owner})", words::quoted(&what))
            })
            .collect();
        (!told.is_empty()).then(|| format!("Not counted, because it is accepted: {}.", few(&told)))
    }
}

fn exceeded_by(row: &ServiceRow) -> String {
    let mut by = Vec::new();
    if let Some(worst) = row
        .disrupted
        .as_ref()
        .filter(|worst| worst.value > row.tolerated_ms as f64)
    {
        by.push(format!(
            "disrupted for {} of {} at most in {} ({})",
            duration(worst.value),
            duration(row.tolerated_ms as f64),
            worst.run.experiment,
            worst.run.number
        ));
    }
    if let Some(worst) = row.lost.as_ref().filter(|worst| worst.value > row.tolerated_lost) {
        let tolerated = match words::tolerated_elsewhere(worst.has_passed, worst.value, row.tolerated_lost) {
            Some(tolerated) => format!(", {tolerated}"),
            None => String::new(),
        };
        by.push(format!(
            "{} lost of {} at most in {} ({}){tolerated}",
            plural(worst.value, "operation"),
            count(row.tolerated_lost),
            worst.run.experiment,
            worst.run.number
        ));
    }
    format!(
        "{} exceeded its impact tolerance: {}.",
        words::quoted(&row.title),
        list(&by)
    )
}
