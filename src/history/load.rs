//! Reads a saved history into memory, borrowing from its text.

use std::collections::BTreeMap;

use super::{Item, Op, Sample};

/// A saved history, as the checkers and the reports see it.
#[derive(Debug, Default)]
pub struct History<'a> {
    /// Every operation, in the order of completion.
    pub ops: Vec<Op<'a>>,
    /// Every gauge reading, in the order of time.
    pub samples: Vec<Sample<'a>>,
    /// Every final read, by name.
    pub reads: BTreeMap<String, FinalList<'a>>,
}

/// What a final read gave.
#[derive(Debug, Default)]
pub struct FinalList<'a> {
    /// Its items.
    pub items: Vec<Item<'a>>,
    /// Whether it ran to its end and every item it counted is here.
    pub complete: bool,
    /// Why not.
    pub problem: Option<String>,
}
