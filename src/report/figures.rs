//! That the page draws what happened: the numbers in each bin, the bands where the faults were.

use std::time::Instant;

use super::series::{self, BINS_MAX, Counts, FaultSpan, PhaseSpan, Timeline};
use super::{html, sample};
use crate::event::Phase;
use crate::history::load::History;
use crate::history::{Op, Outcome};

fn timeline() -> Timeline {
    Timeline::new(
        &sample::plan(),
        &sample::failed(),
        &sample::history(),
        &sample::events(),
    )
}

fn op(kind: &'static str, intended_us: u64, done_us: u64, outcome: Outcome) -> Op<'static> {
    Op {
        kind: kind.into(),
        key: intended_us.to_string().into(),
        intended_us,
        sent_us: Some(intended_us),
        done_us,
        outcome,
        attempts: 1,
        status: None,
        error: None,
        values: Default::default(),
        forbidden: None,
    }
}

#[test]
fn the_axis_holds_phases_and_faults_where_they_were_measured() {
    let timeline = timeline();
    assert_eq!(timeline.end_ms, 32_000.0);
    assert_eq!(timeline.gate_ms, Some(7_000.0));
    let span = |phase, from_ms, to_ms| PhaseSpan { phase, from_ms, to_ms };
    assert_eq!(
        timeline.phases,
        [
            span(Phase::Gate, 0.0, 7_001.0),
            span(Phase::Method, 7_001.0, 18_041.0),
            span(Phase::Recovery, 18_041.0, 32_000.0),
        ]
    );
    assert_eq!(
        timeline.faults,
        [FaultSpan {
            number: 1,
            name: "lose the provider's answers".to_owned(),
            planned_ms: Some(10_000.0),
            effective_ms: Some(10_012.0),
            healed_ms: Some(18_031.0),
        }]
    );
    assert_eq!(timeline.recovered_ms, Some(20_250.0));
    assert_eq!(timeline.disruption_end_ms, Some(20_250.0));
}

#[test]
fn without_a_heal_there_is_no_recovery_to_draw() {
    let timeline = Timeline::new(
        &sample::plan(),
        &sample::inconclusive(),
        &sample::history(),
        &sample::events(),
    );
    assert_eq!(timeline.last_heal_ms, None);
    assert_eq!(timeline.recovered_ms, None);
    assert_eq!(timeline.disruption_end_ms, Some(32_000.0), "open to the end");
}

#[test]
fn operations_lie_in_the_bins_of_their_intended_times() {
    let series = series::operations(&sample::plan(), &sample::history(), &timeline());
    let buy = &series[0];
    assert_eq!(
        (buy.operation.as_str(), buy.bin_ms, buy.bins.len()),
        ("buy-postage", 250, 128)
    );
    assert!(buy.bins.iter().all(|bin| bin.counts.total() == 10));
    // Ten operations of 13 to 21 and 120 ms.
    assert_eq!((buy.bins[0].p50_ms, buy.bins[0].p99_ms), (Some(17.0), Some(120.0)));
    // The bin in which the fault took effect: two were acknowledged, the rest waited longest of all.
    let counts = Counts {
        ok: 2,
        fail: 1,
        info: 7,
    };
    assert_eq!(buy.bins[40].counts, counts);
    assert_eq!(buy.bins[40].p50_ms, Some(f64::INFINITY));
    assert_eq!(counts.ok_percent(), Some(20.0));
    // The first bin after recovery is whole again.
    assert_eq!(buy.bins[80].counts.ok, 2);
    assert_eq!(buy.bins[81].counts.ok, 10);

    let look = &series[1];
    assert_eq!(
        (look.operation.as_str(), look.bin_ms, look.bins.len()),
        ("purchase-history", 1_000, 32)
    );
}

#[test]
fn the_windows_part_at_the_measured_effect_and_heal() {
    let series = series::operations(&sample::plan(), &sample::history(), &timeline());
    let totals = |series: &series::OperationSeries| {
        [Some(&series.before), series.during.as_ref(), series.after.as_ref()]
            .map(|tally| tally.map(|t| t.counts.total()))
    };
    // 40/s up to 10.012 s, up to 18.031 s, up to 32 s.
    assert_eq!(totals(&series[0]), [Some(401), Some(321), Some(558)]);
    assert_eq!(series[0].whole.counts.total(), 1_280);
    assert_eq!(series[0].before.counts.ok, 401);
}

#[test]
fn in_flight_counts_what_was_sent_and_has_not_ended() {
    let mut dropped = op("buy", 120_000, 120_000, Outcome::Fail);
    dropped.error = Some(Op::DROPPED.into());
    let history = History {
        ops: vec![
            op("buy", 0, 600_000, Outcome::Ok),
            op("buy", 100_000, 200_000, Outcome::Ok),
            dropped,
            op("buy", 900_000, 5_000_000, Outcome::Info),
        ],
        ..History::default()
    };
    let mut verdict = sample::passed();
    verdict.faults.clear();
    let timeline = Timeline::new(&sample::plan(), &verdict, &history, &[]);
    let load = series::load(&history, &timeline);
    assert_eq!(load.bin_ms, 250);
    assert_eq!(load.arrivals, [3, 0, 0, 1]);
    assert_eq!(load.dropped, [1, 0, 0, 0]);
    assert_eq!(load.in_flight, [1, 1, 0, 1]);
}

#[test]
fn a_reading_that_failed_is_a_gap() {
    let gauges = series::gauges(&sample::plan(), &sample::history());
    let backlog = &gauges[0];
    assert_eq!(
        (backlog.metric.as_str(), backlog.points.len()),
        ("paid-without-label", 128)
    );
    assert_eq!(backlog.points[47], (11_750.0, Some(14.0)));
    assert_eq!(backlog.points[48], (12_000.0, None));
    assert_eq!(backlog.max, Some(64.0));
}

#[test]
fn the_bands_are_drawn_from_the_measured_effect_to_the_measured_heal() {
    let page = html::render(
        &sample::plan(),
        &sample::failed(),
        &sample::history(),
        &sample::events(),
    );
    // The axis is 810 wide from 132: 10.012 s and 18.031 s of 32 s.
    let band = r#"<rect class="band" x="385.4""#;
    let bands: Vec<&str> = page
        .split(band)
        .skip(1)
        .map(|rest| &rest[..rest.find('>').unwrap()])
        .collect();
    // The run, two operations with two plots each, two plots of the load, a gauge.
    assert_eq!(bands.len(), 1 + 2 * 2 + 2 + 1);
    assert!(bands.iter().all(|band| band.contains(r#"width="203""#)), "{bands:?}");
    // The brackets: from the effect, and from the heal, to 20.25 s.
    assert!(page.contains("M385.4 ") && page.contains("H644.6M644.6 "), "disruption");
    assert!(page.contains("M588.4 "), "recovery time");
}

#[test]
fn the_page_is_bounded_whatever_the_run() {
    const HOURS: u64 = 3;
    const OPS: u64 = 200_000;
    let step_us = HOURS * 3_600_000_000 / OPS;
    let history = History {
        ops: (0..OPS)
            .map(|index| {
                let outcome = if index.is_multiple_of(3) {
                    Outcome::Info
                } else {
                    Outcome::Ok
                };
                op(
                    "buy-postage",
                    index * step_us,
                    index * step_us + index % 977 * 100,
                    outcome,
                )
            })
            .collect(),
        ..History::default()
    };
    let started = Instant::now();
    let page = html::render(&sample::plan(), &sample::passed(), &history, &[]);
    assert!(page.len() < 500_000, "{} bytes", page.len());
    assert!(started.elapsed().as_secs() < 30, "it took {:?}", started.elapsed());
    let longest = page.split(" d=\"").skip(1).map(|path| {
        let path = &path[..path.find('"').unwrap()];
        path.matches(['M', 'L', 'H', 'V']).count()
    });
    assert!(longest.max().unwrap() <= 2 * BINS_MAX + 2);
}
