//! The sign before a row of a table: what it came to, and whether that counts.

use super::{summary, words};
use crate::verdict::Judgement;

/// A sign, the least grave first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mark {
    /// It passed.
    Pass,
    /// It did not, and that is known: accepted, let pass, or as before.
    Known,
    /// It cannot be said.
    Doubt,
    /// It failed.
    Fail,
}

impl From<Judgement> for Mark {
    fn from(judgement: Judgement) -> Self {
        match judgement {
            Judgement::Pass => Self::Pass,
            Judgement::Inconclusive => Self::Doubt,
            Judgement::Fail => Self::Fail,
        }
    }
}

impl Mark {
    /// As it stands on a terminal.
    pub fn glyph(self, unicode: bool) -> &'static str {
        match self.judgement() {
            Some(judgement) => words::glyph(judgement, unicode),
            None => "!",
        }
    }

    /// As it stands where colours come by emoji.
    pub fn emoji(self) -> &'static str {
        match self.judgement() {
            Some(judgement) => summary::glyph(judgement),
            None => "⚠️",
        }
    }

    fn judgement(self) -> Option<Judgement> {
        match self {
            Self::Pass => Some(Judgement::Pass),
            Self::Known => None,
            Self::Doubt => Some(Judgement::Inconclusive),
            Self::Fail => Some(Judgement::Fail),
        }
    }
}
