//! What was tried on what, and how long ago: never averaged, never a score.

use std::collections::{BTreeMap, BTreeSet};

use super::decision::Counted;
use super::model::{CoverageCell, CoverageRow, SystemCoverage};
use crate::campaign::RunRecord;
use crate::fault;
use crate::verdict::{AssertionKind, Judgement, Status};

/// What makes a pass worth less.
pub(super) struct Freshness<'a> {
    /// Runs that began before this are old.
    pub stale_before_unix_ms: i64,
    /// Whether each experiment file, by its SHA-256, is shown to be able to fail.
    pub proofs: &'a BTreeMap<&'a str, bool>,
}

/// Coverage of every system that was run, by name.
pub(super) fn coverage(runs: &[Counted<'_>], freshness: &Freshness<'_>) -> Vec<SystemCoverage> {
    let mut systems: BTreeMap<&str, Vec<&RunRecord>> = BTreeMap::new();
    for counted in runs {
        systems.entry(&counted.run.system).or_default().push(counted.run);
    }
    systems.into_values().map(|runs| of_system(&runs, freshness)).collect()
}

fn of_system(runs: &[&RunRecord], freshness: &Freshness<'_>) -> SystemCoverage {
    let tried: BTreeSet<&str> = runs
        .iter()
        .flat_map(|run| run.scope.faults.keys().map(String::as_str))
        .collect();
    let business: BTreeMap<&str, &str> = runs
        .iter()
        .flat_map(|run| pairs(&run.scope.business_services))
        .collect();
    let services: BTreeSet<&str> = runs
        .iter()
        .flat_map(|run| run.scope.services.iter().map(String::as_str))
        .collect();
    let row = |service: &str, title: &str, is_met: &dyn Fn(&RunRecord, &str) -> bool, judged: Judged| CoverageRow {
        service: service.to_owned(),
        title: title.to_owned(),
        cells: tried
            .iter()
            .map(|kind| {
                cell(runs.iter().copied().filter(|run| is_met(run, kind)), freshness, |run| {
                    judged(run, service)
                })
            })
            .collect(),
    };
    SystemCoverage {
        system: runs[0].system.clone(),
        title: runs[0].system_title.clone(),
        business: business
            .into_iter()
            .map(|(service, title)| {
                let is_met = |run: &RunRecord, kind: &str| {
                    run.scope.loaded.contains(service) && run.scope.faults.contains_key(kind)
                };
                row(service, title, &is_met, with_service)
            })
            .collect(),
        services: services
            .into_iter()
            .map(|service| {
                let is_met = |run: &RunRecord, kind: &str| {
                    run.scope
                        .faults
                        .get(kind)
                        .is_some_and(|services| services.contains(service))
                };
                row(service, "", &is_met, of_run)
            })
            .collect(),
        untried_kinds: fault::NAMES
            .iter()
            .filter(|kind| !tried.contains(*kind))
            .map(|kind| (*kind).to_owned())
            .collect(),
        kinds: tried.into_iter().map(str::to_owned).collect(),
    }
}

/// How a run is judged where a service is concerned.
type Judged = fn(&RunRecord, &str) -> Judgement;

fn pairs(titles: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    titles.iter().map(|(key, title)| (key.as_str(), title.as_str()))
}

/// A run's judgement; one that did not come to its end has passed nothing.
fn of_run(run: &RunRecord, _: &str) -> Judgement {
    let least = match run.verdict.status {
        Status::Completed => Judgement::Pass,
        Status::Aborted | Status::Interrupted => Judgement::Inconclusive,
    };
    run.verdict.verdict.max(least)
}

/// How a business service fared: by its impact tolerance, and by the assertions on its operations. That something else failed in
/// the run is not held against it; a run that proves nothing proves nothing of it, either.
fn with_service(run: &RunRecord, service: &str) -> Judgement {
    let mut services = run.verdict.services.iter();
    let own = services.find(|impact| impact.service == service);
    let within = own.map_or(Judgement::Pass, |impact| impact.verdict);
    let (Judgement::Fail, Some(concerns)) = (run.verdict.verdict, &run.scope.concerns) else {
        return within.max(of_run(run, service));
    };
    let is_about = |name: &str| concerns.get(name).is_some_and(|services| services.contains(service));
    let asserted = run.verdict.assertions.iter().map(|assertion| {
        let judged = assertion.finding.verdict;
        match assertion.kind {
            AssertionKind::Gate | AssertionKind::Receipt | AssertionKind::NonVacuous | AssertionKind::Generator => {
                judged.min(Judgement::Inconclusive)
            }
            _ if is_about(&assertion.name) => judged,
            _ => Judgement::Pass,
        }
    });
    let least = match run.verdict.status {
        Status::Completed => Judgement::Pass,
        Status::Aborted | Status::Interrupted => Judgement::Inconclusive,
    };
    asserted.fold(within.max(least), Judgement::max)
}

fn cell<'r>(
    runs: impl Iterator<Item = &'r RunRecord>,
    freshness: &Freshness<'_>,
    judged: impl Fn(&RunRecord) -> Judgement,
) -> Option<CoverageCell> {
    let mut cell: Option<CoverageCell> = None;
    let mut unproven = BTreeSet::new();
    for run in runs {
        let cell = cell.get_or_insert_with(|| CoverageCell {
            verdict: Judgement::Pass,
            runs: 0,
            last_unix_ms: i64::MIN,
            is_stale: false,
            unproven: Vec::new(),
            held_in_failed: 0,
        });
        let judged = judged(run);
        cell.verdict = cell.verdict.max(judged);
        cell.runs += 1;
        cell.held_in_failed += u64::from(judged == Judgement::Pass && run.verdict.verdict == Judgement::Fail);
        cell.last_unix_ms = cell.last_unix_ms.max(run.started_unix_ms);
        if freshness.proofs.get(run.sha256.as_str()) != Some(&true) {
            unproven.insert(run.verdict.experiment.clone());
        }
    }
    cell.map(|cell| CoverageCell {
        is_stale: cell.last_unix_ms < freshness.stale_before_unix_ms,
        unproven: unproven.into_iter().collect(),
        ..cell
    })
}
