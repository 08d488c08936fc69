//! `durable-set`: what was acknowledged is there, once, and nothing else is.
//!
//! Invalid if an acknowledged element is missing from the final read, an element is there that nobody attempted or that
//! was refused, or any appears twice. Indeterminate ones may be there. No complete final read: inconclusive. O(n).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Checker, Names};
use crate::history::load::History;
use crate::plan::Plan;
use crate::verdict::Finding;

/// Parameters of `durable-set`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DurableSet {
    /// The operations whose keys are the elements.
    pub operations: Vec<String>,
    /// The final read that lists the elements.
    pub read: String,
    /// Only items whose fields have these values count.
    #[serde(default, rename = "where")]
    pub filter: std::collections::BTreeMap<String, serde_json::Value>,
    /// Recorded values of the operation that must equal the item's field of the same name.
    #[serde(default)]
    pub equal: Vec<String>,
}

impl Checker for DurableSet {
    fn names(&self) -> Names<'_> {
        Names {
            operations: super::named("operations", &self.operations),
            reads: vec![("read".to_owned(), &self.read)],
        }
    }

    fn check(&self, _plan: &Plan, _history: &History<'_>) -> Finding {
        todo!("checker helper")
    }
}
