//! Comparisons of made runs whose answers are known.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;
use crate::event::Host;
use crate::fault::Takeover;
use crate::report::sample;
use crate::verdict::{FailoverTimes, Verdict};

mod exit_codes;
mod family;
mod rank;
mod simulated;

/// A run of an experiment of the system `postage`, on the engine `docker`, that passed.
pub(crate) fn run(experiment: &str, number: i64) -> RunRecord {
    let mut verdict = sample::passed();
    verdict.experiment = experiment.to_owned();
    verdict.run_id = format!("{experiment}-{number}");
    RunRecord {
        folder: PathBuf::from(format!("runs/{number}-{experiment}")),
        file: PathBuf::from(format!("experiments/{experiment}.yaml")),
        sha256: "aa".to_owned(),
        system: "postage".to_owned(),
        system_title: "Buying postage".to_owned(),
        engine: "docker".to_owned(),
        nightmail: "0.1.0".to_owned(),
        release: String::new(),
        host: None,
        images: Vec::new(),
        started_unix_ms: number,
        took_ms: 30_000,
        is_twin: false,
        targets: BTreeSet::new(),
        scope: Default::default(),
        proof: None,
        verdict,
    }
}

/// Runs whose recovery times are these.
pub(crate) fn recovered(experiment: &str, first: i64, times_ms: &[f64]) -> Vec<RunRecord> {
    let of = |(number, &ms): (i64, &f64)| {
        let mut run = run(experiment, number);
        run.verdict.recovery.recovery_time_ms = Some(ms);
        run
    };
    (first..).zip(times_ms).map(of).collect()
}

/// The run, failed by an assertion.
pub(crate) fn failed(mut run: RunRecord, by: &str) -> RunRecord {
    for assertion in &mut run.verdict.assertions {
        if assertion.name == by {
            assertion.finding.verdict = Judgement::Fail;
        }
    }
    run.verdict.verdict = Judgement::Fail;
    run.verdict.exit_code = 1;
    run
}

fn compared(baseline: Vec<RunRecord>, now: Vec<RunRecord>) -> Comparison {
    compare(&Campaign::of(baseline), &Campaign::of(now), &Accepted::default()).unwrap()
}

fn metric<'c>(comparison: &'c Comparison, name: &str) -> &'c MetricComparison {
    let mut metrics = comparison.experiments.iter().flat_map(|experiment| &experiment.metrics);
    metrics.find(|metric| metric.metric == name).unwrap()
}

const USUAL: [f64; 5] = [1_500.0, 1_750.0, 1_250.0, 1_500.0, 2_000.0];

#[test]
fn five_runs_that_all_recover_later_are_a_regression() {
    let later = [4_000.0, 4_250.0, 3_750.0, 4_500.0, 4_000.0];
    let comparison = compared(recovered("x", 1, &USUAL), recovered("x", 11, &later));
    let time = metric(&comparison, "recovery-time");
    assert_eq!(time.change, Change::Regressed);
    assert_eq!((time.baseline.median, time.now.median), (Some(1_500.0), Some(4_000.0)));
    assert_eq!(
        comparison.counted, 1,
        "nothing else moved, so nothing else counts against it"
    );
    // 2 of 252 ways to part ten values, and one comparison.
    assert!((time.p_corrected.unwrap() - 2.0 / 252.0).abs() < 1e-12);
    assert_eq!(comparison.exit_code, 1);
    let back = compared(recovered("x", 1, &later), recovered("x", 11, &USUAL));
    assert_eq!(metric(&back, "recovery-time").change, Change::Improved);
    assert_eq!(back.exit_code, 0);
}

#[test]
fn four_runs_are_not_enough_and_it_is_said_how_many_are_missing() {
    let comparison = compared(recovered("x", 1, &USUAL), recovered("x", 11, &[4_000.0; 4]));
    let time = metric(&comparison, "recovery-time");
    assert_eq!(time.change, Change::NotEnoughData);
    assert_eq!(time.missing, Some(MissingRuns { baseline: 0, now: 1 }));
    assert!(time.is_suspect, "each is worse than every one of the baseline");
    assert_eq!(comparison.exit_code, 3);

    let comparison = compared(recovered("x", 1, &USUAL[..2]), recovered("x", 11, &USUAL[..3]));
    let time = metric(&comparison, "recovery-time");
    assert_eq!(time.change, Change::NotEnoughData);
    assert_eq!(time.missing, Some(MissingRuns { baseline: 3, now: 2 }));
    assert!(!time.is_suspect);
    assert_eq!(comparison.exit_code, 0);
}

#[test]
fn a_difference_below_the_minimum_effect_is_none_however_sure() {
    let (slow, slower) = ([1_000.0; 10], [1_249.0; 10]);
    let comparison = compared(recovered("x", 1, &slow), recovered("x", 11, &slower));
    assert_eq!(metric(&comparison, "recovery-time").change, Change::AsBefore);
    assert_eq!(comparison.counted, 0);
    let slower = [1_250.0; 10];
    let comparison = compared(recovered("x", 1, &slow), recovered("x", 11, &slower));
    assert_eq!(metric(&comparison, "recovery-time").change, Change::Regressed);
    // A tenth of 10 s is more than a bin.
    let comparison = compared(recovered("x", 1, &[10_000.0; 10]), recovered("x", 11, &[10_999.0; 10]));
    assert_eq!(metric(&comparison, "recovery-time").change, Change::AsBefore);
}

#[test]
fn overlapping_samples_are_noise() {
    let now = [1_250.0, 2_500.0, 1_500.0, 1_750.0, 1_500.0];
    let comparison = compared(recovered("x", 1, &USUAL), recovered("x", 11, &now));
    assert_eq!(metric(&comparison, "recovery-time").change, Change::AsBefore);
    assert_eq!(comparison.exit_code, 0);
}

#[test]
fn what_was_not_over_is_later_than_anything_measured() {
    let mut now = recovered("x", 11, &USUAL);
    for run in &mut now {
        // The lower bound of a time that had no end is no time.
        run.verdict.recovery.censored = true;
        run.verdict.recovery.recovery_time_ms = Some(100.0);
    }
    let comparison = compared(recovered("x", 1, &USUAL), now.clone());
    let time = metric(&comparison, "recovery-time");
    assert_eq!(time.change, Change::Regressed);
    assert_eq!((time.now.not_over, time.now.median), (5, None));
    let back = compared(now.clone(), recovered("x", 21, &USUAL));
    assert_eq!(metric(&back, "recovery-time").change, Change::Improved);
    let same = compared(now.clone(), now);
    assert_eq!(metric(&same, "recovery-time").change, Change::AsBefore);
}

#[test]
fn one_violation_where_there_was_none_is_a_regression() {
    for (number, name) in ["lost", "happened-twice", "ledger-differences"].into_iter().enumerate() {
        let mut now = failed(run("x", 11), "no-acknowledged-payment-lost");
        let safety = &mut now.verdict.safety;
        *[&mut safety.lost, &mut safety.twice, &mut safety.ledger_differences][number] = Some(1);
        let comparison = compared(recovered("x", 1, &USUAL), vec![now, run("x", 12), run("x", 13)]);
        let found = metric(&comparison, name);
        assert_eq!((found.change, found.is_violation), (Change::Regressed, true), "{name}");
        assert_eq!((found.p, found.missing), (None, None));
        assert_eq!(comparison.experiments[0].standing, Standing::Flaky);
        assert_eq!(comparison.exit_code, 1, "not 3, though the experiment is flaky");
    }
}

#[test]
fn a_loss_that_the_experiment_tolerates_is_a_matter_of_more_or_fewer() {
    let mut now = run("x", 11);
    now.verdict.safety.lost = Some(2);
    let comparison = compared(recovered("x", 1, &USUAL), vec![now]);
    let lost = metric(&comparison, "lost");
    assert_eq!((lost.change, lost.is_violation), (Change::NotEnoughData, false));
    let lossy = |first: i64, lost: u64| {
        let mut runs = recovered("x", first, &USUAL);
        runs.iter_mut().for_each(|run| run.verdict.safety.lost = Some(lost));
        runs
    };
    let comparison = compared(lossy(1, 2), lossy(11, 9));
    let lost = metric(&comparison, "lost");
    assert_eq!((lost.change, lost.is_violation), (Change::Regressed, false));
}

#[test]
fn times_of_a_run_whose_fault_is_not_proven_count_for_nothing() {
    let mut now = recovered("x", 11, &[0.0; 5]);
    for run in &mut now {
        let doubtful = sample::inconclusive();
        run.verdict.assertions = doubtful.assertions;
    }
    let comparison = compared(recovered("x", 1, &USUAL), now);
    let metrics = &comparison.experiments[0].metrics;
    assert!(metrics.iter().all(|metric| metric.metric != "recovery-time"));
    assert!(metrics.iter().any(|metric| metric.metric == "lost"));
}

#[test]
fn budget_latency_services_and_failovers_are_compared() {
    let shaped = |first: i64, factor: u64| {
        let shape = |mut run: RunRecord| {
            let verdict: &mut Verdict = &mut run.verdict;
            let buying = &mut verdict.operations[0];
            (buying.ok, buying.info) = (buying.ok - 50 * factor, buying.info + 50 * factor);
            buying.p99_ms = Some(100.0 * factor as f64);
            verdict.services[0].disrupted_ms = Some(3_000.0 * factor as f64);
            verdict.failovers = vec![FailoverTimes {
                fault: "kill".to_owned(),
                times: Takeover {
                    detection_ms: Some(40.0),
                    promotion_ms: 300.0 * factor as f64,
                    first_write_ms: 500.0 * factor as f64,
                },
            }];
            run
        };
        recovered("x", first, &USUAL).into_iter().map(shape).collect()
    };
    let comparison = compared(shaped(1, 1), shaped(11, 3));
    let experiment = &comparison.experiments[0];
    let regressed: Vec<&str> = experiment
        .changed(Change::Regressed)
        .map(|one| one.metric.as_str())
        .collect();
    let expected = [
        "error-budget",
        "disrupted:selling",
        "p99:buy-postage",
        "promotion:kill",
        "first-write:kill",
    ];
    assert_eq!(regressed, expected);
    let budget = metric(&comparison, "error-budget");
    // (12 + 332 + 50) of 1,600 arrivals, then (12 + 332 + 150).
    for (spread, expected) in [(&budget.baseline, 24.625), (&budget.now, 30.875)] {
        assert!((spread.median.unwrap() - expected).abs() < 1e-9);
    }
}

#[test]
fn five_runs_cannot_tell_among_many_that_move_and_it_is_said_how_many_can() {
    let many = |first: i64, factor: f64| -> Vec<RunRecord> {
        let of = |number: i64| {
            recovered(
                &format!("x{number}"),
                first + number * 100,
                &USUAL.map(|ms| ms * factor),
            )
        };
        (0..7).flat_map(of).collect()
    };
    let comparison = compared(many(1, 1.0), many(51, 3.0));
    let time = metric(&comparison, "recovery-time");
    // 2 of 252 is 0.0079, and a seventh of 5 % is 0.0071; with six runs on one side it is 2 of 462.
    assert_eq!(time.change, Change::NotEnoughData);
    assert_eq!(time.missing, Some(MissingRuns { baseline: 0, now: 1 }));
    assert!(time.is_suspect);
    assert_eq!((comparison.counted, comparison.exit_code), (0, 3));
}

#[test]
fn an_experiment_is_known_by_system_and_engine_too() {
    let mut now = recovered("x", 11, &USUAL);
    now[0].engine = "local".to_owned();
    now[1].system = "counter".to_owned();
    // It broke before it had an engine.
    now[2].engine = String::new();
    let comparison = compared(recovered("x", 1, &USUAL), now);
    let keys: Vec<(&str, &str, usize)> = comparison
        .experiments
        .iter()
        .map(|one| (one.system.as_str(), one.engine.as_str(), one.now.runs()))
        .collect();
    assert_eq!(
        keys,
        [
            ("counter", "docker", 1),
            ("postage", "docker", 3),
            ("postage", "local", 1)
        ]
    );
}

#[test]
fn campaigns_with_nothing_in_common_are_refused() {
    let refused = |change: fn(&mut RunRecord)| {
        let mut now = recovered("x", 11, &USUAL);
        now.iter_mut().for_each(change);
        let before = Campaign::of(recovered("x", 1, &USUAL));
        compare(&before, &Campaign::of(now), &Accepted::default())
            .unwrap_err()
            .to_string()
    };
    insta::assert_snapshot!(
        "not_comparable",
        [
            refused(|run| run.system = "counter".to_owned()),
            refused(|run| run.engine = "local".to_owned()),
            refused(|run| run.verdict.experiment = "y".to_owned()),
            refused(|run| run.is_twin = true),
        ]
        .join("\n\n")
    );
}

#[test]
fn what_differs_beside_the_figures_is_said() {
    let host = |processors| {
        Some(Host {
            architecture: "x86_64".to_owned(),
            processors,
            memory_bytes: 8_000_000_000,
            ..Host::default()
        })
    };
    let mut before = recovered("x", 1, &USUAL);
    before.iter_mut().for_each(|run| run.host = host(8));
    let mut now = recovered("x", 11, &USUAL);
    now.iter_mut().for_each(|run| run.host = host(2));
    now[0].sha256 = "bb".to_owned();
    now[1].verdict.operations.clear();
    now[2].verdict.defects = vec!["payment-retried-with-new-key".to_owned()];
    now[3].is_twin = true;
    now[4] = before[4].clone();
    let comparison = compared(before, now);
    assert!(comparison.experiments[0].is_changed);
    assert_eq!(
        comparison.experiments[0].now.runs(),
        3,
        "what is unsafe on purpose is left out"
    );
    let notes: Vec<String> = comparison.notes.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!("notes", notes.join("\n"));
}

#[test]
fn what_could_not_be_read_is_exit_code_four_unless_something_failed() {
    let same = || compared(recovered("x", 1, &USUAL), recovered("x", 11, &USUAL));
    assert_eq!(same().with_unread(Vec::new()).exit_code, 0);
    assert_eq!(same().with_unread(vec!["runs/y: half written".to_owned()]).exit_code, 4);
    let worse = compared(recovered("x", 1, &USUAL), recovered("x", 11, &[9_000.0; 5]));
    assert_eq!(worse.with_unread(vec!["runs/y: half written".to_owned()]).exit_code, 1);
}
