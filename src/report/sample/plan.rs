//! The plan of the run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;

use super::{END_MS, GATE_MS};
use crate::fault::FaultSpec;
use crate::fault::partition::Partition;
use crate::plan::{
    Arrivals, Bound, Compare, ControlChange, ExperimentInfo, Gate, Measure, NegativeControl, Plan, PlannedFault, Probe,
    RecoveryPlan, ReplicaId, Schedule, Target, Tolerance, Trigger, WindowedProbe, WorkloadPlan,
};
use crate::system::definition::SystemDefinition;

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
        "invariants": {
            "nobody-charged-twice": {"exactly-once": {"causes": {"operations": ["buy-postage"]}, "effects": "captures"}},
            "no-acknowledged-payment-lost": {"durable-set": {"operations": ["buy-postage"], "read": "payments"}},
            "books-balance": {"ledger": {"entries": "entries", "accounts": "accounts", "operations": ["buy-postage"]}},
        },
        "business-services": {
            "selling": {
                "title": "Selling postage online",
                "operations": ["buy-postage"],
                "impact-tolerance": {"time": "30s"},
            },
        },
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
pub(crate) fn plan() -> Plan {
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
            rates: BTreeMap::from([
                ("buy-postage".to_owned(), 40.0.into()),
                ("purchase-history".to_owned(), 10.0.into()),
            ]),
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
        during: vec![WindowedProbe::whole(probe(
            "history stays readable",
            Measure::SuccessRate {
                operation: "purchase-history".to_owned(),
            },
            Compare::AtLeast,
            99.5,
        ))],
        afterwards: vec![WindowedProbe {
            after_ms: 3_000,
            ..WindowedProbe::whole(probe(
                "labels are few again",
                Measure::Metric {
                    metric: "paid-without-label".to_owned(),
                    quantile_permille: 1_000,
                },
                Compare::AtMost,
                20.0,
            ))
        }],
        recovery: Some(RecoveryPlan {
            within_ms: 10_000,
            stable_for_ms: 5_000,
            disrupted_for_ms: None,
        }),
        invariants: vec![
            "nobody-charged-twice".to_owned(),
            "no-acknowledged-payment-lost".to_owned(),
            "books-balance".to_owned(),
        ],
        toxiproxy: None,
        tolerate: Tolerance::default(),
        negative_controls: vec![NegativeControl {
            name: "payment-retried-with-new-key".to_owned(),
            change: ControlChange::Defect("payment-retried-with-new-key".to_owned()),
            fails: vec!["nobody-charged-twice".to_owned()],
        }],
        schedule: Schedule {
            gate_ms: GATE_MS,
            method_ms: 11_000,
            recovery_ms: 14_000,
            total_ms: END_MS,
        },
        is_twin: false,
        secrets: Vec::new(),
    }
}
