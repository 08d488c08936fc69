//! What a workflow of GitHub reads from the output of a step: annotations, at files and lines of a change.
//!
//! Syntax and escaping are those of "Workflow commands for GitHub Actions" and of `@actions/core`
//! (`packages/core/src/command.ts`, `escapeData` and `escapeProperty`).

use super::text::{clean, shorten};
use super::{comparison, words};
use crate::campaign::compare::ExperimentComparison;
use crate::campaign::{Outcome, Row, RunRecord};
use crate::verdict::{Assertion, Judgement};

/// GitHub shows ten annotations of a kind for each step.
const ANNOTATIONS_MAX: usize = 10;
/// Longest message of one, in characters.
const MESSAGE_CHARS: usize = 1_000;

/// The commands that annotate what is in the way, the worst first; `line_of` says where in the experiment's file an assertion
/// stands, from 1.
pub fn annotations(outcome: &Outcome, line_of: impl Fn(&RunRecord, Option<&Assertion>) -> usize) -> Vec<String> {
    let mut said: Vec<(Judgement, String)> = Vec::new();
    for row in outcome.worst_first().into_iter().filter(|row| row.is_in_the_way()) {
        match &row.run {
            None => {
                let message = row.lost.as_deref().unwrap_or(words::NOT_REACHED);
                said.push((Judgement::Inconclusive, command(row, 1, &clean(message))));
            }
            Some(run) => said.extend(of_run(row, run, &line_of)),
        }
    }
    for (experiment, metric) in outcome.regressions() {
        let message = comparison::regression_figures(experiment, metric);
        said.push((Judgement::Fail, regression(outcome, experiment, &message)));
    }
    let problems = outcome.problems.iter();
    said.extend(problems.map(|problem| (Judgement::Inconclusive, at_large(&clean(problem)))));
    // A failure has its place before the second doubt of something else.
    said.sort_by_key(|(judged, _)| std::cmp::Reverse(*judged));
    let left_out = said.len().saturating_sub(ANNOTATIONS_MAX);
    let shown = if left_out > 0 {
        ANNOTATIONS_MAX - 1
    } else {
        ANNOTATIONS_MAX
    };
    let mut commands: Vec<String> = said.into_iter().take(shown).map(|(_, command)| command).collect();
    if left_out > 0 {
        let more = left_out + 1;
        let message = format!("{more} more are in the summary of this step");
        commands.push(at_large(&message));
    }
    commands
}

/// What belongs to no file.
fn at_large(message: &str) -> String {
    let message = shorten(message, MESSAGE_CHARS);
    format!("::error title={}::{}", property("nightmail"), data(&message))
}

/// What became worse than the baseline's, at the experiment's file.
fn regression(outcome: &Outcome, experiment: &ExperimentComparison, message: &str) -> String {
    let is_of = |run: &RunRecord| run.verdict.experiment == experiment.experiment && run.system == experiment.system;
    match outcome.rows.iter().find(|row| row.run.as_ref().is_some_and(is_of)) {
        Some(row) => at_file(
            row,
            1,
            &format!("{} (worse than the baseline)", clean(&row.name)),
            message,
        ),
        None => at_large(message),
    }
}

/// What failed; without that, what was in doubt; without that, why there is no verdict. What is accepted or let pass is left out.
fn of_run(
    row: &Row,
    run: &RunRecord,
    line_of: impl Fn(&RunRecord, Option<&Assertion>) -> usize,
) -> Vec<(Judgement, String)> {
    let verdict = &run.verdict;
    let assertions = verdict.assertions.iter();
    let counting = assertions.filter(|assertion| !row.counted.lets_pass(assertion));
    let worst = counting.clone().map(|assertion| assertion.finding.verdict).max();
    let worst = worst.unwrap_or(Judgement::Pass);
    let decided = counting.filter(|assertion| assertion.finding.verdict == worst);
    let decided: Vec<&Assertion> = decided.filter(|_| worst != Judgement::Pass).collect();
    if decided.is_empty() {
        let message = match verdict.leftovers.is_empty() {
            true => words::answer(verdict),
            false => format!("{} Something was left behind.", words::answer(verdict)),
        };
        return vec![(verdict.verdict, command(row, line_of(run, None), &message))];
    }
    let each = decided.into_iter().map(|assertion| {
        let (kind, name) = (words::kind(assertion.kind), clean(&assertion.name));
        let message = format!("{kind}: {name}: {}", clean(&assertion.finding.detail));
        (worst, command(row, line_of(run, Some(assertion)), &message))
    });
    each.collect()
}

fn command(row: &Row, line: usize, message: &str) -> String {
    let outcome = row.run.as_ref().map_or(words::without_run(row.lost.as_deref()), |run| {
        words::outcome(&run.verdict)
    });
    let title = match outcome == message {
        true => clean(&row.name),
        false => format!("{} ({outcome})", clean(&row.name)),
    };
    at_file(row, line, &title, message)
}

fn at_file(row: &Row, line: usize, title: &str, message: &str) -> String {
    format!(
        "::error file={},line={line},title={}::{}",
        property(&row.file.display().to_string()),
        property(title),
        data(&shorten(message, MESSAGE_CHARS))
    )
}

/// Has GitHub read no command until it meets this word again: what comes from a system under test gives none.
pub fn stop_commands(word: &str) -> String {
    format!("::stop-commands::{word}")
}

/// The end of that.
pub fn resume_commands(word: &str) -> String {
    format!("::{word}::")
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::sample;
    use super::*;
    use crate::campaign::{Campaign, Counted};
    use crate::verdict::Verdict;

    fn outcome(runs: Vec<(String, Verdict)>, unreached: &[&str]) -> Outcome {
        let planned = runs
            .iter()
            .map(|(file, _)| file.as_str())
            .chain(unreached.iter().copied());
        let planned: Vec<PathBuf> = planned.map(PathBuf::from).collect();
        let record = |(file, verdict): (String, Verdict)| RunRecord {
            file: file.into(),
            ..sample::record(&verdict, 1)
        };
        let campaign = Campaign {
            planned,
            ..Campaign::of(runs.into_iter().map(record).collect())
        };
        Outcome::of(&campaign, |run| Counted::plainly(run.verdict.exit_code))
    }

    #[test]
    fn what_is_in_the_way_is_annotated_where_it_stands() {
        let runs = vec![
            ("experiments/passed.yaml".to_owned(), sample::passed()),
            ("experiments/doubt.yaml".to_owned(), sample::inconclusive()),
            ("experiments/failed.yaml".to_owned(), sample::failed()),
            ("experiments/aborted.yaml".to_owned(), sample::aborted()),
        ];
        let said = annotations(&outcome(runs, &["experiments/late.yaml"]), |_, assertion| {
            assertion.map_or(1, |_| 17)
        });
        insta::assert_snapshot!("github_annotations", said.join("\n"));
    }

    #[test]
    fn what_regressed_and_what_is_lost_is_annotated() {
        use crate::campaign::accept::Accepted;
        use crate::campaign::compare::compare;
        use crate::campaign::compare::tests::recovered;
        let before = Campaign::of(recovered("x", 1, &[1_000.0, 1_250.0, 1_500.0, 1_250.0, 1_000.0]));
        let mut now = Campaign::of(recovered("x", 11, &[4_000.0; 5]));
        let file = now.runs[0].file.clone();
        now.planned = vec![file.clone(), "lost.yaml".into()];
        let comparison = compare(&before, &now, &Accepted::default()).unwrap();
        let lost = std::collections::BTreeMap::from([(PathBuf::from("lost.yaml"), "shard 2 is missing".to_owned())]);
        let outcome = Outcome::of(&now, |run| Counted::plainly(run.verdict.exit_code))
            .compared(comparison)
            .with_problems(vec!["no whole: shard 2 is missing".to_owned()], &lost);
        let said = annotations(&outcome, |_, _| 1);
        let regressed = format!(
            "::error file={},line=1,title=x (worse than the baseline)::recovery-time of x regressed: median 1.2 s before, 4 s \
             now (+220 %25)",
            file.display()
        );
        assert_eq!(
            said,
            [
                regressed.as_str(),
                "::error file=lost.yaml,line=1,title=lost (no result)::shard 2 is missing",
                "::error title=nightmail::no whole: shard 2 is missing"
            ]
        );
    }

    #[test]
    fn what_is_accepted_is_not_annotated() {
        let mut outcome = outcome(vec![("failed.yaml".to_owned(), sample::failed())], &[]);
        let said = |outcome: &Outcome| annotations(outcome, |_, _| 1).join("\n");
        assert!(said(&outcome).contains("nobody-charged-twice"), "{}", said(&outcome));
        outcome.rows[0].counted.accepted = vec![sample::weakness("nobody-charged-twice")];
        // A doubt is left, which keeps the gate from opening.
        outcome.rows[0].counted.exit_code = 3;
        let left = said(&outcome);
        assert!(!left.is_empty() && !left.contains("nobody-charged-twice"), "{left}");
    }

    #[test]
    fn there_are_ten_at_most_and_failures_come_before_doubts() {
        let many = |count: usize| {
            let doubts = (0..count).map(|number| (format!("doubt-{number}.yaml"), sample::inconclusive()));
            let failed = ("failed.yaml".to_owned(), sample::failed());
            annotations(&outcome(doubts.chain([failed]).collect(), &[]), |_, _| 1)
        };
        let said = many(20);
        assert_eq!(said.len(), ANNOTATIONS_MAX);
        assert!(said[0].starts_with("::error file=failed.yaml,line=1,"), "{}", said[0]);
        let per_doubt = many(1).len() - 1;
        assert_eq!(
            said[9],
            format!(
                "::error title=nightmail::{} more are in the summary of this step",
                20 * per_doubt + 1 - 9
            )
        );
        assert!(many(0).len() == 1 && annotations(&outcome(Vec::new(), &[]), |_, _| 1).is_empty());
    }

    #[test]
    fn nothing_that_is_said_ends_a_command_or_begins_another() {
        let mut verdict = sample::failed();
        for assertion in &mut verdict.assertions {
            assertion.name = "100%\n::error file=x::y\r,:".to_owned();
            assertion.finding.detail = "50 %0A\n::set-output name=a::b".to_owned();
        }
        let said = annotations(&outcome(vec![("a,b:c%.yaml".to_owned(), verdict)], &[]), |_, _| 3);
        for line in &said {
            assert!(!line.contains(['\n', '\r']), "{line}");
            let properties = line.strip_prefix("::error ").unwrap().split("::").next().unwrap();
            assert_eq!(properties.split(',').count(), 3, "{properties}");
            assert!(
                properties.starts_with("file=a%2Cb%3Ac%25.yaml,line=3,title="),
                "{properties}"
            );
        }
        assert_eq!(data("100%\r\n"), "100%25%0D%0A");
        assert_eq!(property("a:b,c%"), "a%3Ab%2Cc%25");
    }
}
