//! A good and a bad history for each checker, written by hand.

use super::build::{Saved, int, text};
use crate::check::{Checked, Evidence, Invariant};
use crate::history::Outcome::{Fail, Info, Ok};
use crate::verdict::{Finding, Judgement};

fn invariant(yaml_as_json: serde_json::Value) -> Invariant {
    serde_json::from_value(yaml_as_json).unwrap()
}

fn check(invariant: &Invariant, saved: &Saved) -> Checked {
    saved.read(|history| invariant.checker().check(&Evidence::gather(history)))
}

fn judge(invariant: &Invariant, saved: &Saved) -> Finding {
    check(invariant, saved).finding(None)
}

fn kept_orders() -> Invariant {
    invariant(serde_json::json!({"durable-set": {
        "operations": ["buy"], "read": "orders", "where": {"state": "paid"}, "equal": ["amount"],
    }}))
}

/// Two acknowledged, two indeterminate of which one happened, one refused; an order in another state does not count.
fn good_orders() -> Saved {
    let mut saved = Saved::default();
    saved
        .paid("buy", "a", Ok, 5)
        .paid("buy", "b", Ok, 7)
        .paid("buy", "c", Info, 9)
        .paid("buy", "d", Info, 11);
    saved.paid("buy", "e", Fail, 13).op("look", "f", Ok);
    saved
}

fn order(saved: &mut Saved, key: &str, amount: i64) {
    saved.item("orders", key, &[("state", text("paid")), ("amount", int(amount))]);
}

#[test]
fn a_durable_set_that_keeps_its_elements_passes() {
    let mut saved = good_orders();
    order(&mut saved, "c", 9);
    order(&mut saved, "b", 7);
    order(&mut saved, "a", 5);
    saved.item("orders", "e", &[("state", text("declined")), ("amount", int(13))]);
    saved.end("orders");
    let finding = judge(&kept_orders(), &saved);
    assert_eq!(finding.verdict, Judgement::Pass, "{finding:?}");
    assert_eq!(finding.detail, "all as it must be; 2 acknowledged of 5 buy, 3 items");
    assert_eq!(finding.samples, 8);
}

#[test]
fn a_durable_set_names_every_wrong() {
    let mut saved = good_orders();
    order(&mut saved, "a", 6); // another amount
    order(&mut saved, "c", 9);
    order(&mut saved, "c", 9); // twice
    order(&mut saved, "e", 13); // refused
    order(&mut saved, "x", 1); // nobody's
    saved.end("orders"); // and b is lost
    let finding = judge(&kept_orders(), &saved);
    assert_eq!(finding.verdict, Judgement::Fail);
    let expected = "1 lost, 1 duplicated, 1 there though refused, 1 never attempted, 1 not as asked for; \
         2 acknowledged of 5 buy, 5 items";
    assert_eq!(finding.detail, expected);
    let evidence = [
        "buy `b` of 0.001 s was acknowledged and is lost",
        "`a` has amount 6, but 5 was asked for",
        "`c` is there more than once",
        "`e` is there, but it was refused",
        "`x` is there, but nobody attempted it",
    ];
    assert_eq!(finding.evidence, evidence);
}

#[test]
fn without_a_complete_final_read_nothing_is_said() {
    let mut saved = good_orders();
    order(&mut saved, "x", 1);
    let unfinished = judge(&kept_orders(), &saved);
    assert_eq!(unfinished.verdict, Judgement::Inconclusive);
    assert!(
        unfinished.detail.contains("`orders` is not complete: it has no end"),
        "{}",
        unfinished.detail
    );
    saved.end_with("orders", 1, Some("status 503"));
    assert!(judge(&kept_orders(), &saved).detail.contains("status 503"));
    let never = judge(&kept_orders(), &good_orders());
    assert_eq!(never.verdict, Judgement::Inconclusive);
    assert!(never.detail.contains("was not made"), "{}", never.detail);
}

#[test]
fn where_nothing_was_acknowledged_nothing_was_tested() {
    let mut saved = Saved::default();
    saved.paid("buy", "a", Info, 5).end("orders");
    let finding = judge(&kept_orders(), &saved);
    assert_eq!(finding.verdict, Judgement::Inconclusive);
    // But what must never be there is a violation all the same.
    order(&mut saved, "x", 1);
    let mut saved = Saved::default();
    saved.paid("buy", "a", Info, 5);
    order(&mut saved, "x", 1);
    saved.end("orders");
    assert_eq!(judge(&kept_orders(), &saved).verdict, Judgement::Fail);
}

#[test]
fn a_comparison_that_cannot_be_made_is_a_doubt() {
    let mut saved = Saved::default();
    saved
        .paid("buy", "a", Ok, 5)
        .item("orders", "a", &[("state", text("paid"))])
        .end("orders");
    let finding = judge(&kept_orders(), &saved);
    assert_eq!(finding.verdict, Judgement::Inconclusive);
    assert!(
        finding.detail.contains("the item has no recorded `amount`"),
        "{}",
        finding.detail
    );
    let mut saved = Saved::default();
    saved
        .paid("buy", "a", Ok, 5)
        .item("orders", "a", &[("amount", int(5))])
        .end("orders");
    let unknown_field = check(&kept_orders(), &saved);
    assert!(unknown_field.doubts > 0);
}

#[test]
fn retries_under_one_key_are_one_operation() {
    let mut saved = Saved::default();
    saved
        .paid("buy", "a", Info, 5)
        .paid("buy", "a", Fail, 5)
        .paid("buy", "b", Fail, 5)
        .paid("buy", "b", Ok, 5);
    order(&mut saved, "a", 5);
    order(&mut saved, "b", 5);
    saved.end("orders");
    assert_eq!(judge(&kept_orders(), &saved).verdict, Judgement::Pass);
    let mut saved = Saved::default();
    saved
        .paid("buy", "a", Info, 5)
        .paid("buy", "b", Fail, 5)
        .paid("buy", "b", Ok, 5)
        .end("orders");
    let lost = check(&kept_orders(), &saved).lost;
    assert_eq!(
        lost.len(),
        1,
        "the time-out with a refused retry may be absent, the acknowledged retry may not"
    );
}

#[test]
fn evidence_is_cut_and_the_count_is_whole() {
    let mut saved = Saved::default();
    for number in 0..50 {
        saved.paid("buy", &number.to_string(), Ok, 5);
    }
    saved.end("orders");
    let finding = judge(&kept_orders(), &saved);
    assert_eq!(finding.evidence.len(), Finding::EVIDENCE_MAX);
    assert!(finding.detail.starts_with("50 lost;"), "{}", finding.detail);
}

#[test]
fn what_the_cut_off_end_may_have_held_is_a_doubt() {
    let mut saved = good_orders();
    order(&mut saved, "a", 5);
    order(&mut saved, "b", 7);
    order(&mut saved, "x", 1);
    saved.end("orders");
    let cut = saved.text() + r#"{"op":{"kind":"buy","ke"#;
    let history = crate::history::load::History::parse(&cut).unwrap();
    let finding = kept_orders().checker().check(&Evidence::gather(&history)).finding(None);
    assert_eq!(finding.verdict, Judgement::Inconclusive, "{finding:?}");
    assert_eq!(judge(&kept_orders(), &saved).verdict, Judgement::Fail);
}

fn one_label() -> Invariant {
    invariant(serde_json::json!({"exactly-once": {"causes": {"operations": ["buy"]}, "effects": "labels"}}))
}

#[test]
fn exactly_one_effect_passes() {
    let mut saved = good_orders();
    saved
        .item("labels", "a", &[])
        .item("labels", "b", &[])
        .item("labels", "d", &[])
        .end("labels");
    let finding = judge(&one_label(), &saved);
    assert_eq!(finding.verdict, Judgement::Pass, "{finding:?}");
}

#[test]
fn effects_that_are_missing_doubled_or_nobodys_are_named() {
    let mut saved = good_orders();
    saved
        .item("labels", "a", &[])
        .item("labels", "a", &[])
        .item("labels", "a", &[]); // three: one cause, one breach
    saved.item("labels", "c", &[]).item("labels", "c", &[]); // indeterminate: one at most
    saved.item("labels", "e", &[]).item("labels", "x", &[]).end("labels"); // and b has none
    let checked = check(&one_label(), &saved);
    let finding = checked.finding(None);
    assert_eq!(finding.verdict, Judgement::Fail);
    assert!(
        finding
            .detail
            .starts_with("1 lost, 2 duplicated, 1 there though refused, 1 never attempted;"),
        "{}",
        finding.detail
    );
    assert_eq!(checked.lost[0].key, "b");
}

#[test]
fn at_most_once_asks_for_no_effect() {
    let at_most = invariant(serde_json::json!({"exactly-once": {
        "causes": {"operations": ["buy"]}, "effects": "labels", "required": false,
    }}));
    let mut saved = good_orders();
    saved.item("labels", "a", &[]).end("labels");
    assert_eq!(judge(&at_most, &saved).verdict, Judgement::Pass);
    saved = good_orders();
    saved.item("labels", "a", &[]).item("labels", "a", &[]).end("labels");
    assert_eq!(judge(&at_most, &saved).verdict, Judgement::Fail);
}

#[test]
fn a_refused_cause_may_have_one_effect_where_it_is_said_so_and_never_two() {
    let refunded = invariant(serde_json::json!({"exactly-once": {
        "causes": {"operations": ["buy"]}, "effects": "payments", "refused-may-have-effect": true, "required": false,
    }}));
    let mut saved = good_orders();
    saved.item("payments", "e", &[]).end("payments");
    assert_eq!(judge(&refunded, &saved).verdict, Judgement::Pass);
    saved = good_orders();
    saved
        .item("payments", "e", &[])
        .item("payments", "e", &[])
        .end("payments");
    assert_eq!(judge(&refunded, &saved).verdict, Judgement::Fail);
}

#[test]
fn causes_that_no_customer_sends_are_mandate_and_period() {
    let debits = invariant(serde_json::json!({"exactly-once": {"causes": {"read": "mandates"}, "effects": "debits"}}));
    let mut saved = Saved::default();
    saved
        .item("mandates", "m1/2013-01", &[])
        .item("mandates", "m2/2013-01", &[])
        .end("mandates");
    let mut good = saved.clone();
    good.item("debits", "m1/2013-01", &[])
        .item("debits", "m2/2013-01", &[])
        .end("debits");
    assert_eq!(judge(&debits, &good).verdict, Judgement::Pass);
    saved
        .item("debits", "m1/2013-01", &[])
        .item("debits", "m1/2013-01", &[])
        .item("debits", "m9/2013-01", &[]);
    saved.end("debits");
    let finding = judge(&debits, &saved);
    assert!(
        finding
            .detail
            .starts_with("1 without effect, 1 duplicated, 1 never attempted;"),
        "{}",
        finding.detail
    );
    assert_eq!(finding.verdict, Judgement::Fail);
}

fn balances() -> Invariant {
    invariant(serde_json::json!({"ledger": {
        "entries": "entries", "accounts": "accounts", "operations": ["top-up"], "internal-prefix": "debit-",
    }}))
}

fn legs(saved: &mut Saved, key: &str, account: &str, amount: i64) {
    saved.item("entries", key, &[("account", text(account)), ("amount", int(amount))]);
    saved.item("entries", key, &[("account", text("house")), ("amount", int(-amount))]);
}

fn account(saved: &mut Saved, name: &str, initial: i64, balance: i64) {
    saved.item(
        "accounts",
        name,
        &[("initial", int(initial)), ("balance", int(balance))],
    );
}

fn top_ups() -> Saved {
    let mut saved = Saved::default();
    saved
        .paid("top-up", "a", Ok, 50)
        .paid("top-up", "b", Ok, 70)
        .paid("top-up", "c", Info, 90);
    saved.paid("top-up", "d", Fail, 10);
    saved
}

#[test]
fn a_ledger_that_adds_up_passes() {
    let mut saved = top_ups();
    legs(&mut saved, "a", "ann", 50);
    legs(&mut saved, "b", "bob", 70);
    legs(&mut saved, "debit-1", "bob", -20);
    account(&mut saved, "ann", 100, 150);
    account(&mut saved, "bob", 0, 50);
    saved.end("entries").end("accounts");
    let finding = judge(&balances(), &saved);
    assert_eq!(finding.verdict, Judgement::Pass, "{finding:?}");
}

#[test]
fn a_ledger_from_which_everything_vanished_fails() {
    let mut saved = top_ups();
    account(&mut saved, "ann", 100, 100);
    saved.end("entries").end("accounts");
    let finding = judge(&balances(), &saved);
    assert_eq!(
        finding.verdict,
        Judgement::Fail,
        "a bank that lost every transfer conserves its total"
    );
    assert!(finding.detail.starts_with("2 lost;"), "{}", finding.detail);
}

#[test]
fn a_ledger_names_every_wrong() {
    let mut saved = top_ups();
    legs(&mut saved, "a", "ann", 50);
    legs(&mut saved, "a", "ann", 50); // doubled
    saved.item("entries", "c", &[("account", text("bob")), ("amount", int(91))]); // one leg, another amount
    legs(&mut saved, "d", "ann", 10); // refused
    legs(&mut saved, "x", "ann", 1); // nobody's
    account(&mut saved, "ann", 100, 151); // not its entries
    account(&mut saved, "bob", -100, -9); // negative
    saved.end("entries").end("accounts"); // and b is lost
    let finding = judge(&balances(), &saved);
    assert_eq!(finding.verdict, Judgement::Fail);
    let expected = "1 lost, 1 duplicated, 1 there though refused, 1 never attempted, 1 not as asked for, 1 with one leg, \
         1 unbalanced, 1 total not zero, 1 negative, 1 not its initial value plus its entries; \
         2 acknowledged of 4 top-up, 9 items";
    assert_eq!(finding.detail, expected);
}

#[test]
fn a_leg_that_cannot_be_read_is_a_doubt() {
    let mut saved = top_ups();
    legs(&mut saved, "a", "ann", 50);
    saved.item("entries", "b", &[("account", text("bob")), ("amount", text("70.5"))]);
    saved.end("entries").end("accounts");
    let finding = judge(&balances(), &saved);
    assert_eq!(finding.verdict, Judgement::Inconclusive, "{finding:?}");
    assert!(finding.detail.contains("no whole amount"), "{}", finding.detail);
}

#[test]
fn amounts_that_are_lines_of_text_are_amounts() {
    let mut saved = Saved::default();
    saved.paid("top-up", "a", Ok, 50);
    saved.item("entries", "a", &[("account", text("ann")), ("amount", text("50"))]);
    saved.item("entries", "a", &[("account", text("house")), ("amount", text("-50"))]);
    account(&mut saved, "ann", 0, 50);
    saved.end("entries").end("accounts");
    assert_eq!(judge(&balances(), &saved).verdict, Judgement::Pass);
}

#[test]
fn checkers_name_what_they_refer_to() {
    let (orders, labels, balances) = (kept_orders(), one_label(), balances());
    let names = orders.checker().names();
    assert_eq!(names.operations, [("operations[0]".to_owned(), "buy")]);
    assert_eq!(names.reads, [("read".to_owned(), "orders")]);
    let names = labels.checker().names();
    assert_eq!(names.operations, [("causes.operations[0]".to_owned(), "buy")]);
    assert_eq!(names.reads, [("effects".to_owned(), "labels")]);
    let names = balances.checker().names();
    assert_eq!(names.operations, [("operations[0]".to_owned(), "top-up")]);
    let reads = [("entries".to_owned(), "entries"), ("accounts".to_owned(), "accounts")];
    assert_eq!(names.reads, reads);
}
