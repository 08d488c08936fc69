//! What was tried on what: a table for each system, a cell for each kind of fault.

use maud::{Markup, html};

use super::summary::mark;
use super::{date, wide};
use crate::report::campaign::model::{CoverageCell, CoverageRow, Page, SystemCoverage};
use crate::report::text::{clean, plural};
use crate::report::words;

pub(super) fn section(page: &Page) -> Markup {
    let days = page.stale_after_ms / 86_400_000;
    let age = match days {
        0 => plural(page.stale_after_ms / 3_600_000, "hour"),
        days => plural(days, "day"),
    };
    html! {
        section {
            h2 id="coverage" { "What was tried, and when" }
            @if page.coverage.is_empty() {
                p.note { "Nothing was tried." }
            } @else {
                p.note {
                    "A cell tells the worst of its runs, never an average. " strong { "Proof missing" } ": nobody has shown, by "
                    code { "nightmail prove" } " on the file as it is, that the experiment can fail. " strong { "Old" }
                    ": the last run is older than " (age) ". A business service has failed where it exceeded its impact tolerance, or an assertion on one of its operations did not hold; what else failed in the run is not held against it."
                }
                @for system in &page.coverage { (of_system(system, &age)) }
            }
        }
    }
}

fn of_system(system: &SystemCoverage, age: &str) -> Markup {
    let columns = system.kinds.len() + 1;
    html! {
        h3 { (clean(&system.title)) }
        @if system.kinds.is_empty() {
            p.note { "No fault was tried on it." }
        } @else {
            (wide(&format!("What was tried on {}", clean(&system.system)), html! { table.cells {
                thead { tr { th { "what" } @for kind in &system.kinds { th { (clean(kind)) } } } }
                tbody {
                    @if !system.business.is_empty() {
                        tr.head { th colspan=(columns) { "Business services, while it happened anywhere in the system" } }
                        @for row in &system.business { (one(row, age)) }
                    }
                    tr.head { th colspan=(columns) { "Compose services, where it happened to them or between them" } }
                    @for row in &system.services { (one(row, age)) }
                }
            } }))
        }
        p.note { "Never tried on it: " (clean(&system.untried_kinds.join(", "))) "." }
    }
}

fn one(row: &CoverageRow, age: &str) -> Markup {
    html! {
        tr {
            th scope="row" { (clean(if row.title.is_empty() { &row.service } else { &row.title })) }
            @for cell in &row.cells {
                @match cell {
                    Some(cell) => (tried(cell, age)),
                    None => td.untried { "never tried" },
                }
            }
        }
    }
}

fn tried(cell: &CoverageCell, age: &str) -> Markup {
    html! {
        td {
            (mark(cell.verdict, words::tried(cell.verdict)))
            br; (plural(cell.runs, "run")) ", " (date(cell.last_unix_ms))
            @if cell.held_in_failed > 0 { br; "held in " (plural(cell.held_in_failed, "run")) " that failed by something else" }
            @if cell.is_stale { br; strong { "old: over " (age) } }
            @match cell.unproven.as_slice() {
                [] => {}
                [experiment] => { br; strong { "proof missing" } " for " (clean(experiment)) }
                experiments => { br; strong { "proof missing" } " for " (plural(experiments.len() as u64, "experiment")) }
            }
        }
    }
}
