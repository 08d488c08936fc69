//! `published` on histories written by hand and on generated ones, compared with its definition word for word.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::json;

use super::build::{self, Saved};
use super::naive::Says;
use crate::check::published::Published;
use crate::check::{Breach, Checked, Checker, Evidence};
use crate::duration::DurationMs;
use crate::system::definition::MetricDefinition;
use crate::verdict::{Finding, Judgement};

/// At least one branch is published as open, which is true when none is cut off; false for a second at most.
fn board() -> Published {
    serde_json::from_value(json!({
        "claim": {"metric": "open", "is": ">= 1"}, "true-when": {"metric": "cut", "is": "== 0"}, "lag": "1s",
    }))
    .unwrap()
}

/// Gauges that are read so often, in milliseconds.
fn metrics(every_ms: [u64; 2]) -> BTreeMap<String, MetricDefinition> {
    let metric = |every_ms: u64| {
        let request = json!({"service": "board", "port": 80, "path": "/"});
        let definition = json!({"request": request, "value": "body", "every": format!("{every_ms}ms")});
        serde_json::from_value(definition).unwrap()
    };
    let names = ["open".to_owned(), "cut".to_owned()];
    names.into_iter().zip(every_ms.map(metric)).collect()
}

fn check(published: &Published, saved: &Saved, every_ms: [u64; 2]) -> Checked {
    let metrics = metrics(every_ms);
    saved.read(|history| published.check(&Evidence::gather(history).with_metrics(&metrics)))
}

fn judge(saved: &Saved) -> Finding {
    check(&board(), saved, [250, 250]).finding(None)
}

/// Both gauges every 250 ms up to 20 s, `cut` 10 ms after `open`, by what they say at a time.
fn readings(open: impl Fn(u64) -> Option<f64>, cut: impl Fn(u64) -> Option<f64>) -> Saved {
    let mut saved = Saved::default();
    for at_ms in (0..20_000).step_by(250) {
        saved.sample("open", at_ms * 1_000, open(at_ms));
        saved.sample("cut", (at_ms + 10) * 1_000, cut(at_ms + 10));
    }
    saved
}

/// `inside` within these milliseconds, `outside` otherwise.
fn within(times_ms: std::ops::Range<u64>, inside: Option<f64>, outside: f64) -> impl Fn(u64) -> Option<f64> {
    move |at_ms| {
        if times_ms.contains(&at_ms) {
            inside
        } else {
            Some(outside)
        }
    }
}

#[test]
fn what_is_true_and_not_published_is_measured_and_may_be_bounded() {
    // Cut off for 3 s, and shown as closed for 2 s more.
    let saved = readings(
        within(5_000..10_000, Some(0.0), 1.0),
        within(5_000..8_000, Some(1.0), 0.0),
    );
    let finding = judge(&saved);
    assert_eq!(finding.verdict, Judgement::Pass, "{finding:?}");
    let told = "true and not published for 1750 ms, from 8.010 s to 9.760 s";
    assert!(finding.detail.contains(told), "{}", finding.detail);
    for (most, breaches) in [("1750ms", None), ("1749ms", Some(&1))] {
        let bounded = Published {
            told_within: Some(most.parse().unwrap()),
            ..board()
        };
        let checked = check(&bounded, &saved, [250, 250]);
        assert_eq!(checked.breaches.get(&Breach::NotPublished), breaches, "{most}");
    }
}

#[test]
fn what_is_published_and_true_passes() {
    let finding = judge(&readings(|_| Some(3.0), |_| Some(0.0)));
    assert_eq!(
        (finding.verdict, finding.samples),
        (Judgement::Pass, 160),
        "{finding:?}"
    );
    assert_eq!(
        finding.detail,
        "all as it must be; no false claim was seen, 1s allowed; 80 of 80 readings of `open` are >= 1, 79 of them compared"
    );
}

#[test]
fn a_false_claim_may_last_as_long_as_the_lag_and_no_longer() {
    // The cut is seen at 10.01 s; the board takes the claim back so much later.
    let until = |claimed_ms: u64| {
        let closed = within(claimed_ms..15_000, Some(0.0), 3.0);
        judge(&readings(closed, within(10_000..15_000, Some(1.0), 0.0)))
    };
    let in_time = until(11_001);
    assert_eq!(in_time.verdict, Judgement::Pass, "{in_time:?}");
    assert!(
        in_time
            .detail
            .contains("the longest false claim was seen for 1000 ms, from 10.010 s to 11.010 s, 1s allowed"),
        "{}",
        in_time.detail
    );
    let late = until(11_251);
    assert_eq!(late.verdict, Judgement::Fail, "{late:?}");
    assert!(
        late.detail.starts_with(
            "1 published though false; the longest false claim was seen for 1250 ms, from 10.010 s to 11.260 s"
        ),
        "{}",
        late.detail
    );
    assert_eq!(
        late.evidence,
        ["`open` was >= 1 for 1250 ms, from 10.010 s to 11.260 s, but `cut` was not == 0"]
    );
}

#[test]
fn a_claim_that_is_not_made_cannot_be_false() {
    let closed = |_| Some(0.0);
    let finding = judge(&readings(closed, |_| Some(1.0)));
    assert_eq!(finding.verdict, Judgement::Inconclusive);
    assert!(
        finding
            .detail
            .starts_with("`open` never was >= 1, so nothing was claimed;"),
        "{}",
        finding.detail
    );
}

#[test]
fn claims_that_are_taken_back_in_between_do_not_add_up() {
    let flickers = |at_ms: u64| Some(if at_ms.is_multiple_of(1_000) { 0.0 } else { 3.0 });
    let finding = judge(&readings(flickers, |_| Some(1.0)));
    assert_eq!(finding.verdict, Judgement::Pass, "{finding:?}");
}

#[test]
fn a_gap_ends_a_false_claim_and_never_lengthens_it() {
    let cut = || within(10_000..12_000, Some(1.0), 0.0);
    assert_eq!(judge(&readings(|_| Some(3.0), cut())).verdict, Judgement::Fail);
    // One reading failed in the middle, of either gauge: two claims of less than a second each.
    let claim_fails = readings(within(11_000..11_001, None, 3.0), cut());
    let truth_fails = readings(|_| Some(3.0), |at_ms| if at_ms == 11_010 { None } else { cut()(at_ms) });
    for saved in [claim_fails, truth_fails] {
        let finding = judge(&saved);
        assert_eq!(finding.verdict, Judgement::Pass, "{finding:?}");
    }
    // None came at all for longer than four intervals: what was before and what was after are not one.
    let mut silent = Saved::default();
    for at_ms in [8_000, 8_250, 9_300, 9_550] {
        silent.sample("open", at_ms * 1_000, Some(3.0));
        silent.sample("cut", at_ms * 1_000, Some(1.0));
    }
    let finding = judge(&silent);
    assert_eq!(finding.verdict, Judgement::Pass, "{finding:?}");
    let mut slow = silent.clone();
    for metric in ["open", "cut"] {
        slow.sample(metric, 8_800_000, Some(if metric == "open" { 3.0 } else { 1.0 }));
    }
    assert_eq!(judge(&slow).verdict, Judgement::Fail, "within four intervals it is one");
}

#[test]
fn a_claim_that_is_false_when_the_readings_end_lasted_as_long_as_it_was_seen() {
    let finding = judge(&readings(|_| Some(3.0), within(18_900..20_000, Some(1.0), 0.0)));
    assert_eq!(finding.verdict, Judgement::Pass, "{finding:?}");
    assert!(
        finding.detail.contains("for 750 ms, from 19.010 s to 19.760 s"),
        "{}",
        finding.detail
    );
}

#[test]
fn without_readings_there_is_doubt() {
    let no_claim = judge(&readings(|_| None, |_| Some(0.0)));
    assert_eq!(no_claim.verdict, Judgement::Inconclusive);
    assert!(
        no_claim.detail.contains("there is no reading of `open`"),
        "{}",
        no_claim.detail
    );
    let no_truth = judge(&readings(|_| Some(3.0), |_| None));
    assert_eq!(no_truth.verdict, Judgement::Inconclusive);
    assert!(
        no_truth.detail.contains("there is no reading of `cut`"),
        "{}",
        no_truth.detail
    );
    // Both were read, but never at the same time.
    let apart = judge(&readings(
        |at_ms| (at_ms < 5_000).then_some(3.0),
        |at_ms| (at_ms > 15_000).then_some(0.0),
    ));
    assert_eq!(apart.verdict, Judgement::Inconclusive);
    assert!(
        apart.detail.contains("no reading of `cut` to compare"),
        "{}",
        apart.detail
    );
    let unknown = saved_without_metrics().finding(None);
    assert!(
        unknown.detail.contains("the system has no metric `open`"),
        "{}",
        unknown.detail
    );
}

fn saved_without_metrics() -> Checked {
    let saved = readings(|_| Some(3.0), |_| Some(0.0));
    saved.read(|history| board().check(&Evidence::gather(history)))
}

#[test]
fn bounds_of_times_are_in_milliseconds() {
    let mut published = board();
    published.claim.is = "<= 2s".to_owned();
    let finding = check(&published, &readings(|_| Some(2_000.0), |_| Some(1.0)), [250, 250]).finding(None);
    assert_eq!(finding.verdict, Judgement::Fail, "{finding:?}");
}

#[test]
fn it_names_what_it_refers_to() {
    let board = board();
    let names = board.names();
    let metrics = [
        ("claim.metric".to_owned(), "open"),
        ("true-when.metric".to_owned(), "cut"),
    ];
    assert_eq!(names.metrics, metrics);
    let bounds: Vec<_> = names
        .bounds
        .iter()
        .map(|stated| (stated.at, stated.metric, stated.text))
        .collect();
    assert_eq!(bounds, [("claim.is", "open", ">= 1"), ("true-when.is", "cut", "== 0")]);
}

/// Readings by their time in milliseconds: the claim or the truth, or a failed reading.
type Told = BTreeMap<u64, Option<bool>>;

/// The definition, looked at in every moment at which anything may change.
fn naive(open: &Told, cut: &Told, every_ms: [u64; 2], lag_ms: u64) -> Says {
    let mut says = Says::default();
    let latest_us = |told: &Told, every_ms: u64, now_us: u64| {
        let (at_ms, holds) = told.range(..=now_us / 1_000).next_back()?;
        holds.filter(|_| now_us - at_ms * 1_000 <= 4 * every_ms * 1_000)
    };
    let claimed = |now_us: u64| latest_us(open, every_ms[0], now_us);
    let is_true = |now_us: u64| latest_us(cut, every_ms[1], now_us);
    let is_false = |now_us: u64| claimed(now_us) == Some(true) && is_true(now_us) == Some(false);
    let read_us: BTreeSet<u64> = open.keys().chain(cut.keys()).map(|at_ms| at_ms * 1_000).collect();
    // A state changes at a reading, or just after it has become too old.
    let ages = every_ms.map(|every_ms| 4 * every_ms * 1_000 + 1);
    let stale_us = read_us.iter().flat_map(|at_us| ages.map(|age_us| at_us + age_us));
    let moments_us: BTreeSet<u64> = read_us.iter().copied().chain(stale_us).collect();
    let lasts = |from: u64, to: u64| moments_us.range(from..=to).all(|now_us| is_false(*now_us));
    for from in &read_us {
        for to in read_us.range(from..) {
            let is_begun_before = read_us
                .range(..from)
                .next_back()
                .is_some_and(|before| lasts(*before, *to));
            let goes_on = read_us.range(to + 1..).next().is_some_and(|next| lasts(*from, *next));
            if lasts(*from, *to) && !is_begun_before && !goes_on && to - from > lag_ms * 1_000 {
                says.breach(Breach::FalselyPublished);
            }
        }
    }
    let claims_us = open
        .iter()
        .filter(|(_, made)| **made == Some(true))
        .map(|(at_ms, _)| at_ms * 1_000);
    says.doubt = !claims_us.into_iter().any(|at_us| is_true(at_us).is_some());
    says
}

fn told() -> impl Strategy<Value = Told> {
    let holds = prop_oneof![5 => Just(Some(true)), 5 => Just(Some(false)), 1 => Just(None)];
    proptest::collection::btree_map(0..40u64, holds, 0..40)
}

/// Few changes, so that claims last.
fn steady() -> impl Strategy<Value = Told> {
    let stretch = (
        1..12usize,
        prop_oneof![4 => Just(Some(true)), 4 => Just(Some(false)), 1 => Just(None)],
    );
    (1..4u64, proptest::collection::vec(stretch, 0..5)).prop_map(|(step_ms, stretches)| {
        let holds = stretches
            .into_iter()
            .flat_map(|(length, holds)| std::iter::repeat_n(holds, length));
        holds
            .enumerate()
            .map(|(index, holds)| (index as u64 * step_ms, holds))
            .collect()
    })
}

proptest! {
    #![proptest_config(build::cases(1_000))]

    #[test]
    fn it_says_what_its_definition_says(
        open in prop_oneof![told(), steady()],
        cut in prop_oneof![told(), steady()],
        every_ms in [1..3u64, 1..3u64],
        lag_ms in 0..10u64,
    ) {
        let mut saved = Saved::default();
        for (at_ms, claimed) in &open {
            saved.sample("open", at_ms * 1_000, claimed.map(|claimed| if claimed { 1.0 } else { 0.0 }));
        }
        for (at_ms, is_true) in &cut {
            saved.sample("cut", at_ms * 1_000, is_true.map(|is_true| if is_true { 0.0 } else { 2.0 }));
        }
        let board = Published { lag: DurationMs(lag_ms), ..board() };
        let checked = check(&board, &saved, every_ms);
        prop_assert_eq!(Says::from(&checked), naive(&open, &cut, every_ms, lag_ms));
    }
}
