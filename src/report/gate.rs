//! The table of a gate, and the same in Markdown before the summaries of the runs: what a pipeline shows first.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

use super::comparison;
use super::mark::Mark;
use super::summary::{self as own, escape};
use super::table::{Table, by, time};
use super::terminal::Style;
use super::text::{clean, duration, list, plural, shorten};
use super::words;
use crate::campaign::accept::Weakness;
use crate::campaign::compare::{ExperimentComparison, MetricComparison};
use crate::campaign::{Answer, Outcome, Row, RunRecord};

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
            mark(row).glyph(style.unicode).to_owned(),
            name,
            words::without_run(row.lost.as_deref()).to_owned(),
            none(),
            none(),
            none(),
            none(),
            clean(row.lost.as_deref().unwrap_or_default()),
        ];
    };
    let verdict = &run.verdict;
    vec![
        mark(row).glyph(style.unicode).to_owned(),
        name,
        outcome_of(row, run),
        verdict.exit_code.to_string(),
        duration(run.took_ms as f64),
        time(verdict, verdict.recovery.disruption_ms),
        time(verdict, verdict.recovery.recovery_time_ms),
        reason(row, run),
    ]
}

fn mark(row: &Row) -> Mark {
    match &row.run {
        _ if row.is_let_pass() => Mark::Known,
        Some(run) => Mark::from(run.verdict.verdict),
        None => Mark::Doubt,
    }
}

/// What a run came to, and that it counts against nothing, if so.
fn outcome_of(row: &Row, run: &RunRecord) -> String {
    let outcome = words::outcome(&run.verdict);
    match (row.is_let_pass(), row.counted.is_doubt_let_pass) {
        (false, _) => outcome.to_owned(),
        (true, false) => format!("{outcome}, accepted"),
        (true, true) => format!("{outcome}, let pass"),
    }
}

/// What decided, and what is accepted of it.
fn reason(row: &Row, run: &RunRecord) -> String {
    let by = by(&run.verdict);
    let (accepted, expired) = (&row.counted.accepted, &row.counted.expired);
    let notes: Vec<String> = [("accepted", accepted), ("was accepted", expired)]
        .into_iter()
        .filter(|(_, weaknesses)| !weaknesses.is_empty())
        .map(|(what, weaknesses)| {
            let told: Vec<String> = weaknesses
                .iter()
                .map(|Weakness { what, until, owner, .. }| {
                    let what = if clean(what) == by {
                        String::new()
                    } else {
                        format!("{what} ")
                    };
                    clean(&format!("{what}until {until} by {owner}"))
                })
                .collect();
            format!("{what} {}", told.join(", "))
        })
        .collect();
    match (notes.is_empty(), by.as_str()) {
        (true, _) => by,
        (false, "") => notes.join("; "),
        (false, by) => format!("{by} ({})", notes.join("; ")),
    }
}

/// Renders the summary of all runs in Markdown: the table, then what `section` has of each run, the worst first, as far as
/// `bytes_max` allows. What has no room is counted.
pub fn summary(outcome: &Outcome, section: impl Fn(&RunRecord) -> Option<String>, bytes_max: usize) -> String {
    let bytes_max = bytes_max.min(SUMMARY_BYTES_MAX).saturating_sub(SPARE_BYTES);
    let said = escape(&sentence(outcome));
    let mut page = match outcome.is_idle() {
        true => format!("# {said}\n\n"),
        false => format!(
            "# {} {said}\n\n",
            own::glyph(words::campaign_judgement(outcome.answer()))
        ),
    };
    list_of(&mut page, "Worse than the baseline", &regressions(outcome));
    list_of(&mut page, "What is wrong", &outcome.problems);
    markdown_table(&mut page, outcome, bytes_max.min(TABLE_BYTES_MAX));
    if let Some(compared) = outcome.comparison.as_ref().map(comparison::markdown_of_gate)
        && page.len() + compared.len() < bytes_max.min(TABLE_BYTES_MAX)
    {
        page.push_str(&compared);
        page.push('\n');
    }
    let rows = outcome.worst_first();
    let runs: Vec<(&Row, &RunRecord)> = rows.iter().filter_map(|row| Some((*row, row.run.as_ref()?))).collect();
    for (shown, (row, run)) in runs.iter().enumerate() {
        let text = section(run).unwrap_or_else(|| bare(run));
        let text = match row.is_let_pass() {
            true => excused(&text, row, run),
            false => text,
        };
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

fn list_of(page: &mut String, heading: &str, lines: &[String]) {
    const LINES_MAX: usize = 50;
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(page, "**{heading}:**\n");
    for line in lines.iter().take(LINES_MAX) {
        let _ = writeln!(page, "- {}", escape(line));
    }
    if lines.len() > LINES_MAX {
        let _ = writeln!(page, "- … {} more", lines.len() - LINES_MAX);
    }
    page.push('\n');
}

/// What became worse than the baseline's and closes the gate, with its figures.
pub fn regressions(outcome: &Outcome) -> Vec<String> {
    regressed(outcome, comparison::regression_figures)
}

type Told = fn(&ExperimentComparison, Option<&MetricComparison>) -> String;

fn regressed(outcome: &Outcome, told: Told) -> Vec<String> {
    let regressions = outcome.regressions().into_iter();
    regressions
        .map(|(experiment, metric)| told(experiment, metric))
        .collect()
}

/// The summary of a run that counts against nothing: it says so before all else.
fn excused(text: &str, row: &Row, run: &RunRecord) -> String {
    let (heading, rest) = text.split_once('\n').unwrap_or((text, ""));
    let judged = own::glyph(run.verdict.verdict);
    let heading = heading.replacen(judged, mark(row).emoji(), 1);
    let mut why: Vec<String> = row
        .counted
        .accepted
        .iter()
        .map(|weakness| {
            let told = format!("{}: {}", weakness.what, words::accepted(weakness));
            format!("- {}\n", escape(&told))
        })
        .collect();
    if row.counted.is_doubt_let_pass {
        why.push(format!("- {}\n", words::DOUBT_LET_PASS));
    }
    format!(
        "{heading}\n\n**This does not close the gate:**\n\n{}{rest}",
        why.concat()
    )
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
        let line = format!(
            "| {} | {} | {} | {} | {} | {} | {} |\n",
            mark(row).emoji(),
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
        own::glyph(verdict.verdict),
        words::outcome(verdict),
        escape(&verdict.title),
        escape(&words::answer(verdict))
    )
}

/// What a gate came to, in a sentence; of a shard, that it says no more than that.
fn sentence(outcome: &Outcome) -> String {
    if let Some((number, of)) = outcome.shard.filter(|_| outcome.is_idle()) {
        return format!("nothing to run on this shard ({number} of {of})");
    }
    let decision = decision(outcome);
    match outcome.alone() {
        Some((number, of)) => format!("{decision} (shard {number} of {of} alone)"),
        None => decision,
    }
}

/// The answer, and what it rests on.
fn decision(outcome: &Outcome) -> String {
    let total = outcome.rows.len();
    let in_the_way = |is: fn(&Row) -> bool| outcome.count(|row| row.run.is_some() && row.is_in_the_way() && is(row));
    let unreached = outcome.count(|row| row.run.is_none() && row.lost.is_none());
    let lost = outcome.count(|row| row.lost.is_some());
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
        counted(lost, if lost == 1 { "has no result" } else { "have no result" }),
    ]
    .into_iter()
    .flatten()
    .collect();
    let noun = noun(outcome);
    let all = plural(total as u64, noun);
    let let_pass = let_pass(outcome);
    let answer = words::campaign_answer(outcome.answer()).to_lowercase();
    let runs = match (parts.as_slice(), total, &let_pass) {
        (_, 0, _) => "there was nothing to run".to_owned(),
        ([], 1, None) => format!("the one {noun} passed"),
        ([], _, None) => format!("all {all} passed"),
        ([], _, Some(_)) => format!("of {all} {}", list(&with_let_pass(outcome))),
        (parts, _, _) => format!("of {all} {}", list(parts)),
    };
    let mut besides = few(regressed(outcome, comparison::regression));
    besides.extend(few(outcome.problems.iter().map(|problem| clean(problem)).collect()));
    let besides = match (besides.is_empty(), parts.is_empty()) {
        (true, _) => String::new(),
        (false, true) => format!(", but {}", besides.join("; ")),
        (false, false) => format!("; {}", besides.join("; ")),
    };
    match (let_pass, outcome.answer()) {
        (None, _) => format!("{answer}: {runs}{besides}"),
        (Some(let_pass), Answer::Go) => format!("{answer}, with {let_pass}: {runs}"),
        (Some(let_pass), _) => format!("{answer}: {runs}{besides}; not counted: {let_pass}"),
    }
}

/// The first of some lines, and how many more there are.
fn few(mut lines: Vec<String>) -> Vec<String> {
    const LINES_MAX: usize = 3;
    if lines.len() > LINES_MAX {
        let more = lines.len() - LINES_MAX;
        lines.truncate(LINES_MAX);
        lines.push(format!("{more} more of the kind"));
    }
    lines
}

/// What the rows are: experiments, or several runs of some of them.
fn noun(outcome: &Outcome) -> &'static str {
    let files: BTreeSet<&PathBuf> = outcome.rows.iter().map(|row| &row.file).collect();
    match files.len() == outcome.rows.len() {
        true => "experiment",
        false => "run",
    }
}

/// What rows came to of which none is in the way.
fn with_let_pass(outcome: &Outcome) -> Vec<String> {
    let doubts = |row: &Row| row.is_let_pass() && row.counted.is_doubt_let_pass;
    let numbers = [
        (outcome.count(Row::has_passed), "passed"),
        (
            outcome.count(|row| row.is_let_pass() && !doubts(row)),
            "failed as accepted",
        ),
        (outcome.count(doubts), "could not be judged"),
    ];
    let numbers = numbers.into_iter().filter(|(number, _)| *number > 0);
    numbers.map(|(number, what)| format!("{number} {what}")).collect()
}

/// `2 accepted weaknesses (team-postage until 2027-01-31) and 1 doubt let pass`: what would close the gate otherwise.
fn let_pass(outcome: &Outcome) -> Option<String> {
    const OWNERS_MAX: usize = 3;
    let rows = || outcome.rows.iter().filter(|row| row.is_let_pass());
    let mut weaknesses: Vec<&Weakness> = Vec::new();
    for weakness in rows().flat_map(|row| &row.counted.accepted) {
        if !weaknesses.contains(&weakness) {
            weaknesses.push(weakness);
        }
    }
    let mut owners: Vec<String> = Vec::new();
    for Weakness { owner, until, .. } in &weaknesses {
        let owner = clean(&format!("{owner}, until {until}"));
        if !owners.contains(&owner) {
            owners.push(owner);
        }
    }
    if owners.len() > OWNERS_MAX {
        let more = owners.len() - OWNERS_MAX;
        owners.truncate(OWNERS_MAX);
        owners.push(format!("{more} more"));
    }
    let accepted = match weaknesses.len() {
        0 => None,
        1 => Some(format!("1 accepted weakness ({})", owners.join("; "))),
        number => Some(format!("{number} accepted weaknesses ({})", owners.join("; "))),
    };
    let doubts = match rows().filter(|row| row.counted.is_doubt_let_pass).count() {
        0 => None,
        1 => Some("1 doubt let pass".to_owned()),
        number => Some(format!("{number} doubts let pass")),
    };
    let told: Vec<String> = [accepted, doubts].into_iter().flatten().collect();
    (!told.is_empty()).then(|| list(&told))
}

#[cfg(test)]
mod tests;
