//! Probes over a part of a run's time: while faults last, and from the last heal on.

use serde::{Deserialize, Serialize};

use super::{PlannedFault, Probe};
use crate::duration::DurationMs;

/// A probe, and over which part of the time of faults, or of the time after them, it is judged.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WindowedProbe {
    /// What is measured, and its bound.
    #[serde(flatten)]
    pub probe: Probe,
    /// So much of the beginning is not judged, in milliseconds: of each fault's time, from its effect, or of the time
    /// after the last heal.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub after_ms: u64,
    /// The fault whose time alone is judged, by its position in the method; that of all unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<u32>,
}

fn is_zero(ms: &u64) -> bool {
    *ms == 0
}

impl WindowedProbe {
    /// A probe over all the time of faults, or after them.
    pub fn whole(probe: Probe) -> Self {
        Self {
            probe,
            after_ms: 0,
            fault: None,
        }
    }

    /// Over which part of the time of faults it is judged, in words; none where that is all of it.
    pub fn part_of_faults(&self, faults: &[PlannedFault]) -> Option<String> {
        let named = self.fault.and_then(|id| faults.iter().find(|fault| fault.id == id));
        let after = DurationMs(self.after_ms);
        match (named, self.after_ms) {
            (None, 0) => None,
            (None, _) => Some(format!("from {after} after each fault's effect")),
            (Some(fault), 0) => Some(format!("while `{}` lasts", fault.name)),
            (Some(fault), _) => Some(format!("while `{}` lasts, from {after} after its effect", fault.name)),
        }
    }

    /// Over which part of the time after the last heal it is judged, in words; none where that is all of it.
    pub fn part_of_afterwards(&self) -> Option<String> {
        let after = DurationMs(self.after_ms);
        (self.after_ms > 0).then(|| format!("from {after} after the last heal"))
    }
}
