//! What a sample says: quantiles, and how far a share can be trusted.

/// Significance of every claim made here, one-sided.
pub(super) const DOUBT: f64 = 0.05;

/// The quantile by nearest rank: the least value that `permille` thousandths of all do not exceed. Reorders `values`.
pub(super) fn quantile(values: &mut [f64], permille: u32) -> Option<f64> {
    let rank = rank(values.len(), permille)?;
    let (_, value, _) = values.select_nth_unstable_by(rank, f64::total_cmp);
    Some(*value)
}

/// The place of a quantile in ascending order, from 0.
pub(super) fn rank(count: usize, permille: u32) -> Option<usize> {
    let last = count.checked_sub(1)?;
    let rank = (count as u64 * u64::from(permille)).div_ceil(1_000);
    Some((rank.saturating_sub(1) as usize).min(last))
}

/// How likely at most `failures` of `count` are where each fails with probability `failing`.
pub(super) fn at_most(failures: u64, count: u64, failing: f64) -> f64 {
    if failures >= count || failing <= 0.0 {
        return 1.0;
    }
    if failing >= 1.0 {
        return 0.0;
    }
    // In logarithms: the first term underflows where thousands succeed.
    let (ln_failing, ln_good) = (failing.ln(), (-failing).ln_1p());
    let mut ln_term = count as f64 * ln_good;
    let mut sum = ln_term.exp();
    for failed in 1..=failures {
        ln_term += ((count - failed + 1) as f64).ln() - (failed as f64).ln() + ln_failing - ln_good;
        sum += ln_term.exp();
    }
    sum.min(1.0)
}

/// How many successes in a row it takes to claim that at most `failing` fail.
pub(super) fn successes_to_claim(failing: f64) -> Option<u64> {
    (failing > 0.0 && failing < 1.0).then(|| (DOUBT.ln() / (-failing).ln_1p()).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_of_the_sample() {
        let of = |permille| quantile(&mut [4.0, 1.0, 3.0, 2.0], permille);
        assert_eq!(of(500), Some(2.0));
        assert_eq!(of(501), Some(3.0));
        assert_eq!(of(750), Some(3.0));
        assert_eq!(of(990), Some(4.0));
        assert_eq!(of(1_000), Some(4.0));
        assert_eq!(of(0), Some(1.0));
        assert_eq!(quantile(&mut [], 500), None);
    }

    #[test]
    fn the_99th_percentile_of_a_hundred_is_the_99th() {
        let mut values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&mut values, 990), Some(99.0));
        assert_eq!(quantile(&mut values, 999), Some(100.0));
    }

    #[test]
    fn chances_are_those_of_the_binomial_distribution() {
        let close = |found: f64, known: f64| assert!((found - known).abs() < 1e-9, "{found} is not {known}");
        close(at_most(0, 3, 0.5), 0.125);
        close(at_most(1, 3, 0.5), 0.5);
        close(at_most(2, 3, 0.5), 0.875);
        close(at_most(3, 3, 0.5), 1.0);
        close(at_most(0, 10, 1.0), 0.0);
        close(at_most(0, 10, 0.0), 1.0);
        // Far beyond what 0.999^n can hold as a product of its own.
        assert!(at_most(900, 1_000_000, 0.001) < 0.05);
        assert!(at_most(1_000, 1_000_000, 0.001) > 0.45);
    }

    #[test]
    fn three_nines_take_three_thousand_successes() {
        assert_eq!(successes_to_claim(0.001), Some(2_995));
        assert_eq!(successes_to_claim(0.0), None);
        assert!(at_most(0, 2_995, 0.001) <= DOUBT && at_most(0, 2_994, 0.001) > DOUBT);
    }
}
