//! `durable-set`: what was acknowledged is there, once, and nothing else is.
//!
//! Invalid if an acknowledged element is missing from the final read, an element is there that nobody attempted or that
//! was refused, or any appears twice. Indeterminate ones may be there. No complete final read: inconclusive. O(n).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attempts::Attempts;
use super::filter::Filter;
use super::{Breach, Checked, Checker, Names};
use crate::history::load::History;
use crate::history::{Item, Op, Outcome};
use crate::plan::Plan;

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

    fn check(&self, _plan: &Plan, history: &History<'_>) -> Checked {
        let mut checked = Checked::default();
        let Some(list) = checked.complete(history, &self.read) else {
            return checked;
        };
        let mut attempts = Attempts::of(history, &self.operations);
        let items = Filter::new(&self.filter).apply(list, &self.read, &mut checked);
        checked.rest_on(&attempts, items.len(), &self.operations.join(" and "));
        for item in items {
            let element = &item.element;
            let Some((_, attempt)) = attempts.find(element) else {
                checked.unattempted(history, || format!("`{element}` is there, but nobody attempted it"));
                continue;
            };
            attempt.seen += 1;
            if attempt.seen == 1 && attempt.outcome == Outcome::Fail {
                checked.breach(Breach::Refused, || format!("`{element}` is there, but it was refused"));
            }
            if attempt.seen == 2 {
                checked.breach(Breach::Duplicated, || format!("`{element}` is there more than once"));
            }
            if let Some(op) = attempt.op {
                self.compare(op, item, &mut checked);
            }
        }
        for attempt in attempts
            .iter()
            .filter(|attempt| attempt.outcome == Outcome::Ok && attempt.seen == 0)
        {
            checked.lose(attempt);
        }
        checked
    }
}

impl DurableSet {
    fn compare(&self, op: &Op<'_>, item: &Item<'_>, checked: &mut Checked) {
        for name in &self.equal {
            match (op.values.get(name), item.fields.get(name)) {
                (Some(asked), Some(found)) if asked.same(&found) => {}
                (Some(asked), Some(found)) => checked.breach(Breach::Differs, || {
                    format!("`{}` has {name} {found}, but {asked} was asked for", item.element)
                }),
                (asked, _) => {
                    let side = if asked.is_none() { "the operation" } else { "the item" };
                    checked.doubt(|| format!("`{}`: {side} has no recorded `{name}` to compare", item.element));
                }
            }
        }
    }
}
