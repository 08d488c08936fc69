//! The run on one axis: phases, faults, bad time, and the two brackets that are the answer to "how long?".

use maud::{Markup, html};

use super::Page;
use crate::report::series::{FaultSpan, PhaseSpan, Timeline};
use crate::report::svg::{self, AXIS_HEIGHT, LEFT, Plot, RIGHT, TimeAxis, n};
use crate::report::text::{clean, duration, instant, shorten};
use crate::report::words;
use crate::verdict::{Degraded, Recovery};

const ROW: f64 = 30.0;
const BAR: f64 = 18.0;
/// Rough width of a letter, to tell whether a label fits.
const LETTER: f64 = 7.0;

pub(super) fn section(page: &Page<'_>) -> Markup {
    let recovery = &page.verdict.recovery;
    let rows = Rows::new(page.timeline, recovery, &recovery.degraded);
    let plot = Plot {
        time: TimeAxis::new(page.timeline),
        top: 8.0,
        height: rows.height(),
    };
    html! {
        section {
            h2 { "The run" }
            figure tabindex="0" {
                (svg::drawing("timeline", plot.bottom() + AXIS_HEIGHT, "The run on one time axis", &describe(page), html! { (rows.draw(&plot)) (plot.time_labels()) }))
                figcaption {
                    "Hatched: a fault in force, from its measured effect to its measured heal. The small triangle marks the planned start. "
                    "The same bands lie behind every chart below; the dotted line is the moment of recovery."
                }
            }
        }
    }
}

fn describe(page: &Page<'_>) -> String {
    let mut sentences = told(page.timeline);
    for figure in words::recovery_figures(page.verdict) {
        sentences.push(format!("{}: {}.", figure.name, figure.value));
    }
    sentences.join(" ")
}

/// Phases and faults with their times, a sentence each: the drawing for those who do not see it.
pub(in crate::report) fn told(timeline: &Timeline) -> Vec<String> {
    let mut sentences: Vec<String> = timeline
        .phases
        .iter()
        .map(|span| {
            format!(
                "{} from {} to {}.",
                words::phase_name(span.phase),
                instant(span.from_ms),
                instant(span.to_ms)
            )
        })
        .collect();
    for fault in &timeline.faults {
        let end = |at: Option<f64>| at.map_or_else(|| "never".to_owned(), instant);
        sentences.push(format!(
            "Fault {} ({}): effective {}, healed {}.",
            fault.number,
            clean(&fault.name),
            end(fault.effective_ms),
            end(fault.healed_ms)
        ));
    }
    sentences
}

/// What is drawn, a row each: phases, faults, bad time by operation, and the brackets.
pub(in crate::report) struct Rows<'a> {
    timeline: &'a Timeline,
    degraded: Vec<(&'a str, Vec<&'a Degraded>)>,
    brackets: Vec<Bracket>,
}

/// A length of time that the verdict names.
struct Bracket {
    name: &'static str,
    from_ms: f64,
    to_ms: f64,
    value: String,
    /// It had not ended when the load did.
    open: bool,
}

impl<'a> Rows<'a> {
    /// `stretches` is the bad time to be drawn.
    pub fn new(timeline: &'a Timeline, recovery: &Recovery, stretches: &'a [Degraded]) -> Self {
        let mut degraded: Vec<(&str, Vec<&Degraded>)> = Vec::new();
        for stretch in stretches {
            match degraded
                .iter_mut()
                .find(|(operation, _)| *operation == stretch.operation)
            {
                Some((_, stretches)) => stretches.push(stretch),
                None => degraded.push((&stretch.operation, vec![stretch])),
            }
        }
        Self {
            timeline,
            degraded,
            brackets: brackets(timeline, recovery),
        }
    }

    /// The height of all of them.
    pub fn height(&self) -> f64 {
        self.count() as f64 * ROW
    }

    fn count(&self) -> usize {
        1 + self.timeline.faults.len() + self.degraded.len() + self.brackets.len()
    }

    /// Draws them from the top of the plot on, which must have their height.
    pub fn draw(&self, plot: &Plot) -> Markup {
        let mut row = 0;
        let mut next = || {
            row += 1;
            plot.top + f64::from(row - 1) * ROW
        };
        html! {
            (plot.frame(&[]))
            (plot.fault_bands_unlabelled(self.timeline))
            (phases(plot, next(), &self.timeline.phases))
            @for fault in &self.timeline.faults { (fault_row(plot, next(), fault, self.timeline.end_ms)) }
            @for (operation, stretches) in &self.degraded { (degraded_row(plot, next(), operation, stretches)) }
            @for bracket in &self.brackets { (bracket_row(plot, next(), bracket)) }
        }
    }
}

fn brackets(timeline: &Timeline, recovery: &Recovery) -> Vec<Bracket> {
    let mut brackets = Vec::new();
    let value = |ms: f64| format!("{}{}", if recovery.censored { "more than " } else { "" }, duration(ms));
    if let (Some(from_ms), Some(to_ms)) = (timeline.first_effect_ms, timeline.disruption_end_ms) {
        brackets.push(Bracket {
            name: "disruption",
            from_ms,
            to_ms,
            value: value(recovery.disruption_ms.unwrap_or(to_ms - from_ms)),
            open: recovery.censored,
        });
    }
    let recovered_ms = timeline.recovered_ms.or(recovery.censored.then_some(timeline.end_ms));
    if let (Some(from_ms), Some(to_ms)) = (timeline.last_heal_ms, recovered_ms) {
        brackets.push(Bracket {
            name: "recovery time",
            from_ms,
            to_ms,
            value: value(recovery.recovery_time_ms.unwrap_or(to_ms - from_ms)),
            open: recovery.censored,
        });
    }
    brackets
}

fn phases(plot: &Plot, top: f64, spans: &[PhaseSpan]) -> Markup {
    html! {
        (svg::row_label(top + 20.0, "phase"))
        @for (index, span) in spans.iter().enumerate() {
            @let (from, to) = (plot.time.x(span.from_ms), plot.time.x(span.to_ms));
            @let name = words::phase_name(span.phase);
            g {
                rect class=(if index % 2 == 0 { "phase" } else { "phase odd" }) x=(n(from)) y=(n(top + 6.0)) width=(n(to - from)) height=(n(BAR)) {}
                @if name.len() as f64 * LETTER < to - from {
                    text.phase-name x=(n((from + to) / 2.0)) y=(n(top + 20.0)) text-anchor="middle" { (name) }
                }
                title { (words::phase(span.phase)) ": " (instant(span.from_ms)) " to " (instant(span.to_ms)) }
            }
        }
    }
}

fn fault_row(plot: &Plot, top: f64, fault: &FaultSpan, end_ms: f64) -> Markup {
    let label = format!("F{} {}", fault.number, clean(&fault.name));
    html! {
        (svg::row_label(top + 20.0, &format!("fault F{}", fault.number)))
        @if let Some(planned_ms) = fault.planned_ms {
            @let x = plot.time.x(planned_ms);
            path.planned d=(format!("M{} {}h10l-5 8z", n(x - 5.0), n(top + 1.0))) { title { "planned for " (instant(planned_ms)) } }
        }
        @match fault.effective_ms {
            Some(effective_ms) => {
                @let (from, to) = (plot.time.x(effective_ms), plot.time.x(fault.healed_ms.unwrap_or(end_ms)));
                rect.fault x=(n(from)) y=(n(top + 6.0)) width=(n((to - from).max(2.0))) height=(n(BAR)) {}
                (beside(from, to, top + 20.0, &label, "fault-name"))
            }
            None => {
                @let x = plot.time.x(fault.planned_ms.unwrap_or(0.0));
                (beside(x, x + 6.0, top + 20.0, &format!("{label}: not seen in effect"), "outside-name"))
            }
        }
    }
}

fn degraded_row(plot: &Plot, top: f64, operation: &str, stretches: &[&Degraded]) -> Markup {
    html! {
        (svg::row_label(top + 20.0, operation))
        @for stretch in stretches.iter().take(500) {
            @let (from, to) = (plot.time.x(stretch.from_ms), plot.time.x(stretch.to_ms));
            rect.degraded x=(n(from)) y=(n(top + 6.0)) width=(n((to - from).max(2.0))) height=(n(BAR)) {
                title { "outside its tolerance from " (instant(stretch.from_ms)) " to " (instant(stretch.to_ms)) }
            }
        }
        @if let [first, ..] = stretches {
            @let last_ms = stretches.iter().map(|stretch| stretch.to_ms).fold(first.to_ms, f64::max);
            @let total_ms: f64 = stretches.iter().map(|stretch| stretch.to_ms - stretch.from_ms).sum();
            @let label = format!("outside tolerance for {}", duration(total_ms));
            (beside(plot.time.x(first.from_ms), plot.time.x(last_ms), top + 20.0, &label, "degraded-name"))
        }
    }
}

fn bracket_row(plot: &Plot, top: f64, bracket: &Bracket) -> Markup {
    let (from, to) = (plot.time.x(bracket.from_ms), plot.time.x(bracket.to_ms));
    let middle = top + 15.0;
    let end = match bracket.open {
        true => format!("l-7 -5m7 5l-7 5M{} {}", n(to), n(middle)),
        false => format!("M{} {}v14", n(to), n(middle - 7.0)),
    };
    html! {
        (svg::row_label(top + 20.0, bracket.name))
        path.bracket d=(format!("M{} {}v14M{} {}H{}{end}", n(from), n(middle - 7.0), n(from), n(middle), n(to))) {}
        (beside_line(from, to, top + 20.0, &bracket.value))
    }
}

/// A label inside its bar if it fits, else on the side that has room.
fn beside(from: f64, to: f64, y: f64, label: &str, class: &str) -> Markup {
    let width = label.chars().count() as f64 * LETTER;
    if width < to - from - 8.0 {
        return html! { text class=(class) x=(n(from + 6.0)) y=(n(y)) { (label) } };
    }
    beside_line(from, to, y, label)
}

/// A label on the side that has room.
fn beside_line(from: f64, to: f64, y: f64, label: &str) -> Markup {
    let (left, right) = (from - LEFT - 8.0, RIGHT - to - 8.0);
    let fits = |room: f64| (room / LETTER).max(0.0) as usize;
    html! {
        @if right >= left || label.chars().count() <= fits(right) {
            text.outside-name x=(n(to + 8.0)) y=(n(y)) { (shorten(label, fits(right))) title { (label) } }
        } @else {
            text.outside-name x=(n(from - 8.0)) y=(n(y)) text-anchor="end" { (shorten(label, fits(left))) title { (label) } }
        }
    }
}
