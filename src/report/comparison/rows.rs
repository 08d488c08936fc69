//! The rows of both formats.

use super::words;
use crate::campaign::compare::{Change, Comparison, ExperimentComparison, MetricComparison};
use crate::report::mark::Mark;
use crate::report::text::{clean, clean_prose};

/// A row: what it is to be taken for, and its cells.
pub(super) struct Row {
    pub mark: Mark,
    pub cells: Vec<String>,
}

pub(super) const EXPERIMENTS: [&str; 5] = ["experiment", "engine", "before", "now", "what became of it"];

/// A row for each experiment, the gravest first.
pub(super) fn experiments(comparison: &Comparison) -> Vec<Row> {
    let row = |experiment: &ExperimentComparison| Row {
        mark: words::mark(experiment),
        cells: [
            name(experiment),
            clean(&experiment.engine),
            words::tally(&experiment.baseline),
            words::tally(&experiment.now),
            words::standing(experiment),
        ]
        .into(),
    };
    let mut rows: Vec<Row> = comparison.experiments.iter().map(row).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.mark));
    rows
}

pub(super) const METRICS: [&str; 7] = [
    "experiment",
    "metric",
    "before",
    "now",
    "moved",
    "p",
    "what became of it",
];

/// A row for each metric that became something else, or looks as if it had, the gravest first.
pub(super) fn metrics(comparison: &Comparison) -> Vec<Row> {
    let mut rows = Vec::new();
    for experiment in &comparison.experiments {
        rows.extend(experiment.metrics.iter().filter_map(|metric| {
            let mark = mark(metric)?;
            let cells = [
                name(experiment),
                clean(&metric.metric),
                words::spread(&metric.baseline, metric.unit),
                words::spread(&metric.now, metric.unit),
                words::moved(metric),
                words::p(metric),
                words::change(metric),
            ];
            Some(Row {
                mark,
                cells: cells.into(),
            })
        }));
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.mark));
    rows
}

fn mark(metric: &MetricComparison) -> Option<Mark> {
    match metric.change {
        Change::Regressed if metric.accepted.is_none() => Some(Mark::Fail),
        Change::NotEnoughData if metric.is_suspect && metric.accepted.is_none() => Some(Mark::Doubt),
        Change::Regressed => Some(Mark::Known),
        Change::NotEnoughData if metric.is_suspect => Some(Mark::Known),
        Change::Improved => Some(Mark::Pass),
        Change::AsBefore | Change::NotEnoughData => None,
    }
}

fn name(experiment: &ExperimentComparison) -> String {
    format!("{}/{}", clean(&experiment.system), clean(&experiment.experiment))
}

/// Lists below the tables, each with its heading; those that are empty are left out.
pub(super) fn lists(comparison: &Comparison) -> Vec<(&'static str, Vec<String>)> {
    let weaknesses =
        |list: &[crate::campaign::accept::Weakness]| list.iter().map(|one| clean(&one.to_string())).collect();
    let lists: [(&'static str, Vec<String>); 5] = [
        (
            "could not be read, and is not compared",
            comparison.unread.iter().map(|line| clean_prose(line)).collect(),
        ),
        (
            "was accepted until a day that has passed",
            weaknesses(&comparison.expired),
        ),
        ("accepted", weaknesses(&comparison.accepted)),
        ("accepts nothing", cleaned(&comparison.unmatched)),
        (
            "to know",
            comparison.notes.iter().map(|note| clean(&note.to_string())).collect(),
        ),
    ];
    lists.into_iter().filter(|(_, lines)| !lines.is_empty()).collect()
}

fn cleaned(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| clean(line)).collect()
}
