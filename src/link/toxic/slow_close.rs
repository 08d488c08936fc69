//! `slow_close`: the end of the stream comes later than its last byte.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Head, OutOfRange, Ruling, Stage, Toxic, millis, out_of_range};
use crate::link::random::Random;

/// Attributes of `slow_close`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlowClose {
    /// How much later, in milliseconds.
    #[serde(default)]
    pub delay: i64,
}

impl Toxic for SlowClose {
    fn problem(&self) -> Option<OutOfRange> {
        if self.delay < 0 {
            return out_of_range("delay", "0 ms or more");
        }
        None
    }

    fn stage(&self, _now: Instant, _random: Random) -> Box<dyn Stage> {
        Box::new(Lingering(self.clone()))
    }
}

struct Lingering(SlowClose);

impl Stage for Lingering {
    fn judge(&mut self, now: Instant, head: &Head<'_>) -> Ruling {
        let due = head.entered + millis(self.0.delay);
        if head.is_end() && now < due {
            return Ruling::HoldUntil(due);
        }
        Ruling::Pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::toxic::tests::{Run, ms};

    #[test]
    fn only_the_end_is_late() {
        let mut run = Run::of(&SlowClose { delay: 100 });
        run.send(b"all").end();
        assert_eq!((run.got(), run.ended()), (b"all".to_vec(), false));
        assert!(!run.at(ms(99)).ended());
        assert!(run.at(ms(100)).ended());
    }
}
