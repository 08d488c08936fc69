//! Whether an experiment passes: before, now, and what that makes of it.

use schemars::JsonSchema;
use serde::Serialize;

use crate::verdict::Judgement;

/// How the runs of one experiment ended. Failures that are accepted are not among the failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Tally {
    /// How many passed.
    pub passed: usize,
    /// How many failed by nothing that is not accepted.
    #[serde(skip_serializing_if = "is_zero")]
    pub accepted: usize,
    /// How many failed.
    pub failed: usize,
    /// Of how many it cannot be said.
    pub inconclusive: usize,
}

impl Tally {
    /// Of each run the judgement, and what it comes to without its accepted failures.
    pub(super) fn of(verdicts: impl IntoIterator<Item = (Judgement, Judgement)>) -> Self {
        let mut tally = Self::default();
        for (own, weighed) in verdicts {
            match (own, weighed) {
                (Judgement::Fail, Judgement::Pass) => tally.accepted += 1,
                (_, Judgement::Pass) => tally.passed += 1,
                (_, Judgement::Fail) => tally.failed += 1,
                (_, Judgement::Inconclusive) => tally.inconclusive += 1,
            }
        }
        tally
    }

    /// How many there are.
    pub fn runs(&self) -> usize {
        self.passed + self.accepted + self.failed + self.inconclusive
    }

    /// What they come to together.
    pub fn outcome(&self) -> Outcome {
        match (self.passed + self.accepted, self.failed, self.inconclusive) {
            (0, 0, 0) => Outcome::None,
            (0, 0, _) => Outcome::Inconclusive,
            (_, 0, _) => Outcome::Passes,
            (0, _, _) => Outcome::Fails,
            (_, _, _) => Outcome::Flaky,
        }
    }
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// What the runs of one experiment come to together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There are none.
    None,
    /// Of none can anything be said.
    Inconclusive,
    /// All of which something can be said passed, or failed as accepted.
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
