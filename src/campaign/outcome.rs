//! What the runs of a gate came to together: a row for each, one decision, one exit code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::accept::Weakness;
use super::compare::{Comparison, ExperimentComparison, MetricComparison};
use super::shard::plain;
use super::{Answer, Campaign, RunRecord, names};
use crate::verdict::{Assertion, Judgement, Status, worst};

/// The exit code of what was not run: it cannot be said.
const NOT_REACHED: u8 = 3;

/// What a gate came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The runs, and what was not reached, in the order of the campaign's `planned`.
    pub rows: Vec<Row>,
    /// Which shard it is, and of how many; absent if it is a whole.
    pub shard: Option<(u32, u32)>,
    /// The runs compared with a baseline; absent if there is none.
    pub comparison: Option<Comparison>,
    /// Why the runs are no whole, or are not compared, each in one line that goes on in a sentence.
    pub problems: Vec<String>,
    /// The worst of all runs, and of what became worse than the baseline's.
    pub exit_code: u8,
}

/// An experiment of a gate.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its short name.
    pub name: String,
    /// Its file.
    pub file: PathBuf,
    /// Its run; absent if it was not reached.
    pub run: Option<RunRecord>,
    /// Why nobody knows whether it was reached: its result is lost. Absent if there is a run, or it was not reached.
    pub lost: Option<String>,
    /// What it counts as.
    pub counted: Counted,
}

/// What a run counts as, by whoever weighs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// The exit code: that of the run, unless something speaks for it.
    pub exit_code: u8,
    /// What failed and is accepted.
    pub accepted: Vec<Weakness>,
    /// What failed and was accepted, until a day that has passed.
    pub expired: Vec<Weakness>,
    /// Whether it is in doubt, and doubts are let pass.
    pub is_doubt_let_pass: bool,
}

impl Counted {
    /// As what it came to, with nothing that speaks for it.
    pub fn plainly(exit_code: u8) -> Self {
        Self {
            exit_code,
            ..Self::default()
        }
    }

    /// Whose acceptance the failure of that assertion falls under.
    pub fn acceptance(&self, assertion: &Assertion) -> Option<&Weakness> {
        let found = self.accepted.iter().find(|weakness| weakness.is_about(assertion));
        found.filter(|_| assertion.finding.verdict == Judgement::Fail)
    }

    /// Whether that assertion did not pass, and counts against nothing.
    pub fn lets_pass(&self, assertion: &Assertion) -> bool {
        let is_in_doubt = assertion.finding.verdict == Judgement::Inconclusive;
        self.acceptance(assertion).is_some() || (self.is_doubt_let_pass && is_in_doubt)
    }
}

impl Outcome {
    /// Weighs every run of a campaign. An experiment that was planned and has no run was not reached.
    pub fn of(campaign: &Campaign, weigh: impl Fn(&RunRecord) -> Counted) -> Self {
        let mut found: Vec<(PathBuf, Option<&RunRecord>)> = Vec::new();
        let is_of = |run: &RunRecord, file: &Path| plain(&run.file) == plain(file);
        for file in &campaign.planned {
            let before = found.len();
            let runs = campaign.runs.iter().filter(|run| is_of(run, file));
            found.extend(runs.map(|run| (file.clone(), Some(run))));
            if found.len() == before {
                found.push((file.clone(), None));
            }
        }
        let unplanned = |run: &&RunRecord| !campaign.planned.iter().any(|file| is_of(run, file));
        found.extend(
            campaign
                .runs
                .iter()
                .filter(unplanned)
                .map(|run| (run.file.clone(), Some(run))),
        );
        // A shard calls its experiments what the whole does.
        let others = campaign.shard.iter().flat_map(|shard| &shard.all);
        let files = found.iter().map(|(file, _)| file).chain(others);
        let names = names::short(&files.map(PathBuf::as_path).collect::<Vec<_>>());
        let row = |((file, run), name): ((PathBuf, Option<&RunRecord>), String)| Row {
            name,
            file,
            run: run.cloned(),
            lost: None,
            counted: match run {
                Some(run) => weigh(run),
                None => Counted::plainly(NOT_REACHED),
            },
        };
        let rows: Vec<Row> = found.into_iter().zip(names).map(row).collect();
        let exit_code = worst(rows.iter().map(|row| row.counted.exit_code));
        Self {
            rows,
            shard: campaign.shard.as_ref().map(|shard| (shard.number, shard.of)),
            comparison: None,
            problems: Vec::new(),
            exit_code,
        }
    }

    /// Adds what the comparison with a baseline found. What became worse closes the gate; that there are too few runs to tell
    /// closes none.
    pub fn compared(mut self, comparison: Comparison) -> Self {
        const FAILED: u8 = 1;
        if comparison.exit_code == FAILED {
            self.exit_code = worst([self.exit_code, FAILED]);
        }
        self.comparison = Some(comparison);
        self
    }

    /// Adds why the runs are no whole, and which experiments have no result for that, each with why.
    pub fn with_problems(mut self, problems: Vec<String>, lost: &BTreeMap<PathBuf, String>) -> Self {
        self.problems.extend(problems);
        for row in self.rows.iter_mut().filter(|row| row.run.is_none()) {
            row.lost = lost.get(&row.file).cloned();
        }
        self
    }

    /// Whether it is a shard with nothing to do: there are more shards than experiments.
    pub fn is_idle(&self) -> bool {
        self.shard.is_some() && self.rows.is_empty()
    }

    /// Which shard it is, and of how many, if there are others of which it says nothing.
    pub fn alone(&self) -> Option<(u32, u32)> {
        self.shard.filter(|(_, of)| *of > 1)
    }

    /// The answer. What is no whole proves nothing, even if all of it passed.
    pub fn answer(&self) -> Answer {
        match self.exit_code {
            1 => Answer::NoGo,
            0 if self.problems.is_empty() => Answer::Go,
            _ => Answer::NotProven,
        }
    }

    /// What became worse than the baseline's and closes the gate: metrics, or, without one, an experiment of which that was
    /// accepted until a day that has passed. What failed is told by its runs.
    pub fn regressions(&self) -> Vec<(&ExperimentComparison, Option<&MetricComparison>)> {
        let experiments = self.comparison.iter().flat_map(|comparison| &comparison.experiments);
        let mut found = Vec::new();
        for experiment in experiments {
            let before = found.len();
            found.extend(experiment.regressed().map(|metric| (experiment, Some(metric))));
            let is_told = found.len() > before || !experiment.failing.is_empty();
            if experiment.is_expired && !is_told {
                found.push((experiment, None));
            }
        }
        found
    }

    /// The rows, the worst first, and otherwise as they are.
    pub fn worst_first(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by_key(|row| row.gravity());
        rows
    }

    /// How many rows are of a kind.
    pub fn count(&self, is: impl Fn(&Row) -> bool) -> usize {
        self.rows.iter().filter(|row| is(row)).count()
    }
}

impl Row {
    /// Whether it stands in the way.
    pub fn is_in_the_way(&self) -> bool {
        self.counted.exit_code != 0
    }

    /// Whether it did not pass, and is let pass all the same.
    pub fn is_let_pass(&self) -> bool {
        !self.is_in_the_way() && !self.has_passed()
    }

    /// Whether it passed by itself.
    pub fn has_passed(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.verdict.exit_code == 0)
    }

    /// Less is worse.
    fn gravity(&self) -> (bool, u8) {
        let judged = match &self.run {
            Some(run) if run.verdict.verdict == Judgement::Fail => 0,
            Some(run) if run.verdict.status != Status::Completed => 1,
            Some(run) if run.verdict.verdict == Judgement::Inconclusive => 2,
            None => 3,
            Some(run) if run.verdict.exit_code != 0 => 4,
            Some(_) => 5,
        };
        (!self.is_in_the_way(), judged)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Shard;
    use super::*;
    use crate::report::sample;
    use crate::verdict::{AssertionKind, Verdict};

    fn plain_weight(run: &RunRecord) -> Counted {
        Counted::plainly(run.verdict.exit_code)
    }

    fn campaign(runs: &[(&str, Verdict)], planned: &[&str]) -> Campaign {
        let record = |(file, verdict): &(&str, Verdict)| RunRecord {
            file: file.into(),
            ..sample::record(verdict, 30_000)
        };
        Campaign {
            planned: planned.iter().map(PathBuf::from).collect(),
            ..Campaign::of(runs.iter().map(record).collect())
        }
    }

    #[test]
    fn what_was_not_reached_proves_nothing() {
        let half = campaign(&[("a.yaml", sample::passed())], &["a.yaml", "b.yaml"]);
        let outcome = Outcome::of(&half, plain_weight);
        assert_eq!((outcome.exit_code, outcome.answer()), (3, Answer::NotProven));
        assert_eq!(outcome.count(|row| row.run.is_none()), 1);
        let whole = campaign(&[("./a.yaml", sample::passed())], &["a.yaml"]);
        assert_eq!(Outcome::of(&whole, plain_weight).answer(), Answer::Go);
    }

    #[test]
    fn what_is_no_whole_proves_nothing_and_says_of_what_there_is_no_result() {
        let half = campaign(&[("a.yaml", sample::passed())], &["a.yaml", "b.yaml", "c.yaml"]);
        let why = || "of 2 shards one is missing: 2".to_owned();
        let lost = BTreeMap::from([(PathBuf::from("a.yaml"), why()), (PathBuf::from("b.yaml"), why())]);
        let outcome = Outcome::of(&half, plain_weight).with_problems(vec![why()], &lost);
        let told: Vec<Option<String>> = outcome.rows.iter().map(|row| row.lost.clone()).collect();
        assert_eq!(
            told,
            [None, Some(why()), None],
            "what was run is not lost, and what was not reached neither"
        );
        let whole = campaign(&[("a.yaml", sample::passed())], &["a.yaml"]);
        let twice = Outcome::of(&whole, plain_weight).with_problems(vec!["twice".to_owned()], &BTreeMap::new());
        assert_eq!((twice.exit_code, twice.answer()), (0, Answer::NotProven));
        let failed = campaign(&[("a.yaml", sample::failed())], &["a.yaml"]);
        let failed = Outcome::of(&failed, plain_weight).with_problems(vec!["twice".to_owned()], &BTreeMap::new());
        assert_eq!(failed.answer(), Answer::NoGo, "a failure stays one");
    }

    #[test]
    fn what_regressed_closes_the_gate_and_too_few_runs_do_not() {
        use crate::campaign::accept::Accepted;
        use crate::campaign::compare::compare;
        use crate::campaign::compare::tests::recovered;
        let before = Campaign::of(recovered("x", 1, &[1_000.0, 1_250.0, 1_500.0, 1_250.0, 1_000.0]));
        let gate = |recovery_ms: &[f64]| {
            let now = Campaign::of(recovered("x", 11, recovery_ms));
            let comparison = compare(&before, &now, &Accepted::default()).unwrap();
            (
                comparison.exit_code,
                Outcome::of(&now, plain_weight).compared(comparison),
            )
        };
        let (code, outcome) = gate(&[4_000.0; 5]);
        assert_eq!((code, outcome.exit_code, outcome.answer()), (1, 1, Answer::NoGo));
        let regressions = outcome.regressions();
        let named: Vec<&str> = regressions
            .iter()
            .filter_map(|(_, metric)| Some(metric.as_ref()?.metric.as_str()))
            .collect();
        assert_eq!(named, ["recovery-time"]);
        let (code, outcome) = gate(&[9_000.0]);
        assert_eq!((code, outcome.exit_code, outcome.answer()), (3, 0, Answer::Go));
        assert!(outcome.regressions().is_empty());
    }

    #[test]
    fn a_shard_calls_its_experiments_what_the_whole_does() {
        let mut shard = campaign(&[("a/baseline.yaml", sample::passed())], &["a/baseline.yaml"]);
        let name = |campaign: &Campaign| Outcome::of(campaign, plain_weight).rows[0].name.clone();
        assert_eq!(name(&shard), "baseline");
        shard.shard = Some(Shard {
            number: 1,
            of: 2,
            whole: String::new(),
            all: vec!["a/baseline.yaml".into(), "b/baseline.yaml".into()],
        });
        assert_eq!(name(&shard), "a/baseline");
    }

    #[test]
    fn the_worst_counts_and_comes_first() {
        let runs = [
            ("passed.yaml", sample::passed()),
            ("doubt.yaml", sample::inconclusive()),
            ("failed.yaml", sample::failed()),
            ("aborted.yaml", sample::aborted()),
        ];
        let planned = [
            "unreached.yaml",
            "passed.yaml",
            "doubt.yaml",
            "failed.yaml",
            "aborted.yaml",
        ];
        let outcome = Outcome::of(&campaign(&runs, &planned), plain_weight);
        assert_eq!((outcome.exit_code, outcome.answer()), (1, Answer::NoGo));
        let names: Vec<&str> = outcome.worst_first().iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["failed", "aborted", "doubt", "unreached", "passed"]);
    }

    #[test]
    fn what_is_spoken_for_is_not_in_the_way() {
        let runs = [("a.yaml", sample::failed()), ("b.yaml", sample::passed())];
        let outcome = Outcome::of(&campaign(&runs, &["a.yaml", "b.yaml"]), |_| Counted::plainly(0));
        assert_eq!(outcome.answer(), Answer::Go);
        let [failed, passed] = outcome.rows.as_slice() else {
            panic!("{outcome:?}")
        };
        assert!(!failed.is_in_the_way() && failed.is_let_pass() && !failed.has_passed());
        assert!(!passed.is_in_the_way() && !passed.is_let_pass() && passed.has_passed());
    }

    #[test]
    fn an_acceptance_speaks_for_what_it_names_and_any_for_all_but_invariants() {
        let verdict = sample::failed();
        let failed = |kind: AssertionKind| {
            let mut assertion = verdict.assertions[0].clone();
            (assertion.kind, assertion.finding.verdict) = (kind, Judgement::Fail);
            assertion.name = "x".to_owned();
            assertion
        };
        let accepting = |what: &str| Counted {
            accepted: vec![sample::weakness(what)],
            ..Counted::default()
        };
        let (during, invariant) = (failed(AssertionKind::During), failed(AssertionKind::Invariant));
        assert!(accepting("x").lets_pass(&during) && accepting("x").lets_pass(&invariant));
        assert!(accepting("*").lets_pass(&during) && !accepting("*").lets_pass(&invariant));
        assert!(!accepting("y").lets_pass(&during) && !Counted::default().lets_pass(&during));
        let mut doubt = during;
        doubt.finding.verdict = Judgement::Inconclusive;
        assert!(!accepting("x").lets_pass(&doubt), "a doubt is no failure");
        let letting_doubts_pass = Counted {
            is_doubt_let_pass: true,
            ..Counted::default()
        };
        assert!(letting_doubts_pass.lets_pass(&doubt) && !letting_doubts_pass.lets_pass(&invariant));
    }

    #[test]
    fn a_run_that_nobody_planned_counts_as_well() {
        let outcome = Outcome::of(&campaign(&[("b.yaml", sample::failed())], &[]), plain_weight);
        assert_eq!((outcome.rows.len(), outcome.exit_code), (1, 1));
    }
}
