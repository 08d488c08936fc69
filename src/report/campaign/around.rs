//! The lines of replicas' logs around an operation: those that name it, and those that were written at about that time.
//!
//! A log has the times that its program wrote into it, which is what is looked for: a date and a time at the beginning of a
//! line, as PostgreSQL and most loggers write them. Lines without one are found by the operation's key alone.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::model::LogLine;
use crate::verdict::Violation;

/// Lines shown of one violation.
const LINES_MAX: usize = 12;
/// Of these, lines that name its key.
const NAMING_MAX: usize = 8;
/// Characters of a line.
const LINE_CHARS_MAX: usize = 200;
/// Bytes of a log that are looked through.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a line that are looked at.
const LINE_BYTES_MAX: u64 = 1 << 16;
/// Milliseconds before and after the violation of which lines are shown.
const BEFORE_MS: f64 = 1_000.0;
const AFTER_MS: f64 = 3_000.0;
/// A shorter key would be found everywhere.
const KEY_CHARS_MIN: usize = 4;

/// What is looked for.
struct Search<'a> {
    key: Option<&'a str>,
    at_ms: Option<f64>,
    naming: Vec<LogLine>,
    /// The nearest in time so far, each with its distance.
    near: Vec<(f64, LogLine)>,
}

/// Looks through the logs of a run once, for all violations. The lines of each, and what they were found by.
pub(super) fn look(logs: &Path, epoch_unix_ms: Option<i64>, violations: &[&Violation]) -> Vec<(Vec<LogLine>, String)> {
    let mut searches: Vec<Search<'_>> = violations.iter().map(|violation| Search::of(violation)).collect();
    let files = files(logs);
    if !searches.is_empty() {
        for (replica, path) in &files {
            // A log that cannot be read has no lines to show.
            let _ = through(path, |line| {
                for search in &mut searches {
                    search.see(replica, line, epoch_unix_ms);
                }
            });
        }
    }
    searches.into_iter().map(|search| search.finish(files.len())).collect()
}

/// The logs with their replicas, by name.
fn files(logs: &Path) -> Vec<(String, std::path::PathBuf)> {
    let entries = std::fs::read_dir(logs).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .filter_map(|entry| {
            let path = entry.path();
            let replica = path.file_stem()?.to_str()?.to_owned();
            path.is_file().then_some((replica, path))
        })
        .collect();
    files.sort();
    files
}

fn through(path: &Path, mut see: impl FnMut(&str)) -> std::io::Result<()> {
    let mut log = BufReader::new(File::open(path)?.take(LOG_BYTES_MAX));
    let mut line = Vec::new();
    loop {
        line.clear();
        if log.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        see(String::from_utf8_lossy(&line).trim_end());
    }
}

impl<'a> Search<'a> {
    fn of(violation: &'a Violation) -> Self {
        Self {
            key: violation
                .key
                .as_deref()
                .filter(|key| key.chars().count() >= KEY_CHARS_MIN),
            at_ms: violation.at_ms,
            naming: Vec::new(),
            near: Vec::new(),
        }
    }

    fn see(&mut self, replica: &str, line: &str, epoch_unix_ms: Option<i64>) {
        let names_it = self.naming.len() < NAMING_MAX && self.key.is_some_and(|key| names(line, key));
        let at_ms = || Some((unix_ms(line)? - epoch_unix_ms?) as f64);
        let found = |at_ms| LogLine {
            replica: replica.to_owned(),
            at_ms,
            text: shortened(line),
        };
        if names_it {
            self.naming.push(found(at_ms()));
            return;
        }
        let Some(violated_ms) = self.at_ms else { return };
        let Some(written_ms) = at_ms() else { return };
        if !(violated_ms - BEFORE_MS..=violated_ms + AFTER_MS).contains(&written_ms) {
            return;
        }
        let distance = (written_ms - violated_ms).abs();
        let place = self.near.partition_point(|(known, _)| *known <= distance);
        if place < LINES_MAX {
            self.near.insert(place, (distance, found(Some(written_ms))));
            self.near.truncate(LINES_MAX);
        }
    }

    fn finish(self, logs: usize) -> (Vec<LogLine>, String) {
        let (naming, near) = (self.naming.len(), LINES_MAX - self.naming.len());
        let near = near.min(self.near.len());
        let mut lines = self.naming;
        lines.extend(self.near.into_iter().take(near).map(|(_, line)| line));
        // Those without a time come first, in the order of the logs.
        lines.sort_by(|one, other| {
            let at = |line: &LogLine| line.at_ms.unwrap_or(f64::NEG_INFINITY);
            at(one).total_cmp(&at(other))
        });
        let note = match (logs, naming, near) {
            (0, ..) => "No logs are in the run's folder.",
            (_, 0, 0) => "No line of the logs names it, and none that has a time is of about that time.",
            (_, 0, _) => "Lines of about that time; none names it.",
            (_, _, 0) => "Lines that name it.",
            (..) => "Lines that name it, and lines of about that time.",
        };
        (lines, note.to_owned())
    }
}

/// Whether a line has the key, and not as a part of a longer word or number.
fn names(line: &str, key: &str) -> bool {
    line.match_indices(key).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + key.len()..].chars().next();
        let goes_on = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        !goes_on(before) && !goes_on(after)
    })
}

fn shortened(line: &str) -> String {
    match line.char_indices().nth(LINE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// The time at the beginning of a line, in milliseconds since 1970-01-01 UTC: `2026-11-30 05:58:34.230 GMT`, RFC 3339, and
/// with slashes between the parts of the date. Without a zone it is taken to be UTC, as containers have it.
fn unix_ms(line: &str) -> Option<i64> {
    let line = line.trim_start_matches(['[', '"']);
    let (date, rest) = line.split_at_checked(10)?;
    let date = date.replace('/', "-");
    let rest = rest.strip_prefix(['T', ' '])?;
    let end = rest
        .find(|c: char| !c.is_ascii_digit() && !":.,".contains(c))
        .unwrap_or(rest.len());
    let (time, zone) = rest.split_at(end);
    let time = time.trim_end_matches([':', ',', '.']).replace(',', ".");
    let civil: jiff::civil::DateTime = format!("{date}T{time}").parse().ok()?;
    let offset_s = offset_s(zone.trim_start())?;
    let utc = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(utc.timestamp().as_millisecond() - offset_s * 1_000)
}

/// The seconds that a zone is ahead of UTC. Of one that is known by name only nothing can be said.
fn offset_s(zone: &str) -> Option<i64> {
    let sign = match zone.chars().next() {
        Some('+') => 1,
        Some('-') => -1,
        _ => {
            let name: String = zone.chars().take_while(char::is_ascii_alphabetic).collect();
            return (!is_other_zone(&name)).then_some(0);
        }
    };
    let digits: String = zone[1..]
        .chars()
        .filter(|c| *c != ':')
        .take_while(char::is_ascii_digit)
        .take(4)
        .collect();
    let (hours, minutes) = (digits.get(..2)?, digits.get(2..4).unwrap_or("0"));
    Some(sign * (hours.parse::<i64>().ok()? * 3_600 + minutes.parse::<i64>().ok()? * 60))
}

/// Whether a word after a time looks like a zone's name, such as `CET`, and is neither UTC nor the level of a message.
fn is_other_zone(word: &str) -> bool {
    const NO_ZONES: [&str; 7] = ["UTC", "GMT", "INFO", "WARN", "ERR", "LOG", "NOTE"];
    let is_name = (3..=4).contains(&word.len()) && word.chars().all(|c| c.is_ascii_uppercase());
    is_name && !NO_ZONES.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: i64 = 1_796_018_314_230;

    #[test]
    fn times_are_read_as_loggers_write_them() {
        for line in [
            "2026-11-30 05:58:34.230 GMT [1] LOG:  starting PostgreSQL",
            "2026-11-30T05:58:34.230Z INFO ready",
            "[2026-11-30T06:58:34.230+01:00] ready",
            "2026/11/30 05:58:34,230 ready",
            "2026-11-30 00:28:34.230-0530 ready",
            "2026-11-30 05:58:34.230 UTC ready",
            "2026-11-30 05:58:34.230 INFO paid",
        ] {
            assert_eq!(unix_ms(line), Some(AT), "{line}");
        }
        for line in [
            "listening port=8080",
            "2026-11-30",
            "",
            "é",
            "2026-13-30 05:58:34 GMT",
            "2026-11-30 05:58:34 CET ready",
            "mode online 2026-11-30 05:58:34 GMT",
        ] {
            assert_eq!(unix_ms(line), None, "{line}");
        }
    }

    #[test]
    fn a_key_is_no_part_of_another() {
        assert!(names("paid key=buy-41 in 3 ms", "buy-41"));
        assert!(names("`buy-41`", "buy-41"));
        assert!(!names("paid key=buy-412", "buy-41"));
        assert!(names("buy-412, then buy-41", "buy-41"));
    }

    #[test]
    fn lines_are_found_by_key_and_by_time_and_are_few() {
        let folder = tempfile::tempdir().unwrap();
        let database: String = (0..60)
            .map(|second| format!("2026-11-30 05:58:{second:02}.000 GMT [1] LOG:  checkpoint {second}\n"))
            .collect();
        std::fs::write(folder.path().join("database-1.log"), database).unwrap();
        let api = format!("listening\npaid buy-41 {}\nrefused buy-42\n", "x".repeat(500));
        std::fs::write(folder.path().join("api-1.log"), api).unwrap();
        let violation = |at_ms, key: Option<&str>| Violation {
            at_ms,
            operation: None,
            key: key.map(str::to_owned),
            text: String::new(),
        };
        // The load started at 05:58:00.
        let epoch = Some(AT - 34_230);
        let wanted = [
            violation(Some(34_230.0), Some("buy-41")),
            violation(None, Some("x")),
            violation(Some(-5_000.0), None),
        ];
        let found = look(folder.path(), epoch, &wanted.iter().collect::<Vec<_>>());
        let (lines, note) = &found[0];
        assert_eq!(note, "Lines that name it, and lines of about that time.");
        let of = |line: &LogLine| (line.replica.clone(), line.at_ms);
        let told: Vec<_> = lines.iter().map(of).collect();
        let database = |second: f64| ("database-1".to_owned(), Some(second * 1_000.0));
        assert_eq!(
            told,
            [
                ("api-1".to_owned(), None),
                database(34.0),
                database(35.0),
                database(36.0),
                database(37.0)
            ]
        );
        assert_eq!(lines[0].text.chars().count(), LINE_CHARS_MAX + 1);
        for (lines, note) in &found[1..] {
            assert!(lines.is_empty());
            assert_eq!(
                note,
                "No line of the logs names it, and none that has a time is of about that time."
            );
        }
        let (_, note) = &look(&folder.path().join("none"), epoch, &[&wanted[0]])[0];
        assert_eq!(note, "No logs are in the run's folder.");
    }

    #[test]
    fn a_busy_second_shows_the_nearest_lines() {
        let folder = tempfile::tempdir().unwrap();
        let busy: String = (0..900)
            .map(|ms| format!("2026-11-30T05:58:34.{ms:03}Z line {ms}\n"))
            .collect();
        std::fs::write(folder.path().join("api-1.log"), busy).unwrap();
        let violation = Violation {
            at_ms: Some(34_500.0),
            operation: None,
            key: None,
            text: String::new(),
        };
        let (lines, _) = &look(folder.path(), Some(AT - 34_230), &[&violation])[0];
        let told: Vec<f64> = lines.iter().filter_map(|line| line.at_ms).collect();
        assert_eq!(told.len(), LINES_MAX);
        assert!(told.iter().all(|at_ms| (at_ms - 34_500.0).abs() <= 6.0), "{told:?}");
    }
}
