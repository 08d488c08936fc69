//! Each run that counts: how it went, what was judged, and the command that runs it again.

use maud::{Markup, html};

use super::summary::mark;
use super::{course, wide};
use crate::report::campaign::model::{AssertionLine, Experiment, FaultLine, FirstViolation, LogLine, Page};
use crate::report::html::{badge, class, lines, timestamp};
use crate::report::text::{clean, clean_lines, count, duration, instant};
use crate::report::words;
use crate::verdict::{FailoverTimes, Judgement};

pub(super) fn sections(page: &Page) -> Markup {
    html! {
        @if !page.experiments.is_empty() {
            section {
                h2 id="experiments" { "Experiments" }
                (index(&page.experiments))
            }
            @for experiment in &page.experiments { (one(experiment)) }
        }
    }
}

fn index(experiments: &[Experiment]) -> Markup {
    wide(
        "Experiments",
        html! { table {
            thead { tr { th.number { "no." } th { "outcome" } th { "experiment" } th { "engine" } th { "disruption" } th { "recovery time" } th { "data loss" } } }
            tbody {
                @for experiment in experiments {
                    tr {
                        td.number { (experiment.number) }
                        td { (mark(experiment.verdict, &experiment.outcome)) }
                        th scope="row" { a href=(format!("#run-{}", experiment.number)) { (clean(&experiment.name)) } }
                        td { (clean(&experiment.engine)) }
                        @for name in ["disruption", "recovery time", "data loss"] {
                            td { (figure_of(experiment, name)) }
                        }
                    }
                }
            }
        } },
    )
}

fn figure_of(experiment: &Experiment, name: &str) -> String {
    let figure = experiment.figures.iter().find(|figure| figure.name == name);
    figure.map_or_else(|| "–".to_owned(), |figure| clean(&figure.value))
}

fn one(experiment: &Experiment) -> Markup {
    html! {
        section.run id=(format!("run-{}", experiment.number)) {
            h3 { (experiment.number) ". " (clean(&experiment.title)) }
            p.stamp {
                span.outcome { (mark(experiment.verdict, &experiment.outcome)) }
                span { "experiment " strong { (clean(&experiment.name)) } }
                @if let Some(started) = timestamp(experiment.started_unix_ms) { span { (started) } }
                @if !experiment.engine.is_empty() { span { "engine " strong { (clean(&experiment.engine)) } } }
                span { "took " (duration(experiment.took_ms as f64)) }
            }
            p { strong { (clean(&experiment.answer)) } }
            @if let Some(problem) = &experiment.problem { (lines(problem)) }
            @if !experiment.leftovers.is_empty() {
                p { strong { "Left behind on the machine:" } }
                ul.evidence { @for leftover in experiment.leftovers.iter().take(20) { li { (clean(leftover)) } } }
            }
            @if !experiment.figures.is_empty() {
                dl.figures {
                    @for figure in &experiment.figures {
                        div { dt { (clean(&figure.name)) } dd { strong { (clean(&figure.value)) } span { (clean(&figure.meaning)) } } }
                    }
                }
            }
            (failovers(experiment.number, &experiment.failovers))
            (faults(&experiment.faults))
            @match &experiment.course {
                Some(course) => (course::figures(experiment.number, course)),
                None => @if let Some(reason) = &experiment.no_course { p.note { (clean(reason)) } },
            }
            (assertions(experiment))
            h4 { "Run it again" }
            pre.command { code { (clean(&experiment.again)) } }
        }
    }
}

fn failovers(number: usize, failovers: &[FailoverTimes]) -> Markup {
    html! {
        @if !failovers.is_empty() {
            (wide(&format!("Changes of primaries in run {number}"), html! { table {
                thead { tr { th { "change of primaries" } th { "until it was noticed" } th { "until another took over" } th { "until the first write" } } }
                tbody {
                    @for failover in failovers {
                        tr {
                            th scope="row" { (clean(&failover.fault)) }
                            td { @match failover.times.detection_ms { Some(ms) => (instant(ms)), None => "nothing tells" } }
                            td { (instant(failover.times.promotion_ms)) }
                            td { (instant(failover.times.first_write_ms)) }
                        }
                    }
                }
            } }))
        }
    }
}

fn faults(faults: &[FaultLine]) -> Markup {
    let when = |at: Option<f64>, seen: &str, unseen: &str| {
        at.map_or_else(|| unseen.to_owned(), |at| format!("{seen} at {}", instant(at)))
    };
    html! {
        @if faults.is_empty() { p.note { "No fault was injected." } }
        ul.plain {
            @for fault in faults {
                li {
                    strong { "F" (fault.number) } " " (clean(&fault.name)) ": " (clean(&fault.describe))
                    "; " (when(fault.effective_ms, "in effect", "not seen in effect")) ", " (when(fault.healed_ms, "healed", "not seen healed"))
                    @if let Some(problem) = &fault.problem { "; " (clean_lines(problem).join(" ")) }
                }
            }
        }
    }
}

fn assertions(experiment: &Experiment) -> Markup {
    let (held, others): (Vec<&AssertionLine>, Vec<&AssertionLine>) = experiment
        .assertions
        .iter()
        .partition(|assertion| assertion.verdict == Judgement::Pass);
    html! {
        h4 { "What was judged" }
        @if experiment.assertions.is_empty() { p.note { "Nothing was judged." } }
        @for assertion in others { (not_held(experiment, assertion)) }
        @if !held.is_empty() {
            (wide(&format!("What held in run {}", experiment.number), html! { table.held {
                thead { tr { th { "✓ held" } th { "what was found" } th { "kind" } } }
                tbody {
                    @for assertion in held {
                        tr {
                            th scope="row" { (clean(&assertion.name)) }
                            td { (clean(&assertion.detail)) }
                            td { (words::kind(assertion.kind)) }
                        }
                    }
                }
            } }))
        }
    }
}

fn not_held(experiment: &Experiment, assertion: &AssertionLine) -> Markup {
    html! {
        article class=(format!("assertion {}", class(assertion.verdict))) {
            h4 { (badge(assertion.verdict)) " " (clean(&assertion.name)) }
            p.kind { (words::kind(assertion.kind)) ": " (words::kind_meaning(assertion.kind)) }
            @if let Some(weakness) = &assertion.accepted {
                p { strong { "Accepted until " (clean(&weakness.until)) } " by " (clean(&weakness.owner)) ": " (clean(&weakness.reason)) }
            }
            p { (clean(&assertion.detail)) }
            @if !assertion.evidence.is_empty() {
                ul.evidence { @for line in &assertion.evidence { li { (clean(line)) } } }
            }
            @if assertion.evidence_more > 0 { p.note { (count(assertion.evidence_more as u64)) " more in the run's own page." } }
            @if let Some(first) = &assertion.first { (first_violation(experiment, first)) }
        }
    }
}

fn first_violation(experiment: &Experiment, first: &FirstViolation) -> Markup {
    let violation = &first.violation;
    html! {
        div.first {
            p {
                strong { "First violation" }
                @if let Some(at_ms) = violation.at_ms { " at " strong { (instant(at_ms)) } }
                @if let Some(operation) = &violation.operation { ", " code { (clean(operation)) } }
                @if let Some(key) = &violation.key { ", " code { (clean(key)) } }
                ": " (clean(&violation.text)) "."
            }
            @match first.in_force.as_deref() {
                Some([]) => p { "No fault was in force then." },
                Some(numbers) => p { "In force then: " (named(experiment, numbers)) "." },
                None => p { "Nothing tells when that was." },
            }
            p.note { (clean(&first.log_note)) }
            @if !first.log.is_empty() { pre { (log(&first.log)) } }
        }
    }
}

fn named(experiment: &Experiment, numbers: &[usize]) -> String {
    let named = experiment.faults.iter().filter(|fault| numbers.contains(&fault.number));
    let names: Vec<String> = named
        .map(|fault| format!("F{} {}", fault.number, clean(&fault.name)))
        .collect();
    names.join(", ")
}

fn log(lines: &[LogLine]) -> String {
    let line = |line: &LogLine| {
        let at = line
            .at_ms
            .map_or_else(String::new, |at_ms| format!(" {}", instant(at_ms)));
        format!("{}{at} | {}", clean(&line.replica), clean(&line.text))
    };
    let lines: Vec<String> = lines.iter().map(line).collect();
    lines.join("\n")
}
