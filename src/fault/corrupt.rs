//! `corrupt`: a share of the bytes come with one bit turned over.

use super::Problem;
use super::link::{LinkFault, OnLink, link_fault};
use super::sign::{Shows, Sign};
use crate::link::toxic::{Kind, corrupt};
use crate::plan::Target;

link_fault! {
    /// Parameters of `corrupt`.
    Corrupt {
        /// Share of bytes, from 0.0001 to 1.
        probability: f64,
    }
}

impl LinkFault for Corrupt<Target> {
    fn on(&self) -> OnLink<'_, Target> {
        self.link()
    }

    fn toxic(&self) -> Option<Kind> {
        Some(Kind::Corrupt(corrupt::Corrupt {
            probability: self.probability,
        }))
    }

    fn sign(&self) -> Sign {
        // As many bytes as none of which is spared by chance more often than once in a million times.
        let bytes = (CHANCE.ln() / (1.0 - self.probability.min(0.999)).ln()).ceil();
        Sign {
            shows: Shows::Changed,
            bytes: (bytes as u32).max(16),
        }
    }

    fn words(&self) -> String {
        format!("turn over one bit of {} % of bytes", self.probability * 100.0)
    }

    fn problem(&self) -> Option<Problem> {
        (self.probability < PROBABILITY_MIN).then(|| Problem {
            path: "probability".to_owned(),
            message: format!("must be at least {PROBABILITY_MIN}, is {}", self.probability),
            hint: "a smaller one cannot be shown in good time".to_owned(),
        })
    }
}

/// How often a probe may be spared by chance.
const CHANCE: f64 = 1e-6;
/// The least share that shows within a probe.
const PROBABILITY_MIN: f64 = 0.0001;
