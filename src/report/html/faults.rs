//! The faults with their receipts, and the recovery figures.

use maud::{Markup, html};

use super::{Page, lines};
use crate::fault::Receipt;
use crate::plan::{PlannedFault, RecoveryPlan};
use crate::report::text::{clean, duration, instant, list};
use crate::report::words;
use crate::verdict::FaultRecord;

pub(super) fn recovery(page: &Page<'_>) -> Markup {
    let figures = words::recovery_figures(page.verdict);
    html! {
        @if !figures.is_empty() {
            section {
                h2 { "Recovery" }
                dl.figures {
                    @for figure in &figures {
                        div {
                            dt { (figure.name) }
                            dd { strong { (figure.value) } span { (figure.meaning.as_ref()) } }
                        }
                    }
                }
                @if let Some(recovery) = &page.plan.recovery { p.note { (asked(recovery)) } }
            }
        }
    }
}

fn asked(recovery: &RecoveryPlan) -> String {
    let most = recovery.disrupted_for_ms.map_or_else(String::new, |most| {
        format!(" Service may be disrupted for {} in all.", duration(most as f64))
    });
    format!(
        "Asked: good time must begin within {} of the last heal and last for {}.{most} An operation is degraded while it is outside \
         its tolerance over a rolling second; times count from what was measured, not from what was planned.",
        duration(recovery.within_ms as f64),
        duration(recovery.stable_for_ms as f64)
    )
}

pub(super) fn section(page: &Page<'_>) -> Markup {
    html! {
        section {
            h2 { "Faults" }
            @if page.plan.faults.is_empty() {
                p.note { "No fault was planned: this run shows the system at rest." }
            } @else if page.verdict.faults.is_empty() {
                p.note { "No fault was injected: the run ended before." }
            }
            @for (index, fault) in page.verdict.faults.iter().enumerate() {
                (one(page, index, fault))
            }
        }
    }
}

fn one(page: &Page<'_>, index: usize, fault: &FaultRecord) -> Markup {
    let planned = page.plan.faults.get(index).filter(|planned| planned.name == fault.name);
    let span = page.timeline.faults.get(index);
    html! {
        article.fault {
            h3 { span.number { "F" (index + 1) } " " (clean(&fault.name)) }
            p { code { (clean(&fault.kind)) } " " (clean(&fault.describe)) }
            @if let Some(problem) = &fault.problem { (lines(problem)) }
            div.wide tabindex="0" { table {
                thead { tr { th { "moment" } th { "planned" } th { "measured, since the load began" } th { "command to measurement" } } }
                tbody {
                    tr {
                        th scope="row" { "effect" }
                        td { (planned_start(planned, span.and_then(|span| span.planned_ms))) }
                        td { (measured(fault.effective_ms)) }
                        td { (onset(fault.injected.as_ref())) }
                    }
                    tr {
                        th scope="row" { "healed" }
                        td { @if let Some(planned) = planned { "after " (duration(planned.for_ms as f64)) } @else { "not known" } }
                        td { (measured(fault.healed_ms)) }
                        td { (onset(fault.healed.as_ref())) }
                    }
                }
            } }
            (receipt("Receipt while it was on", fault.injected.as_ref()))
            (receipt("Receipt after its removal", fault.healed.as_ref()))
        }
    }
}

fn planned_start(planned: Option<&PlannedFault>, at_ms: Option<f64>) -> String {
    let trigger = planned.map(|planned| words::trigger(&planned.trigger));
    match (at_ms, trigger) {
        (Some(at_ms), Some(trigger)) => format!("{} ({trigger})", instant(at_ms)),
        (Some(at_ms), None) => instant(at_ms),
        (None, Some(trigger)) => trigger,
        (None, None) => "not known".to_owned(),
    }
}

fn measured(at_ms: Option<f64>) -> String {
    at_ms.map_or_else(|| "never".to_owned(), instant)
}

fn onset(receipt: Option<&Receipt>) -> String {
    let onset_us = receipt.and_then(|receipt| receipt.onset_us);
    onset_us.map_or_else(|| "not measured".to_owned(), |us| duration(us as f64 / 1_000.0))
}

fn receipt(title: &str, receipt: Option<&Receipt>) -> Markup {
    let Some(receipt) = receipt else {
        return html! { p.receipt { strong { (title) } ": " span.mark.inconclusive { "? none" } } };
    };
    let replicas: Vec<String> = receipt.replicas.iter().map(|replica| clean(replica)).collect();
    html! {
        p.receipt {
            strong { (title) } ": "
            @if receipt.confirmed { span.mark.pass { "✓ confirmed" } } @else { span.mark.inconclusive { "? not confirmed" } }
            @if !replicas.is_empty() { " on " (list(&replicas)) }
        }
        @if !receipt.evidence.is_empty() {
            ul.evidence { @for line in receipt.evidence.iter().take(40) { li { (clean(line)) } } }
        }
    }
}
