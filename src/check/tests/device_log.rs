//! `device-log` on histories written by hand and on generated ones, compared with its definition word for word.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

use super::build::{self, Saved, int, text};
use super::naive::{Says, complete};
use crate::check::device_log::DeviceLog;
use crate::check::{Breach, Checked, Checker, Evidence};
use crate::history::load::History;
use crate::history::{Item, Value};
use crate::verdict::Judgement;

fn log() -> DeviceLog {
    serde_json::from_value(json!({
        "journal": "journals", "host": "ledger", "device": "branch", "sequence": "number",
        "equal": ["amount"], "where": {"kind": "sale"},
    }))
    .unwrap()
}

fn check(saved: &Saved) -> Checked {
    saved.read(|history| log().check(&Evidence::gather(history)))
}

fn entry(saved: &mut Saved, read: &str, branch: &str, number: i64, key: &str, amount: i64) {
    let kind = ("kind", text("sale"));
    let fields = [
        ("branch", text(branch)),
        ("number", int(number)),
        ("amount", int(amount)),
        kind,
    ];
    saved.item(read, key, &fields);
}

/// Two branches, three entries and one, all of them at the host in another order; what is no sale does not count.
fn good() -> Saved {
    let mut saved = Saved::default();
    for (branch, number, key) in [("b1", 1, "a"), ("b1", 2, "b"), ("b2", 1, "c"), ("b1", 3, "d")] {
        entry(&mut saved, "journals", branch, number, key, 5);
    }
    let state = [("branch", text("b1")), ("number", int(9)), ("kind", text("state"))];
    saved.item("journals", "went offline", &state);
    for (branch, number, key) in [("b1", 3, "d"), ("b2", 1, "c"), ("b1", 2, "b"), ("b1", 1, "a")] {
        entry(&mut saved, "ledger", branch, number, key, 5);
    }
    saved
}

fn ended(mut saved: Saved) -> Saved {
    saved.end("journals").end("ledger");
    saved
}

#[test]
fn journals_that_came_whole_pass() {
    let finding = check(&ended(good())).finding(None);
    assert_eq!((finding.verdict, finding.samples), (Judgement::Pass, 8), "{finding:?}");
    assert_eq!(
        finding.detail,
        "all as it must be; 4 entries in the journals of 2 devices, 4 at the host"
    );
}

/// A history that is bad in one way, and how that is told.
fn only(change: impl FnOnce(&mut Saved), breach: Breach, evidence: &str) {
    let mut saved = good();
    change(&mut saved);
    let checked = check(&ended(saved));
    assert_eq!(checked.breaches, BTreeMap::from([(breach, 1)]), "{evidence}");
    assert!(
        checked.lost.is_empty(),
        "no operation is lost: it is a breach that nothing tolerates"
    );
    let finding = checked.finding(Some("all loss is tolerated"));
    assert_eq!(
        (finding.verdict, finding.evidence),
        (Judgement::Fail, vec![evidence.to_owned()])
    );
}

#[test]
fn each_way_of_being_wrong_is_told_apart() {
    only(
        |saved| entry(saved, "journals", "b2", 2, "e", 5),
        Breach::NotAtHost,
        "entry 2 of b2 (`e`) is not at the host",
    );
    only(
        |saved| entry(saved, "ledger", "b2", 2, "e", 5),
        Breach::InNoJournal,
        "entry 2 of b2 (`e`) is at the host, but in no journal",
    );
    only(
        |saved| entry(saved, "ledger", "b3", 1, "e", 5),
        Breach::InNoJournal,
        "entry 1 of b3 (`e`) is at the host, but in no journal",
    );
    only(
        |saved| entry(saved, "ledger", "b1", 2, "b", 5),
        Breach::Duplicated,
        "entry 2 of b1 (`b`) is at the host 2 times",
    );
    only(
        |saved| {
            entry(saved, "journals", "b1", 2, "b", 5);
            entry(saved, "journals", "b1", 2, "b", 5);
        },
        Breach::Duplicated,
        "entry 2 of b1 (`b`) is in the journal 3 times",
    );
    let both = |saved: &mut Saved, number, amounts: [i64; 2], keys: [&str; 2]| {
        entry(saved, "journals", "b2", number, keys[0], amounts[0]);
        entry(saved, "ledger", "b2", number, keys[1], amounts[1]);
    };
    only(
        |saved| both(saved, 2, [5, 6], ["e", "e"]),
        Breach::NotTheSame,
        "entry 2 of b2 (`e`) has amount 6 at the host, but 5 in the journal",
    );
    only(
        |saved| both(saved, 2, [5, 5], ["e", "f"]),
        Breach::NotTheSame,
        "entry 2 of b2 (`e`) is `f` at the host",
    );
    only(
        |saved| both(saved, 3, [5, 5], ["e", "e"]),
        Breach::Numbering,
        "the journal of b2 has no entry 2",
    );
    only(
        |saved| both(saved, 5, [5, 5], ["e", "e"]),
        Breach::Numbering,
        "the journal of b2 has no entries 2 to 4",
    );
    only(
        |saved| both(saved, 0, [5, 5], ["e", "e"]),
        Breach::Numbering,
        "the journal of b2 has an entry 0, and the first is 1",
    );
}

#[test]
fn numbers_that_are_text_are_numbers_and_devices_may_be_numbers() {
    let mut saved = Saved::default();
    let kind = || ("kind", text("sale"));
    saved.item(
        "journals",
        "a",
        &[("branch", int(7)), ("number", text("1")), ("amount", text("5")), kind()],
    );
    saved.item(
        "ledger",
        "a",
        &[("branch", text("7")), ("number", int(1)), ("amount", int(5)), kind()],
    );
    assert_eq!(check(&ended(saved)).finding(None).verdict, Judgement::Pass);
}

#[test]
fn without_entries_nothing_was_tested() {
    let finding = check(&ended(Saved::default())).finding(None);
    assert_eq!(finding.verdict, Judgement::Inconclusive);
    assert!(
        finding.detail.contains("nothing was put to the test"),
        "{}",
        finding.detail
    );
    // But what is at the host and nowhere else is a breach all the same.
    let mut saved = Saved::default();
    entry(&mut saved, "ledger", "b1", 1, "a", 5);
    assert_eq!(check(&ended(saved)).finding(None).verdict, Judgement::Fail);
}

#[test]
fn a_read_that_is_not_whole_is_a_doubt() {
    let mut no_host = good();
    no_host.end("journals");
    let mut no_journal = good();
    no_journal.end_with("journals", 5, Some("status 503")).end("ledger");
    for saved in [good(), no_host, no_journal] {
        let finding = check(&saved).finding(None);
        assert_eq!(finding.verdict, Judgement::Inconclusive, "{finding:?}");
    }
}

#[test]
fn an_entry_that_cannot_be_placed_or_compared_is_a_doubt() {
    for missing in ["branch", "number", "amount"] {
        let mut saved = good();
        let fields = [
            ("branch", text("b2")),
            ("number", int(2)),
            ("amount", int(5)),
            ("kind", text("sale")),
        ];
        let fields: Vec<_> = fields.into_iter().filter(|(name, _)| *name != missing).collect();
        saved.item("journals", "e", &fields);
        entry(&mut saved, "ledger", "b2", 2, "e", 5);
        let finding = check(&ended(saved)).finding(None);
        assert_eq!(finding.verdict, Judgement::Inconclusive, "{missing}: {finding:?}");
        assert!(finding.detail.contains(missing), "{}", finding.detail);
    }
}

#[test]
fn parameters_that_compare_nothing_are_mistakes() {
    let wrong = DeviceLog {
        host: "journals".to_owned(),
        sequence: "branch".to_owned(),
        ..log()
    };
    let places: Vec<&str> = wrong.mistakes().iter().map(|mistake| mistake.at).collect();
    assert_eq!(places, ["host", "sequence"]);
    assert!(log().mistakes().is_empty());
}

/// The definition, word for word and in quadratic time.
fn naive(params: &DeviceLog, history: &History<'_>) -> Says {
    let mut says = Says::default();
    let (Some(_), Some(_)) = (complete(history, &params.journal), complete(history, &params.host)) else {
        return Says::only_doubt();
    };
    let sides = [&params.journal, &params.host].map(|read| {
        let all = &history.reads[read.as_str()].items;
        let is_sale = |item: &&Item<'_>| item.fields.get("kind").is_some_and(|kind| kind.same(&text("sale")));
        says.doubt |= !all.is_empty() && all.iter().all(|item| item.fields.get("kind").is_none());
        all.iter().filter(is_sale).collect::<Vec<_>>()
    });
    let placed = |item: &&Item<'_>| {
        let device = match item.fields.get("branch")? {
            Value::Text(name) => name.to_string(),
            Value::Int(number) => number.to_string(),
            _ => return None,
        };
        Some((device, item.fields.get("number")?.as_int()?))
    };
    if sides.iter().flatten().any(|item| placed(item).is_none()) {
        return Says::only_doubt();
    }
    let keys: BTreeSet<_> = sides.iter().flatten().filter_map(placed).collect();
    for key in &keys {
        let [journal, host] = sides.each_ref().map(|items| {
            let here = items.iter().filter(|item| placed(item).as_ref() == Some(key));
            here.collect::<Vec<_>>()
        });
        for there in [&journal, &host] {
            if there.len() > 1 {
                says.breach(Breach::Duplicated);
            }
        }
        match (journal.first(), host.first()) {
            (Some(_), None) => says.breach(Breach::NotAtHost),
            (None, _) => says.breach(Breach::InNoJournal),
            (Some(written), Some(found)) => {
                if written.element != found.element {
                    says.breach(Breach::NotTheSame);
                }
                match (written.fields.get("amount"), found.fields.get("amount")) {
                    (Some(one), Some(other)) if one.same(&other) => {}
                    (Some(_), Some(_)) => says.breach(Breach::NotTheSame),
                    _ => says.doubt = true,
                }
            }
        }
    }
    numbering(&sides[0].iter().filter_map(placed).collect(), &mut says);
    says.doubt |= sides[0].is_empty();
    says
}

/// Each number below 1, and each first one of those that are missing in a row.
fn numbering(journal: &BTreeSet<(String, i64)>, says: &mut Says) {
    for (device, sequence) in journal {
        if *sequence < 1 {
            says.breach(Breach::Numbering);
            continue;
        }
        let has = |sequence: i64| sequence == 0 || journal.contains(&(device.clone(), sequence));
        if !has(sequence - 1) {
            says.breach(Breach::Numbering);
        }
    }
}

/// An entry: branch, number, key, amount.
type Entry = (u8, i64, String, i64);

/// Whole journals of a few branches.
fn journals() -> impl Strategy<Value = Vec<Entry>> {
    proptest::collection::vec(proptest::collection::vec(-3..4i64, 0..6), 1..4).prop_map(|branches| {
        let entries = branches.into_iter().enumerate().flat_map(|(branch, amounts)| {
            let numbered = amounts.into_iter().enumerate();
            numbered.map(move |(number, amount)| {
                let (branch, number) = (branch as u8, number as i64 + 1);
                (branch, number, format!("k{branch}-{number}"), amount)
            })
        });
        entries.collect()
    })
}

fn saved(journal: &[Entry], host: &[Entry]) -> Saved {
    let mut saved = Saved::default();
    for (read, entries) in [("journals", journal), ("ledger", host)] {
        for (branch, number, key, amount) in entries {
            entry(&mut saved, read, &format!("b{branch}"), *number, key, *amount);
        }
    }
    ended(saved)
}

/// Entries without rhyme or reason, on so few branches and numbers that they meet.
fn anything() -> impl Strategy<Value = Saved> {
    let branch = prop_oneof![
        6 => (0..2u8).prop_map(|branch| Some(text(&format!("b{branch}")))),
        1 => (0..2i64).prop_map(|branch| Some(int(branch))),
    ];
    let branch = prop_oneof![60 => branch, 1 => Just(None), 1 => Just(Some(Value::Null))];
    let number =
        prop_oneof![4 => (-1..5i64).prop_map(int), 1 => (0..4i64).prop_map(|number| text(&number.to_string()))];
    let amount = proptest::option::weighted(0.9, (0..2i64).prop_map(int));
    let kind = proptest::option::weighted(0.9, prop_oneof![4 => Just("sale"), 1 => Just("state")]);
    let item = (any::<bool>(), 0..3u8, branch, number, amount, kind);
    let ends = (proptest::bool::weighted(0.95), proptest::bool::weighted(0.95));
    (proptest::collection::vec(item, 0..10), ends).prop_map(|(items, ends)| {
        let mut saved = Saved::default();
        for (at_host, key, branch, number, amount, kind) in items {
            let branch = branch.map(|branch| ("branch", branch));
            let amount = amount.map(|amount| ("amount", amount));
            let kind = kind.map(|kind| ("kind", text(kind)));
            let fields: Vec<_> = branch
                .into_iter()
                .chain([("number", number)])
                .chain(amount)
                .chain(kind)
                .collect();
            let read = if at_host { "ledger" } else { "journals" };
            saved.item(read, &format!("k{key}"), &fields);
        }
        for (read, is_whole) in [("journals", ends.0), ("ledger", ends.1)] {
            if is_whole {
                saved.end(read);
            }
        }
        saved
    })
}

proptest! {
    #![proptest_config(build::cases(1_000))]

    #[test]
    fn it_says_what_its_definition_says(saved in anything()) {
        let (says, naive) = saved.read(|history| {
            (Says::from(&log().check(&Evidence::gather(history))), naive(&log(), history))
        });
        prop_assert_eq!(says, naive);
    }

    #[test]
    fn whole_journals_raise_no_alarm_in_any_order(entries in journals(), order in any::<u64>()) {
        let mut host = entries.clone();
        // A permutation is as good as a random one if it differs with the draw.
        host.sort_by_key(|(branch, number, ..)| (u64::from(*branch) * 31 + *number as u64).wrapping_mul(order | 1));
        let finding = check(&saved(&entries, &host)).finding(None);
        let expected = if entries.is_empty() { Judgement::Inconclusive } else { Judgement::Pass };
        prop_assert_eq!(finding.verdict, expected, "{:?}", finding);
    }

    #[test]
    fn each_planted_defect_is_found(entries in journals(), at in any::<Index>(), defect in 0..6usize) {
        prop_assume!(!entries.is_empty());
        let (mut journal, mut host) = (entries.clone(), entries.clone());
        let at = at.index(entries.len());
        let breach = match defect {
            0 => { host.remove(at); Breach::NotAtHost }
            1 => { journal.remove(at); Breach::InNoJournal }
            2 => { host.push(entries[at].clone()); Breach::Duplicated }
            3 => { journal.push(entries[at].clone()); Breach::Duplicated }
            4 => { host[at].3 += 1; Breach::NotTheSame }
            _ => {
                let last = entries.iter().filter(|entry| entry.0 == entries[at].0).count() as i64;
                let skipped = (entries[at].0, last + 2, "skipped".to_owned(), 1);
                journal.push(skipped.clone());
                host.push(skipped);
                Breach::Numbering
            }
        };
        let checked = check(&saved(&journal, &host));
        prop_assert_eq!(checked.breaches.get(&breach), Some(&1), "{:?}", checked.finding(None));
    }
}
