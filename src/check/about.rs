//! What a breach is about, so that the first of all can be told.

use super::Lost;
use crate::history::Op;
use crate::verdict::Violation;

/// An operation and when its customer came, or as much of it as is known.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct About<'a> {
    at_us: Option<u64>,
    operation: Option<&'a str>,
    key: Option<&'a str>,
}

impl<'a> About<'a> {
    /// An operation.
    pub(super) fn op(op: &'a Op<'_>) -> Self {
        Self {
            at_us: Some(op.intended_us),
            operation: Some(&op.kind),
            key: Some(&op.key),
        }
    }

    /// An operation that is lost.
    pub(super) fn lost(lost: &'a Lost) -> Self {
        Self {
            at_us: Some(lost.intended_us),
            operation: Some(&lost.kind),
            key: Some(&lost.key),
        }
    }

    /// An item of a final read that belongs to no operation.
    pub(super) fn element(element: &'a str) -> Self {
        Self {
            key: Some(element),
            ..Self::default()
        }
    }

    /// A reading of a gauge.
    pub(super) fn reading(metric: &'a str, at_us: u64) -> Self {
        Self {
            at_us: Some(at_us),
            operation: Some(metric),
            key: None,
        }
    }

    /// An instant.
    pub(super) fn instant(at_us: u64) -> Self {
        Self {
            at_us: Some(at_us),
            ..Self::default()
        }
    }

    /// Whether it came before what is the first so far. What has no time comes last.
    pub(super) fn is_before(&self, first: &First) -> bool {
        match (self.at_us, first.at_us) {
            (Some(at_us), Some(first_us)) => at_us < first_us,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// As the first.
    pub(super) fn first(&self, text: String) -> First {
        First {
            at_us: self.at_us,
            operation: self.operation.map(str::to_owned),
            key: self.key.map(str::to_owned),
            text,
        }
    }

    /// As a violation.
    pub(super) fn violation(&self, text: String) -> Violation {
        self.first(text).into()
    }
}

/// The first breach so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    at_us: Option<u64>,
    operation: Option<String>,
    key: Option<String>,
    text: String,
}

impl From<First> for Violation {
    fn from(first: First) -> Self {
        Self {
            at_ms: first.at_us.map(|us| us as f64 / 1_000.0),
            operation: first.operation,
            key: first.key,
            text: first.text,
        }
    }
}
