//! What a run did to customers and to business services.

use serde_json::json;

use super::{good, load, plan, verdict, without};
use crate::check::tests::build::{self, SECOND, op};
use crate::event::{Event, LoadSummary};
use crate::history::Outcome;
use crate::plan::Plan;
use crate::verdict::{Judgement, OperationImpact, ServiceImpact, Stretch, Verdict};

/// A plan whose only operation is a business service that may be disrupted for so long.
fn tolerating(time: &str, more: serde_json::Value) -> Plan {
    let mut plan = plan();
    let mut tolerance = json!({"time": time});
    tolerance
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let services = json!({"buying": {"title": "Buying", "operations": ["buy"], "impact-tolerance": tolerance}});
    plan.system.business_services = serde_json::from_value(services).unwrap();
    plan
}

fn service(verdict: &Verdict) -> &ServiceImpact {
    &verdict.services[0]
}

#[test]
fn an_outage_counts_from_its_first_to_its_last_bad_bin() {
    let verdict = verdict(&tolerating("11s", json!({})), &good(), &build::events());
    let outage = Stretch {
        from_ms: 10_000.0,
        to_ms: 21_000.0,
        arrived: 440,
        ok: 0,
    };
    let expected = OperationImpact {
        operation: "buy".to_owned(),
        title: String::new(),
        arrived: 1_400,
        ok: 960,
        fail: 0,
        info: 440,
        p50_ms: Some(10.0),
        p99_ms: Some(10.0),
        served_within_ms: None,
        disrupted: vec![outage],
        is_told: true,
    };
    let mut found = verdict.operations.clone();
    // How long an operation takes is the builder's choice.
    (found[0].p50_ms, found[0].p99_ms) = (found[0].p50_ms.map(|_| 10.0), found[0].p99_ms.map(|_| 10.0));
    assert_eq!(found, [expected]);
    let service = service(&verdict);
    assert_eq!(
        (service.verdict, service.disrupted_ms, service.lost),
        (Judgement::Pass, Some(11_000.0), Some(0))
    );
    assert_eq!(
        service.detail,
        "disrupted for 11.00 s, of 11.00 s at most; 0 acknowledged operations lost, of 0 at most"
    );
}

#[test]
fn a_service_that_was_away_for_longer_than_is_tolerable_has_failed_and_the_run_has_not() {
    let verdict = verdict(&tolerating("10s", json!({})), &good(), &build::events());
    assert_eq!(service(&verdict).verdict, Judgement::Fail);
    assert_eq!(verdict.verdict, Judgement::Pass);
}

#[test]
fn a_lower_success_rate_may_be_tolerable() {
    // Every fifth of those who come between 10 s and 21 s is not served.
    let mut saved = load(0..0);
    for number in 0..110 {
        let at_us = 10 * SECOND + number * 100_000;
        saved.push(op("buy", &format!("refused-{number}"), at_us, Outcome::Fail));
    }
    saved.end("orders");
    let strict = verdict(&tolerating("5s", json!({})), &saved, &build::events());
    let lenient = verdict(
        &tolerating("5s", json!({"success-rate": ">= 75%"})),
        &saved,
        &build::events(),
    );
    assert_eq!(service(&strict).verdict, Judgement::Fail);
    assert_eq!(
        (service(&lenient).verdict, service(&lenient).disrupted_ms),
        (Judgement::Pass, Some(0.0))
    );
}

#[test]
fn who_is_served_too_late_counts_as_not_served_where_the_tolerance_says_so() {
    // Whoever comes from 12 s to 15 s is served after 6 s.
    let mut saved = build::Saved::default();
    for number in 0..35 * 40 {
        let mut op = op("buy", &format!("key-{number}"), number * 25_000, Outcome::Ok);
        if (12 * SECOND..15 * SECOND).contains(&op.intended_us) {
            op.done_us = op.intended_us + 6 * SECOND;
        }
        saved.push(op);
    }
    for number in 0..35 * 40 {
        saved.item("orders", &format!("key-{number}"), &[]);
    }
    saved.end("orders");
    let of = |more: serde_json::Value| verdict(&tolerating("2s", more), &saved, &build::events());
    let late = of(json!({"served-within": "5s"}));
    let stretch = Stretch {
        from_ms: 12_000.0,
        to_ms: 15_000.0,
        arrived: 120,
        ok: 0,
    };
    assert_eq!(late.operations[0].disrupted, [stretch]);
    assert_eq!(late.operations[0].ok, 1_400, "they were served in the end");
    assert_eq!(late.operations[0].served_within_ms, Some(5_000));
    assert_eq!(service(&late).served_within_ms, Some(5_000));
    assert_eq!(
        (service(&late).verdict, service(&late).detail.as_str()),
        (
            Judgement::Fail,
            "disrupted for 3.00 s, of 2.00 s at most (served within 5s); 0 acknowledged operations lost, of 0 at most"
        )
    );
    for in_time in [of(json!({"served-within": "6s"})), of(json!({}))] {
        assert_eq!(
            (service(&in_time).verdict, service(&in_time).disrupted_ms),
            (Judgement::Pass, Some(0.0))
        );
    }
}

#[test]
fn lost_operations_count_against_the_service_whose_they_are() {
    let mut saved = load(10_000..21_000);
    saved.op("buy", "gone", Outcome::Ok).end("orders");
    let strict = verdict(&tolerating("30s", json!({})), &saved, &build::events());
    assert_eq!(
        (service(&strict).verdict, service(&strict).lost),
        (Judgement::Fail, Some(1))
    );
    assert_eq!(strict.safety.lost, Some(1));
    let lenient = verdict(&tolerating("30s", json!({"data-loss": 1})), &saved, &build::events());
    assert_eq!(service(&lenient).verdict, Judgement::Pass);
}

#[test]
fn where_nobody_can_tell_it_is_a_doubt() {
    let plan = tolerating("30s", json!({}));
    // No gate, no final read, a late generator, and hardly any customers.
    let never = verdict(&plan, &good(), &without(|event| matches!(event, Event::Gate { .. })));
    let unread = verdict(&plan, &load(10_000..21_000), &build::events());
    let mut late = build::events();
    *build::event_mut(&mut late, |event| matches!(event, Event::LoadEnded(_))) = Event::LoadEnded(LoadSummary {
        lag_p99_us: 200_000,
        ..LoadSummary::default()
    });
    let late = verdict(&plan, &good(), &late);
    let mut few = build::Saved::default();
    few.op("buy", "one", Outcome::Ok)
        .item("orders", "one", &[])
        .end("orders");
    let few = verdict(&plan, &few, &build::events());
    for (what, verdict) in [("gate", never), ("read", unread), ("lag", late), ("few", few)] {
        assert_eq!(
            service(&verdict).verdict,
            Judgement::Inconclusive,
            "{what}: {verdict:#?}"
        );
    }
}

#[test]
fn nobody_is_disrupted_before_the_first_or_after_the_last_who_came() {
    // Twenty come within a second, none of them is served, and nobody comes before or after for long.
    let mut saved = build::Saved::default();
    for number in 0..20 {
        saved.push(op(
            "buy",
            &format!("refused-{number}"),
            12 * SECOND + number * 50_000,
            Outcome::Fail,
        ));
    }
    saved.end("orders");
    let verdict = verdict(&plan(), &saved, &build::events());
    let burst = Stretch {
        from_ms: 12_000.0,
        to_ms: 13_000.0,
        arrived: 20,
        ok: 0,
    };
    assert_eq!(verdict.operations[0].disrupted, [burst]);
}

#[test]
fn services_that_the_load_did_not_use_are_not_judged() {
    let mut plan = tolerating("30s", json!({}));
    let services = json!({"looking": {"title": "Looking", "operations": ["look"], "impact-tolerance": {"time": "1s"}}});
    plan.system.business_services = serde_json::from_value(services).unwrap();
    assert_eq!(verdict(&plan, &good(), &build::events()).services, []);
}

#[test]
fn what_happened_twice_and_what_nobody_counted_are_told_apart() {
    let mut saved = load(10_000..21_000);
    saved.item("orders", "key-0", &[]).end("orders");
    let verdict = verdict(&plan(), &saved, &build::events());
    assert_eq!(verdict.safety.twice, Some(1));
    // No invariant compares ledgers here.
    assert_eq!(verdict.safety.ledger_differences, None);
}
