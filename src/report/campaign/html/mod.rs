//! The page of a campaign as HTML: one file, no script, nothing from anywhere, bounded in size by what the model holds.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::model::{Page, RunRef};
use crate::report::html::{class, document, timestamp};
use crate::report::text::{clean, count, plural, trim};
use crate::report::words;

mod course;
mod coverage;
mod evidence;
mod experiment;
mod summary;

const STYLE: &str = include_str!("page.css");

/// Renders the page.
pub fn render(page: &Page) -> String {
    let answer = words::campaign_answer(page.decision.answer);
    document(
        &format!("{answer}: {}", subject(page)),
        STYLE,
        html! {
            (header(page))
            (contents(page))
            main {
                (summary::sections(page))
                (experiment::sections(page))
                (coverage::section(page))
                (evidence::section(page))
            }
            footer { p { (words::HOW_COUNTED) } }
        },
    )
}

/// The systems, and how many runs there are of them.
fn subject(page: &Page) -> String {
    let mut systems: Vec<String> = page.coverage.iter().map(|system| clean(&system.system)).collect();
    systems.dedup();
    match systems.is_empty() {
        true => "no run".to_owned(),
        false => format!(
            "{} of {}",
            plural(page.experiments.len() as u64, "run"),
            systems.join(", ")
        ),
    }
}

fn header(page: &Page) -> Markup {
    let answer = page.decision.answer;
    let judgement = words::campaign_judgement(answer);
    let started = page.experiments.iter().map(|experiment| experiment.started_unix_ms);
    let times = started
        .clone()
        .min()
        .and_then(timestamp)
        .zip(started.max().and_then(timestamp));
    let releases: BTreeSet<&str> = page
        .evidence
        .iter()
        .filter(|run| run.number.is_some() && !run.release.is_empty())
        .map(|run| run.release.as_str())
        .collect();
    let aside = page.evidence.iter().filter(|run| run.aside.is_some()).count() as u64;
    html! {
        header class=(class(judgement)) {
            h1.verdict { span aria-hidden="true" { (words::glyph(judgement, true)) } " " (words::campaign_answer(answer)) }
            p.stamp {
                span { strong { (subject(page)) } }
                @for release in &releases { span { "release " strong { (clean(release)) } } }
                @if let Some((first, last)) = times { span { "from " (first) } span { "to " (last) } }
            }
            ul.reasons { @for reason in &page.decision.reasons { li { (clean(reason)) } } }
            @if !page.decision.open.is_empty() {
                p { strong { "To be known before signing; it does not change the answer:" } }
                ul.open { @for sentence in &page.decision.open { li { (clean(sentence)) } } }
            }
            @if aside > 0 {
                p.note { (plural(aside, "more run")) " with something made unsafe, or without faults, to show that experiments can fail: not counted here, listed under Evidence." }
            }
            @if !page.not_run.is_empty() {
                p { strong { "Not run:" } }
                ul.evidence { @for file in &page.not_run { li { (clean(file)) } } }
            }
            @if !page.not_read.is_empty() {
                p { strong { "Not read:" } }
                ul.evidence { @for reason in &page.not_read { li { (clean(reason)) } } }
            }
            p.sign-off { span { "Decision:" } span { "Name:" } span { "Date:" } }
        }
    }
}

fn contents(page: &Page) -> Markup {
    html! {
        nav.contents aria-label="On this page" {
            a href="#services" { "Business services" }
            @if !page.accepted.is_empty() { a href="#accepted" { "Accepted weaknesses" } }
            a href="#noticed" { "What customers would have noticed" }
            @if !page.experiments.is_empty() { a href="#experiments" { "Experiments" } }
            a href="#coverage" { "What was tried" }
            a href="#evidence" { "Evidence" }
        }
    }
}

/// A run, as a link to its part of the page.
fn run_link(run: &RunRef) -> Markup {
    html! { a href=(format!("#run-{}", run.number)) { (clean(&run.experiment)) " (" (run.number) ")" } }
}

/// Runs, as links.
fn run_links(runs: &[RunRef]) -> Markup {
    html! {
        @for (index, run) in runs.iter().enumerate() {
            @if index > 0 { @if index + 1 == runs.len() { " and " } @else { ", " } }
            (run_link(run))
        }
    }
}

/// A region that may be wider than the page: it can be reached and scrolled by keyboard.
fn wide(label: &str, content: Markup) -> Markup {
    html! { div.wide role="region" aria-label=(label) tabindex="0" { (content) } }
}

/// A size in bytes.
fn bytes(number: u64) -> String {
    match number {
        number if number >= 1 << 30 => format!("{} GiB", trim(number as f64 / f64::from(1 << 30), 1)),
        number if number >= 1 << 20 => format!("{} MiB", trim(number as f64 / f64::from(1 << 20), 1)),
        number => format!("{} B", count(number)),
    }
}

/// The date alone.
fn date(unix_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(unix_ms) {
        Ok(instant) => instant.strftime("%Y-%m-%d").to_string(),
        Err(_) => "no date".to_owned(),
    }
}
