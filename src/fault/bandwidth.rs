//! `bandwidth`: no more than so many bytes per second pass a link, on each of its connections.

use std::time::Duration;

use super::Problem;
use super::link::{LinkFault, OnLink, link_fault};
use super::sign::{Shows, Sign};
use crate::duration::ByteRate;
use crate::link::toxic::{Kind, bandwidth};
use crate::plan::Target;

link_fault! {
    /// Parameters of `bandwidth`.
    Bandwidth {
        /// Bytes per second: `100KB/s`, `1MB/s`.
        rate: ByteRate,
    }
}

impl LinkFault for Bandwidth<Target> {
    fn on(&self) -> OnLink<'_, Target> {
        self.link()
    }

    fn toxic(&self) -> Option<Kind> {
        Some(Kind::Bandwidth(bandwidth::Bandwidth {
            rate: self.rate.kb_per_s.try_into().unwrap_or(i64::MAX),
        }))
    }

    fn sign(&self) -> Sign {
        let bytes = (self.rate.kb_per_s * 1_000 / PROBES_PER_S).clamp(BYTES_MIN, BYTES_MAX);
        let takes = Duration::from_secs_f64(bytes as f64 / (self.rate.kb_per_s as f64 * 1_000.0));
        Sign {
            shows: Shows::Later(takes.mul_f64(SHARE_SEEN)),
            bytes: bytes.try_into().unwrap_or(u32::MAX),
        }
    }

    fn words(&self) -> String {
        format!("let no more than {} through", self.rate)
    }

    fn problem(&self) -> Option<Problem> {
        (self.rate.kb_per_s > RATE_MAX_KB_PER_S).then(|| Problem {
            path: "rate".to_owned(),
            message: format!("must be at most {}MB/s, is {}", RATE_MAX_KB_PER_S / 1_000, self.rate),
            hint: "a greater one cannot be shown to hold anything up".to_owned(),
        })
    }
}

/// A probe is as long as this part of a second lets through.
const PROBES_PER_S: u64 = 5;
/// Bytes of a probe at least, and at most.
const BYTES_MIN: u64 = 64;
/// See [`BYTES_MIN`].
const BYTES_MAX: u64 = 256 * 1_024;
/// A probe takes at least this share of what its bytes must take at that rate, beyond what it took before.
const SHARE_SEEN: f64 = 0.7;
/// The greatest rate that shows.
const RATE_MAX_KB_PER_S: u64 = 10_000;
