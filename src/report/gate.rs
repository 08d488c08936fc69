//! The table of a gate, and the same in Markdown before the summaries of the runs: what a pipeline shows first.

use std::fmt::Write;

use super::summary::{escape, glyph};
use super::table::{Table, by, time};
use super::terminal::Style;
use super::text::{clean, duration, list, plural, shorten};
use super::words;
use crate::campaign::{Decision, Outcome, Row, RunRecord};
use crate::verdict::Judgement;

/// What GitHub takes as the summary of one step, in bytes.
pub const SUMMARY_BYTES_MAX: usize = 1024 * 1024;

/// Left free of it: a step may have written something else.
const SPARE_BYTES: usize = 16 * 1024;
/// For the table of all experiments, of these bytes.
const TABLE_BYTES_MAX: usize = 256 * 1024;
/// Longest piece of data in that table, in characters.
const CELL_CHARS: usize = 160;

/// Renders the table for the terminal, with the decision as its last line.
pub fn table(outcome: &Outcome, style: &Style) -> String {
    let mut table = Table::new(&[
        "",
        "experiment",
        "verdict",
        "exit",
        "took",
        "disruption",
        "recovery",
        "by",
    ]);
    for row in &outcome.rows {
        table.row(cells(row, style));
    }
    let said = match outcome.rows.is_empty() {
        true => String::new(),
        false => table.render(style),
    };
    format!("{said}{}\n", sentence(outcome))
}

fn cells(row: &Row, style: &Style) -> Vec<String> {
    let name = clean(&row.name);
    let Some(run) = &row.run else {
        let none = || "-".to_owned();
        return vec![
            words::glyph(Judgement::Inconclusive, style.unicode).to_owned(),
            name,
            words::NOT_REACHED.to_owned(),
            none(),
            none(),
            none(),
            none(),
            String::new(),
        ];
    };
    let verdict = &run.verdict;
    vec![
        words::glyph(verdict.verdict, style.unicode).to_owned(),
        name,
        words::outcome(verdict).to_owned(),
        verdict.exit_code.to_string(),
        duration(run.took_ms as f64),
        time(verdict, verdict.recovery.disruption_ms),
        time(verdict, verdict.recovery.recovery_time_ms),
        reason(row, run),
    ]
}

/// What decided, and what speaks for it all the same.
fn reason(row: &Row, run: &RunRecord) -> String {
    let by = by(&run.verdict);
    match (row.counted.because.as_str(), by.as_str()) {
        ("", _) => by,
        (because, "") => clean(because),
        (because, by) => format!("{by} ({})", clean(because)),
    }
}

/// Renders the summary of all runs in Markdown: the table, then what `section` has of each run, the worst first, as far as
/// `bytes_max` allows. What has no room is counted.
pub fn summary(outcome: &Outcome, section: impl Fn(&RunRecord) -> Option<String>, bytes_max: usize) -> String {
    let bytes_max = bytes_max.min(SUMMARY_BYTES_MAX).saturating_sub(SPARE_BYTES);
    let mut page = format!(
        "# {} {}\n\n",
        decision_glyph(outcome.decision()),
        escape(&sentence(outcome))
    );
    markdown_table(&mut page, outcome, bytes_max.min(TABLE_BYTES_MAX));
    let rows = outcome.worst_first();
    let runs: Vec<&RunRecord> = rows.iter().filter_map(|row| row.run.as_ref()).collect();
    for (shown, run) in runs.iter().enumerate() {
        let text = section(run).unwrap_or_else(|| bare(run));
        if page.len() + text.len() + 1 > bytes_max {
            let left_out = runs.len() - shown;
            let _ = writeln!(
                page,
                "The summaries of {left_out} more {} have no room here; each is in its run's folder.",
                if left_out == 1 { "run" } else { "runs" }
            );
            break;
        }
        page.push_str(&text);
        page.push('\n');
    }
    page
}

fn decision_glyph(decision: Decision) -> &'static str {
    glyph(match decision {
        Decision::Go => Judgement::Pass,
        Decision::NoGo => Judgement::Fail,
        Decision::NotProven => Judgement::Inconclusive,
    })
}

fn markdown_table(page: &mut String, outcome: &Outcome, bytes_max: usize) {
    if outcome.rows.is_empty() {
        return;
    }
    page.push_str("| | experiment | verdict | took | disruption | recovery | by |\n|---|---|---|---|---|---|---|\n");
    let rows = outcome.worst_first();
    let style = Style::default();
    for (shown, row) in rows.iter().enumerate() {
        let cells = cells(row, &style);
        let cell = |at: usize| escape(&shorten(&cells[at], CELL_CHARS));
        let judged = row
            .run
            .as_ref()
            .map_or(Judgement::Inconclusive, |run| run.verdict.verdict);
        let line = format!(
            "| {} | {} | {} | {} | {} | {} | {} |\n",
            glyph(judged),
            cell(1),
            cell(2),
            cell(4),
            cell(5),
            cell(6),
            cell(7)
        );
        if page.len() + line.len() > bytes_max {
            let _ = writeln!(page, "| | {} more | | | | | |", rows.len() - shown);
            break;
        }
        page.push_str(&line);
    }
    page.push('\n');
}

/// What can be said of a run whose folder is not here.
fn bare(run: &RunRecord) -> String {
    let verdict = &run.verdict;
    format!(
        "## {} {}: {}\n\n**{}**\n\nThe folder of this run is not here.\n",
        glyph(verdict.verdict),
        words::outcome(verdict),
        escape(&verdict.title),
        escape(&words::answer(verdict))
    )
}

/// What a gate came to, in a sentence.
fn sentence(outcome: &Outcome) -> String {
    let total = outcome.rows.len();
    let in_the_way = |is: fn(&Row) -> bool| outcome.count(|row| row.run.is_some() && row.is_in_the_way() && is(row));
    let unreached = outcome.count(|row| row.run.is_none());
    let counted = |number: usize, what: &str| (number > 0).then(|| format!("{number} {what}"));
    let parts: Vec<String> = [
        counted(in_the_way(|row| row.counted.exit_code == 1), "failed"),
        counted(
            in_the_way(|row| ![1, 5].contains(&row.counted.exit_code)),
            "could not be judged",
        ),
        counted(in_the_way(|row| row.counted.exit_code == 5), "left something behind"),
        counted(
            unreached,
            if unreached == 1 {
                "was not reached"
            } else {
                "were not reached"
            },
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    let said = match (parts.as_slice(), total) {
        (_, 0) => "there was nothing to run".to_owned(),
        ([], 1) => "the one experiment passed".to_owned(),
        ([], total) => format!("all {total} experiments passed"),
        (parts, total) => format!("of {} {}", plural(total as u64, "experiment"), list(parts)),
    };
    let spoken_for = counted(outcome.count(|row| !row.counted.because.is_empty()), "with a note");
    let spoken_for = spoken_for.map_or_else(String::new, |noted| format!(" ({noted})"));
    format!("{}: {said}{spoken_for}", words::decision(outcome.decision()))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::sample;
    use super::*;
    use crate::campaign::{Campaign, Counted};
    use crate::verdict::Verdict;

    fn outcome(runs: Vec<(&str, Verdict)>, unreached: &[&str]) -> Outcome {
        let planned = runs.iter().map(|(file, _)| *file).chain(unreached.iter().copied());
        let planned: Vec<PathBuf> = planned.map(PathBuf::from).collect();
        let record = |(file, verdict): (&str, Verdict)| RunRecord {
            file: file.into(),
            ..sample::record(&verdict, 36_700)
        };
        let campaign = Campaign {
            planned,
            ..Campaign::of(runs.into_iter().map(record).collect())
        };
        Outcome::of(&campaign, |run| Counted {
            exit_code: if run.file.ends_with("known.yaml") {
                0
            } else {
                run.verdict.exit_code
            },
            because: if run.file.ends_with("known.yaml") {
                "accepted until 2027-01-31"
            } else {
                ""
            }
            .to_owned(),
        })
    }

    fn mixed() -> Outcome {
        let runs = vec![
            ("experiments/postage/baseline.yaml", sample::passed()),
            ("experiments/postage/known.yaml", sample::failed()),
            ("experiments/postage/answers-lost.yaml", sample::failed()),
            ("experiments/counter/baseline.yaml", sample::inconclusive()),
            ("experiments/counter/host-killed.yaml", sample::aborted()),
        ];
        outcome(runs, &["experiments/counter/disk-full.yaml"])
    }

    #[test]
    fn the_table_says_of_each_experiment_what_it_came_to_and_at_last_what_all_did() {
        let unicode = Style {
            unicode: true,
            ..Style::default()
        };
        insta::assert_snapshot!("gate_table", table(&mixed(), &unicode));
        let narrow = Style {
            width: Some(50),
            ..Style::default()
        };
        assert!(table(&mixed(), &narrow).lines().next().unwrap().chars().count() <= 50);
    }

    #[test]
    fn the_last_line_is_the_decision() {
        let last = |outcome: &Outcome| table(outcome, &Style::default()).lines().last().unwrap().to_owned();
        let passed = |files: &[&'static str]| files.iter().map(|file| (*file, sample::passed())).collect();
        assert_eq!(
            last(&outcome(passed(&["a.yaml"]), &[])),
            "go: the one experiment passed"
        );
        assert_eq!(
            last(&outcome(passed(&["a.yaml", "b.yaml"]), &[])),
            "go: all 2 experiments passed"
        );
        assert_eq!(
            last(&outcome(
                vec![("a.yaml", sample::passed()), ("known.yaml", sample::failed())],
                &[]
            )),
            "go: all 2 experiments passed (1 with a note)"
        );
        assert_eq!(
            last(&outcome(passed(&["a.yaml"]), &["b.yaml", "c.yaml"])),
            "not proven: of 3 experiments 2 were not reached"
        );
        assert_eq!(last(&outcome(Vec::new(), &[])), "go: there was nothing to run");
        let mut dirty = sample::passed();
        (dirty.leftovers, dirty.exit_code) = (vec!["a network".to_owned()], 5);
        assert_eq!(
            last(&outcome(vec![("a.yaml", dirty)], &[])),
            "not proven: of 1 experiment 1 left something behind"
        );
    }

    #[test]
    fn the_summary_has_the_worst_first_and_what_is_not_here_too() {
        let section = |run: &RunRecord| {
            let is_here = !run.file.ends_with("host-killed.yaml");
            is_here.then(|| format!("## section of {}\n", run.file.display()))
        };
        insta::assert_snapshot!("gate_summary", summary(&mixed(), section, SUMMARY_BYTES_MAX));
    }

    /// Text that every escaping makes as long as it can.
    fn hostile_verdict(number: usize) -> Verdict {
        let mut verdict = sample::failed();
        let text = "@#|<www.x https://x `*_[".repeat(100);
        verdict.title.clone_from(&text);
        verdict.run_id = format!("run-{number}");
        for assertion in &mut verdict.assertions {
            assertion.name.clone_from(&text);
            assertion.finding.detail.clone_from(&text);
            assertion.finding.evidence = vec![text.clone(); 20];
        }
        verdict
    }

    #[test]
    fn two_hundred_hostile_experiments_fit_into_a_step_of_github() {
        let files: Vec<String> = (0..200)
            .map(|number| format!("{number}{}.yaml", "@#|<".repeat(50)))
            .collect();
        let mut runs: Vec<(&str, Verdict)> = vec![("passed.yaml", sample::passed())];
        runs.extend(
            files
                .iter()
                .enumerate()
                .map(|(number, file)| (file.as_str(), hostile_verdict(number))),
        );
        let outcome = outcome(runs, &[]);
        let plan = sample::plan();
        let page = summary(
            &outcome,
            |run| Some(super::super::summary::render(&plan, &run.verdict)),
            SUMMARY_BYTES_MAX,
        );
        assert!(page.len() < SUMMARY_BYTES_MAX, "{}", page.len());
        let shown = page.matches("Run it again").count();
        assert!(shown > 0, "the worst have room");
        let left_out = format!("The summaries of {} more runs have no room here", 201 - shown);
        assert!(page.contains(&left_out), "{shown}");
        let little = summary(&outcome, |_| None, 64 * 1024);
        assert!(little.len() <= 48 * 1024 + 100, "{}", little.len());
        assert!(little.contains(" more | | | | | |"));
    }
}
