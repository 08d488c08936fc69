//! `slow-close`: the end of a connection comes later than its last byte.

use super::Problem;
use super::link::{LinkFault, OnLink, link_fault};
use super::sign::{LATE_ENOUGH, Shows, Sign};
use crate::duration::DurationMs;
use crate::link::toxic::{Kind, slow_close};
use crate::plan::Target;

link_fault! {
    /// Parameters of `slow-close`.
    SlowClose {
        /// How much later.
        delay: DurationMs,
    }
}

impl LinkFault for SlowClose<Target> {
    fn on(&self) -> OnLink<'_, Target> {
        self.link()
    }

    fn toxic(&self) -> Option<Kind> {
        Some(Kind::SlowClose(slow_close::SlowClose {
            delay: self.delay.0.try_into().unwrap_or(i64::MAX),
        }))
    }

    fn sign(&self) -> Sign {
        Sign::of(Shows::LateEnd(self.delay.as_duration().min(LATE_ENOUGH)))
    }

    fn words(&self) -> String {
        format!("close connections {} late", self.delay)
    }

    fn problem(&self) -> Option<Problem> {
        super::link::at_least_ms("delay", self.delay, 10)
    }
}
