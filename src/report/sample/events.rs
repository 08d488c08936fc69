//! What the run told.

use super::verdicts::{gate_assertions, healed, injected};
use super::{GATE_MS, STARTED_UNIX_MS, failed, is_out, plan};
use crate::event::{Entry, Event, LoadSummary, OperationProgress, Phase, Progress};

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
pub(in crate::report) fn events() -> Vec<Entry> {
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
                because: "Docker answers".to_owned(),
                nightmail: "0.1.0".to_owned(),
                release: String::new(),
                host: None,
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
                reference: "replicas:abababababab".to_owned(),
                took_ms: 380,
            },
        ),
        (
            -1_990,
            Event::ImageReady {
                image: "postgres".to_owned(),
                reference: String::new(),
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
                machine: None,
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
        (
            34_200,
            Event::Down {
                leftovers: Vec::new(),
                kept: false,
            },
        ),
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
