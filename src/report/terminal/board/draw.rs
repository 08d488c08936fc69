//! The live lines: a timeline of every operation and of every fault on one axis, and what is asked.

use console::measure_text_width;

use super::axis::Axis;
use super::estimate::Estimate;
use super::layout::{Layout, Room, Row};
use super::tracks::Track;
use super::{Board, spark};
use crate::event::Phase;
use crate::report::terminal::style::{Paint, Style};
use crate::report::text::{clean, count, duration, percent_of, plural};
use crate::report::words;

/// Estimates shown at most.
const ESTIMATES_MAX: usize = 4;
/// The line of the phase, which is drawn elsewhere, and one that stays free.
const LINES_ELSEWHERE: usize = 2;

/// Which rows there are lines for.
#[derive(Debug, Clone, Copy)]
struct Share {
    operations: usize,
    /// Whether each has a row for its latency, too.
    with_latency: bool,
    faults: usize,
    /// Lines, not rows.
    asked: usize,
}

impl Board {
    /// The lines below that of the phase.
    pub fn lines(&self, at_us: i64, room: Room, style: &Style) -> Vec<String> {
        let text = Layout::new(room.columns, 0);
        let images = self
            .images
            .iter()
            .map(|(image, step)| format!("  image {image}: {step}"));
        let is_coming_up = self.phase.is_some_and(|(phase, _)| phase == Phase::Up);
        let mut lines: Vec<String> = images.chain(is_coming_up.then(|| self.readiness())).collect();
        lines.truncate(room.rows.saturating_sub(LINES_ELSEWHERE).max(1));
        lines.iter_mut().for_each(|line| *line = text.text(line, style));
        if !self.tracks.is_empty() {
            let asked = self.asked(style);
            let layout = self.layout(room);
            let share = self.share(room, layout, asked.len());
            lines.extend(self.timeline(at_us, layout, share, style));
            lines.extend(asked.iter().take(share.asked).map(|line| layout.text(line, style)));
        }
        lines
    }

    /// The timeline alone, whole: what stays on the screen when the run is over. Nothing where there was no load.
    pub fn last(&self, room: Room, style: &Style) -> Vec<String> {
        if self.tracks.is_empty() {
            return Vec::new();
        }
        let share = Share {
            operations: self.tracks.operations().len(),
            with_latency: true,
            faults: self.faults.count(),
            asked: 0,
        };
        self.timeline(self.load_ended_us.unwrap_or(i64::MAX), self.layout(room), share, style)
    }

    fn layout(&self, room: Room) -> Layout {
        let operations = self.tracks.operations().iter();
        let widths = operations.map(|track| measure_text_width(&clean(&track.now.operation)));
        let label = widths.max().unwrap_or(0).max(self.faults.label_width());
        Layout::new(room.columns, label)
    }

    /// Gives the lines that there are to what matters most: some of every kind, operations first, and latencies last.
    fn share(&self, room: Room, layout: Layout, asked: usize) -> Share {
        let lines_a_row = if layout.is_stacked() { 2 } else { 1 };
        // That of the phases and that of the time.
        let mut left = room.rows.saturating_sub(LINES_ELSEWHERE + 2);
        let faults = self.faults.count().min((left / 4 / lines_a_row).max(1));
        left = left.saturating_sub(faults * lines_a_row);
        let all = self.tracks.operations().len();
        let operations = match all * lines_a_row <= left {
            true => all,
            // A line says how many are left out.
            false => (left.saturating_sub(1) / lines_a_row).clamp(1, all),
        };
        left = left.saturating_sub(operations * lines_a_row);
        let with_latency = !layout.is_stacked() && operations == all && left >= all;
        left = left.saturating_sub(if with_latency { all } else { 0 });
        Share {
            operations,
            with_latency,
            faults,
            asked: asked.min(left),
        }
    }

    fn timeline(&self, at_us: i64, layout: Layout, share: Share, style: &Style) -> Vec<String> {
        // Whatever comes after the load, the axis ends with it.
        let at_us = self.load_ended_us.map_or(at_us, |ended_us| at_us.min(ended_us));
        let axis = Axis::new(self.expected.load_us, at_us, layout.cells());
        let mut rows = vec![self.phase_row(axis, layout.cells(), style)];
        let shown = self.shown(share.operations);
        for &track in &shown {
            rows.extend(self.rows_of(track, axis, share.with_latency, style));
        }
        let left_out = self.tracks.operations().len() - shown.len();
        let left_out =
            (left_out > 0).then(|| format!("  {} {}", style.ellipsis(), plural(left_out as u64, "more operation")));
        let faults = self.faults.shown(at_us, axis, share.faults, style);
        let faults = faults.into_iter().map(|fault| Row {
            label: fault.label,
            label_paint: Some(Paint::Fault),
            value: fault.state,
            cells: fault.cells,
            ..Row::default()
        });
        let of = |row: &Row| layout.lines(row, style);
        let mut lines: Vec<String> = rows.iter().flat_map(of).collect();
        lines.extend(left_out.map(|line| layout.text(&line, style)));
        lines.extend(faults.flat_map(|row| of(&row)));
        lines.extend(of(&self.time_row(axis, style)));
        lines
    }

    /// So many operations: those that fare worst, in their own order.
    fn shown(&self, operations_max: usize) -> Vec<&Track> {
        let mut chosen: Vec<(usize, &Track)> = self.tracks.operations().iter().enumerate().collect();
        chosen.sort_by_key(|(_, track)| std::cmp::Reverse(track.not_ok()));
        chosen.truncate(operations_max);
        chosen.sort_by_key(|(index, _)| *index);
        chosen.into_iter().map(|(_, track)| track).collect()
    }

    fn rows_of(&self, track: &Track, axis: Axis, with_latency: bool, style: &Style) -> Vec<Row> {
        let now = &track.now;
        let parts = self.tracks.over(track, axis.spans_us());
        let asked_percent = self.asked_percent(&now.operation);
        let mut rows = vec![Row {
            label: clean(&now.operation),
            value: now.ok_percent.map_or_else(|| "none".to_owned(), percent_of),
            value_paint: now.ok_percent.and_then(|percent| spark::paint(percent, asked_percent)),
            cells: spark::success(&parts, asked_percent, style),
            aside: format!("ok {} fail {} info {}", count(now.ok), count(now.fail), count(now.info)),
            ..Row::default()
        }];
        if let (true, Some(range_ms)) = (with_latency, track.p99_range_ms()) {
            rows.push(Row {
                label: "  p99".to_owned(),
                label_paint: Some(Paint::Dim),
                value: now.p99_ms.map_or_else(String::new, duration),
                cells: spark::latency(&parts, range_ms, style),
                aside: format!("{} to {}", duration(range_ms.0), duration(range_ms.1)),
                ..Row::default()
            });
        }
        rows
    }

    /// The phases of the load, each where it began, with as much of its name as there is room for.
    fn phase_row(&self, axis: Axis, cells: usize, style: &Style) -> Row {
        let edge = if style.unicode { '│' } else { '|' };
        let mut line = vec![' '; cells];
        for (index, &(phase, from_us)) in self.phases.iter().enumerate() {
            let start = axis.column(from_us);
            let next = self
                .phases
                .get(index + 1)
                .map_or(cells, |&(_, from_us)| axis.column(from_us));
            let text = std::iter::once(edge).chain(words::phase_name(phase).chars());
            for (cell, glyph) in line.iter_mut().take(next).skip(start).zip(text) {
                *cell = glyph;
            }
        }
        let line: String = line.into_iter().collect();
        Row {
            value: "ok now".to_owned(),
            value_paint: Some(Paint::Dim),
            cells: style.paint(Paint::Dim, line.trim_end()),
            ..Row::default()
        }
    }

    fn time_row(&self, axis: Axis, style: &Style) -> Row {
        Row {
            label: "in flight".to_owned(),
            label_paint: Some(Paint::Dim),
            value: count(self.in_flight as u64),
            cells: style.paint(Paint::Dim, &axis.marks()),
            ..Row::default()
        }
    }

    /// What has been judged, and how what is asked of this time has gone so far.
    fn asked(&self, style: &Style) -> Vec<String> {
        let mut lines = vec![match self.gate.as_slice() {
            [] => format!("  gate        {} probes, judged at its end", self.expected.probes),
            judged => {
                let probe = |(verdict, name): &(_, String)| {
                    let glyph = style.paint(Paint::of(*verdict), words::glyph(*verdict, style.unicode));
                    format!("{glyph} {name}")
                };
                let probes: Vec<String> = judged.iter().map(probe).collect();
                format!("  gate        {}", probes.join("  "))
            }
        }];
        let begun: Vec<&Estimate> = self
            .estimates
            .iter()
            .filter(|estimate| estimate.part.ended > 0)
            .collect();
        lines.extend(begun.iter().take(ESTIMATES_MAX).map(|estimate| estimated(estimate)));
        let rest = match begun.is_empty() {
            true => "  all else is judged at the end",
            false => "  ~ an estimate; this and all else is judged at the end",
        };
        lines.push(style.paint(Paint::Dim, rest));
        lines
    }
}

fn estimated(estimate: &Estimate) -> String {
    let percent = estimate.part.ok_percent().map_or_else(String::new, percent_of);
    format!(
        "  {:<10}  ~ {}: {percent} of {} so far, asked {} %",
        estimate.kind(),
        clean(&estimate.name),
        count(estimate.part.ended),
        estimate.bound
    )
}
