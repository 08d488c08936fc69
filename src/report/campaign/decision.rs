//! The answer on top, and the tables it rests on: business services, and the numbers that must be zero.

use std::collections::BTreeMap;

use super::model::{Answer, Decision, RunRef, ServiceRow, Worst, Zero, Zeros};
use crate::campaign::RunRecord;
use crate::report::text::{count, duration, list, plural};
use crate::report::words;
use crate::verdict::{Judgement, Safety, ServiceImpact, Status};

/// Names in one sentence at most.
const NAMES_MAX: usize = 6;

/// A run that counts, with its number on the page.
pub(super) struct Counted<'a> {
    pub number: usize,
    pub run: &'a RunRecord,
}

impl Counted<'_> {
    pub(super) fn reference(&self) -> RunRef {
        RunRef {
            number: self.number,
            experiment: self.run.verdict.experiment.clone(),
        }
    }
}

/// Business services over all runs, the worst first.
pub(super) fn services(runs: &[Counted<'_>]) -> Vec<ServiceRow> {
    let mut rows: BTreeMap<(&str, &str), ServiceRow> = BTreeMap::new();
    for counted in runs {
        for impact in &counted.run.verdict.services {
            let key = (counted.run.system.as_str(), impact.service.as_str());
            let row = rows.entry(key).or_insert_with(|| empty(counted.run, impact));
            add(row, counted.reference(), impact);
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
        tolerated_ms: impact.tolerated_ms,
        tolerated_lost: impact.tolerated_lost,
        disrupted: None,
        lost: None,
        runs: 0,
        untold: Vec::new(),
    }
}

fn add(row: &mut ServiceRow, run: RunRef, impact: &ServiceImpact) {
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
        row.disrupted = Some(Worst {
            value,
            run: run.clone(),
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
        row.lost = Some(Worst { value, run });
    }
}

/// How much of its tolerated time the worst disruption took.
fn share(row: &ServiceRow) -> f64 {
    let disrupted_ms = row.disrupted.as_ref().map_or(0.0, |worst| worst.value);
    disrupted_ms / row.tolerated_ms.max(1) as f64
}

/// The numbers that must be zero, summed up.
pub(super) fn zeros(runs: &[Counted<'_>]) -> Zeros {
    let sum = |number: fn(&Safety) -> Option<u64>| {
        let mut zero = Zero::default();
        for counted in runs {
            match number(&counted.run.verdict.safety) {
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
        lost: sum(|safety| safety.lost),
        twice: sum(|safety| safety.twice),
        ledger_differences: sum(|safety| safety.ledger_differences),
    }
}

/// What speaks for and against.
pub(super) struct Grounds<'a> {
    pub runs: &'a [Counted<'a>],
    pub services: &'a [ServiceRow],
    pub not_run: &'a [String],
    pub not_read: &'a [String],
}

impl Grounds<'_> {
    /// The answer. A failure wins over a doubt, and a doubt over all that passed.
    pub(super) fn decide(&self) -> Decision {
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
        Decision { answer, reasons }
    }

    fn against(&self) -> Vec<String> {
        let mut against = Vec::new();
        let failed = |run: &RunRecord| run.verdict.verdict == Judgement::Fail;
        against.extend(self.of_runs(failed, ["failed", "failed"]));
        let exceeded = self.services.iter().filter(|row| row.verdict == Judgement::Fail);
        against.extend(exceeded.map(exceeded_by));
        against
    }

    fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        if self.runs.is_empty() {
            doubts.push("Nothing was run that says anything of the system as it is.".to_owned());
        }
        let of_status =
            |status| move |run: &RunRecord| run.verdict.status == status && run.verdict.verdict != Judgement::Fail;
        doubts.extend(self.of_runs(of_status(Status::Aborted), ["was aborted", "were aborted"]));
        doubts.extend(self.of_runs(of_status(Status::Interrupted), ["was interrupted", "were interrupted"]));
        let inconclusive =
            |run: &RunRecord| run.verdict.status == Status::Completed && run.verdict.verdict == Judgement::Inconclusive;
        doubts.extend(self.of_runs(inconclusive, ["is inconclusive", "are inconclusive"]));
        let untold: Vec<String> = self
            .services
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
        if !self.not_run.is_empty() {
            doubts.push(match self.not_run.len() as u64 {
                1 => "1 experiment that was planned was not run.".to_owned(),
                number => format!("{} experiments that were planned were not run.", count(number)),
            });
        }
        if !self.not_read.is_empty() {
            doubts.push(match self.not_read.len() as u64 {
                1 => "1 path could not be read; it is named below.".to_owned(),
                number => format!("{} paths could not be read; they are named below.", count(number)),
            });
        }
        doubts
    }

    /// `2 of 12 runs failed: a and b.`
    fn of_runs(&self, is_one: impl Fn(&RunRecord) -> bool, [one, several]: [&str; 2]) -> Option<String> {
        let names: Vec<String> = self
            .runs
            .iter()
            .filter(|counted| is_one(counted.run))
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
        let runs = match self.runs.len() as u64 {
            1 => "The one run passed".to_owned(),
            number => format!("All {} runs passed", count(number)),
        };
        match self.services.len() as u64 {
            0 => format!("{runs}. No business service was part of them, so no impact tolerance was put to the test."),
            1 => format!("{runs}, and the one business service stayed within its impact tolerance."),
            number => format!(
                "{runs}, and {} business services stayed within their impact tolerances.",
                count(number)
            ),
        }
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
        by.push(format!(
            "{} lost of {} at most in {} ({})",
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

/// The first names, and how many more there are.
pub(super) fn few(names: &[String]) -> String {
    match names.len().checked_sub(NAMES_MAX) {
        None | Some(0) => list(names),
        Some(more) => format!("{} and {more} more", names[..NAMES_MAX].join(", ")),
    }
}
