//! `latency`: everything on a link comes later.

use std::time::Duration;

use super::Problem;
use super::link::{LinkFault, OnLink, link_fault};
use super::sign::{Shows, Sign};
use crate::duration::DurationMs;
use crate::link::toxic::Kind;
use crate::link::toxic::latency::{self, Distribution};
use crate::plan::Target;

link_fault! {
    /// Parameters of `latency`.
    Latency {
        /// The delay.
        latency: DurationMs,
        /// How far it strays; what that means, `distribution` says. Not at all unless given.
        #[serde(default)]
        jitter: DurationMs,
        /// How it is drawn: `uniform` (between `latency - jitter` and `latency + jitter`), `normal` (with `jitter` as
        /// standard deviation), or `pareto` (`latency` at least, `jitter` more on average, with a long tail).
        #[serde(default)]
        distribution: Distribution,
    }
}

impl LinkFault for Latency<Target> {
    fn on(&self) -> OnLink<'_, Target> {
        self.link()
    }

    fn toxic(&self) -> Option<Kind> {
        Some(Kind::Latency(latency::Latency {
            latency: self.latency.0.try_into().unwrap_or(i64::MAX),
            jitter: self.jitter.0.try_into().unwrap_or(i64::MAX),
            distribution: self.distribution,
        }))
    }

    fn sign(&self) -> Sign {
        Sign::of(Shows::Later(self.certain()))
    }

    fn words(&self) -> String {
        let jitter = match (self.jitter.0, self.distribution) {
            (0, _) => String::new(),
            (_, Distribution::Uniform) => format!(" ± {}", self.jitter),
            (_, Distribution::Normal) => format!(" ± {}, normally distributed", self.jitter),
            (_, Distribution::Pareto) => format!(" and {} more on average, with a long tail", self.jitter),
        };
        format!("delay by {}{jitter}", self.latency)
    }

    fn problem(&self) -> Option<Problem> {
        (self.certain() < CERTAIN_MIN).then(|| Problem {
            path: "latency".to_owned(),
            message: format!(
                "leaves a delay of {} ms certain, whatever is drawn; it must be {} ms or more",
                self.certain().as_millis(),
                CERTAIN_MIN.as_millis()
            ),
            hint: "a smaller one cannot be told from the machine's own noise; certain are `latency` (pareto), less `jitter` \
                   (uniform), less four times `jitter` (normal)"
                .to_owned(),
        })
    }
}

/// The least delay that can be told from what a busy machine adds by itself.
const CERTAIN_MIN: Duration = Duration::from_millis(5);

impl<T> Latency<T> {
    /// The delay that everything has, whatever is drawn (of a normal distribution: but for one in thirty thousand).
    fn certain(&self) -> Duration {
        let jitter = self.jitter.as_duration();
        self.latency.as_duration().saturating_sub(match self.distribution {
            Distribution::Uniform => jitter,
            Distribution::Normal => 4 * jitter,
            Distribution::Pareto => Duration::ZERO,
        })
    }
}
