//! The terminal: shows a run as it happens, and its verdict at the end.
//!
//! It is handed every event and nothing else. On a terminal, live lines stand below a growing log of what happened; off
//! it there is the log alone, a line per event worth telling, without ANSI. Progress goes to the standard error, the
//! verdict to the standard output, so that a verdict can be kept in a file.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::text::duration;
use super::words;
use crate::event::{Entry, Event, Phase};
use crate::plan::Plan;
use crate::verdict::Verdict;

mod block;
mod board;
mod campaign;
mod style;
pub(in crate::report) mod told;

pub use block::render as verdict_block;
use board::Board;
use style::Paint;
pub use style::Style;
use told::{Mark, Told};

/// Between two lines on how the load is going, off a terminal.
const PROGRESS_EVERY_MS: i64 = 5_000;
/// Between two frames of the live lines.
const TICK: Duration = Duration::from_millis(120);

/// How a run is shown.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Whether lines may be drawn over: a terminal, and neither CI nor a dumb one.
    pub live: bool,
    /// What the stream for progress shows.
    pub progress: Style,
    /// What the stream for verdicts shows.
    pub result: Style,
}

impl Options {
    /// What the standard streams and the environment say (`NO_COLOR`, `CI`, `TERM`, the locale).
    pub fn detect() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let progress = Style::of_stderr();
        Self {
            live: progress.width.is_some() && !is_dumb && !set("CI"),
            progress,
            result: Style::of_stdout(),
        }
    }
}

pub use campaign::lines as campaign_lines;

/// Shows runs, one after the other.
pub struct Terminal {
    options: Options,
    board: Board,
    live: Option<Live>,
    log: Box<dyn Write + Send>,
    result: Box<dyn Write + Send>,
    progress_told_ms: Option<i64>,
}

impl Terminal {
    /// Shows runs on the standard streams.
    pub fn new(options: Options) -> Self {
        Self::with_writers(options, Box::new(io::stderr()), Box::new(io::stdout()))
    }

    /// Writes the log and the verdicts elsewhere; live lines still go to the standard error.
    pub fn with_writers(options: Options, log: Box<dyn Write + Send>, result: Box<dyn Write + Send>) -> Self {
        Self {
            options,
            board: Board::default(),
            live: options.live.then(Live::new),
            log,
            result,
            progress_told_ms: None,
        }
    }

    /// Learns what no event tells, so that it can show how long a fault still lasts. Before the run's first event.
    pub fn expect(&mut self, plan: &Plan) {
        self.board.expect(plan);
    }

    /// Shows an event. A terminal that has gone away is no reason to end a run, so nothing is returned.
    pub fn handle(&mut self, entry: &Entry) {
        self.board.apply(&entry.event);
        match &mut self.live {
            Some(live) => live.show(entry, &self.board, &self.options.progress),
            None => self.log(entry),
        }
    }

    fn log(&mut self, entry: &Entry) {
        let line = match &entry.event {
            Event::Progress(progress) => {
                let is_due = self
                    .progress_told_ms
                    .is_none_or(|told| entry.unix_ms - told >= PROGRESS_EVERY_MS);
                if !is_due {
                    return;
                }
                self.progress_told_ms = Some(entry.unix_ms);
                told::progress(progress)
            }
            event => match told::line(event) {
                Some(told) => told.text,
                None => return,
            },
        };
        let _ = writeln!(self.log, "{}  {line}", board::clock(entry));
    }

    /// Shows the verdict of the run, and where its folder is.
    pub fn finish(&mut self, verdict: &Verdict, run_dir: &Path) {
        self.clear();
        let block = block::render(verdict, run_dir, &self.options.result);
        let _ = self.result.write_all(block.as_bytes());
        let _ = self.result.flush();
    }

    /// Ends the live lines, so that something else may be printed.
    pub fn clear(&mut self) {
        if let Some(live) = &mut self.live {
            live.end();
        }
        let _ = self.log.flush();
    }
}

/// The live lines.
struct Live {
    lines: MultiProgress,
    head: Option<ProgressBar>,
    below: Vec<ProgressBar>,
    /// The phase that is on, and since when.
    phase: Option<(Phase, i64)>,
}

impl Live {
    fn new() -> Self {
        Self {
            lines: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            head: None,
            below: Vec::new(),
            phase: None,
        }
    }

    fn show(&mut self, entry: &Entry, board: &Board, style: &Style) {
        if let Some(told) = told::line(&entry.event).filter(|_| stays(&entry.event)) {
            self.print(&told, style);
        }
        self.tell_phase(entry, style);
        let is_new_phase = matches!(entry.event, Event::Phase { .. } | Event::Started { .. });
        let head = self.head.get_or_insert_with(|| {
            let head = self.lines.add(ProgressBar::new_spinner().with_style(head_style(style)));
            head.enable_steady_tick(TICK);
            head
        });
        if is_new_phase {
            head.reset_elapsed();
        }
        head.set_message(board.headline(style));
        head.set_prefix(board.budget());
        self.set_below(&board.lines(entry.at_us, style));
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

    fn set_below(&mut self, lines: &[String]) {
        while self.below.len() > lines.len() {
            if let Some(bar) = self.below.pop() {
                bar.finish_and_clear();
                self.lines.remove(&bar);
            }
        }
        while self.below.len() < lines.len() {
            let bar = ProgressBar::new_spinner().with_style(below_style());
            self.below.push(self.lines.add(bar));
        }
        for (bar, line) in self.below.iter().zip(lines) {
            bar.set_message(line.clone());
            bar.tick();
        }
    }

    fn end(&mut self) {
        self.set_below(&[]);
        if let Some(head) = self.head.take() {
            head.finish_and_clear();
            self.lines.remove(&head);
        }
        let _ = self.lines.clear();
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
    let template = ProgressStyle::with_template("{spinner} {msg}  {elapsed} {prefix}").expect("the template is right");
    match style.unicode {
        true => template,
        false => template.tick_chars("-\\|/-"),
    }
}

fn below_style() -> ProgressStyle {
    // `wide_msg` cuts to the terminal's width, also when that changes.
    ProgressStyle::with_template("{wide_msg}").expect("the template is right")
}
