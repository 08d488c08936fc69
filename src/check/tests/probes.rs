//! Probes over windows.

use super::build::{SECOND, Saved, gauge, latency, op, success};
use crate::check::probe::{evaluate, evaluate_over};
use crate::history::{Op, Outcome};
use crate::plan::Probe;
use crate::verdict::{Finding, Judgement};

/// `count` operations 25 ms apart from `start_us` on, of which the first `failed` do not succeed.
fn load(saved: &mut Saved, start_us: u64, count: u64, failed: u64) {
    for number in 0..count {
        let at_us = start_us + number * 25_000;
        let outcome = if number < failed { Outcome::Info } else { Outcome::Ok };
        saved.push(op("buy", &format!("{at_us}"), at_us, outcome));
    }
}

fn over(saved: &Saved, probe: &Probe, window_us: std::ops::Range<u64>) -> Finding {
    saved.read(|history| evaluate(probe, history, window_us))
}

#[test]
fn a_rate_counts_what_was_intended_in_the_window() {
    let mut saved = Saved::default();
    load(&mut saved, 0, 40, 40); // before the window: all failed
    load(&mut saved, SECOND, 400, 2);
    load(&mut saved, 11 * SECOND, 40, 40); // after it
    let finding = over(&saved, &success("buying", ">=", 99.5), SECOND..11 * SECOND);
    assert_eq!(finding.verdict, Judgement::Pass, "99.5 % of 400 is 398: {finding:?}");
    assert_eq!(finding.samples, 400);
    assert!(
        finding
            .detail
            .starts_with("99.5% of 400 `buy` ended ok, bound >= 99.5%"),
        "{}",
        finding.detail
    );
    assert_eq!(finding.evidence, ["2 ended info"]);
    let one_more = over(&saved, &success("buying", ">=", 99.5), SECOND - 25_000..11 * SECOND);
    assert_eq!(one_more.verdict, Judgement::Fail, "{one_more:?}");
    assert!(one_more.detail.contains("a small sample"), "{}", one_more.detail);
}

#[test]
fn a_small_sample_is_said_to_be_small() {
    let mut saved = Saved::default();
    load(&mut saved, 0, 400, 0);
    let of = |probe: &Probe, saved: &Saved| over(saved, probe, 0..100 * SECOND);
    let estimate = of(&success("buying", ">=", 99.9), &saved);
    assert_eq!(estimate.verdict, Judgement::Pass);
    assert!(
        estimate.detail.contains("takes about 2995 successes in a row"),
        "{}",
        estimate.detail
    );
    let enough = of(&success("buying", ">=", 99.0), &saved);
    assert!(
        !enough.detail.contains("estimate"),
        "400 successes claim 99 %: {}",
        enough.detail
    );
    let mut bad = Saved::default();
    load(&mut bad, 0, 40, 1);
    let by_chance = of(&success("buying", ">=", 99.5), &bad);
    assert_eq!(by_chance.verdict, Judgement::Fail);
    assert!(
        by_chance.detail.contains("does as badly in 18 of 100 windows"),
        "{}",
        by_chance.detail
    );
    let mut worse = Saved::default();
    load(&mut worse, 0, 40, 8);
    let certain = of(&success("buying", ">=", 99.5), &worse);
    assert!(!certain.detail.contains("windows"), "{}", certain.detail);
}

#[test]
fn no_data_is_never_a_pass() {
    let saved = Saved::default();
    for probe in [
        success("buying", "<=", 100.0),
        latency(990, "<=", 1e9),
        gauge(1_000, "<=", 1e9),
    ] {
        let finding = over(&saved, &probe, 0..SECOND);
        assert_eq!(
            (finding.verdict, finding.samples),
            (Judgement::Inconclusive, 0),
            "{finding:?}"
        );
    }
}

#[test]
fn latency_counts_from_the_intended_time_and_failures_are_the_longest() {
    let mut saved = Saved::default();
    load(&mut saved, 0, 98, 0); // 5 ms each
    let mut stalled = op("buy", "stalled", 3 * SECOND, Outcome::Ok);
    stalled.sent_us = Some(3 * SECOND + 5_000);
    stalled.done_us = 3 * SECOND + 1_400_000;
    saved.push(stalled);
    saved.push(op("buy", "failed", 3 * SECOND, Outcome::Fail));
    let at = |permille, bound| over(&saved, &latency(permille, "<=", bound), 0..10 * SECOND);
    assert_eq!(at(980, 5.0).verdict, Judgement::Pass);
    assert_eq!(at(990, 1_399.0).verdict, Judgement::Fail);
    let p99 = at(990, 1_400.0);
    assert_eq!(p99.verdict, Judgement::Pass, "{p99:?}");
    assert!(
        p99.detail
            .starts_with("p99 of 100 `buy` is 1400 ms, bound <= 1400 ms; 1 did not end ok"),
        "{}",
        p99.detail
    );
    let longest = at(999, 1e12);
    assert_eq!(longest.verdict, Judgement::Fail);
    assert!(
        longest.detail.contains("p99.9 of 100 `buy` is beyond every answer"),
        "{}",
        longest.detail
    );
}

#[test]
fn a_gauge_without_too_many_gaps_is_judged() {
    let mut saved = Saved::default();
    for number in 0..20 {
        saved.sample("queue", number * 250_000, Some(number as f64));
    }
    saved.sample("queue", 5 * SECOND, None);
    let window = 0..6 * SECOND;
    let finding = over(&saved, &gauge(1_000, "<=", 19.0), window.clone());
    assert_eq!(finding.verdict, Judgement::Pass);
    assert_eq!(
        finding.detail,
        "max of 20 readings of `queue` is 19, bound <= 19, 1 more failed"
    );
    assert_eq!(
        over(&saved, &gauge(1_000, "<", 19.0), window.clone()).verdict,
        Judgement::Fail
    );
    assert_eq!(
        over(&saved, &gauge(500, "<=", 9.0), window.clone()).verdict,
        Judgement::Pass
    );
    saved
        .sample("queue", 5 * SECOND, None)
        .sample("queue", 5 * SECOND, None);
    let gaps = over(&saved, &gauge(1_000, "<=", 19.0), window);
    assert_eq!(
        gaps.verdict,
        Judgement::Inconclusive,
        "3 of 23 are missing: {}",
        gaps.detail
    );
}

#[test]
fn where_a_request_could_not_be_made_nothing_is_said() {
    let mut saved = Saved::default();
    load(&mut saved, 0, 100, 0);
    let mut not_made = op("buy", "not made", 2 * SECOND, Outcome::Fail);
    (not_made.error, not_made.sent_us) = (Some(Op::NOT_MADE.into()), None);
    saved.push(not_made);
    let all = over(&saved, &success("buying", ">=", 0.5), 0..10 * SECOND);
    assert_eq!(all.verdict, Judgement::Inconclusive, "{all:?}");
    assert!(
        all.detail.contains("the requests of 1 arrivals could not be made"),
        "{}",
        all.detail
    );
    let elsewhere = over(&saved, &success("buying", ">=", 0.5), 0..2 * SECOND);
    assert_eq!(elsewhere.verdict, Judgement::Pass, "{elsewhere:?}");
}

#[test]
fn the_least_of_a_gauge_is_its_min() {
    let mut saved = Saved::default();
    for (number, value) in [3.0, 2.0, 4.0].into_iter().enumerate() {
        saved.sample("queue", number as u64 * SECOND, Some(value));
    }
    let of = |sign, value, window| over(&saved, &gauge(0, sign, value), window);
    assert_eq!(of(">=", 2.0, 0..3 * SECOND).verdict, Judgement::Pass);
    assert_eq!(of(">", 2.0, 0..3 * SECOND).verdict, Judgement::Fail);
    let of_one = of(">=", 3.0, 0..SECOND);
    assert_eq!(of_one.detail, "min of 1 readings of `queue` is 3, bound >= 3");
}

#[test]
fn where_the_generator_was_late_nothing_is_said() {
    let mut saved = Saved::default();
    load(&mut saved, 0, 100, 100);
    let mut late = op("buy", "late", 2 * SECOND, Outcome::Fail);
    late.error = Some(Op::LATE.into());
    late.sent_us = None;
    saved.push(late);
    let all = over(&saved, &success("buying", ">=", 99.0), 0..10 * SECOND);
    assert_eq!(all.verdict, Judgement::Inconclusive, "{all:?}");
    assert!(
        all.detail.contains("itself was too late for 1 arrivals"),
        "{}",
        all.detail
    );
    let elsewhere = over(&saved, &success("buying", ">=", 99.0), 0..2 * SECOND);
    assert_eq!(
        elsewhere.verdict,
        Judgement::Fail,
        "none was late in this window: {elsewhere:?}"
    );

    let mut lagging = Saved::default();
    for number in 0..100 {
        let mut op = op("buy", &number.to_string(), number * 25_000, Outcome::Fail);
        op.sent_us = Some(op.intended_us + if number < 2 { 100_001 } else { 0 });
        lagging.push(op);
    }
    let lag = over(&lagging, &success("buying", ">=", 99.0), 0..10 * SECOND);
    assert_eq!(lag.verdict, Judgement::Inconclusive);
    assert!(lag.detail.contains("own lag was 100.0 ms at p99"), "{}", lag.detail);
    let kept = over(&lagging, &success("buying", ">=", 99.0), 50_000..10 * SECOND);
    assert_eq!(kept.verdict, Judgement::Fail);
}

#[test]
fn lag_leaves_in_doubt_only_the_latency_that_it_may_have_spoilt() {
    let judged = |lag_us: u64, bound_ms: f64| {
        let mut saved = Saved::default();
        for number in 0..100 {
            let mut op = op("buy", &number.to_string(), number * 25_000, Outcome::Ok);
            op.sent_us = Some(op.intended_us + lag_us);
            op.done_us = op.intended_us + 120_000;
            saved.push(op);
        }
        over(&saved, &latency(990, "<=", bound_ms), 0..10 * SECOND).verdict
    };
    assert_eq!(
        judged(20_000, 130.0),
        Judgement::Pass,
        "what holds in spite of lag holds"
    );
    assert_eq!(
        judged(20_000, 110.0),
        Judgement::Inconclusive,
        "without 20 ms of lag it may have held"
    );
    assert_eq!(judged(5_000, 110.0), Judgement::Fail, "5 ms of lag do not explain it");
}

#[test]
fn drops_are_failures_of_the_system() {
    let mut saved = Saved::default();
    load(&mut saved, 0, 99, 0);
    let mut dropped = op("buy", "dropped", 2 * SECOND, Outcome::Fail);
    (dropped.error, dropped.sent_us) = (Some(Op::DROPPED.into()), None);
    saved.push(dropped);
    let finding = over(&saved, &success("buying", ">=", 99.5), 0..10 * SECOND);
    assert_eq!(finding.verdict, Judgement::Fail);
    assert_eq!(finding.evidence, ["1 ended fail (dropped)"]);
}

#[test]
fn windows_are_joined_and_nothing_counts_twice() {
    let mut saved = Saved::default();
    load(&mut saved, 0, 400, 0);
    let (one, two) = (0..2 * SECOND, SECOND..3 * SECOND);
    let finding = saved.read(|history| evaluate_over(&success("buying", ">=", 99.0), history, &[one, two]));
    assert_eq!(finding.samples, 120);
    let none = saved.read(|history| evaluate_over(&success("buying", ">=", 99.0), history, &[]));
    assert_eq!(none.verdict, Judgement::Inconclusive);
}
