//! What a fault does to packets on their way out, and what several of them come to for one peer.

use std::time::Duration;

use nlink::netlink::tc::NetemConfig;
use nlink::{Packets, Percent};
use serde::{Deserialize, Serialize};

use super::distribution::Distribution;

/// The longest latency, and the longest delay of those that are overtaken.
pub const LATENCY_MAX_MS: u64 = 5_000;
/// The most jitter: netem computes with 32 bits of nanoseconds.
pub const JITTER_MAX_MS: u64 = 1_000;
/// Packets that netem holds at once. Its own default, a thousand, would drop what a busy service sends within a second.
const PACKETS_MAX: Packets = Packets::new(1_000_000);

/// What one fault does to packets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Impairment {
    /// Each is held back.
    Latency(Latency),
    /// A share of them is sent twice.
    Duplicate {
        /// The share.
        percent: f64,
    },
    /// A share of them is sent at once, and the others so much later that they are overtaken.
    Reorder(Reorder),
    /// In a share of them one bit is flipped.
    Corrupt {
        /// The share.
        percent: f64,
    },
}

/// How long packets are held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// The time itself.
    pub latency_ms: u64,
    /// How far it varies from packet to packet.
    pub jitter_ms: u64,
    /// How it varies.
    pub distribution: Distribution,
}

/// Which packets overtake, and by how much.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reorder {
    /// The share that is sent at once.
    pub percent: f64,
    /// How long the others are held back.
    pub delay_ms: u64,
}

impl Impairment {
    /// What makes no sense in it.
    pub fn problem(&self) -> Option<String> {
        let (field, percent) = match *self {
            Self::Latency(latency) => return latency.problem(),
            Self::Reorder(Reorder { delay_ms, .. }) if !(1..=LATENCY_MAX_MS).contains(&delay_ms) => {
                return Some(format!("`delay_ms` must be from 1 to {LATENCY_MAX_MS}, is {delay_ms}"));
            }
            Self::Duplicate { percent } => ("duplicate", percent),
            Self::Reorder(Reorder { percent, .. }) => ("reorder", percent),
            Self::Corrupt { percent } => ("corrupt", percent),
        };
        let is_share = percent > 0.0 && percent < 100.0;
        (!is_share).then(|| format!("`percent` of `{field}` must be more than 0 and less than 100, is {percent}"))
    }

    /// The key of the fault that asks for it, for messages.
    fn name(&self) -> &'static str {
        match self {
            Self::Latency(_) => "latency",
            Self::Duplicate { .. } => "duplicate",
            Self::Reorder(_) => "reorder",
            Self::Corrupt { .. } => "corrupt",
        }
    }
}

impl Latency {
    fn problem(&self) -> Option<String> {
        if !(1..=LATENCY_MAX_MS).contains(&self.latency_ms) {
            let found = self.latency_ms;
            return Some(format!("`latency_ms` must be from 1 to {LATENCY_MAX_MS}, is {found}"));
        }
        let most = self.latency_ms.min(JITTER_MAX_MS);
        (self.jitter_ms > most).then(|| format!("`jitter_ms` must be from 0 to {most}, is {}", self.jitter_ms))
    }
}

/// Everything that is done to the packets for one peer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Combined {
    latency: Option<Latency>,
    duplicate: Option<f64>,
    reorder: Option<Reorder>,
    corrupt: Option<f64>,
}

impl Combined {
    /// With one more impairment; otherwise the name of the one that stands against it. Two of a kind cannot be told apart
    /// by what they do, and netem reorders by its latency: it has but one.
    pub(super) fn with(mut self, impairment: &Impairment) -> Result<Self, (&'static str, &'static str)> {
        let name = impairment.name();
        match *impairment {
            Impairment::Latency(_) if self.latency.is_some() => return Err((name, name)),
            Impairment::Latency(_) if self.reorder.is_some() => return Err((name, "reorder")),
            Impairment::Latency(latency) => self.latency = Some(latency),
            Impairment::Reorder(_) if self.reorder.is_some() => return Err((name, name)),
            Impairment::Reorder(_) if self.latency.is_some() => return Err((name, "latency")),
            Impairment::Reorder(reorder) => self.reorder = Some(reorder),
            Impairment::Duplicate { .. } if self.duplicate.is_some() => return Err((name, name)),
            Impairment::Duplicate { percent } => self.duplicate = Some(percent),
            Impairment::Corrupt { .. } if self.corrupt.is_some() => return Err((name, name)),
            Impairment::Corrupt { percent } => self.corrupt = Some(percent),
        }
        Ok(self)
    }

    /// As netem is told.
    pub(super) fn netem(&self) -> NetemConfig {
        let mut netem = NetemConfig::new().limit(PACKETS_MAX);
        if let Some(latency) = self.latency {
            netem = netem.delay(Duration::from_millis(latency.latency_ms));
            if latency.jitter_ms > 0 {
                netem = netem.jitter(Duration::from_millis(latency.jitter_ms));
                netem.distribution = latency.distribution.table();
            }
        }
        if let Some(reorder) = self.reorder {
            let delay = Duration::from_millis(reorder.delay_ms);
            netem = netem.delay(delay).reorder(Percent::new(reorder.percent)).gap(1);
        }
        if let Some(percent) = self.duplicate {
            netem = netem.duplicate(Percent::new(percent));
        }
        if let Some(percent) = self.corrupt {
            netem = netem.corrupt(Percent::new(percent));
        }
        netem
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(latency_ms: u64, jitter_ms: u64) -> Impairment {
        Impairment::Latency(Latency {
            latency_ms,
            jitter_ms,
            distribution: Distribution::Normal,
        })
    }

    fn reorder(percent: f64, delay_ms: u64) -> Impairment {
        Impairment::Reorder(Reorder { percent, delay_ms })
    }

    #[test]
    fn what_netem_cannot_do_is_a_problem() {
        let wrong = [
            (latency(0, 0), "latency_ms"),
            (latency(LATENCY_MAX_MS + 1, 0), "latency_ms"),
            (latency(10, 11), "jitter_ms"),
            (latency(5_000, JITTER_MAX_MS + 1), "jitter_ms"),
            (reorder(25.0, 0), "delay_ms"),
            (reorder(100.0, 10), "percent"),
            (Impairment::Duplicate { percent: 0.0 }, "percent"),
            (Impairment::Corrupt { percent: f64::NAN }, "percent"),
        ];
        for (impairment, field) in wrong {
            let problem = impairment.problem().unwrap();
            assert!(problem.contains(field), "{impairment:?}: {problem}");
        }
        for right in [latency(10, 10), reorder(25.0, 10), Impairment::Corrupt { percent: 1.0 }] {
            assert_eq!(right.problem(), None, "{right:?}");
        }
    }

    #[test]
    fn of_each_kind_one_peer_has_one_and_latency_does_not_go_with_reordering() {
        let all = [
            latency(50, 0),
            Impairment::Duplicate { percent: 1.0 },
            reorder(25.0, 10),
            Impairment::Corrupt { percent: 2.0 },
        ];
        for (one, first) in all.iter().enumerate() {
            for (other, second) in all.iter().enumerate() {
                let both = Combined::default().with(first).unwrap().with(second);
                let clash = one == other || (one % 2 == 0 && other % 2 == 0);
                assert_eq!(both.is_err(), clash, "{first:?} with {second:?}");
            }
        }
    }

    #[test]
    fn what_is_done_at_once_is_told_to_one_netem() {
        let combined = Combined::default()
            .with(&latency(50, 5))
            .and_then(|combined| combined.with(&Impairment::Duplicate { percent: 1.5 }))
            .and_then(|combined| combined.with(&Impairment::Corrupt { percent: 3.0 }));
        let netem = combined.unwrap().netem();
        assert_eq!(netem.delay, Some(Duration::from_millis(50)));
        assert_eq!(netem.jitter, Some(Duration::from_millis(5)));
        assert!(netem.distribution.is_some());
        assert_eq!((netem.duplicate, netem.corrupt), (Percent::new(1.5), Percent::new(3.0)));
        assert_eq!((netem.reorder, netem.gap, netem.limit), (Percent::ZERO, 0, PACKETS_MAX));
    }

    #[test]
    fn those_that_are_not_reordered_are_delayed() {
        let netem = Combined::default().with(&reorder(25.0, 10)).unwrap().netem();
        assert_eq!(netem.delay, Some(Duration::from_millis(10)));
        assert_eq!((netem.reorder, netem.gap), (Percent::new(25.0), 1));
    }

    #[test]
    fn a_latency_without_jitter_has_no_table() {
        let netem = Combined::default().with(&latency(50, 0)).unwrap().netem();
        assert!(netem.jitter.is_none() && netem.distribution.is_none());
    }
}
