//! `junit.xml`: for the test view of a pipeline. A suite per run, a case per assertion; what failed is a failure, what is in
//! doubt is an error, and what is accepted or let pass is skipped, so that a pipeline is red by JUnit where the gate is closed.
//!
//! Read for it: GitLab (`lib/gitlab/ci/parsers/test/junit.rb`: a report of 30 MB at most, `[[ATTACHMENT|path]]` in the
//! system-out of a case that failed, a path from the root of the project), Jenkins (the plug-ins junit and junit-attachments:
//! the same mark, on a line of its own), and actions for GitHub, which tell cases apart by suite, class and name.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use super::text::{clean, clean_lines, shorten};
use super::{comparison, words};
use crate::campaign::Counted;
use crate::campaign::compare::{Comparison, ExperimentComparison};
use crate::verdict::{Assertion, Judgement, Status, Verdict};

/// File of the report within a run's folder.
pub const FILE: &str = "junit.xml";

/// Readers refuse what is greater, in bytes: GitLab's 30 MB.
pub const BYTES_MAX: usize = 30_000_000;

/// Longest output of a case, in characters, tried one after the other until the report is not too great.
const OUTPUT_CHARS: [usize; 4] = [16_000, 2_000, 200, 0];
/// Name of the suite of a comparison.
const COMPARISON: &str = "comparison with the baseline";
/// Name of the suite of what keeps runs from being a whole.
const PROBLEMS: &str = "all runs together";
/// Longest name of a suite or a case, in characters.
const NAME_CHARS: usize = 250;
/// Longest message of a case, in characters: what a reader shows in one line.
const MESSAGE_CHARS: usize = 1_000;

/// A run, as a test suite.
#[derive(Debug, Clone)]
pub struct Suite<'a> {
    /// What it is called; made unique among the suites of a report.
    pub name: String,
    /// What it came to.
    pub verdict: &'a Verdict,
    /// Its folder.
    pub run_dir: &'a Path,
    /// How long it took.
    pub took: Duration,
    /// The experiment's file; empty if it is not known.
    pub file: &'a Path,
    /// What else identifies the run, by name, such as the digest of the experiment's file.
    pub properties: Vec<(&'static str, String)>,
    /// What a reader is to open for a case that did not pass: a path from where the pipeline runs.
    pub attachment: Option<String>,
    /// What the run counts as; absent if nobody weighed it.
    pub counted: Option<&'a Counted>,
}

/// An experiment of which there is no run.
#[derive(Debug, Clone)]
pub struct Unreached<'a> {
    /// What it is called.
    pub name: &'a str,
    /// Its file.
    pub file: &'a Path,
    /// Why its result is lost; absent if it was not reached.
    pub lost: Option<&'a str>,
}

/// What a report of several runs tells beside them.
#[derive(Debug, Clone, Default)]
pub struct Besides<'a> {
    /// Experiments of which there is no run: their absence must not be read as a pass.
    pub unreached: Vec<Unreached<'a>>,
    /// The runs compared with a baseline.
    pub comparison: Option<&'a Comparison>,
    /// Why the runs are no whole, or are not compared.
    pub problems: &'a [String],
}

impl<'a> Suite<'a> {
    /// A run by itself.
    pub fn of_run(verdict: &'a Verdict, run_dir: &'a Path, took: Duration) -> Self {
        Self {
            name: verdict.experiment.clone(),
            verdict,
            run_dir,
            took,
            file: Path::new(""),
            properties: Vec::new(),
            attachment: None,
            counted: None,
        }
    }
}

/// The page of a run, if it is here: as seen from where the pipeline runs, as far as it lies below.
pub fn attachment(folder: &Path) -> Option<String> {
    let page = folder.join(super::html::FILE).canonicalize().ok()?;
    let here = std::env::current_dir().and_then(|here| here.canonicalize()).ok();
    let below = here.and_then(|here| Some(page.strip_prefix(here).ok()?.to_owned()));
    Some(below.unwrap_or(page).display().to_string())
}

/// Renders one report of all runs, and of what there is beside them.
pub fn render(suites: &[Suite<'_>], besides: &Besides<'_>) -> String {
    render_within(BYTES_MAX, suites, besides)
}

fn render_within(bytes_max: usize, suites: &[Suite<'_>], besides: &Besides<'_>) -> String {
    let mut rendered = String::new();
    for output_chars in OUTPUT_CHARS {
        rendered = whole(suites, besides, output_chars, true);
        if rendered.len() <= bytes_max {
            return rendered;
        }
    }
    // Names alone are too much: what passed is left out, and counted.
    let shorter = whole(suites, besides, 0, false);
    if shorter.len() < rendered.len() {
        rendered = shorter;
    }
    match rendered.len() <= bytes_max {
        true => rendered,
        false => unwritable("there are so many runs that no reader would take the report"),
    }
}

fn whole(suites: &[Suite<'_>], besides: &Besides<'_>, output_chars: usize, passed_too: bool) -> String {
    let mut report = Report::new("nightmail");
    report.set_time(suites.iter().map(|suite| suite.took).sum());
    let mut names = Names::default();
    for suite in suites {
        let name = names.unique(&suite.name);
        let renderer = Renderer {
            suite,
            name,
            output_chars,
            passed_too,
        };
        report.add_test_suite(renderer.render());
    }
    for unreached in &besides.unreached {
        report.add_test_suite(of_unreached(names.unique(unreached.name), unreached));
    }
    if let Some(comparison) = besides.comparison {
        report.add_test_suite(of_comparison(names.unique(COMPARISON), comparison));
    }
    if !besides.problems.is_empty() {
        report.add_test_suite(of_problems(names.unique(PROBLEMS), besides.problems));
    }
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

/// Names that were given already.
#[derive(Default)]
struct Names(BTreeMap<String, usize>);

impl Names {
    /// The name, with a number behind it if it was given before: readers take two cases of one name for one.
    fn unique(&mut self, name: &str) -> String {
        let name = shorten(&clean(name), NAME_CHARS);
        let mut candidate = name.clone();
        while self.0.contains_key(&candidate) {
            let count = self.0.entry(name.clone()).or_insert(1);
            *count += 1;
            candidate = format!("{name} ({count})");
        }
        self.0.insert(candidate.clone(), 1);
        candidate
    }
}

struct Renderer<'s, 'a> {
    suite: &'s Suite<'a>,
    name: String,
    output_chars: usize,
    passed_too: bool,
}

impl Renderer<'_, '_> {
    fn render(&self) -> TestSuite {
        let verdict = self.suite.verdict;
        let mut rendered = TestSuite::new(self.name.clone());
        rendered.set_time(self.suite.took);
        let is_shown = |assertion: &&Assertion| self.passed_too || assertion.finding.verdict != Judgement::Pass;
        let left_out = verdict
            .assertions
            .iter()
            .filter(|assertion| !is_shown(assertion))
            .count();
        rendered.add_properties(self.properties(left_out));
        let mut names = Names::default();
        let shown = verdict.assertions.iter().filter(is_shown);
        rendered.add_test_cases(shown.map(|assertion| self.case(&mut names, assertion)));
        rendered.add_test_cases(self.run_case());
        rendered
    }

    fn properties(&self, left_out: usize) -> Vec<Property> {
        let (suite, verdict) = (self.suite, self.suite.verdict);
        let own = [
            ("title", clean(&verdict.title)),
            ("verdict", words::outcome(verdict).to_owned()),
            ("seed", verdict.seed.to_string()),
            ("exit-code", verdict.exit_code.to_string()),
            ("run-id", clean(&verdict.run_id)),
            ("run-dir", clean(&suite.run_dir.display().to_string())),
            ("run-again", clean(&verdict.again)),
            ("defects", clean(&verdict.defects.join(", "))),
            ("file", clean(&suite.file.display().to_string())),
        ];
        let left_out = match left_out {
            0 => String::new(),
            count => format!("{count} cases, to keep the report small"),
        };
        let further = suite.properties.iter().map(|(name, value)| (*name, clean(value)));
        let all = own
            .into_iter()
            .chain(further)
            .chain([("passed-and-left-out", left_out)]);
        let told = all.filter(|(_, value)| !value.is_empty());
        told.map(|(name, value)| Property::new(name, value)).collect()
    }

    fn case(&self, names: &mut Names, assertion: &Assertion) -> TestCase {
        let finding = &assertion.finding;
        let kind = words::kind(assertion.kind);
        let let_pass = self.suite.counted.filter(|counted| counted.lets_pass(assertion));
        let mut status = match finding.verdict {
            Judgement::Pass => TestCaseStatus::success(),
            _ if let_pass.is_some() => TestCaseStatus::skipped(),
            Judgement::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
            Judgement::Inconclusive => TestCaseStatus::non_success(NonSuccessKind::Error),
        };
        let detail = clean(&finding.detail);
        let did_pass = finding.verdict == Judgement::Pass;
        if !did_pass {
            let evidence: Vec<String> = finding.evidence.iter().map(|line| clean(line)).collect();
            let message = match let_pass {
                Some(counted) => why_let_pass(counted, assertion),
                None => detail.clone(),
            };
            status.set_message(shorten(&message, MESSAGE_CHARS));
            status.set_type(kind);
            let description = [std::slice::from_ref(&detail), evidence.as_slice()].concat().join("\n");
            status.set_description(self.output(&description));
        }
        // The same name may be judged at the gate and again after recovery: a case is told apart by its kind.
        let name = names.unique(&format!("{kind}: {}", clean(&assertion.name)));
        let mut case = self.in_suite(TestCase::new(name, status), did_pass);
        if did_pass && self.output_chars > 0 {
            case.set_system_out(self.output(&detail));
        }
        case
    }

    /// A case for the run itself, where no assertion tells what is wrong with it: an aborted run must not look like a suite
    /// in which everything passed.
    fn run_case(&self) -> Option<TestCase> {
        let verdict = self.suite.verdict;
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
        let is_doubt = is_complete && verdict.verdict == Judgement::Inconclusive;
        let is_let_pass = is_doubt && self.suite.counted.is_some_and(|counted| counted.is_doubt_let_pass);
        let mut status = match is_let_pass {
            true => TestCaseStatus::skipped(),
            false => TestCaseStatus::non_success(kind),
        };
        let mut description = clean_lines(verdict.problem.as_deref().unwrap_or_default());
        description.extend(
            verdict
                .leftovers
                .iter()
                .map(|leftover| format!("left behind: {}", clean(leftover))),
        );
        let message = match verdict.leftovers.is_empty() {
            true => words::answer(verdict),
            false => format!("{} Something was left behind.", words::answer(verdict)),
        };
        status.set_message(shorten(&message, MESSAGE_CHARS));
        status.set_type(words::outcome(verdict));
        status.set_description(self.output(&description.join("\n")));
        let case = TestCase::new("run: to its end, nothing left behind", status);
        Some(self.in_suite(case, false))
    }

    fn in_suite(&self, mut case: TestCase, did_pass: bool) -> TestCase {
        case.set_classname(self.name.clone());
        set_file(&mut case, self.suite.file);
        if let Some(attachment) = self.suite.attachment.as_ref().filter(|_| !did_pass) {
            case.set_system_out(format!("[[ATTACHMENT|{}]]", clean(attachment)));
        }
        case
    }

    /// Output as far as there is room for it.
    fn output(&self, text: &str) -> String {
        shorten(text, self.output_chars)
    }
}

/// Why an assertion that did not pass counts against nothing.
fn why_let_pass(counted: &Counted, assertion: &Assertion) -> String {
    match counted.acceptance(assertion) {
        Some(weakness) => words::accepted(weakness),
        None => words::DOUBT_LET_PASS.to_owned(),
    }
}

fn set_file(case: &mut TestCase, file: &Path) {
    if !file.as_os_str().is_empty() {
        case.extra
            .insert("file".into(), clean(&file.display().to_string()).into());
    }
}

fn of_unreached(name: String, unreached: &Unreached<'_>) -> TestSuite {
    let mut rendered = TestSuite::new(name.clone());
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status.set_message(match unreached.lost {
        Some(why) => shorten(&format!("There is no result of it: {}", clean(why)), MESSAGE_CHARS),
        None => "It was not run: the gate ended before.".to_owned(),
    });
    status.set_type(words::without_run(unreached.lost));
    let mut case = TestCase::new("run: begun", status);
    case.set_classname(name);
    set_file(&mut case, unreached.file);
    rendered.add_test_case(case);
    rendered
}

/// A case for each experiment that is on both sides. One whose runs fail fails by these alone.
fn of_comparison(name: String, comparison: &Comparison) -> TestSuite {
    let mut rendered = TestSuite::new(name.clone());
    let mut names = Names::default();
    let both = |one: &&ExperimentComparison| one.baseline.runs() > 0 && one.now.runs() > 0;
    for experiment in comparison.experiments.iter().filter(both) {
        let figures = |metric| comparison::regression_figures(experiment, Some(metric));
        let mut regressed: Vec<String> = experiment.regressed().map(figures).collect();
        if regressed.is_empty() && experiment.is_expired && experiment.failing.is_empty() {
            regressed.push(comparison::regression(experiment, None));
        }
        let accepted = experiment.metrics.iter().filter_map(|metric| {
            let weakness = metric.accepted.as_ref()?;
            Some(format!("{}: {}", clean(&metric.metric), words::accepted(weakness)))
        });
        let accepted: Vec<String> = accepted.collect();
        let (mut status, told) = match (regressed.is_empty(), accepted.is_empty()) {
            (false, _) => (TestCaseStatus::non_success(NonSuccessKind::Failure), regressed),
            (true, false) => (TestCaseStatus::skipped(), accepted),
            (true, true) => (TestCaseStatus::success(), Vec::new()),
        };
        if !told.is_empty() {
            status.set_message(shorten(&told.join("; "), MESSAGE_CHARS));
            status.set_type("comparison");
            status.set_description(shorten(&told.join("\n"), OUTPUT_CHARS[0]));
        }
        let (system, engine) = (clean(&experiment.system), clean(&experiment.engine));
        let case = names.unique(&format!("{system}/{} on {engine}", clean(&experiment.experiment)));
        let mut case = TestCase::new(case, status);
        case.set_classname(name.clone());
        rendered.add_test_case(case);
    }
    rendered
}

/// A case for each reason why the runs are no whole, or are not compared.
fn of_problems(name: String, problems: &[String]) -> TestSuite {
    let mut rendered = TestSuite::new(name.clone());
    for (index, problem) in problems.iter().enumerate() {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(shorten(&clean(problem), MESSAGE_CHARS));
        status.set_type("no whole");
        let mut case = TestCase::new(format!("problem {}", index + 1), status);
        case.set_classname(name.clone());
        rendered.add_test_case(case);
    }
    rendered
}

#[cfg(test)]
mod tests;
