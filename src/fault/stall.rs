//! `stall`: each request stops at one of its bytes, for a while or until the fault heals.

use super::Problem;
use super::link::{LinkFault, OnLink, link_fault};
use super::sign::{Shows, Sign};
use crate::duration::DurationMs;
use crate::link::toxic::{Kind, stall};
use crate::plan::Target;

link_fault! {
    /// Parameters of `stall`.
    Stall {
        /// The byte that does not come through, counted from 1 in each request (or each answer, downstream).
        byte: u32,
        /// For how long; until the fault heals unless given.
        #[serde(default)]
        duration: DurationMs,
    }
}

impl LinkFault for Stall<Target> {
    fn on(&self) -> OnLink<'_, Target> {
        self.link()
    }

    fn toxic(&self) -> Option<Kind> {
        Some(Kind::Stall(stall::Stall {
            byte: self.byte.into(),
            duration: self.duration.0.try_into().unwrap_or(i64::MAX),
        }))
    }

    fn sign(&self) -> Sign {
        Sign {
            shows: match self.duration.0 {
                0 => Shows::Silent,
                _ => Shows::Later(self.duration.as_duration()),
            },
            bytes: self.byte.saturating_add(16),
        }
    }

    fn words(&self) -> String {
        let how_long = match self.duration.0 {
            0 => String::new(),
            _ => format!(" for {}", self.duration),
        };
        format!("hold each request at byte {}{how_long}", self.byte)
    }

    fn problem(&self) -> Option<Problem> {
        if self.byte > BYTE_MAX {
            return Some(Problem {
                path: "byte".to_owned(),
                message: format!("must be at most {BYTE_MAX}, is {}", self.byte),
                hint: "a greater one takes too long to be shown".to_owned(),
            });
        }
        match self.duration.0 {
            0 => None,
            _ => super::link::at_least_ms("duration", self.duration, 5),
        }
    }
}

/// The most bytes that a probe can send.
const BYTE_MAX: u32 = 256 * 1_024;
