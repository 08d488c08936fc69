//! `junit.xml`: for the test view of a pipeline. A suite per experiment, a case per assertion; what failed is a failure,
//! what is in doubt is an error.

use std::path::Path;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use super::text::{clean, clean_lines};
use super::words;
use crate::verdict::{Assertion, Judgement, Status, Verdict};

/// File of the report within a run's folder.
pub const FILE: &str = "junit.xml";

/// A run, as a test suite.
#[derive(Debug, Clone, Copy)]
pub struct Suite<'a> {
    /// What it came to.
    pub verdict: &'a Verdict,
    /// Its folder.
    pub run_dir: &'a Path,
    /// How long it took.
    pub took: Duration,
}

/// Renders one report of all runs.
pub fn render(suites: &[Suite<'_>]) -> String {
    let mut report = Report::new("nightmail");
    report.set_time(suites.iter().map(|suite| suite.took).sum());
    report.add_test_suites(suites.iter().map(suite));
    report
        .to_string()
        .unwrap_or_else(|error| unwritable(&error.to_string()))
}

/// A report that says why there is none: a pipeline must not read its absence as a pass.
fn unwritable(reason: &str) -> String {
    let reason = reason.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"nightmail\" tests=\"1\" failures=\"0\" errors=\"1\">\
         <testsuite name=\"nightmail\" tests=\"1\" failures=\"0\" errors=\"1\"><testcase name=\"report\">\
         <error message=\"{reason}\"/></testcase></testsuite></testsuites>\n"
    )
}

fn suite(suite: &Suite<'_>) -> TestSuite {
    let verdict = suite.verdict;
    let name = clean(&verdict.experiment);
    let mut rendered = TestSuite::new(name.clone());
    rendered.set_time(suite.took);
    let properties = [
        ("title", clean(&verdict.title)),
        ("verdict", words::outcome(verdict).to_owned()),
        ("seed", verdict.seed.to_string()),
        ("exit-code", verdict.exit_code.to_string()),
        ("run-id", clean(&verdict.run_id)),
        ("run-dir", clean(&suite.run_dir.display().to_string())),
        ("run-again", clean(&verdict.again)),
        ("defects", clean(&verdict.defects.join(", "))),
    ];
    let told = properties.into_iter().filter(|(_, value)| !value.is_empty());
    rendered.add_properties(told.map(|(name, value)| Property::new(name, value)));
    rendered.add_test_cases(verdict.assertions.iter().map(|assertion| case(&name, assertion)));
    rendered.add_test_cases(run_case(&name, verdict));
    rendered
}

fn case(suite: &str, assertion: &Assertion) -> TestCase {
    let finding = &assertion.finding;
    let kind = words::kind(assertion.kind);
    let mut status = match finding.verdict {
        Judgement::Pass => TestCaseStatus::success(),
        Judgement::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Judgement::Inconclusive => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    let detail = clean(&finding.detail);
    let evidence: Vec<String> = finding.evidence.iter().map(|line| clean(line)).collect();
    if finding.verdict != Judgement::Pass {
        status.set_message(detail.clone());
        status.set_type(kind);
        status.set_description([std::slice::from_ref(&detail), evidence.as_slice()].concat().join("\n"));
    }
    // The same name may be judged at the gate and again after recovery: a case is told apart by its kind.
    let mut case = TestCase::new(format!("{kind}: {}", clean(&assertion.name)), status);
    case.set_classname(suite);
    if finding.verdict == Judgement::Pass {
        case.set_system_out(detail);
    }
    case
}

/// A case for the run itself, where no assertion tells what is wrong with it: an aborted run must not look like a suite
/// in which everything passed.
fn run_case(suite: &str, verdict: &Verdict) -> Option<TestCase> {
    let said = verdict.assertions.iter().any(|a| a.finding.verdict == verdict.verdict);
    let is_complete = verdict.status == Status::Completed && verdict.leftovers.is_empty();
    if is_complete && said {
        return None;
    }
    let kind = match (is_complete, verdict.verdict) {
        (true, Judgement::Pass) => return None,
        (true, Judgement::Fail) => NonSuccessKind::Failure,
        _ => NonSuccessKind::Error,
    };
    let mut status = TestCaseStatus::non_success(kind);
    let mut description = clean_lines(verdict.problem.as_deref().unwrap_or_default());
    description.extend(
        verdict
            .leftovers
            .iter()
            .map(|leftover| format!("left behind: {}", clean(leftover))),
    );
    status.set_message(match verdict.leftovers.is_empty() {
        true => words::answer(verdict),
        false => format!("{} Something was left behind.", words::answer(verdict)),
    });
    status.set_type(words::outcome(verdict));
    status.set_description(description.join("\n"));
    let mut case = TestCase::new("run: to its end, nothing left behind", status);
    case.set_classname(suite);
    Some(case)
}
