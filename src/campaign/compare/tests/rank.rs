//! The rank test against published tables, against counting by hand, and by its properties.

use proptest::prelude::*;

use crate::campaign::compare::rank::{least_p, rank_test};

/// Two samples without ties, of sizes `n` and `m`, of which the first has this U.
fn with_u(u: usize, n: usize, m: usize) -> (Vec<f64>, Vec<f64>) {
    let second = (0..m).map(|index| 2.0 * index as f64 + 2.0).collect();
    let mut left = u;
    let mut first = Vec::new();
    for index in (0..n).rev() {
        let below = left.min(m);
        left -= below;
        first.push(2.0 * below as f64 + 1.0 + 0.001 * index as f64);
    }
    (first, second)
}

#[test]
fn the_distribution_is_that_of_mann_and_whitneys_table() {
    // Mann and Whitney (1947), table I: the probability of a U no greater than 0, 1, 2, ...
    let table: [(usize, usize, &[f64]); 4] = [
        (3, 3, &[0.050, 0.100, 0.200, 0.350, 0.500]),
        (4, 4, &[0.014, 0.029, 0.057, 0.100, 0.171, 0.243, 0.343, 0.443]),
        (5, 3, &[0.018, 0.036, 0.071, 0.125, 0.196, 0.286, 0.393]),
        (
            5,
            5,
            &[
                0.004, 0.008, 0.016, 0.028, 0.048, 0.075, 0.111, 0.155, 0.210, 0.274, 0.345, 0.421, 0.500,
            ],
        ),
    ];
    for (n, m, tail) in table {
        for (u, expected) in tail.iter().enumerate() {
            let (first, second) = with_u(u, n, m);
            let test = rank_test(&second, &first);
            assert_eq!(test.u, u as f64);
            assert!(
                (test.p / 2.0 - expected).abs() < 0.000_501,
                "n {n}, m {m}, U {u}: {}",
                test.p
            );
        }
    }
}

#[test]
fn critical_values_are_those_of_the_tables() {
    // The greatest U that is significant at 5 %, two-sided, as textbooks print it (for example Siegel, "Nonparametric
    // Statistics" (1956), table K).
    let table = [
        (4, 4, 0),
        (5, 5, 2),
        (5, 6, 3),
        (5, 8, 6),
        (5, 10, 8),
        (6, 6, 5),
        (7, 7, 8),
        (8, 8, 13),
        (9, 9, 17),
        (10, 10, 23),
        (10, 20, 55),
        (12, 12, 37),
        (15, 15, 64),
        (20, 20, 127),
    ];
    for (n, m, critical) in table {
        let p = |u| {
            let (first, second) = with_u(u, n, m);
            rank_test(&second, &first).p
        };
        assert!(p(critical) <= 0.05 && p(critical + 1) > 0.05, "{n} and {m}");
    }
}

#[test]
fn ties_share_their_ranks() {
    // Counted out: 22 of the 252 ways to part these ten values lie as far from the mean, or further.
    let test = rank_test(&[1.0, 1.0, 2.0, 3.0, 3.0], &[2.0, 3.0, 4.0, 4.0, 5.0]);
    assert!((test.p - 22.0 / 252.0).abs() < 1e-12, "{}", test.p);
    assert_eq!(test.u, 21.5);
}

#[test]
fn many_values_are_approximated() {
    // By scipy 1.x: mannwhitneyu(second, first, method='asymptotic', use_continuity=True).
    let first: Vec<f64> = (0..40).map(f64::from).collect();
    let second: Vec<f64> = first.iter().map(|value| value + 8.5).collect();
    let test = rank_test(&first, &second);
    assert_eq!(test.u, 1_104.0);
    assert!((test.p - 0.003_495_485_890).abs() < 1e-6, "{}", test.p);
    let tied: Vec<f64> = first.iter().map(|value| (value / 4.0).floor()).collect();
    let second: Vec<f64> = tied.iter().map(|value| value + 2.0).collect();
    let test = rank_test(&tied, &second);
    assert_eq!(test.u, 1_088.0);
    assert!((test.p - 0.005_468_015_007).abs() < 1e-6, "{}", test.p);
}

#[test]
fn counting_and_approximating_agree_where_one_hands_over_to_the_other() {
    let p = |runs: u32| {
        let first: Vec<f64> = (0..runs).map(f64::from).collect();
        let second: Vec<f64> = first.iter().map(|value| value + 0.2 * f64::from(runs) + 0.5).collect();
        rank_test(&first, &second).p
    };
    let (counted, approximated) = (p(30), p(31));
    assert!(counted > 0.005 && counted < 0.05);
    assert!(
        (counted / approximated - 1.0).abs() < 0.15,
        "{counted} and {approximated}"
    );
}

#[test]
fn the_least_p_value_is_that_of_samples_apart() {
    for (n, m) in [(5, 5), (5, 10), (8, 8), (1, 5)] {
        let first: Vec<f64> = (0..n).map(f64::from).collect();
        let second: Vec<f64> = (0..m).map(|index| 100.0 + f64::from(index)).collect();
        let test = rank_test(&first, &second);
        assert!((test.p - least_p(n as usize, m as usize)).abs() < 1e-12);
        assert_eq!(test.p, test.p_least);
    }
    assert_eq!(least_p(5, 5), 2.0 / 252.0);
}

#[test]
fn what_is_infinite_is_the_greatest_and_a_tie() {
    let inf = f64::INFINITY;
    let test = rank_test(&[1.0, 2.0, 3.0, 4.0, 5.0], &[inf; 5]);
    assert!((test.p - 2.0 / 252.0).abs() < 1e-12);
    assert_eq!(rank_test(&[inf; 5], &[inf; 5]).p, 1.0);
}

/// The same by trying every way to part the values.
fn naive(first: &[f64], second: &[f64]) -> f64 {
    let all: Vec<f64> = first.iter().chain(second).copied().collect();
    // Twice the U, which is whole: pairs won count two, ties one.
    let doubled_u = |chosen: u32| -> i64 {
        let is_chosen = |index: usize| chosen >> index & 1 == 1;
        let pairs = (0..all.len()).flat_map(|a| (0..all.len()).map(move |b| (a, b)));
        let across = pairs.filter(|&(a, b)| is_chosen(a) && !is_chosen(b));
        across
            .map(|(a, b)| match all[a].partial_cmp(&all[b]) {
                Some(std::cmp::Ordering::Greater) => 2,
                Some(std::cmp::Ordering::Equal) => 1,
                _ => 0,
            })
            .sum()
    };
    let mean = (first.len() * second.len()) as i64;
    let seen = (0..second.len()).fold(0, |chosen, index| chosen | 1 << (first.len() + index));
    let distance = (doubled_u(seen) - mean).abs();
    let ways = (0..1_u32 << all.len()).filter(|way| way.count_ones() as usize == second.len());
    let (mut far, mut total) = (0, 0);
    for way in ways {
        total += 1;
        far += i32::from((doubled_u(way) - mean).abs() >= distance);
    }
    f64::from(far) / f64::from(total)
}

fn samples() -> impl Strategy<Value = (Vec<f64>, Vec<f64>)> {
    let values = |range| prop::collection::vec((0..6_i32).prop_map(f64::from), range);
    (values(1..=5), values(1..=5))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn it_counts_as_trying_every_way_does((first, second) in samples()) {
        let p = rank_test(&first, &second).p;
        prop_assert!((p - naive(&first, &second)).abs() < 1e-9, "{p}");
    }

    #[test]
    fn either_side_may_come_first((first, second) in samples()) {
        let (one, other) = (rank_test(&first, &second), rank_test(&second, &first));
        prop_assert!((one.p - other.p).abs() < 1e-12);
        prop_assert!((one.p_least - other.p_least).abs() < 1e-12);
        prop_assert_eq!(one.u + other.u, (first.len() * second.len()) as f64);
    }

    #[test]
    fn only_the_order_of_values_matters((first, second) in samples()) {
        let stretched = |values: &[f64]| values.iter().map(|value| value.exp() - 3.0).collect::<Vec<_>>();
        prop_assert_eq!(rank_test(&first, &second), rank_test(&stretched(&first), &stretched(&second)));
    }

    #[test]
    fn no_p_value_is_below_the_least((first, second) in samples()) {
        let test = rank_test(&first, &second);
        prop_assert!(test.p >= test.p_least - 1e-12 && test.p <= 1.0 && test.p_least > 0.0);
        prop_assert!(test.p_least >= least_p(first.len(), second.len()) / 2.0 - 1e-12);
    }

    #[test]
    fn a_sample_does_not_differ_from_itself((first, _) in samples()) {
        prop_assert_eq!(rank_test(&first, &first).p, 1.0);
    }
}
