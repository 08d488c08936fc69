//! The comparison as plain text.

use std::fmt::Write;

use super::{rows, words};
use crate::campaign::compare::Comparison;
use crate::report::table::Table;
use crate::report::terminal::Style;

/// Renders the comparison.
pub fn render(comparison: &Comparison, style: &Style) -> String {
    format!("{}exit code {}\n", told(comparison, style), comparison.exit_code)
}

/// Renders the comparison as part of a gate, whose exit code is its own.
pub fn of_gate(comparison: &Comparison, style: &Style) -> String {
    format!("{}{}\n", told(comparison, style), words::to_gate(comparison))
}

fn told(comparison: &Comparison, style: &Style) -> String {
    let mut text = table(&rows::EXPERIMENTS, rows::experiments(comparison), style);
    let metrics = rows::metrics(comparison);
    if !metrics.is_empty() {
        text.push('\n');
        text.push_str(&table(&rows::METRICS, metrics, style));
        let _ = writeln!(text, "{}", words::HOW_SHOWN);
    }
    for (heading, lines) in rows::lists(comparison) {
        let _ = writeln!(text, "\n{heading}:");
        for line in lines {
            let _ = writeln!(text, "  {line}");
        }
    }
    let _ = writeln!(
        text,
        "\n{}\n{}\n\n{}",
        words::metrics_counted(comparison),
        words::how_compared(comparison).join("\n"),
        words::answer(comparison)
    );
    text
}

fn table(head: &[&'static str], rows: Vec<rows::Row>, style: &Style) -> String {
    let head: Vec<&'static str> = [""].into_iter().chain(head.iter().copied()).collect();
    let mut table = Table::new(&head);
    for row in rows {
        let mark = row.mark.glyph(style.unicode).to_owned();
        table.row([mark].into_iter().chain(row.cells).collect());
    }
    table.render(style)
}
