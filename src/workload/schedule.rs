//! When customers arrive: fixed by the seed before the first of them does, whatever the system answers.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1};
use sha2::{Digest, Sha256};

use crate::plan::Arrivals;
use crate::plan::rate::RatePlan;

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

/// Every arrival of a load in the order of time; without end, unless every rate falls to zero for good.
#[derive(Debug)]
pub struct Schedule {
    operations: Vec<Stream>,
}

/// The arrivals of one operation.
#[derive(Debug)]
struct Stream {
    random: ChaCha8Rng,
    arrivals: Arrivals,
    pace: Pace,
    number: u64,
    /// Infinite if nobody comes any more.
    next_us: f64,
}

/// How arrivals follow from what is drawn.
#[derive(Debug)]
enum Pace {
    /// At equal gaps, or at gaps of that mean.
    Steady { gap_us: f64, phase_us: f64 },
    /// As arrivals of one a second would come, with time rescaled: where a steady one would make one expect so many
    /// arrivals, this is the instant by which the rate makes one expect as many.
    Changing {
        rate: RatePlan,
        next_expected: f64,
        phase: f64,
    },
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
    /// The schedule of operations with these rates.
    pub fn new(arrivals: Arrivals, rates: &BTreeMap<String, RatePlan>, seed: u64) -> Self {
        let operations = rates.iter().map(|(operation, rate)| {
            Stream::new(arrivals, rate, random_stream(seed, &format!("arrivals of {operation}")))
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
        if stream.next_us.is_infinite() {
            return None;
        }
        Some(Arrival {
            operation,
            number: stream.number,
            intended_us: stream.advance() as u64,
        })
    }
}

impl Stream {
    fn new(arrivals: Arrivals, rate: &RatePlan, mut random: ChaCha8Rng) -> Self {
        // Operations of equal rate would otherwise all arrive at the same instants.
        let phase = random.random::<f64>();
        let first = match arrivals {
            Arrivals::Poisson => exponential(&mut random),
            Arrivals::Constant => phase,
        };
        let (next_us, pace) = match rate {
            RatePlan::Steady(per_s) => {
                let gap_us = 1_000_000.0 / per_s;
                let phase_us = phase * gap_us;
                (first * gap_us, Pace::Steady { gap_us, phase_us })
            }
            RatePlan::Changing(_) => {
                let pace = Pace::Changing {
                    rate: rate.clone(),
                    next_expected: first,
                    phase,
                };
                (1e6 * rate.expecting_s(first), pace)
            }
        };
        Self {
            random,
            arrivals,
            pace,
            number: 1,
            next_us,
        }
    }

    /// Gives the instant of the arrival that is due, and finds the next.
    fn advance(&mut self) -> f64 {
        let due_us = self.next_us;
        // From the beginning where gaps are equal, so that rounding does not add up.
        self.next_us = match (&mut self.pace, self.arrivals) {
            (Pace::Steady { gap_us, .. }, Arrivals::Poisson) => due_us + exponential(&mut self.random) * *gap_us,
            (Pace::Steady { gap_us, phase_us }, Arrivals::Constant) => *phase_us + self.number as f64 * *gap_us,
            (
                Pace::Changing {
                    rate,
                    next_expected,
                    phase,
                },
                arrivals,
            ) => {
                *next_expected = match arrivals {
                    Arrivals::Poisson => *next_expected + exponential(&mut self.random),
                    Arrivals::Constant => *phase + self.number as f64,
                };
                1e6 * rate.expecting_s(*next_expected)
            }
        };
        self.number += 1;
        due_us
    }
}

fn exponential(random: &mut ChaCha8Rng) -> f64 {
    Exp1.sample(random)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::rate::{any_rate, changing};

    fn rates(rates: &[(&str, f64)]) -> BTreeMap<String, RatePlan> {
        let rates = rates.iter();
        rates
            .map(|(name, rate)| ((*name).to_owned(), RatePlan::Steady(*rate)))
            .collect()
    }

    /// The arrivals of one operation until an instant.
    fn until(arrivals: Arrivals, rate: RatePlan, seed: u64, until_ms: u64) -> Vec<u64> {
        Schedule::new(arrivals, &BTreeMap::from([("a".to_owned(), rate)]), seed)
            .map(|arrival| arrival.intended_us)
            .take_while(|intended_us| *intended_us < until_ms * 1_000)
            .collect()
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

    /// What these seeds made before there were rates that change, so that saved runs can be made again.
    #[test]
    fn steady_rates_keep_the_schedule_that_a_seed_always_had() {
        let first = |arrivals, rate| times(Schedule::new(arrivals, &rates(&[("a", rate)]), 7), 0, 6);
        assert_eq!(
            first(Arrivals::Poisson, 40.0),
            [25_246, 135_551, 154_399, 241_929, 255_973, 317_585]
        );
        assert_eq!(
            first(Arrivals::Constant, 300.0),
            [2_954, 6_287, 9_621, 12_954, 16_287, 19_621]
        );
    }

    #[test]
    fn a_change_that_changes_nothing_draws_the_same_arrivals() {
        for arrivals in [Arrivals::Poisson, Arrivals::Constant] {
            let steady = until(arrivals, RatePlan::Steady(25.0), 7, 60_000);
            let level = until(arrivals, changing(&[(1_000, 25.0), (9_000, 25.0)]), 7, 60_000);
            assert_eq!(steady.len(), level.len());
            // To the rounding of microseconds.
            let apart = steady.iter().zip(&level).map(|(one, other)| one.abs_diff(*other));
            assert!(apart.max().unwrap() <= 1);
        }
    }

    #[test]
    fn arrivals_end_where_the_rate_falls_to_zero_for_good() {
        let falling = changing(&[(0, 100.0), (10_000, 0.0)]);
        let times = until(Arrivals::Constant, falling.clone(), 7, u64::MAX / 1_000);
        assert_eq!(times.len(), 500, "10 s at 50/s on average");
        assert!(*times.last().unwrap() < 10_000_000);
        // Beside an operation that goes on, the schedule does.
        let mut both = rates(&[("b", 1.0)]);
        both.insert("a".to_owned(), falling);
        let late = Schedule::new(Arrivals::Constant, &both, 7).find(|arrival| arrival.intended_us > 60_000_000);
        assert_eq!(late.unwrap().operation, 1);
    }

    #[test]
    fn constant_arrivals_come_closer_together_as_the_rate_rises() {
        let times = until(Arrivals::Constant, changing(&[(0, 10.0), (8_000, 40.0)]), 7, 12_000);
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e6).collect();
        assert!(gaps[0] > 0.09 && (gaps.last().unwrap() - 0.025).abs() < 1e-5);
        assert!(gaps.windows(2).all(|pair| pair[1] <= pair[0] + 2e-6), "{gaps:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn as_many_arrive_as_are_expected_within_chance(rate in any_rate(), seed: u64, until_ms in 1u64..70_000) {
            let expected = rate.expected_until(until_ms as f64);
            let poisson = until(Arrivals::Poisson, rate.clone(), seed, until_ms).len() as f64;
            // The deviation is the root; six of them, and a few for small numbers, come by chance in less than one of 10^8.
            prop_assert!((poisson - expected).abs() < 6.0 * expected.sqrt() + 8.0, "{poisson} of {expected}");
            let constant = until(Arrivals::Constant, rate, seed, until_ms).len() as f64;
            prop_assert!((constant - expected).abs() <= 1.0 + 1e-6, "{constant} of {expected}");
        }

        #[test]
        fn arrivals_are_in_order_and_none_comes_where_the_rate_is_zero(rate in any_rate(), seed: u64) {
            for arrivals in [Arrivals::Poisson, Arrivals::Constant] {
                let times = until(arrivals, rate.clone(), seed, 70_000);
                prop_assert!(times.is_sorted());
                prop_assert_eq!(&times, &until(arrivals, rate.clone(), seed, 70_000), "the seed fixes every draw");
                for intended_us in times {
                    // Half of the microsecond to which it is rounded down later, and zero only at single instants.
                    let at_ms = (intended_us as f64 + 0.5) / 1_000.0;
                    prop_assert!(rate.at(at_ms) > 0.0, "at {at_ms} ms");
                }
            }
        }
    }
}
