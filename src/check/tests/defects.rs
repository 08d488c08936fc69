//! Mistakes that a system makes, planted into one that made none.

use proptest::sample::Index;

use super::model::{Attempt, Model, durable_set, exactly_once, kinds, ledger};
use crate::check::exactly_once::Causes;
use crate::check::{Breach, Checker};
use crate::history::Outcome;

/// A mistake that a system makes.
#[derive(Debug, Clone, Copy)]
pub enum Defect {
    OrderLost,
    OrderTwice,
    OrderRefusedYetThere,
    OrderNobodyMade,
    OrderOfAnotherAmount,
    LabelMissing,
    LabelTwice,
    LabelOfRefused,
    LabelOfNothing,
    TransferLost,
    TransferTwice,
    TransferRefusedYetThere,
    TransferNobodyMade,
    TransferOfAnotherAmount,
    TransferWithinAnAccount,
    LegMissing,
    LegOfAnotherAmount,
    InternalLegMissing,
    BalanceNegative,
    BalanceNotItsEntries,
    AccountListedTwice,
}

/// How a defect shows.
#[derive(Debug, PartialEq)]
pub enum Shows {
    AsLost(String),
    As(Breach),
}

pub const DEFECTS: [Defect; 21] = [
    Defect::OrderLost,
    Defect::OrderTwice,
    Defect::OrderRefusedYetThere,
    Defect::OrderNobodyMade,
    Defect::OrderOfAnotherAmount,
    Defect::LabelMissing,
    Defect::LabelTwice,
    Defect::LabelOfRefused,
    Defect::LabelOfNothing,
    Defect::TransferLost,
    Defect::TransferTwice,
    Defect::TransferRefusedYetThere,
    Defect::TransferNobodyMade,
    Defect::TransferOfAnotherAmount,
    Defect::TransferWithinAnAccount,
    Defect::LegMissing,
    Defect::LegOfAnotherAmount,
    Defect::InternalLegMissing,
    Defect::BalanceNegative,
    Defect::BalanceNotItsEntries,
    Defect::AccountListedTwice,
];

/// Makes the mistake once. Says which checker must find it, and as what.
pub fn plant(model: &mut Model, defect: Defect, at: Index) -> (Box<dyn Checker>, Shows) {
    use Defect as D;
    match defect {
        D::OrderLost | D::OrderTwice | D::OrderRefusedYetThere | D::OrderNobodyMade | D::OrderOfAnotherAmount => {
            (Box::new(durable_set()), plant_order(model, defect, at))
        }
        D::LabelMissing | D::LabelTwice | D::LabelOfRefused | D::LabelOfNothing => (
            Box::new(exactly_once(Causes::Operations(kinds()))),
            plant_label(model, defect, at),
        ),
        D::BalanceNegative | D::BalanceNotItsEntries | D::AccountListedTwice => {
            (Box::new(ledger()), plant_balance(model, defect, at))
        }
        _ => (Box::new(ledger()), plant_transfer(model, defect, at)),
    }
}

pub fn acknowledged(model: &Model, at: Index) -> Attempt {
    model.some(|op| op.outcome == Outcome::Ok, at).unwrap().clone()
}

/// Refused in every attempt: a refused retry of something else may well be there.
pub fn refused(model: &Model, at: Index) -> Attempt {
    let all_fail = |op: &Attempt| {
        model
            .ops
            .iter()
            .all(|other| other.key != op.key || other.outcome == Outcome::Fail)
    };
    model.some(all_fail, at).unwrap().clone()
}

pub fn happened(model: &Model, at: Index) -> Attempt {
    model.some(|op| op.happened, at).unwrap().clone()
}

pub fn plant_order(model: &mut Model, defect: Defect, at: Index) -> Shows {
    match defect {
        Defect::OrderLost => {
            let key = acknowledged(model, at).key;
            model.orders.retain(|(order, _)| *order != key);
            Shows::AsLost(key)
        }
        Defect::OrderTwice => {
            let twice = at.get(&model.orders).clone();
            model.orders.push(twice);
            Shows::As(Breach::Duplicated)
        }
        Defect::OrderRefusedYetThere => {
            let op = refused(model, at);
            model.orders.push((op.key, op.amount));
            Shows::As(Breach::Refused)
        }
        Defect::OrderNobodyMade => {
            model.orders.push(("nobody".to_owned(), 1));
            Shows::As(Breach::Unattempted)
        }
        _ => {
            let position = at.index(model.orders.len());
            model.orders[position].1 += 1;
            Shows::As(Breach::Differs)
        }
    }
}

pub fn plant_label(model: &mut Model, defect: Defect, at: Index) -> Shows {
    match defect {
        Defect::LabelMissing => {
            let key = acknowledged(model, at).key;
            model.labels.retain(|(label, _)| *label != key);
            Shows::AsLost(key)
        }
        Defect::LabelTwice => {
            model.labels.push((happened(model, at).key, "printed"));
            Shows::As(Breach::Duplicated)
        }
        Defect::LabelOfRefused => {
            model.labels.push((refused(model, at).key, "printed"));
            Shows::As(Breach::Refused)
        }
        _ => {
            model.labels.push(("nobody".to_owned(), "printed"));
            Shows::As(Breach::Unattempted)
        }
    }
}

pub fn plant_transfer(model: &mut Model, defect: Defect, at: Index) -> Shows {
    match defect {
        Defect::TransferLost => {
            let op = acknowledged(model, at);
            model.entries.retain(|(transfer, ..)| *transfer != op.key);
            model.move_balance(&op.account, -op.amount);
            Shows::AsLost(op.key)
        }
        Defect::TransferTwice => {
            let op = happened(model, at);
            model.transfer(&op.key, &op.account, op.amount);
            Shows::As(Breach::Duplicated)
        }
        Defect::TransferRefusedYetThere => {
            let op = refused(model, at);
            model.transfer(&op.key, &op.account, op.amount);
            Shows::As(Breach::Refused)
        }
        Defect::TransferNobodyMade => {
            model.transfer("nobody", "acct-0", 5);
            Shows::As(Breach::Unattempted)
        }
        Defect::TransferOfAnotherAmount => {
            let op = happened(model, at);
            for (_, account, amount) in model.entries.iter_mut().filter(|(transfer, ..)| *transfer == op.key) {
                *amount += if *account == "house" { -1 } else { 1 };
            }
            model.move_balance(&op.account, 1);
            Shows::As(Breach::Differs)
        }
        Defect::TransferWithinAnAccount => {
            let op = happened(model, at);
            for (_, account, _) in model.entries.iter_mut().filter(|(transfer, ..)| *transfer == op.key) {
                *account = op.account.clone();
            }
            model.move_balance(&op.account, -op.amount);
            Shows::As(Breach::SameAccount)
        }
        Defect::LegOfAnotherAmount => {
            let op = happened(model, at);
            let mut legs = model.entries.iter_mut();
            legs.find(|(transfer, account, _)| *transfer == op.key && account == "house")
                .unwrap()
                .2 -= 1;
            Shows::As(Breach::Unbalanced)
        }
        Defect::InternalLegMissing => {
            model.transfer("debit-x", "acct-1", 5);
            model
                .entries
                .retain(|(transfer, account, _)| transfer != "debit-x" || account != "house");
            Shows::As(Breach::OneLeg)
        }
        _ => {
            let op = happened(model, at);
            model
                .entries
                .retain(|(transfer, account, _)| *transfer != op.key || account != "house");
            Shows::As(Breach::OneLeg)
        }
    }
}

pub fn plant_balance(model: &mut Model, defect: Defect, at: Index) -> Shows {
    let position = at.index(model.accounts.len());
    let (_, initial, balance) = &mut model.accounts[position];
    match defect {
        Defect::BalanceNegative => {
            *initial -= *balance + 1;
            *balance = -1;
            Shows::As(Breach::Negative)
        }
        Defect::BalanceNotItsEntries => {
            *balance += 1;
            Shows::As(Breach::BalanceOff)
        }
        _ => {
            let twice = model.accounts[position].clone();
            model.accounts.push(twice);
            Shows::As(Breach::Duplicated)
        }
    }
}

impl Defect {
    /// Whether every operation that happened still has its legs, so that more can be planted.
    pub fn leaves_legs(self) -> bool {
        !matches!(
            self,
            Self::TransferLost | Self::LegMissing | Self::TransferWithinAnAccount
        )
    }
}
