//! What the terminal says of the page of a campaign.

use std::fmt::Write;
use std::path::Path;

use super::Style;
use super::style::Paint;
use crate::report::campaign::model::Page;
use crate::report::text::clean;
use crate::report::words;

/// The answer with its reasons, and where the page is.
pub fn lines(page: &Page, file: &Path, style: &Style) -> String {
    let judgement = words::campaign_judgement(page.decision.answer);
    let stamp = format!(
        "{} {}",
        words::glyph(judgement, style.unicode),
        words::campaign_answer(page.decision.answer).to_uppercase()
    );
    let mut lines = format!("\n{}\n", style.paint(Paint::of(judgement), &stamp));
    for reason in &page.decision.reasons {
        let reason = match style.unicode {
            true => clean(reason),
            false => clean(reason).replace(['“', '”'], "\""),
        };
        lines.push_str(&style.wrap(2, 2, &reason));
    }
    let _ = writeln!(lines, "  {:<16}{}", "page to read", clean(&file.display().to_string()));
    lines
}
