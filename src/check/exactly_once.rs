//! `exactly-once`: every acknowledged cause has exactly one effect at the far end.
//!
//! Invalid if an acknowledged cause has no effect by the end of the drain or more than one, an indeterminate cause more
//! than one, a refused cause any, or an effect has a cause that nobody attempted. O(n).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attempts::Attempts;
use super::filter::Filter;
use super::{Breach, Checked, Checker, Evidence, Names};
use crate::history::Outcome;

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
            reads: vec![("effects".to_owned(), &self.effects)],
            ..Names::default()
        };
        match &self.causes {
            Causes::Operations(operations) => names.operations = super::named("causes.operations", operations),
            Causes::Read(read) => names.reads.push(("causes.read".to_owned(), read)),
        }
        names
    }

    fn check(&self, evidence: &Evidence<'_>) -> Checked {
        let mut checked = Checked::default();
        let causes = self.attempts(evidence, &mut checked);
        let effects = checked.complete(evidence, &self.effects);
        let (Some((mut causes, what)), Some(())) = (causes, effects) else {
            return checked;
        };
        let effects = Filter::new(&self.filter).apply(evidence, &self.effects, &mut checked);
        checked.rest_on(&causes, effects.len(), &what);
        for (number, effect) in effects {
            let cause = &effect.element;
            let Some(attempt) = causes.see(number) else {
                checked.unattempted(evidence, evidence.about(number), || {
                    format!("an effect of `{cause}`, which nobody attempted")
                });
                continue;
            };
            if attempt.seen == 1 && attempt.outcome == Outcome::Fail && !self.refused_may_have_effect {
                checked.breach(Breach::Refused, evidence.about(number), || {
                    format!("`{cause}` was refused, but has an effect")
                });
            }
            if attempt.seen == 2 {
                checked.breach(Breach::Duplicated, evidence.about(number), || {
                    format!("`{cause}` has more than one effect")
                });
            }
        }
        if self.required {
            self.require_effects(evidence, &causes, &mut checked);
        }
        checked
    }
}

impl ExactlyOnce {
    /// The causes, and what they are in words.
    fn attempts<'e>(&'e self, evidence: &'e Evidence<'e>, checked: &mut Checked) -> Option<(Attempts<'e>, String)> {
        match &self.causes {
            Causes::Operations(kinds) => Some((Attempts::of(evidence, kinds), kinds.join(" and "))),
            Causes::Read(read) => {
                checked.complete(evidence, read)?;
                Some((Attempts::listed(evidence, read), read.clone()))
            }
        }
    }

    fn require_effects(&self, evidence: &Evidence<'_>, causes: &Attempts<'_>, checked: &mut Checked) {
        match &self.causes {
            Causes::Operations(_) => checked.lose(causes, causes.missing()),
            Causes::Read(_) => {
                for cause in causes.missing() {
                    checked.breach(Breach::Missing, evidence.about(cause.number), || {
                        format!("`{}` has no effect", causes.key(cause))
                    });
                }
            }
        }
    }
}
