//! `summary.md`: the verdict for a comment on a change, in Markdown as GitHub and GitLab read it.

use std::fmt::Write;

use super::text::{self, clean, clean_prose, duration, shorten};
use super::words;
use crate::plan::Plan;
use crate::verdict::{Assertion, FaultRecord, Judgement, Verdict};

/// File of the summary within a run's folder.
pub const FILE: &str = "summary.md";

/// Lines of evidence shown of an assertion that did not pass.
const EVIDENCE_LINES: usize = 5;
/// Longest piece of data, in characters: a comment has a limit.
const PIECE_CHARS: usize = 400;
/// Rows of a table at most.
const ROWS_MAX: usize = 60;

/// Renders the summary.
pub fn render(plan: &Plan, verdict: &Verdict) -> String {
    let mut page = String::new();
    headline(&mut page, plan, verdict);
    assertions(&mut page, verdict);
    recovery(&mut page, verdict);
    faults(&mut page, plan, verdict);
    again(&mut page, verdict);
    page
}

fn headline(page: &mut String, plan: &Plan, verdict: &Verdict) {
    let _ = writeln!(
        page,
        "## {} {}: {}\n",
        glyph(verdict.verdict),
        words::outcome(verdict),
        escape(&verdict.title)
    );
    let _ = writeln!(page, "**{}**\n", escape(&words::answer(verdict)));
    if !plan.experiment.description.is_empty() {
        let _ = writeln!(page, "{}\n", escape(&clean_prose(&plan.experiment.description)));
    }
    if !verdict.defects.is_empty() {
        let _ = writeln!(page, "Defects switched on: {}\n", escape(&verdict.defects.join(", ")));
    }
    if let Some(problem) = &verdict.problem {
        fenced(page, &text::clean_lines(problem).join("\n"));
    }
    if !verdict.leftovers.is_empty() {
        page.push_str("**Left behind on the machine:**\n\n");
        for leftover in verdict.leftovers.iter().take(ROWS_MAX) {
            let _ = writeln!(page, "- {}", escape(leftover));
        }
        page.push('\n');
    }
}

fn assertions(page: &mut String, verdict: &Verdict) {
    if verdict.assertions.is_empty() {
        page.push_str("Nothing was judged.\n\n");
        return;
    }
    page.push_str("| | assertion | kind | what was found |\n|---|---|---|---|\n");
    let sorted = words::by_gravity(&verdict.assertions);
    for assertion in sorted.iter().take(ROWS_MAX) {
        let _ = writeln!(
            page,
            "| {} {} | {} | {} | {} |",
            glyph(assertion.finding.verdict),
            words::judgement(assertion.finding.verdict),
            escape(&assertion.name),
            words::kind(assertion.kind),
            escape(&assertion.finding.detail)
        );
    }
    if sorted.len() > ROWS_MAX {
        let _ = writeln!(page, "| | {} more in verdict.json | | |", sorted.len() - ROWS_MAX);
    }
    page.push('\n');
    for assertion in sorted.iter().take(ROWS_MAX) {
        evidence(page, assertion);
    }
}

fn evidence(page: &mut String, assertion: &Assertion) {
    if assertion.finding.verdict == Judgement::Pass || assertion.finding.evidence.is_empty() {
        return;
    }
    let (lines, more) = words::evidence(assertion, EVIDENCE_LINES);
    let _ = writeln!(page, "Evidence on **{}**:\n", escape(&assertion.name));
    for line in lines {
        let _ = writeln!(page, "- {}", escape(&line));
    }
    if more > 0 {
        let _ = writeln!(page, "- … {more} more in verdict.json");
    }
    page.push('\n');
}

fn recovery(page: &mut String, verdict: &Verdict) {
    let figures = words::recovery_figures(verdict);
    if figures.is_empty() {
        return;
    }
    page.push_str("| recovery | | counted |\n|---|---|---|\n");
    for figure in figures {
        let _ = writeln!(
            page,
            "| {} | **{}** | {} |",
            figure.name,
            escape(&figure.value),
            figure.meaning
        );
    }
    page.push('\n');
}

fn faults(page: &mut String, plan: &Plan, verdict: &Verdict) {
    if verdict.faults.is_empty() {
        page.push_str(match plan.faults.is_empty() {
            true => "No fault was planned.\n\n",
            false => "No fault was injected: the run ended before.\n\n",
        });
        return;
    }
    page.push_str("| fault | planned | effect measured | heal measured | receipt |\n|---|---|---|---|---|\n");
    for (index, fault) in verdict.faults.iter().enumerate().take(ROWS_MAX) {
        let planned = plan.faults.get(index).filter(|planned| planned.name == fault.name);
        let _ = writeln!(
            page,
            "| {}: {} | {} | {} | {} | {} |",
            escape(&fault.name),
            escape(&fault.describe),
            planned.map_or_else(String::new, |planned| format!(
                "{}, for {}",
                escape(&words::trigger(&planned.trigger)),
                duration(planned.for_ms as f64)
            )),
            at(fault.effective_ms),
            at(fault.healed_ms),
            receipt(fault)
        );
    }
    page.push_str("\nMeasured times count from the start of the load.\n\n");
}

fn at(ms: Option<f64>) -> String {
    ms.map_or_else(|| "never".to_owned(), text::instant)
}

fn receipt(fault: &FaultRecord) -> String {
    if let Some(problem) = &fault.problem {
        return format!("? {}", escape(problem));
    }
    let confirmed = |receipt: &Option<crate::fault::Receipt>| receipt.as_ref().is_some_and(|receipt| receipt.confirmed);
    let said = |seen, what: &str| format!("{} {what}", if seen { "✓" } else { "? not" });
    format!(
        "{}, {}",
        said(confirmed(&fault.injected), "seen in effect"),
        said(confirmed(&fault.healed), "seen healed")
    )
}

fn again(page: &mut String, verdict: &Verdict) {
    let _ = writeln!(
        page,
        "Run it again (seed {}, run {}, exit code {}):\n",
        verdict.seed,
        escape(&verdict.run_id),
        verdict.exit_code
    );
    fenced(page, &clean(&verdict.again));
    let _ = writeln!(page, "{}", words::SEED_FIXES);
}

/// The sign of a judgement where colours come by emoji.
pub(super) fn glyph(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Pass => "✅",
        Judgement::Inconclusive => "❔",
        Judgement::Fail => "❌",
    }
}

/// A code block that its content cannot end.
fn fenced(page: &mut String, content: &str) {
    let longest = content.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let _ = writeln!(page, "{fence}text\n{content}\n{fence}\n");
}

/// Data as Markdown text: no markup of Markdown's or HTML's, and nothing that a forge turns into a mention, a reference
/// or a link.
pub(super) fn escape(data: &str) -> String {
    let mut escaped = String::new();
    let data = shorten(clean(data).trim_start(), PIECE_CHARS);
    let mut previous = ' ';
    for c in data.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            // An empty comment parts what a forge would join to a name, a number or an address.
            '@' | '#' | '!' => {
                escaped.push('\\');
                escaped.push(c);
                escaped.push_str("<!-- -->");
            }
            '/' if previous == ':' => escaped.push_str("<!-- -->/"),
            '.' if previous.eq_ignore_ascii_case(&'w') => escaped.push_str("<!-- -->."),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '|' | '~' | '$' | '^' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c => escaped.push(c),
        }
        previous = c;
    }
    block_free(escaped)
}

/// Text whose beginning would start a list, a rule or a heading stays text.
fn block_free(text: String) -> String {
    if text.starts_with(['-', '+', '=']) {
        return format!("\\{text}");
    }
    let number_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(number_end);
    let is_item = !number.is_empty() && rest.starts_with(['.', ')']) && !rest[1..].starts_with(|c: char| c != ' ');
    match is_item {
        true => format!("{number}\\{rest}"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_text_and_never_markup() {
        assert_eq!(escape("a|b `c` <script>"), "a\\|b \\`c\\` &lt;script&gt;");
        assert_eq!(escape("@team #12"), "\\@<!-- -->team \\#<!-- -->12");
        assert_eq!(
            escape("https://x.test www.x.test"),
            "https:<!-- -->//x.test www<!-- -->.x.test"
        );
        assert_eq!(escape("- item"), "\\- item");
        assert_eq!(escape("1. item"), "1\\. item");
        assert_eq!(escape("2) item"), "2\\) item");
        assert_eq!(escape("12 of 13, 2.2 s"), "12 of 13, 2.2 s");
        assert_eq!(escape("2.2 s"), "2.2 s");
        assert_eq!(escape("[a](b)"), "\\[a\\](b)");
    }

    #[test]
    fn a_fence_is_longer_than_any_in_its_content() {
        let mut page = String::new();
        fenced(&mut page, "one ```` two");
        assert_eq!(page, "`````text\none ```` two\n`````\n\n");
    }
}
