//! Under what conditions, how the experiment is shown to be able to fail, how to run it again, what else happened.

use maud::{Markup, html};
use sha2::{Digest, Sha256};

use super::{Page, names};
use crate::event::{Entry, Event};
use crate::plan::{Bound, Plan, Probe, WindowedProbe};
use crate::report::terminal::told;
use crate::report::text::{clean, count, duration, instant};
use crate::report::words;

/// Happenings listed at most.
const HAPPENINGS_MAX: usize = 400;

pub(super) fn sections(page: &Page<'_>) -> Markup {
    html! {
        (asked(page))
        (controls(page))
        (environment(page))
        (again(page))
    }
}

fn asked(page: &Page<'_>) -> Markup {
    let plan = page.plan;
    html! {
        section {
            h2 { "What was asked" }
            p { strong { "Steady state: " } (clean(&plan.gate.title)) }
            (probes(plan, &plan.gate.probes))
            @if !plan.during.is_empty() {
                p { strong { "While faults last:" } }
                (windowed(plan, &plan.during, |windowed| windowed.part_of_faults(&plan.faults)))
            }
            @if !plan.afterwards.is_empty() {
                p { strong { "After the last heal:" } }
                (windowed(plan, &plan.afterwards, WindowedProbe::part_of_afterwards))
            }
            @if !plan.invariants.is_empty() {
                p { strong { "Invariants: " } (names(&plan.invariants)) }
            }
            p { strong { "Tolerated loss: " } (tolerated(plan)) }
        }
    }
}

fn probes(plan: &Plan, probes: &[Probe]) -> Markup {
    html! {
        ul.plain {
            @for probe in probes { li { (stated(plan, probe)) } }
        }
    }
}

/// Probes with the part of their time over which each is judged.
fn windowed(plan: &Plan, probes: &[WindowedProbe], part: impl Fn(&WindowedProbe) -> Option<String>) -> Markup {
    html! {
        ul.plain {
            @for probe in probes {
                li { (stated(plan, &probe.probe)) @if let Some(part) = part(probe) { ", " (clean(&part)) } }
            }
        }
    }
}

fn stated(plan: &Plan, probe: &Probe) -> Markup {
    html! {
        (clean(&probe.name)) ": " (words::measure(&probe.measure)) " " (sign(&probe.tolerance)) " " (bound_value(plan, probe))
    }
}

fn sign(bound: &Bound) -> String {
    let shown = bound.to_string();
    match shown.split(' ').next() {
        Some(">=") => "≥".to_owned(),
        Some("<=") => "≤".to_owned(),
        Some(sign) => sign.to_owned(),
        None => String::new(),
    }
}

fn bound_value(plan: &Plan, probe: &Probe) -> String {
    let shown = words::bound(plan, probe);
    shown
        .split_once(' ')
        .map_or(shown.clone(), |(_, value)| value.to_owned())
}

fn tolerated(plan: &Plan) -> String {
    match plan.tolerate.data_loss_operations {
        0 => "none".to_owned(),
        operations => format!(
            "{} acknowledged operations, the oldest {} old at most",
            count(operations),
            duration(plan.tolerate.data_loss_time_ms as f64)
        ),
    }
}

fn controls(page: &Page<'_>) -> Markup {
    let controls = &page.plan.negative_controls;
    html! {
        section {
            h2 { "How this experiment is shown to be able to fail" }
            @if controls.is_empty() {
                p.note { "It has no negative control: nothing shows that it could have failed." }
            } @else {
                p.note { "An experiment that cannot fail is no evidence. " code { "nightmail prove" } " runs these unsafe twins; this run did not." }
                div.wide tabindex="0" { table {
                    thead { tr { th { "negative control" } th { "what is made unsafe" } th { "must fail" } } }
                    tbody {
                        @for control in controls {
                            tr {
                                th scope="row" { (clean(&control.name)) }
                                td { (words::control(page.plan, control)) }
                                td { (clean(&control.fails.join(", "))) }
                            }
                        }
                    }
                } }
            }
        }
    }
}

fn environment(page: &Page<'_>) -> Markup {
    let (plan, verdict) = (page.plan, page.verdict);
    let engine = page.events.iter().find_map(|entry| match &entry.event {
        Event::Started { engine, because, .. } => Some(words::engine(engine, because)),
        _ => None,
    });
    let release = page.events.iter().find_map(|entry| match &entry.event {
        Event::Started { release, .. } if !release.is_empty() => Some(clean(release)),
        _ => None,
    });
    let replicas: Vec<String> = plan
        .replicas
        .iter()
        .map(|(service, number)| format!("{} × {number}", clean(service)))
        .collect();
    let defects = match verdict.defects.as_slice() {
        [] => "none".to_owned(),
        defects => names(defects),
    };
    html! {
        section {
            h2 { "Environment" }
            dl.facts {
                (fact("run", html! { code { (clean(&verdict.run_id)) } }))
                (fact("seed", html! { code { (verdict.seed) } }))
                (fact("experiment file", html! { code { (clean(&plan.experiment.path.display().to_string())) } br; "SHA-256 " code { (clean(&plan.experiment.sha256)) } }))
                (fact("plan", html! { "SHA-256 of its compact JSON " code { (plan_hash(plan)) } }))
                (fact("engine", html! { (engine.unwrap_or_else(|| "not known".to_owned())) }))
                @if let Some(release) = release { (fact("release under test", html! { (release) })) }
                (fact("replicas", html! { (replicas.join(", ")) }))
                (fact("defects switched on", html! { (defects) }))
                (fact("exit code", html! { (verdict.exit_code) }))
                @if !plan.experiment.tags.is_empty() { (fact("tags", html! { (names(&plan.experiment.tags)) })) }
                @for (name, value) in &plan.configuration {
                    (fact("configuration", html! { code { (clean(name)) " = " (clean(value)) } }))
                }
                (fact("nightmail", html! { (env!("CARGO_PKG_VERSION")) }))
            }
        }
    }
}

fn fact(name: &str, value: Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

fn plan_hash(plan: &Plan) -> String {
    match serde_json::to_vec(plan) {
        Ok(json) => Sha256::digest(json).iter().map(|byte| format!("{byte:02x}")).collect(),
        Err(error) => format!("not to be had: {error}"),
    }
}

fn again(page: &Page<'_>) -> Markup {
    html! {
        section {
            h2 { "Run it again" }
            pre.command { code { (clean(&page.verdict.again)) } }
            p.note { (words::SEED_FIXES) }
        }
    }
}

/// The wall clock, to the millisecond. The date stands at the top of the page.
fn clock(unix_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(unix_ms) {
        Ok(instant) => instant.strftime("%H:%M:%S%.3f").to_string(),
        Err(_) => "–".to_owned(),
    }
}

/// The log of the run, for whoever wants to know in which order things happened.
pub(super) fn happenings(page: &Page<'_>) -> Markup {
    let told: Vec<(&Entry, String)> = page
        .events
        .iter()
        .filter_map(|entry| Some((entry, told::line(&entry.event)?.text)))
        .collect();
    let more = told.len().saturating_sub(HAPPENINGS_MAX) as u64;
    html! {
        @if !told.is_empty() {
            section.happenings {
                h2 { "What happened, in order" }
                div.wide tabindex="0" { table.log {
                    thead { tr { th { "since load began" } th { "by the clock, UTC" } th { "event" } } }
                    tbody {
                        @for (entry, text) in told.iter().take(HAPPENINGS_MAX) {
                            tr {
                                td.number { (instant(entry.at_us as f64 / 1_000.0)) }
                                td.number { (clock(entry.unix_ms)) }
                                td { (text) }
                            }
                        }
                    }
                } }
                @if more > 0 { p.note { (count(more)) " more in events.jsonl." } }
            }
        }
    }
}
