//! Generated histories: valid ones raise no alarm, planted defects are always found, and on anything at all the quick
//! checkers say what their definitions say.

use proptest::prelude::*;
use proptest::sample::Index;

use super::build::{self, Saved, int, text};
use super::defects::{DEFECTS, Shows, plant};
use super::model::{durable_set, exactly_once, kinds, ledger, valid};
use super::naive::{self, Says};
use crate::check::durable_set::DurableSet;
use crate::check::exactly_once::{Causes, ExactlyOnce};
use crate::check::{Checked, Checker, Evidence, Lost};
use crate::history::load::History;
use crate::history::{Outcome, Value};
use crate::verdict::Judgement;

/// Valid histories, and histories without rhyme or reason, that are tried.
const CASES: u32 = 2_000;

/// Valid histories into each of which every defect is planted: thousands of planted ones.
const PLANTED_CASES: u32 = 200;

fn check(checker: &dyn Checker, history: &History<'_>) -> Checked {
    checker.check(&Evidence::gather(history))
}

proptest! {
    #![proptest_config(build::cases(CASES))]

    #[test]
    fn valid_histories_raise_no_alarm(model in valid()) {
        let indeterminate = model.ops.iter().filter(|op| op.outcome == Outcome::Info).count();
        let keys: std::collections::BTreeSet<&String> = model.ops.iter().map(|op| &op.key).collect();
        prop_assert!(indeterminate * 5 >= keys.len(), "{indeterminate} of {}", keys.len());
        let checkers: [&dyn Checker; 4] = [
            &durable_set(),
            &exactly_once(Causes::Operations(kinds())),
            &exactly_once(Causes::Read("orders".to_owned())),
            &ledger(),
        ];
        model.saved().read(|history| {
            for checker in checkers {
                let finding = check(checker, history).finding(None);
                prop_assert_eq!(finding.verdict, Judgement::Pass, "{:?}", finding);
            }
            Ok(())
        })?;
    }

    #[test]
    fn the_quick_checkers_say_what_their_definitions_say(saved in anything(), truncated in proptest::option::weighted(0.2, Just(1u64))) {
        saved.read(|history| {
            let history = with_truncation(history, truncated);
            compare_all(&history)
        })?;
    }
}

proptest! {
    #![proptest_config(build::cases(PLANTED_CASES))]

    /// Every defect on every history: nothing is left to the luck of a draw.
    #[test]
    fn planted_defects_are_always_found(model in valid(), at: Index) {
        for defect in DEFECTS {
            let mut model = model.clone();
            let (checker, shows) = plant(&mut model, defect, at);
            model.saved().read(|history| {
                let checked = check(checker.as_ref(), history);
                let finding = checked.finding(None);
                prop_assert_eq!(finding.verdict, Judgement::Fail, "{:?}: {:?}", defect, finding);
                match &shows {
                    Shows::AsLost(key) => {
                        let keys: Vec<&String> = checked.lost.iter().map(|lost| &lost.key).collect();
                        prop_assert_eq!(keys, vec![key], "{:?}", defect);
                    }
                    Shows::As(breach) => prop_assert_eq!(checked.breaches.get(breach), Some(&1), "{:?}: {:?}", defect, finding),
                }
                prop_assert!(!finding.evidence.is_empty());
                Ok(())
            })?;
        }
    }

    /// The same close to valid, where the interesting disagreements would be.
    #[test]
    fn they_say_so_near_valid_histories_too(model in valid(), defects in proptest::collection::vec((0..DEFECTS.len(), any::<Index>()), 0..4)) {
        let mut model = model;
        for (defect, at) in defects {
            // One defect may have taken away what another needs: then the history is broken enough already.
            if model.orders.is_empty() { break; }
            plant(&mut model, DEFECTS[defect], at);
            if !DEFECTS[defect].leaves_legs() { break; }
        }
        model.saved().read(compare_all)?;
    }
}

fn with_truncation<'a>(history: &'a History<'_>, truncated: Option<u64>) -> History<'a> {
    let mut copy = History {
        ops: history.ops.clone(),
        truncated,
        ..History::default()
    };
    for (name, list) in &history.reads {
        let list = crate::history::load::FinalList {
            items: list.items.clone(),
            problem: list.problem.clone(),
            ..*list
        };
        copy.reads.insert(name.clone(), list);
    }
    copy
}

fn compare_all(history: &History<'_>) -> Result<(), TestCaseError> {
    let agree = |quick: &Checked, naive: Says| {
        prop_assert_eq!(Says::from(quick), naive);
        Ok(())
    };
    let set = durable_set();
    agree(&check(&set, history), naive::durable_set(&set, history))?;
    for required in [true, false] {
        for refused_may_have_effect in [true, false] {
            for causes in [Causes::Operations(kinds()), Causes::Read("orders".to_owned())] {
                let once = ExactlyOnce {
                    required,
                    refused_may_have_effect,
                    ..exactly_once(causes)
                };
                agree(&check(&once, history), naive::exactly_once(&once, history))?;
            }
        }
    }
    let book = ledger();
    agree(&check(&book, history), naive::ledger(&book, history))
}

/// Histories without rhyme or reason, on so few keys that they meet.
fn anything() -> impl Strategy<Value = Saved> {
    let outcomes = prop_oneof![Just(Outcome::Ok), Just(Outcome::Fail), Just(Outcome::Info)];
    let kinds = prop_oneof![3 => Just("buy"), 2 => Just("top-up"), 1 => Just("look")];
    let op = (kinds, key(), outcomes, proptest::option::weighted(0.9, -2..3i64));
    let order = (key(), proptest::option::weighted(0.9, -2..3i64));
    let label = (
        key(),
        proptest::option::weighted(0.9, prop_oneof![3 => Just("printed"), 1 => Just("void")]),
    );
    let entry = (key(), 0..3u8, -2..3i64, any::<Index>());
    let account = (0..4u8, proptest::option::weighted(0.95, -3..4i64), -3..4i64);
    let ends = (
        proptest::bool::weighted(0.95),
        proptest::bool::weighted(0.95),
        proptest::bool::weighted(0.95),
    );
    let lists = (
        proptest::collection::vec(order, 0..8),
        proptest::collection::vec(label, 0..8),
        proptest::collection::vec(entry, 0..8),
        proptest::collection::vec(account, 0..4),
    );
    (proptest::collection::vec(op, 0..10), lists, ends).prop_map(|(ops, (orders, labels, entries, accounts), ends)| {
        let mut saved = Saved::default();
        let amount = |amount: Option<i64>| amount.map(|amount| ("amount", int(amount)));
        for (kind, key, outcome, paid) in ops {
            match paid {
                Some(paid) => saved.paid(kind, &key, outcome, paid),
                None => saved.op(kind, &key, outcome),
            };
        }
        for (key, paid) in orders {
            saved.item("orders", &key, &Vec::from_iter(amount(paid)));
        }
        for (key, state) in labels {
            saved.item(
                "labels",
                &key,
                &Vec::from_iter(state.map(|state| ("state", text(state)))),
            );
        }
        for (key, account, paid, broken) in entries {
            let amount = if broken.index(40) == 0 { Value::Null } else { int(paid) };
            saved.item(
                "entries",
                &key,
                &[("account", text(&format!("a{account}"))), ("amount", amount)],
            );
        }
        for (account, initial, balance) in accounts {
            let initial = initial.map(|initial| ("initial", int(initial)));
            let fields: Vec<_> = initial.into_iter().chain([("balance", int(balance))]).collect();
            saved.item("accounts", &format!("a{account}"), &fields);
        }
        for (read, complete) in [
            ("orders", ends.0),
            ("labels", ends.1),
            ("entries", ends.2),
            ("accounts", true),
        ] {
            if complete {
                saved.end(read);
            }
        }
        saved
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (0..6u8).prop_map(|number| format!("k{number}")),
        1 => (0..2u8).prop_map(|number| format!("debit-{number}")),
    ]
}

#[test]
fn lost_operations_come_with_their_time() {
    let mut saved = Saved::default();
    saved.op("buy", "a", Outcome::Ok).op("buy", "b", Outcome::Ok);
    saved.item("orders", "a", &[]).end("orders");
    let set = DurableSet {
        equal: Vec::new(),
        ..durable_set()
    };
    let lost = saved.read(|history| check(&set, history).lost);
    let expected = Lost {
        kind: "buy".to_owned(),
        key: "b".to_owned(),
        intended_us: 1_000,
    };
    assert_eq!(lost, [expected]);
}
