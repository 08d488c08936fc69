//! `reset_peer`: the connection is reset as soon as something is sent, or a while after.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Head, OutOfRange, Ruling, Stage, Toxic, millis, out_of_range};
use crate::link::random::Random;

/// Attributes of `reset_peer`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetPeer {
    /// How long after it was sent the first byte leads to the reset, in milliseconds. It does not come through.
    #[serde(default)]
    pub timeout: i64,
}

impl Toxic for ResetPeer {
    fn problem(&self) -> Option<OutOfRange> {
        if self.timeout < 0 {
            return out_of_range("timeout", "0 ms or more");
        }
        None
    }

    fn stage(&self, _now: Instant, _random: Random) -> Box<dyn Stage> {
        Box::new(Resetting(self.clone()))
    }
}

struct Resetting(ResetPeer);

impl Stage for Resetting {
    fn judge(&mut self, now: Instant, head: &Head<'_>) -> Ruling {
        let due = head.entered + millis(self.0.timeout);
        if now < due { Ruling::HoldUntil(due) } else { Ruling::Reset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::toxic::tests::{Run, ms};

    #[test]
    fn the_first_byte_leads_to_the_reset() {
        let mut run = Run::of(&ResetPeer { timeout: 50 });
        assert!(!run.at(ms(1_000)).reset());
        run.send(b"x");
        assert!(!run.at(ms(1_049)).reset());
        assert!(run.at(ms(1_050)).reset());
        assert_eq!(run.got(), b"");
    }
}
