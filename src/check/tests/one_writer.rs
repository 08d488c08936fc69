//! `one-writer` on histories written by hand, and on generated ones compared with what an adversary could hide.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::build::{self, SECOND, Saved};
use crate::check::one_writer::OneWriter;
use crate::check::writers::{self, Overlap};
use crate::check::{Breach, Checked, Checker, Evidence, judge};
use crate::history::{Heartbeat, Outcome};
use crate::verdict::{AssertionKind, Finding, Judgement};

const OLD: &str = "db-a-1";
const NEW: &str = "db-b-1";
const TABLE: &str = "heartbeats of database";

fn check(saved: &Saved, last_heal_us: Option<u64>) -> Checked {
    let checker = OneWriter {
        group: "database".to_owned(),
    };
    saved.read(|history| checker.check(&Evidence::gather(history).with_last_heal(last_heal_us)))
}

fn judge_at(saved: &Saved, last_heal_us: Option<u64>) -> Finding {
    check(saved, last_heal_us).finding(None)
}

/// Both members are written to every 100 ms from 0 to 20 s, and answer within 10 ms as `outcome` says.
fn beats(outcome: impl Fn(&str, u64) -> Outcome) -> Saved {
    let mut saved = Saved::default();
    for number in 1..=200 {
        let at_ms = (number - 1) * 100;
        for member in [OLD, NEW] {
            let times_us = [at_ms * 1_000, (at_ms + 10) * 1_000];
            saved.beat(member, number, times_us, outcome(member, at_ms));
        }
    }
    saved
}

/// The old one is primary until `old_until_ms`, the new one from `new_from_ms`.
fn failover(old_until_ms: u64, new_from_ms: u64) -> Saved {
    beats(|member, at_ms| match member {
        OLD if at_ms < old_until_ms => Outcome::Ok,
        OLD => Outcome::Info,
        _ if at_ms < new_from_ms => Outcome::Fail,
        _ => Outcome::Ok,
    })
}

/// Every acknowledged heartbeat is in the last primary's table, but these of the old one.
fn table(saved: &mut Saved, old: std::ops::RangeInclusive<u64>, new: std::ops::RangeInclusive<u64>) {
    for (member, numbers) in [(OLD, old), (NEW, new)] {
        for number in numbers {
            saved.item(TABLE, &format!("{member}/{number}"), &[]);
        }
    }
    saved.end(TABLE);
}

#[test]
fn a_failover_with_a_gap_passes_and_is_told() {
    let mut saved = failover(10_000, 12_000);
    table(&mut saved, 1..=100, 121..=200);
    let finding = judge_at(&saved, Some(15 * SECOND));
    assert_eq!(
        (finding.verdict, finding.samples),
        (Judgement::Pass, 400),
        "{finding:?}"
    );
    assert_eq!(
        finding.detail,
        "all as it must be; 180 of 400 heartbeats acknowledged (db-a-1 100, db-b-1 80); db-b-1 took over from db-a-1: \
         last write of the old at 9.910 s, first of the new at 12.010 s, a gap of 2100 ms; none of them is lost"
    );
}

#[test]
fn two_writers_at_once_are_a_breach_for_as_long_as_is_proven() {
    let finding = judge_at(&failover(16_000, 12_000), None);
    assert_eq!(finding.verdict, Judgement::Fail, "{finding:?}");
    // From the end of the new one's first write to the begin of the old one's last.
    assert_eq!(
        finding.evidence,
        ["db-a-1 and db-b-1 both acknowledged writes for at least 3890 ms, from 12.010 s to 15.900 s"]
    );
    assert!(
        finding.detail.starts_with("1 with two writers at once; "),
        "{}",
        finding.detail
    );
    assert!(
        finding.detail.contains(
            "db-b-1 took over from db-a-1: first write of the new at 12.010 s, and the old went on until 15.910 s, no gap"
        ),
        "{}",
        finding.detail
    );
}

#[test]
fn every_end_other_than_an_acknowledgement_ends_what_is_proven() {
    // The old one acknowledges again after the new one's time, but in between it was asked once and did not.
    let between = |asked: Outcome| {
        beats(move |member, at_ms| match member {
            OLD if (10_000..15_000).contains(&at_ms) => asked,
            OLD => Outcome::Ok,
            _ if (12_000..14_000).contains(&at_ms) => Outcome::Ok,
            _ => Outcome::Fail,
        })
    };
    for asked in [Outcome::Fail, Outcome::Info] {
        let finding = judge_at(&between(asked), None);
        assert_eq!(finding.verdict, Judgement::Pass, "{asked:?}: {finding:?}");
        assert!(
            finding
                .detail
                .contains("db-a-1 took over from db-b-1: last write of the old at 13.910 s"),
            "{}",
            finding.detail
        );
    }
    let finding = judge_at(&between(Outcome::Ok), None);
    assert_eq!(finding.verdict, Judgement::Fail, "{finding:?}");
}

#[test]
fn two_writers_in_several_rows_are_summed_up() {
    // The new one is busy for a moment, which ends its row.
    let saved = beats(|member, at_ms| match member {
        OLD if at_ms < 16_000 => Outcome::Ok,
        OLD => Outcome::Info,
        _ if at_ms < 12_000 || at_ms == 14_000 => Outcome::Fail,
        _ => Outcome::Ok,
    });
    let finding = judge_at(&saved, None);
    assert_eq!(finding.evidence.len(), 2, "{finding:?}");
    assert!(
        finding
            .detail
            .contains("two writers for at least 3680 ms in all, from 12.010 s to 15.900 s"),
        "{}",
        finding.detail
    );
}

#[test]
fn where_nightmail_itself_is_late_nothing_is_said() {
    let with = |gap_us: u64| {
        let mut saved = failover(10_000, 12_000);
        saved.beat(OLD, 201, [19_910_000 + gap_us, 19_920_000 + gap_us], Outcome::Fail);
        table(&mut saved, 1..=100, 121..=200);
        judge_at(&saved, None)
    };
    assert_eq!(with(500_000).verdict, Judgement::Pass);
    let late = with(500_001);
    assert_eq!(late.verdict, Judgement::Inconclusive, "{late:?}");
    assert_eq!(
        late.evidence,
        ["nightmail itself was late: it sent db-a-1 no heartbeat for 500 ms, from 19.910 s"]
    );
}

#[test]
fn a_number_that_is_missing_ends_it_too() {
    let mut saved = Saved::default();
    saved
        .beat(OLD, 1, [0, 10], Outcome::Ok)
        .beat(OLD, 3, [200, 210], Outcome::Ok);
    saved
        .beat(NEW, 1, [90, 100], Outcome::Ok)
        .beat(NEW, 2, [110, 120], Outcome::Ok);
    assert_eq!(judge_at(&saved, None).verdict, Judgement::Pass);
    saved.beat(OLD, 2, [100, 110], Outcome::Ok);
    assert_eq!(judge_at(&saved, None).verdict, Judgement::Fail);
}

#[test]
fn an_answer_that_came_late_proves_nothing_of_the_time_until_it_came() {
    // The old one may have accepted its last write before it was stopped; the answer came when the new one was at work.
    let mut saved = Saved::default();
    saved
        .beat(OLD, 1, [0, 10_000], Outcome::Ok)
        .beat(OLD, 2, [50_000, 900_000], Outcome::Ok)
        .beat(NEW, 1, [400_000, 410_000], Outcome::Ok)
        .beat(NEW, 2, [450_000, 460_000], Outcome::Ok);
    let finding = judge_at(&saved, None);
    assert_eq!(finding.verdict, Judgement::Pass, "{finding:?}");
}

#[test]
fn one_write_within_the_time_of_another_writer_is_enough() {
    let mut saved = failover(20_000, 20_000);
    saved.beat(NEW, 201, [15_005_000, 15_006_000], Outcome::Ok);
    let finding = judge_at(&saved, None);
    assert_eq!(
        finding.evidence,
        ["db-a-1 and db-b-1 both acknowledged writes at 15.006 s"],
        "{finding:?}"
    );
}

#[test]
fn writers_are_those_of_one_group() {
    let mut saved = failover(16_000, 12_000);
    let checker = OneWriter {
        group: "archive".to_owned(),
    };
    saved.end(TABLE);
    let checked = saved.read(|history| checker.check(&Evidence::gather(history)));
    assert!(checked.breaches.is_empty());
    assert_eq!(checked.finding(None).verdict, Judgement::Inconclusive);
}

#[test]
fn without_an_acknowledgement_there_is_doubt() {
    let finding = judge_at(&beats(|_, _| Outcome::Fail), None);
    assert_eq!(finding.verdict, Judgement::Inconclusive);
    assert_eq!(
        finding.detail,
        "no heartbeat of `database` was acknowledged, so nothing was put to the test; \
         0 of 400 heartbeats acknowledged; nobody took over"
    );
}

#[test]
fn of_a_member_that_never_answers_nothing_is_known() {
    let once = |refused_at_ms| {
        let refused_once = beats(move |member, at_ms| match member {
            OLD => Outcome::Ok,
            _ if at_ms == refused_at_ms => Outcome::Fail,
            _ => Outcome::Info,
        });
        judge_at(&refused_once, None)
    };
    assert_eq!(once(3_000).verdict, Judgement::Pass);
    let never = once(1_000_000);
    assert_eq!(never.verdict, Judgement::Inconclusive, "{never:?}");
    assert_eq!(
        never.evidence,
        ["db-b-1 never answered a heartbeat (not acknowledged), so nothing is known of it"]
    );
}

#[test]
fn without_one_after_the_last_heal_there_is_doubt() {
    let saved = failover(10_000, 20_000);
    let finding = judge_at(&saved, Some(9_950_000));
    assert_eq!(finding.verdict, Judgement::Inconclusive, "{finding:?}");
    assert!(
        finding.detail.starts_with(
            "no heartbeat of `database` was acknowledged after the last heal, which was at 9.950 s; 100 of 400"
        ),
        "{}",
        finding.detail
    );
    // The last one began at 9.9 s.
    assert_eq!(judge_at(&saved, Some(9_900_000)).verdict, Judgement::Pass);
    assert_eq!(judge_at(&saved, None).verdict, Judgement::Pass);
}

#[test]
fn what_is_lost_is_counted_with_its_age_and_breaks_nothing() {
    let mut saved = failover(10_000, 12_000);
    table(&mut saved, 1..=96, 121..=200);
    let finding = judge_at(&saved, None);
    assert_eq!(finding.verdict, Judgement::Pass, "{finding:?}");
    assert!(
        finding
            .detail
            .ends_with("; 4 of them lost, the oldest acknowledged 300 ms before the last write of db-a-1"),
        "{}",
        finding.detail
    );
}

#[test]
fn a_table_that_could_not_be_read_leaves_open_what_is_lost() {
    let unread = failover(10_000, 12_000);
    let mut broken = unread.clone();
    broken.end_with(TABLE, 0, Some("there is no primary"));
    for (saved, why) in [
        (unread, "the table was not read at the end"),
        (broken, "there is no primary"),
    ] {
        let finding = judge_at(&saved, None);
        assert_eq!(finding.verdict, Judgement::Pass);
        let end = format!("; how many of them are lost is not known: {why}");
        assert!(finding.detail.ends_with(&end), "{}", finding.detail);
    }
}

#[test]
fn many_takeovers_are_counted() {
    let flips = beats(|member, at_ms| {
        let turn = at_ms / 2_000 % 2 == 0;
        if turn == (member == OLD) {
            Outcome::Ok
        } else {
            Outcome::Fail
        }
    });
    let finding = judge_at(&flips, None);
    assert_eq!(finding.verdict, Judgement::Pass, "{finding:?}");
    assert_eq!(finding.detail.matches("took over from").count(), 3);
    assert!(
        finding.detail.contains("; and 6 more takeovers; "),
        "{}",
        finding.detail
    );
}

/// The whole judgement knows when the last fault was healed.
#[test]
fn a_judged_run_looks_for_a_writer_after_its_last_heal() {
    let mut plan = build::plan_with_fault();
    let invariant = json!({"one-writer": {"group": "database"}});
    plan.system
        .invariants
        .insert("one-writer".to_owned(), serde_json::from_value(invariant).unwrap());
    plan.invariants = vec!["one-writer".to_owned()];
    // Healed at 20 s.
    let verdict_with = |until_ms: u64| {
        let mut saved = failover(10_000, 12_000);
        saved.beat(NEW, 201, [until_ms * 1_000, until_ms * 1_000 + 5], Outcome::Ok);
        let verdict = saved.read(|history| judge(&plan, history, &build::events()));
        let mut assertions = verdict.assertions.into_iter();
        let found = assertions.find(|assertion| assertion.kind == AssertionKind::Invariant);
        found.unwrap().finding.verdict
    };
    assert_eq!(verdict_with(19_999), Judgement::Inconclusive);
    assert_eq!(verdict_with(20_000), Judgement::Pass);
}

/// Heartbeats of a member, one after the other: whether each is acknowledged, the time before it, and how long it took.
fn any_beats() -> impl Strategy<Value = Vec<(bool, u64, u64)>> {
    proptest::collection::vec((proptest::bool::weighted(0.8), 0..4u64, 0..4u64), 0..8)
}

fn heartbeats(member: &'static str, beats: &[(bool, u64, u64)]) -> Vec<Heartbeat<'static>> {
    let mut now_us = 0;
    let numbered = beats.iter().zip(1..);
    numbered
        .map(|((acknowledged, pause, took), number)| {
            let sent_us = now_us + pause;
            now_us = sent_us + took;
            Heartbeat {
                group: "database".into(),
                member: member.into(),
                number,
                sent_us,
                done_us: now_us,
                outcome: if *acknowledged { Outcome::Ok } else { Outcome::Info },
                error: None,
            }
        })
        .collect()
}

/// Where the first and the last write of a row may have been accepted, all pairs of instants.
fn instants(row: &[Heartbeat<'_>]) -> Vec<(u64, u64)> {
    let (first, last) = (row.first().unwrap(), row.last().unwrap());
    let firsts = first.sent_us..=first.done_us;
    let pairs = firsts.flat_map(|from| match row.len() {
        1 => vec![(from, from)],
        _ => (last.sent_us..=last.done_us).map(|to| (from, to)).collect(),
    });
    pairs.collect()
}

/// The least time for which both were writable, wherever their writes were accepted; none if it may be that they never were.
fn proven_us(one: &[Heartbeat<'_>], other: &[Heartbeat<'_>]) -> Option<u64> {
    let mut least = Some(u64::MAX);
    for (from, to) in instants(one) {
        for (other_from, other_to) in instants(other) {
            let both = to.min(other_to).checked_sub(from.max(other_from));
            least = least.min(both);
        }
    }
    least
}

proptest! {
    #![proptest_config(build::cases(2_000))]

    #[test]
    fn an_overlap_is_what_no_adversary_could_hide(ones in any_beats(), others in any_beats()) {
        let (ones, others) = (heartbeats(OLD, &ones), heartbeats(NEW, &others));
        let acknowledged = |beat: &Heartbeat<'_>| beat.outcome == Outcome::Ok;
        let rows = |beats: &[Heartbeat<'static>]| -> Vec<Vec<Heartbeat<'static>>> {
            let rows = beats.split(|beat| !acknowledged(beat)).filter(|row| !row.is_empty());
            rows.map(<[_]>::to_vec).collect()
        };
        let mut expected: Vec<u64> = Vec::new();
        for one in rows(&ones) {
            expected.extend(rows(&others).iter().filter_map(|other| proven_us(&one, other)));
        }
        let all: Vec<&Heartbeat<'_>> = others.iter().chain(&ones).collect();
        let found_rows = writers::rows(&all);
        prop_assert_eq!(found_rows.len(), rows(&ones).len() + rows(&others).len());
        let found = writers::overlaps(&found_rows);
        let mut lengths: Vec<u64> = found.iter().map(|overlap: &Overlap<'_>| overlap.to_us - overlap.from_us).collect();
        lengths.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(lengths, expected);
    }

    /// Whatever the heartbeats, takeovers alternate as they must: nobody takes over from itself, and each begins a row.
    #[test]
    fn a_takeover_is_from_another(ones in any_beats(), others in any_beats()) {
        let (ones, others) = (heartbeats(OLD, &ones), heartbeats(NEW, &others));
        let all: Vec<&Heartbeat<'_>> = ones.iter().chain(&others).collect();
        let rows = writers::rows(&all);
        let by_member: BTreeMap<&str, usize> = rows.iter().map(|row| (row.member, 1)).collect();
        let takeovers = writers::takeovers(&rows);
        prop_assert_eq!(takeovers.is_empty(), by_member.len() < 2);
        for takeover in takeovers {
            prop_assert_ne!(takeover.old, takeover.new);
            prop_assert!(rows.iter().any(|row| row.member == takeover.new && row.first_done_us == takeover.new_first_us));
        }
    }
}

#[test]
fn each_pair_of_rows_is_a_breach_of_its_own() {
    // The old one fails once in the middle.
    let saved = beats(|member, at_ms| match (member, at_ms) {
        (OLD, 5_000) => Outcome::Info,
        _ => Outcome::Ok,
    });
    let checked = check(&saved, None);
    assert_eq!(checked.breaches, BTreeMap::from([(Breach::TwoWriters, 2)]));
}
