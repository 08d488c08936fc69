//! What was attempted, by the number of its key: the one side of every checker's comparison.

use super::Evidence;
use crate::history::{Op, Outcome};

/// The attempted keys.
pub(super) struct Attempts<'e> {
    evidence: &'e Evidence<'e>,
    /// Kinds of operations; none for causes that no customer sends.
    kinds: &'e [String],
    outcomes: Vec<Option<Outcome>>,
    /// How often each was found at the far end, up to 255.
    seen: Vec<u8>,
    /// How many there are.
    pub count: usize,
    /// How many of them are acknowledged.
    pub acknowledged: usize,
}

/// What is known of an attempted key.
#[derive(Clone, Copy)]
pub(super) struct Attempt {
    /// The number of its key.
    pub number: usize,
    /// All operations with this key together.
    pub outcome: Outcome,
    /// How often it was found at the far end.
    pub seen: u8,
}

impl<'e> Attempts<'e> {
    /// The keys of operations of these kinds.
    pub(super) fn of(evidence: &'e Evidence<'e>, kinds: &'e [String]) -> Self {
        Self::new(evidence, kinds, evidence.outcomes(kinds))
    }

    /// The elements of a final read, each as good as acknowledged.
    pub(super) fn listed(evidence: &'e Evidence<'e>, read: &str) -> Self {
        let mut outcomes = vec![None; evidence.len()];
        for (number, _) in evidence.items(read) {
            outcomes[number] = Some(Outcome::Ok);
        }
        Self::new(evidence, &[], outcomes)
    }

    fn new(evidence: &'e Evidence<'e>, kinds: &'e [String], outcomes: Vec<Option<Outcome>>) -> Self {
        let known = outcomes.iter().flatten();
        Self {
            evidence,
            kinds,
            count: known.clone().count(),
            acknowledged: known.filter(|outcome| **outcome == Outcome::Ok).count(),
            seen: vec![0; outcomes.len()],
            outcomes,
        }
    }

    /// The attempt of that number, if there is one.
    pub(super) fn get(&self, number: usize) -> Option<Attempt> {
        let outcome = (*self.outcomes.get(number)?)?;
        let seen = self.seen[number];
        Some(Attempt { number, outcome, seen })
    }

    /// Notes that it was found at the far end, and says how often that now is.
    pub(super) fn see(&mut self, number: usize) -> Option<Attempt> {
        let attempt = self.get(number)?;
        let seen = attempt.seen.saturating_add(1);
        self.seen[number] = seen;
        Some(Attempt { seen, ..attempt })
    }

    /// Every attempt, in the order of its number.
    pub(super) fn iter(&self) -> impl Iterator<Item = Attempt> {
        (0..self.outcomes.len()).filter_map(|number| self.get(number))
    }

    /// Those that are acknowledged and were not found.
    pub(super) fn missing(&self) -> impl Iterator<Item = Attempt> {
        self.iter()
            .filter(|attempt| attempt.outcome == Outcome::Ok && attempt.seen == 0)
    }

    /// The operation that speaks for an attempt.
    pub(super) fn op(&self, attempt: Attempt) -> Option<&'e Op<'e>> {
        self.evidence.op(attempt.number, self.kinds)
    }

    /// Its key.
    pub(super) fn key(&self, attempt: Attempt) -> &'e str {
        self.evidence.key(attempt.number)
    }
}
