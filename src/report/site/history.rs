//! The history of an experiment: its runs over time, as a drawing and as a table.

use maud::{Markup, html};

use super::index::outcome;
use super::model::{Experiment, Run, Site};
use super::{INDEX, RUNS, STYLE, chart};
use crate::report::html::{class, document, timestamp};
use crate::report::text::{clean, count, duration, plural};
use crate::report::words;
use crate::verdict::Judgement;

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
                    @if !experiment.engine.is_empty() { span { "engine " strong { (clean(&experiment.engine)) } } }
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
                (releases(site, experiment))
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

/// What each release came to, newest first.
fn releases(site: &Site, experiment: &Experiment) -> Markup {
    let releases = experiment.releases();
    let is_named = releases.iter().any(|(name, _)| !name.is_empty());
    html! {
        section {
            h2 { "By release" }
            @if is_named {
                div.wide tabindex="0" { table.releases {
                    thead { tr {
                        th { "release" } th { "came to" } th { "recovery" } th { "disruption" } th { "lost" } th { "latest run" }
                    } }
                    tbody { @for (name, runs) in &releases { (release(site, name, runs)) } }
                } }
                p.note { "Times are medians of the runs, with the least and the greatest. Runs whose disruption was not over when their load ended count as longer than all that were." }
            } @else {
                p.note { "No run names what was under test: " code { "nightmail run --release v2.3" } " does, or " code { "NIGHTMAIL_RELEASE" } "." }
            }
        }
    }
}

fn release(site: &Site, name: &str, runs: &[&Run]) -> Markup {
    let worst = runs
        .iter()
        .map(|run| run.judgement)
        .max()
        .unwrap_or(Judgement::Inconclusive);
    let lost: Option<u64> = runs.iter().filter_map(|run| run.recovery.data_loss_operations).max();
    html! {
        tr class=(class(worst)) {
            th scope="row" { @if name.is_empty() { "not named" } @else { (clean(name)) } }
            td { (chart::came_to(runs)) }
            td { (spread(runs, |run| run.recovery.recovery_time_ms)) }
            td { (spread(runs, |run| run.recovery.disruption_ms)) }
            td { @match lost { Some(lost) => (count(lost)), None => "not measured" } }
            td { (words::age(site.age_ms(runs[0]))) " ago" }
        }
    }
}

/// `2.2 s (1.9 s to 4 s)`. What was not over is longer than all that was.
fn spread(runs: &[&Run], of: fn(&Run) -> Option<f64>) -> String {
    let is_over = |run: &&&Run| !run.recovery.censored;
    let mut times: Vec<f64> = runs.iter().filter(is_over).filter_map(|run| of(run)).collect();
    let censored = runs.iter().filter(|run| run.recovery.censored).count();
    times.sort_by(f64::total_cmp);
    let told = |ms: Option<&f64>| ms.map_or_else(|| "not over".to_owned(), |&ms| duration(ms));
    match times.len() + censored {
        0 => "not measured".to_owned(),
        1 => told(times.first()),
        all => {
            let greatest = if censored > 0 { None } else { times.last() };
            format!(
                "{} ({} to {})",
                told(times.get((all - 1) / 2)),
                told(times.first()),
                told(greatest)
            )
        }
    }
}

fn table(site: &Site, runs: &[Run]) -> Markup {
    html! {
        div.wide tabindex="0" { table.runs {
            thead { tr {
                th { "run" } th { "when" } th { "recovery" } th { "disruption" } th { "lost" } th { "answer" } th { "release" } th { "made by" }
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
            td { (clean(&run.release)) }
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
