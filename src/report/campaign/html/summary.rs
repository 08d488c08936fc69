//! The first page: business services, the numbers that must be zero, and what customers would have noticed.

use maud::{Markup, html};

use super::{run_link, run_links, wide};
use crate::report::campaign::model::{AcceptedRow, Notice, Noticed, Page, ServiceRow, Unnoticed, Zero, Zeros};
use crate::report::html::class;
use crate::report::text::{clean, count, duration, plural, share_of};
use crate::report::words;
use crate::verdict::Judgement;

pub(super) fn sections(page: &Page) -> Markup {
    html! {
        (services(page))
        (accepted(&page.accepted))
        (zeros(&page.zeros, page.experiments.len()))
        (noticed(&page.noticed))
    }
}

fn services(page: &Page) -> Markup {
    html! {
        section {
            h2 id="services" { "Business services against their impact tolerances" }
            @if page.services.is_empty() {
                p.note { "No run had a business service in its load: " code { "business-services" } " in " code { "system.yaml" } " say which there are, and what disruption of each is tolerable." }
            } @else {
                (wide("Business services", html! { table.stack role="table" {
                    thead role="rowgroup" { tr role="row" {
                        th role="columnheader" { "impact tolerance" } th role="columnheader" { "business service" }
                        th role="columnheader" { (TOLERATED) } th role="columnheader" { (DISRUPTED) }
                        th role="columnheader" { (LOST) } th.number role="columnheader" { (RUNS) }
                    } }
                    tbody role="rowgroup" { @for row in &page.services { (service(row)) } }
                } }))
                p.note { "Tolerated is so much in any one run, whatever breaks. " (words::DISRUPTED_SERVICE) " " (words::TWO_DISRUPTIONS) }
            }
        }
    }
}

const TOLERATED: &str = "tolerated in one run";
const DISRUPTED: &str = "worst disruption";
const LOST: &str = "greatest loss";
const RUNS: &str = "runs";

/// A row, which is a block of its own where the window is narrow: there each cell bears its heading.
fn service(row: &ServiceRow) -> Markup {
    html! {
        tr role="row" {
            td role="cell" {
                (mark(row.verdict, words::tolerance(row.verdict)))
                @if !row.accepted.is_empty() { br; span.kind { "accepted in " (run_links(&row.accepted)) } }
            }
            th scope="row" role="rowheader" { (clean(&row.title)) br; span.kind { (clean(&row.service)) " of " (clean(&row.system)) } }
            td role="cell" data-label=(TOLERATED) {
                (duration(row.tolerated_ms as f64)) br; (plural(row.tolerated_lost, "operation")) " lost"
                br; span.kind { (words::served_within(row.served_within_ms)) }
            }
            td role="cell" data-label=(DISRUPTED) {
                @match &row.disrupted {
                    Some(worst) if worst.value > 0.0 => {
                        strong { (duration(worst.value)) }
                        @if row.tolerated_ms > 0 { ", " (share_of(worst.value, row.tolerated_ms as f64)) " of it" }
                        br; "in " (run_link(&worst.run))
                    }
                    Some(_) => strong { "none" },
                    None => "cannot be said",
                }
                @if let Some((run, why)) = row.untold.first() {
                    br; span.kind {
                        "cannot be said in " (plural(row.untold.len() as u64, "run")) ", first in " (run_link(run)) ": " (clean(why))
                    }
                }
            }
            td role="cell" data-label=(LOST) {
                @match &row.lost {
                    Some(worst) if worst.value > 0 => {
                        strong { (count(worst.value)) }
                        br; "in " (run_link(&worst.run))
                        @if let Some(tolerated) = words::tolerated_elsewhere(worst.has_passed, worst.value, row.tolerated_lost) { ", " (tolerated) }
                    }
                    Some(_) => strong { "0" },
                    None => "cannot be said",
                }
            }
            td.number role="cell" data-label=(RUNS) { (count(row.runs)) }
        }
    }
}

/// Weaknesses that somebody accepted: in force, over, or met nowhere.
fn accepted(rows: &[AcceptedRow]) -> Markup {
    html! {
        @if !rows.is_empty() {
            section {
                h2 id="accepted" { "Accepted weaknesses" }
                (wide("Accepted weaknesses", html! { table {
                    thead { tr { th { "accepted" } th { "weakness" } th { "why" } th { "owner" } th { "until" } th { "met in" } } }
                    tbody { @for row in rows { (acceptance(row)) } }
                } }))
                p.note { "What is accepted stays a failure of its run and does not count for the answer on top, up to and including its day. What was met nowhere may be mended: remove it, so that it cannot hide what breaks next." }
            }
        }
    }
}

fn acceptance(row: &AcceptedRow) -> Markup {
    let weakness = &row.weakness;
    html! {
        tr {
            td { @if row.is_expired { (mark(Judgement::Fail, "no longer")) } @else { "yes" } }
            th scope="row" { (clean(&weakness.what)) br; span.kind { "of " (clean(&weakness.experiment)) } }
            td { (clean(&weakness.reason)) }
            td { (clean(&weakness.owner)) }
            td { (clean(&weakness.until)) br; span.kind { (clean(&weakness.place)) } }
            td { @if row.runs.is_empty() { "none of these runs" } @else { (run_links(&row.runs)) } }
        }
    }
}

/// A judgement in words and in shape, with words of its own.
pub(super) fn mark(judgement: Judgement, words: &str) -> Markup {
    html! {
        span class=(format!("mark {}", class(judgement))) {
            span aria-hidden="true" { (words::glyph(judgement, true)) } " " (clean(words))
        }
    }
}

fn zeros(zeros: &Zeros, runs: usize) -> Markup {
    html! {
        section {
            h2 { "Three numbers that must be zero" }
            @if runs == 0 {
                p.note { "No run counts, so nothing can be said." }
            } @else {
                dl.figures {
                    (zero("acknowledged and lost", "operations that customers were told are done, and that are gone; loss that an experiment tolerates included", &zeros.lost))
                    (zero("happened twice", "effects that are there more often than they may be", &zeros.twice))
                    (zero("ledger differences", "differences of ledgers, journals and copies that must agree", &zeros.ledger_differences))
                }
            }
        }
    }
}

fn zero(name: &str, meaning: &str, zero: &Zero) -> Markup {
    let judgement = match (zero.sum, zero.untold) {
        (Some(1..), _) => Judgement::Fail,
        (Some(0), 0) => Judgement::Pass,
        _ => Judgement::Inconclusive,
    };
    html! {
        div class=(format!("zero {}", class(judgement))) {
            dt { (name) }
            dd {
                strong {
                    span class=(format!("mark {}", class(judgement))) {
                        span aria-hidden="true" { (words::glyph(judgement, true)) } " "
                        @match (zero.sum, zero.untold) { (Some(sum), _) => (count(sum)), (None, 1..) => "cannot be said", (None, 0) => "not put to the test" }
                    }
                }
                @let where_else = where_else(zero);
                @if !where_else.is_empty() { span { (where_else) } }
                @if !zero.found_in.is_empty() { span { "in " (run_links(&zero.found_in)) } }
                span { (meaning) }
            }
        }
    }
}

/// `in 5 runs; in 1 run it cannot be said; not put to the test in 2 runs`, as far as that says more than the number.
fn where_else(zero: &Zero) -> String {
    let is_partial = [zero.told, zero.untold, zero.untested]
        .iter()
        .filter(|number| **number > 0)
        .count()
        > 1;
    let part = |number: u64, before: &str, after: &str| {
        (is_partial && number > 0).then(|| format!("{before}in {}{after}", plural(number, "run")))
    };
    let parts = [
        part(zero.told, "", ""),
        part(zero.untold, "", " it cannot be said"),
        part(zero.untested, "not put to the test ", ""),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn noticed(notice: &Notice) -> Markup {
    let is_empty = notice.noticed.is_empty() && notice.unnoticed.is_empty() && notice.untold.is_empty();
    html! {
        section {
            h2 id="noticed" { "What customers would have noticed" }
            @if is_empty { p.note { "Nothing was run, so nothing can be said." } }
            @for noticed in &notice.noticed { (of_run(noticed)) }
            @let (nothing, but): (Vec<&Unnoticed>, Vec<&Unnoticed>) = notice.unnoticed.iter().partition(|unnoticed| unnoticed.but.is_empty());
            @if !nothing.is_empty() {
                p { "Nothing in " (run_links(&nothing.iter().map(|unnoticed| unnoticed.run.clone()).collect::<Vec<_>>())) "." }
            }
            @for unnoticed in but {
                p { "Nothing that can be told in " (run_link(&unnoticed.run)) "." @for sentence in &unnoticed.but { " " (clean(sentence)) } }
            }
            @if !notice.untold.is_empty() {
                p { "It cannot be said of " (run_links(&notice.untold)) ": too few customers came, the run did not come to its end, or its history is not there any more." }
            }
            @if !is_empty { p.note { (words::WHO_WAITS) } }
        }
    }
}

fn of_run(noticed: &Noticed) -> Markup {
    html! {
        h3.of-run {
            (run_link(&noticed.run))
            @if !noticed.broken.is_empty() { ": " (clean(&noticed.broken)) }
        }
        ul.noticed {
            @for sentence in &noticed.disrupted { li { (clean(sentence)) } }
            @if !noticed.besides.is_empty() { li { @for sentence in &noticed.besides { (clean(sentence)) " " } } }
        }
    }
}
