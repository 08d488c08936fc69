//! The drawing of an experiment's history: recovery time and disruption of each run, and what each came to.

use maud::{Markup, html};

use super::model::Run;
use crate::report::html::{class, timestamp};
use crate::report::svg::{LEFT, RIGHT, drawing, n, nice_ceiling, row_label};
use crate::report::text::{clean, duration, plural};
use crate::report::words;
use crate::verdict::Judgement;

const PLOT_TOP: f64 = 26.0;
const PLOT_HEIGHT: f64 = 110.0;
/// From the top of one plot to that of the next.
const PLOT_STEP: f64 = PLOT_HEIGHT + 34.0;
const VERDICTS: f64 = PLOT_TOP + 2.0 * PLOT_STEP;
const HEIGHT: f64 = VERDICTS + 60.0;
/// Half the size of a mark.
const MARK: f64 = 4.0;

/// A time that was measured, or a bound from below.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Measured {
    ms: f64,
    is_censored: bool,
}

/// The drawing with what it says in words. Runs come newest first, and are drawn the other way round.
pub(super) fn figure(runs: &[Run]) -> Markup {
    let oldest_first: Vec<&Run> = runs.iter().rev().collect();
    let measured = |of: fn(&Run) -> Option<f64>| -> Vec<Option<Measured>> {
        let of_run = |run: &&Run| {
            let is_censored = run.recovery.censored;
            of(run).map(|ms| Measured { ms, is_censored })
        };
        oldest_first.iter().map(of_run).collect()
    };
    let recovery = measured(|run| run.recovery.recovery_time_ms);
    let disruption = measured(|run| run.recovery.disruption_ms);
    let content = html! {
        (plot(PLOT_TOP, "recovery time", "p50", &recovery))
        (plot(PLOT_TOP + PLOT_STEP, "disruption", "p99", &disruption))
        (verdicts(&oldest_first))
        (releases(&oldest_first))
    };
    let all: Vec<&Run> = runs.iter().collect();
    let description = format!(
        "{} {}",
        in_words("Recovery time", &recovery),
        in_words("Disruption", &disruption)
    );
    html! {
        figure tabindex="0" {
            (drawing("history", HEIGHT, "Runs over time", &format!("{} {description}", came_to(&all)), content))
            figcaption {
                "A column a run, oldest left, equally far apart however long lay between them; a dashed line where another release begins. Circles are measured; a triangle is a bound from below: not over when the load ended. No mark: not measured, or nothing was broken."
            }
        }
    }
}

/// Where the middle of a run's column is.
fn x(index: usize, runs: usize) -> f64 {
    LEFT + (index as f64 + 0.5) / runs as f64 * (RIGHT - LEFT)
}

fn plot(top: f64, title: &str, line: &str, values: &[Option<Measured>]) -> Markup {
    let bottom = top + PLOT_HEIGHT;
    let greatest_ms = values.iter().flatten().map(|value| value.ms).fold(0.0, f64::max);
    let ceiling_ms = nice_ceiling(greatest_ms);
    let y = |ms: f64| bottom - (ms / ceiling_ms).clamp(0.0, 1.0) * PLOT_HEIGHT;
    let points = values.iter().enumerate().map(|(index, value)| {
        let y = value.map(|value| y(value.ms));
        (x(index, values.len()), y)
    });
    html! {
        text.plot-title x=(n(LEFT)) y=(n(top - 8.0)) { (title) }
        rect.plot x=(n(LEFT)) y=(n(top)) width=(n(RIGHT - LEFT)) height=(n(PLOT_HEIGHT)) {}
        @for share in [0.0, 0.5, 1.0] {
            @let ms = share * ceiling_ms;
            line.grid x1=(n(LEFT)) x2=(n(RIGHT)) y1=(n(y(ms))) y2=(n(y(ms))) {}
            text.tick x=(n(LEFT - 8.0)) y=(n(y(ms) + 4.0)) text-anchor="end" { (duration(ms)) }
        }
        path class=(line) d=(crate::report::svg::polyline(points)) {}
        @for (index, value) in values.iter().enumerate() {
            @if let Some(value) = value { (mark(x(index, values.len()), y(value.ms), value.is_censored, line)) }
        }
    }
}

fn mark(x: f64, y: f64, is_censored: bool, line: &str) -> Markup {
    let class = format!("{line}-mark");
    html! {
        @if is_censored {
            path class=(class) d=(format!("M{} {}l{MARK} {}h-{}z", n(x), n(y - MARK), 2.0 * MARK, 2.0 * MARK)) {}
        } @else {
            circle class=(class) cx=(n(x)) cy=(n(y)) r=(n(MARK * 0.8)) {}
        }
    }
}

/// What each run came to, in a row of glyphs, and when the first and the last of them were.
fn verdicts(runs: &[&Run]) -> Markup {
    let width = (RIGHT - LEFT) / runs.len() as f64;
    let date = |run: Option<&&Run>| run.and_then(|run| timestamp(run.started_unix_ms)).unwrap_or_default();
    html! {
        (row_label(VERDICTS + 4.0, "came to"))
        @for (index, run) in runs.iter().enumerate() {
            @let middle = x(index, runs.len());
            // Of many only what did not pass keeps its glyph: else they would run into each other.
            @if width >= 9.0 || run.judgement != Judgement::Pass {
                text class=(format!("outcome {}", class(run.judgement))) x=(n(middle)) y=(n(VERDICTS + 4.0)) text-anchor="middle" {
                    (words::glyph(run.judgement, true))
                    title { (run.outcome) }
                }
            }
        }
        text.tick x=(n(LEFT)) y=(n(VERDICTS + 28.0)) { (date(runs.first())) }
        @if runs.len() > 1 {
            text.tick x=(n(RIGHT)) y=(n(VERDICTS + 28.0)) text-anchor="end" { (date(runs.last())) }
        }
    }
}

/// Where a release begins, with its name as far as that has room.
fn releases(runs: &[&Run]) -> Markup {
    /// About as wide as a character of a tick's text.
    const CHAR: f64 = 6.5;
    let width = (RIGHT - LEFT) / runs.len() as f64;
    let mut stretches: Vec<(usize, usize)> = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        match stretches.last_mut() {
            Some((first, length)) if runs[*first].release == run.release => *length += 1,
            _ => stretches.push((index, 1)),
        }
    }
    let is_named = runs.iter().any(|run| !run.release.is_empty());
    html! {
        @if is_named { @for (first, length) in stretches {
            @let (name, left) = (clean(&runs[first].release), LEFT + first as f64 * width);
            @if first > 0 { line.release x1=(n(left)) x2=(n(left)) y1=(n(PLOT_TOP)) y2=(n(VERDICTS)) {} }
            @if name.chars().count() as f64 * CHAR <= length as f64 * width {
                text.tick x=(n(left + 3.0)) y=(n(VERDICTS - 14.0)) { (name) }
            }
        } }
    }
}

/// `12 runs: 1 fail, 11 pass.`
pub(super) fn came_to(runs: &[&Run]) -> String {
    let of = |judgement| runs.iter().filter(|run| run.judgement == judgement).count();
    let parts: Vec<String> = [Judgement::Fail, Judgement::Inconclusive, Judgement::Pass]
        .into_iter()
        .filter(|&judgement| of(judgement) > 0)
        .map(|judgement| format!("{} {}", of(judgement), words::judgement(judgement)))
        .collect();
    format!("{}: {}.", plural(runs.len() as u64, "run"), parts.join(", "))
}

fn in_words(what: &str, values: &[Option<Measured>]) -> String {
    let measured = || values.iter().flatten().map(|value| value.ms);
    match (measured().reduce(f64::min), measured().reduce(f64::max)) {
        (Some(least), Some(greatest)) => {
            format!("{what} from {} to {}.", duration(least), duration(greatest))
        }
        _ => format!("{what} was not measured."),
    }
}
