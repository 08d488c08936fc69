//! The comparison as Markdown, for a comment on a change.

use std::fmt::Write;

use super::{rows, words};
use crate::campaign::compare::Comparison;
use crate::report::mark::Mark;
use crate::report::summary::escape;

/// Rows of a table, and lines of a list, at most: a comment has a limit.
const ROWS_MAX: usize = 100;

/// Renders the comparison.
pub fn render(comparison: &Comparison) -> String {
    let mark = match comparison.exit_code {
        0 => Mark::Pass,
        1 => Mark::Fail,
        _ => Mark::Doubt,
    };
    told(comparison, mark, &format!("Exit code {}.", comparison.exit_code))
}

/// Renders the comparison as part of a gate, whose exit code is its own.
pub fn of_gate(comparison: &Comparison) -> String {
    let mark = match comparison.exit_code {
        0 => Mark::Pass,
        1 => Mark::Fail,
        _ => Mark::Known,
    };
    told(comparison, mark, words::to_gate(comparison))
}

fn told(comparison: &Comparison, mark: Mark, what_follows: &str) -> String {
    let mut page = format!(
        "## {} Compared with the baseline\n\n**{}**\n\n",
        mark.emoji(),
        escape(&words::answer(comparison))
    );
    table(&mut page, &rows::EXPERIMENTS, rows::experiments(comparison));
    let metrics = rows::metrics(comparison);
    if !metrics.is_empty() {
        table(&mut page, &rows::METRICS, metrics);
        let _ = writeln!(page, "{}\n", words::HOW_SHOWN);
    }
    for (heading, lines) in rows::lists(comparison) {
        let _ = writeln!(page, "**{heading}:**\n");
        for line in lines.iter().take(ROWS_MAX) {
            let _ = writeln!(page, "- {}", escape(line));
        }
        more(&mut page, "- ", lines.len());
        page.push('\n');
    }
    let _ = writeln!(
        page,
        "{}\n\n{} {what_follows}",
        words::metrics_counted(comparison),
        words::how_compared(comparison).join(" ").replace('<', "&lt;")
    );
    page
}

fn table(page: &mut String, head: &[&str], rows: Vec<rows::Row>) {
    let _ = writeln!(page, "| | {} |\n|---|{}", head.join(" | "), "---|".repeat(head.len()));
    let total = rows.len();
    for row in rows.into_iter().take(ROWS_MAX) {
        let cells: Vec<String> = row.cells.iter().map(|cell| escape(cell)).collect();
        let _ = writeln!(page, "| {} | {} |", row.mark.emoji(), cells.join(" | "));
    }
    page.push('\n');
    more(page, "", total);
}

fn more(page: &mut String, begin: &str, total: usize) {
    if total > ROWS_MAX {
        let _ = writeln!(page, "{begin}… {} more in the JSON\n", total - ROWS_MAX);
    }
}
