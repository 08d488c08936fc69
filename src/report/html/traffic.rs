//! The operations in numbers: before, while and after faults lasted.

use maud::{Markup, html};

use super::Page;
use super::charts::quantile;
use crate::event::{Event, LoadSummary};
use crate::report::series::{LoadSeries, OperationSeries, Tally};
use crate::report::text::{clean, count, duration, percent};
use crate::report::words;

pub(super) fn section(page: &Page<'_>, operations: &[OperationSeries], load: &LoadSeries) -> Markup {
    let summary = page.events.iter().find_map(|entry| match &entry.event {
        Event::LoadEnded(summary) => Some(summary),
        _ => None,
    });
    html! {
        section {
            h2 { "In numbers" }
            (table(page, operations))
            p.note { (generator(page, load, summary)) }
        }
    }
}

fn table(page: &Page<'_>, operations: &[OperationSeries]) -> Markup {
    let faulty = page.timeline.first_effect_ms.is_some();
    html! {
        div.wide tabindex="0" { table.numbers {
            thead { tr {
                th { "operation" } th { "asked" } th { "window" }
                th.number { "arrived" } th.number { "ok" } th.number { "fail" } th.number { "info" }
                th.number { "success" } th.number { "p50" } th.number { "p99" }
            } }
            @for series in operations {
                @let windows = windows(series, faulty);
                tbody {
                    @for (index, (window, tally)) in windows.iter().enumerate() {
                        tr {
                            @if index == 0 {
                                th scope="rowgroup" rowspan=(windows.len()) { (clean(&series.operation)) }
                                td rowspan=(windows.len()) { (asked(page, &series.operation)) }
                            }
                            td { (window) }
                            (numbers(tally))
                        }
                    }
                }
            }
        } }
    }
}

fn windows(series: &OperationSeries, faulty: bool) -> Vec<(&'static str, Tally)> {
    if !faulty {
        return vec![("whole run", series.whole.clone())];
    }
    vec![
        ("before faults", series.before.clone()),
        ("while faults last", series.during.clone().unwrap_or_default()),
        ("after the last heal", series.after.clone().unwrap_or_default()),
    ]
}

fn asked(page: &Page<'_>, operation: &str) -> String {
    let rate = page.plan.workload.rates.get(operation);
    rate.map_or_else(|| "–".to_owned(), words::rate)
}

fn numbers(tally: &Tally) -> Markup {
    let counts = &tally.counts;
    html! {
        td.number { (count(counts.total())) }
        td.number { (count(counts.ok)) }
        td.number { (count(counts.fail)) }
        td.number { (count(counts.info)) }
        td.number { @if counts.total() > 0 { (percent(counts.ok, counts.total())) } @else { "–" } }
        td.number { (quantile(tally.p50_ms)) }
        td.number { (quantile(tally.p99_ms)) }
    }
}

fn generator(page: &Page<'_>, load: &LoadSeries, summary: Option<&LoadSummary>) -> String {
    let arrivals = words::arrivals(page.plan.workload.arrivals);
    let lag = summary.map_or_else(String::new, |summary| {
        format!(
            " The generator itself sent {} late at p99 and {} at worst.",
            duration(summary.lag_p99_us as f64 / 1_000.0),
            duration(summary.lag_max_us as f64 / 1_000.0)
        )
    });
    let dropped: u64 = load.dropped.iter().sum();
    format!(
        "A quantile is \"not ok\" where it lies among operations that did not end ok. Arrivals are {arrivals}; {} found the in-flight cap full and count as fail.{lag}",
        count(dropped)
    )
}
