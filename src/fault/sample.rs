//! How many datagrams a share takes to be seen, and whether what was seen fits it.

/// A fault that bites goes unseen by chance, or seems not to fit its share by chance, less often than this.
const CHANCE: f64 = 1e-6;
/// As many datagrams at least, so that the measured share means something to a reader.
const AT_LEAST: u32 = 200;

/// Datagrams after which a loss of that share has hit at least one, and spared at least one, but for [`CHANCE`].
pub(super) fn datagrams_for(percent: f64) -> u32 {
    let share = percent / 100.0;
    let until_seen = |missed: f64| (CHANCE.ln() / missed.ln()).floor() as u32 + 1;
    until_seen(1.0 - share).max(until_seen(share)).max(AT_LEAST)
}

/// Whether `lost` of `sent` fits the share: neither so few nor so many come about by chance, and the sample was large
/// enough that none and all would not have.
pub(super) fn fits(lost: u32, sent: u32, percent: f64) -> bool {
    fits_between(lost, sent, percent, percent)
}

/// Likewise, where the share is known to lie between two bounds.
pub(super) fn fits_between(hit: u32, of: u32, least_percent: f64, most_percent: f64) -> bool {
    let tail = |percent: f64, from: u32, to: u32| {
        (from..=to)
            .map(|count| ln_probability(count, of, percent / 100.0).exp())
            .sum::<f64>()
    };
    hit <= of
        && tail(least_percent, 0, 0) < CHANCE
        && tail(most_percent, of, of) < CHANCE
        && tail(least_percent, 0, hit) >= CHANCE
        && tail(most_percent, hit, of) >= CHANCE
}

/// The binomial distribution, as a logarithm.
fn ln_probability(count: u32, of: u32, share: f64) -> f64 {
    let count_f = f64::from(count);
    let rest_f = f64::from(of - count);
    ln_factorial(of) - ln_factorial(count) - ln_factorial(of - count)
        + count_f * share.ln()
        + rest_f * (1.0 - share).ln()
}

/// Stirling's series, exact to 1e-9 from 16 on; below that, the sum itself.
fn ln_factorial(n: u32) -> f64 {
    if n < 16 {
        return (2..=n).map(|factor| f64::from(factor).ln()).sum();
    }
    let x = f64::from(n);
    x * x.ln() - x + 0.5 * (std::f64::consts::TAU * x).ln() + 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_great_shares_take_many_datagrams() {
        assert_eq!(datagrams_for(50.0), AT_LEAST);
        assert_eq!(datagrams_for(1.0), 1_375);
        assert_eq!(datagrams_for(99.0), 1_375);
        assert_eq!(datagrams_for(0.1), 13_809);
    }

    #[test]
    fn what_comes_about_by_chance_fits_and_the_rest_does_not() {
        assert!(fits(60, 200, 30.0));
        assert!(fits(40, 200, 30.0));
        assert!(!fits(20, 200, 30.0));
        assert!(!fits(110, 200, 30.0));
    }

    #[test]
    fn nothing_lost_and_nothing_left_never_fit() {
        for percent in [0.1, 1.0, 30.0, 50.0, 99.0, 99.9] {
            let sent = datagrams_for(percent);
            assert!(!fits(0, sent, percent), "{percent} %");
            assert!(!fits(sent, sent, percent), "{percent} %");
            assert!(
                fits((f64::from(sent) * percent / 100.0).round() as u32, sent, percent),
                "{percent} %"
            );
        }
    }

    #[test]
    fn too_small_a_sample_never_fits() {
        assert!(!fits(3, 10, 30.0));
        assert!(!fits(0, 0, 30.0));
    }

    #[test]
    fn a_share_between_bounds_may_be_anywhere_between_them() {
        for hit in [60, 80, 100] {
            assert!(fits_between(hit, 200, 30.0, 50.0), "{hit}");
        }
        assert!(!fits_between(20, 200, 30.0, 50.0));
        assert!(!fits_between(150, 200, 30.0, 50.0));
    }

    #[test]
    fn the_distribution_adds_up() {
        let sum: f64 = (0..=200).map(|count| ln_probability(count, 200, 0.3).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    }
}
