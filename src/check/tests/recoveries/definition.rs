//! Levels and recovery times of generated histories, against naive references written straight from the definitions.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::check::bins::{BIN_US, Level, Signal};
use crate::check::recovery::Course;
use crate::check::tests::build::{self, SECOND, Saved, op};
use crate::history::Outcome;
use crate::history::load::History;
use crate::plan::{Measure, Probe};
use crate::verdict::Judgement;

/// The definition, word for word: levels by looking at every window of every bin, and every operation in it.
fn naive_levels(probe: &Probe, history: &History<'_>, bins: usize) -> Vec<Level> {
    let placed: Vec<(usize, f64)> = match &probe.measure {
        Measure::Metric { .. } => {
            let samples = history.samples.iter().filter(|sample| sample.value.is_some());
            samples
                .map(|sample| ((sample.at_us / BIN_US) as usize, sample.value.unwrap()))
                .collect()
        }
        _ => {
            let latency = |op: &crate::history::Op<'_>| match op.outcome {
                Outcome::Ok => (op.done_us - op.intended_us) as f64 / 1e3,
                _ => f64::INFINITY,
            };
            history
                .ops
                .iter()
                .map(|op| ((op.intended_us / BIN_US) as usize, latency(op)))
                .collect()
        }
    };
    let within = |first: usize, last: usize| -> Vec<f64> {
        let mut values: Vec<f64> = placed
            .iter()
            .filter(|(bin, _)| (first..=last).contains(bin))
            .map(|(_, value)| *value)
            .collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let (least, enough) = match &probe.measure {
        Measure::SuccessRate { .. } => (
            10,
            (1.0 / (1.0 - probe.tolerance.value / 100.0)).round().max(10.0) as usize,
        ),
        Measure::Latency { quantile_permille, .. } => (10, (1_000 / (1_000 - quantile_permille)).max(10) as usize),
        Measure::Metric { .. } => (1, 1),
    };
    let window = |last: usize| -> usize {
        let mut length = 4;
        while length < 20 && length <= last && within((last + 1).saturating_sub(length), last).len() < enough {
            length += 1;
        }
        while length < 40 && length <= last && within((last + 1).saturating_sub(length), last).len() < least {
            length += 1;
        }
        (last + 1).saturating_sub(length)
    };
    let good = |values: &[f64]| -> Option<bool> {
        if values.len() < least {
            return None;
        }
        let measured = match probe.measure {
            Measure::SuccessRate { .. } => {
                values.iter().filter(|value| value.is_finite()).count() as f64 * 100.0 / values.len() as f64
            }
            Measure::Latency { quantile_permille, .. } | Measure::Metric { quantile_permille, .. } => {
                let exceeded = |value: &&f64| {
                    let not_above = values.iter().filter(|other| *other <= *value).count();
                    not_above * 1_000 >= values.len() * quantile_permille as usize
                };
                *values.iter().find(exceeded).unwrap()
            }
        };
        Some(probe.tolerance.holds(measured))
    };
    let mut windows: Vec<(usize, usize)> = (0..bins).map(|last| (window(last), last)).collect();
    // Every window of a second and more that ends with the load, down to those too short to be widened.
    let late = (0..bins.saturating_sub(3)).filter(|first| *first > window(bins - 1));
    windows.extend(late.map(|first| (first, bins - 1)));
    let windows: Vec<(usize, usize, Option<bool>)> = windows
        .into_iter()
        .map(|(first, last)| (first, last, good(&within(first, last))))
        .collect();
    let level = |bin: usize| {
        let containing = windows
            .iter()
            .filter(|(first, last, _)| (*first..=*last).contains(&bin));
        let said: Vec<bool> = containing.filter_map(|(_, _, good)| *good).collect();
        match (said.is_empty(), said.contains(&true)) {
            (true, _) => Level::Unknown,
            (_, true) => Level::Good,
            (_, false) => Level::Bad,
        }
    };
    (0..bins).map(level).collect()
}

/// Recovery time from levels, by the definition: the first start from the heal on after which all is good for long.
fn naive_recovery_ms(course: &Course) -> Option<f64> {
    let bins = course.levels.values().next().unwrap().len();
    let all_good = |bin: usize| course.levels.values().all(|levels| levels[bin] == Level::Good);
    let stable = (course.stable_us / BIN_US) as usize;
    let heal_bin = (course.heal_us / BIN_US) as usize;
    let effect_bin = (course.effect_us / BIN_US) as usize;
    let degraded = course.levels.values().any(|levels| {
        let bad = |bin: usize| levels.get(bin) == Some(&Level::Bad);
        (effect_bin..bins).any(|bin| bad(bin) && (bad(bin + 1) || bad(bin - 1)))
    });
    if !degraded {
        return Some(0.0);
    }
    let start = (heal_bin..=bins.saturating_sub(stable)).find(|start| (*start..start + stable).all(all_good))?;
    Some(((start as u64 * BIN_US) as f64 - course.heal_us as f64).max(0.0) / 1e3)
}

fn any_probe() -> impl Strategy<Value = Probe> {
    prop_oneof![
        prop_oneof![Just(50.0), Just(90.0), Just(99.0), Just(99.5)].prop_map(|at| build::success("rate", ">=", at)),
        prop_oneof![Just(500), Just(950), Just(990)].prop_map(|permille| build::latency(permille, "<=", 50.0)),
        prop_oneof![Just(500), Just(990), Just(1_000)].prop_map(|permille| build::gauge(permille, "<=", 50.0)),
    ]
}

fn any_history() -> impl Strategy<Value = Saved> {
    // Stretches of time with their rate, their chance of failure in percent, and their latency.
    let stretch = (
        1..8u64,
        0..50u64,
        prop_oneof![Just(0u64), Just(2), Just(30), Just(100)],
        1..100u64,
    );
    (proptest::collection::vec(stretch, 1..8), any::<u64>()).prop_map(|(stretches, seed)| {
        let mut random = seed | 1;
        let mut chance = move || {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % 100
        };
        let mut saved = Saved::default();
        let mut start_us = 0;
        for (seconds, rate, failing, latency_ms) in stretches {
            for number in 0..seconds * rate {
                let at_us = start_us + number * SECOND / rate;
                let outcome = if chance() < failing { Outcome::Fail } else { Outcome::Ok };
                let mut op = op("buy", "", at_us, outcome);
                op.done_us = at_us + latency_ms * 1_000;
                saved.push(op);
            }
            for number in 0..seconds * rate / 8 {
                let at_us = start_us + number * SECOND * 8 / rate;
                saved.sample("queue", at_us, (chance() < 90).then_some(latency_ms as f64));
            }
            start_us += seconds * SECOND;
        }
        saved
    })
}

fn any_level() -> impl Strategy<Value = Level> {
    prop_oneof![6 => Just(Level::Good), 3 => Just(Level::Bad), 1 => Just(Level::Unknown)]
}

/// Levels in stretches, as they come in life.
fn any_levels() -> impl Strategy<Value = Vec<Level>> {
    let stretches = proptest::collection::vec((any_level(), 1..12usize), 30);
    stretches.prop_map(|stretches| {
        let all = stretches
            .into_iter()
            .flat_map(|(level, length)| std::iter::repeat_n(level, length));
        all.chain(std::iter::repeat(Level::Good)).take(100).collect()
    })
}

proptest! {
    #![proptest_config(build::cases(300))]

    #[test]
    fn levels_are_what_the_definition_says(saved in any_history(), probe in any_probe()) {
        saved.read(|history| {
            let last_us = history.ops.iter().map(|op| op.intended_us).max().unwrap_or(0);
            let bins = (last_us / BIN_US) as usize;
            let quick = Signal::collect(&probe.measure, probe.tolerance, history, bins).levels();
            prop_assert_eq!(quick, naive_levels(&probe, history, bins));
            Ok(())
        })?;
    }

    #[test]
    fn recovery_is_what_the_definition_says(one in any_levels(), other in any_levels(), heal in 10..60u64, offset in 0..BIN_US, within in 0..60u64, stable in 1..30u64) {
        let course = Course {
            levels: BTreeMap::from([("buy".to_owned(), one), ("queue".to_owned(), other)]),
            backlogs: vec!["queue".to_owned()],
            gate_us: 0,
            effect_us: 8 * BIN_US,
            heal_us: heal * BIN_US + offset,
            within_us: within * BIN_US,
            stable_us: stable * BIN_US,
            load_at_end: Ordering::Equal,
        };
        let (recovery, finding) = course.measure();
        let naive_ms = naive_recovery_ms(&course);
        let in_time = naive_ms.is_some_and(|ms| ms <= (course.within_us as f64) / 1e3);
        match finding.verdict {
            Judgement::Pass => prop_assert_eq!(recovery.recovery_time_ms, naive_ms),
            Judgement::Fail => {
                prop_assert!(!in_time, "{finding:?}");
                prop_assert_eq!(recovery.recovery_time_ms, naive_ms);
                prop_assert_eq!(recovery.censored, naive_ms.is_none());
            }
            Judgement::Inconclusive => {
                // Only what is unknown, or an end too soon, leaves a doubt.
                let after = course.levels.values().any(|levels| levels[heal as usize..].contains(&Level::Unknown));
                let ended = heal + within + stable > 100;
                prop_assert!(after || ended, "{finding:?}");
            }
        }
        if in_time && !recovery.degraded.is_empty() && naive_ms != Some(0.0) {
            prop_assert_eq!(finding.verdict, Judgement::Pass, "{:?}", finding);
        }
    }
}
