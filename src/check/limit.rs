//! `limit`: what belongs together adds up to no more than a bound, such as cash to one person at one branch on one day.
//!
//! Invalid if the sum of a group is above the bound. An item that lacks a field of the group, or has no whole number to add:
//! inconclusive, and so is a final read that is not complete. Where nothing counts, nothing is above the bound: how many items
//! were looked at is said. O(n).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::about::About;
use super::filter::Filter;
use super::{Breach, Checked, Checker, Evidence, Mistake, Names};
use crate::history::Item;

/// Parameters of `limit`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Limit {
    /// The final read.
    pub read: String,
    /// Only items whose fields have these values count.
    #[serde(default, rename = "where")]
    pub filter: BTreeMap<String, serde_json::Value>,
    /// The fields by which items belong together.
    pub per: Vec<String>,
    /// The field that is added up: whole numbers.
    pub sum: String,
    /// The most that a group may add up to.
    pub at_most: i64,
}

impl Checker for Limit {
    fn names(&self) -> Names<'_> {
        Names {
            reads: vec![("read".to_owned(), &self.read)],
            ..Names::default()
        }
    }

    fn mistakes(&self) -> Vec<Mistake> {
        let mistake = || Mistake {
            at: "per",
            message: "without a field, all items belong together".to_owned(),
            allowed: "at least one field of the final read",
            hint: "say what the limit is for, for example `per: [branch, person, day]`",
        };
        self.per.is_empty().then(mistake).into_iter().collect()
    }

    fn check(&self, evidence: &Evidence<'_>) -> Checked {
        let mut checked = Checked::default();
        if checked.complete(evidence, &self.read).is_none() {
            return checked;
        }
        let items = Filter::new(&self.filter).apply(evidence, &self.read, &mut checked);
        let mut sums: BTreeMap<String, i128> = BTreeMap::new();
        for (_, item) in &items {
            match self
                .group(item)
                .zip(item.fields.get(&self.sum).and_then(|value| value.as_int()))
            {
                Some((group, amount)) => *sums.entry(group).or_default() += i128::from(amount),
                None => checked.doubt(|| {
                    format!(
                        "`{}` lacks a field of {}, or a whole `{}`",
                        item.element,
                        self.per.join(", "),
                        self.sum
                    )
                }),
            }
        }
        checked.looked_at(
            items.len(),
            format!("{} items in {} groups of `{}`", items.len(), sums.len(), self.read),
        );
        for (group, sum) in sums.iter().filter(|(_, sum)| **sum > i128::from(self.at_most)) {
            checked.breach(Breach::AboveLimit, About::default(), || {
                format!("{} of {group} is {sum}, at most {} is allowed", self.sum, self.at_most)
            });
        }
        checked
    }
}

impl Limit {
    /// The group of an item in words: its fields, in their order.
    fn group(&self, item: &Item<'_>) -> Option<String> {
        let part = |field: &String| Some(format!("{field} {}", item.fields.get(field)?));
        let parts: Option<Vec<String>> = self.per.iter().map(part).collect();
        Some(parts?.join(", "))
    }
}
