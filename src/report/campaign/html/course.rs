//! A run over time: three drawings on one axis, and the same in a table.

use std::fmt::Write;

use maud::{Markup, html};

use super::wide;
use crate::report::campaign::course::{Course, GaugeCourse, LoadCourse, OperationCourse};
use crate::report::html::charts::{Decades, legend};
use crate::report::html::timeline::{self, Rows};
use crate::report::svg::{self, AXIS_HEIGHT, LEFT, Plot, RIGHT, TimeAxis, n, nice_ceiling};
use crate::report::text::{clean, count, duration, instant, list, percent_of, shorten, trim};
use crate::system::definition::Unit;
use crate::verdict::Stretch;

/// Room above a lane for its name.
const NAME: f64 = 17.0;
const SUCCESS: f64 = 24.0;
/// Where a quantile lies that was never served.
const UNSERVED: f64 = 6.0;
const LATENCY: f64 = 40.0;
const GAUGE: f64 = 32.0;
const LOAD: f64 = 36.0;
/// Between what belongs together.
const GAP: f64 = 4.0;
/// Operations in one drawing: of so few a sheet of paper holds several drawings.
const OPERATIONS_MAX: usize = 4;
/// Stretches of bad time drawn of one operation.
const STRETCHES_MAX: usize = 40;
/// Columns of the table.
const SLICES: usize = 10;

const OPERATIONS_EXPLAINED: &str = "Above: share of arrivals that were served, by intended time; crossed: disrupted, by its \
     business service's tolerance. Below: median and 99th percentile (dashed) of the latency, log scale; in the shaded strip where it \
     lies among those who were not served. ";

/// The drawings and the table of a run, whose number makes their names differ from those of other runs.
pub(super) fn figures(number: usize, course: &Course) -> Markup {
    let (changing, unchanged): (Vec<&GaugeCourse>, Vec<&GaugeCourse>) =
        course.gauges.iter().partition(|gauge| gauge.unchanged().is_none());
    html! {
        (run(number, course))
        @for (index, operations) in course.operations.chunks(OPERATIONS_MAX).enumerate() {
            (operations_figure(&format!("run-{number}-operations-{index}"), course, operations, index == 0))
        }
        @if !changing.is_empty() { (gauges_figure(&format!("run-{number}-gauges"), course, &changing)) }
        @if !unchanged.is_empty() { p.note { "Never changed: " (still(&unchanged)) "." } }
        (table(course))
    }
}

fn figure(drawing: Markup, caption: &str) -> Markup {
    html! {
        figure tabindex="0" {
            (drawing)
            figcaption { (caption) }
        }
    }
}

fn run(number: usize, course: &Course) -> Markup {
    let timeline = &course.timeline;
    let rows = Rows::new(timeline, &course.recovery, &[]);
    let time = TimeAxis::new(timeline);
    let head = Plot {
        time,
        top: 4.0,
        height: rows.height(),
    };
    let load = Plot {
        time,
        top: head.bottom() + NAME + GAP,
        height: LOAD,
    };
    let per_s = |number: u64| number as f64 * 1_000.0 / course.load.bin_ms as f64;
    let peak_per_s = course.load.arrived.iter().copied().max().map_or(0.0, per_s);
    let content = html! {
        (rows.draw(&head))
        path.ground d=(frame(&load)) {}
        (load.fault_bands_unlabelled(timeline))
        (arrivals(&load, course, nice_ceiling(peak_per_s)))
        (load.time_labels())
    };
    let mut told = timeline::told(timeline);
    told.push(format!("Up to {} arrivals per second.", trim(peak_per_s, 0)));
    let drawing = svg::drawing(
        &format!("run-{number}-course"),
        load.bottom() + AXIS_HEIGHT,
        "The run on one time axis: phases, faults, disruption and arrivals",
        &told.join(" "),
        content,
    );
    figure(
        drawing,
        "Hatched: a fault in force, from its measured effect to its measured heal; the dotted line is the moment of recovery.",
    )
}

fn arrivals(plot: &Plot, course: &Course, max_per_s: f64) -> Markup {
    let LoadCourse {
        bin_ms,
        arrived,
        dropped,
    } = &course.load;
    let y = |number: u64| plot.y(number as f64 * 1_000.0 / *bin_ms as f64 / max_per_s);
    html! {
        (lane(plot, &[(0.0, "0".to_owned()), (1.0, format!("{}/s", trim(max_per_s, 0)))]))
        path.arrivals d=(steps(plot, *bin_ms, arrived.iter().map(|&number| Some(y(number))))) {}
        path.dropped d=(steps(plot, *bin_ms, dropped.iter().map(|&number| (number > 0).then(|| y(number))))) {}
        (name(plot.top - 5.0, "arrivals per second", ""))
        (legend(plot.top - 5.0, &[("arrivals", "arrived"), ("dropped", "dropped")]))
    }
}

/// A lane's frame with the labels of a few heights. It is empty: the bands of faults lie behind all lanes of a drawing.
fn lane(plot: &Plot, labels: &[(f64, String)]) -> Markup {
    html! {
        path.lane d=(frame(plot)) {}
        @for (share, label) in labels {
            text.lane-tick x=(n(LEFT - 6.0)) y=(whole(plot.y(*share) + if *share < 0.5 { 1.0 } else { 8.0 })) { (label) }
        }
    }
}

fn frame(plot: &Plot) -> String {
    let (top, bottom) = (whole(plot.top), whole(plot.bottom()));
    format!("M{} {top}H{}V{bottom}H{}z", whole(LEFT), whole(RIGHT), whole(LEFT))
}

/// The faults behind all lanes of a drawing.
fn bands(course: &Course, plot: &Plot) -> Markup {
    html! {
        path.ground d=(frame(plot)) {}
        @match course.timeline.faults.len() {
            0 | 1 => (plot.fault_bands_unlabelled(&course.timeline)),
            // Which is which.
            _ => (plot.fault_bands(&course.timeline)),
        }
    }
}

/// A coordinate in whole units: finer than that nobody sees, and twenty runs are many.
fn whole(number: f64) -> i64 {
    number.round() as i64
}

/// A lane's name, and what it is.
fn name(y: f64, name: &str, title: &str) -> Markup {
    let (name, title) = (shorten(&clean(name), 60), shorten(&clean(title), 70));
    html! {
        text.lane-label x=(n(LEFT)) y=(whole(y)) { (name) @if !title.is_empty() { tspan dx="8" { (title) } } }
    }
}

/// A line of steps over bins: each height holds for its bin, a missing one is a gap.
fn steps(plot: &Plot, bin_ms: u64, heights: impl Iterator<Item = Option<f64>>) -> String {
    let mut path = String::new();
    // The pen, and how far the level reaches that is not drawn yet.
    let mut pen: Option<(i64, i64)> = None;
    let mut reach = 0;
    for (index, height) in heights.enumerate() {
        let from_ms = (index as u64 * bin_ms) as f64;
        let (from, to) = (whole(plot.time.x(from_ms)), whole(plot.time.x(from_ms + bin_ms as f64)));
        match (pen, height.map(whole)) {
            (Some((_, level)), Some(y)) if level == y => {}
            (Some((x, level)), Some(y)) => {
                let _ = write!(path, "h{}v{}", from - x, y - level);
                pen = Some((from, y));
            }
            (Some((x, _)), None) => {
                let _ = write!(path, "h{}", from - x);
                pen = None;
            }
            (None, Some(y)) => {
                let _ = write!(path, "M{from} {y}");
                pen = Some((from, y));
            }
            (None, None) => {}
        }
        reach = to;
    }
    if let Some((x, _)) = pen {
        let _ = write!(path, "h{}", reach - x);
    }
    path
}

fn operations_figure(id: &str, course: &Course, operations: &[OperationCourse], is_explained: bool) -> Markup {
    const EACH: f64 = NAME + SUCCESS + GAP + UNSERVED + LATENCY + GAP;
    let time = TimeAxis::new(&course.timeline);
    let all = Plot {
        time,
        top: 4.0,
        height: EACH * operations.len() as f64,
    };
    let content = html! {
        (bands(course, &all))
        @for (index, operation) in operations.iter().enumerate() {
            (operation_lanes(operation, time, all.top + EACH * index as f64 + NAME))
        }
        (all.time_labels())
    };
    let told: Vec<String> = operations.iter().map(describe).collect();
    let title = "Success and latency of each operation";
    let drawing = svg::drawing(id, all.bottom() + AXIS_HEIGHT, title, &told.join(" "), content);
    let widths = widths(operations.iter().map(|operation| operation.bin_ms));
    let explained = match is_explained {
        true => OPERATIONS_EXPLAINED,
        false => "",
    };
    let caption = format!("{explained}Bins of {widths}.");
    figure(drawing, &caption)
}

fn widths(widths_ms: impl Iterator<Item = u64>) -> String {
    let mut widths: Vec<u64> = widths_ms.collect();
    widths.sort_unstable();
    widths.dedup();
    let widths: Vec<String> = widths.into_iter().map(|ms| duration(ms as f64)).collect();
    list(&widths)
}

fn operation_lanes(operation: &OperationCourse, time: TimeAxis, top: f64) -> Markup {
    let success = Plot {
        time,
        top,
        height: SUCCESS,
    };
    let latency = Plot {
        time,
        top: success.bottom() + GAP + UNSERVED,
        height: LATENCY,
    };
    let bins = 0..operation.arrived.len();
    let percents = bins.map(|bin| operation.ok_percent(bin).map(|percent| success.y(percent / 100.0)));
    html! {
        (lane(&success, &[(0.0, "0 %".to_owned()), (1.0, "100 %".to_owned())]))
        @for stretch in operation.disrupted.iter().take(STRETCHES_MAX) { (bad_time(&success, stretch)) }
        (latency_lane(&latency, operation))
        path.success d=(steps(&success, operation.bin_ms, percents)) {}
        (latency_lines(&latency, operation))
        (name(top - 5.0, &operation.operation, &operation.title))
    }
}

fn bad_time(plot: &Plot, stretch: &Stretch) -> Markup {
    let (from, to) = (plot.time.x(stretch.from_ms), plot.time.x(stretch.to_ms));
    html! { rect.degraded x=(n(from)) y=(n(plot.top)) width=(n((to - from).max(1.0))) height=(n(plot.height)) {} }
}

/// The scale of an operation's latencies.
fn decades(operation: &OperationCourse) -> Decades {
    Decades::of(operation.p50_ms.iter().chain(&operation.p99_ms).flatten().copied())
}

fn latency_lane(plot: &Plot, operation: &OperationCourse) -> Markup {
    let grid = decades(operation).grid();
    let strip = Plot {
        top: plot.top - UNSERVED,
        height: UNSERVED,
        ..*plot
    };
    let inner = grid.iter().skip(1).take(grid.len().saturating_sub(2));
    let lines: Vec<String> = inner
        .map(|(share, _)| format!("M{} {}H{}", whole(LEFT), whole(plot.y(*share)), whole(RIGHT)))
        .collect();
    let ends: Vec<(f64, String)> = grid.first().into_iter().chain(grid.last()).cloned().collect();
    html! {
        path.unserved d=(frame(&strip)) {}
        (lane(plot, &ends))
        path.grid d=(lines.concat()) {}
    }
}

fn latency_lines(plot: &Plot, operation: &OperationCourse) -> Markup {
    let decades = decades(operation);
    let line = |quantile_ms: &[Option<f64>]| {
        let heights = quantile_ms
            .iter()
            .zip(&operation.arrived)
            .map(|(quantile, &arrived)| match quantile {
                Some(ms) => Some(plot.y(decades.share(*ms))),
                None if arrived > 0 => Some(plot.top - UNSERVED / 2.0),
                None => None,
            });
        steps(plot, operation.bin_ms, heights)
    };
    html! {
        path.p50 d=(line(&operation.p50_ms)) {}
        path.p99 d=(line(&operation.p99_ms)) {}
    }
}

fn describe(operation: &OperationCourse) -> String {
    let (arrived, ok): (u64, u64) = (operation.arrived.iter().sum(), operation.ok.iter().sum());
    let percents = (0..operation.arrived.len()).filter_map(|bin| Some((bin, operation.ok_percent(bin)?)));
    let lowest = percents.min_by(|one, other| one.1.total_cmp(&other.1));
    let lowest = lowest.map_or_else(String::new, |(bin, percent)| {
        let from = instant((bin as u64 * operation.bin_ms) as f64);
        format!(" The lowest bin has {} and starts at {from}.", percent_of(percent))
    });
    format!(
        "{}: {} arrivals, {} served.{lowest}",
        clean(&operation.operation),
        count(arrived),
        count(ok)
    )
}

fn gauges_figure(id: &str, course: &Course, gauges: &[&GaugeCourse]) -> Markup {
    const EACH: f64 = NAME + GAUGE + GAP;
    let time = TimeAxis::new(&course.timeline);
    let all = Plot {
        time,
        top: 4.0,
        height: EACH * gauges.len() as f64,
    };
    let content = html! {
        (bands(course, &all))
        @for (index, gauge) in gauges.iter().enumerate() {
            @let plot = Plot { time, top: all.top + EACH * index as f64 + NAME, height: GAUGE };
            (gauge_lane(&plot, gauge))
        }
        (all.time_labels())
    };
    let told = |gauge: &&GaugeCourse| match gauge.peak() {
        Some(peak) => format!("{}: at most {}.", clean(&gauge.metric), reading(gauge.unit, peak)),
        None => format!("{}: no reading could be had.", clean(&gauge.metric)),
    };
    let told: Vec<String> = gauges.iter().map(told).collect();
    let drawing = svg::drawing(
        id,
        all.bottom() + AXIS_HEIGHT,
        "Backlogs and gauges",
        &told.join(" "),
        content,
    );
    let widths = widths(gauges.iter().map(|gauge| gauge.bin_ms));
    figure(
        drawing,
        &format!("Backlogs first. The greatest reading of each {widths}; a gap where none could be had."),
    )
}

fn gauge_lane(plot: &Plot, gauge: &GaugeCourse) -> Markup {
    let max = nice_ceiling(gauge.peak().unwrap_or(0.0));
    let heights = gauge
        .greatest
        .iter()
        .map(|reading| reading.map(|value| plot.y(value / max)));
    let what = match gauge.is_backlog {
        true => format!("{} (backlog)", gauge.metric),
        false => gauge.metric.clone(),
    };
    html! {
        (lane(plot, &[(0.0, "0".to_owned()), (1.0, reading(gauge.unit, max))]))
        path.gauge d=(steps(plot, gauge.bin_ms, heights)) {}
        (name(plot.top - 5.0, &what, &gauge.title))
    }
}

fn reading(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Ms => duration(value),
        Unit::Count => trim(value, 2),
    }
}

fn still(gauges: &[&GaugeCourse]) -> String {
    let gauges: Vec<String> = gauges
        .iter()
        .map(|gauge| {
            let value = gauge
                .unchanged()
                .map_or_else(String::new, |value| reading(gauge.unit, value));
            format!("{} at {value}", clean(&gauge.metric))
        })
        .collect();
    list(&gauges)
}

/// What is drawn, in numbers: for those who do not see it, and for who wants to know how much it was.
fn table(course: &Course) -> Markup {
    let end_ms = course.timeline.end_ms;
    let from_ms = |slice: usize| end_ms * slice as f64 / SLICES as f64;
    html! {
        details {
            summary { "The same in numbers" }
            (wide("The run in numbers", html! { table.data {
                caption.note { "Of an operation: share served, median, 99th percentile of the worst bin. Of a gauge: the greatest reading. Columns begin at so many seconds." }
                thead { tr {
                    th {}
                    @for slice in 0..SLICES { th { (trim(from_ms(slice) / 1_000.0, 1)) } }
                } }
                tbody {
                    @for operation in &course.operations {
                        tr { th scope="row" { (clean(&operation.operation)) } @for slice in 0..SLICES { td { (slice_of_operation(operation, slice, end_ms)) } } }
                    }
                    @for gauge in &course.gauges {
                        tr { th scope="row" { (clean(&gauge.metric)) } @for slice in 0..SLICES { td { (slice_of_gauge(gauge, slice, end_ms)) } } }
                    }
                }
            } }))
        }
    }
}

/// The bins that begin within a slice.
fn bins(slice: usize, end_ms: f64, bin_ms: u64, count: usize) -> std::ops::Range<usize> {
    let first = |slice: usize| (end_ms * slice as f64 / SLICES as f64 / bin_ms as f64).ceil() as usize;
    let end = if slice + 1 == SLICES { count } else { first(slice + 1) };
    first(slice).min(count)..end.min(count)
}

fn slice_of_operation(operation: &OperationCourse, slice: usize, end_ms: f64) -> String {
    let bins = bins(slice, end_ms, operation.bin_ms, operation.arrived.len());
    let (arrived, ok): (u64, u64) = (
        operation.arrived[bins.clone()].iter().sum(),
        operation.ok[bins.clone()].iter().sum(),
    );
    if arrived == 0 {
        return "–".to_owned();
    }
    let worst = |quantile_ms: &[Option<f64>]| {
        let mut worst_ms = 0.0_f64;
        for bin in bins.clone().filter(|&bin| operation.arrived[bin] > 0) {
            match quantile_ms[bin] {
                Some(ms) => worst_ms = worst_ms.max(ms),
                None => return "not served".to_owned(),
            }
        }
        duration(worst_ms)
    };
    let served = percent_of(ok as f64 / arrived as f64 * 100.0);
    format!("{served}, {}, {}", worst(&operation.p50_ms), worst(&operation.p99_ms))
}

fn slice_of_gauge(gauge: &GaugeCourse, slice: usize, end_ms: f64) -> String {
    let bins = bins(slice, end_ms, gauge.bin_ms, gauge.greatest.len());
    let greatest = gauge.greatest[bins].iter().flatten().copied().reduce(f64::max);
    greatest.map_or_else(|| "–".to_owned(), |value| reading(gauge.unit, value))
}
