//! Tables for the terminal: what `run` over several experiments came to, and what `prove` proved.

use std::path::Path;

use console::{measure_text_width, pad_str, truncate_str};

use super::terminal::Style;
use super::text::{clean, duration, few};
use super::words;
use crate::verdict::{Judgement, Verdict};

/// The version of an experiment that `prove` ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Twin {
    /// Without the method: nothing may go wrong by itself.
    Control,
    /// As it is in the file.
    Experiment,
    /// With something made unsafe.
    NegativeControl {
        /// The negative control's name.
        name: String,
        /// With the method, or without it: then the same defect must go unnoticed.
        method: bool,
    },
}

/// What a twin must come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// A pass.
    Pass,
    /// A failure of the assertions of those names, all of them.
    FailBy(Vec<String>),
}

/// A row of the table of `prove`.
#[derive(Debug, Clone)]
pub struct ProofRow<'a> {
    /// Which version ran.
    pub twin: Twin,
    /// What it must come to.
    pub expected: Expected,
    /// What it came to.
    pub verdict: &'a Verdict,
    /// Whether that is as it should be.
    pub as_it_should_be: bool,
}

/// Renders the table of `prove`, with a closing line that says whether every row is as it should be.
pub fn proof(rows: &[ProofRow<'_>], style: &Style) -> String {
    let mut table = Table::new(&["", "experiment", "twin", "expected", "got", "by"]);
    for row in rows {
        let got = match row.as_it_should_be {
            true => words::outcome(row.verdict).to_owned(),
            false => format!("{}, not as it should be", words::outcome(row.verdict)),
        };
        table.row(
            [
                mark(row.as_it_should_be, style).to_owned(),
                clean(&row.verdict.experiment),
                twin(&row.twin),
                expected(&row.expected),
                got,
                by(row.verdict),
            ]
            .into(),
        );
    }
    let wrong = rows.iter().filter(|row| !row.as_it_should_be).count();
    let closing = match (rows.len(), wrong) {
        (0, _) => "nothing was run, so nothing is proven".to_owned(),
        (total, 0) => format!("proven: all {total} rows are as they should be"),
        (total, wrong) => format!("not proven: {wrong} of {total} rows are not as they should be"),
    };
    format!("{}{closing}\n", table.render(style))
}

/// Renders the table of several runs, each with its folder.
pub fn runs(rows: &[(&Verdict, &Path)], style: &Style) -> String {
    let mut table = Table::new(&[
        "",
        "experiment",
        "verdict",
        "exit",
        "disruption",
        "recovery",
        "run folder",
        "by",
    ]);
    for (verdict, run_dir) in rows {
        table.row(
            [
                words::glyph(verdict.verdict, style.unicode).to_owned(),
                clean(&verdict.experiment),
                words::outcome(verdict).to_owned(),
                verdict.exit_code.to_string(),
                time(verdict, verdict.recovery.disruption_ms),
                time(verdict, verdict.recovery.recovery_time_ms),
                clean(&run_dir.display().to_string()),
                by(verdict),
            ]
            .into(),
        );
    }
    table.render(style)
}

/// A time of recovery, which may not have been over.
pub(super) fn time(verdict: &Verdict, ms: Option<f64>) -> String {
    match (ms, verdict.recovery.censored) {
        (Some(ms), true) => format!("> {}", duration(ms)),
        (Some(ms), false) => duration(ms),
        (None, true) => "not over".to_owned(),
        (None, false) => "-".to_owned(),
    }
}

fn mark(good: bool, style: &Style) -> &'static str {
    let judgement = if good { Judgement::Pass } else { Judgement::Fail };
    words::glyph(judgement, style.unicode)
}

fn twin(twin: &Twin) -> String {
    match twin {
        Twin::Control => "control, without faults".to_owned(),
        Twin::Experiment => "experiment".to_owned(),
        Twin::NegativeControl { name, method: true } => format!("unsafe: {}", clean(name)),
        Twin::NegativeControl { name, method: false } => format!("unsafe: {}, without faults", clean(name)),
    }
}

fn expected(expected: &Expected) -> String {
    match expected {
        Expected::Pass => "pass".to_owned(),
        Expected::FailBy(assertions) => format!("fail by {}", clean(&assertions.join(", "))),
    }
}

/// The first assertions that decided, or why none did.
pub(super) fn by(verdict: &Verdict) -> String {
    let mut names: Vec<String> = Vec::new();
    for assertion in &verdict.assertions {
        let name = clean(&assertion.name);
        if assertion.finding.verdict == verdict.verdict && !names.contains(&name) {
            names.push(name);
        }
    }
    match verdict.verdict {
        Judgement::Pass => String::new(),
        _ if names.is_empty() => clean(
            verdict
                .problem
                .as_deref()
                .and_then(|problem| problem.lines().next())
                .unwrap_or(""),
        ),
        _ => few(&names),
    }
}

/// Columns as wide as their content; on a terminal the last one gives way.
pub(super) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[&'static str]) -> Self {
        Self {
            head: head.to_vec(),
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub fn render(&self, style: &Style) -> String {
        const GAP: &str = "  ";
        let head: Vec<String> = self.head.iter().map(|&cell| cell.to_owned()).collect();
        let all: Vec<&Vec<String>> = [&head].into_iter().chain(&self.rows).collect();
        let widths: Vec<usize> = (0..head.len())
            .map(|column| {
                all.iter()
                    .map(|cells| measure_text_width(&cells[column]))
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let tail = if style.unicode { "…" } else { "..." };
        let mut rendered = String::new();
        for cells in all {
            let padded: Vec<_> = cells
                .iter()
                .zip(&widths)
                .map(|(cell, &width)| pad_str(cell, width, console::Alignment::Left, None))
                .collect();
            let line = padded.join(GAP);
            let line = match style.width {
                Some(width) => truncate_str(line.trim_end(), width, tail).into_owned(),
                None => line.trim_end().to_owned(),
            };
            rendered.push_str(&line);
            rendered.push('\n');
        }
        rendered
    }
}
