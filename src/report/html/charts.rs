//! The curves: success and latency of each operation, the load, the gauges.

use maud::{Markup, html};

use super::Page;
use crate::plan::{Measure, Probe};
use crate::report::series::{GaugeSeries, LoadSeries, OperationSeries, Tally};
use crate::report::svg::{self, AXIS_HEIGHT, LEFT, Plot, RIGHT, TimeAxis, n, nice_ceiling};
use crate::report::text::{clean, count, duration, instant, percent_of, trim};
use crate::report::words;
use crate::system::definition::Unit;

const SUCCESS_HEIGHT: f64 = 92.0;
const LATENCY_HEIGHT: f64 = 120.0;
/// Above the latencies: where a quantile lies that was never served.
const UNSERVED_HEIGHT: f64 = 16.0;
const SMALL_HEIGHT: f64 = 84.0;
/// Between two plots of a drawing.
const GAP: f64 = 30.0;
/// Room above a plot for its title.
const TITLE: f64 = 24.0;

pub(super) fn operations(page: &Page<'_>, operations: &[OperationSeries]) -> Markup {
    html! {
        section {
            h2 { "What customers got" }
            @for (index, operation) in operations.iter().enumerate() { (one(page, index, operation)) }
        }
    }
}

fn one(page: &Page<'_>, index: usize, series: &OperationSeries) -> Markup {
    let time = TimeAxis::new(page.timeline);
    let success = Plot {
        time,
        top: TITLE,
        height: SUCCESS_HEIGHT,
    };
    let latency = Plot {
        time,
        top: success.bottom() + GAP + UNSERVED_HEIGHT,
        height: LATENCY_HEIGHT,
    };
    let content = html! {
        (success_plot(page, &success, series))
        (latency_plot(page, &latency, series))
        (latency.time_labels())
    };
    let name = clean(&series.operation);
    let definition = page.plan.system.operations.get(&series.operation);
    html! {
        figure {
            h3 { (name) @if let Some(definition) = definition { @if !definition.title.is_empty() { ": " (clean(&definition.title)) } } }
            (svg::drawing(
                &format!("operation-{index}"),
                latency.bottom() + AXIS_HEIGHT,
                &format!("Success rate and latency of {name}"),
                &describe(series),
                content,
            ))
            figcaption {
                "Bins of " (duration(series.bin_ms as f64)) " by intended time, "
                (trim(series.whole.counts.total() as f64 / series.bins.len() as f64, 1)) " arrivals a bin on average. "
                "A quantile among operations that did not end ok is drawn in the strip \"not ok\": whoever was not served waited longest."
            }
        }
    }
}

fn describe(series: &OperationSeries) -> String {
    let whole = &series.whole;
    let lowest = series
        .bins
        .iter()
        .enumerate()
        .filter_map(|(bin, tally)| Some((bin, tally.counts.ok_percent()?)))
        .min_by(|a, b| a.1.total_cmp(&b.1));
    let lowest = lowest.map_or_else(String::new, |(bin, percent)| {
        let from = instant((bin as u64 * series.bin_ms) as f64);
        format!(" The lowest bin has {} and starts at {from}.", percent_of(percent))
    });
    format!(
        "{} arrivals, {} of them ok.{lowest} Over the whole run p50 is {} and p99 is {}.",
        count(whole.counts.total()),
        whole.counts.ok_percent().map_or_else(|| "none".to_owned(), percent_of),
        quantile(whole.p50_ms),
        quantile(whole.p99_ms)
    )
}

/// A quantile in words.
pub(super) fn quantile(ms: Option<f64>) -> String {
    match ms {
        None => "–".to_owned(),
        Some(ms) if ms.is_infinite() => "not ok".to_owned(),
        Some(ms) => duration(ms),
    }
}

/// Each bin's start and end on the page with a value of it.
fn binned<'a, T>(
    plot: &'a Plot,
    bin_ms: u64,
    bins: &'a [T],
    y: impl Fn(&T) -> Option<f64> + 'a,
) -> impl Iterator<Item = (f64, f64, Option<f64>)> + 'a {
    bins.iter().enumerate().map(move |(index, bin)| {
        let from_ms = (index as u64 * bin_ms) as f64;
        (plot.time.x(from_ms), plot.time.x(from_ms + bin_ms as f64), y(bin))
    })
}

fn success_plot(page: &Page<'_>, plot: &Plot, series: &OperationSeries) -> Markup {
    let grid: Vec<(f64, String)> = [0, 50, 100]
        .map(|percent| (f64::from(percent) / 100.0, format!("{percent} %")))
        .into();
    let line = binned(plot, series.bin_ms, &series.bins, |tally| {
        tally.counts.ok_percent().map(|percent| plot.y(percent / 100.0))
    });
    html! {
        (plot.frame(&grid))
        (plot.fault_bands(page.timeline))
        @for probe in probes_of(page, |measure| matches!(measure, Measure::SuccessRate { operation } if *operation == series.operation)) {
            (bound_line(page, plot, plot.y(probe.tolerance.value / 100.0), probe))
        }
        path.success d=(svg::steps(line)) {}
        text.plot-title x=(n(LEFT)) y=(n(plot.top - 8.0)) { "success rate, % of arrivals that ended ok" }
    }
}

/// The gate's probes of some measure: the bounds to draw.
fn probes_of<'a>(page: &'a Page<'_>, wanted: impl Fn(&Measure) -> bool) -> Vec<&'a Probe> {
    page.plan
        .gate
        .probes
        .iter()
        .filter(|probe| wanted(&probe.measure))
        .collect()
}

fn bound_line(page: &Page<'_>, plot: &Plot, y: f64, probe: &Probe) -> Markup {
    html! {
        line.bound x1=(n(LEFT)) x2=(n(RIGHT)) y1=(n(y)) y2=(n(y)) {
            title { (clean(&probe.name)) ": " (words::bound(page.plan, probe)) }
        }
        // Below the line where there is no room above it.
        @let label_y = if y - plot.top < 14.0 { y + 13.0 } else { y - 4.0 };
        text.bound-label x=(n(RIGHT - 4.0)) y=(n(label_y)) text-anchor="end" { (words::bound(page.plan, probe)) }
    }
}

/// A logarithmic scale in whole decades.
struct Decades {
    /// Powers of ten, of milliseconds.
    from: i32,
    to: i32,
}

impl Decades {
    fn of(values_ms: impl Iterator<Item = f64>) -> Self {
        let (mut least, mut greatest) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values_ms.filter(|value| value.is_finite()) {
            let value = value.max(0.01);
            least = least.min(value);
            greatest = greatest.max(value);
        }
        if !least.is_finite() {
            return Self { from: 0, to: 3 };
        }
        let from = least.log10().floor() as i32;
        Self {
            from,
            to: (greatest.log10().ceil() as i32).max(from + 1),
        }
    }

    fn share(&self, ms: f64) -> f64 {
        (ms.max(0.001).log10() - f64::from(self.from)) / f64::from(self.to - self.from)
    }

    fn grid(&self) -> Vec<(f64, String)> {
        (self.from..=self.to)
            .map(|power| {
                let ms = 10f64.powi(power);
                let label = if power >= 3 {
                    format!("{} s", ms / 1_000.0)
                } else {
                    format!("{ms} ms")
                };
                (self.share(ms), label)
            })
            .collect()
    }
}

fn latency_plot(page: &Page<'_>, plot: &Plot, series: &OperationSeries) -> Markup {
    let bounds = probes_of(
        page,
        |measure| matches!(measure, Measure::Latency { operation, .. } if *operation == series.operation),
    );
    let values = series
        .bins
        .iter()
        .flat_map(|tally| [tally.p50_ms, tally.p99_ms])
        .flatten();
    let decades = Decades::of(values.chain(bounds.iter().map(|probe| probe.tolerance.value)));
    let line = |of: fn(&Tally) -> Option<f64>| {
        let y = |ms: f64| match ms.is_infinite() {
            true => plot.top - UNSERVED_HEIGHT / 2.0,
            false => plot.y(decades.share(ms)),
        };
        svg::steps(binned(plot, series.bin_ms, &series.bins, |tally| of(tally).map(y)))
    };
    html! {
        rect.unserved x=(n(LEFT)) y=(n(plot.top - UNSERVED_HEIGHT)) width=(n(RIGHT - LEFT)) height=(n(UNSERVED_HEIGHT)) {}
        text.tick x=(n(LEFT - 8.0)) y=(n(plot.top - 5.0)) text-anchor="end" { "not ok" }
        (plot.frame(&decades.grid()))
        (plot.fault_bands(page.timeline))
        @for probe in bounds { (bound_line(page, plot, plot.y(decades.share(probe.tolerance.value)), probe)) }
        path.p99 d=(line(|tally| tally.p99_ms)) {}
        path.p50 d=(line(|tally| tally.p50_ms)) {}
        @let y = plot.top - UNSERVED_HEIGHT - 8.0;
        text.plot-title x=(n(LEFT)) y=(n(y)) { "latency from the intended time, log scale" }
        (legend(y, &[("p50", "p50 (median)"), ("p99", "p99")]))
    }
}

/// Samples of lines with their names, from the right.
fn legend(y: f64, entries: &[(&str, &str)]) -> Markup {
    const ENTRY: f64 = 150.0;
    html! {
        @for (index, (class, name)) in entries.iter().enumerate() {
            @let x = RIGHT - ENTRY * (entries.len() - index) as f64;
            line class=(class) x1=(n(x)) x2=(n(x + 34.0)) y1=(n(y - 4.0)) y2=(n(y - 4.0)) {}
            text.plot-title x=(n(x + 42.0)) y=(n(y)) { (name) }
        }
    }
}

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
    let curve = |plot: &Plot, values: &[u64], scale: &dyn Fn(u64) -> f64| {
        svg::steps(binned(plot, series.bin_ms, values, |&value| Some(plot.y(scale(value)))))
    };
    let dropped: u64 = series.dropped.iter().sum();
    let content = html! {
        (arrivals.frame(&grid(rate_max, "/s")))
        (arrivals.fault_bands(page.timeline))
        path.arrivals d=(curve(&arrivals, &series.arrivals, &|value| per_s(value) / rate_max)) {}
        path.dropped d=(curve(&arrivals, &series.dropped, &|value| per_s(value) / rate_max)) {}
        text.plot-title x=(n(LEFT)) y=(n(arrivals.top - 8.0)) { "arrivals per second, all operations" }
        (legend(arrivals.top - 8.0, &[("arrivals", "arrived"), ("dropped", "dropped")]))
        (in_flight.frame(&grid(flight_max, "")))
        (in_flight.fault_bands(page.timeline))
        path.in-flight d=(curve(&in_flight, &series.in_flight, &|value| value as f64 / flight_max)) {}
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
            figure {
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
        figure {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decades_hold_every_value() {
        let decades = Decades::of([0.5, 12.0, 2_300.0, f64::INFINITY].into_iter());
        assert_eq!((decades.from, decades.to), (-1, 4));
        assert_eq!(decades.share(10_000.0), 1.0);
        let labels: Vec<String> = decades.grid().into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["0.1 ms", "1 ms", "10 ms", "100 ms", "1 s", "10 s"]);
    }

    #[test]
    fn decades_of_nothing_are_a_scale_all_the_same() {
        let decades = Decades::of(std::iter::empty());
        assert_eq!(decades.grid().len(), 4);
    }
}
