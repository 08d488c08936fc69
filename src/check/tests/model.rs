//! A system that keeps every promise, what its customers saw of it, and how its lists look.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::build::{Saved, int, text};
use crate::check::durable_set::DurableSet;
use crate::check::exactly_once::{Causes, ExactlyOnce};
use crate::check::ledger::Ledger;
use crate::history::Outcome;

pub fn kinds() -> Vec<String> {
    vec!["buy".to_owned(), "top-up".to_owned()]
}

pub fn durable_set() -> DurableSet {
    DurableSet {
        operations: kinds(),
        read: "orders".to_owned(),
        filter: BTreeMap::new(),
        equal: vec!["amount".to_owned()],
    }
}

pub fn exactly_once(causes: Causes) -> ExactlyOnce {
    ExactlyOnce {
        causes,
        effects: "labels".to_owned(),
        filter: BTreeMap::from([("state".to_owned(), "printed".into())]),
        required: true,
        refused_may_have_effect: false,
    }
}

pub fn ledger() -> Ledger {
    Ledger {
        entries: "entries".to_owned(),
        accounts: "accounts".to_owned(),
        operations: kinds(),
        amount: "amount".to_owned(),
        internal_prefix: Some("debit-".to_owned()),
    }
}

/// A system that keeps every promise, and what its customers saw of it.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pub ops: Vec<Attempt>,
    /// Keys there are, each an order with its amount.
    pub orders: Vec<(String, i64)>,
    /// Keys of labels with their state.
    pub labels: Vec<(String, &'static str)>,
    /// Transfer, account, amount.
    pub entries: Vec<(String, String, i64)>,
    /// Account, initial, balance.
    pub accounts: Vec<(String, i64, i64)>,
}

#[derive(Debug, Clone)]
pub struct Attempt {
    pub kind: &'static str,
    pub key: String,
    pub account: String,
    pub amount: i64,
    pub outcome: Outcome,
    /// Whether it took effect, which customers know of acknowledged and refused ones only.
    pub happened: bool,
}

impl Model {
    pub fn happen(&mut self, key: &str, account: &str, amount: i64) {
        self.orders.push((key.to_owned(), amount));
        self.labels.push((key.to_owned(), "printed"));
        self.transfer(key, account, amount);
    }

    /// Moves money from the house to an account, or the other way, and keeps the balances right.
    pub fn transfer(&mut self, key: &str, account: &str, amount: i64) {
        self.entries.push((key.to_owned(), account.to_owned(), amount));
        self.entries.push((key.to_owned(), "house".to_owned(), -amount));
        self.move_balance(account, amount);
    }

    pub fn move_balance(&mut self, account: &str, amount: i64) {
        let known = self.accounts.iter_mut().find(|(name, ..)| name == account);
        known.expect("customers have accounts").2 += amount;
    }

    pub fn saved(&self) -> Saved {
        let mut saved = Saved::default();
        for op in &self.ops {
            saved.paid(op.kind, &op.key, op.outcome, op.amount);
        }
        for (key, amount) in &self.orders {
            saved.item("orders", key, &[("amount", int(*amount))]);
        }
        for (key, state) in &self.labels {
            saved.item("labels", key, &[("state", text(state))]);
        }
        for (key, account, amount) in &self.entries {
            saved.item("entries", key, &[("account", text(account)), ("amount", int(*amount))]);
        }
        for (account, initial, balance) in &self.accounts {
            saved.item(
                "accounts",
                account,
                &[("initial", int(*initial)), ("balance", int(*balance))],
            );
        }
        for read in ["orders", "labels", "entries", "accounts"] {
            saved.end(read);
        }
        saved
    }

    pub fn some(&self, which: impl Fn(&Attempt) -> bool, at: Index) -> Option<&Attempt> {
        let those: Vec<&Attempt> = self.ops.iter().filter(|op| which(op)).collect();
        (!those.is_empty()).then(|| *at.get(&those))
    }
}

/// At least one in four is indeterminate, the second is acknowledged, the third refused.
pub fn outcome(position: usize, chance: u8) -> Outcome {
    match (position, chance) {
        (position, _) if position.is_multiple_of(4) => Outcome::Info,
        (1, _) => Outcome::Ok,
        (2, _) => Outcome::Fail,
        (_, 0..60) => Outcome::Ok,
        (_, 60..75) => Outcome::Fail,
        _ => Outcome::Info,
    }
}

pub fn valid() -> impl Strategy<Value = Model> {
    let op = (0..100u8, any::<bool>(), any::<bool>(), 1..500i64, 0..4usize, 0..8u8);
    let debits = proptest::collection::vec((0..4usize, 1..50i64), 0..3);
    (proptest::collection::vec(op, 4..24), debits, any::<u64>()).prop_map(|(ops, debits, seed)| {
        let mut model = Model {
            accounts: (0..4).map(|number| (format!("acct-{number}"), 1_000, 1_000)).collect(),
            ..Model::default()
        };
        for (position, (chance, bought, lucky, amount, account, retried)) in ops.into_iter().enumerate() {
            let outcome = outcome(position, chance);
            let op = Attempt {
                kind: if bought { "buy" } else { "top-up" },
                key: format!("key-{position}"),
                account: format!("acct-{account}"),
                amount,
                outcome,
                happened: outcome == Outcome::Ok || outcome == Outcome::Info && lucky,
            };
            if op.happened {
                model.happen(&op.key, &op.account, op.amount);
            }
            if retried == 0 && outcome != Outcome::Fail {
                // The same key once more: what is known of the two together is what is known of the better.
                model.ops.push(Attempt {
                    outcome: Outcome::Fail,
                    ..op.clone()
                });
            }
            model.ops.push(op);
        }
        for (number, (account, amount)) in debits.into_iter().enumerate() {
            model.transfer(&format!("debit-{number}"), &format!("acct-{account}"), amount);
        }
        model.labels.push(("torn-up".to_owned(), "void"));
        shuffle(&mut model, seed);
        model
    })
}

/// Final reads list in any order.
pub fn shuffle(model: &mut Model, seed: u64) {
    let mut state = seed | 1;
    let mut below = move |limit: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit.max(1)
    };
    for position in (1..model.orders.len()).rev() {
        model.orders.swap(position, below(position + 1));
    }
    for position in (1..model.labels.len()).rev() {
        model.labels.swap(position, below(position + 1));
    }
    for position in (1..model.entries.len()).rev() {
        model.entries.swap(position, below(position + 1));
    }
}
