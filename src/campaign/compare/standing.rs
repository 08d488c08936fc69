//! Whether an experiment passes: before, now, and what that makes of it.

use schemars::JsonSchema;
use serde::Serialize;

use crate::verdict::Judgement;

/// How the runs of one experiment ended. Failures that are accepted are not among the failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Tally {
    /// How many passed, or failed by nothing that is not accepted.
    pub passed: usize,
    /// How many failed.
    pub failed: usize,
    /// Of how many it cannot be said.
    pub inconclusive: usize,
}

impl Tally {
    pub(super) fn of(verdicts: impl IntoIterator<Item = Judgement>) -> Self {
        let mut tally = Self::default();
        for verdict in verdicts {
            match verdict {
                Judgement::Pass => tally.passed += 1,
                Judgement::Fail => tally.failed += 1,
                Judgement::Inconclusive => tally.inconclusive += 1,
            }
        }
        tally
    }

    /// How many there are.
    pub fn runs(&self) -> usize {
        self.passed + self.failed + self.inconclusive
    }

    /// What they come to together.
    pub fn outcome(&self) -> Outcome {
        match (self.passed, self.failed, self.inconclusive) {
            (0, 0, 0) => Outcome::None,
            (0, 0, _) => Outcome::Inconclusive,
            (_, 0, _) => Outcome::Passes,
            (0, _, _) => Outcome::Fails,
            (_, _, _) => Outcome::Flaky,
        }
    }
}

/// What the runs of one experiment come to together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There are none.
    None,
    /// Of none can anything be said.
    Inconclusive,
    /// All of which something can be said passed.
    Passes,
    /// All of which something can be said failed.
    Fails,
    /// Some passed, some failed.
    Flaky,
}

/// What became of an experiment since the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It passes, and the baseline gives no cause to say more.
    Passes,
    /// It fails, and did not always before.
    NowFails,
    /// It fails as it did before.
    StillFails,
    /// Some of its runs pass, some fail.
    Flaky,
    /// It passes; before, some of its runs failed.
    WasFlaky,
    /// It passes; before, it failed.
    Fixed,
    /// Nothing can be said of it now.
    Inconclusive,
    /// The baseline does not have it.
    New,
    /// Only the baseline has it.
    Missing,
}

impl Standing {
    pub(super) fn of(baseline: &Tally, now: &Tally) -> Self {
        match (baseline.outcome(), now.outcome()) {
            (_, Outcome::None) => Self::Missing,
            (Outcome::None, _) => Self::New,
            (_, Outcome::Inconclusive) => Self::Inconclusive,
            (_, Outcome::Flaky) => Self::Flaky,
            (Outcome::Fails, Outcome::Fails) => Self::StillFails,
            (_, Outcome::Fails) => Self::NowFails,
            (Outcome::Fails, Outcome::Passes) => Self::Fixed,
            (Outcome::Flaky, Outcome::Passes) => Self::WasFlaky,
            (Outcome::Passes | Outcome::Inconclusive, Outcome::Passes) => Self::Passes,
        }
    }
}
