//! How often chance alone raises an alarm, and how often a change is seen: by simulation at fixed seeds.

use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, LogNormal};

use super::*;

/// Runs of several experiments whose recovery times and latencies are drawn from one distribution, slower by a factor.
fn drawn(rng: &mut ChaCha8Rng, experiments: usize, runs: usize, factor: f64) -> Vec<RunRecord> {
    // Medians of 2 s and 200 ms, a third more or less in two of three runs: nosier than what is measured.
    let (times, latencies) = (
        LogNormal::new(2_000_f64.ln(), 0.3).unwrap(),
        LogNormal::new(200_f64.ln(), 0.3).unwrap(),
    );
    let mut all = Vec::new();
    for experiment in 0..experiments {
        for number in 0..runs {
            let mut run = run(&format!("x{experiment}"), number as i64);
            // Found in bins, so that there are ties.
            let time_ms = (times.sample(rng) * factor / 250.0).round() * 250.0;
            run.verdict.recovery.recovery_time_ms = Some(time_ms);
            for operation in &mut run.verdict.operations {
                operation.p99_ms = Some(latencies.sample(rng) * factor);
            }
            all.push(run);
        }
    }
    all
}

/// The share of comparisons in which anything changed, or looks worse, of so many.
fn alarms(seed: u64, trials: usize, experiments: usize, runs: (usize, usize)) -> (f64, f64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut changed, mut in_doubt) = (0, 0);
    for _ in 0..trials {
        let before = drawn(&mut rng, experiments, runs.0, 1.0);
        let comparison = compared(before, drawn(&mut rng, experiments, runs.1, 1.0));
        let is_changed = |one: &ExperimentComparison| {
            one.changed(Change::Regressed).next().is_some() || one.changed(Change::Improved).next().is_some()
        };
        changed += usize::from(comparison.experiments.iter().any(is_changed));
        in_doubt += usize::from(comparison.exit_code == 3);
    }
    (changed as f64 / trials as f64, in_doubt as f64 / trials as f64)
}

#[test]
fn chance_alone_raises_no_more_alarms_than_it_may() {
    // 5 % and three standard deviations of a share among so many trials.
    let bound = 0.05 + 3.0 * (0.05_f64 * 0.95 / 300.0).sqrt();
    for (seed, experiments, runs) in [
        (1, 1, (5, 5)),
        (2, 2, (5, 5)),
        (3, 5, (8, 8)),
        (4, 10, (10, 8)),
        (5, 3, (20, 5)),
    ] {
        let (changed, in_doubt) = alarms(seed, 300, experiments, runs);
        assert!(changed <= bound, "{experiments} experiments, {runs:?} runs: {changed}");
        assert!(
            in_doubt <= 0.05,
            "{experiments} experiments, {runs:?} runs: {in_doubt} in doubt"
        );
    }
}

#[test]
fn one_run_against_ten_seldom_looks_worse_by_chance() {
    let (changed, in_doubt) = alarms(6, 200, 1, (10, 1));
    assert_eq!(changed, 0.0, "one run proves nothing");
    assert!(in_doubt < 0.05, "{in_doubt}");
}

#[test]
fn a_system_that_is_twice_as_slow_is_seen() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for runs in [8, 10] {
        let before = drawn(&mut rng, 5, runs, 1.0);
        let comparison = compared(before, drawn(&mut rng, 5, runs, 2.5));
        let regressed = comparison
            .experiments
            .iter()
            .flat_map(|one| one.changed(Change::Regressed))
            .count();
        assert!(regressed >= 12, "{regressed} of 15 metrics with {runs} runs");
        assert_eq!(comparison.exit_code, 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn runs_compared_with_themselves_are_as_before(seed in 0..1_000_u64, experiments in 1..4_usize, runs in 1..9_usize) {
        let drawn = drawn(&mut ChaCha8Rng::seed_from_u64(seed), experiments, runs, 1.0);
        let comparison = compared(drawn.clone(), drawn);
        prop_assert_eq!(comparison.exit_code, 0);
        for experiment in &comparison.experiments {
            prop_assert_eq!(experiment.changed(Change::Regressed).count(), 0);
            prop_assert_eq!(experiment.changed(Change::Improved).count(), 0);
        }
    }

    #[test]
    fn what_regressed_one_way_improved_the_other(seed in 0..1_000_u64, factor in 1.0..4.0_f64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (before, now) = (drawn(&mut rng, 1, 6, 1.0), drawn(&mut rng, 1, 6, factor));
        let (there, back) = (compared(before.clone(), now.clone()), compared(now, before));
        // A tenth of the greater median is more than one of the smaller, so that a little may count one way alone.
        for (there, back) in there.experiments[0].metrics.iter().zip(&back.experiments[0].metrics) {
            prop_assert_eq!(there.p, back.p);
            prop_assert!(there.change != Change::Regressed || back.change != Change::Regressed);
            let (Some(one), Some(other)) = (there.baseline.median, there.now.median) else { continue };
            if (one - other).abs() > 0.1 * one.max(other) + 250.0 && there.change == Change::Regressed {
                prop_assert_eq!(back.change, Change::Improved);
            }
        }
    }
}
