//! A run as it might have been, for the tests: payment's answers are lost for eight seconds, orders pile up, customers
//! notice. Everything is computed from fixed numbers, so that tests know what must come out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;

use crate::event::{Entry, Event, LoadSummary, OperationProgress, Phase, Progress};
use crate::fault::partition::Partition;
use crate::fault::{FaultSpec, Receipt};
use crate::history::load::History;
use crate::history::{Op, Outcome, Sample};
use crate::plan::{
    Arrivals, Bound, Compare, ControlChange, ExperimentInfo, Gate, Measure, NegativeControl, Plan, PlannedFault, Probe,
    RecoveryPlan, ReplicaId, Schedule, Target, Tolerance, Trigger, WorkloadPlan,
};
use crate::system::definition::SystemDefinition;
use crate::verdict::{
    Assertion, AssertionKind, Degraded, FaultRecord, Finding, Judgement, Recovery, SCHEMA_VERSION, Status, Verdict,
};

/// When the load ended.
pub(super) const END_MS: u64 = 32_000;
/// When the gate passed.
pub(super) const GATE_MS: u64 = 7_000;
/// When the fault's effect was seen.
pub(super) const EFFECTIVE_MS: f64 = 10_012.0;
/// When its absence was.
pub(super) const HEALED_MS: f64 = 18_031.0;
/// When customers had good service again.
pub(super) const RECOVERED_MS: f64 = 20_250.0;
/// 2026-11-22 21:29:03 UTC, when the load started.
const STARTED_UNIX_MS: i64 = 1_795_382_943_000;

fn system() -> SystemDefinition {
    let request = json!({"service": "postage-api", "port": 8080, "path": "/"});
    let operation = |title: &str| json!({"title": title, "request": request, "outcome": {"ok": "status == 200"}});
    serde_json::from_value(json!({
        "name": "postage",
        "title": "Online postage",
        "operations": {
            "buy-postage": operation("A customer pays for postage by card"),
            "purchase-history": operation("A customer looks at past orders"),
        },
        "metrics": {
            "paid-without-label": {"title": "Orders paid whose label is not there yet", "request": request, "value": "body.count"},
        },
        "backlogs": [{"metric": "paid-without-label", "drained": 3.0, "within": "10s"}],
        "defects": {
            "payment-retried-with-new-key": {
                "title": "A retry of a payment is sent under a new idempotency key",
                "services": ["postage-api"],
                "environment": {"DEFECT_PAYMENT_KEY": "1"},
            },
        },
    }))
    .expect("the sample is a system definition")
}

fn probe(name: &str, measure: Measure, compare: Compare, value: f64) -> Probe {
    Probe {
        name: name.to_owned(),
        measure,
        tolerance: Bound { compare, value },
    }
}

/// The plan of the run.
pub(super) fn plan() -> Plan {
    let operation = "buy-postage".to_owned();
    let replica = |service: &str, index| ReplicaId {
        service: service.to_owned(),
        index,
    };
    let probes = vec![
        probe(
            "buying succeeds",
            Measure::SuccessRate {
                operation: operation.clone(),
            },
            Compare::AtLeast,
            99.5,
        ),
        probe(
            "buying is quick",
            Measure::Latency {
                operation,
                quantile_permille: 990,
            },
            Compare::AtMost,
            500.0,
        ),
        probe(
            "labels keep up",
            Measure::Metric {
                metric: "paid-without-label".to_owned(),
                quantile_permille: 1_000,
            },
            Compare::AtMost,
            20.0,
        ),
    ];
    Plan {
        schema_version: crate::plan::SCHEMA_VERSION,
        experiment: ExperimentInfo {
            name: "answers-lost".to_owned(),
            title: "Customers buy postage while answers from the payment provider are lost".to_owned(),
            description: "Payment was taken, the postage came late.".to_owned(),
            tags: vec!["postage".to_owned(), "network".to_owned()],
            path: PathBuf::from("experiments/postage/answers-lost.yaml"),
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
        },
        seed: 42,
        configuration: BTreeMap::from([("cut".to_owned(), "8s".to_owned())]),
        system: system(),
        system_dir: PathBuf::from("fixtures/postage"),
        replicas: BTreeMap::from([("payment-provider".to_owned(), 1), ("postage-api".to_owned(), 2)]),
        environment: BTreeMap::new(),
        defects: Vec::new(),
        workload: WorkloadPlan {
            arrivals: Arrivals::Constant,
            rates: BTreeMap::from([("buy-postage".to_owned(), 40.0), ("purchase-history".to_owned(), 10.0)]),
            in_flight_max: 400,
        },
        gate: Gate {
            title: "Buying works and the label follows".to_owned(),
            warm_up_ms: 2_000,
            window_ms: 5_000,
            probes: probes.clone(),
        },
        faults: vec![PlannedFault {
            id: 0,
            name: "lose the provider's answers".to_owned(),
            trigger: Trigger::At { at_ms: 3_000 },
            for_ms: 8_000,
            ttl_ms: 30_000,
            fault: FaultSpec::Partition(Partition {
                from: vec![Target::Replicas(vec![replica("payment-provider", 1)])],
                to: vec![Target::Replicas(vec![
                    replica("postage-api", 1),
                    replica("postage-api", 2),
                ])],
                both_ways: false,
            }),
        }],
        during: vec![probe(
            "history stays readable",
            Measure::SuccessRate {
                operation: "purchase-history".to_owned(),
            },
            Compare::AtLeast,
            99.5,
        )],
        recovery: Some(RecoveryPlan {
            within_ms: 10_000,
            stable_for_ms: 5_000,
        }),
        invariants: vec![
            "nobody-charged-twice".to_owned(),
            "no-acknowledged-payment-lost".to_owned(),
        ],
        tolerate: Tolerance::default(),
        negative_controls: vec![NegativeControl {
            name: "payment-retried-with-new-key".to_owned(),
            change: ControlChange::Defect("payment-retried-with-new-key".to_owned()),
            fails: "nobody-charged-twice".to_owned(),
        }],
        schedule: Schedule {
            gate_ms: GATE_MS,
            method_ms: 11_000,
            recovery_ms: 14_000,
            total_ms: END_MS,
        },
        secrets: Vec::new(),
    }
}

/// Whether the service is cut off from answers at that time.
fn is_out(at_ms: f64) -> bool {
    (EFFECTIVE_MS..RECOVERED_MS).contains(&at_ms)
}

fn buy(index: u64) -> Op<'static> {
    let intended_us = index * 25_000;
    let at_ms = intended_us as f64 / 1_000.0;
    // A spread that repeats, so that quantiles are known: 12 to 21 ms, every hundredth 120 ms.
    let usual_us = if index.is_multiple_of(100) {
        120_000
    } else {
        12_000 + index % 10 * 1_000
    };
    let (outcome, latency_us, error) = match is_out(at_ms) {
        false => (Outcome::Ok, usual_us, None),
        true if index.is_multiple_of(5) => (Outcome::Ok, usual_us + 800_000, None),
        true if index.is_multiple_of(7) => (Outcome::Fail, 0, Some(Op::DROPPED)),
        true => (Outcome::Info, 2_000_000, Some("timeout")),
    };
    let is_dropped = error == Some(Op::DROPPED);
    Op {
        kind: "buy-postage".into(),
        key: format!("buy-{index}").into(),
        intended_us,
        sent_us: (!is_dropped).then_some(intended_us + 300),
        done_us: intended_us + latency_us,
        outcome,
        attempts: u32::from(!is_dropped),
        status: (outcome == Outcome::Ok).then_some(200),
        error: error.map(Into::into),
        values: Default::default(),
    }
}

fn look(index: u64) -> Op<'static> {
    let intended_us = index * 100_000;
    Op {
        kind: "purchase-history".into(),
        key: format!("look-{index}").into(),
        intended_us,
        sent_us: Some(intended_us + 200),
        done_us: intended_us + 4_000 + index % 7 * 500,
        outcome: Outcome::Ok,
        attempts: 1,
        status: Some(200),
        error: None,
        values: Default::default(),
    }
}

/// The history of the run: 40 purchases and 10 looks at the purchase history a second, and a gauge four times a second.
pub(super) fn history() -> History<'static> {
    let mut ops: Vec<Op<'static>> = (0..END_MS * 40 / 1_000).map(buy).collect();
    ops.extend((0..END_MS * 10 / 1_000).map(look));
    ops.sort_by_key(|op| op.done_us);
    let samples = (0..END_MS / 250)
        .map(|index| {
            let at_ms = (index * 250) as f64;
            let backlog = match at_ms {
                at_ms if at_ms < EFFECTIVE_MS => 1.0,
                at_ms if at_ms < HEALED_MS => 1.0 + ((at_ms - EFFECTIVE_MS) / 125.0).floor(),
                at_ms => (65.0 - ((at_ms - HEALED_MS) / 60.0).floor()).max(1.0),
            };
            Sample {
                metric: "paid-without-label".into(),
                at_us: index * 250_000,
                // The gauge could not be read for a second.
                value: (!(48..52).contains(&index)).then_some(backlog),
            }
        })
        .collect();
    History {
        ops,
        samples,
        reads: BTreeMap::new(),
        truncated: None,
    }
}

fn receipt(onset_us: u64, evidence: &[&str]) -> Receipt {
    Receipt {
        confirmed: true,
        onset_us: Some(onset_us),
        replicas: vec!["postage-api-1".to_owned(), "postage-api-2".to_owned()],
        evidence: evidence.iter().map(|&line| line.to_owned()).collect(),
    }
}

fn injected() -> Receipt {
    receipt(
        12_400,
        &[
            "payment-provider-1 -> postage-api-1: 0 of 5 datagrams arrived",
            "payment-provider-1 -> postage-api-2: 0 of 5 datagrams arrived",
        ],
    )
}

fn healed() -> Receipt {
    receipt(
        8_100,
        &["payment-provider-1 -> postage-api-1: 5 of 5 datagrams arrived"],
    )
}

fn assertion(
    name: &str,
    kind: AssertionKind,
    verdict: Judgement,
    samples: u64,
    detail: &str,
    evidence: &[&str],
) -> Assertion {
    Assertion {
        name: name.to_owned(),
        kind,
        finding: Finding {
            verdict,
            detail: detail.to_owned(),
            evidence: evidence.iter().map(|&line| line.to_owned()).collect(),
            samples,
        },
    }
}

fn gate_assertions() -> Vec<Assertion> {
    use AssertionKind::Gate;
    use Judgement::Pass;
    vec![
        assertion(
            "buying succeeds",
            Gate,
            Pass,
            200,
            "100 % of 200 operations, asked >= 99.5 %",
            &[],
        ),
        assertion(
            "buying is quick",
            Gate,
            Pass,
            200,
            "p99 120 ms of 200 operations, asked <= 500 ms",
            &[],
        ),
        assertion(
            "labels keep up",
            Gate,
            Pass,
            20,
            "maximum 1 of 20 readings, asked <= 20",
            &[],
        ),
    ]
}

/// The verdict on the run: customers were charged twice.
pub(super) fn failed() -> Verdict {
    use AssertionKind::{
        Backlog, During, Generator, Invariant, NonVacuous, Receipt, Recovery as Recovers, SteadyStateAfter,
    };
    use Judgement::{Fail, Inconclusive, Pass};
    let mut assertions = gate_assertions();
    let twice: Vec<String> = (0..8)
        .map(|n| format!("buy-{}: charged 2 times, 540 and 540 pence", 400 + n * 5))
        .collect();
    let twice: Vec<&str> = twice.iter().map(String::as_str).collect();
    assertions.extend([
        assertion(
            "lose the provider's answers",
            Receipt,
            Pass,
            15,
            "in effect 12.4 ms after the command, healed 8.1 ms after it",
            &[],
        ),
        assertion(
            "history stays readable",
            During,
            Pass,
            80,
            "100 % of 80 operations, asked >= 99.5 %",
            &[],
        ),
        assertion(
            "recovery",
            Recovers,
            Pass,
            1_280,
            "good time began 2.2 s after the last heal and lasted, asked within 10 s",
            &[],
        ),
        assertion(
            "paid-without-label",
            Backlog,
            Pass,
            4,
            "zero 0.8 s after the load had ended, asked within 10 s",
            &[],
        ),
        assertion(
            "buying succeeds",
            SteadyStateAfter,
            Pass,
            270,
            "100 % of 270 operations, asked >= 99.5 %",
            &[],
        ),
        assertion(
            "nobody-charged-twice",
            Invariant,
            Fail,
            1_280,
            "8 of 1,280 payments are at the provider more than once",
            &twice,
        ),
        assertion(
            "no-acknowledged-payment-lost",
            Invariant,
            Inconclusive,
            0,
            "the final read `payments` is not complete: page 3 answered 500",
            &["read payments: 200 items of at least 201"],
        ),
        assertion(
            "every operation succeeded",
            NonVacuous,
            Pass,
            1_600,
            "buy-postage 936, purchase-history 320",
            &[],
        ),
        assertion("generator", Generator, Pass, 1_600, "own lag 0.3 ms at p99", &[]),
    ]);
    Verdict {
        schema_version: SCHEMA_VERSION,
        experiment: "answers-lost".to_owned(),
        title: plan().experiment.title,
        run_id: "nm-7f3a".to_owned(),
        status: Status::Completed,
        verdict: Fail,
        exit_code: 1,
        problem: None,
        seed: 42,
        defects: vec!["payment-retried-with-new-key".to_owned()],
        assertions,
        recovery: Recovery {
            recovery_time_ms: Some(RECOVERED_MS - HEALED_MS),
            disruption_ms: Some(RECOVERED_MS - EFFECTIVE_MS),
            backlog_drained_ms: Some(3_900.0),
            degraded: vec![
                Degraded {
                    operation: "buy-postage".to_owned(),
                    from_ms: EFFECTIVE_MS,
                    to_ms: RECOVERED_MS,
                },
                Degraded {
                    operation: "paid-without-label".to_owned(),
                    from_ms: 12_500.0,
                    to_ms: 21_900.0,
                },
            ],
            ..Recovery::default()
        },
        faults: vec![FaultRecord {
            name: "lose the provider's answers".to_owned(),
            kind: "partition".to_owned(),
            describe: "packets from payment-provider-1 to postage-api-1 and postage-api-2 are dropped".to_owned(),
            planned_ms: Some(3_000),
            effective_ms: Some(EFFECTIVE_MS),
            healed_ms: Some(HEALED_MS),
            injected: Some(injected()),
            healed: Some(healed()),
            problem: None,
        }],
        leftovers: Vec::new(),
        again: "nightmail run experiments/postage/answers-lost.yaml --seed 42 --defect payment-retried-with-new-key"
            .to_owned(),
    }
}

/// The same run without its weakness.
pub(super) fn passed() -> Verdict {
    let mut verdict = failed();
    for assertion in &mut verdict.assertions {
        if assertion.finding.verdict != Judgement::Pass {
            assertion.finding.verdict = Judgement::Pass;
            assertion.finding.detail = "1,280 payments, each at the provider once".to_owned();
            assertion.finding.evidence.clear();
        }
    }
    verdict.verdict = Judgement::Pass;
    verdict.exit_code = 0;
    verdict.defects.clear();
    verdict.again = "nightmail run experiments/postage/answers-lost.yaml --seed 42".to_owned();
    verdict
}

/// A run whose fault was not seen to heal, and that had not recovered when the load ended.
pub(super) fn inconclusive() -> Verdict {
    let mut verdict = passed();
    verdict.verdict = Judgement::Inconclusive;
    verdict.exit_code = 3;
    for assertion in &mut verdict.assertions {
        match assertion.kind {
            AssertionKind::Receipt => {
                assertion.finding.verdict = Judgement::Inconclusive;
                assertion.finding.detail = "not seen healed: probes were still lost 5 s after the removal".to_owned();
                assertion.finding.evidence =
                    vec!["payment-provider-1 -> postage-api-2: 0 of 5 datagrams arrived".to_owned()];
            }
            AssertionKind::Recovery | AssertionKind::SteadyStateAfter => {
                assertion.finding.verdict = Judgement::Inconclusive;
                assertion.finding.detail = "cannot be judged: no heal was measured".to_owned();
            }
            _ => {}
        }
    }
    let fault = &mut verdict.faults[0];
    fault.healed_ms = None;
    fault.healed = Some(Receipt {
        confirmed: false,
        onset_us: None,
        ..healed()
    });
    fault.problem = Some("not seen healed".to_owned());
    verdict.recovery = Recovery {
        censored: true,
        degraded: vec![Degraded {
            operation: "buy-postage".to_owned(),
            from_ms: EFFECTIVE_MS,
            to_ms: END_MS as f64,
        }],
        ..Recovery::default()
    };
    verdict
}

/// A run that ended before there was any load.
pub(super) fn aborted() -> Verdict {
    let mut verdict = passed();
    verdict.status = Status::Aborted;
    verdict.verdict = Judgement::Inconclusive;
    verdict.exit_code = 4;
    verdict.assertions.clear();
    verdict.faults.clear();
    verdict.recovery = Recovery::default();
    verdict.problem =
        Some("postage-api-1 ended with exit code 1 before it was ready\n  | bind: address in use".to_owned());
    verdict.leftovers = vec!["network nightmail-nm-7f3a: has active endpoints".to_owned()];
    verdict
}

fn progress(at_ms: i64) -> Event {
    let is_out = is_out(at_ms as f64);
    let seconds = (at_ms / 1_000) as u64;
    Event::Progress(Progress {
        operations: vec![
            OperationProgress {
                operation: "buy-postage".to_owned(),
                ok: 40 * seconds,
                fail: if is_out { 14 } else { 0 },
                info: if is_out { 120 } else { 0 },
                ok_percent: Some(if is_out { 20.0 } else { 100.0 }),
                p50_ms: Some(if is_out { 812.0 } else { 16.4 }),
                p99_ms: Some(if is_out { 1_992.0 } else { 120.0 }),
            },
            OperationProgress {
                operation: "purchase-history".to_owned(),
                ok: 10 * seconds,
                ok_percent: Some(100.0),
                p50_ms: Some(5.5),
                p99_ms: Some(7.0),
                ..OperationProgress::default()
            },
        ],
        in_flight: if is_out { 64 } else { 1 },
    })
}

/// What the run told, progress included.
pub(super) fn events() -> Vec<Entry> {
    let phase = |phase, budget_ms| Event::Phase { phase, budget_ms };
    let mut events = vec![
        (
            -2_400,
            Event::Started {
                run_id: "nm-7f3a".to_owned(),
                experiment: "answers-lost".to_owned(),
                title: plan().experiment.title,
                seed: 42,
                engine: "docker".to_owned(),
            },
        ),
        (-2_390, phase(Phase::Images, None)),
        (
            -2_380,
            Event::ImageStarted {
                image: "replicas".to_owned(),
                step: "copying the binary".to_owned(),
            },
        ),
        (
            -2_000,
            Event::ImageReady {
                image: "replicas".to_owned(),
                took_ms: 380,
            },
        ),
        (
            -1_990,
            Event::ImageReady {
                image: "postgres".to_owned(),
                took_ms: 0,
            },
        ),
        (-1_980, phase(Phase::Up, None)),
        (
            -1_200,
            Event::ReplicaReady {
                replica: "payment-provider-1".to_owned(),
                took_ms: 290,
            },
        ),
        (
            -700,
            Event::ReplicaReady {
                replica: "postage-api-1".to_owned(),
                took_ms: 310,
            },
        ),
        (
            -650,
            Event::ReplicaReady {
                replica: "postage-api-2".to_owned(),
                took_ms: 360,
            },
        ),
        (0, phase(Phase::Gate, Some(GATE_MS))),
        (
            7_000,
            Event::Gate {
                passed: true,
                assertions: gate_assertions(),
            },
        ),
        (7_001, phase(Phase::Method, Some(11_000))),
        (
            9_999,
            Event::FaultIntent {
                fault: 0,
                name: "lose the provider's answers".to_owned(),
                describe: failed().faults[0].describe.clone(),
                planned_ms: Some(3_000),
            },
        ),
        (
            10_020,
            Event::FaultInjected {
                fault: 0,
                receipt: injected(),
                effective_us: Some(10_012_000),
            },
        ),
        (18_022, Event::HealIntent { fault: 0 }),
        (
            18_040,
            Event::FaultHealed {
                fault: 0,
                receipt: healed(),
                healed_us: Some(18_031_000),
            },
        ),
        (18_041, phase(Phase::Recovery, Some(14_000))),
        (
            21_000,
            Event::Notice {
                text: "postage-worker-1 restarted by itself".to_owned(),
            },
        ),
        (
            32_000,
            Event::LoadEnded(LoadSummary {
                arrivals: 1_600,
                dropped: 47,
                lag_p99_us: 300,
                lag_max_us: 1_900,
            }),
        ),
        (32_001, phase(Phase::Drain, Some(10_000))),
        (
            32_800,
            Event::Drained {
                metric: "paid-without-label".to_owned(),
                drained: true,
                last: Some(0.0),
                took_ms: 800,
            },
        ),
        (32_801, phase(Phase::Reads, None)),
        (33_400, phase(Phase::Down, None)),
        (34_200, Event::Down { leftovers: Vec::new() }),
        (34_201, phase(Phase::Judge, None)),
        (
            34_300,
            Event::Judged {
                verdict: "fail".to_owned(),
                exit_code: 1,
            },
        ),
    ];
    events.extend((1..32).map(|second| (second * 1_000 + 500, progress(second * 1_000 + 500))));
    events.sort_by_key(|(at_ms, _)| *at_ms);
    events
        .into_iter()
        .map(|(at_ms, event)| Entry {
            at_us: at_ms * 1_000,
            unix_ms: STARTED_UNIX_MS + at_ms,
            event,
        })
        .collect()
}
