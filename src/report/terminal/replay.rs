//! Plays saved runs on the terminal, for the tests and for whoever wants to look: reports on the load are on no disk, so they are
//! made anew from the history, by what makes them in a run.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Options, Terminal};
use crate::event::{Entry, Event};
use crate::history::load::History;
use crate::run::folder::{read_events, read_plan};
use crate::workload::progress::Tally;

/// From one report to the next.
const EVERY_US: u64 = 250_000;

/// A run's events, with reports on the load among them.
pub(super) fn with_reports(events: &[Entry], history: &History<'_>) -> Vec<Entry> {
    let told = |event: &Event| matches!(event, Event::Progress(_));
    let mut all: Vec<Entry> = events.iter().filter(|entry| !told(&entry.event)).cloned().collect();
    let end = |entry: &&Entry| matches!(entry.event, Event::LoadEnded(_));
    let Some(end) = events.iter().find(end) else { return all };
    let mut names: Vec<String> = history.ops.iter().map(|op| op.kind.to_string()).collect();
    names.sort();
    names.dedup();
    let mut tally = Tally::new(names.clone().into_iter());
    let mut ops: Vec<_> = history.ops.iter().collect();
    ops.sort_by_key(|op| op.done_us);
    let mut ops = ops.into_iter().peekable();
    for at_us in (1..)
        .map(|number| number * EVERY_US)
        .take_while(|&at_us| (at_us as i64) < end.at_us)
    {
        while let Some(op) = ops.next_if(|op| op.done_us <= at_us) {
            let index = names
                .binary_search_by(|name| name.as_str().cmp(&op.kind))
                .expect("it is among them");
            tally.ended(index, op.outcome, op.latency_us());
        }
        let in_flight = history
            .ops
            .iter()
            .filter(|op| op.intended_us <= at_us && op.done_us > at_us)
            .count();
        all.push(Entry {
            at_us: at_us as i64,
            unix_ms: end.unix_ms - (end.at_us - at_us as i64) / 1_000,
            event: Event::Progress(tally.progress(in_flight)),
        });
    }
    all.sort_by_key(|entry| entry.at_us);
    all
}

/// `NIGHTMAIL_REPLAY=RUN_DIR [NIGHTMAIL_REPLAY_SPEED=4] cargo test --lib -- --ignored --nocapture terminal::replay`, in a terminal.
#[test]
#[ignore = "for eyes: it needs a run's folder and a terminal, and takes as long as the run did"]
fn play() {
    let folder = PathBuf::from(std::env::var_os("NIGHTMAIL_REPLAY").expect("NIGHTMAIL_REPLAY is a run's folder"));
    let speed = std::env::var("NIGHTMAIL_REPLAY_SPEED").map_or(1.0, |speed| speed.parse().expect("a number"));
    let (plan, events) = (read_plan(&folder).unwrap(), read_events(&folder).unwrap());
    let text = std::fs::read(folder.join(crate::history::FILE)).unwrap();
    let history = History::parse(&text).unwrap();
    let events = with_reports(&events, &history);
    let mut terminal = Terminal::new(Options::detect());
    terminal.expect(&plan);
    let (began, first_us) = (Instant::now(), events[0].at_us);
    for entry in &events {
        let due = Duration::from_micros(((entry.at_us - first_us).max(0) as f64 / speed) as u64);
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        terminal.handle(entry);
    }
    terminal.finish(&crate::check::judge_folder(&folder).unwrap(), &folder);
}
