//! A comparison with a baseline, for the terminal and for a comment on a change. Both show the same rows in the same words.

use crate::campaign::compare::Comparison;

mod markdown;
mod rows;
mod terminal;
mod words;

pub use markdown::{of_gate as markdown_of_gate, render as markdown};
pub use terminal::{of_gate as text_of_gate, render as text};
pub(super) use words::{regression, regression_figures};

/// The comparison in JSON.
pub fn json(comparison: &Comparison) -> serde_json::Result<String> {
    serde_json::to_string_pretty(comparison).map(|json| json + "\n")
}

#[cfg(test)]
mod tests;
