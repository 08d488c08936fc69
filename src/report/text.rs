//! Data made safe to show, and numbers made readable.

use std::fmt::Write;

/// Longest text that a report takes from a system under test as one piece, in characters.
const PIECE_CHARS_MAX: usize = 2_000;

/// A piece of data on one line: control characters, and those that turn the direction of writing, are spelled out, so
/// that a log line can neither drive a terminal nor pose as something else.
pub(super) fn clean(data: &str) -> String {
    let mut cleaned = String::with_capacity(data.len());
    for (index, c) in data.trim_end().chars().enumerate() {
        if index == PIECE_CHARS_MAX {
            cleaned.push('…');
            break;
        }
        match c {
            '\t' => cleaned.push(' '),
            '\n' => cleaned.push_str("\\n"),
            '\r' => cleaned.push_str("\\r"),
            c if c.is_control() || is_deceptive(c) => {
                let _ = write!(cleaned, "\\u{{{:x}}}", c as u32);
            }
            c => cleaned.push(c),
        }
    }
    cleaned
}

/// The same for prose that was broken into lines to be written, not to be read so.
pub(super) fn clean_prose(data: &str) -> String {
    clean(&data.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The same, keeping the lines apart.
pub(super) fn clean_lines(data: &str) -> Vec<String> {
    const LINES_MAX: usize = 100;
    let mut lines: Vec<String> = data.lines().take(LINES_MAX).map(clean).collect();
    if data.lines().nth(LINES_MAX).is_some() {
        lines.push("…".to_owned());
    }
    lines
}

/// Line and paragraph separators, bidirectional controls, and characters without width.
fn is_deceptive(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{61c}')
}

/// At most `chars_max` characters.
pub(super) fn shorten(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some(_) => text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// A duration: `0.4 ms`, `250 ms`, `17.2 s`, `3 min 20 s`.
pub(super) fn duration(ms: f64) -> String {
    match ms {
        ms if !ms.is_finite() => "unbounded".to_owned(),
        ms if ms < 0.0 => format!("-{}", duration(-ms)),
        ms if ms < 9.95 => format!("{} ms", trim(ms, 1)),
        ms if ms < 999.5 => format!("{ms:.0} ms"),
        ms if ms < 119_950.0 => format!("{} s", trim(ms / 1_000.0, 1)),
        ms => {
            let whole_s = (ms / 1_000.0).round() as u64;
            format!("{} min {} s", whole_s / 60, whole_s % 60)
        }
    }
}

/// A point in time, in seconds with two decimals, so that points can be compared down a column.
pub(super) fn instant(ms: f64) -> String {
    format!("{:.2} s", ms / 1_000.0)
}

/// A share in percent. Never rounded to 100 unless it is all, nor to 0 unless it is nothing.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "none".to_owned();
    }
    percent_of(part as f64 / whole as f64 * 100.0)
}

/// A percentage, likewise.
pub(super) fn percent_of(value: f64) -> String {
    if value > 0.0 && value < 0.01 {
        return "<0.01 %".to_owned();
    }
    format!("{} %", trim((value * 100.0).floor() / 100.0, 2))
}

/// How much of something tolerable was used up, in two digits, or whole percents beyond it: never rounded across the bound.
pub(super) fn share_of(part: f64, tolerated: f64) -> String {
    match part / tolerated * 100.0 {
        percent if percent > 100.0 => format!("{} %", percent.ceil()),
        percent if percent >= 10.0 => format!("{} %", percent.floor()),
        percent if percent > 0.0 && percent < 0.1 => "<0.1 %".to_owned(),
        percent => format!("{} %", trim((percent * 10.0).floor() / 10.0, 1)),
    }
}

/// A whole number with thousands apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 operation`, `2 operations`.
pub(super) fn plural(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", count(number))
}

/// The first names, so many as a sentence or a cell has room for, and how many more there are.
pub(super) fn few(names: &[String]) -> String {
    const NAMES_MAX: usize = 6;
    match names.len().checked_sub(NAMES_MAX) {
        None | Some(0) => list(names),
        Some(more) => format!("{} and {more} more", names[..NAMES_MAX].join(", ")),
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn list<S: AsRef<str>>(items: &[S]) -> String {
    match items {
        [] => String::new(),
        [only] => only.as_ref().to_owned(),
        [first @ .., last] => {
            let first: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", first.join(", "), last.as_ref())
        }
    }
}

/// A number with at most that many decimals, without trailing zeros.
pub(super) fn trim(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_spelled_out() {
        assert_eq!(clean("a\x1b[2Jb\x07\u{202e}c\n"), "a\\u{1b}[2Jb\\u{7}\\u{202e}c");
        assert_eq!(clean("one\r\ntwo"), "one\\r\\ntwo");
        assert_eq!(clean_prose("one\n  two \x1b[31m\n"), "one two \\u{1b}[31m");
        assert_eq!(clean_lines("one\n\x1b[31mtwo"), ["one", "\\u{1b}[31mtwo"]);
    }

    #[test]
    fn a_long_piece_is_cut() {
        assert_eq!(clean(&"x".repeat(1_000_000)).chars().count(), PIECE_CHARS_MAX + 1);
        assert_eq!(clean_lines(&"x\n".repeat(1_000)).len(), 101);
        assert_eq!(shorten("grün", 4), "grün");
        assert_eq!(shorten("grüner", 4), "grü…");
    }

    #[test]
    fn no_share_is_rounded_to_all_or_nothing() {
        assert_eq!(percent(99_999, 100_000), "99.99 %");
        assert_eq!(percent(1, 1_000_000), "<0.01 %");
        assert_eq!(percent(3, 3), "100 %");
        assert_eq!(percent(0, 3), "0 %");
        assert_eq!(percent(0, 0), "none");
    }

    #[test]
    fn a_share_of_what_is_tolerable_has_two_digits_and_stays_on_its_side_of_the_bound() {
        let shown = [0.0, 0.01, 0.42, 3.87, 38.66, 99.99, 100.0, 100.01, 204.2].map(|part| share_of(part, 100.0));
        assert_eq!(
            shown,
            [
                "0 %", "<0.1 %", "0.4 %", "3.8 %", "38 %", "99 %", "100 %", "101 %", "205 %"
            ]
        );
    }

    #[test]
    fn durations_choose_their_unit() {
        let shown: Vec<String> = [0.0, 0.42, 12.3, 999.6, 17_240.0, 200_000.0].map(duration).into();
        assert_eq!(shown, ["0 ms", "0.4 ms", "12 ms", "1 s", "17.2 s", "3 min 20 s"]);
        assert_eq!(count(1_234_567), "1,234,567");
    }
}
