//! The load as a whole, and the gauges.

use maud::{Markup, html};

use super::Page;
use super::charts::{GAP, TITLE, binned, bound_line, legend, probes_of};
use crate::plan::Measure;
use crate::report::series::{GaugeSeries, LoadSeries};
use crate::report::svg::{self, AXIS_HEIGHT, LEFT, Plot, TimeAxis, n, nice_ceiling};
use crate::report::text::{clean, count, duration, trim};
use crate::system::definition::Unit;

const SMALL_HEIGHT: f64 = 84.0;

pub(super) fn load(page: &Page<'_>, series: &LoadSeries) -> Markup {
    let time = TimeAxis::new(page.timeline);
    let arrivals = Plot {
        time,
        top: TITLE,
        height: SMALL_HEIGHT,
    };
    let in_flight = Plot {
        time,
        top: arrivals.bottom() + GAP,
        height: SMALL_HEIGHT,
    };
    let per_s = |number: u64| number as f64 * 1_000.0 / series.bin_ms as f64;
    let rate_max = nice_ceiling(series.arrivals.iter().copied().max().map_or(0.0, per_s));
    let flight_max = nice_ceiling(series.in_flight.iter().copied().max().unwrap_or(0) as f64);
    let curve = |plot: &Plot, values: &[u64], scale: &dyn Fn(u64) -> Option<f64>| {
        svg::steps(binned(plot, series.bin_ms, values, |&value| {
            scale(value).map(|share| plot.y(share))
        }))
    };
    let dropped: u64 = series.dropped.iter().sum();
    let content = html! {
        (arrivals.frame(&grid(rate_max, "/s")))
        (arrivals.fault_bands(page.timeline))
        path.arrivals d=(curve(&arrivals, &series.arrivals, &|value| Some(per_s(value) / rate_max))) {}
        path.dropped d=(curve(&arrivals, &series.dropped, &|value| (value > 0).then(|| per_s(value) / rate_max))) {}
        text.plot-title x=(n(LEFT)) y=(n(arrivals.top - 8.0)) { "arrivals per second, all operations" }
        (legend(arrivals.top - 8.0, &[("arrivals", "arrived"), ("dropped", "dropped")]))
        (in_flight.frame(&grid(flight_max, "")))
        (in_flight.fault_bands(page.timeline))
        path.in-flight d=(curve(&in_flight, &series.in_flight, &|value| Some(value as f64 / flight_max))) {}
        text.plot-title x=(n(LEFT)) y=(n(in_flight.top - 8.0)) { "operations in flight at the end of each bin" }
        (in_flight.time_labels())
    };
    let description = format!(
        "Up to {} arrivals per second and {} operations in flight. {} arrivals were dropped.",
        trim(series.arrivals.iter().copied().max().map_or(0.0, per_s), 0),
        count(series.in_flight.iter().copied().max().unwrap_or(0)),
        count(dropped)
    );
    html! {
        section {
            h2 { "The load" }
            figure tabindex="0" {
                (svg::drawing("load", in_flight.bottom() + AXIS_HEIGHT, "Arrivals and operations in flight", &description, content))
                figcaption {
                    "Open loop: arrivals do not wait for answers. Bins of " (duration(series.bin_ms as f64)) ". At most "
                    (count(page.plan.workload.in_flight_max as u64)) " operations in flight; an arrival beyond that is dropped and "
                    "counts as the system's failure. " (count(dropped)) " were dropped."
                }
            }
        }
    }
}

/// Nothing, half and all of a scale.
fn grid(max: f64, unit: &str) -> Vec<(f64, String)> {
    [0.0, 0.5, 1.0]
        .map(|share| (share, format!("{}{unit}", trim(max * share, 2))))
        .into()
}

pub(super) fn gauges(page: &Page<'_>, gauges: &[GaugeSeries]) -> Markup {
    html! {
        @if !gauges.is_empty() {
            section {
                h2 { "Gauges" }
                @for (index, series) in gauges.iter().enumerate() { (gauge(page, index, series)) }
            }
        }
    }
}

fn gauge(page: &Page<'_>, index: usize, series: &GaugeSeries) -> Markup {
    let definition = page.plan.system.metrics.get(&series.metric);
    let unit = match definition.map(|definition| definition.unit) {
        Some(Unit::Ms) => " ms",
        _ => "",
    };
    let bounds = probes_of(
        page,
        |measure| matches!(measure, Measure::Metric { metric, .. } if *metric == series.metric),
    );
    let greatest = bounds
        .iter()
        .map(|probe| probe.tolerance.value)
        .chain(series.max)
        .fold(0.0, f64::max);
    let max = nice_ceiling(greatest);
    let plot = Plot {
        time: TimeAxis::new(page.timeline),
        top: TITLE,
        height: SMALL_HEIGHT,
    };
    let line = series
        .points
        .iter()
        .map(|&(at_ms, value)| (plot.time.x(at_ms), value.map(|value| plot.y(value / max))));
    let drained = page
        .plan
        .system
        .backlogs
        .iter()
        .find(|backlog| backlog.metric == series.metric);
    let name = clean(&series.metric);
    let content = html! {
        (plot.frame(&grid(max, unit)))
        (plot.fault_bands(page.timeline))
        @for probe in bounds { (bound_line(page, &plot, plot.y(probe.tolerance.value / max), probe)) }
        path.gauge d=(svg::polyline(line)) {}
        text.plot-title x=(n(LEFT)) y=(n(plot.top - 8.0)) { (name) }
        (plot.time_labels())
    };
    let missing = series.points.iter().filter(|(_, value)| value.is_none()).count() as u64;
    let description = match series.max {
        Some(max) => format!(
            "{} readings, at most {}{unit}.",
            count(series.points.len() as u64),
            trim(max, 2)
        ),
        None => "No reading could be had.".to_owned(),
    };
    html! {
        figure tabindex="0" {
            h3 { (name) @if let Some(definition) = definition { @if !definition.title.is_empty() { ": " (clean(&definition.title)) } } }
            (svg::drawing(&format!("gauge-{index}"), plot.bottom() + AXIS_HEIGHT, &format!("Gauge {name}"), &description, content))
            figcaption {
                (description)
                @if series.readings_per_point > 1 { " Each point is the greatest of " (series.readings_per_point) " readings." }
                @if missing > 0 { " Gaps: " (count(missing)) " points without a reading; a failed reading is no zero." }
                @if let Some(backlog) = drained {
                    " A backlog: under load it counts as drained at " (trim(backlog.drained, 2)) " or below."
                }
            }
        }
    }
}
