//! The first violation: by the time of its operation, in whatever order the final reads tell of it.

use super::build::{self, SECOND, Saved, int, op, text};
use super::recoveries::outages;
use crate::check::{Evidence, Invariant, judge, probe};
use crate::history::Outcome::{Fail, Info, Ok};
use crate::plan::Plan;
use crate::verdict::{AssertionKind, Finding, Judgement, Violation};

fn found(invariant: serde_json::Value, saved: &Saved, tolerated: Option<&str>) -> Finding {
    let invariant: Invariant = serde_json::from_value(invariant).unwrap();
    saved.read(|history| invariant.checker().check(&Evidence::gather(history)).finding(tolerated))
}

fn violation(at_ms: f64, operation: &str, key: &str, text: &str) -> Option<Violation> {
    Some(Violation {
        at_ms: Some(at_ms),
        operation: Some(operation.to_owned()),
        key: Some(key.to_owned()),
        text: text.to_owned(),
    })
}

/// Customers come at 0, 1, 2 and 3 ms.
fn orders(listed: &[&str]) -> Saved {
    let mut saved = Saved::default();
    saved
        .op("buy", "a", Ok)
        .op("buy", "b", Ok)
        .op("buy", "c", Fail)
        .op("buy", "d", Ok);
    for key in listed {
        saved.item("labels", key, &[]);
    }
    saved.end("labels");
    saved
}

fn exactly_once() -> serde_json::Value {
    serde_json::json!({"exactly-once": {"causes": {"operations": ["buy"]}, "effects": "labels"}})
}

#[test]
fn it_is_the_one_whose_customer_came_first() {
    let twice = orders(&["d", "d", "b", "b", "a"]);
    let finding = found(exactly_once(), &twice, None);
    assert_eq!(
        finding.evidence[0], "`d` has more than one effect",
        "as the read lists them"
    );
    assert_eq!(
        finding.first,
        violation(1.0, "buy", "b", "`b` has more than one effect")
    );
}

#[test]
fn what_is_lost_counts_unless_it_is_tolerated() {
    let lost_and_refused = orders(&["b", "c", "d"]);
    let finding = found(exactly_once(), &lost_and_refused, None);
    assert_eq!(
        finding.first,
        violation(0.0, "buy", "a", "buy `a` of 0.000 s was acknowledged and is lost")
    );
    let finding = found(exactly_once(), &lost_and_refused, Some("tolerated"));
    assert_eq!(
        finding.first,
        violation(2.0, "buy", "c", "`c` was refused, but has an effect")
    );
    let only_lost = found(exactly_once(), &orders(&["b", "d"]), Some("tolerated"));
    assert_eq!((only_lost.verdict, only_lost.first), (Judgement::Pass, None));
}

#[test]
fn what_nobody_attempted_has_a_key_and_no_time() {
    let finding = found(exactly_once(), &orders(&["a", "b", "d", "ghost"]), None);
    let first = finding.first.unwrap();
    assert_eq!(
        (first.at_ms, first.operation, first.key),
        (None, None, Some("ghost".to_owned()))
    );
    // What has a time comes before it.
    let finding = found(exactly_once(), &orders(&["ghost", "a", "b", "b", "d"]), None);
    assert_eq!(
        finding.first,
        violation(1.0, "buy", "b", "`b` has more than one effect")
    );
}

#[test]
fn entries_of_devices_are_those_of_their_operations() {
    let mut saved = Saved::default();
    saved.op("buy", "a", Ok).op("buy", "b", Ok);
    let entry = |key, sequence| (key, [("device", text("branch-1")), ("sequence", int(sequence))]);
    for (key, fields) in [entry("b", 2), entry("a", 1)] {
        saved.item("journal", key, &fields);
    }
    saved.end("journal").end("host");
    let log = serde_json::json!({"device-log": {
        "journal": "journal", "host": "host", "device": "device", "sequence": "sequence",
    }});
    let finding = found(log, &saved, None);
    assert_eq!(
        finding.first,
        violation(0.0, "buy", "a", "entry 1 of branch-1 (`a`) is not at the host")
    );
}

#[test]
fn a_rate_a_latency_and_a_gauge_have_the_first_that_is_outside_the_bound() {
    let mut saved = Saved::default();
    saved
        .push(op("buy", "good", 0, Ok))
        .push(op("buy", "late", 2_000, Info))
        .push(op("buy", "early", 1_000, Fail));
    for at_us in 100..120 {
        saved.sample("queue", at_us, Some(1.0));
    }
    saved.sample("queue", 600, None).sample("queue", 700, Some(9.0));
    let first = |probe| saved.read(|history| probe::evaluate(&probe, history, 0..SECOND)).first;
    let refused = violation(1.0, "buy", "early", "`early` ended fail");
    assert_eq!(first(build::success("buying succeeds", ">=", 90.0)), refused);
    assert_eq!(
        first(build::success("buying fails", "<=", 10.0)),
        None,
        "no customer did wrong"
    );
    assert_eq!(first(build::latency(990, "<=", 20.0)), refused);
    assert_eq!(
        first(build::latency(0, "<=", 1.0)),
        violation(0.0, "buy", "good", "`good` took 5 ms")
    );
    assert_eq!(
        first(build::success("half of it", ">=", 30.0)),
        None,
        "a bound that holds"
    );
    let reading = first(build::gauge(1_000, "<=", 5.0)).unwrap();
    assert_eq!(
        (reading.at_ms, reading.operation.as_deref(), reading.key),
        (Some(0.7), Some("queue"), None)
    );
    assert_eq!(reading.text, "`queue` was 9");
}

/// The heal is at 20 s, and good time is to begin within 10 s.
#[test]
fn a_recovery_that_comes_too_late_names_what_was_bad_when_time_was_up() {
    let plan = Plan {
        invariants: Vec::new(),
        ..build::plan_with_fault()
    };
    let within_ms = plan.recovery.as_ref().unwrap().within_ms as f64;
    let first_of = |saved: &Saved| {
        let verdict = saved.read(|history| judge(&plan, history, &build::events()));
        let mut assertions = verdict.assertions.into_iter();
        let recovery = assertions.find(|assertion| assertion.kind == AssertionKind::Recovery);
        recovery.unwrap().finding.first
    };
    let late = first_of(&outages(40, &[(10_000, 34_000)])).unwrap();
    assert_eq!(
        (late.at_ms, late.operation.as_deref()),
        (Some(20_000.0 + within_ms), Some("buy"))
    );
    assert_eq!(first_of(&outages(40, &[(10_000, 21_000)])), None);
}
