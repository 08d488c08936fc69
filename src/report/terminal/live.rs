//! The live lines below the log: drawn anew a few times a second at most, each time in one piece.

use std::time::Duration;

use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::board::{Board, Room};
use super::style::{Paint, Style};
use super::told::{self, Mark, Told};
use crate::event::{Entry, Event, Phase};
use crate::report::text::duration;
use crate::report::words;

/// Between two frames while nothing happens: the clock goes on.
const TICK: Duration = Duration::from_millis(250);
/// Frames a second at most.
const FRAMES_PER_S: u8 = 4;
/// The room where the terminal does not say.
const ROOM: Room = Room { columns: 80, rows: 24 };

/// The live lines.
pub(super) struct Live {
    lines: MultiProgress,
    bars: Option<Bars>,
    /// The phase that is on, and since when.
    phase: Option<(Phase, i64)>,
}

/// The phase, and all lines below it.
struct Bars {
    head: ProgressBar,
    below: ProgressBar,
    shown: String,
}

impl Live {
    pub(super) fn new() -> Self {
        Self {
            lines: MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(FRAMES_PER_S)),
            bars: None,
            phase: None,
        }
    }

    /// Shows an event: in a line that stays, or in the live ones.
    pub(super) fn show(&mut self, entry: &Entry, board: &Board, style: &Style) {
        let style = &now(style);
        if let Some(told) = told::line(&entry.event).filter(|_| stays(&entry.event)) {
            self.print(&told, style);
        }
        self.tell_phase(entry, style);
        let bars = self.bars.get_or_insert_with(|| Bars::below(&self.lines, style));
        if matches!(entry.event, Event::Phase { .. } | Event::Started { .. }) {
            bars.head.reset_elapsed();
        }
        bars.show(board.headline(style), &board.lines(entry.at_us, room(style), style));
    }

    /// Leaves the timeline on the screen, above what comes next.
    pub(super) fn leave(&mut self, board: &Board, style: &Style) {
        let style = &now(style);
        for line in board.last(room(style), style) {
            let _ = self.lines.println(line);
        }
    }

    fn print(&self, told: &Told, style: &Style) {
        let _ = self.lines.println(marked(told, style));
    }

    /// Once a phase is over, how long it took.
    fn tell_phase(&mut self, entry: &Entry, style: &Style) {
        let begun = match &entry.event {
            Event::Phase { phase, .. } => Some((*phase, entry.unix_ms)),
            Event::Started { .. } | Event::Judged { .. } => None,
            _ => return,
        };
        if let Some((phase, since_ms)) = std::mem::replace(&mut self.phase, begun) {
            let took = duration((entry.unix_ms - since_ms).max(0) as f64);
            let text = style.paint(Paint::Dim, &format!("{} took {took}", words::phase_name(phase)));
            self.print(
                &Told {
                    mark: Mark::Plain,
                    text,
                },
                style,
            );
        }
    }

    /// Takes the live lines away.
    pub(super) fn end(&mut self) {
        if let Some(bars) = self.bars.take() {
            for bar in [bars.below, bars.head] {
                bar.finish_and_clear();
                self.lines.remove(&bar);
            }
        }
        let _ = self.lines.clear();
    }
}

impl Bars {
    fn below(lines: &MultiProgress, style: &Style) -> Self {
        let head = lines.add(ProgressBar::new_spinner().with_style(head_style(style)));
        head.enable_steady_tick(TICK);
        // Not `wide_msg`, which knows but one line: all of them are cut to the width already.
        let plain = ProgressStyle::with_template("{msg}").expect("the template is right");
        let below = lines.add(ProgressBar::new_spinner().with_style(plain));
        Self {
            head,
            below,
            shown: String::new(),
        }
    }

    fn show(&mut self, headline: String, lines: &[String]) {
        if self.head.message() != headline {
            self.head.set_message(headline);
        }
        let lines = lines.join("\n");
        if lines != self.shown {
            self.below.set_message(lines.clone());
            self.shown = lines;
        }
    }
}

/// The style with the width that the terminal has now.
fn now(style: &Style) -> Style {
    let columns = Term::stderr().size_checked().map(|(_, columns)| usize::from(columns));
    Style {
        width: columns.or(style.width),
        ..*style
    }
}

fn room(style: &Style) -> Room {
    let rows = Term::stderr().size_checked().map(|(rows, _)| usize::from(rows));
    Room {
        columns: style.width.unwrap_or(ROOM.columns),
        rows: rows.unwrap_or(ROOM.rows),
    }
}

/// Whether an event's line stays above the live ones; the others show in the live lines themselves.
fn stays(event: &Event) -> bool {
    !matches!(
        event,
        Event::Phase { .. } | Event::ImageStarted { .. } | Event::ReplicaReady { .. } | Event::HealIntent { .. }
    )
}

fn marked(told: &Told, style: &Style) -> String {
    let (paint, unicode, ascii) = match told.mark {
        Mark::Plain => (Paint::Dim, "·", "-"),
        Mark::Good => (Paint::Pass, "✓", "+"),
        Mark::Bad => (Paint::Fail, "✗", "x"),
        Mark::Fault => (Paint::Fault, "⚡", "!"),
    };
    let glyph = if style.unicode { unicode } else { ascii };
    let line = format!("{} {}", style.paint(paint, glyph), told.text);
    style.wrap(0, 2, &line).trim_end().to_owned()
}

fn head_style(style: &Style) -> ProgressStyle {
    // `wide_msg` cuts to the terminal's width, also when that changes.
    let template = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}").expect("the template is right");
    match style.unicode {
        true => template,
        false => template.tick_chars("-\\|/-"),
    }
}
