//! Reads a saved history into memory, borrowing from its text.
//!
//! Large histories are read in pieces, one per thread, and joined in order: the result does not depend on how many.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::line::Cursor;
use super::{Heartbeat, Item, Op, Read, Record, Sample};

/// A saved history, as the checkers and the reports see it.
#[derive(Debug, Default, PartialEq)]
pub struct History<'a> {
    /// Every operation, in the order of completion.
    pub ops: Vec<Op<'a>>,
    /// Every gauge reading, in the order of time.
    pub samples: Vec<Sample<'a>>,
    /// Every heartbeat, in the order in which they ended.
    pub heartbeats: Vec<Heartbeat<'a>>,
    /// Every final read, by name.
    pub reads: BTreeMap<String, FinalList<'a>>,
    /// The number of a last line that was cut off, as a harness that is killed leaves it. Nothing of that line is here.
    pub truncated: Option<u64>,
}

/// What a final read gave.
#[derive(Debug, Default, PartialEq)]
pub struct FinalList<'a> {
    /// Its items.
    pub items: Vec<Item<'a>>,
    /// Whether it ran to its end and every item it counted is here.
    pub complete: bool,
    /// Whether the system did not answer it to its end.
    pub failed: bool,
    /// Why it is not complete.
    pub problem: Option<String>,
}

/// A history that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "history.jsonl, line {line}: {reason}\n  | {excerpt}\n  hint: the history is evidence and must not be edited; judge the run from an untouched copy"
)]
pub struct HistoryError {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
    /// How it begins.
    pub excerpt: String,
}

/// The bytes of a saved history, on all cores: a third of the time it takes to judge one is spent here otherwise.
pub fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let length = usize::try_from(length).map_err(|_| std::io::Error::from(std::io::ErrorKind::FileTooLarge))?;
    let mut bytes = vec![0; length];
    let piece = length.div_ceil(pieces_max(length)).max(1);
    std::thread::scope(|scope| {
        let pieces = bytes.chunks_mut(piece).enumerate();
        let file = &file;
        let threads: Vec<_> = pieces
            .map(|(number, piece_of)| scope.spawn(move || file.read_exact_at(piece_of, (number * piece) as u64)))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("reading does not panic"))
    })?;
    Ok(bytes)
}

/// How many pieces a text of so many bytes is worth.
fn pieces_max(bytes: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    cores.min(PIECES_MAX).min(bytes / PIECE_BYTES_MIN).max(1)
}

/// Below this size a second thread costs more than it gains.
const PIECE_BYTES_MIN: usize = 1 << 20;

/// More threads than this gain little: memory is the limit by then.
const PIECES_MAX: usize = 4;

impl<'a> History<'a> {
    /// Reads `history.jsonl`. A last line that was cut off is left out and noted in [`History::truncated`]; any other
    /// line that is not a record is an error.
    pub fn parse<T: AsRef<[u8]> + ?Sized>(text: &'a T) -> Result<Self, HistoryError> {
        let text = text.as_ref();
        Self::parse_in_pieces(text, pieces_max(text.len()))
    }

    fn parse_in_pieces(text: &'a [u8], pieces_max: usize) -> Result<Self, HistoryError> {
        let (whole, last) = text.split_at(after_last_newline(text));
        let pieces = split_lines(whole, pieces_max);
        let parsed = parse_all(&pieces);
        let mut joined = Pieces::default();
        let mut start = 0;
        for (piece, parsed) in pieces.iter().zip(parsed) {
            let piece_start = start;
            start += piece.len();
            let parsed = parsed.map_err(|broken| broken.at(&whole[..piece_start + broken.offset]))?;
            joined.append(parsed);
        }
        let mut truncated = None;
        if !last.is_empty() {
            // A record whose line end alone is missing is whole: JSON objects say where they end.
            match std::str::from_utf8(last)
                .ok()
                .and_then(|line| serde_json::from_str(line).ok())
            {
                Some(record) => joined.add(record),
                None => truncated = Some(line_number(whole)),
            }
        }
        Ok(joined.finish(truncated))
    }
}

fn after_last_newline(text: &[u8]) -> usize {
    text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

/// The number of the line that begins where `before` ends.
fn line_number(before: &[u8]) -> u64 {
    before.iter().filter(|byte| **byte == b'\n').count() as u64 + 1
}

/// Splits whole lines into at most `pieces_max` pieces of whole lines.
fn split_lines(text: &[u8], pieces_max: usize) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = text;
    for left in (2..=pieces_max).rev() {
        let (piece, after) = rest.split_at(after_last_newline(&rest[..rest.len() / left]));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

fn parse_all<'a>(pieces: &[&'a [u8]]) -> Vec<Result<Pieces<'a>, Broken>> {
    let [first, others @ ..] = pieces else {
        return Vec::new();
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = others.iter().map(|piece| scope.spawn(|| parse_piece(piece))).collect();
        let mut parsed = vec![parse_piece(first)];
        parsed.extend(
            threads
                .into_iter()
                .map(|thread| thread.join().expect("parsing does not panic")),
        );
        parsed
    })
}

/// A line that is not a record.
struct Broken {
    /// Where it begins in its piece.
    offset: usize,
    reason: String,
    excerpt: String,
}

impl Broken {
    fn new(offset: usize, line: &[u8], reason: String) -> Self {
        const EXCERPT_CHARS: usize = 120;
        let excerpt = String::from_utf8_lossy(line);
        let excerpt = excerpt.trim_end().chars().take(EXCERPT_CHARS).collect();
        Self {
            offset,
            reason,
            excerpt,
        }
    }

    fn at(&self, before: &[u8]) -> HistoryError {
        HistoryError {
            line: line_number(before),
            reason: self.reason.clone(),
            excerpt: self.excerpt.clone(),
        }
    }
}

fn parse_piece(piece: &[u8]) -> Result<Pieces<'_>, Broken> {
    let text = match std::str::from_utf8(piece) {
        Ok(text) => text,
        Err(error) => {
            let valid = error.valid_up_to();
            let start = after_last_newline(&piece[..valid]);
            let line = piece[start..].split(|byte| *byte == b'\n').next().unwrap_or_default();
            // A broken line before this one is the one to name.
            parse_text(std::str::from_utf8(&piece[..start]).expect("valid up to there"))?;
            return Err(Broken::new(start, line, "not UTF-8".to_owned()));
        }
    };
    parse_text(text)
}

fn parse_text(text: &str) -> Result<Pieces<'_>, Broken> {
    let mut pieces = Pieces::default();
    let mut rest = text;
    while !rest.is_empty() {
        let mut cursor = Cursor::new(rest);
        if let Some(mut op) = cursor.op() {
            pieces.names.intern(&mut op.kind);
            op.error.iter_mut().for_each(|error| pieces.names.intern(error));
            pieces.ops.push(op);
            rest = cursor.rest();
            continue;
        }
        let mut cursor = Cursor::new(rest);
        if let Some(mut item) = cursor.item() {
            pieces.names.intern(&mut item.read);
            pieces.list(&item.read).items.push(item);
            rest = cursor.rest();
            continue;
        }
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        match serde_json::from_str(line) {
            Ok(record) => pieces.add(record),
            Err(error) => {
                let offset = text.len() - rest.len();
                return Err(Broken::new(offset, line.as_bytes(), error.to_string()));
            }
        }
        rest = after;
    }
    Ok(pieces)
}

/// The few names that stand in every line. All lines share the first spelling of each, so that whoever compares them
/// later does not wait for the memory of a million others.
#[derive(Default)]
struct Names<'a>(Vec<&'a str>);

impl<'a> Names<'a> {
    fn intern(&mut self, name: &mut Cow<'a, str>) {
        const FEW: usize = 64;
        let Cow::Borrowed(text) = *name else { return };
        match self.0.iter().find(|known| **known == text) {
            Some(known) => *name = Cow::Borrowed(known),
            None if self.0.len() < FEW => self.0.push(text),
            None => {}
        }
    }
}

/// A history in the making.
#[derive(Default)]
struct Pieces<'a> {
    names: Names<'a>,
    ops: Vec<Op<'a>>,
    samples: Vec<Sample<'a>>,
    heartbeats: Vec<Heartbeat<'a>>,
    /// Few: looked through, the last one used first.
    lists: Vec<List<'a>>,
    last_list: usize,
}

struct List<'a> {
    read: Cow<'a, str>,
    items: Vec<Item<'a>>,
    ends: Vec<Read<'a>>,
}

impl<'a> Pieces<'a> {
    fn add(&mut self, record: Record<'a>) {
        match record {
            Record::Op(op) => self.ops.push(op),
            Record::Sample(sample) => self.samples.push(sample),
            Record::Item(item) => self.list(&item.read).items.push(item),
            Record::Heartbeat(heartbeat) => self.heartbeats.push(heartbeat),
            Record::Read(read) => self.list(&read.read).ends.push(read),
        }
    }

    fn list(&mut self, read: &Cow<'a, str>) -> &mut List<'a> {
        let is_it = |list: &List<'_>| list.read == *read;
        if !self.lists.get(self.last_list).is_some_and(is_it) {
            self.last_list = self.lists.iter().position(is_it).unwrap_or_else(|| {
                self.lists.push(List {
                    read: read.clone(),
                    items: Vec::new(),
                    ends: Vec::new(),
                });
                self.lists.len() - 1
            });
        }
        &mut self.lists[self.last_list]
    }

    fn append(&mut self, mut later: Pieces<'a>) {
        append(&mut self.ops, &mut later.ops);
        append(&mut self.samples, &mut later.samples);
        append(&mut self.heartbeats, &mut later.heartbeats);
        for mut list in later.lists {
            let known = self.list(&list.read);
            append(&mut known.items, &mut list.items);
            known.ends.append(&mut list.ends);
        }
    }

    fn finish(self, truncated: Option<u64>) -> History<'a> {
        let finished = self
            .lists
            .into_iter()
            .map(|list| (list.read.to_string(), list.finish()));
        History {
            ops: self.ops,
            samples: self.samples,
            heartbeats: self.heartbeats,
            reads: finished.collect(),
            truncated,
        }
    }
}

/// Appends without a copy where there is nothing yet, and without room to spare otherwise.
fn append<T>(earlier: &mut Vec<T>, later: &mut Vec<T>) {
    if earlier.is_empty() {
        std::mem::swap(earlier, later);
    } else {
        earlier.reserve_exact(later.len());
        earlier.append(later);
    }
}

impl<'a> List<'a> {
    fn finish(self) -> FinalList<'a> {
        let count = self.items.len() as u64;
        let failed = self.ends.iter().any(|end| end.error.is_some());
        let problem = match &self.ends[..] {
            [] => Some("it has no end".to_owned()),
            [Read { error: Some(error), .. }] => Some(error.to_string()),
            [end] if end.items != count => Some(format!("it counted {} items, {count} are recorded", end.items)),
            [_] => None,
            ends => Some(format!("it was made {} times", ends.len())),
        };
        FinalList {
            items: self.items,
            complete: problem.is_none(),
            failed,
            problem,
        }
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
