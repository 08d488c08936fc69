//! `timeout`: nothing comes through, and after a while the connection is closed; also when the toxic is taken away.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Head, OutOfRange, Ruling, Stage, Toxic, millis, out_of_range};
use crate::link::random::Random;

/// Attributes of `timeout`. What comes meanwhile is lost, as in Toxiproxy; `blackhole` keeps it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timeout {
    /// How long after the last byte that came the connection is closed, in milliseconds; 0 is never.
    #[serde(default)]
    pub timeout: i64,
}

impl Toxic for Timeout {
    fn problem(&self) -> Option<OutOfRange> {
        if self.timeout < 0 {
            return out_of_range("timeout", "0 ms (never) or more");
        }
        None
    }

    fn stage(&self, now: Instant, _random: Random) -> Box<dyn Stage> {
        Box::new(Swallowing {
            timeout: self.clone(),
            since: now,
        })
    }
}

struct Swallowing {
    timeout: Timeout,
    /// When a byte last came, or else when it began.
    since: Instant,
}

impl Stage for Swallowing {
    fn judge(&mut self, now: Instant, head: &Head<'_>) -> Ruling {
        if head.is_end() {
            return Ruling::Close;
        }
        self.since = now;
        Ruling::Discard
    }

    fn idle(&mut self, now: Instant) -> Ruling {
        if self.timeout.timeout == 0 {
            return Ruling::Hold;
        }
        let due = self.since + millis(self.timeout.timeout);
        if now < due { Ruling::HoldUntil(due) } else { Ruling::Close }
    }

    fn closes_when_removed(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::toxic::tests::{Run, ms};

    #[test]
    fn nothing_comes_through_and_then_it_is_closed() {
        let mut run = Run::of(&Timeout { timeout: 100 });
        assert!(!run.at(ms(90)).closed());
        run.send(b"lost");
        assert!(!run.at(ms(189)).closed());
        assert!(run.at(ms(190)).closed());
        assert_eq!(run.got(), b"");
    }

    #[test]
    fn without_a_time_it_is_closed_when_the_toxic_goes_or_the_stream_ends() {
        let mut run = Run::of(&Timeout { timeout: 0 });
        run.send(b"lost");
        assert!(!run.at(ms(1_000_000)).closed());
        assert!(run.removed().closed());
        let mut run = Run::of(&Timeout { timeout: 0 });
        assert!(run.end().closed());
    }
}
