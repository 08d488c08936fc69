//! The checkers' definitions, word for word and in quadratic time: what the quick ones are compared with.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::durable_set::DurableSet;
use crate::check::exactly_once::{Causes, ExactlyOnce};
use crate::check::ledger::Ledger;
use crate::check::{Breach, Checked, Lost};
use crate::history::load::{FinalList, History};
use crate::history::{Item, Op, Outcome, Value};

/// What a checker says, without its words.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Says {
    pub lost: Vec<Lost>,
    pub breaches: BTreeMap<Breach, u64>,
    pub doubt: bool,
}

impl Says {
    pub fn only_doubt() -> Self {
        Self {
            doubt: true,
            ..Self::default()
        }
    }

    pub fn breach(&mut self, breach: Breach) {
        *self.breaches.entry(breach).or_default() += 1;
    }
}

impl From<&Checked> for Says {
    fn from(checked: &Checked) -> Self {
        let mut lost = checked.lost.clone();
        lost.sort_by(|one, other| one.key.cmp(&other.key));
        Self {
            lost,
            breaches: checked.breaches.clone(),
            doubt: checked.doubts > 0,
        }
    }
}

pub fn complete<'h, 'a>(history: &'h History<'a>, read: &str) -> Option<&'h FinalList<'a>> {
    history.reads.get(read).filter(|list| list.complete)
}

fn of_key<'h, 'a>(history: &'h History<'a>, kinds: &[String], key: &str) -> Vec<&'h Op<'a>> {
    let mut ops = Vec::new();
    for op in &history.ops {
        if kinds.iter().any(|kind| *kind == op.kind) && op.key == key {
            ops.push(op);
        }
    }
    ops
}

fn keys(history: &History<'_>, kinds: &[String]) -> BTreeSet<String> {
    let ops = history
        .ops
        .iter()
        .filter(|op| kinds.iter().any(|kind| *kind == op.kind));
    ops.map(|op| op.key.to_string()).collect()
}

/// Ok if any is, fail only if all are.
fn outcome(ops: &[&Op<'_>]) -> Option<Outcome> {
    if ops.is_empty() {
        None
    } else if ops.iter().any(|op| op.outcome == Outcome::Ok) {
        Some(Outcome::Ok)
    } else if ops.iter().all(|op| op.outcome == Outcome::Fail) {
        Some(Outcome::Fail)
    } else {
        Some(Outcome::Info)
    }
}

fn speaker<'o, 'h, 'a>(ops: &'o [&'h Op<'a>]) -> &'o &'h Op<'a> {
    ops.iter().find(|op| op.outcome == Outcome::Ok).unwrap_or(&ops[0])
}

fn lost(ops: &[&Op<'_>]) -> Lost {
    let op = speaker(ops);
    Lost {
        kind: op.kind.to_string(),
        key: op.key.to_string(),
        intended_us: op.intended_us,
    }
}

fn acknowledged(history: &History<'_>, kinds: &[String]) -> bool {
    history
        .ops
        .iter()
        .any(|op| kinds.iter().any(|kind| *kind == op.kind) && op.outcome == Outcome::Ok)
}

/// Items that count, and whether a field that is asked for is nowhere.
fn that_count<'h, 'a>(
    list: &'h FinalList<'a>,
    wanted: &BTreeMap<String, serde_json::Value>,
) -> (Vec<&'h Item<'a>>, bool) {
    let mut unknown = false;
    for name in wanted.keys() {
        let with = list.items.iter().filter(|item| item.fields.get(name).is_some()).count();
        unknown |= with == 0 && !list.items.is_empty();
    }
    let counts = |item: &&Item<'_>| {
        wanted
            .iter()
            .all(|(name, wanted)| match (item.fields.get(name), wanted) {
                (Some(Value::Text(found)), serde_json::Value::String(wanted)) => found == *wanted,
                (Some(Value::Int(found)), serde_json::Value::Number(wanted)) => Some(found) == wanted.as_i64(),
                (None, _) => false,
                (found, wanted) => panic!("these tests filter by text and whole numbers only: {found:?}, {wanted}"),
            })
    };
    (list.items.iter().filter(counts).collect(), unknown)
}

pub fn durable_set(params: &DurableSet, history: &History<'_>) -> Says {
    let Some(list) = complete(history, &params.read) else {
        return Says::only_doubt();
    };
    let (items, unknown_field) = that_count(list, &params.filter);
    let mut says = Says {
        doubt: unknown_field || !acknowledged(history, &params.operations),
        ..Says::default()
    };
    for item in &items {
        let ops = of_key(history, &params.operations, &item.element);
        if ops.is_empty() && history.truncated.is_some() {
            says.doubt = true;
        } else if ops.is_empty() {
            says.breach(Breach::Unattempted);
        } else {
            for name in &params.equal {
                match (speaker(&ops).values.get(name), item.fields.get(name)) {
                    (Some(asked), Some(found)) if asked == found => {}
                    (Some(_), Some(_)) => says.breach(Breach::Differs),
                    _ => says.doubt = true,
                }
            }
        }
    }
    for key in keys(history, &params.operations) {
        let ops = of_key(history, &params.operations, &key);
        let times = items.iter().filter(|item| item.element == key).count();
        if times == 0 && outcome(&ops) == Some(Outcome::Ok) {
            says.lost.push(lost(&ops));
        }
        if times >= 1 && outcome(&ops) == Some(Outcome::Fail) {
            says.breach(Breach::Refused);
        }
        if times >= 2 {
            says.breach(Breach::Duplicated);
        }
    }
    says
}

pub fn exactly_once(params: &ExactlyOnce, history: &History<'_>) -> Says {
    let Some(effects) = complete(history, &params.effects) else {
        return Says::only_doubt();
    };
    let (effects, unknown_field) = that_count(effects, &params.filter);
    // Every cause with the outcome that its customer saw.
    let mut causes: BTreeMap<String, Outcome> = BTreeMap::new();
    match &params.causes {
        Causes::Operations(kinds) => {
            for key in keys(history, kinds) {
                let outcome = outcome(&of_key(history, kinds, &key)).unwrap();
                causes.insert(key, outcome);
            }
        }
        Causes::Read(read) => {
            let Some(list) = complete(history, read) else {
                return Says::only_doubt();
            };
            causes.extend(list.items.iter().map(|item| (item.element.to_string(), Outcome::Ok)));
        }
    }
    let mut says = Says {
        doubt: unknown_field || !causes.values().any(|outcome| *outcome == Outcome::Ok),
        ..Says::default()
    };
    for effect in &effects {
        if !causes.contains_key(&*effect.element) {
            match history.truncated {
                Some(_) => says.doubt = true,
                None => says.breach(Breach::Unattempted),
            }
        }
    }
    for (cause, outcome) in &causes {
        let times = effects.iter().filter(|effect| effect.element == *cause).count();
        if times == 0 && *outcome == Outcome::Ok && params.required {
            match &params.causes {
                Causes::Operations(kinds) => says.lost.push(lost(&of_key(history, kinds, cause))),
                Causes::Read(_) => says.breach(Breach::Missing),
            }
        }
        if times >= 1 && *outcome == Outcome::Fail && !params.refused_may_have_effect {
            says.breach(Breach::Refused);
        }
        if times >= 2 {
            says.breach(Breach::Duplicated);
        }
    }
    says
}

fn whole(item: &Item<'_>, name: &str) -> Option<i128> {
    match item.fields.get(name) {
        Some(Value::Int(int)) => Some(int.into()),
        _ => None,
    }
}

fn account(item: &Item<'_>) -> Option<String> {
    match item.fields.get("account") {
        Some(Value::Text(name)) => Some(name.into_owned()),
        _ => None,
    }
}

pub fn ledger(params: &Ledger, history: &History<'_>) -> Says {
    let (Some(entries), Some(accounts)) = (complete(history, &params.entries), complete(history, &params.accounts))
    else {
        return Says::only_doubt();
    };
    if entries
        .items
        .iter()
        .any(|item| account(item).is_none() || whole(item, "amount").is_none())
    {
        return Says::only_doubt();
    }
    let mut says = Says {
        doubt: !acknowledged(history, &params.operations),
        ..Says::default()
    };
    let mut transfers = keys(history, &params.operations);
    transfers.extend(entries.items.iter().map(|item| item.element.to_string()));
    for key in &transfers {
        judge_transfer(params, history, key, &mut says);
    }
    let total: i128 = entries.items.iter().map(|item| whole(item, "amount").unwrap()).sum();
    if total != 0 {
        says.breach(Breach::Total);
    }
    judge_accounts(entries, accounts, &mut says);
    says
}

fn judge_transfer(params: &Ledger, history: &History<'_>, key: &str, says: &mut Says) {
    let entries = &history.reads[&params.entries].items;
    let ops = of_key(history, &params.operations, key);
    let legs: Vec<_> = entries.iter().filter(|item| item.element == key).collect();
    if legs.is_empty() {
        if outcome(&ops) == Some(Outcome::Ok) {
            says.lost.push(lost(&ops));
        }
        return;
    }
    let amounts: Vec<i128> = legs.iter().map(|leg| whole(leg, "amount").unwrap()).collect();
    if ops.is_empty() {
        let internal = params
            .internal_prefix
            .as_ref()
            .is_some_and(|prefix| key.starts_with(prefix));
        match (internal, history.truncated) {
            (true, _) => {}
            (false, Some(_)) => says.doubt = true,
            (false, None) => says.breach(Breach::Unattempted),
        }
    } else {
        if outcome(&ops) == Some(Outcome::Fail) {
            says.breach(Breach::Refused);
        }
        match speaker(&ops).values.get(&params.amount) {
            Some(Value::Int(asked)) => {
                let is_it = |amount: &i128| *amount == i128::from(asked) || *amount == -i128::from(asked);
                if !amounts.iter().all(is_it) {
                    says.breach(Breach::Differs);
                }
            }
            _ => says.doubt = true,
        }
    }
    if legs.len() == 1 {
        says.breach(Breach::OneLeg);
    }
    if legs.len() == 2 && account(legs[0]) == account(legs[1]) {
        says.breach(Breach::SameAccount);
    }
    if legs.len() > 2 {
        says.breach(Breach::Duplicated);
    }
    if amounts.iter().sum::<i128>() != 0 {
        says.breach(Breach::Unbalanced);
    }
}

fn judge_accounts(entries: &FinalList<'_>, accounts: &FinalList<'_>, says: &mut Says) {
    let mut readable: Vec<(String, i128, i128)> = Vec::new();
    for item in &accounts.items {
        let (Some(initial), Some(balance)) = (whole(item, "initial"), whole(item, "balance")) else {
            says.doubt = true;
            continue;
        };
        if balance < 0 {
            says.breach(Breach::Negative);
        }
        if readable.iter().any(|(known, ..)| *known == item.element) {
            says.breach(Breach::Duplicated);
            readable.retain(|(known, ..)| *known != item.element);
        }
        readable.push((item.element.to_string(), initial, balance));
    }
    for (name, initial, balance) in &readable {
        let own = entries.items.iter().filter(|item| account(item).as_ref() == Some(name));
        let sum: i128 = own.map(|item| whole(item, "amount").unwrap()).sum();
        if initial + sum != *balance {
            says.breach(Breach::BalanceOff);
        }
    }
}
