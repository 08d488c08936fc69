//! `ledger`: money is neither made nor lost.
//!
//! Entries are legs of transfers; every transfer's legs sum to zero. Invalid if the entries do not sum to zero in all or
//! for a transfer, a balance is negative, a balance is not its initial value plus its entries, or an acknowledged
//! transfer is not present once with both legs (a lost one, a double one: both, unlike Jepsen's `bank`). O(n).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Checker, Names};
use crate::history::load::History;
use crate::plan::Plan;
use crate::verdict::Finding;

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

    fn check(&self, _plan: &Plan, _history: &History<'_>) -> Finding {
        todo!("checker helper")
    }
}
