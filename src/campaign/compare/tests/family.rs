//! The correction for many comparisons.

use proptest::prelude::*;

use crate::campaign::compare::family::{ALPHA, Candidate, correct};

fn continuous(p: f64) -> Candidate {
    Candidate { p, p_least: Some(1e-9) }
}

fn rounded(corrected: &[Option<f64>]) -> Vec<Option<f64>> {
    corrected.iter().map(|p| p.map(|p| (p * 1e6).round() / 1e6)).collect()
}

#[test]
fn holms_correction() {
    // As R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") has it.
    let corrected = correct(&[0.01, 0.04, 0.03, 0.005].map(continuous));
    assert_eq!(rounded(&corrected), [Some(0.03), Some(0.06), Some(0.06), Some(0.02)]);
    assert_eq!(correct(&[]), []);
}

#[test]
fn what_cannot_become_significant_does_not_count() {
    let hopeless = Candidate {
        p: 1.0,
        p_least: Some(0.1),
    };
    let still = Candidate { p: 1.0, p_least: None };
    let corrected = correct(&[continuous(0.02), hopeless, still, continuous(0.04)]);
    assert_eq!(rounded(&corrected), [Some(0.04), None, None, Some(0.04)]);
}

#[test]
fn six_comparisons_of_five_runs_can_be_told_and_seven_cannot() {
    let apart = Candidate {
        p: 2.0 / 252.0,
        p_least: Some(2.0 / 252.0),
    };
    let six = correct(&[apart; 6]);
    assert!(six.iter().all(|p| p.is_some_and(|p| p < ALPHA)));
    assert_eq!(correct(&[apart; 7]), [None; 7]);
    // With ten runs of one of them that one can be told, whatever becomes of the others.
    let mut mixed = vec![apart; 7];
    mixed.push(continuous(1e-5));
    let corrected = correct(&mixed);
    assert_eq!(rounded(&corrected[7..]), [Some(1e-5)]);
    assert_eq!(corrected[..7], [None; 7]);
}

proptest! {
    #[test]
    fn no_correction_makes_anything_surer(ps in prop::collection::vec((0.0..1.0_f64, 0.0..0.2_f64), 0..40)) {
        let candidates: Vec<Candidate> = ps
            .iter()
            .map(|&(p, least)| Candidate { p: p.max(least), p_least: Some(least) })
            .collect();
        let corrected = correct(&candidates);
        let counted = corrected.iter().flatten().count() as f64;
        for (candidate, corrected) in candidates.iter().zip(corrected) {
            let Some(corrected) = corrected else { continue };
            prop_assert!(corrected >= candidate.p && corrected <= 1.0);
            prop_assert!(corrected <= (candidate.p * counted).min(1.0) + ALPHA || corrected <= 1.0);
            prop_assert!(candidate.p_least.unwrap() * counted < ALPHA, "each could become significant");
        }
    }
}
