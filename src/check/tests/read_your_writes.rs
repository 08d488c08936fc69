//! `read-your-writes` on histories written by hand.

use serde_json::json;

use super::build::Saved;
use crate::check::{Breach, Checked, Evidence, Invariant};
use crate::history::Outcome;
use crate::verdict::Judgement;

fn seen_soon() -> Invariant {
    let checker = json!({"read-your-writes": {
        "group": "database", "writer": "db-1", "metric": "newest-on-standby", "within": "500ms",
    }});
    serde_json::from_value(checker).unwrap()
}

fn check(saved: &Saved) -> Checked {
    saved.read(|history| seen_soon().checker().check(&Evidence::gather(history)))
}

/// A write every 100 ms, acknowledged after 10 ms.
fn written() -> Saved {
    let mut saved = Saved::default();
    for number in 1..=20 {
        let sent_us = number * 100_000;
        saved.beat("db-1", number, [sent_us, sent_us + 10_000], Outcome::Ok);
    }
    saved
}

const METRIC: &str = "newest-on-standby";

#[test]
fn a_standby_that_is_behind_by_less_than_may_be_passes() {
    let mut saved = written();
    // What somebody else acknowledged, or nobody, need not be seen.
    saved.beat("db-2", 99, [1, 2], Outcome::Ok);
    saved.beat("db-1", 21, [3, 4], Outcome::Info);
    // Nor has a reading that fails seen anything, and where nothing had to be seen it does not matter.
    saved.sample(METRIC, 200_000, None);
    for number in 3..=20_u64 {
        let at_us = number * 100_000;
        let seen = (number != 15).then(|| number.saturating_sub(5) as f64);
        saved.sample(METRIC, at_us, seen);
    }
    let finding = check(&saved).finding(None);
    assert_eq!(finding.verdict, Judgement::Pass, "{finding:?}");
    let words = "all as it must be; 20 writes acknowledged by db-1; 13 readings of `newest-on-standby` that had to see one within \
                 500ms, 1 failed";
    assert_eq!(finding.detail, words);
}

#[test]
fn where_many_readings_fail_the_others_do_not_stand_for_them() {
    let mut saved = written();
    for number in 7..=20 {
        let seen = (number < 17).then_some(20.0);
        saved.sample(METRIC, number * 100_000, seen);
    }
    let finding = check(&saved).finding(None);
    assert_eq!(finding.verdict, Judgement::Inconclusive, "{finding:?}");
    assert!(
        finding
            .detail
            .contains("4 of 14 readings of `newest-on-standby` failed: too many to tell"),
        "{finding:?}"
    );
}

#[test]
fn each_reading_that_is_too_stale_is_named_with_its_age() {
    let mut saved = written();
    saved.sample(METRIC, 1_010_000, Some(4.0));
    saved.sample(METRIC, 2_000_000, Some(4.0));
    let checked = check(&saved);
    assert_eq!(checked.breaches.get(&Breach::Stale), Some(&2));
    let finding = checked.finding(None);
    assert_eq!(finding.verdict, Judgement::Fail);
    assert!(
        finding
            .detail
            .ends_with("the oldest write that was not seen was 1490 ms old"),
        "{}",
        finding.detail
    );
    assert_eq!(
        finding.evidence,
        [
            "at 1.010 s a write that db-1 had acknowledged 500 ms before was not seen",
            "at 2.000 s a write that db-1 had acknowledged 1490 ms before was not seen",
        ]
    );
}

#[test]
fn without_writes_or_readings_nothing_is_said() {
    let mut nothing_written = Saved::default();
    nothing_written.sample(METRIC, 1_000_000, Some(0.0));
    let mut too_early = written();
    too_early.sample(METRIC, 200_000, Some(0.0));
    for saved in [nothing_written, too_early, written()] {
        let finding = check(&saved).finding(None);
        assert_eq!(finding.verdict, Judgement::Inconclusive, "{finding:?}");
    }
}
