//! `packet-latency`: packets between two groups of replicas are held back, each for the same time or by a distribution.

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::impaired::{self, Effect};
use super::trace::{Trace, ms_of};
use super::{Emulated, Fault, FaultContext, FaultError, Problem, Receipt, network, sample};
use crate::agent::netem::{Distribution, Impairment, JITTER_MAX_MS, LATENCY_MAX_MS, Latency};
use crate::duration::DurationMs;
use crate::plan::Target;

/// The least jitter that can be told from what a busy machine varies by itself.
const JITTER_MIN_MS: u64 = 5;
/// Datagrams that show a latency without jitter.
const CONSTANT: u32 = 64;
/// Datagrams that show one with jitter.
const VARYING: u32 = 400;
/// Of the datagrams that should come before a certain time, the part that must.
const IN_TIME: f64 = 0.25;
/// Where a distribution is looked at, in jitters around the latency.
const QUANTILES: [f64; 2] = [-0.5, 0.0];
/// How much later than it should a datagram may come, as a share of the latency and beside it.
const LATE: f64 = 0.1;
const LATE_US: f64 = 20_000.0;

/// Parameters of `packet-latency`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PacketLatency<T> {
    /// Whose packets are held back.
    pub from: Vec<T>,
    /// On their way to whom.
    pub to: Vec<T>,
    /// Whether packets in the other direction are held back as well.
    #[serde(default = "super::yes")]
    pub both_ways: bool,
    /// How long, from `1ms` to `5s`.
    pub latency: DurationMs,
    /// How far that varies from packet to packet: at least `5ms`, at most the latency itself or `1s`. Packets then overtake
    /// each other.
    #[serde(default)]
    pub jitter: Option<DurationMs>,
    /// How it varies: evenly if absent.
    #[serde(default)]
    pub distribution: Option<Distribution>,
}

impl<T> PacketLatency<T> {
    pub(super) fn map_targets<U, E>(
        &self,
        map: &mut dyn FnMut(&str, &T) -> Result<U, E>,
    ) -> Result<PacketLatency<U>, E> {
        Ok(PacketLatency {
            from: super::map_list("from", &self.from, map)?,
            to: super::map_list("to", &self.to, map)?,
            both_ways: self.both_ways,
            latency: self.latency,
            jitter: self.jitter,
            distribution: self.distribution,
        })
    }
}

#[async_trait]
impl Fault for PacketLatency<Target> {
    fn targets(&self) -> Vec<&Target> {
        self.from.iter().chain(&self.to).collect()
    }

    fn needs_agent(&self) -> bool {
        true
    }

    fn emulated(&self) -> Option<Emulated> {
        Some(Emulated {
            does: "delay",
            both_ways: self.both_ways,
            instead: Some("`inject: {latency: ...}` on links instead, if TCP is what is to be late"),
        })
    }

    fn describe(&self) -> String {
        let jitter = match self.jitter {
            Some(jitter) if jitter.0 > 0 => format!(" with {jitter} of jitter"),
            _ => String::new(),
        };
        let route = network::route(&self.from, &self.to, self.both_ways);
        format!("delay packets by {}{jitter} {route}", self.latency)
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = network::problems(&self.from, &self.to);
        let (latency, jitter) = (self.latency.0, self.jitter.unwrap_or_default().0);
        if !(1..=LATENCY_MAX_MS).contains(&latency) {
            problems.push(Problem {
                path: "latency".to_owned(),
                message: format!(
                    "must be from 1ms to {}, is {}",
                    DurationMs(LATENCY_MAX_MS),
                    self.latency
                ),
                hint: "for packets that never arrive use `partition`".to_owned(),
            });
        }
        let most = latency.min(JITTER_MAX_MS);
        if jitter != 0 && !(JITTER_MIN_MS..=most).contains(&jitter) {
            problems.push(Problem {
                path: "jitter".to_owned(),
                message: format!(
                    "must be at least {} and at most the latency or {}, is {}",
                    DurationMs(JITTER_MIN_MS),
                    DurationMs(JITTER_MAX_MS),
                    DurationMs(jitter)
                ),
                hint: "less cannot be told from what a busy machine varies by itself; leave it out for none".to_owned(),
            });
        }
        if self.distribution.is_some() && jitter == 0 {
            problems.push(Problem {
                path: "distribution".to_owned(),
                message: "says how `jitter` varies, and there is none".to_owned(),
                hint: "add for example `jitter: 10ms`, or remove `distribution`".to_owned(),
            });
        }
        problems
    }

    async fn inject(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        impaired::inject(context, &self.from, &self.to, self.both_ways, self).await
    }

    async fn heal(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        impaired::heal(context, self.both_ways, self).await
    }
}

impl<T: Send + Sync> Effect for PacketLatency<T> {
    fn impairment(&self) -> Impairment {
        Impairment::Latency(Latency {
            latency_ms: self.latency.0,
            jitter_ms: self.jitter.unwrap_or_default().0,
            distribution: self.distribution.unwrap_or_default(),
        })
    }

    fn datagrams(&self) -> u32 {
        match self.jitter_us() > 0.0 {
            true => VARYING,
            false => CONSTANT,
        }
    }

    fn longest(&self) -> Duration {
        let greatest = self.distribution.unwrap_or_default().greatest();
        Duration::from_micros((self.latency_us() + greatest * self.jitter_us()) as u64)
    }

    /// None comes sooner than it can, and without jitter the first quarter no later than it should. With jitter, no more come
    /// before certain times than the distribution says, and at least a part of those that should. A machine that stands still
    /// for a moment makes datagrams late, and never early: so nothing is asked of the latest.
    fn shows(&self, before: &Trace, now: &Trace) -> (bool, String) {
        let usual = before.median_us().unwrap_or_default();
        let transits = now.transits_us();
        let (Some(first), Some(median)) = (transits.first().copied(), now.median_us()) else {
            return (false, now.told());
        };
        let told = format!(
            "{}, after {} at the median ({} before) and none before {}",
            now.told(),
            ms_of(median),
            ms_of(usual),
            ms_of(first)
        );
        if first < 0 || usual < 0 {
            return (
                false,
                format!("{told}; the clocks at both ends differ, so that these times mean nothing"),
            );
        }
        let distribution = self.distribution.unwrap_or_default();
        let least = (self.latency_us() + distribution.least() * self.jitter_us()).max(0.0);
        let late = self.latency_us() * LATE + LATE_US;
        let quarter = transits[transits.len() / 4];
        let fits = transits.len() as u32 >= CONSTANT / 2
            && first as f64 >= least
            && match self.jitter_us() > 0.0 {
                true => QUANTILES.into_iter().all(|jitters| self.fits_below(jitters, &transits)),
                false => quarter as f64 <= self.latency_us() + usual as f64 + late,
            };
        let verb = if fits { "fits" } else { "does not fit" };
        (fits, format!("{told}, which {verb} {}", self.told()))
    }

    fn is_over(&self, now: &Trace) -> (bool, String) {
        let Some(median) = now.median_us() else {
            return (false, now.told());
        };
        let over = (median as f64) < self.latency_us() / 2.0;
        (over, format!("{}, after {} at the median", now.told(), ms_of(median)))
    }
}

impl<T> PacketLatency<T> {
    fn latency_us(&self) -> f64 {
        self.latency.as_us() as f64
    }

    fn jitter_us(&self) -> f64 {
        self.jitter.unwrap_or_default().as_us() as f64
    }

    /// `50ms`, or `50ms with 10ms of jitter`.
    fn told(&self) -> String {
        match self.jitter {
            Some(jitter) if jitter.0 > 0 => format!("{} with {jitter} of jitter", self.latency),
            _ => self.latency.to_string(),
        }
    }

    /// Whether so many are held back by less than the latency and so many jitters as the distribution allows.
    fn fits_below(&self, jitters: f64, transits: &[i64]) -> bool {
        let limit = self.latency_us() + jitters * self.jitter_us();
        let below = transits.partition_point(|transit| (*transit as f64) < limit);
        let percent = self.distribution.unwrap_or_default().share_below(jitters) * 100.0;
        sample::fits_between(below as u32, transits.len() as u32, percent * IN_TIME, percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::test_double::targets;
    use crate::fault::trace::tests::trace;

    fn latency(latency: u64, jitter: u64, distribution: Option<Distribution>) -> PacketLatency<Target> {
        PacketLatency {
            from: targets(&[1]),
            to: targets(&[2]),
            both_ways: false,
            latency: DurationMs(latency),
            jitter: (jitter > 0).then_some(DurationMs(jitter)),
            distribution,
        }
    }

    /// So many datagrams, each with the time on its way that its place from 0 to 1 says.
    fn timed(datagrams: u32, us: impl Fn(f64) -> f64) -> Trace {
        let transit = |number| us((f64::from(number) + 0.5) / f64::from(datagrams)) as i64;
        trace(datagrams, (0..datagrams).map(|number| (number, transit(number))))
    }

    fn shows(fault: &PacketLatency<Target>, us: impl Fn(f64) -> f64) -> bool {
        let usual = timed(64, |_| 100.0);
        fault.shows(&usual, &timed(fault.datagrams(), us)).0
    }

    #[test]
    fn a_latency_shows_when_every_datagram_takes_so_long() {
        let fault = latency(50, 0, None);
        assert!(shows(&fault, |_| 50_100.0));
        assert!(
            shows(&fault, |place| 50_050.0 + place * 80_000.0),
            "a busy machine adds to it"
        );
        assert!(!shows(&fault, |_| 100.0));
        assert!(
            !shows(&fault, |place| if place < 0.1 { 100.0 } else { 50_100.0 }),
            "some passed"
        );
        assert!(!shows(&fault, |_| 49_000.0));
        assert!(
            !shows(&fault, |_| 800_000.0),
            "sixteen times as long is another latency"
        );
    }

    #[test]
    fn a_jitter_shows_by_its_distribution() {
        let fault = latency(100, 40, None);
        assert!(shows(&fault, |place| 60_100.0 + place * 80_000.0));
        assert!(!shows(&fault, |_| 100_100.0), "it does not vary");
        assert!(
            !shows(&fault, |place| 95_100.0 + place * 10_000.0),
            "it varies too little"
        );
        assert!(!shows(&fault, |place| 110_100.0 + place * 80_000.0), "it is too late");
        assert!(
            !shows(&fault, |place| 20_100.0 + place * 160_000.0),
            "it varies too much"
        );
        for distribution in [Distribution::Normal, Distribution::Pareto] {
            let fault = latency(100, 20, Some(distribution));
            let jitters = distribution.jitters();
            let drawn = |place: f64| 100_100.0 + jitters[(place * jitters.len() as f64) as usize] * 20_000.0;
            assert!(shows(&fault, drawn), "{distribution:?}");
        }
        let fault = latency(100, 20, Some(Distribution::Pareto));
        assert!(
            !shows(&fault, |place| 80_100.0 + place * 40_000.0),
            "evenly is not by Pareto's curve"
        );
    }

    #[test]
    fn clocks_that_differ_show_nothing() {
        let fault = latency(50, 0, None);
        let (shown, told) = fault.shows(&timed(64, |_| -90_000.0), &timed(64, |_| 60_000.0));
        assert!(!shown && told.contains("clocks"), "{told}");
        assert!(!fault.shows(&timed(64, |_| 100.0), &trace(64, [])).0, "nothing arrived");
    }

    #[test]
    fn it_is_over_when_datagrams_come_at_once() {
        let fault = latency(50, 0, None);
        assert!(fault.is_over(&timed(64, |_| 100.0)).0);
        assert!(!fault.is_over(&timed(64, |_| 50_000.0)).0);
        assert!(!fault.is_over(&trace(64, [])).0);
    }

    #[test]
    fn what_cannot_be_shown_is_a_problem() {
        let wrong = [
            (latency(0, 0, None), "latency"),
            (latency(5_001, 0, None), "latency"),
            (latency(50, 1, None), "jitter"),
            (latency(50, 51, None), "jitter"),
            (latency(5_000, 1_001, None), "jitter"),
            (latency(50, 0, Some(Distribution::Normal)), "distribution"),
        ];
        for (fault, path) in wrong {
            let problems = fault.problems();
            assert_eq!(problems.len(), 1, "{fault:?}: {problems:?}");
            assert_eq!(problems[0].path, path);
        }
        let right = latency(50, 10, Some(Distribution::Pareto));
        assert_eq!(right.problems(), []);
        assert_eq!(right.impairment().problem(), None, "what is right here the agent takes");
        assert_eq!(
            right.describe(),
            "delay packets by 50ms with 10ms of jitter api-1 -> api-2"
        );
    }
}
