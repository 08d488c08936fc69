//! What was judged, the gravest first, each with its evidence.

use maud::{Markup, html};

use super::{Page, badge, class};
use crate::report::text::{clean, count};
use crate::report::words;
use crate::verdict::{Assertion, Finding, Judgement};

pub(super) fn section(page: &Page<'_>) -> Markup {
    let assertions = words::by_gravity(&page.verdict.assertions);
    html! {
        section {
            h2 { "What was judged" }
            @if assertions.is_empty() {
                p.note { "Nothing was judged." }
            } @else {
                p.note { (tally(&page.verdict.assertions)) }
                @for assertion in assertions.iter().filter(|a| a.finding.verdict != Judgement::Pass) { (one(assertion)) }
                (passed(&assertions))
            }
        }
    }
}

fn tally(assertions: &[Assertion]) -> String {
    let number = |judged| assertions.iter().filter(|a| a.finding.verdict == judged).count() as u64;
    format!(
        "{} failed, {} inconclusive, {} passed. A safety violation always fails; doubt is never a pass and never a fail.",
        count(number(Judgement::Fail)),
        count(number(Judgement::Inconclusive)),
        count(number(Judgement::Pass))
    )
}

/// What held, a row each: there is nothing to explain.
fn passed(assertions: &[&Assertion]) -> Markup {
    let passed: Vec<_> = assertions
        .iter()
        .filter(|a| a.finding.verdict == Judgement::Pass)
        .collect();
    html! {
        @if !passed.is_empty() {
            div.wide tabindex="0" { table {
                thead { tr { th { "held" } th { "assertion" } th { "what was found" } th { "kind" } th.number { "samples" } } }
                tbody {
                    @for assertion in passed {
                        @let finding = &assertion.finding;
                        tr {
                            td { (badge(finding.verdict)) }
                            th scope="row" { (clean(&assertion.name)) }
                            td {
                                (clean(&finding.detail))
                                @for line in words::evidence(assertion, Finding::EVIDENCE_MAX).0 { br; code { (line) } }
                            }
                            td { (words::kind(assertion.kind)) ": " (words::kind_meaning(assertion.kind)) }
                            td.number { (count(finding.samples)) }
                        }
                    }
                }
            } }
        }
    }
}

fn one(assertion: &Assertion) -> Markup {
    let finding = &assertion.finding;
    let (evidence, more) = words::evidence(assertion, Finding::EVIDENCE_MAX);
    html! {
        article class=(format!("assertion {}", class(finding.verdict))) {
            h3 { (badge(finding.verdict)) " " (clean(&assertion.name)) }
            p.kind {
                (words::kind(assertion.kind)) ": " (words::kind_meaning(assertion.kind))
                @if finding.samples > 0 { " · rests on " (count(finding.samples)) " samples" }
            }
            p { (clean(&finding.detail)) }
            @if !evidence.is_empty() {
                ul.evidence { @for line in &evidence { li { (line) } } }
            }
            @if more > 0 { p.note { (count(more as u64)) " more in verdict.json." } }
        }
    }
}
