//! `never-answered`: no customer was ever given an answer that nobody must get, such as an error of the database's schema.
//!
//! Which answers these are an operation says itself, by `outcome: {never: RULE}`. Every attempt counts, also one that was
//! followed by a success: whoever looked at the screen has seen it. Invalid if there is any. O(n).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::about::About;
use super::{Breach, Checked, Checker, Evidence, Names};

/// Parameters of `never-answered`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NeverAnswered {
    /// The operations, each of which says what it must never be answered.
    pub operations: Vec<String>,
}

impl Checker for NeverAnswered {
    fn names(&self) -> Names<'_> {
        Names {
            operations: super::named("operations", &self.operations),
            ..Names::default()
        }
    }

    fn check(&self, evidence: &Evidence<'_>) -> Checked {
        let mut checked = Checked::default();
        let asked = |kind: &str| self.operations.iter().any(|operation| operation == kind);
        let ops = evidence.history.ops.iter().filter(|op| asked(&op.kind));
        let mut count = 0;
        for op in ops {
            count += 1;
            if let Some(answer) = &op.forbidden {
                checked.breach(Breach::Answered, About::op(op), || {
                    format!("`{}` {}: {answer}", op.kind, op.key)
                });
            }
        }
        checked.looked_at(count, format!("{count} operations of {}", self.operations.join(", ")));
        if count == 0 {
            checked.doubt(|| "no customer came who could have been given it".to_owned());
        }
        checked
    }
}
