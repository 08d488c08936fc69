//! `slicer`: bytes come in small pieces, one after the other.

use super::Problem;
use super::link::{LinkFault, OnLink, link_fault};
use super::sign::{Shows, Sign};
use crate::duration::DurationMs;
use crate::link::toxic::{Kind, slicer};
use crate::plan::Target;

link_fault! {
    /// Parameters of `slicer`.
    Slicer {
        /// Bytes of a piece, on average.
        average_size: u32,
        /// How many bytes a piece may be longer or shorter. None unless given.
        #[serde(default)]
        size_variation: u32,
        /// How long after a piece the next one comes. At once unless given.
        #[serde(default)]
        delay: DurationMs,
    }
}

impl LinkFault for Slicer<Target> {
    fn on(&self) -> OnLink<'_, Target> {
        self.link()
    }

    fn toxic(&self) -> Option<Kind> {
        Some(Kind::Slicer(slicer::Slicer {
            average_size: self.average_size.into(),
            size_variation: self.size_variation.into(),
            delay: (self.delay.0 * 1_000).try_into().unwrap_or(i64::MAX),
        }))
    }

    fn sign(&self) -> Sign {
        let bytes = self.average_size.saturating_mul(PIECES).clamp(1, BYTES_MAX);
        let longest = self.average_size.saturating_add(self.size_variation).max(1);
        let pauses = bytes.div_ceil(longest).saturating_sub(1);
        Sign {
            shows: match self.delay.0 {
                0 => Shows::Counted,
                _ => Shows::Later(self.delay.as_duration() * pauses),
            },
            bytes,
        }
    }

    fn words(&self) -> String {
        let pauses = match self.delay.0 {
            0 => String::new(),
            _ => format!(", {} apart", self.delay),
        };
        format!("cut into pieces of {} bytes{pauses}", self.average_size)
    }

    fn problem(&self) -> Option<Problem> {
        (self.average_size > BYTES_MAX / 2).then(|| Problem {
            path: "average-size".to_owned(),
            message: format!("must be at most {}, is {}", BYTES_MAX / 2, self.average_size),
            hint: "bigger pieces cannot be shown to be pieces".to_owned(),
        })
    }
}

/// A probe is as long as so many pieces.
const PIECES: u32 = 10;
/// Bytes of a probe at most.
const BYTES_MAX: u32 = 128 * 1_024;
