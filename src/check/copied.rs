//! `copied`: what one side has, the other has too, once and with the same fields, as after a move to new servers.
//!
//! Invalid if an item of `from` is missing from `to`, is there more than once, or differs in one of the fields in `equal`; with
//! `nothing-else`, also if `to` has an item that `from` lacks. Where `from` is empty nothing is missing: how many items were
//! looked at is said. An item that lacks a field to compare, or a final read that is not complete: inconclusive. What it
//! misses is no tolerable loss: ask for that what was acknowledged to customers by `durable-set`. O(n).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::about::About;
use super::filter::Filter;
use super::{Breach, Checked, Checker, Evidence, Mistake, Names};
use crate::history::Item;

/// Parameters of `copied`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Copied {
    /// The final read of the side that was copied.
    pub from: String,
    /// The final read of the side that must have it all.
    pub to: String,
    /// Only items whose fields have these values count, on both sides.
    #[serde(default, rename = "where")]
    pub filter: BTreeMap<String, serde_json::Value>,
    /// Fields that must be the same on both sides.
    #[serde(default)]
    pub equal: Vec<String>,
    /// Whether `to` may have nothing that `from` lacks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nothing_else: bool,
}

/// What the sides have of one element.
#[derive(Clone, Copy, Default)]
struct Pair<'h> {
    from: Option<&'h Item<'h>>,
    to: Option<&'h Item<'h>>,
    /// How often it is in `to`.
    times: usize,
}

impl Pair<'_> {
    fn is_there(&self) -> bool {
        self.from.is_some() || self.to.is_some()
    }
}

impl Checker for Copied {
    fn names(&self) -> Names<'_> {
        Names {
            reads: vec![("from".to_owned(), &self.from), ("to".to_owned(), &self.to)],
            ..Names::default()
        }
    }

    fn mistakes(&self) -> Vec<Mistake> {
        let mistake = || Mistake {
            at: "to",
            message: "a list always has what it has itself".to_owned(),
            allowed: "two final reads",
            hint: "name the final read of the other side",
        };
        (self.from == self.to).then(mistake).into_iter().collect()
    }

    fn check(&self, evidence: &Evidence<'_>) -> Checked {
        let mut checked = Checked::default();
        let complete = [&self.from, &self.to].map(|read| checked.complete(evidence, read));
        if complete.contains(&None) {
            return checked;
        }
        let filter = Filter::new(&self.filter);
        let from = filter.apply(evidence, &self.from, &mut checked);
        let to = filter.apply(evidence, &self.to, &mut checked);
        checked.looked_at(
            from.len() + to.len(),
            format!("{} items of `{}`, {} of `{}`", from.len(), self.from, to.len(), self.to),
        );
        let mut pairs: Vec<Pair<'_>> = vec![Pair::default(); evidence.len()];
        for (number, item) in &from {
            pairs[*number].from = Some(item);
        }
        for (number, item) in &to {
            let pair = &mut pairs[*number];
            pair.to = Some(item);
            pair.times += 1;
        }
        for (number, pair) in pairs.iter().enumerate().filter(|(_, pair)| pair.is_there()) {
            self.judge(pair, evidence.about(number), &mut checked);
        }
        checked
    }
}

impl Copied {
    fn judge(&self, pair: &Pair<'_>, about: About<'_>, checked: &mut Checked) {
        match (pair.from, pair.to) {
            (Some(from), None) => checked.breach(Breach::NotCopied, about, || {
                format!("`{}` is in `{}` and not in `{}`", from.element, self.from, self.to)
            }),
            (Some(from), Some(to)) => {
                if pair.times > 1 {
                    checked.breach(Breach::Duplicated, about, || {
                        format!("`{}` is in `{}` more than once", to.element, self.to)
                    });
                }
                self.compare(from, to, about, checked);
            }
            (None, Some(to)) if self.nothing_else => checked.breach(Breach::NotCopied, about, || {
                format!("`{}` is in `{}` and not in `{}`", to.element, self.to, self.from)
            }),
            (None, _) => {}
        }
    }

    fn compare(&self, from: &Item<'_>, to: &Item<'_>, about: About<'_>, checked: &mut Checked) {
        for name in &self.equal {
            match (from.fields.get(name), to.fields.get(name)) {
                (Some(one), Some(other)) if one.same(&other) => {}
                (Some(one), Some(other)) => checked.breach(Breach::CopyDiffers, about, || {
                    format!(
                        "`{}` has {name} {other} in `{}`, and {one} in `{}`",
                        to.element, self.to, self.from
                    )
                }),
                _ => checked.doubt(|| format!("`{}` has no `{name}` to compare on both sides", to.element)),
            }
        }
    }
}
