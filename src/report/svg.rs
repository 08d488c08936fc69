//! Drawing: a plot's coordinates, axes, bands and lines, as static SVG.
//!
//! All charts of a page share the time axis, so that what stands above each other happened together.

use std::fmt::Write;

use maud::{Markup, html};

use super::series::Timeline;
use super::text::{self, clean, shorten};

/// Width of every drawing, in its own units.
pub(super) const WIDTH: f64 = 960.0;
/// Where the time axis starts.
pub(super) const LEFT: f64 = 132.0;
/// Where it ends.
pub(super) const RIGHT: f64 = WIDTH - 18.0;
/// Room below a plot for the labels of the time axis.
pub(super) const AXIS_HEIGHT: f64 = 42.0;

/// Where time lies on the page.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeAxis {
    end_ms: f64,
}

impl TimeAxis {
    /// From 0 to the end of the timeline.
    pub fn new(timeline: &Timeline) -> Self {
        Self {
            end_ms: timeline.end_ms,
        }
    }

    /// Left for 0, right for the end, never beyond.
    pub fn x(&self, at_ms: f64) -> f64 {
        LEFT + (at_ms / self.end_ms).clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    /// Ticks at round seconds, in milliseconds: at most a dozen.
    pub fn ticks(&self) -> Vec<f64> {
        const STEPS_MS: [f64; 14] = [
            100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 10e3, 15e3, 30e3, 60e3, 120e3, 300e3, 600e3, 1_800e3,
        ];
        let step = STEPS_MS
            .into_iter()
            .find(|step| self.end_ms / step <= 12.0)
            .unwrap_or(3_600e3 * (self.end_ms / 3_600e3 / 12.0).ceil());
        (0..)
            .map(|index| f64::from(index) * step)
            .take_while(|&tick| tick <= self.end_ms)
            .collect()
    }
}

/// A rectangle of a drawing, with time from left to right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plot {
    pub time: TimeAxis,
    pub top: f64,
    pub height: f64,
}

impl Plot {
    /// The lower edge.
    pub fn bottom(&self) -> f64 {
        self.top + self.height
    }

    /// Where a share of the height lies: 0 at the bottom, 1 at the top.
    pub fn y(&self, share: f64) -> f64 {
        self.bottom() - share.clamp(0.0, 1.0) * self.height
    }

    /// The frame, and grid lines at shares of the height with their labels.
    pub fn frame(&self, grid: &[(f64, String)]) -> Markup {
        html! {
            rect.plot x=(n(LEFT)) y=(n(self.top)) width=(n(RIGHT - LEFT)) height=(n(self.height)) {}
            @for (share, label) in grid {
                line.grid x1=(n(LEFT)) x2=(n(RIGHT)) y1=(n(self.y(*share))) y2=(n(self.y(*share))) {}
                text.tick x=(n(LEFT - 8.0)) y=(n(self.y(*share) + 4.0)) text-anchor="end" { (label) }
            }
        }
    }

    /// The labels of the time axis below the plot.
    pub fn time_labels(&self) -> Markup {
        html! {
            @for tick in self.time.ticks() {
                @let x = self.time.x(tick);
                line.axis x1=(n(x)) x2=(n(x)) y1=(n(self.bottom())) y2=(n(self.bottom() + 5.0)) {}
                text.tick x=(n(x)) y=(n(self.bottom() + 18.0)) text-anchor="middle" { (text::trim(tick / 1_000.0, 1)) }
            }
            text.tick x=(n((LEFT + RIGHT) / 2.0)) y=(n(self.bottom() + 34.0)) text-anchor="middle" { "seconds since the load began" }
        }
    }

    /// The faults as hatched bands from effect to heal, and the moment of recovery: behind the data.
    pub fn fault_bands(&self, timeline: &Timeline) -> Markup {
        html! {
            (self.fault_bands_unlabelled(timeline))
            @for fault in &timeline.faults {
                @if let Some(effective_ms) = fault.effective_ms {
                    // Faults that overlap have their labels below each other.
                    @let y = self.top + 2.0 + 13.0 * fault.number.min(4) as f64;
                    text.band-label x=(n(self.time.x(effective_ms) + 4.0)) y=(n(y)) { "F" (fault.number) }
                }
            }
        }
    }

    /// The same without the faults' numbers.
    pub fn fault_bands_unlabelled(&self, timeline: &Timeline) -> Markup {
        html! {
            @for fault in &timeline.faults {
                @if let Some(effective_ms) = fault.effective_ms {
                    @let (from, to) = (self.time.x(effective_ms), self.time.x(fault.healed_ms.unwrap_or(timeline.end_ms)));
                    @let width = n((to - from).max(1.0));
                    rect.band x=(n(from)) y=(n(self.top)) width=(width) height=(n(self.height)) {}
                    rect.band-hatch x=(n(from)) y=(n(self.top)) width=(width) height=(n(self.height)) {}
                    (self.upright("band-edge", from))
                    @if fault.healed_ms.is_some() { (self.upright("band-edge", to)) }
                }
            }
            @if let Some(recovered_ms) = timeline.recovered_ms { (self.upright("recovered", self.time.x(recovered_ms))) }
        }
    }

    fn upright(&self, class: &str, x: f64) -> Markup {
        html! { line class=(class) x1=(n(x)) x2=(n(x)) y1=(n(self.top)) y2=(n(self.bottom())) {} }
    }
}

/// The patterns that the bands use; once a page.
pub(super) fn patterns() -> Markup {
    html! {
        svg.defs width="0" height="0" aria-hidden="true" focusable="false" {
            defs {
                pattern id="hatch" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                    line.hatch x1="0" y1="0" x2="0" y2="8" {}
                }
                pattern id="cross" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                    path.cross d="M0 0V6M0 0H6" {}
                }
            }
        }
    }
}

/// A drawing with its name and description for those who do not see it.
pub(super) fn drawing(id: &str, height: f64, title: &str, description: &str, content: Markup) -> Markup {
    let (title_id, description_id) = (format!("{id}-title"), format!("{id}-desc"));
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {}", n(height))) role="img" aria-labelledby=(format!("{title_id} {description_id}")) {
            title id=(title_id) { (title) }
            desc id=(description_id) { (description) }
            (content)
        }
    }
}

/// A line of steps: each value holds from its start to its end; a missing one is a gap.
pub(super) fn steps(points: impl IntoIterator<Item = (f64, f64, Option<f64>)>) -> String {
    let mut path = String::new();
    let mut level: Option<(f64, f64)> = None;
    for (from, to, y) in points {
        match (level, y) {
            // The level goes on: its end is written when it changes.
            (Some((end, last)), Some(y)) if (end - from).abs() < 0.05 && (last - y).abs() < 0.05 => {}
            (Some((end, _)), Some(y)) if (end - from).abs() < 0.05 => {
                let _ = write!(path, "H{}V{}", n(end), n(y));
            }
            (Some((end, _)), Some(y)) => {
                let _ = write!(path, "H{}M{} {}", n(end), n(from), n(y));
            }
            (Some((end, _)), None) => {
                let _ = write!(path, "H{}", n(end));
            }
            (None, Some(y)) => {
                let _ = write!(path, "M{} {}", n(from), n(y));
            }
            (None, None) => {}
        }
        // A level keeps the height at which it was drawn, or it would drift within the tolerance.
        level = y.map(|y| match level {
            Some((_, last)) if (last - y).abs() < 0.05 => (to, last),
            _ => (to, y),
        });
    }
    if let Some((end, _)) = level {
        let _ = write!(path, "H{}", n(end));
    }
    path
}

/// A line from point to point; a missing value is a gap.
pub(super) fn polyline(points: impl IntoIterator<Item = (f64, Option<f64>)>) -> String {
    let mut path = String::new();
    let mut drawing = false;
    for (x, y) in points {
        match y {
            Some(y) => {
                // Of no length, so that a value between two gaps shows as a dot.
                let _ = match drawing {
                    true => write!(path, "L{} {}", n(x), n(y)),
                    false => write!(path, "M{} {}h0", n(x), n(y)),
                };
                drawing = true;
            }
            None => drawing = false,
        }
    }
    path
}

/// A row's name, left of the axis: cut to fit, whole in its tooltip.
pub(super) fn row_label(y: f64, label: &str) -> Markup {
    let label = clean(label);
    html! {
        text.row-label x=(n(LEFT - 8.0)) y=(n(y)) text-anchor="end" {
            (shorten(&label, 19))
            title { (label) }
        }
    }
}

/// A coordinate, to a tenth of a unit.
pub(super) fn n(number: f64) -> String {
    text::trim(number, 1)
}

/// The least of 1, 2, 5, 10, 20, ... that is no smaller.
pub(super) fn nice_ceiling(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let magnitude = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|step| step * magnitude)
        .find(|&step| step >= value * (1.0 - 1e-9))
        .unwrap_or(10.0 * magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_join_levels_and_leave_gaps() {
        let points = [
            (0.0, 1.0, Some(5.0)),
            (1.0, 2.0, Some(5.0)),
            (2.0, 3.0, Some(7.0)),
            (3.0, 4.0, None),
            (4.0, 5.0, Some(7.0)),
        ];
        assert_eq!(steps(points), "M0 5H2V7H3M4 7H5");
        assert_eq!(
            polyline([(0.0, Some(1.0)), (1.0, None), (2.0, Some(3.0))]),
            "M0 1h0M2 3h0"
        );
    }

    #[test]
    fn ceilings_are_round() {
        assert_eq!(
            [0.0, 0.3, 1.0, 1.1, 37.0, 501.0].map(nice_ceiling),
            [1.0, 0.5, 1.0, 2.0, 50.0, 1_000.0]
        );
    }

    #[test]
    fn the_axis_has_few_round_ticks() {
        for end_ms in [900.0, 31_700.0, 240_000.0, 86_400_000.0] {
            let ticks = TimeAxis { end_ms }.ticks();
            assert!((4..=13).contains(&ticks.len()), "{end_ms}: {ticks:?}");
        }
        let axis = TimeAxis { end_ms: 1_000.0 };
        assert_eq!((axis.x(-5.0), axis.x(1_000.0), axis.x(9_999.0)), (LEFT, RIGHT, RIGHT));
    }
}
