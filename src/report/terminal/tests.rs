//! What the live lines look like on terminals of several widths and heights (`INSTA_UPDATE=always cargo test terminal` accepts a
//! change), and that they keep to them.

use console::measure_text_width;

use super::board::{Board, Room};
use super::replay::with_reports;
use super::{PROGRESS_EVERY_MS, Style, ToldOfLoad, told};
use crate::event::{Entry, Event, OperationProgress, Phase, Progress};
use crate::report::sample;

const UNICODE: Style = Style {
    colour: false,
    unicode: true,
    width: None,
};
/// High enough for everything.
const HIGH: usize = 40;

fn events() -> Vec<Entry> {
    with_reports(&sample::events(), &sample::history())
}

/// The board of the sample run after so long.
fn board_at(at_ms: i64) -> Board {
    let mut board = Board::default();
    board.expect(&sample::plan());
    let so_far = |entry: &&Entry| entry.at_us <= at_ms * 1_000;
    events().iter().take_while(so_far).for_each(|entry| board.apply(entry));
    board
}

fn lines(at_ms: i64, columns: usize, rows: usize, style: &Style) -> String {
    let board = board_at(at_ms);
    let lines = board.lines(at_ms * 1_000, Room { columns, rows }, style);
    format!("{}\n{}", board.headline(style), lines.join("\n"))
}

#[test]
fn the_timeline_grows_as_the_run_does() {
    for (moment, at_ms) in [
        ("up", -600),
        ("gate", 3_100),
        ("fault", 15_100),
        ("recovery", 26_100),
        ("drain", 32_500),
    ] {
        insta::assert_snapshot!(format!("board_{moment}"), lines(at_ms, 80, HIGH, &UNICODE));
    }
}

#[test]
fn it_fits_narrow_and_wide_terminals() {
    for columns in [20, 32, 44, 60, 120, 200] {
        insta::assert_snapshot!(
            format!("board_{columns}_columns"),
            lines(15_100, columns, HIGH, &UNICODE)
        );
    }
}

#[test]
fn it_fits_low_terminals() {
    for rows in [6, 9, 12] {
        insta::assert_snapshot!(format!("board_{rows}_rows"), lines(15_100, 80, rows, &UNICODE));
    }
}

#[test]
fn it_is_read_without_unicode_and_colour_adds_nothing_but_colour() {
    insta::assert_snapshot!("board_ascii", lines(19_100, 80, HIGH, &Style::default()));
    let coloured = Style {
        colour: true,
        ..UNICODE
    };
    let stripped = console::strip_ansi_codes(&lines(19_100, 80, HIGH, &coloured)).into_owned();
    assert_eq!(stripped, lines(19_100, 80, HIGH, &UNICODE));
    assert!(lines(19_100, 80, HIGH, &Style::default()).is_ascii());
}

#[test]
fn no_line_is_wider_than_the_terminal_and_no_more_lines_come_than_there_are() {
    let boards: Vec<(i64, Board)> = [-600, 0, 250, 7_000, 10_000, 15_100, 26_000, 36_000]
        .map(|at_ms| (at_ms, board_at(at_ms)))
        .into();
    for columns in 20..=200 {
        for rows in [1, 8, 24, 60] {
            for (at_ms, board) in &boards {
                for style in [
                    Style::default(),
                    UNICODE,
                    Style {
                        colour: true,
                        ..UNICODE
                    },
                ] {
                    let room = Room { columns, rows };
                    let lines = board.lines(at_ms * 1_000, room, &style);
                    let widest = lines.iter().map(|line| measure_text_width(line)).max().unwrap_or(0);
                    assert!(widest < columns, "{columns} columns at {at_ms} ms: {lines:#?}");
                    // With hardly any room, the least that says anything is there all the same.
                    let most = (rows - 1).max(8);
                    assert!(
                        lines.len() <= most,
                        "{rows} rows at {at_ms} ms, {columns} columns: {lines:#?}"
                    );
                }
            }
        }
    }
}

#[test]
fn of_many_operations_those_that_fare_worst_are_shown() {
    let mut board = Board::default();
    let operation = |number: u64| OperationProgress {
        operation: format!("operation-{number:02}"),
        ok: 100,
        fail: if number % 10 == 7 { number } else { 0 },
        ok_percent: Some(90.0),
        p99_ms: Some(5.0),
        ..OperationProgress::default()
    };
    let progress = Progress {
        operations: (0..30).map(operation).collect(),
        in_flight: 3,
    };
    for at_us in [250_000, 500_000] {
        board.apply(&Entry {
            at_us,
            unix_ms: 0,
            event: Event::Progress(progress.clone()),
        });
    }
    let lines = board.lines(500_000, Room { columns: 80, rows: 8 }, &UNICODE).join("\n");
    for shown in ["operation-07", "operation-17", "operation-27", "27 more operations"] {
        assert!(lines.contains(shown), "{shown}:\n{lines}");
    }
    assert_eq!(
        told::progress(&progress).len(),
        13,
        "off a terminal, too, they are not all told"
    );
}

#[test]
fn nothing_is_called_judged_that_the_judge_did_not_judge() {
    for (at_ms, board) in [6_900, 15_100, 26_000].map(|at_ms| (at_ms, board_at(at_ms))) {
        let lines = board.lines(
            at_ms * 1_000,
            Room {
                columns: 120,
                rows: HIGH,
            },
            &UNICODE,
        );
        let judged: Vec<&String> = lines.iter().filter(|line| line.contains(['✓', '✗'])).collect();
        let is_gate = judged.iter().all(|line| line.trim_start().starts_with("gate"));
        assert!(is_gate, "{judged:#?}");
        assert_eq!(judged.len(), usize::from(at_ms > 7_000), "{judged:#?}");
    }
}

#[test]
fn a_day_of_load_is_told_of_in_few_lines() {
    let mut told = ToldOfLoad::default();
    let day_ms = 86_400_000;
    let times: Vec<i64> = (0..day_ms).step_by(250).filter(|&now_ms| told.is_due(now_ms)).collect();
    assert!(times.len() < 250, "{}", times.len());
    let first: Vec<i64> = times.windows(2).take(20).map(|pair| pair[1] - pair[0]).collect();
    assert!(first.iter().all(|&gap_ms| gap_ms == PROGRESS_EVERY_MS), "{first:?}");
}

#[test]
fn a_new_run_begins_with_an_empty_board() {
    let mut board = board_at(26_000);
    board.expect(&sample::plan());
    board.apply(&Entry {
        at_us: 0,
        unix_ms: 0,
        event: Event::Phase {
            phase: Phase::Images,
            budget_ms: None,
        },
    });
    assert!(
        board
            .lines(
                0,
                Room {
                    columns: 80,
                    rows: HIGH
                },
                &UNICODE
            )
            .is_empty()
    );
    assert!(
        board
            .last(
                Room {
                    columns: 80,
                    rows: HIGH
                },
                &UNICODE
            )
            .is_empty()
    );
}
