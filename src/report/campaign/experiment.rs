//! A run's own part of the page, and what its evidence is.

use std::collections::BTreeMap;

use super::around;
use super::course::Course;
use super::model::{AssertionLine, Experiment, FaultLine, Figure, FirstViolation, RunEvidence};
use super::source::{self, Source};
use crate::campaign::RunRecord;
use crate::campaign::accept::{Acceptance, Accepted};
use crate::report::words;
use crate::verdict::{Assertion, FaultRecord, Judgement, Verdict, Violation};

/// Lines of evidence shown of an assertion that did not pass.
const EVIDENCE_LINES: usize = 5;

/// A run's part of the page. `source` is what its folder gave, if it is still there.
pub(super) fn experiment(
    number: usize,
    run: &RunRecord,
    source: Option<&mut Source>,
    accepted: &Accepted,
) -> Experiment {
    let verdict = &run.verdict;
    let epoch_unix_ms = source.as_ref().and_then(|source| source::epoch_unix_ms(&source.events));
    let assertions = assertions(run, epoch_unix_ms, accepted);
    let (course, no_course) = match course(verdict, source) {
        Ok(course) => (Some(course), None),
        Err(reason) => (None, Some(reason)),
    };
    Experiment {
        number,
        name: verdict.experiment.clone(),
        title: verdict.title.clone(),
        verdict: verdict.verdict,
        status: verdict.status,
        outcome: words::outcome(verdict).to_owned(),
        answer: words::answer(verdict),
        problem: verdict.problem.clone(),
        leftovers: verdict.leftovers.clone(),
        started_unix_ms: run.started_unix_ms,
        took_ms: run.took_ms,
        engine: run.engine.clone(),
        figures: figures(verdict),
        failovers: verdict.failovers.clone(),
        faults: verdict.faults.iter().enumerate().map(fault).collect(),
        assertions,
        course,
        no_course,
        again: verdict.again.clone(),
    }
}

fn course(verdict: &Verdict, source: Option<&mut Source>) -> Result<Course, String> {
    let Some(source) = source else {
        return Err("The run's folder is not there any more, so there is nothing to draw.".to_owned());
    };
    let plan = source.plan.as_ref().map_err(Clone::clone)?;
    let gathering = std::mem::replace(&mut source.gathering, Ok(Default::default()))?;
    match gathering.is_empty() {
        true => Err("The run ended before there was any load, so there is nothing to draw.".to_owned()),
        false => Ok(gathering.course(plan, verdict, &source.events)),
    }
}

fn figures(verdict: &Verdict) -> Vec<Figure> {
    let figures = words::recovery_figures(verdict).into_iter();
    let figure = |figure: words::Figure| Figure {
        name: figure.name.to_owned(),
        value: figure.value,
        meaning: figure.meaning.into_owned(),
    };
    figures.map(figure).collect()
}

fn fault((index, record): (usize, &FaultRecord)) -> FaultLine {
    FaultLine {
        number: index + 1,
        name: record.name.clone(),
        kind: record.kind.clone(),
        describe: record.describe.clone(),
        effective_ms: record.effective_ms,
        healed_ms: record.healed_ms,
        problem: record.problem.clone(),
    }
}

/// Every assertion; those that failed with their first violations and what the logs say around them.
fn assertions(run: &RunRecord, epoch_unix_ms: Option<i64>, accepted: &Accepted) -> Vec<AssertionLine> {
    let verdict = &run.verdict;
    let sorted = words::by_gravity(&verdict.assertions);
    let failed = |assertion: &&Assertion| assertion.finding.verdict == Judgement::Fail;
    let first = |assertion: &Assertion| assertion.finding.first.clone();
    let violations: Vec<Violation> = sorted.iter().copied().filter(failed).filter_map(first).collect();
    let found = around::look(
        &run.folder.join("logs"),
        epoch_unix_ms,
        &violations.iter().collect::<Vec<_>>(),
    );
    let mut found = violations.into_iter().zip(found);
    let line = |assertion: &Assertion| {
        let finding = &assertion.finding;
        let has_first = finding.verdict == Judgement::Fail && finding.first.is_some();
        let lines_max = match finding.verdict {
            Judgement::Pass => 0,
            Judgement::Fail | Judgement::Inconclusive => EVIDENCE_LINES,
        };
        AssertionLine {
            name: assertion.name.clone(),
            kind: assertion.kind,
            verdict: finding.verdict,
            detail: finding.detail.clone(),
            evidence: finding.evidence.iter().take(lines_max).cloned().collect(),
            evidence_more: match finding.verdict {
                Judgement::Pass => 0,
                _ => finding.evidence.len().saturating_sub(lines_max),
            },
            first: found
                .next_if_some(has_first)
                .map(|(violation, (log, log_note))| FirstViolation {
                    in_force: violation.at_ms.map(|at_ms| in_force(&verdict.faults, at_ms)),
                    violation,
                    log,
                    log_note,
                }),
            accepted: match (finding.verdict, accepted.assertion(run, assertion)) {
                (Judgement::Fail, Acceptance::Yes(weakness)) => Some(weakness.clone()),
                _ => None,
            },
        }
    };
    sorted.into_iter().map(line).collect()
}

/// Takes the next one where there is one for it.
trait NextIf: Iterator {
    fn next_if_some(&mut self, is_wanted: bool) -> Option<Self::Item>;
}

impl<I: Iterator> NextIf for I {
    fn next_if_some(&mut self, is_wanted: bool) -> Option<Self::Item> {
        is_wanted.then(|| self.next()).flatten()
    }
}

/// The numbers of the faults that were in force at that time, as measured.
fn in_force(faults: &[FaultRecord], at_ms: f64) -> Vec<usize> {
    let is_on = |fault: &FaultRecord| {
        fault.effective_ms.is_some_and(|effective_ms| effective_ms <= at_ms)
            && fault.healed_ms.is_none_or(|healed_ms| at_ms < healed_ms)
    };
    let numbered = faults.iter().enumerate().filter(|(_, fault)| is_on(fault));
    numbered.map(|(index, _)| index + 1).collect()
}

/// What a run's results rest on. `proofs` says of each experiment file, by its SHA-256, whether it is shown to be able to fail.
pub(super) fn evidence(
    number: Option<usize>,
    run: &RunRecord,
    source: Option<&Source>,
    proofs: &BTreeMap<&str, bool>,
) -> RunEvidence {
    let verdict = &run.verdict;
    RunEvidence {
        experiment: verdict.experiment.clone(),
        number,
        aside: aside(run),
        outcome: words::outcome(verdict).to_owned(),
        verdict: verdict.verdict,
        run_id: verdict.run_id.clone(),
        started_unix_ms: run.started_unix_ms,
        seed: verdict.seed,
        folder: run.folder.display().to_string(),
        file: run.file.display().to_string(),
        file_sha256: run.sha256.clone(),
        system: run.system.clone(),
        nightmail: run.nightmail.clone(),
        release: run.release.clone(),
        engine: run.engine.clone(),
        host: run.host.clone(),
        images: run.images.clone(),
        defects: verdict.defects.clone(),
        proof: proofs.get(run.sha256.as_str()).copied(),
        files: source.map(|source| source.files.clone()).unwrap_or_default(),
    }
}

/// Why a run does not count, if it does not.
fn aside(run: &RunRecord) -> Option<String> {
    match (run.is_twin, run.verdict.defects.as_slice()) {
        (_, [_, ..]) => Some(format!("defects switched on: {}", run.verdict.defects.join(", "))),
        (true, []) => Some("a twin of `prove`".to_owned()),
        (false, []) => None,
    }
}
