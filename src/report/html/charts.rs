//! The curves of each operation: success and latency.

use maud::{Markup, html};

use super::Page;
use crate::plan::{Measure, Probe};
use crate::report::series::{OperationSeries, Tally};
use crate::report::svg::{self, AXIS_HEIGHT, LEFT, Plot, RIGHT, TimeAxis, n};
use crate::report::text::{clean, count, duration, instant, percent_of, trim};
use crate::report::words;

const SUCCESS_HEIGHT: f64 = 92.0;
const LATENCY_HEIGHT: f64 = 120.0;
/// Above the latencies: where a quantile lies that was never served.
const UNSERVED_HEIGHT: f64 = 14.0;
/// Between that strip and the latencies.
const UNSERVED_GAP: f64 = 8.0;
/// Between two plots of a drawing.
pub(super) const GAP: f64 = 30.0;
/// Room above a plot for its title.
pub(super) const TITLE: f64 = 24.0;

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
        top: success.bottom() + GAP + UNSERVED_HEIGHT + UNSERVED_GAP,
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
        figure tabindex="0" {
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
pub(super) fn binned<'a, T>(
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
pub(super) fn probes_of<'a>(page: &'a Page<'_>, wanted: impl Fn(&Measure) -> bool) -> Vec<&'a Probe> {
    page.plan
        .gate
        .probes
        .iter()
        .filter(|probe| wanted(&probe.measure))
        .collect()
}

pub(super) fn bound_line(page: &Page<'_>, plot: &Plot, y: f64, probe: &Probe) -> Markup {
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
pub(in crate::report) struct Decades {
    /// Powers of ten, of milliseconds.
    from: i32,
    to: i32,
}

impl Decades {
    /// A scale that holds these values.
    pub fn of(values_ms: impl Iterator<Item = f64>) -> Self {
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

    /// Where a value lies: 0 at the least decade, 1 at the greatest.
    pub fn share(&self, ms: f64) -> f64 {
        (ms.max(0.001).log10() - f64::from(self.from)) / f64::from(self.to - self.from)
    }

    /// Each decade, where it lies, and its name.
    pub fn grid(&self) -> Vec<(f64, String)> {
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
    let strip = plot.top - UNSERVED_GAP - UNSERVED_HEIGHT;
    let line = |of: fn(&Tally) -> Option<f64>| {
        let y = |ms: f64| match ms.is_infinite() {
            true => strip + UNSERVED_HEIGHT / 2.0,
            false => plot.y(decades.share(ms)),
        };
        svg::steps(binned(plot, series.bin_ms, &series.bins, |tally| of(tally).map(y)))
    };
    html! {
        rect.unserved x=(n(LEFT)) y=(n(strip)) width=(n(RIGHT - LEFT)) height=(n(UNSERVED_HEIGHT)) {}
        text.tick x=(n(LEFT - 8.0)) y=(n(strip + 11.0)) text-anchor="end" { "not ok" }
        (plot.frame(&decades.grid()))
        (plot.fault_bands(page.timeline))
        @for probe in bounds { (bound_line(page, plot, plot.y(decades.share(probe.tolerance.value)), probe)) }
        path.p50 d=(line(|tally| tally.p50_ms)) {}
        path.p99 d=(line(|tally| tally.p99_ms)) {}
        @let y = strip - 8.0;
        text.plot-title x=(n(LEFT)) y=(n(y)) { "latency from the intended time, log scale" }
        (legend(y, &[("p50", "p50 (median)"), ("p99", "p99")]))
    }
}

/// Samples of lines with their names, from the right.
pub(in crate::report) fn legend(y: f64, entries: &[(&str, &str)]) -> Markup {
    const ENTRY: f64 = 150.0;
    html! {
        @for (index, (class, name)) in entries.iter().enumerate() {
            @let x = RIGHT - ENTRY * (entries.len() - index) as f64;
            line class=(class) x1=(n(x)) x2=(n(x + 34.0)) y1=(n(y - 4.0)) y2=(n(y - 4.0)) {}
            text.plot-title x=(n(x + 42.0)) y=(n(y)) { (name) }
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
