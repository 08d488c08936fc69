//! `limit` on histories written by hand.

use serde_json::json;

use super::build::{Saved, int, text};
use crate::check::{Breach, Checked, Evidence, Invariant};
use crate::verdict::Judgement;

fn cash() -> Invariant {
    let limit = json!({"limit": {
        "read": "journals", "where": {"kind": ["cash", "voucher"]}, "per": ["branch", "person"], "sum": "amount", "at-most": 30,
    }});
    serde_json::from_value(limit).unwrap()
}

fn check(saved: &Saved) -> Checked {
    saved.read(|history| cash().checker().check(&Evidence::gather(history)))
}

fn paid(saved: &mut Saved, kind: &str, branch: &str, person: &str, amount: i64) {
    let key = format!("{branch}-{person}-{amount}-{kind}");
    let fields = [
        ("kind", text(kind)),
        ("branch", text(branch)),
        ("person", text(person)),
        ("amount", int(amount)),
    ];
    saved.item("journals", &key, &fields);
}

#[test]
fn each_group_has_the_limit_to_itself_and_what_does_not_count_is_left_out() {
    let mut saved = Saved::default();
    paid(&mut saved, "cash", "one", "ada", 20);
    paid(&mut saved, "voucher", "one", "ada", 10);
    paid(&mut saved, "cash", "two", "ada", 30);
    paid(&mut saved, "cash", "one", "bob", 30);
    paid(&mut saved, "stamps", "one", "ada", 99);
    let finding = check(saved.end("journals")).finding(None);
    assert_eq!((finding.verdict, finding.samples), (Judgement::Pass, 4), "{finding:?}");
    assert_eq!(finding.detail, "all as it must be; 4 items in 3 groups of `journals`");
}

#[test]
fn a_group_above_the_limit_is_named() {
    let mut saved = Saved::default();
    paid(&mut saved, "cash", "one", "ada", 20);
    paid(&mut saved, "voucher", "one", "ada", 11);
    paid(&mut saved, "cash", "two", "ada", 30);
    let checked = check(saved.end("journals"));
    assert_eq!(checked.breaches.get(&Breach::AboveLimit), Some(&1));
    assert_eq!(
        checked.finding(None).evidence,
        ["amount of branch `one`, person `ada` is 31, at most 30 is allowed"]
    );
}

#[test]
fn without_whole_evidence_nothing_is_said() {
    let mut lacks = Saved::default();
    lacks.item(
        "journals",
        "k",
        &[("kind", text("cash")), ("branch", text("one")), ("amount", int(1))],
    );
    let mut unfinished = Saved::default();
    paid(&mut unfinished, "cash", "one", "ada", 99);
    for saved in [lacks.end("journals"), &unfinished] {
        let finding = check(saved).finding(None);
        assert_eq!(finding.verdict, Judgement::Inconclusive, "{finding:?}");
    }
}

#[test]
fn where_nothing_counts_nothing_is_above_the_limit() {
    let mut nothing = Saved::default();
    paid(&mut nothing, "stamps", "one", "ada", 99);
    let finding = check(nothing.end("journals")).finding(None);
    assert_eq!(finding.verdict, Judgement::Pass);
    assert_eq!(finding.detail, "all as it must be; 0 items in 0 groups of `journals`");
}
