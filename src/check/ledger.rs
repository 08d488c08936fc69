//! `ledger`: money is neither made nor lost.
//!
//! Entries are legs of transfers; every transfer's legs sum to zero. Invalid if the entries do not sum to zero in all or
//! for a transfer, a balance is negative, a balance is not its initial value plus its entries, or an acknowledged
//! transfer is not present once with both legs (a lost one, a double one: both, unlike Jepsen's `bank`). O(n).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attempts::Attempts;
use super::book::{Book, Leg, Transfer};
use super::{Breach, Checked, Checker, Names};
use crate::history::Outcome;
use crate::history::load::History;
use crate::plan::Plan;

/// Parameters of `ledger`. Amounts are whole numbers in the smallest unit of money.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Ledger {
    /// The final read that lists entries: an item's element is the key of its transfer, with the fields `account` and
    /// `amount` (signed).
    pub entries: String,
    /// The final read that lists customers' accounts: an item's element is the account, with the fields `initial` and
    /// `balance`. Accounts that appear in entries only (the house's own) have no balance to check.
    pub accounts: String,
    /// Operations whose acknowledged keys must be transfers, and that account for every transfer there is.
    pub operations: Vec<String>,
    /// Name of the recorded value that holds the amount; each leg must be it, or its negative.
    #[serde(default = "amount")]
    pub amount: String,
    /// Transfers that no customer sends are recognised by this prefix of their key, and need no operation.
    #[serde(default)]
    pub internal_prefix: Option<String>,
}

fn amount() -> String {
    "amount".to_owned()
}

impl Checker for Ledger {
    fn names(&self) -> Names<'_> {
        Names {
            operations: super::named("operations", &self.operations),
            reads: vec![
                ("entries".to_owned(), &self.entries),
                ("accounts".to_owned(), &self.accounts),
            ],
        }
    }

    fn check(&self, _plan: &Plan, history: &History<'_>) -> Checked {
        let mut checked = Checked::default();
        let entries = checked.complete(history, &self.entries);
        let accounts = checked.complete(history, &self.accounts);
        let (Some(entries), Some(accounts)) = (entries, accounts) else {
            return checked;
        };
        let attempts = Attempts::of(history, &self.operations);
        checked.rest_on(&attempts, entries.items.len(), &self.operations.join(" and "));
        let mut book = Book::new(attempts, accounts, &mut checked);
        for item in &entries.items {
            let Some(leg) = Leg::read(item) else {
                // A leg that cannot be read makes whole transfers look wrong: nothing more can be said.
                let mut unreadable = Checked::default();
                unreadable.doubt(|| format!("entry `{}` has no account or no whole amount", item.element));
                return unreadable;
            };
            book.enter(leg);
        }
        self.judge_transfers(&book, history, &mut checked);
        book.judge_sums(&mut checked);
        checked
    }
}

impl Ledger {
    fn judge_transfers(&self, book: &Book<'_>, history: &History<'_>, checked: &mut Checked) {
        for (attempt, transfer) in book.attempted() {
            let key = attempt.key;
            if transfer.legs == 0 {
                if attempt.outcome == Outcome::Ok {
                    checked.lose(attempt);
                }
                continue;
            }
            if attempt.outcome == Outcome::Fail {
                checked.breach(Breach::Refused, || {
                    format!("transfer `{key}` is there, but it was refused")
                });
            }
            let asked = attempt
                .op
                .and_then(|op| op.values.get(&self.amount))
                .and_then(|value| value.as_int());
            match asked {
                Some(asked) if transfer.each_leg_is(asked) => {}
                Some(asked) => checked.breach(Breach::Differs, || {
                    format!("transfer `{key}` has a leg that is not the {asked} asked for")
                }),
                None => checked.doubt(|| format!("`{key}` has no recorded `{}` to compare", self.amount)),
            }
            judge_legs(key, transfer, checked);
        }
        for (key, transfer) in book.others() {
            let internal = self.internal_prefix.as_ref();
            if !internal.is_some_and(|prefix| key.starts_with(prefix)) {
                checked.unattempted(history, || {
                    format!("transfer `{key}` is there, but nobody attempted it")
                });
            }
            judge_legs(key, transfer, checked);
        }
    }
}

/// What must hold of every transfer that is there.
fn judge_legs(key: &str, transfer: &Transfer, checked: &mut Checked) {
    match transfer.legs {
        1 => checked.breach(Breach::OneLeg, || format!("transfer `{key}` has one leg")),
        2 if transfer.within_one_account() => {
            checked.breach(Breach::SameAccount, || {
                format!("transfer `{key}` has both legs on one account")
            });
        }
        2 => {}
        legs => checked.breach(Breach::Duplicated, || format!("transfer `{key}` has {legs} legs")),
    }
    if transfer.sum != 0 {
        checked.breach(Breach::Unbalanced, || {
            format!("the legs of transfer `{key}` sum to {}", transfer.sum)
        });
    }
}
