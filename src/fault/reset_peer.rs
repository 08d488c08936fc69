//! `reset-peer`: connections are reset.

use super::link::{LinkFault, OnLink, link_fault};
use super::sign::{LATE_ENOUGH, Shows, Sign};
use crate::duration::DurationMs;
use crate::link::toxic::{Kind, reset_peer};
use crate::plan::Target;

link_fault! {
    /// Parameters of `reset-peer`.
    ResetPeer {
        /// How long after the first byte that came; at once unless given.
        #[serde(default)]
        timeout: DurationMs,
    }
}

impl LinkFault for ResetPeer<Target> {
    fn on(&self) -> OnLink<'_, Target> {
        self.link()
    }

    fn toxic(&self) -> Option<Kind> {
        Some(Kind::ResetPeer(reset_peer::ResetPeer {
            timeout: self.timeout.0.try_into().unwrap_or(i64::MAX),
        }))
    }

    fn sign(&self) -> Sign {
        let timeout = self.timeout.as_duration();
        Sign::of(match timeout > LATE_ENOUGH {
            true => Shows::Silent,
            false => Shows::Reset { not_before: timeout },
        })
    }

    fn words(&self) -> String {
        match self.timeout.0 {
            0 => "reset connections".to_owned(),
            _ => format!("reset connections after {}", self.timeout),
        }
    }
}
