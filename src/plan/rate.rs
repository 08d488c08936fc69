//! How often an operation arrives: at a steady rate, or at one that rises and falls.
//!
//! The number of arrivals that a rate makes one expect by an instant is its integral up to there. Schedules are made by
//! going the other way, from a number of arrivals to the instant: so the same draws serve any rate.

use std::fmt;

use serde::{Deserialize, Serialize};

#[cfg(test)]
pub(crate) use tests::{any_rate, changing};

use crate::duration::{DurationMs, Rate};

/// The rate of an operation's arrivals over a load. Instants count from the start of the load, warm-up included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RatePlan {
    /// So many arrivals per second, all the time.
    Steady(f64),
    /// Straight from one point to the next; constant before the first and after the last. At least one point, instants
    /// strictly increasing, no rate below zero, at least one above it.
    Changing(Vec<RatePoint>),
}

/// The rate at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RatePoint {
    /// Milliseconds since the start of the load.
    pub at_ms: u64,
    /// Arrivals per second.
    pub per_s: f64,
}

/// A stretch of time in which the rate goes straight. Times are seconds since the start of the load.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from_s: f64,
    /// Infinite for the last.
    to_s: f64,
    from_per_s: f64,
    to_per_s: f64,
}

impl From<f64> for RatePlan {
    fn from(per_s: f64) -> Self {
        Self::Steady(per_s)
    }
}

impl RatePlan {
    /// What keeps this from being a rate, if anything does.
    pub fn problem(&self) -> Option<String> {
        let is_rate = |per_s: f64| per_s.is_finite() && per_s >= 0.0;
        match self {
            Self::Steady(per_s) if is_rate(*per_s) && *per_s > 0.0 => None,
            Self::Steady(per_s) => Some(format!("{per_s} is no rate")),
            Self::Changing(points) => {
                let wrong = points.iter().find(|point| !is_rate(point.per_s));
                if let Some(point) = wrong {
                    return Some(format!("{} is no rate", point.per_s));
                }
                if !points.is_sorted_by(|one, next| one.at_ms < next.at_ms) {
                    return Some("the points of a rate are not in the order of time".to_owned());
                }
                let never = points.iter().all(|point| point.per_s == 0.0);
                never.then(|| "a rate that is never above zero is none".to_owned())
            }
        }
    }

    /// Whether the rate is other than the same all the time.
    pub fn is_changing(&self) -> bool {
        self.least_per_s() < self.greatest_per_s()
    }

    /// The lowest rate at any time, in arrivals per second.
    pub fn least_per_s(&self) -> f64 {
        self.rates().fold(f64::INFINITY, f64::min)
    }

    /// The highest rate at any time, in arrivals per second.
    pub fn greatest_per_s(&self) -> f64 {
        self.rates().fold(0.0, f64::max)
    }

    fn rates(&self) -> impl Iterator<Item = f64> {
        let (steady, points) = match self {
            Self::Steady(per_s) => (Some(*per_s), &[][..]),
            Self::Changing(points) => (None, points.as_slice()),
        };
        steady.into_iter().chain(points.iter().map(|point| point.per_s))
    }

    /// The rate at an instant, in arrivals per second.
    pub fn at(&self, at_ms: f64) -> f64 {
        let at_s = at_ms / 1_000.0;
        let mut stretches = self.stretches();
        let found = stretches.find(|stretch| at_s < stretch.to_s);
        found.map_or(0.0, |stretch| stretch.rate(at_s))
    }

    /// How many arrivals are to be expected from the start of the load to an instant: the integral of the rate.
    pub fn expected_until(&self, at_ms: f64) -> f64 {
        let at_s = at_ms / 1_000.0;
        let past = self.stretches().take_while(|stretch| stretch.from_s < at_s);
        past.map(|stretch| stretch.expected_until(at_s.min(stretch.to_s))).sum()
    }

    /// The instant by which so many arrivals are to be expected, in seconds since the start of the load; infinite if they
    /// never are. Where the rate is zero for a while, the end of that time.
    pub fn expecting_s(&self, arrivals: f64) -> f64 {
        let mut missing = arrivals;
        for stretch in self.stretches() {
            let here = stretch.expected_until(stretch.to_s);
            if missing < here {
                return stretch.expecting_s(missing);
            }
            missing -= here;
        }
        f64::INFINITY
    }

    /// The stretches of the rate in the order of time, without gaps, from zero to infinity.
    fn stretches(&self) -> impl Iterator<Item = Stretch> {
        let (points, ends) = match self {
            Self::Steady(per_s) => (&[][..], (*per_s, *per_s)),
            Self::Changing(points) => {
                let per_s = |point: Option<&RatePoint>| point.map_or(0.0, |point| point.per_s);
                (points.as_slice(), (per_s(points.first()), per_s(points.last())))
            }
        };
        let seconds = |point: &RatePoint| point.at_ms as f64 / 1_000.0;
        let level = |from_s: f64, to_s: f64, per_s: f64| Stretch {
            from_s,
            to_s,
            from_per_s: per_s,
            to_per_s: per_s,
        };
        let before = points.first().filter(|first| first.at_ms > 0);
        let before = before.map(|first| level(0.0, seconds(first), ends.0));
        let between = points.windows(2).map(move |pair| Stretch {
            from_s: seconds(&pair[0]),
            to_s: seconds(&pair[1]),
            from_per_s: pair[0].per_s,
            to_per_s: pair[1].per_s,
        });
        let after = level(points.last().map_or(0.0, seconds), f64::INFINITY, ends.1);
        before.into_iter().chain(between).chain([after])
    }
}

impl Stretch {
    /// Change of the rate, in arrivals per second and second.
    fn slope(&self) -> f64 {
        (self.to_per_s - self.from_per_s) / (self.to_s - self.from_s)
    }

    fn is_level(&self) -> bool {
        self.from_per_s == self.to_per_s
    }

    fn rate(&self, at_s: f64) -> f64 {
        match self.is_level() {
            true => self.from_per_s,
            false => self.from_per_s + self.slope() * (at_s - self.from_s),
        }
    }

    /// Arrivals from its beginning to an instant within it.
    fn expected_until(&self, at_s: f64) -> f64 {
        let mean_per_s = (self.from_per_s + self.rate(at_s)) / 2.0;
        if mean_per_s == 0.0 {
            // Also where it lasts for ever.
            return 0.0;
        }
        mean_per_s * (at_s - self.from_s)
    }

    /// The instant by which it has made one expect so many arrivals, fewer than it does in all.
    fn expecting_s(&self, arrivals: f64) -> f64 {
        // The root of `slope / 2 * t^2 + from * t = arrivals`, in the form that loses no digits where the slope is small.
        let discriminant = self.from_per_s * self.from_per_s + 2.0 * self.slope() * arrivals;
        let divisor = self.from_per_s + discriminant.max(0.0).sqrt();
        if divisor == 0.0 {
            return self.from_s;
        }
        (self.from_s + 2.0 * arrivals / divisor).min(self.to_s)
    }
}

/// In words: `40/s`, or `10/s until 2s, 40/s at 8s, 5/s from 12s on`.
impl fmt::Display for RatePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let points = match self {
            Self::Changing(points) if points.len() > 1 => points,
            steady => return write!(f, "{}", readable(steady.greatest_per_s())),
        };
        for (position, point) in points.iter().enumerate() {
            let (rate, at) = (readable(point.per_s), DurationMs(point.at_ms));
            match position {
                0 if point.at_ms == 0 => write!(f, "{rate} at the start")?,
                0 => write!(f, "{rate} until {at}")?,
                last if last + 1 == points.len() => write!(f, ", {rate} from {at} on")?,
                _ => write!(f, ", {rate} at {at}")?,
            }
        }
        Ok(())
    }
}

/// To three decimals, but for rates so low that these would hide them.
fn readable(per_s: f64) -> Rate {
    match per_s {
        low if low < 0.01 => Rate(low),
        per_s => Rate((per_s * 1_000.0).round() / 1_000.0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A rate through these points, in milliseconds and arrivals per second.
    pub fn changing(points: &[(u64, f64)]) -> RatePlan {
        let points = points.iter().map(|&(at_ms, per_s)| RatePoint { at_ms, per_s });
        RatePlan::Changing(points.collect())
    }

    #[test]
    fn a_rate_goes_straight_between_points_and_stays_beyond_them() {
        let rate = changing(&[(2_000, 10.0), (8_000, 40.0), (9_000, 0.0)]);
        for (at_ms, per_s) in [
            (0.0, 10.0),
            (2_000.0, 10.0),
            (5_000.0, 25.0),
            (8_000.0, 40.0),
            (8_500.0, 20.0),
            (60_000.0, 0.0),
        ] {
            assert!(
                (rate.at(at_ms) - per_s).abs() < 1e-9,
                "at {at_ms} ms: {}",
                rate.at(at_ms)
            );
        }
        // 2 s at 10, 6 s at 25 on average, 1 s at 20 on average.
        for (at_ms, expected) in [(0.0, 0.0), (2_000.0, 20.0), (8_000.0, 170.0), (60_000.0, 190.0)] {
            assert!((rate.expected_until(at_ms) - expected).abs() < 1e-9, "{at_ms}");
        }
        assert!((rate.expecting_s(170.0) - 8.0).abs() < 1e-9);
        assert_eq!(rate.expecting_s(190.0), f64::INFINITY);
    }

    #[test]
    fn where_nobody_comes_for_a_while_the_next_comes_afterwards() {
        let rate = changing(&[(1_000, 10.0), (2_000, 0.0), (5_000, 0.0), (6_000, 10.0)]);
        assert_eq!(rate.expecting_s(15.0), 5.0, "the end of the pause");
        assert!(rate.expecting_s(14.999_999) < 2.0);
        assert!(rate.expecting_s(15.000_001) > 5.0);
        let silence = changing(&[(3_000, 0.0), (4_000, 8.0)]);
        assert_eq!(silence.expecting_s(0.0), 3.0);
    }

    #[test]
    fn what_is_no_rate_says_why() {
        for (rate, problem) in [
            (RatePlan::Steady(0.0), "0 is no rate"),
            (RatePlan::Steady(f64::NAN), "NaN is no rate"),
            (changing(&[(0, 1.0), (1, -1.0)]), "-1 is no rate"),
            (changing(&[(0, 1.0), (0, 2.0)]), "order of time"),
            (changing(&[(0, 0.0), (9, 0.0)]), "never above zero"),
            (changing(&[]), "never above zero"),
        ] {
            let found = rate.problem().unwrap_or_default();
            assert!(found.contains(problem), "{rate:?}: {found}");
        }
        assert_eq!(changing(&[(0, 0.0), (9, 1.0)]).problem(), None);
        assert_eq!(RatePlan::Steady(0.01).problem(), None);
    }

    #[test]
    fn rates_are_told_in_a_line() {
        for (rate, told) in [
            (RatePlan::Steady(40.0), "40/s"),
            (RatePlan::Steady(1.0 / 3.0), "0.333/s"),
            (RatePlan::Steady(0.0005), "0.0005/s"),
            (changing(&[(500, 2.5)]), "2.5/s"),
            (
                changing(&[(0, 10.0), (8_000, 40.0)]),
                "10/s at the start, 40/s from 8s on",
            ),
            (
                changing(&[(2_000, 10.0), (8_000, 40.0), (12_000, 0.0)]),
                "10/s until 2s, 40/s at 8s, 0/s from 12s on",
            ),
        ] {
            assert_eq!(rate.to_string(), told);
        }
    }

    #[test]
    fn plans_that_hold_a_number_load_as_they_did() {
        let rate: RatePlan = serde_json::from_str("40.0").unwrap();
        assert_eq!(rate, RatePlan::Steady(40.0));
        assert_eq!(serde_json::from_str::<RatePlan>("40").unwrap(), rate);
        assert_eq!(serde_json::to_string(&rate).unwrap(), "40.0");
        let rate = changing(&[(0, 10.0), (8_000, 40.0)]);
        let json = serde_json::to_string(&rate).unwrap();
        assert_eq!(json, r#"[{"at_ms":0,"per_s":10.0},{"at_ms":8000,"per_s":40.0}]"#);
        assert_eq!(serde_json::from_str::<RatePlan>(&json).unwrap(), rate);
    }

    prop_compose! {
        /// Any rate that is one.
        pub fn any_rate()(
            points in prop::collection::btree_map(0u64..60_000, prop_oneof![Just(0.0), 0.1..200.0], 1..6),
            greatest in 1.0..200.0,
        ) -> RatePlan {
            let mut points: Vec<(u64, f64)> = points.into_iter().collect();
            if points.iter().all(|(_, per_s)| *per_s == 0.0) {
                points[0].1 = greatest;
            }
            changing(&points)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_instant_by_which_arrivals_are_expected_is_where_they_are(rate in any_rate(), arrivals in 0.0..20_000.0) {
            let at_s = rate.expecting_s(arrivals);
            let in_all = rate.expected_until(1e15);
            if at_s.is_finite() {
                let expected = rate.expected_until(at_s * 1_000.0);
                prop_assert!((expected - arrivals).abs() < 1e-6 * arrivals.max(1.0), "{expected} by {at_s} s");
            } else {
                prop_assert!(arrivals >= in_all - 1e-6 * in_all, "{arrivals} of {in_all}");
            }
        }

        #[test]
        fn the_integral_is_the_sum_of_the_rate(rate in any_rate(), until_ms in 1u32..70_000) {
            // Milliseconds are finer than the points, so that within each the rate goes straight.
            let sum: f64 = (0..until_ms).map(|ms| rate.at(f64::from(ms) + 0.5) / 1_000.0).sum();
            let expected = rate.expected_until(f64::from(until_ms));
            prop_assert!((expected - sum).abs() < 1e-6 * sum.max(1.0), "{expected}, {sum}");
        }
    }
}
