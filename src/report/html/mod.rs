//! `report.html`: the page that a release manager signs.
//!
//! One file that needs nothing else: no script, no font, no picture from anywhere; a strict content security policy says
//! so to the browser too. Everything that came from the system or the experiment is escaped by maud. Its size is
//! bounded, whatever the number of operations.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::series::{self, Timeline};
use super::text::{clean, clean_prose, list};
use super::{svg, words};
use crate::event::Entry;
use crate::history::load::History;
use crate::plan::Plan;
use crate::verdict::{Judgement, Verdict};

mod assertions;
pub(super) mod charts;
mod environment;
mod faults;
mod load;
mod services;
pub(super) mod timeline;
mod traffic;

/// File of the page within a run's folder.
pub const FILE: &str = "report.html";

const STYLE: &str = include_str!("style.css");

/// What every section of the page draws on.
struct Page<'a> {
    plan: &'a Plan,
    verdict: &'a Verdict,
    events: &'a [Entry],
    timeline: &'a Timeline,
}

/// Renders the page.
pub fn render(plan: &Plan, verdict: &Verdict, history: &History<'_>, events: &[Entry]) -> String {
    let timeline = &Timeline::new(plan, verdict, history, events);
    let operations = series::operations(plan, history, timeline);
    let load = series::load(history, timeline);
    let gauges = series::gauges(plan, history);
    let page = Page {
        plan,
        verdict,
        events,
        timeline,
    };
    let title = format!("{}: {}", words::outcome(verdict), clean(&verdict.title));
    document(
        &title,
        "",
        html! {
            (page.header())
            main {
                (assertions::section(&page))
                (faults::recovery(&page))
                (services::section(&page))
                @if history.ops.is_empty() && history.samples.is_empty() {
                    p.note { "The run ended before there was any load, so there is nothing to draw." }
                } @else {
                    (timeline::section(&page))
                    (traffic::section(&page, &operations, &load))
                    (charts::operations(&page, &operations))
                    (load::load(&page, &load))
                    (load::gauges(&page, &gauges))
                }
                (faults::section(&page))
                (environment::sections(&page))
                (environment::happenings(&page))
            }
            footer {
                p { (words::HOW_COUNTED) }
            }
        },
    )
}

/// A whole page that needs nothing else; `more_style` adds to the style that all pages have.
pub(super) fn document(title: &str, more_style: &str, body: Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(more_style)) }
            }
            body {
                (svg::patterns())
                (body)
            }
        }
    }
    .into_string()
}

impl Page<'_> {
    /// What normal means and what was broken, in one line.
    fn asked(&self) -> String {
        let steady = clean(&self.plan.gate.title);
        match self.plan.faults.as_slice() {
            [] => format!("Asked: {steady}. No fault was planned."),
            faults => {
                let faults: Vec<String> = faults.iter().map(|fault| clean(&fault.name)).collect();
                format!("Asked: {steady}. Faults planned: {}.", list(&faults))
            }
        }
    }

    fn header(&self) -> Markup {
        let outcome = words::outcome(self.verdict);
        let experiment = &self.plan.experiment;
        html! {
            header class=(class(self.verdict.verdict)) {
                p.stamp {
                    span.badge { span aria-hidden="true" { (words::glyph(self.verdict.verdict, true)) } " " (outcome) }
                    span { "experiment " strong { (clean(&self.verdict.experiment)) } }
                    span { "system " strong { (clean(&self.plan.system.title)) } }
                    span { "seed " strong { (self.verdict.seed) } }
                    @if let Some(started) = self.events.first().and_then(|entry| timestamp(entry.unix_ms)) {
                        span { (started) }
                    }
                }
                h1 { (clean(&self.verdict.title)) }
                @if !experiment.description.is_empty() {
                    p.asked { (clean_prose(&experiment.description)) }
                }
                p.asked { (self.asked()) }
                p.answer { (words::answer(self.verdict)) }
                @if !self.verdict.defects.is_empty() {
                    p { strong { "Defects switched on: " } (names(&self.verdict.defects)) ". This run says nothing of the system without them." }
                }
                @if let Some(problem) = &self.verdict.problem {
                    (lines(problem))
                }
                @if !self.verdict.leftovers.is_empty() {
                    p { strong { "Left behind on the machine:" } }
                    ul.evidence { @for leftover in &self.verdict.leftovers { li { (clean(leftover)) } } }
                }
                p.sign-off { span { "Decision:" } span { "Name:" } span { "Date:" } }
            }
        }
    }
}

/// Names from a file or a system, as a list in a sentence.
pub(super) fn names(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| clean(name)).collect();
    list(&names)
}

/// Text of several lines, as it was.
pub(super) fn lines(text: &str) -> Markup {
    html! { pre.lines { (super::text::clean_lines(text).join("\n")) } }
}

/// The class that colours a judgement.
pub(super) fn class(judgement: Judgement) -> &'static str {
    words::judgement(judgement)
}

/// A judgement in words and in shape, not in colour alone.
pub(super) fn badge(judgement: Judgement) -> Markup {
    html! {
        span class=(format!("mark {}", class(judgement))) {
            span aria-hidden="true" { (words::glyph(judgement, true)) } " " (words::judgement(judgement))
        }
    }
}

/// The wall clock, to the second.
pub(super) fn timestamp(unix_ms: i64) -> Option<String> {
    let instant = jiff::Timestamp::from_millisecond(unix_ms).ok()?;
    Some(instant.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}
