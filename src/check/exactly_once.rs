//! `exactly-once`: every acknowledged cause has exactly one effect at the far end.
//!
//! Invalid if an acknowledged cause has no effect by the end of the drain or more than one, an indeterminate cause more
//! than one, a refused cause any, or an effect has a cause that nobody attempted. O(n).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Checker, Names};
use crate::history::load::History;
use crate::plan::Plan;
use crate::verdict::Finding;

/// Parameters of `exactly-once`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ExactlyOnce {
    /// Where causes come from.
    pub causes: Causes,
    /// The final read that lists effects; an item's element is the key of its cause.
    pub effects: String,
    /// Only effects whose fields have these values count.
    #[serde(default, rename = "where")]
    pub filter: std::collections::BTreeMap<String, serde_json::Value>,
    /// Whether an acknowledged cause without an effect is a violation. `false`: at most one.
    #[serde(default = "yes")]
    pub required: bool,
    /// Whether a cause whose operation was refused may have an effect (a payment taken, then refunded, say).
    #[serde(default)]
    pub refused_may_have_effect: bool,
}

/// Where causes come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Causes {
    /// Keys of these operations.
    Operations(Vec<String>),
    /// Elements of this final read: causes that no customer sends, such as a direct debit's mandate and period. Each
    /// counts as acknowledged.
    Read(String),
}

fn yes() -> bool {
    true
}

impl Checker for ExactlyOnce {
    fn names(&self) -> Names<'_> {
        let mut names = Names {
            operations: Vec::new(),
            reads: vec![("effects".to_owned(), &self.effects)],
        };
        match &self.causes {
            Causes::Operations(operations) => names.operations = super::named("causes.operations", operations),
            Causes::Read(read) => names.reads.push(("causes.read".to_owned(), read)),
        }
        names
    }

    fn check(&self, _plan: &Plan, _history: &History<'_>) -> Finding {
        todo!("checker helper")
    }
}
