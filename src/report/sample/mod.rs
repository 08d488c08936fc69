//! A run as it might have been, for the tests: payment's answers are lost for eight seconds, orders pile up, customers
//! notice. Everything is computed from fixed numbers, so that tests know what must come out.

mod events;
mod history;
mod plan;
mod verdicts;

pub(super) use events::events;
pub(super) use history::history;
pub(crate) use plan::plan;
pub(crate) use verdicts::{aborted, failed, inconclusive, passed};

/// A run as a campaign knows it, that took so long.
pub(crate) fn record(verdict: &crate::verdict::Verdict, took_ms: u64) -> crate::campaign::RunRecord {
    let folder = std::path::Path::new("runs/20261122T212903Z-answers-lost");
    crate::campaign::RunRecord {
        took_ms,
        ..crate::campaign::RunRecord::of(folder, &plan(), &events(), verdict.clone())
    }
}

/// Somebody's acceptance of that.
pub(crate) fn weakness(what: &str) -> crate::campaign::accept::Weakness {
    crate::campaign::accept::Weakness {
        experiment: "answers-lost".to_owned(),
        what: what.to_owned(),
        reason: "the pool has no limit of its own".to_owned(),
        owner: "team-postage".to_owned(),
        until: "2027-01-31".to_owned(),
        place: "ci/accepted.yaml:3".to_owned(),
    }
}

/// When the load ended.
pub(super) const END_MS: u64 = 32_000;
/// When the gate passed.
pub(super) const GATE_MS: u64 = 7_000;
/// When the fault's effect was seen.
pub(crate) const EFFECTIVE_MS: f64 = 10_012.0;
/// When its absence was.
pub(crate) const HEALED_MS: f64 = 18_031.0;
/// When customers had good service again.
pub(super) const RECOVERED_MS: f64 = 20_250.0;
/// 2026-11-22 21:29:03 UTC, when the load started.
const STARTED_UNIX_MS: i64 = 1_795_382_943_000;

/// Whether the service is cut off from answers at that time.
fn is_out(at_ms: f64) -> bool {
    (EFFECTIVE_MS..RECOVERED_MS).contains(&at_ms)
}
