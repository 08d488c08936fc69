//! Goes through a saved history once and keeps sums, not operations: in bounded memory, whatever its length.
//!
//! Large files are gone through in parts, one per thread. Lines of final reads and of heartbeats are passed over unread: who
//! wants those, or the first broken one of all lines, reads the whole by [`super::load`].

use std::fs::File;
use std::io;
use std::num::NonZero;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::line::Cursor;
use super::load::HistoryError;
use super::{Op, Record, Sample};

/// What is kept of a history. Every part of the file has one of its own, and they are joined in the end.
pub trait Keeper: Send {
    /// Notes an operation. They come in the order of completion within a part.
    fn op(&mut self, op: &Op<'_>);

    /// Notes a reading of a gauge.
    fn sample(&mut self, sample: &Sample<'_>);

    /// Takes in what a later part of the file gave.
    fn join(&mut self, later: Self);
}

/// Why a history cannot be gone through.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The file cannot be read.
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    /// A line is no record.
    #[error(transparent)]
    Broken(#[from] HistoryError),
}

/// How a file is gone through.
#[derive(Clone, Copy)]
struct Steps {
    parts_max: usize,
    /// Bytes read at a time; a line that is longer is read whole all the same.
    step_bytes: usize,
}

/// More threads than this gain little: memory is the limit by then.
const PARTS_MAX: usize = 4;
/// Below this size a second thread costs more than it gains.
const PART_BYTES_MIN: u64 = 1 << 22;
const STEP_BYTES: usize = 1 << 20;

/// Lines that begin so are passed over.
const PASSED_OVER: [&str; 3] = [r#"{"item":"#, r#"{"read":"#, r#"{"heartbeat":"#];

/// Goes through `history.jsonl`. A last line that was cut off, as a harness that is killed leaves it, is left out.
pub fn through<K: Keeper>(path: &Path, keeper: impl Fn() -> K + Sync) -> Result<K, PassError> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let worth = (length / PART_BYTES_MIN).min(PARTS_MAX as u64) as usize;
    let steps = Steps {
        parts_max: cores.min(worth).max(1),
        step_bytes: STEP_BYTES,
    };
    in_parts(&file, length, steps, keeper)
}

fn in_parts<K: Keeper>(file: &File, length: u64, steps: Steps, keeper: impl Fn() -> K + Sync) -> Result<K, PassError> {
    let parts = parts(file, length, steps)?;
    let go = |part: Range<u64>| {
        let mut kept = keeper();
        through_part(file, part, steps.step_bytes, &mut kept).map(|()| kept)
    };
    let kept: Vec<Result<K, Failure>> = std::thread::scope(|scope| {
        let threads: Vec<_> = parts.into_iter().map(|part| scope.spawn(|| go(part))).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.map(|kept| kept.expect("keepers do not panic")).collect()
    });
    let mut joined = keeper();
    // The first part that failed has the first broken line.
    for kept in kept {
        match kept {
            Ok(kept) => joined.join(kept),
            Err(Failure::Unreadable(error)) => return Err(error.into()),
            Err(Failure::Broken(broken)) => return Err(broken.at_its_line(file)?.into()),
        }
    }
    Ok(joined)
}

/// Parts of whole lines. Only the last may end within a line.
fn parts(file: &File, length: u64, steps: Steps) -> io::Result<Vec<Range<u64>>> {
    let mut parts = Vec::new();
    let mut start = 0;
    for number in 1..=steps.parts_max as u64 {
        let end = match number == steps.parts_max as u64 {
            true => length,
            false => line_start(file, length / steps.parts_max as u64 * number, length, steps)?,
        };
        if end > start {
            parts.push(start..end);
            start = end;
        }
    }
    Ok(parts)
}

/// Where the first line begins at `offset` or after it.
fn line_start(file: &File, offset: u64, length: u64, steps: Steps) -> io::Result<u64> {
    let Some(mut at) = offset.checked_sub(1) else {
        return Ok(0);
    };
    let mut bytes = vec![0; steps.step_bytes];
    while at < length {
        let step = &mut bytes[..((length - at) as usize).min(steps.step_bytes)];
        file.read_exact_at(step, at)?;
        if let Some(newline) = step.iter().position(|byte| *byte == b'\n') {
            return Ok(at + newline as u64 + 1);
        }
        at += step.len() as u64;
    }
    Ok(length)
}

enum Failure {
    Unreadable(io::Error),
    Broken(Broken),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// A line that is no record.
struct Broken {
    /// Where in the file it begins.
    offset: u64,
    reason: String,
    excerpt: String,
}

impl Broken {
    fn at_its_line(self, file: &File) -> io::Result<HistoryError> {
        let mut line = 1;
        let mut bytes = vec![0; STEP_BYTES];
        let mut at = 0;
        while at < self.offset {
            let step = &mut bytes[..((self.offset - at) as usize).min(STEP_BYTES)];
            file.read_exact_at(step, at)?;
            line += step.iter().filter(|byte| **byte == b'\n').count() as u64;
            at += step.len() as u64;
        }
        Ok(HistoryError {
            line,
            reason: self.reason,
            excerpt: self.excerpt,
        })
    }
}

fn through_part(file: &File, part: Range<u64>, step_bytes: usize, keeper: &mut impl Keeper) -> Result<(), Failure> {
    let mut bytes = vec![0; step_bytes];
    let mut at = part.start;
    while at < part.end {
        let left = part.end - at;
        let read = left.min(bytes.len() as u64) as usize;
        let step = &mut bytes[..read];
        file.read_exact_at(step, at)?;
        match step.iter().rposition(|byte| *byte == b'\n') {
            Some(newline) => {
                let whole = &step[..=newline];
                lines(whole, keeper).map_err(|broken| broken.from(at))?;
                at += whole.len() as u64;
            }
            // The end of the file: a record whose line end alone is missing is whole.
            None if read as u64 == left => {
                if let Ok(record) = serde_json::from_slice(step) {
                    keep(record, keeper);
                }
                at = part.end;
            }
            None => bytes.resize(bytes.len() * 2, 0),
        }
    }
    Ok(())
}

impl Broken {
    fn new(offset: usize, line: &[u8], reason: String) -> Self {
        const EXCERPT_CHARS: usize = 120;
        let excerpt = String::from_utf8_lossy(line);
        Self {
            offset: offset as u64,
            reason,
            excerpt: excerpt.trim_end().chars().take(EXCERPT_CHARS).collect(),
        }
    }

    fn from(self, start: u64) -> Failure {
        Failure::Broken(Self {
            offset: start + self.offset,
            ..self
        })
    }
}

/// Goes through whole lines.
fn lines(bytes: &[u8], keeper: &mut impl Keeper) -> Result<(), Broken> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let before = &bytes[..error.valid_up_to()];
            let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let line = bytes[start..].split(|byte| *byte == b'\n').next().unwrap_or_default();
            return Err(Broken::new(start, line, "not UTF-8".to_owned()));
        }
    };
    let mut rest = text;
    while !rest.is_empty() {
        let mut cursor = Cursor::new(rest);
        if let Some(op) = cursor.op() {
            keeper.op(&op);
            rest = cursor.rest();
            continue;
        }
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        if !PASSED_OVER.iter().any(|start| line.starts_with(start)) {
            let offset = text.len() - rest.len();
            let record = serde_json::from_str(line);
            keep(
                record.map_err(|error| Broken::new(offset, line.as_bytes(), error.to_string()))?,
                keeper,
            );
        }
        rest = after;
    }
    Ok(())
}

fn keep(record: Record<'_>, keeper: &mut impl Keeper) {
    match record {
        Record::Op(op) => keeper.op(&op),
        Record::Sample(sample) => keeper.sample(&sample),
        Record::Item(_) | Record::Read(_) | Record::Heartbeat(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::load::History;

    /// Keeps everything, to be compared with what [`History`] reads.
    #[derive(Debug, Default, PartialEq)]
    struct All {
        ops: Vec<String>,
        samples: Vec<u64>,
    }

    impl Keeper for All {
        fn op(&mut self, op: &Op<'_>) {
            self.ops.push(format!("{} {} {:?}", op.key, op.intended_us, op.outcome));
        }

        fn sample(&mut self, sample: &Sample<'_>) {
            self.samples.push(sample.at_us);
        }

        fn join(&mut self, later: Self) {
            self.ops.extend(later.ops);
            self.samples.extend(later.samples);
        }
    }

    fn text(lines: usize) -> String {
        let line = |number: usize| match number % 4 {
            0 => format!(r#"{{"sample":{{"metric":"queue","at_us":{number},"value":{number}.5}}}}"#),
            1 => format!(r#"{{"item":{{"read":"orders","element":"buy-{number}","fields":{{"n":1}}}}}}"#),
            // With a space, as the quick reader does not know it.
            2 => format!(
                r#"{{"op": {{"kind":"buy","key":"é-{number}","intended_us":{number},"done_us":9,"outcome":"info","attempts":1}}}}"#
            ),
            _ => format!(
                r#"{{"op":{{"kind":"buy","key":"buy-{number}","intended_us":{number},"done_us":9,"outcome":"ok","attempts":1,"values":{{"amount":{number}}}}}}}"#
            ),
        };
        (0..lines).map(|number| line(number) + "\n").collect()
    }

    fn kept(text: &str, steps: Steps) -> Result<All, PassError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        std::fs::write(&path, text).unwrap();
        in_parts(&File::open(&path).unwrap(), text.len() as u64, steps, All::default)
    }

    fn read(text: &str) -> All {
        let history = History::parse(text).unwrap();
        let mut all = All::default();
        history.ops.iter().for_each(|op| all.op(op));
        history.samples.iter().for_each(|sample| all.sample(sample));
        all
    }

    #[test]
    fn it_meets_what_reading_the_whole_meets_however_it_is_cut() {
        let text = text(200);
        let whole = read(&text);
        assert_eq!((whole.ops.len(), whole.samples.len()), (100, 50));
        for parts_max in [1, 2, 3, 7] {
            for step_bytes in [1, 16, 100, 333, 4_096, 1 << 20] {
                let steps = Steps { parts_max, step_bytes };
                assert_eq!(
                    kept(&text, steps).unwrap(),
                    whole,
                    "{parts_max} parts, {step_bytes} bytes"
                );
            }
        }
    }

    #[test]
    fn a_last_line_that_was_cut_off_is_left_out_and_one_without_its_end_is_not() {
        let steps = Steps {
            parts_max: 2,
            step_bytes: 64,
        };
        let text = text(8);
        let whole = read(&text);
        assert_eq!(kept(text.trim_end(), steps).unwrap(), whole);
        let cut = kept(&text[..text.len() - 20], steps).unwrap();
        assert_eq!(cut.ops, whole.ops[..whole.ops.len() - 1]);
        assert_eq!(kept("", steps).unwrap(), All::default());
    }

    #[test]
    fn a_broken_line_is_named() {
        let text = text(40) + "{\"op\":{\"kind\":3}}\n" + &text(40);
        for parts_max in [1, 3] {
            let steps = Steps {
                parts_max,
                step_bytes: 128,
            };
            match kept(&text, steps) {
                Err(PassError::Broken(error)) => {
                    assert_eq!((error.line, error.excerpt.as_str()), (41, "{\"op\":{\"kind\":3}}"));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
