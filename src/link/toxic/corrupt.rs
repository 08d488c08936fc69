//! `corrupt`: some bytes come through wrong.

use bytes::BytesMut;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Head, OutOfRange, Ruling, Stage, Toxic, out_of_range};
use crate::link::random::Random;

/// Attributes of `corrupt`. Toxiproxy does not know it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Corrupt {
    /// Share of bytes of which one bit is turned over: more than 0, at most 1.
    #[serde(default)]
    pub probability: f64,
}

impl Toxic for Corrupt {
    fn problem(&self) -> Option<OutOfRange> {
        if self.probability > 0.0 && self.probability <= 1.0 {
            return None;
        }
        out_of_range("probability", "more than 0 and at most 1")
    }

    fn stage(&self, _now: Instant, mut random: Random) -> Box<dyn Stage> {
        let spared = spared(self.probability, &mut random);
        Box::new(Corrupting {
            probability: self.probability,
            spared,
            random,
        })
    }
}

struct Corrupting {
    probability: f64,
    /// How many bytes come through unharmed before the next one does not.
    spared: usize,
    random: Random,
}

/// How many bytes are spared in a row: geometrically distributed, which saves a draw for each byte.
fn spared(probability: f64, random: &mut Random) -> usize {
    if probability >= 1.0 {
        return 0;
    }
    let bytes = (1.0 - random.unit()).ln() / (-probability).ln_1p();
    // Saturates where there is more than a stream can ever carry.
    bytes as usize
}

impl Stage for Corrupting {
    fn judge(&mut self, _now: Instant, head: &Head<'_>) -> Ruling {
        let Some(data) = head.data else {
            return Ruling::Pass;
        };
        if self.spared >= data.len() {
            self.spared -= data.len();
            return Ruling::Pass;
        }
        let mut bytes = BytesMut::from(&data[..]);
        let mut at = 0_usize;
        while let Some(next) = at.checked_add(self.spared).filter(|next| *next < bytes.len()) {
            bytes[next] ^= 1 << self.random.between(0, 7);
            at = next + 1;
            self.spared = spared(self.probability, &mut self.random);
        }
        self.spared -= bytes.len() - at;
        Ruling::Replace(bytes.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::toxic::tests::Run;

    #[test]
    fn the_share_is_kept_across_pieces_and_one_bit_is_turned() {
        let mut run = Run::of(&Corrupt { probability: 0.01 });
        for _ in 0..1_000 {
            run.send(&[0; 100]);
        }
        let got = run.got();
        assert_eq!(got.len(), 100_000);
        let wrong: Vec<u8> = got.into_iter().filter(|byte| *byte != 0).collect();
        assert!((850..=1_150).contains(&wrong.len()), "{}", wrong.len());
        assert!(wrong.iter().all(|byte| byte.count_ones() == 1));
    }

    #[test]
    fn all_or_nearly_none() {
        let mut run = Run::of(&Corrupt { probability: 1.0 });
        run.send(&[0; 100]);
        assert!(run.got().iter().all(|byte| byte.count_ones() == 1));
        let mut run = Run::of(&Corrupt { probability: 1e-300 });
        run.send(&[0; 100]);
        assert_eq!(run.got(), [0; 100]);
    }
}
