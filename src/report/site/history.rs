//! The history of an experiment: its runs over time, as a drawing and as a table.

use maud::{Markup, html};

use super::index::outcome;
use super::model::{Experiment, Run, Site};
use super::{INDEX, RUNS, STYLE, chart};
use crate::report::html::{class, document, timestamp};
use crate::report::text::{clean, plural};
use crate::report::words;

/// Renders the page of an experiment.
pub(super) fn render(site: &Site, experiment: &Experiment) -> String {
    let latest = experiment.latest();
    document(
        &format!("{}: {}", latest.outcome, clean(&experiment.title)),
        STYLE,
        html! {
            header class=(class(latest.judgement)) {
                nav { a href=(format!("../{INDEX}")) { "All experiments" } }
                p.stamp {
                    span.badge { span aria-hidden="true" { (words::glyph(latest.judgement, true)) } " " (latest.outcome) }
                    span { "experiment " strong { (clean(&experiment.name)) } }
                    span { "system " strong { (clean(&experiment.system)) } }
                }
                h1 { (clean(&experiment.title)) }
                p.answer { (latest.answer) }
                p.asked {
                    "The latest run, " (words::age(site.age_ms(latest))) " before this page was made"
                    @if site.is_stale(latest) { ": " strong.stale { "old" } }
                    "."
                }
            }
            main {
                section {
                    h2 { "Over time" }
                    (chart::figure(&experiment.runs))
                }
                section {
                    h2 { "Runs, newest first" }
                    (table(site, &experiment.runs))
                    (left_out(experiment))
                }
            }
            footer { p { (words::HOW_JUDGED) } }
        },
    )
}

fn table(site: &Site, runs: &[Run]) -> Markup {
    html! {
        div.wide tabindex="0" { table.runs {
            thead { tr {
                th { "run" } th { "when" } th { "recovery" } th { "disruption" } th { "lost" } th { "answer" } th { "made by" }
            } }
            tbody { @for run in runs { (row(site, run)) } }
        } }
    }
}

fn row(site: &Site, run: &Run) -> Markup {
    let made_by: Vec<String> = [("nightmail", &run.nightmail), ("on", &run.engine)]
        .into_iter()
        .filter(|(_, what)| !what.is_empty())
        .map(|(word, what)| format!("{word} {}", clean(what)))
        .collect();
    html! {
        tr class=(class(run.judgement)) {
            th scope="row" { (outcome(run, &format!("../{RUNS}"))) span.under { code { (clean(&run.run_id)) } } }
            td {
                (words::age(site.age_ms(run))) " ago"
                @if let Some(started) = timestamp(run.started_unix_ms) { span.under { (started) } }
            }
            @for figure in words::recovery_in_brief(&run.recovery, run.had_faults) { td { (figure) } }
            td {
                (run.answer)
                @if run.is_changed { span.under { "The experiment's file is another one than in the run before." } }
            }
            td { (made_by.join(" ")) span.under { "seed " (run.seed) } }
        }
    }
}

fn left_out(experiment: &Experiment) -> Markup {
    html! {
        @if experiment.older > 0 { p.note { (plural(experiment.older, "older run")) " not shown." } }
        @if experiment.aside > 0 {
            p.note {
                (plural(experiment.aside, "run")) " with something made unsafe, or without the faults, to show that the experiment can fail: not shown, since they say nothing of the system as it is."
            }
        }
    }
}
