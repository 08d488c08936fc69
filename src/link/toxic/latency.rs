//! `latency`: everything comes later, in order.

use std::time::Duration;

use rand_distr::{Normal, Pareto};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Head, OutOfRange, Ruling, Stage, Toxic, millis, out_of_range};
use crate::link::random::Random;

/// Attributes of `latency`. The delay of each piece is drawn anew, and never less than nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// Delay, in milliseconds.
    #[serde(default)]
    pub latency: i64,
    /// How far the delay strays, in milliseconds; what that means, `distribution` says.
    #[serde(default)]
    pub jitter: i64,
    /// How the delay is drawn. Toxiproxy knows `uniform` only.
    #[serde(default, skip_serializing_if = "Distribution::is_uniform")]
    pub distribution: Distribution,
}

/// How a delay is drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// Between `latency - jitter` and `latency + jitter`, all alike.
    #[default]
    Uniform,
    /// Around `latency`, with a standard deviation of `jitter`.
    Normal,
    /// At least `latency`, and `jitter` more on average: most by little, a few by very much (shape 1.5, whose variance has
    /// no bound; cut off at 60 s more).
    Pareto,
}

impl Distribution {
    fn is_uniform(&self) -> bool {
        *self == Self::Uniform
    }
}

/// The longest delay, and the longest jitter: a day. Whoever wants none of it through for good has `blackhole`.
const DELAY_MAX_MS: i64 = 24 * 60 * 60 * 1_000;
/// The longest Pareto tail that is drawn.
const TAIL_MAX_MS: f64 = 60_000.0;
/// Shape of the Pareto tail: the share of delays beyond x falls with x to this power.
const SHAPE: f64 = 1.5;

impl Toxic for Latency {
    fn problem(&self) -> Option<OutOfRange> {
        if !(0..=DELAY_MAX_MS).contains(&self.latency) {
            return out_of_range("latency", "from 0 to 86400000 ms (a day)");
        }
        if !(0..=DELAY_MAX_MS).contains(&self.jitter) {
            return out_of_range("jitter", "from 0 to 86400000 ms (a day)");
        }
        None
    }

    fn stage(&self, _now: Instant, random: Random) -> Box<dyn Stage> {
        Box::new(Delaying {
            latency: self.clone(),
            random,
            due: None,
        })
    }
}

impl Latency {
    fn draw(&self, random: &mut Random) -> Duration {
        let (latency, jitter) = (self.latency as f64, self.jitter as f64);
        if self.jitter == 0 {
            return millis(self.latency);
        }
        let ms = match self.distribution {
            Distribution::Uniform => latency + jitter * (2.0 * random.unit() - 1.0),
            Distribution::Normal => match Normal::new(latency, jitter) {
                Ok(normal) => random.draw(&normal),
                Err(_) => latency,
            },
            // A Pareto variable of scale s and shape a is s * a / (a - 1) on average; what it exceeds s by is the tail.
            Distribution::Pareto => match Pareto::new(jitter * (SHAPE - 1.0), SHAPE) {
                Ok(pareto) => latency + (random.draw(&pareto) - jitter * (SHAPE - 1.0)).min(TAIL_MAX_MS),
                Err(_) => latency,
            },
        };
        Duration::from_secs_f64(ms.clamp(0.0, DELAY_MAX_MS as f64) / 1_000.0)
    }
}

struct Delaying {
    latency: Latency,
    random: Random,
    /// When the head may go on, once that has been drawn.
    due: Option<Instant>,
}

impl Stage for Delaying {
    fn judge(&mut self, now: Instant, head: &Head<'_>) -> Ruling {
        // The end comes after what it ends, and no later.
        if head.is_end() {
            return Ruling::Pass;
        }
        let due = match self.due {
            Some(due) => due,
            None => head.entered + self.latency.draw(&mut self.random),
        };
        if now < due {
            self.due = Some(due);
            return Ruling::HoldUntil(due);
        }
        self.due = None;
        Ruling::Pass
    }

    fn room(&self) -> usize {
        // What is on its way at once: 4 MiB in 20 ms are 200 MB/s.
        4 * 1024 * 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::random::Purpose;
    use crate::link::toxic::tests::{Run, ms};

    fn drawn(distribution: Distribution, latency: i64, jitter: i64) -> Vec<f64> {
        let toxic = Latency {
            latency,
            jitter,
            distribution,
        };
        let mut random = Purpose::new(7).random();
        let mut delays: Vec<f64> = (0..20_000)
            .map(|_| toxic.draw(&mut random).as_secs_f64() * 1_000.0)
            .collect();
        delays.sort_by(f64::total_cmp);
        delays
    }

    fn mean(delays: &[f64]) -> f64 {
        delays.iter().sum::<f64>() / delays.len() as f64
    }

    #[test]
    fn everything_comes_later_and_in_order() {
        let mut run = Run::of(&Latency {
            latency: 50,
            ..Latency::default()
        });
        run.send(b"one");
        run.at(ms(10)).send(b"two");
        assert_eq!(run.at(ms(49)).got(), b"");
        assert_eq!(run.at(ms(50)).got(), b"one");
        assert_eq!(run.at(ms(59)).got(), b"one");
        assert_eq!(run.at(ms(60)).got(), b"onetwo");
    }

    #[test]
    fn each_distribution_is_as_it_says() {
        let uniform = drawn(Distribution::Uniform, 100, 20);
        assert!(uniform[0] >= 80.0 && uniform[uniform.len() - 1] <= 120.0);
        assert!((mean(&uniform) - 100.0).abs() < 1.0);
        let normal = drawn(Distribution::Normal, 100, 20);
        let deviation = (normal.iter().map(|delay| (delay - 100.0).powi(2)).sum::<f64>() / 20_000.0).sqrt();
        assert!((mean(&normal) - 100.0).abs() < 1.0 && (deviation - 20.0).abs() < 0.6, "{deviation}");
        let pareto = drawn(Distribution::Pareto, 100, 20);
        let (median, p99) = (pareto[10_000], pareto[19_800]);
        assert!(pareto[0] >= 100.0, "{}", pareto[0]);
        // Scale 10, shape 1.5: the median exceeds 100 by 10 * (2^(2/3) - 1), the 99th by 10 * (100^(2/3) - 1).
        assert!((median - 105.87).abs() < 0.5, "{median}");
        assert!((p99 - 305.4).abs() < 30.0, "{p99}");
    }

    #[test]
    fn no_delay_is_less_than_nothing() {
        assert!(drawn(Distribution::Normal, 5, 50)[0] >= 0.0);
        assert!(drawn(Distribution::Uniform, 5, 50)[0] >= 0.0);
    }
}
