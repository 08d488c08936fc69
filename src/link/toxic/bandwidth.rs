//! `bandwidth`: so many bytes per second, and no more.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Head, OutOfRange, Ruling, Stage, Toxic, out_of_range};
use crate::link::random::Random;

/// Attributes of `bandwidth`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bandwidth {
    /// Rate, in KB (1,000 bytes) per second; at 0 nothing comes through, until the toxic goes.
    #[serde(default)]
    pub rate: i64,
}

impl Toxic for Bandwidth {
    fn problem(&self) -> Option<OutOfRange> {
        if !(0..=100_000_000).contains(&self.rate) {
            return out_of_range("rate", "from 0 to 100000000 KB/s");
        }
        None
    }

    fn stage(&self, now: Instant, _random: Random) -> Box<dyn Stage> {
        Box::new(Throttling {
            bytes_per_s: self.rate.max(0).unsigned_abs() * 1_000,
            paid_until: now,
        })
    }
}

/// Pieces are as long as this much time lets through, so that what arrives arrives evenly.
const PIECE: Duration = Duration::from_millis(20);

struct Throttling {
    bytes_per_s: u64,
    /// Everything that has passed has been paid for with the time until then.
    paid_until: Instant,
}

impl Stage for Throttling {
    fn judge(&mut self, now: Instant, head: &Head<'_>) -> Ruling {
        if head.is_end() {
            return Ruling::Pass;
        }
        if self.bytes_per_s == 0 {
            // So do Toxiproxy's clients cut a connection and mend it again.
            return Ruling::Hold;
        }
        let piece = (self.bytes_per_s as f64 * PIECE.as_secs_f64()).max(1.0) as usize;
        let len = head.size().min(piece);
        let cost = Duration::from_secs_f64(len as f64 / self.bytes_per_s as f64);
        // Time in which nothing was there to be sent is not saved up.
        let due = self.paid_until.max(head.entered) + cost;
        if now < due {
            return Ruling::HoldUntil(due);
        }
        self.paid_until = due;
        if len < head.size() { Ruling::Split(len) } else { Ruling::Pass }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::toxic::tests::{Run, ms};

    #[test]
    fn a_rate_is_kept_however_the_bytes_come() {
        for sizes in [vec![10_000], vec![1; 10_000], vec![3_000, 7_000]] {
            let mut run = Run::of(&Bandwidth { rate: 10 });
            for size in &sizes {
                run.send(&vec![b'x'; *size]);
            }
            assert!(run.at(ms(499)).got().len().abs_diff(4_990) <= 210, "{}", run.got().len());
            assert_eq!(run.at(ms(1_001)).got().len(), 10_000, "{} pieces", sizes.len());
        }
    }

    #[test]
    fn silence_is_not_saved_up() {
        let mut run = Run::of(&Bandwidth { rate: 10 });
        run.at(ms(5_000)).send(&[b'x'; 10_000]);
        assert!(run.at(ms(5_500)).got().len() <= 5_000);
    }

    #[test]
    fn without_a_rate_nothing_comes_until_the_toxic_goes() {
        let mut run = Run::of(&Bandwidth { rate: 0 });
        run.send(b"kept").end();
        assert_eq!((run.at(ms(1_000_000)).got(), run.ended()), (Vec::new(), false));
        run.removed();
        assert_eq!((run.got(), run.ended(), run.closed()), (b"kept".to_vec(), true, false));
    }
}
