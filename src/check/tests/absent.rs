//! `absent` on histories written by hand.

use serde_json::json;

use super::build::{Saved, text};
use crate::check::{Breach, Checked, Evidence, Invariant};
use crate::verdict::Judgement;

fn no_unexplained() -> Invariant {
    serde_json::from_value(json!({"absent": {"read": "differences", "where": {"cause": "unexplained"}}})).unwrap()
}

fn check(saved: &Saved) -> Checked {
    saved.read(|history| no_unexplained().checker().check(&Evidence::gather(history)))
}

fn difference(saved: &mut Saved, element: &str, cause: &str) {
    saved.item("differences", element, &[("cause", text(cause))]);
}

#[test]
fn items_that_do_not_match_may_be_there() {
    let mut saved = Saved::default();
    difference(&mut saved, "b1/7", "in transit");
    difference(&mut saved, "b2/1", "refunded");
    let finding = check(saved.end("differences")).finding(None);
    assert_eq!((finding.verdict, finding.samples), (Judgement::Pass, 2), "{finding:?}");
    assert_eq!(finding.detail, "all as it must be; 2 items of `differences`");
}

#[test]
fn each_item_that_matches_is_named() {
    let mut saved = Saved::default();
    difference(&mut saved, "b1/7", "in transit");
    difference(&mut saved, "b2/1", "unexplained");
    difference(&mut saved, "b2/2", "unexplained");
    let checked = check(saved.end("differences"));
    assert_eq!(checked.breaches.get(&Breach::Forbidden), Some(&2));
    let finding = checked.finding(None);
    assert_eq!(finding.verdict, Judgement::Fail);
    assert_eq!(finding.detail, "2 there and must not be; 3 items of `differences`");
    assert_eq!(
        finding.evidence,
        ["`b2/1` is there, and must not be", "`b2/2` is there, and must not be"]
    );
}

#[test]
fn an_empty_read_passes_and_says_that_it_was_empty() {
    let finding = check(Saved::default().end("differences")).finding(None);
    assert_eq!((finding.verdict, finding.samples), (Judgement::Pass, 0));
    assert_eq!(finding.detail, "all as it must be; 0 items of `differences`");
}

#[test]
fn a_read_that_is_not_whole_is_a_doubt_whatever_it_holds() {
    let mut saved = Saved::default();
    difference(&mut saved, "b2/1", "unexplained");
    for saved in [
        Saved::default(),
        saved.clone(),
        saved.end_with("differences", 2, None).clone(),
    ] {
        let finding = check(&saved).finding(None);
        assert_eq!(finding.verdict, Judgement::Inconclusive, "{finding:?}");
    }
}

#[test]
fn a_field_that_no_item_has_is_a_doubt() {
    let mut saved = Saved::default();
    saved.item("differences", "b2/1", &[("reason", text("unexplained"))]);
    let finding = check(saved.end("differences")).finding(None);
    assert_eq!(finding.verdict, Judgement::Inconclusive);
    assert!(finding.detail.contains("has the field `cause`"), "{}", finding.detail);
}
