//! The index: every experiment with its latest run, worst first, and every campaign with its answer.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::model::{Concluded, Experiment, Run, Site};
use super::{CAMPAIGNS, EXPERIMENTS, RUNS, STYLE};
use crate::report::html::{badge, class, document, timestamp};
use crate::report::text::{clean, plural};
use crate::report::words;
use crate::verdict::Judgement;

/// Runs in the row of an experiment, the latest of them.
const RECENT_MAX: usize = 20;
/// Lines on what could not be read.
const NOT_READ_MAX: usize = 50;

/// Renders the index.
pub(super) fn render(site: &Site) -> String {
    let judgement = worst(site);
    document(
        &format!("Experiments: {}", counts(site)),
        STYLE,
        html! {
            header class=(class(judgement)) {
                h1 { "Experiments" }
                p.answer { (counts(site)) "." }
                p.asked {
                    "By the latest run of each, worst first; earlier ones to the left of later ones. "
                    @if let Some(made) = timestamp(site.made_unix_ms) { "Made " (made) "." }
                    @let stale = stale(site);
                    @if stale > 0 { " " (plural(stale, "experiment")) " last ran longer ago than " (words::age(site.stale_after_ms)) "." }
                }
            }
            main {
                section {
                    h2 { "Latest runs" }
                    @if site.experiments.is_empty() {
                        p.note { "No run says anything of a system as it is." }
                    } @else {
                        (table(site))
                    }
                }
                (campaigns(site))
                (not_read(site))
            }
            footer { p { (words::HOW_JUDGED) } }
        },
    )
}

fn worst(site: &Site) -> Judgement {
    let judgements = site.experiments.iter().map(|experiment| experiment.latest().judgement);
    let doubt = (!site.not_read.is_empty() || site.experiments.is_empty()).then_some(Judgement::Inconclusive);
    judgements.chain(doubt).max().unwrap_or(Judgement::Inconclusive)
}

/// `3 experiments: 1 fail, 2 pass`.
fn counts(site: &Site) -> String {
    let of = |judgement| (site.count(judgement), words::judgement(judgement));
    let parts: Vec<String> = [Judgement::Fail, Judgement::Inconclusive, Judgement::Pass]
        .map(of)
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let total = plural(site.experiments.len() as u64, "experiment");
    match parts.is_empty() {
        true => total,
        false => format!("{total}: {}", parts.join(", ")),
    }
}

fn stale(site: &Site) -> u64 {
    let is_stale = |experiment: &&Experiment| site.is_stale(experiment.latest());
    site.experiments.iter().filter(is_stale).count() as u64
}

fn table(site: &Site) -> Markup {
    html! {
        div.wide tabindex="0" { table.experiments {
            thead { tr {
                th { "experiment" } th { "latest" } th { "when" } th { "recovery" } th { "disruption" } th { "lost" }
                th { "last " (RECENT_MAX) } th.number { "runs" }
            } }
            tbody { @for experiment in &site.experiments { (row(site, experiment)) } }
        } }
    }
}

fn row(site: &Site, experiment: &Experiment) -> Markup {
    let latest = experiment.latest();
    let recovery = words::recovery_in_brief(&latest.recovery, latest.had_faults);
    html! {
        tr class=(class(latest.judgement)) {
            th scope="row" {
                a href=(format!("{EXPERIMENTS}/{}.html", experiment.slug)) { (clean(&experiment.name)) }
                span.under { (clean(&experiment.title)) }
                span.under {
                    "system " (clean(&experiment.system))
                    @if !experiment.engine.is_empty() { ", engine " (clean(&experiment.engine)) }
                }
            }
            td { (outcome(latest, RUNS)) @if !latest.release.is_empty() { span.under { "release " (clean(&latest.release)) } } }
            td { (age(site, latest)) }
            @for figure in recovery { td { (figure) } }
            td { (recent(&experiment.runs)) }
            td.number { (experiment.runs.len() as u64 + experiment.older) }
        }
    }
}

/// What a run came to, as a link to its page where it has one.
pub(super) fn outcome(run: &Run, runs: &str) -> Markup {
    let said = html! {
        @if run.outcome == words::judgement(run.judgement) { (badge(run.judgement)) } @else {
            span class=(format!("mark {}", class(run.judgement))) {
                span aria-hidden="true" { (words::glyph(run.judgement, true)) } " " (run.outcome)
            }
        }
    };
    match &run.slug {
        Some(slug) => html! { a href=(format!("{runs}/{slug}.html")) { (said) } },
        None => said,
    }
}

/// How long ago, and when.
fn age(site: &Site, run: &Run) -> Markup {
    html! {
        @if site.is_stale(run) { strong.stale { (words::age(site.age_ms(run))) " ago: old" } } @else { (words::age(site.age_ms(run))) " ago" }
        @if let Some(started) = timestamp(run.started_unix_ms) { span.under { (started) } }
    }
}

/// A glyph a run, and the same in words.
fn recent(runs: &[Run]) -> Markup {
    let recent: Vec<&Run> = runs.iter().take(RECENT_MAX).rev().collect();
    let said: Vec<&str> = recent.iter().map(|run| run.outcome).collect();
    html! {
        span.recent role="img" aria-label=(said.join(", ")) {
            @for run in recent {
                span class=(format!("mark {}", class(run.judgement))) { (words::glyph(run.judgement, true)) }
            }
        }
    }
}

/// What each campaign came to, with a link to its page.
fn campaigns(site: &Site) -> Markup {
    html! {
        @if !site.campaigns.is_empty() {
            section {
                h2 { "Campaigns, newest first" }
                div.wide tabindex="0" { table.campaigns {
                    thead { tr { th { "answer" } th { "when" } th { "release" } th { "system" } th.number { "runs" } th { "because" } } }
                    tbody { @for campaign in &site.campaigns { (concluded(campaign)) } }
                } }
                p.note {
                    "As their pages said when they were made, with what was accepted then."
                    @if site.older_campaigns > 0 { " " (plural(site.older_campaigns, "older campaign")) " not shown." }
                }
            }
        }
    }
}

fn concluded(campaign: &Concluded) -> Markup {
    let answer = campaign.conclusion.answer;
    let judgement = words::campaign_judgement(answer);
    let said = html! {
        span class=(format!("mark {}", class(judgement))) {
            span aria-hidden="true" { (words::glyph(judgement, true)) } " " (words::campaign_answer(answer).to_lowercase())
        }
    };
    let listed = |names: &BTreeSet<String>| names.iter().map(|name| clean(name)).collect::<Vec<_>>().join(", ");
    html! {
        tr class=(class(judgement)) {
            th scope="row" {
                @match &campaign.slug {
                    Some(slug) => a href=(format!("{CAMPAIGNS}/{slug}.html")) { (said) },
                    None => (said),
                }
                @if let Some((number, of)) = campaign.shard { span.under { "shard " (number) " of " (of) } }
            }
            td { (timestamp(campaign.conclusion.at_unix_ms).unwrap_or_default()) }
            td { (listed(&campaign.releases)) }
            td { (listed(&campaign.systems)) }
            td.number { (campaign.runs) }
            td { (clean(&campaign.conclusion.because)) }
        }
    }
}

fn not_read(site: &Site) -> Markup {
    let more = site.not_read.len().saturating_sub(NOT_READ_MAX);
    html! {
        @if !site.not_read.is_empty() {
            section {
                h2 { "Not read" }
                p.note { "Of these nothing is said above." }
                ul.evidence {
                    @for line in site.not_read.iter().take(NOT_READ_MAX) { li { (clean(line)) } }
                    @if more > 0 { li { "… " (more) " more" } }
                }
            }
        }
    }
}
