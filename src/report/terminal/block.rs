//! The verdict as the terminal shows it at the end.

use std::fmt::Write;
use std::path::Path;

use super::style::{Paint, Style};
use crate::report::text::{clean, clean_lines};
use crate::report::{html, words};
use crate::verdict::{Assertion, FaultRecord, Judgement, Verdict};

/// Lines of evidence shown of an assertion that did not pass.
const EVIDENCE_LINES: usize = 5;

/// Renders the verdict block: the verdict, every assertion, what it rests on where it did not hold, the recovery
/// figures, and how to see more and run it again.
pub fn render(verdict: &Verdict, run_dir: &Path, style: &Style) -> String {
    let mut block = String::from("\n");
    headline(&mut block, verdict, style);
    block.push('\n');
    assertions(&mut block, verdict, style);
    faults(&mut block, verdict, style);
    figures(&mut block, verdict, style);
    pointers(&mut block, verdict, run_dir, style);
    block
}

fn headline(block: &mut String, verdict: &Verdict, style: &Style) {
    let stamp = format!(
        "{} {}",
        words::glyph(verdict.verdict, style.unicode),
        words::outcome(verdict).to_uppercase()
    );
    let _ = writeln!(
        block,
        "{}  {}",
        style.paint(Paint::of(verdict.verdict), &stamp),
        style.paint(Paint::Bold, &clean(&verdict.experiment))
    );
    block.push_str(&style.wrap(2, 0, &clean(&verdict.title)));
    block.push_str(&style.wrap(2, 0, &words::answer(verdict)));
    if !verdict.defects.is_empty() {
        let defects: Vec<String> = verdict.defects.iter().map(|defect| clean(defect)).collect();
        block.push_str(&style.wrap(2, 0, &format!("Defects switched on: {}", defects.join(", "))));
    }
    for line in verdict.problem.iter().flat_map(|problem| clean_lines(problem)) {
        let _ = writeln!(block, "    {line}");
    }
}

fn assertions(block: &mut String, verdict: &Verdict, style: &Style) {
    for assertion in words::by_gravity(&verdict.assertions) {
        one(block, assertion, style);
    }
    if !verdict.assertions.is_empty() {
        block.push('\n');
    }
}

fn one(block: &mut String, assertion: &Assertion, style: &Style) {
    let finding = &assertion.finding;
    let name = match assertion.name == words::kind(assertion.kind) {
        true => String::new(),
        false => format!("{}: ", style.paint(Paint::Bold, &clean(&assertion.name))),
    };
    let line = format!(
        "{} {:<12}  {name}{}",
        style.paint(Paint::of(finding.verdict), words::glyph(finding.verdict, style.unicode)),
        words::kind(assertion.kind),
        clean(&finding.detail)
    );
    block.push_str(&style.wrap(2, 4, &line));
    if finding.verdict == Judgement::Pass {
        return;
    }
    let (evidence, more) = words::evidence(assertion, EVIDENCE_LINES);
    for line in evidence {
        block.push_str(&style.wrap(6, 2, &format!("| {line}")));
    }
    if more > 0 {
        let _ = writeln!(block, "      | {} {more} more in verdict.json", style.ellipsis());
    }
}

fn faults(block: &mut String, verdict: &Verdict, style: &Style) {
    for (index, fault) in verdict.faults.iter().enumerate() {
        block.push_str(&style.wrap(2, 4, &fault_line(index, fault)));
    }
}

fn fault_line(index: usize, fault: &FaultRecord) -> String {
    let at = |ms: Option<f64>| ms.map_or_else(|| "never".to_owned(), crate::report::text::instant);
    let problem = fault
        .problem
        .as_ref()
        .map_or_else(String::new, |problem| format!("; {}", clean(problem)));
    format!(
        "fault F{} {}: {}; effective {}, healed {} since load began{problem}",
        index + 1,
        clean(&fault.name),
        clean(&fault.describe),
        at(fault.effective_ms),
        at(fault.healed_ms)
    )
}

fn figures(block: &mut String, verdict: &Verdict, style: &Style) {
    let figures = words::recovery_figures(verdict);
    for figure in &figures {
        let line = format!(
            "{:<16}{}  {}",
            figure.name,
            style.paint(Paint::Bold, &figure.value),
            style.paint(Paint::Dim, &figure.meaning)
        );
        block.push_str(&style.wrap(2, 16, &line));
    }
    if !figures.is_empty() {
        block.push('\n');
    }
}

fn pointers(block: &mut String, verdict: &Verdict, run_dir: &Path, style: &Style) {
    if !verdict.leftovers.is_empty() {
        let _ = writeln!(block, "  {}", style.paint(Paint::Fail, "left behind on this machine:"));
        for leftover in &verdict.leftovers {
            let _ = writeln!(block, "    {}", clean(leftover));
        }
    }
    let page = run_dir.join(html::FILE);
    let _ = writeln!(block, "  {:<16}{}", "run folder", clean(&run_dir.display().to_string()));
    let _ = writeln!(block, "  {:<16}{}", "page to read", clean(&page.display().to_string()));
    let _ = writeln!(block, "  {:<16}{}", "exit code", verdict.exit_code);
    let _ = writeln!(block, "  {:<16}{}", "seed", verdict.seed);
    // Never broken, so that it can be copied.
    let _ = writeln!(block, "  {:<16}{}", "run it again", clean(&verdict.again));
    block.push_str(&style.wrap(18, 0, &style.paint(Paint::Dim, words::SEED_FIXES)));
}
