//! The terminal: shows a run as it happens, and its verdict at the end.
//!
//! It is handed every event and nothing else. On a terminal, live lines stand below a growing log of what happened; off
//! it there is the log alone, a line per event worth telling, without ANSI. Progress goes to the standard error, the
//! verdict to the standard output, so that a verdict can be kept in a file.

use std::io::{self, Write};
use std::path::Path;

use crate::event::{Entry, Event};
use crate::plan::Plan;
use crate::verdict::Verdict;

mod block;
mod board;
mod campaign;
mod live;
mod style;
pub(in crate::report) mod told;

pub use block::render as verdict_block;
use board::Board;
use live::Live;
pub use style::Style;

/// Between two tellings of how the load is going, off a terminal, at first: later it is this part of the time since the first one, so
/// that a day of load makes no more than some two hundred of them.
const PROGRESS_EVERY_MS: i64 = 5_000;
const PROGRESS_PART: i64 = 24;

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
    told_of_load: ToldOfLoad,
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
            told_of_load: ToldOfLoad::default(),
        }
    }

    /// Learns of a run what no event tells: what is planned, and what is asked. Before its first event.
    pub fn expect(&mut self, plan: &Plan) {
        self.board.expect(plan);
    }

    /// Shows an event. A terminal that has gone away is no reason to end a run, so nothing is returned.
    pub fn handle(&mut self, entry: &Entry) {
        if matches!(entry.event, Event::Started { .. }) {
            self.told_of_load = ToldOfLoad::default();
        }
        self.board.apply(entry);
        match &mut self.live {
            Some(live) => live.show(entry, &self.board, &self.options.progress),
            None => self.log(entry),
        }
    }

    fn log(&mut self, entry: &Entry) {
        let lines = match &entry.event {
            Event::Progress(progress) if self.told_of_load.is_due(entry.unix_ms) => told::progress(progress),
            Event::Progress(_) => return,
            event => told::line(event).map(|told| told.text).into_iter().collect(),
        };
        for line in lines {
            let _ = writeln!(self.log, "{}  {line}", clock(entry));
        }
    }

    /// Shows the verdict of the run, and where its folder is.
    pub fn finish(&mut self, verdict: &Verdict, run_dir: &Path) {
        if let Some(live) = &mut self.live {
            live.leave(&self.board, &self.options.progress);
        }
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

/// Wall-clock time of an entry, to the second.
fn clock(entry: &Entry) -> String {
    match jiff::Timestamp::from_millisecond(entry.unix_ms) {
        Ok(instant) => instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => "-".to_owned(),
    }
}

/// When the load was told of off a terminal, in milliseconds by the wall clock.
#[derive(Debug, Default, Clone, Copy)]
struct ToldOfLoad {
    first_ms: Option<i64>,
    last_ms: i64,
}

impl ToldOfLoad {
    /// Whether it is time again; if so, it counts as told.
    fn is_due(&mut self, now_ms: i64) -> bool {
        let first_ms = *self.first_ms.get_or_insert_with(|| {
            self.last_ms = now_ms - PROGRESS_EVERY_MS;
            now_ms
        });
        let every_ms = PROGRESS_EVERY_MS.max((now_ms - first_ms) / PROGRESS_PART);
        let is_due = now_ms - self.last_ms >= every_ms;
        if is_due {
            self.last_ms = now_ms;
        }
        is_due
    }
}

#[cfg(test)]
mod replay;
#[cfg(test)]
mod tests;
