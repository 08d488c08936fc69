//! How a latency varies from packet to packet: the tables that netem draws from, and what they say of many packets.

use nlink::netlink::tc::NetemDistribution;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Entries of a table: the kernel takes four times as many, and no measurement here could tell.
const ENTRIES: usize = 4_096;
/// One jitter, as a table writes it.
const SCALE: f64 = 8_192.0;
/// Shape of the Pareto distribution, and what its distance from the mean is stretched by: as in the table of that name that
/// comes with tc(8), so that a jitter means the same as there.
const PARETO_SHAPE: f64 = 3.0;
const PARETO_STRETCH: f64 = 4.0 / 3.0;

/// How a latency varies around its middle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Distribution {
    /// Evenly, by at most the jitter.
    #[default]
    Uniform,
    /// By the bell curve, whose standard deviation is the jitter.
    Normal,
    /// Most a little less, a few far more, by up to four times the jitter.
    Pareto,
}

impl Distribution {
    /// What netem draws from; none where it needs no table.
    pub(super) fn table(self) -> Option<NetemDistribution> {
        if self == Self::Uniform {
            return None;
        }
        let entry = |jitters: f64| (jitters * SCALE).round().clamp(i16::MIN.into(), i16::MAX.into()) as i16;
        NetemDistribution::from_table(self.jitters().into_iter().map(entry).collect()).ok()
    }

    /// The share of packets held back by less than the latency and so many times its jitter.
    pub fn share_below(self, jitters: f64) -> f64 {
        let entries = self.jitters();
        entries.partition_point(|entry| *entry < jitters) as f64 / entries.len() as f64
    }

    /// The least that is drawn, in jitters.
    pub fn least(self) -> f64 {
        self.jitters().first().copied().unwrap_or_default()
    }

    /// The greatest that is drawn, in jitters.
    pub fn greatest(self) -> f64 {
        self.jitters().last().copied().unwrap_or_default()
    }

    /// As many values as a table has entries, from the least on, each as probable as any other.
    pub(crate) fn jitters(self) -> Vec<f64> {
        match self {
            Self::Uniform => {
                let entry = |number| number as f64 / (ENTRIES - 1) as f64 * 2.0 - 1.0;
                (0..ENTRIES).map(entry).collect()
            }
            Self::Normal => normal(),
            Self::Pareto => pareto(),
        }
    }
}

/// The middles of as many equal shares of the whole as there are entries, from 0 to 1.
fn shares() -> impl Iterator<Item = f64> {
    (0..ENTRIES).map(|entry| (entry as f64 + 0.5) / ENTRIES as f64)
}

/// The bell curve, added up in small steps until each share is reached.
fn normal() -> Vec<f64> {
    const STEP: f64 = 1.0 / 1_024.0;
    let (mut at, mut reached) = (-5.0_f64, 0.0_f64);
    let entry = |share| {
        while reached < share && at < 5.0 {
            let middle = at + STEP / 2.0;
            reached += STEP * (-middle * middle / 2.0).exp() / std::f64::consts::TAU.sqrt();
            at += STEP;
        }
        at
    };
    shares().map(entry).collect()
}

/// Pareto's distribution, moved so that its mean is 0; the far end is cut off at what a table can hold.
fn pareto() -> Vec<f64> {
    let mean = PARETO_SHAPE / (PARETO_SHAPE - 1.0);
    let most = f64::from(i16::MAX) / SCALE;
    let entry = |share: f64| (((1.0 - share).powf(-1.0 / PARETO_SHAPE) - mean) * PARETO_STRETCH).min(most);
    shares().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_goes_from_the_least_on_and_its_mean_is_nothing() {
        for distribution in [Distribution::Normal, Distribution::Pareto] {
            let table = distribution.table().unwrap();
            let entries: Vec<f64> = table.table().iter().map(|entry| f64::from(*entry) / SCALE).collect();
            assert_eq!(entries.len(), ENTRIES);
            assert!(entries.is_sorted(), "{distribution:?}");
            let mean = entries.iter().sum::<f64>() / ENTRIES as f64;
            assert!(mean.abs() < 0.05, "{distribution:?}: {mean}");
        }
        assert!(
            Distribution::Uniform.table().is_none(),
            "netem draws evenly without one"
        );
    }

    #[test]
    fn the_jitter_is_the_deviation_of_the_bell_curve() {
        let entries = Distribution::Normal.jitters();
        let variance = entries.iter().map(|entry| entry.powi(2)).sum::<f64>() / ENTRIES as f64;
        assert!((variance.sqrt() - 1.0).abs() < 0.01, "{variance}");
    }

    #[test]
    fn the_shares_are_those_of_the_curves() {
        let near = |distribution: Distribution, jitters, share: f64| {
            let found = distribution.share_below(jitters);
            assert!(
                (found - share).abs() < 0.002,
                "{distribution:?} below {jitters}: {found}"
            );
        };
        near(Distribution::Uniform, 0.0, 0.5);
        near(Distribution::Uniform, -0.5, 0.25);
        near(Distribution::Uniform, 2.0, 1.0);
        near(Distribution::Normal, 0.0, 0.5);
        near(Distribution::Normal, 1.0, 0.841);
        near(Distribution::Normal, -0.5, 0.309);
        // 1 less the cube of 2/3.
        near(Distribution::Pareto, 0.0, 0.704);
        near(Distribution::Pareto, Distribution::Pareto.least(), 0.0);
    }

    #[test]
    fn what_is_drawn_has_its_bounds() {
        assert_eq!(
            (Distribution::Uniform.least(), Distribution::Uniform.greatest()),
            (-1.0, 1.0)
        );
        assert!(Distribution::Normal.least() > -4.0 && Distribution::Normal.greatest() < 4.0);
        assert!(Distribution::Pareto.least() > -0.67 && Distribution::Pareto.greatest() < 4.0);
    }
}
