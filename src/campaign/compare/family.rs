//! Many comparisons at once: of a hundred that chance alone decides, five would be called significant at 5 %.
//!
//! The correction is Holm's ("A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6
//! (1979), 65-70): with it, the probability that *any* comparison is called significant by chance stays below 5 %, however
//! the metrics depend on one another.
//!
//! A comparison that could not have become significant whatever the order of its values is no source of false alarms, and
//! none such is counted: Tarone, "A modified Bonferroni method for discrete data", Biometrics 46 (1990), 515-522. That one
//! can be told from the values alone, without knowing which run they came from. So a metric whose values are all alike, or
//! lie within the minimum effect, costs the others nothing, and neither does one with too few runs.

/// The probability below which a difference is no chance.
pub const ALPHA: f64 = 0.05;

/// A comparison, as far as the correction goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Its p-value.
    pub p: f64,
    /// The least that its values could have had; absent if no order of them could have shown the minimum effect.
    pub p_least: Option<f64>,
}

/// The p-value of each comparison, corrected for all of them; absent for those that are not counted, since they cannot
/// become significant among so many.
pub fn correct(candidates: &[Candidate]) -> Vec<Option<f64>> {
    let counted = counted(candidates);
    let mut order: Vec<usize> = (0..candidates.len()).filter(|&index| counted[index]).collect();
    order.sort_by(|&a, &b| candidates[a].p.total_cmp(&candidates[b].p));
    let mut corrected = vec![None; candidates.len()];
    let mut greatest: f64 = 0.0;
    for (position, &index) in order.iter().enumerate() {
        let left = (order.len() - position) as f64;
        greatest = greatest.max((candidates[index].p * left).min(1.0));
        corrected[index] = Some(greatest);
    }
    corrected
}

/// Which comparisons are counted: those that could become significant at `ALPHA / k`, for the least `k` that is no less than
/// their number.
fn counted(candidates: &[Candidate]) -> Vec<bool> {
    let could = |k: usize| {
        let bound = ALPHA / k as f64;
        move |candidate: &Candidate| candidate.p_least.is_some_and(|least| least < bound)
    };
    let least = (1..=candidates.len()).find(|&k| candidates.iter().filter(|one| could(k)(one)).count() <= k);
    let could = could(least.unwrap_or(1));
    candidates.iter().map(could).collect()
}
