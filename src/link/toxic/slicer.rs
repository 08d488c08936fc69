//! `slicer`: bytes come in small pieces.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Head, OutOfRange, Ruling, Stage, Toxic, out_of_range};
use crate::link::random::Random;

/// Attributes of `slicer`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slicer {
    /// Size of a piece, in bytes, on average.
    #[serde(default)]
    pub average_size: i64,
    /// How many bytes a piece may be longer or shorter; less than the average.
    #[serde(default)]
    pub size_variation: i64,
    /// How long after a piece the next one comes, in microseconds.
    #[serde(default)]
    pub delay: i64,
}

impl Toxic for Slicer {
    fn problem(&self) -> Option<OutOfRange> {
        if self.average_size < 1 {
            return out_of_range("average_size", "1 byte or more");
        }
        if !(0..self.average_size).contains(&self.size_variation) {
            return out_of_range("size_variation", "0 or more, and less than `average_size`");
        }
        if self.delay < 0 {
            return out_of_range("delay", "0 us or more");
        }
        None
    }

    fn stage(&self, now: Instant, random: Random) -> Box<dyn Stage> {
        Box::new(Slicing {
            low: (self.average_size - self.size_variation).max(1).unsigned_abs(),
            high: (self.average_size + self.size_variation).max(1).unsigned_abs(),
            delay: Duration::from_micros(self.delay.max(0).unsigned_abs()),
            next: now,
            random,
        })
    }
}

struct Slicing {
    low: u64,
    high: u64,
    delay: Duration,
    /// When the next piece may go.
    next: Instant,
    random: Random,
}

impl Stage for Slicing {
    fn judge(&mut self, now: Instant, head: &Head<'_>) -> Ruling {
        if now < self.next {
            return Ruling::HoldUntil(self.next);
        }
        if head.is_end() {
            return Ruling::Pass;
        }
        self.next = now + self.delay;
        let size = usize::try_from(self.random.between(self.low, self.high)).unwrap_or(usize::MAX);
        if size < head.size() { Ruling::Split(size) } else { Ruling::Pass }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::toxic::tests::{Run, ms};

    #[test]
    fn pieces_are_small_and_come_one_after_the_other() {
        let mut run = Run::of(&Slicer {
            average_size: 10,
            size_variation: 5,
            delay: 10_000,
        });
        let sent: Vec<u8> = (0..=255).collect();
        run.send(&sent);
        assert_eq!(run.pieces().len(), 1);
        assert_eq!(run.at(ms(10)).pieces().len(), 2);
        run.at(ms(10_000));
        assert_eq!(run.got(), sent);
        let pieces = run.pieces();
        let (last, others) = pieces.split_last().unwrap();
        assert!(others.iter().all(|piece| (5..=15).contains(&piece.len())) && last.len() <= 15);
    }
}
