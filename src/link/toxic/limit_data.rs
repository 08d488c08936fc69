//! `limit_data`: after so many bytes the connection is closed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Head, OutOfRange, Ruling, Stage, Toxic, out_of_range};
use crate::link::random::Random;

/// Attributes of `limit_data`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitData {
    /// How many bytes come through.
    #[serde(default)]
    pub bytes: i64,
}

impl Toxic for LimitData {
    fn problem(&self) -> Option<OutOfRange> {
        if self.bytes < 0 {
            return out_of_range("bytes", "0 or more");
        }
        None
    }

    fn stage(&self, _now: Instant, _random: Random) -> Box<dyn Stage> {
        Box::new(Counting {
            left: usize::try_from(self.bytes).unwrap_or(0),
        })
    }
}

struct Counting {
    left: usize,
}

impl Stage for Counting {
    fn judge(&mut self, _now: Instant, head: &Head<'_>) -> Ruling {
        if head.is_end() {
            return Ruling::Pass;
        }
        if self.left == 0 {
            return Ruling::Close;
        }
        let passes = self.left.min(head.size());
        self.left -= passes;
        if passes < head.size() { Ruling::Split(passes) } else { Ruling::Pass }
    }

    fn idle(&mut self, _now: Instant) -> Ruling {
        if self.left == 0 { Ruling::Close } else { Ruling::Hold }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::toxic::tests::Run;

    #[test]
    fn so_many_bytes_and_then_the_end() {
        let mut run = Run::of(&LimitData { bytes: 5 });
        run.send(b"abc");
        assert!(!run.closed());
        run.send(b"defg");
        assert_eq!((run.got(), run.closed()), (b"abcde".to_vec(), true));
        let mut run = Run::of(&LimitData { bytes: 3 });
        assert!(run.send(b"abc").closed());
        assert_eq!(run.got(), b"abc");
    }
}
