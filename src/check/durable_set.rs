//! `durable-set`: what was acknowledged is there, once, and nothing else is.
//!
//! Invalid if an acknowledged element is missing from the final read, an element is there that nobody attempted or that
//! was refused, or any appears twice. Indeterminate ones may be there. No complete final read: inconclusive. O(n).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::about::About;
use super::attempts::Attempts;
use super::filter::Filter;
use super::{Breach, Checked, Checker, Evidence, Names};
use crate::history::{Item, Op, Outcome};

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
            ..Names::default()
        }
    }

    fn check(&self, evidence: &Evidence<'_>) -> Checked {
        let mut checked = Checked::default();
        if checked.complete(evidence, &self.read).is_none() {
            return checked;
        }
        let mut attempts = Attempts::of(evidence, &self.operations);
        let items = Filter::new(&self.filter).apply(evidence, &self.read, &mut checked);
        checked.rest_on(&attempts, items.len(), &self.operations.join(" and "));
        for (number, item) in items {
            let element = &item.element;
            let Some(attempt) = attempts.see(number) else {
                checked.unattempted(evidence, evidence.about(number), || {
                    format!("`{element}` is there, but nobody attempted it")
                });
                continue;
            };
            if attempt.seen == 1 && attempt.outcome == Outcome::Fail {
                checked.breach(Breach::Refused, evidence.about(number), || {
                    format!("`{element}` is there, but it was refused")
                });
            }
            if attempt.seen == 2 {
                checked.breach(Breach::Duplicated, evidence.about(number), || {
                    format!("`{element}` is there more than once")
                });
            }
            if !self.equal.is_empty()
                && let Some(op) = attempts.op(attempt)
            {
                self.compare(op, item, &mut checked);
            }
        }
        checked.lose(&attempts, attempts.missing());
        checked
    }
}

impl DurableSet {
    fn compare(&self, op: &Op<'_>, item: &Item<'_>, checked: &mut Checked) {
        for name in &self.equal {
            match (op.values.get(name), item.fields.get(name)) {
                (Some(asked), Some(found)) if asked.same(&found) => {}
                (Some(asked), Some(found)) => checked.breach(Breach::Differs, About::op(op), || {
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
