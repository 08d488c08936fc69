//! The rank test: whether two samples differ by more than chance would have it.
//!
//! Mann and Whitney, "On a test of whether one of two random variables is stochastically larger than the other", Annals of
//! Mathematical Statistics 18 (1947), 50-60, in the form of Wilcoxon's rank sum. The p-value is exact: every way to part the
//! values that are there into two groups of these sizes is equally likely if both samples come from one distribution. Equal
//! values share the mean of their ranks, and the distribution is that of the shared ranks (Lehmann, "Nonparametrics:
//! Statistical Methods Based on Ranks" (1975), section 1.4), so ties need no correction. Two-sided: all sums count that lie
//! as far from their mean as the one seen, or further; without ties that is twice the smaller tail. Beyond [`EXACT_MAX`]
//! values the normal approximation stands in, corrected for ties and continuity (the same, formula 1.35).

/// Up to so many values in both samples together the distribution is counted out.
const EXACT_MAX: usize = 60;

/// What the test says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankTest {
    /// Mann and Whitney's U of the second sample: in how many pairs its value is the larger one, ties counted half.
    pub u: f64,
    /// Two-sided p-value.
    pub p: f64,
    /// The least p-value that any way to part these values could have had.
    pub p_least: f64,
}

/// Tests whether `second` tends to other values than `first`. Infinite values are larger than all others and equal among
/// themselves.
///
/// # Panics
///
/// If a sample is empty or holds what is no number.
pub fn rank_test(first: &[f64], second: &[f64]) -> RankTest {
    assert!(!first.is_empty() && !second.is_empty(), "a sample is empty");
    let ranks = Ranks::of(first, second);
    let (n, m) = (second.len() as f64, first.len() as f64);
    // Of two samples the sum of one lies as far from its mean as that of the other: the smaller is sooner counted.
    let smaller = first.len().min(second.len());
    let distribution = match ranks.doubled.len() <= EXACT_MAX {
        true => Distribution::counted(&ranks, smaller),
        false => Distribution::normal(&ranks, smaller),
    };
    let sum: u64 = ranks.doubled[first.len()..].iter().sum();
    let mut sorted = ranks.doubled.clone();
    sorted.sort_unstable();
    let lowest: u64 = sorted[..second.len()].iter().sum();
    let highest: u64 = sorted[first.len()..].iter().sum();
    let mean = (n * (n + m + 1.0)) as u64;
    let furthest = mean.abs_diff(lowest).max(mean.abs_diff(highest));
    RankTest {
        u: sum as f64 / 2.0 - n * (n + 1.0) / 2.0,
        p: distribution.two_sided(mean.abs_diff(sum)),
        p_least: distribution.two_sided(furthest),
    }
}

/// The least p-value of samples of these sizes without ties: two of all ways to part them.
pub fn least_p(first: usize, second: usize) -> f64 {
    (2.0 / ways(first + second, second)).min(1.0)
}

/// In how many ways so many can be chosen.
fn ways(of: usize, chosen: usize) -> f64 {
    (1..=chosen.min(of - chosen)).fold(1.0, |ways, i| ways * (of + 1 - i) as f64 / i as f64)
}

/// Mid-ranks, doubled so that they are whole: of the first sample, then of the second.
struct Ranks {
    doubled: Vec<u64>,
    /// How often each value is there.
    ties: Vec<u64>,
}

impl Ranks {
    fn of(first: &[f64], second: &[f64]) -> Self {
        let values: Vec<f64> = first.iter().chain(second).copied().collect();
        let mut order: Vec<usize> = (0..values.len()).collect();
        let compare = |a: f64, b: f64| a.partial_cmp(&b).expect("every value is a number");
        order.sort_by(|&a, &b| compare(values[a], values[b]));
        let mut ranks = Self {
            doubled: vec![0; values.len()],
            ties: Vec::new(),
        };
        let mut below = 0;
        for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
            let of_each = 2 * below + equal.len() as u64 + 1;
            for &index in equal {
                ranks.doubled[index] = of_each;
            }
            ranks.ties.push(equal.len() as u64);
            below += equal.len() as u64;
        }
        ranks
    }
}

/// How the doubled rank sum of a sample is distributed if nothing but chance parts the values.
enum Distribution {
    /// In how many ways each distance from the mean comes about, and in how many ways there are any.
    Counted { ways: Vec<f64>, all: f64 },
    /// By its standard deviation.
    Normal { deviation: f64 },
}

impl Distribution {
    fn counted(ranks: &Ranks, size: usize) -> Self {
        let total: u64 = ranks.doubled.iter().sum();
        // by_sum[k][s]: ways to choose k of the ranks seen so far with the sum s.
        let mut by_sum = vec![vec![0.0_f64; total as usize + 1]; size + 1];
        by_sum[0][0] = 1.0;
        for (seen, &rank) in ranks.doubled.iter().enumerate() {
            for chosen in (0..size.min(seen + 1)).rev() {
                let (fewer, more) = by_sum.split_at_mut(chosen + 1);
                let (from, to) = (&fewer[chosen], &mut more[0]);
                for (ways, &added) in to[rank as usize..].iter_mut().zip(from) {
                    *ways += added;
                }
            }
        }
        let sums = &by_sum[size];
        let mean = (size * (ranks.doubled.len() + 1)) as u64;
        let mut ways = vec![0.0; total as usize + 1];
        for (sum, &number) in sums.iter().enumerate() {
            ways[mean.abs_diff(sum as u64) as usize] += number;
        }
        Self::Counted {
            all: sums.iter().sum(),
            ways,
        }
    }

    fn normal(ranks: &Ranks, size: usize) -> Self {
        let of = ranks.doubled.len() as f64;
        let (n, m) = (size as f64, of - size as f64);
        let ties: f64 = ranks.ties.iter().map(|&tied| (tied.pow(3) - tied) as f64).sum();
        let variance = n * m / 12.0 * (of + 1.0 - ties / (of * (of - 1.0)));
        Self::Normal {
            // Of the doubled sum.
            deviation: 2.0 * variance.sqrt(),
        }
    }

    /// The probability of a sum that lies so far from the mean, or further.
    fn two_sided(&self, distance: u64) -> f64 {
        let p = match self {
            Self::Counted { ways, all } => ways[distance as usize..].iter().sum::<f64>() / all,
            // A sum of mid-ranks has steps of a half, of whole ranks of one: the usual correction is half of the latter.
            Self::Normal { deviation } if *deviation > 0.0 => {
                2.0 * normal_tail((distance as f64 - 1.0).max(0.0) / deviation)
            }
            Self::Normal { .. } => 1.0,
        };
        p.min(1.0)
    }
}

/// The upper tail of the standard normal distribution: Abramowitz and Stegun, "Handbook of Mathematical Functions" (1964),
/// formula 26.2.17, whose error is below 7.5e-8.
fn normal_tail(z: f64) -> f64 {
    const FACTORS: [f64; 5] = [
        0.319_381_530,
        -0.356_563_782,
        1.781_477_937,
        -1.821_255_978,
        1.330_274_429,
    ];
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let sum = FACTORS.iter().rev().fold(0.0, |sum, factor| (sum + factor) * t);
    let density = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    (density * sum).max(0.0)
}
