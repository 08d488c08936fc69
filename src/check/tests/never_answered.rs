//! `never-answered` on histories written by hand.

use serde_json::json;

use super::build::{Saved, op};
use crate::check::{Breach, Checked, Evidence, Invariant};
use crate::history::{Op, Outcome};
use crate::verdict::Judgement;

fn check(saved: &Saved) -> Checked {
    let invariant: Invariant =
        serde_json::from_value(json!({"never-answered": {"operations": ["buy", "look"]}})).unwrap();
    saved.read(|history| invariant.checker().check(&Evidence::gather(history)))
}

fn told(kind: &str, key: &str, outcome: Outcome) -> Op<'static> {
    Op {
        forbidden: Some("status 500 in attempt 1".into()),
        ..op(kind, key, 1_000, outcome)
    }
}

#[test]
fn operations_without_such_an_answer_pass_and_others_are_not_asked_about() {
    let mut saved = Saved::default();
    saved.op("buy", "a", Outcome::Ok).op("look", "b", Outcome::Info);
    saved.push(told("sign", "c", Outcome::Ok));
    let finding = check(&saved).finding(None);
    assert_eq!((finding.verdict, finding.samples), (Judgement::Pass, 2), "{finding:?}");
}

#[test]
fn each_customer_who_was_given_one_is_named_even_if_all_went_well_in_the_end() {
    let mut saved = Saved::default();
    saved.op("buy", "a", Outcome::Ok);
    saved
        .push(told("buy", "b", Outcome::Ok))
        .push(told("look", "c", Outcome::Info));
    let checked = check(&saved);
    assert_eq!(checked.breaches.get(&Breach::Answered), Some(&2));
    let finding = checked.finding(None);
    assert_eq!(finding.verdict, Judgement::Fail);
    assert_eq!(
        finding.evidence,
        ["`buy` b: status 500 in attempt 1", "`look` c: status 500 in attempt 1"]
    );
}

#[test]
fn where_nobody_came_there_is_doubt() {
    let finding = check(Saved::default().op("sign", "a", Outcome::Ok)).finding(None);
    assert_eq!(finding.verdict, Judgement::Inconclusive, "{finding:?}");
}
