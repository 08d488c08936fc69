//! `absent`: what must never be there is not, such as a difference that nobody can explain.
//!
//! Invalid if an item of the final read matches. An empty read is a good one: how many items were looked at is said. No
//! complete final read: inconclusive. O(n).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::filter::Filter;
use super::{Breach, Checked, Checker, Evidence, Mistake, Names};

/// Parameters of `absent`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Absent {
    /// The final read.
    pub read: String,
    /// Items whose fields have these values must not be there.
    #[serde(rename = "where")]
    pub filter: BTreeMap<String, serde_json::Value>,
}

impl Checker for Absent {
    fn names(&self) -> Names<'_> {
        Names {
            reads: vec![("read".to_owned(), &self.read)],
            ..Names::default()
        }
    }

    fn mistakes(&self) -> Vec<Mistake> {
        let mistake = || Mistake {
            at: "where",
            message: "with nothing to match, every item is one that must not be there".to_owned(),
            allowed: "at least one FIELD: VALUE",
            hint: "say which items must not be there, for example `where: {explained: false}`",
        };
        self.filter.is_empty().then(mistake).into_iter().collect()
    }

    fn check(&self, evidence: &Evidence<'_>) -> Checked {
        let mut checked = Checked::default();
        if checked.complete(evidence, &self.read).is_none() {
            return checked;
        }
        let items = evidence.items(&self.read).count();
        checked.looked_at(items, format!("{items} items of `{}`", self.read));
        for (number, item) in Filter::new(&self.filter).apply(evidence, &self.read, &mut checked) {
            checked.breach(Breach::Forbidden, evidence.about(number), || {
                format!("`{}` is there, and must not be", item.element)
            });
        }
        checked
    }
}
