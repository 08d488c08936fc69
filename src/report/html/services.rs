//! Business services against their impact tolerances, in this run alone.

use maud::{Markup, html};

use super::{Page, class};
use crate::report::text::{clean, count, duration, plural, share_of};
use crate::report::words;
use crate::verdict::{Judgement, ServiceImpact, Status, Verdict};

const HEADINGS: [&str; 5] = [
    "impact tolerance",
    "business service",
    "tolerated in one run",
    "disruption",
    "loss",
];

pub(super) fn section(page: &Page<'_>) -> Markup {
    let services = &page.verdict.services;
    html! {
        @if !services.is_empty() {
            section {
                h2 { "Business services against their impact tolerances" }
                div.wide role="region" aria-label="Business services" tabindex="0" {
                    table.stack role="table" {
                        thead role="rowgroup" { tr role="row" {
                            @for heading in HEADINGS { th role="columnheader" { (heading) } }
                        } }
                        tbody role="rowgroup" { @for service in services { (one(page.verdict, service)) } }
                    }
                }
                p.note {
                    "Tolerated is so much in any one run, whatever breaks; that a service exceeds it changes neither this run's verdict nor its exit code. "
                    (words::DISRUPTED_SERVICE) " " (words::TWO_DISRUPTIONS)
                }
            }
        }
    }
}

fn one(verdict: &Verdict, service: &ServiceImpact) -> Markup {
    let [_, _, tolerated, disrupted, lost] = HEADINGS;
    let has_passed = verdict.status == Status::Completed && verdict.verdict == Judgement::Pass;
    html! {
        tr role="row" {
            td role="cell" {
                span class=(format!("mark {}", class(service.verdict))) {
                    span aria-hidden="true" { (words::glyph(service.verdict, true)) } " " (words::tolerance(service.verdict))
                }
            }
            th scope="row" role="rowheader" { (clean(&service.title)) br; span.kind { (clean(&service.service)) } }
            td role="cell" data-label=(tolerated) {
                (duration(service.tolerated_ms as f64)) br; (plural(service.tolerated_lost, "operation")) " lost"
                br; span.kind { (words::served_within(service.served_within_ms)) }
            }
            td role="cell" data-label=(disrupted) {
                @match service.disrupted_ms {
                    Some(ms) if ms > 0.0 => {
                        strong { (duration(ms)) }
                        @if service.tolerated_ms > 0 { ", " (share_of(ms, service.tolerated_ms as f64)) " of it" }
                    }
                    Some(_) => strong { "none" },
                    None => { "cannot be said" br; span.kind { (clean(&service.detail)) } }
                }
            }
            td role="cell" data-label=(lost) {
                @match service.lost {
                    Some(lost) => {
                        strong { (count(lost)) }
                        @if let Some(tolerated) = words::tolerated_elsewhere(has_passed, lost, service.tolerated_lost) { br; (tolerated) }
                    }
                    None => "cannot be said",
                }
            }
        }
    }
}
