//! `copied` on histories written by hand.

use serde_json::json;

use super::build::{Saved, text};
use crate::check::{Breach, Checked, Evidence, Invariant};
use crate::verdict::Judgement;

fn moved(nothing_else: bool) -> Invariant {
    let copied = json!({"copied": {"from": "old", "to": "new", "equal": ["checksum"], "nothing-else": nothing_else}});
    serde_json::from_value(copied).unwrap()
}

fn check(saved: &Saved, nothing_else: bool) -> Checked {
    saved.read(|history| moved(nothing_else).checker().check(&Evidence::gather(history)))
}

fn row(saved: &mut Saved, read: &str, element: &str, checksum: &str) {
    saved.item(read, element, &[("checksum", text(checksum))]);
}

/// Two rows that were copied, and a newer one.
fn good() -> Saved {
    let mut saved = Saved::default();
    row(&mut saved, "old", "orders/a", "1f");
    row(&mut saved, "old", "orders/b", "2e");
    row(&mut saved, "new", "orders/b", "2e");
    row(&mut saved, "new", "orders/a", "1f");
    row(&mut saved, "new", "orders/c", "3d");
    saved
}

fn ended(mut saved: Saved) -> Saved {
    saved.end("old").end("new");
    saved
}

#[test]
fn what_was_copied_is_there_and_what_is_newer_may_be() {
    let finding = check(&ended(good()), false).finding(None);
    assert_eq!((finding.verdict, finding.samples), (Judgement::Pass, 5), "{finding:?}");
    assert_eq!(finding.detail, "all as it must be; 2 items of `old`, 3 of `new`");
}

#[test]
fn where_there_may_be_nothing_else_what_is_newer_is_named() {
    let finding = check(&ended(good()), true).finding(None);
    assert_eq!(finding.verdict, Judgement::Fail);
    assert_eq!(finding.evidence, ["`orders/c` is in `new` and not in `old`"]);
}

#[test]
fn each_row_that_is_missing_changed_or_there_twice_is_named() {
    let mut saved = good();
    row(&mut saved, "old", "orders/gone", "4c");
    row(&mut saved, "old", "orders/changed", "5b");
    row(&mut saved, "new", "orders/changed", "6a");
    row(&mut saved, "new", "orders/a", "1f");
    let checked = check(&ended(saved), false);
    for breach in [Breach::NotCopied, Breach::CopyDiffers, Breach::Duplicated] {
        assert_eq!(checked.breaches.get(&breach), Some(&1), "{breach:?}");
    }
    let finding = checked.finding(None);
    assert_eq!(finding.verdict, Judgement::Fail);
    assert_eq!(
        finding.detail,
        "1 duplicated, 1 not copied, 1 not the same on both sides; 4 items of `old`, 5 of `new`"
    );
    let mut evidence = finding.evidence;
    evidence.sort();
    assert_eq!(
        evidence,
        [
            "`orders/a` is in `new` more than once",
            "`orders/changed` has checksum `6a` in `new`, and `5b` in `old`",
            "`orders/gone` is in `old` and not in `new`",
        ]
    );
}

#[test]
fn where_nothing_was_there_to_copy_nothing_is_missing() {
    let mut saved = Saved::default();
    row(&mut saved, "new", "orders/c", "3d");
    let finding = check(&ended(saved), false).finding(None);
    assert_eq!((finding.verdict, finding.samples), (Judgement::Pass, 1), "{finding:?}");
}

#[test]
fn without_both_sides_or_without_what_is_compared_nothing_is_said() {
    let mut half = good();
    half.end("old");
    let mut lacks = good();
    lacks.item("old", "orders/d", &[]);
    row(&mut lacks, "new", "orders/d", "4c");
    for saved in [half, ended(lacks)] {
        let finding = check(&saved, false).finding(None);
        assert_eq!(finding.verdict, Judgement::Inconclusive, "{finding:?}");
    }
}

#[test]
fn a_list_is_not_compared_with_itself() {
    let itself: Invariant = serde_json::from_value(json!({"copied": {"from": "old", "to": "old"}})).unwrap();
    assert_eq!(itself.checker().mistakes().len(), 1);
    assert!(moved(false).checker().mistakes().is_empty());
}
