//! Verdicts on the run, and on others that went otherwise.

use super::{EFFECTIVE_MS, END_MS, HEALED_MS, RECOVERED_MS, plan};
use crate::fault::Receipt;
use crate::verdict::{
    Assertion, AssertionKind, Degraded, FaultRecord, Finding, Judgement, OperationImpact, Recovery, SCHEMA_VERSION,
    Safety, ServiceImpact, Status, Stretch, Verdict,
};

fn receipt(onset_us: u64, evidence: &[&str]) -> Receipt {
    Receipt {
        confirmed: true,
        onset_us: Some(onset_us),
        replicas: vec!["postage-api-1".to_owned(), "postage-api-2".to_owned()],
        lapsed: false,
        failed: None,
        evidence: evidence.iter().map(|&line| line.to_owned()).collect(),
        takeover: None,
    }
}

pub(super) fn injected() -> Receipt {
    receipt(
        12_400,
        &[
            "payment-provider-1 -> postage-api-1: 0 of 5 datagrams arrived",
            "payment-provider-1 -> postage-api-2: 0 of 5 datagrams arrived",
        ],
    )
}

pub(super) fn healed() -> Receipt {
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
            first: None,
        },
    }
}

pub(super) fn gate_assertions() -> Vec<Assertion> {
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
pub(crate) fn failed() -> Verdict {
    use AssertionKind::{
        Afterwards, Backlog, During, Generator, Invariant, NonVacuous, Receipt, Recovery as Recovers, SteadyStateAfter,
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
            "labels are few again",
            Afterwards,
            Pass,
            44,
            "max of 44 readings of `paid-without-label` is 12, bound <= 20; judged from 3s after the last heal",
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
            data_loss_operations: Some(0),
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
        safety: Safety {
            lost: Some(0),
            twice: Some(3),
            ledger_differences: None,
        },
        operations: operations(),
        services: services(),
        failovers: Vec::new(),
        lag_p99_ms: Some(0.3),
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

fn operations() -> Vec<OperationImpact> {
    let operation = |name: &str, title: &str, counts: [u64; 3], disrupted: Vec<Stretch>| OperationImpact {
        operation: name.to_owned(),
        title: title.to_owned(),
        arrived: counts.iter().sum(),
        ok: counts[0],
        fail: counts[1],
        info: counts[2],
        p50_ms: Some(21.0),
        p99_ms: Some(380.0),
        served_within_ms: None,
        disrupted,
        is_told: true,
    };
    let outage = Stretch {
        from_ms: EFFECTIVE_MS,
        to_ms: RECOVERED_MS,
        arrived: 372,
        ok: 61,
    };
    vec![
        operation(
            "buy-postage",
            "A customer pays for postage by card",
            [936, 12, 332],
            vec![outage],
        ),
        operation(
            "purchase-history",
            "A customer looks at past orders",
            [320, 0, 0],
            Vec::new(),
        ),
    ]
}

fn services() -> Vec<ServiceImpact> {
    let disrupted_ms = RECOVERED_MS - EFFECTIVE_MS;
    vec![ServiceImpact {
        service: "selling".to_owned(),
        title: "Selling postage online".to_owned(),
        verdict: Judgement::Pass,
        detail: format!(
            "disrupted for {:.2} s, of 30.00 s at most; 0 acknowledged operations lost, of 0 at most",
            disrupted_ms / 1e3
        ),
        operations: vec!["buy-postage".to_owned()],
        disrupted_ms: Some(disrupted_ms),
        tolerated_ms: 30_000,
        served_within_ms: None,
        lost: Some(0),
        tolerated_lost: 0,
    }]
}

/// The same run without its weakness.
pub(crate) fn passed() -> Verdict {
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
    verdict.safety = Safety {
        lost: Some(0),
        twice: Some(0),
        ledger_differences: Some(0),
    };
    verdict
}

/// A run whose fault was not seen to heal, and that had not recovered when the load ended.
pub(crate) fn inconclusive() -> Verdict {
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
        data_loss_operations: Some(0),
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
pub(crate) fn aborted() -> Verdict {
    let mut verdict = passed();
    verdict.status = Status::Aborted;
    verdict.verdict = Judgement::Inconclusive;
    verdict.exit_code = 4;
    verdict.assertions.clear();
    verdict.faults.clear();
    verdict.recovery = Recovery::default();
    verdict.safety = Safety::default();
    verdict.operations.clear();
    verdict.services.clear();
    verdict.lag_p99_ms = None;
    verdict.problem =
        Some("postage-api-1 ended with exit code 1 before it was ready\n  | bind: address in use".to_owned());
    verdict.leftovers = vec!["network nightmail-nm-7f3a: has active endpoints".to_owned()];
    verdict
}
