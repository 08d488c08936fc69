//! `timeout`: nothing passes a link, and its connections are closed after a while. What comes meanwhile is lost.

use super::link::{LinkFault, OnLink, link_fault};
use super::sign::{LATE_ENOUGH, Shows, Sign};
use crate::duration::DurationMs;
use crate::link::toxic::{Kind, timeout};
use crate::plan::Target;

link_fault! {
    /// Parameters of `timeout`.
    Timeout {
        /// How long after the last byte that came a connection is closed; `0ms` is never.
        timeout: DurationMs,
    }
}

impl LinkFault for Timeout<Target> {
    fn on(&self) -> OnLink<'_, Target> {
        self.link()
    }

    fn toxic(&self) -> Option<Kind> {
        Some(Kind::Timeout(timeout::Timeout {
            timeout: self.timeout.0.try_into().unwrap_or(i64::MAX),
        }))
    }

    fn sign(&self) -> Sign {
        let timeout = self.timeout.as_duration();
        Sign::of(match timeout.is_zero() || timeout > LATE_ENOUGH {
            true => Shows::Silent,
            false => Shows::Closed {
                not_before: timeout,
                bytes_max: 0,
            },
        })
    }

    fn words(&self) -> String {
        match self.timeout.0 {
            0 => "let nothing through".to_owned(),
            _ => format!("let nothing through, and close connections after {}", self.timeout),
        }
    }
}
