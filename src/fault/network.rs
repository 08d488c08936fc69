//! What the faults of packets share.

use super::{Problem, target};
use crate::plan::Target;

/// What is wrong with the two groups of a fault of packets.
pub(super) fn problems(from: &[Target], to: &[Target]) -> Vec<Problem> {
    let mut problems: Vec<Problem> = target::empty_list("from", from).into_iter().collect();
    problems.extend(target::empty_list("to", to));
    problems.extend(target::overlaps(from, to));
    problems
}

/// `payment-provider-1 -> postage-api-1, postage-api-2`, or with `<->`.
pub(super) fn route(from: &[Target], to: &[Target], both_ways: bool) -> String {
    let arrow = if both_ways { "<->" } else { "->" };
    format!("{} {arrow} {}", target::names(from), target::names(to))
}
