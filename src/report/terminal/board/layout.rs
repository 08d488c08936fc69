//! Rows of a name, a value and a timeline, on the columns that there are.

use console::{measure_text_width, truncate_str};

use crate::report::terminal::style::{Paint, Style};

/// With fewer columns than this, a row's timeline stands below its name.
const STACKED_BELOW: usize = 44;
/// With as many columns as this, there is something to the right of the timeline, too.
const ASIDE_FROM: usize = 100;
const ASIDE: usize = 30;
const VALUE: usize = 10;
const LABEL_MIN: usize = 8;
const LABEL_MAX: usize = 28;

/// The room for the live lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::report::terminal) struct Room {
    /// Columns.
    pub columns: usize,
    /// Lines.
    pub rows: usize,
}

/// A row.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// What it is about.
    pub label: String,
    pub label_paint: Option<Paint>,
    /// How it is now.
    pub value: String,
    pub value_paint: Option<Paint>,
    /// A glyph a column of the timeline, painted already.
    pub cells: String,
    /// What is said where there is room.
    pub aside: String,
}

/// Where things stand in a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    columns: usize,
    label: usize,
}

impl Layout {
    /// For so many columns, and labels of at most that width.
    pub fn new(columns: usize, label: usize) -> Self {
        let label = label.clamp(LABEL_MIN, (columns / 4).clamp(LABEL_MIN, LABEL_MAX));
        Self { columns, label }
    }

    /// Whether a row takes two lines.
    pub fn is_stacked(self) -> bool {
        self.columns < STACKED_BELOW
    }

    /// Columns of a timeline.
    pub fn cells(self) -> usize {
        let aside = if self.columns >= ASIDE_FROM { ASIDE + 2 } else { 0 };
        match self.is_stacked() {
            true => self.columns.saturating_sub(2).max(1),
            // Two before the label, one and two around the value, one at the end, since some terminals wrap when the last is written.
            false => self.columns - (2 + self.label + 1 + VALUE + 2 + aside + 1),
        }
    }

    /// A row's lines.
    pub fn lines(self, row: &Row, style: &Style) -> Vec<String> {
        let painted = |paint: Option<Paint>, text: String| match paint {
            Some(paint) => style.paint(paint, &text),
            None => text,
        };
        if self.is_stacked() {
            let width = self.columns.saturating_sub(2);
            let value = measure_text_width(&row.value);
            let label = fit(&row.label, width.saturating_sub(value + 1), style);
            let name = format!(
                " {} {}",
                painted(row.label_paint, label),
                painted(row.value_paint, row.value.clone())
            );
            let timeline = format!(" {}", row.cells);
            return (!row.label.is_empty())
                .then_some(name)
                .into_iter()
                .chain([timeline])
                .map(trimmed)
                .collect();
        }
        let label = painted(row.label_paint, fit(&row.label, self.label, style));
        let value = painted(row.value_paint, right(&row.value, VALUE, style));
        let mut line = format!("  {label} {value}  {}", row.cells);
        if self.columns >= ASIDE_FROM && !row.aside.is_empty() {
            let gap = self.cells().saturating_sub(measure_text_width(&row.cells)) + 2;
            line.push_str(&" ".repeat(gap));
            line.push_str(&style.paint(Paint::Dim, &cut(&row.aside, ASIDE, style)));
        }
        vec![trimmed(line)]
    }

    /// A line of text.
    pub fn text(self, text: &str, style: &Style) -> String {
        cut(text, self.columns.saturating_sub(1), style)
    }
}

fn trimmed(line: String) -> String {
    line.trim_end().to_owned()
}

/// At most so many columns of a text.
fn cut(text: &str, columns: usize, style: &Style) -> String {
    let ellipsis = if columns >= 6 { style.ellipsis() } else { "" };
    truncate_str(text, columns, ellipsis).into_owned()
}

/// Exactly so many columns, the text to the left.
fn fit(text: &str, columns: usize, style: &Style) -> String {
    let text = cut(text, columns, style);
    let gap = columns.saturating_sub(measure_text_width(&text));
    text + &" ".repeat(gap)
}

/// Exactly so many columns, the text to the right.
fn right(text: &str, columns: usize, style: &Style) -> String {
    let text = cut(text, columns, style);
    let gap = columns.saturating_sub(measure_text_width(&text));
    " ".repeat(gap) + &text
}
