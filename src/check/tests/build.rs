//! Plans, histories and events for tests.

use std::collections::BTreeMap;

use serde_json::json;

use crate::event::{Entry, Event, LoadSummary, Phase};
use crate::fault::Receipt;
use crate::history::load::History;
use crate::history::{Fields, Heartbeat, Item, Op, Outcome, Read, Record, Sample, Value};
use crate::plan::{
    Arrivals, Bound, Compare, ExperimentInfo, Gate, Measure, Plan, PlannedFault, Probe, RecoveryPlan, Schedule,
    Tolerance, Trigger, WorkloadPlan,
};
use crate::verdict::{Assertion, AssertionKind, Finding, Judgement};

/// So many cases, and no file that remembers them: a case that failed is printed, and becomes a test by hand.
pub fn cases(cases: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        cases,
        failure_persistence: None,
        ..Default::default()
    }
}

/// A second in microseconds.
pub const SECOND: u64 = 1_000_000;

/// A history in the making, written and read as a run's is.
#[derive(Debug, Default, Clone)]
pub struct Saved {
    records: Vec<Record<'static>>,
    counts: BTreeMap<String, u64>,
}

/// Fields of whole numbers and text.
pub fn fields(pairs: &[(&str, Value<'static>)]) -> Fields<'static> {
    pairs
        .iter()
        .map(|(name, value)| (name.to_string().into(), value.clone()))
        .collect()
}

pub fn int(number: i64) -> Value<'static> {
    Value::Int(number)
}

pub fn text(text: &str) -> Value<'static> {
    Value::Text(text.to_owned().into())
}

/// An operation that was sent on time and took 5 ms.
pub fn op(kind: &str, key: &str, intended_us: u64, outcome: Outcome) -> Op<'static> {
    Op {
        kind: kind.to_owned().into(),
        key: key.to_owned().into(),
        intended_us,
        sent_us: Some(intended_us + 100),
        done_us: intended_us + 5_000,
        outcome,
        attempts: 1,
        status: None,
        error: None,
        values: Fields::default(),
        forbidden: None,
    }
}

impl Saved {
    pub fn push(&mut self, op: Op<'static>) -> &mut Self {
        self.records.push(Record::Op(op));
        self
    }

    pub fn op(&mut self, kind: &str, key: &str, outcome: Outcome) -> &mut Self {
        let at_us = self.records.len() as u64 * 1_000;
        self.push(op(kind, key, at_us, outcome))
    }

    /// An operation that recorded an amount.
    pub fn paid(&mut self, kind: &str, key: &str, outcome: Outcome, amount: i64) -> &mut Self {
        let mut op = op(kind, key, self.records.len() as u64 * 1_000, outcome);
        op.values = fields(&[("amount", int(amount))]);
        self.push(op)
    }

    pub fn item(&mut self, read: &str, element: &str, pairs: &[(&str, Value<'static>)]) -> &mut Self {
        *self.counts.entry(read.to_owned()).or_default() += 1;
        self.records.push(Record::Item(Item {
            read: read.to_owned().into(),
            element: element.to_owned().into(),
            fields: fields(pairs),
        }));
        self
    }

    pub fn sample(&mut self, metric: &str, at_us: u64, value: Option<f64>) -> &mut Self {
        self.records.push(Record::Sample(Sample {
            metric: metric.to_owned().into(),
            at_us,
            value,
        }));
        self
    }

    /// A heartbeat of `database` to a member.
    pub fn beat(&mut self, member: &str, number: u64, times_us: [u64; 2], outcome: Outcome) -> &mut Self {
        let [sent_us, done_us] = times_us;
        self.records.push(Record::Heartbeat(Heartbeat {
            group: "database".into(),
            member: member.to_owned().into(),
            number,
            sent_us,
            done_us,
            outcome,
            error: (outcome != Outcome::Ok).then(|| "not acknowledged".into()),
        }));
        self
    }

    /// The end of a read with the items it had so far.
    pub fn end(&mut self, read: &str) -> &mut Self {
        let items = self.counts.get(read).copied().unwrap_or(0);
        self.end_with(read, items, None)
    }

    pub fn end_with(&mut self, read: &str, items: u64, error: Option<&str>) -> &mut Self {
        self.records.push(Record::Read(Read {
            read: read.to_owned().into(),
            at_us: 0,
            items,
            error: error.map(|error| error.to_owned().into()),
        }));
        self
    }

    /// As it is on disk.
    pub fn text(&self) -> String {
        let lines = self
            .records
            .iter()
            .map(|record| serde_json::to_string(record).unwrap() + "\n");
        lines.collect()
    }

    /// Reads it back and looks at it.
    pub fn read<T>(&self, look: impl FnOnce(&History<'_>) -> T) -> T {
        look(&History::parse(&self.text()).unwrap())
    }
}

/// A plan with one operation, `buy`, at 40/s, a gate of 5 s, and no fault.
pub fn plan() -> Plan {
    let request = json!({"service": "api", "port": 80, "path": "/"});
    let system = json!({
        "name": "shop", "title": "A shop",
        "operations": {"buy": {"request": request, "outcome": {"ok": "status == 201"}}},
        "invariants": {"orders-are-kept": {"durable-set": {"operations": ["buy"], "read": "orders"}}},
    });
    Plan {
        schema_version: crate::plan::SCHEMA_VERSION,
        experiment: ExperimentInfo {
            name: "shop-survives".into(),
            title: "The shop survives".into(),
            description: String::new(),
            tags: Vec::new(),
            path: "experiments/shop-survives.yaml".into(),
            sha256: String::new(),
        },
        seed: 7,
        configuration: BTreeMap::from([("cut".to_owned(), "10s".to_owned())]),
        system: serde_json::from_value(system).unwrap(),
        system_dir: "fixtures/shop".into(),
        replicas: BTreeMap::new(),
        environment: BTreeMap::new(),
        defects: Vec::new(),
        workload: WorkloadPlan {
            arrivals: Arrivals::Constant,
            rates: BTreeMap::from([("buy".to_owned(), 40.0.into())]),
            in_flight_max: 100,
        },
        gate: Gate {
            title: "Buying works".into(),
            warm_up_ms: 0,
            window_ms: 5_000,
            probes: vec![success("buying succeeds", ">=", 99.5)],
        },
        faults: Vec::new(),
        during: Vec::new(),
        afterwards: Vec::new(),
        recovery: None,
        invariants: vec!["orders-are-kept".to_owned()],
        toxiproxy: None,
        tolerate: Tolerance::default(),
        negative_controls: Vec::new(),
        schedule: Schedule::default(),
        is_twin: false,
        secrets: Vec::new(),
    }
}

/// The plan with a fault of 10 s and a recovery within 10 s that lasts 5 s.
pub fn plan_with_fault() -> Plan {
    let fault = json!({"kill": {"targets": [{"replicas": [{"service": "api", "index": 1}]}]}});
    Plan {
        faults: vec![PlannedFault {
            id: 0,
            name: "lose the api".into(),
            trigger: Trigger::At { at_ms: 5_000 },
            for_ms: 10_000,
            ttl_ms: 30_000,
            fault: serde_json::from_value(fault).unwrap(),
        }],
        recovery: Some(RecoveryPlan {
            within_ms: 10_000,
            stable_for_ms: 5_000,
            disrupted_for_ms: None,
        }),
        schedule: Schedule {
            gate_ms: 5_000,
            method_ms: 15_000,
            recovery_ms: 15_000,
            total_ms: 35_000,
        },
        ..plan()
    }
}

pub fn compare(sign: &str) -> Compare {
    serde_json::from_value(json!(sign)).unwrap()
}

/// A probe of `buy`'s success rate.
pub fn success(name: &str, sign: &str, value: f64) -> Probe {
    let operation = "buy".to_owned();
    probe(name, Measure::SuccessRate { operation }, sign, value)
}

/// A probe of `buy`'s latency.
pub fn latency(quantile_permille: u32, sign: &str, value: f64) -> Probe {
    let operation = "buy".to_owned();
    let measure = Measure::Latency {
        operation,
        quantile_permille,
    };
    probe("buying is quick", measure, sign, value)
}

/// A probe of the gauge `queue`.
pub fn gauge(quantile_permille: u32, sign: &str, value: f64) -> Probe {
    let metric = "queue".to_owned();
    let measure = Measure::Metric {
        metric,
        quantile_permille,
    };
    probe("the queue is short", measure, sign, value)
}

fn probe(name: &str, measure: Measure, sign: &str, value: f64) -> Probe {
    Probe {
        name: name.to_owned(),
        measure,
        tolerance: Bound {
            compare: compare(sign),
            value,
        },
    }
}

pub fn receipt(confirmed: bool) -> Receipt {
    Receipt {
        confirmed,
        onset_us: Some(1_000),
        replicas: vec!["api-1".into()],
        lapsed: false,
        failed: None,
        evidence: vec!["api-1: exited".into()],
        takeover: None,
    }
}

pub fn entry(at_us: u64, event: Event) -> Entry {
    Entry {
        at_us: at_us as i64,
        unix_ms: 0,
        event,
    }
}

pub fn phase(at_us: u64, phase: Phase) -> Entry {
    entry(at_us, Event::Phase { phase, budget_ms: None })
}

pub fn gate(at_us: u64, passed: bool) -> Entry {
    let finding = Finding {
        verdict: if passed { Judgement::Pass } else { Judgement::Fail },
        detail: "as measured then".into(),
        evidence: Vec::new(),
        samples: 200,
        first: None,
    };
    let assertion = Assertion {
        name: "buying succeeds".into(),
        kind: AssertionKind::Gate,
        finding,
    };
    entry(
        at_us,
        Event::Gate {
            passed,
            assertions: vec![assertion],
        },
    )
}

/// Events of a run of [`plan_with_fault`]: gate passed at 5 s, in effect at 10 s, healed at 20 s, load to 35 s.
pub fn events() -> Vec<Entry> {
    let started = Event::Started {
        run_id: "run-1".into(),
        experiment: "shop-survives".into(),
        title: "The shop survives".into(),
        seed: 7,
        engine: "docker".into(),
        because: String::new(),
        nightmail: "0.1.0".to_owned(),
        release: String::new(),
        host: None,
    };
    let intent = Event::FaultIntent {
        fault: 0,
        name: "lose the api".into(),
        describe: "SIGKILL to api-1".into(),
        planned_ms: Some(5_000),
    };
    let injected = Event::FaultInjected {
        fault: 0,
        receipt: receipt(true),
        effective_us: Some(10_000_000),
    };
    let healed = Event::FaultHealed {
        fault: 0,
        receipt: receipt(true),
        healed_us: Some(20_000_000),
    };
    vec![
        entry(0, started),
        phase(0, Phase::Gate),
        gate(5 * SECOND, true),
        phase(5 * SECOND, Phase::Method),
        entry(10 * SECOND, intent),
        entry(10 * SECOND, injected),
        entry(20 * SECOND, Event::HealIntent { fault: 0 }),
        entry(20 * SECOND, healed),
        phase(20 * SECOND, Phase::Recovery),
        entry(35 * SECOND + 1, Event::LoadEnded(LoadSummary::default())),
        phase(35 * SECOND + 2, Phase::Drain),
        phase(36 * SECOND, Phase::Reads),
        phase(37 * SECOND, Phase::Down),
        entry(
            38 * SECOND,
            Event::Down {
                leftovers: Vec::new(),
                kept: false,
            },
        ),
        phase(38 * SECOND, Phase::Judge),
    ]
}

/// The event that `matches` picks, to be changed.
pub fn event_mut(events: &mut [Entry], matches: impl Fn(&Event) -> bool) -> &mut Event {
    let found = events.iter_mut().find(|entry| matches(&entry.event));
    &mut found.expect("the event is there").event
}
