//! When customers arrive: fixed by the seed before the first of them does, whatever the system answers.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1};
use sha2::{Digest, Sha256};

use crate::plan::Arrivals;

/// A customer's arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Position of the operation among those of the workload, by name.
    pub operation: usize,
    /// 1 for the operation's first.
    pub number: u64,
    /// Microseconds since the epoch.
    pub intended_us: u64,
}

/// Every arrival of a load in the order of time, without end.
#[derive(Debug)]
pub struct Schedule {
    operations: Vec<Stream>,
}

/// The arrivals of one operation.
#[derive(Debug)]
struct Stream {
    random: ChaCha8Rng,
    arrivals: Arrivals,
    gap_us: f64,
    number: u64,
    next_us: f64,
    phase_us: f64,
}

/// A source of random numbers of its own for each purpose, so that another operation, or another value of one, changes
/// nothing for the rest.
pub(super) fn random_stream(seed: u64, purpose: &str) -> ChaCha8Rng {
    let digest = Sha256::digest(purpose.as_bytes());
    let mut stream = [0; 8];
    stream.copy_from_slice(&digest[..8]);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(u64::from_le_bytes(stream));
    random
}

impl Schedule {
    /// The schedule of operations with these rates a second.
    pub fn new(arrivals: Arrivals, rates: &BTreeMap<String, f64>, seed: u64) -> Self {
        let operations = rates.iter().map(|(operation, rate)| {
            Stream::new(
                arrivals,
                *rate,
                random_stream(seed, &format!("arrivals of {operation}")),
            )
        });
        Self {
            operations: operations.collect(),
        }
    }
}

impl Iterator for Schedule {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let (operation, stream) = self
            .operations
            .iter_mut()
            .enumerate()
            .min_by(|(_, one), (_, other)| one.next_us.total_cmp(&other.next_us))?;
        Some(Arrival {
            operation,
            number: stream.number,
            intended_us: stream.advance() as u64,
        })
    }
}

impl Stream {
    fn new(arrivals: Arrivals, rate: f64, mut random: ChaCha8Rng) -> Self {
        let gap_us = 1_000_000.0 / rate;
        // Operations of equal rate would otherwise all arrive at the same instants.
        let phase_us = random.random::<f64>() * gap_us;
        let next_us = match arrivals {
            Arrivals::Poisson => exponential(&mut random) * gap_us,
            Arrivals::Constant => phase_us,
        };
        Self {
            random,
            arrivals,
            gap_us,
            number: 1,
            next_us,
            phase_us,
        }
    }

    /// Gives the instant of the arrival that is due, and finds the next.
    fn advance(&mut self) -> f64 {
        let due = self.next_us;
        self.next_us = match self.arrivals {
            Arrivals::Poisson => due + exponential(&mut self.random) * self.gap_us,
            // From the beginning, so that rounding does not add up.
            Arrivals::Constant => self.phase_us + self.number as f64 * self.gap_us,
        };
        self.number += 1;
        due
    }
}

fn exponential(random: &mut ChaCha8Rng) -> f64 {
    Exp1.sample(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(rates: &[(&str, f64)]) -> BTreeMap<String, f64> {
        rates.iter().map(|(name, rate)| ((*name).to_owned(), *rate)).collect()
    }

    fn times(schedule: Schedule, operation: usize, count: usize) -> Vec<u64> {
        schedule
            .filter(|arrival| arrival.operation == operation)
            .take(count)
            .map(|arrival| arrival.intended_us)
            .collect()
    }

    #[test]
    fn the_seed_fixes_the_schedule() {
        let take = |seed| {
            Schedule::new(Arrivals::Poisson, &rates(&[("a", 40.0), ("b", 5.0)]), seed)
                .take(1_000)
                .collect::<Vec<_>>()
        };
        assert_eq!(take(7), take(7));
        assert_ne!(take(7), take(8));
        assert!(take(7).is_sorted_by_key(|arrival| arrival.intended_us));
    }

    #[test]
    fn another_operation_changes_nothing_for_the_rest() {
        let alone = Schedule::new(Arrivals::Poisson, &rates(&[("b", 5.0)]), 7);
        let beside = Schedule::new(Arrivals::Poisson, &rates(&[("a", 40.0), ("b", 5.0)]), 7);
        assert_eq!(times(alone, 0, 100), times(beside, 1, 100));
    }

    #[test]
    fn numbers_are_without_gaps() {
        let schedule = Schedule::new(Arrivals::Constant, &rates(&[("a", 3.0), ("b", 2.0)]), 7);
        let mut seen = [0, 0];
        for arrival in schedule.take(50) {
            seen[arrival.operation] += 1;
            assert_eq!(arrival.number, seen[arrival.operation]);
        }
        assert_eq!(seen, [30, 20]);
    }

    #[test]
    fn constant_arrivals_are_evenly_spaced() {
        let times = times(Schedule::new(Arrivals::Constant, &rates(&[("a", 300.0)]), 7), 0, 30_001);
        assert_eq!(times[30_000] - times[0], 100_000_000);
        assert!(
            times
                .windows(2)
                .all(|pair| (3_333..=3_334).contains(&(pair[1] - pair[0])))
        );
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_the_spread_of_independent_customers() {
        const COUNT: usize = 20_000;
        for seed in 0..5 {
            let times = times(
                Schedule::new(Arrivals::Poisson, &rates(&[("a", 100.0)]), seed),
                0,
                COUNT,
            );
            let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
            // The standard error of the mean is 10,000 us / sqrt(20,000) = 71 us; of the deviation about twice that.
            assert!((mean - 10_000.0).abs() < 5.0 * 71.0, "seed {seed}: mean {mean}");
            assert!(
                (variance.sqrt() - 10_000.0).abs() < 5.0 * 142.0,
                "seed {seed}: deviation {}",
                variance.sqrt()
            );
        }
    }
}
