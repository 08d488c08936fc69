//! `limit-data`: connections are closed after so many bytes.

use std::time::Duration;

use super::Problem;
use super::link::{LinkFault, OnLink, link_fault};
use super::sign::{Shows, Sign};
use crate::link::toxic::{Kind, limit_data};
use crate::plan::Target;

link_fault! {
    /// Parameters of `limit-data`.
    LimitData {
        /// How many bytes come through.
        bytes: u32,
    }
}

impl LinkFault for LimitData<Target> {
    fn on(&self) -> OnLink<'_, Target> {
        self.link()
    }

    fn toxic(&self) -> Option<Kind> {
        Some(Kind::LimitData(limit_data::LimitData {
            bytes: self.bytes.into(),
        }))
    }

    fn sign(&self) -> Sign {
        Sign {
            shows: Shows::Closed {
                not_before: Duration::ZERO,
                bytes_max: self.bytes,
            },
            bytes: self.bytes.saturating_add(16),
        }
    }

    fn words(&self) -> String {
        format!("close connections after {} bytes", self.bytes)
    }

    fn problem(&self) -> Option<Problem> {
        (self.bytes > BYTES_MAX).then(|| Problem {
            path: "bytes".to_owned(),
            message: format!("must be at most {BYTES_MAX}, is {}", self.bytes),
            hint: "a greater number takes too long to be shown".to_owned(),
        })
    }
}

/// The most bytes that a probe can send.
const BYTES_MAX: u32 = 256 * 1_024;
