//! `ledger`: money is neither made nor lost.
//!
//! Entries are legs of transfers; every transfer's legs sum to zero. Invalid if the entries do not sum to zero in all or
//! for a transfer, a balance is negative, a balance is not its initial value plus its entries, or an acknowledged
//! transfer is not present once with both legs (a lost one, a double one: both, unlike Jepsen's `bank`). O(n).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::about::About;
use super::attempts::{Attempt, Attempts};
use super::book::{Book, Leg, Transfer};
use super::{Breach, Checked, Checker, Evidence, Names};
use crate::history::Outcome;

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
            ..Names::default()
        }
    }

    fn check(&self, evidence: &Evidence<'_>) -> Checked {
        let mut checked = Checked::default();
        let entries = checked.complete(evidence, &self.entries);
        let accounts = checked.complete(evidence, &self.accounts);
        let (Some(()), Some(())) = (entries, accounts) else {
            return checked;
        };
        let attempts = Attempts::of(evidence, &self.operations);
        let mut book = Book::new(evidence, &self.accounts, &mut checked);
        for (number, item) in evidence.items(&self.entries) {
            let Some(leg) = Leg::read(number, item) else {
                // A leg that cannot be read makes whole transfers look wrong: nothing more can be said.
                let mut unreadable = Checked::default();
                unreadable.doubt(|| format!("entry `{}` has no account or no whole amount", item.element));
                return unreadable;
            };
            book.enter(leg);
        }
        checked.rest_on(
            &attempts,
            evidence.items(&self.entries).count(),
            &self.operations.join(" and "),
        );
        self.judge_attempted(&attempts, &book, evidence, &mut checked);
        self.judge_others(&attempts, &book, evidence, &mut checked);
        book.judge_sums(&mut checked);
        checked
    }
}

impl Ledger {
    fn judge_attempted(
        &self,
        attempts: &Attempts<'_>,
        book: &Book<'_>,
        evidence: &Evidence<'_>,
        checked: &mut Checked,
    ) {
        let absent = |attempt: &Attempt| book.transfer(attempt.number).is_none();
        checked.lose(attempts, attempts.missing().filter(absent));
        for attempt in attempts.iter() {
            let Some(transfer) = book.transfer(attempt.number) else {
                continue;
            };
            let key = attempts.key(attempt);
            let about = evidence.about(attempt.number);
            if attempt.outcome == Outcome::Fail {
                checked.breach(Breach::Refused, about, || {
                    format!("transfer `{key}` is there, but it was refused")
                });
            }
            let asked = attempts.op(attempt).and_then(|op| op.values.get(&self.amount));
            match asked.and_then(|value| value.as_int()) {
                Some(asked) if transfer.each_leg_is(asked) => {}
                Some(asked) => checked.breach(Breach::Differs, about, || {
                    format!("transfer `{key}` has a leg that is not the {asked} asked for")
                }),
                None => checked.doubt(|| format!("`{key}` has no recorded `{}` to compare", self.amount)),
            }
            judge_legs(key, about, transfer, checked);
        }
    }

    fn judge_others(&self, attempts: &Attempts<'_>, book: &Book<'_>, evidence: &Evidence<'_>, checked: &mut Checked) {
        let others = book.transfers().filter(|(number, _)| attempts.get(*number).is_none());
        for (number, transfer) in others {
            let key = evidence.key(number);
            let about = evidence.about(number);
            let internal = self.internal_prefix.as_ref();
            if !internal.is_some_and(|prefix| key.starts_with(prefix)) {
                checked.unattempted(evidence, about, || {
                    format!("transfer `{key}` is there, but nobody attempted it")
                });
            }
            judge_legs(key, about, transfer, checked);
        }
    }
}

/// What must hold of every transfer that is there.
fn judge_legs(key: &str, about: About<'_>, transfer: &Transfer, checked: &mut Checked) {
    match transfer.legs {
        1 => checked.breach(Breach::OneLeg, about, || format!("transfer `{key}` has one leg")),
        2 if transfer.within_one_account() => {
            checked.breach(Breach::SameAccount, about, || {
                format!("transfer `{key}` has both legs on one account")
            });
        }
        2 => {}
        legs => checked.breach(Breach::Duplicated, about, || {
            format!("transfer `{key}` has {legs} legs")
        }),
    }
    if transfer.sum != 0 {
        checked.breach(Breach::Unbalanced, about, || {
            format!("the legs of transfer `{key}` sum to {}", transfer.sum)
        });
    }
}
