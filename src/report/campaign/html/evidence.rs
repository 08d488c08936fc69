//! What the page rests on: versions, machines, images, seeds and checksums, of every run.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::summary::mark;
use super::{bytes, wide};
use crate::event::Host;
use crate::report::campaign::model::{FileSum, Page, RunEvidence};
use crate::report::html::timestamp;
use crate::report::text::{clean, list, plural};

pub(super) fn section(page: &Page) -> Markup {
    html! {
        section {
            h2 id="evidence" { "Evidence" }
            dl.facts {
                (fact("this page", html! { "made by nightmail " (clean(&page.nightmail)) @if let Some(made) = timestamp(page.made_unix_ms) { " at " (made) } }))
                (fact("releases under test", html! { (said(page, "the runs do not name any; `--release` does", |run| vec![run.release.clone()])) }))
                (fact("runs made by", html! { (said(page, "a version that did not say which", |run| vec![version(run)])) }))
                (fact("engines", html! { (said(page, "none, since no run got that far", |run| vec![run.engine.clone()])) }))
                (fact("machines", html! { (said(page, "the runs do not say", |run| run.host.iter().map(machine).collect())) }))
            }
            @if page.evidence.is_empty() {
                p.note { "There is no run." }
            } @else {
                (wide("Every run", html! { table.sums {
                    thead { tr { th { "run" } th { "made from" } th { "files, with their SHA-256" } } }
                    tbody { @for run in &page.evidence { (one(run)) } }
                } }))
                p.note { "Checksums are of the files as they are now. " code { "nightmail check FOLDER" } " comes to the same verdict from plan, history and events, on any machine." }
            }
        }
    }
}

fn fact(name: &str, value: Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

/// What runs say, each once; `otherwise` where none says anything.
fn said(page: &Page, otherwise: &str, of: impl Fn(&RunEvidence) -> Vec<String>) -> String {
    let said: BTreeSet<String> = page
        .evidence
        .iter()
        .flat_map(of)
        .filter(|text| !text.is_empty())
        .collect();
    match said.is_empty() {
        true => otherwise.to_owned(),
        false => list(&said.iter().map(|text| clean(text)).collect::<Vec<_>>()),
    }
}

fn version(run: &RunEvidence) -> String {
    match run.nightmail.is_empty() {
        true => String::new(),
        false => format!("nightmail {}", run.nightmail),
    }
}

fn machine(host: &Host) -> String {
    format!(
        "{} on {}, {}, {}",
        host.kernel,
        host.architecture,
        plural(u64::from(host.processors), "processor"),
        bytes(host.memory_bytes)
    )
}

fn one(run: &RunEvidence) -> Markup {
    html! {
        tr {
            th scope="row" {
                @match run.number {
                    Some(number) => { (number) ". " a href=(format!("#run-{number}")) { (clean(&run.experiment)) } }
                    None => (clean(&run.experiment)),
                }
                br; (mark(run.verdict, &run.outcome))
                @if let Some(aside) = &run.aside { br; span.kind { "not counted: " (clean(aside)) } }
                @if let Some(started) = timestamp(run.started_unix_ms) { br; span.kind { (started) } }
                br; span.kind { "run " code { (clean(&run.run_id)) } }
                br; span.kind { "seed " code { (run.seed) } }
            }
            td {
                code { (clean(&run.file)) } br; code { (clean(&run.file_sha256)) }
                br; "system " (clean(&run.system))
                @if !run.release.is_empty() { ", release " (clean(&run.release)) }
                @if !run.engine.is_empty() { ", engine " (clean(&run.engine)) }
                @if !run.nightmail.is_empty() { ", nightmail " (clean(&run.nightmail)) }
                @if !run.images.is_empty() {
                    br; "images" @for image in &run.images { br; code { (clean(image)) } }
                } @else {
                    br; "images: the run does not say which"
                }
                br; @match run.proof {
                    Some(true) => "shown to be able to fail",
                    Some(false) => "tried, and not shown to be able to fail",
                    None => "not shown to be able to fail: proof missing",
                }
            }
            td {
                code { (clean(&run.folder)) }
                @if run.files.is_empty() { br; "not there any more" }
                @for file in &run.files { br; (sum(file)) }
            }
        }
    }
}

fn sum(file: &FileSum) -> Markup {
    html! {
        (clean(&file.name)) ", " (bytes(file.bytes)) ": "
        @match &file.sha256 {
            Ok(sha256) => code { (clean(sha256)) },
            Err(error) => { "cannot be read: " (clean(error)) }
        }
    }
}
