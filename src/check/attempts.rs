//! What was attempted, by key: the one side of every checker's comparison.

use super::index::Index;
use crate::history::load::{FinalList, History};
use crate::history::{Op, Outcome};

/// The attempted keys in the order in which they completed.
pub(super) struct Attempts<'a> {
    index: Index<'a>,
    all: Vec<Attempt<'a>>,
}

/// An attempted key.
pub(super) struct Attempt<'a> {
    /// The key.
    pub key: &'a str,
    /// All operations with this key together: `ok` if any was, `fail` only if all were, else `info`.
    pub outcome: Outcome,
    /// An operation with this key, an acknowledged one if there is one; absent for causes that no customer sends.
    pub op: Option<&'a Op<'a>>,
    /// How often it was found at the far end.
    pub seen: u32,
}

impl<'a> Attempts<'a> {
    /// The keys of operations of these kinds.
    pub(super) fn of(history: &'a History<'_>, kinds: &[String]) -> Self {
        let ops = || {
            history
                .ops
                .iter()
                .filter(|op| kinds.iter().any(|kind| *kind == op.kind))
        };
        let mut attempts = Self::with_capacity(ops().count());
        for op in ops() {
            attempts.add(&op.key, op.outcome, Some(op));
        }
        attempts
    }

    /// The elements of a final read, each as good as acknowledged.
    pub(super) fn listed(list: &'a FinalList<'_>) -> Self {
        let mut attempts = Self::with_capacity(list.items.len());
        for item in &list.items {
            attempts.add(&item.element, Outcome::Ok, None);
        }
        attempts
    }

    fn with_capacity(keys: usize) -> Self {
        Self {
            index: Index::with_capacity(keys),
            all: Vec::with_capacity(keys),
        }
    }

    fn add(&mut self, key: &'a str, outcome: Outcome, op: Option<&'a Op<'a>>) {
        let (number, new) = self.index.add(key);
        if new {
            self.all.push(Attempt {
                key,
                outcome,
                op,
                seen: 0,
            });
            return;
        }
        let known = &mut self.all[number];
        if outcome == Outcome::Ok && known.outcome != Outcome::Ok {
            known.op = op;
        }
        known.outcome = together(known.outcome, outcome);
    }

    /// The attempt with that key and its number.
    pub(super) fn find(&mut self, key: &str) -> Option<(usize, &mut Attempt<'a>)> {
        let number = self.index.get(key)?;
        Some((number, &mut self.all[number]))
    }

    /// Every attempt, in the order of its number.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Attempt<'a>> {
        self.all.iter()
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many are acknowledged.
    pub(super) fn acknowledged(&self) -> usize {
        self.all.iter().filter(|attempt| attempt.outcome == Outcome::Ok).count()
    }
}

/// Retries with one key are one operation.
fn together(one: Outcome, other: Outcome) -> Outcome {
    match (one, other) {
        (Outcome::Ok, _) | (_, Outcome::Ok) => Outcome::Ok,
        (Outcome::Fail, Outcome::Fail) => Outcome::Fail,
        _ => Outcome::Info,
    }
}
