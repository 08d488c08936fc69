//! `stall`: each request comes through up to a byte, and no further for a while.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Head, OutOfRange, Ruling, Stage, Toxic, millis, out_of_range};
use crate::link::random::Random;

/// Attributes of `stall`. Toxiproxy does not know it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stall {
    /// The byte that does not come through, counted from 1 in each request (or each answer, downstream).
    #[serde(default)]
    pub byte: i64,
    /// For how long, in milliseconds; 0 is until the toxic goes.
    #[serde(default)]
    pub duration: i64,
}

impl Toxic for Stall {
    fn problem(&self) -> Option<OutOfRange> {
        if self.byte < 1 {
            return out_of_range("byte", "1 or more");
        }
        if self.duration < 0 {
            return out_of_range("duration", "0 ms (until the toxic goes) or more");
        }
        None
    }

    fn stage(&self, _now: Instant, _random: Random) -> Box<dyn Stage> {
        Box::new(Stalling {
            stall: self.clone(),
            request: 0,
            passed: 0,
            since: None,
        })
    }
}

struct Stalling {
    stall: Stall,
    request: u64,
    /// Bytes of this request that have gone on.
    passed: usize,
    /// When the byte stood at the head for the first time.
    since: Option<Instant>,
}

impl Stage for Stalling {
    fn judge(&mut self, now: Instant, head: &Head<'_>) -> Ruling {
        if head.is_end() {
            return Ruling::Pass;
        }
        if head.request != self.request {
            (self.request, self.passed, self.since) = (head.request, 0, None);
        }
        let before = usize::try_from(self.stall.byte - 1).unwrap_or(usize::MAX);
        let free = before.saturating_sub(self.passed);
        if self.passed > before {
            return Ruling::Pass;
        }
        if free >= head.size() {
            self.passed += head.size();
            return Ruling::Pass;
        }
        if free > 0 {
            self.passed += free;
            return Ruling::Split(free);
        }
        let since = *self.since.get_or_insert(now);
        if self.stall.duration == 0 {
            return Ruling::Hold;
        }
        let due = since + millis(self.stall.duration);
        if now < due {
            return Ruling::HoldUntil(due);
        }
        self.passed = usize::MAX;
        Ruling::Pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::toxic::tests::{Run, ms};

    #[test]
    fn each_request_stalls_at_its_byte() {
        let mut run = Run::of(&Stall {
            byte: 4,
            duration: 100,
        });
        run.send(b"ab").send(b"cdef");
        assert_eq!(run.got(), b"abc");
        assert_eq!(run.at(ms(99)).got(), b"abc");
        assert_eq!(run.at(ms(100)).got(), b"abcdef");
        run.send(b"gh");
        assert_eq!(run.got(), b"abcdefgh");
        run.next_request().send(b"ijkl");
        assert_eq!(run.got(), b"abcdefghijk");
        assert_eq!(run.at(ms(200)).got(), b"abcdefghijkl");
    }

    #[test]
    fn a_request_that_is_shorter_passes() {
        let mut run = Run::of(&Stall { byte: 4, duration: 0 });
        run.send(b"abc");
        assert_eq!(run.got(), b"abc");
        run.next_request().send(b"abcd");
        assert_eq!(run.at(ms(100_000)).got(), b"abcabc");
    }
}
