//! Draws that depend on nothing but the seed and on what they are for.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A source of draws.
#[derive(Debug, Clone)]
pub struct Random(ChaCha8Rng);

/// A number that stands for a seed and the names and numbers of what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purpose(u64);

impl Purpose {
    /// Everything drawn from one seed.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// A part of it, by number.
    pub fn part(self, number: u64) -> Self {
        Self(mix(self.0 ^ mix(number)))
    }

    /// A part of it, by name.
    pub fn named(self, name: &str) -> Self {
        name.bytes().fold(self.part(name.len() as u64), |purpose, byte| {
            purpose.part(u64::from(byte))
        })
    }

    /// A source of draws for it.
    pub fn random(self) -> Random {
        Random(ChaCha8Rng::seed_from_u64(self.0))
    }

    /// Whether something of this probability comes to pass: the same answer each time.
    pub fn chance(self, probability: f64) -> bool {
        // 53 bits are what a double holds.
        let drawn = (mix(self.0) >> 11) as f64 / (1_u64 << 53) as f64;
        drawn < probability
    }
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) after its increment: every bit of the input moves
/// about half of the output's.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Random {
    /// A number from 0 (included) to 1 (excluded).
    pub fn unit(&mut self) -> f64 {
        self.0.random_range(0.0..1.0)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..=high.max(low))
    }

    /// A draw from a distribution.
    pub fn draw(&mut self, distribution: &impl rand_distr::Distribution<f64>) -> f64 {
        distribution.sample(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_seed_and_the_purpose() {
        let draws = |purpose: Purpose| {
            let mut random = purpose.random();
            [random.between(0, 1_000_000), random.between(0, 1_000_000)]
        };
        let of = |seed| Purpose::new(seed).named("latency_downstream");
        assert_eq!(draws(of(1).part(7)), draws(of(1).part(7)));
        assert_ne!(draws(of(1).part(7)), draws(of(1).part(8)));
        assert_ne!(draws(of(1).part(7)), draws(of(2).part(7)));
        assert_ne!(draws(of(1)), draws(Purpose::new(1).named("latency_upstream")));
    }

    #[test]
    fn a_chance_comes_to_pass_as_often_as_it_says() {
        let purpose = Purpose::new(42);
        let met = (0..100_000).filter(|&number| purpose.part(number).chance(0.01)).count();
        // Mean 1,000, standard deviation 31: five of them are met by chance once in two million seeds.
        assert!((850..=1_150).contains(&met), "{met}");
        assert!((0..1_000).all(|number| purpose.part(number).chance(1.0)));
        assert!(!(0..1_000).any(|number| purpose.part(number).chance(0.0)));
    }
}
